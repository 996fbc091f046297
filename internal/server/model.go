package server

import (
	"context"
	"iter"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// Model is a language model as the server needs it. Its methods are called by many
// goroutines at once. Nothing calls it after Close.
type Model interface {
	Tokenizer() *tokenizer.Tokenizer
	Style() tokenizer.PromptStyle // how conversations are written
	Context() int                 // tokens of a sequence, prompt included
	Vocab() int                   // ids that have an embedding

	// Generate is [generate.Engine.Generate]: requests wait in it until there is room.
	// It ends soon after its context.
	Generate(ctx context.Context, r generate.Request) iter.Seq2[generate.Token, error]

	// Embed returns a unit vector for a sequence of ids, with the adapter of a name, or "".
	Embed(ctx context.Context, adapter string, ids []int32) ([]float32, error)

	Stats() generate.Stats

	// AddAdapter makes the low-rank adapter in dir known by a name for Request.Adapter;
	// RemoveAdapter forgets it. The server sees to it that no request uses it then.
	AddAdapter(ctx context.Context, name, dir string) error
	RemoveAdapter(ctx context.Context, name string) error

	Close() error
}
