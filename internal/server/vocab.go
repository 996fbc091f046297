package server

import (
	"container/list"
	"encoding/json"
	"sync"

	"github.com/litgpt-go/litgpt/internal/grammar"
	"github.com/litgpt-go/litgpt/internal/toolcall"
)

// words is what is made of a model's tokenizer when it is first needed, and the grammars
// that were compiled for it. An adapter has its model's.
type words struct {
	once  sync.Once
	vocab *grammar.Vocab
	err   error

	mu       sync.Mutex
	grammars map[string]*list.Element // by source
	recent   *list.List               // of *compiled, latest first
}

type compiled struct {
	source  string
	grammar *grammar.Grammar
}

// keptGrammars bounds how many compiled grammars a model keeps.
const keptGrammars = 32

// vocabulary is the model's tokens as grammars see them.
func (m *served) vocabulary() (*grammar.Vocab, error) {
	w := m.words
	w.once.Do(func() {
		var end []int32
		for _, ids := range m.ends {
			if len(ids) == 1 {
				end = append(end, ids[0])
			}
		}
		w.vocab, w.err = grammar.NewVocab(m.model.Tokenizer(), end)
	})
	return w.vocab, w.err
}

// compile makes a grammar, or finds one that was made. param is what errors are about.
func (m *served) compile(source grammar.Source, param string) (*grammar.Grammar, error) {
	vocab, err := m.vocabulary()
	if err != nil {
		return nil, bad(param, "this model's answers cannot be constrained: %v", err)
	}
	key, err := json.Marshal(source)
	if err != nil {
		return nil, err
	}
	w := m.words
	w.mu.Lock()
	if e := w.grammars[string(key)]; e != nil {
		w.recent.MoveToFront(e)
		w.mu.Unlock()
		return e.Value.(*compiled).grammar, nil
	}
	w.mu.Unlock()
	made, err := grammar.Compile(source, vocab)
	if err != nil {
		return nil, bad(param, "%v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.grammars == nil {
		w.grammars, w.recent = map[string]*list.Element{}, list.New()
	}
	if w.grammars[string(key)] == nil {
		w.grammars[string(key)] = w.recent.PushFront(&compiled{string(key), made})
	}
	for w.recent.Len() > keptGrammars {
		last := w.recent.Remove(w.recent.Back()).(*compiled)
		delete(w.grammars, last.source)
	}
	return made, nil
}

// tokenBytes is the text of a token, which need be no whole characters.
func (m *served) tokenBytes(id int32) []byte {
	if vocab, err := m.vocabulary(); err == nil {
		if b := vocab.Bytes(id); b != nil {
			return b
		}
	}
	return []byte(m.model.Tokenizer().Decode([]int32{id}, false))
}

// textStream turns ids into text. Special tokens are left out, but for those that tell a
// call of a tool, where there may be one.
type textStream interface {
	Next(id int32) string
	Flush() string
}

func (q *question) textStream() textStream {
	stream := q.m.model.Tokenizer().Stream(true)
	if q.form.parser == nil {
		return stream
	}
	return &callStream{stream, q.m.marks}
}

// callStream is a stream in which the special tokens of tool calls are text.
type callStream struct {
	textStream
	marks map[int32]string
}

func (s *callStream) Next(id int32) string {
	if mark, ok := s.marks[id]; ok {
		return s.textStream.Flush() + mark
	}
	return s.textStream.Next(id)
}

// deltas splits what a parser found into text and calls.
func deltas(found []toolcall.Delta) (text string, calls []callDelta) {
	for _, d := range found {
		if d.Call {
			calls = append(calls, callDelta{index: d.Index, id: d.ID, name: d.Name, extra: d.Arguments})
		} else {
			text += d.Text
		}
	}
	return text, calls
}
