package progress

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.Unix(1e9, 0)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) forward(seconds float64) { c.t = c.t.Add(time.Duration(seconds * 1e9)) }
func lines(b *bytes.Buffer) (lines []string) {
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

var ansi = regexp.MustCompile(`^\x1b\[[0-9]*[A-Za-z]`)

// screen is what a terminal shows after text: it knows \r, \n and the codes
// that clear a line, which is all that a bar may use.
func screen(t *testing.T, text string) []string {
	t.Helper()
	rows, col := [][]rune{nil}, 0
	for len(text) > 0 {
		row := &rows[len(rows)-1]
		if code := ansi.FindString(text); code != "" {
			switch code {
			case "\x1b[2K":
				*row = []rune(strings.Repeat(" ", col))
			case "\x1b[0K":
				*row = (*row)[:min(col, len(*row))]
			default:
				t.Fatalf("unexpected code %q", code)
			}
			text = text[len(code):]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch r {
		case '\r':
			col = 0
		case '\n':
			rows, col = append(rows, nil), 0
		default:
			for len(*row) <= col {
				*row = append(*row, ' ')
			}
			(*row)[col] = r
			col++
		}
	}
	var out []string
	for _, row := range rows {
		out = append(out, strings.TrimRight(string(row), " "))
	}
	return out
}

func check(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	b := NewWithClock(c.now, &out, false, 1000, "pretrain", "steps")
	for i := range 65 { // 5 steps a second
		c.forward(1)
		b.Describe(fmt.Sprintf("loss %d", i))
		b.Add(5)
	}
	b.Printf("saved %s", "step-000325")
	c.forward(1.5)
	b.Done()
	b.Done()
	b.Add(1) // after the end nothing is counted or written
	check(t, lines(&out),
		// Describe of a second may come before its Add.
		"pretrain 45/1000 steps (4%), 4.5 steps/s, 3m32s left, loss 9",
		"pretrain 95/1000 steps (9%), 4.75 steps/s, 3m11s left, loss 19",
		"pretrain 145/1000 steps (14%), 4.83 steps/s, 2m57s left, loss 29",
		"pretrain 195/1000 steps (19%), 5 steps/s, 2m41s left, loss 39",
		"pretrain 245/1000 steps (24%), 5 steps/s, 2m31s left, loss 49",
		"pretrain 295/1000 steps (29%), 5 steps/s, 2m21s left, loss 59",
		"saved step-000325",
		"pretrain 325/1000 steps (32%) in 1m7s, 4.89 steps/s, loss 64",
	)
}

func TestLinesOfBytes(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	b := NewWithClock(c.now, &out, false, 2_000_000_000, "model.safetensors", "B")
	b.Skip(1_000_000_000) // downloaded earlier: progress, but not speed
	c.forward(10)
	b.Add(25_000_000)
	c.forward(5)
	b.Done()
	check(t, lines(&out),
		"model.safetensors 1.02 GB/2 GB (51%), 2.5 MB/s, 6m30s left",
		"model.safetensors 1.02 GB/2 GB (51%) in 15s, 1.67 MB/s",
	)
}

func TestUnknownTotal(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	b := NewWithClock(c.now, &out, false, 0, "read", "documents")
	c.forward(20)
	b.Add(2)
	c.forward(7180)
	b.Done()
	check(t, lines(&out), "read 2 documents, 6 documents/min", "read 2 documents in 2h0m, 1 documents/h")
}

// The rate is that of the last half minute, not of a slow start.
func TestRateFollows(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	b := NewWithClock(c.now, &out, false, 100000, "", "steps")
	c.forward(300)
	b.Add(1)
	out.Reset()
	for range 60 {
		c.forward(1)
		b.Add(10)
	}
	all := lines(&out)
	if got, want := all[len(all)-1], "601/100000 steps (0%), 10 steps/s, 2h46m left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	b := NewWithClock(c.now, &out, true, 200, "pretrain", "steps")
	check(t, screen(t, out.String()), "   0% |                        |  pretrain 0/200 steps")

	c.forward(1)
	b.Add(99)
	c.forward(1)
	b.Describe("loss 2.31")
	b.Add(1) // too soon to be drawn
	check(t, screen(t, out.String()), "  49% |███████████             |  pretrain 99/200 steps, 49.5 steps/s, 2.0s left, loss 2.31")

	// Lines go above the bar, which is drawn again below them.
	b.Printf("saved %d", 1)
	log := slog.New(slog.NewTextHandler(b.Writer(), &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	log.Info("eval", "loss", 2.5)
	io.WriteString(b.Writer(), "half ")
	b.Add(0)
	io.WriteString(b.Writer(), "a line\nunfinished")
	check(t, screen(t, out.String()),
		"saved 1",
		"level=INFO msg=eval loss=2.5",
		"half a line",
		"  49% |███████████             |  pretrain 99/200 steps, 49.5 steps/s, 2.0s left, loss 2.31")

	c.forward(8)
	b.Add(100) // complete, but not done
	b.Describe("saving")
	c.forward(1)
	b.Describe("saved")
	b.Done()
	b.Printf("after %d", 2)
	io.WriteString(b.Writer(), "unended")
	check(t, screen(t, out.String()),
		"saved 1",
		"level=INFO msg=eval loss=2.5",
		"half a line",
		"unfinished",
		" 100% |████████████████████████|  pretrain 200/200 steps in 11s, 18.2 steps/s, saved",
		"after 2",
		"unended", "")
}

func TestTerminalCases(t *testing.T) {
	for name, tt := range map[string]struct {
		total int64
		use   func(c *clock, b *Bar)
		want  string
	}{
		"interrupted":  {100, func(c *clock, b *Bar) { b.Add(25); c.forward(2) }, "  25% |██████                  |  w 25/100 t in 2.0s, 12.5 t/s"},
		"one":          {1, func(c *clock, b *Bar) { c.forward(1); b.Add(1) }, " 100% |████████████████████████|  w 1/1 t in 1.0s, 1 t/s"},
		"more":         {4, func(c *clock, b *Bar) { c.forward(1); b.Add(8); c.forward(1); b.Add(2) }, " 100% |████████████████████████|  w 10/10 t in 2.0s, 5 t/s"},
		"nothing":      {4, func(c *clock, b *Bar) {}, "   0% |                        |  w 0/4 t in 0.0s"},
		"unknown size": {0, func(c *clock, b *Bar) { c.forward(1); b.Add(3) }, "⠋  w 3 t in 1.0s, 3 t/s"},
		"resumed":      {8, func(c *clock, b *Bar) { b.Skip(4); c.forward(2); b.Add(4) }, " 100% |████████████████████████|  w 8/8 t in 2.0s, 2 t/s"},
		"line breaks":  {2, func(c *clock, b *Bar) { b.Describe("a\nb\r"); c.forward(1); b.Add(2) }, " 100% |████████████████████████|  w 2/2 t in 1.0s, 2 t/s, a b"},
	} {
		var out bytes.Buffer
		c := newClock()
		b := NewWithClock(c.now, &out, true, tt.total, "w", "t")
		tt.use(c, b)
		b.Done()
		rows := screen(t, out.String())
		got := rows[0]
		if tt.total == 0 { // whichever of its pictures the spinner shows
			got = "⠋" + string([]rune(got)[1:])
		}
		if len(rows) != 2 || rows[1] != "" || got != tt.want {
			t.Errorf("%s: got %q, want %q", name, rows, tt.want)
		}
	}
}

// A line never wraps: what has wrapped cannot be redrawn.
func TestNarrowTerminal(t *testing.T) {
	for _, width := range []int{1, 12, 20, 40, 79} {
		var out bytes.Buffer
		c := newClock()
		b := NewWithClock(c.now, &out, true, 1000, "pretrain", "steps")
		b.columns = func() int { return width }
		out.Reset()
		c.forward(1)
		b.Describe(strings.Repeat("much to say ", 20))
		// The library narrows the bar on a real terminal only; here it keeps
		// its 24 letters, so count the text alone.
		row := screen(t, out.String())[0]
		text := strings.TrimSpace(row[strings.LastIndex(row, "|")+1:])
		if n := len([]rune(text)); n > max(width-12, 0) {
			t.Errorf("width %d: got %d letters of text, want at most %d", width, n, max(width-12, 0))
		}
	}
}

// A bar is redrawn ten times a second, however often it is told something.
func TestRedraw(t *testing.T) {
	writes := 0
	c := newClock()
	b := NewWithClock(c.now, writer(func([]byte) { writes++ }), true, 1e6, "", "steps")
	for range 10000 { // ten seconds
		c.forward(0.001)
		b.Describe("x")
		b.Add(1)
	}
	if writes < 100 || writes > 250 {
		t.Errorf("got %d writes in 10 s, want 100 redraws of one or two", writes)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

// A nil bar takes everything and shows nothing.
func TestNil(t *testing.T) {
	var b *Bar
	b.Add(1)
	b.Skip(1)
	b.Describe("x")
	b.Printf("x")
	b.Done()
	if n, err := io.WriteString(b.Writer(), "abc"); n != 3 || err != nil {
		t.Errorf("got %d, %v, want 3 and no error", n, err)
	}
}

// Several goroutines may share a bar; lines stay whole.
func TestConcurrent(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out bytes.Buffer
		b := New(&out, terminal, 400, "w", "t")
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 100 {
					b.Add(1)
					b.Describe("x")
					b.Printf("line %d %d", i, j)
				}
			})
		}
		wg.Wait()
		b.Done()
		whole := 0
		for _, row := range screen(t, out.String()) {
			if regexp.MustCompile(`^line \d \d+$`).MatchString(row) {
				whole++
			}
		}
		if whole != 400 || !strings.Contains(out.String(), "400/400 t") {
			t.Errorf("terminal %t: got %d whole lines, want 400 and the sum, in %q", terminal, whole, out.String())
		}
	}
}

func TestIsTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if IsTerminal(w) || IsTerminal(new(bytes.Buffer)) {
		t.Error("a pipe or a buffer is taken for a terminal")
	}
	if p, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err == nil {
		defer p.Close()
		t.Setenv("TERM", "xterm")
		if !IsTerminal(p) {
			t.Error("a pseudo-terminal is not taken for a terminal")
		}
		t.Setenv("TERM", "dumb")
		if IsTerminal(p) {
			t.Error("TERM=dumb cannot redraw, but is taken for a terminal that can")
		}
	}
}

func TestText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0s", 9940 * time.Millisecond: "9.9s", 90 * time.Second: "1m30s", 3599 * time.Second: "59m59s", time.Hour: "1h0m", 50 * time.Hour: "50h0m",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v): got %s, want %s", d, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 999_400: "999 kB", 999_900: "1 MB", 1.5e9: "1.5 GB", 2.02e12: "2.02 TB", 9e18: "9 EB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%v): got %s, want %s", n, got, want)
		}
	}
}
