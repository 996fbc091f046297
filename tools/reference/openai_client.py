"""Calls a running `litgpt serve` as users of OpenAI's Python client do, and checks what the client makes of the answers.

    litgpt serve demo/model --port 8000 &
    python openai_client.py http://127.0.0.1:8000/v1 [KEY]

Prints a line per check, then "N passed, N failed"; exits 1 if one failed. Any model will do: nothing depends on
what it says. With a KEY, wrong keys are tried too.
"""

import asyncio
import json
import sys
import time
import traceback

import openai
from pydantic import BaseModel

checks = []


def check(f):
    checks.append(f)
    return f


def ask(text="Good morrow, my lord."):
    return [{"role": "user", "content": text}]


SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["merry", "sad"]}, "brave": {"type": "boolean"}, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["mood", "brave", "age"],
    "additionalProperties": False,
}
WEATHER = {  # short: the smallest models have room for 512 tokens
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"enum": ["Rome", "Bath"]}}, "required": ["city"], "additionalProperties": False}},
}


def fails(kind, f, status=None, code=None, param=None):
    """f must raise kind; returns the error."""
    try:
        f()
    except kind as err:
        assert status is None or err.status_code == status, f"status {err.status_code}, want {status}"
        assert code is None or err.code == code, f"code {err.code}, want {code}"
        assert param is None or err.param == param, f"param {err.param}, want {param}"
        return err
    raise AssertionError(f"no {kind.__name__}")


@check
def models(c, model):
    listed = list(c.models.list())
    assert model in [m.id for m in listed] and all(m.object == "model" and m.created > 0 and m.owned_by for m in listed), listed
    assert c.models.retrieve(model).id == model
    fails(openai.NotFoundError, lambda: c.models.retrieve("no-such-model"), 404, "model_not_found")


