package sample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var inf = float32(math.Inf(1))
var nan = float32(math.NaN())

// The logits are those of LitGPT's test_sample: every temperature gives token 0.
func TestLitGPTVectors(t *testing.T) {
	logits := []float32{92, 32, 88, 36, 62}
	for _, temperature := range []float64{0, 1, 0.5} {
		s := New(Config{Temperature: temperature, TopP: 0.8, Seed: 1234})
		for i := range 200 {
			if got, err := s.Sample(logits); got != 0 || err != nil {
				t.Fatalf("temperature %v, draw %d: got %d, %v, want 0", temperature, i, got, err)
			}
		}
	}
}

func TestArgmax(t *testing.T) {
	logits := []float32{-1, 3, 2.9, 3, -inf}
	for _, c := range []Config{
		{}, {Temperature: 0, TopP: 1}, {Temperature: 1, TopP: 0}, {Temperature: 5, TopP: 1, TopK: 1},
		{Temperature: -1, TopP: 1}, {Temperature: 1e-300, TopP: 0.1}, {Temperature: math.NaN(), TopP: 1},
	} {
		s := New(c)
		for range 50 {
			if got, err := s.Sample(logits); got != 1 || err != nil {
				t.Fatalf("%+v: got %d, %v, want 1", c, got, err)
			}
		}
	}
	for _, c := range []struct {
		logits []float32
		want   int32
	}{{nil, -1}, {[]float32{2}, 0}, {[]float32{nan, -3, nan}, 1}, {[]float32{-inf, -inf}, 0}, {[]float32{1, 5, 5}, 1}} {
		if got := Greedy(c.logits); got != c.want {
			t.Errorf("Greedy(%v): got %d, want %d", c.logits, got, c.want)
		}
	}
}

func TestBadLogits(t *testing.T) {
	for _, c := range []struct {
		logits []float32
		want   string
	}{
		{nil, "logits: empty"},
		{[]float32{1, nan, 2}, "token 1 is NaN"},
		{[]float32{nan}, "token 0 is NaN"},
		{[]float32{-inf, -inf}, "all are -Inf"},
		{[]float32{0, inf}, "token 1 is +Inf"},
	} {
		for _, config := range []Config{{}, {Temperature: 1, TopP: 1}, {Temperature: 1, TopP: 0.5, TopK: 1}} {
			if _, err := New(config).Sample(c.logits); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v with %+v: got %v, want %q", c.logits, config, err, c.want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string // "" means none
	}{
		{Config{}, ""},
		{Config{Temperature: 0.8, TopK: 50, TopP: 1}, ""},
		{Config{TopP: 1.01}, "top_p must be in [0, 1], got 1.01"},
		{Config{TopP: -0.1}, "top_p must be in [0, 1], got -0.1"},
		{Config{TopP: math.NaN()}, "top_p must be in [0, 1], got NaN"},
		{Config{TopK: -1}, "top_k must be at least 0"},
		{Config{Temperature: -1}, "temperature must be"},
		{Config{Temperature: math.Inf(1)}, "temperature must be"},
		{Config{Temperature: math.NaN()}, "temperature must be"},
	} {
		err := c.config.Check()
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", c.config, err, c.want)
		}
	}
	err := Config{TopP: 2, TopK: -1, Temperature: -1}.Check()
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 {
		t.Errorf("three wrong settings: got %d lines, want 3: %v", n, err)
	}
}

