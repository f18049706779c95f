#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A clean stop leaves what is in memory, and the next start begins with it: python3 test_head.py CAIRN. After SIGTERM and SIGINT, with
as many cores and with others, beside new samples; after kill -9 the log is read; a snapshot with a flipped byte is named and not used."""
import re, signal, time

import harness
from harness import Cairn, check, check_eq, main, say, wait_for

SERIES, STEP_MS = 300, 15000


def rows(node, metric, start_ms, first, count):
    """Samples first .. first + count - 1 of all series."""
    for at in range(first, first + count, 10):
        batch = [({"__name__": metric, "i": str(i)}, [(start_ms + k * STEP_MS, value(i, k)) for k in range(at, min(at + 10, first + count))])
                 for i in range(SERIES)]
        answer = node.write(batch)
        check(answer.code in (200, 204), answer)


def value(i, k):
    return float(i) if i % 3 == 0 else i * 1000 + k / 8


def must_have(node, metric, start_ms, count):
    """Every sample of every series, with its value."""
    seconds = count * STEP_MS // 1000 + 60
    found = node.query(f"{metric}[{seconds}s]", start_ms / 1000 + count * STEP_MS / 1000)["result"]
    check_eq(len(found), SERIES, "series")
    for s in found:
        i = int(s["metric"]["i"])
        want = [[(start_ms + k * STEP_MS) / 1000, value(i, k)] for k in range(count)]
        check_eq([[t, float(v)] for t, v in s["values"]], want, f"samples of {s['metric']}")


def last_start(node):
    """The line that says where the data came from."""
    lines = [line for line in node.log_text().splitlines() if 'msg="data loaded from' in line]
    return lines[-1]


def number(line, key):
    return float(re.search(key + r"=([0-9.]+)", line).group(1))


def must_come_from(node, what, shards):
    line = last_start(node)
    check(f'"data loaded from the {what}"' in line, line)
    check((number(line, "snapshot_shards") > 0) == shards, line)
    metrics = node.get("/metrics").text
    check_eq(float(re.search(r"^cairn_start_snapshot_shards (\S+)", metrics, re.M).group(1)), number(line, "snapshot_shards"), "metric")
    check(not (node.data_dir / "head" / "ROOT").exists(), "the snapshot is still there")
    return line


def test(folder):
    node = Cairn(folder / "n", "--node.cores=2")
    node.start()
    start_ms = (int(time.time() * 1000) - 200 * STEP_MS) // STEP_MS * STEP_MS
    rows(node, "m", start_ms, 0, 130)
    must_have(node, "m", start_ms, 130)

    took = node.stop()
    check((node.data_dir / "head" / "ROOT").exists(), "no snapshot was left")
    node.start()
    line = must_come_from(node, "head snapshot", True)
    check_eq(number(line, "snapshot_series"), SERIES, "series")
    check_eq(number(line, "replayed_entries"), 0, "entries")
    must_have(node, "m", start_ms, 130)
    say(f"stopped in {took:.2f} s; {line.split('msg=')[1]}")

    rows(node, "m", start_ms, 130, 20)  # the numbers of series go on, too
    node.kill()
    node.start()
    check(number(must_come_from(node, "log", False), "replayed_entries") > 0, "nothing was replayed")
    must_have(node, "m", start_ms, 150)

    node.stop(sig=signal.SIGINT)
    node.flags = ["--node.cores=3"]
    node.start()
    must_come_from(node, "head snapshot", True)
    rows(node, "m", start_ms, 150, 10)
    must_have(node, "m", start_ms, 160)

    for name in ("core-0", "core-2", "ROOT"):
        node.stop()
        path = node.data_dir / "head" / name
        spoiled = bytearray(path.read_bytes())
        spoiled[len(spoiled) // 2] ^= 1
        path.write_bytes(spoiled)
        node.start()
        must_come_from(node, "log", False)
        why = [line for line in node.log_text().splitlines() if "the head snapshot is not used" in line][-1]
        check(name in why and "checksum" in why or "trailer" in why, why)
        must_have(node, "m", start_ms, 160)
        say(why.split("msg=")[1])
    node.stop()


main(test)
