"""Load on a server of OpenAI's API: clients that each ask for a story, one request after the other.

    pip install aiohttp==3.14.5
    python load_chat.py URL CLIENTS REQUESTS [MODEL]

Prints tokens per second, counted as events with text, and the time until the first. docs/performance.md has figures.
"""
import asyncio
import json
import sys
import time

import aiohttp


async def ask(session, url, model, number):
    """One streamed answer: seconds until its first text, and how many pieces it had."""
    begin, first, pieces = time.time(), None, 0
    body = {"model": model, "messages": [{"role": "user", "content": f"Write a short story about the number {number}."}],
            "max_tokens": 64, "temperature": 0, "stream": True}
    async with session.post(url + "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            choices = json.loads(line[6:]).get("choices")
            if choices and choices[0]["delta"].get("content"):
                pieces += 1
                first = first or time.time() - begin
    return first, pieces


async def main(url, clients, requests, model="m"):
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600), connector=connector) as session:
        await ask(session, url, model, 0)
        left, results = list(range(requests)), []

        async def client():
            while left:
                results.append(await ask(session, url, model, left.pop()))

        begin = time.time()
        await asyncio.gather(*[client() for _ in range(clients)])
        took = time.time() - begin
    firsts = sorted(first for first, _ in results if first)
    print(f"{clients} clients, {requests} requests: {sum(n for _, n in results) / took:.1f} tok/s, "
          f"first token median {firsts[len(firsts) // 2] * 1000:.0f} ms, 95th percentile {firsts[int(len(firsts) * .95)] * 1000:.0f} ms")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
