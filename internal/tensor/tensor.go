// Package tensor is the graph the models are written in. An operation records a
// node; nothing is computed until the graph is compiled for a device
// ([Graph.Compile]) and the program is run.
//
// Shapes are row-major, outermost axis first, exactly as they appear in a
// safetensors header and in PyTorch: a linear weight is (out, in), the hidden
// states of N tokens are (N, C). GGML's order (fastest axis first) appears in
// lower.go only.
//
// Operations panic with an [*Error] when shapes or types do not fit: that is a
// bug in a model file or a config, never an input of the user. [Catch] turns the
// panic into an error at the boundary (one graph build, one recipe step). Every
// operand is checked here, before C sees it.
//
// A graph, its program and its device are used by one goroutine at a time.
package tensor

import (
	"fmt"
	"slices"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// DType is the type of a tensor's elements.
type DType uint8

// Element types. Everything computed is F32; weights may be stored in any type but I32, caches in Q8_0 as well as in floats.
// From Q4_0 on they are quantized: GGML's blocks of 32 or 256 elements with their scales.
const (
	F32 DType = iota
	F16
	BF16
	I32
	Q4_0
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	IQ1_S
	IQ1_M
	IQ2_XXS
	IQ2_XS
	IQ2_S
	IQ3_XXS
	IQ3_S
	IQ4_NL
	IQ4_XS
	TQ1_0
	TQ2_0
	MXFP4
	numDTypes
)

// dtypes has what is not GGML's to say of a type.
var dtypes = [numDTypes]struct {
	name  string
	ggml  ggml.Type
	align int // of the first byte
}{
	F32: {"F32", ggml.F32, 4}, F16: {"F16", ggml.F16, 2}, BF16: {"BF16", ggml.BF16, 2}, I32: {"I32", ggml.I32, 4},
	Q4_0:    {"Q4_0", ggml.Q4_0, 2},
	Q4_1:    {"Q4_1", ggml.Q4_1, 2},
	Q5_0:    {"Q5_0", ggml.Q5_0, 2},
	Q5_1:    {"Q5_1", ggml.Q5_1, 2},
	Q8_0:    {"Q8_0", ggml.Q8_0, 2},
	Q2_K:    {"Q2_K", ggml.Q2_K, 2},
	Q3_K:    {"Q3_K", ggml.Q3_K, 2},
	Q4_K:    {"Q4_K", ggml.Q4_K, 2},
	Q5_K:    {"Q5_K", ggml.Q5_K, 2},
	Q6_K:    {"Q6_K", ggml.Q6_K, 2},
	IQ1_S:   {"IQ1_S", ggml.IQ1_S, 2},
	IQ1_M:   {"IQ1_M", ggml.IQ1_M, 2},
	IQ2_XXS: {"IQ2_XXS", ggml.IQ2_XXS, 2},
	IQ2_XS:  {"IQ2_XS", ggml.IQ2_XS, 2},
	IQ2_S:   {"IQ2_S", ggml.IQ2_S, 2},
	IQ3_XXS: {"IQ3_XXS", ggml.IQ3_XXS, 2},
	IQ3_S:   {"IQ3_S", ggml.IQ3_S, 2},
	IQ4_NL:  {"IQ4_NL", ggml.IQ4_NL, 2},
	IQ4_XS:  {"IQ4_XS", ggml.IQ4_XS, 2},
	TQ1_0:   {"TQ1_0", ggml.TQ1_0, 2},
	TQ2_0:   {"TQ2_0", ggml.TQ2_0, 2},
	MXFP4:   {"MXFP4", ggml.MXFP4, 1},
}

// blocks are the elements that each type stores together, and their bytes.
var blocks = func() (b [numDTypes]struct{ elements, bytes int }) {
	for d := range dtypes {
		b[d].elements, b[d].bytes = dtypes[d].ggml.Block(), dtypes[d].ggml.BlockBytes()
	}
	return b
}()

func (d DType) String() string { return dtypes[d].name }

// DTypeByName is the type that a file calls name ("BF16", "Q4_K").
func DTypeByName(name string) (DType, bool) {
	for d := range dtypes {
		if dtypes[d].name == name {
			return DType(d), true
		}
	}
	return 0, false
}

// Quantized reports whether d stores elements in blocks with common scales.
func (d DType) Quantized() bool { return d >= Q4_0 }

// NeedsImportance tells the quantized types that [Quantize] cannot make without importance.
func (d DType) NeedsImportance() bool { return dtypes[d].ggml.NeedsImportance() }

// Size is the number of bytes of one element, of types that are not stored in blocks.
func (d DType) Size() int {
	if d.Block() != 1 {
		fail(OpLeaf, "elements of %v have no size of their own", d)
	}
	return blocks[d].bytes
}

// Block is the number of elements that are stored together: 1 of floats and integers; the last axis of a tensor is a multiple of it.
func (d DType) Block() int { return blocks[d].elements }

// Bytes is the number of bytes of n elements, of whole blocks.
func (d DType) Bytes(n int) int { return n / blocks[d].elements * blocks[d].bytes }

// Op names an operation. The autograd rules and the lowering are tables by it.
type Op uint8

// The operations, with the method of [Tensor] that makes each.
const (
	OpLeaf             Op = iota // weight, input
	OpAdd                        // Add
	OpMul                        // Mul
	OpScale                      // Scale
	OpMatMulT                    // MatMulT: x·wᵀ
	OpMatMul                     // MatMul: x·w
	OpTMatMul                    // TMatMul: xᵀ·w
	OpRMSNorm                    // RMSNorm, RMSNormOffset
	OpRMSNormBack                // RMSNormBackward
	OpRMSNormBackW               // RMSNormBackwardWeight
	OpLayerNorm                  // LayerNorm
	OpLayerNormBack              // LayerNormBackward
	OpLayerNormBackW             // LayerNormBackwardWeight
	OpAct                        // Act
	OpActBack                    // ActBackward
	OpGate                       // Gate, SwiGLU
	OpGateBack                   // GateBackward
	OpSoftcap                    // Softcap
	OpSoftcapBack                // SoftcapBackward
	OpSoftmax                    // Softmax
	OpSoftmaxBack                // SoftmaxBackward
	OpRopeTable                  // Graph.RopeTable
	OpRoPE                       // RoPE, RoPEBackward
	OpReshape                    // Reshape
	OpPermute                    // Permute
	OpColumns                    // Columns
	OpColumnsBack                // ColumnsBackward
	OpRows                       // Rows
	OpRowsBack                   // RowsBackward
	OpZeros                      // Graph.Zeros
	OpSetRows                    // SetRows
	OpAttention                  // Attention
	OpAttentionBack              // AttentionBackward
	OpPagedAttention             // PagedAttention
	OpPart                       // Part
	OpCrossEntropy               // CrossEntropy
	OpCrossEntropyBack           // CrossEntropyBackward
	OpSumTo                      // SumTo
	OpDropout                    // Dropout
	OpAccumulate                 // Accumulate
	OpAdamW                      // AdamW
	OpSquareSum                  // SquareSum
	OpAddDot                     // AddDot
	OpClip                       // Clip
	OpTopK                       // TopK
	OpRoute                      // Route
	OpRouteWeights               // RouteWeights
	OpRouteWeightsBack           // RouteWeightsBackward
	OpGroup                      // Group
	OpGroupCounts                // GroupCounts
	OpExperts                    // Experts
	OpExpertsBack                // ExpertsBackward
	OpExpertsBackW               // ExpertsBackwardWeight
	OpCombine                    // Combine, SumChoices
	OpCombineBack                // CombineBackward
	OpCombineBackW               // CombineBackwardWeights
	OpGLU                        // GLU
	OpGLUBack                    // GLUBackward
	numOps
)

var opNames = [...]string{"leaf", "add", "mul", "scale", "matmul_t", "matmul", "t_matmul", "rms_norm", "rms_norm_back", "rms_norm_back_w",
	"layer_norm", "layer_norm_back", "layer_norm_back_w", "act", "act_back", "gate", "gate_back", "softcap", "softcap_back", "softmax", "softmax_back", "rope_table", "rope", "reshape", "permute", "columns", "columns_back", "rows", "rows_back",
	"zeros", "set_rows", "attention", "attention_back", "paged_attention", "part", "cross_entropy", "cross_entropy_back", "sum_to", "dropout", "accumulate", "adamw", "square_sum", "add_dot", "clip", "top_k",
	"route", "route_weights", "route_weights_back", "group", "group_counts", "experts", "experts_back", "experts_back_w",
	"combine", "combine_back", "combine_back_w", "glu", "glu_back"}

func (o Op) String() string { return opNames[o] }

// Ops lists every operation, so that tests can demand a rule for each.
func Ops() []Op {
	ops := make([]Op, numOps)
	for i := range ops {
		ops[i] = Op(i)
	}
	return ops
}

// Tensor is a node of a [Graph], an input of one, or a weight, which belongs to none.
type Tensor struct {
	Name      string // checkpoint name of a weight, for messages; empty for intermediates
	Op        Op
	Src       []*Tensor
	Attr      any  // parameters of Op, e.g. a [RoPE]
	Trainable bool // set by recipes on the weights the optimizer updates
	Boundary  bool // recomputation starts again from here, see [Tensor.Mark]

	shape []int
	dtype DType
	g     *Graph

	ids    []int32   // host value of an I32 input
	floats []float32 // host value of an F32 input
	store  *storage  // a weight's memory on its device
	prog   *Program  // the program that computed a node or holds an input

	imported bool // an input whose value comes from another device
}

// Graph is one computation, built once and compiled for a device.
type Graph struct {
	Training bool // dropout is on
	Exact    bool // products with quantized weights take activations as they are, else rounded to 8 bits where that is faster

	nodes  []*Tensor
	ropes  map[ropeKey]*Tensor
	shared map[any]*Tensor
	seed   *Tensor
}

// NewGraph returns an empty graph.
func NewGraph() *Graph { return &Graph{} }

// Error reports an operation whose operands do not fit.
type Error struct {
	Op  Op
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("tensor: %v: %s", e.Op, e.Msg) }

func fail(op Op, format string, a ...any) { panic(&Error{op, fmt.Sprintf(format, a...)}) }

// Catch converts a panic with an [*Error] into *err; any other panic continues.
func Catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	default:
		panic(r)
	}
}

