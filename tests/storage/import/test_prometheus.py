#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""storage/import against Debian's Prometheus: a data directory with backfilled blocks, compacted blocks, checkpoint, log, head
chunks, out-of-order log, deletions and exemplars, stopped, killed and cut. Every series and sample that Prometheus answers after a
start on a copy must be read from another copy, bit for bit.

    test_prometheus.py IMPORT_DUMP IMPORT_FLIPS"""
import json, os, shutil, subprocess, sys

from prom_data import PROMETHEUS, PROMTOOL, Dump, Histograms, Prometheus, bits_of, check, compare, float_of, harness, make_labels, values_of
from harness import check_eq, say

HOUR, STEP = 3600_000, 30_000
FLIPS = "300"  # bits that are read wrong, one at a time
DUMP = None
END = 1709244000_000  # of all data; a multiple of the time that a head block has
HISTOGRAMS = {}  # by the name of what was asked
SENT = {}  # histograms by labels
TIMES = {}  # of all samples by labels
ALWAYS = (-(1 << 62), 1 << 62)


def import_dump(folder, shards=16, *span):
    done = subprocess.run([DUMP, str(folder), str(shards), *map(str, span)], capture_output=True, text=True)
    check(done.returncode == 0, "import_dump:", done.stderr)
    check_eq(done.stderr, "", "stderr of import_dump")
    return Dump(done.stdout)


def times_of(distance, rng, start, end):
    if distance is not None:
        return list(range(start, end, distance))
    out, t = [], start
    while t < end:
        out.append(t)
        t += rng.choice([1, 3, 40, 1000, 15000, 15001, 9 * 60_000, 700_000])
    return out


def make_data(rng, labels, start, end):
    out = []
    for of, kind, distance in labels:
        times = times_of(distance, rng, start, end)
        TIMES.setdefault(of, set()).update(times)
        out.append((of, list(zip(times, values_of(kind, rng, len(times))))))
    return out


def make_histograms(rng):
    SENT.update({(("__name__", f"latency_{kind}"), ("instance", "a")): Histograms(rng, kind) for kind in ("int", "float", "gauge")})
    return SENT


def send_by_hour(server, data, exemplars, histograms):
    """In order of time, as scrapes are."""
    first = min(s[0][0] for _, s in data if s)
    last = max(s[-1][0] for _, s in data if s)
    for begin in range(first, last + 1, HOUR // 2):
        part = [(of, [s for s in samples if begin <= s[0] < begin + HOUR // 2]) for of, samples in data]
        end = min(begin + HOUR // 2, last + 1)
        server.send([(of, samples, exemplars(of, samples)) for of, samples in part if samples] +
                    [(of, [], (), [h.next(ms) for ms in range(begin, end, STEP)]) for of, h in histograms.items()])


def backfill(rng, folder, data_dir, labels, start, end):
    lines = []
    for of, samples in make_data(rng, [l for l in labels if l[1] not in ("odd", "bits")], start, end):
        name = dict(of)["__name__"]
        rest = ",".join(f'{k}="{v}"' for k, v in of if k != "__name__")
        for ms, bits in samples:
            lines.append((ms, f"{name}{{{rest}}} {float_of(bits)!r} {ms / 1000:.3f}"))
    text = folder / "old.om"
    text.write_text("\n".join(l for _, l in lines) + "\n# EOF\n")
    subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", str(text), str(data_dir)], check=True, capture_output=True)


def late_writes(rng, server, labels, start, end):
    """Between what is there; {(labels, ms): bits}"""
    sent = {}
    for of, kind, distance in labels[:12]:
        # none that is there: which value Prometheus answers then is a matter of its own
        times = [ms for ms in rng.sample(range(start, end), 150) if ms not in TIMES[of]]
        TIMES[of].update(times)
        for i in range(0, len(times), 30):
            part = times[i:i + 30]
            samples = list(zip(part, values_of(kind, rng, len(part))))
            server.send([(of, samples)])
            sent.update({(of, ms): bits for ms, bits in samples})
    return sent


def exemplars_for(rng):
    def pick(of, samples):
        if dict(of)["__name__"] != "requests_total" or rng.random() < 0.5:
            return ()
        ms = samples[-1][0]
        return [((("trace_id", f"{rng.getrandbits(64):x}"), ("span", "s")), ms, bits_of(rng.random()))]
    return pick


def ask(folder, data_dir, name, starts=1):
    """What Prometheus answers after a start on a copy: samples and exemplars. One start that has to cut a log leaves the late
    samples out until the next."""
    copy = folder / name / "data"
    shutil.copytree(data_dir, copy)
    (copy / "lock").unlink(missing_ok=True)
    for _ in range(1, starts):
        Prometheus(folder / name, copy).start().kill()
        (copy / "lock").unlink(missing_ok=True)
    server = Prometheus(folder / name, copy).start()
    samples = server.read(*ALWAYS)
    HISTOGRAMS[name] = server.histograms(END - 10 * HOUR, END, STEP)
    found = server.data("/api/v1/query_exemplars", query='{__name__=~".+"}', start="0", end="99999999999")
    server.kill()
    shutil.rmtree(copy)
    return samples, {tuple(sorted(e["seriesLabels"].items())): [(x["labels"], x["timestamp"], float(x["value"])) for x in e["exemplars"]]
                     for e in found}


def compare_histograms(got, there, name):
    """As they were sent, at the times that Prometheus has. It shows some stale markers, and not others."""
    check_eq(set(got), set(there), f"{name}: series of histograms")
    for of, samples in got.items():
        here = {ms: (h[5], h[6]) for ms, h in samples.items() if h != "stale"}
        check_eq(sorted(set(here.items()) ^ set((ms, h) for ms, h in there[of].items() if h != "stale"))[:6], [], f"{name}: {of}: what one side alone has, of {len(here)}")
        for ms, h in samples.items():
            check_eq(h, SENT[of].sent[ms], f"{name}: {of} at {ms}")
        check(len(samples) > 300 and ("stale" in samples.values()) == (SENT[of].kind != "float"), f"{name}: {of}: {len(samples)} histograms")


def compare_all(folder, data_dir, name, before=None, late=None, starts=1):
    before = before or import_dump(data_dir)
    want, exemplars = ask(folder, data_dir, name, starts)
    got = before.floats()
    # a kill takes late samples from Prometheus, which it acknowledged, and which its log still has
    series, samples = compare(got, want, name, may_be_more=lambda of, ms, bits: late is not None and late.get((of, ms)) == bits)
    mine = {of: [(e[0], e[1] / 1000, float_of(e[2])) for e in list_] for of, list_ in before.exemplars.items() if list_}
    check_eq(mine, exemplars, f"{name}: exemplars")
    check(not any(before.counts[k] for k in ("histograms", "encodings", "records", "unknown_samples")), "left out:", before.counts)
    compare_histograms(before.histograms(), HISTOGRAMS[name], name)
    say(f"{name}: {series} series, {samples} samples, {sum(map(len, mine.values()))} exemplars;", *(f"{k} {v}" for k, v in before.counts.items() if v))
    return before


def cut_end(folder, by):
    """The last file that has more than a header; those behind it go. They are made longer than what is in them."""
    for path in sorted(folder.glob("[0-9]*"), reverse=True):
        end = len(path.read_bytes().rstrip(b"\0"))
        if end > 16:
            os.truncate(path, end - min(by, (end - 8) // 2))
            return path
        path.unlink()
    return None


def cut(folder, data_dir, log, by, late):
    """As a crash leaves it: the last file some bytes shorter. Prometheus cuts what is torn; so must the import, and say so."""
    copy = folder / f"cut-{log}-{by}"
    shutil.copytree(data_dir, copy)
    segment = cut_end(copy / log, by)
    if segment is None and log == "wbl":  # just compacted
        return 1
    check(segment is not None, "nothing to cut in", log)
    name = f"{log} without its last {by} bytes"
    if log == "wbl":  # 2.42 takes this for a bad wal, and cuts that: it is asked where the record that was cut never was
        dump = import_dump(copy)
        os.truncate(segment, segment.stat().st_size - dump.counts["wal_cut_bytes"])
        compare_all(folder, copy, name, dump, late)
    else:
        dump = compare_all(folder, copy, name, late=late, starts=2)
    shutil.rmtree(copy)
    return dump.counts["head_chunks_cut_bytes" if log == "chunks_head" else "wal_cut_bytes"]


def conflicts(rng, server, data, folder, data_dir, lost):
    """Other values at times that are there: which one Prometheus answers is a matter of where its query begins. One of the two
    must be read, the later one, and all others unchanged."""
    late = {}
    for of, samples in rng.sample(data, 6):
        late[of] = {ms: bits_of(rng.random()) for ms, _ in samples[10:-10:7]}
        server.send([(of, list(late[of].items()))])
    server.stop()
    dump = import_dump(data_dir)
    want, _ = ask(folder, data_dir, "conflicts")
    agreed = 0
    for of, samples in late.items():
        for ms, bits in samples.items():
            check_eq(dump.series[of][ms], bits, f"{of} at {ms}: the later value")
            agreed += want[of][ms] == bits
    compare(dump.floats(), want, "conflicts", lambda of, ms: ms in late.get(of, ()), lambda of, ms, bits: lost.get((of, ms)) == bits)
    total = sum(map(len, late.values()))
    # not all: where Prometheus compacted meanwhile, it decided itself
    check(dump.counts["conflicts"] > 0, "conflicts counted:", dump.counts["conflicts"], "of", total)
    say(f"conflicts: {total}, Prometheus answers the later value of {agreed}")


def left_behind(folder, data_dir):
    """A crash between a compaction and the end of its parent, which has samples that the new block has not; a block that was
    never finished; one that was being made."""
    copy = folder / "left-behind"
    shutil.copytree(data_dir, copy)
    parent = next(p.parent for p in sorted(copy.glob("*/tombstones")) if p.stat().st_size > 9)
    meta = json.loads((parent / "meta.json").read_text())
    child = copy / (parent.name[:-1] + ("0" if parent.name[-1] != "0" else "1"))
    shutil.copytree(parent, child)
    (parent / "tombstones").unlink()
    meta["compaction"]["parents"] = [{key: meta[key] for key in ("ulid", "minTime", "maxTime")}]
    meta["ulid"] = child.name
    (child / "meta.json").write_text(json.dumps(meta))
    shutil.copytree(parent, copy / "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    (copy / "01ARZ3NDEKTSV4RRFFQ69G5FAV" / "meta.json").unlink()
    shutil.copytree(parent, copy / (parent.name + ".tmp-for-creation"))
    counts = compare_all(folder, copy, "what a crash left").counts
    check_eq((counts["blocks_replaced"], counts["blocks_unfinished"]), (1, 1), "blocks left out")


def is_compacted(data_dir, until):
    """All in order before that time is in blocks, and late samples from then on."""
    metas = [json.loads(p.read_text()) for p in data_dir.glob("*/meta.json") if "." not in p.parent.name]
    late = [m for m in metas if "from-out-of-order" in m["compaction"].get("hints", ())]
    return any(m["minTime"] >= until for m in late) and any(m["maxTime"] == until for m in metas if m not in late)


def test(folder):
    global DUMP
    DUMP = os.path.abspath(sys.argv[1])
    harness.need(PROMETHEUS, PROMTOOL)
    rng = harness.seed()
    data_dir = folder / "data"
    data_dir.mkdir()
    now = END
    labels, histograms = make_labels(rng), make_histograms(rng)
    backfill(rng, folder, data_dir, labels, now - 40 * HOUR, now - 33 * HOUR)

    server = Prometheus(folder / "p", data_dir, compress=False).start()
    send_by_hour(server, make_data(rng, labels, now - 10 * HOUR, now - 7 * HOUR), exemplars_for(rng), histograms)
    server.stop()
    compare_all(folder, data_dir, "log that is not compressed")
    for hours in (7, 6, 5, 4):  # a start begins a segment; enough of them make a checkpoint
        server = Prometheus(folder / "p", data_dir).start()
        send_by_hour(server, make_data(rng, labels[hours % 3:], now - hours * HOUR, now - (hours - 1) * HOUR - HOUR // 2 * (hours == 4)),
                     exemplars_for(rng), histograms)
        server.stop()
    server = Prometheus(folder / "p", data_dir).start()
    send_by_hour(server, make_data(rng, labels, now - 3 * HOUR - HOUR // 2, now - 3 * HOUR - HOUR // 3), exemplars_for(rng), histograms)
    harness.wait_for("a checkpoint", lambda: list((data_dir / "wal").glob("checkpoint.*")))
    server.delete('requests_total{code=~"20[12]"}', now - 39 * HOUR, now - 36 * HOUR)
    server.delete('temperature', now - 9 * HOUR, now - 8 * HOUR)
    server.delete('gauge_slow', now - 5 * HOUR, now - 4 * HOUR)
    server.delete('requests_total{code="203"}', now - 4 * HOUR - 600_000, now - 4 * HOUR + 600_000)
    server.delete('counter_slow', 0, now)
    late_writes(rng, server, labels, now - 6 * HOUR, now - 4 * HOUR)
    server.stop()
    counts = compare_all(folder, data_dir, "stopped").counts
    check(counts["wbl_segments"] > 0 and counts["wal_segments"] > 0 and counts["blocks"] > 2 and
          any(p.stat().st_size > 9 for p in data_dir.glob("*/tombstones")), "not all parts are there:", counts)
    left_behind(folder, data_dir)

    server = Prometheus(folder / "p", data_dir).start()
    data = make_data(rng, labels, now - 3 * HOUR, now - 60_000)
    # It compacts once its head spans three hours, and late samples then only; their block is merged at once with another of the
    # same time. So the late ones are written before that, also where there is no other block yet.
    exemplars, middle = exemplars_for(rng), now - HOUR * 3 // 2
    send_by_hour(server, [(of, [s for s in samples if s[0] < middle]) for of, samples in data], exemplars, histograms)
    late = late_writes(rng, server, labels[5:], now - 4 * HOUR, now - 2 * HOUR)
    late.update(late_writes(rng, server, labels, now - 2 * HOUR, middle))
    send_by_hour(server, [(of, [s for s in samples if s[0] >= middle]) for of, samples in data], exemplars, histograms)
    harness.wait_for("a block of late samples", lambda: is_compacted(data_dir, now - 2 * HOUR), 60)
    late.update(late_writes(rng, server, labels[3:8], now - 2 * HOUR, now - HOUR))
    # what was compacted and deleted then is in the log still
    server.delete("{" + ",".join(f'{k}="{v}"' for k, v in labels[0][0]) + "}", now - 3 * HOUR, now - 2 * HOUR - 1)
    send_by_hour(server, make_data(rng, labels, now - 60_000, now), exemplars_for(rng), histograms)  # the end of the log, to be cut
    server.kill()
    compare_all(folder, data_dir, "killed", late=late)
    for log, name in (("wal", "log"), ("wbl", "log of late samples"), ("chunks_head", "head chunks")):
        check(cut(folder, data_dir, log, 6 + rng.randrange(rng.choice([1, 100, 3000])), late) > 0, "nothing was cut of the", name)

    flips = subprocess.run([sys.argv[2], str(data_dir), str(rng.randrange(1 << 32)), FLIPS], capture_output=True, text=True)
    check(flips.returncode == 0, "import_flips:", flips.stdout, flips.stderr)
    say(flips.stdout.strip())
    server = Prometheus(folder / "p", data_dir).start()
    conflicts(rng, server, data, folder, data_dir, late)


if __name__ == "__main__":
    harness.main(test)
