package quantize

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Importance is llama.cpp's importance matrix: of each matrix the squares of what meets its columns, summed
// over the tokens of a text.
type Importance struct {
	Entries map[string]*Entry // by the tensor's name in GGUF

	File      string   // it was read from; "" if it was measured
	Datasets  []string // names of the texts
	Chunks    int      // pieces of text
	ChunkSize int      // tokens of a piece, 0 if it is not known
}

// Entry is what is known of one matrix.
type Entry struct {
	Sums   []float64 // squares by column, one expert's after the other's
	Counts []float64 // tokens, of each expert; one number where there are none
}

// of gives the mean squares for a matrix of cols columns for each expert, or nil. What no token met weighs 1, as in llama-quantize.
func (m *Importance) of(name string, cols, experts int) ([]float32, error) {
	e := m.Entries[name]
	if e == nil {
		return nil, nil
	}
	if len(e.Sums) != cols*experts || len(e.Counts) == 0 || len(e.Sums)%len(e.Counts) != 0 {
		return nil, fmt.Errorf("importance of %s has %d values for %d experts, want %d columns for each of %d; it belongs to another model", name, len(e.Sums), len(e.Counts), cols, experts)
	}
	out := make([]float32, len(e.Sums))
	per := len(e.Sums) / len(e.Counts)
	for i, s := range e.Sums {
		n := float32(e.Counts[i/per])
		if out[i] = 1; n > 0 {
			out[i] = float32(s) / n
		}
		if v := float64(out[i]); math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return nil, fmt.Errorf("importance of %s: value %d is %g, want a finite number that is not negative", name, i, v)
		}
	}
	return out, nil
}

// metadata is what llama-quantize writes of it into a model.
func (m *Importance) metadata() (kv []gguf.KV) {
	for _, x := range []struct{ key, value string }{{"quantize.imatrix.file", m.File}, {"quantize.imatrix.dataset", strings.Join(m.Datasets, ",")}} {
		if x.value != "" {
			kv = append(kv, gguf.KV{Key: x.key, Value: x.value})
		}
	}
	return append(kv, gguf.KV{Key: "quantize.imatrix.entries_count", Value: uint32(len(m.Entries))}, gguf.KV{Key: "quantize.imatrix.chunks_count", Value: uint32(m.Chunks)})
}

const (
	sumsSuffix   = ".in_sum2"
	countsSuffix = ".counts"
)

