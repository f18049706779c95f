#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same seeded data in Cairn (one node and a cluster of three) and in Debian's Prometheus 2.42, the same generated queries to
all: every answer must be the same, but for the named classes of promql_exceptions.

    promql_diff.py CAIRN [--long] [--queries=N] [--seed=S] [--only=TEXT] [--show]

A failure prints the smallest part of the query that differs, the seed repeats it."""
import argparse, http.client, json, math, random, sys, urllib.parse
from pathlib import Path

import harness
from harness import Cairn, Prometheus, check, say
from promql_data import BY_NAME, SPAN_MS, START_MS, make_series, requests_of
from promql_exceptions import CLASSES, Case, parts_of
from promql_gen import FEATURES, NEW, OLD, Generator, Node

RELATIVE = 1e-9
LEAST_OF_EACH, LEAST_FILLED = 5, 0.6


class Asker:
    """One connection to a server that stays open; it speaks that server's dialect."""

    def __init__(self, server, dialect):
        self.server, self.dialect = server, dialect
        self.connection = http.client.HTTPConnection(harness.HOST, server.port, timeout=60 * harness.SLOWER)

    def post(self, path, form):
        body = urllib.parse.urlencode(form)
        self.connection.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        r = self.connection.getresponse()
        data = r.read()
        try:
            return r.status, json.loads(data)
        except ValueError:
            return r.status, {"status": "no JSON", "error": data[:300].decode("utf-8", "replace")}

    def ask(self, node, grid):
        text = node.text(self.dialect)
        path = "/api/v1/query" if "time" in grid else "/api/v1/query_range"
        return Result(*self.post(path, {"query": text, "stats": "all", **grid}))


class Result:
    """What is compared: status, kind of error, type, and the series in their order."""

    def __init__(self, code, doc):
        self.code, self.doc = code, doc
        self.error = doc.get("errorType") if doc["status"] == "error" else None if doc["status"] == "success" else doc["status"]
        self.text = doc.get("error", "")
        data = doc.get("data") or {}
        self.type, raw = data.get("resultType"), data.get("result", [])
        self.samples = data.get("stats", {}).get("samples")
        self.series = []
        if self.type in ("vector", "matrix"):
            self.series = [(tuple(sorted(r["metric"].items())), points_of(r)) for r in raw]
        elif self.type == "scalar":
            self.series = [((), [(raw[0], float(raw[1]))])]

    def empty(self):
        return not self.series

    def __str__(self):
        if self.error:
            return f"HTTP {self.code} {self.error}: {self.text}"
        return f"{self.type} of {len(self.series)} series"


def points_of(row):
    check("histogram" not in row and "histograms" not in row, "a histogram, but none was sent:", row)
    return [(t, float(v)) for t, v in (row["values"] if "values" in row else [row["value"]])]


def near(a, b):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or (math.isfinite(a) and math.isfinite(b) and abs(a - b) <= RELATIVE * max(abs(a), abs(b)))


def same_points(a, b):
    return len(a) == len(b) and all(s == t and near(v, w) for (s, v), (t, w) in zip(a, b))


def is_ordered(node):
    return node.op in ("call", "aggregate") and node.info["name"] in ("sort", "sort_desc", "topk", "bottomk")


def difference(node, grid, want, got):
    """The first difference as text, or None."""
    if (want.code, want.error) != (got.code, got.error):
        return f"Prometheus: {want}; Cairn: {got}"
    if want.error:
        return None
    if want.type != got.type:
        return f"type: Prometheus {want.type}, Cairn {got.type}"
    w, g = dict(want.series), dict(got.series)
    if len(g) != len(got.series):
        return "Cairn has a label set twice"
    if w.keys() != g.keys():
        return (f"label sets: {len(w)} of Prometheus, {len(g)} of Cairn; only Prometheus {[dict(k) for k in w if k not in g][:3]}, "
                f"only Cairn {[dict(k) for k in g if k not in w][:3]}")
    for labels, points in want.series:
        if not same_points(points, g[labels]):
            return f"{dict(labels)}: " + first_point(points, g[labels])
    if "time" not in grid and [k for k, _ in want.series] != [k for k, _ in got.series]:
        return f"order: {[dict(k) for k, _ in want.series][:4]} but {[dict(k) for k, _ in got.series][:4]}"
    if "time" in grid and is_ordered(node):
        for (a, p), (b, q) in zip(want.series, got.series):
            if not near(p[0][1], q[0][1]):
                return f"order of values: {p[0][1]!r} of {dict(a)} but {q[0][1]!r} of {dict(b)}"
    return None


