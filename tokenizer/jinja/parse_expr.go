package jinja

import (
	"slices"
	"strconv"
	"strings"
)

// tuple parses an expression, or several with commas between.
func (p *parser) tuple() expr { return p.tupleOf(p.expr) }

func (p *parser) tupleOf(one func() expr) expr { return p.tupleUntil(one, nil) }

// tupleUntil is tupleOf that also ends where stop is true.
func (p *parser) tupleUntil(one func() expr, stop func() bool) expr {
	first := one()
	if !p.isOp(",") {
		return first
	}
	items := []expr{first}
	for p.eatOp(",") {
		if c := p.cur(); c.kind == tokVarEnd || c.kind == tokBlockEnd || p.isOp(")") || stop != nil && stop() {
			break
		}
		items = append(items, one())
	}
	return tupleExpr{items}
}

// expr parses a if b else c and all that binds tighter.
func (p *parser) expr() expr {
	p.enter()
	defer p.leave()
	line, known, soft := p.cur().line, len(p.unknown), p.soft
	x := p.or()
	for n := 0; p.eatName("if"); n++ {
		if n > maxDepth {
			p.fail("more than %d conditions in a row", maxDepth)
		}
		p.unknown, p.soft = p.unknown[:known], true
		cond := p.or()
		var no expr
		if p.eatName("else") {
			no = p.expr()
		}
		x = condExpr{line, cond, x, no}
		line = p.cur().line
	}
	p.soft = soft
	return x
}

// chain parses left-associative operators; taking one returns it or "".
func (p *parser) chain(operand func() expr, take func() string) expr {
	x := operand()
	for n := 0; ; n++ {
		op := take()
		if op == "" {
			return x
		}
		if n > maxDepth { // the tree leans left: as deep as the chain is long
			p.fail("more than %d operators in a row", maxDepth)
		}
		x = binaryExpr{op, x, operand()}
	}
}

// takeOp takes one of ops.
func (p *parser) takeOp(ops ...string) string {
	for _, op := range ops {
		if p.eatOp(op) {
			return op
		}
	}
	return ""
}

func (p *parser) takeName(name string) string {
	if p.eatName(name) {
		return name
	}
	return ""
}

func (p *parser) or() expr {
	return p.chain(p.and, func() string { return p.takeName("or") })
}

func (p *parser) and() expr {
	return p.chain(p.not, func() string { return p.takeName("and") })
}

func (p *parser) not() expr {
	if !p.eatName("not") {
		return p.compare()
	}
	p.enter()
	defer p.leave()
	return unaryExpr{"not", p.not()}
}

func (p *parser) compare() expr {
	x := compareExpr{first: p.sum()}
	for {
		op := p.takeOp("==", "!=", "<=", ">=", "<", ">")
		if op == "" {
			op = p.takeName("in")
		}
		if op == "" && p.isName("not") && p.peek().kind == tokName && p.peek().text == "in" {
			op = "not in"
			p.i += 2
		}
		if op == "" {
			break
		}
		x.ops, x.rest = append(x.ops, op), append(x.rest, p.sum())
	}
	if len(x.ops) == 0 {
		return x.first
	}
	return x
}

func (p *parser) sum() expr {
	return p.chain(p.concat, func() string { return p.takeOp("+", "-") })
}

func (p *parser) concat() expr {
	first := p.product()
	if !p.isOp("~") {
		return first
	}
	items := []expr{first}
	for p.eatOp("~") {
		items = append(items, p.product())
	}
	return concatExpr{items}
}

func (p *parser) product() expr {
	return p.chain(p.power, func() string { return p.takeOp("*", "//", "/", "%") })
}

func (p *parser) power() expr {
	return p.chain(func() expr { return p.unary(true) }, func() string { return p.takeOp("**") })
}

// unary parses signs, a primary and what follows it; filters bind to the whole,
// so -1|abs is (-1)|abs, as in Jinja2.
func (p *parser) unary(filters bool) expr {
	p.enter()
	defer p.leave()
	var x expr
	if op := p.takeOp("-", "+"); op != "" {
		x = unaryExpr{op, p.unary(false)}
	} else {
		x = p.primary()
	}
	x = p.postfix(x)
	if filters {
		x = p.filters(x)
	}
	return x
}

var constants = map[string]any{"true": true, "True": true, "false": false, "False": false, "none": nil, "None": nil}

func (p *parser) primary() expr {
	c := p.cur()
	switch c.kind {
	case tokName:
		p.i++
		if v, ok := constants[c.text]; ok {
			return constExpr{v}
		}
		if c.text == "caller" || c.text == "kwargs" || c.text == "varargs" {
			p.uses[c.text] = true
		}
		p.symbols.mention(c.text, read)
		return nameExpr{c.text}
	case tokString:
		var text strings.Builder
		for p.cur().kind == tokString { // neighbours join, as in Python
			text.WriteString(p.cur().text)
			p.i++
		}
		return constExpr{text.String()}
	case tokInt:
		v, err := strconv.ParseInt(c.text, 0, 64)
		if err != nil {
			p.fail("integer %s is too large", c.text)
		}
		p.i++
		return constExpr{v}
	case tokFloat:
		v, _ := strconv.ParseFloat(c.text, 64) // infinity where it is too large, as in Python
		p.i++
		return constExpr{v}
	}
	switch {
	case p.eatOp("("):
		if p.eatOp(")") {
			return tupleExpr{}
		}
		x := p.tuple()
		p.op(")")
		return x
	case p.eatOp("["):
		x := listExpr{}
		for !p.eatOp("]") {
			x.items = append(x.items, p.expr())
			if !p.isOp("]") {
				p.op(",")
			}
		}
		return x
	case p.eatOp("{"):
		x := dictExpr{}
		for !p.eatOp("}") {
			x.keys = append(x.keys, p.expr())
			p.op(":")
			x.values = append(x.values, p.expr())
			if !p.isOp("}") {
				p.op(",")
			}
		}
		return x
	}
	p.fail("unexpected %q", c.text)
	return nil
}

