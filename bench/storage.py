# SPDX-License-Identifier: Apache-2.0
"""./dev bench storage: what the storage engine costs, beside Prometheus and VictoriaMetrics, against DESIGN 10's budgets.

Five loads, each into all servers, which are up at the same time and are fed one after the other, by remote write, in order, with
times in the past: many series (memory, ingest, restart), series that come and go (churn), six hours (disk, an aggregate over one of
them), thirty days (an aggregate over all of them); and, when asked for by --loads=day, a day (disk, with the log that a day ends with). Cairn runs with its defaults, but for how often it looks for closed ranges.
CPU is until idle; RSS per series is without what the server takes when empty; disk is allocated blocks after a clean stop."""
import json, math, random, signal, statistics, struct, subprocess, sys, threading, time, types, urllib.parse
from pathlib import Path

import data, query, run

HOUR, DAY = 3600, 86400
STEP_S = 15
LABELS = 12
PADDING = [("pod", "@instance"), ("node", "@instance"), ("namespace", "monitoring"), ("service", "exporters"), ("env", "production"),
           ("team", "platform"), ("container", "exporter")]
CHURN_EPOCH_S, CHURN_PARTS = 600, 20  # every ten minutes a twentieth of an instance's series is replaced
AGGREGATE = 'sum by (job, region) ({region=~".+"})'
ALL = 'count({region=~".+"})'
FLAGS = {"cairn": ["--storage.blocks-interval=1s"], "prometheus": [],
         "victoriametrics": ["-search.maxUniqueTimeseries=10000000", "-search.maxQueryDuration=300s", "-http.connTimeout=2h"]}
MONTHS = {"cairn": ["--storage.tsdb.retention.time=90d"], "prometheus": ["--storage.tsdb.retention.time=90d"],
          "victoriametrics": ["-retentionPeriod=3"]}
QUICK = {"cairn": ["--storage.tsdb.wal-segment-size=13MB"], "prometheus": ["--storage.tsdb.wal-segment-size=13MB"]}  # a tenth, as the data


def pause(seconds: float):
    threading.Event().wait(max(0, seconds))


def allocated(folder: Path) -> int:
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())


class Kept:
    """A server that is stopped and started again on its data."""
    flags: list = []

    def command(self):
        return super().command() + self.flags

    def wait_ready(self):
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get(self.ready_path, 2)
                return
            except OSError:
                pause(0.02)
        raise SystemExit(f"{self.name} did not start: see {self.log.name}")

    def shut(self) -> float:
        """However long it takes: a killed server has had no clean stop."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(900)
        self.left = allocated(self.folder / "head")
        return time.monotonic() - began

    def again(self) -> float:
        """Seconds until it is ready; restart_cpu: those of the CPU."""
        began = time.monotonic()
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log)
        self.wait_ready()
        took, self.restart_cpu = time.monotonic() - began, self.cpu_seconds()
        return took

    def killed(self) -> float:
        """again, behind kill -9."""
        self.process.kill()
        self.process.wait()
        return self.again()

    def file_bytes(self) -> int:
        """What of the RSS is pages of files, which the system may take back."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(("RssFile:", "RssShmem:")):
                return int(line.split()[1]) * 1024
        return 0

    def block_files(self) -> list:
        return sorted((p.name, p.stat().st_size) for p in (self.folder / "blocks").glob("*.block"))

    def wait_blocks(self, seconds: float):
        """Until closed ranges were written and merged: there are blocks, and for a while no others."""
        deadline, quiet, last = time.monotonic() + seconds, 0, []
        while time.monotonic() < deadline and quiet < 10:
            pause(0.5)
            found = self.block_files()
            quiet = quiet + 1 if found and found == last else 0
            last = found
        self.wait_idle()

    def wait_log(self, seconds: float):
        """Until the log's first file was let go: shards without a sample are cut after a minute only, and keep it until then."""
        first, deadline = self.folder / "log" / f"log-{1:016x}", time.monotonic() + seconds
        while first.exists() and time.monotonic() < deadline:
            pause(0.2)


class KeptCairn(Kept, run.Cairn):
    def command(self):
        config = self.folder.with_suffix(".yml")
        config.write_text("")  # nothing to scrape: its own samples would be of today
        return super().command() + [f"--config.file={config}"]


KINDS = {"cairn": KeptCairn, "prometheus": type("KeptPrometheus", (Kept, run.Prometheus), {}),
         "victoriametrics": type("KeptVictoria", (Kept, run.VictoriaMetrics), {})}


