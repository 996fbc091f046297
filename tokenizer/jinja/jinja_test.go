package jinja

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
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

// TestMemory: what hostile templates allocate, all in all, stays within a bound, and
// so does what they hold.
func TestMemory(t *testing.T) {
	for _, src := range []string{
		"{% set n = namespace(l=['x']) %}{% for i in range(99999) %}{% set n.l = n.l + [n.l] %}{% endfor %}",
		"{% set n = namespace(l=[1, 2, 3]) %}{% for i in range(99) %}{% set n.l = n.l * 3 %}{% endfor %}",
		"{% set n = namespace(s='abc') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
		"{% for i in range(99999) %}{% for j in range(99999) %}{{ dict(a=range(99999) | list) }}{% endfor %}{% endfor %}",
		"{% for i in range(99999) %}{% for j in range(99999) %}{{ 'abcdefgh' * 99999 | list }}{% endfor %}{% endfor %}",
		"{% set n = namespace() %}{% for i in range(99999) %}{% for j in range(99999) %}{% set n.d = dict(n.d or {}, **{i ~ 'x' ~ j: i}) %}{% endfor %}{% endfor %}",
		"{% macro m(a) %}{{ m([a, a]) }}{% endmacro %}{{ m(1) }}",
		"{{ ('x' * 999999) | map('upper') | list | batch(2) | list | tojson(indent=99999) }}",
		"{{ '%0999999d' % 1 }}{{ '{:0>9999999}' .format(1) }}{{ '{:,}'.format(1) * 99999999 }}{{ 'x' | center(99999999) }}",
		"{{ ('a ' * 9999999) | wordwrap(1) }}{{ ('a ' * 9999999) | title | urlencode | e }}",
		"{{ range(99999) | map('string') | list | sort | unique | list | groupby('x') | list | pprint }}",
		"{% for a in range(99999) %}{% for b in range(99999) %}{% generation %}x{% endgeneration %}{% endfor %}{% endfor %}",
		"{% set n = namespace(t=()) %}{% for i in range(60) %}{% set n.t = (n.t, n.t) %}{% endfor %}{{ {n.t: 1} }}{{ n.t == n.t }}",
	} {
		var before, after runtime.MemStats
		tpl, err := Parse(src)
		if err != nil {
			t.Errorf("%.60s: %v", src, err)
			continue
		}
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err = tpl.Render(sample(t))
		runtime.ReadMemStats(&after)
		if total := (after.TotalAlloc - before.TotalAlloc) >> 20; total > 2048 {
			t.Errorf("%.80s: allocates %d MiB in %v (%v)", src, total, time.Since(start), err)
		}
	}
}

// FuzzJinja: any template parses and renders with any variables, or is an error with
// a line.
func FuzzJinja(f *testing.F) {
	const ctx = `{"messages":[{"role":"user","content":"a b"},{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":{"x":1.5}}}]}],"tools":[{"a":[1]}],"bos_token":"<s>","n":-7}`
	paths, err := filepath.Glob("testdata/*.jinja")
	if err != nil || len(paths) == 0 {
		f.Fatal("no templates", err)
	}
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(source), ctx)
	}
	for _, s := range []string{
		"{% for m in messages %}{{ m['role'] | trim ~ '\n' }}{% endfor %}",
		"{%- set ns = namespace(a=1) -%}{% if x is defined and not none %}{{ ns.a }}{% elif 1 %}b{% else %}c{% endif %}",
		"{% macro m(a, b=1) %}{{ caller(a) }}{{ varargs }}{{ kwargs }}{% endmacro %}{% call(z) m(1, *tools, **{'c': 2}) %}{{ z }}{% endcall %}",
		"{{ messages | selectattr('role', 'eq', 1) | map('upper') | sort(attribute='b.0,c') | tojson(indent=2) }}",
		"{{ bos_token[::-1][1:2] }}{{ '%5.2f|%s|%(a)s|%*d' % (n, tools) }}{{ '{0:>3}{x!r:*^{y}}'.format(1, x=2, y=9) }}",
		"{% raw %}{{ {% endraw %}{# c -#} {{- 'a' 'b' -}} {%+ if 1 +%}{% endif %}{% generation %}g{% endgeneration %}",
		"{{ range(3, 9, -2) }}{{ 1 if 0 else (2, 3) }}{{ -7 // 2 ** 3 % 5 }}{{ bos_token | e + 'x' | safe }}{{ 1 < n <= 2 in [3] }}",
		"{{ strftime_now('%Y%-d%^a%5f') }}{{ dict(a=1).items() | list }}{% filter indent(2, true) %}a\nb{% endfilter %}{{ tools | pprint | wordwrap(5) }}",
		"{% for a, (b, c) in [] recursive %}{{ loop(a) }}{{ loop.cycle(1, 2) }}{% break %}{% else %}{% block x scoped %}{{ self.x }}{% endblock %}{% endfor %}",
		"{% with a = 1 %}{% set b | upper %}{{ a }}{% endset %}{% endwith %}{% autoescape false %}{% print a, b %}{% endautoescape %}",
	} {
		f.Add(s, ctx)
	}
	f.Fuzz(func(t *testing.T, src, ctx string) {
		tpl, err := Parse(src)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || e.Line < 1 || e.Line > strings.Count(src, "\n")+strings.Count(src, "\r")+1 {
				t.Errorf("%q: %v", src, err)
			}
			return
		}
		v, err := ParseJSON([]byte(ctx))
		vars, ok := v.(*Dict)
		if err != nil || !ok {
			vars = sample(t)
		}
		start := time.Now()
		r, err := tpl.RenderSpans(vars)
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%q: %v", src, err)
		}
		if len(r.Text) > maxText || time.Since(start) > 60*time.Second {
			t.Errorf("%q: %d bytes in %v", src, len(r.Text), time.Since(start))
		}
		for _, s := range r.Generated {
			if s.Start < 0 || s.End < s.Start || s.End > len(r.Text) {
				t.Errorf("%q: span %v of %d bytes", src, s, len(r.Text))
			}
		}
	})
}

// BenchmarkTemplate parses and renders a template as it is published.
func BenchmarkTemplate(b *testing.B) {
	source, err := os.ReadFile("testdata/cfg_qwen3.jinja")
	if err != nil {
		b.Fatal(err)
	}
	v, err := ParseJSON([]byte(`{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello!"},{"role":"user","content":"Weather?"}],
		"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}],"add_generation_prompt":true}`))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := Parse(string(source)); err != nil {
				b.Fatal(err)
			}
		}
	})
	tpl, err := Parse(string(source))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("render", func(b *testing.B) {
		for b.Loop() {
			if _, err := tpl.Render(v.(*Dict)); err != nil {
				b.Fatal(err)
			}
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
