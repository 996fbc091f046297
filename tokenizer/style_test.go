package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestStyleTexts compares every style with LitGPT's texts.
func TestStyleTexts(t *testing.T) {
	want := unmarshalFile[[]struct{ Class, Name, Plain, Sys, Input string }](t, "testdata/styles.json")
	if got := len(Styles()); got != len(want)+1 {
		t.Errorf("%d styles, want LitGPT's %d and chat_template", got, len(want))
	}
	for _, w := range want {
		p, err := StyleByName(w.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		// Texts with braces must not be taken for places of the template.
		fill := strings.NewReplacer("{P}", "What {S}?", "{S}", "Be {P}.", "{I}", "in {P}").Replace
		check := func(input, system, want string) {
			if got := p.Apply("What {S}?", input, system); got != fill(want) {
				t.Errorf("%s, input %q, system %q:\n got %q\nwant %q", w.Name, input, system, got, fill(want))
			}
		}
		check("", "", w.Plain)
		if w.Sys != "" {
			check("", "Be {P}.", w.Sys)
		} else {
			check("", "Be {P}.", w.Plain) // no place for a system prompt
		}
		if w.Input != "" {
			check("in {P}", "", w.Input)
		} else if got := p.Apply("What", "in", ""); !strings.Contains(got, "What\n\nin") {
			t.Errorf("%s drops the input: %q", w.Name, got)
		}
		if got := string(p.YAML()); got != "class_path: litgpt.prompts."+w.Class+"\n" {
			t.Errorf("%s: YAML %q", w.Name, got)
		}
	}
	alpaca, _ := StyleByName("alpaca")
	if got, want := alpaca.Apply("P", "I", "S "), "S ### Instruction:\nP\n\n### Input:\nI\n\n### Response:\n"; got != want {
		t.Errorf("alpaca with all: got %q, want %q", got, want)
	}
	if got := (PromptStyle{}).Apply("P", "", "S"); got != "P" {
		t.Errorf("zero style: got %q", got)
	}
}

func TestStyleForModel(t *testing.T) {
	for model, want := range map[string]string{
		"Llama-2-7b-chat-hf":                     "llama2",
		"Llama-2-7b-chat-hf-function-calling-v2": "llama2-function-calling",
		"Llama-3.2-1B-Instruct":                  "llama3",
		"Llama-3-8B-Instruct":                    "llama3",
		"Llama-3.1-Nemotron-70B-Instruct-HF":     "llama3",
		"CodeLlama-34b-Instruct-hf":              "codellama", // llama3 in LitGPT
		"CodeLlama-7b-hf":                        "codellama",
		"Mistral-7B-Instruct-v0.3":               "codellama",
		"Mixtral-8x7B-Instruct-v0.1":             "codellama",
		"Meta-Llama-3-8B":                        "default",
		"Falcon3-1B-Instruct":                    "falcon3",
		"falcon-7b-instruct":                     "falcon",
		"OLMo-2-1124-7B-Instruct":                "llama3",
		"OLMo-7B-hf":                             "olmo",
		"R1-Distill-Llama-8B":                    "r1",
		"phi-1_5":                                "phi-1",
		"phi-2":                                  "phi-2",
		"Phi-3-mini-4k-instruct":                 "phi-3",
		"Phi-4-reasoning-plus":                   "phi-4-reasoning",
		"Phi-4-mini-reasoning":                   "phi-4-mini-reasoning",
		"Phi-4-mini-instruct":                    "phi-4-mini",
		"phi-4":                                  "phi-4",
		"tiny-llama-1.1b-chat":                   "tinyllama",
		"tiny-llama-1.1b":                        "default",
		"Gemma-2-2b-it":                          "gemma",
		"CodeGemma-7b-it":                        "gemma",
		"Qwen2.5-Math-7B-Instruct":               "qwen2.5-math",
		"Qwen2.5-0.5B":                           "qwen2.5",
		"QwQ-32B":                                "qwq",
		"Qwen3-0.6B":                             "qwen3",
		"SmolLM2-135M-Instruct":                  "smollm2",
		"SmolLM2-135M":                           "default",
		"salamandra-2b-instruct":                 "salamandra",
		"stablelm-tuned-alpha-3b":                "stablelm-alpha",
		"stablelm-zephyr-3b":                     "stablelm-zephyr",
		"pythia-14m":                             "default",
		"":                                       "default",
	} {
		if got := StyleForModel(model).Name(); got != want {
			t.Errorf("%s: got %s, want %s", model, got, want)
		}
	}
	for _, rule := range styleRules { // every rule names a style
		if _, err := StyleByName(rule.style); err != nil {
			t.Error(err)
		}
	}
}

// TestStyleForModels goes through all models that LitGPT knows by name.
func TestStyleForModels(t *testing.T) {
	want := unmarshalFile[map[string]string](t, "testdata/style_names.json")
	if len(want) != 210 {
		t.Errorf("%d models, want 210", len(want))
	}
	for model, class := range want {
		p, err := StyleByName(class)
		if err != nil {
			t.Error(err)
			continue
		}
		name := p.Name()
		if model == "CodeLlama-34b-Instruct-hf" && name == "llama3" {
			name = "codellama" // LitGPT takes it for a Llama 3: "Llama-3…4b-Instruct"
		}
		if got := StyleForModel(model).Name(); got != name {
			t.Errorf("%s: got %s, want %s", model, got, name)
		}
	}
}

func TestStyleByName(t *testing.T) {
	for _, name := range []string{"llama2", "Llama2"} {
		if p, err := StyleByName(name); err != nil || p.Name() != "llama2" {
			t.Errorf("%s: got %s, %v", name, p.Name(), err)
		}
	}
	_, err := StyleByName("lama3")
	if err == nil || !strings.Contains(err.Error(), "llama3") {
		t.Errorf("got %v, want llama3 among the nearest", err)
	}
	if _, err := StyleByName(""); err == nil {
		t.Error("the empty name is a style")
	}
}

func TestChatTemplateStyle(t *testing.T) {
	tk := loadDir(t, "testdata/fixture")
	p, err := StyleByName(ChatTemplateStyle)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Render(tk, "P", "I", "S")
	want := "<s><|im_start|>system\nS<|im_end|>\n<|im_start|>user\nP\n\nI<|im_end|>\n<|im_start|>assistant\n"
	if got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, _ := p.Render(tk, "P", "", ""); got != "<s><|im_start|>user\nP<|im_end|>\n<|im_start|>assistant\n" {
		t.Errorf("without input and system: got %q", got)
	}
	if p.AddsSpecial() {
		t.Error("the template writes BOS itself")
	}
	if ids := tk.Encode(want, p.AddsSpecial()); ids[0] != 1 || ids[1] == 1 {
		t.Errorf("BOS once: got %v", ids[:2])
	}
	llama3, _ := StyleByName("llama3")
	if alpaca, _ := StyleByName("alpaca"); llama3.AddsSpecial() || !alpaca.AddsSpecial() {
		t.Error("llama3 writes BOS itself, alpaca does not")
	}
	if _, err := p.Render(nil, "P", "", ""); err == nil {
		t.Error("no error without a tokenizer")
	}
	bare, err := Parse([]byte(`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Render(bare, "P", "", ""); err == nil || !strings.Contains(err.Error(), "no chat template") {
		t.Errorf("no template: got %v", err)
	}
	tk.chat = &ChatTemplates{sources: map[string]string{"default": "a\n{{ raise_exception('no ' + messages[0]['role']) }}"}, specials: tk.specials}
	if _, err := p.Render(tk, "P", "", ""); err == nil || !strings.Contains(err.Error(), "line 2: TemplateError: no user") {
		t.Errorf("raise_exception: got %v", err)
	}
}

// TestPrompt: BOS comes once and a text's EOS not at all, whoever writes them.
func TestPrompt(t *testing.T) {
	const file = `{"model":{"type":"BPE","vocab":{"a":0,"<s>":1,"</s>":2,"<|endoftext|>":3},"merges":[]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},
		"added_tokens":[{"id":1,"content":"<s>","special":true},{"id":2,"content":"</s>","special":true},{"id":3,"content":"<|endoftext|>","special":true}],
		"post_processor":{"type":"TemplateProcessing","single":[%s],"special_tokens":{"B":{"ids":[%d]},"E":{"ids":[2]}}}}`
	const before, after, text = `{"SpecialToken":{"id":"B"}}`, `{"SpecialToken":{"id":"E"}}`, `{"Sequence":{"id":"A"}}`
	for _, tt := range []struct {
		name, style, post, prompt string
		bos                       int
		want                      []int32
	}{
		{"added", "default", before + "," + text, "aa", 1, []int32{1, 0, 0}},
		{"added and written", "default", before + "," + text, "<s>aa", 1, []int32{1, 0, 0}},
		{"written only", "default", text, "<s>aa", 1, []int32{1, 0, 0}},
		{"written twice on purpose", "default", text, "<s><s>a", 1, []int32{1, 1, 0}},
		{"EOS behind", "default", before + "," + text + "," + after, "a", 1, []int32{1, 0}},
		{"EOS written", "default", before + "," + text, "a</s>", 1, []int32{1, 0}},
		{"EOS of an empty text", "default", text + "," + after, "", 1, []int32{2}},
		{"style writes it", "olmo", before + "," + text, "", 3, []int32{3}},
		{"another", "olmo", before + "," + text, "", 1, []int32{1, 3}},
	} {
		dir := t.TempDir()
		writeFiles(t, dir, map[string]string{"tokenizer.json": fmt.Sprintf(file, tt.post, tt.bos),
			"tokenizer_config.json": fmt.Sprintf(`{"bos_token":"%s","eos_token":"</s>"}`, map[int]string{1: "<s>", 3: "<|endoftext|>"}[tt.bos])})
		p, err := StyleByName(tt.style)
		if err != nil {
			t.Fatal(err)
		}
		tk := loadDir(t, dir)
		got, err := p.Prompt(tk, tt.prompt, "", "")
		if tt.style == "olmo" { // the rest of its text has no tokens here
			got = slices.DeleteFunc(got, func(id int32) bool { return id == 0 })
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestCompare(t *testing.T) {
	tk := loadDir(t, "testdata/fixture")
	style := func(name string) PromptStyle {
		p, err := StyleByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct {
		a, b, template string
		want           *Difference
	}{
		{"alpaca", "alpaca", "", nil},
		{"flan", "longform", "", &Difference{48, ". Write a response that appropriately co…", ", paired with an input that provides fur…"}},
		{"qwen3", "gemma", "", &Difference{3, "<|im_start|>user\nHello, who are you?<|im…", "<start_of_turn>user\nHello, who are you?<…"}},
		{"qwen3", "chat_template", "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant{{ '\n' }}", nil},
		{"qwen3", "chat_template", "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
			&Difference{0, "<s><|im_start|>user\nHello, who are you?<…", "<|im_start|>user\nHello, who are you?<|im…"}},
		{"gemma", "chat_template", "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}<start_of_turn>user\n{{ messages[0].content }}<end_of_turn>\n<start_of_turn>model{{ '\n' }}", nil},
		{"qwen2.5", "qwen3", "", &Difference{15, "system\nYou are Qwen, created by Alibaba …", "user\nHello, who are you?<|im_end|>\n<|im_…"}},
		{"smollm2", "qwen3", "", &Difference{15, "system\nYou are a helpful AI assistant na…", "user\nHello, who are you?<|im_end|>\n<|im_…"}},
		{"default", "chat_template", "{{ 1 + 'a' }}", &Difference{0, "<s>Hello, who are you?", "chat template: line 1: TypeError: unsupported operand type(s) for +: 'int' and 'str'"}},
	} {
		tk.chat = &ChatTemplates{sources: map[string]string{"default": tt.template}, specials: tk.specials}
		got := style(tt.a).Compare(tk, style(tt.b))
		if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s and %s: got %+v, want %+v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestStopTokens(t *testing.T) {
	const file = `{"model":{"type":"BPE","vocab":{"User":0,":":1,"Ċ":2,"</s>":3,"<|eot_id|>":4},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}}`
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"tokenizer.json": file, "tokenizer_config.json": `{"eos_token":"</s>"}`,
		"generation_config.json": `{"eos_token_id":[3,4]}`})
	tk := loadDir(t, dir)
	for name, want := range map[string][][]int32{
		"default": {{3}, {4}},
		"falcon":  {{3}, {4}, {0, 1}, {2, 0}},
		"llama3":  {{3}, {4}}, // <|eot_id|> is there already
		"phi-1":   {{3}, {4}}, // no token Answer
	} {
		p, err := StyleByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.StopTokens(tk); !slices.EqualFunc(got, want, slices.Equal[[]int32]) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestStyleFile(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := LoadStyle(dir); ok || err != nil {
		t.Errorf("no file: got %v, %v", ok, err)
	}
	for _, name := range Styles() {
		p, err := StyleByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := SaveStyle(dir, p); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := LoadStyle(dir); got != p || !ok || err != nil {
			t.Errorf("%s: got %s, %v, %v", name, got.Name(), ok, err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left, want 1", len(files))
	}
	if err := SaveStyle(filepath.Join(dir, "none"), PromptStyle{}); err == nil {
		t.Error("saved into a directory that is not there")
	}
	for content, want := range map[string]string{
		"class_path: os.system\n":              `"os.system" is not one of LitGPT's`,
		"class_path: litgpt.prompts.Alpacca\n": "nearest: alpaca",
		"style: chat-template\n":               "chat_template",
		"":                                     "no class_path and no style",
		"other: x\n":                           "other",
		"style: alpaca\nclass_path: litgpt.prompts.Phi2": "both",
		"[": "prompt_style.yaml",
	} {
		writeFiles(t, dir, map[string]string{StyleFile: content})
		if _, ok, err := LoadStyle(dir); ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %q", content, ok, err, want)
		}
	}
}
