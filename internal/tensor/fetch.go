package tensor

// Fetched are values on their way from a device to the host.
type Fetched struct {
	values [][]float32
	err    error
}

// Async reports whether programs of the device run beside the host: Run then
// returns before the outputs are there, and reading one waits for them.
func (d *Device) Async() bool { return false }

// Fetch copies the present values of weights and of outputs of programs that were
// run, in the order of the device's work: later runs do not change what arrives.
func (d *Device) Fetch(ts ...*Tensor) *Fetched {
	f := &Fetched{values: make([][]float32, len(ts))}
	for i, t := range ts {
		f.values[i] = t.Values()
	}
	return f
}

// Wait gives the values, one slice for each tensor fetched.
func (f *Fetched) Wait() ([][]float32, error) { return f.values, f.err }
