"""Texts for tokenizer_vectors.py."""

CORPUS = """The quick brown fox jumps over the lazy dog. It's what we'd do, isn't it? They've 1234 apples and 5,678.90 pears.
Der schnelle braune Fuchs überspringt den faulen Hund; größer als Äpfel und Öl. Le garçon déçu à Noël, œuvre naïve.
Быстрая коричневая лиса перепрыгивает через ленивую собаку. Η γρήγορη καφέ αλεπού. 敏捷的棕色狐狸跳过了懒狗。
素早い茶色の狐がのろまな犬を飛び越える。カタカナも。 빠른 갈색 여우가 게으른 개를 뛰어넘는다. सत्यमेव जयते। السلام عليكم
func main() { fmt.Println("hello, world\\t%d", x[i] + 0x1F) } // a comment
def f(x): return x**2 if x != 0 else None  # another
low lower lowest new newer newest wide wider widest hello hello world world the the the of of and and to to in in
"""

FIXED = [
    "", " ", "a", "  a  b ", "Hello, world!", "hello", "Hello  World\n\nNew line\r\n\ttab", "the lowest newer wide",
    "I've been—isn't it? don't. do not! ' n't 'm 's", "12345 6,789.00 ²³ ⅓ Ⅷ ١٢٣", "Ünïcödé naïve Ångström İstanbul ß ẞ ΑΣ",
    "e\u0301le\u0300ve a\u0323\u0307 a\u0307\u0323 \u0301start ệ ﬁ ﷺ ½ Ω Å", "漢字かな交じり文 カタカナー 한국어 각 \u1100\u1161\u11a8",
    "🦙🏽 👨‍👩‍👧 🇩🇪 e🙂e", "tab\tnbsp\u00a0zwsp\u200bbom\ufeff ideographic\u3000space\u2028line\u1680x", "\u0000\u0001\u007f\u0085\u00ad control \ufffd",
    "<s>special</s> <mask>  x[SEP] y<pad>", "  <mask>  ", "<s><s></s>", "foo Foo FOO foobar", "word_with_underscore CamelCase kebab-case a.b.c",
    "▁under▁score ▁ ▁▁x", "ĠbyteĠlevel Ċ Â", "!?!?...---", "((a)[b]{c})", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "नमस्ते दुनिया क्षि", "שלום עולם",
    "x\u0327\u0301\u0316\u0323 y", "a\U00010d50 \U00016ea0 \u1c89 \ua7cb \u0897", "\U0001e030 \u08d3 \u1ac1 \U00011935\U00011930",
    " leading", "trailing ", "\nnewline first", "many    spaces     here", "price: $5.00 €3 £2 + - = < > ^ ` | ~ @ # % & *",
]

SPECIALS = list(" \u00a0\u3000\t\n\r\u0085\u200b\u2028▁Ġ_-'\".,!?()[]<>|+=$") + [
    "a", "b", "e", "o", "s", "t", "the", "low", "er", "est", "new", "Hello", "é", "e\u0301", "\u0323", "\u0301", "İ", "ß", "Σ", "ﬁ", "½", "漢", "字", "か", "カ", "ー",
    "한", "\u1100", "\u1161", "\u11a8", "🦙", "\u200d", "🏽", "1", "23", "٣", "²", "Ⅷ", "<s>", "</s>", "<mask>", "[SEP]", "foo", "FOO", "  ", "\ufffd", "\u0000",
    "\u0307", "\u0f71\u0f72\u0f74", "\u0344", "\u1e69", "\u2126", "\ufb2c", "\uac00", "\uff21", "\u3392", "\u0e33", "\u0915\u093f",
]


def random_text(rng):
    return "".join(rng.choice(SPECIALS) for _ in range(rng.randrange(1, 25)))


def golden():
    """Named texts: FIXED, and the corpus line by line, word by word at the ends of lines."""
    out = [(f"fixed {i}", t) for i, t in enumerate(FIXED)]
    out += [(f"line {i}", t) for i, t in enumerate(CORPUS.split("\n"))]
    out.append(("corpus", CORPUS))
    import random
    rng = random.Random(7)
    out += [(f"random {i}", random_text(rng)) for i in range(300)]
    blocks = [(0x20, 0x250), (0x250, 0x600), (0x600, 0xe00), (0xe00, 0x1800), (0x1800, 0x2100), (0x2100, 0x2c00), (0x2c00, 0x3400),
              (0x4e00, 0x5200), (0xa000, 0xac00), (0xac00, 0xb000), (0xf900, 0x10000), (0x10000, 0x10400), (0x1d000, 0x1d800), (0x1f300, 0x1fa00)]
    for lo, hi in blocks:
        for at in range(lo, hi, 128):
            out.append((f"characters {at:x}", " ".join(chr(c) for c in range(at, min(at + 128, hi)))))
    return out
