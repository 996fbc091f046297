package page

import (
	"encoding/json"
	"strings"

	"github.com/litgpt-go/litgpt/internal/server/page/pagetest"
)

// toHTML is JavaScript that renders Markdown and writes the nodes as HTML, without what is the same everywhere.
const toHTML = `(async text => {
	const { render } = await import("/page/markdown.js");
	const div = document.createElement("div");
	div.append(render(text));
	for (const a of div.querySelectorAll("a")) for (const n of ["title", "target", "rel"]) a.removeAttribute(n);
	for (const b of div.querySelectorAll("figcaption")) b.remove();
	for (const r of div.querySelectorAll("[role=region]")) for (const n of ["role", "tabindex", "aria-label"]) r.removeAttribute(n);
	return div.innerHTML;
})`

// rendered are texts and what they become, most of them as CommonMark has it.
var rendered = []struct{ text, html string }{
	{"plain & <b>bold</b>", "<p>plain &amp; &lt;b&gt;bold&lt;/b&gt;</p>"},
	{"one\ntwo  \nthree\\\nfour\n\nnext", "<p>one<br>two  <br>three<br>four</p><p>next</p>"},
	{"*a* _b_ **c** __d__ ***e*** ~~f~~ `g`", "<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> <em><strong>e</strong></em> <del>f</del> <code>g</code></p>"},
	{"snake_case_name 2*3*4 a * b * c", "<p>snake_case_name 2<em>3</em>4 a * b * c</p>"},
	{"**bold *both* bold** *it **both***", "<p><strong>bold <em>both</em> bold</strong> <em>it <strong>both</strong></em></p>"},
	{"**open *and `never* closed", "<p>**open <em>and `never</em> closed</p>"},
	{"*interval [0, 1)* and \\*no\\* \\[x\\]", "<p><em>interval [0, 1)</em> and *no* [x]</p>"},
	{"`a `` b` ``c ` d`` `` `e` ``", "<p><code>a `` b</code> <code>c ` d</code> <code>`e`</code></p>"},
	{"# One\n## Two ##\n####### seven\n#none\n\nSetext\n===\nTwo\n---", "<h3>One</h3><h4>Two</h4><p>####### seven<br>#none</p><h3>Setext</h3><h4>Two</h4>"},
	{"a\n\n---\n***\nb", "<p>a</p><hr><hr><p>b</p>"},
	{"```go\nx := 1\n\n  y\n```\nafter", "<figure><pre><code>x := 1\n\n  y</code></pre></figure><p>after</p>"},
	{"~~~\n```\n~~~", "<figure><pre><code>```</code></pre></figure>"},
	{"```\nnever closed <b>", "<figure><pre><code>never closed &lt;b&gt;</code></pre></figure>"},
	{"> quoted\n> > twice\n\nafter", "<blockquote><p>quoted</p><blockquote><p>twice</p></blockquote></blockquote><p>after</p>"},
	{"- a\n- b\n  - c\n  - d\n- e", "<ul><li>a</li><li>b<ul><li>c</li><li>d</li></ul></li><li>e</li></ul>"},
	{"3. a\n4. b\n  - c\n5. d", "<ol start=\"3\"><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ol>"},
	{"1. a\n\n   more\n\n2. b\n   ```\n   x\n   ```", "<ol><li><p>a</p><p>more</p></li><li><p>b</p><figure><pre><code>x</code></pre></figure></li></ol>"},
	{"text\n- a\n* b\n+ c", "<p>text</p><ul><li>a</li></ul><ul><li>b</li></ul><ul><li>c</li></ul>"},
	{"- a\n\n\nafter", "<ul><li>a</li></ul><p>after</p>"},
	{"- [x] done\n- [ ] open", `<ul><li><input type="checkbox" disabled="" aria-label="done"> done</li><li><input type="checkbox" disabled="" aria-label="not done"> open</li></ul>`},
	{"| a | b |\n|:--|--:|\n| 1 \\| 2 | `x` |\n| 3 |\nafter", `<div class="table"><table><thead><tr><th scope="col">a</th><th class="to-end" scope="col">b</th></tr></thead><tbody><tr><td>1 | 2</td><td class="to-end"><code>x</code></td></tr><tr><td>3</td><td class="to-end"></td></tr></tbody></table></div><p>after</p>`},
	{"a | b\nno table", "<p>a | b<br>no table</p>"},
	{"[a](https://example.com/x_(y) \"title\") <https://example.com> <mailto:a@example.com>", `<p><a href="https://example.com/x_(y)">a</a> <a href="https://example.com/">https://example.com</a> <a href="mailto:a@example.com">mailto:a@example.com</a></p>`},
	{"see https://example.com/a_b_c, (https://example.com/(x)). nothttps://x", `<p>see <a href="https://example.com/a_b_c">https://example.com/a_b_c</a>, (<a href="https://example.com/(x)">https://example.com/(x)</a>). nothttps://x</p>`},
	{"[*a* **b**](https://example.com)", `<p><a href="https://example.com/"><em>a</em> <strong>b</strong></a></p>`},
	{"[![pic](https://example.com/p.png)](https://example.com) [https://a.example](https://b.example)", `<p><a href="https://example.com/">picture: pic</a> <a href="https://b.example/">https://a.example</a></p>`},
	{"[x](javascript:alert(1)) [y](/relative) [z] [w]()", "<p>[x](javascript:alert(1)) [y](/relative) [z] [w]()</p>"},
	{"&lt;b&gt; &amp;amp; &unknown; &#106;", "<p>&lt;b&gt; &amp;amp; &amp;unknown; &amp;#106;</p>"},
	{"", ""}, {" \n\t\n", ""}, {"-", "<ul><li></li></ul>"}, {"```", "<figure><pre><code></code></pre></figure>"}, {"*", "<ul><li></li></ul>"}, {"**", "<p>**</p>"},
}

