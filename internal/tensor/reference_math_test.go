package tensor

import (
	"math"
	"slices"
)

// What the references of reference_test.go have in common: rows, norms, activations,
// products, attention and experts in float64, by plain loops.

// routeWeights are those of token n.
func routeWeights(t *Tensor, s [][]float64, n int) []float64 {
	e, k := t.Src[0].shape[1], t.Src[1].shape[1]
	all, y := slices.Clone(s[0][n*e:(n+1)*e]), make([]float64, k)
	if !t.Attr.(bool) {
		softmax(all)
	}
	for j := range y {
		y[j] = all[int(s[1][n*k+j])]
	}
	if t.Attr.(bool) {
		softmax(y)
	}
	return y
}

// byExpert gives f the pairs of each of e experts in a group.
func byExpert(e int, group []float64, f func(e, p int)) {
	for i := range e {
		for at := int(group[i]); at < int(group[i+1]); at++ {
			f(i, int(group[e+1+at]))
		}
	}
}

func expertsReference(t *Tensor, s [][]float64, back bool) []float64 {
	y, w := make([]float64, t.Numel()), t.Src[1].shape
	m, c := w[1], w[2]
	byExpert(w[0], s[2], func(e, p int) {
		for i := range m {
			for j := range c {
				if at := (e*m+i)*c + j; back {
					y[p*c+j] += s[1][at] * s[0][p*m+i]
				} else {
					y[p*m+i] += s[1][at] * s[0][p/t.Attr.(int)*c+j]
				}
			}
		}
	})
	return y
}

// twoFloats are x rounded to float32, and what that lost.
func twoFloats(x float64) []float64 {
	hi := float64(float32(x))
	return []float64{hi, x - hi}
}

func each(t *Tensor, f func(i int) float64) []float64 {
	y := make([]float64, t.Numel())
	for i := range y {
		y[i] = f(i)
	}
	return y
}

// rows gives f each row of the result, to be filled.
func rows(t *Tensor, f func(n int, y []float64)) []float64 {
	y, c := make([]float64, t.Numel()), t.Dim(-1)
	for n := range len(y) / c {
		f(n, y[n*c:(n+1)*c])
	}
	return y
}

func rstd(x []float64, eps float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return 1 / math.Sqrt(sum/float64(len(x))+eps)
}

// normalized is x less its mean, over the root r of its variance and eps; and 1/r.
func normalized(x []float64, eps float64) (h []float64, rstd float64) {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	for _, v := range x {
		h = append(h, (v-mean)/math.Sqrt(variance+eps))
	}
	return h, 1 / math.Sqrt(variance+eps)
}

// activationReferences are the activations and their derivatives, as their papers write them.
var activationReferences = [...]struct{ value, slope func(x float64) float64 }{
	SiLU: {func(x float64) float64 { return x * sigmoid(x) }, func(x float64) float64 { return sigmoid(x) + x*sigmoid(x)*(1-sigmoid(x)) }},
	GELU: {
		func(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 },
		func(x float64) float64 { return math.Erfc(-x/math.Sqrt2)/2 + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi) },
	},
	GELUTanh: {
		func(x float64) float64 { return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) },
		func(x float64) float64 {
			t := math.Tanh(math.Sqrt(2/math.Pi) * (x + 0.044715*x*x*x))
			return (1+t)/2 + x/2*(1-t*t)*math.Sqrt(2/math.Pi)*(1+3*0.044715*x*x)
		},
	},
	ReLU: {func(x float64) float64 { return max(x, 0) }, func(x float64) float64 {
		if x > 0 {
			return 1
		}
		return 0
	}},
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func softmax(x []float64) {
	hi, sum := slices.Max(x), 0.0
	for i := range x {
		x[i] = math.Exp(x[i] - hi)
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

func rounded(d DType, x float64) float64 {
	var out [1]float32
	ToFloats(d, FromFloats(d, []float32{float32(x)}), out[:])
	return float64(out[0])
}

// quantized is a block of 32 after storage in Q8_0.
func quantized(x []float64) []float64 {
	largest, y := 0.0, make([]float64, len(x))
	for _, x := range x {
		largest = max(largest, math.Abs(x))
	}
	for i, x := range x {
		y[i] = math.RoundToEven(x*127/max(largest, 1e-30)) * rounded(F16, largest/127)
	}
	return y
}

// product is a·b over the last two axes, either read transposed; leading axes of b are shared by groups of a's.
func product(t *Tensor, s [][]float64, ta, tb bool) []float64 {
	a, b := t.Src[0].shape, t.Src[1].shape
	n, m, k := t.Dim(-2), t.Dim(-1), a[len(a)-1]
	if ta {
		k = a[len(a)-2]
	}
	y := make([]float64, t.Numel())
	for batch := range len(y) / (n * m) {
		// The index of b's batch: each of its leading indices is a's divided by the size of the group.
		rest, at, size := batch, 0, 1
		for i := range len(b) - 2 {
			ai, bi := len(a)-3-i, len(b)-3-i
			at += rest % a[ai] / (a[ai] / b[bi]) * size
			size *= b[bi]
			rest /= a[ai]
		}
		pa, pb := s[0][batch*n*k:], s[1][at*m*k:]
		for i := range n {
			for j := range m {
				sum := 0.0
				for l := range k {
					ia, ib := i*k+l, l*m+j
					if ta {
						ia = l*n + i
					}
					if tb {
						ib = j*k + l
					}
					sum += pa[ia] * pb[ib]
				}
				y[(batch*n+i)*m+j] = sum
			}
		}
	}
	return y
}

// stride is the distance between neighbouring rows of keys.
func stride(t *Tensor) int { return t.Src[1].shape[1] * t.Src[1].shape[2] }

// heads gives f, for each query and head, where its channels begin, where those
// of the first key it sees begin, and the probabilities of the keys.
func heads(t *Tensor, s [][]float64, f func(q, kv, from, d int, p []float64)) {
	n, h, d, hkv := t.Src[0].shape[0], t.Src[0].shape[1], t.Src[0].shape[2], t.Src[1].shape[1]
	for i := range n {
		from, to := int(s[3][2*i]), int(s[3][2*i+1])
		for j := range h {
			q, kv := (i*h+j)*d, from*stride(t)+j/(h/hkv)*d
			p := make([]float64, to-from)
			for r := range p {
				for c := range d {
					p[r] += s[0][q+c] * s[1][kv+r*stride(t)+c]
				}
				p[r] *= t.Attr.(Attn).Scale
				if c := t.Attr.(Attn).Softcap; c != 0 {
					p[r] = c * math.Tanh(p[r]/c)
				}
			}
			softmax(p)
			f(q, kv, from, d, p)
		}
	}
}
