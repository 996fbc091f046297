package checkpoint

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/cudatest"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// A weight that cannot be read from its device is not saved as something else.
func TestSaveFromBrokenDevice(t *testing.T) {
	dev, err := tensor.OpenLibrary(cudatest.Emulated(t), 0, tensor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	w := tensor.Param(2, 3)
	if err := dev.Alloc(w, tensor.F32); err != nil {
		t.Fatal(err)
	}
	defer w.Free()
	w.SetValues(make([]float32, 6))
	save := func() error {
		d, err := durable.NewDir(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
		return SaveFile(d, "model.safetensors", []Value{{Name: "w", DType: tensor.F32, From: w}})
	}
	if err := save(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LITGPT_EMULATE_BROKEN", "1")
	if err := save(); err == nil || !strings.Contains(err.Error(), "cuda:0: copy from the device") {
		t.Errorf("got %v", err)
	}
}
