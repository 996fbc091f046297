package tokenizer

import "unicode/utf8"

// GPT-2's byte-level vocabularies spell every byte as a printable character:
// printable Latin-1 as itself, the rest from U+0100 on.

// byteRune is the character of each byte, runeByte the byte of each character
// below 512, -1 where there is none.
var byteRune, runeByte = func() (runes [256]rune, bytes [512]int16) {
	for i := range bytes {
		bytes[i] = -1
	}
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= 33 && b <= 126 || b >= 161 && b <= 172 || b >= 174) {
			r = next
			next++
		}
		runes[b] = r
		bytes[r] = int16(b)
	}
	return runes, bytes
}()

// byteLevelBytes returns the bytes a byte-level token stands for; ok is false,
// and the token comes back as it is, when a character is outside the table.
func byteLevelBytes(token []byte) (raw []byte, ok bool) {
	return appendByteLevel(make([]byte, 0, len(token)), token)
}

// appendByteLevel is byteLevelBytes that appends to dst; without ok it returns
// dst with the token as it is.
func appendByteLevel(dst, token []byte) (raw []byte, ok bool) {
	raw = dst
	for i := 0; i < len(token); {
		r, n := utf8.DecodeRune(token[i:])
		if r >= 512 || runeByte[r] < 0 {
			return append(dst, token...), false
		}
		raw = append(raw, byte(runeByte[r]))
		i += n
	}
	return raw, true
}

// byteLevelText is the inverse: the spelling of raw bytes.
func byteLevelText(raw string) string {
	out := make([]byte, 0, 2*len(raw))
	for i := 0; i < len(raw); i++ {
		out = utf8.AppendRune(out, byteRune[raw[i]])
	}
	return string(out)
}
