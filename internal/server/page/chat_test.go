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
)

// The page in a real browser, a tab for each of these.
func TestChromium(t *testing.T) {
	b := newBrowser(t)
	for _, tt := range []struct {
		name string
		test func(*tab)
	}{
		{"conversation", conversation}, {"stop", stop}, {"reload", reload}, {"edit", edit}, {"regenerate", regenerate}, {"settings", parameters},
		{"adapter", adapter}, {"errors", failures}, {"key", key}, {"hostile", hostile}, {"copy", copyCode}, {"files", files}, {"several", several},
		{"keyboard", keyboard}, {"names", names}, {"spoken", spoken}, {"narrow", narrow}, {"markdown", markdown}, {"growing", growing}, {"long", long},
		{"screenshot", screenshot},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(newTab(t, b)) })
	}
}

// Nothing but the keyboard is used: the field has the focus from the start, and keeps it.
func conversation(p *tab) {
	p.expect(`document.activeElement.id`, "prompt")
	p.keys("Good morrow")
	p.keys("\r", chromedp.ModifierShift)
	p.keys("my lord")
	p.keys("\r", chromedp.ModifierCtrl)
	p.wait(`document.querySelector(".facts")?.textContent.includes("tokens")`)
	p.expect(answers, "Answer 1 to Good morrow\nmy lord.")
	p.expect(`document.querySelector(".facts").textContent.startsWith("cut at the limit of tokens · 8 tokens · ")`, true)
	p.expect(`document.activeElement.id`, "prompt")
	p.expect(`document.title`, "Good morrow my lord – litgpt")
	want := `{"messages":[{"content":"Good morrow\nmy lord","role":"user"}],"model":"shakespeare","stream":true,"stream_options":{"include_usage":true}}`
	if got, _ := json.Marshal(p.lastBody()); string(got) != want {
		p.Errorf("got %s, want %s", got, want)
	}
	p.say("And then?")
	want = `[{"content":"Good morrow\nmy lord","role":"user"},{"content":"Answer 1 to Good morrow\nmy lord.","role":"assistant"},{"content":"And then?","role":"user"}]`
	if got, _ := json.Marshal(p.lastBody()["messages"]); string(got) != want {
		p.Errorf("got %s, want %s", got, want)
	}
	p.keys("\r") // an empty message is none
	p.expect(`document.querySelectorAll(".message").length`, 4)
}

// Stopping keeps what was said, and the server hears of it; before the first word there is nothing to keep.
func stop(p *tab) {
	for _, by := range []chromedp.Action[chromedp.Void]{chromedp.KeyEvent(kb.Escape), chromedp.Click(chromedp.CSS("#stop"))} {
		p.run(chromedp.Focus(chromedp.CSS("#prompt")))
		p.keys("slow\r")
		p.wait(`document.querySelector(".message:last-child .text").innerText.includes("word word")`)
		p.expect(`document.querySelector(".message:last-child").getAttribute("aria-busy")`, true)
		p.expect(`document.querySelector("#send").hidden`, true)
		p.run(by)
		p.left()
		p.wait(`document.querySelector("#stop").hidden && document.querySelector(".message:last-child .facts").textContent.startsWith("stopped")`)
		p.expect(`document.querySelector(".message:last-child .text").innerText.startsWith("word word")`, true)
	}
	p.keys("hidden\r")
	p.wait(`!document.querySelector("#stop").hidden`)
	p.keys(kb.Escape)
	p.left()
	p.wait(`document.querySelector("#stop").hidden`)
	p.expect(`document.querySelector(".message:last-child h2").textContent`, "You")
	p.expect(`document.querySelectorAll(".wrong").length`, 0)
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
	p.say("hello")
	p.run(chromedp.Click(chromedp.CSS("#settings-toggle")), chromedp.SendKeys(chromedp.CSS("#system"), "Be brief."), chromedp.SendKeys(chromedp.CSS("#key"), "secret"), chromedp.Focus(chromedp.CSS("#prompt")))
	p.keys("slow\r")
	p.wait(`document.querySelector(".message:last-child .text").innerText.includes("word word")`)
	p.open()
	p.wait(`document.querySelectorAll(".message").length === 4`)
	p.expect(answers+`.startsWith("Answer 1 to hello.|word word")`, true)
	p.expect(`document.querySelector("#system").value + document.querySelector("#key").value`, "Be brief.secret")
	p.expect(`JSON.stringify(localStorage).includes("secret")`, false)
	p.expect(`document.querySelector("#settings").hidden`, false)
	p.left()
}

