package page

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/server/page/pagetest"
)

// tab is the page and the API that it talks to.
type tab struct {
	*pagetest.Tab
	*api
}

// newTab opens the page with an API of its own.
func newTab(t *testing.T, browser context.Context) *tab {
	t.Helper()
	a := &api{gone: make(chan struct{}, 100)}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", Handler())
	mux.Handle("GET /page/", Handler())
	mux.HandleFunc("GET /v1/models", a.models)
	mux.HandleFunc("POST /v1/chat/completions", a.chat)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &tab{pagetest.Open(t, browser, server.URL), a}
}

// answers is the text of all answers shown.
const answers = pagetest.Answers

// api is as much of the server as the page needs: what it answers depends on the last message.
type api struct {
	mu     sync.Mutex
	bodies []map[string]any // asked for
	key    string           // wanted; "" for none
	script map[string]string
	gone   chan struct{} // a stream whose client left
}

func (a *api) refused(w http.ResponseWriter, r *http.Request) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.key != "" && r.Header.Get("Authorization") != "Bearer "+a.key {
		fail(w, 401, "wrong API key")
		return true
	}
	return false
}

func fail(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"error":{"message":%q,"type":"error","code":null,"param":null}}`, message)
}

func (a *api) models(w http.ResponseWriter, r *http.Request) {
	if !a.refused(w, r) {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"shakespeare","object":"model"},{"id":"sonnets","object":"model","parent":"shakespeare"},
			{"id":"plays","object":"model","parent":"shakespeare"},{"id":"smollm2","object":"model"}]}`)
	}
}

// lastBody is what the page asked for at last.
func (p *tab) lastBody() map[string]any {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bodies) == 0 {
		p.Fatal("the page asked for nothing")
	}
	return p.bodies[len(p.bodies)-1]
}

func (a *api) chat(w http.ResponseWriter, r *http.Request) {
	if a.refused(w, r) {
		return
	}
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		fail(w, 400, err.Error())
		return
	}
	a.mu.Lock()
	a.bodies = append(a.bodies, body)
	count := len(a.bodies)
	a.mu.Unlock()
	messages := body["messages"].([]any)
	last := messages[len(messages)-1].(map[string]any)["content"].(string)
	last = last[strings.LastIndex("\n\n"+last, "\n\n"):] // without those before it that got no answer
	switch last {
	case "full":
		w.Header().Set("Retry-After", "7")
		fail(w, 429, "the queue is full")
		return
	case "hidden":
		<-r.Context().Done()
		a.gone <- struct{}{}
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(v string) {
		fmt.Fprintf(w, "data: %s\n\n", v)
		_ = http.NewResponseController(w).Flush()
	}
	text := func(s string) {
		quoted, _ := json.Marshal(s)
		send(`{"choices":[{"index":0,"delta":{"content":` + string(quoted) + `},"finish_reason":null}]}`)
	}
	send(`{"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}`)
	switch last {
	case "slow":
		for {
			text("word ")
			select {
			case <-r.Context().Done():
				a.gone <- struct{}{}
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	case "cut":
		text("half an ans")
		time.Sleep(100 * time.Millisecond) // or the browser drops what it has read
		panic(http.ErrAbortHandler)
	case "broken":
		text("half an ans")
		send(`{"error":{"message":"the model gave NaN","type":"server_error"}}`)
		return
	}
	answer, ok := a.script[last]
	if !ok {
		answer = fmt.Sprintf("Answer %d to %s.", count, last)
	}
	fmt.Fprint(w, ": keep-alive\r\n\r\n")
	for part := range pieces(answer) {
		text(part)
	}
	send(`{"choices":[{"index":0,"delta":{},"finish_reason":"` + map[bool]string{true: "length", false: "stop"}[count == 1] + `"}]}`)
	send(fmt.Sprintf(`{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":%d,"total_tokens":45}}`, (len(answer)+3)/4))
	send("[DONE]")
}

// pieces cuts a text into tokens of about four bytes.
func pieces(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		runes := []rune(s)
		for i := 0; i < len(runes); i += 4 {
			if !yield(string(runes[i:min(i+4, len(runes))])) {
				return
			}
		}
	}
}
