#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two of three nodes are lost with their disks: cairnctl ring recover makes a cluster of the third. With three copies everything is
there; with one the missing shards are named, and nothing changes until their loss is accepted. New nodes join, old ones that come back
from a backup are refused. An interrupted recovery of two nodes is finished by the same command."""
from netcluster import *

SHARDS = 12


def founded(folder, count, factor):
    nodes = start_all(cluster(folder, count, f"--ring.shards={SHARDS}", "--ring.replace-after=1s", "--web.enable-admin-api",
                              replication_factor=factor))
    loads = Loads(Here(nodes), threads=3).start()
    loads.wait_flow()
    threading.Event().wait(1)
    loads.stop()
    return nodes, loads


def ring_of(node):
    a = node.get("/api/v1/status/ring")
    check_eq(a.code, 200, f"{node.name}: {a}")
    return a.json()["data"]


def whole(node, nodes):
    r = ring_of(node)
    check(r["nodesAlive"] == nodes and r["shardsUnderReplicated"] == 0 and r["shardsUnreadable"] == 0, r)
    return True


def answers(node):
    wait_for(f"{node.name} answers completely", lambda: node.api("/api/v1/query", query="count(load_total)").code == 200)


def snapshot_of(path):
    return {p.relative_to(path): p.read_bytes() for p in sorted((path / "ring").rglob("*")) if p.is_file()}


def all_copies(folder):
    nodes, loads = founded(folder, 3, 3)
    left, back = nodes[0], nodes[1]
    out = cairnctl("ring", "recover", left.data_dir, fails=True)
    check("lock" in out or "process" in out, "a running node is not recovered:", out)
    for n in nodes:
        n.kill()
    shutil.copytree(back.data_dir, folder / "backup")
    for n in nodes[1:]:
        shutil.rmtree(n.data_dir)
    before = snapshot_of(left.data_dir)
    check(f"{SHARDS} of {SHARDS} shards with a complete copy" in cairnctl("ring", "recover", "--dry-run", left.data_dir), "dry run")
    check_eq(snapshot_of(left.data_dir), before, "files after a dry run")
    say(cairnctl("ring", "recover", left.data_dir).strip())
    check(snapshot_of(left.data_dir) != before, "the state is as before")
    left.start()
    answers(left)
    loads.verify(left)
    check_eq(len(ring_of(left)["nodes"]), 1, "nodes")
    more = Loads(Here([left]), threads=2, first=50).start()
    more.wait_flow()
    more.stop()

    nodes[2].start()  # an empty directory: a new node
    wait_for("the new node has copies", lambda: whole(left, 2), 60)
    shutil.copytree(folder / "backup", back.data_dir)  # the old cluster's
    back.spawn()
    wait_for("who belongs to the old cluster is refused", lambda: "another cluster" in back.log_text() + left.log_text(), 30)
    for n in left, nodes[2]:
        answers(n)
        loads.verify(n)
        more.verify(n)
    back.kill()
    left.kill()
    say("recovered, one new node, the old one is refused")


def one_copy(folder):
    nodes, loads = founded(folder, 3, 1)
    left = nodes[0]
    mine = next(n for n in ring_of(left)["nodes"] if n["address"] == left.ring_address)["replicas"]["full"]
    check(0 < mine < SHARDS, "shards of the node:", mine)
    for n in nodes:
        n.kill()
    for n in nodes[1:]:
        shutil.rmtree(n.data_dir)
    before = snapshot_of(left.data_dir)
    out = cairnctl("ring", "recover", left.data_dir, fails=True)
    named = re.search(r"shards without a complete copy: ([-0-9, ]+)\. Nothing was changed", out)
    check(named, "the shards are not named:", out)
    count = sum(int(p.split("-")[-1]) - int(p.split("-")[0]) + 1 for p in named.group(1).split(", "))
    check_eq(count, SHARDS - mine, "shards named")
    check_eq(snapshot_of(left.data_dir), before, "files after a refusal")
    say("refused:", named.group(0))
    cairnctl("ring", "recover", "--accept-loss", left.data_dir)
    left.start()
    answers(left)
    there = loads.verify(left, whole_series=False)
    check(0 < there < 24, "series left:", there)
    more = Loads(Here([left]), threads=3).start()  # the same series: also those that were lost
    more.wait_flow()
    more.stop()
    check_eq(len(left.query("load_total", time.time())["result"]), 24, "all series are written again")
    left.kill()
    say(f"loss of {SHARDS - mine} shards accepted, {there} of 24 series were left")


def interrupted(folder):
    nodes, loads = founded(folder, 4, 3)
    for n in nodes:
        n.kill()
    left = nodes[:2]
    for n in nodes[2:]:
        shutil.rmtree(n.data_dir)
    shutil.copytree(left[1].data_dir, folder / "untouched")
    cairnctl("ring", "recover", left[0].data_dir, left[1].data_dir)
    shutil.rmtree(left[1].data_dir)  # as if the power had gone between the two
    shutil.copytree(folder / "untouched", left[1].data_dir)
    out = cairnctl("ring", "recover", left[1].data_dir, left[0].data_dir)
    check("interrupted" in out, "the second run:", out)
    start_all(left)
    for n in left:
        answers(n)
        loads.verify(n)
    wait_for("both are one cluster", lambda: whole(left[0], 2), 60)
    for n in left:
        n.kill()
    say("an interrupted recovery was finished")


def test(folder):
    all_copies(folder / "all")
    one_copy(folder / "one")
    interrupted(folder / "interrupted")


main(test)
