"""Makes reference renderings of chat templates with transformers' own Jinja2 settings.

    chat.py cases  OUT.json.gz DIR...     every template found below DIR × conversations
    chat.py random OUT.json.gz N [SEED]   N small random templates, for a differential test
    chat.py contexts OUT.json.gz N SEED DIR...  every template found × N random conversations
    chat.py fixed  OUT.json.gz            a fixed list of small templates, one per feature

A case is {"source" or "template", "case", "ctx", "now", "ok", "text" or "error",
"spans"}: spans are the character ranges of generation blocks where there are any.
Needs the packages of requirements.txt; the clock stands still at 2024-07-26 10:30.
"""

import datetime
import gzip
import json
import os
import random
import re
import signal
import sys

from transformers.utils import chat_template_utils as hf

NOW = "2024-07-26T10:30:00"


class Clock(datetime.datetime):
    at = NOW

    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(cls.at)


hf.datetime = Clock


class TooLong(Exception):
    pass


def alarm(*_):
    raise TooLong()


signal.signal(signal.SIGALRM, alarm)


def render(source, ctx, now=NOW):
    """One case: what transformers makes of a template and its variables."""
    case = {"ctx": ctx, "now": now}
    Clock.at = now
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        compiled = hf._compile_jinja_template(source)
        given = {"messages": [], "tools": None, "documents": None, "add_generation_prompt": False, **json.loads(json.dumps(ctx))}
        if given.pop("continue_final_message", False):
            given.pop("add_generation_prompt")
            texts, _ = hf.render_jinja_template(
                [given.pop("messages")], tools=given.pop("tools"), documents=given.pop("documents"),
                chat_template=source, continue_final_message=ctx["continue_final_message"], **given)
            text, spans = texts[0], []
        else:
            text, spans = hf._render_with_assistant_indices(compiled, **given)
        text.encode()
        case.update(ok=True, text=text)
        if spans:
            case["spans"] = spans
    except TooLong:
        return None
    except Exception as e:  # any error of a template is a result
        case.update(ok=False, error=f"{type(e).__name__}: {e}"[:200])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return case


# --- conversations -----------------------------------------------------------

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather <now> & \"here\"",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Städte, 東京"}, "unit": {"type": "string", "enum": ["c", "f"], "default": None},
        "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 18446744073709551615}, "coords": {"type": "array", "items": {"type": "number"}}},
        "required": ["city"]}, "return": {"type": "string"}}}
CALL_DICT = {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Wien", "days": 2, "exact": True, "x": None, "f": 1.50}}}
CALL_TEXT = {"id": "abcdef124", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Wien\"}"}}


def u(c, **k):
    return {"role": "user", "content": c, **k}


def a(c, **k):
    return {"role": "assistant", "content": c, **k}


