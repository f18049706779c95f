#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cairnctl tsdb: what promtool tells of a data directory of Prometheus, cairnctl tells of the one that took it up: list, analyze, dump.
What it exports both take in again. What a node holds in its log is dumped too, with what was deleted left out. verify finds each byte
that is changed, and names the file. A node that runs has its directory for itself."""
from harness import *

PROMTOOL = "/usr/bin/promtool"
START = 1709244000  # 2024-02-29T22:00:00Z
HOURS = 26
VALUES = ["0", "-0", "1", "-1.5", "1e-7", "123456789", "1e21", "1e300", "5e-324", "0.1", "NaN", "+Inf", "-Inf", "100000", "1e6"]
ODD = ['', 'plain', 'with \\"quotes\\"', 'back\\\\slash', 'new\\nline', 'ümläut', 'tab\there', '{braces},=']


def run(*args, fails=False, cwd=None):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, cwd=cwd)
    check(done.returncode == (1 if fails else 0), *args, "ended with", done.returncode, done.stdout[-500:], done.stderr[-1500:])
    return done.stdout if not fails else done.stdout + done.stderr


def ctl(*args, **kw):
    return run(Path(Cairn.binary).with_name("cairnctl"), *args, **kw)


def open_metrics(rng, hours=HOURS, series=40):
    lines = []
    for i in range(series):
        labels = f'job="j{i % 3}",instance="i{i}"' + (f',odd="{ODD[i % len(ODD)]}"' if i % 2 else "")
        # some begin late and end early: churn
        first = START + (rng.randrange(hours * 1800) if i % 4 == 1 else i)
        for t in range(first, START + hours * 3600 - (3600 if i % 5 == 2 else 0), 60):
            value = rng.choice(VALUES) if i % 7 == 3 else f"{rng.random() * 1000:.17g}" if i % 2 else str(rng.randrange(5000))
            lines.append(f"work{i % 4}{{{labels}}} {value} {t}.{rng.randrange(1000):03d}")
    return "\n".join(lines) + "\n# EOF\n"


def fresh_node(folder, *flags):
    """The directory of a node that was started once."""
    node = Cairn(folder, "--storage.tsdb.retention.time=100y", "--web.enable-admin-api", "--ring.shards=16", *flags).start()
    node.stop()
    return node


def dumped(text):
    return sorted(text.splitlines())


def same(what, got, want):
    got, want = dumped(got), dumped(want)
    check(len(want) > 0, what, "the oracle has nothing")
    if got != want:
        odd = sorted(set(got) ^ set(want))[:6]
        raise Failure(f"{what}: {len(got)} lines, want {len(want)}; differ: {odd}")


def table(text):
    lines = text.splitlines()
    starts = [m.start() for m in re.finditer(r"\S+( \S+)?", lines[0])]
    return [[line[a:b].strip() for a, b in zip(starts, starts[1:] + [None])] for line in lines]


def check_list(data, prom):
    """A range of two hours, so that both have one block of it."""
    for human in [], ["-r"]:
        got, want = table(ctl("tsdb", "list", *human, data)), table(run(PROMTOOL, "tsdb", "list", *human, prom))
        check_eq(got[0], want[0], "heads")
        check_eq(len(got), 2, "blocks")
        for column in 1, 2, 3, 4, 6:  # times, duration, samples, series; id, chunks and size are each one's own
            check_eq(got[1][column], want[1][column], want[0][column])
    widths = [re.sub(r"\S+( \S+)?", "x", t.splitlines()[0]) for t in (ctl("tsdb", "list", data), run(PROMTOOL, "tsdb", "list", prom))]
    check_eq(widths[0], widths[1], "widths of the columns")


def sections(text):
    """Of equal numbers the order is any."""
    out = {}
    head = "figures"
    for line in text.splitlines():
        if line.endswith(":"):
            head = line
        elif line and not line.startswith("Block ID"):
            out.setdefault(head, []).append(line)
    return {k: sorted(v) for k, v in out.items()}


def check_analyze(data, prom):
    got = sections(ctl("tsdb", "analyze", "--limit=1000", data))
    want = sections(run(PROMTOOL, "tsdb", "analyze", "--limit=1000", prom))
    check_eq(got, want, "analyze")
    check(any(line.split()[0] != "0" for line in want["Label names most involved in churning:"]), "nothing churns")
    block = table(ctl("tsdb", "list", data))[1][0]
    check_eq(sections(ctl("tsdb", "analyze", "--limit=1000", data, block)), want, "by the block's name")
    short = ctl("tsdb", "analyze", "--limit=2", "--extended", data)
    check_eq(len(sections(short)["Highest cardinality labels:"]), 2, "limit")
    check("Fullness" in short and "100%: " in short, short)
    matched = ctl("tsdb", "analyze", "--match=work1{job='j0'}", data)
    names = {line.split()[1] for line in sections(matched)["Highest cardinality metric names:"]}
    check_eq(names, {"work1"}, "metric names of a match")
    ctl("tsdb", "analyze", data, "01HQVMYCKK0000000000000ZZZ", fails=True)
    ctl("tsdb", "analyze", "--match={", data, fails=True)


def check_dump(data, prom):
    same("dump", ctl("tsdb", "dump", data), run(PROMTOOL, "tsdb", "dump", prom))
    middle = (START + HOURS * 1800) * 1000
    for args in (["--match=work2"], ["--match={job=~'j[01]',odd!=''}"], [f"--min-time={middle}"], [f"--max-time={middle}"],
                 [f"--min-time={middle}", f"--max-time={middle + 60000}", "--match=work3"]):
        same(f"dump {args}", ctl("tsdb", "dump", *args, data), run(PROMTOOL, "tsdb", "dump", *args, prom))


def exported(folder, data, want):
    """Round trips of what is exported, into a Prometheus and into a node. promtool asks for a log, empty or not."""
    text = folder / "exported.txt"
    text.write_text(ctl("tsdb", "export", data))
    check_eq(ctl("tsdb", "dump-openmetrics", data), text.read_text(), "promtool's name of it")
    run(PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, folder / "back")
    (folder / "back" / "wal").mkdir()
    same("promtool of what was exported", run(PROMTOOL, "tsdb", "dump", folder / "back"), want)
    other = fresh_node(folder / "other")
    ctl("import", "openmetrics", text, f"--storage.tsdb.path={other.data_dir}")
    same("a node of what was exported", ctl("tsdb", "dump", other.data_dir), want)


def exported_early(folder, rng):
    """Where a double of seconds is not sharp to the millisecond, Prometheus cuts what others round."""
    times = sorted({rng.randrange(8493120000, 8500320000) for _ in range(3000)})
    check(any(int(float(f"{t // 1000}.{t % 1000:03d}") * 1000) != t for t in times), "none of the times is cut")
    text = folder / "early.txt"
    text.write_text("".join(f"early {i} {t // 1000}.{t % 1000:03d}\n" for i, t in enumerate(times)) + "# EOF\n")
    node = fresh_node(folder / "early")
    ctl("import", "openmetrics", text, f"--storage.tsdb.path={node.data_dir}")
    want = ctl("tsdb", "dump", node.data_dir)
    check_eq([int(line.rsplit(" ", 1)[1]) for line in want.splitlines()], times, "times")
    text.write_text(ctl("tsdb", "export", node.data_dir))
    run(PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, folder / "early-back")
    (folder / "early-back" / "wal").mkdir()
    same("promtool of what was exported", run(PROMTOOL, "tsdb", "dump", folder / "early-back"), want)


def check_log(node):
    """Of a node that was killed: its log, beside blocks, less what was deleted."""
    base = (START + HOURS * 3600) * 1000 + 600000
    node.start()
    a = node.write([({"__name__": "fresh", "n": str(n)}, [(base + n + 1000 * k, float(k * n)) for k in range(50)]) for n in range(6)])
    check_eq(a.code, 204, a)
    check_eq(node.api("/api/v1/admin/tsdb/delete_series", _match='fresh{n="3"}').code, 204)
    check_eq(node.api("/api/v1/admin/tsdb/delete_series", _match='work1', end=START + 7200).code, 204)
    for args in ["tsdb", "dump"], ["tsdb", "export"], ["tsdb", "verify"]:
        out = ctl(*args, node.data_dir, fails=True)
        check("lock" in out, "beside a node that runs:", out)
    check(len(table(ctl("tsdb", "list", node.data_dir))) > 1, "list beside a node that runs")
    ctl("tsdb", "analyze", node.data_dir)
    want = []
    for s in node.query('{__name__=~".+"}[40h]', base / 1000 + 3600)["result"]:
        labels = ", ".join(f'{k}={json.dumps(v, ensure_ascii=False)}' for k, v in sorted(s["metric"].items()))
        want += [("{" + labels + "}", float(v), round(t * 1000)) for t, v in s["values"]]
    node.kill()

    def parsed(line):
        labels, value, at = line.rsplit(" ", 2)
        return labels, float(value), int(at)
    got = [parsed(line) for line in ctl("tsdb", "dump", node.data_dir).splitlines()]
    key = lambda row: (row[0], row[2], repr(row[1]))
    check(sum(row[0].startswith('{__name__="fresh"') for row in got) == 250, "what was written last")
    check_eq([key(r) for r in sorted(got, key=key)], [key(r) for r in sorted(want, key=key)], "dump of a node that was killed")


def files_of(data):
    return [f for f in sorted(data.rglob("*")) if f.is_file()]


def check_verify(node, rng):
    data = node.data_dir
    before = {f: f.read_bytes() for f in files_of(data)}
    out = ctl("tsdb", "verify", data)
    say(out.strip())
    check_eq({f: f.read_bytes() for f in files_of(data)}, before, "verify changes nothing")
    blocks = sorted((data / "blocks").glob("*.block"))
    log = sorted((data / "log").glob("log-*"))[-1]
    check(len(blocks) > 0 and len(log.read_bytes()) > 2000, "nothing to damage")

    def damaged(path, at, what):
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1:])
        text = ctl("tsdb", "verify", data, fails=True)
        path.write_bytes(whole)
        check(path.name in text, f"{what} at {at}: {path.name} is not named:", text)
        return text
    for _ in range(12):
        block = rng.choice(blocks)
        at = rng.randrange(40, block.stat().st_size - 40)
        text = damaged(block, at, "a block")
        offsets = [int(n) for n in re.findall(r"at (\d+)", text)]
        check(any(o <= at for o in offsets), "offset of", at, "in", text)
    two = blocks[0].read_bytes()  # two places of one file: both are told
    offsets = [200, len(two) // 2]
    blocks[0].write_bytes(bytes(b ^ (0x10 if i in offsets else 0) for i, b in enumerate(two)))
    text = ctl("tsdb", "verify", data, fails=True)
    check_eq(len(re.findall(r"^block .* bad frame of \d+ bytes at", text, re.M)), 2, f"frames of {text}")
    check(re.search(r"^shard \d+: block ", text, re.M), "no shard is named:", text)
    blocks[0].write_bytes(two)
    damaged(data / "blocks" / "MANIFEST", rng.randrange(24, (data / "blocks" / "MANIFEST").stat().st_size), "the manifest")
    # a frame of the log before others: its shards lack entries from there on
    whole = log.read_bytes()
    text = damaged(log, 32 + 24 + 2, "the log")  # the first frame may be of one small entry
    check(re.search(r"offset 32: bad frame; frames? \d+ (to \d+ are|is) lost", text), "the frame is not named:", text)
    check(re.search(r"log: shard \d+: ", text), "the shards are not named:", text)
    log.write_bytes(whole[:-3])  # a crash
    text = ctl("tsdb", "verify", data)
    check("no finding" in text, "a torn end is a finding:", text)
    log.write_bytes(whole)
    blocks[0].rename(data / "gone")
    check(blocks[0].name in ctl("tsdb", "verify", data, fails=True), "a block that is gone")
    check(blocks[0].name in ctl("tsdb", "dump", data, fails=True), "a dump without it")
    (data / "gone").rename(blocks[0])
    ctl("tsdb", "verify", data)
    ctl("tsdb", "list", data / "nothing", fails=True)


def test(folder):
    need(PROMETHEUS, PROMTOOL)
    rng = seed()
    short = folder / "short"
    (folder / "short.txt").write_text(open_metrics(rng, hours=2))
    run(PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", folder / "short.txt", short)
    one = fresh_node(folder / "one")
    ctl("import", "prometheus", short, f"--storage.tsdb.path={one.data_dir}")
    check_list(one.data_dir, short)
    check_analyze(one.data_dir, short)
    say("list and analyze")

    oracle = Prometheus(folder / "oracle", "--storage.tsdb.retention.time=100y", name="oracle")
    (folder / "work.txt").write_text(open_metrics(rng))
    run(PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", folder / "work.txt", oracle.folder / "data")
    oracle.start()
    base = (START + HOURS * 3600) * 1000 + 60000
    check_eq(oracle.write([({"__name__": "later", "n": str(n)}, [(base + 7 * k, k / 3) for k in range(100)]) for n in range(5)]).code, 204)
    oracle.stop()
    node = fresh_node(folder / "node")
    ctl("import", "prometheus", oracle.folder / "data", f"--storage.tsdb.path={node.data_dir}")
    check_dump(node.data_dir, oracle.folder / "data")
    node.start()
    node.stop()
    check(not list((node.data_dir / "blocks").glob("import-*")), "taken up")
    check_dump(node.data_dir, oracle.folder / "data")
    say("dump")
    exported(folder, node.data_dir, run(PROMTOOL, "tsdb", "dump", oracle.folder / "data"))
    exported_early(folder, rng)
    say("export")
    check_log(node)
    check_verify(node, rng)


main(test)
