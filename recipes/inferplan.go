package recipes

import (
	"fmt"
	"io"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// uses is the memory of a request of prompt and new tokens, found on the planning twin of the device.
func (t *talker) uses(matrix checkpoint.Type, prompt, tokens int) ([]tensor.Use, error) {
	dev := t.dev.Plan()
	l, err := t.twin()
	if err != nil {
		return nil, err
	}
	defer l.free()
	if err := l.load(dev, matrix, false); err != nil {
		return nil, err
	}
	o := t.options
	o.Cache = cacheType(t.cache, l.dtype)
	if o.Sequences <= 1 {
		o.Positions = prompt + tokens
	}
	if t.draft != nil {
		d, err := t.draft.twin()
		if err != nil {
			return nil, err
		}
		defer d.free()
		if err := d.load(dev, matrix, false); err != nil {
			return nil, err
		}
		o.Draft = &generate.Draft{Model: d.Model, Tokens: o.Draft.Tokens}
	}
	e := generate.New(dev, l.Model, o)
	defer e.Close()
	if err := e.Plan(prompt, tokens); err != nil {
		return nil, err
	}
	return dev.Peak(), nil
}

// plan decides whether there is memory for a request of prompt and new tokens; done
// says that this was all that was asked for.
func (t *talker) plan(c Planned, w io.Writer, prompt, tokens int) (done bool, err error) {
	m := memory{work: fmt.Sprintf("a prompt of %d tokens and %d new ones", prompt, tokens)}
	if m.uses, err = t.uses(t.matrix, prompt, tokens); err != nil {
		return true, err
	}
	var fewer []option // bits
	if t.quant.name == "" {
		for _, name := range []string{"bnb.int8", "bnb.nf4"} {
			fewer = append(fewer, option{"--quantize " + name, func() ([]tensor.Use, error) {
				l := *t.loaded
				l.quant = quantization{name, bitsandbytes[name]}
				u := *t
				u.loaded = &l
				return u.uses(t.matrix, prompt, tokens)
			}})
		}
	}
	var shorter []option
	for _, n := range halves(tokens, tokens, 1) {
		shorter = append(shorter, option{fmt.Sprintf("--max_new_tokens %d", n),
			func() ([]tensor.Use, error) { return t.uses(t.matrix, prompt, n) }})
	}
	return c.decide(w, t.dev, m, alternatives{each: [][]option{shorter, halved(t.matrix,
		func(bf16 checkpoint.Type) ([]tensor.Use, error) { return t.uses(bf16, prompt, tokens) }), fewer}})
}

// halved is the option to hold matrices in BF16, if they are not.
func halved(matrix checkpoint.Type, uses func(checkpoint.Type) ([]tensor.Use, error)) []option {
	p := precisions["bf16-true"]
	if matrix == p.matrix {
		return nil
	}
	return []option{{"--precision " + p.name, func() ([]tensor.Use, error) { return uses(p.matrix) }}}
}
