package jinja

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// referenceCase is what tools/reference/chat.py writes: a template of its own, or the
// text of one.
type referenceCase struct {
	Source, Template, Case string
	Ctx                    json.RawMessage
	Now                    string
	OK                     bool
	Text, Error            string
	Spans                  [][2]int // of generation blocks, in characters
}

// clockAt is a clock that stands still.
func clockAt(tb testing.TB, iso string) func() time.Time {
	tb.Helper()
	at, err := ParseTime(iso)
	if err != nil {
		tb.Fatal(err)
	}
	return func() time.Time { return at }
}

// runReference renders the cases of a file and tells how many agree.
func runReference(t *testing.T, path string) (right, all, big int) {
	t.Helper()
	var file struct {
		Data  json.RawMessage
		Cases []referenceCase
	}
	if err := json.Unmarshal(readGz(t, path), &file); err != nil {
		t.Fatal(err)
	}
	shown, source := 0, ""
	for _, c := range file.Cases {
		if c.Source == "" { // the template of the case before
			c.Source = source
		}
		source = c.Source
		raw := c.Ctx
		if raw == nil {
			raw = file.Data
		}
		v, err := ParseJSON(raw)
		if err != nil {
			t.Fatal(err)
		}
		vars := v.(*Dict)
		if _, ok := vars.Get("continue_final_message"); ok {
			continue // package tokenizer does that
		}
		for name, usual := range map[string]any{"messages": &List{}, "tools": nil, "documents": nil, "add_generation_prompt": false} {
			if _, ok := vars.Get(name); !ok {
				vars.Set(name, usual)
			}
		}
		all++
		var got Rendering
		tpl, err := Parse(c.Source)
		if err == nil {
			tpl.Now = clockAt(t, c.Now)
			got, err = tpl.RenderSpans(vars)
		}
		if err != nil && strings.Contains(err.Error(), errOverflow.Error()) {
			big++ // whole numbers beyond 64 bits
			continue
		}
		var spans [][2]int
		for _, s := range got.Generated {
			spans = append(spans, [2]int{runeCount(got.Text[:s.Start]), runeCount(got.Text[:s.End])})
		}
		for i, s := range c.Spans { // ours end where the text does
			n := runeCount(c.Text)
			c.Spans[i] = [2]int{min(s[0], n), min(s[1], n)}
		}
		same := len(spans) == len(c.Spans) || got.Displaced
		for i := range spans { // characters of a displaced span cannot be counted in the text
			same = same && (got.Displaced || spans[i] == c.Spans[i])
		}
		if (err == nil) == c.OK && (err != nil || got.Text == c.Text && same) {
			right++
			continue
		}
		if shown++; shown <= 40 {
			t.Errorf("%s %s %s\n got %.300q, %v %v\nwant %.300q %s %v", c.Template, c.Case, oneLine(c.Source), got.Text, err, spans, c.Text, c.Error, c.Spans)
		}
	}
	return right, all, big
}

func oneLine(s string) string {
	if len(s) > 400 {
		s = s[:400]
	}
	return strings.ReplaceAll(s, "\n", "⏎")
}

// TestReference: small templates, many of them random, as Jinja2 renders them in
// transformers' settings; LITGPT_CHAT_CASES names more files of tools/reference/chat.py.
func TestReference(t *testing.T) {
	paths := []string{"testdata/random_cases.json.gz", "testdata/fixed_cases.json.gz"}
	if more := os.Getenv("LITGPT_CHAT_CASES"); more != "" {
		paths = strings.Split(more, ",")
	}
	for _, path := range paths {
		right, all, big := runReference(t, path)
		t.Logf("%s: %d of %d, and %d with whole numbers beyond 64 bits", path, right, all-big, big)
		if all < 30 || big > all/20 {
			t.Errorf("%s: %d cases, %d of them too large; want more to compare", path, all, big)
		}
	}
}
