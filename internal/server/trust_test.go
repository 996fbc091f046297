package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/generate"
)

// raw opens a connection and writes to it.
func (c *client) raw(text string) net.Conn {
	c.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		c.Fatal(err)
	}
	return conn
}

// closed waits until the server closes a connection, and returns what it said.
func closed(t testing.TB, conn net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(conn)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		t.Fatalf("the connection from %v stays open; got %q", conn.LocalAddr(), b)
	}
	return string(b)
}

// Those who send slowly, or nothing, are cut off, and others are answered meanwhile.
func TestSlowSenders(t *testing.T) {
	m := newFake(t)
	m.say = texts(m.tok, "Good morrow")
	c := start(t, m, func(c *Config) { c.HeadTimeout = 300 * time.Millisecond })
	var conns []net.Conn
	for range 50 {
		conns = append(conns, c.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-"), // half a header
			c.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"messages\""), // half a body
			c.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"mes"),
			c.raw("")) // nothing
	}
	c.post("/v1/chat/completions", fmt.Sprintf(ask, ""))
	for i, conn := range conns {
		said := closed(t, conn)
		if bodyCame := i%4 == 1 || i%4 == 2; bodyCame != strings.HasPrefix(said, "HTTP/1.1 400") && i%4 != 0 {
			t.Errorf("connection %d: got %.80q", i, said)
		}
	}
}

// A client that takes nothing of its stream does not hold the model up, and is cut off.
func TestSlowReader(t *testing.T) {
	m := newFake(t)
	m.context = 1 << 30
	ended := make(chan int, 1)
	m.say = func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
		n := 0
		for ; n < 1<<20 && ctx.Err() == nil && yield(generate.Token{ID: 300}, nil); n++ {
		}
		ended <- n
	}
	c := start(t, m, func(c *Config) { c.WriteTimeout = 200 * time.Millisecond })
	body := fmt.Sprintf(ask, `, "stream": true, "logprobs": true`)
	conn := c.raw(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	conn.(*net.TCPConn).SetReadBuffer(1 << 10)
	select {
	case n := <-ended:
		t.Logf("%d tokens", n)
	case <-time.After(20 * time.Second):
		t.Fatal("the model still waits for the client")
	}
	eventually(t, "the request is over", func() bool { return strings.Contains(c.log.String(), "status=499") })
}

// A thousand streams whose clients go away leave nothing behind, and the server answers.
func TestCancelledStreams(t *testing.T) {
	m := newFake(t)
	m.say = forever(time.Millisecond)
	c := start(t, m, func(c *Config) { c.Queue = 2000 })
	before := runtime.NumGoroutine()
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := c.request("POST", "/v1/chat/completions", fmt.Sprintf(ask, fmt.Sprintf(`, "stream": %v, "n": 2`, i%4 != 0)))
			if i%4 == 0 { // does not even see a header
				time.AfterFunc(time.Duration(i%50)*time.Millisecond, cancel)
			}
			resp, err := http.DefaultClient.Do(r.WithContext(ctx))
			if err != nil {
				return
			}
			defer resp.Body.Close()
			lines := bufio.NewReader(resp.Body)
			for range i % 5 {
				lines.ReadString('\n')
			}
		})
		if i%100 == 99 {
			all.Wait()
		}
	}
	all.Wait()
	eventually(t, "all requests are over", func() bool { return m.running.Load() == 0 })
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "their goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+10 })
	if n := c.s.gates.count[m]; n != 0 {
		t.Errorf("%d choices are counted still", n)
	}
	m.say = texts(m.tok, "Good morrow")
	c.post("/v1/chat/completions", fmt.Sprintf(ask, ""))
}

