package quantize

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

func TestImportanceFile(t *testing.T) {
	m := &Importance{Datasets: []string{"a.txt", "b.txt"}, Chunks: 3, ChunkSize: 512, Entries: map[string]*Entry{
		"blk.0.attn_q.weight":        {Sums: []float64{1, 2, 3.5}, Counts: []float64{4}},
		"blk.0.ffn_down_exps.weight": {Sums: []float64{1, 2, 3, 4}, Counts: []float64{2, 0}},
	}}
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := m.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadImportance(path)
	if err != nil {
		t.Fatal(err)
	}
	m.File = path
	if !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, want %+v", got, m)
	}
	w, err := got.of("blk.0.ffn_down_exps.weight", 2, 2)
	if want := []float32{.5, 1, 1, 1}; err != nil || !reflect.DeepEqual(w, want) { // what no token met weighs 1
		t.Errorf("got %v, %v, want %v", w, err, want)
	}
	if _, err := got.of("blk.0.attn_q.weight", 4, 1); err == nil {
		t.Error("no error for another model's importance")
	}
}

// old writes the format of before.
func old() []byte {
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	put(int32(1))
	put(int32(len("blk.0.attn_q.weight")))
	b.WriteString("blk.0.attn_q.weight")
	put(int32(2)) // calls
	put(int32(3))
	put([]float32{2, 4, 7})
	put(int32(2))
	put(int32(5))
	b.WriteString("a.txt")
	return b.Bytes()
}

func TestOldImportanceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.dat")
	if err := os.WriteFile(path, old(), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := ReadImportance(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := m.of("blk.0.attn_q.weight", 3, 1)
	if want := []float32{1, 2, 3.5}; err != nil || !reflect.DeepEqual(w, want) {
		t.Errorf("got %v, %v, want %v", w, err, want)
	}
	if m.Chunks != 2 || len(m.Datasets) != 1 || m.Datasets[0] != "a.txt" {
		t.Errorf("got %d chunks of %v, want 2 of a.txt", m.Chunks, m.Datasets)
	}
}

// FuzzImportance: damaged files are errors.
func FuzzImportance(f *testing.F) {
	f.Add(old())
	f.Add([]byte("GGUF\x03\x00\x00\x00"))
	path := filepath.Join(f.TempDir(), "m.gguf")
	m := &Importance{Datasets: []string{"a"}, Chunks: 1, ChunkSize: 8, Entries: map[string]*Entry{"x": {Sums: []float64{1, 2}, Counts: []float64{1}}}}
	if err := m.Write(path); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &Importance{Entries: map[string]*Entry{}}
		if bytes.HasPrefix(raw, []byte("GGUF")) {
			if m.readGGUF(raw) != nil {
				return
			}
		} else if m.readOld(raw) != nil {
			return
		}
		for name, e := range m.Entries {
			if _, err := m.of(name, len(e.Sums), 1); err == nil && len(e.Counts) == 0 {
				t.Errorf("%q has no counts and no error", name)
			}
		}
	})
}

func TestCutOffImportance(t *testing.T) {
	raw := old()
	for n := range raw {
		m := &Importance{Entries: map[string]*Entry{}}
		err := m.readOld(raw[:n])
		if whole := len(raw) - 13; err == nil && n != whole && n < whole+8 && n < whole {
			t.Errorf("%d of %d bytes: no error", n, len(raw))
		}
	}
}

// TestObserve compares with sums over what the first layers are given, computed by themselves.
func TestObserve(t *testing.T) {
	dev := openCPU(t)
	for _, name := range []string{"llama", "moe"} {
		e, src := exported(t, configs[name])
		m := loadedModel(t, dev, configs[name], src)
		chunks := [][]int32{{1, 2, 3, 4, 5, 6, 7, 8}, {9, 8, 7, 299, 5, 4, 3, 2}}
		calls := 0
		im, err := Observe(context.Background(), dev, m, e, chunks, func() { calls++ })
		if err != nil {
			t.Fatal(err)
		}
		if calls != 2 || im.Chunks != 2 || im.ChunkSize != 8 {
			t.Errorf("%s: %d calls, %d chunks of %d; want 2, 2 of 8", name, calls, im.Chunks, im.ChunkSize)
		}
		table := make([]float32, 300*256)
		x, _ := src.Tensor("model.embed_tokens.weight")
		tensor.ToFloats(tensor.F32, x.Data, table)
		norm := make([]float32, 256)
		x, _ = src.Tensor("model.layers.0.input_layernorm.weight")
		tensor.ToFloats(tensor.F32, x.Data, norm)
		want := make([]float64, 256)
		for _, c := range chunks {
			for _, id := range c {
				row, mean := table[id*256:(id+1)*256], 0.0
				for _, v := range row {
					mean += float64(v) * float64(v) / 256
				}
				for i, v := range row {
					y := float64(v) / math.Sqrt(mean+1e-5) * float64(norm[i])
					want[i] += y * y
				}
			}
		}
		for _, tensor := range []string{"blk.0.attn_q.weight", "blk.0.attn_v.weight"} {
			got := im.Entries[tensor]
			if got == nil || got.Counts[0] != 16 {
				t.Fatalf("%s: %s is %+v, want sums of 16 tokens", name, tensor, got)
			}
			for i := range want {
				if math.Abs(got.Sums[i]-want[i]) > 1e-4*want[i] {
					t.Fatalf("%s: %s column %d: %g, want %g", name, tensor, i, got.Sums[i], want[i])
				}
			}
		}
		if im.Entries["output.weight"] != nil || im.Entries["token_embd.weight"] != nil {
			t.Errorf("%s: the output or the embedding was measured", name)
		}
		for n, l := range nn.Linears(m) {
			if l.Adapter != nil {
				t.Errorf("%s: %s is still observed", name, n)
			}
		}
		if name == "llama" {
			continue
		}
		// Each token goes to two of four experts, and gate and up see the same.
		for layer := range 3 {
			prefix := "blk." + string(rune('0'+layer)) + ".ffn_"
			for _, kind := range []string{"gate", "up", "down"} {
				got := im.Entries[prefix+kind+"_exps.weight"]
				if got == nil || len(got.Counts) != 4 {
					t.Fatalf("%s%s_exps is %+v, want four experts", prefix, kind, got)
				}
				sum := 0.0
				for e, n := range got.Counts {
					sum += n
					if part := got.Sums[e*256 : (e+1)*256]; n == 0 != (part[0] == 0) {
						t.Errorf("expert %d has %g tokens and the sum %g", e, n, part[0])
					}
				}
				if sum != 32 {
					t.Errorf("%s%s: %g pairs, want 32", prefix, kind, sum)
				}
			}
			if a, b := im.Entries[prefix+"gate_exps.weight"], im.Entries[prefix+"up_exps.weight"]; !reflect.DeepEqual(a, b) {
				t.Errorf("layer %d: gate and up differ", layer)
			}
		}
	}
}

func TestObserveErrors(t *testing.T) {
	dev := openCPU(t)
	e, src := exported(t, configs["llama"])
	m := loadedModel(t, dev, configs["llama"], src)
	if _, err := Observe(context.Background(), dev, m, e, [][]int32{{1, 2}, {1}}, nil); err == nil || !strings.Contains(err.Error(), "want 2") {
		t.Errorf("chunks of different lengths: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Observe(ctx, dev, m, e, [][]int32{{1, 2}}, nil); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}
