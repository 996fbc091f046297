package settings

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// reload prints cfg with print and loads the text into fresh defaults.
func reload(t testing.TB, cfg *recipe, print func(*recipe) ([]byte, error)) *recipe {
	t.Helper()
	text, err := print(cfg)
	if err != nil {
		t.Fatal(err)
	}
	got := newRecipe()
	l := newLoader(got)
	l.yaml("printed.yaml", text)
	if err := join(l.errs); err != nil {
		t.Fatalf("%v, in\n%s", err, text)
	}
	return got
}

func printed(cfg *recipe) ([]byte, error) {
	var b bytes.Buffer
	err := Print(&b, cfg)
	return b.Bytes(), err
}

func marshalled(cfg *recipe) ([]byte, error) { return Marshal(cfg) }

func TestPrintRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*recipe){
		"defaults": func(r *recipe) {},
		"zero": func(r *recipe) {
			*r = recipe{Extra: []string{}, Targets: []string{}, Ratios: []float64{}, Data: newRecipe().Data}
		},
		"another": func(r *recipe) { r.Data.Class, r.Data.JSON.JSONPath, r.Data.JSON.ValSplit = "JSON", "a b", 1e-9 },
		"no args": func(r *recipe) { r.Data.Class = "TinyStories" },
		"numbers": func(r *recipe) { r.Seed, r.Train.MaxTokens = math.MinInt64, math.MaxInt64 },
		"floats": func(r *recipe) {
			r.Ratios = []float64{0, 1, -1.5, 6e-5, 1e300, 5e-324, 123456789.125, math.Inf(1), math.Inf(-1)}
		},
		"words": func(r *recipe) {
			r.Targets = []string{"null", "true", "1e-4", "~", "", "a: b", "# c", "- d", "*e", "!f", "2024-01-01", "yes", "<<", "{", "a, b"}
		},
		"spaces":    func(r *recipe) { r.OutDir, r.CheckpointDir = " a\n\n  b \n", "\t\r\n\u0085\u2028" },
		"block":     func(r *recipe) { r.OutDir = "\n  a\n b\n" },
		"not UTF-8": func(r *recipe) { r.OutDir = "a\xffb\x00" },
		"control":   func(r *recipe) { r.OutDir = "\x1b[0m\u200b\ufeff" },
		"long":      func(r *recipe) { r.OutDir = strings.Repeat("word ", 100) + "end" },
	} {
		want := newRecipe()
		change(want)
		if want.Extra == nil {
			want.Extra = []string{} // an absent list is printed as []
		}
		if want.Ratios == nil {
			want.Ratios = []float64{}
		}
		for how, print := range map[string]func(*recipe) ([]byte, error){"Print": printed, "Marshal": marshalled} {
			if got := reload(t, want, print); !reflect.DeepEqual(got, want) {
				text, _ := print(want)
				t.Errorf("%s: %s: got\n%+v\nwant\n%+v\nfrom\n%s", name, how, got, want, text)
			}
		}
	}
}

func TestPrintText(t *testing.T) {
	got, err := printed(newRecipe())
	if err != nil {
		t.Fatal(err)
	}
	want := `# directory of the base model (type: string)
checkpoint_dir:
# more directories (type: list of string)
extra: []
# where results go (type: string)
out_dir: out
# rank (type: int)
lora_r: 8
# adapt K (type: bool)
lora_key: false
# adapt Q (type: bool)
lora_query: true
# layers (type: list of string)
targets: [q, v]
# shares (type: list of float)
ratios: []
# examples (type: one of JSON, LIMA, TinyStories)
data:
  class_path: LIMA
  init_args:
    # of the split (type: int)
    seed: 42
    # template (type: string)
    prompt_style: alpaca
    # keep dialogues (type: bool)
    include_multiturn_conversations: false
# the loop
train:
  # tokens to train on (type: int)
  max_tokens: 0
  # steps to train (type: int)
  max_steps: 100
  # last learning rate (type: float)
  min_lr: 6.0e-05
  log:
    # steps between lines (type: int)
    every: 0
# of everything random (type: int)
seed: 1337
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMarshalNothing(t *testing.T) {
	if got, err := Marshal(&struct{}{}); err != nil || string(got) != "{}\n" {
		t.Errorf("got %q, %v, want {}", got, err)
	}
}

// A recipe as LitGPT writes them is read as it is.
func TestHubRecipe(t *testing.T) {
	got := newRecipe()
	if err := Load(pflag.NewFlagSet("", pflag.ContinueOnError), got, filepath.Join("testdata", "finetune_lora.yaml"), nil); err != nil {
		t.Fatal(err)
	}
	want := newRecipe()
	want.CheckpointDir = "checkpoints/TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T"
	want.OutDir = "out/finetune/lora-tiny-llama-1.1b"
	want.LoraR, want.LoraKey = 32, true
	want.Train.MaxSteps = 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// FuzzYAML: no text panics, and what is read can be printed and read again.
func FuzzYAML(f *testing.F) {
	hub, err := os.ReadFile(filepath.Join("testdata", "finetune_lora.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		string(hub), "", "---\n...\n", "a: &a [*a, *a]", "data: &d {class_path: JSON, init_args: *d}", "? {a: b}\n: c",
		"out_dir: !!binary x", "\xff\xfes\x00", "seed: 1\r---\r", "targets: [a, !!null '', *x]", "<<: {seed: 1}", "train: {log: {every: 0x10}}",
		"out_dir: \"\\u0085\"", "data: {init_args: {prompt_style: |+\n\n  x\n}}", "x: \u2028\u2029\u0085 y", "\t: a", "!!str seed: 4", "ratios: [.inf, 1e999]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := newRecipe()
		l := newLoader(got)
		l.yaml("f.yaml", text)
		for _, err := range l.errs {
			if !isUsage(err) || !strings.HasPrefix(err.Error(), "f.yaml:") {
				t.Errorf("got error %v, want a *UsageError that begins with the file", err)
			}
		}
		if len(l.errs) > 0 {
			return
		}
		again := reload(t, got, printed)
		a, _ := Marshal(got)
		b, _ := Marshal(again)
		if !bytes.Equal(a, b) {
			t.Errorf("got\n%s\nwant\n%s", b, a)
		}
	})
}

// FuzzString: every text survives printing.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "null", " a", "a\n", "\n  a\n", "\x00", "\xff", "\u2028", "a: b", "'\"", "---", "\ufeff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := newRecipe()
		want.OutDir, want.Targets = s, []string{s, "x"}
		for _, print := range []func(*recipe) ([]byte, error){printed, marshalled} {
			if got := reload(t, want, print); got.OutDir != s || got.Targets[0] != s {
				t.Errorf("got %q and %q, want %q", got.OutDir, got.Targets[0], s)
			}
		}
	})
}
