#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Samples that end sooner than their rows (storage.tsdb.retention.resolution): the disk gets smaller; what rows tell is answered as before,
instant selectors give the last sample of each bucket, and each answer says so. The same after a restart, and by a node that comes when the
samples have gone. Expected values are of the samples that were sent, counted here, or of the node before."""
import math
from downsample_data import *

POLICY = """storage:
  tsdb:
    retention: {time: 0s, resolution: {raw: 10h, 5m: 30h}}
    downsample:
      - {after: 2h, resolution: 5m}
      - {after: 3h, resolution: 1h}
"""
BEFORE = POLICY.replace("{time: 0s, resolution: {raw: 10h, 5m: 30h}}", "{time: 0s}")
RAW_END = START_MS + 48 * HOUR_MS    # newest - 10 h, in ranges of 2 h
FINE_END = START_MS + 28 * HOUR_MS   # newest - 30 h: a multiple of 2 h
ROWS = ["rate(a_total[1h])", "sum by (job) (increase(a_total[2h]))", "max_over_time(g[1h])", "resets(a_total[3h])", "sum_over_time(g[1h])",
        "count_over_time({__name__=~'a_.*'}[2h])", "avg_over_time(g[1h])", "min by (job) (min_over_time(g[1h] offset 1h))"]


def bytes_of(node):
    return sum(f.stat().st_blocks * 512 for f in (node.folder / "data" / "blocks").glob("*.block"))


def bucket(t):
    return 0 if t > RAW_END else 300_000 if t > FINE_END else HOUR_MS


def visible(samples):
    """What is left of samples: the last one of each bucket, at its end."""
    last = {}
    for t, v in samples:
        b = bucket(t)
        last[-(-t // b) * b if b else t] = v
    return sorted(last.items())


def instant(samples, at):
    left = [(t, v) for t, v in visible(samples) if at - max(300_000, bucket(t)) < t <= at]
    return left[-1][1] if left else None


def expect_instants(node, series):
    count = 0
    gauges = [(labels, samples) for labels, samples in series if labels["__name__"] == "g"]
    for at in (START_MS + HOUR_MS + 1, START_MS + 20 * HOUR_MS - 1, FINE_END, FINE_END + 1, FINE_END + 299_000, START_MS + 29 * HOUR_MS + 17_000,
               RAW_END, RAW_END + 30_000, RAW_END + HOUR_MS):
        want = sorted((sorted(labels.items()), instant(samples, at)) for labels, samples in gauges if instant(samples, at) is not None)
        got = [(metric, float(value[1])) for metric, value in ask(node, "g", at / 1000, 0, 0, None)]
        check_eq(got, want, f"g at {at}")
        count += len(got)
    for labels, samples in gauges[:3]:  # a matrix: all that is left
        got = node.query("g{i='%s'}[60h]" % labels["i"], (START_MS + SPAN_MS) / 1000)["result"][0]["values"]
        check_eq([(round(t * 1000), float(v)) for t, v in got], [(t, v) for t, v in visible(samples) if t > START_MS], labels)
        count += len(got)
    return count


def expect_rows(nodes, want):
    count = 0
    for (expr, start, end, step), before in want.items():
        for node in nodes:
            got = ask(node, expr, start, end, step, None)
            check_eq(got, before, f"{node.name}: {expr} from {start} to {end} by {step}")
            count += len(got)
    return count


def grids():
    start, fine, raw, end = START_MS / 1000, FINE_END / 1000, RAW_END / 1000, (START_MS + SPAN_MS) / 1000
    return [(start + 7200, end, 3600), (start + 10 * 3600, fine, 7200), (fine + 10800, raw, 3600), (raw - 3600, end, 3600)]


def infos(node, expr, start, end, step):
    a = node.api("/api/v1/query_range", query=expr, start=start / 1000, end=end / 1000, step=step)
    check_eq(a.code, 200, a)
    return a.json()["data"]["result"], a.json().get("infos", [])


def expect_told(node):
    """Who is answered from rows is told, and nobody else; windows that are not whole buckets are near what they were."""
    at_5m = "PromQL info: samples until %s are downsampled to 5m" % time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(RAW_END / 1000))
    at_1h = "PromQL info: samples until %s are downsampled to 1h" % time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(FINE_END / 1000))
    for expr, start, end, want in (("sum(g)", RAW_END + 300_000, RAW_END + HOUR_MS, []), ("sum(g)", RAW_END - HOUR_MS, RAW_END, [at_5m]),
                                   ("rate(a_total[1h])", FINE_END - HOUR_MS, FINE_END + 2 * HOUR_MS, [at_1h, at_5m]),
                                   ("quantile_over_time(0.5, g[1h])", FINE_END - HOUR_MS, FINE_END, [at_1h])):
        got, told = infos(node, expr, start, end, 61)
        check([t.rsplit(" (", 1)[0] for t in sorted(told)] == want, expr, told, want)
        check(len(got) > 0 or "quantile" in expr, expr, "is empty")
    for expr in ("avg(avg_over_time(g[7m]))", "sum(rate(a_total[5m]))", "max(max_over_time(g[1m]))"):  # shorter than an hour, and askew
        got, _ = infos(node, expr, START_MS + 5 * HOUR_MS + 1234, FINE_END - HOUR_MS, 600)
        check_eq(len(got), 1, expr)
        check(len(got[0]["values"]) == 132, expr, len(got[0]["values"]))
    [hour] = infos(node, "sum(rate(a_total[1h]))", START_MS + 20 * HOUR_MS, START_MS + 20 * HOUR_MS, 60)[0]
    [short] = infos(node, "sum(rate(a_total[5m]))", START_MS + 20 * HOUR_MS, START_MS + 20 * HOUR_MS, 60)[0]
    a, b = float(hour["values"][0][1]), float(short["values"][0][1])
    check(math.isclose(a, b, rel_tol=0.05), a, b)


def one_node(folder, series):
    node = Configured(folder / "node", *FLAGS)
    node.config = BEFORE
    node.start()
    feed(node, series)
    wait_for("blocks of rows", lambda: metric(node, "cairn_blocks_downsampled") >= 2)
    settle(node)
    want = {(expr, *grid): ask(node, expr, *grid, "raw") for expr in ROWS for grid in grids()}
    before = bytes_of(node)
    node.config = POLICY
    (node.folder / "empty.yml").write_text(POLICY)
    check_eq(http_request(node.port, "POST", "/-/reload").code, 200, "reload")
    wait_for("samples go", lambda: bytes_of(node) < 0.7 * before, 60)
    settle(node)
    after = bytes_of(node)
    say(f"disk: {before} bytes of blocks before, {after} after ({100 * after / before:.0f} %)")
    say("of rows:", expect_rows([node], want), "series as before;", expect_instants(node, series), "buckets by hand")
    expect_told(node)
    node.stop()
    dump = subprocess.run([Path(Cairn.binary).with_name("cairnctl"), "tsdb", "dump", node.data_dir], capture_output=True, text=True)
    check_eq(dump.returncode, 0, dump.stderr)
    check_eq(len(dump.stdout.splitlines()), sum(len(visible(samples)) for _, samples in series), "samples that are dumped")
    check(re.search(r"4 shards.*downsampled", dump.stderr), dump.stderr)
    node.start()
    expect_rows([node], want)
    check_eq(bytes_of(node), after, "bytes after a restart")
    form = dict(_match="g{job='j1'}", start=START_MS / 1000 + 1800, end=START_MS / 1000 + 4 * 3600 + 1800)
    check_eq(node.api("/api/v1/admin/tsdb/delete_series", **form).code, 204, "a deletion")
    series = [(labels, [(t, v) for t, v in samples if labels["__name__"] != "g" or labels["job"] != "j1" or not (
        START_MS + HOUR_MS < t <= START_MS + 4 * HOUR_MS)]) for labels, samples in series]
    say("after a deletion of whole hours:", expect_instants(node, series), "buckets by hand")
    check_eq(node.api("/api/v1/admin/tsdb/clean_tombstones").code, 204, "cleaning")
    expect_instants(node, series)
    node.kill()
    return want


def bytes_by_kind(node):
    """Of blocks of samples, and of rows."""
    raw = rows = 0
    for f in (node.folder / "data" / "blocks").glob("*.block"):
        try:
            data = f.read_bytes()
        except FileNotFoundError:  # it has just gone
            continue
        if struct.unpack_from("<I", data, 24)[0] == 0:
            raw += len(data)
        else:
            rows += len(data)
    return raw, rows


def go_on(node, ticks=[0]):
    """A follower hears what all have with the next entry: a sample for each shard, which is not newer than others."""
    ticks[0] += 1
    return node.write([({"__name__": "tick", "n": str(ticks[0]), "i": str(i)}, [(START_MS + SPAN_MS - 60_000, 1.0)]) for i in range(32)])


def samples_have_gone(node):
    raw, rows = bytes_by_kind(node)
    return "so it is" if rows > 0 and raw < 0.4 * rows else Bytes(raw, rows)


class Bytes(tuple):
    """Of samples and of rows, told when it never happens."""
    def __new__(cls, *of):
        return super().__new__(cls, of)

    def __bool__(self):
        return False


def ring(node):
    a = node.get("/api/v1/status/ring")
    return a.json()["data"] if a.code == 200 else {"nodes": [], "nodesDead": 0}


def full(node, nodes):
    """Two copies of each of four shards, at so many nodes."""
    r = ring(node)
    counts = [n["replicas"]["full"] for n in r["nodes"] if n["state"] == "alive"]
    return len(counts) == nodes and sum(counts) == 8 and min(counts) >= 2 and r["nodesDead"] == 0


def newcomer(folder, series, want):
    """Three nodes, of which one loses its disk when samples have gone: who takes its place gets the rows from the others, and answers for
    them when one more goes."""
    nodes = cluster(folder, 3, *FLAGS, "--ring.replace-after=1s", replication_factor=2)
    for n in nodes:
        n.spawn()
    for n in nodes:
        n.wait_ready()
        (n.folder / "empty.yml").write_text(POLICY)
        check_eq(http_request(n.port, "POST", "/-/reload").code, 200, "reload")
    wait_voters(nodes)
    feed(nodes[0], series)
    for n in nodes:
        wait_for("samples have gone", lambda n=n: go_on(nodes[0]) and samples_have_gone(n), 60)
    say("three nodes:", expect_rows(nodes, want), "series as before;", [bytes_of(n) for n in nodes], "bytes")
    lost = nodes[2]
    old = next(n["id"] for n in ring(nodes[0])["nodes"] if n["address"] == lost.ring_address)
    lost.kill()
    wait_for("its death is noticed", lambda: ring(nodes[0])["nodesDead"] == 1)
    wait_for("the others have copies of all", lambda: sum(
        n["replicas"]["full"] for n in ring(nodes[0])["nodes"] if n["state"] == "alive") == 8, 60)
    shutil.rmtree(lost.data_dir)
    lost.start()
    done = subprocess.run([Path(Cairn.binary).with_name("cairnctl"), "ring", "remove", old, f"--url=http://{HOST}:{nodes[0].port}"],
                          capture_output=True, text=True)
    check(done.returncode == 0, done.stdout, done.stderr)
    wait_for("three nodes are whole", lambda: full(nodes[0], 3), 60)
    say("replaced:", expect_rows(nodes, want), "series as before;", [bytes_of(n) for n in nodes], "bytes")
    nodes[1].kill()
    for n in nodes[0], lost:
        wait_for("answers without one more", lambda n=n: n.api("/api/v1/query", query="count(clock)", time=RAW_END / 1000).code == 200, 30)
    say("one less:", expect_rows([nodes[0], lost], want), "series as before;", expect_instants(lost, series), "buckets by hand")


def test(folder):
    rng = seed()
    series = make_series(rng)
    want = one_node(folder, series)
    newcomer(folder, series, want)


main(test)
