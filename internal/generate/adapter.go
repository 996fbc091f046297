package generate

import (
	"errors"
	"fmt"
)

// Layers are an adapter's corrections of a model's layers, off the model while no graph is built with them.
type Layers interface {
	// Attach hangs them on the model until Detach, which leaves it as it was.
	Attach()
	Detach()

	// Free releases their weights.
	Free()
}

// adapter is a name's layers, or the model as it is.
type adapter struct {
	layers  Layers // nil for the base
	roots   [2]int64
	users   int           // requests
	leaving chan struct{} // closed when the last has gone; nil while it stays
}

// root is where the adapter's sequences begin in the cache, the long ones elsewhere.
func (a *adapter) root(long bool) int64 {
	if long {
		return a.roots[1]
	}
	return a.roots[0]
}

// newAdapter numbers the roots as no other adapter's of the engine; e.mu is held.
func (e *Engine) newAdapter(layers Layers) *adapter {
	e.roots -= 2
	return &adapter{layers: layers, roots: [2]int64{e.roots, e.roots + 1}}
}

// AddAdapter makes layers over the same model known by a name. load runs between passes, so
// that it may use the device and the model, and leaves the model as it was.
func (e *Engine) AddAdapter(name string, load func() (Layers, error)) error {
	if name == "" {
		return errors.New("an adapter needs a name")
	}
	check := func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.closed {
			return ErrClosed
		}
		if e.adapters[name] != nil {
			return fmt.Errorf("there is an adapter %q already", name)
		}
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	e.device.Lock()
	defer e.device.Unlock()
	if err := check(); err != nil {
		return err
	}
	layers, err := load()
	if err != nil {
		return fmt.Errorf("adapter %q: %w", name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.adapters[name] = e.newAdapter(layers)
	return nil
}

// RemoveAdapter forgets a name, waits until the last request for it has ended and releases the layers.
func (e *Engine) RemoveAdapter(name string) error {
	e.mu.Lock()
	a := e.adapters[name]
	if a == nil || a.leaving != nil {
		e.mu.Unlock()
		return &AdapterError{name}
	}
	a.leaving = make(chan struct{})
	if a.users == 0 {
		close(a.leaving)
	}
	e.mu.Unlock()
	<-a.leaving
	e.device.Lock()
	defer e.device.Unlock()
	e.mu.Lock()
	closed := e.closed
	if !closed {
		delete(e.adapters, name)
	}
	e.mu.Unlock()
	if closed {
		return ErrClosed // which has released it, or will
	}
	e.run.forget(a)
	a.layers.Free()
	return nil
}

// Adapters lists the names.
func (e *Engine) Adapters() (names []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, a := range e.adapters {
		if a.leaving == nil {
			names = append(names, name)
		}
	}
	return names
}
