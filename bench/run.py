#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench ingest|memory|query|cluster|storage: the same remote writes into Cairn, Prometheus and VictoriaMetrics in one run, side by side.

CPU is the server's until it is idle, not until the last answer; RSS is read --settle seconds after the load; disk is what the data
directory takes after a clean stop. Machines are noisy: read the ratios."""
import argparse, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request
from pathlib import Path

import data

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    name, query_path = "", ""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True)
        self.log = open(folder.with_suffix(".log"), "wb")
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log)
        self.wait_ready()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str, timeout=120) -> bytes:
        with urllib.request.urlopen(self.url(path), timeout=timeout) as r:
            return r.read()

    def wait_ready(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.get(self.ready_path, 2)
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                threading.Event().wait(0.05)
        raise SystemExit(f"{self.name} did not start: see {self.log.name}")

    def query(self, expr: str, at: float) -> list:
        q = urllib.parse.urlencode({"query": expr, "time": f"{at:.3f}"})
        return json.loads(self.get("/api/v1/query?" + q, 600))["data"]["result"]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss_bytes(self) -> int:
        m = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(m.group(1)) * 1024

    def wait_idle(self):
        """Until the server takes under 3 % of a core for two seconds (at most a minute)."""
        quiet, last, deadline = 0, self.cpu_seconds(), time.monotonic() + 60
        while quiet < 4 and time.monotonic() < deadline:
            threading.Event().wait(0.5)
            now = self.cpu_seconds()
            quiet = quiet + 1 if now - last <= 0.02 else 0
            last = now

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        return sum(p.stat().st_blocks * 512 for p in self.folder.rglob("*") if p.is_file())


class Cairn(Server):
    name, ready_path = "cairn", "/-/ready"

    def command(self):
        return [str(Path(os.environ.get("CAIRN_BUILD", ROOT / "build")) / "cairn"), f"--web.listen-address=127.0.0.1:{self.port}",
                f"--storage.tsdb.path={self.folder}"] + EXTRA_FLAGS


class Prometheus(Server):
    name, ready_path = "prometheus", "/-/ready"

    def command(self):
        config = self.folder.with_suffix(".yml")
        config.write_text("global: {scrape_interval: 1h}\n")
        return ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.folder}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver"]


class VictoriaMetrics(Server):
    name, ready_path = "victoriametrics", "/health"

    def command(self):
        return ["victoria-metrics", f"-storageDataPath={self.folder}", f"-httpListenAddr=127.0.0.1:{self.port}",
                "-search.latencyOffset=0s", "-retentionPeriod=1"]


EXTRA_FLAGS: list = []
SERVERS = {s.name: s for s in (Cairn, Prometheus, VictoriaMetrics)}


def run_load(server: Server, capture: Path, a, start_ms: int) -> dict:
    out = subprocess.run([str(Path(os.environ.get("CAIRN_BUILD", ROOT / "build")) / "bench/load"), f"--url={server.url('/api/v1/write')}", f"--capture={capture}",
                          f"--instances={a.instances}", f"--rows={a.rows}", f"--start-ms={start_ms}",
                          f"--step-ms={a.step_ms}", f"--connections={a.connections}", f"--rate={a.rate}",
                          f"--merge={int(a.what == 'query')}"],
                         capture_output=True, text=True)
    sys.stderr.write(out.stderr)
    if not out.stdout:
        raise SystemExit(f"{server.name}: the load failed: {out.stderr}")
    return json.loads(out.stdout)


def heavy_queries(server: Server, end: float, stop: threading.Event, count: list):
    """Eight clients, each repeating a heavy range query, until the load has ended."""
    q = urllib.parse.urlencode({"query": 'sum by (__name__, job) ({region=~".+"})',
                                "start": f"{end - 3600:.0f}", "end": f"{end:.0f}", "step": "15"})
    while not stop.is_set():
        try:
            server.get("/api/v1/query_range?" + q, 300)
            count[0] += 1
        except OSError:
            count[1] += 1


def loop_lag_p99(server: Server) -> float:
    """Upper bound of the 99th percentile of the cores' loop lag since the start, from the histogram."""
    buckets: dict = {}
    for line in server.get("/metrics").decode().splitlines():
        m = re.match(r'cairn_core_loop_lag_seconds_bucket\{.*le="([^"]+)".*\} (\S+)', line)
        if m:
            buckets[float(m.group(1).replace("+Inf", "inf"))] = buckets.get(float(m.group(1).replace("+Inf", "inf")), 0) + float(m.group(2))
    total = max(buckets.values(), default=0)
    return next((le for le in sorted(buckets) if buckets[le] >= 0.99 * total), float("nan"))


