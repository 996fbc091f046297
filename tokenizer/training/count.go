package training

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Words are the different words of a text and how often each occurs. Close it.
type Words struct {
	Stats  Stats
	Sample []string // pieces from all over the text, each of at most 4 KiB

	tables []*table // they have no word in common; nil when runs are used
	spills []*spill // sorted runs on the disk, which are to be summed
}

// Close removes what is on the disk.
func (w *Words) Close() error {
	var errs []error
	for _, s := range w.spills {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// Count counts the words of files. read is told of the bytes read from the disk as
// they are read, by one goroutine. The counts are the same for every number of
// threads.
func Count(ctx context.Context, files []File, cfg Config, read func(bytes int64)) (_ *Words, err error) {
	cfg = cfg.filled()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	w := &Words{Stats: Stats{Files: int64(len(files)), MinCount: 1}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	seed := maphash.MakeSeed()
	blocks := make(chan block, cfg.Threads)
	samples := &samples{}
	counters := make([]*counter, cfg.Threads)
	var wait sync.WaitGroup
	for i := range counters {
		c := &counter{cfg: cfg, table: newTable(seed), broken: map[int]bool{}, samples: samples, spill: &spill{dir: cfg.TempDir}}
		counters[i] = c
		w.spills = append(w.spills, c.spill)
		wait.Go(func() {
			for b := range blocks {
				if ctx.Err() == nil {
					if err := c.block(b); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	r := reader{cfg: cfg, read: read, emit: func(b block) error {
		select {
		case blocks <- b:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}}
	err = r.files(ctx, files)
	close(blocks)
	wait.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx) // a thread's error goes before that of the reader it stopped
	}
	if err != nil {
		return nil, err
	}
	w.Sample, w.Stats.Forced = samples.texts(), r.forced
	return w, w.gather(counters)
}

func (c Config) filled() Config {
	if c.Threads <= 0 {
		c.Threads = 1
	}
	if c.Memory <= 0 {
		c.Memory = DefaultMemory
	}
	if c.blockSize <= 0 {
		c.blockSize = blockSize
	}
	if c.maxBlock <= 0 {
		c.maxBlock = maxBlock
	}
	return c
}

// counter is a thread that counts.
type counter struct {
	cfg     Config
	table   *table
	spill   *spill
	samples *samples
	stats   Stats
	broken  map[int]bool // files with ill-formed parts
}

// block counts the words of b.
func (c *counter) block(b block) error {
	var broken int64
	var err error
	if b.data, broken, err = wellFormed(b.data); err != nil {
		return fmt.Errorf("%s: %w", b.path, err)
	}
	if broken > 0 {
		c.broken[b.file] = true
		c.stats.Broken += broken
	}
	if b.line == 0 && b.first {
		c.stats.Documents++
	}
	sampled := false
	err = b.texts(c.cfg.TextKey, func(text string) {
		if b.line > 0 {
			c.stats.Documents++
		}
		c.stats.Bytes += int64(len(text))
		c.text(text)
		if !sampled {
			c.samples.add(b.seq, text)
			sampled = true
		}
	})
	// A quarter: tables grow by doubling, and are there twice when they are joined.
	if err != nil || c.table.bytes() <= c.cfg.Memory/4/int64(c.cfg.Threads) {
		return err
	}
	return c.spill.add(c.table)
}

// text counts the words of a text.
func (c *counter) text(text string) {
	if !c.cfg.ByLine {
		c.words(text)
		return
	}
	for line := range strings.Lines(text) {
		c.words(line)
	}
}

func (c *counter) words(text string) {
	next, t := c.cfg.Splitter.Next, c.table
	for i := 0; i < len(text); {
		end := next(text, i)
		t.add(text[i:end], 1)
		i = end
	}
}

// gather puts together what the threads have counted.
func (w *Words) gather(counters []*counter) error {
	var tables []*table
	broken := map[int]bool{}
	spilled := false
	for _, c := range counters {
		w.Stats.Bytes += c.stats.Bytes
		w.Stats.Documents += c.stats.Documents
		w.Stats.Broken += c.stats.Broken
		w.Stats.Words += c.table.n
		for f := range c.broken {
			broken[f] = true
		}
		tables = append(tables, c.table)
		spilled = spilled || len(c.spill.runs) > 0
	}
	w.Stats.BrokenFiles = int64(len(broken))
	if !spilled {
		if len(tables) > 1 {
			tables = join(tables)
		}
		w.tables = tables
		return nil
	}
	for _, c := range counters {
		if err := c.spill.add(c.table); err != nil {
			return err
		}
		w.Stats.Spilled += c.spill.size
		c.table = nil
	}
	return nil
}

// all calls f for every different word. text is valid during the call.
func (w *Words) all(ctx context.Context, f func(text []byte, count int64)) error {
	if w.tables == nil {
		return sum(ctx, w.spills, f)
	}
	for _, t := range w.tables {
		for _, x := range t.words {
			f(t.textOf(x), x.count)
		}
	}
	return ctx.Err()
}

// samples keeps pieces from all over a text: the beginning of every strideth block.
// Which ones does not depend on the order in which they come.
type samples struct {
	mu     sync.Mutex
	stride int64 // a power of 2
	pieces map[int64]string
}

const (
	maxSamples = 512
	sampleSize = 4 << 10
)

func (s *samples) add(seq int64, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pieces == nil {
		s.stride, s.pieces = 1, map[int64]string{}
	}
	if seq%s.stride != 0 {
		return
	}
	if n := sampleSize; len(text) > n {
		for !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	s.pieces[seq] = strings.Clone(text)
	for len(s.pieces) > maxSamples {
		s.stride *= 2
		for k := range s.pieces {
			if k%s.stride != 0 {
				delete(s.pieces, k)
			}
		}
	}
}

// texts returns the pieces in the order of the text.
func (s *samples) texts() []string {
	var keys []int64
	for k := range s.pieces {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []string
	for _, k := range keys {
		out = append(out, s.pieces[k])
	}
	return out
}
