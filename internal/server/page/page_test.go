package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	h := Handler()
	ask := func(method, path, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/page/style.css": "text/css; charset=utf-8", "/page/app.js": "text/javascript; charset=utf-8",
		"/page/icon.svg": "image/svg+xml",
	} {
		w := ask("GET", path, "")
		if w.Code != 200 || w.Header().Get("Content-Type") != kind || w.Body.Len() == 0 {
			t.Errorf("GET %s: got %d, %s, %d bytes", path, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") || !strings.Contains(got, "require-trusted-types-for 'script'") || strings.Contains(got, "unsafe") {
			t.Errorf("GET %s: got policy %q", path, got)
		}
		if w.Header().Get("Cache-Control") != "no-cache" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %s: got headers %v", path, w.Header())
		}
		tag := w.Header().Get("ETag")
		if again := ask("GET", path, tag); again.Code != 304 || again.Body.Len() > 0 || again.Header().Get("ETag") != tag {
			t.Errorf("GET %s with its tag: got %d and %d bytes", path, again.Code, again.Body.Len())
		}
		if other := ask("GET", path, `"other"`); other.Code != 200 {
			t.Errorf("GET %s with another tag: got %d", path, other.Code)
		}
		if head := ask("HEAD", path, ""); head.Code != 200 || head.Body.Len() > 0 || head.Header().Get("ETag") != tag {
			t.Errorf("HEAD %s: got %d and %d bytes", path, head.Code, head.Body.Len())
		}
		if post := ask("POST", path, ""); post.Code != 405 || post.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: got %d", path, post.Code)
		}
	}
	for _, path := range []string{"/page/", "/page/index.html", "/page/../page.go", "/page/%2e%2e/page.go", "/static/app.js", "/index.html", "//", "/page//app.js"} {
		if w := ask("GET", path, ""); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: got %d, want 404", path, w.Code)
		}
	}
}

// Nothing is fetched from elsewhere, and text of models is never taken for HTML: the words that would do so are not in the code.
func TestSelfContained(t *testing.T) {
	entries, err := static.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := static.ReadFile("static/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{".innerHTML", ".outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "@import", "url(http", "src=\"http", "href=\"http", "fetch(\"http", " style=\"", " onclick="} {
			if strings.Contains(string(text), bad) {
				t.Errorf("%s: got %q", e.Name(), bad)
			}
		}
	}
}