CONVERSATIONS = {
    "one": {"messages": [u("Hi there")]},
    "prompt": {"messages": [u(" Hi\nthere \n")], "add_generation_prompt": True},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, u("Hi"), a("Hello!"), u("Bye")], "add_generation_prompt": True},
    "developer": {"messages": [{"role": "developer", "content": "Rules"}, u("Hi")], "add_generation_prompt": True},
    "unicode": {"messages": [u("naïve ß Ω 東京 😀 \u200d\u00a0x"), a("<b>&amp;'\"</b>\u2028")]},
    "empty": {"messages": [u(""), a("")]},
    "none content": {"messages": [u("x"), a(None)]},
    "no content": {"messages": [u("x"), {"role": "assistant"}]},
    "no messages": {"messages": []},
    "two users": {"messages": [u("a"), u("b")]},
    "starts with assistant": {"messages": [a("a"), u("b")]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}, {"type": "video"}, {"type": "audio"}]}], "add_generation_prompt": True},
    "text parts": {"messages": [{"role": "system", "content": [{"type": "text", "text": "S"}]}, {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}, {"role": "assistant", "content": [{"type": "text", "text": "C"}]}]},
    "reasoning": {"messages": [u("2+2?"), a("4", reasoning_content="two and two"), u("3+3?"), a("<think>\nthree\n</think>\n\n6"), u("?")], "add_generation_prompt": True},
    "thinking key": {"messages": [u("2+2?"), a("4", thinking="two")]},
    "no thinking": {"messages": [u("2+2?")], "add_generation_prompt": True, "enable_thinking": False},
    "thinking on": {"messages": [u("2+2?")], "add_generation_prompt": True, "enable_thinking": True},
    "tools": {"messages": [u("Weather?")], "tools": [WEATHER], "add_generation_prompt": True},
    "two tools": {"messages": [{"role": "system", "content": "S"}, u("Weather?")], "tools": [WEATHER, {"name": "flat", "parameters": {}}], "add_generation_prompt": True},
    "no tools": {"messages": [u("Weather?")], "tools": [], "add_generation_prompt": True},
    "call dict": {"messages": [u("Weather?"), {"role": "assistant", "content": "", "tool_calls": [CALL_DICT]}, {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "22 °C"}], "tools": [WEATHER], "add_generation_prompt": True},
    "call text": {"messages": [u("Weather?"), {"role": "assistant", "content": None, "tool_calls": [CALL_TEXT]}, {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef124", "content": "{\"t\": 22}"}, a("22.")], "tools": [WEATHER]},
    "two calls": {"messages": [u("Weather?"), {"role": "assistant", "tool_calls": [CALL_DICT, CALL_TEXT]}, {"role": "tool", "content": "1", "tool_call_id": "abcdef123"}, {"role": "tool", "content": {"t": [1, 2]}, "tool_call_id": "abcdef124"}, a("ok"), u("thanks")], "add_generation_prompt": True},
    "call flat": {"messages": [u("W?"), {"role": "assistant", "content": "x", "tool_calls": [CALL_DICT["function"]]}, {"role": "ipython", "content": "r"}]},
    "documents": {"messages": [u("Read")], "documents": [{"title": "T1", "text": "one\ntwo"}, {"title": "T2", "text": "drei"}], "add_generation_prompt": True},
    "documents without title": {"messages": [u("Read")], "documents": [{"doc_id": 1, "content": "x"}], "add_generation_prompt": True},
    "continue": {"messages": [u("Tell"), a("Once upon")], "continue_final_message": True},
    "continue spaces": {"messages": [u("Tell"), a("Once upon \n ")], "continue_final_message": True},
    "continue parts": {"messages": [u("Tell"), {"role": "assistant", "content": [{"type": "text", "text": "Once"}, {"type": "image"}]}], "continue_final_message": True},
    "continue user": {"messages": [u("Tell me")], "continue_final_message": True},
    "continue nothing": {"messages": [u("Tell"), {"role": "assistant", "content": None}], "continue_final_message": True},
    "continue reasoning": {"messages": [u("Tell"), a("", reasoning_content="I think")], "continue_final_message": "reasoning_content"},
    "number content": {"messages": [u(12), a(1.5)]},
    "date": {"messages": [u("x")], "date_string": "01 Jan 2025", "add_generation_prompt": True},
}


def templates_below(folder):
    """(name, source) of each template in .jinja files and tokenizer_config.json (.gz)."""
    for path, _, files in sorted(os.walk(folder)):
        for name in sorted(files):
            full = os.path.join(path, name)
            label = os.path.relpath(full, folder)
            if name.endswith(".jinja"):
                yield label, open(full).read()
            elif name.startswith("tokenizer_config.json") or name.startswith("chat_template.json"):
                config = json.load(gzip.open(full) if name.endswith(".gz") else open(full))
                found = config.get("chat_template")
                if isinstance(found, str):
                    yield label, found
                for t in found if isinstance(found, list) else []:
                    yield f"{label}:{t['name']}", t["template"]


SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def cases(folders):
    seen = set()
    for folder in folders:
        for label, source in templates_below(folder):
            if source in seen:
                continue
            seen.add(source)
            given = {"source": source}  # once for each template
            for name, ctx in CONVERSATIONS.items():
                case = render(source, {**SPECIALS, **ctx})
                if case:
                    yield {**given, "template": label, "case": name, **case}
                    given = {}


# --- random templates --------------------------------------------------------

