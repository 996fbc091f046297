package sample

import (
	"math"
	"math/bits"
	"slices"
)

// history is what penalties must know of the text so far: each token once.
type history struct {
	place map[int32]int // of a token in seen
	seen  []seen
}

type seen struct {
	id    int32
	count int32 // how often it was generated, the prompt not counted
}

func (h *history) add(id, n int32) {
	i, ok := h.place[id]
	if !ok {
		if h.place == nil {
			h.place = map[int32]int{}
		}
		i = len(h.seen)
		h.place[id] = i
		h.seen = append(h.seen, seen{id: id})
	}
	h.seen[i].count += n
}

type bias struct {
	id    int32
	value float32
}

// biases are those of the settings that do something, by id.
func (c Config) biases() (b []bias) {
	for id, v := range c.Bias {
		if v != 0 && v == v {
			b = append(b, bias{id, v})
		}
	}
	slices.SortFunc(b, func(a, b bias) int { return int(a.id) - int(b.id) })
	return b
}

// exclusive is the bias from which on a token is forced, and with a minus banned: "values like -100 or 100 should result in
// a ban or exclusive selection of the relevant token" (OpenAI's API reference).
const exclusive = 100

func (c Config) repeats() bool { return c.RepetitionPenalty > 0 && c.RepetitionPenalty != 1 }
func (c Config) counts() bool  { return c.PresencePenalty != 0 || c.FrequencyPenalty != 0 }

// adjusts reports whether logits are changed before they are sorted, so that the largest of the model's are not enough.
func (s *Sampler) adjusts() bool { return s.config.repeats() || s.config.counts() || len(s.bias) > 0 }

// See tells the sampler the tokens of the prompt: the repetition penalty is of those too.
func (s *Sampler) See(ids ...int32) {
	if !s.config.repeats() {
		return
	}
	for _, id := range ids {
		s.history.add(id, 0)
	}
}

// Accept tells the sampler that a token was generated: the one that Next gave, as a rule. Without it penalties do not know
// what was said.
func (s *Sampler) Accept(id int32) {
	if s.config.repeats() || s.config.counts() {
		s.history.add(id, 1)
	}
}

// adjust applies penalties and biases to the logits that at has; it gives nil for the others.
//
// The repetition penalty is that of the CTRL paper (https://arxiv.org/abs/1909.05858) as transformers computes it: a negative
// logit is multiplied, so that it falls too. Presence and frequency are OpenAI's: once for a token that was generated, and
// for each time.
func (s *Sampler) adjust(at func(id int32) *float32) {
	c := s.config
	for _, k := range s.history.seen {
		p := at(k.id)
		if p == nil || math.IsInf(float64(*p), 0) {
			continue
		}
		v := float64(*p)
		if c.repeats() {
			if v < 0 {
				v *= c.RepetitionPenalty
			} else {
				v /= c.RepetitionPenalty
			}
		}
		if k.count > 0 {
			v -= c.PresencePenalty + c.FrequencyPenalty*float64(k.count)
		}
		*p = finite(v)
	}
	for _, b := range s.bias {
		p := at(b.id)
		switch {
		case p == nil || math.IsInf(float64(*p), 0):
		case b.value <= -exclusive:
			*p = float32(math.Inf(-1))
		default:
			*p = finite(float64(*p) + float64(b.value))
		}
	}
}

// finite rounds to a float32 and does not let numbers become infinite, which would mean a broken model. NaN stays.
func finite(v float64) float32 {
	return float32(max(-math.MaxFloat32, min(math.MaxFloat32, v)))
}

// forced gives the tokens that a bias forces and that can be drawn at all, nil where there are none.
func (s *Sampler) forced(logits []float32, allowed Mask) Mask {
	any := false
	for _, b := range s.bias {
		if b.value < exclusive || b.id < 0 || int(b.id) >= len(logits) || allowed != nil && !allowed.Has(b.id) || math.IsInf(float64(logits[b.id]), -1) {
			continue
		}
		if !any {
			any = true
			s.scratch.forced = grow(s.scratch.forced, (len(logits)+63)/64)
			clear(s.scratch.forced)
		}
		s.scratch.forced.Set(b.id)
	}
	if !any {
		return nil
	}
	return s.scratch.forced
}

// few is the part of the vocabulary below which the allowed tokens are gathered, instead of all logits copied.
const few = 16

// gather fills kept with the allowed tokens, adjusted, by id.
func (s *Sampler) gather(logits []float32, allowed Mask, n int) {
	kept := grow(s.scratch.kept, n)[:0]
	for i := range (len(logits) + 63) / 64 {
		for w := allowed.word(i, len(logits)); w != 0; w &= w - 1 {
			id := i<<6 + bits.TrailingZeros64(w)
			kept = append(kept, candidate{logit: logits[id], id: int32(id), weight: 1})
		}
	}
	s.scratch.kept = kept
	s.adjust(func(id int32) *float32 {
		i, ok := slices.BinarySearchFunc(kept, id, func(c candidate, id int32) int { return int(c.id) - int(id) })
		if !ok {
			return nil
		}
		return &kept[i].logit
	})
}

// copied gives the logits adjusted, and -Inf for tokens that are not allowed.
func (s *Sampler) copied(logits []float32, allowed Mask) []float32 {
	out := append(s.scratch.logits[:0], logits...)
	s.scratch.logits = out
	s.adjust(func(id int32) *float32 {
		if id < 0 || int(id) >= len(out) {
			return nil
		}
		return &out[id]
	})
	if allowed == nil {
		return out
	}
	no := float32(math.Inf(-1))
	for i := range (len(out) + 63) / 64 {
		part := out[i*64 : min(i*64+64, len(out))]
		switch w := ^allowed.word(i, len(out)); {
		case w == 0:
		case w == ^uint64(0):
			for j := range part {
				part[j] = no
			}
		default:
			for ; w != 0; w &= w - 1 {
				if j := bits.TrailingZeros64(w); j < len(part) {
					part[j] = no
				}
			}
		}
	}
	return out
}
