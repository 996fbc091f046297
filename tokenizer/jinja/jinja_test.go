package jinja

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// sample is the variables of the tests here.
func sample(tb testing.TB) *Dict {
	tb.Helper()
	v, err := ParseJSON([]byte(`{"x":7,"f":1.5,"s":"Hello","none":null,"yes":true,"list":[3,1,2],
		"users":[{"name":"ann","age":30},{"name":"Bob","age":20}],"d":{"b":1,"a":2},"m":"<b>"}`))
	if err != nil {
		tb.Fatal(err)
	}
	return v.(*Dict)
}

func TestRender(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"{{ x + 1 }} {{ x / 2 }} {{ x // 2 }} {{ -x // 2 }} {{ -x % 3 }} {{ 2 ** 10 }}", "8 3.5 3 -4 2 1024"},
		{"{{ 1e3 }} {{ 0.1 + 0.2 }} {{ f }} {{ 10 / 5 }}", "1000.0 0.30000000000000004 1.5 2.0"},
		{"{{ s ~ x ~ none ~ yes }}", "Hello7NoneTrue"},
		{"{{ 'a' * 3 }}{{ [1] * 2 }}{{ (1, 2) + (3,) }}", "aaa[1, 1](1, 2, 3)"},
		{"{{ 1 < x <= 7 }} {{ x not in list }} {{ 'ell' in s }} {{ not x }}", "True True True False"},
		{"{{ 'a' if x > 5 else 'b' }}{{ 'c' if x > 9 }}", "a"},
		{"{{ s[1:3] }} {{ s[-1] }} {{ s[::-1] }} {{ list[:2] }} {{ list[5:] }}", "el o olleH [3, 1] []"},
		{"{% for i in list if i > 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ ',' if not loop.last }}{% endfor %}", "1/2:3,2/2:2"},
		{"{% for i in [] %}x{% else %}empty{% endfor %}", "empty"},
		{"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "b=1;a=2;"},
		{"{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "013"},
		{"{% for i in [[1, [2]], [3]] recursive %}{{ loop.depth }}{% if i is iterable %}({{ loop(i) }}){% endif %}{% endfor %}", "1(22(3))1(2)"},
		{"{% set ns = namespace(n=0) %}{% for i in list %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"},
		{"{% set a, b = 1, 2 %}{{ b }}{% set t %}x{{ a }}{% endset %}{{ t | upper }}", "2X1"},
		{"{% macro m(a, b='d') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}", "[1d][12]"},
		{"{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}", "<in>"},
		{"{% filter upper %}a{{ x }}b{% endfilter %}{% with q = 2 %}{{ q }}{% endwith %}{{ q }}", "A7B2"},
		{"{% generation %}g{% endgeneration %}{% raw %}{{ x }}{% endraw %}", "g{{ x }}"},
		{"{{ users | map(attribute='name') | join(', ') }}", "ann, Bob"},
		{"{{ users | selectattr('age', '>', 25) | map(attribute='name') | list }}", "['ann']"},
		{"{{ users | sort(attribute='age') | map(attribute='name') | first }} {{ list | sort(reverse=true) }}", "Bob [3, 2, 1]"},
		{"{{ list | max }}{{ list | min }}{{ list | sum }}{{ list | length }}{{ list | last }}", "31632"},
		{"{{ nope | default('d') }}{{ '' | default('e', true) }}{{ nope }}", "de"},
		{"{{ d | tojson }} {{ d | tojson(indent=1) }} {{ m | tojson }}", "{\"b\": 1, \"a\": 2} {\n \"b\": 1,\n \"a\": 2\n} \"<b>\""},
		{"{{ d | dictsort }} {{ [1, 2, 3] | batch(2) | list }}", "[('a', 2), ('b', 1)] [[1, 2], [3]]"},
		{"{{ 'a-b-c'.split('-') }} {{ 'a b  c'.split() }} {{ 'a-b-c'.rsplit('-', 1) }}", "['a', 'b', 'c'] ['a', 'b', 'c'] ['a-b', 'c']"},
		{"{{ ' x '.strip() }}{{ 'xay'.strip('xy') }}{{ 'abc'.replace('b', 'B') }}{{ 'abc'.find('c') }}", "xaaBc2"},
		{"{{ 'x'.startswith(('a', 'x')) }} {{ '%s=%d' % ('a', 3) }} {{ '{} {n:.1f}'.format(1, n=2.25) }}", "True a=3 1 2.2"},
		{"{{ 'a' | safe + m }} {{ m | e }}", "a&lt;b&gt; &lt;b&gt;"},
		{"{{ x is odd }} {{ x is divisibleby 7 }} {{ s is string }} {{ nope is not defined }} {{ x is in list }}", "True True True True False"},
		{"{{ 'é\\u00e9\\x41\\n' }}", "ééA\n"},
		{"a\n  {% if x %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
		{"a {%- if x -%} \n b \n {%- endif -%} c", "abc"},
		{"  {%+ if x %}y{% endif %}\n  {# note #}\nz", "  yz"},
		{"{{ '}}' }}{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': {}} }}", "}}1{'a': {}}"},
		{"{{ users[0].name }}{{ users[0]['name'] }}{{ users.0.name }}", "annannann"},
		{"{{ messages | selectattr('x') | list }}{{ none | selectattr('x') | list }}", "[][]"},
	} {
		tpl, err := Parse(c.src)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		if got, err := tpl.Render(sample(t)); got != c.want || err != nil {
			t.Errorf("%s\n got %q, %v\nwant %q", c.src, got, err, c.want)
		}
	}
}

// TestErrors: mistakes and hostile templates are errors with a line, at once.
func TestErrors(t *testing.T) {
	deep := strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000)
	for _, c := range []struct {
		src  string
		line int
		want string
	}{
		{"\n{% if %}", 2, "TemplateSyntaxError"},
		{"\n\n{{ x", 3, "TemplateSyntaxError"},
		{"{% for x in y %}", 1, "unexpected end"},
		{"{% include 'x' %}", 1, "a chat template is one file"},
		{"{% import 'os' as os %}", 1, "a chat template is one file"},
		{"{{ 'a }}", 1, "unterminated string"},
		{"{# a", 1, "comment"},
		{"{{ x.y.z }}", 1, "UndefinedError"},
		{"a\nb{{ nope.y }}", 2, "UndefinedError: 'nope' is undefined"},
		{"{{ s + 1 }}", 1, "TypeError"},
		{"{{ x < s }}", 1, "TypeError"},
		{"{{ 1 // 0 }}", 1, "ZeroDivisionError"},
		{"{{ s | nope }}", 1, "No filter named 'nope'"},
		{"{{ s is nope }}", 1, "No test named 'nope'"},
		{"{{ list.append(1) }}", 1, "SecurityError"},
		{"{{ raise_exception('stop') }}", 1, "TemplateError: stop"},
		{"{{ ''.__class__.__mro__ }}", 1, "SecurityError"},
		{"{{ s.__init__.__globals__ }}", 1, "SecurityError"},
		{"{% set d.b = 1 %}", 1, "non-namespace"},
		{"{{ 2 ** 64 }}", 1, "OverflowError"},
		{"{{ 9223372036854775807 + 1 }}", 1, "OverflowError"},
		{"{{ range(1000000000) }}", 1, "Range too big"},
		{"{{ 'a' * 1000000000000 }}", 1, "MemoryError"},
		{"{{ 'a'.ljust(1000000000000) }}", 1, "MemoryError"},
		{"{{ '%999999999d' % 1 }}", 1, "MemoryError"},
		{"{{ ('a' * 100000).replace('a', 'b' * 100000) }}", 1, "MemoryError"},
		{"{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}", 1, "too much work"},
		{"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}", 1, "too much work"},
		{"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}", 1, "too much work"},
		{"{% set n = namespace(l=[1]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}", 1, "RecursionError"},
		{"{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}", 1, "work"},
		{"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, "RecursionError"},
		{"{{ " + deep + " }}", 1, "nested"},
		{"{{ x" + strings.Repeat(".a", 5000) + " }}", 1, "in a row"},
		{"{{ 1" + strings.Repeat("+1", 5000) + " }}", 1, "in a row"},
		{"{{ " + strings.Repeat("not ", 5000) + "1 }}", 1, "nested"},
		{"{{ " + strings.Repeat("-", 5000) + "1 }}", 1, "nested"},
		{strings.Repeat("{% if 1 %}", 5000), 1, "nested"},
		{strings.Repeat("a", maxSource+1), 1, "TemplateSyntaxError: template of"},
	} {
		start := time.Now()
		tpl, err := Parse(c.src)
		if err == nil {
			_, err = tpl.Render(sample(t))
		}
		var e *Error
		if !errors.As(err, &e) || e.Line != c.line || !strings.Contains(e.Msg, c.want) {
			t.Errorf("%.60s: got %v, want line %d: …%s…", c.src, err, c.line, c.want)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%.60s: took %v", c.src, took)
		}
	}
}

// FuzzJinja: any template parses and renders, or is an error with a line.
func FuzzJinja(f *testing.F) {
	for _, s := range []string{
		"{% for m in users %}{{ m['name'] | trim ~ '\\n' }}{% endfor %}",
		"{%- set ns = namespace(a=1) -%}{% if x is defined and not none %}{{ ns.a }}{% elif 1 %}b{% else %}c{% endif %}",
		"{% macro m(a, b=1) %}{{ caller(a) }}{% endmacro %}{% call(z) m(1) %}{{ z }}{% endcall %}",
		"{{ list | selectattr('a', 'eq', 1) | map('upper') | sort(attribute='b.0') | tojson(indent=2) }}",
		"{{ s[::-1][1:2] }}{{ '%5.2f|%s' % (f, d) }}{{ '{0:>3}{x}'.format(1, x=2) }}",
		"{% raw %}{{ {% endraw %}{# c -#} {{- 'a' 'b' -}} {%+ if 1 +%}{% endif %}",
		"{{ range(3, 9, -2) }}{{ 1 if 0 else (2, 3) }}{{ -7 // 2 ** 3 % 5 }}{{ m | e + 'x' | safe }}",
		"{{ strftime_now('%Y') }}{{ dict(a=1).items() | list }}{% filter indent(2, true) %}a\nb{% endfilter %}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		tpl, err := Parse(src)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || e.Line < 1 || e.Line > strings.Count(src, "\n")+strings.Count(src, "\r")+1 {
				t.Errorf("%q: %v", src, err)
			}
			return
		}
		if _, err := tpl.Render(sample(t)); err != nil && !errors.As(err, &e) {
			t.Errorf("%q: %v", src, err)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	const src = "{{ s }}{% for m in users %}{{ '<|im_start|>' + m['name'] + '\n' + s | trim + '<|im_end|>\n' }}{% endfor %}"
	vars := sample(b)
	for b.Loop() {
		tpl, err := Parse(src)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := tpl.Render(vars); err != nil {
			b.Fatal(err)
		}
	}
}
