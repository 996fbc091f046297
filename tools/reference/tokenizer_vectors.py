#!/usr/bin/env python3
"""What Hugging Face's tokenizers makes of texts: ids, types, byte offsets and decoded text.

    pip install -r tools/reference/requirements.txt
    tools/reference/tokenizer_vectors.py synthetic OUT.json.gz       the cases of tokenizer/testdata/components.json.gz
    tools/reference/tokenizer_vectors.py random OUT.json.gz --seed 1 --count 300
                                                              as many random pipelines (LITGPT_TOKENIZER_CASES=OUT.json.gz)
    tools/reference/tokenizer_vectors.py golden DIR [--texts F]      DIR/golden/NAME.json.gz for each DIR/NAME/tokenizer.json[.gz]

A tokenizer is trained on a small text, or put together at random. Offsets, which Python gets in characters,
are turned into bytes. Where the library gives an error or panics the value is null.
"""
import argparse
import gzip
import json
import os
import random
import sys

from tokenizers import Tokenizer

import tokenizer_texts as texts
import tokenizer_pipelines as pipelines


def byte_offsets(text):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return lambda i: at[min(i, len(at) - 1)]


def guarded(f):
    """f(), or None where the library refuses. A panic is no Exception."""
    try:
        return f()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        return None


def tokens(encoding, text, pair):
    maps = [byte_offsets(text), byte_offsets(pair or "")]
    rows = []
    for i, (start, end) in enumerate(encoding.offsets):
        at = maps[(encoding.sequence_ids[i] or 0) if pair is not None else 0]
        rows.append([encoding.ids[i], encoding.type_ids[i], encoding.special_tokens_mask[i], at(start), at(end)])
    return rows


def case(tk, text, pair=None):
    out = {"text": text}
    if pair is not None:
        out["pair"] = pair
    out["plain"] = guarded(lambda: tokens(tk.encode(text, pair, add_special_tokens=False), text, pair))
    out["special"] = guarded(lambda: tokens(tk.encode(text, pair, add_special_tokens=True), text, pair))
    if out["special"] is not None:
        ids = [t[0] for t in out["special"]]
        out["decode"] = guarded(lambda: tk.decode(ids, skip_special_tokens=False))
        out["decode_skip"] = guarded(lambda: tk.decode(ids, skip_special_tokens=True))
    return out


def cases(tk, sample, rng):
    tk.no_truncation()
    tk.no_padding()
    out = [case(tk, t) for t in sample]
    for _ in range(3):
        out.append(case(tk, rng.choice(sample), rng.choice(sample)))
    ids = [rng.randrange(tk.get_vocab_size() + 3) for _ in range(12)]
    out.append({"ids": ids, "decode": guarded(lambda: tk.decode(ids, skip_special_tokens=False)),
                "decode_skip": guarded(lambda: tk.decode(ids, skip_special_tokens=True))})
    return out


def write(path, value):
    with gzip.GzipFile(path, "wb", 9, mtime=0) as f:
        f.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def synthetic(args):
    rng = random.Random(20261121)
    out = []
    for name, tk in pipelines.components():
        sample = [t for t in texts.FIXED if rng.random() < 0.5] + [texts.random_text(rng) for _ in range(2)]
        out.append({"name": name, "file": json.loads(tk.to_str()), "cases": cases(tk, sample, rng)})
    write(args.out, out)
    print(len(out), "tokenizers", os.path.getsize(args.out), "bytes")


def rand(args):
    rng = random.Random(args.seed)
    out = []
    while len(out) < args.count:
        made = guarded(lambda: pipelines.random_pipeline(rng))
        if made is None:
            continue
        tk = guarded(lambda: Tokenizer.from_str(made))
        if tk is None:
            continue
        sample = [rng.choice(texts.FIXED) for _ in range(4)] + [texts.random_text(rng) for _ in range(args.texts)]
        out.append({"name": f"seed {args.seed} pipeline {len(out)}", "file": json.loads(tk.to_str()),
                    "cases": cases(tk, sample, rng)})
    write(args.out, out)


def golden(args):
    sample = texts.golden()
    os.makedirs(os.path.join(args.dir, "golden"), exist_ok=True)
    for name in sorted(os.listdir(args.dir)):
        path = next((p for p in (os.path.join(args.dir, name, "tokenizer.json" + e) for e in ("", ".gz")) if os.path.exists(p)), None)
        if path is None or args.only and name not in args.only:
            continue
        raw = (gzip.open if path.endswith(".gz") else open)(path, "rb").read()
        tk = guarded(lambda: Tokenizer.from_str(raw.decode()))
        if tk is None:
            print(name, "is not readable here", file=sys.stderr)
            continue
        tk.no_truncation()
        tk.no_padding()
        rows = []
        for label, text in sample:
            c = case(tk, text)
            if c["plain"] is None or c["special"] is None:
                continue
            rows.append({"name": label, "text": text, "ids": [t[0] for t in c["plain"]],
                         "ids_special": [t[0] for t in c["special"]], "offsets": [t[3:] for t in c["special"]],
                         "decode": c["decode"], "decode_skip": c["decode_skip"]})
        write(os.path.join(args.out or os.path.join(args.dir, "golden"), name + ".json.gz"), rows)
        print(name, len(rows))


def main():
    p = argparse.ArgumentParser()
    sub = p.add_subparsers(dest="mode", required=True)
    s = sub.add_parser("synthetic")
    s.add_argument("out")
    s = sub.add_parser("random")
    s.add_argument("out")
    s.add_argument("--seed", type=int, default=1)
    s.add_argument("--count", type=int, default=300)
    s.add_argument("--texts", type=int, default=12)
    s = sub.add_parser("golden")
    s.add_argument("dir")
    s.add_argument("--out", help="a directory for the vectors; DIR/golden without it")
    s.add_argument("--only", nargs="*")
    args = p.parse_args()
    {"synthetic": synthetic, "random": rand, "golden": golden}[args.mode](args)


if __name__ == "__main__":
    main()
