#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The query log against that of Debian's prometheus 2.42; the warning about slow queries; the list of running queries that
survives kill -9; stats and trace of an answer. Usage: test_query_log.py CAIRN PROMETHEUS."""
import json, os, re, sys, threading, time, urllib.parse

import servers
from servers import BASE_MS, STEP_MS, STEPS, cairn, fill, prometheus, wait_for

END_S = (BASE_MS + (STEPS - 1) * STEP_MS) // 1000 - 7
bad = 0


def check(right, *what):
    global bad
    if not right:
        bad += 1
        print("WRONG", *what, sep="\n  ")


def target(path, **params):
    return path + "?" + urllib.parse.urlencode(params)


ASKED = [
    target("query", query="up", time=END_S), target("query", query='{__name__="odd"}', time="1700000000.5"),
    target("query_range", query="sum(rate(http_requests_total[5m])) by (job)", start=END_S - 600, end=END_S, step=30),
    target("query_range", query="up", start=END_S - 1, end=END_S, step="0.5"),
    target("query", query="up + on(job) http_requests_total", time=END_S),
]


def shape(value):
    """Times as their form, numbers of timings as a word, the rest as it is."""
    if isinstance(value, dict):
        return {k: "seconds" if k.endswith("Time") and isinstance(v, (int, float)) else "T" if k == "ts" else shape(v)
                for k, v in value.items()}
    return value


def log_lines(server, name, count):
    path = os.path.join(server.work, name)

    def read():
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
        return lines if len(lines) >= count else None
    return wait_for(f"{count} lines in {path}", read)


def test_query_log(program, oracle):
    config = "global: {query_log_file: queries.log}\n"
    ours, theirs = cairn(program, config=config), prometheus(oracle, config=config)
    try:
        fill(ours, theirs)
        for server in (ours, theirs):
            for t in ASKED:
                server.get(t)
            server.post("query", urllib.parse.urlencode({"query": "1", "time": END_S}))
        a, b = log_lines(ours, "queries.log", len(ASKED) + 1), log_lines(theirs, "queries.log", len(ASKED) + 1)
        for x, y in zip(a, b):
            x, y = json.loads(x), json.loads(y)
            check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", x["ts"]), x["ts"])
            y.pop("spanID", None)  # of tracing
            x["stats"]["samples"].pop("samplesRead")  # newer than 2.42
            if "error" in x:
                check("error" in y and "many-to-many" in x["error"] or "duplicate" in x["error"], x, y)
                x, y = {**x, "error": "", "stats": ""}, {**y, "error": "", "stats": ""}
            x, y = shape(x), shape(y)
            for z in (x, y):
                if z["stats"]:
                    z["stats"]["samples"].pop("peakSamples")  # what is held at once differs between the engines
            check(x == y, "query log", x, y)
        for t in ASKED[:4]:  # the same for the answers
            x, y = (json.loads(s.get(t + "&stats=all")[1])["data"]["stats"] for s in (ours, theirs))
            check(x["timings"].keys() == y["timings"].keys(), x, y)
            check(x["samples"]["totalQueryableSamples"] == y["samples"]["totalQueryableSamples"], t, x, y)
            t = x["timings"]
            check(abs(t["execTotalTime"] - t["execQueueTime"] - t["evalTotalTime"]) < 1e-9, t)
            parts = t["queryPreparationTime"] + t["innerEvalTime"] + t["resultSortTime"]
            check(abs(parts - t["evalTotalTime"]) < 1e-9 and t["innerEvalTime"] > 0, t)
        test_trace(ours)
        metrics = ours.request("GET", "/metrics")[1].decode()
        check("prometheus_engine_query_log_enabled 1\n" in metrics, "metric of the query log")
    finally:
        check(ours.stop() == 0, "end")
        theirs.stop()


def test_trace(server):
    data = json.loads(server.get(ASKED[2] + "&trace=1")[1])["data"]
    trace = data["trace"]
    check(len(trace["rounds"]) == 1 and len(data["result"]) == 3, trace)
    parts = trace["rounds"][0]["parts"]
    check(sum(p["series"] for p in parts) == 24, "selected series", parts)  # 3 jobs, 4 instances, 2 codes
    check(all(p["answered"] and p["rows"] <= 3 and p["evaluate"] <= p["total"] and p["select"] <= p["total"] for p in parts), parts)
    check(sum(p["rows"] for p in parts) >= 3 and sum(p["bytes"] for p in parts) > 0, parts)
    stages = trace["queue"] + trace["prepare"] + trace["finish"] + sum(r["scatter"] + r["fold"] for r in trace["rounds"])
    check(stages <= trace["total"] + 1e-9 and stages >= 0.5 * trace["total"], "the stages add up", stages, trace)
    check("trace" not in json.loads(server.get(ASKED[2])[1])["data"], "trace without asking")


LONG = 'count(quantile_over_time(0.5, {job=~".+"}[1h])) # a long one "quoted" ü'


def start_long(server):
    """In a thread: it may never be answered."""
    def ask():
        try:
            server.get(target("query_range", query=LONG, start=END_S - 5400, end=END_S + 5400, step=1))
        except OSError:
            pass
        except Exception as e:  # a killed server ends a connection in many ways
            print("long query:", e)
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


def active_text(folder):
    with open(os.path.join(folder, "data/queries.active"), "rb") as f:
        return f.read()


def test_active(program):
    first = cairn(program, "--query.log-slower-than=1ms")
    folder = first.work
    argv = first.process.args
    fill(first)
    check(active_text(folder)[:1] == b"[" and b"query" not in active_text(folder), "an idle server has entries")
    check(not any("didn't finish" in line for line in first.lines), "first start", first.lines)
    start_long(first)
    wait_for("the query in the file", lambda: b"a long one" in active_text(folder))
    first.process.kill()
    first.process.wait()
    second = servers.Server(argv, folder, first.find_port)
    left = [line for line in second.lines if "didn't finish" in line]
    check(len(left) == 1, "log of the next start", second.lines)
    text = left[0].partition("queries=")[2].strip()
    entries = json.loads(json.loads(text))
    check(len(entries) == 1 and entries[0]["query"] == LONG and abs(entries[0]["timestamp_sec"] - time.time()) < 60, entries)
    for _ in range(3):
        second.get(target("query", query="up", time=END_S))
    check(b"query" not in active_text(folder), "queries that ended")
    # slow queries are logged; those on a server with the default are not
    work = "sum(rate(http_requests_total[5m])) + on() quantile_over_time(0.5, vector(time())[2h:1s])"  # well over 1 ms anywhere
    second.get(target("query_range", query=work, start=END_S - 3600, end=END_S, step=1))
    slow = wait_for("the warning", lambda: [line for line in second.lines if "slow query" in line and "sum(rate(" in line])
    check("level=WARN" in slow[0] and all(f" {k}=" in slow[0] for k in ("total", "queue", "prepare", "evaluate", "finish")), slow)
    second.process.terminate()
    check(second.process.wait(20) == 0, "clean stop")
    check(not os.path.exists(os.path.join(folder, "data/queries.active")), "a clean stop clears the file")
    third = servers.Server(argv[:-1], folder, first.find_port)
    check(not any("didn't finish" in line for line in third.lines), "after a clean stop", third.lines)
    third.get(target("query_range", query="sum(rate(http_requests_total[5m]))", start=END_S - 3600, end=END_S, step=1))
    check(third.stop() == 0, "end")
    check(not any("slow query" in line for line in third.lines), "slow by default", third.lines)


def main() -> int:
    if not sys.argv[2]:
        print("prometheus is not installed")
        return 77
    test_query_log(sys.argv[1], sys.argv[2])
    test_active(sys.argv[1])
    print(f"{bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
