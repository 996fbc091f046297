package settings

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// recipe has a field of every kind, in the shape of LitGPT's finetune.
type recipe struct {
	CheckpointDir string    `yaml:"checkpoint_dir" arg:"0" help:"directory of the base model"`
	Extra         []string  `yaml:"extra" arg:"1,optional" help:"more directories"`
	OutDir        string    `yaml:"out_dir" help:"where results go"`
	LoraR         int       `yaml:"lora_r" help:"rank"`
	LoraKey       bool      `yaml:"lora_key" help:"adapt K"`
	LoraQuery     bool      `yaml:"lora_query" help:"adapt Q"`
	Targets       []string  `yaml:"targets" help:"layers"`
	Ratios        []float64 `yaml:"ratios" help:"shares"`
	Data          dataCfg   `yaml:"data" help:"examples"`
	Train         trainCfg  `yaml:"train" help:"the loop"`
	Shared        `yaml:",inline"`
	hidden        int            //lint:ignore U1000 an unexported field must be passed over
	Skipped       map[string]int `yaml:"-"`
}

type Shared struct {
	Seed int64 `yaml:"seed" help:"of everything random"`
}

type trainCfg struct {
	MaxTokens int64   `yaml:"max_tokens" help:"tokens to train on"`
	MaxSteps  int     `yaml:"max_steps" help:"steps to train"`
	MinLR     float64 `yaml:"min_lr" help:"last learning rate"`
	Log       struct {
		Every int `yaml:"every" help:"steps between lines"`
	} `yaml:"log"`
}

type dataCfg struct {
	Class string   `yaml:",class"`
	JSON  jsonCfg  `class:"JSON"`
	LIMA  limaCfg  `class:"LIMA"`
	Tiny  struct{} `class:"TinyStories"`
}

type sftCfg struct {
	Seed        int    `yaml:"seed" help:"of the split"`
	PromptStyle string `yaml:"prompt_style" help:"template"`
}

type jsonCfg struct {
	sftShared `yaml:",inline"`
	JSONPath  string  `yaml:"json_path" help:"file"`
	ValSplit  float64 `yaml:"val_split_fraction" help:"share held out"`
}

type limaCfg struct {
	sftShared  `yaml:",inline"`
	MultiTurns bool `yaml:"include_multiturn_conversations" help:"keep dialogues"`
}

type sftShared = SFT
type SFT sftCfg

func newRecipe() *recipe {
	return &recipe{
		OutDir: "out", LoraR: 8, LoraQuery: true, Targets: []string{"q", "v"},
		Data: dataCfg{
			Class: "LIMA",
			JSON:  jsonCfg{sftShared: SFT{Seed: 42, PromptStyle: "alpaca"}, ValSplit: 0.1},
			LIMA:  limaCfg{sftShared: SFT{Seed: 42, PromptStyle: "alpaca"}},
		},
		Train:  trainCfg{MaxSteps: 100, MinLR: 6e-5},
		Shared: Shared{Seed: 1337},
	}
}

