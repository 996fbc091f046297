package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxHeader   = 100_000_000 // bytes; the limit of Hugging Face's library
	maxName     = 4096        // bytes; the longest name seen in a checkpoint has about 200
	maxRank     = 64          // dimensions; what PyTorch and NumPy 2 can hold
	metadataKey = "__metadata__"
)

// Info is what the header says about a tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int
}

// entry is a tensor of a file: its bytes are begin to end, counted from the first
// byte behind the header.
type entry struct {
	Info
	begin, end int64
}

type header struct {
	entries  []entry // by begin
	metadata map[string]string
	start    int64 // where the data begins in the file
}

// impostors are beginnings of files that are often found under the name of a
// safetensors file. Read as a length, they give an error that helps nobody.
var impostors = []struct{ magic, message string }{
	{"version https://git-lfs", "is a Git LFS pointer, not the weights; run git lfs pull, or download the file again"},
	{"PK\x03\x04", "is a PyTorch (zip) file, not safetensors; rename it to pytorch_model.bin if it is the model"},
	{"\x80\x02\x8a", "is a Python pickle, not safetensors; load it with what wrote it, and save it as safetensors"},
	{"GGUF", "is a GGUF file, not safetensors"},
	{"<!DOCTYPE", "is a web page, not safetensors; the download went wrong, download it again"},
	{"<html", "is a web page, not safetensors; the download went wrong, download it again"},
}

// parse reads and checks the header of a file of size bytes. It reads by r, not
// from a mapping, so that a file that shrinks meanwhile is an error.
func parse(r io.ReaderAt, size int64) (header, error) {
	first := make([]byte, min(size, 32))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), first); err != nil {
		return header{}, fmt.Errorf("read the first bytes: %w", cause(err))
	}
	if size < 8 {
		return header{}, fmt.Errorf("has %d bytes, want at least the 8 of the header's length; download it again", size)
	}
	n := binary.LittleEndian.Uint64(first)
	if n > uint64(size-8) { // only then, since "PK\x03\x04" begins a possible length
		for _, i := range impostors {
			if bytes.HasPrefix(first, []byte(i.magic)) {
				return header{}, errors.New(i.message)
			}
		}
	}
	switch {
	case n > maxHeader:
		return header{}, fmt.Errorf("header of %d bytes, want at most %d; this is no safetensors file or it is damaged", n, maxHeader)
	case int64(n) > size-8:
		return header{}, fmt.Errorf("header of %d bytes does not fit a file of %d bytes; the file is truncated, download it again", n, size)
	case n == 0:
		return header{}, errors.New("header of 0 bytes, want a JSON object; this is no safetensors file or it is damaged")
	case int64(int(size)) != size:
		return header{}, fmt.Errorf("file of %d bytes is too large for a %d-bit program", size, strconv.IntSize)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, 8, int64(n)), text); err != nil {
		return header{}, fmt.Errorf("read the header: %w", cause(err))
	}
	h, err := parseHeader(text)
	if err != nil {
		return header{}, err
	}
	h.start = 8 + int64(n)
	if err := checkLayout(h.entries, size-h.start); err != nil {
		return header{}, err
	}
	return h, nil
}

// parseHeader reads the JSON of a header; the entries come back by begin.
func parseHeader(text []byte) (header, error) {
	if text[0] != '{' {
		return header{}, fmt.Errorf("header begins with %q, want '{'; this is no safetensors file or it is damaged", text[:1])
	}
	if !utf8.Valid(text) {
		return header{}, errors.New("header is not UTF-8; the file is damaged")
	}
	p := newParser("header", text)
	var h header
	err := p.object("header", func(name string) error {
		if name == metadataKey {
			m, err := p.metadata()
			h.metadata = m
			return err
		}
		e, err := p.tensor(name)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", quote(name), err)
		}
		h.entries = append(h.entries, e)
		return nil
	})
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return header{}, err
	}
	slices.SortStableFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	return h, nil
}

// tensor reads {"dtype": …, "shape": […], "data_offsets": [begin, end]}. Other keys
// are refused rather than ignored: one such as "strides" would change the values.
func (p *parser) tensor(name string) (entry, error) {
	if err := checkName(name); err != nil {
		return entry{}, err
	}
	e := entry{Info: Info{Name: name}}
	var shape, offsets []int64
	err := p.object("its description", func(key string) (err error) {
		switch key {
		case "dtype":
			var s string
			s, err = p.text("dtype")
			e.DType = DType(s)
		case "shape":
			shape, err = p.naturals("shape", maxRank)
		case "data_offsets":
			offsets, err = p.naturals("data_offsets", 2)
		default:
			err = fmt.Errorf("unknown key %s, want dtype, shape and data_offsets", quote(key))
		}
		return err
	})
	switch {
	case err != nil:
		return entry{}, err
	case e.DType == "":
		return entry{}, errors.New("has no dtype")
	case shape == nil:
		return entry{}, errors.New("has no shape")
	case len(offsets) != 2:
		return entry{}, fmt.Errorf("%d data_offsets, want 2, begin and end", len(offsets))
	}
	e.begin, e.end = offsets[0], offsets[1]
	e.Shape = make([]int, len(shape))
	for i, n := range shape {
		if n > math.MaxInt {
			return entry{}, fmt.Errorf("shape %v is too large", shape)
		}
		e.Shape[i] = int(n)
	}
	want, err := e.bytes()
	if err != nil {
		return entry{}, err
	}
	if e.begin > e.end {
		return entry{}, fmt.Errorf("data_offsets [%d, %d] run backwards", e.begin, e.end)
	}
	if got := e.end - e.begin; got != want {
		return entry{}, fmt.Errorf("data_offsets [%d, %d] hold %d bytes, but %s %v has %d", e.begin, e.end, got, e.DType, e.Shape, want)
	}
	return e, nil
}

