package tensor

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/cudatest"
)

// gpus are the devices that lower for CUDA: the emulated one, and a real one where there is one.
func gpus(t testing.TB) map[string]*Device {
	t.Helper()
	all := map[string]*Device{}
	for name, path := range cudatest.Libraries(t) {
		dev, err := OpenLibrary(path, 0, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(dev.Close)
		all[name] = dev
	}
	return all
}

// tolerances of products by the type they are computed in: operands are rounded to it, sums are float32.
var cudaTolerance = map[DType]float64{F32: 2e-5, BF16: 1e-2, F16: 1.5e-3}

// TestOpsCUDA compares every operation on a GPU with its reference, in every shape
// and type of TestOps; compiling a program fails where the device does not have one.
// On the emulator every fifth case of an operation does, unless LITGPT_SLOW is set.
func TestOpsCUDA(t *testing.T) {
	for name, dev := range gpus(t) {
		t.Run(name, func(t *testing.T) {
			number := map[Op]int{}
			for i, c := range opCases {
				number[c.op]++
				if name == "emulated" && number[c.op]%5 != 1 && os.Getenv("LITGPT_SLOW") == "" {
					continue
				}
				t.Run(fmt.Sprintf("%v/%d", c.op, i), func(t *testing.T) {
					b := newBench(t, dev)
					c.build(b)
					b.check(max(c.tolerance, cudaTolerance[b.widest()]))
				})
			}
		})
	}
}

// widest is the least precise type that products of the graph are computed in.
func (b *bench) widest() DType {
	worst := F32
	for _, n := range b.g.nodes {
		if !slices.Contains([]Op{OpMatMulT, OpMatMul, OpTMatMul, OpExperts, OpExpertsBack, OpExpertsBackW}, n.Op) {
			continue
		}
		for _, s := range n.Src {
			if s.dtype == BF16 || s.dtype == F16 && worst == F32 {
				worst = s.dtype
			}
		}
	}
	return worst
}

// TestCUDARepeats runs one program often: the first time directly, then captured as
// a graph. All runs give the same bits, with new values of the inputs too.
func TestCUDARepeats(t *testing.T) {
	for name, dev := range gpus(t) {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, dev)
			const n, c = 40, 64
			x := b.in(n, c)
			w := b.w(BF16, c, c)
			y := x.RMSNorm(b.w(F32, c), 1e-5).MatMulT(w).SwiGLU(x.MatMulT(w)).Add(x)
			norm := b.g.SquareSum(y, nil)
			p := b.run(y, norm)
			first, values := y.Values(), slices.Clone(x.floats)
			for i := range 4 {
				x.SetFloats(b.random(n * c))
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				other := dev.Fetch(y, norm)
				x.SetFloats(values)
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				equalBits(t, fmt.Sprintf("run %d", i), y.Values(), first)
				got, err := other.Wait()
				if err != nil {
					t.Fatal(err)
				}
				sum := 0.0
				for _, v := range got[0] {
					sum += float64(v) * float64(v)
				}
				if slices.Equal(got[0], first) || math.Abs(sum-float64(got[1][0])) > 1e-5*sum {
					t.Errorf("run %d: values fetched belong to another run: Σ² is %g, fetched %g", i, sum, got[1][0])
				}
			}
		})
	}
}

// TestCUDALibrary says what is wrong with a library in one line.
func TestCUDALibrary(t *testing.T) {
	if _, err := OpenLibrary("/nowhere/"+Library, 0, Options{}); err == nil {
		t.Error("a library that is not there was opened")
	}
	if _, err := OpenLibrary(cudatest.Emulated(t), 99, Options{}); err == nil {
		t.Error("GPU 99 was opened")
	}
	t.Setenv("LITGPT_LIB", t.TempDir())
	if places := libraryPlaces(); len(places) != 1 {
		t.Errorf("LITGPT_LIB is set, looked in %q", places)
	}
	t.Setenv("LITGPT_LIB", "")
	if places := libraryPlaces(); len(places) < 4 {
		t.Errorf("looked only in %q", places)
	}
}

