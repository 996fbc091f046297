// Package clients calls a running litgpt serve as users of OpenAI's Go client do, and checks what the client makes of
// the answers. Any model will do: nothing depends on what it says.
//
//	litgpt serve demo/model --port 8000 &
//	cd tools/clients && LITGPT_URL=http://127.0.0.1:8000/v1 go test -count=1 .
//
// With LITGPT_KEY, which the server must know, wrong keys are tried too.
package clients

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

// server is the server that is asked, and its first model.
type server struct {
	*testing.T
	openai.Client
	model, url, key string
}

func open(t *testing.T) server {
	t.Helper()
	s := server{T: t, url: os.Getenv("LITGPT_URL"), key: os.Getenv("LITGPT_KEY")}
	if s.url == "" {
		t.Skip("LITGPT_URL is not set: litgpt serve demo/model, then http://127.0.0.1:8000/v1")
	}
	s.Client = openai.NewClient(option.WithBaseURL(s.url), option.WithAPIKey(s.key))
	models, err := s.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.model = models.Data[0].ID
	return s
}

// question is a short chat.
func (s server) question(text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: s.model, Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Be brief."), openai.UserMessage(text)},
		MaxTokens: openai.Int(16), Temperature: openai.Float(0)}
}

func (s server) ask(p openai.ChatCompletionNewParams) *openai.ChatCompletion {
	s.Helper()
	r, err := s.Chat.Completions.New(s.Context(), p)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// stream gathers a streamed answer by the client's own accumulator.
func (s server) stream(p openai.ChatCompletionNewParams) (acc openai.ChatCompletionAccumulator, chunks int) {
	s.Helper()
	stream := s.Chat.Completions.NewStreaming(s.Context(), p)
	defer stream.Close()
	for stream.Next() {
		chunks++
		if !acc.AddChunk(stream.Current()) {
			s.Fatalf("chunk %d does not fit what came before: %s", chunks, stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		s.Fatal(err)
	}
	return acc, chunks
}

func TestChat(t *testing.T) {
	s := open(t)
	p := s.question("Good morrow, my lord.")
	whole := s.ask(p)
	if c := whole.Choices[0]; c.Message.Role != "assistant" || c.FinishReason != "length" && c.FinishReason != "stop" || whole.Model != s.model || whole.Usage.CompletionTokens < 1 {
		t.Errorf("got %s", whole.RawJSON())
	}
	p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	streamed, chunks := s.stream(p)
	if got, want := streamed.Choices[0].Message.Content, whole.Choices[0].Message.Content; got != want {
		t.Errorf("streamed %q, want %q", got, want)
	}
	if chunks < 3 || streamed.Choices[0].FinishReason != whole.Choices[0].FinishReason || streamed.Usage.TotalTokens != whole.Usage.TotalTokens {
		t.Errorf("got %d chunks, finish %q, usage %d", chunks, streamed.Choices[0].FinishReason, streamed.Usage.TotalTokens)
	}
	p.StreamOptions = openai.ChatCompletionStreamOptionsParam{}
	if again := s.ask(p).Usage; again.PromptTokensDetails.CachedTokens >= again.PromptTokens || again.PromptTokensDetails.CachedTokens < again.PromptTokens-4 {
		t.Errorf("the same prompt again: %d of %d tokens were cached, want all but the last 1 to 4", again.PromptTokensDetails.CachedTokens, again.PromptTokens)
	}
	p.N, p.Temperature, p.Seed = openai.Int(3), openai.Float(1), openai.Int(7)
	some := s.ask(p)
	again, _ := s.stream(p)
	for i, c := range some.Choices {
		if int(c.Index) != i || again.Choices[i].Message.Content != c.Message.Content {
			t.Errorf("choice %d: got %q, streamed %q", i, c.Message.Content, again.Choices[i].Message.Content)
		}
	}
	if len(some.Choices) != 3 {
		t.Errorf("got %d choices, want 3", len(some.Choices))
	}
}

func TestLogprobs(t *testing.T) {
	s := open(t)
	p := s.question("Good morrow, my lord.")
	p.Logprobs, p.TopLogprobs = openai.Bool(true), openai.Int(2)
	r := s.ask(p)
	var text []byte
	for _, l := range r.Choices[0].Logprobs.Content {
		if l.Logprob > 0 || len(l.TopLogprobs) != 2 || l.TopLogprobs[0].Token != l.Token || l.TopLogprobs[0].Logprob < l.TopLogprobs[1].Logprob {
			t.Errorf("got %s", l.RawJSON())
		}
		for _, b := range l.Bytes {
			text = append(text, byte(b))
		}
	}
	if string(text) != r.Choices[0].Message.Content {
		t.Errorf("the tokens are %q, the text %q", text, r.Choices[0].Message.Content)
	}
}

var person = map[string]any{
	"type": "object", "additionalProperties": false, "required": []string{"mood", "brave"},
	"properties": map[string]any{"mood": map[string]any{"enum": []string{"merry", "sad"}}, "brave": map[string]any{"type": "boolean"}},
}

func TestSchema(t *testing.T) {
	s := open(t)
	for seed := range int64(5) {
		p := s.question("Who are you?")
		p.MaxTokens, p.Temperature, p.Seed = openai.Int(150), openai.Float(1), openai.Int(seed)
		p.ResponseFormat = openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "person", Schema: person, Strict: openai.Bool(true)}}}
		text := s.ask(p).Choices[0].Message.Content
		var v struct {
			Mood  string
			Brave *bool
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil || v.Brave == nil || v.Mood != "merry" && v.Mood != "sad" {
			t.Errorf("seed %d: got %q: %v", seed, text, err)
		}
	}
}

func TestTools(t *testing.T) {
	s := open(t)
	p := s.question("Rome?")
	p.MaxTokens, p.Seed = openai.Int(200), openai.Int(1)
	p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "weather", Parameters: shared.FunctionParameters{
		"type": "object", "additionalProperties": false, "required": []string{"city"}, "properties": map[string]any{"city": map[string]any{"enum": []string{"Rome", "Bath"}}}}})}
	p.ToolChoice = openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "weather"})
	p.ParallelToolCalls = openai.Bool(false)
	whole := s.ask(p)
	streamed, _ := s.stream(p)
	for _, c := range []openai.ChatCompletionChoice{whole.Choices[0], streamed.Choices[0]} {
		if c.FinishReason != "tool_calls" || len(c.Message.ToolCalls) != 1 {
			t.Fatalf("got finish %q and %d calls", c.FinishReason, len(c.Message.ToolCalls))
		}
		call := c.Message.ToolCalls[0]
		var args struct{ City string }
		if err := json.Unmarshal([]byte(call.Function.Arguments), &args); err != nil || call.ID == "" || call.Function.Name != "weather" || args.City != "Rome" && args.City != "Bath" {
			t.Errorf("got %s: %v", call.RawJSON(), err)
		}
	}
	p.ToolChoice, p.MaxTokens = openai.ChatCompletionToolChoiceOptionUnionParam{}, openai.Int(8)
	p.Messages = append(p.Messages, whole.Choices[0].Message.ToParam(), openai.ToolMessage("sunny", whole.Choices[0].Message.ToolCalls[0].ID))
	s.ask(p)
}

