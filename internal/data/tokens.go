package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
)

// tokens are the ids of a text, in memory or in a mapped file.
type tokens struct {
	raw   []byte // little-endian ids
	width int    // bytes of an id: 2 or 4
	unmap func() error
	users atomic.Int32 // sets that read them
}

func newTokens(raw []byte, width int, unmap func() error) *tokens {
	t := &tokens{raw: raw, width: width, unmap: unmap}
	t.users.Store(1)
	return t
}

func (t *tokens) len() int { return len(t.raw) / t.width }

// read appends n ids from from to dst.
func (t *tokens) read(dst []int32, from, n int) []int32 {
	b := t.raw[from*t.width : (from+n)*t.width]
	dst = slices.Grow(dst, n)
	for ; len(b) > 0; b = b[t.width:] {
		if t.width == 2 {
			dst = append(dst, int32(binary.LittleEndian.Uint16(b)))
		} else {
			dst = append(dst, int32(binary.LittleEndian.Uint32(b)))
		}
	}
	return dst
}

// close unmaps the file when the last user is gone.
func (t *tokens) close() error {
	if t.users.Add(-1) != 0 || t.unmap == nil {
		return nil
	}
	t.raw = nil
	return t.unmap()
}

// builder tokenizes files of text, or finds that it was done before.
type builder struct {
	opt         Options
	workers     int
	done, total int64 // bytes, for the progress
}

// tokens gives the ids of the files and notes on where they came from. What is
// wrong with the cache is a note: the ids are then kept in memory.
func (b *builder) tokens(ctx context.Context, files []scan) (*tokens, []string, error) {
	width := 4
	if b.opt.Tokenizer.VocabSize() <= 1<<16 {
		width = 2
	}
	var size int64
	for _, f := range files {
		size += f.size
	}
	before := b.done
	b.done += size

	key := cacheKey(b.opt.Tokenizer, files)
	path, cacheErr := cachePath(b.opt.CacheDir, key)
	var notes []string
	if cacheErr == nil {
		t, err := readCache(path, key, width)
		if err == nil {
			return t, []string{fmt.Sprintf("%s: %d tokens, from %s", fileList(files), t.len(), path)}, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			notes = append(notes, fmt.Sprintf("the kept tokens could not be used (%v); the text was tokenized again", err))
		}
		t, err = writeCache(path, key, width, func(w *tokenWriter) error { return b.tokenize(ctx, files, w, before) })
		if err == nil {
			return t, append(notes, fmt.Sprintf("%s: %d tokens, kept in %s", fileList(files), t.len(), path)), nil
		}
		if !errors.As(err, new(*cacheError)) {
			return nil, nil, err
		}
		cacheErr = err
	}
	var buf bytes.Buffer
	w := &tokenWriter{w: &buf, width: width}
	if err := b.tokenize(ctx, files, w, before); err != nil {
		return nil, nil, err
	}
	t := newTokens(buf.Bytes(), width, nil)
	notes = append(notes, fmt.Sprintf("%s: %d tokens, in memory: %v", fileList(files), t.len(), cacheErr))
	return t, notes, nil
}

// tokenize writes the tokens of the files to w; done bytes came before them.
func (b *builder) tokenize(ctx context.Context, files []scan, w *tokenWriter, done int64) error {
	tok := b.opt.Tokenizer
	bos := beginning(tok)
	type result struct {
		ids   []int32
		first bool
		bytes int64
	}
	b.opt.progress(done, b.total)
	return ordered(ctx, b.workers,
		func(yield func(piece) error) error {
			for _, f := range files {
				if err := f.pieces(tok, pieceSize, yield); err != nil {
					return err
				}
			}
			return nil
		},
		func(p piece) result { return result{tok.Encode(p.text, false), p.first, p.bytes} },
		func(r result) error {
			if r.first && (len(r.ids) == 0 || len(bos) == 0 || r.ids[0] != bos[0]) {
				if err := w.write(bos); err != nil {
					return err
				}
			}
			done += r.bytes
			b.opt.progress(done, b.total)
			return w.write(r.ids)
		})
}

// tokenWriter writes ids of 2 or 4 bytes and their checksum.
type tokenWriter struct {
	w     io.Writer
	width int
	count uint64
	crc   uint32
	buf   []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // in hardware

func (w *tokenWriter) write(ids []int32) error {
	limit := int64(1)<<(8*w.width) - 1
	w.buf = w.buf[:0]
	for _, id := range ids {
		if id < 0 || int64(id) > min(limit, math.MaxInt32) {
			return fmt.Errorf("the tokenizer gave token %d, outside its own vocabulary", id)
		}
		if w.width == 2 {
			w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(id))
		} else {
			w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(id))
		}
	}
	w.count += uint64(len(ids))
	w.crc = crc32.Update(w.crc, castagnoli, w.buf)
	if _, err := w.w.Write(w.buf); err != nil {
		return &cacheError{err}
	}
	return nil
}

// cacheError is trouble with the cache, and not with the text.
type cacheError struct{ err error }

func (e *cacheError) Error() string { return e.err.Error() }
func (e *cacheError) Unwrap() error { return e.err }

// cachePath is where the tokens with a key are kept.
func cachePath(dir string, key [32]byte) (string, error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "litgpt", "tokens")
	}
	return filepath.Join(dir, fmt.Sprintf("%x.tokens", key)), nil
}