// Clients in parallel get the answers to their own questions: here, those said back.
func TestNobodyElsesText(t *testing.T) {
	m := newFake(t)
	m.say = func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
		for i, id := range r.Prompt {
			if i%8 == 0 {
				time.Sleep(100 * time.Microsecond) // the others' turn
			}
			if ctx.Err() != nil || !yield(generate.Token{ID: id}, nil) {
				return
			}
		}
	}
	c := start(t, m, nil)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for k := range 5 {
				secret := fmt.Sprintf("secret %d of %d", k, i)
				body := fmt.Sprintf(`{"prompt": %q, "ignore_eos": true, "stream": %v}`, secret, k%2 == 0)
				got := ""
				if k%2 == 0 {
					events, _ := c.stream("/v1/completions", body)
					for _, e := range events {
						got += at(t, e, "choices", 0, "text").(string)
					}
				} else {
					got = at(t, c.post("/v1/completions", body), "choices", 0, "text").(string)
				}
				if got != secret {
					t.Errorf("got %q, want %q", got, secret)
				}
			}
		})
	}
	all.Wait()
	if m.most.Load() < 2 {
		t.Error("nothing ran in parallel")
	}
}

// A model that fails, panics, or makes no numbers harms its own request only.
func TestFailingModel(t *testing.T) {
	m := newFake(t)
	c := start(t, m, nil)
	for name, say := range map[string]func(context.Context, generate.Request, func(generate.Token, error) bool){
		"error": func(_ context.Context, _ generate.Request, yield func(generate.Token, error) bool) {
			yield(generate.Token{}, errors.New("/secret/path: the logits are NaN"))
		},
		"panic": func(context.Context, generate.Request, func(generate.Token, error) bool) { panic("a bug") },
	} {
		m.say = say
		status, text := c.do("POST", "/v1/chat/completions", fmt.Sprintf(ask, ""))
		if e := parse(t, text); status != 500 || at(t, e, "error", "type") != "server_error" || strings.Contains(text, "secret") {
			t.Errorf("%s: got %d %s", name, status, text)
		}
		status, text = c.do("POST", "/v1/chat/completions", fmt.Sprintf(ask, `, "stream": true`))
		if status != 500 {
			t.Errorf("%s before a stream: got %d %s", name, status, text)
		}
		m.say = func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
			if yield(generate.Token{ID: 300}, nil) {
				time.Sleep(20 * time.Millisecond)
				say(ctx, r, yield)
			}
		}
		events, done := c.stream("/v1/chat/completions", fmt.Sprintf(ask, `, "stream": true`))
		if last := events[len(events)-1]; done || last["error"] == nil {
			t.Errorf("%s in a stream: got %v, done %v", name, last, done)
		}
	}
	if !strings.Contains(c.log.String(), "NaN") || !strings.Contains(c.log.String(), "a bug") {
		t.Error("the log does not say what happened")
	}
	if _, text := c.do("GET", "/metrics", ""); !strings.Contains(text, "litgpt_panics_total 3") {
		t.Error("the panics are not counted")
	}
	m.say = texts(m.tok, "Good morrow")
	c.post("/v1/chat/completions", fmt.Sprintf(ask, ""))
}

// Names that no token has a number for are written as JSON can hold them.
func TestNaNLogprobs(t *testing.T) {
	m := newFake(t)
	m.say = func(_ context.Context, r generate.Request, yield func(generate.Token, error) bool) {
		nan := float32(0)
		nan /= nan
		yield(generate.Token{ID: 300, Logprob: nan, Top: []generate.Candidate{{ID: 301, Logprob: -1 / (nan * 0)}}}, nil)
	}
	c := start(t, m, nil)
	got := c.post("/v1/chat/completions", fmt.Sprintf(ask, `, "logprobs": true, "top_logprobs": 1`))
	if v := at(t, got, "choices", 0, "logprobs", "content", 0, "logprob"); v != -9999. {
		t.Errorf("got %v", v)
	}
}

