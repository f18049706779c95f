#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What nobody should send, over HTTP to one node: it refuses with a sentence, answers right to others at the same time, and has
afterwards the memory and descriptors that it had before."""
import gzip, resource, select, zlib
from concurrent.futures import ThreadPoolExecutor

from harness import *

MEMORY_LIMIT, CONNECTIONS, READ_TIMEOUT_S = 1 << 30, 512, 4
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SANE = {"__name__": "sane"}


class Watch:
    """Asks the node for its health and for a known answer, all the time, beside the abuse."""

    def __init__(self, node, at):
        self.node, self.at, self.over, self.failure = node, at, False, None
        self.asked, self.slowest = 0, 0.0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.over:
                began = time.monotonic()
                a = self.node.get("/-/healthy", timeout=30)
                check(a.code == 200 and "Healthy" in a.text, "/-/healthy:", a)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.asked += 1
                threading.Event().wait(0.02)
        except BaseException as e:
            self.failure = e

    def check(self, what):
        if self.failure:
            raise Failure(f"during {what}: {self.failure!r}")
        check_sane(self.node, self.at)
        say(f"{what}: {self.node.rss_bytes() >> 20} MB, at most {self.node.peak_rss_bytes() >> 20} MB, {self.node.fds_count()} "
            f"descriptors, health {self.asked} times, slowest {self.slowest * 1000:.0f} ms")


def check_sane(node, at):
    check(node.alive(), "the node died:", node.proc.returncode)
    rows = node.query("sum(sane)", at)["result"]
    check_eq([r["value"][1] for r in rows], ["4950"], "the known answer")


def post_write(node, body, timeout=60, **headers):
    return http_request(node.port, "POST", "/api/v1/write", body, {**WRITE_HEADERS, **headers}, timeout)


def copies(first, total):
    """Snappy that makes `first` and then repeats its last byte up to total bytes: 3 bytes for each 64."""
    out = bytearray(varint(total) + bytes([63 << 2]) + struct.pack("<I", len(first) - 1) + first)
    out += b"\xfe\x01\x00" * ((total - len(first)) // 64)
    rest = (total - len(first)) % 64
    return bytes(out + (bytes([(rest - 1) << 2 | 2]) + b"\x01\x00" if rest else b""))


def writes(node, rng, now):
    parts = [encode_series({"__name__": "victim", "i": str(i), "text": "x" * 50}, [(now, 1.0), (now + 1, 2.0)]) for i in range(30)]
    good, ends = b"".join(parts), {sum(map(len, parts[:i])) for i in range(30)}
    packed = snappy(good)
    check_eq(post_write(node, packed).code, 204, "the body that is then damaged")
    with ThreadPoolExecutor(4) as pool:
        for a in pool.map(lambda n: post_write(node, packed[:n]), [0, *range(1, len(packed) - 1, 37), len(packed) - 1]):
            check(a.code == 400 and a.text.strip(), "truncated snappy:", a)
        for n, a in zip(range(1, len(good), 41), pool.map(lambda n: post_write(node, snappy(good[:n])), range(1, len(good), 41))):
            check_eq(a.code, 204 if n in ends else 400, f"truncated message of {n}: {a}")

        def flipped(k):
            body = bytearray(good)
            for _ in range(1 + k % 3):
                body[k * 7919 % len(body)] ^= 1 << k % 8
            return post_write(node, snappy(bytes(body)))
        for a in pool.map(flipped, range(400)):
            check(a.code in (204, 400, 413), "flipped bits:", a)
        for a in pool.map(lambda k: post_write(node, snappy(random.Random(k).randbytes(1 + k * 13 % 5000))), range(200)):
            check(a.code in (204, 400), "random bytes:", a)
    say("damaged bodies refused")

    one = encode_series
    for what, codes, body in [
        ("4 GB declared", (400, 413), b"\xff\xff\xff\xff\x0f" + b"\0" * 20),
        ("length of 10 bytes", (400,), b"\xff" * 9 + b"\x01" + b"\0" * 20),
        ("label of 1 GB claimed", (400,), snappy(field(1, b"\x0a" + varint(1 << 30) + b"\x0a" + varint((1 << 30) - 9) + b"x" * 100))),
        ("series of 2^63 bytes claimed", (400,), snappy(b"\x0a" + b"\xff" * 8 + b"\x7f" + b"x" * 100)),
        ("label of 16 MB", (400, 413), snappy(one({"__name__": "big", "l": "x" * (16 << 20)}, [(now, 1.0)]))),
        ("name of 16 MB", (400, 413), snappy(one({"__name__": "b" * (16 << 20)}, [(now, 1.0)]))),
        ("200,000 labels", (400, 413), snappy(one({"__name__": "big", **{f"l{i}": "v" for i in range(200_000)}}, [(now, 1.0)]))),
        ("a group that never ends", (400,), snappy(b"\x0b" * 100_000)),
        ("field 0", (400,), snappy(b"\x02\x00" * 1000)),
        ("bad UTF-8", (204, 400), snappy(field(1, field(1, field(1, b"__name__") + field(2, b"\xff\xfe")) + b"\x12\x00"))),
        ("no name", (204, 400), snappy(one({"a": "b"}, [(now, 1.0)]))),
        ("no labels", (204, 400), snappy(one({}, [(now, 1.0)]))),
        ("doubled labels", (204, 400), snappy(field(1, encode_labels({"__name__": "dup"}) + encode_labels({"a": "1"}) * 2 + b"\x12\x00"))),
        ("the year 292278994", (400,), snappy(one({"__name__": "far"}, [((1 << 63) - 1, 1.0)]))),
        ("an hour ahead", (400,), snappy(one({"__name__": "far"}, [(now + 3_600_000, 1.0)]))),
        ("16 MB of the same byte", (400, 413), copies(b"\x0a", 16 << 20)),
    ]:
        began = time.monotonic()
        a = post_write(node, body)
        check(a.code in codes, what, a)
        check(a.code == 204 or 0 < len(a.text.strip()) < 700, what, "text:", a)
        check(time.monotonic() - began < 5 * SLOWER, what, "took", time.monotonic() - began)
    for headers in {"Content-Encoding": "gzip"}, {"Content-Encoding": "zstd"}, {"Content-Type": "text/plain"}, \
            {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"}:
        a = post_write(node, packed, **headers)
        check(a.code in (400, 415), headers, a)
    for method in "GET", "PUT", "DELETE":
        check_eq(http_request(node.port, method, "/api/v1/write", None if method == "GET" else packed, WRITE_HEADERS).code, 405, method)
    check_eq(node.query('count({__name__=~"far|big|b+"}) or vector(0)', now / 1000)["result"][0]["value"][1], "0", "refused series")


def bombs(node):
    """What is small on the wire. Four at a time, and more than would fit without limits."""
    inner = field(1, b"\x0a\x0e" + b"\x0a\x08__name__\x12\x02zz")  # then zeros: not a message
    snappy_bomb = copies(inner + b"\0", (32 << 20) - 100)
    check(len(snappy_bomb) < 2 << 20, "bytes of the bomb")
    zeros = zlib.compressobj(9, wbits=31)
    gzip_bomb = b"".join(zeros.compress(b"\0" * (1 << 20)) for _ in range(1024)) + zeros.flush()
    twice = gzip.compress(gzip_bomb)
    with ThreadPoolExecutor(4) as pool:
        for a in pool.map(lambda _: post_write(node, snappy_bomb), range(8)):
            check(a.code in (400, 413, 503), "snappy bomb:", a)
        for body, coding in ((gzip_bomb, "gzip"), (twice, "gzip"), (twice, "gzip, gzip")):
            for path in "/api/v1/query", "/api/v1/series":
                for a in pool.map(lambda _: http_request(node.port, "POST", path, body, {**FORM, "Content-Encoding": coding}), range(4)):
                    check(a.code in (400, 413, 415), "gzip bomb", len(body), coding, a)


def streams(node):
    """1 GB of one label that really comes: cut long before its end."""
    def send(head, chunked):
        with socket.create_connection((HOST, node.port), timeout=30 * SLOWER) as s:
            s.sendall(b"POST /api/v1/write HTTP/1.1\r\nHost: a\r\n" + b"".join(
                f"{k}: {v}\r\n".encode() for k, v in WRITE_HEADERS.items()) + head + b"\r\n")
            piece = b"x" * (1 << 20)
            if chunked:
                piece = b"100000\r\n" + piece + b"\r\n"
            sent, reply, began = 0, b"", time.monotonic()
            while sent < 1 << 30 and not reply:
                s.sendall(piece)
                sent += 1 << 20
                if select.select([s], [], [], 0)[0]:
                    reply = s.recv(200)
            try:  # who sends on is not listened to for long
                while time.monotonic() < began + 10 * SLOWER:
                    s.sendall(piece)
            except OSError:
                return sent, reply
            raise Failure("the connection stays open under a body that nobody wants")
    for head, chunked in (b"Transfer-Encoding: chunked\r\n", True), (b"Content-Length: 1073741824\r\n", False):
        sent, reply = send(head, chunked)
        check(sent < 200 << 20, "it took", sent >> 20, "MB")
        check(reply.startswith(b"HTTP/1.1 413 "), "reply", reply)


def queries(node, at):
    def ask(expr, path="/api/v1/query", **form):
        began = time.monotonic()
        a = node.api(path, query=expr, **(form or {"time": at}))
        took = time.monotonic() - began
        check(took < 15 * SLOWER, expr[:60], "took", took)
        return a

    def bad(a, what, text="", codes=(400, 413, 422)):
        check(a.code in codes and (a.code == 413 or a.json()["status"] == "error"), what, a)
        check(text in a.text, what, "says", a)
        check(len(a.body) < 4000, what, "answers with", len(a.body), "bytes")

    n = 100_000
    for what, expr in [
        ("parentheses", "(" * n + "1" + ")" * n), ("open parentheses", "(" * n), ("closed", ")" * n), ("braces", "{" * n),
        ("brackets", "[" * n), ("signs", "-" * n + "1"), ("functions", "abs(" * n + "sane" + ")" * n), ("sums", "sum(" * n + "sane" + ")" * n),
        ("subqueries", "sane" + "[5m:]" * n), ("powers", "2" + "^2" * n), ("strings", '"' * (n + 1)), ("durations", "sane[" + "1s" * n),
        ("offsets", "sane" + " offset 5m" * n), ("matchers", "{" + "a=\"b\"," * n + "="), ("comments", "#" * n), ("bytes", "\xff" * n),
        ("nothing", ""), ("escapes", '"' + "\\x" * n + '"'), ("by", "sum by (" + "(" * n),
    ]:
        bad(ask(expr), what)
    # long is no crime, so either answer, but soon
    for expr in "1" + "+1" * n, "sane" + " or sane" * 2000, "{" + 'a!="b",' * 900 + '__name__="sane"}', "sum(sane) + " * 300 + "1":
        check(ask(expr).code in (200, 400, 413, 422), expr[:40])

    bad(ask("sane", "/api/v1/query_range", start=0, end=11_001, step=1), "11,001 steps", "exceeded maximum resolution of 11,000 points")
    check_eq(ask("sane", "/api/v1/query_range", start=0, end=11_000, step=1).code, 200, "11,000 steps")
    bad(ask("sane", "/api/v1/query_range", start=at - 10 * 365 * 86400, end=at, step=1), "10 years", "11,000")
    for form in ({"start": at, "end": at - 1, "step": 1}, {"start": 0, "end": 1, "step": 0}, {"start": 0, "end": 1, "step": -1},
                 {"start": "NaN", "end": at, "step": 1}, {"start": 0, "end": "1e400", "step": 1}, {"start": 0, "end": 1, "step": "1e-400"},
                 {"start": "-9223372036854775808", "end": "9223372036854775807", "step": "1000y"}, {"end": 1}, {"start": 0, "end": 1, "step": "x"}):
        bad(ask("sane", "/api/v1/query_range", **form), form)

    rows = ask('count(sane{text=~"(a+)+$"})').json()["data"]["result"]
    check_eq(rows, [], "texts of a's that end with b")
    rows = ask('count(sane{text=~"(a+)+b$"})').json()["data"]["result"]
    check_eq(rows[0]["value"][1], "100", "texts of a's and a b")
    alternation = "|".join(f"word{i}" for i in range(5000))
    check_eq(ask(f'count(sane{{i=~"{alternation}|7|8"}})').json()["data"]["result"][0]["value"][1], "2", "one of 5,002 words")
    check_eq(ask(f'count(sane{{i!~"{alternation}|7|.*9"}})').json()["data"]["result"][0]["value"][1], "89", "none of 5,002 words")
    bad(ask('sane{i=~"((a{1000}){1000}){1000}"}'), "a repetition of 10^9")
    bad(ask('sane{i=~"' + "(" * 50_000 + '"}'), "open groups")
    bad(ask('label_replace(sane, "x", "$1", "i", "(((((((.*){100}){100}){100}){100}")'), "regex of label_replace")
    check(ask('sane{text=~"' + "(a*)*" * 50 + 'c"}').code in (200, 400, 422), "stars of stars")

    # more samples than --query.max-samples and more time than --query.timeout
    for expr in "count_over_time(vector(1)[100y:1ms])", "sum_over_time(sane[100y:1ms])", "quantile_over_time(0.5, sane[10y:1s])":
        bad(ask(expr), expr, codes=(422, 503))
    bad(ask("quantile_over_time(0.5, vector(time())[500h:1s])", "/api/v1/query_range", start=at - 10_000, end=at, step=1), "hours of work",
        codes=(422, 503))
    many = [("match[]", f'sane{{i="{i}"}}') for i in range(9_000)]
    a = http_request(node.port, "POST", "/api/v1/series", urllib.parse.urlencode(many), FORM)
    check(a.code in (200, 400, 413, 422), "9,000 selectors", a)


def clients(node, at):
    """Slow, half-closed, vanishing and deaf ones."""
    def opened():
        return socket.create_connection((HOST, node.port), timeout=60 * SLOWER)

    def closed(s):
        s.setblocking(False)
        try:
            while s.recv(1 << 16):
                pass
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    slow = [opened() for _ in range(60)]
    for i, s in enumerate(slow):
        s.sendall((b"GET /-/hea", b"POST /api/v1/query HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nqu", b"")[i % 3])
    trickle = opened()
    began = time.monotonic()

    def all_closed():
        try:
            trickle.sendall(b"X")  # a byte now and then does not keep it
        except OSError:
            pass
        return all([closed(s) for s in (*slow, trickle)])
    wait_for("slow clients are shown out", all_closed, READ_TIMEOUT_S * 4, 0.1)
    check(time.monotonic() - began > READ_TIMEOUT_S * 0.5, "shown out too soon")
    for s in (*slow, trickle):
        s.close()

    half_closed = []
    for i in range(150):
        s = opened()
        s.sendall(b"GET /api/v1/query?query=sum(sane)&time=%d HTTP/1.1\r\nHost: a\r\n" % at + (b"\r\n" if i % 3 else b"Acc"))
        s.shutdown(socket.SHUT_WR)
        half_closed.append(s)
    for i, s in enumerate(half_closed):
        text = b""
        try:
            while part := s.recv(1 << 16):
                text += part
        except OSError:
            pass
        check(not i % 3 or b'"4950"' in text, "a half-closed client gets", text[:300])
        s.close()
    for _ in range(300):
        s = opened()
        s.sendall(b"GET /api/v1/query_range?query=sum_over_time(sane[5m:1s])&start=%d&end=%d&step=1 HTTP/1.1\r\nHost: a\r\n\r\n" % (at - 900, at))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()  # a reset
    deaf = [opened() for _ in range(20)]
    for s in deaf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.setblocking(False)
        try:
            for _ in range(200):
                s.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        except OSError:
            pass
    check_sane(node, at)
    for s in deaf:
        s.close()


def connections(node, at):
    """512 are admitted, the next gets 503, ten thousand do not shut out /-/healthy."""
    wait_for("connections of before are gone", lambda: open_connections(node) <= 1)
    get = b"GET /api/v1/labels HTTP/1.1\r\nHost: a\r\n\r\n"

    def ask(s):
        s.sendall(get)
        return s.recv(1 << 16)
    held = []
    for _ in range(CONNECTIONS):
        held.append(socket.create_connection((HOST, node.port), timeout=30 * SLOWER))
        reply = ask(held[-1])
        check(reply.startswith(b"HTTP/1.1 200 "), "connection", len(held), "of", CONNECTIONS, "gets", reply[:200])
    beyond = socket.create_connection((HOST, node.port), timeout=30 * SLOWER)
    reply = ask(beyond)
    check(reply.startswith(b"HTTP/1.1 503 "), "connection", CONNECTIONS + 1, "gets", reply[:200])
    for path in "/-/healthy", "/-/ready":
        check_eq(node.get(path).code, 200, f"{path} beyond the limit")
    wanted = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - CONNECTIONS - 100)
    flood, refused = [], 0
    for i in range(wanted):
        s = socket.socket()
        s.setblocking(False)
        try:
            s.connect((HOST, node.port))
        except BlockingIOError:
            pass
        except OSError:
            refused += 1
        flood.append(s)
        if i % 500 == 0:
            began = time.monotonic()
            check_eq(node.get("/-/healthy", timeout=10).code, 200, f"/-/healthy beside {i} connections")
            check(time.monotonic() - began < 5 * SLOWER, "/-/healthy took", time.monotonic() - began)
            check(held[i % CONNECTIONS] and ask(held[i // 500]).startswith(b"HTTP/1.1 200 "), "an admitted connection is served no more")
    say(f"{len(flood)} more connections, {refused} refused; {node.fds_count()} descriptors")
    check(node.fds_count() < CONNECTIONS * 4 + 200, "descriptors under the flood:", node.fds_count())
    for s in (*flood, *held, beyond):
        s.close()
    wait_for("its clients can come again", lambda: node.get("/api/v1/labels").code == 200)


def open_connections(node):
    m = re.search(r"^cairn_http_connections\w*(?:\{[^}]*\})? (\S+)$", node.get("/metrics").text, re.M)
    check(m, "no gauge of open connections in /metrics")
    return float(m.group(1))


def test(folder):
    rng = seed()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # a short read timeout, so that slow clients are met in a short test; small limits, so that they are reached
    node = Cairn(folder, f"--web.read-timeout={READ_TIMEOUT_S * SLOWER}s", f"--node.memory-limit={MEMORY_LIMIT}B", "--query.timeout=5s",
                 "--query.max-samples=5000000", "--node.cores=2").start()
    now = int(time.time() * 1000) - 5000
    at = now // 1000 + 1
    a = node.write([({**SANE, "i": str(i), "text": "a" * 40 + "b"}, [(at * 1000 - 500, float(i))]) for i in range(100)])
    check_eq(a.code, 204, f"the sane series: {a}")
    check_sane(node, at)
    for _ in range(50):
        node.get("/metrics")
    threading.Event().wait(0.2)
    fds, rss = node.fds_count(), node.rss_bytes()
    watch = Watch(node, at)
    for name, part in (("writes", lambda: writes(node, rng, now)), ("bombs", lambda: bombs(node)), ("streams", lambda: streams(node)),
                       ("queries", lambda: queries(node, at)), ("clients", lambda: clients(node, at))):
        part()
        watch.check(name)
    watch.over = True
    watch.thread.join(60)
    connections(node, at)
    check_sane(node, at)
    peak = node.peak_rss_bytes()
    say(f"memory {rss >> 20} MB before, at most {peak >> 20} MB")
    if not SANITIZED:
        check(peak < MEMORY_LIMIT, "memory went over its limit:", peak >> 20, "MB")
        wait_for("memory is given back", lambda: node.rss_bytes() < rss + (200 << 20), 15, 0.2)
    wait_for(f"descriptors are back at {fds}", lambda: node.fds_count() <= fds + 2, READ_TIMEOUT_S * 3, 0.2)
    check_eq(node.write([({**SANE, "i": "after"}, [(at * 1000 - 400, 50.0)])]).code, 204, "a write after all that")
    check_eq(node.query("sum(sane)", at)["result"][0]["value"][1], "5000", "a query after all that")
    node.stop()


main(test)
