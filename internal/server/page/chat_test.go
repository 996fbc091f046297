package page

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/litgpt-go/litgpt/internal/server/page/pagetest"
)

// The page in a real browser, a tab for each of these.
func TestChromium(t *testing.T) {
	b := pagetest.Browser(t)
	for _, tt := range []struct {
		name string
		test func(*tab)
	}{
		{"conversation", conversation}, {"stop", stop}, {"reload", reload}, {"edit", edit}, {"regenerate", regenerate}, {"settings", parameters},
		{"adapter", adapter}, {"errors", failures}, {"key", key}, {"hostile", hostile}, {"copy", copyCode}, {"files", files}, {"several", several},
		{"keyboard", keyboard}, {"names", names}, {"spoken", spoken}, {"narrow", narrow}, {"markdown", markdown}, {"growing", growing}, {"long", long},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(newTab(t, b)) })
	}
}

// Nothing but the keyboard is used: the field has the focus from the start, and keeps it.
func conversation(p *tab) {
	p.Expect(`document.activeElement.id`, "prompt")
	p.Keys("Good morrow")
	p.Keys("\r", chromedp.ModifierShift)
	p.Keys("my lord")
	p.Keys("\r", chromedp.ModifierCtrl)
	p.Wait(`document.querySelector(".facts")?.textContent.includes("tokens")`)
	p.Expect(answers, "Answer 1 to Good morrow\nmy lord.")
	p.Expect(`document.querySelector(".facts").textContent.startsWith("cut at the limit of tokens · 8 tokens · ")`, true)
	p.Expect(`document.activeElement.id`, "prompt")
	p.Expect(`document.title`, "Good morrow my lord – litgpt")
	want := `{"messages":[{"content":"Good morrow\nmy lord","role":"user"}],"model":"shakespeare","stream":true,"stream_options":{"include_usage":true}}`
	if got, _ := json.Marshal(p.lastBody()); string(got) != want {
		p.Errorf("got %s, want %s", got, want)
	}
	p.Say("And then?")
	want = `[{"content":"Good morrow\nmy lord","role":"user"},{"content":"Answer 1 to Good morrow\nmy lord.","role":"assistant"},{"content":"And then?","role":"user"}]`
	if got, _ := json.Marshal(p.lastBody()["messages"]); string(got) != want {
		p.Errorf("got %s, want %s", got, want)
	}
	p.Keys("\r") // an empty message is none
	p.Expect(`document.querySelectorAll(".message").length`, 4)
}

// Stopping keeps what was said, and the server hears of it; before the first word there is nothing to keep.
func stop(p *tab) {
	for _, by := range []chromedp.Action[chromedp.Void]{chromedp.KeyEvent(kb.Escape), chromedp.Click(chromedp.CSS("#stop"))} {
		p.Do(chromedp.Focus(chromedp.CSS("#prompt")))
		p.Keys("slow\r")
		p.Wait(`document.querySelector(".message:last-child .text").innerText.includes("word word")`)
		p.Expect(`document.querySelector(".message:last-child").getAttribute("aria-busy")`, true)
		p.Expect(`document.querySelector("#send").hidden`, true)
		p.Do(by)
		p.left()
		p.Wait(`document.querySelector("#stop").hidden && document.querySelector(".message:last-child .facts").textContent.startsWith("stopped")`)
		p.Expect(`document.querySelector(".message:last-child .text").innerText.startsWith("word word")`, true)
	}
	p.Keys("hidden\r")
	p.Wait(`!document.querySelector("#stop").hidden`)
	p.Keys(kb.Escape)
	p.left()
	p.Wait(`document.querySelector("#stop").hidden`)
	p.Expect(`document.querySelector(".message:last-child h2").textContent`, "You")
	p.Expect(`document.querySelectorAll(".wrong").length`, 0)
}

// left waits until the server has lost its client.
func (p *tab) left() {
	p.Helper()
	select {
	case <-p.gone:
	case <-time.After(5 * time.Second):
		p.Fatal("the server was not told that the client stopped")
	}
}

