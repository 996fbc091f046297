package repl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"testing"
)

// memory is files in memory.
type memory map[string]string

func (m memory) Read(path string) ([]byte, error) {
	text, ok := m[path]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	}
	return []byte(text), nil
}

func (m memory) Write(path string, data []byte) error {
	if strings.HasPrefix(path, "full/") {
		return errors.New("no space left on device")
	}
	m[path] = string(data)
	return nil
}

// knobs are two settings.
type knobs struct {
	temperature float64
	style       string
}

func (k *knobs) Settings() []Setting {
	return []Setting{{"temperature", strconv.FormatFloat(k.temperature, 'g', -1, 64), "how hot"}, {"style", k.style, "how nice"}}
}

func (k *knobs) Set(name, value string) error {
	if name == "style" {
		k.style = value
		return nil
	}
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || f < 0 {
		return fmt.Errorf("temperature is a number of at least 0, got %q", value)
	}
	k.temperature = f
	return nil
}

// pipe runs a session as a filter and returns answers and messages.
func pipe(t *testing.T, files memory, k *knobs, in string) (out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	_ = Run(context.Background(), fake(echo), Options{
		In: strings.NewReader(in), Out: &o, Err: &e, Now: clock(), Files: files, Settings: k, System: "S", ModelName: "Fake-1B", Context: 100,
	})
	return o.String(), e.String()
}

func TestSaveAndLoad(t *testing.T) {
	files := memory{"other.txt": "precious", "broken.json": "{", "newer.json": `{"format": "litgpt-chat", "version": 2}`, "list.json": "[1]",
		"roles.json": `{"format": "litgpt-chat", "version": 1, "messages": [{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}]}`,
		"bytes.json": "\"\xff\"",
		"bad.json":   `{"format": "litgpt-chat", "version": 1, "settings": {"temperature": -1, "color": "red"}, "messages": []}`,
	}
	out, errs := pipe(t, files, &knobs{temperature: 0.5, style: "plain"}, "a <b> \\\n\"ü\"\n/set temperature 0.25\n/set style rich\n/save my chat.json\n/save \"my chat.json\"\n/save other.txt\n/save full/x\n/save\n/load\n")
	answer := "[system:S user:a <b> \n\"ü\"]"
	if out != answer+"\n" {
		t.Errorf("got %q", out)
	}
	for _, want := range []string{"temperature is 0.25, from the next answer on.", "The conversation is saved in my chat.json (1 answer, a system prompt).",
		"other.txt is there and is no saved chat; it is left as it is", "no space left on device", "/save wants the name of a file", "/load wants the name of a file"} {
		if !strings.Contains(errs, want) {
			t.Errorf("the messages have no %q:\n%s", want, errs)
		}
	}
	want := `{
  "format": "litgpt-chat",
  "version": 1,
  "model": "Fake-1B",
  "saved": "1970-01-01T00:00:05Z",
  "settings": {
    "style": "rich",
    "temperature": 0.25
  },
  "messages": [
    {
      "role": "system",
      "content": "S"
    },
    {
      "role": "user",
      "content": "a <b> \n\"ü\""
    },
    {
      "role": "assistant",
      "content": "[system:S user:a <b> \n\"ü\"]"
    }
  ]
}
`
	if got := files["my chat.json"]; got != want {
		t.Errorf("the file is %s, want %s", got, want)
	}
	if files["other.txt"] != "precious" || len(files) != 8 {
		t.Errorf("files: %q", files)
	}

	k := &knobs{temperature: 9, style: "none"}
	out, errs = pipe(t, files, k, "/system T\nfirst\n/load my chat.json\nb\n")
	if want := "[system:T user:first]\n[system:S user:a <b> \n\"ü\" assistant:" + answer + " user:b]\n"; out != want {
		t.Errorf("after /load: got %q, want %q", out, want)
	}
	if *k != (knobs{0.25, "rich"}) || !strings.Contains(errs, "The conversation of my chat.json is loaded (1 answer, a system prompt).") {
		t.Errorf("after /load: settings %+v, messages\n%s", *k, errs)
	}
	// /retry after /load asks the last question again; an unanswered one is kept and asked.
	out, _ = pipe(t, files, &knobs{}, "/load my chat.json\n/retry\n")
	if want := answer + "\n"; out != want {
		t.Errorf("/retry after /load: got %q, want %q", out, want)
	}
	_, _ = pipe(t, files, &knobs{}, "hi\nfail\n/save open.json\n")
	out, errs = pipe(t, files, &knobs{}, "/load open.json\n/system \"\"\n/save open.json\n/load open.json\n/retry\n")
	if out != "half an an\n" || !strings.Contains(errs, "Its last question has no answer: /retry asks it.") {
		t.Errorf("an open question: got %q and\n%s", out, errs)
	}

	for name, want := range map[string]string{
		"nosuch.json": "file does not exist", "other.txt": "no JSON of a chat", "broken.json": "no JSON of a chat", "list.json": "no JSON of a chat", "newer.json": "version 2, this program reads version 1",
		"roles.json": `message 2 is of "assistant", want "user"`, "bytes.json": "not UTF-8", "bad.json": "The setting temperature stays 3: temperature is a number",
	} {
		out, errs := pipe(t, files, &knobs{temperature: 3}, "hi\n/load "+name+"\nho\n")
		if !strings.Contains(errs, want) {
			t.Errorf("%s: the messages have no %q:\n%s", name, want, errs)
		}
		kept := "[system:S user:hi]\n[system:S user:hi assistant:[system:S user:hi] user:ho]\n"
		if name == "bad.json" {
			kept = "[system:S user:hi]\n[user:ho]\n"
			if !strings.Contains(errs, `The setting "color" is not known here.`) {
				t.Errorf("%s: messages\n%s", name, errs)
			}
		}
		if out != kept {
			t.Errorf("%s: got %q, want %q", name, out, kept)
		}
	}
}

