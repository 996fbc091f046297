package jinja

// Jinja2 decides when it compiles a template which variable a name means: what a part
// of a template with a scope of its own sets, without reading it before, is a new
// variable there, which is undefined until it is set, even where the template was
// given one of that name. {{ x }} in a loop is empty if {% set x = 1 %} follows the
// loop; in an if both would mean the variable given.

// mention is how a name occurs first in a part.
type mention int

const (
	read mention = iota + 1
	written
	parameter
)

// symbols are the names of a part of a template with a scope of its own: the
// template, the body of a loop, a macro, ….
type symbols struct {
	up    *symbols // the part around it; nil for the template
	first map[string]mention
	names []string // in order of their first mention
	ifs   int      // how many ifs there are around the place the parser is at

	unset []string // after resolve: the names that begin as undefined
}

func (s *symbols) mention(name string, how mention) {
	if _, ok := s.first[name]; ok {
		return
	}
	if s.first == nil {
		s.first = map[string]mention{}
	}
	if how == written && s.ifs > 0 {
		how = read // a variable that one branch sets keeps its value in the others
	}
	s.first[name] = how
	s.names = append(s.names, name)
}

// resolve finds what is unset at the beginning, once all parts are read.
func (s *symbols) resolve() {
	for _, name := range s.names {
		if s.first[name] != written {
			continue
		}
		known := false
		for up := s.up; up != nil && !known; up = up.up {
			known = up.first[name] != 0
		}
		if !known {
			s.unset = append(s.unset, name)
		}
	}
}

// part parses with f what has a scope of its own.
func (p *parser) part(f func()) *symbols {
	s := &symbols{up: p.symbols}
	p.inPart(s, f)
	p.parts = append(p.parts, s)
	return s
}

// inPart parses with f something more of a part.
func (p *parser) inPart(s *symbols, f func()) {
	old, soft := p.symbols, p.soft
	p.symbols, p.soft = s, false
	f()
	p.symbols, p.soft = old, soft
}

// assigned notes the names in what is assigned to.
func (s *symbols) assigned(target expr, how mention) {
	switch x := target.(type) {
	case nameExpr:
		s.mention(x.name, how)
	case tupleExpr:
		for _, item := range x.items {
			s.assigned(item, how)
		}
	case attrExpr:
		s.mention(x.of.(nameExpr).name, read)
	}
}
