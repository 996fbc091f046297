package server

import "slices"

// counts are the tokens of a request, as its "usage" tells them. A prompt counts once, however many choices it has.
type counts struct {
	questions []*question
	prompt    int   // of all questions
	generated int   // of all choices
	cached    []int // by choice: of its prompt, how many were found in the KV cache
}

func newCounts(questions []*question) *counts {
	c := &counts{questions: questions}
	choices := 0
	for _, q := range questions {
		c.prompt += len(q.ids)
		choices += q.settings.n
	}
	c.cached = make([]int, choices)
	return c
}

func (c *counts) add(p piece) {
	c.generated += p.tokens
	c.cached[p.choice] = p.cached
}

// found is how many tokens of the prompts were in the KV cache when they were asked. Of the choices of a prompt, one reads
// what was not and the others find it: it is what that one found.
func (c *counts) found() (sum int) {
	rest := c.cached
	for _, q := range c.questions {
		sum += slices.Min(rest[:q.settings.n])
		rest = rest[q.settings.n:]
	}
	return sum
}

// usage is how completions tell it.
func (c *counts) usage() map[string]any {
	return map[string]any{"prompt_tokens": c.prompt, "prompt_tokens_details": map[string]any{"cached_tokens": c.found()},
		"completion_tokens": c.generated, "total_tokens": c.prompt + c.generated}
}

// responseUsage is how responses do.
func (c *counts) responseUsage() map[string]any {
	return map[string]any{"input_tokens": c.prompt, "input_tokens_details": map[string]any{"cached_tokens": c.found()},
		"output_tokens": c.generated, "output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": c.prompt + c.generated}
}
