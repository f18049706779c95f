# SPDX-License-Identifier: Apache-2.0
"""Where Prometheus 3.14 answers otherwise than 2.42, and the test expects 3.14's answer. A class recognises the smallest part of
a query that differs, by what the servers say about it, not by its name alone; `proof` is a case of Prometheus 3.14's own tests,
file and text, in which Cairn's answer is the right one."""
import math

from promql_gen import ARITHMETIC, COMPARISONS, DATES, MATH, Node

NEAR = 1e-9


class Case:
    """A part that differs: its tree, when it was asked, both results, and both servers to ask more."""

    def __init__(self, node, grid, want, got, prometheus, cairn):
        self.node, self.grid, self.want, self.got, self.prometheus, self.cairn = node, grid, want, got, prometheus, cairn
        self.name = node.info.get("name")

    def both(self, node):
        return self.prometheus.ask(node, self.grid), self.cairn.ask(node, self.grid)

    def points(self):
        """(labels, time, Prometheus' value, Cairn's value) where they differ; None for a missing one."""
        want, got = dict(self.want.series), dict(self.got.series)
        for labels in want.keys() | got.keys():
            w, g = dict(want.get(labels, ())), dict(got.get(labels, ()))
            for t in w.keys() | g.keys():
                a, b = w.get(t), g.get(t)
                if a is None or b is None or not near(a, b):
                    yield labels, t, a, b

    def same_shape(self):
        return not self.want.error and not self.got.error and all(a is not None and b is not None for _, _, a, b in self.points())


def near(a, b, scale=0.0):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or (math.isfinite(a) and math.isfinite(b) and abs(a - b) <= NEAR * max(abs(a), abs(b), scale))


def around(node, before, after, op="aggregate", **info):
    """The same inner expression in another call: before(inner)after."""
    return Node(op, [before, after], [node], info.pop("type_", "vector"), **info)


def operand(node):
    return node.kids[-1]


# -- classes

def group_key(node, labels):
    chosen = set(node.info["labels"])
    if node.info["grouping"] == "without":
        return tuple((k, v) for k, v in labels if k not in chosen and k != "__name__")
    return tuple((k, v) for k, v in labels if node.info["grouping"] == "by" and k in chosen)


def is_tie(case):
    """topk and bottomk: the same values in every group at every time, of other series."""
    if case.name not in ("topk", "bottomk") or case.want.error or case.got.error:
        return False

    def values(result):
        out = {}
        for labels, points in result.series:
            for t, v in points:
                out.setdefault((t, group_key(case.node, labels)), []).append(v)
        return {k: sorted(vs, key=lambda v: (math.isnan(v), v)) for k, vs in out.items()}
    want, got = values(case.want), values(case.got)
    return want.keys() == got.keys() and all(len(want[k]) == len(got[k]) and all(map(near, want[k], got[k])) for k in want)


def is_classic_fraction(case):
    """histogram_fraction() of classic buckets: nothing in 2.42."""
    return case.name == "histogram_fraction" and not case.want.error and case.want.empty() and not case.got.error


def is_dropped_match(case):
    """A second match that the comparison drops: an error in 3.14. 2.42 has the same error when bool keeps all."""
    if case.node.op != "binary" or not case.node.info["filters"] or case.want.error or case.got.error != "execution":
        return False
    if "multiple matches for labels" not in case.got.text:
        return False
    with_bool = Node("binary", ["", f" {case.name} bool{case.node.info['clause']} ", ""], case.node.kids, name=case.name)
    want, got = case.both(with_bool)
    return want.error == got.error == "execution" and want.text == got.text


def extrapolated(samples, start, end, seconds, new):
    """increase() of a counter, as 2.42 (promql/functions.go, extrapolatedRate) and as 3.14 have it."""
    first, last = samples[0], samples[-1]
    rise = last[1] - first[1] + sum(a[1] for a, b in zip(samples, samples[1:]) if b[1] < a[1])
    to_start, to_end, sampled = first[0] - start, end - last[0], last[0] - first[0]
    average = sampled / (len(samples) - 1)
    limit = average * 1.1
    to_zero = sampled * (first[1] / rise) if rise > 0 and first[1] >= 0 else math.inf
    if new:
        to_start = min(average / 2 if to_start >= limit else to_start, to_zero)
    else:
        to_start = min(to_start, to_zero)
        to_start = average / 2 if to_start >= limit else to_start
    to_end = average / 2 if to_end >= limit else to_end
    return rise * (sampled + to_start + to_end) / sampled / seconds


def is_zero_point(case):
    """rate() and increase() that begin near zero: both answers are worked out again, each by its own rule."""
    if case.name not in ("rate", "increase") or not case.same_shape():
        return False
    matrix, points = case.node.kids[0], sorted(case.points(), key=lambda p: p[:2])
    if "range_ms" not in matrix.info:
        return False
    at = matrix.info["at"]
    for labels, t, a, b in points[:8]:
        answer = case.prometheus.ask(matrix, {"time": f"{t:.3f}"})
        if at in ("start()", "end()") and "start" in case.grid:
            at = case.grid[at[:-2]]
        end = (float(at) if at and "(" not in at else t) - matrix.info["offset_ms"] / 1000
        series = [p for k, p in answer.series if tuple(x for x in k if x[0] != "__name__") == labels]
        if len(series) != 1 or len(series[0]) < 2:
            return False
        start, seconds = end - matrix.info["range_ms"] / 1000, matrix.info["range_ms"] / 1000 if case.name == "rate" else 1
        old, new = (extrapolated(series[0], start, end, seconds, n) for n in (False, True))
        if not near(old, a) or not near(new, b):
            return False
    return bool(points)


