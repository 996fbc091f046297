package nn

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// The frequencies and magnitudes are those of transformers 5.14.1 (modeling_rope_utils.py).
func TestYaRN(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		theta        float64
		want         []float64
		magnitude    float64
	}{
		{"a step", `"factor": 4, "original_max_position_embeddings": 32`, 1e4,
			[]float64{1, 0.025, 0.0025, 0.00025}, 1.138629436111989},
		{"Qwen 2.5", `"factor": 4, "original_max_position_embeddings": 32768`, 1e6,
			[]float64{1, 0.1, 0.01, 0.000625, 2.5e-05, 2.5e-06}, 1.138629436111989},
		{"turns, and ends between channels", `"factor": 8, "original_max_position_embeddings": 4096, "truncate": false, "beta_fast": 16, "beta_slow": 2`, 1e4,
			[]float64{1, 0.2154434, 0.04641588, 0.006221889, 0.0002693043, 5.801987e-05}, 1.2079441541679836},
		{"a magnitude", `"factor": 8, "original_max_position_embeddings": 4096, "attention_factor": 0.75`, 1e4,
			[]float64{1, 0.2154434, 0.03626241, 0.005625, 0.0007405868, 5.801987e-05}, 0.75},
		{"DeepSeek's magnitude", `"factor": 40, "original_max_position_embeddings": 4096, "mscale": 1, "mscale_all_dim": 0.707`, 1e4,
			[]float64{1, 0.2154434, 0.03510201, 0.005125, 0.0005790042, 1.160397e-05}, 1.0857263992561355},
		{"no stretching", `"factor": 1, "original_max_position_embeddings": 4096`, 1e4,
			[]float64{1, 0.2154434, 0.04641588, 0.01, 0.002154434, 0.0004641589}, 1},
		{"no ramp", `"factor": 4, "original_max_position_embeddings": 4`, 1e4,
			[]float64{1, 0.025, 0.0025, 0.00025}, 1.138629436111989},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := NewRoPE(2*len(tt.want), tt.theta, scaling(t, `{"rope_type": "yarn", `+tt.config+`}`))
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				if got := r.Freqs[i]; !(math.Abs(got-want) <= 1e-6*want) {
					t.Errorf("pair %d: got %g, want %g", i, got, want)
				}
			}
			if !(math.Abs(r.Scale-tt.magnitude) <= 1e-12) {
				t.Errorf("got magnitude %g, want %g", r.Scale, tt.magnitude)
			}
		})
	}
}

func TestYaRNErrors(t *testing.T) {
	for name, config := range map[string]string{
		"factor 0.5":                         `"factor": 0.5, "original_max_position_embeddings": 32`,
		"original_max_position_embeddings 0": `"factor": 4`,
		"beta_fast 1, beta_slow 2":           `"factor": 4, "original_max_position_embeddings": 32, "beta_fast": 1, "beta_slow": 2`,
		"beta_slow -1":                       `"factor": 4, "original_max_position_embeddings": 32, "beta_slow": -1`,
		"attention_factor -1":                `"factor": 4, "original_max_position_embeddings": 32, "attention_factor": -1`,
		"mscale -1":                          `"factor": 4, "original_max_position_embeddings": 32, "mscale": -1`,
	} {
		_, err := NewRoPE(8, 1e4, scaling(t, `{"rope_type": "yarn", `+config+`}`))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q in it", err, name)
		}
	}
	if _, err := NewRoPE(8, 0.5, scaling(t, `{"type": "yarn", "factor": 4, "original_max_position_embeddings": 32}`)); err == nil {
		t.Error("no error for rope_theta 0.5, whose frequencies grow")
	}
}

func scaling(t *testing.T, config string) *RopeScaling {
	t.Helper()
	var s RopeScaling
	if err := json.Unmarshal([]byte(config), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}