// maxElements bounds a tensor, so that products of sizes cannot overflow.
const maxElements = 1 << 46

func checkShape(op Op, shape []int) []int {
	if len(shape) == 0 || len(shape) > 4 {
		fail(op, "shape %v: 1 to 4 axes wanted", shape)
	}
	n := 1
	for _, d := range shape {
		if d <= 0 || d > maxElements || n > maxElements/d {
			fail(op, "shape %v: sizes must be positive and their product below 2^46", shape)
		}
		n *= d
	}
	return slices.Clone(shape)
}

// Param declares a weight of the given shape; a loader or an initializer gives it storage ([Device.Alloc], [Device.Map]).
func Param(shape ...int) *Tensor { return &Tensor{Op: OpLeaf, shape: checkShape(OpLeaf, shape)} }

// Ints declares an input of integers (tokens, positions, targets); [Tensor.SetInts] gives it values before each run.
func (g *Graph) Ints(shape ...int) *Tensor {
	return &Tensor{Op: OpLeaf, g: g, dtype: I32, shape: checkShape(OpLeaf, shape)}
}

// Floats declares an input of floats; [Tensor.SetFloats] gives it values before each run.
func (g *Graph) Floats(shape ...int) *Tensor {
	return &Tensor{Op: OpLeaf, g: g, dtype: F32, shape: checkShape(OpLeaf, shape)}
}

