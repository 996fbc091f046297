package tokenizer

import (
	"slices"
	"testing"
	"unicode"
)

// TestScanners compares the scanners with a backtracking engine that runs the
// expressions themselves, on texts without characters newer than its tables.
func TestScanners(t *testing.T) {
	vectors := unmarshalFile[[]vector](t, "testdata/phi-2.vectors.json.gz")
	for pattern, scan := range scanners {
		re, err := compilePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		compared := 0
		for _, v := range vectors {
			if slices.ContainsFunc([]rune(v.Text), newRune) {
				continue
			}
			compared++
			p := part{text: v.Text, first: true}
			got := partTexts(func(emit func(part)) { scanStep(scan)(p, emit) })
			want := partTexts(func(emit func(part)) { isolated(p, findPattern(v.Text, re), emit) })
			if !slices.Equal(got, want) {
				t.Errorf("%.20s…: %s:\n got %.300v\nwant %.300v", pattern, v.Name, got, want)
			}
		}
		if compared < 400 {
			t.Errorf("%.20s…: only %d texts compared", pattern, compared)
		}
	}
}

// newRune tells whether Go's Unicode tables lack r, or case folding differs: the
// engine does not fold U+017F.
func newRune(r rune) bool {
	return r == 'ſ' || !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf, unicode.Co)
}

func partTexts(f func(emit func(part))) (texts []string) {
	f(func(p part) { texts = append(texts, p.text) })
	return texts
}

func TestBehaviors(t *testing.T) {
	for behavior, want := range map[string][]string{
		"Isolated":           {"the", "-", "final", "-", "-", "countdown"},
		"Removed":            {"the", "final", "countdown"},
		"Contiguous":         {"the", "-", "final", "--", "countdown"},
		"MergedWithPrevious": {"the-", "final-", "-", "countdown"},
		"MergedWithNext":     {"the", "-final", "-", "-countdown"},
	} {
		p := part{text: "the-final--countdown"}
		if got := partTexts(func(emit func(part)) { behaviors[behavior](p, findString(p.text, "-"), emit) }); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", behavior, got, want)
		}
	}
}

func TestNFC(t *testing.T) {
	nfc := form(false, true).text
	for in, want := range map[string]string{
		"e\u0301":              "é",
		"\u1100\u1161\u11a8":   "각",
		"a\u0323\u0307":        "ạ\u0307",
		"a\u0307\u0323":        "ạ\u0307",
		"\U00011935\U00011930": "\U00011935\U00011930", // composes since Unicode 13
		"plain":                "plain",
	} {
		if got := nfc(in); got != want {
			t.Errorf("%+q: got %+q, want %+q", in, got, want)
		}
	}
	// No U+034F after 30 marks, unlike x/text.
	long := "e"
	for range 40 {
		long += "\u0302\u0301"
	}
	for _, r := range nfc(long) {
		if r == 0x34F {
			t.Fatal("a grapheme joiner was inserted")
		}
	}
}

func TestLossyUTF8(t *testing.T) {
	// From Rust's tests of String::from_utf8_lossy.
	for in, want := range map[string]string{
		"Hello\xC2 There\xFF Goodbye":            "Hello\uFFFD There\uFFFD Goodbye",
		"Hello\xC0\x80 There\xE6\x83 Goodbye":    "Hello\uFFFD\uFFFD There\uFFFD Goodbye",
		"\xF5foo\xF5\x80bar":                     "\uFFFDfoo\uFFFD\uFFFDbar",
		"\xF1foo\xF1\x80bar\xF1\x80\x80baz":      "\uFFFDfoo\uFFFDbar\uFFFDbaz",
		"\xF0\x80\x80\x80foo\xF0\x90\x80\x80bar": "\uFFFD\uFFFD\uFFFD\uFFFDfoo\U00010000bar",
		"\xED\xA0\x80foo\xED\xBF\xBFbar":         "\uFFFD\uFFFD\uFFFDfoo\uFFFD\uFFFD\uFFFDbar",
	} {
		if got := lossyUTF8([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
