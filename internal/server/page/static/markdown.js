// Markdown to DOM nodes: CommonMark's and GitHub's blocks and inlines as models write them.
// Text becomes text nodes and nothing else: there is no innerHTML here, HTML in the text shows
// as it was written, pictures become links (nothing is fetched), and only http, https and mailto
// are linked. Work is linear in the text: hostile input must not freeze the page.

const deepest = 12; // quotes and lists within each other; below, their marks are text

// el makes an element; strings among the children, and in lists among them, become text nodes.
export function el(name, attributes, ...children) {
	const e = document.createElement(name);
	for (const [k, v] of Object.entries(attributes ?? {})) if (v !== undefined) e.setAttribute(k, v);
	for (const c of children.flat()) e.append(c);
	return e;
}

// Markdown shows a growing text in a container. Blocks that did not change keep their nodes, and so
// the selection and the focus within them.
export class Markdown {
	constructor(container) {
		this.container = container;
		this.blocks = []; // {source, node}
	}

	// update shows text and returns the nodes of blocks that are new or have changed.
	update(text) {
		const blocks = parse(lines(text), 0);
		let same = 0;
		while (same < blocks.length && same < this.blocks.length && blocks[same].source === this.blocks[same].source) same++;
		for (const old of this.blocks.splice(same)) old.node.remove();
		const fresh = [];
		for (const b of blocks.slice(same)) {
			const node = b.build();
			this.blocks.push({ source: b.source, node });
			this.container.append(node);
			fresh.push(node);
		}
		return fresh;
	}
}

// render returns text as a fragment.
export function render(text) {
	const fragment = document.createDocumentFragment();
	for (const b of parse(lines(text), 0)) fragment.append(b.build());
	return fragment;
}

// lines expands the tabs that indent, but for those of code.
function lines(text) {
	let within = "";
	return text.replace(/\r\n?/g, "\n").split("\n").map(l => {
		const mark = l.trimStart().slice(0, 3);
		if (mark === "```" || mark === "~~~") within = within === "" ? mark : within === mark ? "" : within;
		return within ? l : l.replace(/^[ \t]+/, s => s.replace(/\t/g, "    "));
	});
}

// Blocks

const fence = /^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$/;
const heading = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const rule = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const quote = /^ {0,3}> ?/;
const marker = /^( {0,3})([-*+]|(\d{1,9})[.)])( {1,4}(?! )| (?= )|$)/;
const underline = /^ {0,3}(=+|-{3,})[ \t]*$/;
const indentOf = l => l.length - l.trimStart().length;

// parse returns the blocks of ls as {source, build, paragraph}: source tells blocks apart, build makes the node.
function parse(ls, depth) {
	const blocks = [];
	for (let i = 0; i < ls.length;) {
		if (ls[i].trim() === "") {
			i++;
			continue;
		}
		const start = i;
		let build, paragraph;
		for (const read of [code, title, line, quoted, list, table]) {
			const found = read(ls, i, depth);
			if (found) {
				[i, build] = found;
				break;
			}
		}
		if (!build) [i, build, paragraph] = text(ls, i, depth);
		blocks.push({ source: ls.slice(start, i).join("\n"), build, paragraph });
	}
	return blocks;
}

function code(ls, i) {
	const open = fence.exec(ls[i]);
	if (!open) return null;
	const indent = indentOf(ls[i]), body = [];
	const ends = l => {
		const t = l.trim();
		return indentOf(l) < 4 && t.length >= open[1].length && t === t[0].repeat(t.length) && t[0] === open[1][0];
	};
	for (i++; i < ls.length && !(ls[i].trim() && ends(ls[i])); i++) body.push(ls[i].slice(Math.min(indent, indentOf(ls[i]))));
	return [Math.min(i + 1, ls.length), () => codeBlock(body.join("\n"), open[2])];
}

