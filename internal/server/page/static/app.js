// The page: what the buttons and keys do. Nothing is fetched but the API beside it.

import * as api from "./api.js";
import { el } from "./markdown.js";
import { editNode, messageNode, Writing, wrongNode } from "./messages.js";
import * as store from "./store.js";

const $ = id => document.getElementById(id);

let models = []; // {id, parent}
let conversation = null; // the one shown
let running = null; // AbortController of the answer being written
let wrong = ""; // why the last message has no answer

// What is said and told

let noticeTimer = 0;

// notice shows a line above the field, with a button if there is something to do about it.
function notice(text, label, act) {
	clearTimeout(noticeTimer);
	$("notice").replaceChildren(text);
	if (label) {
		const b = el("button", { type: "button" }, label);
		b.addEventListener("click", () => {
			$("notice").hidden = true;
			act();
		});
		$("notice").append(b);
	}
	$("notice").hidden = text === "";
	noticeTimer = setTimeout(() => $("notice").hidden = true, 10_000);
}

// say lets a screen reader read text when it has finished what it reads.
function say(text) {
	const spoken = $("spoken");
	spoken.append(el("p", {}, text));
	while (spoken.children.length > 20) spoken.firstChild.remove();
}

// Conversations

function show(c) {
	running?.abort();
	running = null;
	busy(false);
	conversation = c;
	wrong = "";
	try {
		sessionStorage.setItem("litgpt.current", c.id);
		localStorage.setItem("litgpt.current", c.id);
	} catch { /* shown all the same */ }
	$("system").value = c.settings.system ?? "";
	for (const n of store.numbers) $(n).value = c.settings[n] ?? "";
	chooseModel();
	draw();
	toLatest();
	drawList();
}

// keep is called at every change: a reload loses nothing.
function keep(c = conversation) {
	if (c.messages.length === 0) return;
	try {
		store.save(c);
	} catch {
		notice("This browser has no room left: the conversation is not kept. Export it, or remove others.");
	}
}

function drawList() {
	$("conversations").replaceChildren(...store.list().map(c => {
		const title = c.title || "Untitled";
		const open = el("button", { type: "button", class: "open", "data-open": c.id, "aria-current": c.id === conversation.id ? "true" : undefined, title }, title);
		return el("li", {}, open, el("button", { type: "button", class: "remove", "data-remove": c.id, "aria-label": `Remove “${title}”` }, "×"));
	}));
}

function draw() {
	const focus = document.activeElement?.dataset ?? {};
	const { messages } = conversation;
	$("empty").hidden = messages.length > 0;
	$("messages").replaceChildren(...messages.map((m, at) => messageNode(m, at, { last: at === messages.length - 1, busy: running !== null, name: modelName() })));
	if (wrong) $("messages").lastChild?.querySelector(".tools").before(wrongNode(wrong, messages.at(-1)));
	if (focus.do) $("messages").querySelector(`[data-do="${focus.do}"][data-at="${focus.at}"]`)?.focus();
	document.title = conversation.title ? `${conversation.title} – litgpt` : "litgpt";
}

// Models: an adapter is a model of the API with a parent.

const modelName = () => $("adapter").value || $("model").value;

async function loadModels() {
	try {
		models = await api.models($("key").value);
	} catch (err) {
		models = [];
		if (err.status === 401 || err.status === 403) return askKey();
		notice(err.message, "Try again", loadModels);
		return;
	} finally {
		chooseModel();
	}
	notice("");
}

function chooseModel() {
	const wanted = models.find(m => m.id === conversation.model) ?? models[0];
	const known = new Set(models.map(m => m.id));
	const bases = models.filter(m => !known.has(m.parent));
	const base = wanted && known.has(wanted.parent) ? wanted.parent : wanted?.id ?? "";
	const adapters = models.filter(m => m.parent === base && base !== "");
	fill($("model"), bases.map(m => [m.id, m.id]), base);
	fill($("adapter"), [["", "None"], ...adapters.map(m => [m.id, m.id])], wanted?.id === base ? "" : wanted?.id ?? "");
	$("model").disabled = models.length === 0;
	$("adapter-choice").hidden = adapters.length === 0;
}

