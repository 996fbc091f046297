package nn

import (
	"fmt"
	"iter"
	"reflect"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Params yields every weight of a model with its checkpoint name, each once, in
// the order of the struct fields. The same names select LoRA targets, weight
// decay groups and quantization types, and appear in error messages.
func Params(model any) iter.Seq2[string, *tensor.Tensor] {
	return func(yield func(string, *tensor.Tensor) bool) {
		seen := map[*tensor.Tensor]bool{}
		walk(reflect.ValueOf(model), "", func(name string, v any) bool {
			t, ok := v.(*tensor.Tensor)
			if !ok || seen[t] {
				return true
			}
			seen[t] = true
			return yield(name, t)
		})
	}
}

// Linears yields every linear layer of a model with its checkpoint name.
func Linears(model any) iter.Seq2[string, *Linear] {
	return func(yield func(string, *Linear) bool) {
		walk(reflect.ValueOf(model), "", func(name string, v any) bool {
			l, ok := v.(*Linear)
			return !ok || yield(name, l)
		})
	}
}

// Stacks yields every stack of experts' layers of a model with its checkpoint name.
func Stacks(model any) iter.Seq2[string, *Stack] {
	return func(yield func(string, *Stack) bool) {
		walk(reflect.ValueOf(model), "", func(name string, v any) bool {
			s, ok := v.(*Stack)
			return !ok || yield(name, s)
		})
	}
}

// walk calls visit for each non-nil pointer reachable through tagged fields. It
// returns false when visit does.
func walk(v reflect.Value, name string, visit func(string, any) bool) bool {
	switch v.Kind() {
	case reflect.Interface:
		return v.IsNil() || walk(v.Elem(), name, visit)
	case reflect.Pointer:
		if v.IsNil() {
			return true
		}
		if !visit(name, v.Interface()) {
			return false
		}
		if _, leaf := v.Interface().(*tensor.Tensor); leaf {
			return true
		}
		return walk(v.Elem(), name, visit)
	case reflect.Slice:
		for i := range v.Len() {
			if !walk(v.Index(i), fmt.Sprintf("%s.%d", name, i), visit) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			tag, ok := v.Type().Field(i).Tag.Lookup("hf")
			if ok && !walk(v.Field(i), join(name, tag), visit) {
				return false
			}
		}
	}
	return true
}

func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + "." + b
}
