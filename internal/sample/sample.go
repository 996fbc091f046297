// Package sample turns logits into tokens and finds stop sequences in a stream of tokens.
//
// It is for everything that generates: generate, chat and the server. It knows neither models nor text: logits are a slice
// of float32 over the vocabulary, tokens are int32. Start with Config and New; Stops is in stops.go, TextStops for strings in
// textstops.go. Where logits are far from the host, Need says how many of the best are enough, and Pick draws from those as
// Next does from all.
//
// V vocabulary, k kept candidates.
package sample

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// Config says how the next token is chosen. First logits are changed: penalties, bias, then the mask of what is allowed. Then
// candidates are left out in LitGPT's order: top_k, temperature, top_p, and min_p last. The zero value takes the most
// probable token.
type Config struct {
	Temperature float64 // logits are divided by it; 0 takes the most probable token
	TopK        int     // only the k most probable tokens can be drawn, ties by lowest id; 0 means all
	TopP        float64 // only the most probable tokens that together reach this probability; 1 means all, 0 the most probable one
	MinP        float64 // only tokens of at least this part of the most probable one's probability; 0 means all
	Seed        uint64  // of the sampler's own random source; same seed and logits, same tokens

	RepetitionPenalty float64           // logits of tokens of the prompt and the answer are divided by it, negative ones multiplied; 1 or 0 means none
	PresencePenalty   float64           // is taken from the logits of tokens of the answer, once
	FrequencyPenalty  float64           // is taken from the logits of tokens of the answer, for each time they came
	Bias              map[int32]float32 // is added to logits, by id; -100 bans a token, 100 leaves no others, where it can be drawn
}

// Check reports every setting that has no meaning.
func (c Config) Check() error {
	var errs []error
	if !(c.TopP >= 0 && c.TopP <= 1) { // also catches NaN
		errs = append(errs, fmt.Errorf("top_p must be in [0, 1], got %v", c.TopP))
	}
	if c.TopK < 0 {
		errs = append(errs, fmt.Errorf("top_k must be at least 0 (0 keeps all tokens), got %d", c.TopK))
	}
	if !(c.Temperature >= 0) || math.IsInf(c.Temperature, 1) {
		errs = append(errs, fmt.Errorf("temperature must be a finite number of at least 0 (0 takes the most probable token), got %v", c.Temperature))
	}
	if !(c.MinP >= 0 && c.MinP <= 1) {
		errs = append(errs, fmt.Errorf("min_p must be in [0, 1], got %v", c.MinP))
	}
	if !(c.RepetitionPenalty >= 0) || math.IsInf(c.RepetitionPenalty, 1) {
		errs = append(errs, fmt.Errorf("repetition_penalty must be a finite number above 0 (1 is none), got %v", c.RepetitionPenalty))
	}
	if !(math.Abs(c.PresencePenalty) <= 2) {
		errs = append(errs, fmt.Errorf("presence_penalty must be in [-2, 2], got %v", c.PresencePenalty))
	}
	if !(math.Abs(c.FrequencyPenalty) <= 2) {
		errs = append(errs, fmt.Errorf("frequency_penalty must be in [-2, 2], got %v", c.FrequencyPenalty))
	}
	return errors.Join(append(errs, c.checkBias())...)
}

// checkBias reports the wrong bias of the lowest id: there may be many.
func (c Config) checkBias() error {
	for _, id := range slices.Sorted(maps.Keys(c.Bias)) {
		if v := c.Bias[id]; id < 0 || !(v >= -exclusive && v <= exclusive) {
			return fmt.Errorf("logit_bias of token %d is %v, want token ids of at least 0 and numbers in [-100, 100]", id, v)
		}
	}
	return nil
}

// Greedy returns the most probable token of logits (V); the lowest id wins ties. NaN is never chosen over a number. Without
// logits it returns -1.
func Greedy(logits []float32) int32 {
	best := -1
	for i, v := range logits {
		if best < 0 || v > logits[best] || (v == v && logits[best] != logits[best]) {
			best = i
		}
	}
	return int32(best)
}

