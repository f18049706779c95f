# SPDX-License-Identifier: Apache-2.0
"""./dev bench cluster: what a cluster costs on this machine, against DESIGN 10's budget of scale.

Ingest: CPU over all processes per sample of known series, remote write spread over the nodes, for 1 to 5 processes and 1 to 3 copies,
beside VictoriaMetrics' single node. Each process has one core and is sent to over --connections of its own, in requests of one size, so
that a node of a cluster works as the single one does: what is done once a request or once a group commit is not shared by fewer samples
because there are more nodes. What nodes do while idle is measured before and taken off. Hops: a forward is what a sample costs more when
another node must take it, a copy what one more replica costs. Query: latency and CPU of a small query and of an aggregate over at least
1,000 series. CPU is taken with all nodes on one CPU: where two are threads of one processor core, as in most virtual machines, time on
each counts that it waits for the other, and a single node is alone. And with the program at the same address in all nodes: else a CPU
forgets between two of them what it has learnt of their branches, which it would not were each on a machine of its own. Latency is taken
with all CPUs."""
import contextlib, ctypes, json, os, signal, statistics, subprocess, sys, threading, time, urllib.parse, urllib.request
from pathlib import Path

import ask as client, data, query, run

# The two budgets for queries are taken apart: 4 further nodes at 50 us are more than 15 % of an aggregate of a millisecond.
SHAPES = [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (5, 1), (5, 2), (5, 3)]  # processes, copies
BUDGET_OVER, BUDGET_NODE_US = 1.15, 50
SMALL = 'node_load1{instance="10.0.0.7:9100"}'
LARGE = 'sum by (region) (rate(http_requests_total[5m]))'
FLEET_ROWS, RANGE_S, TURNS = 240, 3300, 9
ADDR_NO_RANDOMIZE = 0x0040000  # sys/personality.h


class Node(run.Server):
    name, ready_path = "cairn", "/-/ready"

    def __init__(self, folder: Path, ring: list, index: int, copies: int, cores: int):
        self.ring, self.index, self.copies, self.cores = ring, index, copies, cores
        super().__init__(folder / f"n{index}")

    def command(self):
        config = self.folder.with_suffix(".yml")
        config.write_text("")  # nothing to scrape
        me = f"127.0.0.1:{self.ring[self.index]}"
        flags = [str(Path(os.environ.get("CAIRN_BUILD", run.ROOT / "build")) / "cairn"), f"--config.file={config}",
                 f"--web.listen-address=127.0.0.1:{self.port}", f"--storage.tsdb.path={self.folder}", f"--node.cores={self.cores}",
                 "--storage.tsdb.out-of-order-time-window=1d"] + run.EXTRA_FLAGS
        if len(self.ring) == 1:
            return flags
        members = ",".join(f"127.0.0.1:{p}" for p in self.ring)
        return flags + [f"--ring.listen-address={me}", f"--ring.advertise-address={me}", f"--ring.discovery=static:{members}",
                        f"--ring.bootstrap-expect={len(self.ring)}", f"--ring.replication-factor={self.copies}"]

    def wait_ready(self):
        pass  # not before the others have started

    def cpu_seconds(self) -> float:
        return query.cpu_ns(self) / 1e9

    def log_bytes(self) -> float:
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith("cairn_log_written_bytes_total "):
                return float(line.split()[1])
        raise SystemExit("cairn_log_written_bytes_total is no metric")


