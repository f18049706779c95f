#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node at its memory limit: new series are refused with a sentence while known ones go on; at the wall behind it every write gets
503, the process stays within its bounds, and it still answers."""
from harness import *

LIMIT = 48 << 20  # three quarters of it are for the heads


def series(first, count, at_ms, samples, rng):
    # full-precision values, so that a sample takes several bytes
    return [({"__name__": "m", "i": f"{i:08d}", "pad": "x" * 60}, [(at_ms + k, rng.random()) for k in range(samples)])
            for i in range(first, first + count)]


def test(folder):
    rng = seed()
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
    count = node.query("count(m)", (base + step * 100 + 60) / 1000)
    check(int(float(count["result"][0]["value"][1])) > 0, count)
    node.stop()


main(test)
