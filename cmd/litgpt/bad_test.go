package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// Each mistake ends in one error that says what is wrong, with nothing written
// and the process whole.
func TestBadCheckpoint(t *testing.T) {
	const weights = "ckpt/model.safetensors"
	config := func(old, new string) func(*testing.T) {
		return func(t *testing.T) { edit(t, "ckpt/config.json", old, new) }
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T)
		want   []string
	}{
		{"no directory", func(t *testing.T) { check(t, os.RemoveAll("ckpt")) }, []string{"checkpoint ckpt: there is no such directory"}},
		{"a file", func(t *testing.T) { check(t, os.RemoveAll("ckpt")); write(t, "ckpt", []byte("x")) }, []string{"ckpt", "not a directory"}},
		{"no config", remove("ckpt/config.json"), []string{"checkpoint ckpt: no config.json"}},
		{"no weights", remove(weights), []string{"ckpt", "safetensors"}},
		{"no tokenizer", remove("ckpt/tokenizer.json"), []string{"ckpt", "tokenizer.json"}},
		{"pytorch_model.bin only", func(t *testing.T) { check(t, os.Rename(weights, "ckpt/pytorch_model.bin")) }, []string{"ckpt", "pytorch_model.bin"}},
		{"weights cut in the header", cut(weights, 100), []string{weights}},
		{"weights cut in the data", cut(weights, 100000), []string{weights}},
		{"weights empty", cut(weights, 0), []string{weights}},
		{"config no JSON", config(`"hidden_act"`, `"hidden_act`), []string{"ckpt: config.json:"}},
		{"config empty", cut("ckpt/config.json", 0), []string{"ckpt: config.json"}},
		{"config of another family", config("LlamaForCausalLM", "MambaForCausalLM"), []string{`unsupported architecture "MambaForCausalLM"`}},
		{"config without family", config(`"architectures"`, `"arch"`), []string{`no "architectures"`}},
		{"no heads", config(`"num_attention_heads": 4`, `"num_attention_heads": 0`), []string{"num_attention_heads is 0"}},
		{"negative layers", config(`"num_hidden_layers": 2`, `"num_hidden_layers": -2`), []string{"num_hidden_layers is -2"}},
		{"endless layers", config(`"num_hidden_layers": 2`, `"num_hidden_layers": 200000000`), []string{"num_hidden_layers 200000000"}},
		{"huge width", config(`"hidden_size": 64`, `"hidden_size": 99999999999`), []string{"hidden_size is 99999999999"}},
		{"fractions", config(`"hidden_size": 64`, `"hidden_size": 64.5`), []string{"hidden_size"}},
		{"text for a number", config(`"vocab_size": 512`, `"vocab_size": "many"`), []string{"vocab_size is a string, int wanted"}},
		{"odd heads", config(`"head_dim": 16`, `"head_dim": 15`), []string{"15"}},
		{"key heads that do not divide", config(`"num_key_value_heads": 2`, `"num_key_value_heads": 3`), []string{"num_key_value_heads 3 does not divide num_attention_heads 4"}},
		{"another activation", config(`"silu"`, `"gelu"`), []string{`hidden_act is "gelu"`}},
		{"bad epsilon", config(`"rms_norm_eps": 0.00001`, `"rms_norm_eps": -1`), []string{"rms_norm_eps -1"}},
		{"bad theta", config(`"rope_theta": 10000`, `"rope_theta": -1`), []string{"theta"}},
		{"tokenizer larger than the embedding", func(t *testing.T) {
			tensors(t, weights, func(all []safetensors.Tensor) []safetensors.Tensor {
				for i, x := range all {
					if x.Shape[0] == 512 {
						all[i].Shape, all[i].Data = []int{300, 64}, x.Data[:300*64*4]
					}
				}
				return all
			})
			edit(t, "ckpt/config.json", `"vocab_size": 512`, `"vocab_size": 300`)
		}, []string{"ckpt: the tokenizer has 512 ids, the model's embedding 300 rows"}},
		{"weights that do not fit", func(t *testing.T) {
			tensors(t, weights, func(all []safetensors.Tensor) []safetensors.Tensor {
				for i, x := range all {
					switch x.Name {
					case "model.layers.0.self_attn.q_proj.weight":
						all[i].Shape = []int{32, 128}
					case "model.layers.1.mlp.up_proj.weight":
						all[i].Name = "model.layers.1.mlp.up_prj.weight"
					case "model.norm.weight":
						all[i].DType, all[i].Shape = "I32", []int{64}
					}
				}
				return all
			})
		}, []string{"checkpoint does not match config.json:\n", "model.layers.0.self_attn.q_proj.weight: shape [32 128] in the checkpoint, [64 64] in the model",
			"missing model.layers.1.mlp.up_proj.weight, shape [96 64]", "unused model.layers.1.mlp.up_prj.weight", "model.norm.weight: type I32"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			copyDir(t, tiny(t), "ckpt")
			tt.damage(t)
			before := files(t, ".")
			for _, args := range [][]string{
				{"generate", "ckpt", "--prompt", "x"},
				{"score", "ckpt", "--text", "first citizen"},
				append(finetuneArgs(t, "finetune_full", 1, 1)[:1:1], append([]string{"ckpt"}, finetuneArgs(t, "finetune_full", 1, 1)[2:]...)...),
				{"chat", "ckpt"},
			} {
				fails(t, with(t, ".", "hello\n", args...), exitFailed, tt.want...)
			}
			if after := files(t, "."); !slices.Equal(before, after) {
				t.Errorf("got files %q, want %q", after, before)
			}
		})
	}
}

