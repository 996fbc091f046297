package training

import "slices"

// alphabet is the vocabulary before the first merge: special tokens, then a token for
// each byte.
type alphabet struct {
	texts []string         // by id, bytes in their spelling of tokenizer.json
	ids   map[string]int32 // of texts
	bytes [256]int32       // the id of each byte
}

// newAlphabet gives bytes their ids in the order of the characters that spell them:
// GPT-2's byteRune. A special token that is spelled as a byte is that byte.
func newAlphabet(special []string) *alphabet {
	a := &alphabet{ids: map[string]int32{}}
	for _, s := range special {
		a.add(s)
	}
	order := make([]int, 256)
	for b := range order {
		order[b] = b
	}
	slices.SortFunc(order, func(x, y int) int { return int(byteRunes[x] - byteRunes[y]) })
	for _, b := range order {
		a.bytes[b] = a.add(string(byteRunes[b]))
	}
	return a
}

// add returns the id of a token, a new one where it has none.
func (a *alphabet) add(text string) int32 {
	if id, ok := a.ids[text]; ok {
		return id
	}
	id := int32(len(a.texts))
	a.ids[text] = id
	a.texts = append(a.texts, text)
	return id
}

// byteRunes are the characters that byte-level vocabularies spell bytes with:
// printable Latin-1 as itself, the rest from U+0100 on.
var byteRunes = func() (runes [256]rune) {
	rest := rune(0x100)
	for b := range runes {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			runes[b] = rune(b)
		} else {
			runes[b] = rest
			rest++
		}
	}
	return runes
}()
