// Conversations in this browser's localStorage, a key each, so that two tabs do not write over each other.
//
// A conversation is {id, title, updated, model, settings, messages}; a message {role: "user", content} or
// {role: "assistant", answers, chosen}: the answers made so far to what stands before, and which one counts.

const prefix = "litgpt.conversation.";
export const numbers = ["temperature", "top_p", "max_tokens", "seed"];

export function create(like) {
	return { id: crypto.getRandomValues(new Uint32Array(4)).join("-"), title: "", updated: Date.now(), model: like?.model ?? "", settings: { ...like?.settings }, messages: [] };
}

// contentOf is what a message says.
export const contentOf = m => m.role === "user" ? m.content : m.answers[m.chosen].content;

// list returns {id, title, updated} of all, the last one used first.
export function list() {
	const out = [];
	for (const k of Object.keys(localStorage)) {
		const c = k.startsWith(prefix) && load(k.slice(prefix.length));
		if (c) out.push({ id: c.id, title: c.title, updated: c.updated });
	}
	return out.sort((a, b) => b.updated - a.updated);
}

// load returns null for what is not there or cannot be read.
export function load(id) {
	try {
		return clean(JSON.parse(localStorage.getItem(prefix + id)), id);
	} catch {
		return null;
	}
}

// save throws where there is no room.
export function save(c) {
	c.title ||= (c.messages.find(m => m.role === "user")?.content ?? "").trim().replace(/\s+/g, " ").slice(0, 80);
	c.updated = Date.now();
	localStorage.setItem(prefix + c.id, JSON.stringify(c));
}

export const remove = id => localStorage.removeItem(prefix + id);
export const holds = key => key === null || key.startsWith(prefix);

// exported is what a file holds. Messages have their content as in the API too, for other programs.
export function exported(conversations) {
	const messages = c => c.messages.map(m => ({ role: m.role, content: contentOf(m), answers: m.answers, chosen: m.chosen }));
	return JSON.stringify({ format: "litgpt-conversations", version: 1, conversations: conversations.map(c => ({ ...c, messages: messages(c) })) }, null, "\t");
}

// imported reads a file: an export, one conversation with "messages", or a list of messages in the API's form.
export function imported(text) {
	let v;
	try {
		v = JSON.parse(text);
	} catch {
		throw new Error("The file is not JSON.");
	}
	if (Array.isArray(v)) v = { messages: v };
	const found = (Array.isArray(v?.conversations) ? v.conversations : [v]).map(c => clean(c, create().id)).filter(c => c && c.messages.length > 0);
	if (found.length === 0) throw new Error("The file holds no conversation: “messages” with role and content is wanted.");
	return found;
}

const isText = v => typeof v === "string";
const texts = v => isText(v) ? v : Array.isArray(v) ? v.map(p => isText(p?.text) ? p.text : "").join("") : "";

// clean makes a conversation of what may be anything: another version's, or a stranger's file.
function clean(v, id) {
	if (!Array.isArray(v?.messages)) return null;
	const c = { ...create(), id, title: isText(v.title) ? v.title.slice(0, 80) : "", model: isText(v.model) ? v.model : "" };
	if (Number.isFinite(v.updated)) c.updated = v.updated;
	if (isText(v.settings?.system)) c.settings.system = v.settings.system;
	for (const n of numbers) if (Number.isFinite(v.settings?.[n])) c.settings[n] = v.settings[n];
	for (const m of v.messages) {
		if (m?.role === "system" || m?.role === "developer") c.settings.system ??= texts(m.content);
		if (m?.role === "user") c.messages.push({ role: "user", content: texts(m.content) });
		if (m?.role === "assistant") {
			let answers = (Array.isArray(m.answers) ? m.answers : []).filter(a => isText(a?.content)).map(answer);
			if (answers.length === 0) answers = [answer({ content: texts(m.content) })];
			c.messages.push({ role: "assistant", answers, chosen: answers[m.chosen] ? m.chosen : answers.length - 1 });
		}
	}
	c.title ||= (c.messages.find(m => m.role === "user")?.content ?? "").trim().replace(/\s+/g, " ").slice(0, 80);
	return c;
}

function answer(a) {
	const out = { content: a.content };
	for (const k of ["model", "finish"]) if (isText(a[k])) out[k] = a[k];
	for (const k of ["tokens", "seconds", "first"]) if (Number.isFinite(a[k])) out[k] = a[k];
	return out;
}
