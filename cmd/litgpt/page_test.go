//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/litgpt-go/litgpt/internal/server/page/pagetest"
)

// paged is the chat page of a litgpt serve with a model and an adapter, open in a browser.
type paged struct {
	*pagetest.Tab
	serving
	keys string // the file
	key  string // what the page is told
}

// The chat page in a real browser with litgpt serve and a model behind it: package page's own tests have an API of theirs.
func TestChatPage(t *testing.T) {
	browser := pagetest.Browser(t)
	dir := t.TempDir()
	model := copyDir(t, path("../../demo/model"), filepath.Join(dir, "model"))
	// Room for an answer that lasts until it is stopped, and a template that, as Mistral's, wants turns to alternate, but for calls of tools.
	edit(t, filepath.Join(model, "config.json"), `"max_position_embeddings": 512`, `"max_position_embeddings": 8192`)
	edit(t, filepath.Join(model, "tokenizer_config.json"), "{% for message in messages %}", "{% set ns = namespace(turns=0) %}{% for message in messages %}"+
		"{% if message['role'] == 'user' or message['role'] == 'assistant' and not message['tool_calls'] %}{% if (message['role'] == 'user') != (ns.turns % 2 == 0) %}"+
		"{{ raise_exception('conversation roles must alternate user/assistant') }}{% endif %}{% set ns.turns = ns.turns + 1 %}{% endif %}")
	ok(t, litgpt(t, dir, append([]string{"finetune_lora", path("../../demo/model")}, finetuneArgs(t, "finetune_lora", 8, 0)[2:]...)...))
	keys := filepath.Join(dir, "keys")
	var key [2]string
	for i := range key {
		out, err := exec.Command("litgpt", "serve", "--api_keys", keys, "--make_key", fmt.Sprint("reader", i)).Output()
		check(t, err)
		key[i] = strings.TrimSpace(string(out))
	}
	args := []string{model, "--name", "base", "--adapters", "verse=" + filepath.Join(dir, "out", "final"), "--api_keys", keys, "--open_metrics", "--threads", "1", "--deterministic"} // what is in the cache changes no answer
	s := serve(t, args...)
	for _, tt := range []struct {
		name string
		test func(*paged)
	}{{"turns", turns}, {"adapter", chosenAdapter}, {"stop", stopped}, {"context", beyondContext}, {"key", keyTaken}} {
		t.Run(tt.name, func(t *testing.T) {
			p := &paged{pagetest.Open(t, browser, s.url), s, keys, key[0]}
			if tt.name == "key" {
				p.key = key[1]
			}
			// The server wants a key, and the page asks for it.
			p.Wait(`document.activeElement.id === "key"`)
			p.Keys(p.key + "\r")
			p.Wait(`!document.querySelector("#model").disabled`)
			tt.test(p)
		})
	}
	t.Run("restart", func(t *testing.T) { restarted(t, browser, model) })
}

// Two turns, by keyboard alone, give what the API gives for the same messages; the answer is shown while it grows.
func turns(p *paged) {
	p.likeliest(200)
	// What is shown whenever the answer changes.
	pagetest.Evaluate[chromedp.Void](p.Tab, `{
		window.grown = new Set();
		new MutationObserver(() => grown.add(document.querySelector(".assistant .text").innerText))
			.observe(document.querySelector("#messages"), { childList: true, characterData: true, subtree: true });
	}`)
	first, second := message{"user", "Good morrow, my lord."}, message{"user", "What news from Rome?"}
	before := p.metric("litgpt_prompt_tokens_total")
	p.Say(first.Content)
	one := p.ask("base", 200, first)
	p.shows(one)
	p.Expect(`[...grown].filter(text => text !== "" && text !== document.querySelector(".assistant .text").innerText).length > 0`, true)
	if got := p.metric("litgpt_prompt_tokens_total") - before; got != 2*one.prompt { // the page's and ours
		p.Errorf("the prompts had %v tokens, want twice %v", got, one.prompt)
	}
	before = p.metric("litgpt_prompt_tokens_total")
	p.Say(second.Content)
	two := p.ask("base", 200, first, message{"assistant", one.text}, second)
	p.shows(one, two)
	if got := p.metric("litgpt_prompt_tokens_total") - before; got != 2*two.prompt {
		p.Errorf("the prompts of the second turn had %v tokens, want twice %v", got, two.prompt)
	}
	if alone := p.ask("base", 200, second); alone.text == two.text || alone.prompt+100 > two.prompt {
		p.Errorf("the first turn makes no difference: %v and %v", alone, two)
	}
	// A reload has it all, from the browser, and the conversation goes on.
	p.Load()
	p.shows(one, two)
	third := message{"user", "Farewell."}
	p.Say(third.Content)
	p.shows(one, two, p.ask("base", 200, first, message{"assistant", one.text}, second, message{"assistant", two.text}, third))
}

