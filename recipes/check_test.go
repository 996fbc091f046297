package recipes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

const fixtures = "../models/testdata/fixtures"

// inspect runs check on dir and gives its findings.
func inspect(t testing.TB, dir string) (findings []finding, err error) {
	t.Helper()
	var out bytes.Buffer
	err = Check{CheckpointDir: dir, JSON: true}.Run(t.Context(), &out)
	var report struct{ Findings []finding }
	if e := json.Unmarshal(out.Bytes(), &report); e != nil {
		t.Fatalf("%v, and the report %q is no JSON: %v", err, &out, e)
	}
	return report.Findings, err
}

// No checkpoint of the fixtures would give wrong results.
func TestCheckFixtures(t *testing.T) {
	dirs, err := filepath.Glob(fixtures + "/*/config.json")
	if more := os.Getenv("LITGPT_FIXTURES"); more != "" && err == nil {
		var found []string
		found, err = filepath.Glob(more + "/*/config.json")
		dirs = append(dirs, found...)
	}
	if err != nil || len(dirs) < 30 {
		t.Fatalf("got %d fixtures, %v", len(dirs), err)
	}
	for _, config := range append(dirs, demoModel+"/config.json") {
		findings, err := inspect(t, filepath.Dir(config))
		if err != nil {
			t.Errorf("%s: %v\n%+v", filepath.Dir(config), err, findings)
		}
		for _, f := range findings {
			if f.Severity == suspect && f.Check != "tokenizer" && f.Check != "end-of-turn" {
				t.Errorf("%s: %+v", filepath.Dir(config), f)
			}
		}
	}
}

// damaged is a copy of a checkpoint to be damaged.
type damaged struct {
	t   *testing.T
	dir string
}

func copyCheckpoint(t *testing.T, from string) damaged {
	t.Helper()
	d := damaged{t, t.TempDir()}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		d.write(e.Name(), string(b))
	}
	return d
}

func (d damaged) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o666); err != nil {
		d.t.Fatal(err)
	}
}

func (d damaged) remove(name string) {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

// edit replaces old, which must be there, by new.
func (d damaged) edit(name, old, new string) {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(old)) {
		d.t.Fatalf("%s has no %q", name, old)
	}
	d.write(name, strings.ReplaceAll(string(b), old, new))
}

// set gives a key of a JSON object another value; "" removes it.
func (d damaged) set(name, key, value string) {
	d.t.Helper()
	o := object{}
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	o[key] = json.RawMessage(value)
	if value == "" {
		delete(o, key)
	}
	out, err := json.Marshal(o)
	if err != nil {
		d.t.Fatalf("%s: %v", value, err)
	}
	d.write(name, string(out))
}

// template sets the chat template.
func (d damaged) template(text string) {
	d.t.Helper()
	raw, err := json.Marshal(text)
	if err != nil {
		d.t.Fatal(err)
	}
	d.set("tokenizer_config.json", "chat_template", string(raw))
}

// addToken adds an added token to tokenizer.json.
func (d damaged) addToken(id int, content string) {
	d.edit("tokenizer.json", `"added_tokens": [`, fmt.Sprintf(`"added_tokens": [{"id": %d, "content": %q, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},`, id, content))
}

// weights rewrites the tensors.
func (d damaged) weights(change func(ts []safetensors.Tensor) []safetensors.Tensor) {
	d.t.Helper()
	path := filepath.Join(d.dir, "model.safetensors")
	f, err := safetensors.Open(path)
	if err != nil {
		d.t.Fatal(err)
	}
	var ts []safetensors.Tensor
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		x.Data = bytes.Clone(x.Data)
		ts = append(ts, x)
	}
	f.Close()
	if err := writeFile(path, change(ts)); err != nil {
		d.t.Fatal(err)
	}
}

const chatml = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

