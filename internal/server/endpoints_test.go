package server

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestCompletions(t *testing.T) {
	m := newFake(t)
	m.say = texts(m.tok, " that is the question")
	c := start(t, m, nil)
	for _, x := range []struct {
		body  string
		texts []string
	}{
		{`{"prompt": "To be"}`, []string{" that is the question"}},
		{`{"prompt": "To be", "echo": true}`, []string{"To be that is the question"}},
		{`{"prompt": ["To be", [300, 301]], "n": 2}`, []string{" that is the question", " that is the question", " that is the question", " that is the question"}},
		{`{"prompt": [300, 301], "stop": " the"}`, []string{" that is"}},
	} {
		got := c.post("/v1/completions", x.body)
		choices := got["choices"].([]any)
		if len(choices) != len(x.texts) {
			t.Fatalf("%s: got %d choices, want %d", x.body, len(choices), len(x.texts))
		}
		streamed := make([]string, len(x.texts))
		events, done := c.stream("/v1/completions", strings.TrimSuffix(x.body, "}")+`, "stream": true}`)
		if !done {
			t.Error("no [DONE]")
		}
		for _, e := range events {
			streamed[int(at(t, e, "choices", 0, "index").(float64))] += at(t, e, "choices", 0, "text").(string)
		}
		for i, want := range x.texts {
			if text := at(t, choices, i, "text"); text != want || streamed[i] != want {
				t.Errorf("%s: got %q and %q streamed, want %q", x.body, text, streamed[i], want)
			}
		}
	}
	got := at(t, c.post("/v1/completions", `{"prompt": "To be", "logprobs": 0}`), "choices", 0, "logprobs")
	text := ""
	for i, token := range at(t, got, "tokens").([]any) {
		if offset := at(t, got, "text_offset", i); offset != float64(len(text)) {
			t.Errorf("token %d is at %v, want %d", i, offset, len(text))
		}
		text += token.(string)
	}
	if text != " that is the question" {
		t.Errorf("got tokens %q", text)
	}
}

