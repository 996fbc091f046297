package models

import (
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// rotated gives how many channels of a head a partial rotation turns, as all of
// these families count them: the whole part of factor times the head size.
func rotated(headDim int, factor float64) (int, error) {
	n := int(float64(headDim) * factor)
	if !(factor > 0 && factor <= 1) || n < 2 || n%2 != 0 {
		return 0, fmt.Errorf("config.json: %g of %d channels per head are rotated (partial_rotary_factor or rotary_pct); an even number of channels wanted", factor, headDim)
	}
	return n, nil
}

// partialRoPE is the rotation of the first part of a head's channels.
func partialRoPE(headDim int, factor, theta float64, s *nn.RopeScaling) (*tensor.RoPE, error) {
	n, err := rotated(headDim, factor)
	if err != nil {
		return nil, err
	}
	r, err := nn.NewRoPE(n, theta, s)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return r, nil
}

// splitHeads says how channels are divided into heads that have no size of their own.
func splitHeads(hidden, heads int) (headDim int, err error) {
	if heads <= 0 || hidden%heads != 0 {
		return 0, fmt.Errorf("config.json: num_attention_heads %d does not divide hidden_size %d", heads, hidden)
	}
	return hidden / heads, nil
}

// groups checks that key/value heads are shared by equally many query heads.
func groups(heads, kvHeads int) error {
	if kvHeads <= 0 || heads%kvHeads != 0 {
		return fmt.Errorf("config.json: %d key/value heads do not divide num_attention_heads %d", kvHeads, heads)
	}
	return nil
}

// scale is that of attention scores.
func scale(headDim int) float64 { return 1 / math.Sqrt(float64(headDim)) }

// bounds checks what has limits beyond those of [positive].
func bounds(layers int, eps float64) error {
	if layers > 10000 || !(eps >= 0 && eps < 1) {
		return fmt.Errorf("config.json: num_hidden_layers %d, epsilon %g of the norms: at most 10000 layers and an epsilon below 1 wanted", layers, eps)
	}
	return nil
}
