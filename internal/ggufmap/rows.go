package ggufmap

import (
	"fmt"
	"sort"

	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// order gives, for a row of a tensor, the row of what it is made from. nil keeps the order.
type order func(row int) int

// sizes are what orders depend on.
type sizes struct{ heads, kvHeads, headDim, experts int }

// An interleave says how the rows of a projection are ordered in GGUF: toGGUF gives for a row
// there its row in the published weight, toHF the opposite.
type interleave struct{ toGGUF, toHF func(s sizes) order }

// rotated is Llama's: llama.cpp turns neighbours into each other where Hugging Face's weights turn
// channel i and i+D/2 of a head, so that the channels of each head are dealt like two halves of a pack.
var rotated = &interleave{
	toGGUF: func(s sizes) order {
		d := s.headDim
		return func(r int) int { h, i := r/d, r%d; return h*d + i%2*(d/2) + i/2 }
	},
	toHF: func(s sizes) order {
		d := s.headDim
		return func(r int) int { h, i := r/d, r%d; return h*d + i%(d/2)*2 + i/(d/2) }
	},
}

// grouped is a fused projection that has for each key/value head its G queries, its key and its value
// (GPT-NeoX, Falcon); GGUF has all queries, then all keys, then all values.
var grouped = &interleave{
	toGGUF: func(s sizes) order {
		d, g := s.headDim, s.heads/s.kvHeads
		return func(r int) int {
			h, i := r/d, r%d // which of all heads
			switch {
			case h < s.heads:
				h = h/g*(g+2) + h%g
			case h < s.heads+s.kvHeads:
				h = (h-s.heads)*(g+2) + g
			default:
				h = (h-s.heads-s.kvHeads)*(g+2) + g + 1
			}
			return h*d + i
		}
	},
	toHF: func(s sizes) order {
		d, g := s.headDim, s.heads/s.kvHeads
		return func(r int) int {
			h, i := r/d, r%d
			group, within := h/(g+2), h%(g+2)
			switch within {
			case g:
				h = s.heads + group
			case g + 1:
				h = s.heads + s.kvHeads + group
			default:
				h = group*g + within
			}
			return h*d + i
		}
	},
}

// part is n rows of a tensor, from a row on. A tensor of one axis has rows of one element.
type part struct {
	name    string
	from, n int
}

// rows says where the rows of a tensor come from: those of the parts, one part after the other,
// in an order.
type rows struct {
	parts []part
	order order
	add   float32 // to every element of what is read, F32 then
}

// plain reports whether the rows are a piece of one tensor as it stands.
func (r *rows) plain() bool { return len(r.parts) == 1 && r.order == nil && r.add == 0 }

// view gives the rows and the elements of a row of a shape.
func view(shape []int) (n, cols int) {
	n, cols = 1, 1
	for i, d := range shape {
		if i == len(shape)-1 && i > 0 {
			cols = d
			continue
		}
		n *= d
	}
	return n, cols
}

// gather copies rows [first, first+n) to dst, as they are stored: rowBytes each. get gives the
// parts' tensors.
func (r *rows) gather(dst []byte, first, n, rowBytes int, get func(name string) (safetensors.Tensor, bool)) error {
	ends := make([]int, len(r.parts))
	total := 0
	for i, p := range r.parts {
		total += p.n
		ends[i] = total
	}
	var at safetensors.Tensor
	open := -1 // index of the part that at is
	for k := 0; k < n; {
		row := first + k
		if r.order != nil {
			row = r.order(row)
		}
		i := sort.SearchInts(ends, row+1)
		if i != open {
			t, ok := get(r.parts[i].name)
			if !ok {
				return fmt.Errorf("tensor %s is gone", r.parts[i].name)
			}
			at, open = t, i
		}
		p := r.parts[i]
		run := 1
		if r.order == nil {
			run = min(n-k, ends[i]-row)
		}
		begin := (p.from + row - (ends[i] - p.n)) * rowBytes
		piece := at
		piece.Data = at.Data[begin : begin+run*rowBytes]
		if err := piece.CopyTo(dst[k*rowBytes : (k+run)*rowBytes]); err != nil {
			return err
		}
		k += run
	}
	return nil
}

// typeOf is the type of a tensor of a checkpoint.
func typeOf(t safetensors.Tensor) (tensor.DType, error) {
	d, ok := tensor.DTypeByName(string(t.DType))
	if !ok || d == tensor.I32 {
		return 0, fmt.Errorf("%s: type %s, want F32, F16, BF16 or one of GGML's quantized types", t.Name, t.DType)
	}
	return d, nil
}
