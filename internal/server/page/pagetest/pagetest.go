// Package pagetest drives the chat page in a Chromium: package page's tests against an API of theirs, the program's against
// litgpt serve itself.
package pagetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser starts a Chromium: $CHROMIUM, or what is installed. The test is skipped without one, and with -short.
func Browser(t *testing.T) context.Context {
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

// Tab is the page in a tab of its own, with nothing stored, at a server.
type Tab struct {
	*testing.T
	Ctx context.Context
	URL string // without a path
}

// Open opens the page of the server at url. The test fails for every error of its scripts, breach of its policy, or request to elsewhere.
func Open(t *testing.T, browser context.Context, url string) *Tab {
	t.Helper()
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
			if u := e.Request.URL; !strings.HasPrefix(u, url+"/") && !strings.HasPrefix(u, "blob:"+url) && u != "about:blank" {
				t.Errorf("the page asked for %s", u)
			}
		}
	}))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // before there is a limit of time, which would be the browser's
		t.Fatal(err)
	}
	ctx, cancelTimeout := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancelTimeout)
	stop = cancelTimeout
	p := &Tab{t, ctx, url}
	Call(p, network.Enable, network.EnableParams{})
	Call(p, log.Enable, cdp.Empty{})
	p.Load()
	return p
}

// Load loads the page, anew if it is loaded, until it has the models.
func (p *Tab) Load() {
	p.Helper()
	p.Do(chromedp.Navigate(p.URL + "/"))
	p.Wait(`!document.querySelector("#model").disabled || !document.querySelector("#notice").hidden`)
}

// Do runs actions one after the other.
func (p *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.Ctx, actions...); err != nil {
		p.Fatal(err)
	}
}

// Call is a command of the protocol.
func Call[P, R any](p *Tab, command cdp.Command[P, R], params P) R {
	p.Helper()
	result, err := chromedp.Call(p.Ctx, command, params)
	if err != nil {
		p.Fatal(err)
	}
	return result
}

// Wait waits until a JavaScript expression holds.
func (p *Tab) Wait(js string) {
	p.Helper()
	_, err := chromedp.Run(p.Ctx, chromedp.PollFunction[chromedp.Void]("() => Boolean("+js+")", chromedp.WithPollingTimeout(15*time.Second), chromedp.WithPollingInterval(20*time.Millisecond)))
	if err != nil {
		p.Fatalf("waiting for %s: %v; the page shows:\n%s", js, err, Evaluate[string](p, `document.querySelector("main").innerText + "\n" + (document.activeElement?.outerHTML ?? "")`))
	}
}

// Evaluate gives the value of an expression, of its promise if it is one.
func Evaluate[T any](p *Tab, js string) T {
	p.Helper()
	v, err := chromedp.Run(p.Ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("%s: %v", js, err)
	}
	return v
}

// Expect compares what an expression gives.
func (p *Tab) Expect(js string, want any) {
	p.Helper()
	if g, w := fmt.Sprint(Evaluate[any](p, js)), fmt.Sprint(want); g != w {
		p.Errorf("%s: got %s, want %s", js, g, w)
	}
}

// Keys types, to whatever has the focus. "\r" is Enter as browsers have it: a page that takes it for itself gets no character,
// which KeyEvent sends all the same.
func (p *Tab) Keys(keys string, modifiers ...chromedp.Modifier) {
	p.Helper()
	var held chromedp.Modifier
	for _, m := range modifiers {
		held |= m
	}
	for text := range strings.SplitSeq(keys, "\r") {
		p.Do(chromedp.KeyEvent(text, chromedp.KeyModifiers(modifiers...)))
		if keys = strings.TrimPrefix(keys, text); keys == "" {
			break
		}
		keys = keys[1:]
		enter := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, Modifiers: int64(held)}
		if held&chromedp.ModifierCtrl == 0 {
			enter.Text = "\r"
		}
		Call(p, input.DispatchKeyEvent, enter)
		enter.Type, enter.Text = input.DispatchKeyEventTypeKeyUp, ""
		Call(p, input.DispatchKeyEvent, enter)
	}
}

// Say sends a message and waits until its answer is there.
func (p *Tab) Say(text string) {
	p.Helper()
	p.Do(chromedp.Focus(chromedp.CSS("#prompt")))
	p.Keys(text + "\r")
	p.Wait(`document.querySelector("#prompt").value === "" && document.querySelector("#stop").hidden`)
}

// Answers is JavaScript for the text of all answers shown.
const Answers = `[...document.querySelectorAll(".assistant .text")].map(e => e.innerText).join("|")`