// Write writes the file as llama-imatrix does: GGUF.
func (m *Importance) Write(path string) error {
	meta := []gguf.KV{{Key: "general.type", Value: "imatrix"}, {Key: "imatrix.datasets", Value: m.Datasets},
		{Key: "imatrix.chunk_count", Value: uint32(m.Chunks)}, {Key: "imatrix.chunk_size", Value: uint32(m.ChunkSize)}}
	var infos []gguf.Info
	var data [][]float64
	for _, name := range slices.Sorted(maps.Keys(m.Entries)) {
		e := m.Entries[name]
		n := len(e.Counts)
		infos = append(infos, gguf.Info{Name: name + sumsSuffix, Type: gguf.F32, Shape: []int{n, len(e.Sums) / n}},
			gguf.Info{Name: name + countsSuffix, Type: gguf.F32, Shape: []int{n, 1}})
		data = append(data, e.Sums, e.Counts)
	}
	var b bytes.Buffer
	w, err := gguf.NewWriter(&b, meta, infos)
	if err != nil {
		return err
	}
	for _, list := range data {
		v := make([]float32, len(list))
		for i, x := range list {
			v[i] = float32(x)
		}
		if _, err := w.Write(tensor.FromFloats(tensor.F32, v)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return durable.WriteFile(path, b.Bytes(), 0o644)
}

// ReadImportance reads a file of llama-imatrix, of today (GGUF) or of before (.dat).
func ReadImportance(path string) (*Importance, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const most = 1 << 30 // a model of 1000 B parameters has less
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("%s: no file, or larger than an importance matrix can be", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, err
	}
	m := &Importance{Entries: map[string]*Entry{}, File: path}
	if bytes.HasPrefix(raw, []byte("GGUF")) {
		err = m.readGGUF(raw)
	} else {
		err = m.readOld(raw)
	}
	if err == nil && len(m.Entries) == 0 {
		err = errors.New("no entries")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func (m *Importance) readGGUF(raw []byte) error {
	f, err := gguf.Parse(raw)
	if err != nil {
		return err
	}
	if kind, err := f.Text("general.type"); err != nil || kind != "imatrix" {
		return fmt.Errorf("general.type is %.40q, want imatrix", kind)
	}
	if f.Has("imatrix.datasets") {
		if m.Datasets, err = f.Strings("imatrix.datasets"); err != nil {
			return err
		}
	}
	for key, to := range map[string]*int{"imatrix.chunk_count": &m.Chunks, "imatrix.chunk_size": &m.ChunkSize} {
		n, err := f.Int(key)
		if err != nil || n < 0 || n > math.MaxUint32 {
			return fmt.Errorf("%s is missing, or not a count", key)
		}
		*to = int(n)
	}
	values := func(name string) ([]float64, error) {
		t, ok := f.Tensor(name)
		if !ok {
			return nil, fmt.Errorf("tensor %s is missing", name)
		}
		if t.Type != gguf.F32 {
			return nil, fmt.Errorf("tensor %s: type %v, want F32", name, t.Type)
		}
		v := make([]float32, len(t.Data)/4)
		tensor.ToFloats(tensor.F32, t.Data, v)
		return wide(v), nil
	}
	for _, full := range f.Names() {
		name, ok := strings.CutSuffix(full, sumsSuffix)
		if !ok {
			continue
		}
		e := &Entry{}
		if e.Sums, err = values(full); err != nil {
			return err
		}
		if e.Counts, err = values(name + countsSuffix); err != nil {
			return err
		}
		m.Entries[name] = e
	}
	return nil
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// readOld reads the format of before 2025: the number of entries, then of each its name, the
// calls and the values, which are means times calls; then the calls in all and the text's name.
func (m *Importance) readOld(raw []byte) error {
	r := bytes.NewReader(raw)
	number := func(what string, low, high int) (int, error) {
		var n int32
		if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
			return 0, fmt.Errorf("no importance matrix, or cut off: %s is missing", what)
		}
		if int(n) < low || int(n) > high {
			return 0, fmt.Errorf("no importance matrix: %s is %d, want %d to %d", what, n, low, high)
		}
		return int(n), nil
	}
	entries, err := number("the number of entries", 1, 1<<20)
	if err != nil {
		return err
	}
	for i := range entries {
		n, err := number(fmt.Sprintf("the length of name %d", i), 1, min(1<<10, r.Len()))
		if err != nil {
			return err
		}
		name := make([]byte, n)
		if _, err := io.ReadFull(r, name); err != nil {
			return fmt.Errorf("cut off in name %d", i)
		}
		calls, err := number(fmt.Sprintf("the count of %.60q", name), 0, math.MaxInt32)
		if err != nil {
			return err
		}
		if n, err = number(fmt.Sprintf("the size of %.60q", name), 1, r.Len()/4); err != nil {
			return err
		}
		v := make([]float32, n)
		if err := binary.Read(r, binary.LittleEndian, v); err != nil {
			return fmt.Errorf("cut off in %.60q", name)
		}
		e := &Entry{Sums: wide(v), Counts: []float64{float64(max(1, calls))}}
		m.Entries[string(name)] = e
	}
	if r.Len() < 8 { // older yet
		return nil
	}
	if m.Chunks, err = number("the number of chunks", 0, math.MaxInt32); err != nil {
		return err
	}
	n, err := number("the length of the text's name", 0, r.Len())
	if err != nil {
		return err
	}
	name := make([]byte, n)
	if _, err := io.ReadFull(r, name); err != nil {
		return err
	}
	if n > 0 {
		m.Datasets = []string{string(name)}
	}
	return nil
}

// Uniform is importance that weighs all columns of all matrices alike.
func Uniform(e *ggufmap.Exported) *Importance {
	m := &Importance{Entries: map[string]*Entry{}}
	for i := range e.Tensors {
		t := &e.Tensors[i]
		experts := 1
		if len(t.Shape) > 2 {
			experts = t.Shape[0]
		}
		entry := &Entry{Sums: make([]float64, t.Cols()*experts), Counts: []float64{1}}
		for j := range entry.Sums {
			entry.Sums[j] = 1
		}
		m.Entries[t.Name] = entry
	}
	return m
}