def measure(kind, folder: Path, capture: Path, a, queries: bool = False) -> dict:
    server = kind(folder / (kind.name + ("-queried" if queries else "")))
    now = time.time()
    start_ms = int((now - a.rows * a.step_ms / 1000) * 1000)
    try:
        server.wait_idle()
        cpu0, rss0 = server.cpu_seconds(), server.rss_bytes()
        stop, threads, done = threading.Event(), [], [0, 0]
        if queries:
            threads = [threading.Thread(target=heavy_queries, args=(server, now, stop, done)) for _ in range(8)]
            for t in threads:
                t.start()
        load = run_load(server, capture, a, start_ms)
        stop.set()
        for t in threads:
            t.join()
        server.wait_idle()
        cpu = server.cpu_seconds() - cpu0
        threading.Event().wait(a.settle)
        rss = server.rss_bytes()
        span = int(a.rows * a.step_ms / 1000) + 60
        counted = count_samples(server, span, now + 1)
        series = server.query('count({region=~".+"})', now - a.step_ms / 1000)
        result = {"samples": load["samples"], "counted": counted, "seconds": load["seconds"], "cpu": cpu,
                  "per_cpu_second": load["samples"] / cpu if cpu else float("inf"), "rss": rss, "rss_idle": rss0,
                  "series": int(float(series[0]["value"][1])) if series else 0, "refused": load["refused"],
                  "queries": done[0], "queries_failed": done[1]}
        if queries:
            result["loop_lag_p99"] = loop_lag_p99(server)
    finally:
        result_disk = server.stop()
    result["disk"] = result_disk
    return result


def count_samples(server: Server, span_seconds: int, at: float) -> int:
    """Asks for every sample, metric by metric (without its name two series may look the same)."""
    q = urllib.parse.urlencode({"match[]": '{region=~".+"}', "start": f"{at - span_seconds:.0f}", "end": f"{at:.0f}"})
    names = json.loads(server.get("/api/v1/label/__name__/values?" + q))["data"]
    total = 0
    for name in names:
        found = server.query(f'sum(count_over_time({name}{{region=~".+"}}[{span_seconds}s]))', at)
        total += int(float(found[0]["value"][1])) if found else 0
    return total