@check
def chat(c, model):
    r = c.chat.completions.create(model=model, messages=[{"role": "system", "content": "Be brief."}] + ask(), max_tokens=12, temperature=0)
    assert r.id.startswith("chatcmpl-") and r.object == "chat.completion" and r.model == model and r.created > 0, r
    [choice] = r.choices
    assert choice.index == 0 and choice.finish_reason in ("length", "stop") and choice.message.role == "assistant" and isinstance(choice.message.content, str), choice
    u = r.usage
    assert u.prompt_tokens > 0 and 0 < u.completion_tokens <= 12 and u.total_tokens == u.prompt_tokens + u.completion_tokens, u
    parts = c.chat.completions.create(model=model, messages=[{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, {"role": "user", "content": [{"type": "text", "text": "Good morrow, "}, {"type": "text", "text": "my lord."}]}], max_completion_tokens=12, temperature=0)
    assert parts.choices[0].message.content == choice.message.content, parts


@check
def chat_streams(c, model):
    whole = c.chat.completions.create(model=model, messages=ask(), max_tokens=24, temperature=0)
    chunks = list(c.chat.completions.create(model=model, messages=ask(), max_tokens=24, temperature=0, stream=True, stream_options={"include_usage": True}))
    *body, usage = chunks
    assert len({x.id for x in chunks}) == 1 and {x.object for x in chunks} == {"chat.completion.chunk"} and {x.model for x in chunks} == {model}
    assert body[0].choices[0].delta.role == "assistant" and all(x.choices[0].delta.role is None for x in body[1:]), body[:2]
    assert "".join(x.choices[0].delta.content or "" for x in body) == whole.choices[0].message.content
    assert [x.choices[0].finish_reason for x in body if x.choices[0].finish_reason] == [whole.choices[0].finish_reason] and body[-1].choices[0].finish_reason
    assert usage.choices == [] and (usage.usage.prompt_tokens, usage.usage.total_tokens) == (whole.usage.prompt_tokens, whole.usage.total_tokens), (usage.usage, whole.usage)
    assert 1 <= usage.usage.prompt_tokens - usage.usage.prompt_tokens_details.cached_tokens <= 4, usage.usage  # the rest was read for the whole
    assert all(x.usage is None for x in body)
    plain = list(c.chat.completions.create(model=model, messages=ask(), max_tokens=4, stream=True))
    assert all(x.choices and x.usage is None for x in plain), plain


@check
def chat_stream_helper(c, model):
    # The client takes an answer cut at max_tokens for an error, so this one stops by itself.
    with c.chat.completions.stream(model=model, messages=ask(), max_tokens=200, temperature=0, stop=["e", "o", "a"]) as stream:
        text = "".join(e.delta for e in stream if e.type == "content.delta")
    assert text == stream.get_final_completion().choices[0].message.content


@check
def choices(c, model):
    r = c.chat.completions.create(model=model, messages=ask(), max_tokens=8, n=3, temperature=1, seed=5)
    assert [x.index for x in r.choices] == [0, 1, 2] and len({x.message.content for x in r.choices}) > 1, r.choices
    chunks = list(c.chat.completions.create(model=model, messages=ask(), max_tokens=8, n=3, temperature=1, seed=5, stream=True))
    texts = ["", "", ""]
    for x in chunks:
        for k in x.choices:
            texts[k.index] += k.delta.content or ""
    assert texts == [x.message.content for x in r.choices], texts


@check
def seeds(c, model):
    def say(seed):
        return c.chat.completions.create(model=model, messages=ask(), max_tokens=16, temperature=1, seed=seed).choices[0].message.content
    assert say(1) == say(1)
    assert len({say(seed) for seed in range(1, 5)}) > 1


@check
def stops(c, model):
    text = c.chat.completions.create(model=model, messages=ask(), max_tokens=40, temperature=0).choices[0].message.content
    end = text[len(text) // 2:][:3]
    for stream in (False, True):
        r = c.chat.completions.create(model=model, messages=ask(), max_tokens=40, temperature=0, stop=[end, "\0never"], stream=stream)
        if stream:
            r = list(r)
            got, reason = "".join(x.choices[0].delta.content or "" for x in r), r[-1].choices[0].finish_reason
        else:
            got, reason = r.choices[0].message.content, r.choices[0].finish_reason
        assert got == text[:text.index(end)] and reason == "stop", (got, text, end, reason)


@check
def logprobs(c, model):
    r = c.chat.completions.create(model=model, messages=ask(), max_tokens=6, temperature=0, logprobs=True, top_logprobs=3)
    content = r.choices[0].logprobs.content
    assert len(content) == r.usage.completion_tokens or r.choices[0].finish_reason == "stop", (content, r.usage)
    for t in content:
        assert t.logprob <= 0 and len(t.top_logprobs) == 3 and t.top_logprobs[0].logprob >= t.top_logprobs[1].logprob, t
        assert t.token == t.top_logprobs[0].token and abs(t.logprob - t.top_logprobs[0].logprob) < 1e-6, t
        assert t.bytes is not None, t
    assert b"".join(bytes(t.bytes) for t in content).decode() == r.choices[0].message.content
    streamed = [t for x in c.chat.completions.create(model=model, messages=ask(), max_tokens=6, temperature=0, logprobs=True, top_logprobs=3, stream=True) if x.choices and x.choices[0].logprobs for t in x.choices[0].logprobs.content]
    assert streamed == content, streamed


@check
def biases(c, model):
    r = c.chat.completions.create(model=model, messages=ask(), max_tokens=4, temperature=0, logit_bias={"70": 100})
    same = c.chat.completions.create(model=model, messages=ask(), max_tokens=4, temperature=1, seed=3, logit_bias={"70": 100})
    assert r.choices[0].message.content == same.choices[0].message.content, (r, same)
    for key in ("frequency_penalty", "presence_penalty"):
        c.chat.completions.create(model=model, messages=ask(), max_tokens=4, **{key: 1.5})


@check
def json_object(c, model):
    # A small model fills its tokens with white space or a long text; what comes is the beginning of an object all the same.
    r = c.chat.completions.create(model=model, messages=ask("Answer in JSON."), max_tokens=60, response_format={"type": "json_object"}, seed=1)
    text = r.choices[0].message.content
    assert text.lstrip().startswith("{"), text
    if r.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


@check
def json_schema(c, model):
    for stream in (False, True):
        r = c.chat.completions.create(model=model, messages=ask("Who are you?"), max_tokens=120, temperature=1, seed=2, stream=stream, response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}})
        text = "".join(x.choices[0].delta.content or "" for x in r) if stream else r.choices[0].message.content
        v = json.loads(text)
        assert set(v) == {"mood", "brave", "age"} and v["mood"] in ("merry", "sad") and isinstance(v["brave"], bool) and 1 <= v["age"] <= 99, v
    fails(openai.BadRequestError, lambda: c.chat.completions.create(model=model, messages=ask(), response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}}), 400)


class Person(BaseModel):
    brave: bool
    mood: bool


