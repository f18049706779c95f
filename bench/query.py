# SPDX-License-Identifier: Apache-2.0
"""./dev bench query: typical dashboard and rule queries over the same data in Cairn, Prometheus and VictoriaMetrics.

Each repetition asks every server in turn for the same moment, which is a little different each time; result caches are off.
Latency is until the last byte, without the client's own work (ask.py); CPU is the server's over all threads until it is idle: nobody
is asked while another still tidies up. Cairn's answers are compared with Prometheus': the moments hit no sample, since Prometheus 2
still counts one at a window's left border. Rates of VictoriaMetrics are defined otherwise."""
import json, math, random, statistics, sys, time, urllib.parse
from pathlib import Path

import ask, data, run

# (kind, text): i instant, r range over the last hour in steps of 15 s, R range over all in steps of a minute; a is an aggregate
# over many series, of which the targets speak: over some dozens the way there and back is most of every server's time
FLEET = [
    ("r a", 'sum by (mode) (rate(node_cpu_seconds_total[5m]))'),
    ("r a", '100 - avg(rate(node_cpu_seconds_total{mode="idle"}[5m])) * 100'),
    ("R a", 'sum by (region, mode) (rate(node_cpu_seconds_total[5m]))'),
    ("r a", 'sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))'),
    ("r a", 'avg by (region) (node_load1)'),
    ("r a", 'max by (cluster) (node_load1)'),
    ("R a", 'sum(node_memory_MemAvailable_bytes)'),
    ("r a", 'sum by (code) (rate(http_requests_total[5m]))'),
    ("r a", 'sum(rate(http_requests_total{code=~"5.."}[5m])) / sum(rate(http_requests_total[5m]))'),
    ("r a", 'histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))'),
    ("r", 'topk(5, rate(node_network_receive_bytes_total[5m]))'),
    ("r", 'min by (cluster) (node_filesystem_avail_bytes / node_filesystem_size_bytes)'),
    ("r", 'quantile(0.95, node_load1)'),
    ("r", 'max by (region) (max_over_time(node_load1[10m]))'),
    ("r", 'avg by (region) (avg_over_time(node_memory_MemAvailable_bytes[5m]))'),
    ("r", 'rate(node_cpu_seconds_total{instance="10.0.0.7:9100"}[5m])'),
    ("r", 'count by (version) (build_info)'),
    ("i a", 'sum by (region) (rate(http_requests_total[5m]))'),
    ("i a", 'sum(up) / count(up)'),
    ("i", 'up == 0'),
    ("i", 'predict_linear(node_filesystem_avail_bytes[1h], 4 * 3600) < 0'),
    ("i", 'changes(process_start_time_seconds[15m]) > 2'),
    ("i", 'node_memory_MemAvailable_bytes / on (instance) node_memory_MemTotal_bytes < 0.1'),
    ("i", 'increase(http_requests_total{code="500"}[1h]) > 10'),
    ("i", 'avg_over_time(sum(rate(http_requests_total[1m]))[30m:1m])'),
]
CAPTURE = [
    ("r", 'sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))'),
    ("r", 'sum by (job) (rate(process_cpu_seconds_total[5m]))'),
    ("r", 'sum by (device) (rate(node_network_receive_bytes_total[5m]))'),
    ("R", 'avg by (region) (node_load1)'),
    ("r", 'histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[5m])))'),
    ("r a", 'max by (collector) (node_scrape_collector_duration_seconds)'),
    ("R a", 'sum by (job, __name__) ({__name__=~"go_memstats_.*_bytes"})'),
    ("r", 'alertmanager_notification_latency_seconds_bucket{instance="10.0.0.3:9100"}'),
    ("r", 'topk by (cluster) (3, node_scrape_collector_duration_seconds)'),
    ("i a", 'count by (job) ({region=~".+"})'),
    ("i", 'node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes'),
    ("i", '{__name__=~"node_network_.*",device="eth0"}'),
    ("i", 'absent(up{job="nothing"})'),
    ("i", 'node_scrape_collector_success == 0'),
    ("i", 'rate(alertmanager_notifications_failed_total[5m]) > 0'),
]
SETS = {"fleet": FLEET, "capture": CAPTURE}
PROMETHEUS_TARGET, VICTORIA_TARGET = 1 / 10, 1 / 3  # of their latency, for aggregates


