package grammar

import (
	"slices"
)

// property is a property an object is known to have, or to be able to have.
type property struct {
	name     string
	required bool
	value    *node
}

// objectShape is the expression of an object. Its properties come in the order in
// which the schema lists them, those not listed last.
func (s *schemas) objectShape(sh *shape) (*node, error) {
	for _, v := range sh.objects {
		if err := v.checkObject(); err != nil {
			return nil, err
		}
	}
	if len(sh.objects) == 0 && len(sh.required) == 0 && sh.minProps == 0 && sh.maxProps < 0 && !sh.closed {
		return s.r.object(), nil
	}
	patterns, err := s.namePatterns(sh)
	if err != nil {
		return nil, err
	}
	list, err := s.known(sh, patterns)
	if err != nil {
		return nil, err
	}
	for _, name := range sh.required {
		if !slices.ContainsFunc(list, func(p property) bool { return p.name == name }) {
			return nothing, nil // is required, and cannot be
		}
	}
	other, err := s.otherProperties(sh, patterns)
	if err != nil {
		return nil, err
	}
	return s.properties(sh, list, other)
}

// checkObject looks at the types of the keywords about properties.
func (v *value) checkObject() error {
	for _, k := range []string{"properties", "patternProperties"} {
		if x := v.fields[k]; x != nil && x.kind != isObject {
			return x.errorf("is %s, want an object of schemas", kindNames[x.kind])
		}
	}
	return nil
}

// namePattern is a pattern of names with the schema of their values.
type namePattern struct {
	in     *value // the schema that says so
	schema *value
	auto   *dfa
}

const maxNamePatterns = 4 // each doubles the kinds of other properties

func (s *schemas) namePatterns(sh *shape) (out []namePattern, err error) {
	for _, v := range sh.objects {
		x := v.fields["patternProperties"]
		if x == nil {
			continue
		}
		for _, k := range x.keys {
			d, err := s.stringAutomaton(&shape{max: -1, at: x, patterns: []*value{{kind: isText, text: k, path: x.path}}})
			if err != nil {
				return nil, err
			}
			out = append(out, namePattern{v, x.fields[k], d})
		}
	}
	if len(out) > maxNamePatterns {
		return nil, sh.at.errorf("has more than %d patterns of names", maxNamePatterns)
	}
	return out, nil
}

// known lists the properties with a name, in order.
func (s *schemas) known(sh *shape, patterns []namePattern) (out []property, err error) {
	var names []string
	for _, v := range sh.objects {
		if x := v.fields["properties"]; x != nil {
			names = sameNames(names, x.keys)
		}
	}
	names = sameNames(names, sh.required)
	for _, name := range names {
		all, ok, err := s.propertySchemas(sh, patterns, name)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, property{name, slices.Contains(sh.required, name), s.rule(all)})
		}
	}
	return out, nil
}

// propertySchemas returns what holds for the property of a name; ok is false when
// it cannot be.
func (s *schemas) propertySchemas(sh *shape, patterns []namePattern, name string) (all []*value, ok bool, err error) {
	mentioned := false
	for _, v := range sh.objects {
		in := false
		if x := v.fields["properties"]; x != nil && x.fields[name] != nil {
			all, in = append(all, x.fields[name]), true
		}
		for _, p := range patterns {
			if p.in == v && p.auto.matches(name) {
				all, in = append(all, p.schema), true
			}
		}
		mentioned = mentioned || in
		if x := v.fields["additionalProperties"]; x != nil && !in {
			all = append(all, x)
		}
		if x := v.fields["propertyNames"]; x != nil {
			d, err := s.nameAutomaton(x)
			if err != nil {
				return nil, false, err
			}
			if d != nil && !d.matches(name) {
				return nil, false, nil
			}
		}
	}
	if !mentioned && (sh.closed || s.strict && sh.listsOnly()) {
		return nil, false, nil
	}
	for _, x := range all {
		if x.kind == isFalse {
			return nil, false, nil
		}
	}
	return all, true, nil
}

// listsOnly tells that properties are listed and nothing is said of others, which
// in strict schemas means that there are none.
func (sh *shape) listsOnly() bool {
	lists := false
	for _, v := range sh.objects {
		if v.fields["additionalProperties"] != nil {
			return false
		}
		lists = lists || v.fields["properties"] != nil || v.fields["patternProperties"] != nil
	}
	return lists
}

// nameAutomaton accepts the names that a schema in propertyNames allows; nil for all.
func (s *schemas) nameAutomaton(v *value) (*dfa, error) {
	shapes, err := s.shapes([]*value{v})
	if err != nil {
		return nil, err
	}
	var ways []*node
	for _, sh := range shapes {
		if sh.types&typeString == 0 {
			continue
		}
		d, err := s.stringAutomaton(sh)
		if err != nil {
			return nil, err
		}
		switch {
		case sh.hasEnum:
			for _, x := range sh.enum {
				if x.kind == isText && (d == nil || d.matches(x.text)) {
					ways = append(ways, text(x.text))
				}
			}
		case d == nil:
			return nil, nil
		default:
			ways = append(ways, auto(d))
		}
	}
	d, err := determinize(alt(ways...), s.limit)
	if err != nil {
		return nil, v.errorf("%w", err)
	}
	return d, nil
}

