package tensor

import (
	"cmp"
	"math"
	"slices"
)

// reference computes one operation in float64, plainly, from the float64 values
// of its operands: it shares no code with the kernels.
type reference func(t *Tensor, src [][]float64) []float64

// references has one entry per operation that makes a node.
var references = map[Op]reference{
	OpAdd: func(t *Tensor, s [][]float64) []float64 {
		return each(t, func(i int) float64 { return s[0][i] + s[1][i%len(s[1])] })
	},
	OpMul: func(t *Tensor, s [][]float64) []float64 {
		return each(t, func(i int) float64 { return s[0][i] * s[1][i%len(s[1])] })
	},
	OpScale: func(t *Tensor, s [][]float64) []float64 {
		return each(t, func(i int) float64 { return s[0][i] * t.Attr.(float64) })
	},
	OpMatMulT: func(t *Tensor, s [][]float64) []float64 { return product(t, s, false, true) },
	OpMatMul:  func(t *Tensor, s [][]float64) []float64 { return product(t, s, false, false) },
	OpTMatMul: func(t *Tensor, s [][]float64) []float64 { return product(t, s, true, false) },
	OpRMSNorm: func(t *Tensor, s [][]float64) []float64 {
		return rows(t, func(n int, y []float64) {
			x := s[0][n*len(y) : (n+1)*len(y)]
			for i := range y {
				y[i] = x[i] * rstd(x, t.Attr.(Norm).Eps) * (s[1][i] + t.Attr.(Norm).Offset)
			}
		})
	},
	// d/dx_i of Σ_j dy_j·w_j·x_j·r(x), with dr/dx_i = −r³·x_i/C
	OpRMSNormBack: func(t *Tensor, s [][]float64) []float64 {
		return rows(t, func(n int, dx []float64) {
			c := len(dx)
			x, dy := s[0][n*c:(n+1)*c], s[2][n*c:(n+1)*c]
			r, offset, sum := rstd(x, t.Attr.(Norm).Eps), t.Attr.(Norm).Offset, 0.0
			for j := range c {
				sum += dy[j] * (s[1][j] + offset) * x[j]
			}
			for i := range c {
				dx[i] = dy[i]*(s[1][i]+offset)*r - sum*r*r*r*x[i]/float64(c)
			}
		})
	},
	OpRMSNormBackW: func(t *Tensor, s [][]float64) []float64 {
		c := t.Numel()
		return each(t, func(i int) (sum float64) {
			for n := range len(s[0]) / c {
				sum += s[1][n*c+i] * s[0][n*c+i] * rstd(s[0][n*c:(n+1)*c], t.Attr.(float64))
			}
			return sum
		})
	},
	OpLayerNorm: func(t *Tensor, s [][]float64) []float64 {
		return rows(t, func(n int, y []float64) {
			h, _ := normalized(s[0][n*len(y):(n+1)*len(y)], t.Attr.(float64))
			for i := range y {
				y[i] = h[i] * s[1][i]
				if len(s) > 2 {
					y[i] += s[2][i]
				}
			}
		})
	},
	// By the chain rule through h = (x−μ)·r, with dr/dx_i = −r²·h_i/C: the Jacobian dh_j/dx_i = r·(δ_ij − 1/C − h_i·h_j/C), multiplied out.
	OpLayerNormBack: func(t *Tensor, s [][]float64) []float64 {
		return rows(t, func(n int, dx []float64) {
			c := len(dx)
			h, r := normalized(s[0][n*c:(n+1)*c], t.Attr.(float64))
			for i := range dx {
				for j := range c {
					d := -(1 + h[i]*h[j]) / float64(c)
					if i == j {
						d++
					}
					dx[i] += s[2][n*c+j] * s[1][j] * r * d
				}
			}
		})
	},
	OpLayerNormBackW: func(t *Tensor, s [][]float64) []float64 {
		c := t.Numel()
		return each(t, func(i int) (sum float64) {
			for n := range len(s[0]) / c {
				h, _ := normalized(s[0][n*c:(n+1)*c], t.Attr.(float64))
				sum += s[1][n*c+i] * h[i]
			}
			return sum
		})
	},
	OpAct: func(t *Tensor, s [][]float64) []float64 {
		f := activationReferences[t.Attr.(Activation)].value
		return each(t, func(i int) float64 { return f(s[0][i]) })
	},
	OpActBack: func(t *Tensor, s [][]float64) []float64 {
		f := activationReferences[t.Attr.(Activation)].slope
		return each(t, func(i int) float64 { return s[1][i] * f(s[0][i]) })
	},
	OpGate: func(t *Tensor, s [][]float64) []float64 {
		f := activationReferences[t.Attr.(Activation)].value
		return each(t, func(i int) float64 { return f(s[0][i]) * s[1][i] })
	},
	OpGateBack: func(t *Tensor, s [][]float64) []float64 {
		f := activationReferences[t.Attr.(Activation)].slope
		return each(t, func(i int) float64 { return s[2][i] * s[1][i] * f(s[0][i]) })
	},
	OpSoftcap: func(t *Tensor, s [][]float64) []float64 {
		return each(t, func(i int) float64 { return t.Attr.(float64) * math.Tanh(s[0][i]/t.Attr.(float64)) })
	},
	OpSoftcapBack: func(t *Tensor, s [][]float64) []float64 {
		return each(t, func(i int) float64 { return s[1][i] * (1 - math.Pow(s[0][i]/t.Attr.(float64), 2)) })
	},
	OpSoftmax: func(t *Tensor, s [][]float64) []float64 {
		return rows(t, func(n int, y []float64) {
			for i := range y {
				y[i] = t.Attr.(float64) * s[0][n*len(y)+i]
				if len(s) > 1 {
					y[i] += s[1][(n*len(y)+i)%len(s[1])]
				}
			}
			softmax(y)
		})
	},
	// dx_i = scale·y_i·(dy_i − Σ y·dy)
	OpSoftmaxBack: func(t *Tensor, s [][]float64) []float64 {
		return rows(t, func(n int, dx []float64) {
			y, dy, dot := s[0][n*len(dx):], s[1][n*len(dx):], 0.0
			for i := range dx {
				dot += y[i] * dy[i]
			}
			for i := range dx {
				dx[i] = t.Attr.(float64) * y[i] * (dy[i] - dot)
			}
		})
	},
	OpRopeTable: func(t *Tensor, s [][]float64) []float64 {
		half := t.shape[1]
		return each(t, func(i int) float64 {
			angle := float64(float32(s[0][i/2/half]) * float32(s[1][i/2%half])) // in float32, as everybody computes it
			if i%2 == 0 {
				return math.Cos(angle) * t.Attr.(float64)
			}
			return math.Sin(angle) * t.Attr.(float64)
		})
	},
	OpRoPE: func(t *Tensor, s [][]float64) []float64 {
		heads, half := t.shape[1], t.Src[1].shape[1]
		return rows(t, func(n int, y []float64) {
			x, table := s[0][n*len(y):(n+1)*len(y)], s[1][n/heads*half*2:]
			copy(y, x)
			for i := range half {
				c, sn := table[2*i], table[2*i+1]
				if t.Attr.(bool) {
					sn = -sn
				}
				y[i], y[i+half] = x[i]*c-x[i+half]*sn, x[i]*sn+x[i+half]*c
			}
		})
	},
	OpReshape: func(t *Tensor, s [][]float64) []float64 { return slices.Clone(s[0]) },
	OpPermute: func(t *Tensor, s [][]float64) []float64 {
		in, axes := t.Src[0].shape, t.Attr.([]int)
		return each(t, func(i int) float64 {
			at, index := 0, make([]int, len(in))
			for a := len(axes) - 1; a >= 0; a-- {
				index[axes[a]] = i % t.shape[a]
				i /= t.shape[a]
			}
			for a, d := range in {
				at = at*d + index[a]
			}
			return s[0][at]
		})
	},
	OpColumns: func(t *Tensor, s [][]float64) []float64 {
		return rows(t, func(n int, y []float64) { copy(y, s[0][n*t.Src[0].Dim(-1)+t.Attr.(int):]) })
	},
	OpColumnsBack: func(t *Tensor, s [][]float64) []float64 {
		n := t.Src[0].Dim(-1)
		return rows(t, func(k int, y []float64) { copy(y[t.Attr.(int):], s[0][k*n:(k+1)*n]) })
	},
	OpRows: func(t *Tensor, s [][]float64) []float64 {
		c := t.shape[1]
		return each(t, func(i int) float64 { return s[0][int(s[1][i/c])*c+i%c] })
	},
	OpRowsBack: func(t *Tensor, s [][]float64) []float64 {
		y, c := make([]float64, t.Numel()), t.shape[1]
		for i, d := range s[0] {
			y[int(s[1][i/c])*c+i%c] += d
		}
		return y
	},
	OpZeros: func(t *Tensor, s [][]float64) []float64 { return make([]float64, t.Numel()) },
	OpTopK: func(t *Tensor, s [][]float64) []float64 {
		v, k := t.Src[0].shape[1], t.shape[2]
		var y []float64
		for n := range t.shape[0] {
			row := s[0][n*v : (n+1)*v]
			ids := make([]int, v)
			for i := range ids {
				ids[i] = i
			}
			slices.SortStableFunc(ids, func(a, b int) int { return cmp.Compare(row[b], row[a]) })
			for _, id := range ids[:k] {
				y = append(y, row[id])
			}
			for _, id := range ids[:k] {
				y = append(y, float64(id))
			}
		}
		return y
	},
	OpSetRows: func(t *Tensor, s [][]float64) []float64 {
		y, c := slices.Clone(s[0]), t.shape[1]
		for i, x := range s[2] {
			row := y[int(s[1][i/c])*c:]
			if t.dtype == Q8_0 {
				if i%32 == 0 {
					copy(row[i%c:], quantized(s[2][i:i+32]))
				}
				continue
			}
			row[i%c] = rounded(t.dtype, x)
		}
		return y
	},
	OpAttention: func(t *Tensor, s [][]float64) []float64 {
		y := make([]float64, t.Numel())
		heads(t, s, func(q, kv, from, d int, p []float64) {
			for j, p := range p {
				for i := range d {
					y[q+i] += p * s[2][kv+j*stride(t)+i]
				}
			}
		})
		return y
	},
	OpAttentionBack: func(t *Tensor, s [][]float64) []float64 {
		grad := make([]float64, t.Numel())
		dq, dk, dv := grad[:len(s[0])], grad[len(s[0]):len(s[0])+len(s[1])], grad[len(s[0])+len(s[1]):]
		a := t.Attr.(Attn)
		heads(t, s, func(q, kv, from, d int, p []float64) {
			dp, dot := make([]float64, len(p)), 0.0
			for j := range p {
				for i := range d {
					dp[j] += s[4][q+i] * s[2][kv+j*stride(t)+i]
				}
				dot += p[j] * dp[j]
			}
			for j := range p {
				ds := a.Scale * p[j] * (dp[j] - dot)
				if a.Softcap != 0 { // d/dx of c·tanh(x/c)
					score := 0.0
					for i := range d {
						score += a.Scale * s[0][q+i] * s[1][kv+j*stride(t)+i]
					}
					ds /= math.Pow(math.Cosh(score/a.Softcap), 2)
				}
				for i := range d {
					at := kv + j*stride(t) + i
					dq[q+i] += ds * s[1][at]
					dk[at] += ds * s[0][q+i]
					dv[at] += p[j] * s[4][q+i]
				}
			}
		})
		return grad
	},
	OpPart: func(t *Tensor, s [][]float64) []float64 {
		return s[0][t.Attr.(int) : t.Attr.(int)+t.Numel()]
	},
	OpCrossEntropy: func(t *Tensor, s [][]float64) []float64 {
		v := t.Src[0].shape[1]
		return each(t, func(n int) float64 {
			if s[1][n] < 0 {
				return 0
			}
			p := slices.Clone(s[0][n*v : (n+1)*v])
			softmax(p)
			return -math.Log(p[int(s[1][n])])
		})
	},
	OpCrossEntropyBack: func(t *Tensor, s [][]float64) []float64 {
		return rows(t, func(n int, y []float64) {
			if s[1][n] < 0 {
				return
			}
			copy(y, s[0][n*len(y):])
			softmax(y)
			y[int(s[1][n])]--
			for i := range y {
				y[i] *= s[2][n]
			}
		})
	},
	OpSumTo: func(t *Tensor, s [][]float64) []float64 {
		y := make([]float64, t.Numel())
		for i, x := range s[0] {
			y[i%len(y)] += x
		}
		return y
	},
	OpDropout: func(t *Tensor, s [][]float64) []float64 {
		m := t.Attr.(Mask)
		seed := uint64(uint32(int32(s[1][0]))) | uint64(uint32(int32(s[1][1])))<<32
		cut := uint64(float64(float32(m.P)) * math.MaxUint32)
		return each(t, func(i int) float64 {
			z := seed*0x9e3779b97f4a7c15 + uint64(m.Layer)*0xbf58476d1ce4e5b9 + uint64(i) // SplitMix64
			z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			if (z^z>>31)>>32 < cut {
				return 0
			}
			return s[0][i] / (1 - float64(float32(m.P)))
		})
	},
	OpAccumulate: func(t *Tensor, s [][]float64) []float64 {
		return each(t, func(i int) float64 {
			if s[2][0] == 0 {
				return s[1][i]
			}
			return s[2][0]*s[0][i] + s[1][i]
		})
	},
	// src: w, g, m, v, h = lr, β1, β2, ε, 1−β1^t, sqrt(1−β2^t), largest norm; norm and factor
	OpAdamW: func(t *Tensor, s [][]float64) []float64 {
		h := s[4]
		return each(t, func(i int) float64 {
			g := s[1][i] * s[5][1]
			m := h[1]*s[2][i] + (1-h[1])*g
			v := h[2]*s[3][i] + (1-h[2])*g*g
			return s[0][i]*(1-h[0]*t.Attr.(float64)) - h[0]/h[4]*m/(math.Sqrt(v)/h[5]+h[3])
		})
	},
	OpSquareSum: func(t *Tensor, s [][]float64) []float64 {
		sum := 0.0
		for _, x := range s[0] {
			sum += x * x
		}
		if len(s) > 1 {
			sum += s[1][0] + s[1][1]
		}
		return twoFloats(sum)
	},
	OpAddDot: func(t *Tensor, s [][]float64) []float64 {
		sum := 0.0
		for i, x := range s[1] {
			sum += x * s[2][i]
		}
		if s[3][0] != 0 {
			sum += s[3][0] * (s[0][0] + s[0][1])
		}
		return twoFloats(sum)
	},
	OpClip: func(t *Tensor, s [][]float64) []float64 {
		norm, factor := math.Sqrt(s[1][0]+s[1][1]), 1.0
		if limit := s[3][6]; limit > 0 {
			factor = min(1, limit/(norm+1e-6))
		}
		return []float64{norm, factor}
	},
	OpRoute: func(t *Tensor, s [][]float64) []float64 {
		e, k := t.Src[0].shape[1], t.shape[1]
		var y []float64
		for n := range t.shape[0] {
			ids := make([]int, e)
			for i := range ids {
				ids[i] = i
			}
			slices.SortStableFunc(ids, func(a, b int) int { return cmp.Compare(s[0][n*e+b], s[0][n*e+a]) })
			for _, id := range ids[:k] {
				y = append(y, float64(id))
			}
		}
		return y
	},
	OpRouteWeights: func(t *Tensor, s [][]float64) []float64 {
		k := t.shape[1]
		return each(t, func(i int) float64 { return routeWeights(t, s, i/k)[i%k] })
	},
	// By the definition: Σ_j dy_j·∂y_j/∂x_i with ∂y_j/∂x_i = y_j·([i = id_j] − y_i), y_i that of the softmax's own range.
	OpRouteWeightsBack: func(t *Tensor, s [][]float64) []float64 {
		e, k := t.shape[1], t.Src[1].shape[1]
		return rows(t, func(n int, dx []float64) {
			y := routeWeights(t, s, n)
			soft := make([]float64, e)
			if t.Attr.(bool) {
				for j := range k {
					soft[int(s[1][n*k+j])] = y[j]
				}
			} else {
				copy(soft, s[0][n*e:])
				softmax(soft)
			}
			for i := range dx {
				for j := range k {
					d := 0.0
					if int(s[1][n*k+j]) == i {
						d = 1
					}
					dx[i] += s[2][n*k+j] * y[j] * (d - soft[i])
				}
			}
		})
	},
	OpGroup: func(t *Tensor, s [][]float64) []float64 {
		e := t.Attr.(int)
		y := make([]float64, e+1)
		for i := range e {
			for p, id := range s[0] {
				if int(id) == i {
					y = append(y, float64(p))
				}
			}
			y[i+1] = float64(len(y) - e - 1)
		}
		return y
	},
	OpGroupCounts: func(t *Tensor, s [][]float64) []float64 {
		y := make([]float64, t.Numel())
		byExpert(len(y), s[0], func(e, p int) { y[e] += s[1][p/t.Attr.(int)] })
		return y
	},
	OpExperts:     func(t *Tensor, s [][]float64) []float64 { return expertsReference(t, s, false) },
	OpExpertsBack: func(t *Tensor, s [][]float64) []float64 { return expertsReference(t, s, true) },
	OpExpertsBackW: func(t *Tensor, s [][]float64) []float64 {
		y, m, c := make([]float64, t.Numel()), t.shape[1], t.shape[2]
		byExpert(t.shape[0], s[2], func(e, p int) {
			for i := range m {
				for j := range c {
					y[(e*m+i)*c+j] += s[0][p*m+i] * s[1][p/t.Attr.(int)*c+j]
				}
			}
		})
		return y
	},
	OpCombine: func(t *Tensor, s [][]float64) []float64 {
		y, c := make([]float64, t.Numel()), t.shape[1]
		for i, x := range s[0] {
			w := 1.0
			if len(s) > 1 {
				w = s[1][i/c]
			}
			y[i/c/t.Attr.(int)*c+i%c] += w * x
		}
		return y
	},
	OpCombineBack: func(t *Tensor, s [][]float64) []float64 {
		c, k := t.shape[1], t.Src[0].shape[1]
		return each(t, func(i int) float64 { return s[0][i/c] * s[1][i/c/k*c+i%c] })
	},
	OpCombineBackW: func(t *Tensor, s [][]float64) []float64 {
		c, k := t.Src[0].shape[1], t.shape[1]
		return each(t, func(p int) (sum float64) {
			for i := range c {
				sum += s[0][p*c+i] * s[1][p/k*c+i]
			}
			return sum
		})
	},
	OpGLU: func(t *Tensor, s [][]float64) []float64 {
		c := t.shape[1]
		return each(t, func(i int) float64 { g := s[0][i/c*2*c+i%c]; return g * sigmoid(g) * s[0][i/c*2*c+c+i%c] })
	},
	OpGLUBack: func(t *Tensor, s [][]float64) []float64 {
		c := t.shape[1] / 2
		return rows(t, func(n int, dx []float64) {
			for i := range c {
				g, u, dy := s[0][n*2*c+i], s[0][n*2*c+c+i], s[1][n*c+i]
				p := sigmoid(g)
				dx[i], dx[c+i] = dy*u*(p+g*p*(1-p)), dy*g*p
			}
		})
	},
}

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
