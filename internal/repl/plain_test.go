package repl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPipe(t *testing.T) {
	for _, c := range []struct {
		name     string
		options  Options
		in       string
		out, err string // err: what the measurements and messages contain, lines joined by |
		failure  string
	}{
		{"nothing", Options{}, "", "", "", ""},
		{"prompts", Options{System: "S"}, "hi\nho\n", "[system:S user:hi]\n[system:S user:hi assistant:[system:S user:hi] user:ho]\n",
			"Time for inference: 1.25 sec total, 4.00 tokens/sec, 2 tokens|Time for inference: 1.25 sec total, 10.00 tokens/sec, 5 tokens", ""},
		{"windows text, blank lines, no last newline", Options{}, "\ufeffé\r\n\r\n  \n/clear\nb\xff", "[user:é]\n[user:b\ufffd]\n", "The conversation is forgotten.", ""},
		{"text goes through unchanged", Options{}, "evil", "\x1b]0;title\x07ok\u009b2J\r\n\tend\x7f\n", "", ""},
		{"leaving", Options{}, "!exit\nhi\n", "", "", ""},
		{"continued", Options{}, "one\\\ntwo\nthree\\\n", "[user:one\ntwo]\n[user:one\ntwo assistant:[user:one\ntwo] user:three]\n", "", ""},
		{"errors", Options{}, "fail\nhi\n/foo\n", "half an an\n[user:hi]\n",
			"litgpt: error: the conversation has 9 tokens, the context 8|Time", "2 of 3 prompts have no answer, the first: the conversation has 9 tokens"},
		{"multiline", Options{Multiline: true}, "a\n\nb\n!submit\n/clear\nc\n", "[user:a\n\nb]\n[user:c]\n", "", ""},
		{"help", Options{}, "/help\n", "", "/retry", ""},
		{"too long a line", Options{}, "hi\n" + strings.Repeat("x", maxLine+1), "[user:hi]\n", "", "line 2 of the input is longer than 16 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			c.options.In, c.options.Out, c.options.Err, c.options.Now = strings.NewReader(c.in), &out, &errs, clock()
			err := Run(context.Background(), fake(echo), c.options)
			if out.String() != c.out {
				t.Errorf("got output %q, want %q", &out, c.out)
			}
			if got := strings.ReplaceAll(errs.String(), "\n", "|"); !strings.Contains(got, c.err) {
				t.Errorf("got messages %q, want %q", got, c.err)
			}
			if (err == nil) != (c.failure == "") || err != nil && !strings.Contains(err.Error(), c.failure) {
				t.Errorf("got error %v, want %q", err, c.failure)
			}
		})
	}
}

