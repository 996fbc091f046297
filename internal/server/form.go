package server

import (
	"encoding/json"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// form is what an answer must look like.
type form struct {
	constraint func() generate.Constraint // nil: anything goes; made anew for each choice
	parser     func() callParser          // nil: the answer is text
	special    bool                       // special tokens are part of the text, where tool calls are told by them
}

// callParser takes tool calls out of an answer's text.
type callParser interface {
	push(text string) (rest string, calls []callDelta)
	flush() (rest string, calls []callDelta)
}

func (s *Server) form(q *question, in *chatRequest, open bool) (tools *jinja.List, err error) {
	return nil, s.constrain(q, in.ResponseFormat, in.Grammar, in.Regex)
}

func (s *Server) constrain(q *question, format json.RawMessage, grammar, regex string) error {
	return nil
}
