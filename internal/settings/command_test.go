package settings

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// execute runs `root tune args…` on a fresh recipe, as cmd/litgpt does.
func execute(t *testing.T, args ...string) (cfg *recipe, ran bool, stdout string, err error) {
	t.Helper()
	cfg = newRecipe()
	root := &cobra.Command{Use: "root", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Command("tune", "tune a model", "Tune tunes.", cfg, func(ctx context.Context) error {
		ran = true
		return ctx.Err()
	}))
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(Args(root, append([]string{"tune"}, args...)))
	err = root.ExecuteContext(t.Context())
	return cfg, ran, out.String(), err
}

func TestCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("c.yaml", []byte("checkpoint_dir: fromfile\nlora_r: 4\nlora_key: true\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		want func(*recipe) bool
	}{
		"argument":        {[]string{"ckpt"}, func(r *recipe) bool { return r.CheckpointDir == "ckpt" && r.LoraR == 8 }},
		"file":            {[]string{"--config", "c.yaml"}, func(r *recipe) bool { return r.CheckpointDir == "fromfile" && r.LoraR == 4 && r.LoraKey }},
		"flags over file": {[]string{"--lora_r", "2", "--config=c.yaml", "--lora_key", "false", "x"}, func(r *recipe) bool { return r.CheckpointDir == "x" && r.LoraR == 2 && !r.LoraKey }},
		"spaced bool":     {[]string{"--lora_key", "True", "ckpt", "--lora_query", "false"}, func(r *recipe) bool { return r.CheckpointDir == "ckpt" && r.LoraKey && !r.LoraQuery }},
		"bare bool":       {[]string{"--lora_key", "ckpt"}, func(r *recipe) bool { return r.CheckpointDir == "ckpt" && r.LoraKey }},
		"word after flag": {[]string{"--out_dir", "true", "ckpt"}, func(r *recipe) bool { return r.OutDir == "true" && r.CheckpointDir == "ckpt" }},
		"flag as value":   {[]string{"--out_dir", "--lora_key", "true"}, func(r *recipe) bool { return r.OutDir == "--lora_key" && !r.LoraKey && r.CheckpointDir == "true" }},
		"dashes":          {[]string{"--lora_key", "--", "true"}, func(r *recipe) bool { return r.LoraKey && r.CheckpointDir == "true" }},
	} {
		cfg, ran, _, err := execute(t, tt.args...)
		if err != nil || !ran || !tt.want(cfg) {
			t.Errorf("%s: got error %v, ran %t, %+v", name, err, ran, cfg)
		}
	}
}

func TestCommandErrors(t *testing.T) {
	const list = "root tune --help lists the flags"
	for name, tt := range map[string]struct {
		args      []string
		msg, hint string
	}{
		"missing argument":  {nil, "missing CHECKPOINT_DIR, directory of the base model", "root tune --help lists the arguments and flags"},
		"unknown flag":      {[]string{"x", "--lora_rr=3"}, "unknown flag --lora_rr (did you mean --lora_r?)", list},
		"group left out":    {[]string{"x", "--max_steps=3"}, "unknown flag --max_steps (did you mean --train.max_steps?)", list},
		"abbreviation":      {[]string{"x", "--train.max_t=3"}, "unknown flag --train.max_t (did you mean --train.max_tokens?)", list},
		"hyphens":           {[]string{"x", "--lora-r=3"}, "unknown flag --lora-r (did you mean --lora_r?)", list},
		"one dash":          {[]string{"x", "-lora_r=3"}, "unknown flag -lora_r=3 (did you mean --lora_r?)", list},
		"nothing like it":   {[]string{"x", "--quantum"}, "unknown flag --quantum", list},
		"argument as flag":  {[]string{"--checkpoint_dir=x"}, "--checkpoint_dir is an argument, not a flag", "usage: root tune CHECKPOINT_DIR [EXTRA...] [flags]"},
		"no value":          {[]string{"x", "--lora_r"}, "--lora_r needs a value", list},
		"two files":         {[]string{"--config=a", "--config=b"}, `--config: given twice, first as "a"`, list},
		"no file":           {[]string{"x", "--config="}, "--config: want the name of a file", list},
		"bad bool":          {[]string{"x", "--lora_key=1"}, `--lora_key: want true or false, got "1"`, ""},
		"broken flag":       {[]string{"x", "--=1"}, "bad flag syntax: --=1", list},
		"flag of a program": {[]string{"x", "--print_config=maybe"}, `--print_config: want true or false, got "maybe"`, list},
	} {
		_, ran, _, err := execute(t, tt.args...)
		var usage *UsageError
		if !errors.As(err, &usage) || usage.Msg != tt.msg || usage.Hint != tt.hint || ran {
			t.Errorf("%s: got %#v, ran %t, want %q and %q", name, err, ran, tt.msg, tt.hint)
		}
	}
}

