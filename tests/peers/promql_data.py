# SPDX-License-Identifier: Apache-2.0
"""The data that two servers are fed with: families of series of a seed, all of one day that crosses the end of a February.

Every sample lies at an odd millisecond, and all that a query can name (evaluation times, ranges, offsets, steps) is even, so no
border of a range ever falls on a sample: 2.42 takes ranges closed on the left, 3.x open.
Series are sent in label order in the first request, so the order of storage, which breaks ties in 2.42, is label order."""
import math, random, struct

START_MS = 1709244000_000  # 2024-02-29T22:00:00Z
SPAN_MS = 2 * 3600 * 1000 + 900_000
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
INF = math.inf

JOBS, INSTANCES, ZONES = ("api", "db", "web"), ("i0", "i1", "i2"), ("a", "b", "c")
LAYOUTS = {"i0": ("0.1", "0.5", "1", "2.5", "+Inf"), "i1": ("0.25", "1", "5", "10", "30", "+Inf"), "i2": ("-1", "0", "1", "+Inf")}


class Family:
    """A metric name: its labels and their values, what it is good for, and the labels beyond which it has one series."""

    def __init__(self, name, use, **labels):
        self.name, self.use, self.labels = name, use, labels


FAMILIES = [
    Family("http_requests_total", "counter", job=("api", "web"), instance=INSTANCES, code=("200", "500"), path=("/", "/q")),
    Family("errors_total", "counter", job=JOBS, instance=INSTANCES),
    Family("bytes_total", "counter", job=("api", "db"), instance=INSTANCES, dir=("in", "out")),
    Family("queue", "gauge", job=JOBS, instance=INSTANCES),
    Family("temp", "gauge", zone=ZONES, room=("r1", "r2", "r3")),
    Family("mem", "gauge", job=JOBS, instance=INSTANCES),
    Family("gap", "gauge", job=JOBS, instance=INSTANCES),
    Family("weird", "weird", zone=ZONES, kind=("inf", "mixed", "nan")),
    Family("ratio", "ratio", job=JOBS, instance=INSTANCES),
    Family("flag", "gauge", job=JOBS, zone=ZONES),
    Family("sparse", "gauge", zone=ZONES, room=("r1", "r2")),
    Family("epoch_seconds", "epoch", zone=ZONES, job=("api", "db")),
    Family("build_info", "info", job=JOBS, instance=INSTANCES, version=("1.0", "1.1", "2.0")),
    Family("site_info", "info", zone=ZONES, country=("DE", "FR", "PL")),
    Family("lat_bucket", "bucket", job=("api", "web"), instance=INSTANCES, le=("0.1", "0.5", "1", "2.5", "5", "10", "+Inf")),
    Family("lat_count", "counter", job=("api", "web"), instance=INSTANCES),
    Family("lat_sum", "counter", job=("api", "web"), instance=INSTANCES),
    Family("odd_bucket", "bucket", zone=ZONES, le=("-5", "0", "1", "2", "4", "+Inf")),
]
BY_NAME = {f.name: f for f in FAMILIES}


def label_sets(family):
    """All label sets of a family; three of them (build_info, site_info, buckets) are no full product."""
    sets = [{"__name__": family.name}]
    for name, values in family.labels.items():
        if name in ("le", "country", "version"):
            continue
        sets = [dict(s, **{name: v}) for s in sets for v in values]
    if family.name == "build_info":
        sets = [dict(s, version=v) for i, s in enumerate(sets)
                for v in (("1.0", "1.1") if s["instance"] == "i1" else ("2.0",) if i % 2 else ("1.0",))]
    elif family.name == "site_info":
        sets = [dict(s, country=c) for s, c in zip(sets, family.labels["country"])]
    elif family.name == "lat_bucket":
        sets = [dict(s, le=le) for s in sets for le in LAYOUTS[s["instance"]]]
    elif family.name == "odd_bucket":  # a: sinks somewhere; b: no +Inf; c: bounds below zero and one that is no number
        bounds = {"a": ("0", "1", "2", "4", "+Inf"), "b": ("1", "2", "4"), "c": ("-5", "0", "1", "+Inf", "x")}
        sets = [dict(s, le=le) for s in sets for le in bounds[s["zone"]]]
    return sets


def counter(rng, times, ugly):
    value, out = float(rng.choice((0, 0, 5, 1000, 123456))), []
    reset_at = rng.choice((0, 0, 60, 130))
    for i, t in enumerate(times):
        if reset_at and i % reset_at == reset_at - 1:
            value = float(rng.randrange(4))
        elif rng.random() < 0.7:
            value += rng.uniform(0, 1e6) if ugly else rng.randrange(1, 40)
        out.append((t, value))
    return out