def samples_difference(want, got):
    """The same answer must come from the same number of samples, at every step; what is held at once differs between engines, but
    the result is."""
    points = sum(len(p) for _, p in got.series)
    if got.samples["peakSamples"] < points and got.type != "scalar":
        return f"samples: {points} points, but at most {got.samples['peakSamples']} held"
    w, g = [(r.samples["totalQueryableSamples"], dict(map(tuple, r.samples["totalQueryableSamplesPerStep"]))) for r in (want, got)]
    if w == g:
        return None
    first = next((f"at {t}: {w[1].get(t)} and {g[1].get(t)}" for t in sorted(w[1].keys() | g[1].keys()) if w[1].get(t) != g[1].get(t)), "")
    return f"samples: Prometheus {w[0]}, Cairn {g[0]}; {first}"


def first_point(w, g):
    w, g = dict(w), dict(g)
    for t in sorted(w.keys() | g.keys()):
        if t not in w or t not in g or not near(w[t], g[t]):
            return f"at {t}: Prometheus {w.get(t)!r}, Cairn {g.get(t)!r}; points {len(w)} and {len(g)}"
    return "the same points?"


# -- when to ask

def grids(rng):
    """An instant and a range, at even milliseconds that are no whole seconds, mostly inside the data."""
    at = START_MS + rng.randrange(1500_000, SPAN_MS + 240_000) // 1000 * 1000 + 338
    step = rng.choice((15_000, 30_000, 61_000, 97_500, 120_000, 300_000))
    count = rng.randrange(2, 50)
    start = START_MS + rng.randrange(600_000, SPAN_MS) // 1000 * 1000 + 338
    as_text = lambda ms: f"{ms // 1000}.{ms % 1000:03d}"
    return ({"time": as_text(at)},
            {"start": as_text(start), "end": as_text(start + step * count), "step": f"{step / 1000:g}"})


# -- one query

class Tally:
    def __init__(self):
        self.features = {f: 0 for f in FEATURES}
        self.answers = self.filled = self.errors = 0
        self.excused = {c.name: 0 for c in CLASSES}
        self.missing, self.failures = {}, []


def excuse(case):
    return next((c for c in CLASSES if c.recognise(case)), None)


def smallest(node, grid, prometheus, cairn):
    """The smallest parts that differ by themselves, as cases: those with no smaller one inside."""
    cases = []
    for part, g in parts_of(node, grid):
        if any(c.node in part.walk() for c in cases):
            continue
        want, got = prometheus.ask(part, g), cairn.ask(part, g)
        if difference(part, g, want, got):
            cases.append(Case(part, g, want, got, prometheus, cairn))
    return cases


def judge(node, grid, want, got, prometheus, cairn, tally):
    """A difference: all its smallest parts must be of a known class; else it is a failure."""
    cases = smallest(node, grid, prometheus, cairn) or [Case(node, grid, want, got, prometheus, cairn)]
    reasons = [excuse(c) for c in cases]
    if all(reasons):
        for name in {r.name for r in reasons}:
            tally.excused[name] += 1
        return
    tally.failures.append(node)
    case = cases[reasons.index(None)]
    text = node.text(NEW)
    say(f"DIFFERS ({cairn.server.name}): {text}\n    {grid}\n    {difference(node, grid, want, got)}")
    if case.node is not node:
        say(f"    smallest part: {case.node.text(NEW)}\n    {case.grid}\n    "
            f"{difference(case.node, case.grid, case.want, case.got)}")


def ask_all(node, grid, prometheus, cairns, tally, show):
    want = prometheus.ask(node, grid)
    tally.answers += 1
    tally.filled += not want.empty()
    tally.errors += want.error is not None
    if show:
        say(node.text(), grid, "->", want)
    for cairn in cairns:
        got = cairn.ask(node, grid)
        if got.error and " is not evaluated" in got.text:
            tally.missing[got.text] = tally.missing.get(got.text, 0) + 1
        elif difference(node, grid, want, got):
            judge(node, grid, want, got, prometheus, cairn, tally)
        elif not want.error and samples_difference(want, got):
            tally.failures.append(node)
            say(f"DIFFERS ({cairn.server.name}): {node.text(NEW)}\n    {grid}\n    {samples_difference(want, got)}")


