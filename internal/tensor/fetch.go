package tensor

import "github.com/litgpt-go/litgpt/internal/ggml"

// Async reports whether programs of the device run beside the host: [Program.Run]
// then returns before the outputs are there, and reading one waits for them.
func (d *Device) Async() bool { return d.b.Async() }

// Wait blocks until the device has done everything asked of it, and reports what failed.
func (d *Device) Wait() error {
	if d.group == nil {
		return d.b.Wait()
	}
	for _, m := range d.group.members {
		if err := m.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// Fetched are values on their way from a device to the host.
type Fetched struct {
	values [][]float32
	queued []*ggml.Fetch // in the order of the values; nil when those are there
}

// Fetch copies the present F32 values of weights and of outputs of programs that
// were run, in the order of the device's work: later runs do not change what arrives.
func (d *Device) Fetch(ts ...*Tensor) *Fetched {
	f := &Fetched{values: make([][]float32, len(ts))}
	var nodes []ggml.Tensor // of one device
	var on *ggml.Backend
	queue := func(b *ggml.Backend, n ggml.Tensor) {
		if on != nil && on != b {
			f.queued, nodes = append(f.queued, on.Fetch(nodes)), nil
		}
		on, nodes = b, append(nodes, n)
	}
	for i, t := range ts {
		wantFloats(t.Op, t)
		f.values[i] = make([]float32, t.Numel())
		switch {
		case !d.Async():
			t.Read(f.values[i])
		case t.IsWeight() && t.store != nil:
			queue(t.store.dev.b, t.store.t)
		case t.prog != nil && !t.prog.lowered[t].Nil():
			queue(t.prog.dev.b, t.prog.lowered[t])
		default:
			fail(t.Op, "not a weight with storage, nor an output of a program that was run")
		}
	}
	if on != nil {
		f.queued = append(f.queued, on.Fetch(nodes))
	}
	return f
}

// Wait gives the values, one slice for each tensor fetched, once they are there.
func (f *Fetched) Wait() ([][]float32, error) {
	var data []byte
	var failed error
	for _, q := range f.queued {
		part, err := q.Wait()
		data = append(data, part...)
		if failed == nil {
			failed = err
		}
	}
	if f.queued != nil {
		for _, v := range f.values {
			data = data[copy(asBytes(v), data):]
		}
		f.queued = nil
	}
	return f.values, failed
}
