#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad blocks are found, named, and fetched from another replica: bytes that change under a node, as primary and as follower, found by
the scrub or by a query; and a file that is gone. Replicas that were made to differ become equal. While blocks are bad nobody gets a
wrong answer. Afterwards each node has it all: any other may die. Where samples were deleted, what can be seen is compared: a node
that has written its blocks anew without them differs from none."""
from harness import *

START_MS = 1709244000_000  # 2024-02-29T22:00:00Z, a multiple of two hours
SPAN_MS = 13 * 3600_000
STEP_MS = 60_000
SHARDS = 8
FLAGS = ["--storage.blocks-interval=200ms", "--storage.scrub-interval=2s", "--ring.sync-interval=100ms", f"--ring.shards={SHARDS}",
         "--storage.tsdb.wal-segment-size=64KB", "--web.enable-admin-api"]


def make_series(rng):
    series = []
    for i in range(60):
        labels = {"__name__": "load", "host": f"host-{i}", "job": ("api", "db", "web")[i % 3]}
        series.append((labels, [(t, round(rng.uniform(0, 1000), 3)) for t in range(START_MS, START_MS + SPAN_MS, STEP_MS)]))
    return series


def feed(series, node):
    for start in range(0, len(series[0][1]), 30):
        part = [(labels, samples[start:start + 30]) for labels, samples in series]
        wait_for("a write is taken", lambda: node.write(part).code == 204, 30)


def metric(server, name):
    total = 0.0
    for line in server.get("/metrics").text.splitlines():
        if line.startswith(name) and line[len(name)] in " {":  # with all of its labels, or those that are given
            total += float(line.rsplit(" ", 1)[1])
    return total


def ask(node):
    return node.api("/api/v1/query", query="load[30h]", time=f"{(START_MS + SPAN_MS) / 1000:.0f}")


def is_right(answer, series):
    """All samples, as they were sent, or an error of the server: never a part of them."""
    if answer.code >= 500:
        return False
    check_eq(answer.code, 200, answer)
    got = {s["metric"]["host"]: [(round(float(t) * 1000), float(v)) for t, v in s["values"]] for s in answer.json()["data"]["result"]}
    for labels, samples in series:
        have = got.get(labels["host"], [])
        check(have == samples, labels["host"], "has", len(have), "of", len(samples), "samples, or others")
    return True


def flip(path, rng):
    """Some bytes in the middle, in place: the node has the file open."""
    at = path.stat().st_size // 4 + rng.randrange(path.stat().st_size // 4)
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(1)
        f.seek(at)
        f.write(bytes([old[0] ^ (1 << rng.randrange(8))]))
    say("flipped a bit of", path.name, "at", at)


def largest_block(node):
    return max((node.data_dir / "blocks").glob("*.block"), key=lambda p: p.stat().st_size)


def wait_repaired(node, bad_before, repaired_before):
    wait_for(f"{node.name} has found it", lambda: metric(node, "cairn_scrub_bad_blocks_total") > bad_before, 60)
    wait_for(f"{node.name} has repaired it",
             lambda: metric(node, "cairn_blocks_bad") == 0 and metric(node, "cairn_sync_repaired_total") > repaired_before, 60)


def wait_compared(nodes):
    """All shards once more: what replicas have of closed ranges is equal. A node follows a third of them."""
    before = [metric(node, "cairn_sync_compared_shards_total") for node in nodes]
    for node, was in zip(nodes, before):
        wait_for(f"{node.name} has compared its shards", lambda: metric(node, "cairn_sync_compared_shards_total") >= was + 4 * SHARDS, 10)


def make_differ(victim):
    """Of shards that it follows, a block lacks every tenth minute."""
    def is_balanced():
        nodes = victim.get("/api/v1/status/ring").json()["data"]["nodes"]
        return max(n["primaries"] for n in nodes) - min(n["primaries"] for n in nodes) <= 1
    wait_for("primaries are where they stay", is_balanced, 30)
    victim.kill()
    for block in (victim.data_dir / "blocks").glob("*.block"):
        r = subprocess.run([sys.argv[2], victim.data_dir, block], capture_output=True, text=True)
        check_eq(r.returncode, 0, r.stderr)
        say("samples left out:", r.stdout.strip(), "of", block.name)
        if int(r.stdout) > 0:
            return
    check(False, "nothing was left out")


def each_alone(nodes, series):
    """With each other node dead in turn, the first one answers for both."""
    for other in nodes[1:]:
        other.kill()
        wait_for(f"an answer without {other.name}", lambda: is_right(ask(nodes[0]), series), 60, 0.3)
        other.spawn()
        wait_for(f"{other.name} is back", lambda: other.get("/-/ready").code == 200, 60, 0.3)


def differ_and_repair(nodes, victim, series):
    make_differ(victim)
    victim.start()
    wait_for("the difference is found, and repaired", lambda: metric(victim, "cairn_sync_differences_total") > 0 and
             metric(victim, 'cairn_sync_repaired_total{reason="differs"}') == metric(victim, "cairn_sync_differences_total"), 60)
    line = next(line for line in reversed(victim.log_text().splitlines()) if "a replica differs from its primary's" in line)
    say(line[line.index("what="):])
    check("shard " in line and " samples " in line, line)
    wait_compared(nodes)
    found = metric(victim, "cairn_sync_differences_total")
    each_alone(nodes, series)
    check_eq(metric(victim, "cairn_sync_differences_total"), found, "differences that were repaired")


def admin(node, verb, **form):
    answer = http_request(node.port, "POST", f"/api/v1/admin/tsdb/{verb}?" + urllib.parse.urlencode(form))
    check_eq(answer.code, 204, f"{verb}: {answer}")


def delete_some(nodes, series):
    """Of two jobs, in times that meet: what is left of the series."""
    spans = {"db": (START_MS + 3600_000, START_MS + 7 * 3600_000), "web": (START_MS + 5 * 3600_000, START_MS + 9 * 3600_000)}
    for job, (low, high) in spans.items():
        admin(nodes[0], "delete_series", **{"match[]": f'load{{job="{job}"}}', "start": low / 1000, "end": high / 1000})
    admin(nodes[0], "delete_series", **{"match[]": 'load{job=~"db|web"}', "start": (START_MS + 6 * 3600_000) / 1000,
                                        "end": (START_MS + 8 * 3600_000) / 1000})
    spans["db"] = (spans["db"][0], START_MS + 8 * 3600_000)
    left = [(labels, [s for s in samples if not (labels["job"] in spans and spans[labels["job"]][0] <= s[0] <= spans[labels["job"]][1])])
            for labels, samples in series]
    wait_for("what was deleted has gone", lambda: is_right(ask(nodes[0]), left), 30, 0.2)
    return left


def test(folder):
    rng = seed()
    series = make_series(rng)
    nodes = cluster(folder, 3, "--ring.replace-after=10m", *FLAGS, replication_factor=2)
    wait_voters(start_all(nodes))
    feed(series, nodes[0])
    for node in nodes:
        wait_for(f"{node.name} has blocks", lambda: metric(node, "cairn_blocks_written_total") > 0, 60)
    wait_compared(nodes)
    victim = nodes[0]

    say("found by the scrub")
    bad, repaired = metric(victim, "cairn_scrub_bad_blocks_total"), metric(victim, "cairn_sync_repaired_total")
    flip(largest_block(victim), rng)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # never wrong meanwhile
        is_right(ask(victim), series)
        is_right(ask(nodes[1]), series)
    wait_repaired(victim, bad, repaired)
    check("a block is bad" in victim.log_text(), "the block was not named")
    wait_for("all is answered", lambda: is_right(ask(victim), series), 30, 0.2)
    wait_compared(nodes)
    each_alone(nodes, series)

    say("a file that is gone")
    victim.stop()
    largest_block(victim).unlink()
    victim.start()
    wait_for("it is repaired", lambda: metric(victim, "cairn_blocks_bad") == 0 and metric(victim, "cairn_sync_repaired_total") > 0, 60)
    wait_compared(nodes)
    wait_for("all is answered", lambda: is_right(ask(victim), series), 30, 0.2)
    for node in nodes:
        check_eq(metric(node, "cairn_sync_differences_total"), 0, f"{node.name} found differences")

    say("a block that lacks samples, and is good by its checksums")
    differ_and_repair(nodes, victim, series)

    say("under deletions: one node cleans its blocks, the others do not")
    series = delete_some(nodes, series)
    admin(nodes[1], "clean_tombstones")
    before = [metric(n, "cairn_sync_differences_total") for n in nodes]
    wait_compared(nodes)
    wait_compared(nodes)
    check_eq([metric(n, "cairn_sync_differences_total") for n in nodes], before, "differences of what cannot be seen")
    differ_and_repair(nodes, victim, series)
    stop_all(nodes)


main(test)
