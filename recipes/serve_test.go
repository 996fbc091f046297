package recipes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// loggedURL is a log that tells where a server listens, once it is ready.
type loggedURL struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan string
}

func (l *loggedURL) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	if bytes.Contains(b, []byte("msg=ready")) {
		l.ready <- regexp.MustCompile(`url=(http://\S+)`).FindStringSubmatch(l.text.String())[1]
	}
	return len(b), nil
}

// serving runs a server until the test ends, and returns its address.
func serving(t *testing.T, c Serve) string {
	t.Helper()
	c.Port, c.Threads, c.Device.Device = 0, 1, "cpu"
	log := &loggedURL{ready: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, io.Discard, log, slog.New(slog.NewTextHandler(log, nil))) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case url := <-log.ready:
		return url
	case err := <-done:
		done <- err
		t.Fatal(err)
	case <-time.After(2 * time.Minute):
		t.Fatal("the server is not ready after two minutes")
	}
	return ""
}

func post(t *testing.T, url, body string) (v map[string]any) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: got %d %v, %v", body, resp.StatusCode, v, err)
	}
	return v
}

// text is what a completion says.
func completed(v map[string]any) string {
	choices, _ := v["choices"].([]any)
	if len(choices) != 1 {
		return fmt.Sprint(v)
	}
	s, _ := choices[0].(map[string]any)["text"].(string)
	return s
}

// A model of the repository behind HTTP: the answers are those of the command, and the same
// whether clients come one by one or together.
func TestServe(t *testing.T) {
	c := NewServe()
	c.CheckpointDir, c.Temperature, c.Deterministic = "../demo/model", 0, true
	url := serving(t, c)
	prompts := []string{"To be", "What, ho!", "Good morrow to", "Enter the", "My lord, I", "The king"}
	ask := func(prompt string) string {
		return completed(post(t, url+"/v1/completions", fmt.Sprintf(`{"model": "model", "prompt": %q, "max_tokens": 12}`, prompt)))
	}
	alone := map[string]string{}
	for _, p := range prompts {
		alone[p] = ask(p)
		for q, other := range alone {
			if p != q && alone[p] == other {
				t.Errorf("%q and %q are continued alike, by %q", p, q, other)
			}
		}
	}
	var all sync.WaitGroup
	for range 3 {
		for _, p := range prompts {
			all.Go(func() {
				if got := ask(p); got != alone[p] {
					t.Errorf("%q: got %q, want %q as alone", p, got, alone[p])
				}
			})
		}
	}
	all.Wait()
	const long = "My lord, I have remembrances of yours, that I have longed long to re-deliver"
	used := func(more string) map[string]any {
		u, _ := post(t, url+"/v1/completions", fmt.Sprintf(`{"prompt": %q, "max_tokens": 2%s}`, long, more))["usage"].(map[string]any)
		return u
	}
	cached := func(u map[string]any) float64 {
		return u["prompt_tokens_details"].(map[string]any)["cached_tokens"].(float64)
	}
	first, again, choices := used(""), used(""), used(`, "n": 4`)
	n := first["prompt_tokens"].(float64)
	if cached(first) >= n/2 || cached(again) < n-4 || cached(again) >= n { // fewer than 4 tokens of a page are read again
		t.Errorf("got usage %v, asked again %v; want all but the last 1 to 4 tokens of the prompt cached then", first, again)
	}
	if cached(choices) != cached(again) || choices["prompt_tokens"] != n || choices["completion_tokens"] != 8. {
		t.Errorf("got usage %v of four choices, of one %v; want the same prompt", choices, again)
	}
	g := NewGenerate()
	g.CheckpointDir, g.Prompt, g.MaxNewTokens, g.Temperature, g.Threads, g.Device.Device = c.CheckpointDir, "Ho", 8, 0, 1, "cpu"
	var out bytes.Buffer
	if err := g.Run(t.Context(), &out, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintln(post(t, url+"/predict", `{"prompt": "Ho", "max_tokens": 8}`)["output"]); got != out.String() {
		t.Errorf("predict says %q, generate %q", got, out.String())
	}
	if v := post(t, url+"/v1/embeddings", `{"input": "Ho"}`); len(v["data"].([]any)) != 1 {
		t.Errorf("got %v", v)
	}
}

// An adapter answers under its own name, otherwise than its base.
func TestServeAdapter(t *testing.T) {
	fixture := "../models/testdata/fixtures/llama3.2"
	base := t.TempDir()
	for _, from := range []string{fixture, "../tokenizer/testdata/fixture"} { // the model has no tokenizer of its own
		files, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if name := f.Name(); f.Type().IsRegular() && (name == "config.json" && from == fixture || strings.HasSuffix(name, ".safetensors") || strings.HasPrefix(name, "tokenizer")) {
				b, err := os.ReadFile(filepath.Join(from, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(base, name), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	c := NewServe()
	c.CheckpointDir, c.Name, c.Temperature, c.PromptStyle = base, "base", 0, "default"
	c.Adapters = []string{"tuned=" + fixture + "/reference/adapter_trained"}
	url := serving(t, c)
	said := map[string]string{}
	for _, name := range []string{"base", "tuned", "base", "tuned"} {
		text := completed(post(t, url+"/v1/completions", fmt.Sprintf(`{"model": %q, "prompt": [1, 2, 3, 4], "max_tokens": 16, "ignore_eos": true}`, name)))
		if before, ok := said[name]; ok && before != text {
			t.Errorf("%s says %q, and before %q", name, text, before)
		}
		said[name] = text
	}
	if said["base"] == said["tuned"] {
		t.Errorf("both say %q", said["base"])
	}
}

func TestServeSettings(t *testing.T) {
	for want, set := range map[string]func(*Serve){
		"--port is 70000":          func(c *Serve) { c.Port = 70000 },
		"--tls_cert and --tls_key": func(c *Serve) { c.TLSCert = "x" },
		"--api_path is":            func(c *Serve) { c.APIPath = "predict" },
		"--queue is 0":             func(c *Serve) { c.Queue = 0 },
		"--timeout is -1":          func(c *Serve) { c.Timeout = -1 },
		"--make_key needs":         func(c *Serve) { c.MakeKey = "x" },
		"checkpoint_dir is missin": func(c *Serve) { c.CheckpointDir = "" },
		"top_p must be":            func(c *Serve) { c.TopP = 2 },
		"--log_format is":          func(c *Serve) { c.LogFormat = "xml" },
	} {
		c := NewServe()
		c.CheckpointDir = "../demo/model"
		set(&c)
		if err := c.Run(t.Context(), io.Discard, io.Discard, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