def print_table(results: dict):
    rows = [("samples acknowledged", lambda r: f"{r['samples']:,}"), ("samples queried back", lambda r: f"{r['counted']:,}"),
            ("series", lambda r: f"{r['series']:,}"), ("wall seconds", lambda r: f"{r['seconds']:.1f}"),
            ("CPU seconds until idle", lambda r: f"{r['cpu']:.2f}"),
            ("samples per CPU second", lambda r: f"{r['per_cpu_second']:,.0f}"),
            ("RSS MiB", lambda r: f"{r['rss'] / 2**20:.0f}"),
            ("RSS bytes per series", lambda r: f"{(r['rss'] - r['rss_idle']) / max(r['series'], 1):.0f}"),
            ("disk bytes per sample", lambda r: f"{r['disk'] / r['samples']:.2f}")]
    print(f"{'':26}" + "".join(f"{n:>18}" for n in results))
    for title, text in rows:
        print(f"{title:26}" + "".join(f"{text(r):>18}" for r in results.values()))
    ours = results.get("cairn")
    if ours is None:
        return
    for name, r in results.items():
        if name != "cairn":
            print(f"cairn / {name}: samples per CPU second {ours['per_cpu_second'] / r['per_cpu_second']:.2f}x, "
                  f"RSS {ours['rss'] / r['rss']:.2f}x, disk {ours['disk'] / r['disk']:.2f}x")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("what", choices=["ingest", "memory", "query", "cluster", "storage"])
    p.add_argument("--instances", type=int)
    p.add_argument("--rows", type=int)
    p.add_argument("--step-ms", type=int, default=15000)
    p.add_argument("--connections", type=int, default=2)
    p.add_argument("--rate", type=int, default=0, help="samples per second, 0: as fast as it goes")
    p.add_argument("--settle", type=float)
    p.add_argument("--only", help="comma separated: cairn,prometheus,victoriametrics")
    p.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    p.add_argument("--flag", action="append", default=[], help="a further flag for cairn")
    p.add_argument("--keep", action="store_true")
    q = p.add_argument_group("query")
    q.add_argument("--data", choices=["fleet", "capture", "both"], default="both")
    q.add_argument("--hosts", type=int, default=1000, help="of the fleet, 20 series each")
    q.add_argument("--series", type=int, help="of the replicated capture: 20000; of storage's first load: 1000000")
    q.add_argument("--repeat", type=int, default=15)
    q.add_argument("--match", help="only queries that contain this text")
    q.add_argument("--strict", action="store_true", help="a missed target fails, as a wrong answer does")
    q.add_argument("--hold", action="store_true", help="leave the servers up until stdin ends")
    c = p.add_argument_group("cluster")
    c.add_argument("--cores", type=int, default=1, help="of each process")
    c.add_argument("--processes", type=int, default=5, help="at most")
    s = p.add_argument_group("storage")
    s.add_argument("--quick", action="store_true", help="all at a tenth")
    s.add_argument("--loads", default="many,churn,hours,days")
    a = p.parse_args()
    if a.what == "storage":
        return with_folder(a, lambda folder: storage.main(folder, a))
    # ingest: 20 instances of the capture, 22 k series, half an hour; memory: 100 of them, 115 k series
    if a.what == "query":
        a.series = a.series or 20000
        a.rows, a.connections = a.rows or 480, 1  # two would drift apart, and the one behind be refused as too old
        return with_folder(a, lambda folder: query.main(folder, a))
    if a.what == "cluster":
        a.instances, a.rows = a.instances or 20, a.rows or 200
        return with_folder(a, lambda folder: cluster.main(folder, a))
    a.instances = a.instances or (20 if a.what == "ingest" else 100)
    a.rows = a.rows or (200 if a.what == "ingest" else 30)  # 50 minutes: within the hour that a sample may be behind
    a.settle = a.settle if a.settle is not None else (5 if a.what == "ingest" else 60)
    return with_folder(a, lambda folder: load_all(folder, a))


def load_all(folder: Path, a) -> int:
    kind = data.prepare(folder / "capture", a.shared)
    print(f"{a.what}: {kind}, {a.instances} instances x {a.rows} rows")
    names = a.only.split(",") if a.only else list(SERVERS)
    results = {n: measure(SERVERS[n], folder, folder / "capture", a) for n in names}
    print_table(results)
    if a.what == "ingest" and "cairn" in results:
        r = results["cairn, queried"] = measure(Cairn, folder, folder / "capture", a, queries=True)
        print(f"cairn again, with 8 clients repeating a heavy range query: loop lag p99 <= {r['loop_lag_p99'] * 1000:.1f} ms, "
              f"{r['queries']} answered, {r['queries_failed']} failed, {r['seconds']:.1f} s")
    lost = [n for n, r in results.items()
            if n.startswith("cairn") and (r["counted"] != r["samples"] or r["refused"] or r["queries_failed"])]
    if lost:
        print("cairn: not every acknowledged sample was found")
    return 1 if lost else 0


def with_folder(a, work) -> int:
    EXTRA_FLAGS.extend(a.flag)
    folder = Path(tempfile.mkdtemp(prefix="cairn-bench-"))
    try:
        return work(folder)
    finally:
        if not a.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.modules["run"] = sys.modules["__main__"]  # bench/query.py shares the servers
    import cluster, query, storage
    sys.exit(main())
