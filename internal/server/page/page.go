// Package page is the chat page: plain HTML, CSS and JavaScript in the program, without a build step, a framework or
// anything fetched from elsewhere. It talks to the OpenAI-compatible API of the server it is mounted on.
//
// Everything is under static/, to be read in this order: index.html, app.js (what buttons and keys do), messages.js
// (one message), api.js (the API), store.js (conversations in the browser), markdown.js (text of models to DOM nodes).
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed static
var static embed.FS

// headers keep what a model writes from doing more than being read, should markdown.js ever let it through: no code,
// style or picture from elsewhere, no text made into HTML, no page around this one. app.js asks only the server itself.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"require-trusted-types-for 'script'; trusted-types 'none'",
	"Cross-Origin-Opener-Policy": "same-origin",
	"Referrer-Policy":            "no-referrer",
	"X-Content-Type-Options":     "nosniff",
	"X-Frame-Options":            "DENY",
	"Permissions-Policy":         "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	// Asked for every time, answered with 304 while it is the same: a new program is a new page.
	"Cache-Control": "no-cache",
}

// file is one that is served.
type file struct {
	kind, tag string // Content-Type and ETag
	content   []byte
}

// Handler serves the page at / and its files at /page/, to GET and HEAD; everything else is 404. Mount it with
// "GET /{$}" and "GET /page/". It needs no key: it holds nothing but the page.
func Handler() http.Handler {
	files := map[string]file{}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		panic(err) // the program was built without its files
	}
	for _, e := range entries {
		content, err := static.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		f := file{kinds[path.Ext(e.Name())], `"` + hex.EncodeToString(sum[:12]) + `"`, content}
		files["/page/"+e.Name()] = f
		if e.Name() == "index.html" {
			files["/"] = f
			delete(files, "/page/index.html") // its links are relative to /
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		for k, v := range headers {
			w.Header().Set(k, v)
		}
		w.Header().Set("Content-Type", f.kind)
		w.Header().Set("ETag", f.tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content)) // If-None-Match, HEAD
	})
}

// kinds do not depend on the machine's own table, as package mime's do.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}
