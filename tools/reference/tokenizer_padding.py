"""Makes tokenizer/sugarme/testdata/padding.json.gz: what Hugging Face's tokenizers makes of texts, words, pairs and
batches with truncation and padding.

usage: tokenizer_padding.py    (in the repository's root; tokenizers==0.22.2)

Each case is one call of encode or encode_batch on a tokenizer of tokenizer/testdata, some of them with another
post-processor. Offsets are bytes of the text (or of the word, where the input came in words) instead of characters.
"""
import gzip, json, os, random
import tokenizers

assert tokenizers.__version__ == "0.22.2", tokenizers.__version__
DATA = "tokenizer/testdata/"
OUT = "tokenizer/sugarme/testdata/padding.json.gz"

S, E = {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
token = lambda id, type_id=0: {"SpecialToken": {"id": id, "type_id": type_id}}
text = lambda id, type_id=0: {"Sequence": {"id": id, "type_id": type_id}}
GROUPS = [  # tokenizer, post-processor in the place of the file's own
    ("mistral-7b-v0.1.tokenizer.json.gz", "own"),
    ("phi-2.tokenizer.json.gz", "own"),
    ("fixture/tokenizer.json", "own"),
    ("fixture/tokenizer.json", None),
    ("fixture/tokenizer.json", {
        "type": "TemplateProcessing",
        "single": [token("<s>"), text("A"), token("</s>")],
        "pair": [token("<s>"), text("A"), token("</s>"), text("B", 1), token("</s>", 1)],
        "special_tokens": {"<s>": S, "</s>": E}}),
    ("fixture/tokenizer.json", {  # the second text first, more tokens, other type ids
        "type": "TemplateProcessing",
        "single": [text("A", 1), token("</s>", 2), token("<s>", 2)],
        "pair": [token("</s>", 2), text("B", 1), token("<s>"), text("A"), token("</s>"), token("</s>", 1)],
        "special_tokens": {"<s>": S, "</s>": E}}),
    ("fixture/tokenizer.json", {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}),
    ("fixture/tokenizer.json", {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1],
                                "trim_offsets": True, "add_prefix_space": False}),
]
TEXTS = [
    "", " ", "a", "Hello, world!", "The quick brown fox jumps over the lazy dog.", "  two  spaces and a tab\there ",
    "naïve café — 你好，世界 🙂👩‍👩‍👧", "line one\nline two\r\n\r\n  indented()", "x = [1, 2, 33, 444]  # done",
    "<s>already begun</s>", "Ελληνικά, русский и עברית",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
]
WORDS = [[], ["Hello", "world"], ["", "a", " b", "café 🙂", "</s>", "x y z"], "to be or not to be that is the question".split()]
SEED, CASES, LARGEST = 7, 100, 25  # LARGEST: encodings of a case, those that overflow included


def encoding(e, inputs, sequences):
    """The fields of an Encoding; offsets in bytes. Without a post-processor truncation forgets the sequences."""
    offsets = []
    for (a, b), sequence, word in zip(e.offsets, e.sequence_ids if sequences else e.type_ids, e.word_ids):
        source = inputs[sequence] if sequence is not None and sequence < len(inputs) else ""
        if isinstance(source, list):
            source = "" if word is None else source[word]
        offsets += [len(source[:a].encode()), len(source[:b].encode())]
    none = lambda values: [-1 if v is None else v for v in values]
    return {"ids": e.ids, "tokens": e.tokens, "type_ids": e.type_ids, "special": e.special_tokens_mask,
            "attention": e.attention_mask, "words": none(e.word_ids), "sequences": none(e.sequence_ids) if sequences else None,
            "offsets": offsets, "overflowing": [encoding(o, inputs, sequences) for o in e.overflowing]}


def count(encodings):
    return sum(1 + count(e["overflowing"]) for e in encodings)


def case(tok, rng):
    """One call, or None where Hugging Face refuses the settings before any text is seen."""
    pretokenized = rng.random() < 0.2
    pick = lambda: rng.choice(WORDS if pretokenized else TEXTS)
    batch = rng.random() < 0.3
    inputs = [[pick()] + ([pick()] if rng.random() < 0.5 else []) for _ in range(rng.randint(1, 4) if batch else 1)]
    special = rng.random() < 0.7
    truncation = padding = None
    tok.no_truncation(), tok.no_padding()
    if rng.random() < 0.75:
        truncation = {"max_length": rng.choice([3, 5, 6, 8, 9, 12, 16, 24]), "stride": rng.choice([0, 0, 1, 2, 5]),
                      "strategy": rng.choice(["longest_first", "longest_first", "only_first", "only_second"])}
        try:
            tok.enable_truncation(**truncation)
        except ValueError:
            return None
        if truncation["max_length"] < tok.num_special_tokens_to_add(True):
            return None  # an unsigned number wraps around there
    if rng.random() < 0.6:
        padding = {"direction": rng.choice(["left", "right"]), "pad_id": 7, "pad_type_id": rng.choice([0, 3]),
                   "pad_token": "[PAD]", "length": rng.choice([None, 4, 20])}
        tok.enable_padding(**padding)
    out = {"inputs": inputs, "batch": batch, "special": special, "truncation": truncation, "padding": padding}
    try:
        if batch:
            got = tok.encode_batch([i[0] if len(i) == 1 else tuple(i) for i in inputs], is_pretokenized=pretokenized,
                                   add_special_tokens=special)
        else:
            got = [tok.encode(*inputs[0], is_pretokenized=pretokenized, add_special_tokens=special)]
    except BaseException as e:  # a failed assertion of the Rust code is no Exception
        if isinstance(e, KeyboardInterrupt):
            raise
        return out | {"error": str(e)}
    return out | {"want": [encoding(e, i, tok.post_processor is not None) for e, i in zip(got, inputs)]}


def main():
    groups = []
    for n, (name, post) in enumerate(GROUPS):
        raw = open(DATA + name, "rb").read()
        description = json.loads(gzip.decompress(raw) if name.endswith(".gz") else raw)
        if post != "own":
            description["post_processor"] = post
        tok = tokenizers.Tokenizer.from_str(json.dumps(description))
        rng = random.Random(SEED * 1000 + n)
        cases = []
        while len(cases) < CASES:
            c = case(tok, rng)
            if c and count(c.get("want", [])) <= LARGEST:
                cases.append(c)
        tok.no_truncation(), tok.no_padding()
        groups.append({"tokenizer": name, "own_post_processor": post == "own", "post_processor": None if post == "own" else post,
                       "vocab_size": tok.get_vocab_size(), "cases": cases})
        print(name, "post" if post != "own" else "", len(cases), "cases", sum("error" in c for c in cases), "errors")
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "wb") as f, gzip.GzipFile(fileobj=f, mode="wb", mtime=0, filename="") as z:
        z.write(json.dumps({"made_with": "tokenizers " + tokenizers.__version__, "groups": groups},
                           ensure_ascii=False, separators=(",", ":")).encode())
    print(OUT, os.path.getsize(OUT), "bytes")


main()