def gauge(rng, family, labels, t, i, state):
    name = family.name
    if name == "queue":
        return float(rng.randrange(-3, 9))
    if name == "temp":
        return 20 + 8 * math.sin(i / 17 + state) + rng.uniform(-1, 1)
    if name in ("mem", "gap"):
        return float(round((1 << 30) * (1 + state) + rng.uniform(-1e7, 1e7))) if name == "mem" else rng.randrange(-400, 400) / 8
    if name == "ratio":
        return rng.choice((rng.uniform(-1, 1), rng.uniform(-1.2, 1.2), 0.0, 1.0, -1.0))
    if name == "flag":
        return float((i // 20 + int(state * 10)) % 3 > 0)
    if name == "sparse":
        return rng.randrange(-100, 100) / 4
    if name == "epoch_seconds":
        return float(t // 1000 + int(state * 40e6) * (1 if labels["job"] == "api" else -20))
    kind = labels["kind"]
    if kind == "nan":
        return NAN if rng.random() < 0.5 else rng.randrange(10) / 2
    if kind == "inf":
        return rng.choice((INF, INF, 1.5, 2.0)) if labels["zone"] != "b" else rng.choice((-INF, -INF, 3.0))
    return rng.choice((NAN, INF, -INF, 0.0, -0.0, 1e300, 1e-300, 7.25, -7.25))


def with_holes(rng, samples, stale):
    """Cuts two holes of 3 to 20 minutes; some begin with a stale marker, as a scrape that lost its target writes one."""
    for _ in range(2):
        at, length = START_MS + rng.randrange(SPAN_MS), rng.randrange(180_000, 1200_000)
        inside = [t for t, _ in samples if at <= t < at + length]
        samples = [s for s in samples if not at <= s[0] < at + length]
        if inside and stale:
            samples.append((inside[0], STALE))
    return sorted(samples)


def sample_times(rng, name):
    step = 600_000 if name == "sparse" else rng.choice((15_000, 30_000, 30_000, 60_000))
    jitter = step // 10 if name == "sparse" else rng.choice((2, 2, step // 10, step // 2))
    phase = rng.randrange(step)
    return [(START_MS + phase + i * step + rng.randrange(jitter)) | 1 for i in range((SPAN_MS - phase) // step)]


def bucket_samples(rng, sets, times):
    """One histogram: counts that rise together, cumulative over the bounds."""
    def bound(le):
        try:
            return float(le)
        except ValueError:
            return 3.0
    order = sorted(sets, key=lambda s: bound(s["le"]))
    counts, out = [0] * len(order), [[] for _ in order]
    for i, t in enumerate(times):
        if i % 90 == 89 and sets[0]["__name__"] == "lat_bucket":
            counts = [0] * len(order)
        for k in range(len(order)):
            counts[k] += rng.randrange(6)
        total = 0
        for k in range(len(order)):
            total += counts[k]
            sunk = sets[0].get("zone") == "a" and k == 2 and i % 3 == 0
            out[k].append((t, float(total - 7 if sunk else total)))
    return list(zip(order, out))


def family_series(rng, family):
    sets, out = label_sets(family), []
    if family.use == "bucket":
        groups = {}
        for s in sets:
            groups.setdefault(tuple((k, v) for k, v in s.items() if k != "le"), []).append(s)
        for group in groups.values():
            out += bucket_samples(rng, group, sample_times(rng, family.name))
        return out
    for n, s in enumerate(sets):
        times = sample_times(rng, family.name)
        if family.use == "counter":
            samples = counter(rng, times, family.name in ("bytes_total", "lat_sum"))
            if family.name == "errors_total" and n == 4:
                samples[len(samples) // 2] = (samples[len(samples) // 2][0], NAN)
        elif family.use == "info":
            if family.name == "build_info" and s["instance"] == "i1":  # a rollout in the middle: one ends, the other begins
                middle = START_MS + SPAN_MS // 2
                times = [t for t in times if (t < middle) == (s["version"] == "1.0")]
            samples = [(t, 1.0) for t in times]
            if s.get("version") == "1.0" and s["instance"] == "i1":
                samples.append((times[-1] + 15_000, STALE))
        else:
            state = rng.random()
            samples = [(t, gauge(rng, family, s, t, i, state)) for i, t in enumerate(times)]
        if family.name in ("gap", "errors_total", "lat_count", "weird"):
            samples = with_holes(rng, samples, stale=n % 2 == 0)
        out.append((s, samples))
    return out


def make_series(seed):
    """[(labels, [(time in ms, value)])] in label order; each begins with a stale marker, so that all exist from the first request."""
    rng = random.Random(seed)
    series = [s for family in FAMILIES for s in family_series(rng, family)]
    series.sort(key=lambda s: sorted(s[0].items()))
    for _, samples in series:
        samples.insert(0, (START_MS - 59_999, STALE))
        assert all(t % 2 == 1 for t, _ in samples) and all(a[0] < b[0] for a, b in zip(samples, samples[1:])), samples[:5]
    return series


def requests_of(series, slice_ms=600_000, start_ms=START_MS):
    """Cuts the series into requests in order of time; the first holds what is older than start_ms."""
    at = [0] * len(series)
    end = start_ms
    while any(i < len(s[1]) for i, s in zip(at, series)):
        request = []
        for n, (labels, samples) in enumerate(series):
            first = at[n]
            while at[n] < len(samples) and samples[at[n]][0] < end:
                at[n] += 1
            if at[n] > first:
                request.append((labels, samples[first:at[n]]))
        if request:
            yield request
        end += slice_ms
