package tensor

import "slices"

// Plan returns a twin of the device that counts memory and takes none. Weights get
// a type on it, and programs their size, as they would on the device itself: the
// same code that prepares a run says on the twin what the run will take. Writing a
// weight there does nothing; reading one, and running a program, is an error. The
// device must outlive the twin.
func (d *Device) Plan() *Device {
	twin := *d
	twin.planning, twin.used = true, ledger{}
	if d.group != nil {
		members := make([]*Device, len(d.group.members))
		for i, m := range d.group.members {
			members[i] = m.Plan()
		}
		return newGroup(members, d.group.layers)
	}
	return &twin
}

// Members are the devices that d is made of, or d alone.
func (d *Device) Members() []*Device {
	if d.group != nil {
		return d.group.members
	}
	return []*Device{d}
}

// Planning reports whether the device only counts memory.
func (d *Device) Planning() bool { return d.planning || d.group != nil && d.group.members[0].planning }

// Use is the memory that one kind of things takes on a device, in bytes.
type Use struct {
	Label  string // what [Device.Label] said, or Activations
	Bytes  int    // allocated, as they are asked for: rounded up to the device's buffers
	Mapped int    // used in place from a file: page cache, not allocated
}

// Activations is the label of what programs need: inputs, intermediates and outputs.
const Activations = "activations"

// Label says what the weights are that get memory from now on, e.g. "KV cache".
func (d *Device) Label(what string) {
	for _, m := range d.Members() {
		m.used.label = what
	}
}

// Usage is the memory in use now, by label, in the order in which the labels came
// up; of several devices, that of the one that holds most.
func (d *Device) Usage() []Use {
	return d.fullest(func(l *ledger) []Use { return l.now })
}

// Peak is the memory that was in use when most was allocated.
func (d *Device) Peak() []Use { return d.fullest(func(l *ledger) []Use { return l.peak }) }

func (d *Device) fullest(of func(l *ledger) []Use) (out []Use) {
	most := -1
	for _, m := range d.Members() {
		if n, _ := Total(of(&m.used)); n > most {
			most, out = n, slices.Clone(of(&m.used))
		}
	}
	return out
}

// Total adds up what is allocated, and what is mapped.
func Total(uses []Use) (bytes, mapped int) {
	for _, u := range uses {
		bytes, mapped = bytes+u.Bytes, mapped+u.Mapped
	}
	return bytes, mapped
}

// ledger counts the memory of a device. The zero value has counted nothing.
type ledger struct {
	label     string // of what is allocated next
	now, peak []Use
	total     int // allocated now
	most      int // allocated at the peak
}

// add counts u, under the present label if it has none, and returns it for remove.
func (l *ledger) add(u Use) Use {
	if u.Label == "" {
		u.Label = l.label
	}
	if u.Label == "" {
		u.Label = "weights"
	}
	i := slices.IndexFunc(l.now, func(o Use) bool { return o.Label == u.Label })
	if i < 0 {
		i = len(l.now)
		l.now = append(l.now, Use{Label: u.Label})
	}
	l.now[i].Bytes += u.Bytes
	l.now[i].Mapped += u.Mapped
	if l.total += u.Bytes; l.total >= l.most {
		l.most, l.peak = l.total, append(l.peak[:0], l.now...)
	}
	return u
}

// remove takes back what add returned.
func (l *ledger) remove(u Use) {
	if i := slices.IndexFunc(l.now, func(o Use) bool { return o.Label == u.Label }); i >= 0 {
		l.now[i].Bytes -= u.Bytes
		l.now[i].Mapped -= u.Mapped
		l.total -= u.Bytes
	}
}

// bufferSize is what a buffer for a tensor of n bytes takes. Kernels may read a
// whole vector at its end.
func (d *Device) bufferSize(n int) int {
	a := d.b.Alignment()
	return (n + 64 + a - 1) / a * a
}
