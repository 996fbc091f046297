package grammar

import "slices"

// maxCounted bounds counts of items and properties: each is a state.
const maxCounted = 10_000

// itemAt returns the schema of the item at an index, from what one schema says;
// nil for any. Until 2020 prefixItems was a list in items.
func (v *value) itemAt(i int) *value {
	prefix, rest := v.fields["prefixItems"], v.fields["items"]
	if prefix == nil && rest != nil && rest.kind == isArray {
		prefix, rest = rest, v.fields["additionalItems"]
	}
	if prefix != nil && i < len(prefix.list) {
		return prefix.list[i]
	}
	return rest
}

func (v *value) prefixLen() int {
	for _, k := range []string{"prefixItems", "items"} {
		if p := v.fields[k]; p != nil && p.kind == isArray {
			return len(p.list)
		}
	}
	return 0
}

// item returns what holds for the item at an index; ok is false where there is none.
func (sh *shape) item(i int) (all []*value, ok bool) {
	for _, v := range sh.arrays {
		x := v.itemAt(i)
		if x != nil && x.kind == isFalse {
			return nil, false
		}
		if x != nil {
			all = append(all, x)
		}
	}
	return all, true
}

// arrayShape is the expression of an array. Node k+1 of the graph, but for the
// first, is where k items are written.
func (s *schemas) arrayShape(sh *shape) (*node, error) {
	prefix := 0
	for _, v := range sh.arrays {
		prefix = max(prefix, v.prefixLen())
	}
	count := max(sh.minItems, prefix)
	if sh.maxItems >= 0 {
		count = sh.maxItems
	}
	if count == 0 && sh.maxItems < 0 {
		all, ok := sh.item(0)
		if ok {
			return s.r.listOf("[", s.rule(all), "]"), nil
		}
	}
	if count > maxCounted {
		return nil, sh.at.errorf("counts %d items, want at most %d", count, maxCounted)
	}
	g := newGraph()
	written := g.node()
	g.edge(0, written, seq(text("["), s.r.space()))
	if sh.minItems == 0 {
		g.edge(written, 1, text("]"))
	}
	for k := 0; ; k++ {
		all, ok := sh.item(k)
		if !ok || k == count && sh.maxItems >= 0 {
			break
		}
		item := s.rule(all)
		if count > 20 { // many copies
			s.r.list[item.ref].keep = true
		}
		if k > 0 {
			item = seq(s.r.comma(), item)
		}
		if k == count && k > 0 {
			g.edge(written, written, item)
			break
		}
		next := g.node()
		g.edge(written, next, item)
		if written = next; k+1 >= sh.minItems {
			g.edge(written, 1, seq(s.r.space(), text("]")))
		}
	}
	return g.expression(), nil
}

// sameNames sorts and joins lists of names.
func sameNames(lists ...[]string) (out []string) {
	for _, l := range lists {
		for _, name := range l {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}