// A reload keeps conversations, what was written of an answer, settings and the key.
func reload(p *tab) {
	p.Say("hello")
	p.Do(chromedp.Click(chromedp.CSS("#settings-toggle")), chromedp.SendKeys(chromedp.CSS("#system"), "Be brief."), chromedp.SendKeys(chromedp.CSS("#key"), "secret"), chromedp.Focus(chromedp.CSS("#prompt")))
	p.Keys("slow\r")
	p.Wait(`document.querySelector(".message:last-child .text").innerText.includes("word word")`)
	p.Load()
	p.Wait(`document.querySelectorAll(".message").length === 4`)
	p.Expect(answers+`.startsWith("Answer 1 to hello.|word word")`, true)
	p.Expect(`document.querySelector("#system").value + document.querySelector("#key").value`, "Be brief.secret")
	p.Expect(`JSON.stringify(localStorage).includes("secret")`, false)
	p.Expect(`document.querySelector("#settings").hidden`, false)
	p.left()
}

// Editing a message takes back what came after it, until it is undone.
func edit(p *tab) {
	for _, s := range []string{"one", "two", "three"} {
		p.Say(s)
	}
	p.Do(chromedp.Focus(chromedp.CSS(`[data-do=edit][data-at="2"]`)))
	p.Keys("\r")
	p.Expect(`document.activeElement.value`, "two")
	p.Keys(" more")
	p.Keys(kb.Escape)
	p.Expect(`document.activeElement.dataset.do + document.querySelectorAll(".message").length`, "edit6")
	p.Keys("\r")
	p.Keys(" or so")
	p.Keys("\r", chromedp.ModifierCtrl)
	p.Wait(`document.querySelectorAll(".message").length === 4 && document.querySelector("#stop").hidden`)
	p.Expect(answers, "Answer 1 to one.|Answer 4 to two or so.")
	p.Do(chromedp.Click(chromedp.CSS("#notice button")))
	p.Wait(`document.querySelectorAll(".message").length === 6`)
	p.Expect(answers, "Answer 1 to one.|Answer 2 to two.|Answer 3 to three.")
	p.Load()
	p.Expect(answers, "Answer 1 to one.|Answer 2 to two.|Answer 3 to three.")
}

// Answers made before are kept beside the new one, and the one shown is what the model sees.
func regenerate(p *tab) {
	p.Say("one")
	p.Do(chromedp.Click(chromedp.CSS("[data-do=retry]")))
	p.Wait(answers + ` === "Answer 2 to one." && document.querySelector("#stop").hidden`)
	if got := len(p.lastBody()["messages"].([]any)); got != 1 {
		p.Errorf("got %d messages, want the user's alone", got)
	}
	p.Do(chromedp.Focus(chromedp.CSS("[data-do=previous]")))
	p.Keys("\r")
	p.Expect(answers+` + document.activeElement.dataset.do`, "Answer 1 to one.previous")
	p.Say("two")
	if got := p.lastBody()["messages"].([]any)[1].(map[string]any)["content"]; got != "Answer 1 to one." {
		p.Errorf("the model saw %q", got)
	}
}

func parameters(p *tab) {
	p.Do(chromedp.Click(chromedp.CSS("#settings-toggle")))
	for id, text := range map[string]string{"system": "Speak as the king.", "temperature": "0", "top_p": "0.9", "max_tokens": "12", "seed": "-7"} {
		p.Do(chromedp.SendKeys(chromedp.CSS("#"+id), text))
	}
	p.Say("hello")
	want := `{"max_tokens":12,"messages":[{"content":"Speak as the king.","role":"system"},{"content":"hello","role":"user"}],"model":"shakespeare","seed":-7,"stream":true,"stream_options":{"include_usage":true},"temperature":0,"top_p":0.9}`
	if got, _ := json.Marshal(p.lastBody()); string(got) != want {
		p.Errorf("got %s, want %s", got, want)
	}
	p.Do(chromedp.SetValue(chromedp.CSS("#temperature"), ""), chromedp.SendKeys(chromedp.CSS("#temperature"), "3"))
	p.Do(chromedp.Focus(chromedp.CSS("#prompt")))
	p.Keys("again\r")
	p.Wait(`document.activeElement.id === "temperature"`)
	if got := len(p.bodies); got != 1 {
		p.Errorf("got %d requests, want none with a temperature of 3", got)
	}
	// A new conversation begins with the settings of the last.
	p.Do(chromedp.SetValue(chromedp.CSS("#temperature"), "1"), chromedp.SendKeys(chromedp.CSS("#temperature"), ".5"), chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.Click(chromedp.CSS("#new")))
	p.Expect(`document.querySelector("#temperature").value + document.querySelector("#system").value`, "1.5Speak as the king.")
	p.Do(chromedp.SetValue(chromedp.CSS("#theme"), "dark"))
	pagetest.Evaluate[chromedp.Void](p.Tab, `document.querySelector("#theme").dispatchEvent(new Event("change"))`)
	p.Load()
	p.Expect(`getComputedStyle(document.body).backgroundColor`, "rgb(23, 25, 26)")
}

