package nn

import (
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// LongRoPE (https://arxiv.org/abs/2402.13753) rotates the sequences that are no
// longer than those the model was first trained on by one set of frequencies, and
// all longer ones by another. The choice is made once per sequence: its first
// tokens are rotated by the long frequencies too when it is long.
type LongRoPE struct {
	Short, Long []float64 // radians per position, one per rotated pair
	Scale       float64   // magnitude of the rotation, of both
	Original    int       // positions of the longest sequence that is short
}

// NewLongRoPE returns the rotation of dim channels that s describes, for a model of
// context positions that was first trained on original ones.
func NewLongRoPE(dim int, theta float64, s *RopeScaling, context, original int) (*LongRoPE, error) {
	plain, err := NewRoPE(dim, theta, nil)
	if err != nil {
		return nil, err
	}
	r := &LongRoPE{Original: original, Scale: s.AttentionFactor}
	if original <= 0 {
		return nil, fmt.Errorf("rope_scaling: original_max_position_embeddings %d of type longrope: a positive number wanted", original)
	}
	for _, part := range []struct {
		key     string
		factors []float64
		freqs   *[]float64
	}{{"short_factor", s.ShortFactor, &r.Short}, {"long_factor", s.LongFactor, &r.Long}} {
		if len(part.factors) != dim/2 {
			return nil, fmt.Errorf("rope_scaling: %s has %d numbers; one for each of the %d pairs of channels wanted", part.key, len(part.factors), dim/2)
		}
		for i, f := range part.factors {
			if !(f > 0) || math.IsInf(f, 0) {
				return nil, fmt.Errorf("rope_scaling: %s has %g; positive numbers wanted", part.key, f)
			}
			*part.freqs = append(*part.freqs, plain.Freqs[i]/f)
		}
	}
	if !(r.Scale >= 0) || math.IsInf(r.Scale, 0) {
		return nil, fmt.Errorf("rope_scaling: attention_factor %g: a positive number wanted", r.Scale)
	}
	if r.Scale == 0 {
		// Attention over more positions is flatter; longer queries and keys sharpen it (section 3.3 there).
		factor := s.Factor
		if factor == 0 {
			factor = float64(context) / float64(original)
		}
		r.Scale = 1
		if factor > 1 && original > 1 {
			r.Scale = math.Sqrt(1 + math.Log(factor)/math.Log(float64(original)))
		}
	}
	return r, nil
}

// LongRoPE gives the rotation of the batch's sequences by r. Which frequencies it
// has, [Batch.Set] decides by the length of the longest.
func (b *Batch) LongRoPE(r *LongRoPE) *tensor.RoPE {
	if b.ropes[r] == nil {
		if b.ropes == nil {
			b.ropes = map[*LongRoPE]*tensor.RoPE{}
		}
		b.ropes[r] = &tensor.RoPE{Freqs: r.Short, Scale: r.Scale, Input: b.g.Floats(len(r.Short))}
	}
	return b.ropes[r]
}

// setRopes chooses the frequencies for sequences of length positions.
func (b *Batch) setRopes(length int) {
	for r, rope := range b.ropes {
		freqs := r.Short
		if length > r.Original {
			freqs = r.Long
		}
		values := make([]float32, len(freqs))
		for i, f := range freqs {
			values[i] = float32(f)
		}
		rope.Input.SetFloats(values)
	}
}
