package page

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// newBrowser starts a Chromium: $CHROMIUM, or what is installed.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
	program := os.Getenv("CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"} {
		if program == "" {
			program, _ = exec.LookPath(name)
		}
	}
	if program == "" {
		t.Skip("no Chromium: apt-get install chromium, or set CHROMIUM")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.WindowSize(1280, 860))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which root cannot have
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	browser, cancelBrowser := chromedp.NewContext(allocator)
	t.Cleanup(cancelBrowser)
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return browser
}

// tab is a page of its own, with nothing stored, and the API that it talks to.
type tab struct {
	*testing.T
	*api
	ctx context.Context
	url string
}

// newTab opens the page. The test fails for every error of its scripts, breach of its policy, or request to elsewhere.
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
	var stop context.CancelFunc = func() {}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(func(e any) {
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page threw %s", e.ExceptionDetails.Exception.Description)
			stop()
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
				t.Errorf("the page logged %s", e.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, server.URL+"/") && !strings.HasPrefix(u, "blob:"+server.URL) && u != "about:blank" {
				t.Errorf("the page asked for %s", u)
			}
		}
	}))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // before there is a limit of time, which would be the browser's
		t.Fatal(err)
	}
	ctx, cancelTimeout := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancelTimeout)
	stop = cancelTimeout
	p := &tab{t, a, ctx, server.URL}
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	p.open()
	return p
}

// open loads the page, anew if it is loaded, until it has the models.
func (p *tab) open() {
	p.Helper()
	p.run(chromedp.Navigate(p.url + "/"))
	p.wait(`!document.querySelector("#model").disabled || !document.querySelector("#notice").hidden`)
}

func (p *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.Fatal(err)
	}
}

// call is a command of the protocol.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.Helper()
	result, err := chromedp.Call(p.ctx, command, params)
	if err != nil {
		p.Fatal(err)
	}
	return result
}

// wait waits until a JavaScript expression holds.
func (p *tab) wait(js string) {
	p.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.PollFunction[chromedp.Void]("() => Boolean("+js+")", chromedp.WithPollingTimeout(5*time.Second), chromedp.WithPollingInterval(20*time.Millisecond)))
	if err != nil {
		p.Fatalf("waiting for %s: %v; the page shows:\n%s", js, err, evaluate[string](p, `document.querySelector("main").innerText + "\n" + (document.activeElement?.outerHTML ?? "")`))
	}
}

// evaluate gives the value of an expression, of its promise if it is one.
func evaluate[T any](p *tab, js string) T {
	p.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("%s: %v", js, err)
	}
	return v
}

// expect compares what an expression gives.
func (p *tab) expect(js string, want any) {
	p.Helper()
	if g, w := fmt.Sprint(evaluate[any](p, js)), fmt.Sprint(want); g != w {
		p.Errorf("%s: got %s, want %s", js, g, w)
	}
}

// keys types, to whatever has the focus. "\r" is Enter as browsers have it: a page that takes it for itself gets no character,
// which KeyEvent sends all the same.
func (p *tab) keys(keys string, modifiers ...chromedp.Modifier) {
	p.Helper()
	var held chromedp.Modifier
	for _, m := range modifiers {
		held |= m
	}
	for text := range strings.SplitSeq(keys, "\r") {
		p.run(chromedp.KeyEvent(text, chromedp.KeyModifiers(modifiers...)))
		if keys = strings.TrimPrefix(keys, text); keys == "" {
			break
		}
		keys = keys[1:]
		enter := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, Modifiers: int64(held)}
		if held&chromedp.ModifierCtrl == 0 {
			enter.Text = "\r"
		}
		call(p, input.DispatchKeyEvent, enter)
		enter.Type, enter.Text = input.DispatchKeyEventTypeKeyUp, ""
		call(p, input.DispatchKeyEvent, enter)
	}
}

// say sends a message and waits until its answer is there.
func (p *tab) say(text string) {
	p.Helper()
	p.run(chromedp.Focus(chromedp.CSS("#prompt")))
	p.keys(text + "\r")
	p.wait(`document.querySelector("#prompt").value === "" && document.querySelector("#stop").hidden`)
}

// answers is the text of all answers shown.
const answers = `[...document.querySelectorAll(".assistant .text")].map(e => e.innerText).join("|")`

// api is as much of the server as the page needs: what it answers depends on the last message.
type api struct {
	mu     sync.Mutex
	bodies []map[string]any // asked for
	key    string           // wanted; "" for none
	script map[string]string
	pace   time.Duration // for each token
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
		time.Sleep(a.pace)
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
