// Package progress shows how far long work is: on a terminal a bar that is
// redrawn in place, elsewhere (a log file, a pipe) a line now and then.
//
//	bar := progress.New(os.Stderr, progress.IsTerminal(os.Stderr), total, "pretrain", "steps")
//	defer bar.Done()
//	for … { bar.Add(1); bar.Describe("loss 2.31 lr 2e-4") }
//
// draws
//
//	12% |███                     | pretrain 120/1000 steps, 3.2 steps/s, 4m35s left, loss 2.31 lr 2e-4
//
// Results do not belong here: the writer is stderr.
package progress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	redraw  = 100 * time.Millisecond // a bar is redrawn at most this often
	perLine = 10 * time.Second       // a line is written at most this often
	window  = 30 * time.Second       // rate and time left are of the last this much work
	barSize = 24                     // letters
)

// Bar is the progress of one piece of work. Its methods may be called from
// several goroutines, and do nothing on a nil *Bar. Errors of the writer are
// ignored: work does not fail because nobody watches.
type Bar struct {
	mu       sync.Mutex
	w        io.Writer
	now      func() time.Time
	columns  func() int               // width of the terminal, 0 for unknown
	bar      *progressbar.ProgressBar // nil when writing lines
	drawn    int64                    // of n, what bar has been told
	label    string
	unit     string
	note     string // from Describe
	n, total int64  // total 0: unknown
	skipped  int64  // of n, what was done before this run
	start    time.Time
	shown    time.Time // last redraw or line
	samples  []sample
	partial  []byte // an unfinished line from Writer
	done     bool
}

// sample is the count at a time.
type sample struct {
	at time.Time
	n  int64
}

// New starts progress of total units on w; total 0 or less is not known. label
// says what is done, unit (plural) what is counted; unit "B" counts bytes and
// shows kB, MB and so on. terminal says whether w can redraw a line.
func New(w io.Writer, terminal bool, total int64, label, unit string) *Bar {
	return NewWithClock(time.Now, w, terminal, total, label, unit)
}

// NewWithClock is New with a clock, for tests.
func NewWithClock(now func() time.Time, w io.Writer, terminal bool, total int64, label, unit string) *Bar {
	b := &Bar{
		w: w, now: now, total: max(total, 0), label: label, unit: unit,
		columns: func() int { return columns(w) },
		start:   now(),
	}
	b.samples = []sample{{b.start, 0}}
	b.shown = b.start
	if terminal {
		length := b.total
		if length == 0 {
			length = -1 // a spinner
		}
		b.bar = progressbar.NewOptions64(length,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetWidth(barSize),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionShowDescriptionAtLineEnd(),
			// Count, rate and time left are in the description: the text is
			// that of the plain lines, and its clock is ours.
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: " ", BarStart: "|", BarEnd: "|"}),
		)
		b.draw(b.status())
	}
	return b
}

// IsTerminal reports whether w is a terminal that can redraw a line.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// Add counts n more units as done.
func (b *Bar) Add(n int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n += n
	b.update()
}

// Skip counts n units that were done before, by a run that is resumed or a
// download that is continued: they are progress, but not speed.
func (b *Bar) Skip(n int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n += n
	b.skipped += n
	for i := range b.samples {
		b.samples[i].n += n
	}
	b.update()
}

// Describe sets the text beside the count: "loss 2.31 lr 2e-4".
func (b *Bar) Describe(s string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note = strings.Join(strings.Fields(s), " ")
	b.update()
}

// Done ends the bar, complete or not, and leaves a line that says how much was
// done in what time. What comes after it is written as plain lines.
func (b *Bar) Done() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done {
		return
	}
	b.flush()
	b.done = true
	if b.bar == nil {
		fmt.Fprintln(b.w, b.summary())
		return
	}
	b.draw(b.summary())
	fmt.Fprintln(b.w)
}

// Printf writes a line above the bar; a line break at its end is added.
func (b *Bar) Printf(format string, a ...any) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
	b.above([]byte(strings.TrimSuffix(fmt.Sprintf(format, a...), "\n") + "\n"))
}

// Writer returns a writer whose lines go above the bar, for a slog.Handler.
// What does not end in a line break waits for the rest of its line, or Done.
func (b *Bar) Writer() io.Writer {
	if b == nil {
		return io.Discard
	}
	return lineWriter{b}
}

type lineWriter struct{ b *Bar }

func (w lineWriter) Write(p []byte) (int, error) {
	b := w.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.partial = append(b.partial, p...)
	if end := bytes.LastIndexByte(b.partial, '\n') + 1; end > 0 {
		b.above(b.partial[:end])
		b.partial = append([]byte(nil), b.partial[end:]...)
	}
	if b.done {
		b.flush()
	}
	return len(p), nil
}

// flush writes an unfinished line.
func (b *Bar) flush() {
	if len(b.partial) > 0 {
		b.above(append(b.partial, '\n'))
		b.partial = nil
	}
}

// above writes whole lines where the bar is, and the bar below them again.
func (b *Bar) above(lines []byte) {
	if b.bar == nil || b.done {
		b.w.Write(lines)
		return
	}
	// One write, so that no other writer of the terminal comes between.
	b.w.Write([]byte("\r\033[2K" + string(lines) + b.bar.String()))
}

// update redraws the bar or writes a line, if it is time.
func (b *Bar) update() {
	if b.done {
		return
	}
	now := b.now()
	if now.Sub(b.samples[len(b.samples)-1].at) >= time.Second {
		b.samples = append(b.samples, sample{now, b.n})
		for len(b.samples) > 2 && now.Sub(b.samples[1].at) >= window {
			b.samples = b.samples[1:]
		}
	}
	every := perLine
	if b.bar != nil {
		every = redraw
	}
	if now.Sub(b.shown) < every {
		return
	}
	b.shown = now
	if b.bar == nil {
		fmt.Fprintln(b.w, b.status())
	} else {
		b.draw(b.status())
	}
}

// draw redraws the bar with text beside it.
func (b *Bar) draw(text string) {
	if width := b.columns(); width > 0 {
		// A line that wraps cannot be redrawn. The bar gives way to the text
		// until only its frame is left: percent, two bars and spaces are 12.
		if r := []rune(text); len(r) > max(width-12, 0) {
			text = string(r[:max(width-12, 0)])
		}
	}
	b.bar.Describe(text)
	if b.total == 0 {
		b.bar.Add64(0)
		return
	}
	if b.n > b.total { // more work than was announced
		b.total = b.n
		b.bar.ChangeMax64(b.total)
	}
	// The library takes no more text once its count is complete, so the last
	// unit waits for Done.
	upTo := b.n
	if !b.done {
		upTo = min(upTo, b.total-1)
	}
	b.bar.Add64(upTo - b.drawn)
	b.drawn = max(b.drawn, upTo)
}
