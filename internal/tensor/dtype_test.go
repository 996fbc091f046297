package tensor

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

// half gives the value of the bits of an IEEE 754 binary16, from its definition.
func half(h uint16) float64 {
	sign, exp, man := 1.0, int(h>>10&31), float64(h&1023)
	if h>>15 == 1 {
		sign = -1
	}
	switch exp {
	case 31:
		if man != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	case 0:
		return sign * math.Ldexp(man, -24)
	}
	return sign * math.Ldexp(1024+man, exp-25)
}

// All 65536 values of both types are read exactly and written back as they were; NaN stays NaN.
func TestHalvesRoundTrip(t *testing.T) {
	for _, c := range []struct {
		dtype DType
		value func(h uint16) float64
	}{
		{F16, half},
		{BF16, func(h uint16) float64 { return float64(math.Float32frombits(uint32(h) << 16)) }},
	} {
		data := make([]byte, 2<<16)
		for h := range 1 << 16 {
			binary.LittleEndian.PutUint16(data[2*h:], uint16(h))
		}
		got := make([]float32, 1<<16)
		ToFloats(c.dtype, data, got)
		back := FromFloats(c.dtype, got)
		for h := range 1 << 16 {
			want, again := c.value(uint16(h)), binary.LittleEndian.Uint16(back[2*h:])
			if math.IsNaN(want) {
				if !math.IsNaN(float64(got[h])) || !math.IsNaN(c.value(again)) {
					t.Fatalf("%v %#x: got %g, and back %#x, want NaN", c.dtype, h, got[h], again)
				}
				continue
			}
			if float64(got[h]) != want || math.Signbit(float64(got[h])) != math.Signbit(want) || again != uint16(h) {
				t.Fatalf("%v %#x: got %g, and back %#x, want %g", c.dtype, h, got[h], again, want)
			}
		}
	}
}

// Between two neighbours the nearer is written, in the middle the even one; so for all pairs of neighbours.
func TestRoundToNearestEven(t *testing.T) {
	for _, d := range []DType{F16, BF16} {
		last := map[DType]uint16{F16: 0x7bff, BF16: 0x7f7f}[d] // the largest number
		var in []float32
		var want []uint16
		value := func(h uint16) float64 {
			var out [1]float32
			ToFloats(d, binary.LittleEndian.AppendUint16(nil, h), out[:])
			return float64(out[0])
		}
		for h := uint16(0); h <= last; h++ {
			a, b := value(h), value(h+1)
			if h == last {
				b = 2*a - value(h-1) // what would come next, were it not infinity
			}
			// Where the numbers are float32's smallest, there is none between the neighbours but the middle.
			middle := float32((a + b) / 2)
			even := h + h&1
			for _, x := range []struct {
				f float32
				h uint16
			}{{middle, even}, {math.Nextafter32(middle, 0), h}, {math.Nextafter32(middle, math.MaxFloat32), h + 1}} {
				if math.IsInf(float64(x.f), 0) {
					continue
				}
				in, want = append(in, x.f, -x.f), append(want, x.h, x.h|0x8000)
			}
		}
		in, want = append(in, float32(math.Inf(1)), float32(math.Inf(-1))), append(want, last+1, (last+1)|0x8000)
		got := FromFloats(d, in)
		for i := range in {
			if h := binary.LittleEndian.Uint16(got[2*i:]); h != want[i] {
				t.Fatalf("%v of %g: got %#x, want %#x", d, in[i], h, want[i])
			}
		}
		if len(in) < 6*0x7b00 {
			t.Errorf("only %d values tried", len(in))
		}
	}
}

// Blocks: the size, the rounding, blocks of zeros, and what is no whole block.
func TestQ8Blocks(t *testing.T) {
	if got := Q8_0.Bytes(96); got != 3*34 {
		t.Errorf("96 elements take %d bytes, want 102", got)
	}
	in := make([]float32, 3*32)
	for i := range 32 {
		in[i] = float32(i)*8 - 124      // up to 124: d = 124/127 in F16
		in[64+i] = float32(i%3-1) * 254 // d = 2 exactly
	}
	data := FromFloats(Q8_0, in)
	out := make([]float32, len(in))
	ToFloats(Q8_0, data, out)
	d := float32(half(binary.LittleEndian.Uint16(data)))
	if want := 124.0 / 127; math.Abs(float64(d)-want) > want/2048 {
		t.Errorf("got the unit %g, want %g", d, want)
	}
	for i, x := range out {
		switch {
		case i >= 32 && x != in[i]:
			t.Errorf("element %d: got %g, want %g", i, x, in[i])
		case i < 32 && (math.Abs(float64(x-in[i])) > float64(d)*0.57 || x != d*float32(int8(data[2+i]))): // half a unit, and d's own rounding 127 times
			t.Errorf("element %d: got %g of %d units, want %g", i, x, int8(data[2+i]), in[i])
		}
	}
	if err := caught(func() { FromFloats(Q8_0, in[:33]) }); err == nil {
		t.Error("33 elements were stored in blocks of 32")
	}
	if err := caught(func() { Q8_0.Size() }); err == nil {
		t.Error("an element of a block has a size")
	}
	dev := open(t, 1)
	w := Param(2, 48)
	w.Name = "w"
	for _, err := range []error{dev.Alloc(w, Q8_0), dev.Map(w, Q8_0, make([]byte, 102))} {
		if err == nil || err.Error() != "w: Q8_0 is stored in blocks of 32; rows of 48 elements are no multiple of that" {
			t.Errorf("rows of a block and a half: got %v", err)
		}
	}
}

func TestFloatsOfIntegers(t *testing.T) {
	if err := caught(func() { ToFloats(I32, make([]byte, 4), make([]float32, 1)) }); err == nil {
		t.Error("integers were read as floats")
	}
}

