package sample

import (
	"math"
	"slices"
)

// Candidate is a token with the natural logarithm of its probability.
type Candidate struct {
	ID      int32
	Logprob float32
}

// Logprobs gives the log-probability of a token under the model itself, before any setting of sampling, and the n most
// probable tokens of logits (V), most probable first, ties by lowest id. A token without probability has -Inf, and all have
// NaN where a logit is NaN or +Inf, or none is finite.
func Logprobs(logits []float32, id int32, n int) (float32, []Candidate) {
	if id < 0 || int(id) >= len(logits) {
		return float32(math.Inf(-1)), nil
	}
	best := first(logits)
	total := logSum(logits, logits[best])
	if n = min(n, len(logits)); n <= 0 {
		return float32(float64(logits[id]) - total), nil
	}
	kept := keep(nil, logits, n)
	slices.SortFunc(kept, order)
	top := make([]Candidate, n)
	for i, k := range kept {
		top[i] = Candidate{k.id, float32(float64(k.logit) - total)}
	}
	return float32(float64(logits[id]) - total), top
}

// logSum is log(sum(exp(logits))), the largest of which is max.
func logSum(logits []float32, max float32) float64 {
	m := float64(max)
	total := 0.0
	for _, v := range logits {
		if x := float64(v) - m; !(x <= negligible) { // NaN counts
			total += math.Exp(x)
		}
	}
	return m + math.Log(total)
}
