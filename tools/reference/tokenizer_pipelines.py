"""Tokenizers for tokenizer_vectors.py: one for each component, and random ones."""
import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import tokenizer_texts as texts

N, P, D = normalizers, pre_tokenizers, decoders
BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
PATTERNS = [r"\s+", r"\w+|[^\w\s]+", r"[0-9]", r"[0-9][0-9][0-9]", "^", "$", "a*", r"(?=[A-Z])", r"\p{Han}+", LLAMA3, CL100K, r"[\p{L}\p{M}]+",
            r"[^\s]+", r"x?", r"(?<=e)", r"\b", r" {2,}", r"\h+", r"[[:punct:]]+", r"[a-z&&[^aeiou]]+", r"\d{1,3}(?=(\d{3})*\b)", "l++"]


def trained(kind, normalizer=None, pre=None, size=300, **kw):
    t = dict(vocab_size=size, show_progress=False)
    if kind == "BPE":
        model, trainer = models.BPE(**kw), trainers.BpeTrainer(
            special_tokens=["<unk>", "<s>", "</s>"], **t,
            **{k: v for k, v in kw.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")})
    elif kind == "WordPiece":
        model, trainer = models.WordPiece(unk_token="[UNK]", **kw), trainers.WordPieceTrainer(special_tokens=["[UNK]", "[CLS]", "[SEP]"], **t)
    elif kind == "WordLevel":
        model, trainer = models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer(special_tokens=["[UNK]", "[CLS]", "[SEP]"], **t)
    else:
        model, trainer = models.Unigram(), trainers.UnigramTrainer(special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", **t)
    tk = Tokenizer(model)
    if normalizer is not None:
        tk.normalizer = normalizer
    if pre is not None:
        tk.pre_tokenizer = pre
    tk.train_from_iterator(texts.CORPUS.split("\n"), trainer)
    return tk


def rebuilt(tk, **model):
    """tk with settings of its model changed."""
    f = json.loads(tk.to_str())
    f["model"].update(model)
    return Tokenizer.from_str(json.dumps(f))


def with_bytes(tk):
    """tk, a BPE or Unigram one, with byte fallback and the 256 tokens it needs."""
    f = json.loads(tk.to_str())
    vocab = f["model"]["vocab"]
    for b in range(256):
        if isinstance(vocab, dict):
            vocab.setdefault(f"<0x{b:02X}>", len(vocab))
        else:
            vocab.append([f"<0x{b:02X}>", 0.0])
    f["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(f))


def bert_like(pair=True):
    tk = trained("WordPiece", N.BertNormalizer(), P.BertPreTokenizer())
    tk.post_processor = processors.BertProcessing(("[SEP]", tk.token_to_id("[SEP]")), ("[CLS]", tk.token_to_id("[CLS]")))
    tk.decoder = D.WordPiece()
    return tk


def template(tk, single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1"):
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=[(t, tk.token_to_id(t)) for t in ("<s>", "</s>")])


def components():
    """(name, tokenizer) for every component of tokenizer.json."""
    yield "bert", bert_like()
    for clean, han, accents, lower in [(False, True, None, False), (True, False, True, False), (True, True, False, True)]:
        tk = trained("WordPiece", N.BertNormalizer(clean_text=clean, handle_chinese_chars=han, strip_accents=accents, lowercase=lower), P.Whitespace())
        tk.decoder = D.WordPiece(cleanup=False)
        yield f"BertNormalizer {clean} {han} {accents} {lower}", tk
    for n in [N.NFC(), N.NFD(), N.NFKC(), N.NFKD(), N.Lowercase(), N.Nmt(), N.Strip(), N.Strip(left=True, right=False), N.StripAccents(), N.ByteLevel(),
              N.Prepend("▁"), N.Replace("l", "LL"), N.Replace(Regex(r"\s+"), "▁"), N.Replace(Regex("^"), "> "), N.Replace("", "-"),
              N.Sequence([N.NFKD(), N.StripAccents(), N.Lowercase()]), N.Sequence([N.Strip(), N.Replace(" ", "▁"), N.Prepend("▁")])]:
        tk = trained("WordLevel", n, P.Sequence([P.Split("", "isolated")]), 200)
        yield f"normalizer {json.loads(tk.to_str())['normalizer']['type']}", tk
    splits = [P.Split(p if isinstance(p, str) else p, b, i) for p, b, i in
              [("e", "removed", False), ("e", "isolated", False), ("e", "merged_with_previous", False), ("e", "merged_with_next", False), ("ee", "contiguous", False),
               ("e", "contiguous", True), ("o", "merged_with_next", True)]]
    splits += [P.Split(Regex(p), b, i) for p, b, i in
               [(LLAMA3, "isolated", False), (LLAMA3, "removed", True), (CL100K, "isolated", False), ("$", "merged_with_previous", False), ("a*", "merged_with_next", False),
                (r"\p{Han}", "contiguous", False), (r"[a-z&&[^aeiou]]+", "isolated", False), (r"[[:punct:]]+", "isolated", False), (r"\h++", "removed", False)]]
    for i, p in enumerate([P.BertPreTokenizer(), P.Whitespace(), P.WhitespaceSplit(), P.CharDelimiterSplit("o"), P.UnicodeScripts(), P.FixedLength(3),
              P.Digits(), P.Digits(individual_digits=True), P.Metaspace(), P.Metaspace(replacement="_", prepend_scheme="first", split=False), P.Metaspace(prepend_scheme="never"),
              P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]), P.Sequence([P.Whitespace(), P.Digits(True), P.FixedLength(2)]),
              P.ByteLevel(), P.ByteLevel(add_prefix_space=False, use_regex=False), P.Sequence([P.ByteLevel(add_prefix_space=False), P.Metaspace()]),
              P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False), P.Digits(), P.Split(Regex("[0-9][0-9][0-9]"), "isolated")])]
              + [P.Punctuation(b) for b in BEHAVIORS] + splits):
        tk = trained("WordLevel", None, p, 300)
        yield f"pre_tokenizer {i} {json.loads(tk.to_str())['pre_tokenizer']['type']}", tk

    tk = trained("BPE", N.NFC(), P.ByteLevel(add_prefix_space=True), unk_token="<unk>")
    for trim, prefix in [(True, True), (True, False), (False, False)]:
        tk.post_processor = processors.ByteLevel(trim_offsets=trim, add_prefix_space=prefix)
        tk.decoder = D.ByteLevel()
        yield f"byte level, trim {trim} {prefix}", Tokenizer.from_str(tk.to_str())
    tk.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    tk.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<s>"), AddedToken("</s>", rstrip=True)])
    tk.add_tokens([AddedToken("foo", single_word=True), AddedToken("  ", normalized=False), AddedToken("é", normalized=True)])
    yield "roberta", Tokenizer.from_str(tk.to_str())
    tk.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template(tk)])
    yield "byte level and template", Tokenizer.from_str(tk.to_str())
    for single, pair in [("$A </s>", "$B:1 $A:0 </s>:1"), ("$A $A", "<s> $A $B $A"), ("<s> $A:1 <s>", "$A $B")]:
        tk.post_processor = template(tk, single, pair)
        yield f"template {single}", Tokenizer.from_str(tk.to_str())
    yield "ignore_merges", rebuilt(tk, ignore_merges=True)

    tk = trained("BPE", N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), None, 400, unk_token="<unk>", fuse_unk=True)
    tk.post_processor = template(tk)
    tk.decoder = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    tk.add_special_tokens(["<s>", "</s>", AddedToken("<pad>", normalized=True)])
    yield "llama, fused unknowns", tk
    yield "llama, unknowns one by one", rebuilt(tk, fuse_unk=False)
    yield "llama, no unknowns", rebuilt(tk, unk_token=None)
    yield "llama, bytes", with_bytes(tk)
    for kw in [dict(end_of_word_suffix="</w>"), dict(continuing_subword_prefix="##"), dict(end_of_word_suffix="@@", continuing_subword_prefix="__")]:
        tk = trained("BPE", N.Lowercase(), P.Whitespace(), 400, unk_token="<unk>", **kw)
        tk.decoder = D.BPEDecoder(suffix=kw.get("end_of_word_suffix", "</w>"))
        yield f"bpe {kw}", tk
        yield f"bpe, bytes {kw}", with_bytes(tk)
    tk = trained("Unigram", N.NFKC(), P.Metaspace(), 300)
    tk.decoder = D.Metaspace()
    tk.post_processor = template(tk)
    yield "unigram", tk
    yield "unigram, bytes", with_bytes(tk)
    tk = trained("WordPiece", N.Lowercase(), P.WhitespaceSplit(), 300, max_input_chars_per_word=8)
    tk.add_tokens([AddedToken("Foo"), AddedToken("FOO"), AddedToken("hello", normalized=False), AddedToken(" x", normalized=False)])
    for d in [D.WordPiece(), D.WordPiece(prefix="", cleanup=False), D.CTC(), D.CTC(pad_token="e", word_delimiter_token="o", cleanup=True), D.CTC(cleanup=False), D.Fuse(),
              D.Metaspace(replacement="l"), D.Replace("he", "HE"), D.Replace(Regex("[aeiou]"), ""), D.Sequence([D.Fuse(), D.Replace("lo", "_")]),
              D.Sequence([D.Fuse(), D.WordPiece()]), D.Sequence([D.WordPiece(), D.Metaspace(replacement="o"), D.BPEDecoder(suffix="e")]), D.Sequence([D.ByteLevel(), D.CTC(pad_token="l")]),
              D.Sequence([D.CTC(pad_token="h"), D.WordPiece(), D.Fuse(), D.Strip("t", 1, 2)])]:
        tk.decoder = d
        yield f"decoder {json.loads(tk.to_str())['decoder']['type']}", Tokenizer.from_str(tk.to_str())
    tk = trained("WordPiece", None, None, 300)
    yield "no pre_tokenizer", tk


