package nn

import (
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// RopeScaling is the "rope_scaling" object of a config.json; the fields read
// depend on Type.
type RopeScaling struct {
	Type            string  `json:"rope_type"`
	LegacyType      string  `json:"type"`       // the key's name before transformers 4.43
	Theta           float64 `json:"rope_theta"` // in transformers 5, which calls the object "rope_parameters"
	Factor          float64 `json:"factor"`
	LowFreqFactor   float64 `json:"low_freq_factor"`
	HighFreqFactor  float64 `json:"high_freq_factor"`
	OriginalContext int     `json:"original_max_position_embeddings"`

	AttentionFactor float64   `json:"attention_factor"`      // magnitude of the rotation; 0 means what the type's paper says
	ShortFactor     []float64 `json:"short_factor"`          // LongRoPE: divisors of the frequencies, one per pair
	LongFactor      []float64 `json:"long_factor"`           // the same for long sequences
	Partial         float64   `json:"partial_rotary_factor"` // in transformers 5: how much of a head is rotated; 0 means not said

	YaRN
}

// NewRoPE returns the rotation for heads of dim channels. Every variant is a
// choice of frequencies, made here once; one kernel applies them all.
func NewRoPE(dim int, theta float64, s *RopeScaling) (*tensor.RoPE, error) {
	if dim <= 0 || dim%2 != 0 || dim > 2048 {
		return nil, fmt.Errorf("head_dim %d: an even number up to 2048 wanted", dim)
	}
	if !(theta > 0) || math.IsInf(theta, 0) {
		return nil, fmt.Errorf("rope_theta %g: a positive number wanted", theta)
	}
	freqs := make([]float64, dim/2)
	for i := range freqs {
		freqs[i] = math.Pow(theta, -2*float64(i)/float64(dim))
	}
	r := &tensor.RoPE{Freqs: freqs, Scale: 1}
	if s == nil {
		return r, nil
	}
	kind := s.Type
	if kind == "" {
		kind = s.LegacyType
	}
	if (kind == "linear" || kind == "llama3" || kind == "yarn") && !(s.Factor >= 1) {
		return nil, fmt.Errorf("rope_scaling: factor %g of type %q: at least 1 wanted", s.Factor, kind)
	}
	switch kind {
	case "", "default":
	case "linear":
		for i := range freqs {
			freqs[i] /= s.Factor
		}
	case "llama3":
		// Long wavelengths are slowed by factor, short ones kept, and those in
		// between interpolated. Wavelengths are in positions. (Llama 3.1's reference code)
		if s.OriginalContext <= 0 || !(s.LowFreqFactor > 0) || !(s.HighFreqFactor > s.LowFreqFactor) {
			return nil, fmt.Errorf("rope_scaling: original_max_position_embeddings %d, low_freq_factor %g, high_freq_factor %g do not fit together",
				s.OriginalContext, s.LowFreqFactor, s.HighFreqFactor)
		}
		old := float64(s.OriginalContext)
		long, short := old/s.LowFreqFactor, old/s.HighFreqFactor
		for i, f := range freqs {
			switch wavelen := 2 * math.Pi / f; {
			case wavelen > long:
				freqs[i] = f / s.Factor
			case wavelen > short:
				t := (old/wavelen - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
				freqs[i] = (1-t)*f/s.Factor + t*f
			}
		}
	case "yarn":
		magnitude, err := yarn(freqs, theta, s)
		if err != nil {
			return nil, err
		}
		r.Scale = magnitude
	default:
		return nil, fmt.Errorf("rope_scaling: unknown rope_type %q (known: default, linear, llama3, yarn)", kind)
	}
	return r, nil
}
