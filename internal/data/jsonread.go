package data

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// maxLine bounds a line of a .jsonl file, so that a file without line ends is an
// error and not the end of the memory.
const maxLine = 64 << 20

// rawSample is the JSON text of one sample and where it begins.
type rawSample struct {
	number int // counted from 1
	offset int64
	text   []byte
}

// sample is what a model shall learn: the answer to an instruction.
type sample struct{ instruction, input, output, system string }

// syntaxError is text that is not JSON, at an offset in the file or the sample.
type syntaxError struct {
	offset int64
	msg    string
}

func (e *syntaxError) Error() string { return e.msg }

// formats is the table of file formats; yield's error ends the reading.
var formats = map[string]func(r io.Reader, yield func(rawSample) error) error{
	".json":  readList,
	".jsonl": readLines,
}

// readList cuts a JSON list into its elements without looking into them. The
// standard library's Decoder does so too, but its errors carry no offset in the
// file, and a missing quote makes it read to the end.
func readList(r io.Reader, yield func(rawSample) error) error {
	src := bufio.NewReaderSize(r, chunkSize)
	offset := int64(-1) // of the byte that was read last
	c, err := skipSpace(src, &offset)
	switch {
	case err == io.EOF:
		return nil // the caller says that there are no samples
	case err != nil:
		return err
	case c == '{':
		return &syntaxError{offset, "want a list of samples, got an object; a file with one object per line is to be named .jsonl"}
	case c != '[':
		return &syntaxError{offset, fmt.Sprintf("want a list of samples, got %q", c)}
	}
	if c, err = skipSpace(src, &offset); err == nil && c == ']' {
		return atEnd(src, &offset)
	}
	for number := 1; err == nil; number++ {
		raw := rawSample{number: number, offset: offset}
		depth, quoted, escaped := 0, false, false
		for ; err == nil; c, err = readByte(src, &offset) {
			if quoted {
				switch {
				case c < ' ':
					return &syntaxError{offset, fmt.Sprintf("sample %d: a string contains %q; is a closing quote missing?", number, c)}
				case escaped:
					escaped = false
				case c == '\\':
					escaped = true
				case c == '"':
					quoted = false
				}
				raw.text = append(raw.text, c)
				continue
			}
			if depth == 0 && (c == ',' || c == ']') {
				break
			}
			switch c {
			case '"':
				quoted = true
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			raw.text = append(raw.text, c)
		}
		if err != nil {
			break
		}
		end := c
		if err := yield(raw); err != nil {
			return err
		}
		if end == ']' {
			return atEnd(src, &offset)
		}
		c, err = skipSpace(src, &offset)
	}
	if err == io.EOF {
		return &syntaxError{offset, "the file ends inside the list of samples; is it whole?"}
	}
	return err
}

// readByte moves offset to the byte that it gives.
func readByte(src *bufio.Reader, offset *int64) (byte, error) {
	c, err := src.ReadByte()
	if err == nil {
		*offset++
	}
	return c, err
}

const space = " \t\r\n" // of JSON

// skipSpace gives the next byte that is no white space.
func skipSpace(src *bufio.Reader, offset *int64) (byte, error) {
	for {
		c, err := readByte(src, offset)
		if err != nil || strings.IndexByte(space, c) < 0 {
			return c, err
		}
	}
}

// atEnd checks that nothing follows.
func atEnd(src *bufio.Reader, offset *int64) error {
	c, err := skipSpace(src, offset)
	if err == io.EOF {
		return nil
	}
	if err == nil {
		err = &syntaxError{*offset, fmt.Sprintf("%q after the end of the list", c)}
	}
	return err
}

// readLines cuts a file into lines, of which empty ones do not count.
func readLines(r io.Reader, yield func(rawSample) error) error {
	src := bufio.NewReaderSize(r, chunkSize)
	raw := rawSample{}
	var offset int64
	for {
		part, err := src.ReadSlice('\n')
		if len(raw.text)+len(part) > maxLine {
			return &syntaxError{raw.offset, fmt.Sprintf("a line is longer than %d MB; a list of samples is to be named .json", maxLine>>20)}
		}
		raw.text = append(raw.text, part...)
		offset += int64(len(part))
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return err
		}
		if len(bytes.Trim(raw.text, space)) > 0 {
			raw.number++
			if err := yield(raw); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		raw.text, raw.offset = nil, offset
	}
}

// parseSample reads the keys of a sample; an error other than a *syntaxError
// says what is wrong with valid JSON.
func parseSample(text []byte) (sample, error) {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return sample{}, syntax(text, err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return sample{}, fmt.Errorf("want an object, got %s", kind(value))
	}
	var s sample
	var wrong []string
	for _, f := range []struct {
		key      string
		required bool
		to       *string
	}{
		{"instruction", true, &s.instruction},
		{"input", false, &s.input},
		{"output", true, &s.output},
		{"sys_prompt", false, &s.system},
	} {
		v, found := object[f.key]
		text, isString := v.(string)
		switch {
		case isString:
			*f.to = text
		case !found && f.required:
			wrong = append(wrong, fmt.Sprintf("no %q", f.key))
		case f.required, v != nil: // null stands for absent
			wrong = append(wrong, fmt.Sprintf("%q is %s, want a string", f.key, kind(v)))
		}
	}
	if wrong == nil {
		return s, nil
	}
	keys := slices.Sorted(maps.Keys(object))
	const most = 8
	if len(keys) > most {
		keys = append(keys[:most], "…")
	}
	return s, fmt.Errorf("%s (its keys: %s)", strings.Join(wrong, ", "), cmp.Or(strings.Join(keys, ", "), "none"))
}

// syntax is the error of json.Unmarshal with its place in text.
func syntax(text []byte, err error) error {
	var syn *json.SyntaxError
	if !errors.As(err, &syn) {
		return err
	}
	if len(bytes.Trim(text, space)) == 0 {
		return &syntaxError{0, "want a sample, got nothing; is there a comma too many?"}
	}
	at := syn.Offset - 1 // it counts the bad byte
	if strings.Contains(syn.Error(), "unexpected end") {
		at = syn.Offset
	}
	return &syntaxError{min(max(at, 0), int64(len(text))), syn.Error()}
}

// kind names the type of a decoded value.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	}
	return "an object"
}
