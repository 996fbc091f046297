package ggml

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"
)

// testWeights are those of tools/reference/ggml_quantize.py: rows of about normal numbers of different
// sizes, some rows with what is rare.
func testWeights() (v, importance []float32) {
	const rows, cols = 48, 512
	s := uint32(1)
	next := func() uint32 {
		s = s*1664525 + 1013904223
		return s >> 8
	}
	v = make([]float32, rows*cols)
	for i := range v {
		total := int64(next()) + int64(next()) + int64(next()) + int64(next())
		v[i] = float32(float64(total-1<<25) / math.Exp2(float64(28-i/cols%5)))
	}
	row := func(r int) []float32 { return v[r*cols : (r+1)*cols] }
	clear(row(1))
	clear(row(2)[:300])
	for i := range cols {
		row(3)[i] = float32(math.Abs(float64(row(3)[i])))
		row(4)[i] = -float32(math.Abs(float64(row(4)[i])))
		row(5)[i] *= 0x1p-20
		row(6)[i] *= 0x1p13
		if i%7 == 0 {
			row(7)[i] *= 64
		}
		row(8)[i] = 0.25
		row(9)[i] = float32(math.RoundToEven(float64(row(9)[i]*64))) / 64
		row(10)[i] *= 0x1p-40
	}
	importance = make([]float32, cols)
	for i := range importance {
		importance[i] = float32(next()) / (1 << 24)
		if i%11 == 0 {
			importance[i] = 0
		}
	}
	return v, importance
}

// TestQuantizeAsLlamaCpp compares with what llama.cpp's own library makes of the same numbers, bit for bit,
// whatever the flags are that this package and GGML were compiled with.
func TestQuantizeAsLlamaCpp(t *testing.T) {
	raw, err := os.ReadFile("testdata/quantize.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	v, importance := testWeights()
	types := map[string]Type{"Q4_0": Q4_0, "Q4_1": Q4_1, "Q5_0": Q5_0, "Q5_1": Q5_1, "Q8_0": Q8_0, "Q2_K": Q2_K, "Q3_K": Q3_K,
		"Q4_K": Q4_K, "Q5_K": Q5_K, "Q6_K": Q6_K, "IQ4_NL": IQ4_NL, "IQ4_XS": IQ4_XS, "MXFP4": MXFP4}
	if len(want) != 2*len(types) {
		t.Fatalf("testdata has %d hashes, want two of %d types", len(want), len(types))
	}
	for name, typ := range types {
		for suffix, weights := range map[string][]float32{"": nil, "+importance": importance} {
			t.Run(name+suffix, func(t *testing.T) {
				out := make([]byte, len(v)/typ.Block()*typ.BlockBytes())
				Quantize(typ, v, len(importance), weights, out)
				sum := sha256.Sum256(out)
				if got := hex.EncodeToString(sum[:]); got != want[name+suffix] {
					t.Errorf("got %s, want %s", got, want[name+suffix])
				}
				// Rows by themselves give the same: goroutines share a tensor so.
				row := make([]byte, len(importance)/typ.Block()*typ.BlockBytes())
				Quantize(typ, v[20*len(importance):21*len(importance)], len(importance), weights, row)
				if string(row) != string(out[20*len(row):21*len(row)]) {
					t.Error("a row by itself differs")
				}
			})
		}
	}
}

func BenchmarkQuantize(b *testing.B) {
	v, importance := testWeights()
	for _, typ := range []struct {
		name string
		Type
	}{{"Q4_0", Q4_0}, {"Q4_1", Q4_1}, {"Q8_0", Q8_0}, {"Q2_K", Q2_K}, {"Q3_K", Q3_K}, {"Q4_K", Q4_K}, {"Q5_K", Q5_K}, {"Q6_K", Q6_K}, {"IQ4_NL", IQ4_NL}, {"MXFP4", MXFP4}} {
		for suffix, weights := range map[string][]float32{"": nil, "+importance": importance} {
			b.Run(fmt.Sprint(typ.name, suffix), func(b *testing.B) {
				b.SetBytes(int64(4 * len(v)))
				out := make([]byte, len(v)/typ.Block()*typ.BlockBytes())
				for b.Loop() {
					Quantize(typ.Type, v, len(importance), weights, out)
				}
			})
		}
	}
}