// Seed is the graph's input (2) that decides its dropout masks; whoever runs the program sets it.
func (g *Graph) Seed() *Tensor {
	if g.seed == nil {
		g.seed = g.Ints(2)
	}
	return g.seed
}

// Shared gives the tensor that build makes, made once per graph and key: what
// several layers read. A key is compared by ==.
func (g *Graph) Shared(key any, build func() *Tensor) *Tensor {
	if g.shared[key] == nil {
		if g.shared == nil {
			g.shared = map[any]*Tensor{}
		}
		g.shared[key] = build()
	}
	return g.shared[key]
}

// Nodes returns the nodes in the order they were built, operands first.
func (g *Graph) Nodes() []*Tensor { return g.nodes }

// Graph is nil for a weight.
func (t *Tensor) Graph() *Graph { return t.g }

// Shape must not be changed by the caller.
func (t *Tensor) Shape() []int { return t.shape }

// DType is the element type; that of a weight is known once it has storage.
func (t *Tensor) DType() DType { return t.dtype }

// Dim is the size of axis i; negative i counts from the end.
func (t *Tensor) Dim(i int) int { return t.shape[(i+len(t.shape))%len(t.shape)] }

// Numel is the number of elements.
func (t *Tensor) Numel() int { return numel(t.shape) }

// IsInput reports whether t is an input of a graph.
func (t *Tensor) IsInput() bool { return t.Op == OpLeaf && t.g != nil }

// IsWeight reports whether t is a weight.
func (t *Tensor) IsWeight() bool { return t.Op == OpLeaf && t.g == nil }

// SetInts sets the values of an integer input; they are copied.
func (t *Tensor) SetInts(v []int32) *Tensor {
	if !t.IsInput() || t.dtype != I32 || len(v) != t.Numel() {
		fail(t.Op, "%d integers for an input of %v %v", len(v), t.dtype, t.shape)
	}
	t.ids = append(t.ids[:0], v...)
	return t
}

// SetFloats sets the values of a float input; they are copied.
func (t *Tensor) SetFloats(v []float32) *Tensor {
	if !t.IsInput() || t.dtype != F32 || len(v) != t.Numel() {
		fail(t.Op, "%d floats for an input of %v %v", len(v), t.dtype, t.shape)
	}
	t.floats = append(t.floats[:0], v...)
	return t
}

func numel(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Mark says that recomputation may start from t: autograd keeps marked nodes and
// computes what lies between two of them again in the backward pass, when asked to.
func (t *Tensor) Mark() *Tensor {
	t.Boundary = true
	return t
}

// node appends a node to the graph of its operands.
func node(op Op, attr any, shape []int, src ...*Tensor) *Tensor {
	t := &Tensor{Op: op, Attr: attr, Src: src, shape: checkShape(op, shape)}
	for _, s := range src {
		if s.g == nil {
			continue
		}
		if t.g != nil && t.g != s.g {
			fail(op, "operands belong to different graphs")
		}
		t.g = s.g
	}
	if t.g == nil {
		fail(op, "no operand belongs to a graph")
	}
	t.g.nodes = append(t.g.nodes, t)
	return t
}

// Clone appends a copy of the node t that reads src instead of its own operands.
func (t *Tensor) Clone(src []*Tensor) *Tensor {
	c := node(t.Op, t.Attr, t.shape, src...)
	c.dtype = t.dtype
	return c
}
