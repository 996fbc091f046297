package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/toolcall"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// served is a model, or an adapter on one, under the name by which requests ask for it.
type served struct {
	name    string
	base    *served // of an adapter; nil for a model
	model   Model   // the base's, for an adapter
	created time.Time
	guard   *tokenizer.Guard
	ends    [][]int32 // sequences of ids that end an answer
	words   *words
	format  *toolcall.Format // nil: the model has no chat template
	marks   map[int32]string // special tokens of tool calls

	// Guarded by registry.mu.
	uses    int // requests, and adapters
	removed bool
	idle    chan struct{} // closed when removed and without uses
}

// registry is the models by name. Requests hold what they use, so that it can be unloaded
// without dropping them.
type registry struct {
	mu     sync.Mutex
	byName map[string]*served
	names  []string        // in the order they came; the first answers requests that name none
	taken  map[string]bool // names that are being loaded
}

func newRegistry() *registry {
	return &registry{byName: map[string]*served{}, taken: map[string]bool{}}
}

// namePattern is what a model may be called: a name never becomes a path, a header or a
// line of a log, and should look as if it could not.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return bad("name", "the name %q has other characters than letters, digits and . _ : / @ + -, does not begin with a letter or digit, or is longer than 128", clip(name))
	}
	return nil
}

// acquire finds a model and holds it until release; "" is the first one.
func (r *registry) acquire(name string, any bool) (m *served, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m = r.byName[name]
	if m == nil && (name == "" || any) && len(r.names) > 0 {
		m = r.byName[r.names[0]]
	}
	if m == nil {
		return nil, nil, notFound(name)
	}
	m.uses++
	var once sync.Once
	return m, func() { once.Do(func() { r.release(m) }) }, nil
}

func (r *registry) release(m *served) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.uses--; m.removed && m.uses == 0 {
		close(m.idle)
	}
}

// list returns what there is, in the order it came.
func (r *registry) list() (all []*served) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.names {
		all = append(all, r.byName[name])
	}
	return all
}

// each calls f for what there is, which is held meanwhile.
func (r *registry) each(f func(*served)) {
	for _, m := range r.list() {
		if m, release, err := r.acquire(m.name, false); err == nil {
			f(m)
			release()
		}
	}
}

// add reserves a name, makes what it stands for, and adds that.
func (r *registry) add(name string, load func() (*served, error)) error {
	if err := checkName(name); err != nil {
		return err
	}
	r.mu.Lock()
	if r.byName[name] != nil || r.taken[name] {
		r.mu.Unlock()
		return &Error{Status: http.StatusConflict, Type: "invalid_request_error", Code: "model_exists", Param: "name", Message: fmt.Sprintf("there is a model %q already", name)}
	}
	r.taken[name] = true
	r.mu.Unlock()
	m, err := load()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.taken, name)
	if err != nil {
		return err
	}
	m.name, m.created, m.idle = name, time.Now(), make(chan struct{})
	r.byName[name] = m
	r.names = append(r.names, name)
	return nil
}

// addModel adds what load gives.
func (r *registry) addModel(name string, load func() (Model, error)) error {
	return r.add(name, func() (*served, error) {
		model, err := load()
		if err != nil {
			return nil, err
		}
		tok := model.Tokenizer()
		m := &served{model: model, guard: tok.NewGuard(""), ends: model.Style().StopTokens(tok), words: new(words)}
		if model.Style().Name() == tokenizer.ChatTemplateStyle {
			m.format = toolcall.For(tok)
			m.marks = m.format.Tokens(tok)
		}
		return m, nil
	})
}

// addAdapter adds an adapter on a model that is there.
func (r *registry) addAdapter(ctx context.Context, name, base, dir string) error {
	b, release, err := r.acquire(base, false)
	if err != nil {
		return err
	}
	if b.base != nil {
		release()
		return bad("base", "%q is an adapter itself; the name of its model %q wanted", clip(base), b.base.name)
	}
	err = r.add(name, func() (*served, error) {
		if err := b.model.AddAdapter(ctx, name, dir); err != nil {
			return nil, err
		}
		return &served{base: b, model: b.model, guard: b.guard, ends: b.ends, words: b.words, format: b.format, marks: b.marks}, nil
	})
	if err != nil {
		release()
	}
	return err // without one, the adapter holds its base
}

// remove takes a model away from new requests, waits for those that use it, and closes it.
// When ctx ends before, the model is gone nevertheless as soon as they are done.
func (r *registry) remove(ctx context.Context, name string) error {
	r.mu.Lock()
	m := r.byName[name]
	if m == nil {
		r.mu.Unlock()
		return notFound(name)
	}
	for _, a := range r.byName {
		if a.base == m {
			r.mu.Unlock()
			return &Error{Status: http.StatusConflict, Type: "invalid_request_error", Code: "model_in_use", Param: "name",
				Message: fmt.Sprintf("the adapter %q needs the model %q; remove it first", a.name, name)}
		}
	}
	delete(r.byName, name)
	r.names = slices.DeleteFunc(r.names, func(n string) bool { return n == name })
	m.removed = true
	if m.uses == 0 {
		close(m.idle)
	}
	r.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		<-m.idle
		done <- r.close(m)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("requests still use the model; it is unloaded when they are done")
	}
}

// close frees what a removed model holds.
func (r *registry) close(m *served) error {
	if m.base == nil {
		return m.model.Close()
	}
	defer r.release(m.base)
	return m.model.RemoveAdapter(context.Background(), m.name)
}

// closeAll removes everything, adapters first.
func (r *registry) closeAll(ctx context.Context) error {
	var errs []error
	all := r.list()
	for _, m := range slices.Backward(all) {
		if m.base != nil {
			errs = append(errs, r.remove(ctx, m.name))
		}
	}
	for _, m := range all {
		if m.base == nil {
			errs = append(errs, r.remove(ctx, m.name))
		}
	}
	return errors.Join(errs...)
}

// stops are the sequences of ids after which an answer ends, for one request.
func (m *served) stops(g settings) *sample.Stops {
	var ends [][]int32
	if !g.ignoreEOS {
		ends = append(ends, m.ends...)
	}
	for _, id := range g.stopIDs {
		ends = append(ends, []int32{id})
	}
	return sample.NewStops(ends)
}

// guardFor is a guard for the texts of a request, the body of which is raw; nil if there is none.
func (m *served) guardFor(raw string) *tokenizer.Guard {
	if strings.Contains(raw, `\ud`) || strings.Contains(raw, `\uD`) { // the mark may be written as an escape
		var v any
		if json.Unmarshal([]byte(raw), &v) == nil {
			b, _ := json.Marshal(v) // what was JSON is JSON
			raw += string(b)
		}
	}
	if m.guard.Fits(raw) {
		return m.guard
	}
	return m.model.Tokenizer().NewGuard(raw)
}

// adapter is the name for generate.Request.Adapter.
func (m *served) adapter() string {
	if m.base == nil {
		return ""
	}
	return m.name
}