class Cluster:
    def __init__(self, folder: Path, processes: int, copies: int, cores: int):
        ring = [run.free_port() for _ in range(processes)]
        folder.mkdir(parents=True)
        self.nodes = [Node(folder, ring, i, copies, cores) for i in range(processes)]
        for n in self.nodes:
            run.Server.wait_ready(n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for n in self.nodes:  # all at once: nobody is there to take over
            n.process.send_signal(signal.SIGINT)
        for n in self.nodes:
            n.process.wait(60)
            n.log.close()

    def cpu_seconds(self) -> float:
        return sum(n.cpu_seconds() for n in self.nodes)

    def log_bytes(self) -> float:
        return sum(n.log_bytes() for n in self.nodes)

    def keep_to(self, cpus: set) -> set:
        """All threads of all nodes; returns where one might run before."""
        before = os.sched_getaffinity(self.nodes[0].process.pid)
        for n in self.nodes:
            for task in os.listdir(f"/proc/{n.process.pid}/task"):
                os.sched_setaffinity(int(task), cpus)
        return before

    def idle_rate(self, seconds=2.0) -> float:
        """CPU seconds per second, while nothing happens."""
        began, before = time.monotonic(), self.cpu_seconds()
        threading.Event().wait(seconds)
        return (self.cpu_seconds() - before) / (time.monotonic() - began)

    def wait_idle(self, rate: float):
        """Until it takes hardly more than while idle, for one second."""
        quiet, deadline = 0, time.monotonic() + 30
        while quiet < 2 and time.monotonic() < deadline:
            quiet = quiet + 1 if self.idle_rate(0.5) < rate + 0.03 else 0


def send(servers: list, capture: Path, a, rows: int, start_ms: int) -> dict:
    out = subprocess.run([str(Path(os.environ.get("CAIRN_BUILD", run.ROOT / "build")) / "bench/load"),
                          *(f"--url={s.url('/api/v1/write')}" for s in servers), f"--capture={capture}", f"--instances={a.instances}",
                          f"--rows={rows}", f"--start-ms={start_ms}", f"--step-ms={a.step_ms}", "--merge=2",
                          f"--connections={a.connections * len(servers)}"], capture_output=True, text=True)
    sys.stderr.write(out.stderr)
    if out.returncode != 0:
        raise SystemExit(f"the load failed: {out.stdout}{out.stderr}")
    return json.loads(out.stdout)


def ingest(folder: Path, capture: Path, a, processes: int, copies: int) -> dict:
    with Cluster(folder / f"i{processes}x{copies}", processes, copies, a.cores) as c:
        start_ms = int((time.time() - (a.rows + 5) * a.step_ms / 1000) * 1000)
        send(c.nodes, capture, a, 2, start_ms)  # the series become known everywhere
        c.wait_idle(c.idle_rate())
        idle, log0 = c.idle_rate(), c.log_bytes()
        began, cpu0 = time.monotonic(), c.cpu_seconds()
        load = send(c.nodes, capture, a, a.rows, start_ms + 3 * a.step_ms)
        c.wait_idle(idle)
        cpu = c.cpu_seconds() - cpu0 - idle * (time.monotonic() - began)
        series = json.loads(c.nodes[0].get("/api/v1/query?" + urllib.parse.urlencode(
            {"query": 'count({region=~".+"})', "time": f"{start_ms / 1000 + (a.rows + 2) * a.step_ms / 1000:.3f}"})))
        return {"samples": load["samples"], "seconds": load["seconds"], "cpu": cpu, "ns": cpu / load["samples"] * 1e9, "idle": idle,
                "again": load["unavailable"], "log": (c.log_bytes() - log0) / load["samples"],
                "series": int(float(series["data"]["result"][0]["value"][1]))}


def ingest_victoria(folder: Path, capture: Path, a) -> dict:
    server = run.VictoriaMetrics(folder / "victoriametrics")
    try:
        start_ms = int((time.time() - (a.rows + 5) * a.step_ms / 1000) * 1000)
        send([server], capture, a, 2, start_ms)
        server.wait_idle()
        before = server.cpu_seconds()
        load = send([server], capture, a, a.rows, start_ms + 3 * a.step_ms)
        server.wait_idle()
        cpu = server.cpu_seconds() - before
    finally:
        server.stop()
    return {"samples": load["samples"], "seconds": load["seconds"], "cpu": cpu, "ns": cpu / load["samples"] * 1e9}


def print_ingest(found: dict, victoria: dict) -> list:
    one, missed = found[1, 1]["ns"], []
    print(f"{'':18}{'samples':>12}{'wall s':>8}{'CPU s':>8}{'per CPU s':>12}{'ns/sample':>11}{'x single':>10}{'of copies+1':>13}"
          f"{'log B/sample':>14}{'idle CPU':>10}{'sent again':>11}")
    for (n, r), f in found.items():
        share = f["ns"] / one / (r + (n > 1))
        print(f"{n} nodes, {r} copies {f['samples']:>12,}{f['seconds']:>8.1f}{f['cpu']:>8.2f}{1e9 / f['ns']:>12,.0f}{f['ns']:>11.0f}"
              f"{f['ns'] / one:>10.2f}{share:>13.2f}{f['log']:>14.2f}{f['idle']:>9.1%}{f['again']:>11}")
        if share > BUDGET_OVER:
            missed.append(f"{n} nodes, {r} copies: {share:.2f} of ({r} copies + 1 forward) x the single node, at most {BUDGET_OVER}")
    if victoria:
        print(f"victoriametrics    {victoria['samples']:>11,}{victoria['seconds']:>8.1f}{victoria['cpu']:>8.2f}{1e9 / victoria['ns']:>12,.0f}"
              f"{victoria['ns']:>11.0f}{victoria['ns'] / one:>10.2f}")
    for n in sorted({n for n, _ in found} - {1}):
        forward = (found[n, 1]["ns"] - one) * n / (n - 1)
        copies = [found[n, r]["ns"] - found[n, r - 1]["ns"] for r in (2, 3) if (n, r) in found]
        print(f"{n} nodes: single {one:.0f} ns, a forward {forward:.0f} ns ({forward / one:.2f}), each further copy " +
              ", ".join(f"{c:.0f} ns ({c / one:.2f})" for c in copies))
    return missed


# -- queries

def trace_of(node: Node, path: str) -> dict:
    answer = json.loads(node.get(path + "&trace=1"))
    return answer.get("trace") or answer["data"]["trace"]


class Asker:
    """One query of one cluster: round robin over the nodes, one client; span: of a range query, in seconds."""

    def __init__(self, c: Cluster, text: str, at: float, span: int):
        self.c, self.text, self.clients, self.took, self.answers = c, text, [client.Connection(n.port, 60) for n in c.nodes], [], set()
        self.path = "/api/v1/query?" + urllib.parse.urlencode({"query": text, "time": f"{at:.3f}"})
        if span > 0:
            self.path = "/api/v1/query_range?" + urllib.parse.urlencode({"query": text, "start": f"{at - span:.3f}", "end": f"{at:.3f}",
                                                                         "step": "15"})

    def times(self, repeat: int):
        for i in range(repeat):
            seconds, status, body = self.clients[i % len(self.clients)].get(self.path)
            self.took.append(seconds)
            if status != 200:
                raise SystemExit(f"{self.text}: {status} {body[:300]!r}")
            self.answers.add(json.dumps(sorted(json.loads(body)["data"]["result"], key=str)))

    def latency(self, repeat: int) -> dict:
        self.times(repeat // 4)
        self.took.clear()
        self.times(repeat)
        asked = [len({part["node"] for r in trace_of(n, self.path)["rounds"] for part in r["parts"]}) - 1 for n in self.c.nodes]
        return {"p50": statistics.median(self.took), "p99": query.percentile(self.took, 0.99), "asked": statistics.mean(asked)}

    def cpu(self, repeat: int, idle: float) -> float:
        """Of all nodes for one query, without what they do while idle."""
        self.times(len(self.clients))
        began, before = time.monotonic(), self.c.cpu_seconds()
        self.times(repeat)
        return (self.c.cpu_seconds() - before - idle * (time.monotonic() - began)) / repeat


def ask(clusters: dict, text: str, at: float, repeat: int, span: int) -> dict:
    """By the number of nodes. CPU is taken of all clusters in turns, since a machine is not the same a minute later, and of the turns the
    first quartile: what else goes on there makes one dearer, never cheaper."""
    askers = {n: Asker(c, text, at, span) for n, c in clusters.items()}
    found = {n: q.latency(repeat) for n, q in askers.items()}
    here = os.sched_getaffinity(0)
    for c in clusters.values():
        c.keep_to({min(here)})
    os.sched_setaffinity(0, here - {min(here)} or here)
    idle = {n: c.idle_rate() for n, c in clusters.items()}
    turns = [{n: q.cpu(repeat // 2, idle[n]) for n, q in askers.items()} for _ in range(TURNS)]
    os.sched_setaffinity(0, here)
    for n, c in clusters.items():
        c.keep_to(here)
        found[n]["cpu"] = statistics.quantiles((turn[n] for turn in turns), n=4)[0]
        if len(askers[n].answers) != 1:
            raise SystemExit(f"{text}: {len(askers[n].answers)} different answers of {n} nodes")
    return found


def at_one_address():
    """Processes started from here on have their program where the others have it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.personality(ADDR_NO_RANDOMIZE) < 0:
        print(f"the nodes' programs are at different addresses, which costs: personality: {os.strerror(ctypes.get_errno())}")


def queries(folder: Path, a) -> list:
    at_one_address()
    capture = folder / "fleet"
    a.instances = a.hosts
    data.prepare_fleet(capture, FLEET_ROWS, a.hosts)
    found, missed, clusters = {}, [], {}
    with contextlib.ExitStack() as running:
        start = int(time.time()) - FLEET_ROWS * 15 - 30
        for n in (1, 3, 5):
            c = clusters[n] = running.enter_context(Cluster(folder / f"q{n}", n, min(n, 2), a.cores))
            send(c.nodes, capture, a, FLEET_ROWS, start * 1000)
            c.wait_idle(c.idle_rate())
        for name, text, repeat, span in ("small", SMALL, 600, 0), ("aggregate", LARGE, 300, 0), ("range", LARGE, 100, RANGE_S):
            for n, f in ask(clusters, text, start + (FLEET_ROWS - 1) * 15 + 5.5, repeat, span).items():
                found[name, n] = f
    print(f"\nquery, {a.hosts * 2:,} series in the aggregate{'':10}p50 ms    p99 ms    CPU ms over all nodes")
    for (name, n), f in found.items():
        print(f"{name:>10}, {n} nodes{'':25}{f['p50'] * 1e3:>10.2f}{f['p99'] * 1e3:>10.2f}{f['cpu'] * 1e3:>12.3f}")
    for n in (3, 5):
        asked = found["small", n]["asked"]
        each = (found["small", n]["cpu"] - found["small", 1]["cpu"]) / max(asked, 1) * 1e6
        print(f"{n} nodes: fixed cost per further node asked and query {each:.0f} us (at most {BUDGET_NODE_US}; {asked:.1f} are asked)", end="")
        if each > BUDGET_NODE_US:
            missed.append(f"{n} nodes: {each:.0f} us per node and query, at most {BUDGET_NODE_US}")
        for name, what in ("aggregate", "an aggregate at one moment"), ("range", f"the same over {RANGE_S // 60} minutes"):
            cpu, single = found[name, n]["cpu"], found[name, 1]["cpu"]
            share = (cpu - min(each, BUDGET_NODE_US) / 1e6 * asked) / single
            print(f", {what} {cpu / single:.2f} x single, {share:.2f} without the fixed cost", end="")
            if share > BUDGET_OVER:
                missed.append(f"{n} nodes: {what} costs {share:.2f} of the single node without the fixed cost, at most {BUDGET_OVER}")
        print()
    return missed


def main(folder: Path, a) -> int:
    capture = folder / "capture"
    kind = data.prepare(capture, a.shared)
    print(f"cluster: {kind}, {a.instances} instances x {a.rows} rows, {a.cores} core(s) a process")
    shapes = [s for s in SHAPES if s[0] <= a.processes]
    found = {s: ingest(folder, capture, a, *s) for s in shapes}
    victoria = {} if a.only == "cairn" else ingest_victoria(folder, capture, a)
    missed = print_ingest(found, victoria)
    missed += queries(folder, a)
    series = {f["series"] for f in found.values()}
    if len(series) != 1:
        print(f"cairn: not every series was found: {series}")
        return 1
    print(f"{len(missed)} targets missed")
    for line in missed:
        print("  " + line)
    return 1 if missed and a.strict else 0