// An interrupt ends a filter: during an answer, which is kept, and while it waits for input.
func TestPipeInterrupt(t *testing.T) {
	for _, c := range []struct{ in, await, want string }{{"slow\nhi\n", "begun ", "begun \n"}, {"hi\n", "]\n", "[user:hi]\n"}} {
		in, typist := io.Pipe()
		out, interrupts := newRecord(), make(chan struct{}, 1)
		done := make(chan error, 1)
		go func() {
			done <- Run(context.Background(), fake(echo), Options{In: in, Out: out, Err: io.Discard, Interrupts: interrupts})
		}()
		go io.WriteString(typist, c.in)
		out.await(t, 0, c.await)
		interrupts <- struct{}{}
		if err := <-done; !errors.Is(err, context.Canceled) || out.String() != c.want {
			t.Errorf("%q: got %q and error %v, want %q and context.Canceled", c.in, out, err, c.want)
		}
		typist.Close()
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestWriteError(t *testing.T) {
	err := Run(context.Background(), fake(echo), Options{In: strings.NewReader("a\nb\n"), Out: fullDisk{}, Err: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v, want the error of the write", err)
	}
}

// A terminal that edits lines by itself, because raw mode is absent or refused.
func TestCookedTerminal(t *testing.T) {
	for _, raw := range []func() (func() error, error){nil, func() (func() error, error) { return nil, errors.New("inappropriate ioctl for device") }} {
		in, typist := io.Pipe()
		out, errs, interrupts := newRecord(), newRecord(), make(chan struct{}, 1)
		done := make(chan error, 1)
		go func() {
			done <- Run(context.Background(), fake(echo), Options{
				In: in, Out: out, Err: errs, Terminal: true, RawMode: raw, Interrupts: interrupts, ModelName: "Fake-1B", Now: clock()})
		}()
		at := out.await(t, 0, asks)
		interrupts <- struct{}{}
		at = out.await(t, at, asks)
		io.WriteString(typist, "slow\n")
		at = out.await(t, at, "begun ")
		interrupts <- struct{}{}
		at = out.await(t, at, asks)
		io.WriteString(typist, "hi\n")
		out.await(t, at, asks)
		typist.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := greeting + asks + "^C\n" + exits + asks + ">> Reply: begun \n\n" + asks + ">> Reply: [user:slow assistant:begun  user:hi]\n\n" + asks + "\n"
		if out.String() != want {
			t.Errorf("got %q, want %q", out, want)
		}
		if strings.Contains(errs.String(), "no line editing: inappropriate ioctl") != (raw != nil) || strings.Count(errs.String(), "Time for inference") != 2 {
			t.Errorf("got messages %q", errs)
		}
	}
}

func TestHistoryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "chat_history")
	o := Options{HistoryFile: path}
	if _, err := chat(t, fake(echo), o, []step{{asks, "one\\n\x1b\rtwo 你\r"}, {asks, "/clear\r"}, {asks, "/clear\r"}, {asks, "\r"}}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if want := "one\\\\n\\ntwo 你\n/clear\n"; err != nil || string(raw) != want {
		t.Fatalf("got the file %q, %v, want %q", raw, err, want)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, want -rw-------", info.Mode())
	}
	out, err := chat(t, fake(echo), o, []step{{asks, "\x1b[A\x1b[A\r"}, {asks, "\r"}})
	if err != nil || !strings.Contains(out, "[user:one\\n\r\ntwo 你]") {
		t.Errorf("the prompt of the last session did not come back: %v in %q", err, out)
	}

	// Where it cannot be kept, the chat says so once and goes on.
	o.HistoryFile = t.TempDir()
	out, err = chat(t, fake(echo), o, []step{{asks, "one\r"}, {asks, "/clear\r"}, {asks, "\x1b[A\x1b[A\r"}, {asks, "\r"}})
	if err != nil || strings.Count(out, "history of prompts is not kept") != 1 || strings.Count(out, "Reply: [user:one]") != 2 {
		t.Errorf("with a folder as history file: %v, %q", err, out)
	}
}

func TestHistoryLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	fail := func(err error) { t.Helper(); t.Error(err) }
	var file strings.Builder
	for i := range 3 * historyEntries {
		file.WriteString(strings.Repeat("x", i%7) + "\x1b[2J\n")
	}
	os.WriteFile(path, []byte(file.String()), 0o600)
	h := loadHistory(path, fail)
	if h.Len() != historyEntries {
		t.Errorf("got %d entries, want %d", h.Len(), historyEntries)
	}
	if got, want := h.At(0), strings.Repeat("x", (3*historyEntries-1)%7)+"[2J"; got != want {
		t.Errorf("the last entry is %q, want %q", got, want)
	}
	if again := loadHistory(path, fail); !slices.Equal(again.entries, h.entries) {
		t.Error("the shortened file has other entries")
	}
	if raw, _ := os.ReadFile(path); bytes.Count(raw, []byte("\n")) != historyEntries {
		t.Errorf("the file has %d lines, want %d", bytes.Count(raw, []byte("\n")), historyEntries)
	}
	h.remember(strings.Repeat("y", historyEntry+1))
	h.remember("")
	if h.Len() != historyEntries {
		t.Errorf("an oversized or an empty prompt was kept: %d entries", h.Len())
	}
	os.WriteFile(path, bytes.Repeat([]byte("z\n"), historyBytes), 0o600) // twice what is read
	if h = loadHistory(path, fail); h.Len() != historyEntries || h.At(0) != "z" {
		t.Errorf("of a huge file: %d entries", h.Len())
	}
	if info, _ := os.Stat(path); info.Size() != 2*historyEntries {
		t.Errorf("a huge file was not shortened: %d bytes", info.Size())
	}
}
