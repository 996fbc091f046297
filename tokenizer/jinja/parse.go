package jinja

import (
	"fmt"
	"slices"
)

type parser struct {
	tokens     []token
	i          int
	depth      int
	statements map[string]func(p *parser, line int) []node

	loops   int             // how many loops a break could leave
	inFor   int             // how many loops there are around, through macros
	soft    bool            // in an if, where unknown filters are an error only when they run
	unknown []*Error        // filters and tests that do not exist
	uses    map[string]bool // of caller, kwargs and varargs, those read in this macro
	blocks  map[string]blockNode
	symbols *symbols   // of the part the parser is in
	parts   []*symbols // all of them
}

// parse reads the statements of a template. Inside, errors are panics of *Error.
func parse(src string) (t *Template, err error) {
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
			t, err = nil, e
		}
	}()
	p := &parser{tokens: tokens, statements: statements(), uses: map[string]bool{}, blocks: map[string]blockNode{}}
	t = &Template{blocks: p.blocks}
	t.symbols = p.part(func() { t.body, _ = p.body() })
	if len(p.unknown) > 0 {
		return nil, p.unknown[0]
	}
	for _, s := range p.parts {
		s.resolve()
	}
	return t, nil
}

func (p *parser) cur() token { return p.tokens[p.i] }

// peek returns the token after the current one.
func (p *parser) peek() token { return p.tokens[min(p.i+1, len(p.tokens)-1)] }

func (p *parser) fail(format string, args ...any) {
	panic(&Error{p.cur().line, "TemplateSyntaxError: " + fmt.Sprintf(format, args...)})
}

func (p *parser) failAt(line int, format string, args ...any) {
	panic(&Error{line, "TemplateSyntaxError: " + fmt.Sprintf(format, args...)})
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
			body = append(body, p.statement(tag, c.line)...)
		default:
			p.fail("unexpected %q", c.text)
		}
	}
}

// open ends the tag that begins a body; a colon may stand there, as in Python.
func (p *parser) open() {
	p.eatOp(":")
	p.end()
}

// block parses the rest of the tag and the body up to end.
func (p *parser) block(end string) []node {
	p.open()
	body, _ := p.body(end)
	p.end()
	return body
}

// function parses the parameters and the body of what becomes a function, up to end:
// no break leaves it.
func (p *parser) function(m *macroNode, end string, head func()) *macroNode {
	outer, loops := p.uses, p.loops
	m.symbols = p.part(func() {
		if p.isOp("(") {
			p.params(m)
		}
		head()
		p.uses, p.loops = map[string]bool{}, 0
		m.body = p.block(end)
	})
	m.uses = p.uses
	for name := range m.uses {
		outer[name] = true
	}
	p.uses, p.loops = outer, loops
	if i := slices.Index(m.params, "caller"); i >= 0 && m.uses["caller"] && m.defaults[i] == nil {
		p.failAt(m.line, "the special \"caller\" argument must be omitted or be given a default")
	}
	return m
}

// refused are the tags that read other templates.
var refused = map[string]bool{"include": true, "import": true, "from": true, "extends": true}

// statements are the parsers of tags, called after the name of the tag; a function,
// since they refer to the table through body.
func statements() map[string]func(p *parser, line int) []node {
	return map[string]func(p *parser, line int) []node{
		"if":  (*parser).ifStatement,
		"for": (*parser).forStatement,
		"set": (*parser).setStatement,
		"macro": func(p *parser, line int) []node {
			m := &macroNode{line: line, name: p.assignable()}
			p.symbols.mention(m.name, written)
			if !p.isOp("(") {
				p.op("(")
			}
			return []node{p.function(m, "endmacro", func() {})}
		},
		"call": func(p *parser, line int) []node {
			n := callNode{line: line, body: &macroNode{line: line, name: "caller"}}
			outer, ok := p.symbols, false
			p.function(n.body, "endcall", func() {
				p.inPart(outer, func() { n.call, ok = p.expr().(callExpr) })
				if !ok {
					p.failAt(line, "expected call")
				}
			})
			return []node{n}
		},
		"generation": func(p *parser, line int) []node { // of transformers: marks the assistant's tokens
			m := &macroNode{line: line, name: "caller", generation: true}
			return []node{generationNode{line, p.function(m, "endgeneration", func() {})}}
		},
		"filter": func(p *parser, line int) []node {
			n := filterNode{line: line}
			p.inPart(p.symbols, func() { n.filters = p.chainOfFilters(true) })
			n.symbols = p.part(func() { n.body = p.block("endfilter") })
			return []node{n}
		},
		"with":       (*parser).withStatement,
		"block":      (*parser).blockStatement,
		"autoescape": (*parser).autoescape,
		"print": func(p *parser, line int) (out []node) {
			for first := true; p.cur().kind != tokBlockEnd; first = false {
				if !first {
					p.op(",")
				}
				out = append(out, outputNode{line, p.expr()})
			}
			p.end()
			return out
		},
		"break":    func(p *parser, line int) []node { return p.jump(line, "break", breakNode{}) },
		"continue": func(p *parser, line int) []node { return p.jump(line, "continue", continueNode{}) },
	}
}

// statement parses what follows the name of a tag.
func (p *parser) statement(tag string, line int) []node {
	if refused[tag] {
		p.failAt(line, "tag %q reads another template; a chat template is one file and has none", tag)
	}
	parse := p.statements[tag]
	if parse == nil {
		p.failAt(line, "encountered unknown tag %q", tag)
	}
	return parse(p, line)
}

