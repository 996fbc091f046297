package jinja

import (
	"fmt"
	"slices"
)

type parser struct {
	tokens []token
	i      int
	depth  int
}

// parse reads the statements of a template. Inside, errors are panics of *Error.
func parse(src string) (body []node, err error) {
	tokens, err := lex(src)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			body, err = nil, e
		}
	}()
	p := &parser{tokens: tokens}
	body, _ = p.body()
	return body, nil
}

func (p *parser) cur() token { return p.tokens[p.i] }

// peek returns the token after the current one.
func (p *parser) peek() token { return p.tokens[min(p.i+1, len(p.tokens)-1)] }

func (p *parser) fail(format string, args ...any) {
	panic(&Error{p.cur().line, "TemplateSyntaxError: " + fmt.Sprintf(format, args...)})
}

// enter guards recursion; the caller defers leave.
func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail("nested more than %d deep", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) isOp(op string) bool { c := p.cur(); return c.kind == tokOp && c.text == op }

func (p *parser) isName(name string) bool { c := p.cur(); return c.kind == tokName && c.text == name }

func (p *parser) eatOp(op string) bool {
	if p.isOp(op) {
		p.i++
		return true
	}
	return false
}

func (p *parser) eatName(name string) bool {
	if p.isName(name) {
		p.i++
		return true
	}
	return false
}

func (p *parser) op(op string) {
	if !p.eatOp(op) {
		p.fail("expected %q, got %q", op, p.cur().text)
	}
}

func (p *parser) name() string {
	c := p.cur()
	if c.kind != tokName {
		p.fail("expected a name, got %q", c.text)
	}
	p.i++
	return c.text
}

func (p *parser) end() {
	if p.cur().kind != tokBlockEnd {
		p.fail("expected end of statement block, got %q", p.cur().text)
	}
	p.i++
}

// body parses up to one of the tags stops, or to the end of the template without
// any. It returns the tag and leaves the parser after its name.
func (p *parser) body(stops ...string) (body []node, stop string) {
	p.enter()
	defer p.leave()
	for {
		c := p.cur()
		switch c.kind {
		case tokEOF:
			if len(stops) > 0 {
				p.fail("unexpected end of template, expected %q", stops)
			}
			return body, ""
		case tokData:
			p.i++
			body = append(body, dataNode{c.text})
		case tokVarBegin:
			p.i++
			value := p.tuple()
			if p.cur().kind != tokVarEnd {
				p.fail("expected end of print statement, got %q", p.cur().text)
			}
			p.i++
			body = append(body, outputNode{c.line, value})
		case tokBlockBegin:
			p.i++
			tag := p.name()
			if slices.Contains(stops, tag) {
				return body, tag
			}
			body = append(body, p.statement(tag, c.line))
		default:
			p.fail("unexpected %q", c.text)
		}
	}
}

// block parses the rest of the tag and the body up to end.
func (p *parser) block(end string) []node {
	p.end()
	body, _ := p.body(end)
	p.end()
	return body
}

// statement parses what follows the name of a tag.
func (p *parser) statement(tag string, line int) node {
	switch tag {
	case "if":
		return p.ifStatement(line)
	case "for":
		return p.forStatement(line)
	case "set":
		return p.setStatement(line)
	case "macro":
		n := macroNode{line: line, name: p.name(), signature: p.params()}
		p.end()
		n.body, _ = p.body("endmacro")
		if p.cur().kind == tokName {
			p.i++
		}
		p.end()
		return n
	case "call":
		n := callNode{line: line}
		if p.isOp("(") {
			n.signature = p.params()
		}
		n.call = p.expr()
		n.body = p.block("endcall")
		return n
	case "filter":
		n := filterNode{line: line, filters: []*filterExpr{p.filter(nil)}}
		for p.eatOp("|") {
			n.filters = append(n.filters, p.filter(nil))
		}
		n.body = p.block("endfilter")
		return n
	case "with":
		n := withNode{line: line}
		for p.cur().kind != tokBlockEnd {
			n.names = append(n.names, p.name())
			p.op("=")
			n.values = append(n.values, p.expr())
			if !p.eatOp(",") {
				break
			}
		}
		n.body = p.block("endwith")
		return n
	case "generation": // of transformers: marks the assistant's tokens
		return scopeNode{p.block("endgeneration")}
	case "break":
		p.end()
		return breakNode{}
	case "continue":
		p.end()
		return continueNode{}
	}
	p.fail("encountered unknown tag %q", tag)
	return nil
}

func (p *parser) ifStatement(line int) node {
	n := ifNode{line: line}
	for {
		n.conds = append(n.conds, p.tuple())
		p.end()
		body, stop := p.body("elif", "else", "endif")
		n.bodies = append(n.bodies, body)
		switch stop {
		case "elif":
			continue
		case "else":
			n.otherwise = p.block("endif")
			return n
		}
		p.end()
		return n
	}
}

func (p *parser) forStatement(line int) node {
	n := forNode{line: line}
	paren := p.eatOp("(")
	n.targets = append(n.targets, p.name())
	for p.eatOp(",") {
		n.unpack = true
		if p.isName("in") || p.isOp(")") {
			break
		}
		n.targets = append(n.targets, p.name())
	}
	if paren {
		p.op(")")
	}
	if !p.eatName("in") {
		p.fail("expected \"in\", got %q", p.cur().text)
	}
	n.items = p.tupleOf(p.or) // the if after it is the loop's
	if p.eatName("if") {
		n.cond = p.expr()
	}
	n.recursive = p.eatName("recursive")
	p.end()
	var stop string
	if n.body, stop = p.body("else", "endfor"); stop == "else" {
		n.otherwise = p.block("endfor")
	} else {
		p.end()
	}
	return n
}

func (p *parser) setStatement(line int) node {
	n := setNode{line: line}
	for {
		var target expr = nameExpr{p.name()}
		if p.eatOp(".") {
			target = attrExpr{target, p.name()}
		}
		n.targets = append(n.targets, target)
		if !p.eatOp(",") {
			break
		}
	}
	if p.eatOp("=") {
		n.value = p.tuple()
		p.end()
		return n
	}
	for p.eatOp("|") {
		n.filters = append(n.filters, p.filter(nil))
	}
	n.body = p.block("endset")
	return n
}

func (p *parser) params() (s signature) {
	p.op("(")
	for !p.eatOp(")") {
		s.params = append(s.params, p.name())
		var value expr
		if p.eatOp("=") {
			value = p.expr()
		}
		s.defaults = append(s.defaults, value)
		if !p.isOp(")") {
			p.op(",")
		}
	}
	return s
}
