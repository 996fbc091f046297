package server

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/litgpt-go/litgpt/internal/generate"
)

// What was found in the KV cache is told with the counts of tokens, whole and streamed. A prompt counts once, and of its
// choices the one that found least.
func TestUsage(t *testing.T) {
	m := newFake(t)
	var prompt atomic.Int64
	said := 0
	m.say = func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
		if r.Sampling.Seed == 5 { // the first choice of a prompt
			prompt.Add(int64(len(r.Prompt)))
		}
		cached := len(r.Prompt) - int(r.Sampling.Seed)
		texts(m.tok, strings.Repeat("merry ", said))(ctx, r, func(token generate.Token, err error) bool {
			token.Cached, cached = cached, 0
			return yield(token, err)
		})
	}
	c := start(t, m, nil)
	const chat, text, response = "/v1/chat/completions", "/v1/completions", "/v1/responses"
	for _, x := range []struct {
		name, path, body string
		said             int
		choices, prompts int
		unread           int // of each prompt: the seed of its last choice
	}{
		{"chat", chat, fmt.Sprintf(ask, `, "seed": 5`), 2, 1, 1, 5},
		{"an empty answer", chat, fmt.Sprintf(ask, `, "seed": 5`), 0, 1, 1, 5},
		{"cut", chat, fmt.Sprintf(ask, `, "seed": 5, "max_tokens": 1`), 2, 1, 1, 5},
		{"text withheld", chat, fmt.Sprintf(ask, `, "seed": 5, "stop": "merry merry merry"`), 2, 1, 1, 5},
		{"choices", chat, fmt.Sprintf(ask, `, "seed": 5, "n": 4`), 2, 4, 1, 8},
		{"text", text, `{"prompt": "Good morrow, my good lord", "seed": 5}`, 2, 1, 1, 5},
		{"prompts and choices", text, `{"prompt": ["Good morrow, my good lord", [300, 301, 302, 303, 304, 305, 306, 307]], "seed": 5, "n": 2}`, 2, 4, 2, 6},
		{"response", response, `{"input": "Good morrow, my good lord", "seed": 5}`, 2, 1, 1, 5},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := *c
			c.TB = t
			said = x.said
			generated := x.choices * (len(m.tok.Encode(strings.Repeat("merry ", said), false)) + 1)
			if x.name == "cut" {
				generated = 1
			}
			names := []string{"prompt_tokens", "prompt_tokens_details", "completion_tokens"}
			if x.path == response {
				names = []string{"input_tokens", "input_tokens_details", "output_tokens"}
			}
			prompt.Store(0)
			whole := at(t, c.post(x.path, x.body), "usage")
			prompt := int(prompt.Load())
			streamed := strings.TrimSuffix(x.body, "}") + `, "stream": true`
			if x.path != response {
				streamed += `, "stream_options": {"include_usage": true}`
			}
			events, _ := c.stream(x.path, streamed+"}")
			last := any(events[len(events)-1])
			if x.path == response {
				last = at(t, last, "response")
			}
			for kind, u := range map[string]any{"whole": whole, "streamed": at(t, last, "usage")} {
				got := fmt.Sprint(at(t, u, names[0]), at(t, u, names[1], "cached_tokens"), at(t, u, names[2]), at(t, u, "total_tokens"))
				if want := fmt.Sprint(prompt, prompt-x.prompts*x.unread, generated, prompt+generated); got != want {
					t.Errorf("%s: got %s tokens of the prompts, of those cached, generated, and together; want %s", kind, got, want)
				}
			}
			line := fmt.Sprintf("prompt_tokens=%d cached_tokens=%d tokens=%d", prompt, prompt-x.prompts*x.unread, generated)
			eventually(t, "the log has "+line, func() bool { return strings.Contains(c.log.String(), line) })
		})
	}
}