// Every check finds what it is for, in a checkpoint that is right but for that.
func TestCheckFinds(t *testing.T) {
	const config, generation, tokens, tokConfig = "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"
	for _, tt := range []struct {
		name                  string
		damage                func(d damaged)
		severity, check, text string
	}{
		{"config missing", func(d damaged) { d.remove(config) }, severe, "config", "there is none"},
		{"config no JSON", func(d damaged) { d.write(config, "{") }, severe, "files", "cannot be read"},
		{"architecture", func(d damaged) { d.set(config, "architectures", `["GPT9LMHeadModel"]`) }, severe, "config", "unsupported architecture"},
		{"architecture, the rest", func(d damaged) {
			d.set(config, "architectures", `["GPT9LMHeadModel"]`)
			d.addToken(512, "<new>")
		}, severe, "vocabulary", "ids up to 512, and the model's embedding 512 rows"},
		{"rope", func(d damaged) { d.set(config, "rope_scaling", `{"rope_type": "spiral", "factor": 2.0}`) }, severe, "config", "spiral"},
		{"activation", func(d damaged) { d.set(config, "hidden_act", `"relu6"`) }, severe, "config", "relu6"},
		{"no weights", func(d damaged) { d.remove("model.safetensors") }, severe, "weights", "no model.safetensors"},
		{"missing shard", func(d damaged) {
			d.remove("model.safetensors")
			d.write("model.safetensors.index.json", `{"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}`)
		}, severe, "weights", "model-00001-of-00001.safetensors: missing, with 1 tensors"},
		{"missing weight", func(d damaged) {
			d.weights(func(ts []safetensors.Tensor) []safetensors.Tensor { return ts[1:] })
		}, severe, "weights", "missing lm_head.weight, shape [512 64]"},
		{"extra weight", func(d damaged) {
			d.weights(func(ts []safetensors.Tensor) []safetensors.Tensor {
				more := ts[1]
				more.Name = "model.layers.7.extra.weight"
				return append(ts, more)
			})
		}, severe, "weights", "unused model.layers.7.extra.weight"},
		{"misshapen weight", func(d damaged) { d.set(config, "intermediate_size", "48") }, severe, "weights", "mlp.down_proj.weight: shape"},
		{"integer weight", func(d damaged) {
			d.weights(func(ts []safetensors.Tensor) []safetensors.Tensor { ts[1].DType = "I32"; return ts })
		}, severe, "weights", "type I32"},
		{"tied head", func(d damaged) { d.set(config, "tie_word_embeddings", "true") }, severe, "tied-head", "lm_head.weight differs from model.embed_tokens.weight"},
		{"dtype", func(d damaged) { d.set(config, "torch_dtype", `"bfloat16"`) }, suspect, "dtype", "says bfloat16, and most weights are stored as float32"},
		{"no tokenizer", func(d damaged) { d.remove(tokens) }, suspect, "tokenizer", "there is no tokenizer"},
		{"tokenizer no JSON", func(d damaged) { d.write(tokens, "[") }, severe, "tokenizer", "cannot be read"},
		{"larger vocabulary", func(d damaged) { d.addToken(512, "<new>") }, severe, "vocabulary", "ids up to 512"},
		{"ids with a gap", func(d damaged) { d.addToken(600, "<new>") }, severe, "token-ids", `the added token "<new>" is to be 600, but becomes 512`},
		{"ids collide", func(d damaged) { d.addToken(65, "<new>") }, severe, "token-ids", `id 65 is the added token "<new>" and`},
		{"added ids collide", func(d damaged) { d.addToken(3, "<new>") }, severe, "token-ids", `id 3 is "<new>" and "<|im_start|>" among`},
		{"one token, two ids", func(d damaged) { d.addToken(5, "<|im_end|>") }, severe, "token-ids", `the added token "<|im_end|>" is 5 and 4`},
		{"vocabulary ids collide", func(d damaged) {
			d.edit(tokens, `"<|im_end|>": 4`, `"<|im_end|>": 3`)
		}, severe, "token-ids", `id 3 is "<|im_end|>" and "<|im_start|>"`},
		{"decoder, other id", func(d damaged) {
			d.set(tokConfig, "added_tokens_decoder", `{"9": {"content": "<|im_end|>", "special": true}}`)
		}, severe, "added-tokens", `"<|im_end|>" is 9; in tokenizer.json it is 4`},
		{"decoder, other token", func(d damaged) {
			d.set(tokConfig, "added_tokens_decoder", `{"4": {"content": "<|eot|>", "special": true}}`)
		}, severe, "added-tokens", `4 is "<|eot|>"; in tokenizer.json that is "<|im_end|>"`},
		{"decoder, not added", func(d damaged) {
			d.set(tokConfig, "added_tokens_decoder", `{"69": {"content": "a", "special": false}}`)
		}, suspect, "added-tokens", `"a" (69), which is no added token`},
		{"decoder, flags", func(d damaged) {
			d.set(tokConfig, "added_tokens_decoder", `{"4": {"content": "<|im_end|>", "special": false, "lstrip": true}}`)
		}, suspect, "added-tokens", `special is false and true, lstrip is true and false`},
		{"added_tokens.json, other id", func(d damaged) { d.write("added_tokens.json", `{"<|im_end|>": 7}`) }, severe, "added-tokens", `"<|im_end|>" is 7 here and 4`},
		{"added_tokens.json, unknown", func(d damaged) { d.write("added_tokens.json", `{"<new>": 7}`) }, suspect, "added-tokens", `"<new>" (7) is no token`},
		{"special_tokens_map.json", func(d damaged) { d.write("special_tokens_map.json", `{"eos_token": {"content": "<|im_end|>"}}`) }, suspect, "special-tokens", `eos_token is "<|im_end|>" here and "</s>"`},
		{"eos no token", func(d damaged) { d.set(tokConfig, "eos_token", `"<|endoftext|>"`) }, severe, "special-tokens", `eos_token is "<|endoftext|>", which is not in the vocabulary`},
		{"pad no token", func(d damaged) { d.set(tokConfig, "pad_token", `"[PAD]"`) }, suspect, "special-tokens", `pad_token is "[PAD]"`},
		{"pad is eos", func(d damaged) { d.set(tokConfig, "pad_token", `"</s>"`) }, suspect, "pad", `pad_token is eos_token, "</s>"`},
		{"pad id is eos", func(d damaged) { d.set(config, "pad_token_id", `2`) }, suspect, "pad", `pad_token_id 2`},
		{"eos id too large", func(d damaged) { d.set(config, "eos_token_id", `128001`) }, severe, "token-ids", "eos_token_id has 128001, and the embedding 512 rows"},
		{"eos id in a list", func(d damaged) { d.set(generation, "eos_token_id", `[2, 600]`) }, severe, "token-ids", "eos_token_id has 600"},
		{"eos id no id", func(d damaged) { d.set(generation, "eos_token_id", `"</s>"`) }, severe, "token-ids", "an id, or a list of ids, wanted"},
		{"eos of no token", func(d damaged) {
			d.edit(config, `"vocab_size": 512`, `"vocab_size": 600`)
			d.set(config, "eos_token_id", "555")
		}, severe, "token-ids", "eos_token_id has 555, which is no token"},
		{"eos of config and generation_config", func(d damaged) { d.set(generation, "eos_token_id", "[4]") }, suspect, "eos", "eos_token_id is [4] here and [2]"},
		{"eos of the tokenizer", func(d damaged) { d.set(config, "eos_token_id", "4") }, suspect, "eos", `without the tokenizer's eos_token "</s>" (2)`},
		{"no eos", func(d damaged) {
			d.set(config, "eos_token_id", "")
			d.set(tokConfig, "eos_token", "null")
		}, suspect, "eos", "nothing says which token ends a text"},
		{"bos of config", func(d damaged) { d.set(config, "bos_token_id", "0") }, suspect, "bos", "bos_token_id is 0, and the tokenizer's bos_token is 1"},
		{"add_bos_token", func(d damaged) { d.set(tokConfig, "add_bos_token", "false") }, suspect, "bos", "add_bos_token is false, and tokenizer.json adds one"},
		{"add_eos_token", func(d damaged) { d.set(tokConfig, "add_eos_token", "true") }, suspect, "bos", "add_eos_token is true, and tokenizer.json adds none"},
		{"tokenizer adds bos twice", func(d damaged) {
			d.edit(tokens, `"single": [`, `"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},`)
		}, severe, "bos-twice", "begins every text with BOS (1) 2 times"},
		{"template writes bos twice", func(d damaged) { d.template("{{ bos_token }}<s>" + chatml) }, severe, "bos-twice", `"<s>", twice`},
		{"template writes bos, and the tokenizer", func(d damaged) {}, remark, "bos-twice", `the template writes "<s>", which the tokenizer adds`},
		{"model_max_length", func(d damaged) { d.set(tokConfig, "model_max_length", "4096") }, suspect, "lengths", "model_max_length is 4096, and the model was made for 128"},
		{"generation_config no JSON", func(d damaged) { d.write(generation, `{"a": }`) }, severe, "files", "cannot be read"},
		{"top_p", func(d damaged) { d.write(generation, `{"do_sample": true, "top_p": 1.5}`) }, severe, "generation", "top_p is 1.5; 0 to 1 wanted"},
		{"temperature", func(d damaged) { d.write(generation, `{"do_sample": true, "temperature": -1}`) }, severe, "generation", "temperature is -1"},
		{"temperature 0", func(d damaged) { d.write(generation, `{"do_sample": true, "temperature": 0.0}`) }, severe, "generation", "temperature is 0, and do_sample true"},
		{"temperature unused", func(d damaged) { d.write(generation, `{"do_sample": false, "temperature": 0.6}`) }, suspect, "generation", "do_sample is false, so that temperature 0.6"},
		{"do_sample", func(d damaged) { d.write(generation, `{"do_sample": "yes"}`) }, severe, "generation", "true or false wanted"},
		{"template syntax", func(d damaged) { d.template("{% for %}") }, severe, "template", "a conversation of user does not render"},
		{"template refuses a turn", func(d damaged) {
			d.template("{% if messages|length > 1 and messages[0].role == 'user' %}{{ raise_exception('one only') }}{% endif %}" + chatml)
		}, severe, "template", "user, assistant, user does not render"},
		{"template refuses system", func(d damaged) {
			d.template("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + chatml)
		}, remark, "template", "it refuses a system message"},
		{"template fails on system", func(d damaged) {
			d.template("{% if messages[0].role == 'system' %}{{ 1 + 'a' }}{% endif %}" + chatml)
		}, severe, "template", "a conversation of system, user does not render"},
		{"no generation prompt", func(d damaged) { d.template(strings.Split(chatml, "{% if add")[0]) }, severe, "generation-prompt", `it lacks a generation prompt: before an answer the template writes "<|im_start|>assistant"`},
		{"other generation prompt", func(d damaged) { d.template(strings.Replace(chatml, "assistant\n", "model\n", 1)) }, suspect, "generation-prompt", `add_generation_prompt writes "model`},
		{"answer left out", func(d damaged) {
			d.template("{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}")
		}, severe, "template", "is not in what it renders"},
		{"marker no token", func(d damaged) { d.template(strings.ReplaceAll(chatml, "im_start", "turn")) }, suspect, "template-token", `it writes "<|turn|>", which is no token`},
		{"end of turn no token", func(d damaged) { d.template(strings.ReplaceAll(chatml, "im_end", "eot_id")) }, severe, "template-token", `answers end with "<|eot_id|>", which is no token`},
		{"end of turn no eos", func(d damaged) {}, suspect, "end-of-turn", `answers end with "<|im_end|>" (id 4)`},
		{"end of turn is text", func(d damaged) { d.template(strings.ReplaceAll(chatml, "<|im_end|>", "###")) }, remark, "end-of-turn", `the text "###`},
		{"no end of turn", func(d damaged) {
			d.template("{% for m in messages %}{{ m.content }}{% endfor %}")
		}, remark, "end-of-turn", "nothing ends the last answer"},
		{"prompt_style.yaml", func(d damaged) { d.write("prompt_style.yaml", "style: alpaca\n") }, suspect, "prompt-style", `would write prompts differently from alpaca: at byte`},
		{"prompt_style.yaml no style", func(d damaged) { d.write("prompt_style.yaml", "style: alpacca\n") }, severe, "prompt-style", `nearest: alpaca`},
		{"adapter of nothing", func(d damaged) {
			d.write("adapter_config.json", `{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "nowhere"}`)
		}, severe, "adapter", `base checkpoint "nowhere" is not there`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := copyCheckpoint(t, fixtures+"/llama2")
			tt.damage(d)
			findings, err := inspect(t, d.dir)
			if tt.severity == severe && (err == nil || !strings.Contains(err.Error(), "error")) {
				t.Errorf("got %v, want an error", err)
			}
			for _, f := range findings {
				if f.Severity == tt.severity && f.Check == tt.check && strings.Contains(f.Problem, tt.text) {
					return
				}
			}
			t.Errorf("got %v and %s\nwant %s %s with %q", err, dump(findings), tt.severity, tt.check, tt.text)
		})
	}
}