// The kernels' exponential, seen through SwiGLU with a factor of 1: a relative error of
// a few units of float32 where the result is a normal number, 0 below, no overflow above.
func TestExp(t *testing.T) {
	b := newBench(t, open(t, 1))
	const n, c = 4000, 17 // the vectors and the rest of a row
	x := make([]float32, n*c)
	for i := range x {
		x[i] = float32(i)/float32(len(x))*240 - 120
	}
	one := make([]float32, len(x))
	for i := range one {
		one[i] = 1
	}
	y := b.g.Floats(n, c).SetFloats(x).SwiGLU(b.g.Floats(n, c).SetFloats(one))
	b.run(y)
	for i, got := range y.Values() {
		want := float64(x[i]) / (1 + math.Exp(-float64(x[i])))
		if math.Abs(want) < 1e-30 {
			if math.Abs(float64(got)) > 1e-29 {
				t.Fatalf("silu(%g): got %g, want nearly 0", x[i], got)
			}
			continue
		}
		if e := math.Abs(float64(got)-want) / math.Abs(want); !(e < 6e-7) {
			t.Fatalf("silu(%g): got %g, want %g, relative error %g", x[i], got, want, e)
		}
	}
}

// The activations over all that a float32 can be: within 1e-6 of what they are near 0, to a few units of float32
// beyond, and with slopes that stay numbers where squares and cubes of x are infinite.
func TestActivations(t *testing.T) {
	const n, c = 3000, 17 // the vectors and the rest of a row
	x := make([]float32, 0, n*c)
	for i := range n * c / 2 {
		x = append(x, float32(i)/(n*c/2)*40-20)
	}
	for len(x) < n*c {
		i := len(x) - n*c/2
		v := float32(math.Pow(10, float64(i%77)-38)) // 1e-38 … 1e38
		x = append(x, map[bool]float32{true: v, false: -v}[i%2 == 0])
	}
	for a := range activations {
		a, want := Activation(a), activationReferences[a]
		t.Run(a.String(), func(t *testing.T) {
			b := newBench(t, open(t, 1))
			in := b.g.Floats(n, c).SetFloats(x)
			one := b.g.Floats(n, c).SetFloats(slices.Repeat([]float32{1}, n*c))
			y, dx := in.Act(a), in.ActBackward(a, one)
			b.run(y, dx)
			for i, got := range y.Values() {
				x := float64(x[i])
				if x < -1e30 {
					continue // the smallest sigmoid times that: SiLU's is −0.4 here, as it always was
				}
				if d, w := math.Abs(float64(got)-want.value(x)), math.Abs(want.value(x)); !(d <= 1e-6*min(1, math.Abs(x)) || d <= 4e-7*w) {
					t.Fatalf("%v(%g): got %g, want %g", a, x, got, want.value(x))
				}
			}
			for i, got := range dx.Values() {
				if math.Abs(float64(x[i])) > 1e30 {
					continue
				}
				w := want.slope(math.Max(-30, math.Min(30, float64(x[i])))) // the reference's own squares become infinite
				if d := math.Abs(float64(got) - w); !(d <= 1.5e-6) {
					t.Fatalf("slope of %v at %g: got %g, want %g", a, x[i], got, w)
				}
			}
		})
	}
}

// What is not a number stays so, and does not spread to other rows; −Inf is a masked logit.
func TestNotANumber(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	const c = 19
	row := func(at int, x float32) []float32 {
		v := make([]float32, 3*c)
		for i := range v {
			v[i] = float32(i%7) - 3
		}
		v[c+at] = x // in the second of three rows
		return v
	}
	for _, at := range []int{0, 7, 15, 18} {
		for _, x := range []float32{nan, inf, -inf} {
			b := newBench(t, open(t, 1))
			in := b.g.Floats(3, c).SetFloats(row(at, x))
			gate := in.SwiGLU(b.in(3, c))
			more := []*Tensor{in.Act(GELU), in.Act(GELUTanh), in.Act(ReLU), in.Softcap(30), in.LayerNorm(b.in(c), nil, 1e-5)}
			loss := in.CrossEntropy(b.g.Ints(3).SetInts([]int32{1, 1, 1}))
			soft := in.Softmax(1, nil)
			norm := in.RMSNorm(b.in(c), 1e-5)
			b.run(append(more, gate, loss, soft, norm)...)
			finite := func(v ...float32) bool {
				for _, x := range v {
					if x != x || math.IsInf(float64(x), 0) {
						return false
					}
				}
				return true
			}
			l, s, n, g := loss.Values(), soft.Values(), norm.Values(), gate.Values()
			if !finite(l[0], l[2]) || !finite(s[:c]...) || !finite(s[2*c:]...) || !finite(n[:c]...) || !finite(n[2*c:]...) || !finite(g[:c]...) || !finite(g[2*c:]...) {
				t.Errorf("%g at %d spread to other rows", x, at)
			}
			for _, y := range more {
				v := y.Values()
				if !finite(v[:c]...) || !finite(v[2*c:]...) {
					t.Errorf("%g at %d spread to other rows by %v", x, at, y.Op)
				}
				if x != x && v[c+at] == v[c+at] {
					t.Errorf("%v of NaN at %d is %g", y.Op, at, v[c+at])
				}
			}
			if x == -inf {
				if !finite(l[1]) || s[c+at] != 0 {
					t.Errorf("a masked logit at %d: loss %g, probability %g", at, l[1], s[c+at])
				}
				continue
			}
			if finite(l[1]) {
				t.Errorf("loss %g of a row with %g at %d", l[1], x, at)
			}
			if finite(g[c+at]) {
				t.Errorf("silu(%g) at %d is %g", x, at, g[c+at])
			}
		}
	}
}