DATA = {
    "x": 7, "n": -3, "f": 1.5, "g": -0.25, "h": 1e20, "z": 0, "s": "Hello World", "t": "  a-b_c  ", "uni": "naïve ß東😀ǆ", "e": "", "none": None, "yes": True, "no": False,
    "m": "<b>&'\"", "lines": "one\ntwo\r\n\n  three\n", "num": "42", "li": [3, 1, 2], "ls": ["b", "A", "c"], "mix": [1, "a", None, 2.5, [1, 2], {"k": "v"}], "em": [],
    "d": {"b": 1, "a": 2, "C": None}, "ed": {}, "users": [{"name": "ann", "age": 30, "tag": {"x": 1}}, {"name": "Bob", "age": 20}, {"name": "cid", "age": 30, "tag": {"x": 0}}],
    "nest": {"items": [1, {"get": "q"}], "keys": "mine", "_p": 5}, "pairs": [["a", 1], ["b", 2]], "url": "http://x.y/a b?c=d&e=ü",
}
NAMES = list(DATA) + ["nope", "x", "s", "li", "users", "d"]
STRINGS = ["a", "", "b", " ", "-", "ab", "Hello", "o", "\\n", "%s", "%d|%5.2f", "{}", "{0}{1}", "{a}", "x\\u00e9", "<i>", "1,2", "name", "age", "tag.x", "0", "A b c", "ß", "%-5s|%05d", "%(b)s", "{:>8}", "{:,}", "{!r}", "%x %o %e %g"]
FILTERS = {
    "abs": [], "attr": [["S"]], "batch": [["I"], ["I", "E"]], "capitalize": [], "center": [[], ["I"]], "count": [], "d": [["E"], ["E", "B"]], "default": [["E"], ["E", "boolean=B"]],
    "dictsort": [[], ["B"], ["B", "'value'"], ["reverse=true"], ["by='x'"]], "e": [], "escape": [], "filesizeformat": [[], ["true"]], "first": [], "float": [[], ["E"]], "forceescape": [],
    "format": [["E"], ["E", "E"], ["b=E"]], "groupby": [["'age'"], ["'name'"], ["'tag.x'", "default=0"], ["'name'", "case_sensitive=true"]], "indent": [[], ["I"], ["2", "true"], ["2", "true", "true"], ["'> '"], ["first=true"]],
    "int": [[], ["E"], ["0", "16"], ["default=9"]], "join": [[], ["S"], ["', '", "'name'"], ["attribute='age'"]], "last": [], "length": [], "list": [], "lower": [], "items": [], "map": [["attribute='name'"], ["attribute='tag.x'", "default='q'"], ["'upper'"], ["'default'", "'z'"], ["attribute=0"], ["'join'", "'-'"], ["'length'"], ["'int'"], ["'nope'"], []],
    "min": [[], ["attribute='age'"], ["true"]], "max": [[], ["attribute='name'"], ["case_sensitive=true"]], "pprint": [], "reject": [[], ["'odd'"], ["'none'"], ["'in'", "li"]], "rejectattr": [["'tag'"], ["'age'", "'gt'", "25"], ["'tag.x'", "'defined'"]], "replace": [["S", "S"], ["S", "S", "1"], ["S"]],
    "reverse": [], "round": [[], ["1"], ["0", "'floor'"], ["2", "'ceil'"], ["-1"], ["I"]], "safe": [], "select": [[], ["'string'"], ["'gt'", "1"], ["'in'", "li"], ["'nope'"], ["'divisibleby'", "2"]], "selectattr": [["'tag'"], ["'age'", "'==', 30"], ["'name'", "'in'", "['ann']"], ["'nope'"], []], "slice": [["2"], ["I"], ["2", "E"]],
    "sort": [[], ["true"], ["reverse=true", "attribute='age'"], ["attribute='age,name'"], ["case_sensitive=true"], ["attribute='tag.x'"]], "string": [], "striptags": [], "sum": [[], ["attribute='age'"], ["start=10"], ["start=[]"]], "title": [], "tojson": [[], ["indent=2"], ["ensure_ascii=true"], ["sort_keys=true"], ["separators=(',', ':')"], ["indent=0"], ["indent='--'"]],
    "trim": [[], ["S"], ["chars=S"]], "truncate": [["5"], ["5", "true"], ["6", "false", "'!'"], ["5", "true", "'..'", "0"], ["I"]], "unique": [[], ["true"], ["attribute='age'"]], "upper": [], "urlencode": [], "wordcount": [], "wordwrap": [["5"], ["4", "false"], ["8", "true", "'|'"], ["6", "break_on_hyphens=false"]], "xmlattr": [[], ["false"]], "nofilter": [],
}
TESTS = {"odd": [], "even": [], "divisibleby": [["I"]], "defined": [], "undefined": [], "none": [], "boolean": [], "false": [], "true": [], "integer": [], "float": [], "lower": [], "upper": [], "string": [], "mapping": [], "number": [], "sequence": [], "iterable": [], "callable": [], "escaped": [], "in": [["E"]], "eq": [["E"]], "ne": [["E"]], "gt": [["E"]], "ge": [["E"]], "lt": [["E"]], "le": [["E"]], "equalto": [["E"]], "filter": [], "test": [], "notest": []}
METHODS = {
    "upper": [[]], "lower": [[]], "strip": [[], ["S"]], "lstrip": [[], ["S"]], "rstrip": [[], ["S"]], "split": [[], ["S"], ["S", "1"], ["None", "1"], ["maxsplit=1"]], "rsplit": [[], ["S"], ["S", "1"], ["None", "1"]], "splitlines": [[], ["true"], ["keepends=true"]],
    "startswith": [["S"], ["('a', 'H')"], ["S", "1"], ["S", "I", "I"]], "endswith": [["S"], ["('d', 'o')"]], "replace": [["S", "S"], ["S", "S", "1"], ["S", "S", "-1"]], "find": [["S"], ["S", "I"], ["S", "I", "I"]], "rfind": [["S"]], "index": [["S"], ["E"]], "count": [["S"], ["E"], ["S", "I"]], "title": [[]], "capitalize": [[]], "swapcase": [[]], "casefold": [[]],
    "isdigit": [[]], "isalpha": [[]], "isalnum": [[]], "isspace": [[]], "isupper": [[]], "islower": [[]], "istitle": [[]], "isnumeric": [[]], "isdecimal": [[]], "isascii": [[]], "isidentifier": [[]], "isprintable": [[]], "join": [["ls"], ["E"]], "zfill": [["I"]], "center": [["9"], ["I", "'*'"]], "ljust": [["7"], ["I", "'.'"]], "rjust": [["7"]], "partition": [["S"]], "rpartition": [["S"]], "expandtabs": [[], ["4"]],
    "format": [["E"], ["E", "E"], ["a=E"], ["E", "b=E"]], "removeprefix": [["S"]], "removesuffix": [["S"]], "items": [[]], "keys": [[]], "values": [[]], "get": [["S"], ["S", "E"], ["E"]], "copy": [[]], "append": [["1"]], "pop": [[]], "update": [["d"]], "is_integer": [[]], "bit_length": [[]], "format_map": [["d"]],
}
# Expressions by the kind of their value; capital letters are expressions of that kind,
# those before "|" have none.
GRAMMAR = {
    "S": ["s", "t", "uni", "e", "m", "lines", "num", "url", "'ab'", "'a b c'", "'x-y'", "''", "users[0].name", "|", "S ~ A", "S + S", "(S) * 2", "S | upper", "S | lower", "S | trim", "S | title", "S | capitalize", "(S).strip()", "(S).replace('a', 'b')", "S | replace(S, S)", "(S)[1:3]", "(S)[::-1]", "(S)[0]", "(S)[-2:]", "A | string", "A | tojson", "A | tojson(indent=I)", "A | tojson(sort_keys=true)", "A | tojson(ensure_ascii=true)", "L | join", "L | join(S)", "L | join(', ')", "(S if B else S)", "'%s' % A", "'%5s|%d' % (S, I)", "'%r' % (A,)", "'{}'.format(A)", "'{:>6}{:,}'.format(S, I)", "'{0!r:8}|{x.name}'.format(S, x=users[1])", "'%5.2f' % F", "(S).title()", "(S).capitalize()", "(S).center(11, '*')", "(S).ljust(7) ~ '|'", "(S).zfill(6)", "(S).casefold()", "(S).swapcase()", "(S).partition('a')[0]", "(S).split(' ')[0]", "S | indent(2)", "S | indent(2, true, true)", "S | truncate(5)", "S | truncate(8, true, '', 0)", "S | wordwrap(5)", "S | e", "S | safe", "(S | safe) + S", "(S | e).replace('a', '<')", "S | center(9)", "S | urlencode", "S | striptags", "A | pprint", "F | filesizeformat", "S | format", "S | default('x')", "nope | default(S)", "L | first | string", "D | xmlattr", "(S).removeprefix('a')", "'-'.join(['a', S])", "strftime_now('%d %b')", "S | reverse", "L | string", "(S).rsplit(None, 1)[0]", "(S).expandtabs(4)", "(A) ~ (A)", "A | forceescape"],
    "I": ["x", "n", "z", "3", "0", "-2", "10", "|", "I + I", "I - I", "(I) * (I)", "(I) // 3", "(I) % 4", "(I) ** 2", "L | length", "S | length", "D | count", "(S).find('o')", "(S).count('a')", "S | wordcount", "F | int", "S | int(5)", "L | length - 1", "(I) | abs", "[1, I] | max", "[3, I, 2] | min", "[I, I] | sum", "(L).count(1)", "(I if B else I)", "I | round", "users | sum(attribute='age')", "li[I] | default(0)", "(yes) + I", "'0x1f' | int(0, 16)", "-(I)", "I | round(-1)", "range(I) | sum"],
    "F": ["f", "g", "h", "0.1", "2.5", "|", "(F) + (I)", "(I) / 4", "(F) * 2", "F | round(1)", "F | round", "S | float", "F | round(1, 'ceil')", "(F) // 1", "(F) % 1", "F | abs", "-(F)", "I | float", "(F) ** 2", "(I) / 3"],
    "L": ["li", "ls", "mix", "em", "users", "pairs", "[1, 2]", "['b', 'a']", "(1, 2)", "|", "[A, A]", "[S, S, S]", "[I, I]", "(L)[1:]", "(L)[::-1]", "(L)[:2]", "L | list", "L | reverse | list", "[I, I, I] | sort", "[S, S] | sort", "[S, S, S] | unique | list", "L | map('string') | list", "L | select | list", "L | reject('string') | list", "L | select('number') | list", "users | map(attribute='name') | list", "users | selectattr('tag') | list", "users | rejectattr('age', 'gt', I) | map(attribute='name') | list", "users | sort(attribute='age') | map(attribute='name') | list", "users | groupby('age') | list", "users | selectattr('name', 'in', L) | list", "(S).split()", "(S).split('o', 1)", "(S).splitlines()", "(S).rsplit(' ', 1)", "S | list", "D | dictsort", "D | items | list", "(D).keys() | list", "(D).items() | list", "(D).values() | list", "D | list", "L | batch(2) | list", "L | batch(2, 'x') | list", "L | slice(2) | list", "range(I) | list", "range(I)", "[L, L]", "[D, I]", "(L if B else L)", "(A, A)", "(A,)", "L | map('tojson') | list", "L | map('default', 'q') | list", "users | map(attribute='tag.x', default=I) | list", "[S, S] | sort(case_sensitive=true, reverse=true)", "[L] + [A]", "(S).partition('l')", "dict(a=1) | list"],
    "D": ["d", "ed", "users[0]", "nest", "{'a': 1}", "|", "{'a': A, S: I}", "dict(a=A)", "{I: S, 2: A}", "(users | first)", "(D).copy()", "dict(D)", "dict(D, b=A)", "{'k': D}", "dict(pairs)", "{(1, I): 2}", "{1: 'a', true: 'b', 1.0: S}"],
    "B": ["yes", "no", "true", "false", "|", "(A) == (A)", "(S) != (S)", "(I) < (I)", "(I) <= (F) < 9", "(S) in (S)", "(A) in (L)", "(S) not in (D)", "not (A)", "(B) and (B)", "(B) or (B)", "(A) is string", "(A) is mapping", "(A) is sequence", "(A) is iterable", "(A) is none", "(A) is defined", "(A) is number", "(I) is odd", "(I) is divisibleby(3)", "(S) is upper", "(S) is lower", "(A) is boolean", "(A) is integer", "(A) is float", "(S).startswith('H')", "(S).endswith(('d', 'x'))", "(S).isdigit()", "(S).isalpha()", "(S).istitle()", "(L) == (L)", "(L) < [2, I]", "(D) == (D)", "(I) is in (L)", "(A) is eq(A)", "(S) is filter", "(S) < (S)", "(I, S) < (I, S)", "(A) is sameas none", "(S) is escaped"],
    "A": ["none", "nope", "x", "s", "li", "d", "true", "1.5", "|", "S", "I", "F", "L", "D", "B", "(A or A)", "(A and A)", "(A if B else A)", "(A if B)", "(L)[I]", "(L)[0]", "(D).a", "(D)['b']", "(D).get(S)", "(D).get('a', A)", "L | first", "L | last", "users[I].name", "(L) | length", "users[0].tag.x", "d.nope", "nest['keys']", "(S, I)", "namespace(q=A).q", "[A] | first", "(A) | default(A, true)", "A | d(A)"],
}
SPECS = ["", ">8", "<6", "^7", "*^9", "05", "+", "+d", ",", "_", ".2f", "8.3f", "e", ".1e", "g", ".3g", "%", ".1%", "x", "#x", "b", "#o", "c", "d", "s", ".2", "010,", "n", "=+7", ">+7.1f", "E", "_x", "X", "5s", ".1s"]


