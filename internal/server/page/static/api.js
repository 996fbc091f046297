// The server's OpenAI-compatible API, which lies beside this page: below the same path if a proxy put it below one.

const url = path => new URL(path, document.baseURI);

// sentence gives what the server says, which begins and ends as errors of programs do, the look of one.
const sentence = s => s.trim().replace(/^[a-z]+(?=[ ,])/, w => w[0].toUpperCase() + w.slice(1)).replace(/[^.!?]$/, "$&.");

// APIError is a refusal or a failure; status is 0 where there was no answer at all.
export class APIError extends Error {
	constructor(message, status = 0, retryAfter = 0) {
		super(sentence(message));
		this.status = status;
		this.retryAfter = retryAfter; // seconds; 0: not told
	}
}

async function call(path, key, options) {
	const headers = { ...options.headers };
	if (key) headers.Authorization = `Bearer ${key}`;
	let response;
	try {
		response = await fetch(url(path), { ...options, headers, cache: "no-store", credentials: "same-origin" });
	} catch (err) {
		if (err.name === "AbortError") throw err;
		throw new APIError("The server does not answer. Is it running?");
	}
	if (response.ok) return response;
	let message = `${response.status} ${response.statusText}`.trim();
	try {
		message = (await response.json()).error?.message ?? message;
	} catch { /* not JSON: a proxy's page */ }
	throw new APIError(message, response.status, Number(response.headers.get("Retry-After")) || 0);
}

// models returns [{id, parent}]: parent is the model that an adapter belongs to.
export async function models(key) {
	const { data } = await (await call("v1/models", key, {})).json();
	return (Array.isArray(data) ? data : []).filter(m => typeof m?.id === "string").map(m => ({ id: m.id, parent: typeof m.parent === "string" ? m.parent : "" }));
}

// chat yields {text, finish, usage} as the answer is written; each is absent where there is nothing new.
export async function* chat(body, key, signal) {
	const response = await call("v1/chat/completions", key, {
		method: "POST", signal, headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
		body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
	});
	let finished = false;
	for await (const data of events(response.body)) {
		if (data === "[DONE]") return;
		const chunk = JSON.parse(data);
		if (chunk.error) throw new APIError(chunk.error.message ?? "The answer failed.", response.status);
		const choice = chunk.choices?.[0];
		finished ||= Boolean(choice?.finish_reason);
		yield { text: choice?.delta?.content ?? undefined, finish: choice?.finish_reason ?? undefined, usage: chunk.usage ?? undefined };
	}
	if (!finished) throw new APIError("The connection ended before the answer did.");
}

// events yields the data of server-sent events.
async function* events(stream) {
	const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "", data = [];
	try {
		for (;;) {
			let part;
			try {
				part = await reader.read();
			} catch (err) {
				if (err.name === "AbortError") throw err;
				throw new APIError("The connection was lost in the middle of the answer.");
			}
			if (part.done) return;
			const lines = (rest + part.value).split("\n");
			rest = lines.pop();
			for (const l of lines.map(l => l.replace(/\r$/, ""))) {
				if (l === "" && data.length > 0) {
					yield data.join("\n");
					data = [];
				} else if (l.startsWith("data:")) {
					data.push(l.slice(5).replace(/^ /, ""));
				}
			}
		}
	} finally {
		reader.cancel().catch(() => {}); // the server stops when its client goes
	}
}