// otherProperties is the expression of a property whose name is not listed, with
// its value; nil when there is none.
func (s *schemas) otherProperties(sh *shape, patterns []namePattern) (*node, error) {
	var listed []string
	names := star(class(anyRune))
	var all []*node
	for _, v := range sh.objects {
		if x := v.fields["properties"]; x != nil {
			listed = sameNames(listed, x.keys)
		}
	}
	listed = sameNames(listed, sh.required)
	free, err := determinize(names, s.limit)
	if err != nil {
		return nil, err
	}
	plain := len(listed) == 0 && len(patterns) == 0
	if len(listed) > 0 {
		var ways []*node
		for _, name := range listed {
			ways = append(ways, text(name))
		}
		if free, err = s.narrow(sh, free, alt(ways...), false); err != nil {
			return nil, err
		}
	}
	for _, v := range sh.objects {
		if x := v.fields["propertyNames"]; x != nil {
			d, err := s.nameAutomaton(x)
			if err != nil {
				return nil, err
			}
			if d != nil {
				plain = false
				if free, err = product(free, d, true, s.limit); err != nil {
					return nil, x.errorf("%w", err)
				}
			}
		}
	}
	for some := range 1 << len(patterns) { // the patterns that a name matches
		n, err := s.otherProperty(sh, patterns, some, free, plain)
		if err != nil {
			return nil, err
		}
		if n != nil {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	i := s.r.add("property", alt(all...))
	return ref(i), nil
}

// narrow takes from an automaton what n is, or is not.
func (s *schemas) narrow(sh *shape, d *dfa, n *node, is bool) (*dfa, error) {
	other, err := determinize(n, s.limit)
	if err == nil {
		d, err = product(d, other, is, s.limit)
	}
	if err != nil {
		return nil, sh.at.errorf("%w", err)
	}
	return d, nil
}

// otherProperty is a property whose name matches some patterns and not the others.
func (s *schemas) otherProperty(sh *shape, patterns []namePattern, some int, names *dfa, plain bool) (*node, error) {
	var all []*value
	matched := map[*value]bool{}
	for i, p := range patterns {
		var err error
		if names, err = product(names, p.auto, some>>i&1 == 1, s.limit); err != nil {
			return nil, sh.at.errorf("%w", err)
		}
		if some>>i&1 == 1 {
			all = append(all, p.schema)
			matched[p.in] = true
		}
	}
	if len(matched) == 0 && (sh.closed || s.strict && sh.listsOnly()) {
		return nil, nil
	}
	for _, v := range sh.objects {
		if x := v.fields["additionalProperties"]; x != nil && !matched[v] {
			all = append(all, x)
		}
	}
	for _, x := range all {
		if x.kind == isFalse {
			return nil, nil
		}
	}
	key := s.r.anyString()
	if !plain {
		key = s.quoted(names)
	}
	return seq(key, s.r.colon(), s.rule(all)), nil
}

// properties is the expression of an object. In the graph there are for each
// property i, and for each number of properties written where that counts, the
// nodes before it with and without a comma to write first.
func (s *schemas) properties(sh *shape, list []property, other *node) (*node, error) {
	counts := 0
	required := 0
	for _, p := range list {
		if p.required {
			required++
		}
	}
	if sh.minProps > required || sh.maxProps >= 0 {
		counts = max(sh.minProps, sh.maxProps)
		if sh.maxProps >= 0 {
			counts = sh.maxProps
		}
		if sh.minProps > required && other != nil {
			return nil, sh.at.errorf("minProperties %d is not supported where properties are not listed: a name may come twice", sh.minProps)
		}
	}
	if size := (len(list) + 1) * (counts + 1); size > maxCounted {
		return nil, sh.at.errorf("counts %d properties of %d, want less", counts, len(list))
	}
	g, n := newGraph(), len(list)
	next, written := make([]int, (n+1)*(counts+1)), make([]int, (n+1)*(counts+1))
	for i := range next {
		next[i], written[i] = g.node(), g.node()
	}
	at := func(i, k int) int { return i*(counts+1) + k }
	first := g.node()
	g.edge(0, first, seq(text("{"), s.r.space()))
	g.edge(first, next[0], nil)
	optional := true // all that is left
	for i := n; i >= 0; i-- {
		for k := range counts + 1 {
			more := k + 1
			if more > counts && sh.maxProps < 0 {
				more = counts
			}
			fits := more <= counts
			here := at(i, k)
			if i == n {
				if other != nil && fits {
					g.edge(next[here], written[at(n, more)], other)
				}
			} else {
				if fits {
					g.edge(next[here], written[at(i+1, more)], seq(text(quote(list[i].name)), s.r.colon(), list[i].value))
				}
				if !list[i].required {
					g.edge(next[here], next[at(i+1, k)], nil)
				}
			}
			g.edge(written[here], next[here], s.r.comma())
		}
		if i < n && list[i].required {
			optional = false
		}
		for k := range counts + 1 {
			if optional && (k >= sh.minProps || sh.minProps <= required) {
				g.edge(written[at(i, k)], 1, seq(s.r.space(), text("}")))
			}
		}
	}
	if optional && sh.minProps == 0 {
		g.edge(first, 1, text("}"))
	}
	return g.expression(), nil
}