class Servers:
    def __init__(self, folder: Path, a, more: dict = {}):
        self.all = {}
        folder.mkdir()
        self.folder, self.a, self.more = folder, a, more

    def __enter__(self):
        for n in self.a.only.split(",") if self.a.only else list(KINDS):
            kind = type(n, (KINDS[n],), {"flags": FLAGS[n] + self.more.get(n, []) + (QUICK.get(n, []) if self.a.quick else [])})
            self.all[n] = kind(self.folder / n)
        pause(3)
        for s in self.all.values():
            s.rss_idle = s.rss_bytes()
        return self.all

    def __exit__(self, *_):
        for s in self.all.values():
            s.shut()
            s.log.close()


def say(text: str):
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def load(server, capture: Path, start: int, rows: int, instances: int, step_s: int = STEP_S, connections: int = 1) -> dict:
    """Adds CPU seconds until idle."""
    shape = types.SimpleNamespace(instances=instances, rows=rows, step_ms=step_s * 1000, connections=connections, rate=0, what="storage")
    before = query.cpu_ns(server)
    found = run.run_load(server, capture, shape, start * 1000)
    if found["refused"]:
        raise SystemExit(f"{server.name} refused {found['refused']:,} samples")
    server.wait_idle()
    found["cpu"] = (query.cpu_ns(server) - before) / 1e9
    found["at"] = time.monotonic()
    return found


def range_before(seconds: int, length: int) -> int:
    """The beginning of a block's range at least so long ago."""
    return (int(time.time()) - seconds) // length * length


# -- captures

def labels_of(name: bytes) -> dict:
    words = name.decode().split("\t")
    return dict(zip(words[::2], words[1::2]))


def name_of(labels: dict) -> bytes:
    return "\t".join(f"{k}\t{v}" for k, v in sorted(labels.items())).encode()


class Capture:
    """The capture at true 15 s, with its rows as bytes: every 15th, then those between them, so that five hours are all different.
    One is left out: what repeats is at another place in its range, or equal pages would be stored once."""

    def __init__(self, a):
        if (a.shared / "exporters.bin.xz").exists():
            self.kind, (names, rows) = "capture of real exporters", data.read_capture(a.shared)
        else:
            self.kind, (names, rows) = "made data", data.make_capture()
        self.names = names
        self.rows = [struct.pack(f"<{len(r)}d", *r) for phase in range(STEP_S) for r in rows[phase::STEP_S]][:-1]

    def write(self, path: Path, names: list = (), first_row: int = 0) -> Path:
        names, shift = names or self.names, first_row % len(self.rows)
        with open(path, "wb") as f:
            f.write(struct.pack("<II", len(names), len(self.rows)))
            for n in names:
                f.write(struct.pack("<I", len(n)) + n)
            f.writelines(self.rows[shift:] + self.rows[:shift])
        return path

    def padded(self) -> list:
        """With twelve labels, as in Kubernetes."""
        out = []
        for name in self.names:
            labels = labels_of(name)
            for key, value in PADDING:
                if len(labels) < LABELS:
                    labels.setdefault(key, value)
            out.append(name_of(labels))
        return out

    def churned(self, epoch: int) -> list:
        """In each epoch another part of the series gets a new pod; neighbours in the capture go together."""
        out = []
        for i, name in enumerate(self.names):
            part = i * CHURN_PARTS // len(self.names)
            life = (epoch + CHURN_PARTS - 1 - part) // CHURN_PARTS
            out.append(name_of(labels_of(name) | {"pod": f"app-{part}-{life}"}))
        return out


# -- loads