func markdown(p *tab) {
	for _, tt := range rendered {
		quoted, _ := json.Marshal(tt.text)
		if got := pagetest.Evaluate[string](p.Tab, toHTML+"("+string(quoted)+")"); got != tt.html {
			p.Errorf("%q:\n got %s\nwant %s", tt.text, got, tt.html)
		}
	}
}

// However a text grows, the nodes at its end are those of the whole; blocks that are complete keep theirs.
func growing(p *tab) {
	var all []string
	for _, tt := range rendered {
		all = append(all, tt.text)
	}
	quoted, _ := json.Marshal(append(all, strings.Join(all, "\n\n")))
	p.Expect(`(async texts => {
		const { Markdown, render } = await import("/page/markdown.js");
		const bad = [];
		for (const text of texts) {
			const div = document.createElement("div"), whole = document.createElement("div"), shown = new Markdown(div);
			for (let n = 0; n <= text.length; n += text.length > 500 ? 7 : 1) shown.update(text.slice(0, n));
			shown.update(text);
			whole.append(render(text));
			if (div.innerHTML !== whole.innerHTML) bad.push(text);
		}
		const div = document.createElement("div"), shown = new Markdown(div);
		shown.update("first\n\nsecond");
		const first = div.firstChild;
		shown.update("first\n\nsecond half\n\nthird");
		if (div.firstChild !== first || div.children.length !== 3) bad.push("nodes");
		return bad;
	})(`+string(quoted)+")", "[]")
}

// Texts made to be slow, or to nest deeply, take the page no longer than others: quadratic work on these would be minutes, and so the test's end.
func long(p *tab) {
	const n = 50_000
	for _, s := range []string{"*a ", "**a* ", "*a_ ", "_a* b_ c* ", "a* ", "a** b* ", "[", "[a](", "![", "](", "[a](b) ", "`", "` `` ``` ", "~~", "~~a ", "<", "<http://", "http://%", "http://a.b/(", "&amp",
		"> ", "- ", "1. ", "* ", "  - a\n", "> a\n", "|", "| a ", "# ", "#", "---\n", "```\n", "\\", "\n", " ", "\t", "a\n===\n", "a | b\n--|--\n", "- [ ] a\n", "[*a*](http://b.c) ", "*[a](http://b.c)* ", "h", "𝄞", "\u202e"} {
		text, _ := json.Marshal(strings.Repeat(s, n/len(s)))
		p.Expect(`(async text => {
			const { render } = await import("/page/markdown.js");
			const div = document.createElement("div");
			div.append(render(text));
			let deep = 0;
			for (let e = div; e; e = e.lastElementChild) deep++;
			return deep < 80;
		})(`+string(text)+")", true)
	}
	// Random mixtures of all that means something.
	p.Expect(`(async () => {
		const { render } = await import("/page/markdown.js");
		const parts = ["*", "**", "_", "[", "](", ")", "!", "~~", "`+"`"+`", "\\", "\n", "\n\n", " ", "a", "> ", "- ", "1. ", "|", "---", "#", "<", ">", "http://a.b", "&lt;", "javascript:", "é", "👍"];
		let seed = 7;
		const next = n => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
		for (let i = 0; i < 3000; i++) {
			let text = "";
			for (let k = next(60); k >= 0; k--) text += parts[next(parts.length)];
			const div = document.createElement("div");
			div.append(render(text));
			if (div.querySelector("a a, img, script") || [...div.querySelectorAll("a")].some(a => !/^https?:|^mailto:/.test(a.href))) return text;
		}
		return "";
	})()`, "")
}
