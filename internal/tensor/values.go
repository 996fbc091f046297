package tensor

import (
	"math"
	"unsafe"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Values copies the elements as float32: of a weight, or of an output after [Program.Run].
func (t *Tensor) Values() []float32 {
	out := make([]float32, t.Numel())
	t.Read(out)
	return out
}

// Read is [Tensor.Values] into out, which has as many elements.
func (t *Tensor) Read(out []float32) {
	if len(out) != t.Numel() {
		fail(t.Op, "%d elements wanted of %v", len(out), t.shape)
	}
	switch {
	case t.IsWeight():
		if t.dtype == F32 {
			t.ReadBytes(asBytes(out), 0)
			return
		}
		ToFloats(t.dtype, t.Bytes(), out)
	case t.prog == nil || t.prog.lowered[t].Nil() || t.prog.dev.planning:
		fail(t.Op, "not an output of a program that was run")
	case t.dtype == F32:
		t.prog.dev.b.Get(t.prog.lowered[t], asBytes(out), 0)
	default:
		data := make([]byte, t.dtype.Bytes(t.Numel()))
		t.prog.dev.b.Get(t.prog.lowered[t], data, 0)
		ToFloats(t.dtype, data, out)
	}
}

// SetValues sets a weight's elements, rounded to its type.
func (t *Tensor) SetValues(v []float32) {
	if t.dtype == F32 {
		t.SetBytes(asBytes(v))
		return
	}
	t.SetBytes(FromFloats(t.dtype, v))
}

func asBytes(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*4)
}

// ToFloats converts little-endian elements of dtype, whole blocks of a quantized one, to the float32 numbers that they stand for.
func ToFloats(dtype DType, data []byte, out []float32) {
	switch dtype {
	case F32:
		copy(asBytes(out), data)
	case BF16:
		for i := range out {
			out[i] = math.Float32frombits(uint32(data[2*i])<<16 | uint32(data[2*i+1])<<24)
		}
	case F16:
		for i := range out {
			out[i] = halfToFloat(uint16(data[2*i]) | uint16(data[2*i+1])<<8)
		}
	case I32:
		fail(OpLeaf, "%v as floats", dtype)
	default:
		wantBlocks(dtype, len(out))
		if len(data) < dtype.Bytes(len(out)) {
			fail(OpLeaf, "%d bytes for %d elements of %v", len(data), len(out), dtype)
		}
		ggml.Dequantize(dtypes[dtype].ggml, data, out)
	}
}

func wantBlocks(dtype DType, n int) {
	if n%dtype.Block() != 0 {
		fail(OpLeaf, "%d elements of %v in blocks of %d", n, dtype, dtype.Block())
	}
}

// FromFloats converts to little-endian elements of dtype, rounding to nearest even; to a quantized one, of whole blocks, as [Quantize] does.
func FromFloats(dtype DType, v []float32) []byte {
	wantBlocks(dtype, len(v))
	out := make([]byte, dtype.Bytes(len(v)))
	switch {
	case dtype == F32:
		copy(out, asBytes(v))
		return out
	case dtype.Quantized():
		Quantize(dtype, v, len(v), nil, out)
		return out
	}
	for i, x := range v {
		var h uint16
		if dtype == BF16 {
			h = floatToBF16(x)
		} else {
			h = floatToHalf(x)
		}
		out[2*i], out[2*i+1] = byte(h), byte(h>>8)
	}
	return out
}

// Quantize converts rows of perRow floats to a quantized type, as llama-quantize does. importance
// (perRow), when not nil, weighs the errors of a row's elements: mean squares of the activations
// that meet them. Some types need it ([DType.NeedsImportance]). Goroutines may share the work by rows.
func Quantize(dtype DType, rows []float32, perRow int, importance []float32, out []byte) {
	switch {
	case !dtype.Quantized():
		fail(OpLeaf, "%v is not a quantized type", dtype)
	case perRow <= 0 || perRow%dtype.Block() != 0 || len(rows)%perRow != 0:
		fail(OpLeaf, "%d elements in rows of %d for %v, which is stored in blocks of %d", len(rows), perRow, dtype, dtype.Block())
	case len(out) != dtype.Bytes(len(rows)):
		fail(OpLeaf, "%d bytes for %d elements of %v", len(out), len(rows), dtype)
	case importance != nil && len(importance) != perRow:
		fail(OpLeaf, "importance of %d elements for rows of %d", len(importance), perRow)
	case importance == nil && dtype.NeedsImportance():
		fail(OpLeaf, "%v cannot be made without importance", dtype)
	}
	ggml.Quantize(dtypes[dtype].ggml, rows, perRow, importance, out)
}

func floatToBF16(f float32) uint16 {
	u := math.Float32bits(f)
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 64 // NaN stays NaN
	}
	return uint16((u + 0x7fff + (u>>16)&1) >> 16)
}

func halfToFloat(h uint16) float32 {
	sign, exp, man := uint32(h&0x8000)<<16, uint32(h>>10)&31, uint32(h)&1023
	switch {
	case exp == 31:
		return math.Float32frombits(sign | 0x7f800000 | man<<13)
	case exp != 0:
		return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
	}
	f := float32(man) * 0x1p-24
	return math.Float32frombits(math.Float32bits(f) | sign)
}

func floatToHalf(f float32) uint16 {
	u := math.Float32bits(f)
	sign, a := uint16(u>>16)&0x8000, u&0x7fffffff
	switch {
	case a > 0x7f800000:
		return sign | 0x7e00
	case a >= 0x477ff000: // 65520 and above round to infinity
		return sign | 0x7c00
	case a < 0x38800000: // below 2^-14: subnormal, in units of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(a))*0x1p24))
	}
	a += 0xfff + (a>>13)&1
	return sign | uint16((a-0x38000000)>>13)
}

// ValidBlocks reports whether the scales of a quantized type's blocks are numbers: no infinity, no NaN.
func ValidBlocks(dtype DType, data []byte) bool { return ggml.Valid(dtypes[dtype].ggml, data) }