func adapter(p *tab) {
	options := func(id string) string {
		return `[...document.querySelectorAll("#` + id + ` option")].map(o => o.textContent).join()`
	}
	pick := func(id, value string) {
		pagetest.Evaluate[chromedp.Void](p.Tab, fmt.Sprintf(`{ const s = document.querySelector("#%s"); s.value = %q; s.dispatchEvent(new Event("change")); }`, id, value))
	}
	p.Expect(options("model"), "shakespeare,smollm2")
	p.Expect(options("adapter"), "None,sonnets,plays")
	pick("adapter", "plays")
	p.Say("hello")
	if got := p.lastBody()["model"]; got != "plays" {
		p.Errorf("got model %v, want plays", got)
	}
	p.Load()
	p.Expect(`document.querySelector("#model").value + document.querySelector("#adapter").value`, "shakespeareplays")
	pick("model", "smollm2")
	p.Expect(`document.querySelector("#adapter-choice").hidden`, true)
	p.Say("hello")
	if got := p.lastBody()["model"]; got != "smollm2" {
		p.Errorf("got model %v, want smollm2", got)
	}
	p.Expect(`[...document.querySelectorAll(".assistant h2")].map(h => h.textContent).join()`, "plays,smollm2")
}

// What goes wrong is said, keeps what there is, and can be tried again.
func failures(p *tab) {
	p.Say("full")
	p.Expect(`document.querySelector(".wrong").textContent`, "No answer. The queue is full. Try again in 7 s.")
	p.Expect(`document.querySelectorAll(".message").length`, 1)
	p.Do(chromedp.Click(chromedp.CSS("[data-do=retry]")))
	p.Wait(`document.querySelector("#stop").hidden && document.querySelector(".wrong")`)
	if got := len(p.bodies); got != 2 {
		p.Errorf("got %d requests, want 2", got)
	}
	for said, want := range map[string]string{"broken": "The model gave NaN.", "cut": "The connection was lost in the middle of the answer."} {
		p.Say(said)
		p.Expect(`document.querySelector(".wrong").textContent`, "The answer broke off. "+want)
		p.Expect(`document.querySelector(".message:last-child .text").textContent`, "half an ans")
	}
	p.Say("hello")
	p.Expect(`document.querySelectorAll(".wrong").length`, 0)
	if got := fmt.Sprint(p.lastBody()["messages"]); !strings.HasPrefix(got, "[map[content:full\n\n") || strings.Count(got, "role:user") != 3 {
		p.Errorf("asked with %s, want the message without an answer in one with the next", got)
	}
}

// A server that wants a key is asked with one that stays in this tab.
func key(p *tab) {
	p.mu.Lock()
	p.api.key = "sesame"
	p.mu.Unlock()
	p.Load()
	p.Wait(`document.activeElement.id === "key"`)
	p.Keys("sesame\r")
	p.Wait(`!document.querySelector("#model").disabled`)
	p.Say("hello")
	p.Expect(answers, "Answer 1 to hello.")
	p.Expect(`JSON.stringify(localStorage).includes("sesame")`, false)
	p.Expect(`sessionStorage.getItem("litgpt.key")`, "sesame")
}

