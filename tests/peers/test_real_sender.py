#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's Prometheus, which scrapes itself and a node exporter every second and knows nothing of Cairn but two remote_write
entries: one node, and one node of a cluster of three. Every node then answers as the sender does itself."""
import math
from harness import *

EXPORTER = "/usr/bin/prometheus-node-exporter"
SCRAPES = 20

CONFIG = """
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: prometheus
    static_configs:
      - targets: ['{host}:{prometheus}']
  - job_name: node
    static_configs:
      - targets: ['{host}:{exporter}']
{more}
remote_write:
  - url: http://{host}:{single}/api/v1/write
    name: single
    queue_config: {{batch_send_deadline: 500ms}}
  - url: http://{host}:{member}/api/v1/write
    name: member
    queue_config: {{batch_send_deadline: 500ms}}
"""
# Its targets leave, the job stays: where a whole job leaves, Prometheus writes no stale markers.
EXTRA = """  - job_name: extra
    static_configs:
      - targets: [{targets}]
        labels: {{zone: ä "b"}}"""

# At one time each. Ranges are whole seconds, at most 15 s with the offset, so that nothing before the first sample counts.
INSTANT = [
    "up",
    'node_cpu_seconds_total{mode=~"idle|user|s.*"}',
    '{__name__=~"prometheus_tsdb_head_.+", job!="node"}',
    'prometheus_build_info{version="2.42.0+ds"} or go_info',
    "rate(prometheus_http_requests_total[10s])",
    "sum by (mode) (rate(node_cpu_seconds_total[10s]))",
    "sum without (cpu, instance) (irate(node_cpu_seconds_total[12s]))",
    "increase(prometheus_tsdb_head_samples_appended_total[8s])",
    "topk(5, prometheus_http_requests_total)",
    "bottomk by (job) (2, process_start_time_seconds)",
    "histogram_quantile(0.9, rate(prometheus_http_request_duration_seconds_bucket[10s]))",
    "histogram_quantile(0.5, sum by (le, handler) (prometheus_http_response_size_bytes_bucket))",
    "count_over_time(up[10s])",
    "avg_over_time(go_goroutines[9s])",
    "stddev_over_time(process_resident_memory_bytes[10s])",
    "quantile_over_time(0.7, scrape_duration_seconds[10s])",
    "max_over_time(rate(node_intr_total[4s])[6s:1s])",
    "deriv(node_time_seconds[10s])",
    "changes(node_context_switches_total[10s]) + resets(node_context_switches_total[10s])",
    "go_goroutines offset 5s",
    "process_open_fds / process_max_fds",
    "node_filesystem_avail_bytes / on (instance, mountpoint, fstype, device) node_filesystem_size_bytes < bool 0.5",
    "up * on (job, instance) group_right () go_memstats_alloc_bytes",
    "{job='node', __name__=~'go_.*'} and on (instance) up{job='node'} unless go_threads",
    "count({__name__=~'.+'})",
    "count by (__name__) ({job='prometheus'})",
    "count_values('value', up)",
    "quantile(0.3, node_cpu_seconds_total)",
    'label_replace(up, "host", "$1", "instance", "(.*):.*")',
    "absent(nothing_like_it)",
    "sort_desc(sum by (job) (scrape_samples_scraped))",
    "timestamp(up)",
    "last_over_time(up{job='extra'}[5s])",
    "predict_linear(process_cpu_seconds_total[10s], 60)",
]
RANGE = [
    "up",
    "sum by (job) (rate(process_cpu_seconds_total[5s]))",
    "histogram_quantile(0.99, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[5s])))",
    "count by (job) ({__name__=~'.+'})",
    "topk(1, scrape_samples_scraped{job!='extra'})",
    "node_load1{job='extra'}",
    "go_goroutines offset 3s",
]


class Exporter(Process):
    ready_path = "/"

    def command(self):
        return [EXPORTER, f"--web.listen-address={HOST}:{self.port}", "--no-collector.systemd", "--log.level=warn"]


def close(a, b):
    a, b = float(a), float(b)
    return a == b or math.isclose(a, b, rel_tol=1e-9) or (math.isnan(a) and math.isnan(b))


def key_of(row):
    return tuple(sorted(row["metric"].items()))


def tie_free(rows):
    """The rows of a topk whose values only they have, as which of equals get in is left open; and all values."""
    values = sorted(float(r["value"][1]) for r in rows)
    return values, [r for r in rows if values.count(float(r["value"][1])) == 1 and float(r["value"][1]) not in (values[0], values[-1])]


def difference(want, got, has_ties=False):
    """None, or what differs between two results of the API. Instant vectors have no order unless a function gives one."""
    if has_ties:
        (p, want_rows), (q, got_rows) = tie_free(want["result"]), tie_free(got["result"])
        if len(p) != len(q) or not all(map(close, p, q)):
            return f"values {p} and {q}"
        want, got = dict(want, result=want_rows), dict(got, result=got_rows)
    if want["resultType"] != got["resultType"]:
        return f"types {want['resultType']} and {got['resultType']}"
    if want["resultType"] in ("scalar", "string"):
        return None if close(want["result"][1], got["result"][1]) else f"{want['result']} and {got['result']}"
    a, b = ({key_of(r): r for r in x["result"]} for x in (want, got))
    if a.keys() != b.keys():
        return f"missing {sorted(a.keys() - b.keys())[:3]}, beyond {sorted(b.keys() - a.keys())[:3]}"
    for k in a:
        p, q = ([r["value"]] if "value" in r else r["values"] for r in (a[k], b[k]))
        if [t for t, _ in p] != [t for t, _ in q]:
            return f"{k}: times {[t for t, _ in p]} and {[t for t, _ in q]}"
        for (t, v), (_, w) in zip(p, q):
            if not close(v, w):
                return f"{k} at {t}: {v} and {w}"
    return None


def off_samples(prometheus, now):
    """A fraction of a second in which no sample was taken: there ranges open or closed on the left have the same samples."""
    taken = set()
    for r in prometheus.query("up[10m]", now)["result"]:
        taken |= {round(t * 1000) % 1000 for t, _ in r["values"]}
    return max((ms for ms in range(1000) if ms not in taken), key=lambda ms: min(
        [min((ms - t) % 1000, (t - ms) % 1000) for t in taken] or [0])) / 1000


class Comparison:
    def __init__(self, prometheus, nodes):
        self.prometheus, self.nodes, self.done, self.rows = prometheus, nodes, 0, 0

    def same(self, path, want, what):
        for node in self.nodes:
            # a fixed past time has one answer; the sender may still have to deliver what it is made of
            def matches():
                problem = difference(want, node.data(path, **what), re.match("(top|bottom)k.*", what["query"]) and "time" in what)
                check(problem is None, problem)
                return True
            wait_for(f"{node.name} answers {what} as the sender", matches, 20, 0.2)
            self.done += 1

    def instant(self, expr, at):
        what = {"query": expr, "time": f"{at:.3f}"}
        want = self.prometheus.data("/api/v1/query", **what)
        self.rows += len(want["result"])
        self.same("/api/v1/query", want, what)

    def range(self, expr, start, end, step):
        what = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": str(step)}
        want = self.prometheus.data("/api/v1/query_range", **what)
        self.rows += len(want["result"])
        self.same("/api/v1/query_range", want, what)

    def lists(self, start, end):
        for path, form in (("/api/v1/labels", {}), ("/api/v1/label/__name__/values", {}), ("/api/v1/label/job/values", {}),
                           ("/api/v1/series", {"match[]": ["up", '{__name__=~"node_cpu.*",mode="idle"}']})):
            q = urllib.parse.urlencode({**form, "start": f"{start:.3f}", "end": f"{end:.3f}"}, doseq=True)

            def of(server):
                rows = server.get(f"{path}?{q}").json()["data"]
                return sorted(json.dumps(r, sort_keys=True) for r in rows)
            for node in self.nodes:
                wait_for(f"{node.name}: {path} as the sender", lambda: of(node) == of(self.prometheus), 20, 0.2)
                self.done += 1


def scrapes_of(server, job):
    now = time.time() + 1
    rows = server.query(f'up{{job="{job}"}}[10m]', now)["result"]
    return [t for t, v in rows[0]["values"]] if rows else []


def start_sender(folder, nodes, single, member):
    prometheus = Prometheus(folder / "prometheus", "--web.enable-lifecycle")
    exporter, extra = (Exporter(name, folder / name, free_port()) for name in ("exporter", "extra"))
    names = {"host": HOST, "prometheus": prometheus.port, "exporter": exporter.port, "single": single.port,
             "member": member.port}
    prometheus.config.write_text(CONFIG.format(more=EXTRA.format(targets=f"'{HOST}:{extra.port}'"), **names))
    start_all([exporter, extra, *nodes])
    prometheus.start()
    return prometheus, exporter, extra, CONFIG.format(more=EXTRA.format(targets=""), **names)


def test(folder):
    need(PROMETHEUS, EXPORTER)
    single, members = Cairn(folder / "single", name="single"), cluster(folder, 3)
    nodes = [single, *members]
    prometheus, exporter, extra, config_without = start_sender(folder, nodes, single, members[1])
    wait_for("scrapes of all targets", lambda: all(len(scrapes_of(prometheus, j)) >= SCRAPES for j in ("prometheus", "node", "extra")), 60)

    say("the target `extra` dies, then leaves the configuration")
    died = time.time()
    extra.kill()
    wait_for("the sender calls it down", lambda: prometheus.query('up{job="extra"}', time.time())["result"][0]["value"][1] == "0")
    down_seen = time.time() + 1
    wait_for("one more second", lambda: time.time() > down_seen + 1)
    prometheus.config.write_text(config_without)
    check_eq(http_request(prometheus.port, "POST", "/-/reload").code, 200, "reload")
    wait_for("its series are stale", lambda: prometheus.query('up{job="extra"}', time.time())["result"] == [], 30)
    gone = time.time() + 1
    wait_for("a scrape after that", lambda: scrapes_of(prometheus, "node")[-1] > gone + 1)

    first = max(scrapes_of(single, job)[0] for job in ("prometheus", "node", "extra"))
    for m in members:
        first = max(first, *(scrapes_of(m, job)[0] for job in ("prometheus", "node", "extra")))
    part = off_samples(prometheus, time.time())
    times = {"all up": math.floor(died) - 2 + part, "one down": math.floor(down_seen) + part, "one gone": math.floor(gone) + part}
    check(times["all up"] - 15.5 > first, "samples came too late for ranges of 15 s: first", first, times)
    comparison = Comparison(prometheus, nodes)
    for name, at in times.items():
        say(f"comparing at {at:.3f}, {name}")
        for expr in INSTANT:
            comparison.instant(expr, at)
    check_eq(prometheus.query('up{job="extra"}', times["one down"])["result"][0]["value"][1], "0", "up of the dead target")
    check_eq(prometheus.query('{job="extra"}', times["one gone"])["result"], [], "series of the target that left")
    for expr in RANGE:
        comparison.range(expr, times["all up"] - 6, times["one gone"], 1)
        comparison.range(expr, times["all up"] - 6, times["one gone"], 3)
    comparison.lists(times["all up"] - 1, times["one gone"])
    say(f"{comparison.done} answers as the sender's, of {comparison.rows} rows")
    lost = prometheus.query('{__name__=~"prometheus_remote_storage_samples_(failed|dropped)_total"} != 0', time.time())["result"]
    check_eq(lost, [], "samples that the sender gave up")
    prometheus.stop()
    stop_all(nodes)


main(test)