def random_normalizer(rng):
    made = [
        lambda: N.BertNormalizer(rng.random() < .5, rng.random() < .5, rng.choice([None, True, False]), rng.random() < .5),
        N.NFC, N.NFD, N.NFKC, N.NFKD, N.Lowercase, N.Nmt, N.StripAccents, N.ByteLevel,
        lambda: N.Strip(rng.random() < .5, rng.random() < .5), lambda: N.Prepend(rng.choice(["▁", "x", "ab"])),
        lambda: N.Replace(rng.choice([" ", "e", "l", "  ", "\n"]), rng.choice(["▁", "", "xy", "É"])),
        lambda: N.Replace(Regex(rng.choice(PATTERNS)), rng.choice(["▁", "", "<>", " "])),
    ]
    count = rng.choice([0, 0, 1, 1, 2, 3])
    return [rng.choice(made)() for _ in range(count)]


def random_pre(rng):
    made = [
        P.BertPreTokenizer, P.Whitespace, P.WhitespaceSplit, P.UnicodeScripts, lambda: P.CharDelimiterSplit(rng.choice("o e")), lambda: P.FixedLength(rng.randrange(1, 7)),
        lambda: P.Digits(rng.random() < .5), lambda: P.Punctuation(rng.choice(BEHAVIORS)),
        lambda: P.Metaspace(rng.choice("▁_o"), rng.choice(["always", "first", "never"]), rng.random() < .6),
        lambda: P.ByteLevel(rng.random() < .5, rng.random() < .5, rng.random() < .6),
        lambda: P.Split(rng.choice([" ", "e", "ll", ""]), rng.choice(BEHAVIORS), rng.random() < .3),
        lambda: P.Split(Regex(rng.choice(PATTERNS)), rng.choice(BEHAVIORS), rng.random() < .3),
    ]
    return [rng.choice(made)() for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3]))]