// load runs Bind, Parse and Load on a fresh recipe. The YAML file is named
// c.yaml; "" is no file. Tests that load files cannot be parallel.
func load(t testing.TB, text string, args ...string) (*recipe, error) {
	t.Helper()
	cfg := newRecipe()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Bind(fs, cfg)
	if err := fs.Parse(args); err != nil {
		t.Fatalf("parsing %q: %v", args, err)
	}
	file := ""
	if text != "" {
		file = "c.yaml"
		t.Chdir(t.TempDir())
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return cfg, Load(fs, cfg, file, fs.Args())
}

func TestLoad(t *testing.T) {
	for name, tt := range map[string]struct {
		file string
		args []string
		want func(*recipe) // changes the defaults to what is wanted
	}{
		"defaults":           {"", nil, func(r *recipe) {}},
		"empty file":         {"\n", nil, func(r *recipe) {}},
		"comments only":      {"# nothing\n---\n", nil, func(r *recipe) {}},
		"byte order mark":    {"\ufeffseed: 1", nil, func(r *recipe) { r.Seed = 1 }},
		"windows lines":      {"seed: 1\r\nlora_r: 2\r\n", nil, func(r *recipe) { r.Seed, r.LoraR = 1, 2 }},
		"file over defaults": {"lora_r: 4\ntrain:\n  max_steps: 5\n", nil, func(r *recipe) { r.LoraR, r.Train.MaxSteps = 4, 5 }},
		"flags over file":    {"lora_r: 4\nseed: 1", []string{"--lora_r", "2"}, func(r *recipe) { r.LoraR, r.Seed = 2, 1 }},
		"last flag counts":   {"", []string{"--lora_r=2", "--lora_r=3"}, func(r *recipe) { r.LoraR = 3 }},
		"nested flag":        {"", []string{"--train.log.every", "7"}, func(r *recipe) { r.Train.Log.Every = 7 }},
		"flag to the zero":   {"lora_r: 4", []string{"--lora_r=0", "--out_dir="}, func(r *recipe) { r.LoraR, r.OutDir = 0, "" }},
		"positional":         {"", []string{"ckpt"}, func(r *recipe) { r.CheckpointDir = "ckpt" }},
		"positional in file": {"checkpoint_dir: a", nil, func(r *recipe) { r.CheckpointDir = "a" }},
		"argument over file": {"checkpoint_dir: a", []string{"b"}, func(r *recipe) { r.CheckpointDir = "b" }},
		"rest of arguments":  {"", []string{"a", "b", "c"}, func(r *recipe) { r.CheckpointDir, r.Extra = "a", []string{"b", "c"} }},
		"null is absent": {"out_dir:\nlora_r: null\nlora_query: ~\ntargets:\ntrain:\n  max_steps:\n  min_lr: Null", nil, func(r *recipe) {
			r.OutDir, r.LoraR, r.LoraQuery, r.Targets, r.Train.MaxSteps, r.Train.MinLR = "", 0, false, nil, 0, 0
		}},
		"null group":           {"train:\ndata:\n", nil, func(r *recipe) {}},
		"null flag":            {"", []string{"--lora_r", "null", "--train.min_lr=None", "--targets=null"}, func(r *recipe) { r.LoraR, r.Train.MinLR, r.Targets = 0, 0, nil }},
		"string null by flag":  {"", []string{"--out_dir", "null"}, func(r *recipe) { r.OutDir = "null" }},
		"underscores":          {"train:\n  max_tokens: 3_000_000_000_000\n  max_steps: 1_0", nil, func(r *recipe) { r.Train.MaxTokens, r.Train.MaxSteps = 3e12, 10 }},
		"underscore flag":      {"", []string{"--train.max_tokens=10_000_000", "--train.min_lr=1_000.5"}, func(r *recipe) { r.Train.MaxTokens, r.Train.MinLR = 1e7, 1000.5 }},
		"exponents":            {"train:\n  min_lr: 6e-4\n  max_tokens: 3e12", nil, func(r *recipe) { r.Train.MinLR, r.Train.MaxTokens = 6e-4, 3e12 }},
		"exponent flag":        {"", []string{"--train.min_lr", "4e-4"}, func(r *recipe) { r.Train.MinLR = 4e-4 }},
		"number of PyYAML":     {"train: {min_lr: 6.0e-05}", nil, func(r *recipe) { r.Train.MinLR = 6e-5 }},
		"whole float":          {"train:\n  min_lr: 1\nratios: [1, .5, 5.]", nil, func(r *recipe) { r.Train.MinLR, r.Ratios = 1, []float64{1, .5, 5} }},
		"negative":             {"seed: -1", []string{"--train.min_lr", "-0.5"}, func(r *recipe) { r.Seed, r.Train.MinLR = -1, -0.5 }},
		"leading zero":         {"seed: 010", nil, func(r *recipe) { r.Seed = 10 }},
		"quoted number":        {`seed: "7"`, nil, func(r *recipe) { r.Seed = 7 }},
		"bools":                {"lora_key: True\nlora_query: false", nil, func(r *recipe) { r.LoraKey, r.LoraQuery = true, false }},
		"bool flag":            {"", []string{"--lora_key", "--lora_query=False"}, func(r *recipe) { r.LoraKey, r.LoraQuery = true, false }},
		"string of a number":   {"out_dir: 1_0", nil, func(r *recipe) { r.OutDir = "1_0" }},
		"string of a bool":     {"out_dir: False", nil, func(r *recipe) { r.OutDir = "False" }},
		"string of a date":     {"out_dir: 2024-01-02", nil, func(r *recipe) { r.OutDir = "2024-01-02" }},
		"quoted null":          {"out_dir: 'null'", nil, func(r *recipe) { r.OutDir = "null" }},
		"block text":           {"out_dir: |\n  a\n  b\n", nil, func(r *recipe) { r.OutDir = "a\nb\n" }},
		"binary":               {"out_dir: !!binary /w==", nil, func(r *recipe) { r.OutDir = "\xff" }},
		"list":                 {"targets:\n- a\n- 'b,c'\n", nil, func(r *recipe) { r.Targets = []string{"a", "b,c"} }},
		"empty list":           {"targets: []", nil, func(r *recipe) { r.Targets = []string{} }},
		"list flag":            {"", []string{"--targets=a, b", "--targets=c", "--ratios", "[0.9, 95e-2]"}, func(r *recipe) { r.Targets, r.Ratios = []string{"a", "b", "c"}, []float64{.9, .95} }},
		"anchor":               {"out_dir: &x foo\ncheckpoint_dir: *x\ntrain: &t {max_steps: 2}", nil, func(r *recipe) { r.OutDir, r.CheckpointDir, r.Train.MaxSteps = "foo", "foo", 2 }},
		"class scalar":         {"data: JSON", nil, func(r *recipe) { r.Data.Class = "JSON" }},
		"class path scalar":    {"data: litgpt.data.TinyStories", nil, func(r *recipe) { r.Data.Class = "TinyStories" }},
		"class map":            {"data:\n  class_path: litgpt.data.JSON\n  init_args:\n    json_path: x\n    seed: 1\n", nil, func(r *recipe) { r.Data.Class, r.Data.JSON.JSONPath, r.Data.JSON.Seed = "JSON", "x", 1 }},
		"class without args":   {"data: {class_path: JSON}", nil, func(r *recipe) { r.Data.Class = "JSON" }},
		"class with null args": {"data: {class_path: JSON, init_args: }", nil, func(r *recipe) { r.Data.Class = "JSON" }},
		"args without class":   {"data: {init_args: {seed: 3}}", nil, func(r *recipe) { r.Data.LIMA.Seed = 3 }},
		"null arg":             {"data: {init_args: {prompt_style: }}", nil, func(r *recipe) { r.Data.LIMA.PromptStyle = "" }},
		"class flag":           {"", []string{"--data", "JSON", "--data.json_path", "x"}, func(r *recipe) { r.Data.Class, r.Data.JSON.JSONPath = "JSON", "x" }},
		"class path flag":      {"", []string{"--data=litgpt.data.JSON", "--data.seed=5"}, func(r *recipe) { r.Data.Class, r.Data.JSON.Seed = "JSON", 5 }},
		"arg of the default":   {"", []string{"--data.seed=5"}, func(r *recipe) { r.Data.LIMA.Seed = 5 }},
		"arg of file's class":  {"data: JSON", []string{"--data.json_path=x"}, func(r *recipe) { r.Data.Class, r.Data.JSON.JSONPath = "JSON", "x" }},
		"same class again":     {"data: {class_path: JSON, init_args: {json_path: x}}", []string{"--data=JSON", "--data.seed=1"}, func(r *recipe) { r.Data.Class, r.Data.JSON.JSONPath, r.Data.JSON.Seed = "JSON", "x", 1 }},
		"other class by flag": {"data: {class_path: LIMA, init_args: {seed: 9, include_multiturn_conversations: true}}", []string{"--data=JSON", "--data.json_path=x"}, func(r *recipe) {
			// The file's seed holds for JSON too; the other key is LIMA's alone.
			r.Data.Class, r.Data.JSON.JSONPath, r.Data.JSON.Seed = "JSON", "x", 9
			r.Data.LIMA.Seed, r.Data.LIMA.MultiTurns = 9, true
		}},
		"class by flag, args in file": {"data: {init_args: {json_path: x}}", []string{"--data=JSON"}, func(r *recipe) { r.Data.Class, r.Data.JSON.JSONPath = "JSON", "x" }},
		"class map as flag":           {"", []string{`--data={"class_path": "litgpt.data.JSON", "init_args": {"json_path": "x"}}`, "--data.seed=2"}, func(r *recipe) { r.Data.Class, r.Data.JSON.JSONPath, r.Data.JSON.Seed = "JSON", "x", 2 }},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, tt.file, tt.args...)
			if err != nil {
				t.Fatalf("got error %v", err)
			}
			want := newRecipe()
			tt.want(want)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		file string
		args []string
		want string // the whole of the messages
	}{
		"unknown key": {"lora_r: 1\ntrain:\n  max_stesp: 3\n", nil,
			"c.yaml:3:3: unknown key \"max_stesp\" (did you mean \"max_steps\"?)\n    3 |   max_stesp: 3\n      |   ^"},
		"key of LitGPT": {"num_nodes: 1", nil, "c.yaml:1:1: unknown key \"num_nodes\"\n    1 | num_nodes: 1\n      | ^"},
		"key elsewhere": {"max_steps: 1", nil, "c.yaml:1:1: unknown key \"max_steps\" (did you mean \"train.max_steps\"?)\n    1 | max_steps: 1\n      | ^"},
		"wrong type":    {"lora_r: many", nil, "c.yaml:1:9: lora_r: want a whole number, got \"many\"\n    1 | lora_r: many\n      |         ^"},
		"tabs and width": {"train: {min_lr:\t1, \tmax_steps: ü, min_lr: 2}", nil,
			"c.yaml:1:32: train.max_steps: want a whole number, got \"ü\"\n    1 | train: {min_lr:\t1, \tmax_steps: ü, min_lr: 2}\n      |                \t   \t           ^\n" +
				"c.yaml:1:35: key \"min_lr\" is given twice, first on line 1\n    1 | train: {min_lr:\t1, \tmax_steps: ü, min_lr: 2}\n      |                \t   \t              ^"},
		"bool":             {"lora_key: yes", nil, "c.yaml:1:11: lora_key: want true or false, got \"yes\"\n    1 | lora_key: yes\n      |           ^"},
		"fraction":         {"lora_r: 1.5", nil, "c.yaml:1:9: lora_r: want a whole number, got \"1.5\"\n    1 | lora_r: 1.5\n      |         ^"},
		"too large":        {"seed: 9223372036854775808", nil, "c.yaml:1:7: seed: 9223372036854775808 is too large for a whole number\n    1 | seed: 9223372036854775808\n      |       ^"},
		"float":            {"train: {min_lr: 1e-4x}", nil, "c.yaml:1:17: train.min_lr: want a number, got \"1e-4x\"\n    1 | train: {min_lr: 1e-4x}\n      |                 ^"},
		"nan":              {"train: {min_lr: .nan}", nil, "c.yaml:1:17: train.min_lr: want a number, got \".nan\"\n    1 | train: {min_lr: .nan}\n      |                 ^"},
		"loose underscore": {"seed: 1__0", nil, "c.yaml:1:7: seed: want a whole number, got \"1__0\"\n    1 | seed: 1__0\n      |       ^"},
		"list for scalar":  {"out_dir: [a]", nil, "c.yaml:1:10: out_dir: want one value, got a list\n    1 | out_dir: [a]\n      |          ^"},
		"scalar for list":  {"targets: a", nil, "c.yaml:1:10: targets: want list of string, such as [a, b], got \"a\"\n    1 | targets: a\n      |          ^"},
		"item":             {"ratios: [1, b]", nil, "c.yaml:1:9: ratios: item 2: want a number, got \"b\"\n    1 | ratios: [1, b]\n      |         ^"},
		"list of lists":    {"ratios: [[1]]", nil, "c.yaml:1:10: ratios: want list of float, such as [a, b], got a list\n    1 | ratios: [[1]]\n      |          ^"},
		"scalar for group": {"train: 3", nil, "c.yaml:1:8: want settings, one `key: value` a line, got \"3\"\n    1 | train: 3\n      |        ^"},
		"top is a list":    {"- a", nil, "c.yaml:1:1: want settings, one `key: value` a line, got a list\n    1 | - a\n      | ^"},
		"duplicate":        {"seed: 1\nseed: 2", nil, "c.yaml:2:1: key \"seed\" is given twice, first on line 1\n    2 | seed: 2\n      | ^"},
		"key is a list":    {"? [a]\n: b", nil, "c.yaml:1:3: want a key, got a list\n    1 | ? [a]\n      |   ^"},
		"merge":            {"train: &a {max_steps: 1}\n<<: *a", nil, "c.yaml:2:1: merging with << is not supported, write the keys out\n    2 | <<: *a\n      | ^"},
		"two documents":    {"seed: 1\n---\nseed: 2", nil, "c.yaml:2:1: a second YAML document, want one\n    2 | ---\n      | ^"},
		"syntax":           {"seed: 1\nlora_r: [1\n", nil, "c.yaml:2: did not find expected ',' or ']'\n    2 | lora_r: [1"},
		"syntax of values": {"seed: 1\n lora_r: 1\n", nil, "c.yaml:2: mapping values are not allowed in this context\n    2 |  lora_r: 1"},
		"unknown anchor":   {"seed: *x", nil, "c.yaml: unknown anchor 'x' referenced"},
		"own tag":          {"seed: !!python/tuple 3", nil, "c.yaml:1:7: seed: unknown tag !!python/tuple\n    1 | seed: !!python/tuple 3\n      |       ^"},
		"unknown class":    {"data: litgpt.data.JSN", nil, "c.yaml:1:7: data: unknown class \"litgpt.data.JSN\" (did you mean \"JSON\"?); the known ones are JSON, LIMA, TinyStories\n    1 | data: litgpt.data.JSN\n      |       ^"},
		"class is a list":  {"data: [JSON]", nil, "c.yaml:1:7: want settings, one `key: value` a line, got a list\n    1 | data: [JSON]\n      |       ^"},
		"arg beside class": {"data: {class_path: JSON, json_path: x}", nil, "c.yaml:1:26: unknown key \"json_path\", want class_path and init_args\n    1 | data: {class_path: JSON, json_path: x}\n      |                          ^"},
		"arg of another":   {"data: {class_path: LIMA, init_args: {json_path: x}}", nil, "c.yaml:1:38: unknown key \"json_path\" of LIMA (JSON has it)\n    1 | data: {class_path: LIMA, init_args: {json_path: x}}\n      |                                      ^"},
		"arg of none":      {"data: {class_path: LIMA, init_args: {repo: x}}", nil, "c.yaml:1:38: unknown key \"repo\" of LIMA, which has seed, prompt_style, include_multiturn_conversations\n    1 | data: {class_path: LIMA, init_args: {repo: x}}\n      |                                      ^"},
		"class flag":       {"", []string{"--data", "Json"}, "--data: unknown class \"Json\"; the known ones are JSON, LIMA, TinyStories"},
		"class arg flag":   {"", []string{"--data.json_path=x"}, "--data.json_path: LIMA has no json_path (JSON has it)"},
		"shared arg flag":  {"data: TinyStories", []string{"--data.seed=1"}, "--data.seed: TinyStories has no seed (JSON and LIMA have it)"},
		"class map flag":   {"", []string{"--data={class_path: JSON, init_args: {jsonpath: 1}}"}, "--data: unknown key \"jsonpath\" of JSON (did you mean \"json_path\"?)"},
		"broken map flag":  {"", []string{"--data={class_path"}, "--data: did not find expected ',' or '}'"},
		"flags":            {"", []string{"--lora_r=x", "--lora_key=maybe", "--ratios=1,y", "--targets=[[]]"}, "--lora_r: want a whole number, got \"x\"\n--lora_key: want true or false, got \"maybe\"\n--targets: want a list such as [a, b], got \"[[]]\"\n--ratios: item 2: want a number, got \"y\""},
		"all together":     {"seed: x\nnope: 1", []string{"--lora_r=y"}, "c.yaml:1:7: seed: want a whole number, got \"x\"\n    1 | seed: x\n      |       ^\nc.yaml:2:1: unknown key \"nope\"\n    2 | nope: 1\n      | ^\n--lora_r: want a whole number, got \"y\""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.file, tt.args...)
			if err == nil {
				t.Fatalf("got no error, want %s", tt.want)
			}
			if err.Error() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", err, tt.want)
			}
			if !isUsage(err) {
				t.Errorf("got %T, want *UsageError", err)
			}
		})
	}
}

