package recipes

import (
	"context"
	"errors"
	"iter"
	"log/slog"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/server"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// servedModel is a talker as the server needs it.
type servedModel struct{ t *talker }

// open loads a checkpoint for the server.
func (c Serve) open(dir string, log *slog.Logger) (server.Model, error) {
	t, err := newTalker(dir, c.PromptStyle, c.Inference)
	if err != nil {
		return nil, err
	}
	if err := t.load(log); err != nil {
		t.close()
		return nil, err
	}
	return &servedModel{t: t}, nil
}

func (m *servedModel) Tokenizer() *tokenizer.Tokenizer { return m.t.tok }
func (m *servedModel) Style() tokenizer.PromptStyle    { return m.t.style }
func (m *servedModel) Context() int                    { return m.t.Dims().Context }
func (m *servedModel) Vocab() int                      { return m.t.Dims().Vocab }

func (m *servedModel) Generate(ctx context.Context, r generate.Request) iter.Seq2[generate.Token, error] {
	return m.t.engine.Generate(ctx, r)
}

func (m *servedModel) Embed(ctx context.Context, adapter string, ids []int32) ([]float32, error) {
	return nil, errors.ErrUnsupported
}

func (m *servedModel) Stats() generate.Stats { return generate.Stats{} }

func (m *servedModel) AddAdapter(ctx context.Context, name, dir string) error {
	return errors.ErrUnsupported
}

func (m *servedModel) RemoveAdapter(ctx context.Context, name string) error {
	return errors.ErrUnsupported
}

func (m *servedModel) Close() error {
	m.t.close()
	return nil
}
