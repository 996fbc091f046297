package sample

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextStops(t *testing.T) {
	for _, c := range []struct {
		name, text string
		stops      []string
		want       string
		matched    string
	}{
		{"none", "a b c", nil, "a b c", ""},
		{"empty ones", "a b c", []string{"", ""}, "a b c", ""},
		{"in a word", "one two three", []string{"o t"}, "one tw", "o t"},
		{"at once", "###", []string{"##"}, "", "##"},
		{"withheld at the end", "a line\nUse", []string{"\nUser:"}, "a line\nUse", ""},
		{"overlaps itself", "aaab!", []string{"aab"}, "a", "aab"},
		{"ends first", "xabcd", []string{"abcd", "bc"}, "xa", "bc"},
		{"longest of two that end together", "xab", []string{"b", "ab"}, "x", "ab"},
		{"goes over to another", "ab-cd", []string{"ab-ce", "-cd"}, "ab", "-cd"},
		{"characters of several bytes", "größer 猫と犬。次", []string{"犬。"}, "größer 猫と", "犬。"},
		{"half a character in common", "é ê", []string{"ê"}, "é ", "ê"},
	} {
		for _, size := range []int{1, 2, 3, 100} {
			s := NewTextStops(c.stops)
			for round := range 2 {
				var out strings.Builder
				done := false
				for runes := []rune(c.text); len(runes) > 0 && !done; {
					n := min(size, len(runes))
					var emit string
					emit, done = s.Push(string(runes[:n]))
					if !utf8.ValidString(emit) {
						t.Errorf("%s: half a character in %q", c.name, emit)
					}
					out.WriteString(emit)
					runes = runes[n:]
				}
				if got := s.Matched(); got != c.matched || done != (got != "") {
					t.Errorf("%s: got %q, %v, want %q", c.name, got, done, c.matched)
				}
				if emit, again := s.Push("more"); done && (emit != "" || !again) {
					t.Errorf("%s: Push after the end gave %q, %v", c.name, emit, again)
				} else if !done {
					out.WriteString(emit)
				}
				rest := s.Flush()
				if done && rest != "" {
					t.Errorf("%s: %q is withheld after the end", c.name, rest)
				}
				out.WriteString(rest)
				want := c.want
				if !done {
					want += "more"
				}
				if got := out.String(); got != want {
					t.Errorf("%s in pieces of %d, round %d: got %q, want %q", c.name, size, round, got, want)
				}
			}
		}
	}
}

// Random texts and pieces against the definition: emitted is what lies before the earliest ending of a stop string, and
// nothing is withheld that cannot become part of one.
func TestTextStopsAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abc"[r.IntN(3)]
		}
		return string(b)
	}
	stopped := 0
	for range 5000 {
		stops := make([]string, 1+r.IntN(3))
		for i := range stops {
			stops[i] = random(1 + r.IntN(5))
		}
		text := random(14)
		end, from := -1, 0
		for i := 1; i <= len(text) && end < 0; i++ {
			for _, stop := range stops {
				if strings.HasSuffix(text[:i], stop) && (end < 0 || i-len(stop) < from) {
					end, from = i, i-len(stop)
				}
			}
		}
		s := NewTextStops(stops)
		out := ""
		for at := 0; at < len(text); {
			n := 1 + r.IntN(min(4, len(text)-at))
			emit, done := s.Push(text[at : at+n])
			at += n
			out += emit
			if done != (end >= 0 && at >= end) {
				t.Fatalf("stops %q, after %q: done %v", stops, text[:at], done)
			}
			if done {
				stopped++
				if out != text[:from] {
					t.Fatalf("stops %q in %q: got %q, want %q", stops, text, out, text[:from])
				}
				break
			}
			partial := 0
			for _, stop := range stops {
				for k := 1; k < len(stop); k++ {
					if strings.HasSuffix(text[:at], stop[:k]) {
						partial = max(partial, k)
					}
				}
			}
			if out != text[:at-partial] || s.Held() != partial {
				t.Fatalf("stops %q, after %q: got %q, %d withheld, want %d", stops, text[:at], out, s.Held(), partial)
			}
		}
	}
	if stopped < 1000 {
		t.Errorf("%d of 5000 texts were stopped", stopped)
	}
}

func BenchmarkTextStops(b *testing.B) {
	s := NewTextStops([]string{"\nUser:", "###", "<|end|>"})
	b.ReportAllocs()
	for b.Loop() {
		s.Push(" some\n")
	}
}