func dump(findings []finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "\n%s %s %s: %s → %s", f.Severity, f.Check, f.Where, f.Problem, f.Advice)
	}
	return b.String()
}

// An adapter is checked with its base, and its weights against the model.
func TestCheckAdapter(t *testing.T) {
	base := copyCheckpoint(t, fixtures+"/llama2")
	adapter := copyCheckpoint(t, fixtures+"/llama2/reference/adapter")
	adapter.set("adapter_config.json", "base_model_name_or_path", fmt.Sprintf("%q", base.dir))
	if findings, err := inspect(t, adapter.dir); err != nil {
		t.Errorf("got %v, %s", err, dump(findings))
	}
	path := filepath.Join(adapter.dir, "adapter_model.safetensors")
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	x, _ := f.Tensor(f.Names()[0])
	x.Data = bytes.Clone(x.Data)
	f.Close()
	if err := writeFile(path, []safetensors.Tensor{x}); err != nil {
		t.Fatal(err)
	}
	findings, err := inspect(t, adapter.dir)
	if err == nil || !strings.Contains(dump(findings), "error adapter adapter_model.safetensors: missing base_model.model.") {
		t.Errorf("a weight alone: got %v, %s", err, dump(findings))
	}
	base.set("config.json", "intermediate_size", "48")
	if findings, err := inspect(t, adapter.dir); err == nil || !strings.Contains(dump(findings), "error weights") {
		t.Errorf("a wrong base: got %v, %s", err, dump(findings))
	}
}

