"""Trains small SentencePiece models of every kind that tokenizer/ reads, and writes
what SentencePiece itself makes of texts with them.

    pip install sentencepiece==0.2.3 protobuf
    python tools/reference/sentencepiece_models.py tokenizer/testdata

For each name below: NAME.model.gz, and NAME.vectors.json.gz, a list of [ids, decoded]
for the texts of phi-2.vectors.json.gz in order (null where a text holds a NUL, which
the Python binding cuts off).
"""

import gzip
import io
import json
import pathlib
import sys
import tempfile

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb

# A small character map: spaces, ligatures, a letter with its accent, and its removal.
RULES = "rules.tsv"
LINES = ["9\t20", "A0\t20", "2003\t20", "3000\t20", "FB01\t66 69", "65 301\tE9", "AD\t", "2122\t20 54 4D", "FF21\t41", "FF22\t42"]

KINDS = {
    "spm-bpe": dict(
        model_type="bpe", vocab_size=2000, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, character_coverage=0.98, user_defined_symbols=["<user>", "▁▁", "12", "ab c"], control_symbols=["<ctl>"]),
    "spm-bpe-nfkc": dict(
        model_type="bpe", vocab_size=2000, normalization_rule_name="nmt_nfkc_cf", character_coverage=0.98,
        user_defined_symbols=["ﬁ", "<USER>"]),
    "spm-unigram": dict(
        model_type="unigram", vocab_size=1500, normalization_rule_tsv=RULES, character_coverage=0.98,
        user_defined_symbols=["<user>", "ＡＢ", "th"]),
    "spm-unigram-bytes": dict(
        model_type="unigram", vocab_size=1500, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=False, character_coverage=0.98),
}


def write(path, raw):
    with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(raw)


def main(out):
    out = pathlib.Path(out)
    with gzip.open(out / "phi-2.vectors.json.gz") as f:
        texts = [v["text"] for v in json.load(f)]
    train = [line for t in texts for line in t.split("\n") if 0 < len(line.encode()) < 4000 and "\0" not in line]
    tmp = tempfile.TemporaryDirectory()
    rules = pathlib.Path(tmp.name) / RULES
    rules.write_text("".join(line + "\n" for line in LINES))
    for name, kind in KINDS.items():
        if "normalization_rule_tsv" in kind:
            kind["normalization_rule_tsv"] = str(rules)
        raw = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(train), model_writer=raw, num_threads=1, minloglevel=2, max_sentence_length=5000, **kind)
        m = pb.ModelProto()
        m.ParseFromString(raw.getvalue())
        m.trainer_spec.ClearField("input")
        m.normalizer_spec.ClearField("normalization_rule_tsv")
        if name == "spm-bpe-nfkc":  # as SetVocabulary would: merged through, but never given
            normal = [p for p in m.pieces if p.type == pb.ModelProto.SentencePiece.NORMAL and len(p.piece) > 1]
            for p in normal[5:200:7]:
                p.type = pb.ModelProto.SentencePiece.UNUSED
        raw = m.SerializeToString()
        sp = spm.SentencePieceProcessor(model_proto=raw)
        vectors = []
        for t in texts:
            ids = sp.encode(t)
            vectors.append(None if "\0" in t else [ids, sp.decode(ids)])
        write(out / f"{name}.model.gz", raw)
        write(out / f"{name}.vectors.json.gz", json.dumps(vectors, ensure_ascii=False, separators=(",", ":")).encode())


main(sys.argv[1])
