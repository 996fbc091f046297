package tensor

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// compile is Compile's error, or that of the first run.
func (b *bench) failure(outs ...*Tensor) error {
	p, err := b.g.Compile(b.dev, outs...)
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Run()
}

// Mistakes that only the weights' types or the inputs' values show are errors, never reads beyond the end.
func TestProgramErrors(t *testing.T) {
	spans := func(v ...int32) func(b *bench) *Tensor {
		return func(b *bench) *Tensor {
			return b.in(2, 1, 4).Attention(b.in(5, 1, 4), b.in(5, 1, 4), b.spans(v), Attn{Scale: 1, Sequences: 1})
		}
	}
	// own is two sequences of two: a query's keys must be of its own sequence.
	own := func(v ...int32) func(b *bench) *Tensor {
		return func(b *bench) *Tensor {
			return b.in(4, 1, 4).AttentionBackward(b.in(4, 1, 4), b.in(4, 1, 4), b.spans(v), b.in(4, 4), Attn{Scale: 1, Sequences: 2})
		}
	}
	late := func(d DType, f func(b *bench, w *Tensor) *Tensor) func(b *bench) *Tensor {
		return func(b *bench) *Tensor {
			w := Param(2, 3)
			w.Name = "late.weight"
			n := f(b, w)
			if err := b.dev.Alloc(w, d); err != nil {
				b.Fatal(err)
			}
			b.weights = append(b.weights, w)
			return n
		}
	}
	tests := []struct {
		name, want string
		build      func(b *bench) *Tensor
	}{
		{"token too large", "token id 4 is out of range, there are 4 rows", func(b *bench) *Tensor { return b.in(4, 2).Rows(b.g.Ints(1).SetInts([]int32{4})) }},
		{"negative token", "token id -1 is out of range", func(b *bench) *Tensor { return b.w(BF16, 4, 2).Rows(b.g.Ints(2).SetInts([]int32{0, -1})) }},
		{"gradient of rows", "row 7 is out of range", func(b *bench) *Tensor { return b.in(1, 2).RowsBackward(b.g.Ints(1).SetInts([]int32{7}), 7) }},
		{"negative gradient of rows", "row -1 is out", func(b *bench) *Tensor { return b.in(1, 2).RowsBackward(b.g.Ints(1).SetInts([]int32{-1}), 7) }},
		{"row of a cache", "row 3 is out of range", func(b *bench) *Tensor { return b.w(F16, 3, 2).SetRows(b.g.Ints(1).SetInts([]int32{3}), b.in(1, 2)) }},
		{"target", "target 5 is out of range, there are 5 rows", func(b *bench) *Tensor { return b.in(1, 5).CrossEntropy(b.g.Ints(1).SetInts([]int32{5})) }},
		{"target of the gradient alone", "target 5 is out of range", func(b *bench) *Tensor {
			return b.in(1, 5).CrossEntropyBackward(b.g.Ints(1).SetInts([]int32{5}), b.in(1))
		}},
		{"span beyond the cache", "query 1 sees rows 0 to 6", spans(0, 5, 0, 6)},
		{"span before the cache", "query 0 sees rows -1 to 2", spans(-1, 2, 0, 1)},
		{"empty span", "query 1 sees rows 2 to 2", spans(0, 1, 2, 2)},
		{"reversed span", "query 1 sees rows 3 to 2", spans(0, 1, 3, 2)},
		{"span into the next sequence", "query 1 sees rows 0 to 3 of 0 to 2", own(0, 1, 0, 3, 2, 3, 2, 4)},
		{"span into the sequence before", "query 2 sees rows 1 to 3 of 2 to 4", own(0, 1, 0, 2, 1, 3, 2, 4)},
		{"no ids", "an input of shape [2] has no value", func(b *bench) *Tensor { return b.in(4, 2).Rows(b.g.Ints(2)) }},
		{"no floats", "an input of shape [3 2] has no value", func(b *bench) *Tensor { return b.g.Floats(3, 2).Scale(2) }},
		{"no storage", `weight "late.weight" has no storage`, func(b *bench) *Tensor {
			w := Param(3)
			w.Name = "late.weight"
			return b.in(2, 3).Mul(w)
		}},
		{"BF16 where F32 is read", `"late.weight" is BF16, [F32] wanted`, late(BF16, func(b *bench, w *Tensor) *Tensor { return b.in(2, 3).Add(w) })},
		{"integers where F32 is read", `"late.weight" is I32, [F32] wanted`, late(I32, func(b *bench, w *Tensor) *Tensor { return b.in(2, 3).Add(w) })},
		{"integers in a product", `"late.weight" is I32`, late(I32, func(b *bench, w *Tensor) *Tensor { return b.in(1, 3).MatMulT(w) })},
		{"a table of integers", `"late.weight" is I32`, late(I32, func(b *bench, w *Tensor) *Tensor { return w.Rows(b.ids(2, 2)) })},
		{"a cache of integers", `"late.weight" is I32, [F32 F16 BF16 Q8_0] wanted`, late(I32, func(b *bench, w *Tensor) *Tensor { return w.SetRows(b.ids(2, 1), b.in(1, 3)) })},
		{"a cache that was F32 when built", `"late.weight" is F16, it was F32`, late(F16, func(b *bench, w *Tensor) *Tensor {
			return w.SetRows(b.ids(2, 1), b.in(1, 3)).Scale(2)
		})},
		{"keys and values of two types", "keys are F32, values F16", func(b *bench) *Tensor {
			return b.in(2, 1, 4).Attention(b.w(F32, 2, 1, 4), b.w(F16, 2, 1, 4), b.spans([]int32{0, 1, 0, 2}), Attn{Scale: 1, Sequences: 1})
		}},
		{"a sum in BF16", `"late.weight" is BF16`, late(BF16, func(b *bench, w *Tensor) *Tensor {
			return b.in(2, 3).Accumulate(w, b.g.Floats(1).SetFloats([]float32{1}))
		})},
		{"output of another graph", "an output of another graph", func(b *bench) *Tensor { return NewGraph().Floats(2).Scale(1) }},
		{"more memory than there is", "not enough memory", func(b *bench) *Tensor { return b.in(1).Zeros(1<<20, 1<<26) }},
	}
	dev := open(t, 2)
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, dev)
			err := b.failure(c.build(b))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A program is run again after an error, with other values.
