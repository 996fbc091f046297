package sample

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// distribution is what the sampler's last call drew from.
func distribution(s *Sampler, v int) []float64 {
	p, total := make([]float64, v), 0.0
	for _, k := range s.scratch.kept {
		p[k.id] = k.weight
		total += k.weight
	}
	for i := range p {
		p[i] /= total
	}
	return p
}

// The vectors are made by transformers' logits processors (tools/reference/sampling.py).
func TestAsTransformers(t *testing.T) {
	data, err := os.ReadFile("testdata/processors.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Temperature       float64
		TopK              int     `json:"top_k"`
		TopP              float64 `json:"top_p"`
		MinP              float64 `json:"min_p"`
		RepetitionPenalty float64 `json:"repetition_penalty"`
		PresencePenalty   float64 `json:"presence_penalty"`
		FrequencyPenalty  float64 `json:"frequency_penalty"`
		Bias              map[int32]float32
		Prompt, Generated []int32
		Logits            []float32
		Probabilities     []float64
		Logprobs          []float32
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) < 50 {
		t.Fatal(len(cases), err)
	}
	for i, c := range cases {
		s := New(Config{
			Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, MinP: c.MinP, Bias: c.Bias,
			RepetitionPenalty: c.RepetitionPenalty, PresencePenalty: c.PresencePenalty, FrequencyPenalty: c.FrequencyPenalty,
		})
		s.See(c.Prompt...)
		for _, id := range c.Generated {
			s.Accept(id)
		}
		keep := slices.Clone(c.Logits)
		id, err := s.Next(c.Logits, nil)
		if err != nil || c.Probabilities[id] == 0 {
			t.Fatalf("case %d: got token %d, %v", i, id, err)
		}
		for id, p := range distribution(s, len(c.Logits)) {
			if math.Abs(p-c.Probabilities[id]) > 2e-6 {
				t.Errorf("case %d, token %d: got %v, want %v", i, id, p, c.Probabilities[id])
			}
		}
		for id, want := range c.Logprobs {
			if got, _ := Logprobs(c.Logits, int32(id), 0); math.Abs(float64(got-want)) > 2e-6 {
				t.Errorf("case %d, log-probability of token %d: got %v, want %v", i, id, got, want)
			}
		}
		if !slices.Equal(keep, c.Logits) {
			t.Errorf("case %d: the logits are changed", i)
		}
	}
}

// adjusted computes what the logits become by the definition, a token at a time.
func adjusted(logits []float32, c Config, prompt, generated []int32, allowed Mask) []float32 {
	out := slices.Clone(logits)
	forced := false
	for i := range out {
		id := int32(i)
		v, n := float64(out[i]), 0
		for _, g := range generated {
			if g == id {
				n++
			}
		}
		if c.RepetitionPenalty != 0 && (n > 0 || slices.Contains(prompt, id)) {
			if v < 0 {
				v *= c.RepetitionPenalty
			} else {
				v /= c.RepetitionPenalty
			}
		}
		if n > 0 {
			v -= c.PresencePenalty + float64(n)*c.FrequencyPenalty
		}
		b := c.Bias[id]
		forced = forced || b == 100 && (allowed == nil || allowed.Has(id)) && !math.IsInf(v, -1)
		out[i] = float32(v) + b
		if b == -100 || allowed != nil && !allowed.Has(id) {
			out[i] = -inf
		}
	}
	for i := range out {
		if forced && c.Bias[int32(i)] != 100 {
			out[i] = -inf
		}
	}
	return out
}

