#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node at its memory limit: new series are refused with a sentence while known ones go on; at the wall behind it every write gets
503 and queries are refused, and the process stays within its bounds. Queries that would take more than there is are ended or refused,
writes go on meanwhile, and once they are gone queries are answered again."""
from harness import *

LIMIT = 48 << 20  # three quarters of it are for the heads


def series(first, count, at_ms, samples, rng):
    # full-precision values, so that a sample takes several bytes
    return [({"__name__": "m", "i": f"{i:08d}", "pad": "x" * 60}, [(at_ms + k, rng.random()) for k in range(samples)])
            for i in range(first, first + count)]


def fill(folder, rng):
    node = Cairn(folder, f"--node.memory-limit={LIMIT}B", "--node.cores=2").start()
    base = int(time.time() * 1000) - 1_000_000
    made, answer = 0, None
    while made < 2_000_000:
        answer = node.write(series(made, 2000, base, 1, rng))
        if answer.code != 204:
            break
        made += 2000
    check_eq(answer.code, 400, f"a batch of new series beyond the limit: {answer}")
    check("memory limit" in answer.text and "new series are not taken" in answer.text, answer)
    say(f"{made} series taken, then: {answer.text.strip()}")
    check(made >= 10_000, "only", made, "series fit")
    check_eq(node.write(series(0, 1000, base + 1000, 1, rng)).code, 204, "known series go on")

    step = 2
    while step < 4000:
        answer = node.write(series((step * 1000) % made, 1000, base + step * 100, 50, rng))
        if answer.code != 204:
            break
        step += 1
    check_eq(answer.code, 503, f"samples of known series beyond the wall: {answer}")
    check("memory of this node is full (--node.memory-limit)" in answer.text, answer)
    check(answer.headers.get("retry-after"), "no Retry-After")
    say(f"full after {step} batches of 50,000 samples; RSS {node.rss_bytes() >> 20} MiB")
    check(node.rss_bytes() < 4 * LIMIT * SLOWER, "RSS", node.rss_bytes())
    check_eq(node.get("/-/healthy").code, 200)
    for path in "/api/v1/query?query=count(m)", "/api/v1/labels":
        answer = node.get(path)
        check_eq(answer.code, 503, f"{path} at the wall: {answer}")
        check("memory of this node is full (--node.memory-limit), queries are refused" in answer.text, answer)
    check(re.search("cairn_memory_pressure [123]", node.get("/metrics").text), "no pressure is told")
    node.stop()


def crowd(folder, rng):
    """Sixteen queries of some 32 MB each, a few of which would fit."""
    limit = 160 << 20
    node = Cairn(folder / "crowd", f"--node.memory-limit={limit}B", "--node.cores=2").start()
    began = node.rss_bytes()
    base = int(time.time() * 1000) - 1_000_000
    for k in range(5):
        for i in range(0, 5000, 1000):
            check_eq(node.write([(s, [(base + 1000 * (20 * k + j), rng.random()) for j in range(20)]) for s, _ in series(i, 1000, base, 0, rng)]).code, 204)
    at = (base + 200_000) / 1000
    want = sum(len(s["values"]) for s in node.query("m[1h]", at)["result"])
    check_eq(want, 500_000, "samples of one query")
    answers = []

    def ask():
        answers.append(node.api("/api/v1/query", query="m[1h]", time=f"{at:.3f}"))
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for t in threads:
        t.start()
    writes = 0
    while any(t.is_alive() for t in threads):
        writes += 1
        check_eq(node.write(series(0, 1, base + 300_000 + writes, 1, rng)).code, 204, "a write meanwhile")
        threading.Event().wait(0.02)
    refused = [a for a in answers if a.code != 200]
    check(refused, "all sixteen were answered: nothing was short")
    for a in refused:
        check(a.code in (422, 503) and "memory of this node is full (--node.memory-limit)" in a.text, a)
    for a in answers:
        if a.code == 200:
            check_eq(sum(len(s["values"]) for s in a.json()["data"]["result"]), want, "samples of an answer")
    say(f"{len(refused)} of 16 refused, {writes} writes meanwhile, peak RSS {node.peak_rss_bytes() >> 20} MiB")
    check(node.peak_rss_bytes() < began + limit + (40 << 20), "peak RSS", node.peak_rss_bytes())
    wait_for("queries are answered again", lambda: len(node.query("m[1h]", at)["result"]) == 5000)
    node.stop()


def test(folder):
    rng = seed()
    fill(folder, rng)
    if not SANITIZED:  # which takes more memory than what is measured
        crowd(folder, rng)


main(test)