func isUsage(err error) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range several.Unwrap() {
			if !isUsage(e) {
				return false
			}
		}
		return true
	}
	_, ok := err.(*UsageError)
	return ok
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "model.safetensors")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o666); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"https://example.com/a.yaml":    "--config https://example.com/a.yaml: https addresses are not supported, want a file",
		filepath.Join(dir, "none.yaml"): "none.yaml: no such file",
		dir:                             "is a directory",
		big:                             "larger than 1048576 bytes, want a YAML file of settings",
	} {
		err := Load(pflag.NewFlagSet("", pflag.ContinueOnError), newRecipe(), file, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !isUsage(err) {
			t.Errorf("%s: got %v, want a *UsageError with %q", file, err, want)
		}
	}
}

func TestTooManyArguments(t *testing.T) {
	var cfg struct {
		A string `yaml:"a" arg:"0"`
	}
	err := Load(pflag.NewFlagSet("", pflag.ContinueOnError), &cfg, "", []string{"x", "true", "y"})
	if want := `unexpected argument "true" (1 wanted, 3 given)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A choice may have no default.
func TestNoDefaultClass(t *testing.T) {
	var cfg struct {
		Data dataCfg `yaml:"data"`
	}
	for text, want := range map[string]string{
		"--data.json_path=x":      "--data.json_path needs --data: one of JSON",
		"--data={init_args: {}}":  "--data: data: missing class_path, one of JSON, LIMA, TinyStories",
		"--data={class_path: ''}": `--data: data: unknown class ""; the known ones are JSON, LIMA, TinyStories`,
	} {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		Bind(fs, &cfg)
		if err := fs.Parse([]string{text}); err != nil {
			t.Fatal(err)
		}
		if err := Load(fs, &cfg, "", nil); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// A struct that breaks the rules is found when the program starts.
func TestBadStructs(t *testing.T) {
	for name, cfg := range map[string]any{
		"no pointer": recipe{},
		"map": &struct {
			M map[string]int `yaml:"m"`
		}{},
		"twice": &struct {
			A int `yaml:"a"`
			B int `yaml:"a"`
		}{},
		"argument of a group": &struct {
			G struct {
				A string `yaml:"a" arg:"0"`
			} `yaml:"g"`
		}{},
		"class of another kind": &struct {
			D struct {
				Class string `yaml:",class"`
				A     int    `class:"A"`
			} `yaml:"d"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			Bind(pflag.NewFlagSet("", pflag.ContinueOnError), cfg)
		}()
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"lerning_rate": "learning_rate", "sede": "seed", "sed": "seed", "x": "", "epohcs": "epochs", "": "", "momentum": "",
	} {
		if got := Nearest(word, []string{"learning_rate", "seed", "epochs"}); got != want {
			t.Errorf("Nearest(%q): got %q, want %q", word, got, want)
		}
	}
}

func TestHelp(t *testing.T) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	Bind(fs, newRecipe())
	want := `      --out_dir string                         where results go (default "out")
      --lora_r int                             rank (default 8)
      --lora_key                               adapt K
      --lora_query                             adapt Q (default true)
      --targets strings                        layers (default q,v)
      --ratios floats                          shares
      --data string                            examples (one of JSON, LIMA, TinyStories) (default "LIMA")
      --data.seed int                          of the split [JSON, LIMA] (default 42)
      --data.prompt_style string               template [JSON, LIMA] (default "alpaca")
      --data.json_path string                  file [JSON]
      --data.val_split_fraction float          share held out [JSON] (default 0.1)
      --data.include_multiturn_conversations   keep dialogues [LIMA]
      --train.max_tokens int                   tokens to train on
      --train.max_steps int                    steps to train (default 100)
      --train.min_lr float                     last learning rate (default 6.0e-05)
      --train.log.every int                    steps between lines
      --seed int                               of everything random (default 1337)
`
	if got := fs.FlagUsages(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
