#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A data directory of Debian's Prometheus is taken up by a node: blocks that promtool made, and what Prometheus itself took, with
exemplars, and metadata of a log as later versions write it. All series and exemplars answer as they did there, also after another
start, and what the node takes by itself, and had before, goes on beside them. So does an OpenMetrics text, against a Prometheus that
scrapes it."""
import http.server
from harness import *

PROMTOOL = "/usr/bin/promtool"
START = 1709244000  # 2024-02-29T22:00:00Z
HOURS = 30
LATER_MS = (START + HOURS * 3600) * 1000


def open_metrics(rng):
    lines = ["# TYPE work counter"]
    for i in range(40):
        total = 0
        for t in range(START + i, START + HOURS * 3600, 60):
            total += rng.randrange(50)
            lines.append(f'work_total{{job="j{i % 3}",instance="i{i}"}} {total} {t}.5')
    return "\n".join(lines) + "\n# EOF\n"


def with_exemplars(labels, samples, exemplars):
    """One series of remote write 1.0; exemplars: (labels, value, ms)."""
    body = encode_labels(labels) + b"".join(field(2, b"\x09" + struct.pack("<d", v) + b"\x10" + varint(t)) for t, v in samples)
    return field(1, body + b"".join(field(3, encode_labels(of) + b"\x11" + struct.pack("<d", v) + b"\x18" + varint(ms))
                                    for of, v, ms in exemplars))


def write(server, body):
    answer = http_request(server.port, "POST", "/api/v1/write", snappy(body), WRITE_HEADERS)
    check_eq(answer.code, 204, f"{server.name}: {answer}")


def write_later(server):
    """Samples of five series and exemplars of three, some of them with odd labels."""
    body = b""
    for n in range(5):
        samples = [(LATER_MS + 60_000 * k + n, float(k)) for k in range(100)]
        exemplars = [({"trace_id": f"{n}-{k}", "ä": "ö\"\\\n"} if k % 2 else {}, k / 7, LATER_MS + 60_000 * k + n - 7)
                     for k in range(1, 100, 3)] if n < 3 else []
        body += with_exemplars({"__name__": "later", "n": str(n)}, samples, exemplars)
    write(server, body)


# -- a segment of the log with metadata, after tsdb/docs/format/wal.md and tsdb/record/record.go

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(data):
    return b"\x01" + struct.pack(">HI", len(data), crc32c(data)) + data


def string(text):
    return varint(len(text.encode())) + text.encode()


COUNTER, GAUGE, HISTOGRAM, SUMMARY = 1, 2, 3, 5
SAID = [  # series, type, unit, help, as they come in the log
    ({"__name__": "jobs_total", "n": "1"}, COUNTER, "", "Jobs of before."),
    ({"__name__": "jobs_total", "n": "2"}, COUNTER, "", 'Jobs, "quoted" \\ \n.'),
    ({"__name__": "wait_seconds_bucket", "le": "1"}, HISTOGRAM, "seconds", "How long."),
    ({"__name__": "wait_seconds_count"}, HISTOGRAM, "seconds", "How long."),
    ({"__name__": "size_bytes_sum"}, SUMMARY, "bytes", ""),
    ({"__name__": "jobs_total", "n": "1"}, COUNTER, "", "Jobs."),  # in the place of the first
    ({"__name__": "temp"}, GAUGE, "celsius", "T."),
]
FAMILIES = {
    "jobs_total": [{"type": "counter", "unit": "", "help": "Jobs."}, {"type": "counter", "unit": "", "help": 'Jobs, "quoted" \\ \n.'}],
    "size_bytes": [{"type": "summary", "unit": "bytes", "help": ""}],
    "temp": [{"type": "gauge", "unit": "celsius", "help": "T."}],
    "wait_seconds": [{"type": "histogram", "unit": "seconds", "help": "How long."}],
}


def metadata_segment(ms):
    refs, series, said = {}, b"\x01", b"\x06"
    for labels, kind, unit, text in SAID:
        key = tuple(labels.items())
        if key not in refs:
            refs[key] = 1_000_000 + len(refs)
            series += struct.pack(">Q", refs[key]) + varint(len(labels)) + b"".join(string(k) + string(v) for k, v in sorted(labels.items()))
        said += varint(refs[key]) + bytes([kind]) + b"\x02" + string("UNIT") + string(unit) + string("HELP") + string(text)
    sample = b"\x02" + struct.pack(">QQ", 1_000_000, ms) + b"\x00\x00" + struct.pack(">d", 42.0)
    return record(series) + record(said) + record(sample)


def add_metadata(oracle):
    """To the log of a Prometheus that does not run. It reads all of it, or the sample behind the metadata would not be there."""
    wal = oracle.folder / "data" / "wal"
    last = max(int(p.name) for p in wal.iterdir() if p.name.isdigit())
    (wal / f"{last + 1:08d}").write_bytes(metadata_segment(LATER_MS + 1))
    oracle.start()
    check_eq([s["value"][1] for s in oracle.query("jobs_total", LATER_MS / 1000 + 1)["result"]], ["42"], "Prometheus reads the records")
    want = answers(oracle)
    oracle.stop()
    return want


def exemplars(server, query):
    form = urllib.parse.urlencode({"query": query, "start": START, "end": START + 1000 * 3600})
    answer = server.get("/api/v1/query_exemplars?" + form)
    check_eq(answer.code, 200, answer)
    return answer.body


def answers(server):
    end = START + HOURS * 3600 + 7200
    out = [sorted((sorted(s["metric"].items()), s["values"]) for s in server.query(f"{name}[40h]", end)["result"])
           for name in ("work_total", "later", "jobs_total")]
    out.append(server.query_range("sum by (job) (count_over_time(work_total[10m]))", START + 600, START + HOURS * 3600, 600)["result"])
    window = urllib.parse.urlencode({"start": START, "end": START + 3600})
    return out + [server.get(f"/api/v1/label/instance/values?{window}").json()["data"], exemplars(server, "later")]


def own(node, ms):
    """A series with an exemplar between those that are imported, and what it knew of a family before."""
    temp = b"\x08\x02" + field(2, b"temp") + field(4, b"Own.")
    write(node, with_exemplars({"__name__": "own"}, [(ms, 1.0)], [({"trace_id": "own"}, 2.0, LATER_MS + 500_000)]) + field(3, temp))


# -- a text that a Prometheus scrapes

def scraped_text(rng, end):
    """Samples of ten minutes, of two of three counters and of each bucket with exemplars, some of them without a time."""
    lines = ["# TYPE work_seconds counter", "# UNIT work_seconds seconds", '# HELP work_seconds Work, \\"quoted\\" \\\\ and\\nbroken.']
    for i in range(9):
        for k in range(20):
            t, labels = end - 600 + 30 * k + i, f'job="j",instance="x",i="{i}"'
            shown = f' # {{trace_id="{i}-{k}",odd="ä"}} {rng.random()!r}' if i % 3 and k % 2 else ""
            if shown and k % 4 == 1:
                shown += f" {t - 1}.5"
            lines.append(f"work_seconds_total{{{labels}}} {k * 7} {t}{shown}")
    lines += ["# HELP wait How long.", "# TYPE wait histogram"]
    for k in range(20):
        for le in ("0.1", "1", "+Inf"):
            lines.append(f'wait_bucket{{job="j",instance="x",le="{le}"}} {k} {end - 600 + 30 * k} # {{}} 0.0{k + 1}')
    lines += ["# TYPE bare unknown", "# TYPE temp gauge", "# HELP temp ", f'temp{{job="j",instance="x"}} 20 {end}.25']
    return "\n".join(lines) + "\n# EOF\n"


class Target(http.server.BaseHTTPRequestHandler):
    text = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, *args):
        pass


def shown(server, end):
    """Samples, exemplars, and metadata of families that have any."""
    form = urllib.parse.urlencode({"query": '{job="j"}', "start": end - 700, "end": end + 1})
    answer = server.get("/api/v1/query_exemplars?" + form)
    check_eq(answer.code, 200, answer)
    series = server.query('{job="j",__name__!~"up|scrape_.*"}[15m]', end + 1)["result"]
    families = server.get("/api/v1/metadata").json()["data"]
    return sorted((sorted(s["metric"].items()), s["values"]) for s in series), json.loads(answer.body)["data"], families


def scraped(folder, rng):
    end = int(time.time()) - 60
    Target.text = scraped_text(rng, end).encode()
    target = http.server.ThreadingHTTPServer((HOST, free_port()), Target)
    threading.Thread(target=target.serve_forever, daemon=True).start()
    oracle = Prometheus(folder / "scraper", "--enable-feature=exemplar-storage", name="scraper")
    oracle.config.write_text("scrape_configs: [{job_name: j, honor_labels: true, scrape_interval: 1s, scrape_timeout: 1s, "
                             f"static_configs: [{{targets: ['{HOST}:{target.server_port}'], labels: {{instance: x}}}}]}}]\n")
    oracle.start()
    wait_for("it has scraped", lambda: len(shown(oracle, end)[0]) == 9 + 3 + 1 and shown(oracle, end)[2])
    want = shown(oracle, end)
    oracle.stop()
    target.shutdown()
    check_eq(len([e for s in want[1] for e in s["exemplars"]]), 60 + 60, "exemplars of the oracle")
    text = folder / "scraped.om"
    text.write_bytes(Target.text)
    node = Cairn(folder / "second").start()
    node.stop()
    done = subprocess.run([Path(Cairn.binary).with_name("cairnctl"), "import", "openmetrics", text, f"--storage.tsdb.path={node.data_dir}"],
                          capture_output=True, text=True)
    check_eq((done.returncode, done.stderr), (0, ""), "import openmetrics")
    check("\n120 exemplars\n" in done.stdout and "metadata of 4 metric families\n" in done.stdout, done.stdout)
    for what in "imported", "started anew":
        node.start()
        for part, got, expected in zip(("samples", "exemplars", "metadata"), shown(node, end), want):
            check_eq(got, expected, f"{what}: {part}")
        node.stop()


def test(folder):
    need(PROMETHEUS, PROMTOOL)
    oracle = Prometheus(folder / "oracle", "--storage.tsdb.retention.time=100y", "--enable-feature=exemplar-storage", name="oracle")
    text = folder / "work.txt"
    rng = seed()
    text.write_text(open_metrics(rng))
    subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, oracle.folder / "data"], check=True, capture_output=True)
    oracle.start()
    write_later(oracle)
    oracle.stop()
    want = add_metadata(oracle)
    check(len(want[0]) == 40 and len(want[1]) == 5, "the oracle has", len(want[0]), "and", len(want[1]), "series")
    check_eq(sum(len(s["exemplars"]) for s in json.loads(want[-1])["data"]), 99, "exemplars of the oracle")
    node = Cairn(folder / "node", "--storage.tsdb.retention.time=100y").start()
    own(node, int(time.time() * 1000))
    had = exemplars(node, "own")
    node.stop()
    ctl = Path(Cairn.binary).with_name("cairnctl")
    done = subprocess.run([ctl, "import", "prometheus", oracle.folder / "data", f"--storage.tsdb.path={node.data_dir}"],
                          capture_output=True, text=True)
    check_eq(done.returncode, 0, done.stderr)
    check_eq(done.stderr, "", "what was left out")
    check("\n99 exemplars\n" in done.stdout and "metadata of 4 metric families\n" in done.stdout, done.stdout)
    families = {**FAMILIES, "temp": [{"type": "gauge", "unit": "", "help": "Own."}] + FAMILIES["temp"]}
    for what, end in ("imported", node.kill), ("killed", node.stop), ("stopped", node.stop):
        node.start()
        check_eq(answers(node), want, what)
        check_eq(exemplars(node, "own"), had, f"{what}: exemplars of its own")
        check_eq(node.get("/api/v1/metadata").json()["data"], families, f"{what}: metadata")
        now = int(time.time() * 1000)
        check_eq(node.write([({"__name__": "fresh"}, [(now, 1.0)])]).code, 204)
        check_eq(len(node.query("fresh", now / 1000)["result"]), 1)
        end()
    check(not list((node.data_dir / "blocks").glob("import-*")), "imported files have names of the node's own")
    scraped(folder, rng)


main(test)
