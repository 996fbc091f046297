package recipes

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/repl"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// The ids of a prompt are the same in training, in generate and in chat, in every style,
// and begin with BOS once.
func TestPromptsOfTrainingAndServing(t *testing.T) {
	const prompt, system = "What food do llamas eat?\n", "Be brief."
	endsTexts := copyCheckpoint(t, demoModel) // a tokenizer that puts EOS behind every text, as some do
	endsTexts.edit("tokenizer.json", `"single": [
      {
        "SpecialToken": {
          "id": "<s>",
          "type_id": 0
        }
      },
      {
        "Sequence": {
          "id": "A",
          "type_id": 0
        }
      }`, `"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}`)
	endsTexts.set("tokenizer_config.json", "eos_token", `"<s>"`)
	for _, dir := range []string{demoModel, endsTexts.dir} {
		tok, err := tokenizer.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(tokenizer.Styles(), "auto") {
			for _, system := range []string{"", system} {
				sample, err := json.Marshal(map[string]string{"instruction": prompt, "output": "Grass.", "sys_prompt": system})
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(t.TempDir(), "data.jsonl")
				if err := os.WriteFile(file, slices.Concat(sample, []byte("\n"), sample), 0o666); err != nil {
					t.Fatal(err)
				}
				l := &loaded{dir: dir, base: dir}
				c := data.Defaults()
				c.JSON.JSONPath, c.JSON.PromptStyle, c.JSON.ValSplitFraction = file, name, 0.5
				training, err := l.trainingStyle(c, tok)
				if err != nil {
					t.Fatal(err)
				}
				set, validation, err := data.Open(t.Context(), c, data.Options{Tokenizer: tok, Style: rendered{training.style, tok}})
				if err != nil {
					t.Fatal(err)
				}
				trained := slices.Clone(set.Prompt(0))
				set.Close()
				validation.Close()

				serving, err := l.chooseStyle(tok, name)
				if err != nil {
					t.Fatal(err)
				}
				generated, err := serving.style.Prompt(tok, prompt, "", system)
				if err != nil {
					t.Fatal(err)
				}
				var turns []repl.Turn
				if system != "" {
					turns = append(turns, repl.Turn{Role: "system", Content: system})
				}
				chat := &chatModel{t: &talker{tok: tok, styleChoice: serving}}
				chatted, err := chat.encode(append(turns, repl.Turn{Role: "user", Content: prompt}))
				if err != nil {
					t.Fatal(err)
				}
				if len(trained) == 0 || !slices.Equal(trained, generated) || !slices.Equal(trained, chatted) {
					t.Errorf("%s, system %q:\ntraining %v\ngenerate %v\nchat     %v", name, system, trained, generated, chatted)
				}
				if bos, _ := tok.BOS(); name != "llama3" && (trained[0] != bos || trained[1] == bos) {
					t.Errorf("%s: got %v, want BOS once", name, trained[:2])
				}
			}
		}
	}
}