func chosenAdapter(p *paged) {
	for id, want := range map[string]string{"model": "base", "adapter": "None,verse"} {
		p.Expect(`[...document.querySelectorAll("#`+id+` option")].map(o => o.textContent).join()`, want)
	}
	p.likeliest(24)
	p.Do(chromedp.Focus(chromedp.CSS("#adapter")))
	p.Keys("v") // as in any list of choices
	p.Expect(`document.querySelector("#adapter").value`, "verse")
	q := message{"user", "Who is there?"}
	p.Say(q.Content)
	got := p.ask("verse", 24, q)
	p.shows(got)
	p.Expect(`document.querySelector(".assistant h2").textContent`, "verse")
	if base := p.ask("base", 24, q); base.text == got.text {
		p.Errorf("base and adapter both say %q", base.text)
	}
}

// Stopping, by button and by key, ends the answer in the server too, and what was said of it is part of what follows.
func stopped(p *paged) {
	p.likeliest(0)
	gone := p.metric("litgpt_answers_total")
	for i, by := range []chromedp.Action[chromedp.Void]{chromedp.Click(chromedp.CSS("#stop")), chromedp.KeyEvent(kb.Escape)} {
		p.Do(chromedp.Focus(chromedp.CSS("#prompt")))
		p.Keys("What news from Rome?\r")
		p.Wait(`document.querySelector(".message:last-child .text").innerText.length > 40`)
		p.eventually("litgpt_sequences_running", 1)
		p.eventually("litgpt_answers_active", 1)
		p.Do(by)
		p.Wait(`document.querySelector("#stop").hidden && document.querySelector(".message:last-child .facts").textContent.startsWith("stopped")`)
		p.eventually("litgpt_sequences_running", 0)
		p.eventually("litgpt_answers_active", 0)
		p.eventually("litgpt_answers_total", gone+float64(i)+1)
	}
	if got := p.metric(`litgpt_answers_total{model="base",reason="cancelled"}`); got != 2 {
		p.Errorf("got %v answers cancelled, want 2", got)
	}
	said := p.stored()
	p.likeliest(16)
	p.Say("Go on.")
	last := p.ask("base", 16, append(said, message{"user", "Go on."})...)
	if got := p.stored(); len(got) != 6 || got[5].Content != last.text {
		p.Errorf("got %q, want %q at the end", got, last.text)
	}
}

// A prompt that the context has no room for is refused in words, and can be made shorter.
func beyondContext(p *paged) {
	p.likeliest(16)
	p.Do(chromedp.Focus(chromedp.CSS("#prompt")))
	pagetest.Evaluate[chromedp.Void](p.Tab, `document.querySelector("#prompt").value = "Rome ".repeat(9000)`)
	p.Say("")
	p.Expect(`/^No answer\. The prompt has \d+ tokens, which leaves none of the model's context of 8192 for an answer; shorten the prompt\.$/.test(document.querySelector(".wrong").textContent)`, true)
	p.Do(chromedp.Focus(chromedp.CSS("[data-do=edit]")))
	p.Keys("\r")
	p.Wait(`document.activeElement.localName === "textarea"`)
	p.Do(chromedp.SetValue(chromedp.CSS(".edit textarea"), "What news"))
	p.Keys(" from Rome?")
	p.Keys("\r", chromedp.ModifierCtrl)
	p.Wait(`document.querySelector(".facts") && document.querySelector("#stop").hidden`)
	p.Expect(`document.querySelectorAll(".wrong").length`, 0)
	p.shows(p.ask("base", 16, message{"user", "What news from Rome?"}))
}