// The queue holds as many as it should; the next is told to come again.
func TestQueue(t *testing.T) {
	m := newFake(t)
	m.say = forever(time.Millisecond)
	c := start(t, m, func(c *Config) { c.Queue = 4 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if resp, err := http.DefaultClient.Do(c.request("POST", "/v1/chat/completions", fmt.Sprintf(ask, `, "stream": true`)).WithContext(ctx)); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	eventually(t, "four run", func() bool { return m.running.Load() == 4 })
	resp, err := http.DefaultClient.Do(c.request("POST", "/v1/chat/completions", fmt.Sprintf(ask, "")))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || at(t, parse(t, string(b)), "error", "type") != "rate_limit_error" {
		t.Errorf("got %d, Retry-After %q, %s", resp.StatusCode, resp.Header.Get("Retry-After"), b)
	}
	cancel()
	all.Wait()
	eventually(t, "they are gone", func() bool { return m.running.Load() == 0 })
	m.say = texts(m.tok, "Good morrow")
	eventually(t, "there is room again", func() bool {
		status, _ := c.do("POST", "/v1/chat/completions", fmt.Sprintf(ask, ""))
		return status == 200
	})
}

func TestTimeout(t *testing.T) {
	m := newFake(t)
	m.say = forever(time.Millisecond)
	c := start(t, m, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	status, text := c.do("POST", "/v1/chat/completions", fmt.Sprintf(ask, ""))
	if status != 504 || at(t, parse(t, text), "error", "code") != "timeout" {
		t.Errorf("got %d %s", status, text)
	}
	events, done := c.stream("/v1/chat/completions", fmt.Sprintf(ask, `, "stream": true`))
	if last := events[len(events)-1]; done || last["error"] == nil {
		t.Errorf("got %v at the end of a stream", last)
	}
}

// Nothing of a request becomes a line of its own in a header or the log.
func TestInjection(t *testing.T) {
	m := newFake(t)
	m.say = texts(m.tok, "Good morrow")
	c := start(t, m, nil)
	for _, text := range []string{
		"GET /health%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET /nothing%0amsg=forged%20level=ERROR HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET /nothing HTTP/1.1\r\nHost: x\r\nX-Request-Id: a b\tc\r\nConnection: close\r\n\r\n",
		"GET /nothing HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + strings.Repeat("a", 1000) + "\r\nConnection: close\r\n\r\n",
		"GET /v1/models/x%0d%0aX-Evil:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	} {
		said := closed(t, c.raw(text))
		head, _, _ := strings.Cut(said, "\r\n\r\n")
		if strings.Contains(head, "X-Evil") || strings.Contains(head, "a b\tc") || strings.Contains(head, strings.Repeat("a", 1000)) {
			t.Errorf("%.60q: got header %q", text, head)
		}
	}
	c.post("/v1/chat/completions", fmt.Sprintf(ask, `, "user": "x\nmsg=forged"`))
	for line := range strings.Lines(c.log.String()) {
		if !strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "msg=forged") {
			t.Errorf("a line of the log is %q", line)
		}
	}
	if strings.Contains(c.log.String(), "What, ho!") {
		t.Error("the prompt is in the log")
	}
	c2 := start(t, newFake(t), func(c *Config) { c.LogContent = true })
	c2.post("/v1/chat/completions", fmt.Sprintf(ask, ""))
	eventually(t, "the prompt is in the log where that is asked for", func() bool { return strings.Contains(c2.log.String(), "What, ho!") })
}

// A header that is too long, a method that is none, other protocols: answered or cut off.
func TestStrangeConnections(t *testing.T) {
	c := start(t, newFake(t), nil)
	for _, x := range []struct{ send, want string }{
		{"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", "HTTP/1.1 431"},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 400"},
		{"NONSENSE\r\n\r\n", "HTTP/1.1 400"},
		{"GET /health HTTP/1.1\r\n\r\n", "HTTP/1.1 400"}, // no host
		{"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400"},
		{"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n", "HTTP/1.1 413"},
		{"TRACE /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 405"},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 "},
	} {
		conn := c.raw("")
		go io.WriteString(conn, x.send) // the server may close before it has all
		line, err := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(line, x.want) {
			t.Errorf("%.60q: got %q, %v, want %s", x.send, line, err, x.want)
		}
		conn.Close()
	}
	if status, _ := c.do("GET", "/health", ""); status != 200 {
		t.Errorf("health is %d after all that", status)
	}
}