// What is chosen, why, and what is said of it.
func TestChooseStyle(t *testing.T) {
	template := func(t *testing.T, name string) damaged {
		d := copyCheckpoint(t, demoModel)
		to := filepath.Join(t.TempDir(), name)
		if err := os.Rename(d.dir, to); err != nil {
			t.Fatal(err)
		}
		d.dir = to
		return d
	}
	bare := func(t *testing.T, name string) damaged {
		d := template(t, name)
		d.set("tokenizer_config.json", "chat_template", "")
		return d
	}
	write := func(d damaged, text string) damaged { d.write(tokenizer.StyleFile, text); return d }
	for _, tt := range []struct {
		name        string
		make        func(t *testing.T) damaged
		asked       string
		style, why  string
		differsFrom string // "" is none
	}{
		{"its template", func(t *testing.T) damaged { return template(t, "model") }, "", "chat_template", "the checkpoint's own chat template", ""},
		{"its template by auto", func(t *testing.T) damaged { return template(t, "model") }, "auto", "chat_template", "the checkpoint's own chat template", ""},
		{"its template before its name", func(t *testing.T) damaged { return template(t, "Qwen2.5-0.5B-Instruct") }, "", "chat_template", "the checkpoint's own chat template", "qwen2.5 (LitGPT's rule for the name Qwen2.5-0.5B-Instruct)"},
		{"the same as its name says", func(t *testing.T) damaged {
			d := template(t, "Qwen3-0.6B")
			d.template("{{ bos_token }}" + chatml)
			return d
		}, "", "chat_template", "the checkpoint's own chat template", ""},
		{"its name", func(t *testing.T) damaged { return bare(t, "Qwen3-0.6B") }, "", "qwen3", "LitGPT's rule for the name Qwen3-0.6B", ""},
		{"no rule", func(t *testing.T) damaged { return bare(t, "model") }, "", "default", "LitGPT's rule for the name model", ""},
		{"finetuned", func(t *testing.T) damaged { return write(template(t, "model"), "style: chat_template\n") }, "", "chat_template", "prompt_style.yaml", ""},
		{"finetuned otherwise", func(t *testing.T) damaged {
			return write(template(t, "model"), "class_path: litgpt.prompts.Alpaca\n")
		}, "", "alpaca", "prompt_style.yaml", "the checkpoint's own chat template"},
		{"asked for", func(t *testing.T) damaged { return template(t, "model") }, "phi-2", "phi-2", "asked for", "the checkpoint's own chat template"},
		{"asked for by class", func(t *testing.T) damaged { return template(t, "model") }, "Phi2", "phi-2", "asked for", "the checkpoint's own chat template"},
		{"asked for what it has", func(t *testing.T) damaged { return template(t, "model") }, "chat_template", "chat_template", "asked for", ""},
		{"asked for, finetuned", func(t *testing.T) damaged { return write(template(t, "model"), "style: alpaca\n") }, "chat_template", "chat_template", "asked for", "alpaca ("},
		{"asked for, file broken", func(t *testing.T) damaged { return write(template(t, "model"), "style: x\n") }, "phi-2", "phi-2", "asked for", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.make(t)
			tok, err := tokenizer.Load(d.dir)
			if err != nil {
				t.Fatal(err)
			}
			l := &loaded{dir: d.dir, base: d.dir}
			got, err := l.chooseStyle(tok, tt.asked)
			if err != nil {
				t.Fatal(err)
			}
			if got.style.Name() != tt.style || !strings.HasSuffix(got.why, tt.why) {
				t.Errorf("got %s because of %s, want %s because of %s", got.style.Name(), got.why, tt.style, tt.why)
			}
			var log bytes.Buffer
			got.warn(slog.New(slog.NewTextHandler(&log, nil)))
			if tt.differsFrom == "" && log.Len() > 0 || tt.differsFrom != "" && (strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), tt.differsFrom)) {
				t.Errorf("got the warning %q, want one about %q", &log, tt.differsFrom)
			}
		})
	}
	d := write(template(t, "model"), "style: x\n")
	tok, err := tokenizer.Load(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&loaded{dir: d.dir, base: d.dir}).chooseStyle(tok, ""); err == nil || !strings.Contains(err.Error(), "prompt_style.yaml") {
		t.Errorf("a broken file: got %v", err)
	}
	if _, err := (&loaded{dir: d.dir, base: d.dir}).chooseStyle(tok, "alpacca"); err == nil || !strings.Contains(err.Error(), "alpaca") {
		t.Errorf("an unknown name: got %v", err)
	}
}

// An adapter's own files go before its base's.
func TestChooseStyleOfAdapter(t *testing.T) {
	base, adapter := copyCheckpoint(t, demoModel), copyCheckpoint(t, fixtures+"/llama2/reference/adapter")
	base.write(tokenizer.StyleFile, "style: phi-2\n")
	l := &loaded{dir: adapter.dir, base: base.dir}
	for _, tt := range []struct {
		change func()
		want   string
	}{
		{func() {}, "phi-2"}, // the base's finetuning
		{func() { // a template that the adapter brings, as PEFT's do
			for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
				b, err := os.ReadFile(filepath.Join(demoModel, name))
				if err != nil {
					t.Fatal(err)
				}
				adapter.write(name, string(b))
			}
		}, "chat_template"},
		{func() { adapter.write(tokenizer.StyleFile, "style: flan\n") }, "flan"},
	} {
		tt.change()
		tok, err := tokenizer.Load(l.tokenizerDir())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := l.chooseStyle(tok, ""); err != nil || got.style.Name() != tt.want {
			t.Errorf("got %s, %v, want %s", got.style.Name(), err, tt.want)
		}
	}
}
