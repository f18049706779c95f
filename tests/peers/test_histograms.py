#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's Prometheus scrapes native histograms (protobuf exposition of this program) and sends them on by remote_write: to one
node, and to one node of a cluster of three with two copies of everything. What their logs hold, read through the head, is what the
sender's own API says, bucket by bucket; also after kill -9, and on both copies.

test_histograms.py CAIRN READ_LOG"""
import http.server, math
from harness import *

READ_LOG = os.path.abspath(sys.argv[2])
SCRAPES = 12
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
  - job_name: histograms
    static_configs: [{{targets: ['{host}:{exporter}']}}]
remote_write:
  - url: http://{host}:{single}/api/v1/write
    name: single
    send_native_histograms: true
    queue_config: {{batch_send_deadline: 200ms, max_samples_per_send: 20}}
  - url: http://{host}:{member}/api/v1/write
    name: member
    send_native_histograms: true
    queue_config: {{batch_send_deadline: 200ms}}
"""


# -- the exposition: io.prometheus.client.MetricFamily, delimited

def double(number, v):
    return varint(number << 3 | 1) + struct.pack("<d", v)


def number(field_number, v):
    return varint(field_number << 3) + varint(v)


def zigzag(v):
    return (v << 1) ^ (v >> 63)


def span(offset, length):
    return number(1, zigzag(offset)) + number(2, length)


class Observations:
    """A native histogram of what was observed, by client_golang's rules: bucket i holds (base^(i-1), base^i]."""

    def __init__(self, schema, threshold):
        self.schema, self.threshold = schema, threshold
        self.positive, self.negative, self.zero, self.sum = {}, {}, 0, 0.0

    def observe(self, v):
        self.sum += v
        if abs(v) <= self.threshold:
            self.zero += 1
            return
        side = self.positive if v > 0 else self.negative
        index = math.ceil(math.log2(abs(v)) * 2 ** self.schema - 1e-9)
        side[index] = side.get(index, 0) + 1

    def encode(self, integers=True):
        count = self.zero + sum(self.positive.values()) + sum(self.negative.values())
        out = number(1, count) + double(2, self.sum) if integers else double(4, count / 2) + double(2, self.sum)
        out += number(5, zigzag(self.schema)) + double(6, self.threshold)
        out += number(7, self.zero) if integers else double(8, self.zero / 2)
        for base, side in ((9, self.negative), (12, self.positive)):
            end = last = 0
            run = None
            values = b""
            for i, index in enumerate(sorted(side)):
                if run is not None and index == end:
                    run[1] += 1
                else:
                    out += field(base, span(*run)) if run else b""
                    run = [index if run is None else index - end, 1]
                end = index + 1
                if integers:
                    values += varint(zigzag(side[index] - last))
                else:
                    values += struct.pack("<d", side[index] / 2)
                last = side[index]
            if run:
                out += field(base, span(*run)) + field(base + (1 if integers else 2), values)
        return out


class Target:
    """Histograms that grow; one that starts anew now and then, one of float counts, one that goes away."""

    def __init__(self, rng):
        self.rng, self.scrapes, self.lock = rng, 0, threading.Lock()
        self.fresh = lambda: {"requests": Observations(3, 1e-6), "coarse": Observations(-1, 0.001), "fine": Observations(8, 0),
                              "floats": Observations(2, 1e-3), "leaves": Observations(0, 1)}
        self.kept = self.fresh()
        self.kept["fine"].observe(1.0)  # without zero bucket and observation it would be taken for a classic one
        self.empty = Observations(0, 1e-128)

    def exposition(self):
        with self.lock:
            self.scrapes += 1
            if self.scrapes % 7 == 0:
                self.kept["requests"] = self.fresh()["requests"]
            for name, h in self.kept.items():
                for _ in range(self.rng.randrange(12)):
                    h.observe(self.rng.choice((0.0, 1.0, -1.0)) * self.rng.lognormvariate(0, 2))
            out = b""
            for name, h in [*self.kept.items(), ("empty", self.empty)]:
                if name == "leaves" and self.scrapes > SCRAPES:
                    continue
                labels = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in (("path", f"/{name}"),))
                metric = labels + field(7, h.encode(integers=name != "floats"))
                family = field(1, f"h_{name}".encode()) + field(2, b"help") + number(3, 4) + field(4, metric)
                out += varint(len(family)) + family
            gauge = field(1, b"plain") + number(3, 1) + field(4, field(2, double(1, float(self.scrapes))))
            return out + varint(len(gauge)) + gauge


