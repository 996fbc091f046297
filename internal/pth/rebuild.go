package pth

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// storages are the classes whose persistent ids name elements of one type.
var storages = map[string]safetensors.DType{
	"torch.DoubleStorage": safetensors.F64, "torch.FloatStorage": safetensors.F32, "torch.HalfStorage": safetensors.F16,
	"torch.BFloat16Storage": safetensors.BF16, "torch.LongStorage": safetensors.I64, "torch.IntStorage": safetensors.I32,
	"torch.ShortStorage": safetensors.I16, "torch.CharStorage": safetensors.I8, "torch.ByteStorage": safetensors.U8,
	"torch.BoolStorage":            safetensors.BOOL,
	"torch.storage.UntypedStorage": "", "torch.UntypedStorage": "", // count bytes; the tensor says of what type it is
}

// dtypes are torch's types of elements, as a tensor in an untyped storage names them.
var dtypes = map[string]safetensors.DType{
	"torch.float64": safetensors.F64, "torch.float32": safetensors.F32, "torch.float16": safetensors.F16, "torch.bfloat16": safetensors.BF16,
	"torch.float8_e4m3fn": safetensors.F8_E4M3, "torch.float8_e5m2": safetensors.F8_E5M2,
	"torch.int64": safetensors.I64, "torch.int32": safetensors.I32, "torch.int16": safetensors.I16, "torch.int8": safetensors.I8,
	"torch.uint64": safetensors.U64, "torch.uint32": safetensors.U32, "torch.uint16": safetensors.U16, "torch.uint8": safetensors.U8,
	"torch.bool": safetensors.BOOL,
}

// calls are what a pickle may name and call: each makes a value here of its arguments.
// Python would import and call the thing itself; here nothing else has a meaning.
var calls = map[string]func(args tuple) (any, error){
	"torch._utils._rebuild_tensor_v2":            rebuildTensor,
	"torch._utils._rebuild_tensor_v3":            rebuildTensor,
	"torch._utils._rebuild_parameter":            rebuildParameter,
	"torch._utils._rebuild_parameter_with_state": rebuildParameter,
	"collections.OrderedDict":                    orderedDict,
	"torch.Size": func(args tuple) (any, error) {
		if len(args) == 1 {
			if t, ok := args[0].(tuple); ok {
				return t, nil
			}
		}
		return nil, fmt.Errorf("torch.Size of %d arguments, a tuple wanted", len(args))
	},
	// What training states hold beside the weights; see inert.
	"torch.device":               ignored("torch.device"),
	"_codecs.encode":             ignored("bytes"), // how protocol 2 writes bytes
	"pathlib.PosixPath":          ignored("path"),
	"pathlib.PurePosixPath":      ignored("path"),
	"pathlib.WindowsPath":        ignored("path"),
	"pathlib.PureWindowsPath":    ignored("path"),
	"pathlib._local.PosixPath":   ignored("path"),
	"pathlib._local.WindowsPath": ignored("path"),
	"__builtin__.set":            ignored("set"),
	"builtins.set":               ignored("set"),
}

func ignored(what string) func(tuple) (any, error) {
	return func(tuple) (any, error) { return inert{what}, nil }
}

// global puts something of Python's on the stack, if it is known.
func (m *machine) global(module, name string) error {
	full := module + "." + name
	_, isStorage := storages[full]
	_, isType := dtypes[full]
	if !isStorage && !isType && calls[full] == nil {
		return fmt.Errorf("the file would have Python use %s when it is loaded; refused, since a checkpoint needs tensors only "+
			"(if you trust the file, load it with Python and save model.state_dict())", quote(full))
	}
	return m.push(global{full})
}

// reduce calls a global with a tuple of arguments.
func (m *machine) reduce() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	f, err := m.pop()
	if err != nil {
		return err
	}
	args, ok := v.(tuple)
	g, isGlobal := f.(global)
	if !ok || !isGlobal || calls[g.name] == nil {
		return fmt.Errorf("a call of %s with %s; refused", describe(f), describe(v))
	}
	result, err := calls[g.name](args)
	if err != nil {
		return err
	}
	return m.push(result)
}