// Editing a message takes back what came after it, until it is undone.
func edit(p *tab) {
	for _, s := range []string{"one", "two", "three"} {
		p.say(s)
	}
	p.run(chromedp.Focus(chromedp.CSS(`[data-do=edit][data-at="2"]`)))
	p.keys("\r")
	p.expect(`document.activeElement.value`, "two")
	p.keys(" more")
	p.keys(kb.Escape)
	p.expect(`document.activeElement.dataset.do + document.querySelectorAll(".message").length`, "edit6")
	p.keys("\r")
	p.keys(" or so")
	p.keys("\r", chromedp.ModifierCtrl)
	p.wait(`document.querySelectorAll(".message").length === 4 && document.querySelector("#stop").hidden`)
	p.expect(answers, "Answer 1 to one.|Answer 4 to two or so.")
	p.run(chromedp.Click(chromedp.CSS("#notice button")))
	p.wait(`document.querySelectorAll(".message").length === 6`)
	p.expect(answers, "Answer 1 to one.|Answer 2 to two.|Answer 3 to three.")
	p.open()
	p.expect(answers, "Answer 1 to one.|Answer 2 to two.|Answer 3 to three.")
}

// Answers made before are kept beside the new one, and the one shown is what the model sees.
func regenerate(p *tab) {
	p.say("one")
	p.run(chromedp.Click(chromedp.CSS("[data-do=retry]")))
	p.wait(answers + ` === "Answer 2 to one." && document.querySelector("#stop").hidden`)
	if got := len(p.lastBody()["messages"].([]any)); got != 1 {
		p.Errorf("got %d messages, want the user's alone", got)
	}
	p.run(chromedp.Focus(chromedp.CSS("[data-do=previous]")))
	p.keys("\r")
	p.expect(answers+` + document.activeElement.dataset.do`, "Answer 1 to one.previous")
	p.say("two")
	if got := p.lastBody()["messages"].([]any)[1].(map[string]any)["content"]; got != "Answer 1 to one." {
		p.Errorf("the model saw %q", got)
	}
}

func parameters(p *tab) {
	p.run(chromedp.Click(chromedp.CSS("#settings-toggle")))
	for id, text := range map[string]string{"system": "Speak as the king.", "temperature": "0", "top_p": "0.9", "max_tokens": "12", "seed": "-7"} {
		p.run(chromedp.SendKeys(chromedp.CSS("#"+id), text))
	}
	p.say("hello")
	want := `{"max_tokens":12,"messages":[{"content":"Speak as the king.","role":"system"},{"content":"hello","role":"user"}],"model":"shakespeare","seed":-7,"stream":true,"stream_options":{"include_usage":true},"temperature":0,"top_p":0.9}`
	if got, _ := json.Marshal(p.lastBody()); string(got) != want {
		p.Errorf("got %s, want %s", got, want)
	}
	p.run(chromedp.SetValue(chromedp.CSS("#temperature"), ""), chromedp.SendKeys(chromedp.CSS("#temperature"), "3"))
	p.run(chromedp.Focus(chromedp.CSS("#prompt")))
	p.keys("again\r")
	p.wait(`document.activeElement.id === "temperature"`)
	if got := len(p.bodies); got != 1 {
		p.Errorf("got %d requests, want none with a temperature of 3", got)
	}
	// A new conversation begins with the settings of the last.
	p.run(chromedp.SetValue(chromedp.CSS("#temperature"), "1"), chromedp.SendKeys(chromedp.CSS("#temperature"), ".5"), chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.Click(chromedp.CSS("#new")))
	p.expect(`document.querySelector("#temperature").value + document.querySelector("#system").value`, "1.5Speak as the king.")
	p.run(chromedp.SetValue(chromedp.CSS("#theme"), "dark"))
	evaluate[chromedp.Void](p, `document.querySelector("#theme").dispatchEvent(new Event("change"))`)
	p.open()
	p.expect(`getComputedStyle(document.body).backgroundColor`, "rgb(23, 25, 26)")
}