func TestConversationCommands(t *testing.T) {
	for _, c := range []struct{ name, in, out, err string }{
		{"undo", "a\nb\n/undo\nc\n", "[user:a]\n[user:a assistant:[user:a] user:b]\n[user:a assistant:[user:a] user:c]\n", "The last question is taken back (1 answer left)."},
		{"undo, then retry the one before", "a\nb\n/undo\n/retry\n", "[user:a]\n[user:a assistant:[user:a] user:b]\n[user:a]\n", ""},
		{"undo of a failed one", "a\nfail\n/undo\n/retry\n", "[user:a]\nhalf an an\n[user:a]\n", ""},
		{"undo of nothing", "/undo\n", "", "there is no question to take back"},
		{"undo after reset", "a\n/reset\n/undo\n/retry\n", "[user:a]\n", "there is no prompt to ask again"},
		{"forget", "a\nb\n/forget 1\nc\n", "[user:a]\n[user:a assistant:[user:a] user:b]\n[user:b assistant:[user:a assistant:[user:a] user:b] user:c]\n", "the model knows the last 1 answer."},
		{"forget more than there is", "a\n/forget 7\nc\n", "[user:a]\n[user:c]\n", "The conversation is forgotten."},
		{"forget what", "/forget\n/forget 0\n/forget x\n", "", `/forget wants how many of the oldest questions and answers to drop, got "x"`},
		{"full", "a\nfull\n", "[user:a]\n", "the context is full: the conversation has 9 tokens, the model reads 8|litgpt: hint: /forget 1 drops the oldest prompt and its answer, /reset all of them; then /retry asks again"},
		{"full at once", "full\n", "", "hint: ask for less, or shorten the system prompt"},
		{"full, room made, asked again", "a\nfull\n/forget 1\n/retry\n", "[user:a]\n", "The conversation is forgotten."},
		{"filled by the answer", "fills\n/stats\n", "all there is\n", "3 tokens, 5 prompt tokens (4 cached), cut off: the context is full; /forget N drops the oldest prompts, /reset all|  model          Fake-1B|  conversation   1 answer|  context        8 tokens of 100 (8%)|  generated      3 tokens in 1 answers of this session|  speed          2.40 tokens/sec|"},
		{"stats of nothing", "/stats\n", "", "not known before the next answer"},
		{"aliases", "/?\n/clear\n/regen\n/BYE\nno\n", "", "there is no prompt to ask again"},
		{"settings", "/set\n", "", "  temperature          0        how hot|  style                         how nice|"},
		{"one setting", "/set temperature\n", "", "  temperature          0        how hot||"},
		{"ollama's words", "/set parameter temperature 2\n/set temperature\n", "", "  temperature          2        how hot"},
		{"a wrong value", "/set temperature hot\n", "", `temperature is a number of at least 0, got "hot"`},
		{"an unknown setting", "/set heat 3\n", "", `there is no setting "heat"`},
		{"too many words", "/set temperature 3 4\n", "", "got 3 words"},
		{"multiline", "/multiline\na\nb\n!submit\n/multiline off\nc\n", "[user:a\nb]\n[user:a\nb assistant:[user:a\nb] user:c]\n", "A prompt is now all lines up to !submit."},
		{"multiline what", "/multiline maybe\n", "", "/multiline is on or off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs := pipe(t, memory{}, &knobs{}, "/system \"\"\n"+c.in)
			if out != c.out {
				t.Errorf("got %q, want %q", out, c.out)
			}
			if got := strings.ReplaceAll(errs, "\n", "|"); !strings.Contains(got, c.err) {
				t.Errorf("got messages %q, want %q", got, c.err)
			}
		})
	}
	var errs bytes.Buffer
	_ = Run(context.Background(), fake(echo), Options{In: strings.NewReader("/save x\n/load x\n/set\n"), Out: &bytes.Buffer{}, Err: &errs})
	if got := errs.String(); strings.Count(got, "there are no files here") != 2 || !strings.Contains(got, "there is nothing to set here") {
		t.Errorf("without files and settings: %s", got)
	}
}

// What is loaded from a file of any content does no harm, and what was loaded is saved as it was.
func FuzzLoad(f *testing.F) {
	f.Add(`{"format": "litgpt-chat", "version": 1, "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}`)
	f.Add(`{"format": "litgpt-chat", "version": 1, "settings": {"temperature": "x"}, "messages": [{"role": "system", "content": "\u001b[2J"}, {"role": "user", "content": ""}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, system, turns, open, err := decodeChat([]byte(text))
		if err != nil {
			return
		}
		s := &session{options: Options{Now: clock(), ModelName: c.Model}, system: system, turns: turns, last: open}
		data, err := s.encodeChat()
		if err != nil {
			t.Fatal(err)
		}
		_, system2, turns2, open2, err := decodeChat(data)
		if err != nil || system2 != system || open2 != open || fmt.Sprint(turns2) != fmt.Sprint(turns) {
			t.Errorf("%q is saved as %s: %v", text, data, err)
		}
	})
}