// A tied head that is stored as well is compared, in every type of checkpoint.
func TestCheckTiedHead(t *testing.T) {
	for _, same := range []bool{true, false} {
		d := copyCheckpoint(t, fixtures+"/llama3.2")
		d.weights(func(ts []safetensors.Tensor) []safetensors.Tensor {
			for _, x := range ts {
				if x.Name == "model.embed_tokens.weight" {
					x.Name, x.Data = "lm_head.weight", bytes.Clone(x.Data)
					if !same {
						x.Data[len(x.Data)-1] ^= 1
					}
					return append([]safetensors.Tensor{x}, ts...)
				}
			}
			return ts
		})
		findings, err := inspect(t, d.dir)
		if got := strings.Contains(dump(findings), "error tied-head"); got == same || (err == nil) != same {
			t.Errorf("a head that is the embedding %t: got %v, %s", same, err, dump(findings))
		}
	}
}

// What files say cannot be taken for lines of the report.
func TestCheckText(t *testing.T) {
	d := copyCheckpoint(t, fixtures+"/llama2")
	d.set("tokenizer_config.json", "eos_token", `"x\nerror   y"`)
	d.write("prompt_style.yaml", "style: alpaca\n")
	var out bytes.Buffer
	if err := (Check{CheckpointDir: d.dir}).Run(t.Context(), &out); err == nil {
		t.Error("no error")
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, line := range lines[:len(lines)-1] {
		if !strings.HasPrefix(line, "error   tokenizer_config.json: eos_token is") && !strings.HasPrefix(line, "warning ") && !strings.HasPrefix(line, "info    ") {
			t.Errorf("got the line %q", line)
		}
	}
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, d.dir+": 1 error, 2 warnings (21 weights, a tokenizer of 512 ids, a chat template)") {
		t.Errorf("got %q\n%s", last, &out)
	}
	if err := (Check{CheckpointDir: filepath.Join(d.dir, "none")}).Run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "checkpoint directory") {
		t.Errorf("no directory: got %v", err)
	}
	if err := (Check{CheckpointDir: filepath.Join(d.dir, "config.json")}).Run(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "is a file, and no GGUF file") {
		t.Errorf("a file: got %v", err)
	}
}

