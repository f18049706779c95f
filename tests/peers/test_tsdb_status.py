#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the nodes say of their storage: /status/tsdb of three nodes with two replicas adds up to each series once, also when one of
them is gone; /status/tsdb/blocks and the metrics say what is in the block files, under the names and texts of Debian's Prometheus."""
from harness import *

SAME_METRICS = ["blocks_loaded", "storage_blocks_bytes", "compactions_total", "compactions_failed_total", "lowest_timestamp",
                "head_series", "head_chunks", "head_min_time", "head_max_time", "retention_limit_bytes"]
STEP_MS, STEPS, SERIES = 30_000, 480, 60


def labels(i):
    return {"__name__": f"m{i % 3}", "i": str(i), "job": "x" if i % 4 else "y"}


def status(server, **form):
    return server.get("/api/v1/status/tsdb?" + urllib.parse.urlencode(form)).json()["data"]


def added_up(nodes, key):
    sums = {}
    for n in nodes:
        for e in status(n, limit=10000)[key]:
            sums[e["name"]] = sums.get(e["name"], 0) + e["value"]
    return sums


def test_once(nodes):
    now_ms = int(time.time() * 1000)
    check_eq(nodes[0].write([(labels(i), [(now_ms - i, 1.0)]) for i in range(SERIES)]).code, 204, "write")
    names, pairs = {}, {}
    for i in range(SERIES):
        names[labels(i)["__name__"]] = names.get(labels(i)["__name__"], 0) + 1
        for pair in map("=".join, labels(i).items()):
            pairs[pair] = pairs.get(pair, 0) + 1

    def all_once(which):
        heads = [status(n)["headStats"] for n in which]
        check_eq(sum(h["numSeries"] for h in heads), SERIES, "series")
        check_eq(added_up(which, "seriesCountByMetricName"), names, "by name")
        check_eq(added_up(which, "seriesCountByLabelValuePair"), pairs, "by pair")
        check_eq((min(h["minTime"] for h in heads), max(h["maxTime"] for h in heads)), (now_ms - SERIES + 1, now_ms), "times")
        return True
    all_once(nodes)
    check(all(0 < status(n)["headStats"]["numSeries"] < SERIES for n in nodes), "each has a part")
    nodes[1].kill()
    wait_for("all series once on two nodes", lambda: all_once([nodes[0], nodes[2]]), 30, every=0.1)


def exposition(server):
    helps, values = {}, {}
    for line in server.get("/metrics").text.splitlines():
        m = re.match(r"# (HELP|TYPE) (\S+) (.*)", line)
        if m:
            helps[m.group(1), m.group(2)] = m.group(3)
        elif not line.startswith("#") and "{" not in line:
            values[line.split(" ")[0]] = float(line.split(" ")[1])
    return helps, values


