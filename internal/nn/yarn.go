package nn

import (
	"cmp"
	"fmt"
	"math"
)

// YaRN are the keys of "rope_scaling" that only the type "yarn" has. https://arxiv.org/abs/2309.00071
type YaRN struct {
	BetaFast     float64 `json:"beta_fast"` // turns over the original context above which a frequency is kept; 0 means 32
	BetaSlow     float64 `json:"beta_slow"` // turns below which it is divided by the factor; 0 means 1
	MScale       float64 `json:"mscale"`    // with the next one DeepSeek's spelling of the rotation's magnitude
	MScaleAllDim float64 `json:"mscale_all_dim"`
	Truncate     *bool   `json:"truncate"` // whole channel numbers as ends of the ramp; nil means true
}

// yarn stretches the slow frequencies, keeps the fast ones and goes from one to
// the other linearly in the channel, as transformers does it. It returns the
// magnitude, by which queries and keys are scaled both.
func yarn(freqs []float64, theta float64, s *RopeScaling) (magnitude float64, err error) {
	fast, slow := cmp.Or(s.BetaFast, 32), cmp.Or(s.BetaSlow, 1)
	if s.OriginalContext <= 0 || theta <= 1 || !(slow > 0) || !(fast >= slow) || !(s.AttentionFactor >= 0) || !(s.MScale >= 0) || !(s.MScaleAllDim >= 0) {
		return 0, fmt.Errorf("rope_scaling: rope_theta %g, original_max_position_embeddings %d, beta_fast %g, beta_slow %g, attention_factor %g, mscale %g, mscale_all_dim %g do not fit together",
			theta, s.OriginalContext, fast, slow, s.AttentionFactor, s.MScale, s.MScaleAllDim)
	}
	dim := float64(2 * len(freqs))
	// The channel whose frequency makes so many turns over the original context: θ^(-2i/D) · context = 2π · turns.
	channel := func(turns float64) float64 {
		return dim * math.Log(float64(s.OriginalContext)/(turns*2*math.Pi)) / (2 * math.Log(theta))
	}
	low, high := channel(fast), channel(slow)
	if s.Truncate == nil || *s.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dim-1)
	if low == high {
		high += 0.001 // no division by zero
	}
	for i, f := range freqs {
		t := min(max((float64(i)-low)/(high-low), 0), 1)
		freqs[i] = (1-t)*f + t*f/s.Factor
	}

	m := func(scale float64) float64 { return 0.1*scale*math.Log(s.Factor) + 1 } // the factor is at least 1
	switch {
	case s.AttentionFactor != 0:
		return s.AttentionFactor, nil
	case s.MScale != 0 && s.MScaleAllDim != 0:
		return m(s.MScale) / m(s.MScaleAllDim), nil
	}
	return m(1), nil
}