@check
def parse(c, model):
    r = c.chat.completions.parse(model=model, messages=ask(), max_tokens=120, response_format=Person)
    assert isinstance(r.choices[0].message.parsed, Person), r


@check
def tools(c, model):
    r = c.chat.completions.create(model=model, messages=ask("Rome?"), max_tokens=200, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, seed=1)
    choice = r.choices[0]
    assert choice.finish_reason == "tool_calls", choice
    [call] = choice.message.tool_calls
    assert call.type == "function" and call.id and call.function.name == "weather", call
    args = json.loads(call.function.arguments)
    assert args["city"] in ("Rome", "Bath"), args
    named = c.chat.completions.create(model=model, messages=ask(), max_tokens=200, tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "weather"}}, seed=2)
    assert named.choices[0].message.tool_calls[0].function.name == "weather", named
    back = c.chat.completions.create(model=model, max_tokens=8, tools=[WEATHER], messages=ask("Rome?") + [choice.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}])
    assert back.choices[0].finish_reason in ("stop", "length", "tool_calls"), back
    none = c.chat.completions.create(model=model, messages=ask(), max_tokens=8, tools=[WEATHER], tool_choice="none")
    assert not none.choices[0].message.tool_calls, none


@check
def tools_stream(c, model):
    with c.chat.completions.stream(model=model, messages=ask("Rome?"), max_tokens=200, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, seed=1) as stream:
        for _ in stream:
            pass
    choice = stream.get_final_completion().choices[0]
    [call] = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and call.id and call.function.name == "weather" and json.loads(call.function.arguments)["city"] in ("Rome", "Bath"), choice


@check
def completions(c, model):
    r = c.completions.create(model=model, prompt="To be, or not", max_tokens=8, temperature=0)
    assert r.object == "text_completion" and r.id.startswith("cmpl-") and r.choices[0].finish_reason in ("length", "stop") and r.usage.completion_tokens > 0, r
    echo = c.completions.create(model=model, prompt="To be, or not", max_tokens=8, temperature=0, echo=True)
    assert echo.choices[0].text == "To be, or not" + r.choices[0].text, echo
    many = c.completions.create(model=model, prompt=["To be, or not", "Good"], max_tokens=8, temperature=0)
    assert [x.index for x in many.choices] == [0, 1] and many.choices[0].text == r.choices[0].text, many
    ids = c.completions.create(model=model, prompt=[40, 41, 42], max_tokens=4)
    assert ids.usage.prompt_tokens == 3, ids.usage
    chunks = list(c.completions.create(model=model, prompt="To be, or not", max_tokens=8, temperature=0, stream=True))
    assert "".join(x.choices[0].text for x in chunks if x.choices) == r.choices[0].text
    lp = c.completions.create(model=model, prompt="To be, or not", max_tokens=4, temperature=0, logprobs=2).choices[0].logprobs
    assert len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == len(lp.text_offset) and all(x <= 0 for x in lp.token_logprobs), lp


@check
def embeddings(c, model):
    r = c.embeddings.create(model=model, input=["To be, or not to be", "Good morrow"])  # the client asks for base64
    assert [x.index for x in r.data] == [0, 1] and r.usage.prompt_tokens > 0
    for x in r.data:
        assert abs(sum(v * v for v in x.embedding) - 1) < 1e-3
    floats = c.embeddings.create(model=model, input="Good morrow", encoding_format="float").data[0].embedding
    assert len(floats) == len(r.data[1].embedding) and max(abs(a - b) for a, b in zip(floats, r.data[1].embedding)) < 1e-4


@check
def responses(c, model):
    r = c.responses.create(model=model, input="Good morrow, my lord.", instructions="Be brief.", max_output_tokens=16, temperature=0)
    assert r.id.startswith("resp_") and r.object == "response" and r.status in ("completed", "incomplete") and r.model == model, r
    assert isinstance(r.output_text, str) and r.output[0].role == "assistant" and r.usage.total_tokens == r.usage.input_tokens + r.usage.output_tokens, r
    again = c.responses.create(model=model, input=[{"role": "user", "content": [{"type": "input_text", "text": "Good morrow, my lord."}]}], instructions="Be brief.", max_output_tokens=16, temperature=0)
    assert again.output_text == r.output_text and 1 <= again.usage.input_tokens - again.usage.input_tokens_details.cached_tokens <= 4, again
    events = list(c.responses.create(model=model, input="Good morrow, my lord.", instructions="Be brief.", max_output_tokens=16, temperature=0, stream=True))
    assert events[0].type == "response.created" and events[-1].type in ("response.completed", "response.incomplete"), [e.type for e in events]
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == r.output_text
    assert [e.sequence_number for e in events] == list(range(len(events)))
    with c.responses.stream(model=model, input="Good morrow, my lord.", max_output_tokens=16) as stream:
        last = list(stream)[-1]  # get_final_response knows no answers that are cut at max_output_tokens
        assert last.type in ("response.completed", "response.incomplete") and last.response.output_text, last
    structured = c.responses.parse(model=model, input="Who are you?", text_format=Person, max_output_tokens=120)
    assert isinstance(structured.output_parsed, Person), structured