def ask_everything(args, prometheus, cairns, tally):
    generator, rng = Generator(args.seed), random.Random(args.seed + 1)
    for _ in range(args.queries):
        node, both = generator.query(), grids(rng)
        if args.only and args.only not in node.text():
            continue
        for part in node.walk():
            for f in part.features:
                tally.features[f] += 1
        for grid in both:
            ask_all(node, grid, prometheus, cairns, tally, args.show)
        if len(tally.failures) > args.failures:
            say("too many failures, giving up")
            break


def print_table(tally):
    kinds = {}
    for (kind, name), count in tally.features.items():
        kinds.setdefault(kind, []).append(f"{name} {count}")
    for kind, rows in kinds.items():
        print(f"{kind}: " + ", ".join(rows))
    print(f"answers: {tally.answers}, not empty {tally.filled} ({100 * tally.filled / max(1, tally.answers):.1f} %), "
          f"errors {tally.errors}")
    for c in CLASSES:
        print(f"excused: {tally.excused[c.name]} {c.name}: {c.why} ({c.proof()})")
    for text, count in sorted(tally.missing.items()):
        print(f"missing in Cairn: {count} {text}")


def check_proofs(folder):
    """Each class names a case of Prometheus 3.14's tests that is there, where they are at hand."""
    if not folder or not Path(folder).is_dir():
        say("the cases that the classes of exception name were not looked up: no --shared folder")
        return
    for c in CLASSES:
        if c.file:
            text = (Path(folder) / "promqltest" / c.file).read_text()
            check(c.text in text, c.name, "names a case that", c.file, "does not have:", c.text)


def feed(args, servers):
    series = make_series(args.seed)
    samples = 0
    for request in requests_of(series):
        samples += sum(len(s) for _, s in request)
        for server in servers:
            answer = server.write(request)
            check(answer.code in (200, 204), server.name, "refused the data:", answer)
    say(f"{len(series)} series, {samples} samples in {len(servers)} servers")


def run(folder, args):
    check_proofs(args.shared)
    prometheus = Prometheus(folder / "prometheus", "--enable-feature=promql-per-step-stats", "--storage.tsdb.retention.time=100y")
    flags = ["--enable-feature=promql-experimental-functions,promql-per-step-stats", "--storage.tsdb.retention.time=100y"]
    single = Cairn(folder / "single", *flags)
    nodes = [] if args.single else harness.cluster(folder, 3, *flags)
    harness.start_all([prometheus, single] + nodes)
    feed(args, [prometheus, single] + nodes[:1])
    reference = Asker(prometheus, OLD)
    cairns = [Asker(single, NEW)] + [Asker(n, NEW) for n in nodes[1:2]]
    tally = Tally()
    ask_everything(args, reference, cairns, tally)
    print_table(tally)
    harness.stop_all([prometheus, single] + nodes)
    check(not tally.failures, len(tally.failures), "answers differ")
    check(not tally.missing, "not evaluated:", tally.missing)
    rare = {f: n for f, n in tally.features.items() if n < LEAST_OF_EACH}
    if not args.only:
        check(not rare, f"in less than {LEAST_OF_EACH} places:", rare)
        check(tally.filled >= LEAST_FILLED * tally.answers, "too many results are empty")


def options():
    p = argparse.ArgumentParser()
    p.add_argument("cairn")
    p.add_argument("--long", action="store_true", help="5000 queries instead of 600")
    p.add_argument("--queries", type=int)
    p.add_argument("--seed", type=int, default=20240229)
    p.add_argument("--only", help="only queries with this text")
    p.add_argument("--failures", type=int, default=20, help="give up after so many")
    p.add_argument("--single", action="store_true", help="no cluster")
    p.add_argument("--shared", help="where promqltest/ is")
    p.add_argument("--show", action="store_true", help="print all queries")
    args = p.parse_args()
    args.queries = args.queries or (5000 if args.long else 600)
    sys.argv = [sys.argv[0], args.cairn]
    print(f"seed {args.seed} (--seed={args.seed} repeats it)", flush=True)
    return args


if __name__ == "__main__":
    parsed = options()
    harness.need(harness.PROMETHEUS)
    harness.main(lambda folder: run(folder, parsed))