function fill(select, options, value) {
	select.replaceChildren(...options.map(([v, label]) => el("option", { value: v }, label)));
	select.value = value;
}

function askKey() {
	notice("This server wants an API key: write it into the settings.");
	panel("settings", true);
	$("key").focus();
}

// Answers

// body is what the API is asked. Messages that got no answer go along with the next one, as one: chat templates like Mistral's
// refuse two of the user's in a row.
function body(c) {
	const messages = [];
	for (const m of c.messages) {
		const content = store.contentOf(m), last = messages.at(-1);
		if (m.role === "user" && last?.role === "user") last.content += `\n\n${content}`;
		else messages.push({ role: m.role, content });
	}
	const { system, ...rest } = c.settings;
	if (system) messages.unshift({ role: "system", content: system });
	return { model: modelName(), messages, ...rest };
}

// answer asks for what comes after the conversation's last message, which is the user's, or for another answer in place of the last.
async function answer() {
	const bad = [...$("settings-form").elements].find(f => !f.checkValidity());
	if (bad) {
		panel("settings", true);
		bad.reportValidity();
		return;
	}
	const c = conversation, request = body(again(c));
	const written = { content: "", model: modelName() };
	let m = c.messages.at(-1);
	if (m.role === "assistant") m.answers.push(written);
	else c.messages.push(m = { role: "assistant", answers: [written], chosen: 0 });
	m.chosen = m.answers.length - 1;
	const controller = running = new AbortController();
	wrong = "";
	busy(true);
	draw();
	toLatest();
	$("prompt").focus({ preventScroll: true });
	const writing = new Writing($("messages").lastChild, say);
	say("The answer is being written.");
	const failure = await receive(c, request, written, writing, controller.signal);
	writing.end();
	if (running === controller) running = null;
	if (written.content === "" && written.finish !== "stop") drop(c, m);
	if (c !== conversation) return keep(c); // the reader went on to another
	wrong = failure?.message ?? "";
	busy(false);
	keep();
	draw();
	drawList();
	if (atLatest) toLatest();
	say(failure ? "" : written.finish === "stopped" ? "Stopped." : "The answer is complete.");
	if (failure?.status === 401 || failure?.status === 403) askKey();
	if (failure?.status === 404) loadModels();
}

// again returns the conversation as it was when its last answer was asked for.
function again(c) {
	return c.messages.at(-1).role === "assistant" ? { ...c, messages: c.messages.slice(0, -1) } : c;
}

// drop takes back an answer that never began.
function drop(c, m) {
	m.answers.pop();
	m.chosen = m.answers.length - 1;
	if (m.answers.length === 0) c.messages = c.messages.filter(x => x !== m);
}

// receive fills written; it returns an error, or null where the answer ended well or was stopped.
async function receive(c, request, written, writing, signal) {
	const begin = performance.now(), since = () => (performance.now() - begin) / 1000;
	let kept = begin;
	try {
		for await (const { text, finish, usage } of api.chat(request, $("key").value, signal)) {
			if (text) {
				written.first ??= since();
				written.content += text;
				writing.update(written.content, () => atLatest && toLatest());
				if (performance.now() - kept > 1000) {
					kept = performance.now();
					keep(c); // a crash loses a second at most
				}
			}
			if (finish) written.finish = finish;
			if (usage) written.tokens = usage.completion_tokens;
		}
		return null;
	} catch (err) {
		written.finish = err.name === "AbortError" ? "stopped" : "error";
		if (err.name === "AbortError") return null;
		if (err.retryAfter) err.message += ` Try again in ${err.retryAfter} s.`;
		return err;
	} finally {
		written.seconds = since();
	}
}

function busy(on) {
	const had = [$("send"), $("stop")].includes(document.activeElement);
	$("send").hidden = on;
	$("stop").hidden = !on;
	if (had) $("prompt").focus(); // the button that had the focus is gone
}