func TestRunAgain(t *testing.T) {
	b := newBench(t, open(t, 2))
	ids := b.g.Ints(2)
	table := b.w(F16, 5, 3)
	y := table.Rows(ids)
	p, err := b.g.Compile(b.dev, y)
	if err != nil {
		t.Fatal(err)
	}
	ids.SetInts([]int32{9, 9})
	if err := p.Run(); err == nil {
		t.Fatal("no error")
	}
	ids.SetInts([]int32{4, 0})
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	v := table.Values()
	equalBits(t, "rows", y.Values(), append(slices.Clone(v[12:]), v[:3]...))
	table.Free()
	if err := p.Run(); err == nil || !strings.Contains(err.Error(), "other memory") {
		t.Errorf("a weight was released: got %v", err)
	}
	p.Close()
	p.Close()
	if err := caught(func() { y.Values() }); err == nil {
		t.Error("a closed program's output was read")
	}
}

// An output that is a view of a node, and is itself read later in the graph, keeps its values until the end.
func TestOutputsThatAreViews(t *testing.T) {
	b := newBench(t, open(t, 1))
	x := b.in(8, 16)
	view, part := x.Scale(2).Reshape(16, 8), x.Scale(3).Part(16, 4, 4)
	written := x.Zeros(8, 16).SetRows(b.ids(8, 1), b.in(1, 16))
	y := view.Reshape(8, 16).Add(written)
	for range 8 { // nodes that would take the memory
		y = y.Mul(y).Scale(0.5).Add(x)
	}
	last := y.Reshape(128).Part(0, 4, 4).Add(part)
	b.run(view, part, written, last, x)
	want := wide(x.floats)
	for i := range want {
		want[i] *= 2
	}
	near(t, "reshape", view.Values(), want, 1e-6)
	for i := range want {
		want[i] *= 1.5
	}
	near(t, "part", part.Values(), want[16:32], 1e-6)
	near(t, "input", x.Values(), wide(x.floats), 0)
	near(t, "rows", written.Values(), references[OpSetRows](written, [][]float64{make([]float64, 128), {float64(written.Src[1].ids[0])}, wide(written.Src[2].floats)}), 0)
}

// A cache in F16 is an output like another.
func TestOutputInHalves(t *testing.T) {
	b := newBench(t, open(t, 1))
	cache := b.w(F16, 3, 5)
	y := cache.SetRows(b.g.Ints(1).SetInts([]int32{1}), b.in(1, 5))
	b.run(y)
	equalBits(t, "cache", y.Values(), cache.Values())
}