// Penalties, biases and masks give the distribution of the changed logits without them, on both ways: gathered where few
// tokens are allowed, copied where many are.
func TestAdjustments(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	gathered, copied, none := 0, 0, 0
	for i := range 3000 {
		v := []int{1, 5, 63, 64, 65, 200, 1000}[i%7]
		c := Config{Temperature: 0.5 + r.Float64(), TopP: []float64{1, 0.9, 0.3}[r.IntN(3)], TopK: []int{0, 0, 1, 4, 40}[r.IntN(5)], MinP: []float64{0, 0.1}[r.IntN(2)], Seed: uint64(i)}
		plain := c
		if r.IntN(2) == 0 {
			c.RepetitionPenalty = []float64{1, 1.5, 0.8}[r.IntN(3)]
		}
		if r.IntN(2) == 0 {
			c.PresencePenalty, c.FrequencyPenalty = r.Float64()*4-2, r.Float64()*4-2
		}
		if r.IntN(2) == 0 {
			c.Bias = map[int32]float32{r.Int32N(int32(v)): 100, r.Int32N(int32(v)): -100, r.Int32N(int32(v)): 3, int32(v): 100, 1 << 30: 7}
		}
		logits := filled(v, func(int) float32 {
			if r.IntN(9) == 0 {
				return -inf
			}
			return float32(r.NormFloat64() * 3)
		})
		var allowed Mask
		if r.IntN(3) > 0 {
			allowed = NewMask(v + r.IntN(2)*64)
			some := []int{1, 2, 30, 1000}[r.IntN(4)]
			for id := range v {
				if r.IntN(1000) < some*10 {
					allowed.Set(int32(id))
				}
			}
			if r.IntN(2) == 0 {
				allowed[len(allowed)-1] |= 1 << 63 // no token of this vocabulary, as a rule
			}
		}
		ids := make([]int32, r.IntN(40))
		for i := range ids {
			ids[i] = r.Int32N(int32(v)+3) - 1
		}
		prompt, generated := ids[:len(ids)/2], ids[len(ids)/2:]
		s, peer := New(c), New(plain)
		s.See(prompt...)
		for _, id := range generated {
			s.Accept(id)
		}
		got, err := s.Next(logits, allowed)
		changed := adjusted(logits, c, prompt, generated, allowed)
		want, wantErr := peer.Sample(changed)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%d: got %v, want %v", i, err, wantErr)
		}
		if err != nil {
			none++
			continue
		}
		if c.Temperature == 0 || c.TopK == 1 {
			if got != want {
				t.Fatalf("%d: got token %d, want %d", i, got, want)
			}
			continue
		}
		if n := allowed.Count(v); allowed != nil && n*few <= v {
			gathered++
		} else {
			copied++
		}
		a, b := distribution(s, v), distribution(peer, v)
		for id := range a {
			if math.Abs(a[id]-b[id]) > 1e-5 {
				t.Fatalf("%d, token %d of %d, %+v: got %v, want %v", i, id, v, c, a[id], b[id])
			}
		}
	}
	if gathered < 100 || copied < 100 || none < 100 {
		t.Errorf("%d draws by gathering, %d by copying, %d without a token: want some of each", gathered, copied, none)
	}
}

func TestMaskOfNothing(t *testing.T) {
	logits := filled(200, func(i int) float32 { return float32(i % 7) })
	logits[3], logits[4] = -inf, nan
	only := func(ids ...int32) Mask {
		m := NewMask(len(logits))
		for _, id := range ids {
			m.Set(id)
		}
		return m
	}
	banned := map[int32]float32{5: -100}
	for _, c := range []struct {
		name    string
		allowed Mask
		bias    map[int32]float32
		want    string
	}{
		{"nothing", only(), nil, "0 are allowed"},
		{"an empty mask", Mask{}, nil, "0 are allowed"},
		{"without probability", only(3), nil, "1 are allowed"},
		{"banned", only(5), banned, "1 are allowed"},
		{"NaN", only(4, 5), nil, "token 4 is NaN"},
		{"a forced token that is not allowed", only(6), map[int32]float32{5: 100}, ""},
		{"a forced token without probability", only(3, 6), map[int32]float32{3: 100}, ""},
	} {
		for _, config := range []Config{{Bias: c.bias}, {Temperature: 1, TopP: 1, Bias: c.bias}} {
			id, err := New(config).Next(logits, c.allowed)
			if c.want == "" && (err != nil || id != 6) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: got %d, %v, want %q", c.name, id, err, c.want)
			}
		}
	}
	all := NewMask(64)
	all[0] = ^uint64(0)
	low := filled(64, func(int) float32 { return -inf })
	if _, err := New(Config{}).Next(low, all); err == nil || !strings.Contains(err.Error(), "64 are allowed") {
		t.Errorf("64 tokens without probability: got %v", err)
	}
}