function send() {
	const content = $("prompt").value;
	if (running || content.trim() === "") return;
	if (!modelName()) {
		loadModels();
		return;
	}
	conversation.model = modelName();
	conversation.messages.push({ role: "user", content });
	$("prompt").value = "";
	grow();
	keep();
	drawList();
	answer();
}

// What is at hand for each message

const actions = {
	async copy(m, button) {
		await copy(store.contentOf(m), button);
	},
	edit(m, button, at) {
		const item = button.closest(".message");
		item.querySelector(".tools").hidden = true;
		item.querySelector(".text").replaceWith(editNode(m.content, at));
		item.querySelector("textarea").focus();
	},
	cancel(m, button, at) {
		draw();
		$("messages").querySelector(`[data-do=edit][data-at="${at}"]`)?.focus();
	},
	save(m, button, at) {
		const content = button.closest(".edit").querySelector("textarea").value;
		if (running || content.trim() === "") return;
		const before = conversation.messages;
		conversation.messages = [...conversation.messages.slice(0, at), { role: "user", content }];
		answer();
		if (before.length > at + 2) notice("What came after the message is gone.", "Undo", () => {
			running?.abort();
			conversation.messages = before;
			wrong = "";
			keep();
			draw();
		});
	},
	retry: () => running || answer(),
	previous: m => choose(m, -1),
	next: m => choose(m, 1),
};

function choose(m, by) {
	m.chosen = (m.chosen + by + m.answers.length) % m.answers.length;
	keep();
	draw();
}

async function copy(text, button) {
	const label = button.textContent;
	let done = true;
	try {
		await navigator.clipboard.writeText(text);
	} catch { // no clipboard outside of HTTPS and this machine
		const field = el("textarea", { class: "unseen" });
		field.value = text;
		document.body.append(field);
		field.select();
		done = document.execCommand("copy");
		field.remove();
		button.focus();
	}
	button.textContent = done ? "Copied" : "Not copied";
	say(button.textContent);
	setTimeout(() => button.textContent = label, 1500);
}

// Files

function download(conversations, name) {
	const address = URL.createObjectURL(new Blob([store.exported(conversations)], { type: "application/json" }));
	el("a", { href: address, download: `${name.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "conversation"}.json` }).click();
	setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function read(file) {
	try {
		if (file.size > 50e6) throw new Error("The file is larger than 50 MB.");
		const found = store.imported(await file.text());
		for (const c of found) store.save(c);
		show(found[0]);
		notice(found.length === 1 ? "One conversation was read." : `${found.length} conversations were read.`);
	} catch (err) {
		notice(`${file.name}: ${err.message}`);
	}
}

// Panels, scrolling, growing

const narrow = matchMedia("(max-width: 62rem)");

function panel(name, open) {
	if (open && narrow.matches) for (const other of ["side", "settings"]) if (other !== name) panel(other, false);
	const inside = $(name).contains(document.activeElement);
	$(name).hidden = !open;
	$(`${name}-toggle`).setAttribute("aria-expanded", String(open));
	if (inside && !open) $(`${name}-toggle`).focus();
	if (!narrow.matches) try { localStorage.setItem(`litgpt.${name}`, open ? "open" : ""); } catch { /* not remembered */ }
}

let atLatest = true; // the reader is at the end, and stays there while the answer grows

function toLatest() {
	atLatest = true;
	$("scroll").scrollTop = $("scroll").scrollHeight;
	$("latest").hidden = true;
}

function grow() {
	const p = $("prompt");
	if (CSS.supports("field-sizing", "content")) return;
	p.style.height = "auto";
	p.style.height = `${p.scrollHeight + 2}px`;
}

function listen() {
	const on = (id, event, f) => $(id).addEventListener(event, f);
	on("composer", "submit", e => (e.preventDefault(), send()));
	on("settings-form", "submit", e => e.preventDefault());
	on("stop", "click", () => running?.abort());
	on("prompt", "input", grow);
	on("prompt", "keydown", e => {
		if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
		e.preventDefault();
		send();
	});
	on("messages", "click", e => {
		const b = e.target.closest("button");
		if (b?.dataset.copy) copy(b.closest("figure").querySelector("code").textContent, b);
		if (b?.dataset.do) actions[b.dataset.do](conversation.messages[b.dataset.at], b, Number(b.dataset.at));
	});
	on("messages", "keydown", e => {
		const edit = e.target.closest(".edit");
		if (!edit || e.isComposing) return;
		if (e.key === "Escape") e.stopPropagation();
		if (e.key === "Escape") edit.querySelector("[data-do=cancel]").click();
		if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) edit.querySelector("[data-do=save]").click();
	});
	document.addEventListener("keydown", e => {
		if (e.key !== "Escape" || e.isComposing) return;
		if (running) running.abort();
		else if (narrow.matches) for (const name of ["side", "settings"]) panel(name, false);
	});
	on("scroll", "scroll", () => {
		const s = $("scroll");
		atLatest = s.scrollHeight - s.scrollTop - s.clientHeight < 40;
		$("latest").hidden = atLatest;
	});
	on("latest", "click", () => (toLatest(), $("prompt").focus()));
	for (const name of ["side", "settings"]) on(`${name}-toggle`, "click", () => panel(name, $(name).hidden));
	on("model", "change", () => (conversation.model = $("model").value, chooseModel(), keep()));
	on("adapter", "change", () => (conversation.model = modelName(), keep()));
	listenSide(on);
	listenSettings(on);
}

