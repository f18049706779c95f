#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two nodes without replicas: a block of one goes bad. What it has is not answered, and the node cannot be drained: who waits for it, and
the node's log, say why. `cairnctl ring accept-loss` gives up what is bad, shard by shard, says which times that are, and keeps the file;
then the drain ends, and the other node answers all the rest. A shard that has lost nothing is refused."""
from harness import *

START_MS = 1709244000_000  # 2024-02-29T22:00:00Z, a multiple of two hours
SPAN_MS = 13 * 3600_000
STEP_MS = 60_000
SHARDS = 8
FLAGS = ["--storage.blocks-interval=200ms", "--storage.scrub-interval=2s", "--ring.sync-interval=100ms", f"--ring.shards={SHARDS}",
         "--storage.tsdb.wal-segment-size=64KB", "--web.enable-admin-api", "--node.cores=2"]


def make_series(rng):
    times = range(START_MS, START_MS + SPAN_MS, STEP_MS)
    return [({"__name__": "load", "host": f"host-{i}"}, [(t, round(rng.uniform(0, 1000), 3)) for t in times]) for i in range(60)]


def feed(series, node):
    for start in range(0, len(series[0][1]), 30):
        part = [(labels, samples[start:start + 30]) for labels, samples in series]
        wait_for("a write is taken", lambda: node.write(part).code == 204, 30)


def metric(server, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in server.get("/metrics").text.splitlines()
               if line.startswith(name) and line[len(name)] in " {")


def ask(node):
    return node.api("/api/v1/query", query="load[30h]", time=f"{(START_MS + SPAN_MS) / 1000:.0f}")


def values(answer):
    return {s["metric"]["host"]: [(round(float(t) * 1000), float(v)) for t, v in s["values"]] for s in answer.json()["data"]["result"]}


def ctl(node, *args, code=0):
    tool = Path(Cairn.binary).with_name("cairnctl")
    r = subprocess.run([tool, "ring", *args, f"--url=http://{HOST}:{node.port}"], capture_output=True, text=True, timeout=120 * SLOWER)
    check_eq(r.returncode, code, f"cairnctl ring {args}: {r.stdout} {r.stderr}")
    return r


def blocks_of(node):
    """As they are closed and merged: (first, last) millisecond."""
    return sorted((b["minTime"], b["maxTime"] - 1) for b in node.get("/api/v1/status/tsdb/blocks").json()["data"]["blocks"])


def wait_still(node):
    """Nothing is merged any more."""
    last = []

    def is_still():
        last.append((blocks_of(node), sorted(p.name for p in (node.data_dir / "blocks").glob("*.block"))))
        return len(last) > 8 and all(x == last[-1] for x in last[-8:])
    wait_for(f"the blocks of {node.name} stay", is_still, 60, 0.25)


def flip(path, rng):
    at = path.stat().st_size // 4 + rng.randrange(path.stat().st_size // 4)
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(1)
        f.seek(at)
        f.write(bytes([old[0] ^ (1 << rng.randrange(8))]))
    say("flipped a bit of", path.name, "at", at)
    return path.read_bytes()


def check_rest(answer, series, span):
    """All series are there; some lack exactly what was in that time, the others nothing."""
    got, hit = values(answer), 0
    check_eq(set(got), {labels["host"] for labels, _ in series}, "series")
    for labels, samples in series:
        rest = [s for s in samples if not span[0] <= s[0] <= span[1]]
        have = got[labels["host"]]
        check(have == samples or have == rest, labels["host"], "has", len(have), "of", len(samples), "samples, or others")
        hit += have == rest
    check(0 < hit < len(series), hit, "of", len(series), "series have lost samples")
    return got


def test(folder):
    rng = seed()
    series = make_series(rng)
    nodes = cluster(folder, 2, *FLAGS)
    start_all(nodes)
    feed(series, nodes[0])
    other, victim = nodes
    for node in nodes:
        wait_for(f"{node.name} has blocks", lambda: metric(node, "cairn_blocks_written_total") > 0, 60)
        wait_still(node)
    before = blocks_of(victim)
    wait_for("all is answered", lambda: values(ask(other)) == {labels["host"]: samples for labels, samples in series}, 30, 0.2)

    r = ctl(other, "accept-loss", "0", code=1)
    check("has a complete copy" in r.stderr, r.stderr)

    block = max((victim.data_dir / "blocks").glob("*.block"), key=lambda p: p.stat().st_size)
    bad_bytes = flip(block, rng)
    wait_for("it is found", lambda: metric(victim, "cairn_blocks_bad") == 1, 60)
    wait_for("it is not answered", lambda: ask(other).code >= 500, 10)

    say("the drain does not end, and says why")
    tool = Path(Cairn.binary).with_name("cairnctl")
    r = subprocess.run([tool, "ring", "drain", victim.ring_address, "--wait", "--timeout=8s", f"--url=http://{HOST}:{other.port}"], capture_output=True, text=True)
    if r.returncode == 0:
        a = wait_for("an answer", lambda: (a := ask(other)).code == 200 and a, 20)
        got = values(a)
        say({h: len(v) for h, v in got.items()})
        say(other.get("/api/v1/status/ring").text)
        say(victim.log_text())
    say(r.stderr.strip())
    check("bad blocks that no other replica has: shard " in r.stderr and "accept-loss" in r.stderr, r.stderr)
    bad = sorted({int(n) for n in re.findall(rf"(?:shard |, )(\d+) on {victim.ring_address}", r.stderr)})
    check(0 < len(bad) < SHARDS, bad)
    wait_for("the node's log says why", lambda: "shards are held back here" in victim.log_text(), 10)
    status = other.get("/api/v1/status/ring").json()["data"]
    held = next(n for n in status["nodes"] if n["address"] == victim.ring_address)
    check_eq(held["replicas"]["full"], len(bad), "replicas that are still there: what is good has gone")
    check(ask(other).code >= 500, "what is bad was answered")

    say("its loss is accepted, of shards", bad)
    r = ctl(other, "accept-loss", *map(str, bad))
    say(r.stdout.strip())
    lost = re.findall(r"shard (\d+): samples from (\d+) to (\d+) are lost; the bad block is kept as (\S+) on (\S+)", r.stdout)
    check_eq([int(l[0]) for l in lost], bad, "shards")
    spans = {(int(l[1]), int(l[2])) for l in lost}
    check_eq(len(spans), 1, spans)
    span = spans.pop()
    check(span in before, span, "is of no block", before)
    kept = Path(lost[0][3])
    check_eq(kept, block.with_name(block.name + ".lost"), "kept")
    check_eq(kept.read_bytes(), bad_bytes, "the file that was kept")
    for shard in bad:
        line = next(line for line in victim.log_text().splitlines() if "samples are lost, as was accepted" in line and f"shard {shard}," in line)
        check(f"{span[0]} to {span[1]}" in line and str(kept) in line, line)
    rest = check_rest(wait_for("the rest is answered", lambda: (a := ask(other)).code == 200 and a, 20), series, span)

    say("the drain ends")
    wait_for("the node has left", lambda: len(other.get("/api/v1/status/ring").json()["data"]["nodes"]) == 1, 60, 0.2)
    check_eq(values(wait_for("an answer", lambda: (a := ask(other)).code == 200 and a, 20)), rest, "after the drain")
    check_eq(kept.read_bytes(), bad_bytes, "the file that was kept, after the drain")
    other.stop()
    victim.stop()


main(test)