func TestCompletionsAndEmbeddings(t *testing.T) {
	s := open(t)
	r, err := s.Completions.New(t.Context(), openai.CompletionNewParams{Model: openai.CompletionNewParamsModel(s.model), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("To be")},
		MaxTokens: openai.Int(8), Temperature: openai.Float(0), Echo: openai.Bool(true)})
	if err != nil || !strings.HasPrefix(r.Choices[0].Text, "To be") {
		t.Errorf("got %+v, %v", r, err)
	}
	e, err := s.Embeddings.New(t.Context(), openai.EmbeddingNewParams{Model: s.model, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"To be", "or not"}}})
	if err != nil || len(e.Data) != 2 {
		t.Fatalf("got %+v, %v", e, err)
	}
	for _, d := range e.Data {
		var sum float64
		for _, v := range d.Embedding {
			sum += v * v
		}
		if math.Abs(sum-1) > 1e-3 {
			t.Errorf("embedding %d has the squared length %v, want 1", d.Index, sum)
		}
	}
}

func TestResponses(t *testing.T) {
	s := open(t)
	p := responses.ResponseNewParams{Model: s.model, Instructions: openai.String("Be brief."), MaxOutputTokens: openai.Int(16), Temperature: openai.Float(0),
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Good morrow, my lord.")}}
	r, err := s.Responses.New(t.Context(), p)
	if err != nil || r.OutputText() == "" || r.Usage.TotalTokens != r.Usage.InputTokens+r.Usage.OutputTokens {
		t.Fatalf("got %+v, %v", r, err)
	}
	stream := s.Responses.NewStreaming(t.Context(), p)
	var text string
	var kinds []string
	for stream.Next() {
		e := stream.Current()
		kinds = append(kinds, e.Type)
		if e.Type == "response.output_text.delta" {
			text += e.Delta
		}
	}
	if err := stream.Err(); err != nil || text != r.OutputText() || kinds[0] != "response.created" || len(kinds) < 8 {
		t.Errorf("got %q by %v, %v; want %q", text, kinds, err, r.OutputText())
	}
}

func TestErrors(t *testing.T) {
	s := open(t)
	for name, tt := range map[string]struct {
		change func(*openai.ChatCompletionNewParams)
		status int
		code   string
	}{
		"model":       {func(p *openai.ChatCompletionNewParams) { p.Model = "no-such-model" }, 404, "model_not_found"},
		"messages":    {func(p *openai.ChatCompletionNewParams) { p.Messages = nil }, 400, ""},
		"temperature": {func(p *openai.ChatCompletionNewParams) { p.Temperature = openai.Float(-1) }, 400, ""},
		"context": {func(p *openai.ChatCompletionNewParams) {
			p.Messages = []openai.ChatCompletionMessageParamUnion{openai.UserMessage(strings.Repeat("word ", 300_000))}
		}, 400, "context_length_exceeded"},
	} {
		p := s.question("Hello")
		tt.change(&p)
		_, err := s.Chat.Completions.New(t.Context(), p)
		var e *openai.Error
		if !errors.As(err, &e) || e.StatusCode != tt.status || e.Code != tt.code || e.Message == "" || e.Type == "" {
			t.Errorf("%s: got %v, want status %d and code %q", name, err, tt.status, tt.code)
		}
		stream := s.Chat.Completions.NewStreaming(t.Context(), p)
		if stream.Next() || !errors.As(stream.Err(), &e) || e.StatusCode != tt.status {
			t.Errorf("%s, streamed: got %v, want status %d", name, stream.Err(), tt.status)
		}
	}
	if s.key != "" {
		_, err := s.Models.List(t.Context(), option.WithAPIKey("wrong"))
		var e *openai.Error
		if !errors.As(err, &e) || e.StatusCode != 401 || e.Code != "invalid_api_key" {
			t.Errorf("wrong key: got %v", err)
		}
	}
}

// What is cancelled stops: afterwards the server answers as quickly as before.
func TestCancel(t *testing.T) {
	s := open(t)
	p := s.question("Good morrow, my lord.")
	p.MaxTokens = openai.Int(400)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream := s.Chat.Completions.NewStreaming(ctx, p)
			defer stream.Close()
			for n := 0; stream.Next() && n < 3; n++ {
			}
			cancel()
		})
	}
	all.Wait()
	begin := time.Now()
	p.MaxTokens = openai.Int(2)
	s.ask(p)
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("the next answer took %s", d)
	}
}
