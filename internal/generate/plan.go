package generate

import "github.com/litgpt-go/litgpt/internal/kvcache"

// Plan makes, on a planning device ([tensor.Device.Plan]), what a request of prompt
// and new tokens would make, so that the device has counted it; with [Options.Sequences] above 1
// what as many requests at once make at most.
func (e *Engine) Plan(prompt, tokens int) error {
	if err := e.fits(prompt, tokens, false); err != nil {
		return err
	}
	runs := []*modelRunner{e.run.(*modelRunner)}
	if e.draft != nil {
		runs = append(runs, e.draft.run.(*modelRunner))
	}
	for i, r := range runs {
		d := r.model.Dims()
		if _, err := r.room(min(kvcache.Cover(prompt+tokens), r.limit)); err != nil {
			return err
		}
		all := planned(prompt, tokens, e.o)
		if o := d.Original; o > 0 && prompt <= o && prompt+tokens-1 > o {
			all = append(all, planned(o+1, 0, e.o)...) // it is read again
		}
		for _, s := range all {
			if s.adapter = e.base; i > 0 {
				s.adapter, s.k = e.draft.base, 1
			} else if r.dev.Async() && e.o.Sequences == 1 {
				s.k = 1
			}
			s.width = min(power(max(kvcache.Cover(prompt+tokens), 8)), r.limit)
			if _, err := r.program(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// planned are the shapes of the passes that a request takes, the largest of many.
func planned(prompt, tokens int, o Options) (all []shape) {
	if o.Sequences > 1 {
		rows := min(o.Sequences, o.Chunk)
		return []shape{{tokens: padded(max(o.Chunk, o.Sequences)), sequences: power(rows), wanted: padded(rows)}}
	}
	for at := 0; at < prompt; at += o.Chunk {
		n := padded(min(prompt-at, o.Chunk))
		all = append(all, shape{tokens: n, sequences: 1, wanted: 1, all: n == 1})
	}
	if tokens > 1 {
		most := o.Lookup
		if o.Draft != nil {
			most = o.Draft.Tokens
		}
		for n := range min(most, tokens-2) + 1 {
			all = append(all, shape{tokens: n + 1, sequences: n + 1, wanted: n + 1, all: true})
		}
	}
	return all
}