def serve(target):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = target.exposition()
            self.send_response(200)
            self.send_header("Content-Type",
                             "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# -- what each of them holds: {labels: [(time in ms, float or (count, sum, buckets))]}

def bits(text):
    return struct.unpack(">d", bytes.fromhex(text))[0]


def bound(schema, index):
    return 2.0 ** (index * 2.0 ** -schema)


def buckets_of(h):
    """[(rule, lower, upper, count)] as Prometheus' API has them: from the lowest up, without empty ones, cut at the zero bucket."""
    threshold = bits(h["zero_threshold"])

    def side(name):
        index, count, i = 0, 0, 0
        for offset, length in h[f"{name}_spans"]:
            index += offset
            for _ in range(length):
                count = bits(h[name][i]) if h["float"] else count + h[name][i]
                i += 1
                if count != 0:
                    yield max(bound(h["schema"], index - 1), threshold), bound(h["schema"], index), count
                index += 1
    zero = bits(h["zero_count"]) if h["float"] else h["zero_count"]
    rows = [(1, -upper, -lower, c) for lower, upper, c in side("negative")][::-1]
    if zero:
        rows.append((3, -threshold, threshold, zero))
    return rows + [(0, lower, upper, c) for lower, upper, c in side("positive")]


STALE = "7ff0000000000002"


def read_log(node):
    files = sorted((node.data_dir / "log").glob("log-*"))
    out = subprocess.run([READ_LOG, *map(str, files)], capture_output=True, text=True, check=True).stdout
    held = {}
    for line in out.splitlines():
        row = json.loads(line)
        samples = []
        for t, start, v in row["samples"]:
            check_eq(start, 0, "a start timestamp, which 1.0 does not have")
            if isinstance(v, str):
                samples.append((t, "stale" if v == STALE else bits(v)))
            elif v["sum"] == STALE:
                samples.append((t, "stale"))
            else:
                count = bits(v["count"]) if v["float"] else v["count"]
                samples.append((t, (count, bits(v["sum"]), buckets_of(v))))
        held[tuple(sorted(row["labels"].items()))] = samples
    return held


def of_prometheus(prometheus, at, log):
    """Each series up to its stale marker: 2.42 mixes up what it decoded where a range has one of a histogram."""
    ends = {dict(k)["__name__"]: next((t for t, v in s if v == "stale"), None) for k, s in log.items()}
    held = {}
    names = prometheus.get("/api/v1/label/__name__/values").json()["data"]
    for name in [n for n in names if n.startswith("h_") or n == "plain"]:
        rows = prometheus.query(name + "[10m]", at if ends[name] is None else ends[name] / 1000 - 0.001)["result"]
        check_eq(len(rows), 1, name)
        row = rows[0]
        samples = [(round(float(t) * 1000), float(v)) for t, v in row.get("values", [])]
        for t, h in row.get("histograms", []):
            buckets = [(rule, float(lower), float(upper), float(c)) for rule, lower, upper, c in h.get("buckets", [])]
            samples.append((round(float(t) * 1000), (float(h["count"]), float(h["sum"]), buckets)))
        held[key_of(row)] = sorted(samples, key=lambda s: s[0])
    return held


def key_of(row):
    return tuple(sorted(row["metric"].items()))


def same_histogram(a, b):
    """Bounds are computed here; what was counted must be equal."""
    if isinstance(a, float) or isinstance(b, float):
        return a == b
    if a[0] != b[0] or a[1] != b[1] or len(a[2]) != len(b[2]):
        return False
    return all(x[0] == y[0] and x[3] == y[3] and math.isclose(x[1], y[1], rel_tol=1e-12) and
               math.isclose(x[2], y[2], rel_tol=1e-12) for x, y in zip(a[2], b[2]))


def expect_same(want, got, what):
    check_eq(sorted(want), sorted(k for k in got if dict(k)["__name__"] in {dict(w)["__name__"] for w in want}), f"{what}: series")
    compared = 0
    for key, samples in want.items():
        mine = [s for s in got[key] if s[1] != "stale"]
        check_eq([t for t, _ in mine], [t for t, _ in samples], f"{what}: times of {key}")
        for (t, a), (_, b) in zip(samples, mine):
            check(same_histogram(a, b), f"{what}: {key} at {t}: {a} and {b}")
            compared += not isinstance(a, float)
    return compared


def count_of(server, at):
    """By name: without it two families may have equal labels, which is an error."""
    names = server.get("/api/v1/label/__name__/values").json()["data"]
    counts = {}
    for name in (n for n in names if n.startswith("h_") or n == "plain"):
        rows = server.query(f"sum(count_over_time({name}[10m]))", at)["result"]
        counts[name] = rows[0]["value"][1] if rows else "0"
    return counts


def merged(parts):
    """Of the nodes of a cluster, each of which has some of the series; how often each series was there."""
    held, copies = {}, {}
    for part in parts:
        for key, samples in part.items():
            copies[key] = copies.get(key, 0) + 1
            check(key not in held or held[key] == samples, "copies differ:", key)
            held[key] = samples
    return held, copies


def test(folder):
    need(PROMETHEUS)
    target = Target(seed())
    server = serve(target)
    single = Cairn(folder / "single", name="single")
    members = cluster(folder, 3, replication_factor=2)
    prometheus = Prometheus(folder / "prometheus", "--log.level=warn", "--enable-feature=native-histograms")
    prometheus.config.write_text(CONFIG.format(host=HOST, exporter=server.server_port, single=single.port, member=members[1].port))
    start_all([single, *members])
    prometheus.start()
    wait_for("scrapes", lambda: target.scrapes >= SCRAPES // 2, 30)
    say("the single node is killed, and comes back")
    single.kill()
    single.start()
    wait_for("more scrapes, also without the one that leaves", lambda: target.scrapes >= SCRAPES + 6, 30)
    server.shutdown()
    at = time.time()
    for node in [single, *members]:
        wait_for(f"{node.name} counts as many samples", lambda: count_of(node, at) == count_of(prometheus, at), 30, 0.2)
    lost = prometheus.query('{__name__=~"prometheus_remote_storage_(samples|histograms)_(failed|dropped)_total"} != 0',
                            time.time())["result"]
    check_eq(lost, [], "samples that the sender gave up")
    stop_all([single, *members])
    log = read_log(single)
    want = of_prometheus(prometheus, at, log)
    check_eq(len(want), 7, "series of the sender")
    prometheus.kill()
    compared = expect_same(want, log, "single")
    held, copies = merged(read_log(node) for node in members)
    compared += expect_same(want, held, "cluster")
    check_eq({copies[k] for k in want}, {2}, "copies in the cluster")
    leaves = next(s for k, s in held.items() if dict(k)["__name__"] == "h_leaves")
    check_eq(leaves[-1][1], "stale", "the end of a histogram that left")
    say(f"{compared} histograms as the sender's")
    check(compared > 10 * SCRAPES, compared)


main(test)
