#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Remote write 1.0 over HTTP against the program itself: each code and text, limits, bodies decoded on another core, samples
read back over the query API. Debian's Prometheus, where there is one, is asked the same about malformed bodies.

Usage: remote_write_http.py CAIRN [PROMETHEUS]. Protobuf and snappy are written by hand, so that nothing here shares code with
what is tested."""
import http.client, json, os, re, shutil, signal, socket, struct, subprocess, sys, tempfile, threading, time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
from harness import Failure, free_port, wait_for  # noqa: E402

DEADLINE_S = 30


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def label(name, value):
    return field(1, field(1, name.encode()) + field(2, value.encode()))


def sample(time_ms, value):
    return field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms & (2**64 - 1)))


def series(name, labels, samples):
    return field(1, b"".join(label(k, v) for k, v in sorted(dict(labels, __name__=name).items()))
                 + b"".join(sample(t, v) for t, v in samples))


def snappy(data):
    """Literals only (https://github.com/google/snappy/blob/main/format_description.txt)."""
    out = varint(len(data))
    for at in range(0, len(data), 65536):
        piece = data[at:at + 65536]
        out += b"\xf4" + struct.pack("<H", len(piece) - 1) + piece
    return out


class Failed(Exception):
    pass


def check(ok, what):
    if not ok:
        raise Failed(what)


class Server:
    """cairn on a port of its own choice."""

    def __init__(self, program, directory, *flags):
        self.process = subprocess.Popen(
            [os.path.abspath(program), "--web.listen-address=127.0.0.1:0", "--storage.tsdb.path=" + os.path.join(directory, "data"), *flags],
            stderr=subprocess.PIPE, cwd=directory, text=True)
        self.port = None
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            m = re.search(r"ready to receive web requests.* port=(\d+)", line)
            if m:
                self.port = int(m.group(1))
                break
        check(self.port, "did not start: " + "".join(self.log))
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        try:
            wait_for("ready", self.is_ready, DEADLINE_S)  # it founds a cluster of one first
        except Failure as e:
            raise Failed(f"{e}: " + "".join(self.log))

    def is_ready(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        c.request("GET", "/-/ready")
        code = c.getresponse().status
        c.close()
        return code == 200

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        check(code == 0, f"ended with {code}: " + "".join(self.log[-20:]))


def request(port, body, headers=None, path="/api/v1/write"):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    h = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"} if headers is None else headers
    c.request("POST", path, body, h)
    r = c.getresponse()
    text = r.read().decode()
    c.close()
    return r.status, text, r.headers


def query(port, text, at_ms):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    c.request("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": text, "time": at_ms / 1000}))
    r = c.getresponse()
    reply = json.loads(r.read())
    c.close()
    check(r.status == 200, f"{text}: {reply}")
    return {tuple(sorted(s["metric"].items())): s["value"][1] for s in reply["data"]["result"]}


def metric(port, name):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    c.request("GET", "/metrics")
    text = c.getresponse().read().decode()
    c.close()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.split("\n") if line.startswith((name + " ", name + "{")))


PROTO = "application/x-protobuf"
V2 = "io.prometheus.write.v2.Request"


def header_cases(body):
    """(headers, code, part of the text); texts as in client_golang's exp/api/remote."""
    return [
        ({}, 204, ""),
        ({"Content-Type": PROTO}, 204, ""),
        ({"Content-Type": PROTO + ";proto=prometheus.WriteRequest", "Content-Encoding": "snappy"}, 204, ""),
        ({"Content-Type": PROTO + "; proto=prometheus.WriteRequest"}, 204, ""),
        ({"Content-Type": PROTO + ";charset=utf-8"}, 204, ""),
        ({"Content-Type": PROTO + ";proto=" + V2}, 204, ""),  # no symbols, no series: nothing
        ({"Content-Type": PROTO + ";proto=yolo"}, 415,
         "got application/x-protobuf;proto=yolo content type; unknown type for remote write protobuf message yolo, supported: "),
        ({"Content-Type": "text/plain; charset=utf-8"}, 415,
         "expected application/x-protobuf as the first (media) part, got text/plain; charset=utf-8 content-type"),
        ({"Content-Type": "application/json"}, 415, "expected application/x-protobuf"),
        ({"Content-Type": PROTO + ";proto"}, 415, "expected parameters to be key-values, got proto in "),
        ({"Content-Type": PROTO + ";a=b=c"}, 415, "expected parameters to be key-values, got a=b=c in "),
        ({"Content-Type": PROTO + ";"}, 415, "expected parameters to be key-values"),
        ({"Content-Encoding": "zstd"}, 415,
         "zstd encoding (compression) is not accepted by this server; only snappy is acceptable"),
        ({"Content-Encoding": "gzip"}, 415, "gzip encoding (compression) is not accepted"),
        ({"Content-Type": "x" * 5000}, 415, "expected application/x-protobuf"),
    ]