// A key that is taken away in the middle of a conversation is asked for anew, and nothing is lost: the message without an answer
// is sent with the next one.
func keyTaken(p *paged) {
	p.likeliest(16)
	first := message{"user", "Good morrow, my lord."}
	p.Say(first.Content)
	one := p.ask("base", 16, first)
	p.shows(one)
	all := read(p, p.keys)
	others, _, _ := bytes.Cut(all, []byte("\n")) // the first reader's
	write(p, p.keys, append(others, '\n'))
	until(p, "the key is refused", func() bool { return p.status("/v1/models") == http.StatusUnauthorized })
	p.Say("Who is there?")
	p.Wait(`document.activeElement.id === "key"`)
	p.Expect(`document.querySelector(".wrong").textContent.startsWith("No answer. The API key is missing or wrong; ")`, true)
	write(p, p.keys, all)
	until(p, "the key is taken", func() bool { return p.status("/v1/models") == http.StatusOK })
	p.Say("Speak.")
	p.Expect(`document.querySelectorAll(".wrong").length`, 0)
	p.shows(one, p.ask("base", 16, first, message{"assistant", one.text}, message{"user", "Who is there?\n\nSpeak."}))
}

// A server that ends in the middle of an answer, and comes back, is no reason to load the page again.
func restarted(t *testing.T, browser context.Context, model string) {
	s := serve(t, model, "--grace", "0.1", "--threads", "1", "--deterministic")
	p := &paged{Tab: pagetest.Open(t, browser, s.url), serving: s}
	p.likeliest(0)
	p.Keys("What news from Rome?\r")
	p.Wait(`document.querySelector(".message:last-child .text").innerText.length > 40`)
	s.stop()
	p.Wait(`document.querySelector(".wrong") && document.querySelector("#stop").hidden`)
	p.Expect(`document.querySelector(".wrong").textContent`, "The answer broke off. The server is shutting down.")
	said := p.stored()
	p.likeliest(16)
	p.Say("Go on.")
	p.Expect(`document.querySelector(".wrong").textContent`, "No answer. The server does not answer. Is it running?")
	serve(t, model, "--threads", "1", "--deterministic", "--port", s.url[strings.LastIndexByte(s.url, ':')+1:])
	p.Do(chromedp.Click(chromedp.CSS("[data-do=retry]")))
	p.Wait(`document.querySelectorAll(".facts").length === 2 && document.querySelector("#stop").hidden`)
	p.Expect(`document.querySelectorAll(".wrong").length`, 0)
	want := p.ask("", 16, append(said, message{"user", "Go on."})...)
	if got := p.stored(); len(got) != 4 || got[1].Content != said[1].Content || got[3].Content != want.text {
		p.Errorf("got %q, want %q and %q", got, said[1].Content, want.text)
	}
}

// -update takes the picture in docs/serve.md anew, of demo/model and the adapter that `make demo` trains.
func TestChatPagePicture(t *testing.T) {
	adapter := path("../../out/demo/finetune/final")
	if !*update || len(files(t, adapter)) == 0 {
		t.Skip("-update, after `make demo`, writes docs/chat-page.png")
	}
	s := serve(t, path("../../demo/model"), "--name", "shakespeare", "--adapters", "dialogue="+adapter, "--temperature", "0.5", "--max_tokens", "80")
	p := pagetest.Open(t, pagetest.Browser(t), s.url)
	pagetest.Call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 1200, Height: 700, DeviceScaleFactor: 1.25})
	pagetest.Call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}}})
	p.Do(chromedp.Focus(chromedp.CSS("#adapter")))
	p.Keys("d")
	p.Do(chromedp.Click(chromedp.CSS("#settings-toggle")), chromedp.SendKeys(chromedp.CSS("#seed"), "4"), chromedp.Click(chromedp.CSS("#side-toggle")))
	for _, conversation := range [][]string{{"Who is your father?"}, {"Good morrow, my lord.", "What news from Rome?"}} {
		p.Do(chromedp.Click(chromedp.CSS("#new")))
		for _, text := range conversation {
			p.Say(text)
		}
	}
	png, err := chromedp.Run(p.Ctx, chromedp.FullScreenshot(100))
	check(t, err)
	write(t, path("../../docs/chat-page.png"), png)
}