func (p *parser) jump(line int, word string, n node) []node {
	p.end()
	if p.loops == 0 {
		p.failAt(line, "'%s' outside loop", word)
	}
	return []node{n}
}

func (p *parser) ifStatement(line int) []node {
	soft, in := p.soft, p.symbols
	defer func() { p.soft, in.ifs = soft, in.ifs-1 }()
	n := ifNode{line: line}
	in.ifs++
	for {
		p.soft = true
		n.conds = append(n.conds, p.tupleOf(p.or))
		p.open()
		body, stop := p.body("elif", "else", "endif")
		n.bodies = append(n.bodies, body)
		switch stop {
		case "elif":
			continue
		case "else":
			n.otherwise = p.block("endif")
			return []node{n}
		}
		p.end()
		return []node{n}
	}
}

func (p *parser) forStatement(line int) []node {
	n := forNode{line: line}
	p.inFor++
	n.target = p.target(false, func() bool { return p.isName("in") })
	if !p.eatName("in") {
		p.fail("expected \"in\", got %q", p.cur().text)
	}
	n.items = p.tupleUntil(p.or, func() bool { return p.isName("recursive") }) // the if after it is the loop's
	if p.eatName("if") {
		n.condSymbols = p.part(func() {
			p.symbols.assigned(n.target, parameter)
			n.cond = p.expr()
		})
	}
	n.recursive = p.eatName("recursive")
	loops := p.loops
	outer := loops
	if n.recursive { // the loop becomes a function
		outer = 0
	}
	var stop string
	p.loops = outer + 1
	n.symbols = p.part(func() {
		p.symbols.assigned(n.target, parameter)
		p.symbols.mention("loop", parameter)
		p.open()
		n.body, stop = p.body("else", "endfor")
	})
	p.loops = outer
	if stop == "else" {
		n.elseSymbols = p.part(func() { n.otherwise = p.block("endfor") })
	} else {
		p.end()
	}
	p.loops = loops
	p.inFor--
	return []node{n}
}

func (p *parser) setStatement(line int) []node {
	n := setNode{line: line, target: p.target(true, nil)}
	if p.eatOp("=") {
		n.value = p.tuple()
		p.end()
		p.symbols.assigned(n.target, written)
		return []node{n}
	}
	p.symbols.assigned(n.target, written)
	n.symbols = p.part(func() {
		n.filters = p.chainOfFilters(false)
		n.body = p.block("endset")
	})
	return []node{n}
}

func (p *parser) withStatement(line int) []node {
	n := withNode{line: line}
	for p.cur().kind != tokBlockEnd && !p.isOp(":") {
		if len(n.targets) > 0 {
			p.op(",")
		}
		n.targets = append(n.targets, p.target(false, nil))
		p.op("=")
		n.values = append(n.values, p.expr())
	}
	n.symbols = p.part(func() {
		for _, target := range n.targets {
			p.symbols.assigned(target, parameter)
		}
		n.body = p.block("endwith")
	})
	return []node{n}
}

func (p *parser) blockStatement(line int) []node {
	n := blockNode{line: line, name: p.name()}
	n.scoped = p.eatName("scoped")
	p.eatName("required")
	around, loops := p.symbols, p.loops
	p.loops = 0
	if !n.scoped {
		p.symbols = nil
	}
	n.symbols = p.part(func() {
		p.open()
		n.body, _ = p.body("endblock")
	})
	p.symbols, p.loops = around, loops
	p.eatName(n.name)
	p.end()
	if _, twice := p.blocks[n.name]; twice {
		p.failAt(line, "block %q defined twice", n.name)
	}
	p.blocks[n.name] = n
	return []node{n}
}

func (p *parser) autoescape(line int) []node {
	on, ok := p.expr().(constExpr)
	if !ok || truthy(on.value) {
		p.failAt(line, "autoescape can only be false: chat templates are no HTML")
	}
	var n scopeNode
	n.symbols = p.part(func() { n.body = p.block("endautoescape") })
	return []node{n}
}

// params parses the parameters of a macro.
func (p *parser) params(m *macroNode) {
	p.op("(")
	for !p.isOp(")") {
		if len(m.params) > 0 {
			p.op(",")
		}
		name := p.assignable()
		if slices.Contains(m.params, name) {
			p.fail("duplicate argument %q", name)
		}
		var value expr
		if p.eatOp("=") {
			value = p.expr()
		} else if n := len(m.params); n > 0 && m.defaults[n-1] != nil {
			p.fail("non-default argument follows default argument")
		}
		p.symbols.mention(name, parameter)
		m.params, m.defaults = append(m.params, name), append(m.defaults, value)
	}
	p.op(")")
}

// assignable parses a name that is no constant.
func (p *parser) assignable() string {
	name := p.name()
	if _, ok := constants[name]; ok {
		p.fail("can't assign to %q", name)
	}
	return name
}

// target parses what is assigned to: names, attributes of namespaces if they are
// allowed, and tuples of them; stop tells where a tuple ends.
func (p *parser) target(namespaces bool, stop func() bool) expr {
	one := func() expr {
		if p.isOp("(") {
			p.enter()
			defer p.leave()
			p.i++
			x := p.target(namespaces, func() bool { return p.isOp(")") })
			p.op(")")
			return x
		}
		line, name := p.cur().line, p.assignable()
		if namespaces && p.eatOp(".") {
			return attrExpr{nameExpr{name}, p.name()}
		}
		if name == "loop" && p.inFor > 0 {
			p.failAt(line, "can't assign to special loop variable in for-loop target")
		}
		return nameExpr{name}
	}
	return p.tupleUntil(one, func() bool { return stop != nil && stop() || p.isOp("=") })
}
