"""Trains byte-level BPE tokenizers with Hugging Face's tokenizers, to compare ours with.

usage: train_tokenizer.py golden OUT.json.gz              the cases of tokenizer/training/testdata
       train_tokenizer.py random OUT.json.gz N [SEED]     N random ones, for LITGPT_TRAINED=OUT.json.gz go test ./tokenizer/training
       train_tokenizer.py time OUT.json FILE... [--by_line]   one of 32,000 tokens with Llama 3's pattern; time and memory
"""
import gzip, json, os, random, resource, sys, tempfile, time

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cl100k(digits):
    return rf"(?i:{CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def o200k(digits, suffix):
    word = r"[^\r\n\p{L}\p{N}]?"
    return (rf"{word}{UPPER}*{LOWER}+{suffix}|{word}{UPPER}+{LOWER}*{suffix}|\p{{N}}{digits}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


PATTERNS = {"llama3": cl100k("{1,3}"), "gpt2": None, "qwen2": cl100k(""), "tekken": o200k("", ""), "o200k": o200k("{1,3}", f"(?i:{CONTRACTIONS})?")}


def train(case, texts, files=None):
    t = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel
    if pattern := PATTERNS[case["splitter"]]:
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level(add_prefix_space=False, use_regex=False)])
    else:
        t.pre_tokenizer = byte_level(add_prefix_space=False)
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=case["vocab_size"], min_frequency=case["min_frequency"], special_tokens=case["special"],
                                  initial_alphabet=byte_level.alphabet(), show_progress=False)
    if not case["by_line"]:
        t.train_from_iterator(texts, trainer)
        return t
    if files:
        t.train(files, trainer)
        return t
    with tempfile.TemporaryDirectory() as d:
        files = [os.path.join(d, str(i)) for i in range(len(texts))]
        for path, text in zip(files, texts):
            with open(path, "w", encoding="utf-8", newline="") as f:
                f.write(text)
        t.train(files, trainer)
    return t


def solve(case, texts=None):
    case["tokenizer"] = train(case, texts or case["texts"]).to_str(pretty=True)
    return case


def case(name, texts, vocab_size, splitter="llama3", min_frequency=0, special=("<|endoftext|>",), by_line=False, **kw):
    return dict(name=name, splitter=splitter, vocab_size=vocab_size, min_frequency=min_frequency, special=list(special), by_line=by_line, texts=texts, **kw)


PIECES = ["the ", "a", "b", "ab", "aa", "aaa", "ba", " ", "  ", "\n", "\n\n", "\r\n", "\t", "'s", "'LL", "'ſ", "12", "3", "2024-11-21", "==", "//", "/\n", "!?", "…", "—",
          "Ünï", "é", "e\u0301", "ﬁ", "中文", "。", "かな", "नमस्ते", "ไทย", "한국", "😀", "👩\u200d💻", "\u00a0", "\u3000", "\u2028", "\ufeff", "\ufffd", "\x00", "\x7f",
          "camelCase", "HTTPServer", "snake_case", "user", "<s>", "<|endoftext|>", "½", "Ⅷ", "²", "Σίσυφος", "ǅ", "ʰ", "\U000105c0", "\u1c89"]


def random_text(r):
    words = [r.choice(PIECES) for _ in range(r.randint(1, 12))]
    return "".join(r.choice(words) * r.choice((1, 1, 1, 2, 5)) for _ in range(r.choice((0, 1, 5, 30, 300))))


def random_case(i, r):
    texts = [random_text(r) for _ in range(r.randint(1, 4))]
    special = r.sample(["<|endoftext|>", "<s>", "aa", "aba", "user", "a", "Ġ", "Ġthe", "[PAD]", "é", "Ã", "Ã©", "\n", '"\\', "the"], r.randint(0, 6))
    # One byte's own token leaves room for 255 others.
    size = 256 + len(special) + r.choice((0, 1, 5, 50, 300))
    return case(f"random {i}", texts, size, r.choice(list(PATTERNS)), r.choice((0, 1, 2, 3, 10)), special, r.random() < 0.3)


def golden():
    here = os.path.join(os.path.dirname(__file__), "..", "..")
    with open(os.path.join(here, "demo", "tinyshakespeare.txt"), encoding="utf-8", newline="") as f:
        play = f.read()
    for splitter in PATTERNS:
        yield solve(case(f"play {splitter}", None, 600, splitter, file="tinyshakespeare.txt"), [play])
    yield solve(case("play by line", None, 2000, "llama3", by_line=True, special=["<s>", "</s>", "<pad>"], file="tinyshakespeare.txt"), [play])
    yield solve(case("play without special tokens", None, 400, "gpt2", special=[], file="tinyshakespeare.txt"), [play])
    yield solve(case("special tokens that are merged", None, 400, "llama3", special=["the", "Ġthe", "ou", "e"], file="tinyshakespeare.txt"), [play])
    r = random.Random(20261121)
    for i in range(60):
        yield solve(random_case(i, r))


def write(path, cases):
    with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(json.dumps(list(cases), ensure_ascii=False, separators=(",", ":")).encode())


def main():
    what, out, *rest = sys.argv[1:]
    if what == "golden":
        write(out, golden())
    elif what == "random":
        r = random.Random(int(rest[1]) if len(rest) > 1 else 1)
        write(out, (solve(random_case(i, r)) for i in range(int(rest[0]))))
    elif what == "time":
        by_line, files = "--by_line" in rest, [p for p in rest if p != "--by_line"]
        texts = []
        for path in files if not by_line else ():
            with open(path, encoding="utf-8", errors="replace", newline="") as f:
                texts.append(f.read())
        usage = lambda: resource.getrusage(resource.RUSAGE_SELF)
        begin, before = time.time(), usage()
        t = train(case("", None, 32000, min_frequency=2, by_line=by_line), texts, files)
        took, after = time.time() - begin, usage()
        t.save(out)
        print(f"{took:.1f} s, {after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime:.1f} s of processors, "
              f"peak {after.ru_maxrss >> 10} MiB, of which {before.ru_maxrss >> 10} MiB before training, vocabulary {t.get_vocab_size()}")


main()