// What models and users write is shown, and does nothing: newTab fails for each request to elsewhere.
func hostile(p *tab) {
	text := strings.Join([]string{
		`<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><iframe src="http://example.com"></iframe>`,
		`[a](javascript:window.hacked=1) [b](JaVaScRiPt:window.hacked=1) [c](java&#115;cript:window.hacked=1) [d](data:text/html,<script>hacked=1</script>)`,
		"[e](java\tscript:window.hacked=1) [f](vbscript:x) [g](file:///etc/passwd) [h](//example.com/x) [i](/v1/models) <javascript:window.hacked=1>",
		`![pic](http://example.com/pixel.png?q=secret) ![x](javascript:alert(1)) [ok](https://example.com/" onclick="window.hacked=1)`,
		"```<img src=x onerror=window.hacked=1>\n</code></pre><script>window.hacked=1</script>\n```",
		`| <svg onload=window.hacked=1> | b |`, `|---|---|`, `| <style>*{display:none}</style> | <a href="javascript:hacked=1">x</a> |`, ``,
		`# <form action="http://example.com"><button>x</button></form>`, "&lt;script&gt;window.hacked=1&lt;/script&gt;", "\u202egnp.exe \x00 \x1b[31m",
	}, "\n\n")
	p.script = map[string]string{"attack": text}
	p.Say("attack")
	p.Say(`<img src=x onerror="window.hacked=1"> & [x](javascript:hacked=1)`)
	p.Expect(`String(window.hacked)`, "undefined")
	p.Expect(`document.querySelectorAll("#messages :is(img, script, iframe, svg, style, form, object, embed, link, meta, base)").length`, 0)
	p.Expect(`[...document.querySelectorAll("#messages a")].map(a => a.href).join()`, "http://example.com/,http://example.com/pixel.png?q=secret,https://example.com/%22,http://example.com/")
	p.Expect(`[...document.querySelectorAll("#messages *")].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith("on") || n === "style" || n === "src").length`, 0)
	p.Expect(`[...document.querySelectorAll("#messages a")].every(a => a.rel === "noopener noreferrer nofollow" && a.target === "_blank")`, true)
	p.Expect(`document.querySelector(".assistant .text").innerText.includes('<img src=x onerror="window.hacked=1"><script>')`, true)
	p.Expect(`document.querySelectorAll(".user .text")[1].textContent`, `<img src=x onerror="window.hacked=1"> & [x](javascript:hacked=1)`)
}

func copyCode(p *tab) {
	p.script = map[string]string{"code": "Here:\n\n```go\nfunc main() {\n\tprintln(\"<hi>\")\n}\n```\n\ndone"}
	p.Say("code")
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(p.Ctx, browser.SetPermission, browser.SetPermissionParams{Permission: &browser.PermissionDescriptor{Name: name},
			Setting: browser.PermissionSettingGranted, Origin: p.URL, BrowserContextID: chromedp.FromContext(p.Ctx).BrowserContextID}); err != nil {
			p.Fatal(err)
		}
	}
	p.Do(chromedp.Click(chromedp.CSS("[data-copy]")))
	p.Wait(`document.querySelector("[data-copy]").textContent === "Copied"`)
	p.Expect(`navigator.clipboard.readText()`, "func main() {\n\tprintln(\"<hi>\")\n}")
	p.Do(chromedp.Click(chromedp.CSS(".assistant [data-do=copy]")))
	p.Wait(`document.querySelector(".assistant [data-do=copy]").textContent === "Copied"`)
	p.Expect(`navigator.clipboard.readText()`, p.script["code"])
	p.Wait(`document.querySelector("[data-copy]").textContent === "Copy"`)
}

