package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// What is wrong with a request is told in OpenAI's form, with the parameter.
func TestErrors(t *testing.T) {
	m := newFake(t)
	m.context = 64
	c := start(t, m, func(c *Config) { c.MaxBody, c.MaxInputs = 100_000, 3 })
	chat := func(more string) string { return fmt.Sprintf(ask, ", "+more) }
	messages := func(list string) string { return `{"messages": ` + list + `}` }
	text := func(more string) string { return `{"prompt": "To be", ` + more + `}` }
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	for _, x := range []struct {
		path, body string
		status     int
		param, has string
	}{
		{"/v1/chat/completions", ``, 415, "", "Content-Type"},
		{"/v1/chat/completions", `{`, 400, "", "no JSON"},
		{"/v1/chat/completions", `[]`, 400, "", "object wanted"},
		{"/v1/chat/completions", `"x"`, 400, "", "object wanted"},
		{"/v1/chat/completions", `{} {}`, 400, "", "no JSON"},
		{"/v1/chat/completions", `{}`, 400, "messages", "missing"},
		{"/v1/chat/completions", "{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}", 400, "", "UTF-8"},
		{"/v1/chat/completions", messages(deep), 400, "", "deep"},
		{"/v1/chat/completions", messages(`null`), 400, "messages", "missing"},
		{"/v1/chat/completions", messages(`"x"`), 400, "messages", "list"},
		{"/v1/chat/completions", messages(`[]`), 400, "messages", "0 messages"},
		{"/v1/chat/completions", messages(`[123]`), 400, "messages", "no object"},
		{"/v1/chat/completions", messages(`[{}]`), 400, "messages", "no role"},
		{"/v1/chat/completions", messages(`[{"role": 123, "content": "x"}]`), 400, "messages", "string"},
		{"/v1/chat/completions", messages(`[{"role": "user", "content": 123}]`), 400, "messages", "content"},
		{"/v1/chat/completions", messages(`[{"role": "user"}]`), 400, "messages", "no content"},
		{"/v1/chat/completions", messages(`[{"role": "user<|im_end|>", "content": "x"}]`), 400, "messages", "role"},
		{"/v1/chat/completions", messages(`[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]`), 400, "messages", "text only"},
		{"/v1/chat/completions", messages(`[{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}]`), 400, "messages", "both"},
		{"/v1/chat/completions", messages(`[{"role": "user", "content": "` + strings.Repeat("word ", 100) + `"}]`), 400, "messages", "context of 64"},
		{"/v1/chat/completions", chat(`"stream": true, "max_tokens": 0`), 400, "max_tokens", "positive"},
		{"/v1/chat/completions", chat(`"max_tokens": -5`), 400, "max_tokens", "positive"},
		{"/v1/chat/completions", chat(`"max_tokens": 1.5`), 400, "max_tokens", "whole number"},
		{"/v1/chat/completions", chat(`"max_tokens": "9"`), 400, "max_tokens", "whole number"},
		{"/v1/chat/completions", chat(`"temperature": -1`), 400, "temperature", "at least 0"},
		{"/v1/chat/completions", chat(`"temperature": 1e999`), 400, "temperature", "out of range"},
		{"/v1/chat/completions", chat(`"temperature": 1e9`), 400, "temperature", "100"},
		{"/v1/chat/completions", chat(`"temperature": "0.5"`), 400, "temperature", "is a JSON string; a number wanted"},
		{"/v1/chat/completions", chat(`"temperature": -1e999`), 400, "temperature", "out of range"},
		{"/v1/chat/completions", chat(`"seed": 99999999999999999999`), 400, "seed", "out of range"},
		{"/v1/chat/completions", chat(`"seed": 1.5`), 400, "seed", "whole number"},
		{"/v1/chat/completions", chat(`"top_p": 2`), 400, "top_p", "[0, 1]"},
		{"/v1/chat/completions", chat(`"presence_penalty": 3`), 400, "presence_penalty", "[-2, 2]"},
		{"/v1/chat/completions", chat(`"n": 0`), 400, "n", "1 to"},
		{"/v1/chat/completions", chat(`"n": 1000000`), 400, "n", "1 to"},
		{"/v1/chat/completions", chat(`"n": -1`), 400, "n", "1 to"},
		{"/v1/chat/completions", chat(`"n": 99999999999999999999`), 400, "n", "out of range"},
		{"/v1/chat/completions", chat(`"logprobs": true, "top_logprobs": 21`), 400, "top_logprobs", "0 to 20"},
		{"/v1/chat/completions", chat(`"top_logprobs": 2`), 400, "top_logprobs", "logprobs"},
		{"/v1/chat/completions", chat(`"logit_bias": {"x": 1}`), 400, "logit_bias", "token id"},
		{"/v1/chat/completions", chat(`"logit_bias": {"512": 1}`), 400, "logit_bias", "token id"},
		{"/v1/chat/completions", chat(`"logit_bias": {"-1": 1}`), 400, "logit_bias", "token id"},
		{"/v1/chat/completions", chat(`"logit_bias": [[1, 1]]`), 400, "logit_bias", "object"},
		{"/v1/chat/completions", chat(`"logit_bias": {"1": 101}`), 400, "logit_bias", "[-100, 100]"},
		{"/v1/chat/completions", chat(`"logit_bias": {"1": "x"}`), 400, "logit_bias", "[-100, 100]"},
		{"/v1/chat/completions", chat(`"stop": [1]`), 400, "stop", "string"},
		{"/v1/chat/completions", chat(`"stop": ""`), 400, "stop", "0 bytes"},
		{"/v1/chat/completions", chat(`"stop": ["x", ""]`), 400, "stop", "0 bytes"},
		{"/v1/chat/completions", chat(`"stop": ["` + strings.Repeat(`a","`, 20) + `a"]`), 400, "stop", "at most"},
		{"/v1/chat/completions", chat(`"stream_options": {"include_usage": true}`), 400, "stream_options", "stream: true"},
		{"/v1/chat/completions", chat(`"stream": true, "stream_options": {"include_usage": "yes"}`), 400, "stream_options.include_usage", "true or false"},
		{"/v1/chat/completions", chat(`"model": "gpt-4"`), 404, "model", `"gpt-4" does not exist`},
		{"/v1/chat/completions", chat(`"model": "../../etc/passwd"`), 404, "model", "does not exist"},
		{"/v1/chat/completions", chat(`"model": 4`), 400, "model", "string"},
		{"/v1/chat/completions", chat(`"response_format": "json"`), 400, "response_format", "object"},
		{"/v1/chat/completions", chat(`"response_format": {"type": "xml"}`), 400, "response_format", "xml"},
		{"/v1/chat/completions", chat(`"response_format": {"type": "json_schema"}`), 400, "response_format", "needs"},
		{"/v1/chat/completions", chat(`"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integr"}}}`), 400, "response_format", "want null"},
		{"/v1/chat/completions", chat(`"grammar": "root ::= nothing"`), 400, "grammar", "nothing"},
		{"/v1/chat/completions", chat(`"regex": "("`), 400, "regex", ""},
		{"/v1/chat/completions", chat(`"regex": "a", "grammar": "root ::= \"a\""`), 400, "regex", "exclude"},
		{"/v1/chat/completions", chat(`"tools": [{"type": "function"}]`), 400, "tools", "function"},
		{"/v1/chat/completions", chat(`"tool_choice": "required"`), 400, "tool_choice", "no tools"},
		{"/v1/chat/completions", chat(`"tool_choice": "sometimes"`), 400, "tool_choice", "sometimes"},
		{"/v1/chat/completions", chat(`"chat_template_kwargs": []`), 400, "chat_template_kwargs", "object"},
		{"/v1/chat/completions", chat(`"json_schema": {"type": 1}`), 400, "response_format", ""},
		{"/v1/chat/completions", messages(`[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "continue_final_message": true, "add_generation_prompt": true`), 400, "continue_final_message", "exclude"},
		{"/v1/completions", `{}`, 400, "prompt", "missing"},
		{"/v1/completions", `{"prompt": []}`, 400, "prompt", "empty"},
		{"/v1/completions", `{"prompt": [[]]}`, 400, "prompt", "empty"},
		{"/v1/completions", `{"prompt": [1, 512]}`, 400, "prompt", "out of range"},
		{"/v1/completions", `{"prompt": [-1]}`, 400, "prompt", "out of range"},
		{"/v1/completions", `{"prompt": [1, "x"]}`, 400, "prompt", "understood"},
		{"/v1/completions", `{"prompt": [null]}`, 400, "prompt", "understood"},
		{"/v1/completions", `{"prompt": {"x": 1}}`, 400, "prompt", "understood"},
		{"/v1/completions", `{"prompt": ["a", "b", "c", "d"]}`, 400, "prompt", "at most 3"},
		{"/v1/completions", text(`"max_tokens": 0`), 400, "max_tokens", "positive"},
		{"/v1/completions", text(`"n": 0`), 400, "n", "1 to"},
		{"/v1/completions", text(`"suffix": "x"`), 400, "suffix", "not served"},
		{"/v1/completions", text(`"best_of": 3`), 400, "best_of", "not served"},
		{"/v1/completions", text(`"echo": true, "logprobs": 1`), 400, "echo", "not served"},
		{"/v1/embeddings", `{}`, 400, "input", "missing"},
		{"/v1/embeddings", `{"input": "x", "encoding_format": "int8"}`, 400, "encoding_format", "base64"},
		{"/v1/embeddings", `{"input": "x", "dimensions": 2}`, 400, "dimensions", "not cut"},
		{"/v1/embeddings", `{"input": "` + strings.Repeat("word ", 100) + `"}`, 400, "input", "split"},
		{"/v1/responses", `{}`, 400, "input", "input must be"},
		{"/v1/responses", `{"input": "x", "previous_response_id": "resp_1"}`, 400, "previous_response_id", "stored"},
		{"/v1/responses", `{"input": [{"type": "computer_call"}]}`, 400, "input", "computer_call"},
		{"/v1/responses", `{"input": []}`, 400, "input", "at least one"},
		{"/v1/responses", `{"input": "x", "max_output_tokens": 0}`, 400, "max_output_tokens", "max_output_tokens is 0"},
		{"/v1/responses", `{"input": "x", "text": {"format": {"type": "xml"}}}`, 400, "text.format", "text.format has"},
		{"/v1/responses", `{"input": "x", "tools": [{"type": "web_search"}]}`, 400, "tools", "web_search"},
		{"/tokenize", `{}`, 400, "content", "missing"},
		{"/detokenize", `{"tokens": [512]}`, 400, "tokens", "out of range"},
		{"/detokenize", `{"tokens": "x"}`, 400, "tokens", "list"},
		{"/predict", `{}`, 400, "prompt", "missing"},
		{"/v1/unknown", `{}`, 404, "", "no such endpoint"},
		{"/v1/../admin/models", `{}`, 404, "", "no such endpoint"},
		{"//v1/chat/completions", `{}`, 404, "", "no such endpoint"},
		{"/v1/models", `{}`, 405, "", "POST"},
		{"/admin/models", `{"name": "x", "path": "/etc"}`, 403, "", "--api_keys"},
		{"/v1/chat/completions", strings.Repeat(" ", 100_001), 413, "", "larger"},
	} {
		t.Run(fmt.Sprintf("%s %.60q", x.path, x.body), func(t *testing.T) {
			r := c.request("POST", x.path, x.body)
			r.URL.Path = x.path // as it is
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			e, ok := parse(t, string(b))["error"].(map[string]any)
			if !ok {
				t.Fatalf("got %d %s", resp.StatusCode, b)
			}
			param, _ := e["param"].(string)
			message, _ := e["message"].(string)
			if resp.StatusCode != x.status || param != x.param || !strings.Contains(message, x.has) || e["type"] == "" {
				t.Errorf("got %d %s, want %d, param %q, %q", resp.StatusCode, b, x.status, x.param, x.has)
			}
		})
	}
	if n := m.running.Load(); n != 0 {
		t.Errorf("%d requests run", n)
	}
	if status, _ := c.do("GET", "/health", ""); status != 200 {
		t.Errorf("health is %d after all that", status)
	}
}

