#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots into clusters of another size: cairnctl ring recover makes a new cluster of copies. Snapshots of three nodes with two
copies of each shard, taken one after the other while writes go on, become two nodes, five, and one; the snapshot of a single node
becomes three. All that was acknowledged before the first snapshot is there, blocks and log, also where that is so old that the others
no longer have the log that follows on it; of what came meanwhile there is nothing that nobody sent; the cluster that the snapshots are
of goes on beside the new ones and knows nothing of them."""
from netcluster import *

STEP_MS, STEPS, SERIES = 30_000, 800, 48
SHARDS = 6
FLAGS = ["--web.enable-admin-api", "--storage.tsdb.min-block-duration=20m", "--storage.blocks-interval=200ms", f"--ring.shards={SHARDS}"]


def value_of(i, t):
    return float(i * 1000 + t % 977)


def write_steps(node, base_ms, first, last):
    for at in range(first, last, 40):
        times = [base_ms + k * STEP_MS for k in range(at, min(at + 40, last))]
        a = node.write([({"__name__": f"m{i % 3}", "i": str(i)}, [(t, value_of(i, t)) for t in times]) for i in range(SERIES)])
        check_eq(a.code, 204, f"write: {a}")


def check_all(what, nodes, base_ms, least, most, deleted=None):
    """The first `least` steps of every series, and nothing but steps before `most`; of the series that was deleted before the step
    `least` nothing of before."""
    for node in nodes:
        data = node.query('{__name__=~"m."}[8h]', (base_ms + (STEPS + 10) * STEP_MS) / 1000)["result"]
        found = {int(s["metric"]["i"]): {round(t * 1000): float(v) for t, v in s["values"]} for s in data}
        check_eq(len(found), len(data), f"{what} {node.name}: series twice")
        for i in range(SERIES):
            got = found.get(i, {})
            want = range(0) if i == deleted else range(least)
            check(all(got.get(base_ms + k * STEP_MS) == value_of(i, base_ms + k * STEP_MS) for k in want), what, node.name, "lacks samples of", i)
            check(all(v == value_of(i, t) and (least if i == deleted else 0) <= (t - base_ms) // STEP_MS < most for t, v in got.items()),
                  what, node.name, "has what nobody sent, or was deleted, of", i)


def ring_of(node):
    a = node.get("/api/v1/status/ring")
    check_eq(a.code, 200, f"{node.name}: {a}")
    return a.json()["data"]


def wait_whole(node, count):
    def whole():
        r = ring_of(node)
        return r["nodesAlive"] == count == len(r["nodes"]) and r["shardsUnderReplicated"] == r["shardsUnreadable"] == r["shardsMoving"] == 0 and r
    return wait_for(f"{count} nodes have all their replicas", whole, 90, every=0.1)


def snapshot(node):
    a = node.api("/api/v1/admin/tsdb/snapshot")
    check_eq(a.code, 200, f"{node.name}: {a}")
    return node.data_dir / "snapshots" / a.json()["data"]["name"]


def new_nodes(folder, count, copies, factor):
    """Nodes on ports of their own, the first of them with copies of the snapshots; none founds a cluster."""
    ports = [free_port() for _ in range(count)]
    members = ",".join(f"{HOST}:{p}" for p in ports)
    nodes = []
    for k, port in enumerate(ports):
        node = Cairn(folder / f"n{k}", f"--ring.listen-address={HOST}:{port}", f"--ring.advertise-address={HOST}:{port}",
                     f"--ring.discovery=static:{members}", f"--ring.replication-factor={factor}", *FLAGS, name=f"{folder.name}{k}")
        node.ring_address = f"{HOST}:{port}"
        if k < len(copies):
            shutil.copytree(copies[k], node.data_dir)
        nodes.append(node)
    return nodes


def restored(folder, snapshots, count, factor=2):
    nodes = new_nodes(folder, count, snapshots, factor)
    copies, empty = nodes[:len(snapshots)], nodes[len(snapshots):]
    for n in copies:
        cairnctl("tsdb", "verify", n.data_dir)
    out = cairnctl("ring", "recover", *[n.data_dir for n in copies])
    check(f"{SHARDS} of {SHARDS} shards with a complete copy" in out, out)
    start_all(copies)
    start_all(empty)
    wait_whole(nodes[0], count)
    return nodes


def goes_on(nodes, base_ms):
    """It is written to again, the steps that were not in the snapshots too."""
    write_steps(nodes[-1], base_ms, STEPS - 40, STEPS)
    check_eq(len(nodes[0].query(f"m0[{STEP_MS * 20 // 1000}s]", (base_ms + (STEPS - 1) * STEP_MS) / 1000)["result"][0]["values"]), 20, "written again")


def test_three(folder, base_ms):
    founders = wait_voters(start_all(cluster(folder / "old", 3, *FLAGS, replication_factor=2)))
    write_steps(founders[0], base_ms, 0, 240)
    wait_for("blocks everywhere", lambda: all(list((n.data_dir / "blocks").glob("*.block")) for n in founders), 60, every=0.2)
    check_eq(founders[0].api("/api/v1/admin/tsdb/delete_series", _match='m1{i="4"}').code, 204, "delete")
    least = steps = 240
    snapshots = [snapshot(founders[0])]
    # the others go on without it: processes that are newer, and logs that no longer have what follows on the first snapshot
    for n in founders:
        n.stop(seconds=60)
        n.start()
    wait_whole(founders[0], 3)

    def older_files_are_gone():
        nonlocal steps
        write_steps(founders[2], base_ms, steps, steps + 20)
        steps += 20
        return steps > STEPS - 100 or not any(list((n.data_dir / "log").glob("*0001")) for n in founders[1:])
    wait_for("older files of the log go", older_files_are_gone, 90, every=0.2)  # as often as ranges are closed
    check(steps <= STEPS - 100, "older files of the log stay")
    for n in founders[1:]:  # with writes in between
        snapshots.append(snapshot(n))
        write_steps(founders[2], base_ms, steps, steps + 20)
        steps += 20
    most = steps
    alone = new_nodes(folder / "alone", 1, snapshots[:1], 2)[0]
    out = cairnctl("ring", "recover", alone.data_dir, fails=True)
    check("shards without a complete copy" in out, "a third of the copies:", out)

    two = restored(folder / "two", snapshots[:2], 2)
    check_all("two of three:", two, base_ms, least, most, deleted=4)
    goes_on(two, base_ms)
    say("three became two")
    cairnctl("ring", "drain", two[1].ring_address, "--wait", f"--url=http://{HOST}:{two[0].port}")
    two[1].stop(seconds=60)
    wait_for("one is left", lambda: len(ring_of(two[0])["nodes"]) == 1, 60)
    # it may be the other that was the controller
    at = (base_ms + STEPS * STEP_MS) / 1000
    wait_for("one node answers for all series", lambda: len(two[0].query("m0", at)["result"]) == SERIES // 3)
    two[0].kill()
    say("and one")

    five = restored(folder / "five", snapshots, 5)
    check_all("five of three:", five, base_ms, least, most, deleted=4)
    check(all(n["replicas"]["full"] > 0 for n in ring_of(five[0])["nodes"]), "some have nothing:", ring_of(five[0])["nodes"])
    goes_on(five, base_ms)
    five[0].kill()
    wait_for("answers without the first", lambda: five[3].api("/api/v1/query", query="count(m0)", time=base_ms / 1000).code == 200, 30)
    write_steps(five[4], base_ms, STEPS, STEPS + 1)
    for n in five[1:]:
        n.kill()
    say("three became five")
    text = folder / "one.txt"
    text.write_text("a 1 1700000000\n# EOF\n")
    out = cairnctl("import", "openmetrics", text, f"--storage.tsdb.path={five[1].data_dir}", fails=True)
    check("its cluster has 5 nodes" in out and "remote write" in out, "an import that the others would not have:", out)
    check(not list((five[1].data_dir / "blocks").glob("import-*")), "it has left something")

    write_steps(founders[0], base_ms, steps, STEPS)  # the old ones are as they were
    r = ring_of(founders[0])
    check_eq((len(r["nodes"]), r["nodesAlive"]), (3, 3), "the cluster that was copied")
    data = founders[1].query("count_over_time(m0[8h])", (base_ms + STEPS * STEP_MS) / 1000)["result"]
    check_eq({float(s["value"][1]) for s in data}, {float(STEPS)}, "steps of the cluster that was copied")
    for n in founders:
        n.kill()


def test_one(folder, base_ms):
    single = Cairn(folder / "single", *FLAGS, name="single").start()
    write_steps(single, base_ms, 0, STEPS - 40)
    copy = snapshot(single)
    write_steps(single, base_ms, STEPS - 40, STEPS)
    nodes = restored(folder / "three", [copy], 3)
    check_all("three of one:", nodes, base_ms, STEPS - 40, STEPS - 40)
    goes_on(nodes, base_ms)
    wait_voters(nodes[1:])
    nodes[0].kill()  # the only one that had anything
    wait_for("answers without the first", lambda: nodes[1].api("/api/v1/query", query="count(m0)", time=base_ms / 1000).code == 200, 30)
    check_all("without the first:", nodes[1:], base_ms, STEPS, STEPS)
    say("one became three")
    single.stop()


def test(folder):
    base_ms = (int(time.time() * 1000) - STEPS * STEP_MS) // STEP_MS * STEP_MS
    test_three(folder, base_ms)
    test_one(folder, base_ms)


main(test)