// codeBlock is code with the name of its language and a button that copies it, which app.js serves.
function codeBlock(text, language) {
	const name = language || "text";
	return el("figure", {},
		el("figcaption", {}, el("span", {}, name), el("button", { type: "button", "data-copy": "code", "aria-label": `Copy the ${name} code` }, "Copy")),
		el("pre", { tabindex: "0", role: "region", "aria-label": `${name} code` }, el("code", {}, text)));
}

function title(ls, i) {
	const m = heading.exec(ls[i]);
	if (!m) return null;
	let t = ls[i].trim().slice(m[1].length).trim();
	const bare = t.slice(0, closingHashes(t));
	if (bare === "" || /\s$/.test(bare)) t = bare.trim();
	return [i + 1, () => headingNode(m[1].length, t)];
}

function closingHashes(t) {
	let n = t.length;
	while (n > 0 && t[n - 1] === "#") n--;
	return n;
}

// The page has h1, a message h2: headings of an answer begin at h3.
function headingNode(level, t) {
	return el(`h${Math.min(level + 2, 6)}`, {}, inline(t));
}

function line(ls, i) {
	return rule.test(ls[i]) ? [i + 1, () => el("hr")] : null;
}

function quoted(ls, i, depth) {
	if (depth >= deepest || !quote.test(ls[i])) return null;
	const inner = [];
	for (; i < ls.length && quote.test(ls[i]); i++) inner.push(ls[i].replace(quote, ""));
	return [i, () => el("blockquote", {}, parse(inner, depth + 1).map(b => b.build()))];
}

function list(ls, i, depth) {
	const first = depth < deepest && marker.exec(ls[i]);
	if (!first) return null;
	const kind = first[2].at(-1), items = [];
	let loose = false;
	while (i < ls.length) {
		const m = marker.exec(ls[i]);
		if (!m || m[2].at(-1) !== kind || rule.test(ls[i])) break;
		const inner = [ls[i].slice(m[0].length)];
		// Models indent by two below "1." too, where CommonMark wants three.
		const width = m[0].length, least = Math.min(width, m[1].length + 2);
		let blank = 0;
		for (i++; i < ls.length; i++) {
			const l = ls[i];
			if (l.trim() === "") {
				blank++;
			} else if (indentOf(l) >= least) {
				loose ||= blank > 0;
				for (; blank > 0; blank--) inner.push("");
				inner.push(l.slice(Math.min(width, indentOf(l))));
			} else if (blank === 0 && !starts(l)) {
				inner.push(l.trimStart()); // a paragraph's lazy continuation
			} else {
				break;
			}
		}
		items.push(inner);
		if (blank > 0 && i < ls.length && marker.exec(ls[i])?.[2].at(-1) === kind) loose = true;
		if (blank > 0 && i < ls.length && !marker.test(ls[i])) break;
	}
	const number = first[3] === undefined ? undefined : Number(first[3]);
	return [i, () => listNode(items, number, loose, depth)];
}

function listNode(items, number, loose, depth) {
	const node = el(number === undefined ? "ul" : "ol", { start: number === undefined || number === 1 ? undefined : String(number) });
	for (const [head, ...more] of items) {
		const item = el("li");
		const task = /^\[([ xX])\] /.exec(head);
		if (task) {
			item.append(el("input", { type: "checkbox", disabled: "", "aria-label": task[1] === " " ? "not done" : "done" }), " ");
			item.firstChild.checked = task[1] !== " ";
		}
		for (const b of parse([task ? head.slice(4) : head, ...more], depth + 1)) {
			for (const n of b.paragraph && !loose ? b.paragraph() : [b.build()]) item.append(n);
		}
		node.append(item);
	}
	return node;
}

