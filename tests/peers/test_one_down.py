#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three nodes without replication, one killed: reads that need it are refused and name it, what does not goes on, writes are taken
in its stead, and nothing that was acknowledged is lost."""
import re
from concurrent.futures import ThreadPoolExecutor

from harness import *

SERIES, SHARDS = 240, 1024


def labels_of(i):
    return {"__name__": "down_total", "i": str(i), "group": str(i % 5)}


def series_seen(node, at, **form):
    return {int(r["metric"]["i"]): r["value"][1] for r in node.query("down_total", at, **form)["result"]}


def check_refused(answer, down):
    """HTTP 503 in Prometheus' error form, with the count of shards and the node; returns the count."""
    check_eq(answer.code, 503, f"code of {answer}")
    doc = answer.json()
    check_eq(doc["status"], "error", "status")
    check_eq(doc["errorType"], "unavailable", "errorType")
    m = re.fullmatch(r".*?incomplete: (\d+) of (\d+) shards unavailable \(node (.*)\)", doc["error"])
    check(m, "error text is", doc["error"])
    check(down.ring_address in m.group(3), "the text does not name", down.ring_address, ":", doc["error"])
    check_eq(int(m.group(2)), SHARDS, "shards of the text")
    check(0 < int(m.group(1)) < SHARDS, "shards missing:", doc["error"])
    return int(m.group(1))


def check_reads_refused(living, down, at):
    missing = set()
    for node in living:
        for form in ({"query": "down_total"}, {"query": "sum by (group) (down_total)"}, {"query": "count(down_total) or vector(0)"},
                     {"query": "absent(down_total)"}):
            missing.add(check_refused(node.api("/api/v1/query", time=at, **form), down))
        missing.add(check_refused(node.api("/api/v1/query_range", query="sum(down_total)", start=at - 60, end=at, step=10), down))
        for path in "/api/v1/series", "/api/v1/labels", "/api/v1/label/i/values":
            a = node.api(path, _match="down_total") if path == "/api/v1/series" or path == "/api/v1/labels" else node.get(path)
            check_eq(a.code, 503, f"{path}: {a}")
            check(down.ring_address in a.text, path, "does not name the node:", a)
        # what needs no data needs no node
        check_eq(node.query("1 + 1", at)["result"][1], "2", "a scalar")
        for path in "/-/healthy", "/-/ready":
            check_eq(node.get(path).code, 200, path)
    check_eq(len(missing), 1, f"all answers miss the same number of shards, got {missing}")
    return missing.pop()


def check_partial(living, down, at, missing):
    answers = []
    for node in living:
        a = node.api("/api/v1/query", query="down_total", time=at, partial_response="true")
        check_eq(a.code, 200, f"partial: {a}")
        warnings = a.json().get("warnings", [])
        check(any(down.ring_address in w and f"{missing} of {SHARDS}" in w for w in warnings), "warnings are", warnings)
        answers.append(series_seen(node, at, partial_response="true"))
        total = node.query("count(down_total)", at, partial_response="true")["result"][0]["value"][1]
        check_eq(int(total), len(answers[-1]), "count of the partial answer")
    check_eq(answers[0], answers[1], "both living nodes give the same partial answer")
    return answers[0]


def test(folder):
    nodes = wait_voters(start_all(cluster(folder, 3)))
    t0 = int(time.time() * 1000) - 60_000
    want = {}  # (series, time) -> value that was acknowledged

    def load(node, series, t):
        a = node.write([(labels_of(i), [(t, i + 0.25)]) for i in series])
        check_eq(a.code, 204, f"write: {a}")
        want.update({(i, t): i + 0.25 for i in series})

    for k in range(3):
        load(nodes[k], range(SERIES), t0 + k * 1000)
    at = (t0 + 2500) / 1000
    for node in nodes:
        check_eq(len(series_seen(node, at)), SERIES, f"series at {node.name}")
    say("loaded; killing node2")

    down, living = nodes[2], nodes[:2]
    down.kill()
    for node in living:  # at first, without a controller where that was the dead one, nobody may answer
        wait_for(f"{node.name} knows who is dead", lambda: node.get("/-/ready").code == 200 and
                 check_refused(node.api("/api/v1/query", query="down_total", time=at), down))
    missing = check_reads_refused(living, down, at)
    seen = check_partial(living, down, at, missing)
    lost = sorted(set(range(SERIES)) - set(seen))
    check(SERIES // 6 < len(lost) < SERIES // 2, "a third is on the dead node, got", len(lost))
    check(all(seen[i] == f"{i + 0.25:g}" for i in seen), "values of the partial answer")
    say(f"{missing} of {SHARDS} shards and {len(lost)} of {SERIES} series are away")

    # the others take the dead one's writes in its stead (what they hold is read when it is back), the living shards' at once
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(load, node, series, t0 + 5000 + 10 * k) for k, (node, series) in enumerate(
            [(living[0], [lost[0]]), (living[1], lost), (living[0], range(SERIES)), (living[1], [lost[-1], min(seen)])])]
        for k in range(20):
            began = time.monotonic()
            load(living[k % 2], sorted(seen), t0 + 3000 + k)
            check(time.monotonic() - began < 5 * SLOWER, "writes of living shards wait for dead ones")
        for job in jobs:
            job.result()
    check_eq(check_reads_refused(living, down, at), missing, "shards still away")
    say("writes of the dead node's shards are acknowledged, reads are not answered")

    down.start()
    at = (t0 + 10_000) / 1000
    for node in nodes:
        wait_for(f"{node.name} answers whole again", lambda: len(series_seen(node, at)) == SERIES)
    for node in nodes:
        got = {}
        for r in node.query("down_total[1m]", at)["result"]:
            for t, v in r["values"]:
                got[(int(r["metric"]["i"]), round(t * 1000))] = float(v)
        check_eq([k for k, v in want.items() if got.get(k) != v], [], f"{node.name}: acknowledged and missing")
        check_eq([k for k in got if k not in want], [], f"{node.name}: never sent")
    load(nodes[0], range(SERIES), t0 + 9000)
    load(nodes[2], range(SERIES), t0 + 9001)
    for node in nodes:
        check_eq(series_seen(node, at), {i: f"{i + 0.25:g}" for i in range(SERIES)}, node.name)
    stop_all(nodes)


main(test)
