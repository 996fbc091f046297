package recipes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// bitsandbytes are LitGPT's names of types to quantize to while a checkpoint is loaded, and the nearest ones of
// GGML: IQ4_NL has 16 values that crowd around 0 as NormalFloat's do (https://arxiv.org/abs/2305.14314), scaled for each
// 32 weights instead of 64, so that there is nothing to gain by quantizing the scales once more (-dq).
var bitsandbytes = map[string]tensor.DType{
	"bnb.nf4": tensor.IQ4_NL, "bnb.nf4-dq": tensor.IQ4_NL, "bnb.fp4": tensor.IQ4_NL, "bnb.fp4-dq": tensor.IQ4_NL,
	"bnb.int8": tensor.Q8_0, "bnb.int8-training": tensor.Q8_0,
}

// quantization is the setting quantize: to which type the layers' weights are quantized in memory.
type quantization struct {
	name string // as given; "" for none
	to   tensor.DType
}

// parseQuantization reads the setting.
func parseQuantization(name string) (quantization, error) {
	if name == "" {
		return quantization{}, nil
	}
	if name == "none" {
		return quantization{name: name}, nil
	}
	if d, ok := bitsandbytes[name]; ok {
		return quantization{name, d}, nil
	}
	d, ok := tensor.DTypeByName(strings.ToUpper(name))
	if ok && d.Quantized() && !d.NeedsImportance() {
		return quantization{name, d}, nil
	}
	known := slices.Sorted(maps.Keys(bitsandbytes))
	msg := fmt.Sprintf("--quantize is %q; one of %s, or a type of GGML such as Q4_K or Q8_0, wanted", name, strings.Join(known, ", "))
	if near := settings.Nearest(name, known); near != "" {
		msg += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return quantization{}, usage([]string{msg})
}

// requantize sets what is asked for; an adapter's base is otherwise quantized as it was in training.
func (l *loaded) requantize(asked quantization) {
	switch asked.name {
	case "":
	case "none":
		l.quant = quantization{}
	default:
		l.quant = asked
	}
}

// types says what the weights of m become: those of linear layers and of experts, where whole rows are made
// of blocks. An embedding, also one that is the output projection, stays as it is.
func (q quantization) types(m models.Model) func(name string, shape []int) tensor.DType {
	if q.name == "" {
		return nil
	}
	weights := map[string]bool{}
	for name, l := range nn.Linears(m) {
		if l.Weight != nil {
			weights[name+".weight"] = true
		}
	}
	for name := range nn.Stacks(m) {
		weights[name] = true
	}
	return func(name string, shape []int) tensor.DType {
		if !weights[name] || len(shape) < 2 || shape[len(shape)-1]%q.to.Block() != 0 {
			return tensor.I32
		}
		return q.to
	}
}

// describe is what the header line says of it.
func (q quantization) describe() string {
	if strings.EqualFold(q.name, q.to.String()) {
		return q.to.String()
	}
	return q.name + " as " + q.to.String()
}