// table is GitHub's: a row, a row of dashes with as many cells, rows.
function table(ls, i) {
	if (i + 1 >= ls.length || !ls[i].includes("|") || !ls[i + 1].includes("-")) return null;
	const dashes = cells(ls[i + 1]), head = cells(ls[i]);
	if (dashes.length !== head.length || !dashes.every(c => /^:?-+:?$/.test(c))) return null;
	const side = dashes.map(c => c.endsWith(":") ? (c.startsWith(":") ? "to-middle" : "to-end") : undefined);
	const rows = [];
	for (i += 2; i < ls.length && ls[i].includes("|") && ls[i].trim() !== ""; i++) rows.push(cells(ls[i]));
	const row = (name, cs) => el("tr", {}, head.map((_, k) => el(name, { class: side[k], scope: name === "th" ? "col" : undefined }, inline(cs[k] ?? ""))));
	return [i, () => el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "table" },
		el("table", {}, el("thead", {}, row("th", head)), el("tbody", {}, rows.map(r => row("td", r)))))];
}

function cells(l) {
	const out = [""];
	let t = l.trim();
	if (t.startsWith("|")) t = t.slice(1);
	if (t.endsWith("|") && !t.endsWith("\\|")) t = t.slice(0, -1);
	for (let i = 0; i < t.length; i++) {
		if (t[i] === "\\" && t[i + 1] === "|") {
			out[out.length - 1] += "|";
			i++;
		} else if (t[i] === "|") {
			out.push("");
		} else {
			out[out.length - 1] += t[i];
		}
	}
	return out.map(c => c.trim());
}

// starts reports a line that ends a paragraph because another block begins.
function starts(l) {
	const m = marker.exec(l);
	return fence.test(l) || heading.test(l) || rule.test(l) || quote.test(l) || (m !== null && m[0].length < l.length);
}

function text(ls, i, depth) {
	const inner = [];
	for (; i < ls.length && ls[i].trim() !== ""; i++) {
		if (inner.length > 0) {
			const u = underline.exec(ls[i]);
			if (u) return [i + 1, () => headingNode(u[1][0] === "=" ? 1 : 2, inner.join("\n"))];
			if (depth < deepest && starts(ls[i])) break;
		}
		inner.push(ls[i].trimStart());
	}
	const t = inner.join("\n").trimEnd();
	return [i, () => el("p", {}, inline(t)), () => inline(t)];
}

// Inlines

const punctuation = /[\p{P}\p{S}]/u;
const escapable = /[!-/:-@[-`{-~]/;
const bare = /https?:\/\/[^\s<>"`|\\^{}[\]]{1,2048}/y;
const angled = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2048})>/y;
const entity = /&(amp|lt|gt|quot|nbsp);/y;
const entities = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0" };
const thickest = 24; // emphasis within emphasis: thousands would overflow the browser's layout

// inline returns text as nodes and strings, in the manner of CommonMark's reference: marks that may open
// wait on a stack, and one that closes wraps what came since the nearest that fits. A line feed breaks the
// line, as in GitHub's comments: small models write verse and lists without marks.
function inline(s) {
	const p = {
		s,
		out: [], // nodes, strings and {mark, count}: marks that may yet turn out to be emphasis
		open: [], // {mark, count, both, at}: those in out that may open
		brackets: [], // {at, marks, image}: "[" in out that may begin a link
		bottom: new Map(), // below which of open no mark of a kind fits: what keeps the work linear
		deep: new Map(), // how many elements deep an element of out is
		noTicks: new Set(), // lengths of runs of backticks that nothing closes
	};
	let plain = 0; // where text begins that is not in out yet
	for (let i = 0; i < s.length;) {
		const read = inlines[s[i]];
		if (!read) {
			i++;
			continue;
		}
		if (plain < i) p.out.push(s.slice(plain, i));
		plain = i;
		const next = read(p, i);
		if (next > i) i = plain = next;
		else i++;
	}
	if (plain < s.length) p.out.push(s.slice(plain));
	return settled(p.out);
}

