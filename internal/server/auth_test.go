package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	user, err := MakeKey(path, "alice", false)
	if err != nil {
		t.Fatal(err)
	}
	boss, err := MakeKey(path, "root", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MakeKey(path, "alice", true); err == nil {
		t.Error("a second key of the same name: no error")
	}
	if _, err := MakeKey(path, "a b\nc", false); err == nil {
		t.Error("a name of several words: no error")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(b), user) {
		t.Errorf("the file has the mode %v, and says %s", info.Mode(), b)
	}
	keys, err := ReadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	m := newFake(t)
	m.say = texts(m.tok, "Good morrow")
	c := start(t, m, func(c *Config) { c.Keys = keys })
	body := fmt.Sprintf(ask, "")
	for _, x := range []struct {
		header, value, path string
		status              int
	}{
		{"", "", "/v1/chat/completions", 401},
		{"Authorization", "Bearer " + user, "/v1/chat/completions", 200},
		{"X-Api-Key", user, "/v1/chat/completions", 200},
		{"Authorization", "Bearer " + boss, "/v1/chat/completions", 200},
		{"Authorization", "Bearer " + user + "x", "/v1/chat/completions", 401},
		{"Authorization", "Bearer " + user[:len(user)-1], "/v1/chat/completions", 401},
		{"Authorization", "Bearer ", "/v1/chat/completions", 401},
		{"Authorization", "Basic " + user, "/v1/chat/completions", 401},
		{"Authorization", user, "/v1/chat/completions", 401},
		{"Authorization", "Bearer sha256:" + string(b[7:71]), "/v1/chat/completions", 401},
		{"", "", "/admin/models", 401},
		{"Authorization", "Bearer " + user, "/admin/models", 403},
		{"Authorization", "Bearer " + boss, "/admin/models", 400}, // of the body
		{"", "", "/v1/models", 401},                               // before it is said that POST is wrong
		{"", "", "/v1/nothing", 404},
	} {
		r := c.request("POST", x.path, body)
		if x.header != "" {
			r.Header.Set(x.header, x.value)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != x.status || (x.status == 401) != (resp.Header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s %q to %s: got %d, want %d", x.header, x.value, x.path, resp.StatusCode, x.status)
		}
	}
	for _, path := range []string{"/health", "/health/live"} {
		if status, _ := c.do("GET", path, ""); status != 200 {
			t.Errorf("%s: got %d without a key", path, status)
		}
	}
	if status, _ := c.do("GET", "/metrics", ""); status != 401 {
		t.Errorf("metrics: got %d without a key", status)
	}
	if log := c.log.String(); strings.Contains(log, user) || !strings.Contains(log, "key=alice") {
		t.Error("the log has the key, or not its name")
	}
	// A key that is taken out of the file is refused from then on.
	if err := os.WriteFile(path, b[strings.Index(string(b), "\n")+1:], 0o600); err != nil {
		t.Fatal(err)
	}
	keys.mu.Lock()
	keys.checked = time.Time{}
	keys.mu.Unlock()
	c.key = user
	if status, _ := c.do("POST", "/v1/chat/completions", body); status != 401 {
		t.Errorf("got %d for a key that was taken out", status)
	}
	c.key = boss
	if status, _ := c.do("POST", "/v1/chat/completions", body); status != 200 {
		t.Errorf("got %d for the key that stayed", status)
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	for i, x := range []string{"", "# nothing\n", "secret alice\n", "sha256:12 alice\n", "sha256:" + strings.Repeat("a", 64) + "\n", "sha256:" + strings.Repeat("a", 64) + " alice boss\n"} {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(x), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKeys(path); err == nil {
			t.Errorf("%q: no error", x)
		}
	}
	if _, err := ReadKeys(filepath.Join(dir, "nothing")); err == nil {
		t.Error("no file: no error")
	}
	open := filepath.Join(dir, "open")
	if _, err := MakeKey(open, "alice", false); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o606); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeys(open); err == nil {
		t.Error("a file that everybody may write to: no error")
	}
}

// Other origins are refused unless they are named; so are other names of the server.
func TestOrigins(t *testing.T) {
	m := newFake(t)
	m.say = texts(m.tok, "Good morrow")
	plain := start(t, m, func(c *Config) { c.Hosts = []string{"localhost", "127.0.0.1"} })
	named := start(t, newFake(t), func(c *Config) { c.Origins = []string{"https://page.example"} })
	send := func(c *client, method, origin, host, kind string) *http.Response {
		r := c.request(method, "/v1/chat/completions", fmt.Sprintf(ask, ""))
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Content-Type", kind)
		if host != "" {
			r.Host = host
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	const allow = "Access-Control-Allow-Origin"
	if r := send(plain, "OPTIONS", "https://page.example", "", "application/json"); r.StatusCode != 405 || r.Header.Get(allow) != "" {
		t.Errorf("off: got %d %v", r.StatusCode, r.Header)
	}
	if r := send(named, "OPTIONS", "https://page.example", "", "application/json"); r.StatusCode != 204 || r.Header.Get(allow) != "https://page.example" || r.Header.Get("Vary") != "Origin" {
		t.Errorf("named: got %d %v", r.StatusCode, r.Header)
	}
	if r := send(named, "OPTIONS", "https://evil.example", "", "application/json"); r.Header.Get(allow) != "" {
		t.Errorf("another: got %d %v", r.StatusCode, r.Header)
	}
	if r := send(plain, "POST", "https://evil.example", "", "text/plain"); r.StatusCode != 415 {
		t.Errorf("what a page may send without asking: got %d", r.StatusCode)
	}
	if r := send(plain, "POST", "http://evil.example", "evil.example:8000", "application/json"); r.StatusCode != 403 {
		t.Errorf("another name: got %d", r.StatusCode)
	}
	if r := send(plain, "POST", "http://localhost", "LOCALHOST:8000", "application/json"); r.StatusCode != 200 {
		t.Errorf("the server's name: got %d", r.StatusCode)
	}
}