def body_cases(now):
    """(name, body, code, part of the text, whether Prometheus is asked too)."""
    up = label("__name__", "up")
    one = sample(now, 1)
    good = series("good", {"job": "x"}, [(now, 1)])
    return [
        ("empty message", snappy(b""), 204, "", True),
        ("empty body", b"", 400, "snappy: corrupt input", True),
        ("cut snappy", snappy(good)[:-5], 400, "snappy: corrupt input", True),
        ("length without end", b"\xff\xff\xff\xff\xff\xff", 400, "snappy: corrupt input", True),
        ("snappy of another length", varint(1000) + snappy(good)[len(varint(len(good))):], 400, "snappy: corrupt input", True),
        ("copy before the start", b"\x0a\x01\x10", 400, "snappy: corrupt input", True),
        ("framed snappy", b"\xff\x06\x00\x00sNaPpY" + b"x" * 30, 400, "snappy: ", True),
        ("declares 32 MiB and a byte", varint(32 * 2**20 + 1) + b"\x00a", 400, "decoded block is too large", False),
        ("declares 4 GiB", varint(2**32 - 1) + b"\x00a", 400, "decoded block is too large", False),
        ("declares more than 4 GiB", varint(2**32) + b"\x00a", 400, "snappy: corrupt input", True),
        ("text", snappy(b"hello world"), 400, "malformed ", True),
        ("cut message", snappy(good[:-3]), 400, "malformed request at byte 0", True),
        ("label of 1 GB", snappy(field(1, b"\x0a" + varint(2**30) + b"abc")), 400, "malformed series at byte 2", True),
        ("length of 2^63", snappy(b"\x0a" + varint(2**63)), 400, "malformed request at byte 0", True),
        ("field number 0", snappy(b"\x02\x00"), 400, "malformed tag at byte 0", True),
        ("sample with a foreign type", snappy(field(1, up + field(2, b"\x08\x01"))), 400, "malformed sample at byte ", True),
        ("unknown fields", snappy(field(1, label("__name__", "unknown_fields") + one + field(9, b"x")) + b"\x78\x05"), 204, "",
         True),
        ("metadata only", snappy(field(3, b"\x08\x01" + field(2, b"up") + field(4, b"help"))), 204, "", True),
        ("no name", snappy(field(1, label("job", "x") + one)), 204, "", True),
        ("invalid UTF-8", snappy(field(1, up + field(1, field(1, b"a") + field(2, b"\xff")) + one)), 204, "", True),
        ("repeated name", snappy(field(1, up + label("a", "1") + label("a", "2") + one)), 204, "", True),
        ("histogram", snappy(series("beside_histogram", {}, [(now, 7)]) + field(1, up + field(4, b"\x08\x05"))), 400,
         "0 observations found in buckets, but the Count field is 5: histogram's observation count should equal the number of "
         "observations found in the buckets (in absence of NaN)\n", False),
        ("label of 70 KB", snappy(series("long", {"v": "x" * 70000}, [(now, 1)])), 413, "label of 70001 bytes", False),
        ("2^20 + 1 samples", snappy(field(1, up + field(2, b"") * (2**20 + 1))), 413, "more than 1048576 samples", False),
        ("body over 32 MiB", b"\x00" * (32 * 2**20 + 1), 413, "", False),
    ]