def cpu_ns(server) -> int:
    total = 0
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass  # a thread that has just ended
    return total


class Client:
    def __init__(self, server):
        self.server = server
        self.connection = ask.Connection(server.port)

    def ask(self, kind: str, text: str, at: float, span: float):
        """As get, of a query of that kind."""
        form = {"query": text, "nocache": "1"}
        if kind[0] == "i":
            path, form["time"] = "/api/v1/query?", f"{at:.3f}"
        else:
            width, step = (3600, 15) if kind[0] == "r" else (span, 60)
            start = at - math.floor(min(width, span) / step) * step
            path, form["start"], form["end"], form["step"] = "/api/v1/query_range?", f"{start:.3f}", f"{at:.3f}", str(step)
        return self.get(path + urllib.parse.urlencode(form), text)

    def get(self, path: str, text: str) -> tuple:
        """Returns latency in seconds, CPU seconds and the body."""
        before = cpu_ns(self.server)
        seconds, status, body = self.connection.get(path)
        used = self.rest() - before
        if status != 200:
            raise SystemExit(f"{self.server.name}: {text}: {status} {body[:300].decode(errors='replace')}")
        return seconds, used / 1e9, body

    def rest(self) -> int:
        """Waits until the server is idle, for half a second at most; returns its CPU so far."""
        still, now = 0, cpu_ns(self.server)
        deadline = time.monotonic() + 0.5
        while still < 3 and time.monotonic() < deadline:
            time.sleep(0.002)
            then, now = now, cpu_ns(self.server)
            still = still + 1 if now - then < 100_000 else 0
        return now


def points_of(body: bytes) -> dict:
    found = {}
    for s in json.loads(body)["data"]["result"]:
        values = s["values"] if "values" in s else [s["value"]]
        found[tuple(sorted(s["metric"].items()))] = {t: float(v) for t, v in values}
    return found


def close(a: float, b: float, scale: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b), scale)


def difference(ours: bytes, theirs: bytes) -> str:
    """What differs between two answers, or nothing."""
    a, b = points_of(ours), points_of(theirs)
    if a.keys() != b.keys():
        odd = next(iter(a.keys() ^ b.keys()))
        return f"{len(a)} series, Prometheus has {len(b)}; one has no {dict(odd)}"
    for labels, points in a.items():
        other = b[labels]
        if points.keys() != other.keys():
            return f"{dict(labels)}: other times: {sorted(points.keys() ^ other.keys())[:3]}"
        scale = max((abs(v) for v in other.values() if math.isfinite(v)), default=0) * 1e-3
        for t, v in points.items():
            if not close(v, other[t], scale):
                return f"{dict(labels)} at {t}: {v!r}, Prometheus {other[t]!r}"
    return ""


def percentile(values: list, q: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(q * len(values)) - 1)]


def measure_query(clients: list, kind: str, text: str, a, start: float, end: float) -> dict:
    rng = random.Random(text)
    seconds, cpu = {c.server.name: [] for c in clients}, {c.server.name: [] for c in clients}
    wrong, series = "", 0
    for i in range(a.repeat + 1):  # the first one warms up, and is compared
        at = end - rng.uniform(0, 60)
        at = start + math.floor((at - start) * 1000 / a.step_ms) * a.step_ms / 1000 + rng.uniform(0.2, 0.8) * a.step_ms / 1000
        bodies = {}
        for c in clients:
            s, used, bodies[c.server.name] = c.ask(kind, text, at, end - start - 600)
            if i > 0:
                seconds[c.server.name].append(s)
                cpu[c.server.name].append(used)
        if "cairn" in bodies:
            series = bodies["cairn"].count(b'"metric"')
            if "prometheus" in bodies and i < 3 and not wrong:
                wrong = difference(bodies["cairn"], bodies["prometheus"])
    return {n: {"p50": statistics.median(v), "p99": percentile(v, 0.99), "cpu": statistics.median(cpu[n])} for n, v in seconds.items()} | {
        "wrong": wrong, "series": series}


