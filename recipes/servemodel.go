package recipes

import (
	"context"
	"iter"
	"log/slog"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/server"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// servedModel is a talker as the server needs it.
type servedModel struct {
	t       *talker
	context int
}

// open loads a checkpoint for the server.
func (c Serve) open(dir string, log *slog.Logger) (server.Model, error) {
	t, err := newTalker(dir, c.PromptStyle, c.Inference)
	if err != nil {
		return nil, err
	}
	t.options.Sequences, t.options.Deterministic, t.options.Chunk = c.Sequences, c.Deterministic, c.Chunk
	if t.options.Positions = c.Positions; c.Positions == 0 {
		t.options.Positions = t.roomFor(c.Sequences)
	}
	if err := t.load(log); err != nil {
		t.close()
		return nil, err
	}
	return &servedModel{t: t, context: min(t.Dims().Context, t.options.Positions)}, nil
}

// Room for keys and values, unless the user says otherwise: what the sequences usually need,
// or one of the model's context, but no more memory than this.
const (
	usualPositions = 1024    // of a sequence
	cacheRoom      = 4 << 30 // bytes, of two a number
)

func (t *talker) roomFor(sequences int) int {
	d := t.Dims()
	each := 2 * 2 * max(1, d.Layers*d.KVHeads*d.HeadDim)
	return max(min(max(d.Context, sequences*min(usualPositions, d.Context)), cacheRoom/each), 256)
}

func (m *servedModel) Tokenizer() *tokenizer.Tokenizer { return m.t.tok }
func (m *servedModel) Style() tokenizer.PromptStyle    { return m.t.style }
func (m *servedModel) Context() int                    { return m.context }
func (m *servedModel) Vocab() int                      { return min(m.t.Dims().Vocab, m.t.tok.VocabSize()) }
func (m *servedModel) Stats() generate.Stats           { return m.t.engine.Stats() }

func (m *servedModel) Generate(ctx context.Context, r generate.Request) iter.Seq2[generate.Token, error] {
	return m.t.engine.Generate(ctx, r)
}

func (m *servedModel) Embed(ctx context.Context, adapter string, ids []int32) ([]float32, error) {
	return m.t.engine.Embed(ctx, adapter, ids)
}

func (m *servedModel) AddAdapter(_ context.Context, name, dir string) error {
	return m.t.addAdapter(name, dir)
}

func (m *servedModel) RemoveAdapter(_ context.Context, name string) error {
	return m.t.engine.RemoveAdapter(name)
}

func (m *servedModel) Close() error {
	m.t.close()
	return nil
}