// All that is wrong is said at once: file, flags and arguments.
func TestCommandReportsAll(t *testing.T) {
	_, _, _, err := execute(t, "--config=nosuch.yaml", "--lora_r=x")
	want := "--config nosuch.yaml: no such file\n--lora_r: want a whole number, got \"x\"\nmissing CHECKPOINT_DIR, directory of the base model"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// --print_config shows the effective settings and the defaults, needs no
// argument, runs nothing, and prints what --config takes.
func TestPrintConfig(t *testing.T) {
	cfg, ran, out, err := execute(t, "--print_config", "--lora_r=3", "--data=JSON", "--data.json_path=p", "--targets=a")
	if err != nil || ran {
		t.Fatalf("got error %v, ran %t", err, ran)
	}
	for _, want := range []string{
		"# rank (type: int, default: 8)\nlora_r: 3\n",
		"# layers (type: list of string, default: [q, v])\ntargets: [a]\n",
		"# examples (type: one of JSON, LIMA, TinyStories, default: LIMA)\ndata:\n  class_path: JSON\n",
		"    # file (type: string, default: null)\n    json_path: p\n",
		"    # of the split (type: int, default: 42)\n    seed: 42\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant in it\n%s", out, want)
		}
	}
	again := newRecipe()
	l := newLoader(again)
	l.yaml("printed", []byte(out))
	a, _ := Marshal(cfg)
	b, _ := Marshal(again)
	if len(l.errs) > 0 || !bytes.Equal(a, b) {
		t.Errorf("errors %v, got\n%s\nwant\n%s", l.errs, b, a)
	}
}

func TestCommandHelp(t *testing.T) {
	_, ran, out, err := execute(t, "--help")
	if err != nil || ran {
		t.Fatalf("got error %v, ran %t", err, ran)
	}
	for _, want := range []string{
		"Tune tunes.\n\nArguments:\n  CHECKPOINT_DIR   directory of the base model\n  EXTRA            more directories\n\nUsage:\n  root tune CHECKPOINT_DIR [EXTRA...] [flags]\n",
		"      --train.max_steps int ", "      --config file ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant in it\n%s", out, want)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"--train."}, []string{"--train.max_tokens", "--train.max_steps", "--train.min_lr", "--train.log.every"}},
		{[]string{"--data", ""}, []string{"JSON", "LIMA", "TinyStories"}},
		{[]string{"--config", ""}, []string{"yaml", "yml"}},
	} {
		root := &cobra.Command{Use: "root"}
		root.AddCommand(Command("tune", "", "", newRecipe(), nil))
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(new(bytes.Buffer))
		root.SetArgs(append([]string{cobra.ShellCompNoDescRequestCmd, "tune"}, tt.args...))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Fields(out.String())
		for _, w := range tt.want {
			if !slices.Contains(lines, w) {
				t.Errorf("%q: got %q, want %s among them", tt.args, lines, w)
			}
		}
	}
}
