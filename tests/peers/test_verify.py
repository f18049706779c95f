#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`cairnctl ring verify`: nodes that neither scrub nor compare by themselves find, on demand and through any of them, blocks that went bad
and replicas that differ, also under deletions; what another replica has comes back, and what none has is named, with exit code 1."""
from harness import *

START_MS = 1709244000_000  # 2024-02-29T22:00:00Z, a multiple of two hours
SPAN_MS = 13 * 3600_000
SHARDS = 8
FLAGS = ["--storage.blocks-interval=200ms", "--storage.scrub-interval=0s", "--ring.sync-interval=0s", f"--ring.shards={SHARDS}",
         "--storage.tsdb.wal-segment-size=64KB", "--web.enable-admin-api"]


def make_series(rng):
    return [({"__name__": "load", "host": f"host-{i}", "job": ("api", "db", "web")[i % 3]},
             [(t, round(rng.uniform(0, 1000), 3)) for t in range(START_MS, START_MS + SPAN_MS, 60_000)]) for i in range(60)]


def feed(series, node):
    for start in range(0, len(series[0][1]), 60):
        part = [(labels, samples[start:start + 60]) for labels, samples in series]
        wait_for("a write is taken", lambda: node.write(part).code == 204, 30)


def nudge(series, node):
    """A later sample of each: with what comes behind them followers learn that all have what was cut."""
    for _, samples in series:
        samples.append((samples[-1][0] + 1000, 1.0))
    check_eq(node.write([(labels, samples[-1:]) for labels, samples in series]).code, 204, "a write")


def metric(server, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in server.get("/metrics").text.splitlines() if line.split("{")[0].split(" ")[0] == name)


def verify(node, *args, code=0):
    ctl = Path(Cairn.binary).with_name("cairnctl")
    done = subprocess.run([ctl, "ring", "verify", f"--url=http://{HOST}:{node.port}", *args], capture_output=True, text=True, timeout=120)
    check_eq(done.returncode, code, f"ring verify {args}: {done.stdout} {done.stderr}")
    return done.stdout + done.stderr


def totals(text):
    """(blocks, replicas, ranges, apart, findings, repaired) of each node."""
    rows = re.findall(r"  (\d+) blocks read, (\d+) replicas, (\d+) ranges good and equal, (\d+) not compared, (\d+) findings, (\d+) repaired", text)
    return [tuple(map(int, row)) for row in rows]


def blocks(node):
    return sorted((node.data_dir / "blocks").glob("*.block"), key=lambda p: p.stat().st_size)


def flip(path, rng):
    raw = bytearray(path.read_bytes())
    at = len(raw) // 4 + rng.randrange(len(raw) // 4)
    with open(path, "r+b") as f:  # in place: the node has it open
        f.seek(at)
        f.write(bytes([raw[at] ^ 1 << rng.randrange(8)]))


def right(nodes, series):
    def all_are():
        for node in nodes:
            a = node.api("/api/v1/query", query="load[30h]", time=f"{(START_MS + SPAN_MS) / 1000:.0f}")
            if a.code >= 500:
                return False
            got = {s["metric"]["host"]: [(round(float(t) * 1000), float(v)) for t, v in s["values"]] for s in a.json()["data"]["result"]}
            check_eq(got, {labels["host"]: samples for labels, samples in series if samples}, node.name)
        return True
    wait_for("all answer", all_are, 30, 0.2)


def delete_some(node, series):
    low, high = START_MS + 3 * 3600_000, START_MS + 7 * 3600_000
    form = urllib.parse.urlencode({"match[]": 'load{job="db"}', "start": low / 1000, "end": high / 1000})
    check_eq(http_request(node.port, "POST", "/api/v1/admin/tsdb/delete_series?" + form).code, 204, "delete_series")
    return [(labels, [s for s in samples if labels["job"] != "db" or not low <= s[0] <= high]) for labels, samples in series]


def make_differ(victim, nodes):
    def is_balanced():
        ring = victim.get("/api/v1/status/ring").json()["data"]["nodes"]
        return max(n["primaries"] for n in ring) - min(n["primaries"] for n in ring) <= 1
    wait_for("primaries are where they stay", is_balanced, 30)
    victim.kill()
    for block in reversed(blocks(victim)):
        r = subprocess.run([sys.argv[2], victim.data_dir, block], capture_output=True, text=True)
        check_eq(r.returncode, 0, r.stderr)
        if int(r.stdout) > 0:
            say("samples left out:", r.stdout.strip(), "of", block.name)
            break
    else:
        check(False, "nothing was left out")
    victim.start()
    wait_for("all are ready", lambda: all(n.get("/-/ready").code == 200 for n in nodes), 60, 0.3)


def three(folder, rng):
    series = make_series(rng)
    nodes = cluster(folder, 3, "--ring.replace-after=10m", *FLAGS, replication_factor=2)
    wait_voters(start_all(nodes))
    feed(series, nodes[0])
    for node in nodes:
        wait_for(f"{node.name} has blocks", lambda: metric(node, "cairn_blocks_written_total") > 0, 60)
    def all_is_compared():
        nudge(series, nodes[0])
        text = verify(nodes[1])
        return text if sum(r[3] for r in totals(text)) == 0 else None
    text = wait_for("all that is closed is so on all nodes", all_is_compared, 30, 0.2)
    say(text.strip().splitlines()[1].strip())
    rows = totals(text)
    check_eq((len(rows), sum(r[1] for r in rows), sum(r[4] for r in rows)), (3, 2 * SHARDS, 0), text)
    check(all(r[0] > 0 and r[2] > 0 for r in rows), text)
    one = verify(nodes[2], "--shard=3", "--verbose")
    check_eq(sum(r[1] for r in totals(one)), 2, one)
    check(one.count("  shard 3, ") == 2 and "primary: " in one and "follower: " in one, one)

    victim = nodes[0]
    flip(blocks(victim)[-1], rng)
    text = verify(nodes[1])
    check(": bad: repaired\n" in text and sum(r[4] for r in totals(text)) == sum(r[5] for r in totals(text)) > 0, text)
    check_eq(sum(r[4] for r in totals(verify(victim))), 0, "findings after the repair")
    right(nodes, series)
    say("what was bad is repaired")

    series = delete_some(nodes[0], series)
    check_eq(http_request(nodes[1].port, "POST", "/api/v1/admin/tsdb/clean_tombstones").code, 204, "clean_tombstones")
    check_eq(sum(r[4] for r in totals(verify(nodes[1]))), 0, "findings where one has cleaned its blocks")
    make_differ(victim, nodes)
    text = verify(nodes[2])
    check(re.search(r"shard \d+, 2024-\S+Z to 2024-\S+Z: \d+ samples, the primary has \d+ or others: repaired", text), text)
    say(next(line for line in text.splitlines() if "or others" in line).strip())
    check_eq(sum(r[4] for r in totals(verify(nodes[1]))), 0, "findings after the repair")
    right(nodes, series)
    other = next(n for n in nodes if n is not victim)
    other.kill()
    text = verify(victim, code=1)
    check(f"({other.ring_address}): " in text and "not all replicas are good" in text, text)
    stop_all([n for n in nodes if n is not other])
    say("what differed is repaired, and a node that is down is told")


def alone(folder, rng):
    node = Cairn(folder / "alone", *FLAGS).start()
    feed(make_series(rng), node)
    wait_for("it has blocks", lambda: metric(node, "cairn_blocks_written_total") > 0, 60)
    check_eq([r[1:2] + r[3:] for r in totals(verify(node))], [(SHARDS, 0, 0, 0)], "alone")
    flip(blocks(node)[-1], rng)
    text = verify(node, code=1)
    check(": bad: NOT REPAIRED\n" in text and "NOT VERIFIED" in text, text)
    answer = json.loads(verify(node, "--json", code=1).split("cairnctl: error")[0])
    check(answer["done"] and any(f["what"] == "bad" and not f["repaired"] for f in answer["nodes"][0]["findings"]), answer)
    check("no number below 8" in verify(node, "--shard=8", code=1), "a shard that is none")
    node.stop()
    node.flags.remove("--web.enable-admin-api")
    node.start()
    check("admin APIs disabled" in verify(node, code=1), "without the flag")
    node.stop()
    say("where there is no other replica it is told")


def test(folder):
    rng = seed()
    alone(folder, rng)
    three(folder, rng)


main(test)
