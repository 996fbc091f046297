// One message of the conversation as a list item: heading, text, tools. What the tools do is app.js's business:
// buttons carry data-do and data-at, which also find the focus again when the list is drawn anew.

import { el, Markdown, render } from "./markdown.js";
import { contentOf } from "./store.js";

export function messageNode(m, at, { last, busy, name }) {
	const mine = m.role === "user";
	const item = el("li", { class: `message ${m.role}` },
		el("h2", {}, mine ? "You" : m.answers[m.chosen].model || name || "Assistant"),
		el("div", { class: mine ? "text" : "text md", dir: "auto" }));
	const text = item.lastChild;
	if (mine) text.append(contentOf(m));
	else text.append(render(contentOf(m)));
	const tools = el("div", { class: "tools" });
	const button = (what, label, long) => tools.append(el("button", { type: "button", "data-do": what, "data-at": String(at), "aria-label": long }, label));
	button("copy", "Copy", mine ? "Copy the message" : "Copy the answer");
	if (!busy) {
		if (mine) button("edit", "Edit", "Edit the message");
		if (mine && last) button("retry", "Answer", "Ask for an answer");
		if (!mine && last) button("retry", "Regenerate", "Regenerate the answer");
		if (!mine && last && m.answers.length > 1) {
			button("previous", "‹", "Previous answer");
			tools.append(el("span", {}, `${m.chosen + 1} of ${m.answers.length}`));
			button("next", "›", "Next answer");
		}
	}
	if (!mine) tools.append(el("span", { class: "facts" }, facts(m.answers[m.chosen])));
	item.append(tools);
	return item;
}

const ends = { length: "cut at the limit of tokens", stopped: "stopped", content_filter: "withheld by a filter", error: "broken off" };

// facts are how long an answer took, and why it ended where that was not by itself.
function facts(a) {
	const parts = [];
	if (ends[a.finish]) parts.push(ends[a.finish]);
	if (a.tokens) parts.push(`${a.tokens} tokens`);
	if (a.tokens > 1 && a.seconds > a.first) parts.push(`${((a.tokens - 1) / (a.seconds - a.first)).toFixed(1)} tokens/s`);
	if (a.first) parts.push(`first after ${a.first.toFixed(2)} s`);
	return parts.join(" · ");
}

// Writing shows an answer while it comes: at most once a frame, whole blocks to those who listen.
export class Writing {
	constructor(item, say) {
		this.item = item;
		this.text = item.querySelector(".text");
		this.text.replaceChildren();
		this.markdown = new Markdown(this.text);
		this.say = say;
		this.said = 0; // blocks
		this.frame = 0;
		item.setAttribute("aria-busy", "true");
	}

	update(content, drawn) {
		this.content = content;
		this.frame ||= setTimeout(() => this.draw(drawn), 33);
	}

	draw(drawn) {
		clearTimeout(this.frame);
		this.frame = 0;
		this.markdown.update(this.content ?? "");
		this.sayUntil(this.text.children.length - 1);
		drawn?.();
	}

	sayUntil(n) {
		for (; this.said < n; this.said++) {
			const block = this.text.children[this.said];
			const code = block.matches("figure") && block.querySelector("code").textContent;
			this.say(code ? `Code, ${code.split("\n").length} lines.` : block.textContent);
		}
	}

	end() {
		this.draw();
		this.sayUntil(this.text.children.length);
		this.item.removeAttribute("aria-busy");
	}
}

// wrongNode says what went wrong with the answer, of which there may be a part.
export function wrongNode(text, m) {
	const part = m.role === "assistant" && m.answers[m.chosen].finish === "error";
	return el("div", { class: "wrong", role: "alert" }, el("strong", {}, part ? "The answer broke off. " : "No answer. "), text);
}

// editNode is a message in the making.
export function editNode(content, at) {
	const field = el("textarea", { "aria-label": "Edit the message", rows: String(Math.min(12, content.split("\n").length + 1)) });
	field.value = content;
	return el("div", { class: "edit" }, field, el("div", { class: "row" },
		el("button", { type: "button", "data-do": "cancel", "data-at": String(at) }, "Cancel"),
		el("button", { type: "button", class: "main", "data-do": "save", "data-at": String(at) }, "Send")));
}