class Random:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, items):
        return self.r.choice(list(items))

    def args(self, forms, depth):
        form = self.pick(forms) if forms else []
        out = []
        for part in form:
            part = re.sub(r"\bE\b", lambda _: self.expr(depth - 1), part)
            part = re.sub(r"\bI\b", lambda _: str(self.r.randint(-3, 12)), part)
            part = re.sub(r"\bB\b", lambda _: self.pick(["true", "false"]), part)
            part = re.sub(r"\bS\b", lambda _: "'" + self.pick(STRINGS) + "'", part)
            out.append(part)
        return ", ".join(out)

    def atom(self):
        r = self.r.random()
        if r < 0.5:
            return self.pick(NAMES)
        if r < 0.65:
            return str(self.r.randint(-4, 40))
        if r < 0.72:
            return self.pick(["1.5", "0.1", "2e3", "1_000", "0x1f", "0b11", "0o17", "3.0", "1e-7", "12345.678", "1e16", "2.5", "0.5"])
        if r < 0.9:
            return "'" + self.pick(STRINGS) + "'"
        return self.pick(["true", "false", "none", "True", "None", "[]", "{}", "()", "range(4)", "range(1, 9, 3)", "dict(a=1)", "namespace(a=1)", "loop", "(1,)", "range(5, 0, -2)"])

    def expr(self, depth):
        if depth <= 0:
            return self.atom()
        if self.r.random() < 0.75:
            return self.typed(self.pick("SSSILLDABF"), depth)
        e = lambda: self.expr(depth - 1)  # noqa: E731
        kind = self.r.randrange(22)
        if kind < 4:
            name = self.pick(FILTERS)
            args = self.args(FILTERS[name], depth)
            return f"{e()} | {name}" + (f"({args})" if args or self.r.random() < 0.1 else "")
        if kind < 5:
            name = self.pick(TESTS)
            args = self.args(TESTS[name], depth)
            return f"{e()} is {self.pick(['', '', 'not '])}{name}" + (f"({args})" if args else "")
        if kind < 8:
            name = self.pick(METHODS)
            base = e() if self.r.random() < 0.5 else self.pick(["s", "t", "uni", "lines", "d", "li", "ls", "m", "num", "users[0]", "'a{}b{:>5}'", "x", "f"])
            return f"({base}).{name}({self.args(METHODS[name], depth)})"
        if kind < 11:
            op = self.pick(["+", "-", "*", "/", "//", "%", "~", "+", "~"])
            return f"{e()} {op} {e()}"
        if kind == 11:
            return f"{self.r.randint(-3, 5)} ** {self.r.randint(-2, 6)}"
        if kind < 14:
            op = self.pick(["==", "!=", "<", ">", "<=", ">=", "in", "not in"])
            tail = f" {self.pick(['<', '==', 'in'])} {e()}" if self.r.random() < 0.2 else ""
            return f"{e()} {op} {e()}{tail}"
        if kind == 14:
            return f"{self.pick(['not ', '-', '+'])}{e()}"
        if kind == 15:
            return f"({e()} {self.pick(['and', 'or'])} {e()})"
        if kind == 16:
            return f"({e()} if {e()}" + (f" else {e()})" if self.r.random() < 0.8 else ")")
        if kind == 17:
            base = self.pick(["s", "uni", "li", "ls", "mix", "users", "range(7)", "(1, 2, 3)", "d", e()])
            cut = self.pick(["0", "-1", "1:", ":2", "::-1", "1:3", "::2", "-2:", "5", "'a'", "-3:-1", ":-1:2", "10:", "none", "4:1:-1", "x", "nope", "'name'", "1.0", "true"])
            return f"{base}[{cut}]"
        if kind == 18:
            return f"{e()}.{self.pick(['name', 'a', 'b', 'items', 'keys', '0', '1', 'tag', 'nope', 'get', '__class__', '_p', 'x', 'real', 'start', 'append', 'index'])}"
        if kind == 19:
            inner = ", ".join(e() for _ in range(self.r.randint(0, 3)))
            return self.pick(["[{}]", "({},)", "[[{}]]", "{{'k': [{}]}}"]).format(inner or "1")
        if kind == 20:
            return "'{:%s}'.format(%s)" % (self.pick(SPECS), e())
        return "'%s' %% %s" % (self.pick(["%s", "%d", "%5d|", "%-6s|", "%05.1f", "%x", "%r", "%e", "%+d", "%%", "%s %s", "%.2s", "%g", "% d", "%#x", "%c", "%i%%", "%6.2f", "%*d", "%o", "%a"]), self.pick([e(), f"({e()},)", f"({e()}, {e()})"]))

    def typed(self, kind, depth):
        """An expression that mostly has a value: one of GRAMMAR's for a kind."""
        choices = GRAMMAR[kind]
        form = self.pick(choices[:choices.index("|")] if depth <= 0 else choices[choices.index("|") + 1:])
        return re.sub(r"\b[SILDAFB]\b(?!')", lambda m: self.typed(m.group(), depth - 1), form)

    def text(self):
        return self.pick(["", "", "a", " b ", "\n", "\n  ", "  \n", "x\n\ny", "\t", "}", "% }"])

    def tag(self, inner):
        return "{%" + self.pick(["", "", "", "-", "+"]) + " " + inner + " " + self.pick(["", "", "", "-", "+"]) + "%}"

    def out(self, depth):
        return "{{" + self.pick(["", "", "-"]) + " " + self.expr(depth) + " " + self.pick(["", "", "-"]) + "}}"

    def body(self, depth, loop=False):
        return "".join(self.text() + self.statement(depth, loop) for _ in range(self.r.randint(1, 3))) + self.text()

    def statement(self, depth, loop):
        r = self.r.randrange(20)
        if depth <= 0 or r < 5:
            return self.out(2)
        b = lambda l=loop: self.body(depth - 1, l)  # noqa: E731
        e = lambda n=1: self.expr(n)  # noqa: E731
        t = self.tag
        if r < 7:
            middle = t(f"elif {e()}") + b() if self.r.random() < 0.3 else ""
            other = t("else") + b() if self.r.random() < 0.5 else ""
            return t(f"if {e(2)}") + b() + middle + other + t("endif")
        if r < 11:
            target, items = self.pick([("i", "li"), ("u", "users"), ("k, v", "d.items()"), ("i", e()), ("c", "s[:3]"), ("i", "range(3)"), ("k, v", "pairs"), ("k", "d"), ("(a, b)", "pairs"), ("k, v", "d | dictsort")])
            name = target.strip("()").split(",")[0]
            cond = f" if {self.pick([name, f'{name} != 1', 'loop.index', e()])}" if self.r.random() < 0.25 else ""
            use = self.pick([name, f"{name} ~ loop.index", "loop.first", "loop.last", "loop.revindex0", "loop.cycle('a', 'b')", f"loop.changed({name})", "loop.previtem", "loop.nextitem", "loop.length", "loop.depth", "loop"])
            other = t("else") + b() if self.r.random() < 0.3 else ""
            jump = t(f"if {self.pick(['loop.index > 1', 'loop.first', e()])}") + t(self.pick(["break", "continue"])) + t("endif") if self.r.random() < 0.3 else ""
            return t(f"for {target} in {items}{cond}") + "{{ " + use + " }}" + jump + b(True) + other + t("endfor")
        if r < 13:
            return t(f"set {self.pick(['q', 'x', 'q, w', 'ns.a', 's'])} = {e(2)}") + "{{ q }}{{ x }}"
        if r == 13:
            return t(f"set q{self.pick(['', ' | upper', ' | trim | length'])}") + b() + t("endset") + "{{ q }}"
        if r == 14:
            return t("macro mac(p, q=1" + self.pick(["", ", r=p"]) + ")") + "{{ p }}{{ q }}" + self.pick(["", "{{ varargs }}", "{{ kwargs }}", "{{ caller is defined }}", "{{ x }}"]) + b(False) + t("endmacro") + "{{ mac(" + self.pick(["1", "1, 2", "q=3", "1, 2, 3", "p=1, z=2", "*li", "**d", ""]) + ") }}"
        if r == 15:
            return t("macro cal(p)") + "<{{ caller(" + self.pick(["", "p", "1, 2"]) + ") }}>" + t("endmacro") + t(self.pick(["call cal(1)", "call(w) cal(2)", "call(w, v=4) cal(x)"])) + "{{ w }}{{ v }}" + b(False) + t("endcall")
        if r == 16:
            return t(f"filter {self.pick(['upper', 'trim', 'center(9)', 'indent(2)', 'title | lower', 'length'])}") + b() + t("endfilter")
        if r == 17:
            return t(f"with {self.pick(['q = 1', 'x = s, w = x', 'q = ' + e()])}") + "{{ x }}{{ w }}" + b() + t("endwith") + "{{ w }}"
        if r == 18:
            return self.pick([t("generation") + b(False) + t("endgeneration"), "{#" + self.pick(["", "-", "+"]) + " note " + self.pick(["", "-", "+"]) + "#}", t("raw") + "{{ x }} {% if %}\n" + t("endraw"), t("print x, s"), t("block blk") + "{{ x }}" + t("endblock"), t("set ns = namespace(a=1)") + t("for i in li") + t("set ns.a = ns.a + i") + t("endfor") + "{{ ns.a }}", t("for i in [[1, [2]], 3] recursive") + "{{ loop.depth0 }}{% if i is sequence %}{{ loop(i) }}{% else %}{{ i }}{% endif %}" + t("endfor")])
        return self.out(3)


