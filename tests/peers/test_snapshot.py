#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots: restore is starting from one. A node that is started on a copy answers as the node did when it was taken, whatever was
written and deleted there since, and neither changes the other; without the head it has what is in blocks; three nodes that are
started on theirs are the cluster again."""
from harness import *

STEP_MS, STEPS, SERIES, CUT_MS = 30_000, 480, 24, 1_200_000
FLAGS = ["--web.enable-admin-api", "--storage.tsdb.min-block-duration=20m", "--storage.blocks-interval=200ms", "--ring.shards=4"]
NAME = r"\d{8}T\d{6}Z-[0-9a-f]{1,16}"


def write_steps(server, base_ms, first, last):
    for at in range(first, last, 40):
        times = [base_ms + k * STEP_MS for k in range(at, min(at + 40, last))]
        a = server.write([({"__name__": f"m{i % 3}", "i": str(i)}, [(t, float(i * 1000 + t % 977)) for t in times]) for i in range(SERIES)])
        check_eq(a.code, 204, "write")


def everything(server, at_ms):
    data = server.query('{__name__=~".+"}[6h]', at_ms / 1000)["result"]
    return sorted((sorted(s["metric"].items()), s["values"]) for s in data)


def snapshot(server, query="", method="POST"):
    a = http_request(server.port, method, "/api/v1/admin/tsdb/snapshot" + query, timeout=60, host=server.host)
    check_eq(a.code, 200, f"{server.name} {query} {a}")
    body = a.json()
    check_eq(sorted(body), ["data", "status"], "keys")
    check(list(body["data"]) == ["name"] and re.fullmatch(NAME, body["data"]["name"]), body)
    return body["data"]["name"]


def test_parameter(cairn, prometheus):
    for value in ("maybe", "2", "tRUE"):
        a, b = (http_request(s.port, "POST", f"/api/v1/admin/tsdb/snapshot?skip_head={value}") for s in (cairn, prometheus))
        check_eq((a.code, a.json()), (b.code, b.json()), f"skip_head={value}")
    for value in ("", "1", "f", "True"):
        snapshot(prometheus, f"?skip_head={value}")
        snapshot(cairn, f"?skip_head={value}", "PUT")


def copied(folder, server, name, to):
    path = folder / to / "data"
    shutil.copytree(server.data_dir / "snapshots" / name, path)
    return path


def closed(samples, cut_ms):
    """What is older than the cut."""
    out = [(labels, [v for v in values if v[0] * 1000 < cut_ms]) for labels, values in samples]
    return [s for s in out if s[1]]


def test_single(folder, cairn, base_ms):
    at_ms = base_ms + STEPS * STEP_MS
    write_steps(cairn, base_ms, 0, STEPS - 20)
    check_eq(cairn.api("/api/v1/admin/tsdb/delete_series", _match='m1{i="4"}').code, 204, "delete")
    newest = base_ms + (STEPS - 21) * STEP_MS
    cut_ms = (newest - 3_600_000) // CUT_MS * CUT_MS

    def written():
        blocks = cairn.get("/api/v1/status/tsdb/blocks").json()["data"]["blocks"]
        return blocks and max(b["maxTime"] for b in blocks) > cut_ms - STEP_MS
    wait_for("blocks", written, 60, every=0.2)
    check_eq(cairn.api("/api/v1/admin/tsdb/delete_series", _match='m2{i="5"}', end=(base_ms + 50 * STEP_MS) / 1000).code, 204, "delete")
    before = everything(cairn, at_ms)
    check_eq((len(before), sum(len(s[1]) for s in before)), (SERIES - 1, (SERIES - 1) * (STEPS - 20) - 51), "before")
    whole, blocks_only = snapshot(cairn), snapshot(cairn, "?skip_head=true")
    write_steps(cairn, base_ms, STEPS - 20, STEPS)
    check_eq(cairn.api("/api/v1/admin/tsdb/delete_series", _match="m0").code, 204, "delete")
    after = everything(cairn, at_ms)
    check(len(after) < len(before), "some are gone")

    copy = Cairn(folder / "copy", *FLAGS, name="copy", data_dir=copied(folder, cairn, whole, "copy")).start()
    check_eq(everything(copy, at_ms), before, "a copy")
    copy.stop()
    old = Cairn(folder / "old", *FLAGS, name="old", data_dir=copied(folder, cairn, blocks_only, "old")).start()
    check_eq(everything(old, at_ms), closed(before, cut_ms), "without the head")
    write_steps(old, base_ms, STEPS - 20, STEPS)
    check_eq(len(everything(old, at_ms)), SERIES, "it is written to again")
    old.stop()

    itself = Cairn(folder / "itself", *FLAGS, name="itself", data_dir=cairn.data_dir / "snapshots" / whole).start()
    check_eq(everything(itself, at_ms), before, "the directory itself")
    write_steps(itself, base_ms, STEPS - 20, STEPS - 10)
    itself.stop()
    check_eq(everything(cairn, at_ms), after, "the one it was taken of")
    cairn.kill()
    cairn.start()
    check_eq(everything(cairn, at_ms), after, "the one it was taken of, started anew")
    say("single:", sum(len(s[1]) for s in before), "samples restored")


def test_cluster(folder, nodes, base_ms):
    at_ms = base_ms + STEPS * STEP_MS
    write_steps(nodes[0], base_ms, 0, 60)
    before = everything(nodes[1], at_ms)
    names = [snapshot(n) for n in nodes]
    write_steps(nodes[2], base_ms, 60, 80)
    for n in nodes:
        n.kill()
    for n, name in zip(nodes, names):
        n.data_dir = copied(folder, n, name, f"restored-{n.name}")
    start_all(nodes)
    for n in nodes:
        check_eq(everything(n, at_ms), before, f"{n.name} restored")
    write_steps(nodes[1], base_ms, 60, 70)
    check_eq(sum(len(s[1]) for s in everything(nodes[2], at_ms)), SERIES * 70, "written again")


def test_full(folder):
    """No room: an error, nothing that takes room is left, and the node goes on."""
    if os.geteuid() != 0:
        return
    cairn = Cairn(folder / "full", *FLAGS)
    cairn.data_dir.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", cairn.data_dir], capture_output=True).returncode != 0:
        return
    try:
        cairn.start()
        now_ms = int(time.time() * 1000)
        at = [0]

        def enough():  # more in the log than there is room for once more
            at[0] += 1
            check_eq(cairn.write([({"__name__": f"n{at[0]}_{i}", "x": "y" * 400}, [(now_ms, 1.0)]) for i in range(100)]).code, 204, "write")
            return sum(f.stat().st_size for f in (cairn.data_dir / "log").iterdir()) > 1_200_000
        wait_for("a log of some size", enough)
        a = cairn.api("/api/v1/admin/tsdb/snapshot")
        check(a.code == 500 and a.json()["errorType"] == "internal" and "No space left" in a.text, a)
        left = [f for f in (cairn.data_dir / "snapshots").rglob("*") if f.is_file()]
        check_eq(left, [], "files left")
        check_eq(cairn.write([({"__name__": "more"}, [(now_ms, 1.0)])]).code, 204, "it goes on")
        cairn.stop()
    finally:
        if cairn.alive():
            cairn.kill()
        subprocess.run(["umount", "-l", cairn.data_dir], capture_output=True)


def test(folder):
    need(PROMETHEUS)
    base_ms = (int(time.time() * 1000) - STEPS * STEP_MS) // STEP_MS * STEP_MS
    prometheus = Prometheus(folder / "p", "--web.enable-admin-api")
    cairn = Cairn(folder / "c", *FLAGS, "--storage.tsdb.wal-segment-size=10MB")
    start_all([prometheus, cairn])
    test_parameter(cairn, prometheus)
    test_single(folder, cairn, base_ms)
    nodes = wait_voters(start_all(cluster(folder / "cluster", 3, *FLAGS, replication_factor=2)))
    test_cluster(folder, nodes, base_ms)
    test_full(folder)


if __name__ == "__main__":
    main(test)