func remove(name string) func(*testing.T) {
	return func(t *testing.T) { check(t, os.Remove(name)) }
}

func cut(name string, size int64) func(*testing.T) {
	return func(t *testing.T) { check(t, os.Truncate(name, size)) }
}

// tensors rewrites a file of weights.
func tensors(t testing.TB, name string, change func([]safetensors.Tensor) []safetensors.Tensor) {
	t.Helper()
	f, err := safetensors.Open(name)
	check(t, err)
	var all []safetensors.Tensor
	for _, n := range f.Names() {
		x, _ := f.Tensor(n)
		x.Data, x.Shape = slices.Clone(x.Data), slices.Clone(x.Shape)
		all = append(all, x)
	}
	f.Close()
	var buf bytes.Buffer
	check(t, safetensors.Write(&buf, change(all), nil))
	write(t, name, buf.Bytes())
}

// Weights that are not numbers give an error, not text.
func TestNaN(t *testing.T) {
	t.Chdir(t.TempDir())
	copyDir(t, tiny(t), "ckpt")
	tensors(t, "ckpt/model.safetensors", func(all []safetensors.Tensor) []safetensors.Tensor {
		for _, x := range all {
			if x.Name == "model.norm.weight" {
				binary.LittleEndian.PutUint32(x.Data[20:], math.Float32bits(float32(math.NaN())))
			}
		}
		return all
	})
	for _, args := range [][]string{
		{"generate", "ckpt", "--prompt", "x", "--temperature", "0"},
		{"generate", "ckpt", "--prompt", "x", "--temperature", "1"},
		{"score", "ckpt", "--text", "first citizen"},
		append([]string{"finetune_lora", "ckpt"}, finetuneArgs(t, "finetune_lora", 2, 1)[2:]...),
	} {
		fails(t, litgpt(t, ".", args...), exitFailed)
	}
	if got := steps(t, "."); len(got) > 0 {
		t.Errorf("got %q, want no checkpoint", got)
	}
}

// A learning rate that destroys the model ends the run; the last checkpoint stands.
func TestDivergence(t *testing.T) {
	dir := t.TempDir()
	fails(t, litgpt(t, dir, pretrainArgs(t, 40, 1, "--optimizer.lr", "1e30", "--train.max_norm", "0")...), exitFailed, "litgpt: error: step 2: ", " not finite ", "try a lower learning rate than 4")
	verify(t, dir)
	if len(steps(t, dir)) == 0 {
		t.Error("got no checkpoint, want those before the loss was lost")
	}
	if left := files(t, filepath.Join(dir, "out", "final")); len(left) > 0 {
		t.Errorf("got %q in final", left)
	}
}