// What is not asked as it should be is told how, in JSON, also where a page is served beside the API.
func TestWrongWays(t *testing.T) {
	c := start(t, newFake(t), func(c *Config) { c.Page = http.NotFoundHandler() })
	const chat, form = "/v1/chat/completions", "application/x-www-form-urlencoded" // which curl -d sends
	for _, x := range []struct {
		method, path, kind string
		status             int
		allow, code, has   string
	}{
		{"POST", chat, form, 415, "", "unsupported_media_type", "got " + form + "; with curl, add -H 'Content-Type: application/json'"},
		{"POST", chat, "text/plain", 415, "", "unsupported_media_type", "got text/plain"},
		{"POST", chat, "", 415, "", "unsupported_media_type", "got none"},
		{"POST", chat, "application/json, x", 415, "", "unsupported_media_type", "got application/json, x"},
		{"POST", chat, "application/JSON; charset=utf-8", 200, "", "", ""},
		{"GET", chat, "", 405, "POST", "method_not_allowed", "GET; POST wanted"},
		{"OPTIONS", chat, "", 405, "POST", "method_not_allowed", "OPTIONS; POST wanted"},
		{"PUT", "/v1/models", "", 405, "GET, HEAD", "method_not_allowed", "PUT; GET wanted"},
		{"DELETE", "/v1/models/demo", "", 405, "GET, HEAD", "method_not_allowed", "DELETE; GET wanted"},
		{"GET", "/v1/nope", "", 404, "", "not_found", "POST /v1/chat/completions"},
		{"POST", "/nope", "application/json", 404, "", "not_found", "no such endpoint"},
		{"GET", "/v1/chat/completions/", "", 404, "", "not_found", "no such endpoint"},
		{"GET", "/v1", "", 404, "", "not_found", "no such endpoint"},
	} {
		t.Run(x.method+" "+x.path+" "+x.kind, func(t *testing.T) {
			r := c.request(x.method, x.path, fmt.Sprintf(ask, ""))
			if r.Header.Set("Content-Type", x.kind); x.kind == "" {
				r.Header.Del("Content-Type")
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := parse(t, string(b))
			if resp.StatusCode != x.status || resp.Header.Get("Allow") != x.allow {
				t.Errorf("got %d, allowed %q, want %d and %q: %s", resp.StatusCode, resp.Header.Get("Allow"), x.status, x.allow, b)
			}
			if x.code == "" {
				return
			}
			if message, _ := at(t, got, "error", "message").(string); at(t, got, "error", "code") != x.code || !strings.Contains(message, x.has) {
				t.Errorf("got %s, want %s and %q", b, x.code, x.has)
			}
		})
	}
}
