package models_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/models"
)

// TestNames declares every model that is known by name, and compares its size with
// the published one.
func TestNames(t *testing.T) {
	shapes := models.Shapes()
	if len(shapes) != 210 {
		t.Errorf("got %d names, want the 210 of LitGPT 0.5.13", len(shapes))
	}
	missing := map[string]int{}
	declared := map[string]int{} // weights by config.json, which several names share
	for _, s := range shapes {
		architecture, err := models.Architecture(s.Config)
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		if !models.Supported(architecture) {
			missing[architecture]++
			continue
		}
		weights, seen := declared[string(s.Config)]
		if !seen {
			m, err := models.New(s.Config)
			if err != nil {
				t.Errorf("%s: %v", s.Name, err)
				continue
			}
			for _, p := range nn.Params(m) {
				weights += p.Numel()
			}
			declared[string(s.Config)] = weights
			testSizes(t, s, m.Dims())
		}
		if s.Weights != 0 && weights != s.Weights {
			t.Errorf("%s: got %d weights, want %d as published", s.Name, weights, s.Weights)
		}
	}
	for _, architecture := range slices.Sorted(maps.Keys(missing)) {
		t.Logf("%s has no file: %d names without a model", architecture, missing[architecture])
	}
	if missing["LlamaForCausalLM"] != 0 {
		t.Error("not even Llama has a file")
	}
}

// testSizes compares what a family made of a line with the line itself: a key that
// it passes over would leave it at a default.
func testSizes(t *testing.T, s models.Shape, d models.Dims) {
	t.Helper()
	var c struct {
		Vocab   int  `json:"vocab_size"`
		Hidden  int  `json:"hidden_size"`
		Layers  int  `json:"num_hidden_layers"`
		Heads   int  `json:"num_attention_heads"`
		Context int  `json:"max_position_embeddings"`
		Tied    bool `json:"tie_word_embeddings"`
	}
	if err := json.Unmarshal(s.Config, &c); err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	want := d
	want.Vocab, want.Hidden, want.Layers, want.Heads, want.Context, want.Tied = c.Vocab, c.Hidden, c.Layers, c.Heads, c.Context, c.Tied
	if d != want {
		t.Errorf("%s: got sizes %+v, want %+v", s.Name, d, want)
	}
}

// TestFindShape wants each model under all its names, and no two under one.
func TestFindShape(t *testing.T) {
	owner := map[string]string{}
	for _, s := range models.Shapes() {
		org, base, ok := strings.Cut(s.Repo, "/")
		if !ok || org == "" || base == "" {
			t.Errorf("%s: repository %q, organization/name wanted", s.Name, s.Repo)
		}
		for _, name := range []string{s.Name, s.Repo, base} {
			if other := owner[strings.ToLower(name)]; other != "" && other != s.Name {
				t.Errorf("%s is %s and %s", name, other, s.Name)
			}
			owner[strings.ToLower(name)] = s.Name
		}
	}
	for _, tt := range []struct{ name, want string }{
		{"tiny-llama-1.1b", "tiny-llama-1.1b"},
		{"TinyLlama/TinyLlama-1.1B-Chat-v1.0", "tiny-llama-1.1b-chat"},
		{"TinyLlama-1.1B-Chat-v1.0", "tiny-llama-1.1b-chat"},
		{"gemma-2-2b", "Gemma-2-2b"},
		{"gemma-2b", "Gemma-2b"}, // the version and the size are not to be confused
		{"PHI-2", "phi-2"},
		{"meta-llama/Meta-Llama-3-8B", "Llama-3-8B"},
		{"", ""}, {"llama", ""}, {"other/phi-2", ""}, {"tiny-llama-1.1b ", ""},
	} {
		s, ok := models.FindShape(tt.name)
		if s.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("%q: got %q, want %q", tt.name, s.Name, tt.want)
		}
	}
}

// TestReadme compares the table of families with the families and their names: a row
// is file, architecture, models, number of names, fixtures.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]int{}
	for _, s := range models.Shapes() {
		architecture, err := models.Architecture(s.Config)
		if err != nil {
			t.Fatal(err)
		}
		named[architecture]++
	}
	rows := map[string]string{} // the row's number of names, by architecture
	for _, row := range regexp.MustCompile("(?m)^\\| \\[(.+)\\]\\(models/(.+)\\) \\| `(.+)` \\| .+ \\| (\\d+) \\| .+ \\|$").FindAllStringSubmatch(string(readme), -1) {
		architecture := row[3]
		rows[architecture] = row[4]
		if _, err := os.Stat(row[2]); row[1] != row[2] || models.Supported(architecture) && err != nil {
			t.Errorf("%s is linked to %s: %v", row[1], row[2], err)
		}
	}
	for architecture, n := range named {
		if models.Supported(architecture) && rows[architecture] != fmt.Sprint(n) {
			t.Errorf("%s: got %q names in README.md, want %d", architecture, rows[architecture], n)
		}
	}
}
