package toolcall

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// interpreters are names under which clients offer to run Python. Llama 3 writes code for them behind its <|python_tag|>.
var interpreters = []string{"python", "ipython", "code_interpreter"}

// inPython is in Python, behind a <|python_tag|> or in a code fence tool_code.
func (p *Parser) inPython(b byte) {
	p.held = append(p.held, b)
	if !p.fenced || !bytes.HasSuffix(p.held[len(fence):], []byte("\n"+fence)) {
		return
	}
	p.code, p.fenced = false, false
	p.state = (*Parser).inText
	if !p.python() {
		p.write(p.held)
	}
	p.held = nil
}

// python makes calls of the Python that was read, and reports whether it is some.
func (p *Parser) python() bool {
	code := string(p.held)
	if p.fenced || strings.HasPrefix(code, fence) {
		_, code, _ = strings.Cut(code, "\n")
		code = strings.TrimSuffix(strings.TrimSpace(code), fence)
	} else {
		code = strings.TrimPrefix(code, pythonTag)
	}
	calls := pythonCalls(code)
	known := len(calls) > 0
	for _, c := range calls {
		known = known && p.known[c.Name]
	}
	if !known {
		calls = nil
		for _, name := range interpreters {
			if p.known[name] && p.marked && calls == nil {
				arguments, _ := json.Marshal(map[string]string{"code": strings.TrimSpace(code)})
				calls = []Call{{Name: name, Arguments: string(arguments)}}
			}
		}
	}
	for _, c := range calls {
		p.begin(c.Name)
		p.text = append(p.text, c.Arguments...)
		p.give()
		p.open = false
	}
	return len(calls) > 0
}

// pythonCalls reads calls of functions with keyword arguments of literals, as Gemma and Llama write them:
// f(a="x", b=[1, 2]), print(f(a=1)) or f.call(query="x"); nil where there is anything else.
func pythonCalls(code string) (calls []Call) {
	s := &python{text: code}
	for {
		s.space("\n;")
		if s.text == "" {
			return calls
		}
		c, ok := s.call()
		if !ok {
			return nil
		}
		calls = append(calls, c)
	}
}

// python reads literals from the beginning of its text.
type python struct {
	text  string
	depth int
}

func (s *python) space(more string) { s.text = strings.TrimLeft(s.text, " \t\r"+more) }

func (s *python) take(token string) bool {
	s.space("")
	rest, ok := strings.CutPrefix(s.text, token)
	if ok {
		s.text = rest
	}
	return ok
}

func (s *python) word() string {
	s.space("")
	n := 0
	for n < len(s.text) && nameByte(s.text[n]) {
		n++
	}
	word := s.text[:n]
	s.text = s.text[n:]
	return word
}

func (s *python) call() (c Call, ok bool) {
	name := s.word()
	if name == "" || !s.take("(") {
		return c, false
	}
	if name == "print" {
		if c, ok = s.call(); ok {
			ok = s.take(")")
		}
		return c, ok
	}
	c.Name = strings.TrimSuffix(name, ".call")
	var out []string
	for s.space("\n"); !s.take(")"); s.space("\n") {
		if len(out) > 0 {
			if !s.take(",") {
				return c, false
			}
			s.space("\n")
			if s.take(")") {
				break
			}
		}
		key := s.word()
		if key == "" || !s.take("=") {
			return c, false
		}
		value, ok := s.value()
		if !ok {
			return c, false
		}
		out = append(out, strconv.Quote(key)+": "+value)
	}
	c.Arguments = "{" + strings.Join(out, ", ") + "}"
	return c, true
}

// value reads a literal and gives it as JSON.
func (s *python) value() (string, bool) {
	s.space("\n")
	if s.depth++; s.depth > 100 || s.text == "" {
		return "", false
	}
	defer func() { s.depth-- }()
	switch b := s.text[0]; {
	case b == '"' || b == '\'':
		v, ok := s.str()
		if !ok {
			return "", false
		}
		out, _ := json.Marshal(v)
		return string(out), true
	case b == '[' || b == '(' || b == '{':
		return s.items(b)
	}
	word := s.text
	if i := strings.IndexAny(word, " \t\r\n,)]}"); i >= 0 {
		word = word[:i]
	}
	s.text = s.text[len(word):]
	if i := slices.Index([]string{"True", "False", "None"}, word); i >= 0 {
		return []string{"true", "false", "null"}[i], true
	}
	_, err := strconv.ParseFloat(word, 64)
	return word, err == nil && json.Valid([]byte(word))
}

// items reads a list, tuple or dict.
func (s *python) items(begin byte) (string, bool) {
	open, end := "[", "]"
	closing := map[byte]string{'[': "]", '(': ")", '{': "}"}[begin]
	if begin == '{' {
		open, end = "{", "}"
	}
	s.text = s.text[1:]
	var out []string
	for s.space("\n"); !s.take(closing); s.space("\n") {
		if len(out) > 0 {
			if !s.take(",") {
				return "", false
			}
			s.space("\n")
			if s.take(closing) {
				break
			}
		}
		item, ok := s.value()
		if ok && begin == '{' {
			if s.space("\n"); item == "" || item[0] != '"' || !s.take(":") {
				return "", false
			}
			var value string
			value, ok = s.value()
			item += ": " + value
		}
		if !ok {
			return "", false
		}
		out = append(out, item)
	}
	return open + strings.Join(out, ", ") + end, true
}

// str reads a string with the escapes that Python and JSON have in common.
func (s *python) str() (string, bool) {
	quote := s.text[:1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.text, long) {
		quote = long
	}
	var out strings.Builder
	for rest := s.text[len(quote):]; rest != ""; {
		if after, ok := strings.CutPrefix(rest, quote); ok {
			s.text = after
			return out.String(), true
		}
		if rest[0] == '\n' && len(quote) == 1 {
			return "", false
		}
		if rest[0] == '\\' {
			if r, _, after, err := strconv.UnquoteChar(rest, quote[0]); err == nil {
				out.WriteRune(r)
				rest = after
				continue
			}
		}
		out.WriteByte(rest[0])
		rest = rest[1:]
	}
	return "", false
}
