package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/generate"
)

// Models and adapters come and go while requests run; none of those is dropped, and nothing
// is closed that is in use (the fake panics).
func TestComeAndGo(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"one", "broken", "adapter"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	boss, err := MakeKey(keys, "root", true)
	if err != nil {
		t.Fatal(err)
	}
	slow := func(m *fake) {
		m.say = func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
			for range 20 {
				time.Sleep(time.Millisecond)
				if ctx.Err() != nil || !yield(generate.Token{ID: 300}, nil) {
					return
				}
			}
			yield(generate.Token{ID: r.End[0]}, nil)
		}
	}
	base := newFake(t)
	slow(base)
	var loaded []*fake
	var mu sync.Mutex
	c := start(t, base, func(c *Config) {
		if c.Keys, err = ReadKeys(keys); err != nil {
			t.Fatal(err)
		}
		c.Roots = []string{root}
		c.Open = func(_ context.Context, dir string) (Model, error) {
			if strings.Contains(dir, "broken") {
				return nil, errors.New("config.json is missing")
			}
			m := newFake(t)
			slow(m)
			mu.Lock()
			defer mu.Unlock()
			loaded = append(loaded, m)
			return m, nil
		}
	})
	c.key = boss
	for _, x := range []struct {
		path, body string
		status     int
	}{
		{"/admin/models", `{"name": "x", "path": "/etc"}`, 403},
		{"/admin/models", `{"name": "x", "path": "../` + filepath.Base(root) + `"}`, 403},
		{"/admin/models", `{"name": "x", "path": "one/../../etc"}`, 403},
		{"/admin/models", `{"name": "x", "path": "link/ssl"}`, 403},
		{"/admin/models", `{"name": "x", "path": "link"}`, 403},
		{"/admin/models", `{"name": "x", "path": "."}`, 403},
		{"/admin/models", `{"name": "x", "path": ""}`, 403},
		{"/admin/models", `{"name": "x", "path": "one\u0000"}`, 403},
		{"/admin/models", `{"name": "x", "path": "nothing"}`, 403},
		{"/admin/models", `{"name": "x", "path": "broken"}`, 422},
		{"/admin/models", `{"name": "../x", "path": "one"}`, 400},
		{"/admin/models", `{"name": "x\ny", "path": "one"}`, 400},
		{"/admin/models", `{"name": "demo", "path": "one"}`, 409},
		{"/admin/adapters", `{"name": "a", "base": "none", "path": "adapter"}`, 404},
		{"/admin/adapters", `{"name": "a", "base": "demo", "path": "broken"}`, 422},
		{"/admin/adapters", `{"name": "a", "base": "demo", "path": "adapter"}`, 200},
		{"/admin/adapters", `{"name": "b", "base": "a", "path": "adapter"}`, 400},
		{"/v1/load_lora_adapter", `{"lora_name": "b", "lora_path": "adapter"}`, 200},
		{"/v1/unload_lora_adapter", `{"lora_name": "b"}`, 200},
	} {
		if status, text := c.do("POST", x.path, x.body); status != x.status {
			t.Errorf("%s %s: got %d %s, want %d", x.path, x.body, status, text, x.status)
		}
	}
	if status, text := c.do("DELETE", "/admin/models/demo", ""); status != 409 {
		t.Errorf("a model whose adapter is there: got %d %s", status, text)
	}
	var asking sync.WaitGroup
	stop := make(chan struct{})
	for i := range 8 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				name := []string{"one", "a"}[i%2]
				resp, err := http.DefaultClient.Do(c.request("POST", "/v1/chat/completions", fmt.Sprintf(ask, fmt.Sprintf(`, "model": %q, "stream": true`, name))))
				if err != nil {
					t.Error(err)
					return
				}
				whole := resp.StatusCode == 404
				for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
					whole = whole || lines.Text() == "data: [DONE]"
				}
				resp.Body.Close()
				if !whole {
					t.Errorf("a request for %s was dropped", name)
				}
			}
		})
	}
	for range 5 {
		for _, x := range []struct{ method, path, body string }{
			{"POST", "/admin/models", `{"name": "one", "path": "one"}`}, {"DELETE", "/admin/adapters/a", ""},
			{"DELETE", "/admin/models/one", ""}, {"POST", "/admin/adapters", `{"name": "a", "base": "demo", "path": "adapter"}`},
		} {
			if status, text := c.do(x.method, x.path, x.body); status != 200 {
				t.Errorf("%s %s: got %d %s", x.method, x.path, status, text)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	close(stop)
	asking.Wait()
	for i, m := range loaded {
		if !m.closed.Load() {
			t.Errorf("model %d was not closed", i)
		}
	}
	if base.most.Load() == 0 || loaded[0].most.Load() == 0 {
		t.Error("nothing was asked")
	}
	for _, name := range []string{"a", "demo"} {
		if status, text := c.do("DELETE", "/admin/models/"+name, ""); status != 200 {
			t.Errorf("%s: got %d %s", name, status, text)
		}
	}
	if !base.closed.Load() || len(base.adapters) != 0 {
		t.Error("the first model was not closed")
	}
	if status, _ := c.do("POST", "/v1/chat/completions", fmt.Sprintf(ask, "")); status != 404 {
		t.Errorf("got %d without any model", status)
	}
}

// A shutdown finishes what runs, says so to those who look, and ends what takes too long.
func TestDrain(t *testing.T) {
	for _, x := range []struct {
		name  string
		grace time.Duration
		whole bool
	}{{"finished", 20 * time.Second, true}, {"ended", 50 * time.Millisecond, false}} {
		t.Run(x.name, func(t *testing.T) {
			m := newFake(t)
			release := make(chan struct{})
			m.say = func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
				if !yield(generate.Token{ID: 300}, nil) {
					return
				}
				select {
				case <-release:
				case <-ctx.Done():
					yield(generate.Token{}, ctx.Err())
					return
				}
				if yield(generate.Token{ID: 300}, nil) {
					yield(generate.Token{ID: m.tok.EOS()[0]}, nil)
				}
			}
			c := start(t, m, func(c *Config) { c.PreDrain, c.Grace = 300*time.Millisecond, x.grace })
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			c.url = "http://" + l.Addr().String()
			ctx, stop := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- c.s.Run(ctx, l, nil) }()
			resp, err := http.DefaultClient.Do(c.request("POST", "/v1/chat/completions", fmt.Sprintf(ask, `, "stream": true`)))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			lines := bufio.NewScanner(resp.Body)
			lines.Scan() // it runs
			stop()
			eventually(t, "health says so", func() bool {
				status, _ := c.do("GET", "/health", "")
				return status == 503
			})
			if status, _ := c.do("POST", "/tokenize", `{"content": "x"}`); status != 200 {
				t.Errorf("before the listener closes: got %d", status)
			}
			eventually(t, "no connections are taken", func() bool {
				conn, err := net.Dial("tcp", l.Addr().String())
				if err == nil {
					conn.Close()
				}
				return err != nil
			})
			if x.whole {
				close(release)
			}
			done, failed := false, false
			for lines.Scan() {
				done = done || lines.Text() == "data: [DONE]"
				failed = failed || strings.Contains(lines.Text(), "shutting down")
			}
			if done != x.whole || failed == x.whole {
				t.Errorf("the stream is whole: %v, and says that it was ended: %v", done, failed)
			}
			if err := <-ran; err != nil {
				t.Error(err)
			}
		})
	}
}

// HTTPS speaks HTTP/2, and refuses what is not encrypted.
func TestTLS(t *testing.T) {
	helper := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer helper.Close()
	m := newFake(t)
	m.say = texts(m.tok, "Good morrow")
	c := start(t, m, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- c.s.Run(ctx, l, &tls.Config{Certificates: helper.TLS.Certificates}) }()
	transport := helper.Client().Transport.(*http.Transport)
	transport.ForceAttemptHTTP2 = true
	r := c.request("POST", "/v1/chat/completions", fmt.Sprintf(ask, `, "stream": true`))
	r.URL.Scheme, r.URL.Host = "https", l.Addr().String()
	resp, err := helper.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.ProtoMajor != 2 || !strings.HasSuffix(string(b), "data: [DONE]\n\n") {
		t.Errorf("got %s %q, %v", resp.Proto, b, err)
	}
	if resp, err := http.Get("http://" + l.Addr().String() + "/health"); err == nil {
		if resp.Body.Close(); resp.StatusCode != 400 {
			t.Errorf("without encryption: got %d", resp.StatusCode)
		}
	}
	transport.CloseIdleConnections()
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}