// Sampler draws tokens. One goroutine uses it at a time.
type Sampler struct {
	config  Config
	random  *rand.Rand
	bias    []bias
	history history
	scratch *Scratch
}

// Scratch is memory that is used during a call and again in the next: up to 20 bytes for each token of the vocabulary.
// Samplers that one goroutine uses may share it (Use).
type Scratch struct {
	kept   []candidate
	logits []float32 // (V), adjusted
	forced Mask
}

// candidate is a token that may be drawn. Candidates are ordered by logit, ties by lowest id, so that "the k most probable"
// is one set and not several.
type candidate struct {
	logit  float32
	id     int32
	weight float64 // not normalized
}

func (a candidate) before(b candidate) bool {
	return a.logit > b.logit || (a.logit == b.logit && a.id < b.id)
}

func order(a, b candidate) int {
	if a.before(b) {
		return -1
	}
	return 1
}

// New returns a sampler with its own random source. Settings that Check refuses are read as the nearest meaningful ones.
func New(c Config) *Sampler {
	// The second word of the PCG state is a constant (the golden ratio), so that a seed is one number.
	// A token that is drawn takes one number of 64 bits, whatever the settings and logits: what comes depends on the seed and
	// the number of tokens drawn only. A token that is not drawn (greedy) takes none.
	return &Sampler{config: c, bias: c.biases(), random: rand.New(rand.NewPCG(c.Seed, 0x9e3779b97f4a7c15)), scratch: new(Scratch)}
}

// Use makes the sampler work in m instead of memory of its own.
func (s *Sampler) Use(m *Scratch) { s.scratch = m }

// MaxCandidates is the largest number that Need asks for: more are hardly cheaper to find than all logits to copy.
const MaxCandidates = 1024

// greedy reports whether the most probable token is taken and nothing drawn.
func (c Config) greedy() bool { return !(c.Temperature > 0) || !(c.TopP > 0) || c.TopK == 1 }

// Need is the number of candidates that Pick wants, at most MaxCandidates, or 0 where Next must see all logits: also where
// penalties or a bias change them. With a mask Next must see all of them in any case.
func (s *Sampler) Need() int {
	switch c := s.config; {
	case s.adjusts():
		return 0
	case c.greedy():
		return 1
	case c.TopK > 0 && c.TopK <= MaxCandidates:
		return c.TopK
	}
	return 0
}

// Next draws one token from logits (V), which it does not change, among the allowed ones; a nil mask allows all. It allocates
// only when V grows. Logits without a finite number, with a NaN or with +Inf are an error: they mean that the model's weights
// or arithmetic are broken. So is a mask that allows no token with a finite logit. Under a mask that allows few tokens,
// only their logits are looked at.
func (s *Sampler) Next(logits []float32, allowed Mask) (int32, error) {
	if len(logits) == 0 {
		return 0, errEmpty
	}
	if m := s.forced(logits, allowed); m != nil {
		allowed = m
	}
	if allowed == nil {
		if s.adjusts() {
			logits = s.copied(logits, nil)
		}
		return s.unmasked(logits)
	}
	n := allowed.Count(len(logits))
	if n*few > len(logits) {
		id, err := s.unmasked(s.copied(logits, allowed))
		if errors.Is(err, errNone) {
			err = noneAllowed(n)
		}
		return id, err
	}
	if n == 0 {
		return 0, noneAllowed(0)
	}
	s.gather(logits, allowed, n)
	return s.fromGathered()
}

func noneAllowed(n int) error {
	return fmt.Errorf("no token can come next: %d are allowed, want one with a finite logit", n)
}

// Sample is Next without a mask.
func (s *Sampler) Sample(logits []float32) (int32, error) { return s.Next(logits, nil) }

