package training

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/tokenizer"
)

func wordsOf(s tokenizer.Splitter, text string) (out []string) {
	for i := 0; i < len(text); {
		end := s.Next(text, i)
		out = append(out, text[i:end])
		i = end
	}
	return out
}

// Every place that safeCut may choose gives the words of the whole text, with every
// splitter. Texts are random mixtures of what the expressions tell apart.
func TestSafeCutIsExact(t *testing.T) {
	pieces := []string{"a", "B", "é", "ǅ", "ʰ", "中", "e\u0301", "\u0301", "\u200d", "7", "½", "'", "'s", "'LL", "'ſ", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2028",
		"/", "!", "。", "’", "_", "😀", "\ufffd", "\x00", "\ufeff"}
	r := rand.New(rand.NewPCG(1, 2))
	cuts := 0
	for range 3000 {
		var b strings.Builder
		for range 1 + r.IntN(12) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		text := b.String()
		for end := len(text); end > 0; end-- {
			if !utf8.RuneStart((text + "a")[end]) {
				continue
			}
			cut := safeCut([]byte(text[:end]))
			if cut == 0 {
				continue
			}
			cuts++
			for _, s := range tokenizer.Splitters() {
				got := append(wordsOf(s, text[:cut]), wordsOf(s, text[cut:])...)
				if want := wordsOf(s, text); !slices.Equal(got, want) {
					t.Fatalf("%s: %q cut at %d: got %q, want %q", s.Name, text, cut, got, want)
				}
			}
		}
	}
	if cuts < 10000 {
		t.Errorf("got %d cuts, want many", cuts)
	}
}

// The categories of Go's Unicode and of the splitters' may differ; not where text is cut.
func TestSafeCutAllCharacters(t *testing.T) {
	if testing.Short() {
		t.Skip("goes through all characters with all splitters")
	}
	letters, separators := 0, 0
	for r := range rune(unicode.MaxRune + 1) {
		if !utf8.ValidRune(r) {
			continue
		}
		before, after := wordRune(r, utf8.RuneLen(r)), separates(r)
		if !before && !after {
			continue
		}
		for _, s := range tokenizer.Splitters() {
			if text := string(r) + " a"; before && s.Next(text, 0) != len(text)-2 {
				t.Errorf("%s: %U before a space: got a word of %d bytes", s.Name, r, s.Next(text, 0))
			}
			if text := "a" + string(r) + "b"; after && s.Next(text, 0) != 1 {
				t.Errorf("%s: %U after a letter: got a word of %d bytes", s.Name, r, s.Next(text, 0))
			}
			if text := "1" + string(r) + "b"; after && s.Next(text, 0) != 1 {
				t.Errorf("%s: %U after a digit: got a word of %d bytes", s.Name, r, s.Next(text, 0))
			}
		}
		if before {
			letters++
		} else {
			separators++
		}
	}
	if letters < 130000 || separators < 7000 {
		t.Errorf("got %d letters and numbers, %d separators; want those of Unicode", letters, separators)
	}
}

func TestSafeCutPlace(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int
	}{
		{"", 0}, {"a", 0}, {"a ", 1}, {" a", 0}, {"ab cd", 2}, {"ab cd ", 5}, {"a'", 0}, {"a\u0301", 0}, {"a 'b", 1}, {"中文。", 6}, {"a\xe3\x80", 0}, {"\xff\xff a\xff", 0}, {"é\n\n", 2},
	} {
		if got := safeCut([]byte(tt.text)); got != tt.want {
			t.Errorf("%q: got %d, want %d", tt.text, got, tt.want)
		}
	}
	if got := fmt.Sprint(wholeRunes([]byte("aé")), wholeRunes([]byte("aé\xe4\xb8")), wholeRunes([]byte("\xe4\xb8\xad\x80"))); got != "3 3 4" {
		t.Errorf("whole characters: got %s", got)
	}
}
