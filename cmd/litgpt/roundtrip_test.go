package main

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// generated is a line of generate --json.
type generated struct {
	PromptIDs    []int32 `json:"prompt_ids"`
	IDs          []int32 `json:"ids"`
	Text         string  `json:"text"`
	FinishReason string  `json:"finish_reason"`
}

// scored is the output of score.
type scored struct {
	TokenIDs   [][]int32   `json:"token_ids"`
	LogProbs   [][]float64 `json:"logprobs"`
	NLL        []float64   `json:"nll"`
	Perplexity float64     `json:"perplexity"`
	Tokens     int         `json:"tokens"`
}

func decode[T any](t testing.TB, r result) (v T) {
	t.Helper()
	ok(t, r)
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("%.60q: got stdout %q: %v", r.args, r.stdout, err)
	}
	return v
}

// --kv_cache is what the cache is stored in, and by itself as narrow as the weights.
func TestCacheType(t *testing.T) {
	ask := func(more ...string) result {
		r := litgpt(t, t.TempDir(), append([]string{"generate", path("../../demo/model"), "--token_ids", "[1,2,3]", "--temperature", "0", "--threads", "1", "--max_new_tokens", "8", "--json"}, more...)...)
		if got := decode[generated](t, r); len(got.IDs) == 0 {
			t.Errorf("%q: no tokens", more)
		}
		return r
	}
	for _, c := range []struct {
		more []string
		want string
	}{{nil, "F32"}, {[]string{"--precision", "bf16-true"}, "F16"}, {[]string{"--kv_cache", "f16"}, "F16"}, {[]string{"--kv_cache", "bf16"}, "BF16"}, {[]string{"--kv_cache", "q8_0"}, "Q8_0"},
		{[]string{"--kv_cache", "f32", "--precision", "16-true"}, "F32"}} {
		if r := ask(c.more...); !strings.Contains(r.stderr, " kv_cache="+c.want+" ") {
			t.Errorf("%q: got %q, want the cache in %s", c.more, r.stderr, c.want)
		}
	}
}

// What was trained is what is used: the adapter directory, the merged
// checkpoint and a merged checkpoint in another place say the same.
func TestAdapterAndMerged(t *testing.T) {
	dir := t.TempDir()
	ok(t, litgpt(t, dir, finetuneArgs(t, "finetune", 30, 0, "--lora_mlp", "--lora_projection", "--lora_key", "--train.min_lr", "0.01")...))
	ok(t, litgpt(t, dir, "merge_lora", "out/final"))
	ok(t, litgpt(t, dir, "merge_lora", "out/final", "--out_dir", "bf16", "--precision", "bf16-true"))
	for _, d := range []string{"out/final", "out/merged", "bf16"} {
		if err := durable.Verify(filepath.Join(dir, d)); err != nil {
			t.Error(err)
		}
	}
	ask := func(model string, more ...string) generated {
		return decode[generated](t, litgpt(t, dir, append([]string{"generate", model, "--prompt", "Who is there?", "--temperature", "0", "--json", "--threads", "1"}, more...)...))
	}
	adapter, base := ask("out/final"), ask(tiny(t))
	if merged := ask("out/merged"); !slices.Equal(adapter.IDs, merged.IDs) || adapter.Text != merged.Text {
		t.Errorf("got %q from the adapter, %q merged", adapter.Text, merged.Text)
	}
	if slices.Equal(adapter.IDs, base.IDs) {
		t.Errorf("got %q with and without the adapter", base.Text)
	}
	if !slices.Equal(adapter.PromptIDs, base.PromptIDs) { // both have a chat template
		t.Errorf("got prompts %d and %d", adapter.PromptIDs, base.PromptIDs)
	}
	rate := func(model string) scored {
		return decode[scored](t, litgpt(t, dir, "score", model, "--file", path("testdata/text.txt"), "--max_seq_length", "64", "--max_windows", "3", "--threads", "1"))
	}
	a, m, b, half := rate("out/final"), rate("out/merged"), rate(tiny(t)), rate("bf16")
	for i := range a.LogProbs {
		for j, x := range a.LogProbs[i] {
			if y := m.LogProbs[i][j]; math.Abs(x-y) > 1e-4 {
				t.Errorf("window %d, token %d: got log-probability %g from the adapter, %g merged", i, j, x, y)
			}
		}
	}
	if d := math.Abs(a.NLL[0] - b.NLL[0]); d < 0.01 {
		t.Errorf("the adapter changes the mean by %g only", d)
	}
	if d := math.Abs(a.NLL[0] - half.NLL[0]); d > 0.05 || d == 0 {
		t.Errorf("got %g in float32, %g in bfloat16", a.NLL[0], half.NLL[0])
	}
	f, err := safetensors.Open(filepath.Join(dir, "bf16", "model.safetensors"))
	check(t, err)
	defer f.Close()
	for _, name := range f.Names() {
		if x, _ := f.Tensor(name); x.DType != "BF16" {
			t.Errorf("%s: got type %s, want BF16", name, x.DType)
		}
	}

	// A chat through a pipe gives what generate gives.
	r := ok(t, with(t, dir, "Who is there?\n", "chat", "out/final", "--temperature", "0", "--threads", "1"))
	if strings.TrimSpace(r.stdout) != strings.TrimSpace(adapter.Text) {
		t.Errorf("got %q from chat, %q from generate", r.stdout, adapter.Text)
	}
	if text := ok(t, litgpt(t, dir, "generate", "out/merged", "--prompt", "Who is there?", "--temperature", "0", "--threads", "1")).stdout; text != adapter.Text+"\n" {
		t.Errorf("got %q as text, %q as JSON", text, adapter.Text)
	}
	// The base may be elsewhere.
	copyDir(t, tiny(t), filepath.Join(dir, "moved"))
	edit(t, filepath.Join(dir, "out/final/adapter_config.json"), strconv.Quote(tiny(t)), `"gone"`)
	ok(t, litgpt(t, dir, "merge_lora", "out/final", "--pretrained_checkpoint_dir", "moved", "--out_dir", "again"))
	same(t, filepath.Join(dir, "again"), filepath.Join(dir, "out", "merged"))
}

