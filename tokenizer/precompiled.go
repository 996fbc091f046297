package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// A charsmap is SentencePiece's table of normalizations: a double-array trie
// (Darts-clone) from UTF-8 to places in a pool of texts that end with a zero byte.
// The file is the length of the trie in bytes, the trie, the pool.
type charsmap struct {
	units []uint32
	pool  string
}

// A unit of the trie holds the label of the edge to it (bits 0 to 7), whether a key
// ends there (8), and the offset to its children (10 to 30, in steps of 256 when
// bit 9 is set). A leaf, which has bit 31 set, holds a value instead.
const (
	unitLeaf  = 1 << 8
	unitFar   = 1 << 9
	unitValue = 1<<31 - 1
	unitLabel = 1<<31 | 0xFF
)

func unitOffset(u uint32) uint32 { return u >> 10 << (u & unitFar >> 6) }

// newCharsmap checks the sizes, and that every value is a place in the pool and
// the pool is UTF-8. Offsets that lead out of the trie find nothing.
func newCharsmap(b []byte) (*charsmap, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("precompiled_charsmap of %d bytes, want at least 4", len(b))
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, fmt.Errorf("precompiled_charsmap: a trie of %d bytes in the %d that are left", n, len(b)-4)
	}
	c := &charsmap{units: make([]uint32, n/4)}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(b[4+4*i:])
	}
	if c.pool = string(b[4+len(c.units)*4:]); !utf8.ValidString(c.pool) {
		return nil, errors.New("precompiled_charsmap: its texts are not UTF-8")
	}
	if len(c.units) == 0 {
		return nil, errors.New("precompiled_charsmap: an empty trie")
	}
	return c, nil
}

// find looks for the keys that s begins with: the replacement of the shortest or
// the longest, and its length; 0 when there is none.
func (c *charsmap) find(s string, longest bool) (replacement string, n int) {
	at := unitOffset(c.units[0])
	for i := 0; i < len(s) && s[i] != 0; i++ {
		at ^= uint32(s[i])
		if int64(at) >= int64(len(c.units)) || c.units[at]&unitLabel != uint32(s[i]) {
			break
		}
		unit := c.units[at]
		at ^= unitOffset(unit)
		if unit&unitLeaf == 0 {
			continue
		}
		if int64(at) >= int64(len(c.units)) {
			break
		}
		if text, ok := c.text(c.units[at] & unitValue); ok {
			replacement, n = text, i+1
			if !longest {
				break
			}
		}
	}
	return replacement, n
}

// text is the text of the pool that begins at i. It must begin at a character.
func (c *charsmap) text(i uint32) (string, bool) {
	if uint64(i) > uint64(len(c.pool)) {
		return "", false
	}
	s := c.pool[i:]
	if s != "" && !utf8.RuneStart(s[0]) {
		return "", false
	}
	for j := 0; j < len(s) && j < maxReplacement; j++ {
		if s[j] == 0 {
			return s[:j], true
		}
	}
	if len(s) < maxReplacement {
		return s, true
	}
	return "", false
}

// maxReplacement bounds the text that takes the place of a key, which keeps a
// hostile file from making every character the whole pool. The longest of NFKC,
// U+FDFA, has 33 bytes.
const maxReplacement = maxGrowth

// newPrecompiled reads a SentencePiece character map: a double-array trie and the
// pool of replacements. It rewrites as Hugging Face does, which is not what
// SentencePiece does (see spmNormalizer): a grapheme of at most five bytes is
// replaced as a whole by what the shortest key that it begins with stands for, and
// the rest character by character.
func newPrecompiled(b []byte) (rewrite, error) {
	c, err := newCharsmap(b)
	if err != nil {
		return nil, err
	}
	return func(s string, emit func(out string, n int)) {
		for i := 0; i < len(s); {
			g := s[i : i+graphemeLen(s[i:])]
			i += len(g)
			if len(g) < 6 {
				if out, n := c.find(g, false); n > 0 {
					emit(out, len(g))
					continue
				}
			}
			for j := 0; j < len(g); {
				_, n := decodeRune(g, j)
				if out, k := c.find(g[j:j+n], false); k > 0 {
					emit(out, n)
				} else {
					emit(g[j:j+n], n)
				}
				j += n
			}
		}
	}, nil
}

// graphemeLen is the length of the extended grapheme cluster s begins with. An
// ASCII character before another one is a cluster, unless they are "\r\n".
func graphemeLen(s string) int {
	if s[0] < utf8.RuneSelf && (len(s) == 1 || s[1] < utf8.RuneSelf) {
		if len(s) > 1 && s[0] == '\r' && s[1] == '\n' {
			return 2
		}
		return 1
	}
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(s, -1)
	return max(1, len(cluster))
}