// unmasked draws from adjusted logits.
func (s *Sampler) unmasked(logits []float32) (int32, error) {
	best := first(logits)
	if err := check(logits[best], int32(best)); err != nil {
		return 0, err
	}
	if s.config.greedy() {
		return int32(best), nil
	}
	s.choose(logits)
	return s.draw(logits[best]), nil
}

// fromGathered draws from kept, all that are allowed, by id.
func (s *Sampler) fromGathered() (int32, error) {
	kept := s.scratch.kept
	best := kept[0]
	for _, k := range kept {
		if k.logit != k.logit {
			best = k
			break
		}
		if k.logit > best.logit {
			best = k
		}
	}
	if err := check(best.logit, best.id); errors.Is(err, errNone) {
		return 0, noneAllowed(len(kept))
	} else if err != nil {
		return 0, err
	}
	if s.config.greedy() {
		return best.id, nil
	}
	if k := s.config.TopK; k > 0 && k < len(kept) {
		s.scratch.kept = kept[:prefix(kept, float64(k))]
	}
	s.sort()
	return s.draw(best.logit), nil
}

// Pick draws one token from min(Need, V) candidates: the largest logits of the vocabulary, largest first, equal ones by
// lowest id, NaN before all numbers, and their ids. It returns the token, or the error, that Next would for all
// logits, and leaves the random source as Next would.
func (s *Sampler) Pick(logits []float32, ids []int32) (int32, error) {
	if len(logits) == 0 {
		return 0, errEmpty
	}
	if n := s.Need(); n == 0 || len(logits) > n || len(ids) != len(logits) {
		return 0, fmt.Errorf("%d candidates with %d ids, want as many as ids and at most %d; where that is 0, all logits are wanted", len(logits), len(ids), n)
	}
	if err := check(logits[0], ids[0]); err != nil {
		return 0, err
	}
	if s.config.greedy() {
		return ids[0], nil
	}
	s.scratch.kept = grow(s.scratch.kept, len(logits))
	for i, v := range logits {
		s.scratch.kept[i] = candidate{logit: v, id: ids[i]}
	}
	return s.draw(logits[0]), nil
}

// draw takes one of the kept candidates, the largest of which is max.
func (s *Sampler) draw(max float32) int32 {
	total := s.narrow(max)
	kept := s.scratch.kept
	left := s.random.Float64() * total
	last := kept[0].id // the sum of weights is at least 1, that of the most probable
	for _, k := range kept {
		if k.weight == 0 {
			continue
		}
		last = k.id
		if left -= k.weight; left < 0 {
			break
		}
	}
	return last // the last one also takes what rounding leaves over
}

// narrow weighs the candidates, leaves out those that top_p and min_p do, and returns the sum of weights of the others.
func (s *Sampler) narrow(max float32) float64 {
	c, total := s.config, s.weigh(max)
	kept := s.scratch.kept
	if c.TopP < 1 {
		// LitGPT sorts ascending and drops tokens whose cumulative probability is at most 1-p. Seen from the top, that
		// keeps a token while those above it have not yet reached p.
		kept = shed(kept, (1-c.TopP)*total/float64(len(kept)))
		kept = kept[:prefix(kept, c.TopP*total)]
	}
	if c.MinP > 0 {
		kept = shed(kept, min(c.MinP, 1)) // the most probable one weighs 1
	}
	if c.TopP < 1 || c.MinP > 0 {
		total = 0
		for _, k := range kept {
			total += k.weight
		}
	}
	s.scratch.kept = kept
	return total
}

var errNone = errors.New("logits: all are -Inf, want at least one token that can be drawn")

var errEmpty = errors.New("logits: empty, want one per token of the vocabulary")

// first returns the index of the first NaN, else of the first largest logit, or -1 where there are none.
func first(logits []float32) int {
	if len(logits) == 0 {
		return -1
	}
	best, largest := 0, logits[0]
	for i, v := range logits {
		if !(v <= largest) { // rarely, so that a token costs one comparison
			if v != v {
				return i
			}
			best, largest = i, v
		}
	}
	return best
}

