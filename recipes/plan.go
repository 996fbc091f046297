package recipes

import (
	"fmt"
	"io"
	"strings"

	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// Planned is the setting of the commands that say what memory they will take.
type Planned struct {
	Plan bool `yaml:"plan" help:"print what memory the run will take, and end"`
}

// memory is what a run takes of its device at most. It is found by preparing the
// run on the device's planning twin, so it is what the allocator will ask for.
type memory struct {
	uses []tensor.Use
	work string // the largest piece, e.g. "micro-batches of 4 × 512 tokens"
}

// option is a way to change the settings, and what the run would take then.
type option struct {
	flags string
	uses  func() ([]tensor.Use, error)
}

// alternatives are looked at when a run does not fit. Of each list the first that
// fits is named; together is only looked at when none of the others fits.
type alternatives struct {
	each     [][]option
	together []option
}

// memoryError reports a run that needs more memory than there is.
type memoryError struct {
	memory
	device      string
	free, total int
	fitting     []string // settings that would fit, with what they take
}

func (e *memoryError) Error() string {
	var parts []string
	for _, u := range e.uses {
		if u.Bytes > 0 {
			parts = append(parts, u.Label+" "+size(u.Bytes))
		}
	}
	all, _ := tensor.Total(e.uses)
	return fmt.Sprintf("this run takes %s on %s (%s), where %s of %s are free", size(all), e.device, strings.Join(parts, ", "), size(e.free), size(e.total))
}

// Advice names the settings that would fit.
func (e *memoryError) Advice() string {
	if len(e.fitting) == 0 {
		return "no change of the settings that was tried makes it fit; a smaller model would, or a machine with more memory"
	}
	return "this would fit: " + strings.Join(e.fitting, "; or ")
}

// check is an error when m is more than the free bytes of a device. total 0 means
// that nobody knows, and then there is none.
func (m memory) check(device string, free, total int, a alternatives) error {
	if all, _ := tensor.Total(m.uses); total == 0 || all <= free {
		return nil
	}
	e := &memoryError{memory: m, device: device, free: free, total: total}
	for _, list := range a.each {
		e.first(list)
	}
	if len(e.fitting) == 0 {
		e.first(a.together)
	}
	return e
}

// first adds the first option that fits.
func (e *memoryError) first(list []option) {
	for _, o := range list {
		if uses, err := o.uses(); err == nil {
			if all, _ := tensor.Total(uses); all <= e.free {
				e.fitting = append(e.fitting, fmt.Sprintf("%s (%s)", o.flags, size(all)))
				return
			}
		}
	}
}

// write prints m as a table.
func (m memory) write(w io.Writer, device string, free, total int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s\n\n", m.work, device)
	row := func(label string, bytes int, more string) {
		fmt.Fprintf(&b, "%-16s %12s%s\n", label, size(bytes), more)
	}
	for _, u := range m.uses {
		if u.Bytes > 0 {
			row(u.Label, u.Bytes, "")
		}
	}
	all, mapped := tensor.Total(m.uses)
	row("total", all, "")
	b.WriteByte('\n')
	if mapped > 0 {
		row("mapped", mapped, "  of weights used where their files are mapped; page cache, not counted")
	}
	if total > 0 {
		row("free", free, "  of "+size(total))
		switch {
		case all > free:
			b.WriteString("does not fit\n")
		case all+mapped > free:
			b.WriteString("fits, but the mapped weights will be read from disk again and again\n")
		default:
			b.WriteString("fits\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// decide prints the plan if that is wanted, and is an error when the run does not
// fit; done says that there is nothing more to do.
func (p Planned) decide(w io.Writer, dev *tensor.Device, m memory, a alternatives) (done bool, err error) {
	free, total := dev.Memory()
	name := dev.Name
	if len(dev.Members()) > 1 {
		name = "the fullest of " + name
	}
	if p.Plan {
		if err := m.write(w, name, free, total); err != nil {
			return true, err
		}
	}
	err = m.check(name, free, total, a)
	return p.Plan || err != nil, err
}

// size writes bytes for people.
func size(n int) string {
	for _, u := range []struct {
		name  string
		shift int
	}{{"TiB", 40}, {"GiB", 30}} {
		if n >= 1<<u.shift {
			return fmt.Sprintf("%.2f %s", float64(n)/float64(int(1)<<u.shift), u.name)
		}
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// twin is the same checkpoint with a model that has no memory yet.
func (l *loaded) twin() (*loaded, error) {
	t := *l
	var err error
	t.Model, err = models.New(l.config)
	return &t, err
}

// halves are n/2, n/4 … down to low at least, each a power of two; the first is not above most.
func halves(n, most, low int) (out []int) {
	p := 1
	for 2*p < n {
		p *= 2
	}
	for ; p >= low; p /= 2 {
		if p < n && (p <= most || p/2 < low) {
			out = append(out, p)
		}
	}
	return out
}