def any_value(r, depth):
    kinds = [None, True, False, 0, 3, -1.5, "", "text", " é\n ", "<|im_end|>", "</think>x", "{}", "user"]
    if depth <= 0 or r.random() < 0.6:
        return r.choice(kinds)
    if r.random() < 0.5:
        return [any_value(r, depth - 1) for _ in range(r.randint(0, 3))]
    return {r.choice(["type", "text", "name", "content", "function", "parameters", "arguments", "id", "x"]): any_value(r, depth - 1) for _ in range(r.randint(0, 3))}


def any_text(r):
    return r.choice(["Hi", " Hi \n", "", "<think>\nx\n</think>\n\ny", "a</think>b", "<tool_response>x</tool_response>", "ß 東京 😀", "{\"a\": 1}", "Line\n\nline", "/no_think"])


def conversation(r):
    """Random variables of a template, mostly of the usual form."""
    messages = []
    for i in range(r.randint(0, 6)):
        role = r.choice(["system", "user", "assistant", "user", "assistant", "tool"]) if r.random() < 0.4 else ["user", "assistant"][i % 2]
        m = {"role": role, "content": any_text(r)}
        if r.random() < 0.15:
            m["content"] = r.choice([None, [{"type": "text", "text": any_text(r)}], [{"type": "image"}, {"type": "text", "text": any_text(r)}], any_value(r, 2)])
        if role == "assistant" and r.random() < 0.3:
            m["tool_calls"] = r.choice([[CALL_DICT], [CALL_TEXT], [CALL_DICT, CALL_TEXT], [CALL_DICT["function"]], None, any_value(r, 3)])
        if r.random() < 0.15:
            m[r.choice(["reasoning_content", "thinking", "name", "tool_call_id", "prefix", "tool_plan", "recipient", "train"])] = r.choice([any_text(r), any_value(r, 1)])
        if r.random() < 0.03:
            m.pop(r.choice(["role", "content"]))
        messages.append(m)
    ctx = {"messages": messages, "add_generation_prompt": r.random() < 0.5}
    if r.random() < 0.35:
        ctx["tools"] = r.choice([[WEATHER], [WEATHER, {"name": "flat", "parameters": {"properties": {"a": {"type": "string"}}}}], [], [{"type": "function", "function": any_value(r, 2)}]])
    if r.random() < 0.1:
        ctx["documents"] = [{"title": any_text(r), "text": any_text(r)}, {"doc_id": 1, "content": "c"}]
    for name in ["enable_thinking", "reasoning_effort", "date_string", "tools_in_user_message", "builtin_tools", "custom_tools", "xml_tools", "python_tools", "controls", "model_identity", "keep_past_thinking"]:
        if r.random() < 0.06:
            ctx[name] = r.choice([True, False, "low", ["browser"], any_value(r, 1)])
    return ctx