func TestPredict(t *testing.T) {
	m := newFake(t)
	m.say = texts(m.tok, "Ay, marry.")
	c := start(t, m, func(c *Config) { c.Predict.Path = "/litgpt" })
	if got := c.post("/litgpt", `{"prompt": "Ho"}`)["output"]; got != "Ay, marry." {
		t.Errorf("got %q", got)
	}
	if got := c.post("/litgpt", `{"prompt": 12}`)["output"]; got != "Ay, marry." {
		t.Errorf("a number: got %q", got)
	}
	resp, err := http.DefaultClient.Do(c.request("POST", "/litgpt", `{"prompt": "Ho", "stream": true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, line := range lines {
		text += parse(t, line)["output"].(string)
	}
	if text != "Ay, marry." || len(lines) < 2 {
		t.Errorf("got %q in %d lines", text, len(lines))
	}
}

func TestEmbeddings(t *testing.T) {
	c := start(t, newFake(t), nil)
	got := c.post("/v1/embeddings", `{"input": ["Ho", "Good morrow", [1, 2, 3]]}`)
	coded := c.post("/v1/embeddings", `{"input": ["Ho", "Good morrow", [1, 2, 3]], "encoding_format": "base64"}`)
	for i := range 3 {
		sum := 0.
		b, err := base64.StdEncoding.DecodeString(at(t, coded, "data", i, "embedding").(string))
		if err != nil {
			t.Fatal(err)
		}
		for k, x := range at(t, got, "data", i, "embedding").([]any) {
			sum += x.(float64) * x.(float64)
			if y := math.Float32frombits(binary.LittleEndian.Uint32(b[4*k:])); y != float32(x.(float64)) {
				t.Errorf("%d: got %v as a number and %v in base64", i, x, y)
			}
		}
		if math.Abs(sum-1) > 1e-5 || at(t, got, "data", i, "index") != float64(i) {
			t.Errorf("%d: got %v of length %v", i, at(t, got, "data", i), sum)
		}
	}
	if n := at(t, got, "usage", "prompt_tokens").(float64); n < 6 {
		t.Errorf("got %v tokens", n)
	}
}

func TestTokenize(t *testing.T) {
	m := newFake(t)
	c := start(t, m, nil)
	const text = "Ay, marry 媽 🌍 <|im_end|>"
	got := c.post("/tokenize", fmt.Sprintf(`{"content": %q}`, text))
	ids := fmt.Sprint(m.tok.Encode(text, false))
	if fmt.Sprint(got["tokens"]) != ids {
		t.Errorf("got %v, want %s", got["tokens"], ids)
	}
	if n := len(c.post("/tokenize", fmt.Sprintf(`{"prompt": %q}`, text))["tokens"].([]any)); n != len(m.tok.Encode(text, true)) {
		t.Errorf("got %d tokens with those that the tokenizer adds", n)
	}
	back := c.post("/detokenize", fmt.Sprintf(`{"tokens": [%s]}`, strings.Join(strings.Fields(strings.Trim(ids, "[]")), ",")))
	if back["content"] != text {
		t.Errorf("got %q back, want %q", back["content"], text)
	}
	var bytes []byte
	for _, token := range c.post("/tokenize", fmt.Sprintf(`{"content": %q, "with_pieces": true}`, text))["tokens"].([]any) {
		switch piece := at(t, token, "piece").(type) {
		case string:
			bytes = append(bytes, piece...)
		case []any:
			for _, b := range piece {
				bytes = append(bytes, byte(b.(float64)))
			}
		}
	}
	if string(bytes) != text {
		t.Errorf("got pieces %q, want %q", bytes, text)
	}
	if got := c.post("/apply-template", fmt.Sprintf(ask, ""))["prompt"]; got != "<s><|im_start|>user\nWhat, ho!<|im_end|>\n<|im_start|>assistant\n" {
		t.Errorf("got the prompt %q", got)
	}
	if got := c.post("/apply-template", fmt.Sprintf(ask, `, "add_generation_prompt": false`))["prompt"]; got != "<s><|im_start|>user\nWhat, ho!<|im_end|>\n" {
		t.Errorf("got the prompt %q", got)
	}
}

func TestResponses(t *testing.T) {
	m := newFake(t)
	m.say = texts(m.tok, "Good morrow")
	c := start(t, m, nil)
	got := c.post("/v1/responses", `{"input": "Ho", "instructions": "Be brief.", "temperature": 0}`)
	if at(t, got, "status") != "completed" || at(t, got, "output", 0, "content", 0, "text") != "Good morrow" || at(t, got, "output", 0, "type") != "message" {
		t.Errorf("got %v", got)
	}
	got = c.post("/v1/responses", `{"input": [{"role": "user", "content": [{"type": "input_text", "text": "Ho"}]}], "max_output_tokens": 1}`)
	if at(t, got, "status") != "incomplete" || at(t, got, "incomplete_details", "reason") != "max_output_tokens" {
		t.Errorf("got %v", got)
	}
	events, _ := c.stream("/v1/responses", `{"input": "Ho", "stream": true}`)
	var kinds []string
	text := ""
	for i, e := range events {
		if e["sequence_number"] != float64(i) {
			t.Errorf("event %d has number %v", i, e["sequence_number"])
		}
		kind := e["type"].(string)
		if n := len(kinds); n == 0 || kinds[n-1] != kind {
			kinds = append(kinds, kind)
		}
		if kind == "response.output_text.delta" {
			text += e["delta"].(string)
		}
	}
	want := "response.created response.in_progress response.output_item.added response.content_part.added response.output_text.delta response.output_text.done response.content_part.done response.output_item.done response.completed"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	last := events[len(events)-1]
	if text != "Good morrow" || at(t, last, "response", "output", 0, "content", 0, "text") != text {
		t.Errorf("got %q, at the end %v", text, last)
	}
}

// Counters are there before anything happens, and count what does.
func TestMetrics(t *testing.T) {
	m := newFake(t)
	c := start(t, m, nil)
	_, before := c.do("GET", "/metrics", "")
	for _, name := range []string{"litgpt_ready 1", `litgpt_kv_cache_usage{model="demo"} 0.25`, `vllm:num_requests_waiting{model_name="demo"} 0`, `vllm:kv_cache_usage_perc{model_name="demo"} 0.25`,
		`litgpt_models{kind="model"} 1`, "litgpt_panics_total 0", "process_resident_memory_bytes", "go_goroutines"} {
		if !strings.Contains(before, name) {
			t.Errorf("there is no %s", name)
		}
	}
	m.say = texts(m.tok, "Good morrow")
	c.post("/v1/chat/completions", fmt.Sprintf(ask, ""))
	n := len(m.tok.Encode("Good morrow", false)) + 1
	var after string
	eventually(t, "the request is counted", func() bool {
		_, after = c.do("GET", "/metrics", "")
		return strings.Contains(after, `litgpt_requests_total{endpoint="/v1/chat/completions",status="200"} 1`)
	})
	for _, name := range []string{fmt.Sprintf(`litgpt_generated_tokens_total{model="demo"} %d`, n), `litgpt_answers_total{model="demo",reason="stop"} 1`,
		`litgpt_first_token_seconds_count{model="demo"} 1`, `litgpt_answers_active{model="demo"} 0`} {
		if !strings.Contains(after, name+"\n") {
			t.Errorf("there is no %s", name)
		}
	}
	if strings.Contains(after, "NaN") {
		t.Error("something is NaN")
	}
}

func TestModelsEndpoint(t *testing.T) {
	c := start(t, newFake(t), nil)
	_, text := c.do("GET", "/v1/models", "")
	if got := parse(t, text); at(t, got, "data", 0, "id") != "demo" || at(t, got, "object") != "list" {
		t.Errorf("got %s", text)
	}
	if status, text := c.do("GET", "/v1/models/demo", ""); status != 200 || parse(t, text)["id"] != "demo" {
		t.Errorf("got %d %s", status, text)
	}
	if status, _ := c.do("GET", "/v1/models/other", ""); status != 404 {
		t.Errorf("got %d for a model that is not there", status)
	}
}

// Health tells loading, readiness and the beginning of a shutdown apart from each other.
func TestHealth(t *testing.T) {
	c := start(t, newFake(t), nil)
	check := func(want int, what string) {
		t.Helper()
		if status, _ := c.do("GET", "/health", ""); status != want {
			t.Errorf("%s: got %d, want %d", what, status, want)
		}
		if status, _ := c.do("GET", "/health/live", ""); status != 200 {
			t.Errorf("%s: not alive", what)
		}
	}
	check(200, "ready")
	c.s.ready.Store(false)
	check(503, "loading")
	if status, _ := c.do("POST", "/v1/chat/completions", fmt.Sprintf(ask, "")); status != 503 {
		t.Errorf("got %d while loading, want 503", status)
	}
	c.s.ready.Store(true)
	c.s.stopping.Store(true)
	check(503, "stopping")
	c.post("/v1/chat/completions", fmt.Sprintf(ask, "")) // is still answered
	c.s.draining.Store(true)
	if status, _ := c.do("POST", "/v1/chat/completions", fmt.Sprintf(ask, "")); status != 503 {
		t.Errorf("got %d while draining, want 503", status)
	}
	time.Sleep(time.Millisecond)
}