def test_blocks(cairn, base_ms):
    check_eq(cairn.get("/api/v1/status/tsdb/blocks").json(), {"status": "success", "data": {"blocks": []}}, "no blocks")
    for at in range(0, STEPS, 40):
        times = [base_ms + k * STEP_MS for k in range(at, at + 40)]
        check_eq(cairn.write([(labels(i), [(t, float(i)) for t in times]) for i in range(SERIES)]).code, 204, "write")
    newest = base_ms + (STEPS - 1) * STEP_MS
    cut = (newest - 3_600_000) // 1_200_000 * 1_200_000  # the newest multiple of 20m before the last hour

    closed = sum(base_ms + k * STEP_MS < cut for k in range(STEPS))

    def written():  # by all cores
        blocks = cairn.get("/api/v1/status/tsdb/blocks").json()["data"]["blocks"]
        return blocks if sum(b["stats"]["numSamples"] for b in blocks) == SERIES * closed else None
    blocks = wait_for("all closed samples in blocks", written, 60, every=0.2)
    check_eq((min(b["minTime"] for b in blocks), max(b["maxTime"] for b in blocks)), (base_ms, base_ms + (closed - 1) * STEP_MS + 1), "times")
    for b in blocks:
        check(re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", b["ulid"]) and b["version"] == 1 and b["compaction"]["level"] >= 1, b)
        stamp = 0
        for c in b["ulid"][:10]:
            stamp = stamp * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(c)
        check_eq(stamp, b["maxTime"] - 1, "the time of a ULID is in its first ten digits")
    check_eq(len({b["ulid"] for b in blocks}), len(blocks), "one name a block")
    wait_for("metrics of all blocks", lambda: exposition(cairn)[1]["prometheus_tsdb_blocks_loaded"] == len(blocks), 10)
    return blocks, newest


def test_metrics(cairn, blocks, base_ms, newest, prometheus):
    wait_for("gauges are counted anew, which is once a second", lambda: exposition(cairn)[1]["prometheus_tsdb_head_series"] == SERIES, 5)
    (helps, values), (their_helps, their_values) = exposition(cairn), exposition(prometheus)
    for name in (f"prometheus_tsdb_{m}" for m in SAME_METRICS + ["retention_limit_seconds"]):
        check(name in values, name, "is missing")
        if not name.endswith("_seconds"):  # younger than 2.42
            for kind in ("HELP", "TYPE"):
                check_eq(helps[kind, name], their_helps[kind, name], f"{kind} {name}")
    check_eq(http_request(cairn.port, "POST", "/api/v1/admin/tsdb/clean_tombstones").code, 204, "clean")
    theirs = [l.split(" ")[0] for l in prometheus.get("/metrics").text.splitlines() if l.startswith("prometheus_tsdb_tombstone_cleanup_seconds")]
    ours = {l.split(" ")[0]: l.split(" ")[1] for l in cairn.get("/metrics").text.splitlines() if l.startswith("prometheus_tsdb_tombstone_cleanup_seconds")}
    check_eq(sorted(ours), sorted(theirs), "the histogram of cleaning")
    check_eq(ours["prometheus_tsdb_tombstone_cleanup_seconds_count"], "1", "cleaned once")
    files = list((cairn.data_dir / "blocks").glob("*.block"))
    check_eq(values["prometheus_tsdb_storage_blocks_bytes"], sum(f.stat().st_size for f in files), "bytes of blocks")
    check_eq(len(files), len(blocks), "files")
    check_eq(values["prometheus_tsdb_head_series"], SERIES, "series")
    check_eq(values["prometheus_tsdb_head_max_time"], newest, "newest")
    check_eq(values["prometheus_tsdb_lowest_timestamp"], base_ms, "lowest")
    check_eq(values["prometheus_tsdb_retention_limit_seconds"], 15 * 86400, "15d")
    check_eq(values["prometheus_tsdb_retention_limit_bytes"], their_values["prometheus_tsdb_retention_limit_bytes"], "no bound")
    check_eq(values["cairn_blocks_bad"], 0, "bad blocks")


def test_bad_block(cairn, blocks):
    cairn.stop()
    path = sorted((cairn.data_dir / "blocks").glob("*.block"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    cairn.start()
    wait_for("a bad block", lambda: exposition(cairn)[1]["cairn_blocks_bad"] == 1, 10)
    listed = cairn.get("/api/v1/status/tsdb/blocks").json()["data"]["blocks"]
    check_eq([b["ulid"] for b in listed], [b["ulid"] for b in blocks], "it is listed still")


def test(folder):
    need(PROMETHEUS)
    base_ms = (int(time.time() * 1000) - STEPS * STEP_MS) // STEP_MS * STEP_MS
    prometheus = Prometheus(folder / "p")
    # no merges (they begin at three times the least): what is listed, the metrics and the files agree at every moment then
    cairn = Cairn(folder / "c", "--web.enable-admin-api", "--storage.tsdb.min-block-duration=20m", "--storage.tsdb.max-block-duration=20m",
                  "--storage.blocks-interval=200ms", "--ring.shards=4")
    nodes = cluster(folder / "cluster", 3, "--ring.shards=32", replication_factor=2)
    start_all([prometheus, cairn, *nodes])
    wait_voters(nodes)
    test_once(nodes)
    for n in (nodes[0], nodes[2]):
        n.kill()
    blocks, newest = test_blocks(cairn, base_ms)
    test_metrics(cairn, blocks, base_ms, newest, prometheus)
    test_bad_block(cairn, blocks)


if __name__ == "__main__":
    main(test)
