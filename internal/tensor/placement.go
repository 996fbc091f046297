package tensor

import (
	"cmp"
	"slices"
)

// OpPlace says what computes an operation on each kind of device.
type OpPlace struct {
	Op   string `json:"op"`
	CPU  string `json:"cpu"`
	CUDA string `json:"cuda"`
}

// What computes an operation.
const (
	byView   = "no work, a view"
	byGGML   = "GGML"
	byCUDA   = "ggml-cuda"
	byKernel = "our kernel"
	byBLAS   = "cuBLAS"
	byTable  = "ggml-cuda, of quantized weights our kernel"
	byRows   = "our kernel up to 8 rows, then cuBLAS"
)

// views make no node that computes; native are GGML's own on every device; all others are our kernels, but on a GPU those in onGPU.
var (
	views  = []Op{OpReshape, OpPart}
	native = []Op{OpAdd, OpMul, OpScale, OpSoftmax, OpPermute, OpRows, OpSetRows}
	onGPU  = map[Op]string{OpRows: byTable, OpMatMulT: byRows, OpMatMul: byBLAS, OpTMatMul: byBLAS}
)

// Placement lists what computes each operation.
func Placement() (all []OpPlace) {
	for _, op := range Ops()[1:] {
		p := OpPlace{op.String(), byKernel, byKernel}
		switch {
		case slices.Contains(views, op):
			p.CPU, p.CUDA = byView, byView
		case slices.Contains(native, op):
			p.CPU, p.CUDA = byGGML, byCUDA
		}
		p.CUDA = cmp.Or(onGPU[op], p.CUDA)
		all = append(all, p)
	}
	return all
}
