# SPDX-License-Identifier: Apache-2.0
"""A Debian Prometheus that is written to and asked, for the tests of storage/import: remote write with exemplars and native
histograms, remote read with the samples' own bits."""
import struct, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "peers"))
import harness
from harness import Failure, Process, check, field, http_request, snappy, varint

PROMETHEUS, PROMTOOL = "/usr/bin/prometheus", "/usr/bin/promtool"
STALE = 0x7FF0000000000002
CONFIG = "storage:\n  tsdb:\n    out_of_order_time_window: {window}\n"


def bits_of(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def float_of(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


class Prometheus(Process):
    def __init__(self, folder, data, window="4h", compress=True):
        super().__init__("prometheus", folder, harness.free_port())
        self.data_dir, self.window, self.compress = Path(data), window, compress

    def command(self):
        config = self.folder / "prometheus.yml"
        config.write_text(CONFIG.format(window=self.window))
        return [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={self.data_dir}",
                f"--web.listen-address={harness.HOST}:{self.port}", "--web.enable-remote-write-receiver", "--web.enable-admin-api",
                "--storage.tsdb.retention.time=100y", "--enable-feature=exemplar-storage,native-histograms",
                "--storage.tsdb.wal-compression" if self.compress else "--no-storage.tsdb.wal-compression"]

    def send(self, series):
        """[(labels, [(ms, bits)], [(labels, ms, bits)] or (), [encoded histograms])]"""
        body = b"".join(field(1, encode_series(*s)) for s in series)
        answer = http_request(self.port, "POST", "/api/v1/write", snappy(body), harness.WRITE_HEADERS, 60)
        check(answer.code == 204, "remote write:", answer)

    def delete(self, match, start_ms, end_ms):
        answer = self.api("/api/v1/admin/tsdb/delete_series", _match=match, start=f"{start_ms / 1000:.3f}", end=f"{end_ms / 1000:.3f}")
        check(answer.code == 204, "delete:", answer)

    def read(self, start_ms, end_ms):
        """{labels: {ms: bits}} of all floats, by remote read"""
        matcher = field(3, b"\x08\x02" + field(2, b"__name__") + field(3, b".+"))
        query = b"\x08" + varint(start_ms) + b"\x10" + varint(end_ms) + matcher
        answer = http_request(self.port, "POST", "/api/v1/read", snappy(field(1, query)),
                              {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                               "X-Prometheus-Remote-Read-Version": "0.1.0"}, 60)
        check(answer.code == 200, "remote read:", answer)
        found = {}
        for _, result in fields_of(unsnappy(answer.body)):
            for _, series in fields_of(result):
                labels, samples = [], {}
                for number, part in fields_of(series):
                    if number == 1:
                        pair = dict(fields_of(part))
                        labels.append((pair[1].decode(), pair.get(2, b"").decode()))
                    elif number == 2:
                        sample = dict(fields_of(part))
                        samples[signed(sample.get(2, 0))] = sample.get(1, 0)
                found[tuple(labels)] = samples
        self.tell_zeros(found)
        return {labels: samples for labels, samples in found.items() if samples}

    def histograms(self, start_ms, end_ms, step_ms):
        """{labels: {ms: (count, sum)}} where there are histograms: 2.42 has none in remote read. The times are those of a range
        selector, which shows one histogram for all of them, stale markers too; the values those of steps."""
        times, values = {}, {}
        for row in self.query('{__name__=~"latency_.*"}[10000h]', end_ms / 1000)["result"]:
            times[tuple(sorted(row["metric"].items()))] = {round(t * 1000) for t, _ in row["histograms"]}
        for row in self.query_range('{__name__=~"latency_.*"}', start_ms / 1000, end_ms / 1000, step_ms / 1000)["result"]:
            values[tuple(sorted(row["metric"].items()))] = {round(t * 1000): (float(h["count"]), float(h["sum"])) for t, h in row["histograms"]}
        return {of: {ms: values[of].get(ms, "stale") for ms in all_times} for of, all_times in times.items()}

    def tell_zeros(self, found):
        """The protocol leaves out a value of 0, and -0 too; the query API prints them."""
        for name in {dict(labels)["__name__"] for labels, samples in found.items() if 0 in samples.values()}:
            for row in self.query(name + "[10000h]", max(max(s, default=0) for s in found.values()) / 1000)["result"]:
                samples = found[tuple(sorted(row["metric"].items()))]
                for seconds, text in row["values"]:
                    if text == "-0":
                        check(samples[round(seconds * 1000)] == 0, "no zero at", seconds)
                        samples[round(seconds * 1000)] = 1 << 63


def encode_series(labels, samples, exemplars=(), histograms=()):
    return harness.encode_labels(dict(labels)) + b"".join(
        field(2, b"\x09" + struct.pack("<Q", bits) + b"\x10" + varint(ms)) for ms, bits in samples) + b"".join(
        field(3, harness.encode_labels(dict(of)) + b"\x11" + struct.pack("<Q", bits) + b"\x18" + varint(ms))
        for of, ms, bits in exemplars) + b"".join(field(4, h) for h in histograms)


class Histograms:
    """A series of native histograms whose buckets grow: positive and negative ones, spans with gaps that appear later, resets,
    now and then another schema, stale markers; integer, float or gauge."""

    def __init__(self, rng, kind):
        self.rng, self.kind, self.schema, self.buckets = rng, kind, 1, {}
        self.sent = {}  # ms: "stale", or what histogram_said returns

    def next(self, ms):
        rng = self.rng
        # remote write has a stale marker of integers alone, and of both kinds in one request a restart loses the earlier
        if self.kind != "float" and rng.random() < 0.02:
            self.sent[ms] = "stale"
            return b"\x19" + struct.pack("<Q", STALE) + b"\x78" + varint(ms)
        if rng.random() < 0.02:
            self.buckets = {}
            self.schema = rng.choice([-2, 0, 1, 3])
        for _ in range(rng.randrange(4)):
            at = (rng.choice([1, 1, -1]), rng.choice([-4, -3, 0, 1, 2, 9]))
            self.buckets[at] = self.buckets.get(at, 0) + rng.randrange(1000) + (rng.random() if self.kind == "float" else 0)
        zeros = self.buckets.get((0, 0), 0) + 1 + rng.randrange(3)  # with none Prometheus takes it for integers
        self.buckets[(0, 0)] = zeros
        total = sum(self.buckets.values())
        is_float, observed, threshold = self.kind == "float", rng.gauss(0, 9), rng.choice([0.5, 0.001]) if rng.random() < 0.01 else 2**-128
        self.sent[ms] = ("float" if is_float else "int", self.kind == "gauge", self.schema, threshold, zeros, total, observed,
                         {at: n for at, n in self.buckets.items() if at[0] and n})
        out = (b"\x11" + struct.pack("<d", total) if is_float else b"\x08" + varint(total)) + b"\x19" + struct.pack("<d", observed)
        out += b"\x20" + varint(zigzag(self.schema)) + b"\x29" + struct.pack("<d", threshold)
        out += b"\x39" + struct.pack("<d", zeros) if is_float else b"\x30" + varint(zeros)
        for sign, spans, values in ((-1, 8, 9), (1, 11, 12)):
            last = index = 0
            packed = b""
            for bucket in sorted(at for s, at in self.buckets if s == sign):
                count = self.buckets[(sign, bucket)]
                out += field(spans, b"\x08" + varint(zigzag(bucket - index)) + b"\x10\x01")
                packed += struct.pack("<d", count) if is_float else varint(zigzag(count - last))
                last, index = count, bucket + 1
            out += field(values + is_float, packed) if packed else b""
        return out + (b"\x70\x03" if self.kind == "gauge" else b"") + b"\x78" + varint(ms)


def histogram_said(text):
    """As Histograms.sent has it, of what import_dump says: chunks have spans for all of their samples, with buckets of 0."""
    kind, gauge, schema, threshold, zeros, count, total, *sides = text.split(" ")
    if int(total, 16) == STALE:
        return "stale"
    number = (lambda t: float_of(int(t, 16))) if kind == "float" else int
    buckets = {}
    for sign, (spans, values) in ((1, sides[:2]), (-1, sides[2:])):
        values, index, last = [number(v) for v in values.split(",")[:-1]], 0, 0
        for span in spans.split(",")[:-1]:
            offset, length = span.split("+")
            index += int(offset)
            for _ in range(int(length)):
                value = values.pop(0)
                last = value if kind == "float" else last + value
                if last:
                    buckets[(sign, index)] = last
                index += 1
        check(not values, "more buckets than spans say:", text)
    return (kind, gauge == "gauge", int(schema), float_of(int(threshold, 16)), number(zeros), number(count), float_of(int(total, 16)), buckets)


def zigzag(n):
    return n << 1 ^ n >> 63 & (1 << 64) - 1


def unzigzag(n):
    return n >> 1 ^ -(n & 1)


def signed(n):
    return n - (1 << 64) if n >= 1 << 63 else n


def fields_of(data):
    at = 0
    while at < len(data):
        key, at = take_varint(data, at)
        if key & 7 == 0:
            value, at = take_varint(data, at)
        elif key & 7 == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        elif key & 7 == 2:
            size, at = take_varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            raise Failure(f"wire type {key & 7}")
        yield key >> 3, value


def take_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def unsnappy(data):
    """The block format of snappy, from its description."""
    size, at = take_varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            n = tag >> 2
            if n >= 60:
                wide = n - 59
                n = int.from_bytes(data[at:at + wide], "little")
                at += wide
            out += data[at:at + n + 1]
            at += n + 1
            continue
        if tag & 3 == 1:
            n, back = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at]
            at += 1
        elif tag & 3 == 2:
            n, back = (tag >> 2) + 1, data[at] | data[at + 1] << 8
            at += 2
        else:
            n, back = (tag >> 2) + 1, int.from_bytes(data[at:at + 4], "little")
            at += 4
        while n > 0:
            piece = out[-back:len(out) - back + n] if back > n else out[-back:]
            out += piece
            n -= len(piece)
    check(len(out) == size, "snappy: another length")
    return bytes(out)


class Dump:
    """What import_dump says of a directory."""

    def __init__(self, text):
        self.series, self.exemplars, self.order, self.counts, self.range = {}, {}, [], {}, None
        for line in text.splitlines():
            kind, *rest = line.split(" ")
            if kind == "series":
                raw = bytes.fromhex(rest[1])
                pairs = [dict(fields_of(part)) for _, part in fields_of(raw)]
                labels = tuple((p[1].decode(), p[2].decode()) for p in pairs)
                check(labels not in self.series, "a series twice:", labels)
                self.order.append((int(rest[0]), raw))
                samples = self.series[labels] = {}
                exemplars = self.exemplars[labels] = []
                last = None
            elif kind == "sample":
                ms = int(rest[0])
                check(last is None or ms > last, "times of", labels, "do not ascend at", ms)
                last = ms
                samples[ms] = int(rest[1], 16)
            elif kind == "histogram":
                ms = int(rest[0])
                check(last is None or ms > last, "times of", labels, "do not ascend at", ms)
                last = ms
                samples[ms] = " ".join(rest[1:])
            elif kind == "exemplar":
                pairs = [dict(fields_of(part)) for _, part in fields_of(bytes.fromhex(rest[2]))]
                exemplars.append(({p[1].decode(): p[2].decode() for p in pairs}, int(rest[0]), int(rest[1], 16)))
            elif kind == "count":
                self.counts[rest[0]] = int(rest[1])
            elif kind == "range":
                self.range = (int(rest[0]), int(rest[1]))
        check(self.order == sorted(self.order), "series are not in canonical order")

    def floats(self):
        found = {labels: {ms: v for ms, v in samples.items() if not isinstance(v, str)} for labels, samples in self.series.items()}
        return {labels: samples for labels, samples in found.items() if samples}

    def histograms(self):
        found = {labels: {ms: histogram_said(v) for ms, v in samples.items() if isinstance(v, str)}
                 for labels, samples in self.series.items()}
        return {labels: samples for labels, samples in found.items() if samples}


def compare(got, want, what, may_differ=lambda labels, ms: False, may_be_more=lambda labels, ms, bits: False):
    check(set(got) == set(want), what, ": series only here:", list(set(got) - set(want))[:3], "only there:",
          list(set(want) - set(got))[:3])
    samples = 0
    for labels, there in want.items():
        here = got[labels]
        only = sorted(ms for ms in set(here) ^ set(there) if ms in there or not may_be_more(labels, ms, here[ms]))
        check(not only, what, labels, "samples on one side only:", len(only), only[:4], "of", len(there),
              "here" if only and only[0] in here else "there")
        for ms, bits in there.items():
            check(here[ms] == bits or may_differ(labels, ms), what, labels, ms, f"{here[ms]:016x} here, {bits:016x} there")
        samples += len(there)
    return len(want), samples


def values_of(kind, rng, count):
    """Bits of a kind of values."""
    if kind == "counter":
        out, v = [], 0
        for _ in range(count):
            v = 0 if rng.random() < 0.01 else v + rng.randrange(100)
            out.append(bits_of(float(v)))
        return out
    if kind == "gauge":
        return [bits_of(rng.gauss(0, 1e3)) for _ in range(count)]
    if kind == "constant":
        return [bits_of(42.5)] * count
    if kind == "odd":
        odd = [STALE, 0x7FF8000000000001, 0x7FF0000000000000, 0xFFF0000000000000, 0, 1 << 63, 1, 0x7FEFFFFFFFFFFFFF, bits_of(0.1)]
        return [rng.choice(odd) for _ in range(count)]
    return [rng.getrandbits(64) for _ in range(count)]  # any bits, among them NaNs


def make_labels(rng):
    """[(labels, kind, distance in ms or None: irregular)]"""
    out = []
    for i in range(8):
        out.append(((("__name__", "requests_total"), ("code", str(200 + i)), ("instance", f"host-{i % 3}:9100")), "counter", 15000))
        out.append(((("__name__", "temperature"), ("room", "\u00e9tage " + chr(0x4E00 + i)), ("z", "x" * (1 + i * 60))), "gauge", 15000))
    for i, kind in enumerate(["constant", "odd", "bits", "gauge", "counter"]):
        out.append(((("__name__", f"{kind}_irregular"), ("a", "1")), kind, None))
        out.append(((("__name__", f"{kind}_slow"), ("instance", "a"), ("le", "+Inf")), kind, 60000))
    rng.shuffle(out)
    return [(tuple(sorted(labels)), kind, distance) for labels, kind, distance in out]
