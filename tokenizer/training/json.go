package training

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// JSON returns the tokenizer.json, byte for byte as Hugging Face's library writes it.
func (v *Vocab) JSON() []byte {
	w := &writer{}
	w.open("{")
	w.member("version", `"1.0"`)
	w.member("truncation", "null")
	w.member("padding", "null")
	w.key("added_tokens")
	if len(v.special) == 0 {
		w.value("[]")
	} else {
		w.open("[")
		for id, s := range v.special {
			w.item()
			w.object("id", strconv.Itoa(id), "content", quote(s), "single_word", "false", "lstrip", "false",
				"rstrip", "false", "normalized", "false", "special", "true")
		}
		w.close("]")
	}
	w.member("normalizer", "null")
	w.key("pre_tokenizer")
	byteLevel := func(prefix, trim, regex string) {
		w.object("type", `"ByteLevel"`, "add_prefix_space", prefix, "trim_offsets", trim, "use_regex", regex)
	}
	if v.split.GPT2 {
		byteLevel("false", "true", "true")
	} else {
		w.open("{")
		w.member("type", `"Sequence"`)
		w.key("pretokenizers")
		w.open("[")
		w.item()
		w.open("{")
		w.member("type", `"Split"`)
		w.key("pattern")
		w.object("Regex", quote(v.split.Pattern))
		w.member("behavior", `"Isolated"`)
		w.member("invert", "false")
		w.close("}")
		w.item()
		byteLevel("false", "true", "false")
		w.close("]")
		w.close("}")
	}
	w.key("post_processor")
	byteLevel("true", "false", "true") // trims no offsets: the ids are all it leaves
	w.key("decoder")
	byteLevel("true", "true", "true")
	w.key("model")
	w.open("{")
	for _, m := range [][2]string{{"type", `"BPE"`}, {"dropout", "null"}, {"unk_token", "null"}, {"continuing_subword_prefix", "null"},
		{"end_of_word_suffix", "null"}, {"fuse_unk", "false"}, {"byte_fallback", "false"}, {"ignore_merges", "false"}} {
		w.member(m[0], m[1])
	}
	w.key("vocab")
	w.open("{")
	for id, t := range v.Tokens {
		w.member(t, strconv.Itoa(id))
	}
	w.close("}")
	w.key("merges")
	if len(v.Merges) == 0 {
		w.value("[]")
	} else {
		w.open("[")
		for _, m := range v.Merges {
			w.item()
			w.open("[")
			w.item()
			w.value(quote(m[0]))
			w.item()
			w.value(quote(m[1]))
			w.close("]")
		}
		w.close("]")
	}
	w.close("}")
	w.close("}")
	return w.Bytes()
}

// writer writes indented JSON in the layout of Rust's serde_json.
type writer struct {
	bytes.Buffer
	depth int
	more  bool // something stands before in this list or object
}

func (w *writer) value(s string) { w.WriteString(s); w.more = true }
func (w *writer) open(s string)  { w.WriteString(s); w.depth++; w.more = false }

// close ends a list or object that is not empty.
func (w *writer) close(s string) {
	w.depth--
	w.line()
	w.value(s)
}

func (w *writer) line() {
	w.WriteByte('\n')
	for range w.depth {
		w.WriteString("  ")
	}
}

// item begins an item of a list.
func (w *writer) item() {
	if w.more {
		w.WriteByte(',')
	}
	w.line()
}

func (w *writer) key(k string) {
	w.item()
	w.WriteString(quote(k))
	w.WriteString(": ")
}

func (w *writer) member(k, v string) {
	w.key(k)
	w.value(v)
}

// object writes keys and values in turns.
func (w *writer) object(members ...string) {
	w.open("{")
	for i := 0; i < len(members); i += 2 {
		w.member(members[i], members[i+1])
	}
	w.close("}")
}

// quote is a JSON string in which only what must be is escaped.
func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ' || c >= utf8.RuneSelf:
			b = append(b, c)
		default:
			if short, ok := escapes[c]; ok {
				b = append(b, short...)
			} else {
				b = fmt.Appendf(b, `\u%04x`, c)
			}
		}
	}
	return string(append(b, '"'))
}

var escapes = map[byte]string{'\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