func TestCheckAdjustments(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{MinP: 1, RepetitionPenalty: 1.3, PresencePenalty: -2, FrequencyPenalty: 2, Bias: map[int32]float32{0: -100, 7: 100}}, ""},
		{Config{MinP: 1.1}, "min_p must be in [0, 1], got 1.1"},
		{Config{MinP: math.NaN()}, "min_p must be"},
		{Config{RepetitionPenalty: -1}, "repetition_penalty must be a finite number above 0"},
		{Config{RepetitionPenalty: math.Inf(1)}, "repetition_penalty must be"},
		{Config{PresencePenalty: 2.1}, "presence_penalty must be in [-2, 2], got 2.1"},
		{Config{PresencePenalty: math.NaN()}, "presence_penalty must be"},
		{Config{FrequencyPenalty: -3}, "frequency_penalty must be in [-2, 2], got -3"},
		{Config{Bias: map[int32]float32{9: 101, 12: 101}}, "logit_bias of token 9 is 101"},
		{Config{Bias: map[int32]float32{-1: 0}}, "logit_bias of token -1 is 0"},
		{Config{Bias: map[int32]float32{1: nan}}, "logit_bias of token 1 is NaN"},
	} {
		err := c.config.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.config, err, c.want)
		}
	}
}

// Every token that is drawn takes one number of the random source, so that a sequence can be continued by seed and count.
func TestDrawsCount(t *testing.T) {
	logits := filled(500, func(i int) float32 { return float32(i*7919%500) / 90 })
	mask := NewMask(500)
	for id := range int32(9) {
		mask.Set(id)
	}
	fresh := New(Config{Seed: 3})
	for range 8 {
		fresh.random.Uint64()
	}
	want := fresh.random.Uint64()
	for _, c := range []Config{
		{}, {TopK: 3}, {TopP: 0.5}, {MinP: 0.2}, {TopK: 400, TopP: 0.99}, {RepetitionPenalty: 2}, {Bias: map[int32]float32{3: 100}}, {FrequencyPenalty: 1, TopP: 0.9},
	} {
		c.Seed, c.Temperature, c.TopP = 3, 1, max(c.TopP, 0.7)
		s := New(c)
		for i := range 8 {
			var allowed Mask
			if i%2 == 1 {
				allowed = mask
			}
			id, err := s.Next(logits, allowed)
			if err != nil {
				t.Fatal(err)
			}
			s.Accept(id)
		}
		if got := s.random.Uint64(); got != want {
			t.Errorf("%+v: the random source is not where 8 draws leave it", c)
		}
	}
}

func TestLogprobsTop(t *testing.T) {
	logits := []float32{1, 3, -inf, 3, 2, 3}
	total := math.Log(math.Exp(1) + 3*math.Exp(3) + math.Exp(2))
	got, top := Logprobs(logits, 4, 4)
	if math.Abs(float64(got)-(2-total)) > 1e-6 {
		t.Errorf("got %v, want %v", got, 2-total)
	}
	ids := []int32{}
	for _, c := range top {
		ids = append(ids, c.ID)
		if want := float64(logits[c.ID]) - total; math.Abs(float64(c.Logprob)-want) > 1e-6 {
			t.Errorf("token %d: got %v, want %v", c.ID, c.Logprob, want)
		}
	}
	if want := []int32{1, 3, 5, 4}; !slices.Equal(ids, want) {
		t.Errorf("got %v, want %v", ids, want)
	}
	if p, all := Logprobs(logits, 2, 100); !math.IsInf(float64(p), -1) || len(all) != 6 || all[5].ID != 2 {
		t.Errorf("got %v and %v", p, all)
	}
	for _, id := range []int32{-1, 6} {
		if p, top := Logprobs(logits, id, 2); !math.IsInf(float64(p), -1) || top != nil {
			t.Errorf("token %d: got %v and %v", id, p, top)
		}
	}
	if p, _ := Logprobs([]float32{1, nan}, 0, 0); p == p {
		t.Errorf("beside a NaN: got %v", p)
	}
	for _, scale := range []float32{1e30, -1e30} { // no overflow
		if p, _ := Logprobs([]float32{scale, scale}, 0, 0); math.Abs(float64(p)+math.Ln2) > 1e30*1e-7 || p != p {
			t.Errorf("logits of %v: got %v", scale, p)
		}
	}
}