def is_lone_infinity(case):
    """stddev and stdvar of one element that is infinite or NaN: 2.42 says 0."""
    if case.name not in ("stddev", "stdvar") or not case.same_shape():
        return False
    inner = operand(case.node)
    clause = case.node.info["clause"]
    count, value = (dict((k, dict(p)) for k, p in case.prometheus.ask(around(inner, f"{op}{clause} (", ")"), case.grid).series)
                    for op in ("count", "max"))
    return all(a == 0 and math.isnan(b) and count[k][t] == 1 and not math.isfinite(value[k][t]) for k, t, a, b in case.points())


def is_moving_window(case):
    """@ on the range of a call that itself varies with time: in a range query 2.42 moves the window along with the steps. Each
    of Cairn's points must be the answer to the instant query at its time."""
    if case.node.op != "call" or "start" not in case.grid or case.got.error:
        return False
    fixed = [k for k in case.node.kids if k.type == "matrix" and k.info.get("at")]
    if not fixed:
        return False
    node = case.node
    times = sorted({t for _, points in case.got.series for t, _ in points} | {p[1] for p in case.points()})
    bound = {f"@ {name}()": f"@ {case.grid[name]}" for name in ("start", "end")}
    text = node.text()
    for name, at in bound.items():
        text = text.replace(name, at)
    got = {k: dict(p) for k, p in case.got.series}
    for t in times[:12]:
        instant = case.prometheus.ask(Node("text", [text]), {"time": f"{t:.3f}"})
        want = {k: p[0][1] for k, p in instant.series}
        at_t = {k: p[t] for k, p in got.items() if t in p}
        if instant.error or want.keys() != at_t.keys() or not all(near(want[k], at_t[k]) for k in want):
            return False
    return True


COMPENSATED = {"avg", "sum", "stddev", "stdvar", "avg_over_time", "sum_over_time", "stddev_over_time", "stdvar_over_time", "deriv",
               "predict_linear", "quantile", "quantile_over_time", "delta", "idelta", "holt_winters"}
STEPPED = set(COMPARISONS) | {"floor", "ceil", "round", "sgn", "changes", "resets", "%", "count_values", "irate", "rate", "increase",
                              "tan", "atan2", "topk", "bottomk"} | set(DATES)


def magnitude(case, kid):
    """The largest finite absolute value of an operand on the way to this result."""
    if kid.type == "matrix":
        results = [case.cairn.ask(around(kid, f"{f}(", ")", "call", name=f), case.grid) for f in ("max_over_time", "min_over_time")]
    else:
        results = [case.cairn.ask(kid, case.grid)]
    values = [abs(v) for r in results for _, p in r.series for _, v in p]
    return max((v for v in values if math.isfinite(v)), default=0.0), any(v > 1e150 for v in values)


def differ_in_digits(want, got):
    """Equal to 1e-9, but not the same."""
    if want.error or got.error:
        return False
    g = dict(got.series)
    pairs = [(v, dict(g.get(k, ())).get(t)) for k, p in want.series for t, v in p]
    return all(b is not None and near(a, b) for a, b in pairs) and any(a != b and not math.isnan(a) for a, b in pairs)


def is_rounding(case):
    """The last digit: sums are compensated in 3.14, and C's library rounds sinh() and the like otherwise than Go's. What is left
    of a difference of nearly equal numbers, or which side of a step a number falls on, follows from it."""
    kids = [k for k in case.node.kids if k.type in ("vector", "matrix", "scalar") and k.op != "number"]
    if case.name == "count_values" and not case.want.error and not case.got.error:
        return differ_in_digits(*case.both(operand(case.node)))
    if case.same_shape() and (case.name in COMPENSATED or case.name in ARITHMETIC or case.name in MATH):
        sizes = [magnitude(case, k) for k in kids]
        scale, huge = max((s for s, _ in sizes), default=0.0), any(h for _, h in sizes)
        if case.name in ("stdvar", "stdvar_over_time"):
            scale *= scale
        if case.name in ("stddev", "stddev_over_time"):  # a root: half of the digits
            scale *= 10
        if all(near(a, b, scale) or (huge and not math.isfinite(a) and not math.isfinite(b)) for _, _, a, b in case.points()):
            return True
    if case.name in STEPPED and not any(k.type == "matrix" for k in kids):
        return any(differ_in_digits(*case.both(k)) for k in kids)
    return False


class Class:
    def __init__(self, name, recognise, why, file, text):
        self.name, self.recognise, self.why, self.file, self.text = name, recognise, why, file, text


CLASSES = [
    Class("tie", is_tie, "of equal elements topk takes those with the smaller labels, wherever they are stored", None, None),
    Class("classic fraction", is_classic_fraction, "histogram_fraction() knows classic buckets since 3.x", "histograms.test", ""),
    Class("dropped match", is_dropped_match, "a comparison that drops an element counts it as a match all the same", "operators.test",
          ""),
    Class("zero point", is_zero_point, "a counter that begins near zero is extrapolated to zero at most", "functions.test", ""),
    Class("lone infinity", is_lone_infinity, "the deviation of a single infinity is NaN, not 0", "aggregators.test", ""),
    Class("moving window", is_moving_window, "@ fixes the window also where the call varies with time", "functions.test", ""),
    Class("rounding", is_rounding, "compensated sums", "aggregators.test", ""),
]