function listenSide(on) {
	on("new", "click", () => {
		show(store.create(conversation));
		if (narrow.matches) panel("side", false);
		$("prompt").focus();
	});
	on("conversations", "click", e => {
		const { open, remove } = e.target.closest("button")?.dataset ?? {};
		const c = store.load(open ?? remove);
		if (!c) return;
		if (open) {
			show(c);
			if (narrow.matches) panel("side", false);
			$("prompt").focus();
			return;
		}
		store.remove(c.id);
		if (c.id === conversation.id) show(store.create(conversation));
		drawList();
		$("new").focus();
		notice("The conversation is removed.", "Undo", () => (store.save(c), show(c)));
	});
	on("export", "click", () => conversation.messages.length > 0 ? download([conversation], conversation.title) : notice("There is nothing to export yet."));
	on("export-all", "click", () => download(store.list().map(c => store.load(c.id)), "litgpt-conversations"));
	on("import", "click", () => $("import-file").click());
	on("import-file", "change", () => {
		const [file] = $("import-file").files;
		if (file) read(file);
		$("import-file").value = "";
	});
}

function listenSettings(on) {
	on("system", "input", () => (conversation.settings.system = $("system").value, keep()));
	for (const n of store.numbers) on(n, "input", () => {
		if ($(n).value !== "" && $(n).checkValidity()) conversation.settings[n] = $(n).valueAsNumber;
		else delete conversation.settings[n];
		keep();
	});
	on("key", "change", () => {
		try { sessionStorage.setItem("litgpt.key", $("key").value); } catch { /* until the reload */ }
		loadModels();
	});
	on("theme", "change", () => {
		document.documentElement.dataset.theme = $("theme").value;
		try { localStorage.setItem("litgpt.theme", $("theme").value); } catch { /* until the reload */ }
	});
	addEventListener("storage", e => store.holds(e.key) && drawList()); // another tab's
	addEventListener("pagehide", () => keep());
}

function start() {
	listen();
	let id = "";
	try {
		id = sessionStorage.getItem("litgpt.current") ?? localStorage.getItem("litgpt.current");
		$("key").value = sessionStorage.getItem("litgpt.key") ?? "";
		$("theme").value = localStorage.getItem("litgpt.theme") ?? "";
		for (const name of ["side", "settings"]) if (!narrow.matches && localStorage.getItem(`litgpt.${name}`)) panel(name, true);
	} catch { /* storage is refused: nothing is remembered */ }
	show(store.load(id) ?? store.create());
	grow();
	loadModels();
}

start();
