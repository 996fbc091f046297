package training

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
)

// block is text that one thread counts: the words of a file are those of its blocks.
type block struct {
	file  int // index in the list of files
	path  string
	seq   int64 // number of the block from 0, over all files
	line  int   // of records: number of the first line from 1, else 0
	first bool  // of its file
	data  string
}

// reader cuts files into blocks of whole words, or of whole lines of records.
type reader struct {
	cfg    Config
	read   func(bytes int64) // told what was read from the disk
	emit   func(block) error
	buf    []byte
	seq    int64
	forced int64
}

const (
	blockSize = 1 << 20
	maxBlock  = 256 << 20
)

// files reads them all, in order.
func (r *reader) files(ctx context.Context, files []File) error {
	for i, f := range files {
		if err := r.file(ctx, i, f); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) file(ctx context.Context, number int, f File) error {
	disk, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer disk.Close()
	var in io.Reader = counted{disk, r.read}
	if f.compressed() {
		if in, err = gzip.NewReader(in); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	line := 0
	cut := safeCut
	if r.cfg.TextKey != "" && f.records() {
		line, cut = 1, func(b []byte) int { return bytes.LastIndexByte(b, '\n') + 1 }
	}
	if r.buf == nil {
		r.buf = make([]byte, r.cfg.blockSize)
	}
	have, first := 0, true
	for {
		n, err := fill(in, r.buf[have:])
		have += n
		end := err == io.EOF
		if err != nil && !end {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		at := have
		if !end {
			if at = cut(r.buf[:have]); at == 0 && have < r.cfg.maxBlock {
				r.buf = append(r.buf, make([]byte, len(r.buf))...)
				continue
			}
			if at == 0 && line > 0 {
				return fmt.Errorf("%s:%d: a record of more than %d bytes", f.Path, line, have)
			}
			if at == 0 {
				at = wholeRunes(r.buf[:have])
				r.forced++
			}
		}
		if at > 0 {
			b := block{file: number, path: f.Path, seq: r.seq, line: line, first: first, data: string(r.buf[:at])}
			if err := r.emit(b); err != nil {
				return err
			}
			if line > 0 {
				line += strings.Count(b.data, "\n")
			}
			first = false
			r.seq++
		}
		if end {
			return ctx.Err()
		}
		have = copy(r.buf, r.buf[at:have])
	}
}

// fill is io.ReadFull, but the error at the end is io.EOF, and only there: a
// compressed file that is cut off has io.ErrUnexpectedEOF.
func fill(in io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = in.Read(b[n:])
		n += k
	}
	if n == len(b) {
		err = nil // it comes again, if it is one
	}
	return n, err
}

// wholeRunes is the length of b without the beginning of a character at its end.
func wholeRunes(b []byte) int {
	for n := 1; n < utf8.UTFMax && n < len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return len(b) - n
			}
			break
		}
	}
	return len(b)
}

type counted struct {
	r    io.Reader
	read func(int64)
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read(int64(n))
	return n, err
}

// wellFormed replaces every maximal ill-formed part of s by U+FFFD, as Python's
// open(errors="replace") does, and counts them.
func wellFormed(s string) (string, int64, error) {
	if utf8.ValidString(s) {
		return s, 0, nil
	}
	fixed, err := unicode.UTF8.NewDecoder().String(s)
	if err != nil {
		return "", 0, err
	}
	const replacement = "\uFFFD"
	return fixed, int64(strings.Count(fixed, replacement) - strings.Count(s, replacement)), nil
}

// texts calls f for each text of a block: its own, or those of its records.
func (b block) texts(key string, f func(text string)) error {
	if b.line == 0 {
		f(b.data)
		return nil
	}
	line := b.line
	for l := range strings.Lines(b.data) {
		if l = strings.TrimSpace(l); l != "" {
			text, err := textOf(l, key)
			if err != nil {
				return fmt.Errorf("%s:%d: %w", b.path, line, err)
			}
			f(text)
		}
		line++
	}
	return nil
}

// textOf returns the string at key of a JSON object.
func textOf(line, key string) (string, error) {
	var record map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &record); err != nil {
		return "", fmt.Errorf("want a JSON object: %w", err)
	}
	raw, ok := record[key]
	if !ok {
		return "", fmt.Errorf("the record has no key %q; name that of the text with --text_key", key)
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("%q is no string: %.40s", key, raw)
	}
	return *text, nil
}
