"""Measures Hugging Face's tokenizers (Rust) as bench_test.go of tokenizer/ measures ours.

    python tokenizer_speed.py bench TOKENIZERS TEXTS [SET ...]   # one thread; lines as `go test -bench` prints them
    python tokenizer_speed.py compare OURS THEIRS                # a Markdown table of medians of those lines

TOKENIZERS holds NAME/tokenizer.json.gz; TEXTS the texts that LITGPT_BENCH_TEXTS=TEXTS go test ./tokenizer -bench … writes.
ROUNDS=1 in the environment takes one round instead of three, to take turns with ours. Only the time inside of encode_batch_fast counts, the call that computes no offsets; cold is the first one after loading.
"""

import collections, gzip, os, pathlib, re, statistics, sys, time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

TEXTS = ["prose", "code", "cjk", "mixed", "random-words", "no-spaces", "digits"]
ROUNDS = int(os.environ.get("ROUNDS", 3))


class Timer:
    """Clock and processor time of the block, as a line of `go test -bench`."""

    def __init__(self, name, size):
        self.name, self.size = name, size

    def __enter__(self):
        self.start, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        cpu, seconds = time.process_time() - self.cpu, time.perf_counter() - self.start
        print(f"Benchmark{self.name}-1 1 {seconds * 1e9:.0f} ns/op {self.size / 1e6 / seconds:.2f} MB/s {cpu * 1e9:.0f} cpu-ns/op", flush=True)


def bench(directory, texts, names):
    from tokenizers import Tokenizer

    loaded = {t: (pathlib.Path(texts) / f"{t}.txt").read_bytes().decode() for t in TEXTS}
    for path in sorted(pathlib.Path(directory).glob("*/tokenizer.json.gz")):
        name = path.parent.name
        if names and name not in names:
            continue
        raw = gzip.open(path).read()

        for _ in range(ROUNDS):
            with Timer(f"Load/{name}", len(raw)):
                Tokenizer.from_buffer(raw)
        for text_name, text in loaded.items():
            size = len(text.encode())
            for _ in range(ROUNDS):
                tk = Tokenizer.from_buffer(raw)
                for state in "cold", "warm":
                    with Timer(f"Encode/{name}/{text_name}/{state}", size):
                        tk.encode_batch_fast([text], add_special_tokens=False)


def read(path):
    """Median of each benchmark: {name: ns}, of processor time where it was measured."""
    times = collections.defaultdict(list)
    for row in pathlib.Path(path).read_text().splitlines():
        if m := re.match(r"Benchmark(\S+)-\d+\s+\d+\s+([\d.]+) ns/op(.*)", row):
            cpu = re.search(r"([\d.]+) cpu-ns/op", m[3])
            times[m[1]].append(float(cpu[1] if cpu else m[2]))
            if live := re.search(r"([\d.]+) live-MB", m[3]):
                times[m[1] + "/live"].append(float(live[1]))
    return {name: statistics.median(values) for name, values in times.items()}


def compare(ours, theirs):
    ours, theirs = read(ours), read(theirs)
    names = sorted({n.split("/")[1] for n in theirs if n.startswith("Encode/")})
    size = 2**20  # of a text, or a byte or two less
    for state in "cold", "warm":
        print(f"\n| {state} | " + " | ".join(TEXTS) + " |\n|---" + "|---" * len(TEXTS) + "|")
        for name in names:
            cells = []
            for text in TEXTS:
                key = f"Encode/{name}/{text}/{state}"
                if key in ours and key in theirs:
                    cells.append(f"{size * 1e3 / ours[key]:.1f} ({theirs[key] / ours[key]:.1f}×)")
                else:
                    cells.append("–")
            print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| load | ms | Hugging Face, ms | ratio | MB kept |\n|---|---|---|---|---|")
    for name in names:
        key = f"Load/{name}"
        if key in ours and key in theirs:
            o, t = ours[key] / 1e6, theirs[key] / 1e6
            print(f"| {name} | {o:.0f} | {t:.0f} | {t / o:.1f}× | {ours.get(key + '/live', 0):.1f} |")


if __name__ == "__main__":
    if sys.argv[1] == "bench":
        bench(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        compare(sys.argv[2], sys.argv[3])
