# SPDX-License-Identifier: Apache-2.0
"""What the tests of downsampling share: series, how they are sent and asked for, and a node whose configuration changes."""
from harness import *
from promql_data import requests_of

HOUR_MS = 3600_000
START_MS = 1709164800_000  # a multiple of 18 h
STEP_MS, SPAN_MS = 60_000, 60 * HOUR_MS
FLAGS = ["--storage.blocks-interval=100ms", "--ring.shards=4", "--web.enable-lifecycle", "--web.enable-admin-api"]


class Configured(Cairn):
    config = ""

    def command(self):
        args = Cairn.command(self)
        (self.folder / "empty.yml").write_text(self.config)
        return args


def make_series(rng):
    series = []
    for i in range(24):
        total, counter, gauge = 0, [], []
        for t in range(START_MS + 7, START_MS + SPAN_MS * (1 if i % 5 else 2) // 2, STEP_MS):
            if rng.random() < 0.02:
                continue
            total = 0 if rng.random() < 0.003 else total + rng.randrange(1000)
            counter.append((t + i % 3, float(total)))
            gauge.append((t + i % 3, rng.randrange(-4000, 4000) / 8))
        series.append(({"__name__": "a_total", "job": f"j{i % 3}", "i": str(i)}, counter))
        series.append(({"__name__": "g", "job": f"j{i % 3}", "i": str(i)}, gauge))
    clock = [(t, 1.0) for t in range(START_MS, START_MS + SPAN_MS, 60_000)]
    series += [({"__name__": "clock", "i": str(i)}, clock) for i in range(32)]  # each shard goes on to the end
    return series


def feed(node, series):
    for request in requests_of(series, HOUR_MS, START_MS):
        wait_for("a write is taken", lambda: node.write(request).code == 204)


def ask(node, expr, start, end, step, resolution):
    form = {} if resolution is None else {"max_source_resolution": resolution}
    data = node.query_range(expr, start, end, step, **form) if step else node.query(expr, start, **form)
    return sorted((sorted(s["metric"].items()), s.get("values", s.get("value"))) for s in data["result"])


def metric(node, name):
    return float(re.search(rf"(?m)^{name} (\S+)$", node.get("/metrics").text).group(1))


def settle(node):
    """Until nothing is merged any more for a while."""
    seen = {"value": -1, "since": time.monotonic()}

    def settled():
        value = metric(node, "prometheus_tsdb_compactions_total")
        if value != seen["value"]:
            seen.update(value=value, since=time.monotonic())
        return time.monotonic() - seen["since"] > 2
    wait_for("no more merges", settled, 60, every=0.1)