// Settings and data that cannot be.
func TestBadInput(t *testing.T) {
	train := func(more ...string) []string { return append(finetuneArgs(t, "finetune", 2, 1), more...) }
	pretrain := func(more ...string) []string { return append(pretrainArgs(t, 2, 1), more...) }
	generate := func(more ...string) []string { return append([]string{"generate", tiny(t), "--threads", "1"}, more...) }
	score := func(more ...string) []string { return append([]string{"score", tiny(t), "--threads", "1"}, more...) }
	long := strings.Repeat("First Citizen. ", 100)
	sample := func(instruction, output string) string {
		s, err := json.Marshal([]map[string]string{{"instruction": instruction, "output": output}, {"instruction": instruction, "output": output}})
		check(t, err)
		return string(s)
	}
	for _, tt := range []struct {
		name string
		in   string // the file "in"
		args []string
		code int
		want []string
	}{
		{"prompt longer than the context", "", generate("--prompt", long), 1, []string{"exceed the model's context of 128", "hint: "}},
		{"answer longer than the context", "", generate("--max_new_tokens", "200"), 1, []string{"200 new ones exceed the model's context of 128", "hint: ask for at most"}},
		{"prompt not UTF-8", "", generate("--prompt", "ab\xffcd"), 2, []string{"--prompt is not UTF-8"}},
		{"empty prompt", "", generate("--prompt", "", "--prompt_style", "none"), 1, []string{"prompt"}},
		{"token ids no list", "", generate("--token_ids", "1,2"), 2, []string{`--token_ids is "1,2"; a list like [1,2,3] wanted`}},
		{"token ids no numbers", "", generate("--token_ids", "[1.5]"), 2, []string{`--token_ids is "[1.5]"`}},
		{"token id too large", "", generate("--token_ids", "[1,512]"), 2, []string{"token id 512 at place 1 is out of range; the model has 512"}},
		{"token id negative", "", generate("--token_ids", "[-1]"), 2, []string{"token id -1 at place 0"}},
		{"no token ids", "", generate("--token_ids", "[]"), 2, []string{`--token_ids is "[]"`}},
		{"no samples", "", generate("--num_samples", "0"), 2, []string{"--num_samples is 0"}},
		{"temperature", "", generate("--temperature", "-1"), 2, []string{"temperature"}},
		{"top_p", "", generate("--top_p", "2"), 2, []string{"top_p"}},
		{"prompt style", "", generate("--prompt_style", "alpacca"), 1, []string{"alpacca", "alpaca"}},
		{"precision of inference", "", generate("--precision", "bf16"), 2, []string{`--precision is "bf16"; one of 32-true, bf16-true, 16-true wanted`}},
		{"type of the cache", "", generate("--kv_cache", "q4_0"), 2, []string{`--kv_cache is "q4_0"; f32, f16, bf16 or q8_0 wanted`}},
		{"heads that do not fit the cache", "", generate("--kv_cache", "q8_0"), 2, []string{"--kv_cache q8_0: a KV cache in Q8_0 stores 32 channels together, which heads of 16 are no multiple of; store it in f16 or bf16"}},
		{"device", "", generate("--device", "tpu"), 1, []string{"tpu"}},
		{"threads", "", generate("--threads", "-1"), 2, []string{"--threads is -1"}},

		{"nothing to score", "", score(), 2, []string{"one of --text, --file and --token_ids is wanted"}},
		{"two things to score", "", score("--text", "a", "--file", "in"), 2, []string{"one of --text, --file and --token_ids is wanted"}},
		{"score no window", "", score("--token_ids", "[1,2]"), 2, []string{"lists like [[1,2,3]] wanted"}},
		{"score short window", "", score("--token_ids", "[[1,2],[1]]"), 2, []string{"window 1 has 1 tokens"}},
		{"score out of range", "", score("--token_ids", "[[1,2,600]]"), 2, []string{"token id 600 at place 2"}},
		{"score one token", "", score("--text", "a"), 2, []string{"at least two tokens are wanted"}},
		{"score not UTF-8", "ab\xff\xfecd", score("--file", "in"), 1, []string{"in: the text is not UTF-8"}},
		{"score text not UTF-8", "", score("--text", "ab\xffcd"), 1, []string{"--text: the text is not UTF-8"}},
		{"score no file", "", score("--file", "nosuch"), 1, []string{"nosuch: no such file"}},
		{"score window beyond the context", "", score("--text", "a b c", "--max_seq_length", "129"), 2, []string{"exceeds the model's context of 128"}},
		{"logits nowhere", "", score("--text", "a b c", "--logits", "no/such/x.safetensors"), 1, []string{"no/such/x.safetensors"}},

		{"no data", "", train("--data.json_path", "nosuch.json"), 1, []string{"'nosuch.json' does not exist"}},
		{"empty data", "", train("--data.json_path", "in.json"), 1, []string{"in.json", "no samples"}},
		{"empty list", "[]", train("--data.json_path", "in.json"), 1, []string{"in.json", "no samples"}},
		{"data no JSON", "instruction: x", train("--data.json_path", "in.json"), 1, []string{"in.json:1"}},
		{"data not UTF-8", "[{\"instruction\":\"\xff\",\"output\":\"b\"}]", train("--data.json_path", "in.json"), 1, []string{"in.json:1", "UTF-8"}},
		{"sample without output", `[{"instruction":"a"}]`, train("--data.json_path", "in.json"), 1, []string{"in.json:1", "output"}},
		{"nothing left to learn", sample(long, "yes"), train("--data.json_path", "in.json"), 1, []string{"in.json", "nothing is left to learn", "raise --train.max_seq_length"}},
		{"one token", "", train("--train.max_seq_length", "1"), 1, []string{"train.max_seq_length 1"}},
		{"micro batch that does not divide", "", train("--train.micro_batch_size", "3"), 2, []string{"--train.micro_batch_size 3 does not divide --train.global_batch_size 4"}},
		{"settings of another class", "", []string{"finetune", tiny(t), "--data", "TextFiles", "--data.mask_prompt"}, 2, []string{"TextFiles has no mask_prompt (JSON has it)"}},
		{"several wrong settings", "", train("--train.log_interval", "0", "--optimizer.lr", "-1", "--train.max_norm", "-2"), 2,
			[]string{"--train.log_interval is 0", "--optimizer.lr is -1", "--train.max_norm is -2"}},
		{"precision of training", "", train("--precision", "16-true"), 2, []string{`--precision is "16-true"; one of 32-true, bf16-true, bf16-mixed wanted`}},
		{"endless", "", train("--train.max_steps", "0"), 2, []string{"nothing says when to stop"}},
		{"rank", "", train("--lora_r", "0"), 1, []string{"rank is 0"}},
		{"dropout", "", train("--lora_dropout", "1"), 1, []string{"dropout is 1"}},
		{"no layers", "", train("--lora_query", "false", "--lora_value", "false"), 1, []string{"no layers are chosen"}},
		{"example", "", train("--eval.evaluate_example", "99"), 2, []string{`--eval.evaluate_example is "99"`}},
		{"out_dir in a file", "x", train("--out_dir", "in/out"), 1, []string{"in", "not a directory"}},
		{"out_dir is a file", "x", train("--out_dir", "in"), 1, []string{"in", "not a directory"}},
		{"logger", "", train("--logger_name", "wandb"), 2, []string{`--logger_name is "wandb"; csv`}},
		{"devices", "", train("--devices", "8"), 2, []string{`--devices is "8"`}},
		{"unknown class", "", train("--data", "JSN"), 2, []string{`JSN`, `JSON`}},
		{"no text", "", []string{"finetune", tiny(t), "--data", "TextFiles"}, 1, []string{"no data: give --data.train_data_path"}},

		{"empty text", "", pretrain("--data.train_data_path", "in"), 1, []string{"in: holds no text"}},
		{"text too short", "a few words", pretrain("--data.train_data_path", "in"), 1, []string{"in: ", "tokens are not enough", "lower --train.max_seq_length"}},
		{"text not UTF-8", "some text\nand \xff\n", pretrain("--data.train_data_path", "in"), 1, []string{"in:2", "UTF-8"}},
		{"unknown shape", "", append([]string{"pretrain", "nosuch"}, "--tokenizer_dir", "x"), 2, []string{`"nosuch" is neither a directory`}},
		{"nothing to pretrain", "", []string{"pretrain"}, 2, []string{"nothing says what to pretrain"}},
		{"no tokenizer", "", pretrain("--tokenizer_dir", "nosuch"), 1, []string{"nosuch"}},
		{"vocabulary too small", "", pretrain("--model_config.vocab_size", "300"), 1, []string{"the tokenizer has 512 ids, the model's embedding 300 rows; set vocab_size to at least 512"}},
		{"heads that do not divide", "", pretrain("--model_config.n_head", "3"), 1, []string{"num_key_value_heads 2 does not divide num_attention_heads 3"}},
		{"no width", "", pretrain("--model_config.n_embd", "0"), 2, []string{"n_embd is 0"}},

		{"merge a plain checkpoint", "", []string{"merge_lora", tiny(t)}, 1, []string{"is no adapter directory: it has no adapter_config.json"}},
		{"merge nothing", "", []string{"merge_lora", "nosuch"}, 1, []string{"nosuch"}},
		{"unknown flag", "", train("--lora_rank", "4"), 2, []string{"unknown flag --lora_rank (did you mean --lora_r"}},
		{"unknown key", "", train("--config", "c.yaml"), 2, []string{`c.yaml:1:1: unknown key "lora_rr" (did you mean "lora_r"?)`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "in", []byte(tt.in))
			write(t, "in.json", []byte(tt.in))
			write(t, "c.yaml", []byte("lora_rr: 3\n"))
			before := files(t, ".")
			fails(t, litgpt(t, ".", tt.args...), tt.code, tt.want...)
			if after := files(t, "."); !slices.Equal(before, after) {
				t.Errorf("got files %q, want %q", after, before)
			}
			if entries, err := os.ReadDir("."); err != nil || len(entries) != 3 {
				t.Errorf("got entries %v, %v; want in, in.json and c.yaml", entries, err)
			}
		})
	}
}