def many_series(folder: Path, a, capture: Capture, found: dict):
    """1 M series x 30 scrapes: ingest of known series, memory, restart."""
    rows, start = 30, range_before(5 * HOUR, 2 * HOUR) + 60
    instances = max(1, round(a.series / len(capture.names)))
    first = capture.write(folder / "first", capture.padded())
    rest = capture.write(folder / "rest", capture.padded(), 2)
    loads = {}
    with Servers(folder / "many", a) as servers:
        for n, s in servers.items():
            new = load(s, first, start, 2, instances, connections=2)
            known = loads[n] = load(s, rest, start + 2 * STEP_S, rows - 2, instances, connections=2)
            found[n]["series"] = known["samples"] / (rows - 2)
            found[n]["new_rate"], found[n]["rate"] = new["samples"] / new["cpu"], known["samples"] / known["cpu"]
            say(f"{n}: {found[n]['series']:,.0f} series, {new['samples'] + known['samples']:,} samples, "
                f"CPU {new['cpu']:.1f} s + {known['cpu']:.1f} s, {new['seconds'] + known['seconds']:.1f} s")
        for n, s in servers.items():
            pause(loads[n]["at"] + a.settle - time.monotonic())
            found[n]["rss"], found[n]["rss_files"] = s.rss_bytes(), s.file_bytes()
            found[n]["rss_series"] = (found[n]["rss"] - s.rss_idle) / found[n]["series"]
        last = start + (rows - 1) * STEP_S
        if "cairn" in servers:  # three hours later the range of the first load is closed, the next one is in memory
            s, last = servers["cairn"], last + 4 * HOUR
            at = load(s, rest, start + 4 * HOUR, rows, instances, connections=2)["at"]
            s.wait_blocks(120)
            pause(at + a.settle - time.monotonic())
            found["cairn"]["rss_cut"] = (s.rss_bytes() - s.rss_idle) / found["cairn"]["series"]
        for n, s in servers.items():
            found[n]["stop"], found[n]["restart"] = s.shut(), s.again()
            found[n]["restart_cpu"], found[n]["left"] = s.restart_cpu, s.left
            found[n]["rss_again"] = (s.rss_bytes() - s.rss_idle) / found[n]["series"]
            end = last if n == "cairn" else start + (rows - 1) * STEP_S
            count = s.query(ALL, end + 1)
            found[n]["series_after"] = float(count[0]["value"][1]) if count else 0
            say(f"{n}: stopped in {found[n]['stop']:.1f} s, ready after {found[n]['restart']:.2f} s, {found[n]['series_after']:,.0f} series")
            found[n]["killed"], found[n]["killed_cpu"] = s.killed(), s.restart_cpu