// Prompts are written as in training, without being asked for.
func TestPromptStyleIsKept(t *testing.T) {
	dir := t.TempDir()
	ok(t, litgpt(t, dir, finetuneArgs(t, "finetune", 1, 0, "--data.prompt_style", "phi-1")...))
	ok(t, litgpt(t, dir, "merge_lora", "out/final"))
	ask := func(args ...string) generated {
		return decode[generated](t, litgpt(t, dir, append([]string{"generate", "--prompt", "Who?", "--json", "--temperature", "0", "--max_new_tokens", "20", "--threads", "1"}, args...)...))
	}
	want := ask(tiny(t), "--prompt_style", "phi-1").PromptIDs
	if plain := ask(tiny(t)).PromptIDs; slices.Equal(plain, want) {
		t.Fatal("the style makes no difference")
	}
	for _, d := range []string{"out/final", "out/merged"} {
		got := ask(d)
		if !slices.Equal(got.PromptIDs, want) {
			t.Errorf("%s: got prompt %d, want %d", d, got.PromptIDs, want)
		}
		r := ok(t, with(t, dir, "Who?\n", "chat", d, "--temperature", "0", "--max_new_tokens", "20", "--threads", "1"))
		if strings.TrimSpace(r.stdout) != strings.TrimSpace(got.Text) {
			t.Errorf("%s: got %q from chat, %q from generate", d, r.stdout, got.Text)
		}
	}
}

// The ways to give generate and score their input agree.
func TestGenerateAndScore(t *testing.T) {
	dir := t.TempDir()
	const text = "First Citizen: We know't, we know't."
	write(t, filepath.Join(dir, "text"), []byte(text))
	score := func(args ...string) scored {
		return decode[scored](t, litgpt(t, dir, append([]string{"score", tiny(t), "--threads", "1"}, args...)...))
	}
	whole := score("--text", text)
	ids := whole.TokenIDs[0]
	if len(whole.TokenIDs) != 1 || whole.Tokens != len(ids)-1 || len(whole.LogProbs[0]) != whole.Tokens {
		t.Errorf("got %+v, want one window, and a log-probability for each token but the first", whole)
	}
	if want := math.Exp(whole.NLL[0]); math.Abs(whole.Perplexity-want) > 1e-9*want {
		t.Errorf("got perplexity %g, want %g", whole.Perplexity, want)
	}
	list, err := json.Marshal([][]int32{ids})
	check(t, err)
	for _, args := range [][]string{{"--file", "text"}, {"--token_ids", string(list)}} {
		if got := score(args...); !slices.Equal(got.TokenIDs[0], ids) || !slices.Equal(got.LogProbs[0], whole.LogProbs[0]) {
			t.Errorf("%q: got %+v, want %+v", args, got, whole)
		}
	}

	// Windows do not see each other; the first tokens of a text do not see the later ones.
	cut := score("--text", text, "--max_seq_length", "8", "--logits", "logits.safetensors")
	if n := (len(ids) + 7) / 8; len(cut.TokenIDs) != n && len(ids)%8 != 1 {
		t.Errorf("got %d windows of %d tokens, want %d", len(cut.TokenIDs), len(ids), n)
	}
	for i, w := range cut.TokenIDs {
		if !slices.Equal(w, ids[8*i:min(8*i+8, len(ids))]) {
			t.Errorf("window %d: got %d", i, w)
		}
	}
	for j, x := range cut.LogProbs[0] {
		if math.Abs(x-whole.LogProbs[0][j]) > 1e-4 {
			t.Errorf("token %d: got %g in a window, %g in the whole", j, x, whole.LogProbs[0][j])
		}
	}
	if one := score("--text", text, "--max_seq_length", "8", "--max_windows", "1"); len(one.NLL) != 1 || one.NLL[0] != cut.NLL[0] {
		t.Errorf("got %v, want the first of %v", one.NLL, cut.NLL)
	}

	// The logits are those of the log-probabilities.
	f, err := safetensors.Open(filepath.Join(dir, "logits.safetensors"))
	check(t, err)
	defer f.Close()
	x, _ := f.Tensor("logits")
	total := 0
	for _, w := range cut.TokenIDs {
		total += len(w)
	}
	if x.DType != "F32" || !slices.Equal(x.Shape, []int{total, 512}) {
		t.Fatalf("got logits %s %v, want F32 [%d 512]", x.DType, x.Shape, total)
	}
	row := func(i int) (v []float64) {
		for j := range 512 {
			b := x.Data[4*(512*i+j):]
			v = append(v, float64(math.Float32frombits(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24)))
		}
		return v
	}
	at := 0
	for i, w := range cut.TokenIDs {
		for j := 1; j < len(w); j++ {
			v := row(at + j - 1)
			var sum float64
			for _, y := range v {
				sum += math.Exp(y)
			}
			if got, want := cut.LogProbs[i][j-1], v[w[j]]-math.Log(sum); math.Abs(got-want) > 1e-4 {
				t.Errorf("window %d, token %d: got log-probability %g, its logits say %g", i, j, got, want)
			}
		}
		at += len(w)
	}

	// The likeliest token after the text is what generate continues with.
	v := row(7)
	likeliest := int32(slices.Index(v, slices.Max(v)))
	list, err = json.Marshal(cut.TokenIDs[0])
	check(t, err)
	ask := func(args ...string) result {
		return litgpt(t, dir, append([]string{"generate", tiny(t), "--json", "--max_new_tokens", "12", "--threads", "1"}, args...)...)
	}
	got := decode[generated](t, ask("--token_ids", string(list), "--temperature", "0"))
	if !slices.Equal(got.PromptIDs, cut.TokenIDs[0]) || got.IDs[0] != likeliest || len(got.IDs) != 12 && got.FinishReason != "stop" || got.FinishReason == "" {
		t.Errorf("got %+v, want 12 tokens, first %d", got, likeliest)
	}

	// Samples: a line each, the same for the same seed, others for another.
	three := ok(t, ask("--num_samples", "3", "--temperature", "1")).stdout
	again := ok(t, ask("--num_samples", "3", "--temperature", "1")).stdout
	other := ok(t, ask("--num_samples", "3", "--temperature", "1", "--seed", "5")).stdout
	if lines := strings.Split(three, "\n"); len(lines) != 4 || lines[0] == lines[1] || three != again || three == other {
		t.Errorf("got\n%s\n%s\n%s", three, again, other)
	}
}

