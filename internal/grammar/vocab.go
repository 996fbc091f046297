package grammar

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// Vocab is what grammars need to know of a tokenizer: the bytes of its tokens, as
// a trie, and the ids that end a text. It is built once for a tokenizer and does
// not change; any number of grammars and goroutines share it.
type Vocab struct {
	size     int
	end      []int32
	special  map[int32]string // control tokens, which are no text, by what they are called
	specials map[string]int32
	token    [][]byte // by id; nil for those that are no text
	trie     trie
	bytes    [256]bool // those that are a token by themselves

	rest []atomic.Pointer[restMasks] // by state of restOfString
}

// Bytes from firstMark on are in no UTF-8. Seven of them spell the id of a control
// token that a grammar names, so that it is a text like all others inside.
const (
	firstMark = 0xF8
	markSize  = 7
)

// mark is how the control token id is spelled.
func mark(id int32) string {
	var b [markSize]byte
	for i := range b {
		b[i] = firstMark | byte(id>>(3*i)&7)
	}
	return string(b[:])
}

// NewVocab reads the tokens of a tokenizer. The ids in end are what ends a text
// (EOS); grammars allow them where the text is complete. Special tokens are no
// text and only come where a grammar names them.
//
// What a token is in the middle of a text counts: tokenizers that drop the first
// space of a text (SentencePiece's) drop it after the grammar has seen it, unless
// the text is decoded as the continuation that it is.
func NewVocab(tok *tokenizer.Tokenizer, end []int32) (*Vocab, error) {
	tokens, special, err := tokenBytes(tok)
	if err != nil {
		return nil, err
	}
	return newVocab(tokens, special, end)
}

// VocabOf makes a Vocab of the bytes of each token; those without bytes are never
// allowed, unless they are in end.
func VocabOf(tokens [][]byte, end []int32) (*Vocab, error) {
	return newVocab(slices.Clone(tokens), nil, end)
}

func newVocab(tokens [][]byte, special map[int32]string, end []int32) (*Vocab, error) {
	v := &Vocab{size: len(tokens), end: slices.Clone(end), token: tokens, special: special, specials: map[string]int32{}}
	for id, name := range special {
		if id < 0 || int(id) >= v.size {
			return nil, fmt.Errorf("special token %d in a vocabulary of %d", id, v.size)
		}
		tokens[id] = []byte(mark(id))
		v.specials[name] = id
	}
	for _, id := range end {
		if id < 0 || int(id) >= v.size {
			return nil, fmt.Errorf("id %d ends a text, but the vocabulary has %d tokens", id, v.size)
		}
		tokens[id] = nil
	}
	for id, b := range tokens {
		_, isSpecial := special[int32(id)]
		switch {
		case len(b) > maxToken:
			return nil, fmt.Errorf("token %d has %d bytes, want at most %d", id, len(b), maxToken)
		case len(b) == 0 || !isSpecial && slices.ContainsFunc(b, neverInUTF8):
			tokens[id] = nil // can be in no text
		case len(b) == 1:
			v.bytes[b[0]] = true
		}
	}
	for b := firstMark; b < 256; b++ {
		v.bytes[b] = true // follow one another only in marks, which are tokens
	}
	var all []tail
	for id, b := range tokens {
		if len(b) > 0 {
			all = append(all, tail{b, int32(id)})
		}
	}
	v.trie = newTrie(all)
	v.rest = make([]atomic.Pointer[restMasks], len(restOfString().states))
	v.restMasks(0) // takes milliseconds, and nearly every grammar needs it
	return v, nil
}

// maxToken bounds a token; published ones have up to 512 bytes (of spaces).
const maxToken = 4096

// neverInUTF8 tells whether a byte is in no encoding of a character.
func neverInUTF8(b byte) bool { return b == 0xC0 || b == 0xC1 || b > 0xF4 }

// Size is the number of ids.
func (v *Vocab) Size() int { return v.size }

// Bytes returns the text of a token, nil for those that are none.
func (v *Vocab) Bytes(id int32) []byte {
	if id < 0 || int(id) >= v.size || v.special[id] != "" {
		return nil
	}
	return v.token[id]
}

// trie holds the tokens' bytes, nodes in the order of a depth-first walk: what
// is below node i are the nodes from i+1 to nodes[i].end.
type trie struct {
	nodes []trieNode // and one more, for its first
	ids   []int32
	deep  int
}

// trieNode is a byte after those of the node above; its tokens are
// ids[first:nodes[i+1].first].
type trieNode struct {
	end, first int32
	depth      uint16
	byte       byte
}

// tail is a token, or what is left of one.
type tail struct {
	bytes []byte
	id    int32
}

func newTrie(tokens []tail) trie {
	slices.SortFunc(tokens, func(a, b tail) int {
		if c := bytes.Compare(a.bytes, b.bytes); c != 0 {
			return c
		}
		return int(a.id - b.id)
	})
	var t trie
	node := func(b byte, depth, first int) int32 {
		t.nodes = append(t.nodes, trieNode{first: int32(first), depth: uint16(depth), byte: b})
		t.deep = max(t.deep, depth)
		return int32(len(t.nodes) - 1)
	}
	path := []int32{node(0, 0, 0)} // nodes of the last token's bytes
	var last []byte
	for i, token := range tokens {
		b := token.bytes
		t.ids = append(t.ids, token.id)
		shared := 0
		for shared < len(last) && shared < len(b) && last[shared] == b[shared] {
			shared++
		}
		for _, n := range path[shared+1:] {
			t.nodes[n].end = int32(len(t.nodes))
		}
		path = path[:shared+1]
		for d := shared; d < len(b); d++ {
			path = append(path, node(b[d], d+1, i))
		}
		last = b
	}
	for _, n := range path {
		t.nodes[n].end = int32(len(t.nodes))
	}
	t.nodes = append(t.nodes, trieNode{first: int32(len(t.ids))})
	return t
}

// tokens returns the ids that end at node i.
func (t *trie) tokens(i int32) []int32 { return t.ids[t.nodes[i].first:t.nodes[i+1].first] }

func (t *trie) size() int64 { return int64(12*len(t.nodes) + 4*len(t.ids)) }
