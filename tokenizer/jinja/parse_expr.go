package jinja

import (
	"strconv"
	"strings"
)

// tuple parses an expression, or several with commas between.
func (p *parser) tuple() expr { return p.tupleOf(p.expr) }

func (p *parser) tupleOf(one func() expr) expr {
	first := one()
	if !p.isOp(",") {
		return first
	}
	items := []expr{first}
	for p.eatOp(",") {
		if c := p.cur(); c.kind == tokVarEnd || c.kind == tokBlockEnd || p.isOp(")") {
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
	x := p.or()
	for p.eatName("if") {
		cond := p.or()
		var no expr
		if p.eatName("else") {
			no = p.expr()
		}
		x = condExpr{cond, x, no}
	}
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
		return nameExpr{c.text}
	case tokString:
		var text strings.Builder
		for p.cur().kind == tokString { // neighbours join, as in Python
			text.WriteString(p.cur().text)
			p.i++
		}
		return constExpr{text.String()}
	case tokInt:
		v, err := strconv.ParseInt(c.text, 10, 64)
		if err != nil {
			p.fail("integer %s is too large", c.text)
		}
		p.i++
		return constExpr{v}
	case tokFloat:
		v, err := strconv.ParseFloat(c.text, 64)
		if err != nil {
			p.fail("number %s is too large", c.text)
		}
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

func (p *parser) subscript(x expr) expr {
	var parts [3]expr
	n := 0
	for !p.eatOp("]") {
		if p.eatOp(":") {
			if n++; n > 2 {
				p.fail("a slice has at most three parts")
			}
			continue
		}
		if parts[n] != nil {
			p.fail("expected \"]\", got %q", p.cur().text)
		}
		parts[n] = p.expr()
	}
	if n > 0 {
		return sliceExpr{x, parts[0], parts[1], parts[2]}
	}
	if parts[0] == nil {
		p.fail("expected an index")
	}
	return itemExpr{x, parts[0]}
}

func (p *parser) args() (a argsExpr) {
	p.op("(")
	for !p.eatOp(")") {
		if next := p.peek(); p.cur().kind == tokName && next.kind == tokOp && next.text == "=" {
			a.names = append(a.names, p.name())
			p.i++
			a.values = append(a.values, p.expr())
		} else {
			a.pos = append(a.pos, p.expr())
		}
		if !p.isOp(")") {
			p.op(",")
		}
	}
	return a
}

func (p *parser) filter(in expr) *filterExpr {
	f := &filterExpr{in: in, name: p.name()}
	if p.isOp("(") {
		f.args = p.args()
	}
	return f
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

// wordsAfterTest are names that do not begin the argument of a test.
var wordsAfterTest = map[string]bool{"else": true, "or": true, "and": true, "is": true, "if": true, "not": true, "in": true, "recursive": true}

// test parses the name of a test and its arguments; one may come without
// parentheses.
func (p *parser) test(in expr) expr {
	t := testExpr{in: in}
	if t.name = p.takeOp("==", "!=", "<=", ">=", "<", ">"); t.name == "" {
		t.name = p.name()
	}
	c := p.cur()
	switch {
	case p.isOp("("):
		t.args = p.args()
	case c.kind == tokName && !wordsAfterTest[c.text], c.kind == tokString, c.kind == tokInt, c.kind == tokFloat,
		p.isOp("["), p.isOp("{"):
		t.args.pos = []expr{p.postfix(p.primary())}
	}
	return t
}