// Adapters that cannot be used.
func TestBadAdapter(t *testing.T) {
	dir := t.TempDir()
	ok(t, litgpt(t, dir, finetuneArgs(t, "finetune", 1, 0)...))
	adapter := filepath.Join(dir, "out", "final")
	const config, weights = "ckpt/adapter_config.json", "ckpt/adapter_model.safetensors"
	base := fmt.Sprintf("%q", tiny(t))
	for name, tt := range map[string]struct {
		damage func(t *testing.T)
		want   []string
	}{
		"base gone": {func(t *testing.T) { edit(t, config, base, `"nosuch"`) }, []string{`the adapter's base checkpoint "nosuch" is not there; set base_model_name_or_path`}},
		"base changed": {func(t *testing.T) {
			copyDir(t, tiny(t), "base")
			flip(t, "base/model.safetensors")
			edit(t, config, base, `"base"`)
		}, []string{"ckpt: the adapter was trained on other weights than those now in base"}},
		"dora":         {func(t *testing.T) { edit(t, config, `"use_dora": false`, `"use_dora": true`) }, []string{config + ": use_dora is ", "; a plain LoRA adapter is wanted"}},
		"rslora":       {func(t *testing.T) { edit(t, config, `"use_rslora": false`, `"use_rslora": true`) }, []string{"use_rslora is "}},
		"no JSON":      {cut(config, 20), []string{config}},
		"rank":         {func(t *testing.T) { edit(t, config, `"r": 8`, `"r": 4`) }, []string{weights + " does not fit the model:\n", "lora_A.weight: shape [8 64] in the adapter, [4 64] for this model"}},
		"other layers": {func(t *testing.T) { edit(t, config, `"q_proj"`, `"k_proj"`) }, []string{"missing base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight", "unused base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"}},
		"no layers":    {func(t *testing.T) { edit(t, config, `"q_proj"`, `"query"`) }, []string{"no layer is called query"}},
		"no weights":   {remove(weights), []string{"adapter_model.safetensors"}},
		"cut weights":  {cut(weights, 1000), []string{weights}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			copyDir(t, adapter, "ckpt")
			tt.damage(t)
			fails(t, litgpt(t, ".", "generate", "ckpt"), exitFailed, tt.want...)
			fails(t, litgpt(t, ".", "merge_lora", "ckpt", "--out_dir", "merged"), exitFailed, tt.want...)
			if left := files(t, "merged"); len(left) > 0 {
				t.Errorf("got %q in merged", left)
			}
		})
	}
	for _, command := range []string{"finetune", "finetune_full"} {
		args := finetuneArgs(t, command, 1, 0)
		args[1] = adapter
		fails(t, litgpt(t, t.TempDir(), args...), exitFailed, "is an adapter", "merge it with merge_lora first")
	}
}
