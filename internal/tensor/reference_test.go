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
	OpPagedAttention: func(t *Tensor, s [][]float64) []float64 {
		y, a := make([]float64, t.Numel()), t.Attr.(Attn)
		h, d, kv, m := t.Src[0].shape[1], t.Src[0].shape[2], t.Src[1].shape[1], t.Src[5].shape[1]
		for i := range t.shape[0] * h {
			at := func(j int) int { // of position j's row
				page := int(s[5][int(s[4][i/h])*m+j/a.Page])
				return ((page*a.Page+j%a.Page)*kv + i%h/(h/kv)) * d
			}
			var p []float64
			from, to := int(s[3][i/h*2]), int(s[3][i/h*2+1])
			for j := from; j < to; j++ {
				score := 0.0
				for c := range d {
					score += a.Scale * s[0][i*d+c] * s[1][at(j)+c]
				}
				if a.Softcap != 0 {
					score = a.Softcap * math.Tanh(score/a.Softcap)
				}
				p = append(p, score)
			}
			if p != nil {
				softmax(p)
			}
			for j := from; j < to; j++ {
				for c := range d {
					y[i*d+c] += p[j-from] * s[2][at(j)+c]
				}
			}
		}
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
