package server

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/sample"
)

// common are the parameters that chat completions and completions share. Pointers tell a
// zero from nothing: {"temperature": 0} takes the likeliest token.
type common struct {
	Model               string          `json:"model"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
	N                   *int            `json:"n"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	Stop                json.RawMessage `json:"stop"`
	Seed                *int64          `json:"seed"`
	LogitBias           map[string]any  `json:"logit_bias"`
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	PresencePenalty     float64         `json:"presence_penalty"`
	FrequencyPenalty    float64         `json:"frequency_penalty"`
	User                string          `json:"user"`

	// What OpenAI has not, as vLLM and llama.cpp spell it.
	TopK              *int     `json:"top_k"`
	MinP              float64  `json:"min_p"`
	RepetitionPenalty *float64 `json:"repetition_penalty"`
	RepeatPenalty     *float64 `json:"repeat_penalty"`
	NPredict          *int     `json:"n_predict"`
	StopTokenIDs      []int32  `json:"stop_token_ids"`
	IgnoreEOS         bool     `json:"ignore_eos"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// settings are the checked parameters of one generation.
type settings struct {
	n         int // choices
	max       int // tokens of each
	sampling  sample.Config
	stops     []string
	stopIDs   []int32
	ignoreEOS bool
	logprobs  int // 0: none; else 1 + the number of alternatives
}

// Limits on parameters; those of OpenAI where it has some.
const (
	maxStops    = 16
	maxStopSize = 1024 // bytes of one
	maxLogprobs = 20
	maxBiases   = 4096
)

// settings checks the parameters. Missing ones are the server's defaults.
func (s *Server) settings(c *common, vocab int) (g settings, err error) {
	g.n = or(c.N, 1)
	if g.n < 1 || g.n > s.c.MaxChoices {
		return g, bad("n", "n is %d; 1 to %d wanted", g.n, s.c.MaxChoices)
	}
	if g.max, err = s.maxTokens(c); err != nil {
		return g, err
	}
	d := s.c.Sampling
	g.sampling = sample.Config{
		Temperature: or(c.Temperature, d.Temperature), TopP: or(c.TopP, d.TopP), TopK: or(c.TopK, d.TopK), MinP: c.MinP,
		PresencePenalty: c.PresencePenalty, FrequencyPenalty: c.FrequencyPenalty,
		RepetitionPenalty: or(c.RepetitionPenalty, or(c.RepeatPenalty, d.RepetitionPenalty)),
	}
	if g.sampling.TopK < 0 {
		g.sampling.TopK = 0 // vLLM's way to say "all"
	}
	if c.Seed != nil && *c.Seed != -1 { // which is llama.cpp's and vLLM's "at random"
		g.sampling.Seed = uint64(*c.Seed)
	} else {
		g.sampling.Seed = rand.Uint64()
	}
	if g.sampling.Temperature > 100 {
		return g, bad("temperature", "temperature is %v; 0 to 100 wanted", g.sampling.Temperature)
	}
	if g.sampling.Bias, err = biases(c.LogitBias, vocab); err != nil {
		return g, err
	}
	if err := g.sampling.Check(); err != nil {
		param, _, _ := strings.Cut(err.Error(), " ")
		return g, bad(param, "%v", err)
	}
	if g.stops, err = stringOrList(c.Stop, "stop"); err != nil {
		return g, err
	}
	if len(g.stops) > maxStops {
		return g, bad("stop", "stop has %d strings; at most %d wanted", len(g.stops), maxStops)
	}
	for _, stop := range g.stops {
		if stop == "" || len(stop) > maxStopSize {
			return g, bad("stop", "a stop string has %d bytes; 1 to %d wanted", len(stop), maxStopSize)
		}
	}
	for _, id := range c.StopTokenIDs {
		if id < 0 || int(id) >= vocab {
			return g, bad("stop_token_ids", "token id %d is out of range; the model has %d", id, vocab)
		}
	}
	g.stopIDs, g.ignoreEOS = c.StopTokenIDs, c.IgnoreEOS
	if c.StreamOptions != nil && !c.Stream {
		return g, bad("stream_options", "stream_options need stream: true")
	}
	return g, nil
}

// maxTokens is how many tokens are asked for, 0 for as many as there is room for.
func (s *Server) maxTokens(c *common) (int, error) {
	n, given := 0, false
	for _, p := range []struct {
		name  string
		value *int
	}{{"n_predict", c.NPredict}, {"max_tokens", c.MaxTokens}, {"max_completion_tokens", c.MaxCompletionTokens}} {
		if p.value == nil || *p.value == -1 && p.name != "max_completion_tokens" { // llama.cpp's "without limit"
			continue
		}
		n, given = *p.value, true
		if n < 1 {
			return 0, bad(p.name, "%s is %d; a positive number wanted", p.name, n)
		}
	}
	if limit := s.c.MaxTokens; limit > 0 && (!given || n > limit) {
		return limit, nil
	}
	return n, nil
}

// biases reads logit_bias: token ids, as strings, to numbers.
func biases(m map[string]any, vocab int) (map[int32]float32, error) {
	if len(m) == 0 {
		return nil, nil
	}
	if len(m) > maxBiases {
		return nil, bad("logit_bias", "logit_bias has %d tokens; at most %d wanted", len(m), maxBiases)
	}
	out := make(map[int32]float32, len(m))
	for k, v := range m {
		id, err := strconv.ParseInt(k, 10, 32)
		if err != nil || id < 0 || int(id) >= vocab {
			return nil, bad("logit_bias", "logit_bias: %q is no token id below %d", clip(k), vocab)
		}
		f, ok := v.(float64)
		if !ok || math.Abs(f) > 100 {
			return nil, bad("logit_bias", "logit_bias of token %d must be a number in [-100, 100]", id)
		}
		out[int32(id)] = float32(f)
	}
	return out, nil
}

// or is what a pointer points to, or else a default.
func or[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}
