#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same samples on nodes with 1, 2 and 3 cores, and in one data directory under 1, then 3, 2 and 1: the answers are the same
bytes, whoever owns the shards. Only the order of instant vectors is free where Prometheus leaves it open."""
from harness import *

STEP_MS, ROWS = 15_000, 160
STALE = struct.unpack("<d", bytes.fromhex("020000000000f07f"))[0]

QUERIES = [  # (expression, order given by a function)
    ("requests_total", False),
    ('requests_total{job=~"job-[0-2]",code!="500"}', False),
    ("sum(requests_total)", False),
    ("sum by (job) (rate(requests_total[2m]))", False),
    ("sum without (instance) (irate(requests_total[5m]))", False),
    ("avg by (code) (increase(requests_total[10m]))", False),
    ("avg(temperature)", False),
    ("stddev by (job) (temperature)", False),
    ("stdvar(temperature)", False),
    ("min by (job) (temperature) - max by (job) (temperature)", False),
    ("count by (job, code) (requests_total)", False),
    ("group by (job) (temperature)", False),
    ("quantile by (job) (0.37, temperature)", False),
    ("topk(4, temperature)", True),
    ("bottomk by (job) (2, rate(requests_total[3m]))", False),
    ("limitk(3, temperature)", False),
    ('count_values("v", round(temperature, 5))', False),
    ("sort(temperature)", True),
    ("sort_desc(avg by (instance) (temperature))", True),
    ("histogram_quantile(0.9, sum by (le) (rate(latency_bucket[5m])))", False),
    ("histogram_quantile(0.5, rate(latency_bucket[5m]))", False),
    ("avg_over_time(temperature[10m])", False),
    ("sum(sum_over_time(temperature[10m]))", False),
    ("stddev_over_time(temperature[10m])", False),
    ("quantile_over_time(0.9, temperature[7m])", False),
    ("max_over_time(sum by (job) (rate(requests_total[1m]))[10m:30s])", False),
    ("deriv(temperature[10m])", False),
    ("predict_linear(temperature[10m], 3600)", False),
    ("changes(temperature[10m]) + on (job, instance) group_right () resets(requests_total[30m])", False),
    ("requests_total / on (job, instance) group_left () temperature", False),
    ("sum by (job) (requests_total) / count by (job) (requests_total) > 100", False),
    ("temperature and on (job) (sum by (job) (rate(requests_total[2m])) > 1)", False),
    ("temperature unless temperature > 20", False),
    ('label_replace(temperature, "n", "$1", "instance", "i-(.*)") or vector(1)', False),
    ('count({__name__=~".+"})', False),
    ('count by (__name__) ({job="job-1"})', False),
    ("absent_over_time(nothing[5m])", False),
    ("temperature offset 4m @ end()", False),
    ("timestamp(temperature)", False),
    ("sum(odd)", False),
    ("odd", False),
    ("min(odd) or max(odd)", False),
    ("double_exponential_smoothing(temperature[10m], 0.3, 0.4)", False),
    ("sum(temperature * scalar(count(temperature)))", False),
]


def make_data(rng, t0):
    """[(labels, samples)] of counters with resets, decimal gauges, a classic histogram, and numbers that are none."""
    out = []
    for job in range(6):
        for instance in range(8):
            base = {"job": f"job-{job}", "instance": f"i-{instance}"}
            for code in "200", "404", "500":
                value, samples = rng.random() * 1000, []
                for row in range(ROWS):
                    value = rng.random() if rng.random() < 0.01 else value + rng.randrange(0, 500) / 7
                    samples.append((t0 + row * STEP_MS + instance * 11, value))
                out.append(({"__name__": "requests_total", "code": code, **base}, samples))
            out.append(({"__name__": "temperature", **base},
                        [(t0 + row * STEP_MS + instance * 11, rng.gauss(20, 9)) for row in range(ROWS) if rng.random() > 0.05]))
            counts = [0.0] * 5
            rows = [[] for _ in counts]
            for row in range(ROWS):
                for i in range(len(counts)):
                    for k in range(i, len(counts)):
                        counts[k] += i + 1 if rng.random() < 0.5 else 0
                for i, count in enumerate(counts):
                    rows[i].append((t0 + row * STEP_MS, count))
            for le, samples in zip(("0.1", "0.5", "1.0", "5.0", "+Inf"), rows):
                if instance < 2:
                    out.append(({"__name__": "latency_bucket", "le": le, **base}, [(t, float(v)) for t, v in samples]))
    odd = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308, 0.1, STALE]
    for i, v in enumerate(odd):
        out.append(({"__name__": "odd", "i": str(i), "text": "é\n\"\\"}, [(t0 + row * STEP_MS, v) for row in range(ROWS)]))
    return out


def load(node, data, first_row, end_row, t0):
    lo, hi = t0 + first_row * STEP_MS, t0 + end_row * STEP_MS
    for at in range(0, len(data), 50):
        batch = [(labels, [s for s in samples if lo <= s[0] < hi]) for labels, samples in data[at:at + 50]]
        a = node.write([one for one in batch if one[1]])
        check_eq(a.code, 204, f"write: {a}")


def answer_bytes(node, path, sorts_nothing, **form):
    a = node.api(path, **form)
    check_eq(a.code, 200, f"{node.name}: {form}: {a}")
    doc = json.loads(a.body, parse_float=str, parse_int=str)  # numbers as they were written
    if doc["data"]["resultType"] == "vector" and sorts_nothing:
        doc["data"]["result"].sort(key=json.dumps)
        return json.dumps(doc).encode()
    return a.body


def answers(node, t0):
    out = {}
    end = (t0 + (ROWS - 1) * STEP_MS) / 1000
    for expr, ordered in QUERIES:
        for at in end, end - 607.123:
            out["instant", expr, at] = answer_bytes(node, "/api/v1/query", not ordered, query=expr, time=f"{at:.3f}")
        out["range", expr] = answer_bytes(node, "/api/v1/query_range", False, query=expr, start=f"{end - 1200:.3f}",
                                          end=f"{end:.3f}", step="47")
    for path in "/api/v1/labels", "/api/v1/label/instance/values", "/api/v1/label/__name__/values":
        out[path] = node.get(f"{path}?start={end - 3600}&end={end}").body
    return out


def check_same(want, got, name):
    check_eq(want.keys(), got.keys(), "keys")
    for key in want:
        if want[key] == got[key]:
            continue
        at = next((i for i, (a, b) in enumerate(zip(want[key], got[key])) if a != b), min(len(want[key]), len(got[key])))
        raise Failure(f"{name}, {key}: answers differ at byte {at}:\n  {want[key][max(at - 150, 0):at + 150]}\n  "
                      f"{got[key][max(at - 150, 0):at + 150]}")


def test(folder):
    rng = seed()
    t0 = int(time.time() * 1000) // STEP_MS * STEP_MS - (ROWS + 4) * STEP_MS
    data = make_data(rng, t0)
    features = "--enable-feature=promql-experimental-functions"
    nodes = [Cairn(folder / f"c{n}", f"--node.cores={n}", features, name=f"cores{n}") for n in (1, 2, 3)]
    start_all(nodes)
    for node in nodes:
        load(node, data, 0, ROWS, t0)
    say(f"{len(data)} series, {sum(len(s) for _, s in data)} samples on {len(nodes)} nodes")
    want = answers(nodes[0], t0)
    empty = [key for key, body in want.items() if b'"result":[]' in body.replace(b" ", b"")]
    check_eq(empty, [], "answers that could not differ")
    check_same(want, answers(nodes[0], t0), "the same node again")
    for node in nodes[1:]:
        check_same(want, answers(node, t0), node.name)
    stop_all(nodes)
    say(f"{len(want)} answers are the same with 1, 2 and 3 cores")

    # a directory that is dealt anew at each start, with a third of the samples written under 1, 3 and 2 cores each
    directory = folder / "moved"
    for k, cores in enumerate((1, 3, 2, 1)):
        node = Cairn(folder / "m", f"--node.cores={cores}", features, name=f"moved{k}", data_dir=directory).start()
        if k < 3:
            load(node, data, ROWS * k // 3, ROWS * (k + 1) // 3, t0)
        if k >= 2:
            check_same(want, answers(node, t0), f"restarted with {cores} cores")
        if k == 1:
            node.kill()
        else:
            node.stop()
    say("and after restarts with 1, 3, 2 and 1")


main(test)