// bytes is the size of a tensor's data.
func (i Info) bytes() (int64, error) {
	if i.DType.Size() == 0 {
		var known []string
		for _, t := range dtypes {
			known = append(known, string(t.dtype))
		}
		return 0, fmt.Errorf("unknown dtype %s, want one of %s", quote(string(i.DType)), strings.Join(known, ", "))
	}
	// A shape with a 0 still has to have a product that fits, as in the Rust library.
	product := uint64(i.DType.Size())
	for _, n := range i.Shape {
		if n < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", i.Shape)
		}
		hi, lo := bits.Mul64(product, uint64(n))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("shape %v of %s has more bytes than 63 bits can count", i.Shape, i.DType)
		}
		product = lo
	}
	return int64(product), nil
}

// checkName bounds names and refuses U+FFFD, which is what encoding/json makes of
// half a surrogate pair: two different broken names would become one.
func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("name of %d bytes, want at most %d", len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError):
		return errors.New("name is not valid Unicode")
	}
	return nil
}

// checkLayout demands that the entries, sorted by begin, cover the size bytes of
// data exactly once.
func checkLayout(entries []entry, size int64) error {
	var at int64
	last := "the header"
	for _, e := range entries {
		switch {
		case e.end > size:
			return fmt.Errorf("tensor %s: data_offsets [%d, %d] end behind the file's %d bytes of data; the file is truncated, download it again",
				quote(e.Name), e.begin, e.end, size)
		case e.begin < at:
			return fmt.Errorf("tensor %s: data_offsets [%d, %d] overlap %s, which ends at byte %d; the file is damaged",
				quote(e.Name), e.begin, e.end, last, at)
		case e.begin > at:
			return fmt.Errorf("tensor %s: data_offsets [%d, %d] leave a hole: %s ends at byte %d; the file is damaged",
				quote(e.Name), e.begin, e.end, last, at)
		}
		at, last = e.end, "tensor "+quote(e.Name)
	}
	if at != size {
		return fmt.Errorf("%d bytes of data behind %s belong to no tensor; the file is damaged", size-at, last)
	}
	return nil
}

// parser reads JSON token by token. encoding/json's Unmarshal would keep the last of
// two equal keys and turn 1e3 into a length.
type parser struct {
	of  string // what is being read, for errors
	dec *json.Decoder
}

func newParser(of string, text []byte) *parser {
	p := &parser{of, json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	return p
}

func (p *parser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s ends in the middle of its JSON; the file is damaged", p.of)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not JSON at byte %d: %w; the file is damaged", p.of, p.dec.InputOffset(), err)
	}
	return t, nil
}

// object reads {…} and calls value, which has to read the value, for every key.
func (p *parser) object(what string, value func(key string) error) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("%s is %s, want an object {…}", what, describe(t))
	}
	seen := map[string]bool{}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key := t.(string) // the decoder lets nothing else be a key
		if seen[key] {
			return fmt.Errorf("%s has the key %s twice", what, quote(key))
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	_, err = p.token()
	return err
}

// metadata reads an object of strings.
func (p *parser) metadata() (map[string]string, error) {
	m := map[string]string{}
	err := p.object(metadataKey, func(key string) (err error) {
		m[key], err = p.text(metadataKey + " " + quote(key))
		return err
	})
	return m, err
}

func (p *parser) text(what string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%s is %s, want a string", what, describe(t))
	}
	return s, nil
}

// naturals reads an array of at most most integers >= 0, never nil.
func (p *parser) naturals(what string, most int) ([]int64, error) {
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		return nil, fmt.Errorf("%s is %s, want an array of integers", what, describe(t))
	}
	list := []int64{}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		digits, ok := t.(json.Number)
		n, err := strconv.ParseUint(string(digits), 10, 63) // no sign, fraction or exponent
		if !ok || err != nil {
			return nil, fmt.Errorf("%s has %s, want integers from 0 to 2^63-1", what, describe(t))
		}
		if len(list) == most {
			return nil, fmt.Errorf("%s has more than %d numbers", what, most)
		}
		list = append(list, int64(n))
	}
	_, err = p.token()
	return list, err
}

// end demands that only white space, the padding, is left.
func (p *parser) end() error {
	if t, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		if err != nil {
			return fmt.Errorf("%s has something behind its JSON at byte %d; the file is damaged", p.of, p.dec.InputOffset())
		}
		return fmt.Errorf("%s has %s behind its JSON; the file is damaged", p.of, describe(t))
	}
	return nil
}

func describe(t json.Token) string {
	switch t := t.(type) {
	case nil:
		return "null"
	case json.Delim:
		if t == '{' || t == '}' {
			return "an object"
		}
		return "an array"
	case string:
		return "the string " + quote(t)
	case json.Number:
		return "the number " + quote(string(t))
	}
	return fmt.Sprint(t)
}
