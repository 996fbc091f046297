package data

import (
	"context"
	"runtime"
	"sync"
)

// ordered sends what produce yields through work, in several goroutines, and
// gives the results to consume in the order in which they were produced. Only a
// few items are under way at any time. The first error of consume or produce, or
// the end of ctx, stops it.
func ordered[T, R any](ctx context.Context, workers int, produce func(yield func(T) error) error, work func(T) R, consume func(R) error) error {
	workers = min(max(workers, 1), runtime.GOMAXPROCS(0))
	inner, stop := context.WithCancel(ctx)
	defer stop()

	type job struct {
		in  T
		out chan R
	}
	jobs := make(chan job)
	order := make(chan chan R, 2*workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for j := range jobs {
				j.out <- work(j.in)
			}
		})
	}
	var produced error
	wg.Go(func() {
		defer close(jobs)
		defer close(order)
		produced = produce(func(in T) error {
			j := job{in, make(chan R, 1)}
			select {
			case order <- j.out:
			case <-inner.Done():
				return inner.Err()
			}
			select {
			case jobs <- j:
				return nil
			case <-inner.Done():
				return inner.Err()
			}
		})
	})

	var consumed error
	for out := range order {
		if inner.Err() != nil {
			continue // nothing more is wanted; let the producer end
		}
		select {
		case r := <-out:
			if consumed = consume(r); consumed != nil {
				stop()
			}
		case <-inner.Done():
		}
	}
	wg.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case consumed != nil:
		return consumed
	}
	return produced
}
