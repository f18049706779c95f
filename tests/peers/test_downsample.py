#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Downsampling by the configuration file: blocks of rows come, and range queries answer the same from samples, from rows of 5m and of 1h,
and by policy, on one node and on two of which one makes rows and the other does not; after a deletion, too. That rows are read is seen by
spoiling every raw block: what samples must tell fails then, and what rows tell goes on."""
from downsample_data import *

POLICY = """storage:
  tsdb:
    retention: {time: 0s}
    downsample:
      - {after: 2h, resolution: 5m}
      - {after: 20h, resolution: 1h}
"""
EXPRS = ["rate(a_total[1h])", "sum by (job) (increase(a_total[2h]))", "max_over_time(g[1h])", "avg_over_time(g[5m])", "resets(a_total[3h])",
         "min by (job) (min_over_time(g[1h] offset 1h))", "count_over_time({__name__=~'a_.*'}[1h])", "sum(last_over_time(g[10m]))",
         "absent_over_time(g{job='none'}[1h])", "quantile_over_time(0.9, g[1h])", "max(g)", "max_over_time(rate(a_total[5m])[2h:1h])"]


def ranges():
    start, end = START_MS / 1000, (START_MS + SPAN_MS) / 1000
    return [(start, end, 3600), (start + 300, end, 300), (start + 7 * 3600, end - 3600, 7200), (start + 1, end, 3600), (end - 36000, end, 0)]


def compare(what, nodes):
    count = 0
    for expr in EXPRS:
        for start, end, step in ranges():
            want = ask(nodes[0], expr, start, end, step, "raw")
            for node in nodes:
                for resolution in ("raw", "5m", "1h", "auto", None):
                    got = ask(node, expr, start, end, step, resolution)
                    if got != want:
                        bad = [(g, w) for g, w in zip(got, want) if g != w][:1]
                        raise Failure(f"{what}: {expr} from {start} to {end} by {step} at {resolution}: {str(bad)[:900]}")
                    count += len(got)
    return count


def spoil(node):
    """Breaks what raw blocks have behind their header, and counts them."""
    count = 0
    for f in (node.folder / "data" / "blocks").glob("*.block"):
        data = bytearray(f.read_bytes())
        if struct.unpack_from("<I", data, 24)[0] != 0:
            continue
        count += 1
        for at in range(40, len(data) * 2 // 3, 16):
            data[at] ^= 0x55
        with open(f, "r+b") as out:
            out.write(data)
    return count


def two_nodes(folder, series):
    """One has rows of its shards, the other has none."""
    nodes = cluster(folder, 2, *FLAGS)
    for n in nodes:
        n.spawn()
    for n in nodes:
        n.wait_ready()
    (nodes[0].folder / "empty.yml").write_text(POLICY)
    check_eq(http_request(nodes[0].port, "POST", "/-/reload").code, 200, "reload")
    feed(nodes[1], series)
    wait_for("blocks of rows", lambda: metric(nodes[0], "cairn_blocks_downsampled") >= 2)
    check_eq(metric(nodes[1], "cairn_blocks_downsampled"), 0, "blocks of rows of the other")
    say("of two nodes:", compare("two nodes", nodes), "series are the same")
    for n in nodes:
        n.kill()


def ctl(*args):
    done = subprocess.run([Path(Cairn.binary).with_name("cairnctl"), "tsdb", *args], capture_output=True, text=True)
    check(done.returncode == 0, args, done.stdout[-500:], done.stderr[-500:])
    return done.stdout.splitlines()


def tools_agree(directory, series):
    """What reads blocks beside the node takes rows for what they are."""
    want = sum(1 for labels, samples in series for t, _ in samples if not any(
        labels["__name__"] == name and labels.get(key) == value and from_s * 1000 <= t - START_MS <= to_s * 1000
        for name, key, value, from_s, to_s in (("g", "job", "j1", 5000, 40000), ("a_total", "i", "2", 20000, 10**9))))
    check_eq(len(ctl("dump", directory)), want, "samples that are dumped")
    for line in ctl("list", directory)[1:]:
        low, high = (int(x) for x in line.split()[1:3])
        check(START_MS - 54 * HOUR_MS <= low < high <= START_MS + SPAN_MS + 1, line)
    hours = [line for line in ctl("analyze", directory) if line.startswith("Duration: ")]
    check(len(hours) == 1 and int(hours[0].split()[1].split("h")[0]) <= 54, hours)


def test(folder):
    rng = seed()
    series = make_series(rng)
    node = Configured(folder / "node", *FLAGS)
    node.start()
    feed(node, series)
    check_eq(metric(node, "cairn_blocks_downsampled"), 0, "blocks of rows without a policy")
    say("without rows:", compare("no rows", [node]), "series are the same")

    (node.folder / "empty.yml").write_text(POLICY)
    node.config = POLICY
    check_eq(http_request(node.port, "POST", "/-/reload").code, 200, "reload")
    wait_for("blocks of rows", lambda: metric(node, "cairn_blocks_downsampled") >= 6)
    settle(node)
    say("with rows:", compare("rows", [node]), "series are the same;", metric(node, "cairn_blocks_downsampled"), "blocks of rows,",
        metric(node, "cairn_blocks_downsampled_bytes"), "bytes")

    for form in (dict(_match="g{job='j1'}", start=START_MS / 1000 + 5000, end=START_MS / 1000 + 40000),
                 dict(_match="a_total{i='2'}", start=START_MS / 1000 + 20000)):
        check_eq(node.api("/api/v1/admin/tsdb/delete_series", **form).code, 204, "a deletion")
    say("after deletions:", compare("deleted", [node]), "series are the same")
    node.stop()
    tools_agree(node.data_dir, series)
    node.start()
    compare("restarted", [node])

    end = START_MS / 1000 + 36 * 3600
    want = ask(node, "sum(rate(a_total{job='j0'}[1h]))", START_MS / 1000 + 7200, end, 3600, "raw")
    say("spoiled:", spoil(node), "raw blocks")
    node.kill()
    node.start()
    a = node.api("/api/v1/query_range", query="sum(rate(a_total{job='j0'}[1h]))", start=START_MS / 1000 + 7200, end=end, step=3600,
                 max_source_resolution="raw")
    check(a.code >= 400, "samples of spoiled blocks were answered", a)
    check_eq(ask(node, "sum(rate(a_total{job='j0'}[1h]))", START_MS / 1000 + 7200, end, 3600, "1h"), want, "rows")
    check_eq(ask(node, "sum(rate(a_total{job='j0'}[1h]))", START_MS / 1000 + 7200, end, 3600, None), want, "rows, by policy")
    for bad in ("often", "-5m"):
        a = node.api("/api/v1/query", query="1", max_source_resolution=bad)
        check(a.code == 400 and "max_source_resolution" in a.text, a)
    node.kill()
    say("rows answer where raw blocks are spoiled")
    two_nodes(folder, series)


main(test)