// postfix parses .name, [index] and (arguments) after x.
func (p *parser) postfix(x expr) expr {
	for n := 0; ; n++ {
		if n > maxDepth {
			p.fail("more than %d attributes in a row", maxDepth)
		}
		switch {
		case p.eatOp("."):
			if c := p.cur(); c.kind == tokInt {
				x = itemExpr{x, p.primary()}
			} else {
				x = attrExpr{x, p.name()}
			}
		case p.eatOp("["):
			x = p.subscript(x)
		case p.isOp("("):
			x = callExpr{x, p.args()}
		default:
			return x
		}
	}
}

// subscript parses what follows [: one index or slice, or several indices, a tuple.
func (p *parser) subscript(x expr) expr {
	var items []expr
	for !p.isOp("]") {
		if len(items) > 0 {
			p.op(",")
		}
		item := p.subscribed(x)
		if slice, ok := item.(sliceExpr); ok && (len(items) > 0 || !p.isOp("]")) {
			p.fail("a slice among several indices (step %v)", slice.step != nil)
		}
		items = append(items, item)
	}
	p.i++
	if len(items) != 1 {
		return itemExpr{x, tupleExpr{items}}
	}
	if slice, ok := items[0].(sliceExpr); ok {
		return slice
	}
	return itemExpr{x, items[0]}
}

// subscribed parses one index, or one slice of x.
func (p *parser) subscribed(x expr) expr {
	slice := sliceExpr{of: x}
	ends := func() bool { return p.isOp(":") || p.isOp("]") || p.isOp(",") }
	if !p.eatOp(":") {
		from := p.expr()
		if !p.eatOp(":") {
			return from
		}
		slice.from = from
	}
	if !ends() {
		slice.to = p.expr()
	}
	if p.eatOp(":") && !ends() {
		slice.step = p.expr()
	}
	return slice
}

func (p *parser) args() (a argsExpr) {
	line := p.cur().line
	p.op("(")
	ensure := func(ok bool) {
		if !ok {
			p.failAt(line, "invalid syntax for function call expression")
		}
	}
	for first := true; !p.isOp(")"); first = false {
		if !first {
			if p.op(","); p.isOp(")") {
				break
			}
		}
		next := p.peek()
		switch {
		case p.eatOp("**"):
			ensure(a.starStar == nil)
			a.starStar = p.expr()
		case p.eatOp("*"):
			ensure(a.star == nil && a.starStar == nil)
			a.star = p.expr()
		case p.cur().kind == tokName && next.kind == tokOp && next.text == "=":
			ensure(a.starStar == nil)
			name := p.name()
			if slices.Contains(a.names, name) {
				p.fail("keyword argument repeated: %s", name)
			}
			p.i++
			a.names, a.values = append(a.names, name), append(a.values, p.expr())
		default:
			ensure(a.star == nil && a.starStar == nil && len(a.names) == 0)
			a.pos = append(a.pos, p.expr())
		}
	}
	p.op(")")
	return a
}

// dotted parses the name of a filter or test and notes it if it does not exist.
func (p *parser) dotted(kind string, exists func(string) bool) string {
	line, name := p.cur().line, p.name()
	for p.eatOp(".") {
		name += "." + p.name()
	}
	if !p.soft && !exists(name) {
		p.unknown = append(p.unknown, &Error{line, "TemplateAssertionError: No " + kind + " named '" + name + "'."})
	}
	return name
}

func (p *parser) filter(in expr) *filterExpr {
	f := &filterExpr{in: in, name: p.dotted("filter", filterExists)}
	if p.isOp("(") {
		f.args = p.args()
	}
	return f
}

// chainOfFilters parses |filter|filter; the first comes without a bar if inline.
func (p *parser) chainOfFilters(inline bool) (filters []*filterExpr) {
	for inline || p.eatOp("|") {
		inline = false
		filters = append(filters, p.filter(nil))
	}
	return filters
}

// filters parses |filter, is test and calls after x.
func (p *parser) filters(x expr) expr {
	for n := 0; ; n++ {
		if n > maxDepth {
			p.fail("more than %d filters in a row", maxDepth)
		}
		switch {
		case p.eatOp("|"):
			x = p.filter(x)
		case p.eatName("is"):
			not := p.eatName("not")
			x = p.test(x)
			if not {
				x = unaryExpr{"not", x}
			}
		case p.isOp("("):
			x = callExpr{x, p.args()}
		default:
			return x
		}
	}
}

// test parses the name of a test and its arguments; one may come without
// parentheses, and any name but else, or, and and is one, if included.
func (p *parser) test(in expr) expr {
	t := testExpr{in: in, name: p.dotted("test", testExists)}
	c := p.cur()
	switch {
	case p.isOp("("):
		t.args = p.args()
	case p.isName("else"), p.isName("or"), p.isName("and"):
	case p.isName("is"):
		p.fail("you cannot chain multiple tests with is")
	case c.kind == tokName, c.kind == tokString, c.kind == tokInt, c.kind == tokFloat, p.isOp("["), p.isOp("{"):
		t.args.pos = []expr{p.postfix(p.primary())}
	}
	return t
}
