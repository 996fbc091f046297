package grammar

import (
	"encoding/binary"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// JSON Schema (draft 2020-12, and what earlier drafts spell otherwise). A schema,
// or several that all have to hold, becomes alternatives (shape): each says for
// each type what holds. What a grammar cannot promise is an error, never ignored;
// keywords that JSON Schema does not know, and those that only describe, are.

// schemas reads the schemas of one grammar into rules.
type schemas struct {
	r      *rules
	strict bool
	limit  *limits
	index  map[string]int // rule by the ids of the schemas that hold together
	queue  []schemaJob
	ids    int // of the values of the documents read before
}

// schemaJob is a rule whose body is to be made.
type schemaJob struct {
	rule int
	all  []*value
}

const (
	maxShapes  = 500    // alternatives of one value
	maxSchemas = 10_000 // rules that schemas become
)

func newSchemas(r *rules, strict bool, limit *limits) *schemas {
	return &schemas{r: r, strict: strict, limit: limit, index: map[string]int{}}
}

// readSchema reads a schema that the whole text has to follow.
func readSchema(text string, strict bool, limit *limits) (*rules, error) {
	r := newRules()
	r.add("root", nothing)
	s := newSchemas(r, strict, limit)
	body, err := s.read(text)
	if err != nil {
		return nil, err
	}
	r.list[0].body = body
	return r, s.finish()
}

// read returns the expression of a schema; finish makes the rules it refers to.
func (s *schemas) read(text string) (*node, error) {
	v, err := readValue(text)
	if err != nil {
		return nil, err
	}
	if v.kind != isObject && !v.isBool() {
		return nil, v.errorf("is %s; a schema is an object", kindNames[v.kind])
	}
	s.number(v)
	return s.rule([]*value{v}), nil
}

// number makes the ids of a document differ from those of the ones before.
func (s *schemas) number(v *value) {
	s.ids++
	v.id = s.ids
	for _, x := range v.list {
		s.number(x)
	}
	for _, x := range v.fields {
		s.number(x)
	}
}

func (s *schemas) finish() error {
	for ; len(s.queue) > 0; s.queue = s.queue[1:] {
		job := s.queue[0]
		body, err := s.body(job.all)
		if err != nil {
			return err
		}
		s.r.list[job.rule].body = body
		if len(s.index) > maxSchemas {
			return fmt.Errorf("becomes more than %d schemas", maxSchemas)
		}
		if err := s.limit.check(); err != nil {
			return err
		}
	}
	return nil
}

// rule returns the rule of values for which all of some schemas hold.
func (s *schemas) rule(all []*value) *node {
	all = slices.DeleteFunc(slices.Clone(all), func(v *value) bool {
		return v.kind == isTrue || v.kind == isObject && len(v.keys) == 0
	})
	if len(all) == 0 {
		return s.r.value()
	}
	slices.SortFunc(all, func(a, b *value) int { return a.id - b.id })
	all = slices.Compact(all)
	var key []byte
	for _, v := range all {
		key = binary.AppendUvarint(key, uint64(v.id))
	}
	i, ok := s.index[string(key)]
	if !ok {
		i = s.r.add(all[0].path, nothing)
		s.index[string(key)] = i
		s.queue = append(s.queue, schemaJob{i, all})
	}
	return ref(i)
}

// body is the expression of values for which all of some schemas hold.
func (s *schemas) body(all []*value) (*node, error) {
	shapes, err := s.shapes(all)
	if err != nil {
		return nil, err
	}
	var ways []*node
	for _, sh := range shapes {
		n, err := s.shape(sh)
		if err != nil {
			return nil, err
		}
		ways = append(ways, n)
	}
	return alt(ways...), nil
}

func (s *schemas) shapes(all []*value) ([]*shape, error) {
	shapes := []*shape{{types: allTypes, max: -1, maxItems: -1, maxProps: -1, at: all[0]}}
	var err error
	for _, v := range all {
		if shapes, err = s.apply(shapes, v, nil); err != nil {
			return nil, err
		}
	}
	return shapes, nil
}

// unsupported are keywords whose promise cannot be kept.
var unsupported = []string{
	"not", "if", "dependentSchemas", "dependentRequired", "dependencies", "contains", "minContains", "maxContains",
	"unevaluatedItems", "$dynamicRef", "$recursiveRef",
}

// apply narrows alternatives by one more schema.
func (s *schemas) apply(in []*shape, v *value, within []*value) ([]*shape, error) {
	switch {
	case v.kind == isTrue:
		return in, nil
	case v.kind == isFalse:
		return nil, nil
	case v.kind != isObject:
		return nil, v.errorf("is %s; a schema is an object, true or false", kindNames[v.kind])
	case slices.Contains(within, v):
		return nil, v.errorf("refers back to itself without describing anything in between")
	case len(within) > maxNesting:
		return nil, v.errorf("more than %d references in a row", maxNesting)
	}
	within = append(slices.Clip(within), v)
	for _, k := range unsupported {
		if v.fields[k] != nil {
			return nil, v.errorf("%q is not supported", k)
		}
	}
	if u := v.fields["uniqueItems"]; u != nil && u.kind != isFalse {
		return nil, v.errorf("\"uniqueItems\" is not supported: leave it out and check it when the text is there")
	}
	var out []*shape
	for _, sh := range in {
		sh, err := sh.with(v)
		if err != nil {
			return nil, err
		}
		if sh != nil {
			out = append(out, sh)
		}
	}
	if r := v.fields["$ref"]; r != nil {
		to, err := r.resolve()
		if err != nil {
			return nil, err
		}
		if out, err = s.apply(out, to, within); err != nil {
			return nil, err
		}
	}
	return s.applyGroups(out, v, within)
}

// applyGroups is allOf, anyOf and oneOf; the last two are alike, see the
// documentation.
func (s *schemas) applyGroups(in []*shape, v *value, within []*value) ([]*shape, error) {
	for _, k := range []string{"allOf", "anyOf", "oneOf"} {
		list := v.fields[k]
		if list == nil {
			continue
		}
		if list.kind != isArray || len(list.list) == 0 {
			return nil, list.errorf("want a list of schemas")
		}
		var err error
		if k == "allOf" {
			for _, x := range list.list {
				if in, err = s.apply(in, x, within); err != nil {
					return nil, err
				}
			}
			continue
		}
		var out []*shape
		for _, x := range list.list {
			some, err := s.apply(in, x, within)
			if err != nil {
				return nil, err
			}
			if out = append(out, some...); len(out) > maxShapes {
				return nil, list.errorf("comes to more than %d alternatives", maxShapes)
			}
			s.limit.work += 10 * len(some)
		}
		if err := s.limit.check(); err != nil {
			return nil, list.errorf("%w", err)
		}
		in = out
	}
	return in, nil
}

// resolve finds what a $ref refers to: a place in the same document.
func (v *value) resolve() (*value, error) {
	if v.kind != isText {
		return nil, v.errorf("is %s, want a string", kindNames[v.kind])
	}
	pointer, ok := strings.CutPrefix(v.text, "#")
	if !ok || pointer != "" && pointer[0] != '/' {
		return nil, v.errorf("%q: only references into the schema itself are supported, as in #/$defs/name", v.text)
	}
	pointer, err := url.PathUnescape(pointer)
	if err != nil {
		return nil, v.errorf("%q: %w", v.text, err)
	}
	to := v.root
	if pointer == "" {
		return to, nil
	}
	for _, name := range strings.Split(pointer[1:], "/") {
		name = pointerUnescape.Replace(name)
		next := to.fields[name]
		if to.kind == isArray {
			if i, ok := count(name); ok && i < len(to.list) {
				next = to.list[i]
			}
		}
		if next == nil {
			return nil, v.errorf("%q: %s has no %q", v.text, to.path, name)
		}
		to = next
	}
	return to, nil
}
