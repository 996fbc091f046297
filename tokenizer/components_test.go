package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// component cases are what Hugging Face's tokenizers 0.22.2 makes of texts with
// small tokenizers, one for each component, or random ones: see
// tools/reference/tokenizer_vectors.py.
type componentCases struct {
	Name  string
	File  json.RawMessage
	Cases []struct {
		Text       string
		Pair       *string
		Plain      [][5]int // id, type, special, start, end; null: the library refused
		Special    [][5]int // with special tokens
		IDs        []int32  // to decode, without a text
		Decode     *string
		DecodeSkip *string `json:"decode_skip"`
	}
}

// checkComponents returns how many of how many cases agree.
func checkComponents(t *testing.T, set componentCases, report func(format string, args ...any)) (right, all int) {
	t.Helper()
	tk, err := Parse(set.File)
	if err != nil {
		report("%s: %v", set.Name, err)
		return 0, len(set.Cases)
	}
	for _, c := range set.Cases {
		ok := true
		differ := func(what string, got, want any) {
			ok = false
			report("%s: %s of %+q (%v):\n got %.900s\nwant %.900s", set.Name, what, c.Text, c.IDs, fmt.Sprintf("%v", got), fmt.Sprintf("%v", want))
		}
		encode := func(what string, special bool, want [][5]int) {
			if want == nil {
				return
			}
			tokens := tk.EncodeTokens(c.Text, special)
			if c.Pair != nil {
				tokens = tk.EncodePair(c.Text, *c.Pair, special)
			} else if ids := tk.Encode(c.Text, special); !slices.EqualFunc(ids, tokens, func(id int32, tok Token) bool { return id == tok.ID }) {
				differ(what+", ids of Encode and EncodeTokens", ids, tokens)
			}
			got := make([][5]int, len(tokens))
			for i, tok := range tokens {
				got[i] = [5]int{int(tok.ID), int(tok.Type), 0, tok.Start, tok.End}
				if tok.Special {
					got[i][2] = 1
				}
			}
			if !slices.Equal(got, want) {
				differ(what, got, want)
			}
		}
		encode("tokens", false, c.Plain)
		encode("tokens with special ones", true, c.Special)
		ids := c.IDs
		for _, row := range c.Special {
			ids = append(ids, int32(row[0]))
		}
		for skip, want := range map[bool]*string{false: c.Decode, true: c.DecodeSkip} {
			if want == nil {
				continue
			}
			if got := tk.Decode(ids, skip); got != *want {
				differ("Decode", got, *want)
			}
			if got := streamed(t, tk.Stream(skip), ids); got != *want {
				differ("the stream", got, *want)
			}
		}
		if all++; ok {
			right++
		}
	}
	return right, all
}

// TestComponents runs over testdata, and over the files LITGPT_TOKENIZER_CASES
// names, with commas between.
func TestComponents(t *testing.T) {
	files := []string{"testdata/components.json.gz"}
	if more := os.Getenv("LITGPT_TOKENIZER_CASES"); more != "" {
		files = append(files, strings.Split(more, ",")...)
	}
	for _, file := range files {
		right, all, reported := 0, 0, 0
		for _, set := range unmarshalFile[[]componentCases](t, file) {
			mine := 0
			r, n := checkComponents(t, set, func(format string, args ...any) {
				t.Fail()
				if mine++; mine <= 1 && reported < 12 {
					reported++
					t.Logf(format, args...)
					file := string(set.File)
					if i := strings.Index(file, `"vocab":`); i > 0 {
						file = file[:i]
					}
					t.Logf("of %s", file[strings.Index(file, `"added_tokens"`):])
				}
			})
			right, all = right+r, all+n
			if !utf8.ValidString(set.Name) {
				t.Errorf("%q is no name", set.Name)
			}
		}
		t.Logf("%s: %d of %d exact", file, right, all)
		if all < 100 {
			t.Errorf("%s: only %d cases", file, all)
		}
	}
}
