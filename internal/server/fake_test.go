package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/tokenizer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a model that says what a test wants, with the tokenizer and the template of the
// repository's model.
type fake struct {
	tok      *tokenizer.Tokenizer
	style    tokenizer.PromptStyle
	context  int
	say      func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool)
	running  atomic.Int32
	most     atomic.Int32 // requests at once
	closed   atomic.Bool
	mu       sync.Mutex
	adapters map[string]string
}

func newFake(t testing.TB) *fake {
	t.Helper()
	tok, err := tokenizer.Load("../../demo/model")
	if err != nil {
		t.Fatal(err)
	}
	style, err := tokenizer.StyleByName(tokenizer.ChatTemplateStyle)
	if err != nil {
		t.Fatal(err)
	}
	return &fake{tok: tok, style: style, context: 512, say: sayBack, adapters: map[string]string{}}
}

func (f *fake) Tokenizer() *tokenizer.Tokenizer { return f.tok }
func (f *fake) Style() tokenizer.PromptStyle    { return f.style }
func (f *fake) Context() int                    { return f.context }
func (f *fake) Vocab() int                      { return f.tok.VocabSize() }

func (f *fake) Generate(ctx context.Context, r generate.Request) iter.Seq2[generate.Token, error] {
	return func(yield func(generate.Token, error) bool) {
		if f.closed.Load() {
			panic("a closed model is asked")
		}
		n := f.running.Add(1)
		for most := f.most.Load(); n > most && !f.most.CompareAndSwap(most, n); most = f.most.Load() {
		}
		defer f.running.Add(-1)
		f.say(ctx, r, yield)
	}
}

func (f *fake) Embed(ctx context.Context, adapter string, ids []int32) ([]float32, error) {
	n := math.Sqrt(float64(len(ids)))
	v := make([]float32, 4)
	v[0], v[1] = float32(1/n), float32(math.Sqrt(1-1/n/n))
	return v, ctx.Err()
}

func (f *fake) Stats() generate.Stats {
	return generate.Stats{Running: int(f.running.Load()), Pages: 4, UsedPages: 1}
}

func (f *fake) AddAdapter(ctx context.Context, name, dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.Contains(dir, "broken") {
		return errors.New("no adapter_config.json")
	}
	f.adapters[name] = dir
	return nil
}

func (f *fake) RemoveAdapter(ctx context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Load() {
		panic("the model is closed before its adapter is removed")
	}
	delete(f.adapters, name)
	return nil
}

func (f *fake) Close() error {
	if n := f.running.Load(); n > 0 {
		panic(fmt.Sprintf("closed while %d requests run", n))
	}
	f.closed.Store(true)
	return nil
}

// texts makes a fake say a text, token by token, and end.
func texts(tok *tokenizer.Tokenizer, text string) func(context.Context, generate.Request, func(generate.Token, error) bool) {
	return func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
		for i, id := range append(tok.Encode(text, false), tok.EOS()[0]) {
			if i == r.MaxTokens || ctx.Err() != nil || !yield(generate.Token{ID: id, Logprob: -float32(i) / 8}, nil) {
				return
			}
		}
	}
}

// sayBack repeats the prompt.
func sayBack(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
	for i, id := range r.Prompt {
		if i == r.MaxTokens || ctx.Err() != nil || !yield(generate.Token{ID: id}, nil) {
			return
		}
	}
}

// forever says the same until it is stopped.
func forever(every time.Duration) func(context.Context, generate.Request, func(generate.Token, error) bool) {
	return func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
		for range r.MaxTokens {
			select {
			case <-ctx.Done():
				yield(generate.Token{}, ctx.Err())
				return
			case <-time.After(every):
			}
			if !yield(generate.Token{ID: 300}, nil) {
				return
			}
		}
	}
}

// served is a server with a model named "demo" behind HTTP.
type client struct {
	testing.TB
	s   *Server
	url string
	key string
	log *syncBuffer
}

// syncBuffer is a log that goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts a server with the defaults, changed by set.
func start(t testing.TB, m Model, set func(*Config)) *client {
	t.Helper()
	log := &syncBuffer{}
	c := NewConfig(slog.New(slog.NewTextHandler(log, nil)))
	c.Sampling = sample.Config{TopP: 1}
	if set != nil {
		set(&c)
	}
	s := New(c)
	if err := s.AddModel("demo", m); err != nil {
		t.Fatal(err)
	}
	s.Ready()
	h := httptest.NewUnstartedServer(s)
	h.Config = s.httpServer()
	h.Start()
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return &client{TB: t, s: s, url: h.URL, log: log}
}

// request makes a request. A body is JSON.
func (c *client) request(method, path, body string) *http.Request {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	return r
}

// do sends a request and returns status and body.
func (c *client) do(method, path, body string) (int, string) {
	c.Helper()
	resp, err := http.DefaultClient.Do(c.request(method, path, body))
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// post sends JSON and wants an answer of status 200.
func (c *client) post(path, body string) map[string]any {
	c.Helper()
	status, text := c.do("POST", path, body)
	if status != 200 {
		c.Fatalf("got status %d: %s", status, text)
	}
	return parse(c, text)
}

func parse(t testing.TB, text string) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

// stream sends a request for a stream and returns its events; done says that [DONE] came.
func (c *client) stream(path, body string) (events []map[string]any, done bool) {
	c.Helper()
	resp, err := http.DefaultClient.Do(c.request("POST", path, body))
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != "text/event-stream" {
		b, _ := io.ReadAll(resp.Body)
		c.Fatalf("got status %d of %s: %s", resp.StatusCode, kind, b)
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if done {
			c.Errorf("got %q behind [DONE]", data)
		}
		if done = data == "[DONE]"; !done {
			events = append(events, parse(c, data))
		}
	}
	return events, done
}

// at walks into a value of JSON: keys, and indices of lists.
func at(t testing.TB, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch x := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("%v: no object at %q", v, x)
			}
			if v, ok = m[x]; !ok {
				t.Fatalf("%v: nothing at %q", m, x)
			}
		case int:
			l, ok := v.([]any)
			if !ok || x >= len(l) {
				t.Fatalf("%v: no list with %d", v, x)
			}
			v = l[x]
		}
	}
	return v
}

// eventually waits for something that another goroutine does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
