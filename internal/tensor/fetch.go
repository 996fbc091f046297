package tensor

import "github.com/litgpt-go/litgpt/internal/ggml"

// Async reports whether programs of the device run beside the host: [Program.Run]
// then returns before the outputs are there, and reading one waits for them.
func (d *Device) Async() bool { return d.b.Async() }

// Wait blocks until the device has done everything asked of it, and reports what failed.
func (d *Device) Wait() error { return d.b.Wait() }

// Fetched are values on their way from a device to the host.
type Fetched struct {
	values [][]float32
	queued *ggml.Fetch // nil when the values are there
}

// Fetch copies the present F32 values of weights and of outputs of programs that
// were run, in the order of the device's work: later runs do not change what arrives.
func (d *Device) Fetch(ts ...*Tensor) *Fetched {
	f := &Fetched{values: make([][]float32, len(ts))}
	nodes := make([]ggml.Tensor, len(ts))
	for i, t := range ts {
		wantFloats(t.Op, t)
		f.values[i] = make([]float32, t.Numel())
		switch {
		case !d.Async():
			t.Read(f.values[i])
		case t.IsWeight() && t.store != nil:
			nodes[i] = t.store.t
		case t.prog != nil && !t.prog.lowered[t].Nil():
			nodes[i] = t.prog.lowered[t]
		default:
			fail(t.Op, "not a weight with storage, nor an output of a program that was run")
		}
	}
	if d.Async() && len(ts) > 0 {
		f.queued = d.b.Fetch(nodes)
	}
	return f
}

// Wait gives the values, one slice for each tensor fetched, once they are there.
func (f *Fetched) Wait() ([][]float32, error) {
	if f.queued == nil {
		return f.values, nil
	}
	data, err := f.queued.Wait()
	f.queued = nil
	for _, v := range f.values {
		data = data[copy(asBytes(v), data):]
	}
	return f.values, err
}