func adapter(p *tab) {
	options := func(id string) string {
		return `[...document.querySelectorAll("#` + id + ` option")].map(o => o.textContent).join()`
	}
	pick := func(id, value string) {
		evaluate[chromedp.Void](p, fmt.Sprintf(`{ const s = document.querySelector("#%s"); s.value = %q; s.dispatchEvent(new Event("change")); }`, id, value))
	}
	p.expect(options("model"), "shakespeare,smollm2")
	p.expect(options("adapter"), "None,sonnets,plays")
	pick("adapter", "plays")
	p.say("hello")
	if got := p.lastBody()["model"]; got != "plays" {
		p.Errorf("got model %v, want plays", got)
	}
	p.open()
	p.expect(`document.querySelector("#model").value + document.querySelector("#adapter").value`, "shakespeareplays")
	pick("model", "smollm2")
	p.expect(`document.querySelector("#adapter-choice").hidden`, true)
	p.say("hello")
	if got := p.lastBody()["model"]; got != "smollm2" {
		p.Errorf("got model %v, want smollm2", got)
	}
	p.expect(`[...document.querySelectorAll(".assistant h2")].map(h => h.textContent).join()`, "plays,smollm2")
}

// What goes wrong is said, keeps what there is, and can be tried again.
func failures(p *tab) {
	p.say("full")
	p.expect(`document.querySelector(".wrong").textContent`, "No answer. the queue is full Try again in 7 s.")
	p.expect(`document.querySelectorAll(".message").length`, 1)
	p.run(chromedp.Click(chromedp.CSS("[data-do=retry]")))
	p.wait(`document.querySelector("#stop").hidden && document.querySelector(".wrong")`)
	if got := len(p.bodies); got != 2 {
		p.Errorf("got %d requests, want 2", got)
	}
	for said, want := range map[string]string{"broken": "the model gave NaN", "cut": "The connection was lost in the middle of the answer."} {
		p.say(said)
		p.expect(`document.querySelector(".wrong").textContent`, "No answer. "+want)
		p.expect(`document.querySelector(".message:last-child .text").textContent`, "half an ans")
	}
	p.say("hello")
	p.expect(`document.querySelectorAll(".wrong").length`, 0)
}

// A server that wants a key is asked with one that stays in this tab.
func key(p *tab) {
	p.mu.Lock()
	p.api.key = "sesame"
	p.mu.Unlock()
	p.open()
	p.wait(`document.activeElement.id === "key"`)
	p.keys("sesame\r")
	p.wait(`!document.querySelector("#model").disabled`)
	p.say("hello")
	p.expect(answers, "Answer 1 to hello.")
	p.expect(`JSON.stringify(localStorage).includes("sesame")`, false)
	p.expect(`sessionStorage.getItem("litgpt.key")`, "sesame")
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
	p.say("attack")
	p.say(`<img src=x onerror="window.hacked=1"> & [x](javascript:hacked=1)`)
	p.expect(`String(window.hacked)`, "undefined")
	p.expect(`document.querySelectorAll("#messages :is(img, script, iframe, svg, style, form, object, embed, link, meta, base)").length`, 0)
	p.expect(`[...document.querySelectorAll("#messages a")].map(a => a.href).join()`, "http://example.com/,http://example.com/pixel.png?q=secret,https://example.com/%22,http://example.com/")
	p.expect(`[...document.querySelectorAll("#messages *")].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith("on") || n === "style" || n === "src").length`, 0)
	p.expect(`[...document.querySelectorAll("#messages a")].every(a => a.rel === "noopener noreferrer nofollow" && a.target === "_blank")`, true)
	p.expect(`document.querySelector(".assistant .text").innerText.includes('<img src=x onerror="window.hacked=1"><script>')`, true)
	p.expect(`document.querySelectorAll(".user .text")[1].textContent`, `<img src=x onerror="window.hacked=1"> & [x](javascript:hacked=1)`)
}

