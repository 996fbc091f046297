package data

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pieceSize is how much of a document is tokenized at a time, in bytes: enough
// that cuts are rare, little enough that a few pieces per core fit in memory
// whatever the size of the file.
const pieceSize = 1 << 20

// scan is what one reading of a text file found.
type scan struct {
	path       string
	size       int64 // bytes of the file
	hash       [sha256.Size]byte
	begin, end int64 // of the text without the white space around it, after newlines were made LF
}

// scanAll reads the files of both lists. Files without text and files that
// cannot be read are reported together, the first few of them.
func scanAll(ctx context.Context, lists ...[]string) ([]scan, error) {
	var scans []scan
	var errs []error
	for _, path := range slices.Concat(lists...) {
		s, err := scanFile(ctx, path)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			errs = append(errs, err)
		}
		scans = append(scans, s)
	}
	const most = 10
	if more := len(errs) - most; more > 0 {
		errs = append(errs[:most], fmt.Errorf("and %d more files", more))
	}
	return scans, errors.Join(errs...)
}

// scanFile hashes a file, checks that it is text and finds where it begins and
// ends.
func scanFile(ctx context.Context, path string) (scan, error) {
	s := scan{path: path, begin: -1}
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	hash := sha256.New()
	counted := &countingReader{r: io.TeeReader(f, hash)}
	r := newReader(counted, true)
	var at int64
	for {
		chunk, err := r.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return s, locate(path, err)
		}
		if i := bytes.IndexFunc(chunk, func(c rune) bool { return !unicode.IsSpace(c) }); i >= 0 {
			if s.begin < 0 {
				s.begin = at + int64(i)
			}
			s.end = at + int64(len(bytes.TrimRightFunc(chunk, unicode.IsSpace)))
		}
		at += int64(len(chunk))
	}
	if s.begin < 0 {
		return s, fmt.Errorf("%s: holds no text; remove it", path)
	}
	s.size = counted.n
	hash.Sum(s.hash[:0])
	return s, nil
}

// countingReader counts what it gives.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// piece is a part of a document that is tokenized by itself.
type piece struct {
	text  string
	first bool  // of its document
	bytes int64 // of the file, for the progress
}

// pieces reads the document of s again and cuts it to pieces of about size
// bytes. A file that is not what it was when it was scanned is an error.
func (s scan) pieces(tok Tokenizer, size int, yield func(piece) error) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	counted := &countingReader{r: io.TeeReader(f, hash)}
	r := newReader(counted, true)
	var at, told int64
	var text []byte
	first := true
	for {
		chunk, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return locate(s.path, err)
		}
		from, to := max(s.begin-at, 0), min(s.end-at, int64(len(chunk)))
		at += int64(len(chunk))
		if from < to {
			text = append(text, chunk[from:to]...)
		}
		for len(text) >= size+size/4 { // so that the last piece is no crumb
			end, next := cut(tok, text[:size])
			if err := yield(piece{string(text[:end]), first, counted.n - told}); err != nil {
				return err
			}
			text = append(text[:0], text[next:]...)
			first, told = false, counted.n
		}
	}
	if !bytes.Equal(hash.Sum(nil), s.hash[:]) {
		return fmt.Errorf("%s: changed while it was read; start again", s.path)
	}
	return yield(piece{string(text), first, counted.n - told})
}

// cut finds a place near the end of text where it can be cut so that the tokens
// of both parts are the tokens of the whole: the first ends at end, the second
// begins at next.
//
// That is before a space between two words. Byte-level tokenizers count the space
// to the word after it; those in the manner of SentencePiece put one before every
// text by themselves, and the space at the cut must go. Which of the two it is,
// and whether it holds at this place, is tried out on the text around it. Text
// without spaces is cut between two characters in the same way. Should no place
// do, the last one is taken: a token or two per piece differ then.
func cut(tok Tokenizer, text []byte) (end, next int) {
	const tries, around = 16, 64
	text = text[:wholeRunes(text)]
	fits := func(end, next int) bool {
		from, to := max(end-around, 0), min(next+around, len(text))
		for !utf8.RuneStart(text[from]) {
			from++
		}
		for to < len(text) && !utf8.RuneStart(text[to]) {
			to++
		}
		whole := tok.Encode(string(text[from:to]), false)
		return slices.Equal(whole, slices.Concat(
			tok.Encode(string(text[from:end]), false),
			tok.Encode(string(text[next:to]), false)))
	}
	wordByte := func(b byte) bool { return b >= utf8.RuneSelf || unicode.IsLetter(rune(b)) }

	at := len(text) - around
	for range tries {
		for at--; at > len(text)/2 && !(text[at] == ' ' && wordByte(text[at-1]) && wordByte(text[at+1])); at-- {
		}
		if at <= len(text)/2 {
			break
		}
		if fits(at, at) {
			return at, at
		}
		if fits(at, at+1) {
			return at, at + 1
		}
	}
	at = len(text) - around
	for range tries {
		for at--; !utf8.RuneStart(text[at]); at-- {
		}
		if fits(at, at) {
			return at, at
		}
	}
	return len(text), len(text)
}

// beginning is what comes before every document, so that they can be told apart:
// what the tokenizer puts before a text by itself; or else the token it has for
// that; or else the one that ends a text, as with GPT-2, where one token does
// both. It is nil if there is none of them.
func beginning(tok Tokenizer) []int32 {
	const probe = "a"
	plain, special := tok.Encode(probe, false), tok.Encode(probe, true)
	for i := 0; i+len(plain) <= len(special); i++ {
		if slices.Equal(special[i:i+len(plain)], plain) && i > 0 {
			return special[:i]
		}
	}
	if t, ok := tok.(interface{ BOS() (int32, bool) }); ok {
		if bos, ok := t.BOS(); ok {
			return []int32{bos}
		}
	}
	if eos := tok.EOS(); len(eos) > 0 {
		return eos[:1]
	}
	return nil
}

// fileList names files in a sentence.
func fileList(scans []scan) string {
	names := make([]string, len(scans))
	for i, s := range scans {
		names[i] = s.path
	}
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