// likeliest has the page ask for the likeliest tokens, n at most or as many as fit.
func (p *paged) likeliest(n int) {
	p.Helper()
	if pagetest.Evaluate[bool](p.Tab, `document.querySelector("#settings").hidden`) {
		p.Do(chromedp.Click(chromedp.CSS("#settings-toggle")))
	}
	for id, v := range map[string]int{"temperature": 0, "seed": 7, "max_tokens": n} {
		p.Do(chromedp.SetValue(chromedp.CSS("#"+id), ""))
		if id != "max_tokens" || v > 0 {
			p.Do(chromedp.SendKeys(chromedp.CSS("#"+id), fmt.Sprint(v)))
		}
	}
	p.Do(chromedp.Focus(chromedp.CSS("#prompt")))
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// answer is what the API says, and how many tokens it and what was asked have.
type answer struct {
	text               string
	prompt, completion float64
}

// ask asks the API without the page.
func (p *paged) ask(model string, maxTokens int, messages ...message) answer {
	p.Helper()
	body, err := json.Marshal(map[string]any{"model": model, "messages": messages, "temperature": 0, "seed": 7, "max_tokens": maxTokens})
	check(p, err)
	r, text := p.send("POST", "/v1/chat/completions", string(body))
	var a struct {
		Choices []struct{ Message message }
		Usage   struct {
			PromptTokens     float64 `json:"prompt_tokens"`
			CompletionTokens float64 `json:"completion_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil || len(a.Choices) != 1 || a.Choices[0].Message.Content == "" {
		p.Fatalf("got %d: %s", r, text)
	}
	return answer{a.Choices[0].Message.Content, a.Usage.PromptTokens, a.Usage.CompletionTokens}
}

func (p *paged) send(method, path, body string) (status int, text string) {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Ctx, method, p.url+path, strings.NewReader(body))
	check(p, err)
	r.Header.Set("Authorization", "Bearer "+p.key)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	check(p, err)
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	check(p, err)
	return response.StatusCode, string(all)
}

func (p *paged) status(path string) int {
	p.Helper()
	status, _ := p.send("GET", path, "")
	return status
}

// metric is the sum of a metric's values, or the one value if name has labels.
func (p *paged) metric(name string) (sum float64) {
	p.Helper()
	_, text := p.send("GET", "/metrics", "")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.ContainsAny(rest[:1], "{ ") {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			check(p, err)
			sum += v
		}
	}
	return sum
}

// eventually waits until a metric has a value.
func (p *paged) eventually(name string, want float64) {
	p.Helper()
	until(p, fmt.Sprint(name, " is ", want), func() bool { return p.metric(name) == want })
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

// shows compares the answers that the page has with the API's: as they are kept, as they are read, and their numbers of tokens.
func (p *paged) shows(want ...answer) {
	p.Helper()
	var got []string
	for _, m := range p.stored() {
		if m.Role == "assistant" {
			got = append(got, m.Content)
		}
	}
	for i, a := range want {
		if i >= len(got) || got[i] != a.text {
			p.Fatalf("answer %d: got %q, want %q", i, got, a.text)
		}
		at := fmt.Sprintf(`document.querySelectorAll(".assistant")[%d].querySelector`, i)
		text, _ := json.Marshal(words(a.text))
		p.Expect(at+`(".text").innerText.trim().split(/\s+/).join(" ") === `+string(text), true)
		p.Expect(fmt.Sprintf(`%s(".facts").textContent.includes("%v tokens · ")`, at, a.completion), true)
	}
	if len(got) != len(want) {
		p.Errorf("got %d answers, want %d", len(got), len(want))
	}
}

// words are a text's without how they are spaced, which Markdown has its own way with.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// stored is the conversation as the browser keeps it.
func (p *paged) stored() (messages []message) {
	p.Helper()
	text := pagetest.Evaluate[string](p.Tab, `localStorage.getItem("litgpt.conversation." + sessionStorage.getItem("litgpt.current"))`)
	var c struct {
		Messages []struct {
			Role, Content string
			Answers       []struct{ Content string }
			Chosen        int
		}
	}
	check(p, json.Unmarshal([]byte(text), &c))
	for _, m := range c.Messages {
		if m.Role == "assistant" {
			m.Content = m.Answers[m.Chosen].Content
		}
		messages = append(messages, message{m.Role, m.Content})
	}
	return messages
}