// settled returns what is in out with marks that were none after all as text, and texts in one piece.
function settled(out) {
	const nodes = [];
	let words = [];
	const flush = () => {
		if (words.length > 0) nodes.push(words.join(""));
		words = [];
	};
	for (const x of out) {
		if (x instanceof Node) {
			flush();
			nodes.push(x);
		} else {
			words.push(x.mark ? x.mark.repeat(x.count) : x);
		}
	}
	flush();
	return nodes.filter(x => x !== "");
}

// inlines are what a character may begin. Each appends to p.out and returns where to go on; i if it is text after all.
const inlines = {
	"\n": (p, i) => (p.out.push(el("br")), i + 1),
	"\\"(p, i) {
		if (p.s[i + 1] === "\n") return p.out.push(el("br")), i + 2;
		if (!escapable.test(p.s[i + 1] ?? "")) return i;
		return p.out.push(p.s[i + 1]), i + 2;
	},
	"`"(p, i) {
		let n = 1;
		while (p.s[i + n] === "`") n++;
		const end = p.noTicks.has(n) ? -1 : closingTicks(p.s, i + n, n);
		if (end < 0) return p.noTicks.add(n), p.out.push("`".repeat(n)), i + n;
		let t = p.s.slice(i + n, end).replace(/\n/g, " ");
		if (t.startsWith(" ") && t.endsWith(" ") && t.trim() !== "") t = t.slice(1, -1);
		return p.out.push(el("code", {}, t)), end + n;
	},
	"*": emphasis, "_": emphasis, "~": emphasis,
	"!": (p, i) => p.s[i + 1] === "[" ? (p.brackets.push({ at: p.out.length, marks: p.open.length, image: true }), p.out.push("!["), i + 2) : i,
	"[": (p, i) => (p.brackets.push({ at: p.out.length, marks: p.open.length }), p.out.push("["), i + 1),
	"]": link,
	"<"(p, i) {
		const m = at(angled, p.s, i), url = m && safe(m[1]);
		return url ? (p.out.push(anchor(url, [m[1]])), i + m[0].length) : i;
	},
	"&"(p, i) {
		const m = at(entity, p.s, i);
		return m ? (p.out.push(entities[m[1]]), i + m[0].length) : i;
	},
	h(p, i) {
		if (i > 0 && /[\p{L}\p{N}_]/u.test(p.s[i - 1])) return i;
		const m = at(bare, p.s, i);
		if (!m) return i;
		const shown = trimURL(m[0]), url = safe(shown);
		return p.out.push(url ? anchor(url, [shown]) : shown), i + Math.max(shown.length, 1);
	},
};

function at(pattern, s, i) {
	pattern.lastIndex = i;
	return pattern.exec(s);
}

function closingTicks(s, from, n) {
	for (let i = from; (i = s.indexOf("`", i)) >= 0;) {
		let k = 1;
		while (s[i + k] === "`") k++;
		if (k === n) return i;
		i += k;
	}
	return -1;
}

