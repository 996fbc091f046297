package grammar

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/mail"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// checker validates documents by a schema: this test's own reading of JSON Schema,
// by encoding/json and the values of documents, sharing nothing with the package.
type checker struct {
	root   any
	strict bool
}

func newChecker(t *testing.T, schema string, strict bool) *checker {
	t.Helper()
	c := &checker{strict: strict}
	if err := unmarshal(schema, &c.root); err != nil {
		t.Fatal(err)
	}
	return c
}

func unmarshal(text string, to any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(to); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("more than one value")
	}
	return nil
}

func (c *checker) document(text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("is not UTF-8")
	}
	var doc any
	if err := unmarshal(text, &doc); err != nil {
		return err
	}
	if strings.Contains(text, "\ufffd") == false && strings.Contains(fmt.Sprint(doc), "\ufffd") && !strings.Contains(strings.ToLower(text), `\ufffd`) {
		return fmt.Errorf("has half a surrogate pair")
	}
	return c.check(c.root, doc)
}

func rat(n any) *big.Rat {
	r, _ := new(big.Rat).SetString(fmt.Sprint(n))
	return r
}

func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		if rat(v).IsInt() {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func same(a, b any) bool {
	if x, ok := a.(json.Number); ok {
		y, ok := b.(json.Number)
		return ok && rat(x).Cmp(rat(y)) == 0
	}
	return reflect.DeepEqual(a, b)
}

func (c *checker) check(schema, v any) error {
	if b, ok := schema.(bool); ok {
		if !b {
			return fmt.Errorf("nothing is allowed here")
		}
		return nil
	}
	s := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		if err := c.check(c.resolve(ref), v); err != nil {
			return err
		}
	}
	if t, ok := s["type"]; ok {
		types, ok := t.([]any)
		if !ok {
			types = []any{t}
		}
		n := typeName(v)
		if !slices.Contains(types, any(n)) && !(n == "integer" && slices.Contains(types, any("number"))) {
			return fmt.Errorf("%v is %s, not %v", v, n, types)
		}
	}
	if e, ok := s["enum"].([]any); ok && !slices.ContainsFunc(e, func(x any) bool { return same(x, v) }) {
		return fmt.Errorf("%v is not in %v", v, e)
	}
	if x, ok := s["const"]; ok && !same(x, v) {
		return fmt.Errorf("%v is not %v", v, x)
	}
	for _, x := range list(s["allOf"]) {
		if err := c.check(x, v); err != nil {
			return err
		}
	}
	for _, k := range []string{"anyOf", "oneOf"} {
		if all := list(s[k]); all != nil && !slices.ContainsFunc(all, func(x any) bool { return c.check(x, v) == nil }) {
			return fmt.Errorf("%v is none of %s", v, k)
		}
	}
	switch v := v.(type) {
	case string:
		return c.checkString(s, v)
	case json.Number:
		return c.checkNumber(s, v)
	case []any:
		return c.checkArray(s, v)
	case map[string]any:
		return c.checkObject(s, v)
	}
	return nil
}

func list(v any) []any { l, _ := v.([]any); return l }

func (c *checker) resolve(ref string) any {
	at := c.root
	for _, name := range strings.Split(ref, "/")[1:] {
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
		if l, ok := at.([]any); ok {
			at = l[name[0]-'0']
			continue
		}
		at = at.(map[string]any)[name]
	}
	return at
}

func (c *checker) checkString(s map[string]any, v string) error {
	n := big.NewRat(int64(utf8.RuneCountInString(v)), 1)
	if x, ok := s["minLength"]; ok && n.Cmp(rat(x)) < 0 {
		return fmt.Errorf("%q is too short", v)
	}
	if x, ok := s["maxLength"]; ok && n.Cmp(rat(x)) > 0 {
		return fmt.Errorf("%q is too long", v)
	}
	if p, ok := s["pattern"].(string); ok && !goPattern(p).MatchString(v) {
		return fmt.Errorf("%q does not match %s", v, p)
	}
	f, _ := s["format"].(string)
	if check := formatChecks[f]; check != nil {
		if err := check(v); err != nil {
			return fmt.Errorf("%q is no %s: %w", v, f, err)
		}
	}
	return nil
}

