# SPDX-License-Identifier: Apache-2.0
"""Where Prometheus 3.14 answers otherwise than 2.42, and the test expects 3.14's answer. A class recognises the smallest part of
a query that differs, by what the servers say about it, not by its name alone; `proof` is a case of Prometheus 3.14's own tests,
file and text, in which Cairn's answer is the right one."""
import math

from promql_data import START_MS
from promql_gen import ARITHMETIC, COMPARISONS, DATES, MATH, Node

NEAR = 1e-9
CANCELLED = 1e-12  # of the operands: what may be left of a difference of nearly equal numbers


def inner_grid(subquery, grid):
    """The times at which a subquery may ask: the multiples of its step from an hour before."""
    step = subquery.info["step_ms"] // 1000
    first, last = float(grid.get("start") or grid["time"]) - 3600, float(grid.get("end") or grid["time"]) + 900
    first = max(first, START_MS / 1000)
    return {"start": str(int(first) // step * step), "end": str(int(last) // step * step), "step": str(step)}


def parts_of(node, grid):
    """All subtrees, the smallest first, and when to ask them: inside a subquery at the multiples of its step."""
    out = []

    def visit(part, grids):
        if part.type in ("vector", "scalar") and part.op not in ("number", "paren"):
            out.extend((part, g) for g in grids)
        if part.op == "subquery":
            grids = grids + [inner_grid(part, grid)]
        for kid in part.kids:
            visit(kid, grids)
    visit(node, [grid])
    return sorted(out, key=lambda p: len(p[0].text()))


class Case:
    """A part that differs: its tree, when it was asked, both results, and both servers to ask more."""

    def __init__(self, node, grid, want, got, prometheus, cairn):
        self.node, self.grid, self.want, self.got, self.prometheus, self.cairn = node, grid, want, got, prometheus, cairn
        self.name = node.info.get("name")

    def both(self, node, grid=None):
        return self.prometheus.ask(node, grid or self.grid), self.cairn.ask(node, grid or self.grid)

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


def near(a, b):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or (math.isfinite(a) and math.isfinite(b) and abs(a - b) <= NEAR * max(abs(a), abs(b)))


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


def grouped(node, result):
    """(time, group) -> the values there in order, NaN last."""
    out = {}
    for labels, points in result.series:
        for t, v in points:
            out.setdefault((t, group_key(node, labels)), []).append(v)
    return {k: sorted(vs, key=lambda v: (math.isnan(v), v)) for k, vs in out.items()}


def has_tie(case, node, grid):
    """Whether the last element that is taken equals the first that is not, anywhere."""
    count = int(float(node.kids[0].text()))
    for values in grouped(node, case.prometheus.ask(operand(node), grid)).values():
        if node.info["name"] == "topk":
            values = sorted(values, key=lambda v: (math.isnan(v), -v))
        if 0 < count < len(values) and near(values[count - 1], values[count]):
            return True
    return False


def is_tie(case):
    """topk and bottomk: the same values in every group at every time, of other series. In range queries over aggregates 2.42
    answers another way each time, so that such a part may not differ when it is asked alone; then its operand must have a tie."""
    if case.want.error or case.got.error:
        return False
    if case.name in ("topk", "bottomk"):
        want, got = grouped(case.node, case.want), grouped(case.node, case.got)
        return want.keys() == got.keys() and all(len(want[k]) == len(got[k]) and all(map(near, want[k], got[k])) for k in want)
    return any(has_tie(case, part, grid) for part, grid in parts_of(case.node, case.grid)
               if part.info.get("name") in ("topk", "bottomk"))


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
    at = matrix.info["at"]
    for labels, t, a, b in points[:8]:
        answer = at_one_time(case, matrix, t)
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


def at_one_time(case, node, t):
    """Prometheus' answer to the instant query at one of the times of a range query."""
    text = node.text()
    for name in ("start", "end") if "start" in case.grid else ():
        text = text.replace(f"@ {name}()", f"@ {case.grid[name]}")
    return case.prometheus.ask(Node("text", [text]), {"time": f"{t:.3f}"})


def instants_agree(case):
    """Each of Cairn's points is the answer to the instant query at its time, and there is no other."""
    if "start" not in case.grid or case.got.error:
        return False
    start, end, step = (float(case.grid[k]) for k in ("start", "end", "step"))
    got = {k: {round(t, 3): v for t, v in p} for k, p in case.got.series}
    for i in range(min(60, int((end - start) / step + 1.0005))):
        t = round(start + i * step, 3)
        instant = at_one_time(case, case.node, t)
        want = {k: p[0][1] for k, p in instant.series}
        at_t = {k: p[t] for k, p in got.items() if t in p}
        if instant.error or want.keys() != at_t.keys() or not all(near(want[k], at_t[k]) for k in want):
            return False
    return True


def is_moving_window(case):
    """@ on the range of a call that itself varies with time: in a range query 2.42 moves the window along with the steps."""
    return case.node.op == "call" and any(k.type == "matrix" and k.info.get("at") for k in case.node.kids) and instants_agree(case)


def is_merge(case):
    """Series that have the same labels after unary minus, but never at the same time: an error in 2.42's range queries."""
    return case.node.op == "unary" and "same labelset" in case.want.text and instants_agree(case)


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
        variance, deviation = "stdvar" in case.name, "stddev" in case.name
        limit = CANCELLED * (scale * scale if variance or deviation else scale)
        power = 2 if deviation else 1  # a root has half of the digits
        if all(abs(a ** power - b ** power) <= limit if math.isfinite(a) and math.isfinite(b) else huge and not math.isfinite(a)
               and not math.isfinite(b) for _, _, a, b in case.points()):
            return True
    if case.name not in STEPPED:
        return False
    return any(differ_in_digits(*case.both(k)) for k in kids if k.type != "matrix") or any(
        differ_in_digits(*case.both(k.kids[0], inner_grid(k, case.grid))) for k in kids if k.op == "subquery")


class Class:
    def __init__(self, name, recognise, why, file, text):
        self.name, self.recognise, self.why, self.file, self.text = name, recognise, why, file, text

    def proof(self):
        return f"{self.file}: {self.text.splitlines()[0]}" if self.file else "no case of Prometheus' decides"


CLASSES = [
    Class("classic fraction", is_classic_fraction, "histogram_fraction() knows classic buckets",
          "histograms.test", "eval instant at 50m histogram_fraction(0, 4, testhistogram2_bucket)"),
    Class("dropped match", is_dropped_match, "elements that a comparison drops are matches all the same",
          "operators.test", "# Check 0 series surviving the filtering producing an error."),
    Class("zero point", is_zero_point, "a gap before the first sample is bridged by half a spacing, and then not beyond zero",
          "functions.test", "eval instant at 10m rate(testcounter_zero_cutoff_total[20m])"),
    Class("lone infinity", is_lone_infinity, "the deviation of one infinity or NaN is NaN, not 0",
          "aggregators.test", "eval instant at 0m stddev by (label) (series)\n\t{label=\"a\"} 0\n\t{label=\"b\"} 0\n\t{label=\"c\"} NaN"),
    Class("moving window", is_moving_window, "@ fixes the window also where the call varies with time",
          "functions.test", "eval instant at 70m predict_linear(testcounter_reset_middle_total[55m] @ 3000, 3600)"),
    Class("merge", is_merge, "series that unary minus gives the same labels are joined when they do not overlap",
          "operators.test", "eval range from 0 to 20m step 20m -{job=\"api\"}"),
    Class("rounding", is_rounding, "sums are compensated, and sinh() and the like end in other digits than Go's",
          "aggregators.test", "eval instant at 1m sum(data{test=\"ten\"})\n\t{} 10"),
    Class("tie", is_tie, "of equal elements topk takes those with the smaller labels, not those stored first", None, None),
]