// check reports a largest logit that is not finite. It does not know how many there are, as Pick does not.
func check(largest float32, id int32) error {
	switch {
	case largest != largest:
		return fmt.Errorf("logits: token %d is NaN, want finite numbers: the weights or the precision are broken", id)
	case math.IsInf(float64(largest), 1):
		return fmt.Errorf("logits: token %d is +Inf, want finite numbers: the weights or the precision are broken", id)
	case math.IsInf(float64(largest), -1):
		return errNone
	}
	return nil
}

// negligible is where exp is not worth computing: 262144 tokens of weight e^-50 together are 5e-17, less than the rounding
// of a float64 sum that contains 1.
const negligible = -50

// weigh gives the kept candidates their weights exp((logit-max)/temperature); it returns the sum of weights.
func (s *Sampler) weigh(max float32) float64 {
	total, least := 0.0, float64(negligible)
	if c := s.config; c.MinP > 0 && c.TopP >= 1 {
		least = math.Log(min(c.MinP, 1)) - 1e-6 // narrow leaves those below out; with top_p they would count in the total
	}
	for i := range s.scratch.kept {
		k := &s.scratch.kept[i]
		k.weight = 0
		if x := (float64(k.logit) - float64(max)) / s.config.Temperature; x > least {
			k.weight = math.Exp(x)
		}
		total += k.weight
	}
	return total
}

// shed moves the candidates of at least this weight to the front and returns them. With a limit of (1-p)/k of the total the
// others together weigh less than 1-p, so none of them is among the top p, and prefix has few candidates left to order.
func shed(c []candidate, limit float64) []candidate {
	n := 0
	for _, k := range c {
		if k.weight >= limit {
			c[n] = k
			n++
		}
	}
	return c[:n]
}

// heapLimit separates small k, where one pass with a heap of the k best is fastest (most tokens fail one comparison), from
// large k, where selection in place is.
const heapLimit = 512

// choose keeps exactly min(k, V) candidates; in order where Pick gets them so, for draw depends on it.
func (s *Sampler) choose(logits []float32) {
	s.scratch.kept = keep(s.scratch.kept, logits, s.config.TopK)
	s.sort()
}

// sort orders the candidates that are kept where Pick would get them in order.
func (s *Sampler) sort() {
	if k := s.config.TopK; k > 0 && k <= MaxCandidates {
		slices.SortFunc(s.scratch.kept, order)
	}
}

// keep gives the k most probable candidates of logits, all where k is 0, in the memory of kept.
func keep(kept []candidate, logits []float32, k int) []candidate {
	if k <= 0 || k >= len(logits) || k > heapLimit {
		kept = grow(kept, len(logits))
		for i, v := range logits {
			kept[i] = candidate{logit: v, id: int32(i), weight: 1}
		}
		if k > 0 && k < len(logits) {
			kept = kept[:prefix(kept, float64(k))]
		}
		return kept
	}
	kept = grow(kept, k)
	for i := range kept {
		kept[i] = candidate{logit: logits[i], id: int32(i)}
	}
	heap := kept // the least probable candidate is heap[0]
	for i := k/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	least := heap[0].logit
	for i := k; i < len(logits); i++ {
		if v := logits[i]; v > least { // an equal logit has a higher id and stays out
			heap[0] = candidate{logit: v, id: int32(i)}
			sink(heap, 0)
			least = heap[0].logit
		}
	}
	return kept
}

func grow[S ~[]E, E any](s S, n int) S {
	if cap(s) < n {
		return make(S, n)
	}
	return s[:n]
}

// sink restores the heap below i.
func sink(heap []candidate, i int) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && heap[child].before(heap[child+1]) {
			child++
		}
		if !heap[i].before(heap[child]) {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}