// sentencePiece is a tokenizer.model of pieces: BPE, the first one unknown.
func sentencePiece(pieces ...string) string {
	var b []byte
	field := func(dst []byte, number, kind int, payload ...byte) []byte {
		return append(append(dst, byte(number<<3|kind)), payload...)
	}
	for i, p := range pieces {
		piece := field(nil, 1, 2, append([]byte{byte(len(p))}, p...)...)
		piece = field(piece, 2, 5, 0, 0, 0, 0) // score
		if i == 0 {
			piece = field(piece, 3, 0, 2) // unknown
		}
		b = field(b, 1, 2, append([]byte{byte(len(piece))}, piece...)...)
	}
	return string(field(b, 2, 2, 2, 3<<3, 2)) // trainer_spec.model_type BPE
}

// tokenizer.model is compared with the tokenizer.json that is used.
func TestCheckTokenizerModel(t *testing.T) {
	for _, tt := range []struct {
		name, file, want string // "" is no finding
	}{
		{"the same", sentencePiece("<pad>", "<s>", "</s>"), ""},
		{"an added token instead", sentencePiece("<unk>", "<s>", "</s>", "<0x00>", "<0x01>"), ""},
		{"another", sentencePiece("<unk>", "<s>", "</s>", "a", "b", "zebra"), `error tokenizer-model tokenizer.model: id 5 is "!" in tokenizer.json and "zebra" here; 1 difference in all`},
		{"none", "\x0a\xff", "warning tokenizer-model tokenizer.model: it cannot be read: "},
	} {
		d := copyCheckpoint(t, fixtures+"/llama2")
		d.write("tokenizer.model", tt.file)
		findings, _ := inspect(t, d.dir)
		if got := dump(findings); tt.want == "" && strings.Contains(got, "tokenizer.model") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}