func copyCode(p *tab) {
	p.script = map[string]string{"code": "Here:\n\n```go\nfunc main() {\n\tprintln(\"<hi>\")\n}\n```\n\ndone"}
	p.say("code")
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(p.ctx, browser.SetPermission, browser.SetPermissionParams{Permission: &browser.PermissionDescriptor{Name: name},
			Setting: browser.PermissionSettingGranted, Origin: p.url, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID}); err != nil {
			p.Fatal(err)
		}
	}
	p.run(chromedp.Click(chromedp.CSS("[data-copy]")))
	p.wait(`document.querySelector("[data-copy]").textContent === "Copied"`)
	p.expect(`navigator.clipboard.readText()`, "func main() {\n\tprintln(\"<hi>\")\n}")
	p.run(chromedp.Click(chromedp.CSS(".assistant [data-do=copy]")))
	p.wait(`document.querySelector(".assistant [data-do=copy]").textContent === "Copied"`)
	p.expect(`navigator.clipboard.readText()`, p.script["code"])
	p.wait(`document.querySelector("[data-copy]").textContent === "Copy"`)
}

// An export read again is the same conversation; a file of another program is read too, and one that is no such file harms nothing.
func files(p *tab) {
	p.say("one")
	p.run(chromedp.Click(chromedp.CSS("[data-do=retry]")))
	p.wait(answers + ` === "Answer 2 to one." && document.querySelector("#stop").hidden`)
	dir := p.TempDir()
	if _, err := chromedp.CallBrowser(p.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir,
		BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID}); err != nil {
		p.Fatal(err)
	}
	p.run(chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.Click(chromedp.CSS("#export")))
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
		evaluate[chromedp.Void](p, `document.querySelector("#notice").textContent = ""`)
		p.run(chromedp.SetUploadFiles(chromedp.CSS("#import-file"), []string{tt.file}))
		p.wait(fmt.Sprintf(`document.querySelector("#notice").textContent.includes(%q)`, tt.notice))
		p.expect(answers, tt.answers)
	}
	p.expect(`[...document.querySelectorAll("#conversations .open")].map(b => b.textContent).sort().join()`, "from afar,one,one,x")
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
	p.run(chromedp.Click(chromedp.CSS("#side-toggle")))
	p.say("first")
	p.run(chromedp.Click(chromedp.CSS("#new")))
	p.expect(`document.querySelectorAll(".message").length + document.activeElement.id`, "0prompt")
	p.keys("slow\r")
	p.wait(`document.querySelector(".message:last-child .text").innerText.includes("word word")`)
	p.run(chromedp.Click(`//button[text()="first"]`))
	p.left()
	p.wait(answers + ` === "Answer 1 to first." && document.querySelector("#stop").hidden && !document.querySelector("#send").hidden`)
	p.say("second")
	p.expect(answers, "Answer 1 to first.|Answer 3 to second.")
	p.run(chromedp.Click(`//button[text()="slow"]`))
	p.wait(answers + `.startsWith("word word")`)
	p.run(chromedp.Click(`//button[@aria-label="Remove “first”"]`))
	p.expect(`document.querySelectorAll("#conversations li").length`, 1)
	p.run(chromedp.Click(chromedp.CSS("#notice button")))
	p.expect(answers+` + document.querySelectorAll("#conversations li").length`, "Answer 1 to first.|Answer 3 to second.2")
	// Another tab's conversation is listed here, and not written over.
	evaluate[chromedp.Void](p, `localStorage.setItem("litgpt.conversation.other", JSON.stringify({title: "from another tab", messages: []}))`)
	evaluate[chromedp.Void](p, `dispatchEvent(new StorageEvent("storage", {key: "litgpt.conversation.other"}))`)
	p.expect(`document.querySelectorAll("#conversations li").length`, 3)
}

