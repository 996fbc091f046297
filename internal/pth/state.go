package pth

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

const maxRank = 64 // dimensions; what PyTorch can hold

// view is a tensor: where in the file its elements are.
type view struct {
	storage record
	dtype   safetensors.DType
	offset  int64 // of the first element, in elements
	shape   []int
	stride  []int64 // in elements
}

func (v view) numel() int64 {
	n := int64(1)
	for _, d := range v.shape {
		n *= int64(d)
	}
	return n
}

// contiguous reports whether the elements lie one after the other.
func (v view) contiguous() bool {
	if slices.Contains(v.shape, 0) {
		return true
	}
	want := int64(1)
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] != 1 && v.stride[i] != want {
			return false
		}
		want *= int64(v.shape[i])
	}
	return true
}

// span is how many elements of the storage there are from the first of the view to its last.
func (v view) span() int64 {
	n := int64(1)
	for i, d := range v.shape {
		n += int64(d-1) * v.stride[i]
	}
	return n
}

// gather copies the elements to dst in their order; span holds those from the view's
// first to its last.
func (v view) gather(dst, span []byte) {
	size := v.dtype.Size()
	last := len(v.shape) - 1
	step := int(v.stride[last]) * size
	at := make([]int, len(v.shape))
	for len(dst) > 0 {
		first := 0
		for i, k := range at {
			first += k * int(v.stride[i]) * size
		}
		for j := range v.shape[last] {
			copy(dst[:size], span[first+j*step:])
			dst = dst[size:]
		}
		for i := last - 1; i >= 0; i-- {
			if at[i]++; at[i] < v.shape[i] {
				break
			}
			at[i] = 0
		}
	}
}

// state reads the pickle and finds the tensors' dictionary in what it holds.
func (a *archive) state() ([]string, map[string]view, error) {
	data, err := a.read(a.records["data.pkl"], maxPickle)
	if err != nil {
		return nil, nil, fmt.Errorf("record \"data.pkl\": %w", err)
	}
	top, err := unpickle(data)
	if err != nil {
		return nil, nil, fmt.Errorf("data.pkl: %w", err)
	}
	d, ok := top.(*dict)
	if !ok {
		return nil, nil, fmt.Errorf("data.pkl holds %s, want a dictionary of tensors; save model.state_dict()", describe(top))
	}
	for _, key := range []string{"model", "state_dict"} {
		if i, ok := d.index[key]; ok {
			if inner, ok := d.values[i].(*dict); ok {
				d = inner
				break
			}
		}
	}
	var names []string
	tensors := map[string]view{}
	for i, key := range d.keys {
		t, ok := d.values[i].(*rebuilt)
		if !ok {
			continue // a step number, the options of a program: no weight
		}
		name, ok := key.(string)
		switch {
		case !ok:
			return nil, nil, fmt.Errorf("a tensor is called %s, want a string", describe(key))
		case len(name) > maxName:
			return nil, nil, fmt.Errorf("a tensor's name has %d bytes, want at most %d", len(name), maxName)
		case !utf8.ValidString(name):
			return nil, nil, fmt.Errorf("tensor %s: name is not valid Unicode", quote(name))
		}
		v, err := a.view(t)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %s: %w", quote(name), err)
		}
		names = append(names, name)
		tensors[name] = v
	}
	if len(names) == 0 {
		return nil, nil, errors.New("the dictionary has no tensors, nor has a \"model\" or \"state_dict\" in it; save model.state_dict()")
	}
	return names, tensors, nil
}

// view checks that a tensor lies inside its storage, and that within the file.
func (a *archive) view(t *rebuilt) (view, error) {
	s := t.storage
	dtype := s.dtype
	if dtype == "" {
		dtype = t.dtype
	}
	size := int64(dtype.Size())
	if size == 0 {
		return view{}, fmt.Errorf("elements of type %s are not known here", quote(s.kind))
	}
	rec, ok := a.records["data/"+s.key]
	if !ok {
		return view{}, fmt.Errorf("its storage %s is not in the file", quote("data/"+s.key))
	}
	numel := s.numel
	if s.dtype == "" { // an untyped storage counts bytes
		numel /= size
	}
	if numel < 0 || numel > rec.size/size || s.dtype != "" && numel*size != rec.size {
		return view{}, fmt.Errorf("its storage %s has %d bytes, which are not %d elements of %s; the file is damaged", quote("data/"+s.key), rec.size, s.numel, dtype)
	}
	v := view{storage: rec, dtype: dtype, offset: t.offset, shape: make([]int, len(t.shape)), stride: t.stride}
	if len(t.shape) > maxRank || len(t.stride) != len(t.shape) {
		return view{}, fmt.Errorf("%d sizes and %d strides, want as many, at most %d", len(t.shape), len(t.stride), maxRank)
	}
	// Every product below is checked, also those of a shape with a 0 in it.
	elements, reach := uint64(1), uint64(1)
	empty := slices.Contains(t.shape, 0)
	for i, d := range t.shape {
		if d < 0 || t.stride[i] < 0 || int64(int(d)) != d {
			return view{}, fmt.Errorf("shape %v with strides %v: numbers that are not negative wanted", t.shape, t.stride)
		}
		v.shape[i] = int(d)
		hi, lo := bits.Mul64(elements, uint64(max(d, 1)))
		high, low := bits.Mul64(uint64(max(d, 1)-1), uint64(t.stride[i]))
		sum, carry := bits.Add64(reach, low, 0)
		if hi != 0 || high != 0 || carry != 0 || lo > 1<<62 || sum > 1<<62 {
			return view{}, fmt.Errorf("shape %v with strides %v has more elements than can be counted", t.shape, t.stride)
		}
		elements, reach = lo, sum
	}
	switch {
	case t.offset < 0 || t.offset > numel || !empty && reach > uint64(numel-t.offset):
		return view{}, fmt.Errorf("shape %v with strides %v from element %d on reaches behind the %d elements of its storage; the file is damaged",
			t.shape, t.stride, t.offset, numel)
	case !empty && elements > uint64(numel): // a stride of 0
		return view{}, fmt.Errorf("shape %v with strides %v repeats elements: %d of a storage of %d; save a contiguous copy (tensor.contiguous())",
			t.shape, t.stride, elements, numel)
	}
	return v, nil
}