// An export read again is the same conversation; a file of another program is read too, and one that is no such file harms nothing.
func files(p *tab) {
	p.Say("one")
	p.Do(chromedp.Click(chromedp.CSS("[data-do=retry]")))
	p.Wait(answers + ` === "Answer 2 to one." && document.querySelector("#stop").hidden`)
	dir := p.TempDir()
	if _, err := chromedp.CallBrowser(p.Ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir,
		BrowserContextID: chromedp.FromContext(p.Ctx).BrowserContextID}); err != nil {
		p.Fatal(err)
	}
	p.Do(chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.Click(chromedp.CSS("#export")))
	exported := filepath.Join(dir, "one.json")
	var file struct {
		Format        string
		Version       int
		Conversations []struct {
			Messages []struct{ Role, Content string }
		}
	}
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(exported)
		if err == nil && json.Unmarshal(text, &file) == nil {
			break
		}
		if time.Since(begin) > 10*time.Second {
			p.Fatalf("no export: %v", err)
		}
	}
	if got := fmt.Sprint(file); got != "{litgpt-conversations 1 [{[{user one} {assistant Answer 2 to one.}]}]}" {
		p.Errorf("exported %s", got)
	}
	for _, tt := range []struct{ file, notice, answers string }{
		{exported, "One conversation was read.", "Answer 2 to one."},
		{p.file(`[{"role":"system","content":"Rhyme."},{"role":"user","content":[{"type":"text","text":"from "},{"type":"text","text":"afar"}]},{"role":"assistant","content":"<b>hi</b>"}]`), "One conversation was read.", "<b>hi</b>"},
		{p.file(`{"conversations":[{"id":"__proto__","messages":[{"role":"user","content":"x"},{"role":"assistant","answers":[{"content":"y","tokens":"many"}],"chosen":9}]},{"messages":7},null]}`), "One conversation was read.", "y"},
		{p.file(`{"messages":[{"role":"tool"}]}`), "holds no conversation", "y"},
		{p.file("\x00\xff{"), "not JSON", "y"},
	} {
		pagetest.Evaluate[chromedp.Void](p.Tab, `document.querySelector("#notice").textContent = ""`)
		p.Do(chromedp.SetUploadFiles(chromedp.CSS("#import-file"), []string{tt.file}))
		p.Wait(fmt.Sprintf(`document.querySelector("#notice").textContent.includes(%q)`, tt.notice))
		p.Expect(answers, tt.answers)
	}
	p.Expect(`[...document.querySelectorAll("#conversations .open")].map(b => b.textContent).sort().join()`, "from afar,one,one,x")
}