// want computes the distribution by the definition, with full sorts in float64: the peer of the partial selection.
func want(logits []float32, c Config) []float64 {
	ids := make([]int, len(logits))
	for i := range ids {
		ids[i] = i
	}
	slices.SortStableFunc(ids, func(a, b int) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	if c.TopK > 0 && c.TopK < len(ids) {
		ids = ids[:c.TopK]
	}
	total := 0.0
	p := make([]float64, len(logits))
	for _, id := range ids {
		p[id] = math.Exp((float64(logits[id]) - float64(logits[ids[0]])) / c.Temperature)
		total += p[id]
	}
	above := 0.0
	kept := 0.0
	for i, id := range ids {
		this := p[id] / total
		if c.TopP < 1 && i > 0 && above >= c.TopP-1e-12 { // exact sums of equal tokens, like 30 of 3000 for 0.01, end at p
			p[id] = 0
		}
		above += this
		kept += p[id]
	}
	for i := range p {
		p[i] /= kept
	}
	return p
}

// Each setting is drawn 50000 times and compared with the definition by a chi-square test; the bound is where a right
// sampler fails once in a million seeds (Wilson-Hilferty, z = 4.75).
func TestDistribution(t *testing.T) {
	logits := make([]float32, 40)
	r := rand.New(rand.NewPCG(7, 7))
	for i := range logits {
		logits[i] = float32(r.NormFloat64() * 2)
	}
	logits[3], logits[4] = -inf, -inf
	equal := make([]float32, 24)
	for _, c := range []struct {
		logits []float32
		config Config
	}{
		{logits, Config{Temperature: 1, TopP: 1}},
		{logits, Config{Temperature: 0.7, TopP: 1, TopK: 12}},
		{logits, Config{Temperature: 2, TopP: 1, TopK: 39}},
		{logits, Config{Temperature: 1.5, TopP: 1, TopK: 400}},
		{logits, Config{Temperature: 1, TopP: 0.6}},
		{logits, Config{Temperature: 0.5, TopP: 0.9, TopK: 20}},
		{logits, Config{Temperature: 3, TopP: 0.95, TopK: 7}},
		{equal, Config{Temperature: 1, TopP: 1}},
		{equal, Config{Temperature: 1, TopP: 1, TopK: 5}}, // ties: exactly five, the lowest ids
		{equal, Config{Temperature: 1, TopP: 0.45}},       // 10.8 of 24: exactly eleven, the lowest ids
	} {
		t.Run(fmt.Sprintf("%+v", c.config), func(t *testing.T) {
			const draws = 50000
			probabilities := want(c.logits, c.config)
			s := New(c.config)
			counts := make([]int, len(c.logits))
			for range draws {
				id, err := s.Sample(c.logits)
				if err != nil {
					t.Fatal(err)
				}
				counts[id]++
			}
			chi, cells, restP, restN := 0.0, 0.0, 0.0, 0
			add := func(p float64, n int) {
				e := p * draws
				chi += (float64(n) - e) * (float64(n) - e) / e
				cells++
			}
			for id, p := range probabilities {
				switch {
				case p == 0 && counts[id] > 0:
					t.Errorf("token %d must not be drawn, got %d draws", id, counts[id])
				case p*draws >= 10:
					add(p, counts[id])
				default: // too rare for the test: one cell together
					restP += p
					restN += counts[id]
				}
			}
			if restP*draws >= 10 {
				add(restP, restN)
			}
			df := cells - 1
			bound := df * math.Pow(1-2/(9*df)+4.75*math.Sqrt(2/(9*df)), 3)
			if chi > bound || df < 2 {
				t.Errorf("chi-square %.1f with %.0f degrees of freedom, want at most %.1f", chi, df, bound)
			}
		})
	}
}

// The partial selections keep the same set as a full sort, also for order and ties that are bad for quickselect.
func TestSelection(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const v = 3000
	for name, value := range map[string]func(i int) float32{
		"random":     func(int) float32 { return float32(r.NormFloat64()) },
		"few values": func(int) float32 { return float32(r.IntN(5)) },
		"ascending":  func(i int) float32 { return float32(i) / 100 },
		"descending": func(i int) float32 { return -float32(i) / 100 },
		"organ pipe": func(i int) float32 { return float32(min(i, v-i)) / 100 },
		"equal":      func(int) float32 { return 1 },
	} {
		logits := make([]float32, v)
		for i := range logits {
			logits[i] = value(i)
		}
		for _, config := range []Config{
			{Temperature: 1, TopP: 1, TopK: 1}, {Temperature: 1, TopP: 1, TopK: 50}, {Temperature: 1, TopP: 1, TopK: heapLimit},
			{Temperature: 1, TopP: 1, TopK: heapLimit + 1}, {Temperature: 1, TopP: 1, TopK: v - 1}, {Temperature: 1, TopP: 1, TopK: v},
			{Temperature: 1, TopP: 0.5}, {Temperature: 1, TopP: 0.99}, {Temperature: 2, TopP: 0.01}, {Temperature: 1, TopP: 0.7, TopK: 700},
		} {
			s := New(config)
			s.choose(logits)
			total := s.weigh(slices.Max(logits))
			kept := s.scratch.kept
			if config.TopP < 1 {
				kept = shed(kept, (1-config.TopP)*total/float64(len(kept)))
				kept = kept[:prefix(kept, config.TopP*total)]
			}
			var got, wanted []int32
			for _, k := range kept {
				got = append(got, k.id)
			}
			for id, p := range want(logits, config) {
				if p > 0 {
					wanted = append(wanted, int32(id))
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, wanted) {
				t.Errorf("%s, %+v: kept %d tokens, want %d, or other ones", name, config, len(got), len(wanted))
			}
		}
	}
}

func TestSeed(t *testing.T) {
	logits := make([]float32, 1000)
	draw := func(seed uint64) (ids []int32) {
		s := New(Config{Temperature: 1, TopP: 0.9, Seed: seed})
		for range 20 {
			id, _ := s.Sample(logits)
			ids = append(ids, id)
		}
		return ids
	}
	if a, b := draw(1), draw(1); !slices.Equal(a, b) {
		t.Errorf("seed 1 twice: %v and %v", a, b)
	}
	if a, b := draw(1), draw(2); slices.Equal(a, b) {
		t.Errorf("seeds 1 and 2 both gave %v", a)
	}
}

func TestNoAllocation(t *testing.T) {
	logits := make([]float32, 5000)
	for i := range logits {
		logits[i] = float32(i*7919%5000) / 1000
	}
	keep := slices.Clone(logits)
	for _, c := range []Config{{}, {Temperature: 1, TopP: 1}, {Temperature: 1, TopP: 1, TopK: 50}, {Temperature: 1, TopP: 0.9}, {Temperature: 1, TopP: 0.9, TopK: 1000}} {
		s := New(c)
		if n := testing.AllocsPerRun(20, func() {
			if _, err := s.Sample(logits); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%+v: %v allocations per token, want 0", c, n)
		}
	}
	if !slices.Equal(logits, keep) {
		t.Error("Sample changed the logits")
	}
}

func FuzzSample(f *testing.F) {
	f.Add([]byte{1, 2, 3, 255}, 3, 0.5, 0.9)
	f.Add([]byte{}, 0, 0.0, 0.0)
	f.Fuzz(func(t *testing.T, raw []byte, k int, temperature, topP float64) {
		logits := make([]float32, len(raw)/4)
		for i := range logits {
			b := raw[4*i:]
			logits[i] = math.Float32frombits(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
		}
		id, err := New(Config{Temperature: temperature, TopK: k, TopP: topP}).Sample(logits)
		if err == nil && (id < 0 || int(id) >= len(logits) || math.IsInf(float64(logits[id]), -1)) {
			t.Errorf("got token %d of %v", id, logits)
		}
	})
}

func BenchmarkSample(b *testing.B) {
	for _, v := range []int{49152, 262144} {
		logits := make([]float32, v)
		r := rand.New(rand.NewPCG(3, 3))
		for i := range logits {
			logits[i] = float32(r.NormFloat64() * 3)
		}
		for _, c := range []struct {
			name   string
			config Config
		}{
			{"greedy", Config{}},
			{"top_k=50", Config{Temperature: 0.8, TopK: 50, TopP: 1}},
			{"top_k=5000", Config{Temperature: 0.8, TopK: 5000, TopP: 1}},
			{"top_p=0.9", Config{Temperature: 0.8, TopP: 0.9}},
			{"all", Config{Temperature: 0.8, TopP: 1}},
		} {
			b.Run(fmt.Sprintf("V=%d/%s", v, c.name), func(b *testing.B) {
				s := New(c.config)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Sample(logits); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