// trimURL leaves out what ends a sentence, and a bracket that the address did not open.
function trimURL(u) {
	let n = u.length, balance = 0;
	for (const c of u) balance += c === "(" ? 1 : c === ")" ? -1 : 0;
	for (; n > 0; n--) {
		if (u[n - 1] === ")" && balance < 0) balance++;
		else if (!/[.,;:!?'"*_~\]]/.test(u[n - 1])) break;
	}
	return u.slice(0, n);
}

function emphasis(p, i) {
	const mark = p.s[i];
	let n = 1;
	while (p.s[i + n] === mark) n++;
	const end = i + n;
	if (mark === "~" && n !== 2) return p.out.push(mark.repeat(n)), end;
	const before = p.s[i - 1] ?? " ", after = p.s[end] ?? " ";
	const left = !/\s/.test(after) && (!punctuation.test(after) || /\s/.test(before) || punctuation.test(before));
	const right = !/\s/.test(before) && (!punctuation.test(before) || /\s/.test(after) || punctuation.test(after));
	const opens = left && (mark !== "_" || !right || punctuation.test(before));
	const closes = right && (mark !== "_" || !left || punctuation.test(after));
	if (closes) n = close(p, mark, n, opens);
	if (n > 0) {
		const run = { mark, count: n, both: closes, at: p.out.length };
		if (opens) p.open.push(run);
		p.out.push(run);
	}
	return end;
}

// close wraps as often as n marks find others that opened; it returns how many are left.
function close(p, mark, n, opens) {
	while (n > 0) {
		const kind = `${mark}${opens}${n % 3}`;
		const fits = o => o.mark === mark && !((o.both || opens) && (o.count + n) % 3 === 0 && (o.count % 3 !== 0 || n % 3 !== 0));
		const bottom = p.bottom.get(kind) ?? 0;
		let k = p.open.length - 1;
		while (k >= bottom && !fits(p.open[k])) k--;
		if (k < bottom) {
			p.bottom.set(kind, p.open.length);
			return n;
		}
		const o = p.open[k], used = mark === "~" ? 2 : Math.min(2, o.count, n);
		o.count -= used;
		n -= used;
		forget(p, o.count > 0 ? k + 1 : k, o.at);
		wrap(p, o.at + 1, children => el(mark === "~" ? "del" : used === 2 ? "strong" : "em", {}, children));
		if (o.count === 0) p.out.splice(o.at, 1);
	}
	return 0;
}

// forget drops the marks from the k-th on and the brackets behind position at: what they could begin would cross another element.
function forget(p, k, at) {
	p.open.length = Math.min(p.open.length, k);
	for (const [kind, b] of p.bottom) if (b > k) p.bottom.set(kind, k);
	while (p.brackets.length > 0 && p.brackets.at(-1).at > at) p.brackets.pop();
}

// wrap puts what is in out from position at on into an element; the marks are gone without effect where that were too deep.
function wrap(p, at, make) {
	let depth = 1;
	for (let i = at; i < p.out.length; i++) depth = Math.max(depth, 1 + (p.deep.get(p.out[i]) ?? 0));
	if (depth > thickest) return;
	const node = make(settled(p.out.splice(at)));
	p.deep.set(node, depth);
	p.out.push(node);
}

// link ends what a bracket began: [text](address "title"). An address that is not safe leaves the text as written.
function link(p, i) {
	const b = p.brackets.pop();
	if (!b || p.s[i + 1] !== "(") return i;
	const end = closingParenthesis(p.s, i + 2);
	const url = end > 0 && safe(p.s.slice(i + 2, end).trim().split(/\s/, 1)[0].replace(/^<(.*)>$/, "$1"));
	if (!url) return i;
	p.out.splice(b.at, 1); // the bracket
	forget(p, b.marks, b.at - 1);
	wrap(p, b.at, children => anchor(url, b.image ? ["picture: ", ...(children.length > 0 ? children : [url])] : children));
	return end + 1;
}

// closingParenthesis returns where an address ends; 0 if it does not within a thousand characters.
function closingParenthesis(s, from) {
	const limit = Math.min(s.length, from + 1024);
	for (let i = from, deep = 0; i < limit && s[i] !== "\n"; i++) {
		if (s[i] === "\\") i++;
		else if (s[i] === "(") deep++;
		else if (s[i] === ")" && deep-- === 0) return i;
	}
	return 0;
}

// safe returns the address in full if it is one that may be linked, and "" otherwise.
function safe(address) {
	try {
		const u = new URL(address); // without a base: relative addresses do not pass
		return ["http:", "https:", "mailto:"].includes(u.protocol) ? u.href : "";
	} catch {
		return "";
	}
}

// anchor links children, among which no other link stays one: a picture within a link is text.
function anchor(url, children) {
	const a = el("a", { href: url, title: url, target: "_blank", rel: "noopener noreferrer nofollow" }, children);
	for (const inner of a.querySelectorAll("a")) inner.replaceWith(...inner.childNodes);
	return a;
}