// Everything is reached with Tab, in the order it is seen, and no element keeps the focus.
func keyboard(p *tab) {
	p.script = map[string]string{"code": "```\nx\n```\n\n[link](https://example.com)"}
	p.say("code")
	p.run(chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.Click(chromedp.CSS("#settings-toggle")))
	evaluate[chromedp.Void](p, `document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus()`)
	var got []string
	for range 60 {
		p.keys(kb.Tab)
		at := evaluate[string](p, `(() => { const e = document.activeElement; return e === document.body ? "" : e.id || e.dataset.do || (e.dataset.copy && "copy-code") || e.className || e.localName })()`)
		if at == "" || len(got) > 1 && at == got[0] {
			break
		}
		got = append(got, at)
	}
	want := "skip side-toggle model adapter settings-toggle new open remove export export-all import scroll copy edit copy-code pre a copy retry prompt send system temperature top_p max_tokens seed key theme"
	if strings.Join(got, " ") != want {
		p.Errorf("Tab goes to\n%s, want\n%s", strings.Join(got, " "), want)
	}
	evaluate[chromedp.Void](p, `document.querySelector(".skip").focus()`)
	p.keys("\r")
	p.expect(`document.activeElement.id`, "prompt")
}

// Whatever can be used has a name that a screen reader says, and roles are what they should be.
func names(p *tab) {
	p.script = map[string]string{"code": "# Title\n\n```go\nx\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- [x] done"}
	p.say("code")
	p.run(chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.Click(chromedp.CSS("#settings-toggle")))
	call(p, accessibility.Enable, cdp.Empty{})
	nodes := call(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
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
	p.expect(`[...document.querySelectorAll("h1, h2, h3")].filter(h => h.checkVisibility()).map(h => h.localName + h.textContent).join()`, "h1litgpt,h2You,h2shakespeare,h3Title,h2This conversation,h2This browser")
	p.expect(`document.documentElement.lang`, "en")
}

// A screen reader hears whole blocks while the answer is written, not every token.
func spoken(p *tab) {
	p.script = map[string]string{"tell": "First *paragraph*.\n\n```\na\nb\n```\n\nThe last."}
	p.say("tell")
	p.expect(`document.querySelector("#spoken").getAttribute("aria-live")`, "polite")
	p.expect(`[...document.querySelectorAll("#spoken p")].map(e => e.textContent).join("|")`, "The answer is being written.|First paragraph.|Code, 2 lines.|The last.|The answer is complete.")
	p.say("full")
	p.expect(`document.querySelector(".wrong").getAttribute("role")`, "alert")
}

// On a telephone nothing is wider than the screen, and panels lie over the text until they are closed.
func narrow(p *tab) {
	p.script = map[string]string{"wide": "| a | b |\n|---|---|\n| " + strings.Repeat("wide ", 50) + "| " + strings.Repeat("x", 300) + " |\n\n```\n" + strings.Repeat("code ", 100) + "\n```\n\n" + strings.Repeat("y", 500)}
	for _, width := range []int64{320, 390, 800} {
		call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 640, DeviceScaleFactor: 1, Mobile: width < 500})
		p.open()
		p.say("wide")
		p.expect(`document.documentElement.scrollWidth <= innerWidth && document.querySelector("#scroll").scrollWidth <= innerWidth`, true)
		p.expect(`(() => { const s = document.querySelector("#send").getBoundingClientRect(); return s.right <= innerWidth && s.bottom <= innerHeight && s.height >= 40 })()`, true)
		p.run(chromedp.Click(chromedp.CSS("#side-toggle")), chromedp.WaitVisible(chromedp.CSS("#new")), chromedp.Click(chromedp.CSS("#settings-toggle")), chromedp.WaitVisible(chromedp.CSS("#key")))
		p.expect(`document.querySelector("#side").hidden`, true)
		p.keys(kb.Escape)
		p.expect(`document.querySelector("#settings").hidden`, true)
	}
}