// losses are those of a run's metrics.csv.
func losses(t testing.TB, dir string) (out []float64) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "out/logs/csv/version_0/metrics.csv"))
	check(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	check(t, err)
	at := slices.Index(rows[0], "loss")
	for _, row := range rows[1:] {
		x, err := strconv.ParseFloat(row[at], 64)
		check(t, err)
		out = append(out, x)
	}
	return out
}

// A step is the same however it is cut into micro-batches: here samples of
// uneven length of which the prompts do not count.
func TestAccumulation(t *testing.T) {
	var want []float64
	for _, micro := range []string{"4", "2", "1"} {
		dir := t.TempDir()
		ok(t, litgpt(t, dir, finetuneArgs(t, "finetune", 6, 0, "--lora_dropout", "0", "--train.micro_batch_size", micro,
			"--data.val_split_fraction", "0.142")...)) // 24 of 28 samples: whole micro-batches in every epoch
		got := losses(t, dir)
		if want == nil {
			want = got
		}
		if len(got) != 6 || got[0] == got[5] {
			t.Fatalf("got losses %v", got)
		}
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-5 {
				t.Errorf("step %d: got loss %g with micro_batch_size %s, %g with 4", i+1, got[i], micro, want[i])
			}
		}
	}
}

// All precisions learn, and are saved as they say.
func TestPrecisions(t *testing.T) {
	for precision, stored := range map[string]string{"32-true": "F32", "bf16-mixed": "F32", "bf16-true": "BF16"} {
		for _, args := range [][]string{
			finetuneArgs(t, "finetune", 30, 0, "--precision", precision),
			finetuneArgs(t, "finetune_full", 30, 0, "--precision", precision),
			pretrainArgs(t, 30, 0, "--precision", precision),
		} {
			t.Run(args[0]+" "+precision, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				ok(t, litgpt(t, dir, args...))
				got := losses(t, dir)
				if mean(got[25:]) > mean(got[:5])-0.3 {
					t.Errorf("got losses %.3f, want them to fall", got)
				}
				ok(t, litgpt(t, dir, "generate", "out/final", "--prompt", "Who?", "--threads", "1"))
				if args[0] == "finetune" {
					return // adapters are F32
				}
				f, err := safetensors.Open(filepath.Join(dir, "out/final/model.safetensors"))
				check(t, err)
				defer f.Close()
				for _, name := range f.Names() {
					if x, _ := f.Tensor(name); string(x.DType) != stored {
						t.Errorf("%s: got type %s, want %s", name, x.DType, stored)
					}
				}
			})
		}
	}
}

func mean(x []float64) (m float64) {
	for _, v := range x {
		m += v / float64(len(x))
	}
	return m
}