def check_headers(port, now):
    body = snappy(series("headers", {}, [(now, 1)]))
    for headers, code, text in header_cases(body):
        got, said, _ = request(port, body, headers)
        check(got == code and text in said, f"{headers}: {got} {said}")
        check("\n" == said[-1:] or got == 204 and said == "", f"{headers}: {said!r}")


def check_bodies(port, now, oracle_port):
    for name, body, code, text, asked in body_cases(now):
        got, said, headers = request(port, body)
        check(got == code and text in said, f"{name}: {got} {said}")
        check("X-Prometheus-Remote-Write-Samples-Written" not in headers, f"{name}: a header of 2.0")
        if asked and oracle_port:
            theirs, said, _ = request(oracle_port, body)
            # 2.42 knew neither UTF-8 names nor skipped series: it answered those with 500 or 400
            check(theirs == code or name in ("no name", "invalid UTF-8", "repeated name") and theirs >= 400,
                  f"{name}: Prometheus says {theirs} {said}, we {code}")
    check(query(port, "beside_histogram", now) == {(("__name__", "beside_histogram"),): "7"}, "what is beside a histogram is kept")
    check(metric(port, "prometheus_api_remote_write_invalid_labels_samples_total") == 3, "invalid labels are counted")


class Request2:
    """io.prometheus.write.v2.Request; symbols behind the series, which may be."""

    def __init__(self):
        self.symbols, self.series = {"": 0}, b""

    def ref(self, text):
        return self.symbols.setdefault(text, len(self.symbols))

    def refs(self, labels):
        return field(1, b"".join(varint(self.ref(t)) for kv in labels for t in kv))

    def add(self, labels, *items, refs=None):
        self.series += field(5, (self.refs(labels) if refs is None else field(1, b"".join(varint(r) for r in refs)))
                             + b"".join(items))

    def bytes(self):
        return self.series + b"".join(field(4, s.encode()) for s in self.symbols)


def sample2(time_ms, value, start_ms=0):
    return field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms) + (b"\x18" + varint(start_ms) if start_ms else b""))


def histogram2(time_ms, count, schema=0, start_ms=0):
    """`count` observations in one bucket."""
    return field(3, b"\x08" + varint(count) + b"\x20" + varint(schema << 1) + field(11, b"\x10\x01")
                 + field(12, varint(count << 1)) + b"\x78" + varint(time_ms) + (b"\x88\x01" + varint(start_ms) if start_ms else b""))


MISMATCH = ("histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)")


