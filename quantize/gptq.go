package quantize

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// GPTQ (https://arxiv.org/abs/2210.17323): a matrix W (R, C) meets inputs X (N, C), and what matters is not W - Q
// but X·(W - Q)ᵀ, whose size is measured by H = XᵀX. Columns are quantized one after the other; the error of each is made
// up for, as well as can be, in those that are not quantized yet:
//
//	w[k] -= (w[j] - q[j]) / U[j][j] · U[j][k]     for k > j, where H⁻¹ = UᵀU, U upper triangular.
//
// The types' blocks have common scales. A block's are found by the type's own quantizer when its first column
// comes up, of what the weights are by then.

// damping is what is added to the diagonal of H, as a part of its mean. The paper has 0.01 for 256,000 tokens; texts here are
// shorter. Of SmolLM2's layers after 8,000 and 20,000 tokens, 0.1 leaves the least error on another text, or about so.
const damping = 0.1

// together is how many rows one goroutine quantizes at a time.
const together = 64

// gptq quantizes w (rows, cols), which it overwrites, to type d for inputs with h (cols, cols).
func gptq(d tensor.DType, w []float32, cols int, h []float64) (out []byte, err error) {
	if _, ok := codecs[d]; !ok {
		return nil, fmt.Errorf("type %v is none that GPTQ is here for", d)
	}
	importance := make([]float32, cols)
	for i := range importance {
		importance[i] = float32(h[i*cols+i])
	}
	u, err := inverseFactor(h, cols)
	if err != nil {
		return nil, err
	}
	rows, rowBytes := len(w)/cols, d.Bytes(cols)
	out = make([]byte, rows*rowBytes)
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for worker := range errs {
		all.Go(func() {
			defer tensor.Catch(&errs[worker])
			for {
				first := int(next.Add(together)) - together
				if first >= rows {
					return
				}
				n := min(together, rows-first)
				gptqRows(d, w[first*cols:(first+n)*cols], cols, u, importance, out[first*rowBytes:(first+n)*rowBytes])
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// gptqRows is gptq of some rows, given U.
func gptqRows(d tensor.DType, w []float32, cols int, u, importance []float32, out []byte) {
	g, _ := newGrid(d)
	block, rows, rowBytes := d.Block(), len(w)/cols, d.Bytes(cols)
	blockBytes := d.Bytes(block)
	x, made := make([]float32, rows*block), make([]byte, rows*blockBytes)
	errs := make([]float32, block)
	for at := 0; at < cols; at += block {
		for r := range rows {
			copy(x[r*block:(r+1)*block], w[r*cols+at:])
		}
		tensor.Quantize(d, x, block, importance[at:at+block], made)
		for r := range rows {
			row := w[r*cols : (r+1)*cols]
			b := made[r*blockBytes : (r+1)*blockBytes]
			g.read(d, b)
			for i := range block {
				j := at + i
				c, q := g.nearest(i, row[j])
				g.set(b, i, c)
				line := u[j*cols : (j+1)*cols]
				errs[i] = (row[j] - q) / line[j]
				axpy(row[j+1:at+block], line[j+1:at+block], -errs[i])
			}
			copy(out[r*rowBytes+at/block*blockBytes:], b)
			for i := 0; i < block; i += 4 {
				j := at + i
				tail := func(k int) []float32 { return u[(j+k)*cols+at+block : (j+k+1)*cols] }
				axpy4(row[at+block:], tail(0), tail(1), tail(2), tail(3), -errs[i], -errs[i+1], -errs[i+2], -errs[i+3])
			}
		}
	}
}

// axpy adds a·x to y.
func axpy(y, x []float32, a float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] += a * x[i]
	}
}

// axpy4 adds a·w + b·x + c·y + d·z to out.
func axpy4(out, w, x, y, z []float32, a, b, c, d float32) {
	w, x, y, z = w[:len(out)], x[:len(out)], y[:len(out)], z[:len(out)]
	for i := range out {
		out[i] += a*w[i] + b*x[i] + c*y[i] + d*z[i]
	}
}

// inverseFactor gives U with UᵀU = (H + damping)⁻¹, upper triangular (n, n). It overwrites h.
func inverseFactor(h []float64, n int) ([]float32, error) {
	mean := 0.0
	for i := range n {
		mean += h[i*n+i] / float64(n)
	}
	if !(mean > 0) || math.IsInf(mean, 0) {
		return nil, fmt.Errorf("the inputs of a layer are all 0, or not finite")
	}
	// H = VVᵀ with V upper triangular, whose inverse is U. V is the Cholesky factor of H with rows and
	// columns in reverse, reversed.
	l := make([]float64, n*n)
	for i := range n {
		for j := range n {
			l[i*n+j] = h[(n-1-i)*n+n-1-j]
		}
		if l[i*n+i] == 0 { // nothing ever comes here
			l[i*n+i] = mean
		}
		l[i*n+i] += damping * mean
	}
	if !cholesky(l, n) {
		return nil, fmt.Errorf("the inputs of a layer are too much alike to be told apart; give a longer text")
	}
	invert(l, n)
	u := make([]float32, n*n)
	for i := range n {
		for j := i; j < n; j++ {
			u[i*n+j] = float32(l[(n-1-i)*n+n-1-j])
		}
	}
	return u, nil
}

// cholesky replaces the lower triangle of a symmetric, positive definite a (n, n) by L with LLᵀ = a. False says that it is not definite.
func cholesky(a []float64, n int) bool {
	for i := range n {
		row := a[i*n : i*n+i+1]
		for j := range i {
			other := a[j*n : j*n+j+1]
			row[j] = (row[j] - dot(row[:j], other[:j])) / other[j]
		}
		d := row[i] - dot(row[:i], row[:i])
		if !(d > 0) {
			return false
		}
		row[i] = math.Sqrt(d)
	}
	return true
}

// invert replaces a lower triangular l (n, n) by its inverse.
func invert(l []float64, n int) {
	sum := make([]float64, n)
	for i := range n {
		row := l[i*n : i*n+i+1]
		clear(sum[:i])
		for k := range i {
			f, other := row[k], l[k*n:k*n+k+1]
			s := sum[:len(other)]
			for j, x := range other {
				s[j] += f * x
			}
		}
		d := 1 / row[i]
		for j := range i {
			row[j] = -sum[j] * d
		}
		row[i] = d
	}
}

func dot(a, b []float64) float64 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}