def contexts(count, seed, folders):
    r, seen = random.Random(seed), set()
    for folder in folders:
        for label, source in templates_below(folder):
            if source in seen:
                continue
            seen.add(source)
            given = {"source": source}
            for i in range(count):
                if (case := render(source, {**SPECIALS, **conversation(r)})) and not unstable(case):
                    yield {**given, "template": label, "case": str(i), **case}
                    given = {}


def unstable(case):
    """Whether a result shows an address in memory, or depends on what Python keeps."""
    text = case.get("text", "")
    return " at 0x" in text.lower() or "built-in" in text or "<function" in text or "<class" in text or "b'" in text


def randoms(count, seed):
    gen = Random(seed)
    made = 0
    while made < count:
        source = gen.body(2) if gen.r.random() < 0.4 else gen.out(gen.r.randint(1, 4))
        if case := render(source, DATA):
            if not unstable(case) and len(case.get("text", "")) < 4000:
                made += 1
                del case["ctx"]
                yield {"source": source, **case}


FIXED_DATES = ["%Y-%m-%d %H:%M:%S.%f", "%a %A %b %B %d %e %j", "%I %p %y %C %G %g %V %u %w %U %W", "%c|%x|%X|%D|%F|%T|%R|%r|%h|%n|%t|%%", "%-d %-m %-H %-I %-j %_d %03d %^a %#Z %P %k %l", "%z|%Z|%Q|%", "%5Y|%10A|%E|%Od"]


def fixed():
    for now in ["2024-07-26T10:30:00", "2026-02-03T04:05:06.000789", "2024-01-01T00:00:00+00:00", "2021-01-03T23:59:59-05:30", "2024-12-30"]:
        for f in FIXED_DATES:
            if case := render("{{ strftime_now('" + f + "') }}", {}, now):
                yield {"source": "{{ strftime_now('" + f + "') }}", **case}


def main():
    mode, out, *rest = sys.argv[1:]
    if mode == "random":
        made = {"data": DATA, "cases": list(randoms(int(rest[0]), int(rest[1]) if len(rest) > 1 else 1))}
    elif mode == "contexts":
        made = {"cases": list(contexts(int(rest[0]), int(rest[1]), rest[2:]))}
    elif mode == "cases":
        made = {"cases": list(cases(rest))}
    else:
        made = {"cases": list(fixed())}
    with open(out, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as f:  # the same bytes each time
        f.write(json.dumps(made, ensure_ascii=False).encode())
    print(f"{len(made['cases'])} cases in {out}")


if __name__ == "__main__":
    main()