def check_v2(port, now):
    def send(r):
        code, text, headers = request(port, snappy(r.bytes()), {"Content-Type": PROTO + ";proto=" + V2, "Content-Encoding": "snappy"})
        return code, text, [headers[f"X-Prometheus-Remote-Write-{k}-Written"] for k in ("Samples", "Histograms", "Exemplars")]
    name = "__name__"
    r = Request2()
    exemplar = field(4, field(1, varint(r.ref("trace_id")) + varint(r.ref("abc"))) + b"\x11" + struct.pack("<d", 1) + b"\x18" + varint(now))
    r.add([(name, "v2_floats"), ("a", "b")], sample2(now - 1, 1, now - 5000), sample2(now, 2, now - 5000), exemplar,
          field(5, b"\x08\x01\x18\x00"))
    r.add([(name, "v2_histograms"), ("a", "b")], histogram2(now, 7, start_ms=now - 9000), histogram2(now + 1, 9))
    check(send(r) == (204, "", ["2", "2", "1"]), f"2.0: {send(r)}")
    check(send(r) == (204, "", ["2", "2", "0"]), "2.0, sent again: held is as good as written; an exemplar is kept once")
    check(query(port, "v2_floats", now) == {((name, "v2_floats"), ("a", "b")): "2"}, "2.0: floats")
    check(query(port, "count_over_time(v2_histograms[1m])", now + 1) == {(("a", "b"),): "2"}, "2.0: histograms")
    # the sentences of Prometheus 3.14's write_handler.go; what is good is kept
    cases = [
        (lambda r: r.add([], sample2(now, 1), refs=[1, 2, 3]), "parsing labels for series [1 2 3]: invalid labelRefs length 3"),
        (lambda r: r.add([], sample2(now, 1), refs=[1, 999]),
         "parsing labels for series [1 999]: labelRefs 1 (name) = 999 (value) outside of symbols table (size 4)"),
        (lambda r: r.add([("a", "b")], sample2(now, 1)), 'invalid metric name or labels, got {a="b"}'),
        (lambda r: r.add([(name, "x"), ("z", "1"), ("z", "2")], sample2(now, 1)),
         'invalid labels for series, labels {__name__="x", z="1", z="2"}, duplicated label z'),
        (lambda r: r.add([(name, "x")]), 'TimeSeries must contain at least one sample or histogram for series {__name__="x"}'),
        (lambda r: r.add([(name, "v2_h")], field(3, b"\x08\x05\x78" + varint(now))),
         "0 observations found in buckets, but the Count field is 5: " + MISMATCH + ' for series {__name__="v2_h"}'),
        (lambda r: r.add([(name, "v2_h")], histogram2(now, 3, schema=60)),
         "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, "
         'got schema 60 for series {__name__="v2_h"}'),
        (lambda r: r.add([(name, "v2_histograms"), ("a", "b")], histogram2(now + 1, 10)),
         'duplicate sample for timestamp for series {__name__="v2_histograms", a="b"}'),
        (lambda r: r.add([(name, "v2_histograms"), ("a", "b")], sample2(now + 1, 10)),
         f"duplicate sample for timestamp {now + 1}; overrides not allowed: existing is a histogram, new value 10 for series "
         '{__name__="v2_histograms", a="b"}'),
        (lambda r: r.add([(name, "v2_histograms"), ("a", "b")], histogram2(now - 7200000, 10)),
         'too old sample for series {__name__="v2_histograms", a="b"}'),
    ]
    for i, (add, text) in enumerate(cases):
        r = Request2()
        r.add([(name, "v2_good"), ("n", str(i))], sample2(now, i))
        add(r)
        r.add([(name, "v2_good_h"), ("n", str(i))], histogram2(now, 3, schema=10))
        r.symbols.pop("padding", None)
        want = text.replace("(size 4)", f"(size {len(r.symbols)})")
        got = send(r)
        check(got == (400, want + "\n", ["1", "1", "0"]), f"{want}: {got}")
    check(query(port, "count(v2_good)", now) == {(): str(len(cases))}, "2.0: what is beside refused series is kept")
    check(query(port, "count(count_over_time(v2_good_h[1m]))", now) == {(): str(len(cases))}, "and finer histograms, made coarser")
    r = Request2()
    r.add([("a", "b")], sample2(now, 1))
    r.add([(name, "v2_histograms"), ("a", "b")], histogram2(now + 1, 10))
    check(send(r) == (400, 'invalid metric name or labels, got {a="b"}\nduplicate sample for timestamp for series '
                      '{__name__="v2_histograms", a="b"}\n', ["0", "0", "0"]), f"two sentences: {send(r)}")
    code, _, headers = request(port, b"\xff", {"Content-Type": PROTO + ";proto=" + V2})
    check(code == 400 and headers["X-Prometheus-Remote-Write-Histograms-Written"] == "0", "2.0: counters also of what is malformed")


