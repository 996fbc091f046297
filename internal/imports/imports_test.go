// Package imports holds one test: imports go one way (docs/architecture.md).
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/litgpt-go/litgpt"

// levels orders the packages: each may import those on lines above its own, never
// on its own line or below. leaf packages import none of ours.
var levels = []string{
	"internal/mmap",
	"internal/ggml internal/ggml/cuda internal/safetensors internal/gguf internal/durable internal/settings internal/progress internal/sample internal/data internal/repl tokenizer/jinja tokenizer/training internal/server/page internal/server/page/pagetest",
	"internal/tensor internal/cudatest internal/pth tokenizer",
	"internal/autograd internal/optim internal/nn internal/grammar internal/toolcall tokenizer/sugarme",
	"internal/kvcache internal/checkpoint",
	"models",
	"internal/ggufmap internal/litgpt",
	"lora internal/generate internal/train",
	"quantize internal/server",
	"recipes",
	"cmd/litgpt",
}

func TestImportsGoOneWay(t *testing.T) {
	level := map[string]int{}
	for i, line := range levels {
		for _, p := range strings.Fields(line) {
			level[p] = i
		}
	}
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if name == "internal/imports" || name == "demo" || name == "tools" || strings.HasPrefix(name, "tools/") {
			continue
		}
		from, ok := level[name]
		if !ok {
			t.Errorf("%s has no place in the order of packages; give it one here", name)
		}
		for _, i := range p.Imports {
			imported, ours := strings.CutPrefix(i, module+"/")
			if !ours {
				continue
			}
			if to, ok := level[imported]; ok && to >= from {
				t.Errorf("%s imports %s, which does not lie below it", name, imported)
			}
		}
		for _, i := range p.Imports {
			if i == "C" && name != "internal/ggml" {
				t.Errorf("%s uses cgo; only internal/ggml may", name)
			}
		}
	}
}
