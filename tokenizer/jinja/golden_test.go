package jinja

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// chatCase is what Python's Jinja2 makes of a template, in transformers' settings.
type chatCase struct {
	Template string
	Case     string
	Ctx      json.RawMessage
	OK       bool   // false: an error
	Text     string // or the error
}

func readGz(tb testing.TB, path string) []byte {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// runCases renders every case with the templates of dir and returns how many agree.
func runCases(t *testing.T, dir string, cases []chatCase) (right int) {
	t.Helper()
	clock := func() time.Time { return time.Date(2024, 7, 26, 10, 30, 0, 0, time.UTC) } // the oracle's
	templates := map[string]*Template{}
	for _, c := range cases {
		tpl := templates[c.Template]
		if tpl == nil {
			src, err := os.ReadFile(filepath.Join(dir, c.Template+".jinja"))
			if err != nil {
				t.Fatal(err)
			}
			if tpl, err = Parse(string(src)); err != nil {
				t.Errorf("%s: %v", c.Template, err)
				continue
			}
			tpl.Now = clock
			templates[c.Template] = tpl
		}
		vars, err := ParseJSON(c.Ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tpl.Render(vars.(*Dict))
		switch {
		case (err == nil) != c.OK:
			t.Errorf("%s/%s: got %.200q, error %v; want ok %v: %.200s", c.Template, c.Case, got, err, c.OK, c.Text)
		case err == nil && got != c.Text:
			i := 0
			for i < len(got) && i < len(c.Text) && got[i] == c.Text[i] {
				i++
			}
			t.Errorf("%s/%s: after %.40q\n got %.80q\nwant %.80q", c.Template, c.Case, got[max(0, i-40):i], got[i:], c.Text[i:])
		default:
			right++
		}
	}
	return right
}

func TestChatTemplates(t *testing.T) {
	var cases []chatCase
	if err := json.Unmarshal(readGz(t, "testdata/chat_cases.json.gz"), &cases); err != nil {
		t.Fatal(err)
	}
	if right := runCases(t, "testdata", cases); right < 300 {
		t.Errorf("%d cases are right, want 300 and more", right)
	}
}

// TestChatTemplatesDir runs golden/chat_cases.json.gz of the directory named, for
// templates whose licence keeps them out of testdata.
func TestChatTemplatesDir(t *testing.T) {
	dir := os.Getenv("LITGPT_TOKENIZERS")
	if dir == "" {
		t.Skip("LITGPT_TOKENIZERS names no directory of tokenizers with golden vectors")
	}
	var cases []chatCase
	if err := json.Unmarshal(readGz(t, filepath.Join(dir, "golden", "chat_cases.json.gz")), &cases); err != nil {
		t.Fatal(err)
	}
	right := runCases(t, filepath.Join(dir, "golden", "chat_templates"), cases)
	t.Logf("%d of %d as Python's Jinja2 (%.2f %%)", right, len(cases), 100*float64(right)/float64(len(cases)))
}

func TestDate(t *testing.T) {
	tpl, err := Parse(`{{ strftime_now("%d %b %Y, %-d|%H:%M|%B|%A|%j|%y|%%|%q") }}`)
	if err != nil {
		t.Fatal(err)
	}
	tpl.Now = func() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC) }
	got, err := tpl.Render(NewDict())
	if want := "03 Feb 2026, 3|04:05|February|Tuesday|034|26|%|%q"; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if !strings.HasPrefix(got, "03") {
		t.Errorf("day %q", got)
	}
}