def churn(folder: Path, a, capture: Capture, found: dict):
    start, rows = range_before(a.churn_hours * HOUR + HOUR, 2 * HOUR), CHURN_EPOCH_S // STEP_S
    instances = max(1, round(a.churn_series / len(capture.names)))
    samples, at = {}, {}
    with Servers(folder / "churn", a) as servers:
        for epoch in range(a.churn_hours * HOUR // CHURN_EPOCH_S):
            path = capture.write(folder / "epoch", capture.churned(epoch), epoch * rows)
            for n, s in servers.items():
                shape = types.SimpleNamespace(instances=instances, rows=rows, step_ms=STEP_S * 1000, connections=1, rate=0, what="storage")
                sent = run.run_load(s, path, shape, (start + epoch * CHURN_EPOCH_S) * 1000)
                if sent["refused"]:
                    raise SystemExit(f"{n} refused {sent['refused']:,} samples")
                samples[n], at[n] = samples.get(n, 0) + sent["samples"], time.monotonic()
        if "cairn" in servers:
            servers["cairn"].wait_blocks(60)  # the first two hours; all of the log stays until the next range is closed
        for n, s in servers.items():
            s.wait_idle()
            pause(at[n] + a.settle - time.monotonic())
            found[n]["churn_rss"] = s.rss_bytes()
            s.shut()
            found[n]["churn_disk"] = allocated(s.folder) / samples[n]
            if n == "cairn":
                found[n]["churn_log"] = allocated(s.folder / "log") / samples[n]
            say(f"{n}: churn, {samples[n]:,} samples, RSS {found[n]['churn_rss'] / 2**20:.0f} MiB")


def six_hours(folder: Path, a, capture: Capture, found: dict):
    """Three ranges, which become one, and an hour later two scrapes more that close the last: disk; an aggregate over one hour."""
    start, rows = range_before(8 * HOUR, 6 * HOUR), 6 * HOUR // STEP_S
    instances, closing = max(1, round(a.disk_series / len(capture.names))), start + 7 * HOUR + 60
    path = capture.write(folder / "hours")
    samples = {}
    with Servers(folder / "hours-of", a) as servers:
        for n, s in servers.items():
            samples[n] = load(s, path, start, rows, instances)["samples"]
            samples[n] += load(s, path, closing, 2, instances)["samples"]
            say(f"{n}: six hours, {samples[n]:,} samples, {s.cpu_seconds():.1f} s CPU")
        if "cairn" in servers:
            s, ours = servers["cairn"], found["cairn"]
            s.wait_blocks(150)
            s.wait_log(90)
            ours["blocks"], kept = len(s.block_files()), allocated(s.folder / "blocks")
            ours["disk_blocks"] = kept / (samples["cairn"] * rows / (rows + 2))  # the last two scrapes are in memory and log
            ours["lost"] = samples["cairn"] - run.count_samples(s, 8 * HOUR, closing + 60)
        latency(servers, a, "hour", start + 0.5 * HOUR, start + 1.5 * HOUR, STEP_S, found)
        for n, s in servers.items():
            s.shut()
            if n == "cairn":
                found[n]["disk_log"] = allocated(s.folder / "log") / samples[n]
            found[n]["disk"] = allocated(s.folder) / samples[n]
            if n == "victoriametrics":  # it has no log
                found[n]["disk_blocks"] = found[n]["disk"]
            if n == "prometheus":
                kept = sum(allocated(p.parent) for p in s.folder.glob("*/meta.json"))
                found[n]["disk_blocks"] = kept / samples[n]


def whole_day(folder: Path, a, capture: Capture, found: dict):
    """Nothing closes the last range: what a server has on its disk at any time, blocks and log."""
    start, rows = range_before(26 * HOUR, 2 * HOUR), DAY // STEP_S
    instances, path = max(1, round(a.disk_series / len(capture.names))), capture.write(folder / "day")
    samples = {}
    with Servers(folder / "day-of", a) as servers:
        for n, s in servers.items():
            samples[n] = load(s, path, start, rows, instances)["samples"]
            say(f"{n}: a day, {samples[n]:,} samples, {s.cpu_seconds():.1f} s CPU")
        if "cairn" in servers:
            servers["cairn"].wait_blocks(150)
            servers["cairn"].wait_log(90)
        for n, s in servers.items():
            s.shut()
            found[n]["day_disk"] = allocated(s.folder) / samples[n]
            if n == "cairn":
                found[n]["day_log"], found[n]["day_blocks"] = (allocated(s.folder / part) / samples[n] for part in ("log", "blocks"))


def thirty_days(folder: Path, a, capture: Capture, found: dict):
    start = range_before(a.days * DAY + HOUR, 2 * HOUR)
    rows, path = a.days * DAY // 60, capture.write(folder / "days")
    with Servers(folder / "days-of", a, MONTHS) as servers:
        for n, s in servers.items():
            samples = load(s, path, start, rows, 1, step_s=60)["samples"]
            say(f"{n}: {a.days} days, {samples:,} samples, {s.cpu_seconds():.1f} s CPU")
        if "cairn" in servers:
            servers["cairn"].wait_blocks(150)
        latency(servers, a, "days", start + 600, start + rows * 60 - 600, 300, found)


def latency(servers: dict, a, key: str, start: float, end: float, step: int, found: dict):
    """Median over moments that hit no sample, the servers in turn, each when the one before is idle; the first answers are compared."""
    clients = {n: query.Client(s) for n, s in servers.items()}
    seconds, cpu, bodies = {n: [] for n in servers}, {n: [] for n in servers}, {}
    rng = random.Random(1)
    for i in range(a.asks + 1):
        shift = rng.uniform(0.2, 0.8) * STEP_S
        form = urllib.parse.urlencode({"query": AGGREGATE, "nocache": "1", "start": f"{start + shift:.3f}", "end": f"{end + shift:.3f}",
                                       "step": str(step)})
        for n, c in clients.items():
            took, used, body = c.get("/api/v1/query_range?" + form, AGGREGATE)
            if i == 0:  # the first one warms up
                bodies[n] = body
                continue
            seconds[n].append(took)
            cpu[n].append(used)
    for n in servers:
        found[n][key], found[n][key + "_cpu"] = statistics.median(seconds[n]), statistics.median(cpu[n])
    if "cairn" in bodies and "prometheus" in bodies:
        found["cairn"]["wrong_" + key] = query.difference(bodies["cairn"], bodies["prometheus"])


# -- the table

def ratio_at_least(prometheus: float, victoria: float):
    return lambda v, p, m: None if p is None or m is None else v >= prometheus * p and v >= victoria * m


def ratio_at_most(prometheus: float, victoria: float):
    return lambda v, p, m: None if p is None or m is None else v <= prometheus * p and v <= victoria * m


DISK = "<= 0.32, <= VM", lambda v, p, m: v <= 0.32 and (m is None or v <= m)
ROWS = [  # title, key, format, budget's text, whether (cairn, prometheus, victoriametrics) meets it
    ("ingest of new series, samples a CPU second", "new_rate", "{:,.0f}", "", None),
    ("ingest of known series, samples a CPU second", "rate", "{:,.0f}", ">= 12x, >= 2x", ratio_at_least(12, 2)),
    ("RSS bytes a series", "rss_series", "{:,.0f}", "<= 400", lambda v, p, m: v <= 400),
    ("RSS bytes a series, a closed range written", "rss_cut", "{:,.0f}", "<= 400", lambda v, p, m: v <= 400),
    ("RSS, bytes", "rss", "{:,.0f}", "", None),
    ("  of it pages of files", "rss_files", "{:,.0f}", "", None),
    ("clean stop, s", "stop", "{:.2f}", "", None),
    ("  bytes left of what was in memory", "left", "{:,.0f}", "", None),
    ("restart until ready, s", "restart", "{:.2f}", "<= 10 s", lambda v, p, m: v <= 10),
    ("  CPU s", "restart_cpu", "{:.2f}", "", None),
    ("  RSS bytes a series", "rss_again", "{:,.0f}", "", None),
    ("restart behind kill -9 until ready, s", "killed", "{:.2f}", "", None),
    ("  CPU s", "killed_cpu", "{:.2f}", "", None),
    ("churn: RSS, bytes", "churn_rss", "{:,.0f}", "", None),
    ("churn: disk bytes a sample", "churn_disk", "{:.3f}", "", None),
    ("  log alone", "churn_log", "{:.3f}", "", None),
    ("disk bytes a sample, data directory", "disk", "{:.3f}", *DISK),
    ("  log alone", "disk_log", "{:.3f}", "", None),
    ("  blocks alone", "disk_blocks", "{:.3f}", *DISK),
    ("a day: disk bytes a sample, data directory", "day_disk", "{:.3f}", *DISK),
    ("  log alone", "day_log", "{:.3f}", "", None),
    ("  blocks alone", "day_blocks", "{:.3f}", "", None),
    ("aggregate over 1 h at 15 s, s", "hour", "{:.4f}", "<= 1/10, <= 1/3", ratio_at_most(1 / 10, 1 / 3)),
    ("  CPU s", "hour_cpu", "{:.4f}", "", None),
    ("aggregate over days at 60 s, s", "days", "{:.4f}", "<= 1/10, <= 1/3", ratio_at_most(1 / 10, 1 / 3)),
    ("  CPU s", "days_cpu", "{:.4f}", "", None),
]


def print_table(found: dict) -> int:
    """Returns how many budgets were missed."""
    missed = 0
    print(f"{'':46}" + "".join(f"{n:>17}" for n in found) + f"{'/ prometheus':>14}{'/ victoria':>12}   budget")
    for title, key, shape, budget, met in ROWS:
        values = [found.get(n, {}).get(key) for n in ("cairn", "prometheus", "victoriametrics")]
        if all(v is None for v in values):
            continue
        line = f"{title:46}" + "".join(f"{shape.format(f[key]) if key in f else '-':>17}" for f in found.values())
        for other, width in zip(values[1:], (14, 12)):
            line += f"{values[0] / other if values[0] is not None and other else math.nan:>{width}.3f}".replace("nan", "  -")
        if met is not None and values[0] is not None:
            good = met(*values)
            missed += good is False
            line += f"   {budget}: { {True: 'met', False: 'MISSED', None: 'not compared'}[good]}"
        print(line)
    return missed


LOADS = {"many": many_series, "churn": churn, "hours": six_hours, "days": thirty_days, "day": whole_day}


def main(folder: Path, a) -> int:
    tenth = 10 if a.quick else 1
    a.series = a.series or 1_000_000 // tenth
    a.churn_series, a.churn_hours = min(100_000 // tenth // (2 if a.quick else 1), a.series), 4
    a.disk_series, a.days = min(20_000 // tenth, a.series), 30 // tenth
    a.settle, a.asks = a.settle if a.settle is not None else (10 if a.quick else 60), 9
    capture = Capture(a)
    print(f"storage: {capture.kind}, {a.series:,} series x {LABELS} labels x 30 scrapes; churn of {a.churn_series:,} over {a.churn_hours} h; "
          f"{a.disk_series:,} over 6 h; {len(capture.names):,} over {a.days} d at 60 s; RSS after {a.settle:g} s")
    found = {n: {} for n in (a.only.split(",") if a.only else KINDS)}
    began = time.monotonic()
    for name in a.loads.split(","):
        LOADS[name](folder, a, capture, found)
        say(f"{name}: done after {time.monotonic() - began:.0f} s")
    missed = print_table(found)
    ours, bad = found.get("cairn", {}), []
    if ours.get("lost"):
        bad.append(f"{ours['lost']:,} acknowledged samples were not found")
    if ours.get("series_after", 0) < ours.get("series", 0) * 0.99:
        bad.append(f"{ours['series_after']:,.0f} of {ours['series']:,.0f} series after the restart")
    bad += [f"{key}: {ours[key]}" for key in ("wrong_hour", "wrong_days") if ours.get(key)]
    if ours.get("blocks", 1) != 1:
        print(f"cairn: {ours['blocks']} blocks: six hours were not merged to one")
    print(f"{missed} budgets missed" + "".join(f"\ncairn: WRONG: {b}" for b in bad))
    return 1 if bad or (a.strict and missed) else 0
