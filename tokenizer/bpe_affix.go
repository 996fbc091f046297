package tokenizer

import "fmt"

// setAffixes reads what old vocabularies mark the symbols inside of a word with,
// or its last (CLIP's "</w>").
func (m *bpe) setAffixes(j *modelJSON) error {
	for _, a := range []struct {
		key  string
		from *string
		to   *string
	}{
		{"continuing_subword_prefix", j.Prefix, &m.prefix},
		{"end_of_word_suffix", j.Suffix, &m.suffix},
	} {
		if a.from == nil {
			continue
		}
		raw, ok := []byte(*a.from), true
		if m.byteLevel {
			raw, ok = byteLevelBytes(raw)
		}
		if !ok {
			return fmt.Errorf("%s %q is not supported: it has characters that stand for no byte", a.key, *a.from)
		}
		*a.to = string(raw)
	}
	return nil
}

// affixed returns the bytes of the first symbol at byte i of w and its token.
func (m *bpe) affixed(w string, i int) (n int, token string) {
	n = 1
	if !m.byteLevel {
		_, n = decodeRune(w, i)
	}
	token = w[i : i+n]
	if i > 0 {
		token = m.prefix + token
	}
	if i+n == len(w) {
		token += m.suffix
	}
	return n, token
}