def check_refusals(port, now):
    def write(*rows):
        return request(port, snappy(b"".join(series(n, {"k": "v"}, s) for n, s in rows)))
    check(write(("order", [(now, 1)]))[0] == 204, "first")
    check(write(("order", [(now, 1)]))[0] == 204, "the same once more")
    code, text, _ = write(("kept_a", [(now, 1)]), ("order", [(now, 2)]), ("kept_b", [(now, 3)]))
    check(code == 400 and text ==
          f"duplicate sample for timestamp {now}; overrides not allowed: existing 1, new value 2\n", f"{code} {text}")
    check(len(query(port, '{__name__=~"kept_.",k="v"}', now)) == 2, "what is beside a refused sample is kept")
    code, text, _ = write(("future", [(now + 3600000, 1)]))
    check(code == 400 and "out of bounds" in text, f"future: {code} {text}")
    check(write(("near_future", [(now + 300000, 1)]))[0] == 204, "five minutes ahead")
    check(write(("order", [(now - 60000, 5)]))[0] == 204, "late within the window")
    code, text, _ = write(("order", [(now - 7200000, 5)]))
    check(code == 400 and text == "too old sample\n", f"too old: {code} {text}")


def check_large(port, now):
    """Bodies over 16 KB, from several connections at once, are decoded by whichever core is free."""
    problems = []

    def writer(number):
        for batch in range(10):
            body = b"".join(series("large", {"w": str(number), "b": str(batch), "i": str(i)}, [(now, i)]) for i in range(500))
            got, said, _ = request(port, snappy(body))
            if got != 204:
                problems.append(f"{got} {said}")
    threads = [threading.Thread(target=writer, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not problems, problems[:3])
    check(query(port, "count(large)", now) == {(): "40000"}, query(port, "count(large)", now))
    check(query(port, "sum(large)", now) == {(): str(80 * 499 * 250)}, query(port, "sum(large)", now))
    # one label set, however it is ordered
    unsorted = field(1, label("z", "1") + label("e", "") + label("__name__", "shuffled") + sample(now, 1))
    ordered = series("shuffled", {"z": "1"}, [(now + 1000, 2)])
    check(request(port, snappy(unsorted + ordered))[0] == 204, "unsorted")
    check(query(port, "shuffled", now + 2000) == {(("__name__", "shuffled"), ("z", "1")): "2"}, "one series")


def check_gone_client(port, now):
    """A client that goes away in the middle takes nothing with it."""
    for number in range(20):
        body = snappy(b"".join(series("gone", {"n": str(number), "i": str(i)}, [(now, 1)]) for i in range(300)))
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        s.sendall(body if number % 2 else body[:len(body) // 2])
        s.close()
    check(request(port, snappy(series("after", {}, [(now, 1)])))[0] == 204, "after clients went away")
    wait_for("whole requests are written all the same", lambda: query(port, "count(gone)", now) == {(): "3000"}, DEADLINE_S)


def start_oracle(program, directory):
    if not program:
        print("no prometheus: not compared")
        return None, None
    port = free_port()
    open(os.path.join(directory, "empty.yml"), "w").close()
    p = subprocess.Popen([program, "--config.file=" + os.path.join(directory, "empty.yml"),
                          "--storage.tsdb.path=" + os.path.join(directory, "oracle"), "--web.enable-remote-write-receiver",
                          f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_ready():
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        c.request("GET", "/-/ready")
        return c.getresponse().status == 200
    wait_for("prometheus is ready, or has ended", lambda: p.poll() is not None or is_ready(), DEADLINE_S)
    check(p.poll() is None, "prometheus did not start")
    return p, port


def main():
    directory = tempfile.mkdtemp(prefix="remote-write-")
    oracle = server = None
    try:
        oracle, oracle_port = start_oracle(sys.argv[2] if len(sys.argv) > 2 else None, directory)
        server = Server(sys.argv[1], directory, "--node.cores=2")
        now = int(time.time() * 1000)
        check_headers(server.port, now)
        check_bodies(server.port, now, oracle_port)
        check_refusals(server.port, now)
        check_v2(server.port, now)
        check_large(server.port, now)
        check_gone_client(server.port, now)
        decoded = [metric(server.port, f'cairn_remote_write_decoded_total{{core="{c}"}}') for c in ("own", "other")]
        print("requests decoded on their own core and on another:", decoded)
        server.stop()
        server = None
        print("ok")
    except Failed as e:
        print("FAILED:", e)
        return 1
    finally:
        for p in (oracle, server and server.process):
            if p is not None:
                p.kill()
                p.wait()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