def print_head(names: list):
    print(f"{'':3}{'series':>7} " + " ".join(f"{n[:10]:>10} p50 {'p99':>8} {'CPU':>8} ms" for n in names) +
          ("   p50 (CPU) vs: " + ", ".join(n for n in names if n != "cairn") if "cairn" in names else "") + "   query")


def print_row(kind: str, text: str, found: dict, names: list) -> list:
    """Prints one line; returns what is missed."""
    missed, ratios = [], []
    for n in names:
        if n == "cairn" or "cairn" not in names:
            continue
        p50, cpu = (found["cairn"][k] / max(found[n][k], 1e-9) for k in ("p50", "cpu"))
        ratios.append(f"{p50:5.2f} ({cpu:4.2f})")
        limit = 1.0 if n == "prometheus" else math.inf
        if kind.endswith("a"):
            limit = PROMETHEUS_TARGET if n == "prometheus" else VICTORIA_TARGET
        if p50 > limit:
            missed.append(f"{p50:.2f} (CPU {cpu:.2f}) of {n}, at most {limit:.2f}: {text}")
    print(f"{kind:3}{found['series']:>7} " +
          " ".join(f"{found[n]['p50'] * 1e3:>14.2f} {found[n]['p99'] * 1e3:>8.2f} {found[n]['cpu'] * 1e3:>8.2f}   " for n in names) +
          "   " + "  ".join(ratios) + f"   {text}" + (f"\n    WRONG: {found['wrong']}" if found["wrong"] else ""), flush=True)
    return missed


def run_set(name: str, folder: Path, a) -> tuple:
    capture = folder / "capture"
    if name == "fleet":
        made, a.instances = data.prepare_fleet(capture, a.rows, a.hosts), a.hosts
    else:
        made, a.instances = data.prepare(capture, a.shared, 15), max(1, round(a.series / data.series_count(capture)))
    start = math.floor(time.time() - a.rows * a.step_ms / 1000) + 0.3
    end = start + (a.rows - 1) * a.step_ms / 1000
    names = a.only.split(",") if a.only else list(run.SERVERS)
    servers, missed, wrong = [], [], 0
    print(f"{name}: {made}, {a.instances} instances x {a.rows} rows at {a.step_ms / 1000:g} s, {a.repeat} repetitions")
    try:
        for n in names:
            servers.append(run.SERVERS[n](folder / n))
            load = run.run_load(servers[-1], capture, a, int(start * 1000))
            if load["refused"]:
                raise SystemExit(f"{n} refused {load['refused']:,} samples")
            servers[-1].wait_idle()
            print(f"  {n}: {load['samples']:,} samples in {load['seconds']:.1f} s, {servers[-1].cpu_seconds():.1f} s CPU", flush=True)
        print_head(names)
        clients = [Client(s) for s in servers]
        for kind, text in SETS[name]:
            if a.match and a.match not in text:
                continue
            found = measure_query(clients, kind, text, a, start, end)
            missed += print_row(kind, text, found, names)
            wrong += found["wrong"] != ""
        if a.hold:
            print("\n".join(f"  {s.name} is at {s.url('/')}, pid {s.process.pid}" for s in servers))
            sys.stdin.read()
    finally:
        for s in servers:
            s.stop()
    return missed, wrong


def main(folder: Path, a) -> int:
    # Cairn scrapes itself, and the window counts from a shard's newest sample, whatever its series
    run.EXTRA_FLAGS.append("--storage.tsdb.out-of-order-time-window=1d")
    missed, wrong = [], 0
    for name in ["fleet", "capture"] if a.data == "both" else [a.data]:
        sub = folder / name
        sub.mkdir()
        m, w = run_set(name, sub, a)
        missed, wrong = missed + m, wrong + w
    print(f"{wrong} wrong answers, {len(missed)} targets missed")
    for line in missed:
        print("  " + line)
    return 1 if wrong or (a.strict and missed) else 0
