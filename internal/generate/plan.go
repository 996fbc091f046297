package generate

import "github.com/litgpt-go/litgpt/internal/kvcache"

// Plan makes, on a planning device ([tensor.Device.Plan]), what a request of prompt
// and new tokens would make, so that the device has counted it.
func (e *Engine) Plan(prompt, tokens int) (err error) {
	d := e.model.Dims()
	if prompt+tokens > d.Context {
		return &ContextError{prompt, tokens, d.Context}
	}
	e.Close()
	if e.cache, err = kvcache.New(e.dev, e.dtype, d.Layers, d.KVHeads, prompt+tokens, d.HeadDim); err != nil {
		return err
	}
	if err := e.planPrompt(prompt); err != nil || tokens < 2 {
		return err
	}
	if e.decode, err = e.compile(1); err != nil || !e.outgrows(prompt, prompt+tokens-1) {
		return err
	}
	return e.planPrompt(d.Original + 1) // read again beside the decoding graph
}

// planPrompt counts the graphs that read a prompt: that of whole chunks stays until the rest is read.
func (e *Engine) planPrompt(prompt int) error {
	for _, n := range []int{min(prompt/chunk, 1) * chunk, prompt % chunk} {
		if n == 0 {
			continue
		}
		s, err := e.compile(n)
		if err != nil {
			return err
		}
		defer s.p.Close()
	}
	return nil
}