def random_decoder(rng):
    made = [
        D.ByteLevel, D.Fuse, D.ByteFallback, lambda: D.WordPiece(rng.choice(["##", "", "e"]), rng.random() < .5), lambda: D.BPEDecoder(rng.choice(["</w>", "e"])),
        lambda: D.CTC(rng.choice(["<pad>", "e"]), rng.choice(["|", "o"]), rng.random() < .5), lambda: D.Metaspace(rng.choice("▁eĠ"), rng.choice(["always", "first", "never"])),
        lambda: D.Replace(rng.choice(["▁", "Ġ", "e", "th"]), rng.choice([" ", "", "X"])), lambda: D.Replace(Regex(rng.choice(PATTERNS)), rng.choice([" ", "", "X"])),
        lambda: D.Strip(rng.choice(" e▁"), rng.randrange(2), rng.randrange(2)),
    ]
    return [rng.choice(made)() for _ in range(rng.choice([0, 1, 1, 2, 3]))]


def random_pipeline(rng):
    """tokenizer.json of a random pipeline, its model trained on what the rest makes of the corpus."""
    n, p = random_normalizer(rng), random_pre(rng)
    kind = rng.choice(["BPE", "BPE", "BPE", "WordPiece", "WordLevel", "Unigram"])
    kw = {}
    if kind == "BPE":
        kw = dict(unk_token=rng.choice(["<unk>", None]), fuse_unk=rng.random() < .5, ignore_merges=rng.random() < .3)
        if rng.random() < .2:
            kw["end_of_word_suffix"] = rng.choice(["</w>", "e"])
        if rng.random() < .2:
            kw["continuing_subword_prefix"] = rng.choice(["##", "x"])
    if kind == "WordPiece":
        kw = dict(max_input_chars_per_word=rng.choice([5, 100]))
    tk = trained(kind, N.Sequence(n) if n else None, P.Sequence(p) if p else None, rng.choice([150, 300, 600]), **kw)
    if kind in ("BPE", "Unigram") and rng.random() < .3:
        tk = with_bytes(tk)
    for _ in range(rng.randrange(5)):
        token = AddedToken(rng.choice(["<mask>", "foo", "FOO", "  ", " ", "é", "the", "x", "<pad>", "e\u0301", "ß", "ow", "Hello,", "\n"]), single_word=rng.random() < .3,
                           lstrip=rng.random() < .3, rstrip=rng.random() < .3, normalized=rng.random() < .5, special=rng.random() < .4)
        (tk.add_special_tokens if token.special else tk.add_tokens)([token])
    first, second = [(t, tk.token_to_id(t)) for t in (("<s>", "</s>") if kind in ("BPE", "Unigram") else ("[CLS]", "[SEP]"))]
    made = [
        lambda: processors.ByteLevel(trim_offsets=rng.random() < .7, add_prefix_space=rng.random() < .5),
        lambda: processors.BertProcessing(second, first),
        lambda: processors.RobertaProcessing(second, first, rng.random() < .7, rng.random() < .5),
        lambda: processors.TemplateProcessing(
            single=rng.choice([f"{first[0]} $A {second[0]}", "$A", f"$A:1 {second[0]}:1", f"{first[0]} $A $A"]),
            pair=rng.choice([f"{first[0]} $A {second[0]} $B:1 {second[0]}:1", "$A $B:1", f"$B:1 {second[0]} $A"]), special_tokens=[first, second]),
    ]
    steps = [rng.choice(made)() for _ in range(rng.choice([0, 1, 1, 2]))]
    # A template last: after it the library has lost which text an encoding is of.
    steps.sort(key=lambda s: isinstance(s, processors.TemplateProcessing))
    if len(steps) == 2 and isinstance(steps[0], processors.TemplateProcessing):
        steps.pop()
    if len(steps) == 1:
        tk.post_processor = steps[0]
    elif steps:
        tk.post_processor = processors.Sequence(steps)
    d = random_decoder(rng)
    if len(d) == 1:
        tk.decoder = d[0]
    elif d:
        tk.decoder = D.Sequence(d)
    return tk.to_str()
