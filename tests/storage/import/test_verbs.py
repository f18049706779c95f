#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`cairnctl import prometheus` and `import openmetrics`: the blocks that they write against what Debian's Prometheus answers from the
same directory, or from the blocks that promtool makes of the same file.

    test_verbs.py CAIRN CAIRNCTL IMPORT_DUMP_BLOCKS"""
import os, subprocess, sys

from prom_data import PROMETHEUS, PROMTOOL, Dump, Histograms, Prometheus, bits_of, check, compare, float_of, harness, histogram_said, make_labels, values_of
from harness import Cairn, check_eq, say

HOUR = 3600_000
DAY = 24 * HOUR
BEGIN = 1709244000_000 - 1709244000_000 % DAY  # a day
ALWAYS = (-(1 << 62), 1 << 62)


def ctl(*args, code=0):
    done = subprocess.run([sys.argv[2], *map(str, args)], capture_output=True, text=True)
    check_eq(done.returncode, code, f"cairnctl {args}: {done.stdout} {done.stderr}: exit code")
    return done.stdout, done.stderr


def node_dir(folder, name):
    """The data directory of a node that was started once."""
    node = Cairn(folder / name, name=name).start()
    node.stop()
    return node.data_dir


def blocks_of(node_dir):
    """(ranges, {labels: {ms: value}}) of all blocks; no sample is in two"""
    done = subprocess.run([sys.argv[3], str(node_dir)], capture_output=True, text=True)
    check(done.returncode == 0, "import_dump_blocks:", done.stderr)
    ranges, series = [], {}
    for part in done.stdout.split("range ")[1:]:
        head, text = part.split("\n", 1)
        low, high = map(int, head.split())
        check_eq(low // DAY, high // DAY, f"a block of {low} to {high} is of one day")
        ranges.append((low, high))
        for of, samples in Dump(text).series.items():
            mine = series.setdefault(of, {})
            check(not set(mine) & set(samples), of, "has samples in two blocks")
            mine.update(samples)
    days = [low // DAY for low, _ in ranges]
    check_eq(len(set(days)), len(days), "a day has one block")
    return ranges, series


def from_prometheus(rng, folder):
    server = Prometheus(folder / "p", folder / "prometheus").start()
    labels, histograms = make_labels(rng), Histograms(rng, "int")
    of_histograms = (("__name__", "latency_int"),)
    for begin in range(BEGIN - 7 * HOUR, BEGIN + 3 * HOUR, HOUR):  # over midnight
        times = range(begin, begin + HOUR, 30_000)
        exemplars = [((("trace_id", "x"),), times[-1], bits_of(1.0))] if begin >= BEGIN + HOUR else ()
        server.send([(of, list(zip(times, values_of(kind, rng, len(times)))), exemplars if of == labels[0][0] else ())
                     for of, kind, _ in labels] +
                    [(of_histograms, [], (), [histograms.next(ms) for ms in times])])
    server.delete('temperature', BEGIN - 6 * HOUR, BEGIN - 5 * HOUR)
    want = server.read(*ALWAYS)
    server.stop()
    data_dir = node_dir(folder, "node")
    out, err = ctl("import", "prometheus", folder / "prometheus", f"--storage.tsdb.path={data_dir}")
    ranges, series = blocks_of(data_dir)
    check_eq(len(ranges), 2, "blocks")
    of_floats = {of: samples for of, samples in series.items() if of != of_histograms}
    count, samples = compare(of_floats, want, "import prometheus")
    check_eq(set(series[of_histograms]), set(histograms.sent), "times of histograms")
    for ms, text in series[of_histograms].items():
        check_eq(histogram_said(text), histograms.sent[ms], f"histogram at {ms}")
    check_eq(err, "", "stderr")
    check("\n2 exemplars\n" in out, "what it says:", out)
    check(out.endswith(f"{samples + len(histograms.sent)} samples in 2 blocks\n"), "what it says:", out)
    say(f"import prometheus: {count} series, {samples} samples, {len(histograms.sent)} histograms in {len(ranges)} blocks")
    # once more: other files, nothing overwritten
    ctl("import", "prometheus", folder / "prometheus", f"--storage.tsdb.path={data_dir}")
    check_eq(sorted(p.name for p in (data_dir / "blocks").iterdir()), ["MANIFEST"] + [f"import-{i}.block" for i in range(4)], "files")
    node = Cairn(folder / "node", name="again", data_dir=data_dir).start()
    _, err = ctl("import", "prometheus", folder / "prometheus", f"--storage.tsdb.path={data_dir}", code=1)
    check("lock" in err, "a node that runs:", err)
    node.stop()


def openmetrics_text(rng):
    """Lines in the order of time, as promtool wants them of a series; with what the format has."""
    rows = []
    for of, kind, distance in make_labels(rng):
        if kind in ("odd", "bits"):
            continue
        times = sorted(rng.sample(range(BEGIN - 2 * DAY, BEGIN + DAY, 1000), 150))
        name = dict(of)["__name__"]
        rest = ",".join(f'{k}="{v}"' for k, v in of if k != "__name__")
        rows += [(ms, f"{name}{{{rest}}} {float_of(bits)!r} {ms // 1000}") for ms, bits in zip(times, values_of(kind, rng, 150))]
    rows.append((BEGIN + 5, 'escapes{a="back\\\\slash \\"quoted\\" line\\nfeed"} NaN 1709164800.5'))
    rows.append((BEGIN + 5, 'bare_total +Inf 1709164801 # {trace_id="x"} 1 1709164801.000'))
    rows.append((BEGIN + 5, "bare_total -1e-300 1.7091648025e9"))
    rows.sort(key=lambda row: row[0])
    head = "# HELP requests_total Requests.\\nAll of them.\n# TYPE requests counter\n# UNIT depth_metres metres\n"
    return head + "\n".join(line for _, line in rows) + "\n# EOF\n"


def from_openmetrics(rng, folder):
    text = folder / "samples.om"
    text.write_text(openmetrics_text(rng))
    subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "promtool")], check=True,
                   capture_output=True)
    server = Prometheus(folder / "q", folder / "promtool").start()
    want = server.read(*ALWAYS)
    server.stop()
    data_dir = node_dir(folder, "other")
    out, err = ctl("import", "openmetrics", text, f"--storage.tsdb.path={data_dir}")
    ranges, series = blocks_of(data_dir)
    count, samples = compare(series, want, "import openmetrics")
    check_eq(err, "", "stderr")
    check("\n1 exemplars\n" in out and ".families: metadata of 3 metric families\n" in out, "what it says:", out)
    check(out.endswith(f"{samples} samples in {len(ranges)} blocks\n"), "what it says:", out)
    say(f"import openmetrics: {count} series, {samples} samples in {len(ranges)} blocks")
    # promtool refuses samples that are not in order; here they are sorted, and the last of a time counts
    shuffled = folder / "shuffled.om"
    lines = text.read_text().splitlines()[:-1]
    rng.shuffle(lines)
    series, _, seconds = next(line for line in lines if line.startswith("requests_total")).rsplit(" ", 2)
    shuffled.write_text("\n".join([f"{series} 0.25 {seconds}", *lines]) + "\n# EOF")
    data_dir = node_dir(folder, "third")
    _, err = ctl("import", "openmetrics", shuffled, f"--storage.tsdb.path={data_dir}")
    check_eq(err, "cairnctl: 1 samples differed from a later one at the same time, which was taken\n", "stderr")
    compare(blocks_of(data_dir)[1], want, "shuffled lines")


def left_out(folder):
    """Exemplars beyond those that a node keeps, of days without samples, twice the same, or too long, are counted by why."""
    lines = [f'many_total {n} {BEGIN // 1000 + n % 1000} # {{n="{n}"}} 1 {BEGIN // 1000 + n}.5' for n in range(80000)]
    lines += [f'many_total{{a="b"}} {n} {BEGIN // 1000 + n} # {{n="{n}"}} 1 {BEGIN // 1000 + n}.25' for n in range(20005)]
    lines += [f'last_total {n} {BEGIN // 1000 + n} # {{a="b"}} 7 {BEGIN // 1000 + 80000}' for n in range(3)]
    lines.append(f'last_total 9 {BEGIN // 1000 + 9} # {{a="b"}} 7 {(BEGIN + 3 * DAY) // 1000}')
    lines.append(f'last_total 10 {BEGIN // 1000 + 10} # {{a="{"x" * 128}"}} 7')
    lines.append(f'last_total 11 {BEGIN // 1000 + 11} # {{a="1",a="2"}} 7')
    lines.append("# HELP last " + "x" * 70000)
    path = folder / "exemplars.om"
    path.write_text("\n".join(lines) + "\n# EOF\n")
    out, err = ctl("import", "openmetrics", path, f"--storage.tsdb.path={node_dir(folder, 'fifth')}")
    check_eq(sorted(err.splitlines()), sorted([
        "cairnctl: 2 exemplars were left out: more than 128 characters of labels, or a label twice",
        "cairnctl: 2 exemplars were left out: they came before",
        # 100009 that fit, two of them twice: of the newest 100000 one is of a day without samples
        f"cairnctl: {100009 - 2 - 99997} exemplars were left out: a node keeps the newest 100000, of days with samples",
        "cairnctl: metadata of 1 metric families were left out: malformed, or too long",
        "cairnctl: 79000 samples differed from a later one at the same time, which was taken"]), "stderr")
    check("\n99997 exemplars\n" in out, "what it says:", out)


BAD = [("a 1 2\n", ":1: data does not end with # EOF"), ("a 1 2\n# EOF\nb 1 2\n", ":3: unexpected data after # EOF"),
       ("a 1\n# EOF\n", ":1: expected a timestamp"), ("a{b=\"c} 1 2\n# EOF\n", ":1: malformed label value"),
       ("a{b=\"c\",b=\"d\"} 1 2\n# EOF\n", ":1: "), ("\n# EOF\n", ":1: expected a metric name"), ("# EOF\n# EOF\n", ":2: unexpected data"),
       ("a 0x1p2 3\n# EOF\n", ":1: expected a value"), ("a 1 NaN\n# EOF\n", ":1: timestamp out of range"),
       ("a 1 2 3\n# EOF\n", ":1: unexpected text"), ("# TYPE a thing\n# EOF\n", ":1: unknown metric type"),
       ("# what\n# EOF\n", ":1: expected # HELP"),
       ('a 1 2\na 1 2 # {b="c"} x\n# EOF\n', ":2: expected a value of the exemplar"), ("# UNIT a_b c\n# EOF\n", ":1: a unit that")]


def refusals(folder):
    data_dir = folder / "other" / "data"
    before = sorted(p.name for p in (data_dir / "blocks").iterdir())
    path = folder / "bad.om"
    for text, want in BAD:
        path.write_text(text)
        _, err = ctl("import", "openmetrics", path, f"--storage.tsdb.path={data_dir}", code=1)
        check(f"{path}{want}" in err, repr(text), ":", err, "has no", want)
    path.write_text("# EOF\n")
    out, _ = ctl("import", "openmetrics", path, f"--storage.tsdb.path={data_dir}")
    check_eq(out, "0 samples in 0 blocks\n", "an empty file")
    # a bad block: what was written before it goes again
    chunks = max((folder / "prometheus").glob("*/chunks/000001"), key=os.path.getmtime)
    raw = bytearray(chunks.read_bytes())
    raw[len(raw) // 2] ^= 1
    chunks.write_bytes(raw)
    _, err = ctl("import", "prometheus", folder / "prometheus", f"--storage.tsdb.path={data_dir}", code=1)
    check(f"{chunks}: at " in err, "a bad chunk:", err)
    check_eq(sorted(p.name for p in (data_dir / "blocks").iterdir()), before, "files after a failure")
    for args, want in (([folder / "nothing"], "nothing"), ([folder / "q"], "neither blocks nor a log"), ([], "needs one DIR")):
        _, err = ctl("import", "prometheus", *args, f"--storage.tsdb.path={data_dir}", code=1)
        check(want in err, args, ":", err)
    _, err = ctl("import", "openmetrics", path, f"--storage.tsdb.path={folder / 'q'}", code=1)
    check("no data directory of a node" in err, "no node:", err)


def test(folder):
    harness.need(PROMETHEUS, PROMTOOL)
    rng = harness.seed()
    from_prometheus(rng, folder)
    from_openmetrics(rng, folder)
    left_out(folder)
    refusals(folder)


if __name__ == "__main__":
    harness.main(test)
