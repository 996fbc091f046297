package models_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// TestLongRoPEGeneration generates over the length at which the rotation changes,
// with one engine for several requests, and wants what a model without a cache says
// at each length, as transformers, which reads everything again there, gives.
func TestLongRoPEGeneration(t *testing.T) {
	dev := openCPU(t)
	f := fixture{dir: filepath.Join(own, "phi3-odd"), required: true, dev: dev}
	m := f.load(t, "config.json", false)
	original := m.Dims().Original
	if original != 20 {
		t.Fatalf("the rotation changes after %d positions, want 20", original)
	}
	text := f.inputs(t).Long[0]
	uncached := func(prompt []int32, n int) []int32 {
		tokens := slices.Clone(prompt)
		for range n {
			scores := logits(t, dev, m, [][]int32{tokens})
			last := scores[len(scores)-m.Dims().Vocab:]
			tokens = append(tokens, int32(slices.Index(last, slices.Max(last))))
		}
		return tokens[len(prompt):]
	}
	e := generate.New(dev, m, generate.Options{Cache: tensor.F32})
	defer e.Close()
	cached := func(ctx context.Context, prompt []int32, n int) (got []int32) {
		for token, err := range e.Generate(ctx, generate.Request{Prompt: prompt, MaxTokens: n, Sampling: sample.Config{}}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, token.ID)
		}
		return got
	}
	for _, tt := range []struct {
		name          string
		prompt, count int
	}{
		{"below", 8, 5},
		{"up to the limit", 15, 5},
		{"over the limit", 15, 12},
		{"short again, of the same beginning", 12, 4},
		{"long at once, after a short one of the same beginning", 30, 4},
		{"the prompt is the limit", 20, 3},
		{"far over the limit", 15, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prompt := text[:tt.prompt]
			if got, want := cached(t.Context(), prompt, tt.count), uncached(prompt, tt.count); !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}

	// Reading again takes memory beside the decoding graph, which is planned.
	for _, n := range [][2]int{{8, 5}, {15, 12}, {30, 4}} {
		dev := openCPU(t)
		plan := dev.Plan()
		var peaks [2][]tensor.Use
		for i, dev := range []*tensor.Device{plan, dev} {
			e := generate.New(dev, fixture{dir: f.dir, dev: dev}.load(t, "config.json", true), generate.Options{Cache: tensor.F32})
			if dev == plan {
				if err := e.Plan(n[0], n[1]); err != nil {
					t.Fatal(err)
				}
			} else {
				for _, err := range e.Generate(t.Context(), generate.Request{Prompt: text[:n[0]], MaxTokens: n[1], Sampling: sample.Config{}}) {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			peaks[i] = dev.Peak()
			e.Close()
		}
		if !slices.Equal(peaks[0], peaks[1]) {
			t.Errorf("%v: planned were\n%+v, the request took\n%+v", n, peaks[0], peaks[1])
		}
	}

	// The two rotations differ: otherwise all of the above could not fail.
	short, long := logits(t, dev, m, [][]int32{text[:20]}), logits(t, dev, m, [][]int32{text[:21]})
	if d := distance(long[:len(short)], short); d < 1e-2 {
		t.Errorf("20 tokens and the first 20 of 21 have the same scores, within %g", d)
	}
}