// Samplers that share their memory draw as if each had its own.
func TestShareScratch(t *testing.T) {
	var m Scratch
	r := rand.New(rand.NewPCG(2, 2))
	var own, shared []*Sampler
	for i := range 6 {
		c := Config{Temperature: 1, TopP: []float64{1, 0.8}[i%2], TopK: i * 30 % 100, FrequencyPenalty: float64(i % 3), Seed: uint64(i)}
		own, shared = append(own, New(c)), append(shared, New(c))
		shared[i].Use(&m)
	}
	for range 50 {
		for i := range own {
			logits := filled(100+r.IntN(900), func(int) float32 { return float32(r.NormFloat64()) })
			want, _ := own[i].Next(logits, nil)
			got, err := shared[i].Next(logits, nil)
			if err != nil || got != want {
				t.Fatalf("sampler %d: got %d, %v, want %d", i, got, err, want)
			}
			own[i].Accept(want)
			shared[i].Accept(got)
		}
	}
}

func TestNoAllocationAdjusted(t *testing.T) {
	logits := filled(5000, func(i int) float32 { return float32(i*7919%5000) / 1000 })
	mask := NewMask(5000)
	for id := int32(0); id < 5000; id += 3 {
		mask.Set(id)
	}
	small := NewMask(5000)
	small.Set(77)
	for _, allowed := range []Mask{nil, mask, small} {
		s := New(Config{Temperature: 1, TopP: 0.9, RepetitionPenalty: 1.2, FrequencyPenalty: 0.1, Bias: map[int32]float32{77: 5, 78: 100}})
		s.See(1, 2, 3)
		if n := testing.AllocsPerRun(20, func() {
			id, err := s.Next(logits, allowed)
			if err != nil {
				t.Fatal(err)
			}
			s.Accept(id)
		}); n != 0 {
			t.Errorf("a mask of %d: %v allocations per token, want 0", allowed.Count(5000), n)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, v := range []int{49152, 262144} {
		r := rand.New(rand.NewPCG(3, 3))
		logits := filled(v, func(int) float32 { return float32(r.NormFloat64() * 3) })
		most, some := NewMask(v), NewMask(v)
		for id := range int32(v) {
			if id%7 > 0 {
				most.Set(id)
			}
		}
		for range 100 {
			some.Set(r.Int32N(int32(v)))
		}
		topK := Config{Temperature: 0.8, TopK: 50, TopP: 1}
		penalties := topK
		penalties.RepetitionPenalty, penalties.FrequencyPenalty = 1.1, 0.2
		for _, c := range []struct {
			name    string
			config  Config
			allowed Mask
		}{
			{"greedy", Config{}, nil}, {"top_k", topK, nil}, {"min_p", Config{Temperature: 0.8, TopP: 1, MinP: 0.05}, nil},
			{"penalties", penalties, nil}, {"most allowed", topK, most}, {"100 allowed", topK, some}, {"greedy, 100 allowed", Config{}, some},
		} {
			b.Run(fmt.Sprintf("V=%d/%s", v, c.name), func(b *testing.B) {
				s := New(c.config)
				for range 1000 {
					s.See(r.Int32N(int32(v)))
				}
				for range 200 {
					s.Accept(r.Int32N(int32(v)))
				}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Next(logits, c.allowed); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("V=%d/logprobs", v), func(b *testing.B) {
			for b.Loop() {
				Logprobs(logits, 7, 5)
			}
		})
	}
}