func (p *tab) file(text string) string {
	p.Helper()
	name := filepath.Join(p.TempDir(), "import.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
	return name
}

// Several conversations: going to another stops the answer here and loses nothing; removing one can be undone.
func several(p *tab) {
	p.Do(chromedp.Click(chromedp.CSS("#side-toggle")))
	p.Say("first")
	p.Do(chromedp.Click(chromedp.CSS("#new")))
	p.Expect(`document.querySelectorAll(".message").length + document.activeElement.id`, "0prompt")
	p.Keys("slow\r")
	p.Wait(`document.querySelector(".message:last-child .text").innerText.includes("word word")`)
	p.Do(chromedp.Click(`//button[text()="first"]`))
	p.left()
	p.Wait(answers + ` === "Answer 1 to first." && document.querySelector("#stop").hidden && !document.querySelector("#send").hidden`)
	p.Say("second")
	p.Expect(answers, "Answer 1 to first.|Answer 3 to second.")
	p.Do(chromedp.Click(`//button[text()="slow"]`))
	p.Wait(answers + `.startsWith("word word")`)
	p.Do(chromedp.Click(`//button[@aria-label="Remove “first”"]`))
	p.Expect(`document.querySelectorAll("#conversations li").length`, 1)
	p.Do(chromedp.Click(chromedp.CSS("#notice button")))
	p.Expect(answers+` + document.querySelectorAll("#conversations li").length`, "Answer 1 to first.|Answer 3 to second.2")
	// Another tab's conversation is listed here, and not written over.
	pagetest.Evaluate[chromedp.Void](p.Tab, `localStorage.setItem("litgpt.conversation.other", JSON.stringify({title: "from another tab", messages: []}))`)
	pagetest.Evaluate[chromedp.Void](p.Tab, `dispatchEvent(new StorageEvent("storage", {key: "litgpt.conversation.other"}))`)
	p.Expect(`document.querySelectorAll("#conversations li").length`, 3)
}

// Everything is reached with Tab, in the order it is seen, and no element keeps the focus.
func keyboard(p *tab) {
	p.script = map[string]string{"code": "```\nx\n```\n\n[link](https://example.com)"}
	p.Say("code")
	p.Do(chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.Click(chromedp.CSS("#settings-toggle")))
	pagetest.Evaluate[chromedp.Void](p.Tab, `document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus()`)
	var got []string
	for range 60 {
		p.Keys(kb.Tab)
		at := pagetest.Evaluate[string](p.Tab, `(() => { const e = document.activeElement; return e === document.body ? "" : e.id || e.dataset.do || (e.dataset.copy && "copy-code") || e.className || e.localName })()`)
		if at == "" || len(got) > 1 && at == got[0] {
			break
		}
		got = append(got, at)
	}
	want := "skip side-toggle model adapter settings-toggle new open remove export export-all import scroll copy edit copy-code pre a copy retry prompt send system temperature top_p max_tokens seed key theme"
	if strings.Join(got, " ") != want {
		p.Errorf("Tab goes to\n%s, want\n%s", strings.Join(got, " "), want)
	}
	pagetest.Evaluate[chromedp.Void](p.Tab, `document.querySelector(".skip").focus()`)
	p.Keys("\r")
	p.Expect(`document.activeElement.id`, "prompt")
}

// Whatever can be used has a name that a screen reader says, and roles are what they should be.
func names(p *tab) {
	p.script = map[string]string{"code": "# Title\n\n```go\nx\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- [x] done"}
	p.Say("code")
	p.Do(chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.Click(chromedp.CSS("#settings-toggle")))
	pagetest.Call(p.Tab, accessibility.Enable, cdp.Empty{})
	nodes := pagetest.Call(p.Tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		var s string
		_ = json.Unmarshal([]byte(v.Value), &s)
		return s
	}
	counts := map[string]int{}
	usable := []string{"button", "textbox", "spinbutton", "combobox", "link", "checkbox", "region", "navigation", "complementary", "heading"}
	for _, n := range nodes {
		role := text(n.Role)
		counts[role]++
		if slices.Contains(usable, role) && !n.Ignored && text(n.Name) == "" {
			p.Errorf("a %s has no name: node %v", role, n.BackendDOMNodeID)
		}
	}
	for _, role := range []string{"main", "banner", "navigation", "complementary", "table", "columnheader", "checkbox", "spinbutton", "status"} {
		if counts[role] == 0 && !(role == "status" && counts["status"] == 0) {
			p.Errorf("there is no %s: %v", role, counts)
		}
	}
	p.Expect(`[...document.querySelectorAll("h1, h2, h3")].filter(h => h.checkVisibility()).map(h => h.localName + h.textContent).join()`, "h1litgpt,h2You,h2shakespeare,h3Title,h2This conversation,h2This browser")
	p.Expect(`document.documentElement.lang`, "en")
}

// A screen reader hears whole blocks while the answer is written, not every token.
func spoken(p *tab) {
	p.script = map[string]string{"tell": "First *paragraph*.\n\n```\na\nb\n```\n\nThe last."}
	p.Say("tell")
	p.Expect(`document.querySelector("#spoken").getAttribute("aria-live")`, "polite")
	p.Expect(`[...document.querySelectorAll("#spoken p")].map(e => e.textContent).join("|")`, "The answer is being written.|First paragraph.|Code, 2 lines.|The last.|The answer is complete.")
	p.Say("full")
	p.Expect(`document.querySelector(".wrong").getAttribute("role")`, "alert")
}

// On a telephone nothing is wider than the screen, and panels lie over the text until they are closed.
func narrow(p *tab) {
	p.script = map[string]string{"wide": "| a | b |\n|---|---|\n| " + strings.Repeat("wide ", 50) + "| " + strings.Repeat("x", 300) + " |\n\n```\n" + strings.Repeat("code ", 100) + "\n```\n\n" + strings.Repeat("y", 500)}
	for _, width := range []int64{320, 390, 800} {
		pagetest.Call(p.Tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 640, DeviceScaleFactor: 1, Mobile: width < 500})
		p.Load()
		p.Say("wide")
		p.Expect(`document.documentElement.scrollWidth <= innerWidth && document.querySelector("#scroll").scrollWidth <= innerWidth`, true)
		p.Expect(`(() => { const s = document.querySelector("#send").getBoundingClientRect(); return s.right <= innerWidth && s.bottom <= innerHeight && s.height >= 40 })()`, true)
		p.Do(chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.WaitVisible(chromedp.CSS("#new")), chromedp.Click(chromedp.CSS("#settings-toggle")), chromedp.WaitVisible(chromedp.CSS("#key")))
		p.Expect(`document.querySelector("#side").hidden`, true)
		p.Keys(kb.Escape)
		p.Expect(`document.querySelector("#settings").hidden`, true)
	}
}