@check
def errors(c, model):
    create = c.chat.completions.create
    bad = openai.BadRequestError
    fails(openai.NotFoundError, lambda: create(model="no-such-model", messages=ask()), 404, "model_not_found")
    fails(bad, lambda: create(model=model, messages=[]), 400)
    fails(bad, lambda: create(model=model, messages=[{"role": "jester", "content": "x"}]), 400)
    fails(bad, lambda: create(model=model, messages=[{"role": "user", "content": 123}]), 400)
    fails(bad, lambda: create(model=model, messages=ask(), temperature=-1), 400, param="temperature")
    fails(bad, lambda: create(model=model, messages=ask(), top_p=7), 400, param="top_p")
    fails(bad, lambda: create(model=model, messages=ask(), max_tokens=-5), 400, param="max_tokens")
    fails(bad, lambda: create(model=model, messages=ask(), n=100000), 400, param="n")
    fails(bad, lambda: create(model=model, messages=ask(), extra_body={"temperature": "hot"}), 400)
    for stream in (False, True):
        err = fails(bad, lambda: create(model=model, messages=ask("word " * 300_000), stream=stream), 400, "context_length_exceeded")
        assert "token" in err.message, err.message
    fails(bad, lambda: c.embeddings.create(model=model, input=[]), 400)


@check
def keys(c, model):
    if not c.api_key.startswith("none"):
        for key in ("wrong", c.api_key + "x", c.api_key[:-1]):
            fails(openai.AuthenticationError, lambda: c.with_options(api_key=key).models.list(), 401, "invalid_api_key")


@check
def cancellation(c, model):
    for _ in range(20):
        stream = c.chat.completions.create(model=model, messages=ask(), max_tokens=400, stream=True)
        for i, _ in enumerate(stream):
            if i == 2:
                break
        stream.close()
    try:
        c.with_options(timeout=0.01, max_retries=0).chat.completions.create(model=model, messages=ask(), max_tokens=400)
    except openai.APITimeoutError:
        pass
    begin = time.time()
    c.chat.completions.create(model=model, messages=ask(), max_tokens=2)
    assert time.time() - begin < 30, "what was cancelled still runs"


@check
def many_at_once(c, model):
    """Each of many clients gets its own answer: the one it gets alone."""
    async def run():
        async with openai.AsyncOpenAI(base_url=c.base_url, api_key=c.api_key) as a:
            async def one(i):
                r = await a.chat.completions.create(model=model, messages=ask(f"Who is number {i}?"), max_tokens=12, temperature=0, logprobs=True)
                return r.choices[0].message.content, r.usage.prompt_tokens
            return await asyncio.gather(*(one(i) for i in range(16)))
    together = asyncio.run(run())
    alone = [c.chat.completions.create(model=model, messages=ask(f"Who is number {i}?"), max_tokens=12, temperature=0) for i in range(16)]
    assert [t[1] for t in together] == [r.usage.prompt_tokens for r in alone]
    same = sum(t[0] == r.choices[0].message.content for t, r in zip(together, alone))
    assert same >= 14, f"{same} of 16 answers are those given alone"  # without --deterministic near-ties may fall the other way


@check
def raw(c, model):
    r = c.chat.completions.with_raw_response.create(model=model, messages=ask(), max_tokens=2)
    assert r.headers.get("x-request-id") and r.headers["content-type"].startswith("application/json"), r.headers
    assert r.parse().choices


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2] if len(sys.argv) > 2 else "none", timeout=300)
    model = client.models.list().data[0].id
    only = sys.argv[3:]
    failed = ran = 0
    for f in checks:
        if only and f.__name__ not in only:
            continue
        ran += 1
        begin = time.time()
        try:
            f(client, model)
            print(f"ok   {f.__name__} ({time.time() - begin:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {f.__name__}", traceback.format_exc(), flush=True)
    print(f"{ran - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
