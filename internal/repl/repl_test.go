package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/text/width"
)

// fake is a model in memory.
type fake func(ctx context.Context, conversation []Turn, emit func(string) error) (Answer, error)

func (f fake) Reply(ctx context.Context, conversation []Turn, emit func(string) error) (Answer, error) {
	return f(ctx, conversation, emit)
}

// echo says the whole conversation: [user:hi], [system:S user:hi assistant:[...] user:ho]. Words of the last turn make it do
// other things.
func echo(ctx context.Context, conversation []Turn, emit func(string) error) (Answer, error) {
	last := conversation[len(conversation)-1].Content
	a := Answer{Duration: 500 * time.Millisecond}
	say := func(text string) error { a.Tokens++; return emit(text) }
	switch last {
	case "slow": // until stopped
		_ = say("begun ")
		<-ctx.Done()
		a.Stopped = true
		return a, nil
	case "slow as an error":
		_ = say("begun ")
		<-ctx.Done()
		return a, fmt.Errorf("step 7: %w", ctx.Err())
	case "silent":
		<-ctx.Done()
		return Answer{Stopped: true}, nil
	case "stuck":
		_ = say("begun ")
		select {}
	case "fail":
		_ = say("half an an")
		return a, errors.New("the conversation has 9 tokens, the context 8")
	case "full":
		return a, fmt.Errorf("asked: %w", &FullError{Tokens: 9, Context: 8})
	case "half":
		for _, piece := range []string{"é\xf0\x9f", "\xa6\x99 \xe7\x8c", "x\xc3"} { // a broken tokenizer's
			_ = say(piece)
		}
		return a, nil
	case "fills":
		return Answer{Tokens: 3, PromptTokens: 5, CachedTokens: 4, Truncated: true, Full: true}, say("all there is")
	case "evil":
		return a, say("\x1b]0;title\x07ok\u009b2J\r\n\tend\x7f")
	case "poem":
		return Answer{Tokens: 3, PromptTokens: 5, Truncated: true}, say("roses\nare réd 🌹")
	case "panic":
		panic("index out of range")
	}
	var words []string
	for _, turn := range conversation {
		words = append(words, turn.Role+":"+turn.Content)
	}
	for _, piece := range strings.SplitAfter("["+strings.Join(words, " ")+"]", " ") {
		if err := say(piece); err != nil {
			return a, err
		}
	}
	return a, nil
}

// record is an output that can be waited for.
type record struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newRecord() *record { return &record{changed: make(chan struct{}, 1)} }

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.text.Write(p)
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// await waits until the output contains text behind from, and returns where that ends.
func (r *record) await(tb testing.TB, from int, text string) int {
	tb.Helper()
	late := time.After(20 * time.Second)
	for {
		now := r.String()
		if i := strings.Index(now[from:], text); i >= 0 {
			return from + i + len(text)
		}
		select {
		case <-r.changed:
		case <-late:
			tb.Fatalf("no %q in the output; since the last step there is %q", text, now[from:])
		}
	}
}

// step waits for an output and then types.
type step struct{ await, keys string }

const asks = ">> Prompt: "

// chat runs a session in raw mode in which every step is typed when its output has come. When all is typed the input
// stays open if open, and ends otherwise.
func chat(t *testing.T, m Model, o Options, steps []step) (out string, err error) {
	t.Helper()
	in, typist := io.Pipe()
	screen := newRecord()
	restored := 0
	o.In, o.Out, o.Err, o.Terminal = in, screen, screen, true
	o.RawMode = func() (func() error, error) { return func() error { restored++; return nil }, nil }
	o.Now = clock()
	if o.ModelName == "" {
		o.ModelName = "Fake-1B"
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { done <- Run(ctx, m, o) }()
	at := 0
	for _, s := range steps {
		at = screen.await(t, at, s.await)
		if s.keys == "CANCEL" {
			cancel()
		} else if _, err := io.WriteString(typist, s.keys); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err = <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("the session does not end; it wrote %q", screen)
	}
	typist.Close()
	if restored != 1 {
		t.Errorf("terminal restored %d times, want once", restored)
	}
	if text := screen.String(); !strings.Contains(text, "\x1b[?2004h") || !strings.HasSuffix(text, "\x1b[?2004l") {
		t.Errorf("bracketed paste is not switched on and off again in %q", text)
	}
	return screen.String(), err
}

// clock goes on by 1.25 seconds at every look.
func clock() func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time { now = now.Add(1250 * time.Millisecond); return now }
}

// emulate shows output on a terminal 80 columns wide and returns its lines, without spaces at their ends.
func emulate(tb testing.TB, output string) string {
	const columns = 80
	cells := [][]string{{}}
	x, y := 0, 0
	put := func(text string) {
		if x >= columns {
			x, y = 0, y+1
		}
		for len(cells) <= y {
			cells = append(cells, nil)
		}
		for len(cells[y]) <= x {
			cells[y] = append(cells[y], " ")
		}
		cells[y][x] = text
		x++
	}
	runes := []rune(output)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '\r':
			x = 0
		case r == '\n':
			y++
		case r == '\t':
			put(" ")
		case r == 0x1b:
			var private bool
			var n int
			for i++; i < len(runes); i++ {
				c := runes[i]
				if c >= '0' && c <= '9' {
					n = 10*n + int(c-'0')
				} else if c == '?' {
					private = true
				} else if c != '[' {
					break
				}
			}
			if private {
				continue
			}
			switch runes[i] {
			case 'A':
				y = max(0, y-max(n, 1))
			case 'B':
				y += max(n, 1)
			case 'C':
				x = min(columns-1, x+max(n, 1))
			case 'D':
				x = max(0, min(x, columns-1)-max(n, 1))
			case 'K':
				if y < len(cells) && x < len(cells[y]) {
					cells[y] = cells[y][:x]
				}
			case 'm': // styles
			default:
				tb.Errorf("unknown escape sequence ending in %q in %q", runes[i], output)
			}
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x10ff00:
			tb.Errorf("control character %q in %q", r, output)
		default:
			put(string(r))
			if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
				put("")
			}
		}
	}
	var lines []string
	for _, row := range cells {
		lines = append(lines, strings.TrimRight(strings.Join(row, ""), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

const greeting = `Now chatting with Fake-1B.
To exit, press 'Enter' on an empty prompt.
Type /help for commands.

`

// answered is what follows a reply of n tokens.
func answered(n int) string {
	return fmt.Sprintf("\n\nTime for inference: 1.25 sec total, %.2f tokens/sec, %d tokens\n\n", float64(n)/0.5, n)
}

func stopped(n int) string { return strings.TrimSuffix(answered(n), "\n\n") + ", stopped\n\n" }

const bye = ">> Prompt:"