// build sets attributes of an object. What has some here (the version numbers that a
// state_dict carries, the Python attributes of a parameter) does not need them.
func (m *machine) build() error {
	if _, err := m.pop(); err != nil {
		return err
	}
	v, err := m.pop()
	if err != nil {
		return err
	}
	switch v.(type) {
	case *dict, *rebuilt, inert:
		return m.push(v)
	}
	return fmt.Errorf("attributes for %s; refused", describe(v))
}

// persistent replaces ("storage", class, key, device, count) by the storage.
func (m *machine) persistent() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	id, ok := v.(tuple)
	if !ok || len(id) != 5 || id[0] != "storage" {
		return fmt.Errorf("persistent id %s; that of a storage wanted", describe(v))
	}
	class, ok := id[1].(global)
	key, ok2 := id[2].(string)
	if n, isNumber := id[2].(int64); isNumber { // LitGPT's incremental_save
		key, ok2 = strconv.FormatInt(n, 10), true
	}
	_, ok3 := id[3].(string)
	numel, ok4 := id[4].(int64)
	dtype, known := storages[class.name]
	if !ok || !ok2 || !ok3 || !ok4 || !known || numel < 0 {
		return fmt.Errorf("a storage of %s, %s, %s, %s; a class, its key, its device and its length wanted",
			describe(id[1]), describe(id[2]), describe(id[3]), describe(id[4]))
	}
	return m.push(&storage{key: key, kind: class.name, dtype: dtype, numel: numel})
}

// rebuildTensor takes storage, offset, size, stride, requires_grad, hooks, and, in
// version 3, dtype; then metadata, which says e.g. that a tensor is a conjugate.
func rebuildTensor(args tuple) (any, error) {
	if len(args) < 6 || len(args) > 8 {
		return nil, fmt.Errorf("a tensor of %d arguments, 6 to 8 wanted", len(args))
	}
	s, ok := args[0].(*storage)
	offset, ok2 := args[1].(int64)
	shape, ok3 := integers(args[2])
	stride, ok4 := integers(args[3])
	if !ok || !ok2 || !ok3 || !ok4 {
		return nil, fmt.Errorf("a tensor of %s, %s, %s, %s; a storage, an offset, a shape and strides wanted",
			describe(args[0]), describe(args[1]), describe(args[2]), describe(args[3]))
	}
	t := &rebuilt{storage: s, offset: offset, shape: shape, stride: stride}
	for _, arg := range args[6:] {
		switch v := arg.(type) {
		case global:
			t.dtype = dtypes[v.name]
		case nil:
		case *dict:
			if len(v.keys) > 0 {
				return nil, errors.New("a tensor with metadata (a conjugate or negated view); save a plain copy of it")
			}
		default:
			return nil, fmt.Errorf("a tensor with %s; its type or metadata wanted", describe(arg))
		}
	}
	return t, nil
}

func rebuildParameter(args tuple) (any, error) {
	if len(args) > 0 {
		if t, ok := args[0].(*rebuilt); ok {
			return t, nil
		}
	}
	return nil, errors.New("a parameter without its tensor")
}

// orderedDict takes nothing, or a list of pairs.
func orderedDict(args tuple) (any, error) {
	d := &dict{}
	if len(args) == 0 {
		return d, nil
	}
	l, ok := args[0].(*list)
	if !ok || len(args) > 1 {
		return nil, fmt.Errorf("an OrderedDict of %s, a list of pairs wanted", describe(args[0]))
	}
	for _, item := range l.items {
		var pair []any
		switch item := item.(type) {
		case *list:
			pair = item.items
		case tuple:
			pair = item
		}
		if len(pair) != 2 {
			return nil, fmt.Errorf("an OrderedDict with %s, a pair wanted", describe(item))
		}
		if err := d.set(pair[0], pair[1]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func integers(v any) ([]int64, bool) {
	t, ok := v.(tuple)
	if !ok {
		return nil, false
	}
	list := make([]int64, len(t))
	for i, x := range t {
		if list[i], ok = x.(int64); !ok {
			return nil, false
		}
	}
	return list, true
}