// TestGroup computes a model of three layers on two devices, by layers, with a
// table that the first and the last stage share, and compares with one device.
func TestGroup(t *testing.T) {
	lib := cudatest.Emulated(t)
	var members []*Device
	for i := range 2 {
		d, err := OpenLibrary(lib, i, Options{})
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, d)
	}
	dev := newGroup(members, 3)
	t.Cleanup(dev.Close)
	const n, c, v = 3, 16, 11
	forward := func(b *bench) (y, hidden *Tensor) {
		weight := func(name string, shape ...int) *Tensor {
			w := Param(shape...)
			w.Name = name
			if err := b.dev.Alloc(w, F32); err != nil {
				t.Fatal(err)
			}
			w.SetValues(b.random(w.Numel()))
			b.weights = append(b.weights, w)
			return w
		}
		table, ids := weight("model.embed_tokens.weight", v, c), b.ids(v, n)
		h, pos := table.Rows(ids), b.ids(50, n)
		rope := &RoPE{Freqs: []float64{1, 0.1}, Scale: 1}
		for i := range 3 {
			cache := weight(fmt.Sprintf("KV cache of layer %d", i), n+2, c)
			x := h.MatMulT(weight(fmt.Sprintf("model.layers.%d.up.weight", i), c, c)).Reshape(n, 2, c/2).RoPE(pos, rope).Reshape(n, c)
			h = h.Add(cache.SetRows(b.g.Ints(n).SetInts([]int32{2, 0, 4}), x).Part(0, n, c))
		}
		hidden = h
		return h.RMSNorm(weight("model.norm.weight", c), 1e-5).MatMulT(table), hidden
	}
	one := newBench(t, open(t, 1))
	want, wantHidden := forward(one)
	one.run(want, wantHidden)
	b := newBench(t, dev)
	got, hidden := forward(b)
	p := b.run(got, hidden)
	for i := range 3 { // directly, captured, from the graph
		near(t, fmt.Sprintf("run %d", i), got.Values(), wide(want.Values()), 1e-5)
		near(t, fmt.Sprintf("hidden states of run %d", i), hidden.Values(), wide(wantHidden.Values()), 1e-5)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
	}
	on := map[*Device]int{}
	for _, w := range b.weights {
		on[w.store.dev]++
	}
	// Layers 0 and 1, with their caches, and the table on the first; layer 2 and the norm on the second.
	if on[members[0]] != 5 || on[members[1]] != 3 || len(dev.group.replicas) != 1 {
		t.Errorf("%d weights on the first device, %d on the second, %d on both; want 5, 3, 1", on[members[0]], on[members[1]], len(dev.group.replicas))
	}
}

// TestGroupMember names weights and caches of all families, and where they go on two devices of a model of four layers.
func TestGroupMember(t *testing.T) {
	first, last := &Device{}, &Device{}
	g := group{members: []*Device{first, last}, layers: 4}
	for name, want := range map[string]*Device{
		"model.embed_tokens.weight": first, "gpt_neox.embed_in.weight": first, "transformer.word_embeddings.weight": first,
		"model.layers.1.mlp.up_proj.weight": first, "gpt_neox.layers.1.mlp.dense_4h_to_h.weight": first, "transformer.h.1.mlp.dense_4h_to_h.weight": first,
		"model.layers.1.self_attn.q_proj.lora_A.weight": first, "KV cache of layer 1": first,
		"model.layers.2.mlp.experts.down_proj": last, "transformer.h.2.input_layernorm.weight": last, "KV cache of layer 3": last,
		"model.norm.weight": last, "transformer.ln_f.weight": last, "lm_head.weight": last, "embed_out.weight": last,
	} {
		if g.member(name) != want {
			t.Errorf("%s is on the wrong device", name)
		}
	}
}

// TestPlacement compares what is said of each operation with the node it becomes.
func TestPlacement(t *testing.T) {
	places := map[string]OpPlace{}
	for _, p := range Placement() {
		places[p.Op] = p
	}
	dev := open(t, 1)
	seen := map[Op]bool{}
	for _, c := range opCases {
		if seen[c.op] {
			continue
		}
		seen[c.op] = true
		b := newBench(t, dev)
		c.build(b)
		p := b.run(b.g.nodes[len(b.g.nodes)-1])
		for n, node := range p.lowered {
			if n.Op == OpLeaf {
				continue
			}
			want := byKernel
			switch node.What() {
			case "VIEW", "RESHAPE":
				want = byView
			case "CUSTOM":
			default:
				want = byGGML
			}
			if got := places[n.Op.String()].CPU; got != want {
				t.Errorf("%v becomes %s, but is said to be computed by %s", n.Op, node.What(), got)
			}
		}
	}
}
