package quantize

import "github.com/litgpt-go/litgpt/internal/tensor"

// codec knows where a type keeps the codes of a block's elements, beside their scales. The layouts are GGML's.
type codec struct {
	from, to int                           // the bytes that hold nothing but codes
	n        int                           // codes are 0 … n-1
	set      func(b []byte, i int, c byte) // of codes that are 0
	values   []float32                     // what codes stand for, times a scale; nil when they are evenly spaced
	unit     byte                          // the code whose value is 1, with values
}

// nibbles sets 32 elements of four bits from byte at on: i and i+16 share one.
func nibbles(at int) func([]byte, int, byte) {
	return func(b []byte, i int, c byte) { b[at+i%16] |= c & 15 << (4 * (i / 16)) }
}

// fifth is nibbles with the highest bit of each in four bytes from high on.
func fifth(at, high int) func([]byte, int, byte) {
	low := nibbles(at)
	return func(b []byte, i int, c byte) {
		low(b, i, c)
		b[high+i/8] |= c >> 4 << (i % 8)
	}
}

// twoBits sets 256 elements of two bits: 32 apart, four share a byte.
func twoBits(b []byte, i int, c byte) { b[i/128*32+i%32] |= c & 3 << (2 * (i % 128 / 32)) }

// fourBits sets 256 elements of four bits: 32 apart, two share a byte.
func fourBits(b []byte, i int, c byte) { b[i/64*32+i%32] |= c & 15 << (4 * (i % 64 / 32)) }

// nonlinear are IQ4_NL's values, minifloats those of MXFP4 with its scale.
var (
	nonlinear  = []float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	minifloats = []float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
)

// codecs are of the types that GPTQ is for: of eight bits the errors are too small to matter.
var codecs = map[tensor.DType]codec{
	tensor.Q4_0:   {from: 2, to: 18, n: 16, set: nibbles(2)},
	tensor.Q4_1:   {from: 4, to: 20, n: 16, set: nibbles(4)},
	tensor.Q5_0:   {from: 2, to: 22, n: 32, set: fifth(6, 2)},
	tensor.Q5_1:   {from: 4, to: 24, n: 32, set: fifth(8, 4)},
	tensor.IQ4_NL: {from: 2, to: 18, n: 16, set: nibbles(2), values: nonlinear, unit: 8},
	tensor.MXFP4:  {from: 1, to: 17, n: 16, set: nibbles(1), values: minifloats, unit: 1},
	tensor.Q2_K:   {from: 16, to: 80, n: 4, set: func(b []byte, i int, c byte) { twoBits(b[16:], i, c) }},
	tensor.Q3_K: {from: 0, to: 96, n: 8, set: func(b []byte, i int, c byte) {
		twoBits(b[32:], i, c)
		b[i%32] |= c >> 2 << (i / 32)
	}},
	tensor.Q4_K: {from: 16, to: 144, n: 16, set: func(b []byte, i int, c byte) { fourBits(b[16:], i, c) }},
	tensor.Q5_K: {from: 16, to: 176, n: 32, set: func(b []byte, i int, c byte) {
		fourBits(b[48:], i, c)
		b[16+i%32] |= c >> 4 << (i / 32)
	}},
	tensor.Q6_K: {from: 0, to: 192, n: 64, set: func(b []byte, i int, c byte) {
		half, l, k := i/128, i%32, i%128/32
		b[64*half+l+32*(k&1)] |= c & 15 << (4 * (k >> 1))
		b[128+32*half+l] |= c >> 4 << (2 * k)
	}},
	tensor.IQ4_XS: {from: 8, to: 136, n: 16, set: func(b []byte, i int, c byte) { nibbles(8+16*(i/32))(b, i%32, c) }, values: nonlinear, unit: 8},
}

// grid is what the codes of one block's elements stand for.
type grid struct {
	codec
	base, step []float32 // of each element: code c is base + c·step, or step·values[c]
	template   []byte    // codes that are all 1, or all unit
}

func newGrid(d tensor.DType) (*grid, bool) {
	c, ok := codecs[d]
	if !ok {
		return nil, false
	}
	n := d.Block()
	g := &grid{codec: c, base: make([]float32, n), step: make([]float32, n), template: make([]byte, d.Bytes(n))}
	code := byte(1)
	if c.values != nil {
		code = c.unit
	}
	for i := range n {
		c.set(g.template, i, code)
	}
	return g, true
}

// read takes the scales of a block, and clears its codes.
func (g *grid) read(d tensor.DType, b []byte) {
	if g.values == nil {
		clear(b[g.from:g.to])
		tensor.ToFloats(d, b, g.base)
	}
	copy(b[g.from:g.to], g.template[g.from:g.to])
	tensor.ToFloats(d, b, g.step)
	for i := range g.step {
		g.step[i] -= g.base[i] // 0 with values
	}
	clear(b[g.from:g.to])
}

// nearest gives the code for x at element i, and its value.
func (g *grid) nearest(i int, x float32) (byte, float32) {
	step := g.step[i]
	if step == 0 {
		return 0, g.base[i]
	}
	x = (x - g.base[i]) / step
	if g.values == nil {
		c := min(max(int(x+0.5), 0), g.n-1)
		return byte(c), g.base[i] + float32(c)*step
	}
	best, at := float32(0), 0
	for c, v := range g.values {
		if e := (v - x) * (v - x); c == 0 || e < best {
			best, at = e, c
		}
	}
	return byte(at), step * g.values[at]
}