// Weights are read where they lie, at any address; only what is not aligned to its elements is copied.
func TestMap(t *testing.T) {
	dev := open(t, 2)
	for _, d := range []DType{F32, F16, BF16} {
		for _, offset := range []int{0, 1, 2, 4, 6, 60, 62, 64, 66} {
			const n, c = 5, 33
			b := newBench(t, dev)
			values := b.random(n * c)
			data := FromFloats(d, values)
			room := make([]byte, len(data)+256)
			start := 64 + int(-uintptr(unsafe.Pointer(&room[0]))%64) + offset
			mapped := room[start : start+len(data)]
			copy(mapped, data)
			w := Param(n, c)
			w.Name = "w"
			if err := dev.Map(w, d, mapped); err != nil {
				t.Fatal(err)
			}
			defer w.Free()
			if !slices.Equal(w.Bytes(), data) {
				t.Fatalf("%v at %d: other bytes", d, offset)
			}
			exact := make([]float32, n*c)
			ToFloats(d, data, exact)
			equalBits(t, "values", w.Values(), exact)
			few, many, taken := b.in(1, c), b.in(17, c), w.Rows(b.ids(n, 4))
			x, y := few.MatMulT(w), many.MatMulT(w)
			b.run(x, y, taken)
			near(t, "few", x.Values(), references[OpMatMulT](x, [][]float64{wide(few.floats), wide(exact)}), 2e-2)
			near(t, "many", y.Values(), references[OpMatMulT](y, [][]float64{wide(many.floats), wide(exact)}), 1e-5)
			inPlace := offset%d.Size() == 0
			if err := caught(func() { w.SetValues(values) }); (err != nil) != inPlace {
				t.Errorf("%v at %d: writing gives %v", d, offset, err)
			}
			mapped[0] ^= 1
			if changed := w.Bytes()[0] != data[0]; changed != inPlace {
				t.Errorf("%v at %d: mapped in place is %v, want %v", d, offset, changed, inPlace)
			}
		}
	}
}

// A mapped file is never written to: that would end the process.
func TestMappedIsNotUpdated(t *testing.T) {
	b := newBench(t, open(t, 1))
	w := Param(2, 4)
	w.Name = "w"
	if err := b.dev.Map(w, F32, FromFloats(F32, make([]float32, 8))); err != nil {
		t.Fatal(err)
	}
	defer w.Free()
	pair, working := Param(2), Param(2, 4)
	if err := errors.Join(b.dev.Map(pair, F32, FromFloats(F32, make([]float32, 2))), b.dev.Map(working, BF16, FromFloats(BF16, make([]float32, 8)))); err != nil {
		t.Fatal(err)
	}
	defer pair.Free()
	defer working.Free()
	state := AdamWState{Grad: b.in(2, 4), M: b.w(F32, 2, 4), V: b.w(F32, 2, 4)}
	copied := state
	copied.Working = working
	for _, n := range []*Tensor{
		w.SetRows(b.ids(2, 1), b.in(1, 4)),
		b.in(2, 4).Accumulate(w, b.g.Floats(1).SetFloats([]float32{1})),
		w.AdamW(state, b.in(7), b.in(2), 0),
		b.w(F32, 2, 4).AdamW(copied, b.in(7), b.in(2), 0),
		b.in(3).AddDot(b.in(3), pair, b.in(1)),
		pair.Clip(b.in(2), b.in(2), b.in(7)),
	} {
		if err := b.failure(n); err == nil || !strings.Contains(err.Error(), "mapped from a file") {
			t.Errorf("%v: got %v", n.Op, err)
		}
	}
	if err := b.dev.Map(w, F32, make([]byte, 31)); err == nil {
		t.Error("31 bytes for 8 floats were taken")
	}
}

func TestStorage(t *testing.T) {
	dev := open(t, 1)
	w := Param(2, 3)
	if w.Loaded() || caught(func() { w.Bytes() }) == nil || caught(func() { w.SetValues(make([]float32, 6)) }) == nil {
		t.Error("a weight without memory was read or written")
	}
	if err := dev.Alloc(w, BF16); err != nil {
		t.Fatal(err)
	}
	if !w.Loaded() || caught(func() { w.SetValues(make([]float32, 5)) }) == nil || caught(func() { w.ReadBytes(make([]byte, 5), 8) }) == nil || caught(func() { w.ReadBytes(make([]byte, 5), -1) }) == nil || caught(func() { w.Read(make([]float32, 5)) }) == nil {
		t.Error("sizes that do not fit were taken")
	}
	w.SetValues([]float32{1, 2, 3, float32(math.NaN()), float32(math.Inf(-1)), 1e-40})
	got := w.Values()
	if got[2] != 3 || got[3] == got[3] || !math.IsInf(float64(got[4]), -1) || got[5] == 0 {
		t.Errorf("got %v", got)
	}
	part := make([]byte, 4)
	if w.ReadBytes(part, 2); !slices.Equal(part, w.Bytes()[2:6]) {
		t.Errorf("got %v of %v", part, w.Bytes())
	}
	w.Free()
	w.Free()
	if w.Loaded() {
		t.Error("released memory is still there")
	}
	huge := Param(1<<23, 1<<22)
	if err := dev.Alloc(huge, F32); err == nil || !strings.Contains(err.Error(), "not enough memory") {
		t.Errorf("128 TiB: got %v", err)
	}
	if caught(func() { dev.Alloc(NewGraph().Floats(2), F32) }) == nil {
		t.Error("an input was given memory")
	}
	for _, name := range []string{"cpu:1", "cuda:x", "cuda:-1", "tpu"} {
		if _, err := Open(name, Options{}); err == nil {
			t.Errorf("device %q was opened", name)
		}
	}
	if _, err := Open("cpu", Options{Threads: 513}); err == nil {
		t.Error("513 threads were taken")
	}
}