// goPattern is a pattern of the tests as Go writes it.
func goPattern(p string) *regexp.Regexp {
	return regexp.MustCompile(strings.ReplaceAll(p, `\u0001`, `\x01`))
}

func parsed(layout string) func(string) error {
	return func(s string) error { _, err := time.Parse(layout, s); return err }
}

func matching(p string) func(string) error {
	return func(s string) error {
		if !regexp.MustCompile(p).MatchString(s) {
			return fmt.Errorf("does not match %s", p)
		}
		return nil
	}
}

var formatChecks = map[string]func(string) error{
	"date":      parsed("2006-01-02"),
	"time":      parsed("15:04:05Z07:00"),
	"date-time": parsed(time.RFC3339),
	"ipv4":      func(s string) error { _, err := netip.ParseAddr(s); return err },
	"ipv6":      func(s string) error { _, err := netip.ParseAddr(s); return err },
	"email":     func(s string) error { _, err := mail.ParseAddress(s); return err },
	"uuid":      matching(`^[0-9a-fA-F-]{36}$`),
	"hostname":  matching(`^[A-Za-z0-9.-]{1,253}$`),
	"duration":  matching(`^P[0-9YMDTHSW]+$`),
	"uri": func(s string) error {
		u, err := url.Parse(s)
		if err == nil && (u.Scheme == "" || u.Host == "") {
			err = fmt.Errorf("no scheme or host")
		}
		return err
	},
}

func (c *checker) checkNumber(s map[string]any, v json.Number) error {
	n := rat(v)
	for k, wrong := range map[string]func(int) bool{
		"minimum": func(c int) bool { return c < 0 }, "exclusiveMinimum": func(c int) bool { return c <= 0 },
		"maximum": func(c int) bool { return c > 0 }, "exclusiveMaximum": func(c int) bool { return c >= 0 },
	} {
		if x, ok := s[k]; ok && wrong(n.Cmp(rat(x))) {
			return fmt.Errorf("%v: %s %v", v, k, x)
		}
	}
	if x, ok := s["multipleOf"]; ok && !new(big.Rat).Quo(n, rat(x)).IsInt() {
		return fmt.Errorf("%v is no multiple of %v", v, x)
	}
	return nil
}

func (c *checker) checkArray(s map[string]any, v []any) error {
	n := big.NewRat(int64(len(v)), 1)
	if x, ok := s["minItems"]; ok && n.Cmp(rat(x)) < 0 {
		return fmt.Errorf("%v has too few items", v)
	}
	if x, ok := s["maxItems"]; ok && n.Cmp(rat(x)) > 0 {
		return fmt.Errorf("%v has too many items", v)
	}
	prefix, rest := list(s["prefixItems"]), s["items"]
	if old := list(s["items"]); old != nil {
		prefix, rest = old, s["additionalItems"]
	}
	for i, x := range v {
		schema := rest
		if i < len(prefix) {
			schema = prefix[i]
		}
		if schema == nil {
			continue
		}
		if err := c.check(schema, x); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	return nil
}

func (c *checker) checkObject(s map[string]any, v map[string]any) error {
	n := big.NewRat(int64(len(v)), 1)
	if x, ok := s["minProperties"]; ok && n.Cmp(rat(x)) < 0 {
		return fmt.Errorf("%v has too few properties", v)
	}
	if x, ok := s["maxProperties"]; ok && n.Cmp(rat(x)) > 0 {
		return fmt.Errorf("%v has too many properties", v)
	}
	for _, name := range list(s["required"]) {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%v lacks %v", v, name)
		}
	}
	props, _ := s["properties"].(map[string]any)
	patterns, _ := s["patternProperties"].(map[string]any)
	additional, said := s["additionalProperties"]
	if c.strict && !said && props != nil && list(c.root.(map[string]any)["allOf"]) == nil {
		additional, said = false, true
	}
	for name, x := range v {
		known := false
		if p, ok := props[name]; ok {
			known = true
			if err := c.check(p, x); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		for p, schema := range patterns {
			if goPattern(p).MatchString(name) {
				known = true
				if err := c.check(schema, x); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		if !known && said {
			if err := c.check(additional, x); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if names := s["propertyNames"]; names != nil {
			if err := c.check(names, name); err != nil {
				return fmt.Errorf("name %q: %w", name, err)
			}
		}
	}
	return nil
}
