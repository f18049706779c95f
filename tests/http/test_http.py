#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The HTTP server from outside: curl, wrk, http.client and raw sockets against http_test_server (first argument)."""
import gzip, http.client, os, re, resource, select, signal, socket, struct, subprocess, sys, tempfile, time, unittest, zlib

SERVER = sys.argv.pop(1)
ANY = ".*"


class Server:
    def __init__(self, cores=2, connections=512, read_ms=20000, write_ms=20000, cors=ANY):
        self.proc = subprocess.Popen([SERVER, str(cores), str(connections), str(read_ms), str(write_ms), cors],
                                     stdout=subprocess.PIPE, text=True)
        line = self.proc.stdout.readline()
        assert line.startswith("port "), line
        self.port = int(line.split()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def connect(self, timeout=20):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        return s

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        code = self.proc.wait(timeout=30)
        rest = self.proc.stdout.read()
        self.proc.stdout.close()
        return code, rest

    def rss(self):
        with open(f"/proc/{self.proc.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024


def read_all(s):
    out = b""
    while True:
        try:
            b = s.recv(1 << 16)
        except ConnectionResetError:
            return out
        if not b:
            return out
        out += b


def read_answer(s, rest=b"", method="GET"):
    """One answer with Content-Length: (code, headers, body, bytes behind it)."""
    while b"\r\n\r\n" not in rest:
        b = s.recv(1 << 16)
        if not b:
            raise EOFError(rest)
        rest += b
    head, rest = rest.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (x.split(": ", 1) for x in lines[1:])}
    n = 0 if method == "HEAD" else int(headers.get("content-length", 0))
    while len(rest) < n:
        b = s.recv(1 << 16)
        if not b:
            raise EOFError(rest)
        rest += b
    return int(lines[0].split()[1]), headers, rest[:n], rest[n:]


def get(path, close=False):
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n".encode()


def wait_for(what, fn, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if fn():
            return
        select.select([], [], [], 0.02)
    raise AssertionError("never happened: " + what)


def text(n):
    out, size = [], 0
    while size < n:
        line = f"line {size} of a compressible text\n"
        out.append(line)
        size += len(line)
    return "".join(out)[:n].encode()


class Base(unittest.TestCase):
    options = {}

    def setUp(self):
        self.server = Server(**self.options)

    def tearDown(self):
        self.assertEqual(self.server.stop(), (0, "stopped\n"))

    def curl(self, *args):
        r = subprocess.run(["curl", "-s", "-S", "-m", "20", *args], capture_output=True)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout

    def curl_head(self, *args):
        out = self.curl("-i", *args)
        head, body = out.split(b"\r\n\r\n", 1)
        while head.startswith(b"HTTP/1.1 100"):
            head, body = body.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = [x.split(": ", 1) for x in lines[1:]]
        return int(lines[0].split()[1]), {k.lower(): v for k, v in headers}, body

    def ask(self, request):
        """One request on a connection of its own, up to its end."""
        with self.server.connect() as s:
            s.sendall(request)
            return read_all(s)


class WithCurl(Base):
    def test_get_versions_and_keep_alive(self):
        u = self.server.url
        for version in "--http1.0", "--http1.1":
            self.assertEqual(self.curl(version, u + "/hello"), b"hello\n")
        code, headers, body = self.curl_head(u + "/hello")
        self.assertEqual((code, body), (200, b"hello\n"))
        self.assertRegex(headers["date"], r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z][a-z] \d{4} [\d:]{8} GMT$")
        out = self.curl("-w", "%{num_connects} ", u + "/hello", u + "/hello", u + "/hello")
        self.assertEqual(out, b"hello\n1 hello\n0 hello\n0 ")

    def test_http10_keep_alive_only_when_asked(self):
        self.assertIn(b"Connection: close\r\n", self.ask(b"GET /hello HTTP/1.0\r\n\r\n"))
        with self.server.connect() as s:
            for _ in range(2):
                s.sendall(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                self.assertEqual(read_answer(s)[1]["connection"], "keep-alive")

    def test_uploads(self):
        data = os.urandom(3 << 20)
        with tempfile.NamedTemporaryFile() as f:
            f.write(data)
            f.flush()
            for extra in [], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["-0"], ["-X", "PUT"]:
                out = self.curl(*extra, "--data-binary", "@" + f.name, self.server.url + "/echo")
                self.assertEqual(out, data, extra)

    def test_expect_is_answered_before_the_body(self):
        with self.server.connect() as s:
            s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            self.assertEqual(s.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            s.sendall(b"abc")
            self.assertEqual(read_answer(s)[2], b"abc")
            s.sendall(b"POST /small HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n")
            self.assertEqual(read_answer(s)[0], 413)

    def test_compressed_answers(self):
        for n in 100, 1000, 120000, 1000000, 9 << 20:  # plain, here, here, by a worker, by zlib
            want = text(n)
            for accept, coding in ("gzip", "gzip"), ("deflate", "deflate"), ("br, *", "gzip"), ("gzip;q=0", None), (
                    "deflate, gzip;q=0.5", "deflate"), ("identity", None), ("GZIP ; q=1.0", None if n < 512 else "gzip"):
                code, headers, body = self.curl_head("-H", "Accept-Encoding: " + accept, f"{self.server.url}/big?n={n}")
                self.assertEqual(headers.get("content-encoding"), None if n < 512 else coding, (n, accept))
                self.assertEqual(int(headers["content-length"]), len(body))
                self.assertEqual(headers["vary"], "Accept-Encoding")
                body = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[headers.get("content-encoding")](body)
                self.assertEqual(body, want, (n, accept))
            self.assertEqual(self.curl("--compressed", f"{self.server.url}/big?n={n}"), want)

    def test_streams(self):
        want = text(100000) * 50
        path = self.server.url + "/stream?pieces=50&bytes=100000"
        self.assertEqual(self.curl(path), want)
        self.assertEqual(self.curl("--compressed", path), want)
        self.assertEqual(self.curl("-0", path), want)
        _, headers, _ = self.curl_head(path)
        self.assertEqual(headers["transfer-encoding"], "chunked")
        _, headers, _ = self.curl_head("-0", path)
        self.assertNotIn("transfer-encoding", headers)
        self.assertEqual(headers["connection"], "close")
        self.assertEqual(self.curl(self.server.url + "/stream?pieces=0"), b"")

    def test_head(self):
        code, headers, body = self.curl_head("-I", self.server.url + "/hello")
        self.assertEqual((code, headers["content-length"], body), (200, "6", b""))
        self.assertEqual(self.curl_head("-I", self.server.url + "/form")[0], 405)

    def test_cors(self):
        code, headers, body = self.curl_head("-X", "OPTIONS", "-H", "Origin: http://x", self.server.url + "/any/path")
        self.assertEqual((code, body), (204, b""))
        self.assertNotIn("content-length", headers)
        self.assertEqual(headers["access-control-allow-origin"], "*")
        self.assertEqual(headers["access-control-allow-methods"], "GET, POST, OPTIONS")
        self.assertEqual(headers["access-control-allow-headers"], "Accept, Authorization, Content-Type, Origin")
        self.assertEqual(headers["access-control-expose-headers"], "Date")
        self.assertIn("\r\nVary: Origin\r\n", self.curl("-i", "-H", "Origin: a", self.server.url + "/hello").decode())
        self.assertNotIn("access-control-allow-origin", self.curl_head(self.server.url + "/hello")[1])

    def test_forms(self):
        u = self.server.url + "/form?match[]=d&query=url&x=%zz"
        self.assertEqual(self.curl("-g", u.split("&x")[0], "-d", "query=a%2Bb+c&match[]=%7Bx%3D%22y%22%7D", "-d", "match[]=e"),
                         b'query=a+b c\nmatch={x="y"}\nmatch=e\nmatch=d\n')
        self.assertEqual(self.curl("-g", u), b'invalid URL escape "%zz"\n')
        self.assertEqual(self.curl("-g", self.server.url + "/form?a;b&query=1"), b"invalid semicolon separator in query\n")
        # another content type is no form
        self.assertEqual(self.curl("-g", u.split("&x")[0], "-H", "Content-Type: text/plain", "-d", "query=body"), b"query=url\nmatch=d\n")
        many = "&".join(f"a{i}=" for i in range(10001))
        out = self.curl("-d", many, self.server.url + "/form")
        self.assertEqual(out, b"more than 10000 form parameters\n")

    def test_paths(self):
        def lines(path):
            return self.curl("-g", "--path-as-is", self.server.url + path).decode().split("\n")
        self.assertIn("param a b", lines("/label/a%20b/values?x=%20"))
        self.assertIn("query x=%20", lines("/label/a%20b/values?x=%20"))
        self.assertIn("param ", lines("/files/"))
        self.assertIn("param a/../b//c", lines("/files/a/../b//c"))
        self.assertIn("path /files/ä", lines("/files/ä"))
        for path in "/label//values", "/label/a/b/values", "/label/a%2Fb/values", "//hello", "/hello/", "/HELLO", "/filesx":
            self.assertEqual(lines(path), ["404 page not found", ""], path)
        self.assertTrue(self.ask(b"GET http://any:1/show?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").find(b"\npath /show\nquery q\n") > 0)
        self.assertTrue(self.ask(b"GET /files/%00 HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 400 "))
        self.assertTrue(self.ask(b"GET /files/%4 HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b'invalid URL escape "%4"\n'))

    def test_error_texts_are_whole(self):
        for n in 0, 1, 510, 511, 512, 513, 5000:
            self.assertEqual(self.curl(f"{self.server.url}/text?n={n}"), text(n) + b"\n")
        self.assertEqual(self.curl_head(self.server.url + "/text")[1]["x-content-type-options"], "nosniff")

    def test_header_injection_is_defused(self):
        self.assertEqual(self.curl_head(self.server.url + "/show")[1]["x-split"], "a  Injected: b")

    def test_refusals(self):
        u = self.server.url
        code, headers, body = self.curl_head("-X", "PUT", u + "/form")
        self.assertEqual((code, headers["allow"], body), (405, "GET, OPTIONS, POST", b"Method Not Allowed\n"))
        code, headers, body = self.curl_head(u + "/none")
        self.assertEqual((code, headers["content-type"], body), (404, "text/plain; charset=utf-8", b"404 page not found\n"))
        self.assertEqual(self.curl_head("-X", "BREW", u + "/hello")[0], 501)
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"x" * 101)
            f.flush()
            data = ["--data-binary", "@" + f.name]
            self.assertEqual(self.curl_head(*data, u + "/small")[0], 413)
            self.assertEqual(self.curl_head(*data, "-H", "Transfer-Encoding: chunked", u + "/small")[0], 413)
            self.assertEqual(self.curl_head(*data, "-H", "Content-Encoding: br", u + "/echo")[0], 415)
            self.assertEqual(self.curl_head(*data, "-H", "Content-Encoding: gzip", u + "/echo")[0], 400)
            self.assertEqual(self.curl_head(*data, "-H", "Content-Encoding: br", u + "/raw")[::2], (200, b"x" * 101))
        self.assertEqual(self.curl_head("-H", "X: " + "y" * 70000, u + "/hello")[0], 431)
        self.assertEqual(self.curl_head(*sum((["-H", f"X{i}: y"] for i in range(101)), []), u + "/hello")[0], 431)
        self.assertTrue(self.ask(b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 414 "))
        self.assertTrue(self.ask(b"GET / HTTP/1.1\n").startswith(b"HTTP/1.1 400 "))
        self.assertTrue(self.ask(b"\x16\x03\x01\x02\x00").startswith(b"HTTP/1.1 400 "))
        # the answer to an upload nobody wants arrives although the client is still sending
        for path in b"/none", b"/small":
            with self.server.connect() as s:
                s.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 1000000)
                self.assertIn(read_answer(s)[0], (404, 413))

    def test_request_codings(self):
        data = text(500000)
        two = gzip.compress(data[:1000]) + gzip.compress(data[1000:])
        for coding, body in ("gzip", gzip.compress(data)), ("x-gzip", two), ("deflate", zlib.compress(data)), ("identity", data):
            with tempfile.NamedTemporaryFile() as f:
                f.write(body)
                f.flush()
                for extra in [], ["-H", "Transfer-Encoding: chunked"]:
                    args = [*extra, "-H", "Content-Encoding: " + coding, "--data-binary", "@" + f.name]
                    self.assertEqual(self.curl(*args, self.server.url + "/echo"), data, coding)
                    if coding != "identity":
                        self.assertEqual(self.curl(*args, self.server.url + "/raw"), body, coding)
        for bad in gzip.compress(data)[:-1], gzip.compress(data) + b"junk", zlib.compress(data):
            out = self.ask(b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bad) + bad)
            self.assertTrue(out.startswith(b"HTTP/1.1 400 "), out[:100])

    def test_gzip_bomb(self):
        z = zlib.compressobj(9, zlib.DEFLATED, 31)
        zeros = bytes(1 << 20)
        bomb = b"".join(z.compress(zeros) for _ in range(1024)) + z.flush()
        self.assertLess(len(bomb), 2 << 20)
        before = self.server.rss()
        with self.server.connect() as s:
            s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
            self.assertEqual(read_answer(s)[0], 413)
        self.assertLess(self.server.rss() - before, 64 << 20)

    def test_metrics(self):
        for _ in range(3):
            self.curl(self.server.url + "/hello")
        self.curl(self.server.url + "/none")
        out = self.curl(self.server.url + "/metrics").decode()
        self.assertIn('prometheus_http_requests_total{code="200",handler="/hello"} 3\n', out)
        self.assertIn('prometheus_http_requests_total{code="404",handler="unmatched"} 1\n', out)
        self.assertIn('prometheus_http_request_duration_seconds_count{handler="/hello"} 3\n', out)
        self.assertIn('prometheus_http_response_size_bytes_sum{handler="/hello"} 18\n', out)
        self.assertRegex(out, r"\ncairn_http_connections 1\n")

    def test_wrk(self):
        out = subprocess.run(["wrk", "-c32", "-t1", "-d2", self.server.url + "/hello"], capture_output=True, text=True).stdout
        self.assertNotRegex(out, "Socket errors|Non-2xx")
        self.assertGreater(int(re.search(r"(\d+) requests in", out).group(1)), 1000)


class Raw(Base):
    def test_pipelining_in_order(self):
        n = 3000
        with self.server.connect() as s:
            want = b""
            for i in range(n):
                want += get(f"/label/{i}/values") if i % 3 else get("/delayed?ms=1") if i % 30 == 0 else get("/hello")
            s.setblocking(False)
            sent, rest, got = 0, b"", b""
            count = 0
            while count < n:
                r, w, _ = select.select([s], [s] if sent < len(want) else [], [], 20)
                self.assertTrue(r or w, f"stuck after {count} answers")
                if w:
                    sent += s.send(want[sent:sent + 1 << 16])
                if r:
                    rest += s.recv(1 << 16)
                while b"\r\n\r\n" in rest:
                    head, body = rest.split(b"\r\n\r\n", 1)
                    length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
                    if len(body) < length:
                        break
                    expect = b"param %d\n" % count if count % 3 else b"late\n" if count % 30 == 0 else b"hello\n"
                    self.assertIn(expect, body[:length])
                    rest = body[length:]
                    count += 1

    def test_pipelining_is_bounded(self):
        """Who asks for gigabytes of answers and reads none, or asks on and on while one request runs, is read no further."""
        for path in "/big?n=1000000", "/delayed?ms=600000":
            before = self.server.rss()
            with self.server.connect() as s:
                s.setblocking(False)
                block, sent = get(path) * 50000, 0
                while sent < 100000000 and select.select([], [s], [], 1)[1]:
                    sent += s.send(block[sent % len(block):])
                self.assertLess(sent, 100000000)
                self.assertLess(self.server.rss() - before, 32 << 20)

    def test_requests_in_pieces(self):
        request = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n"
        with self.server.connect() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for size in 1, 2, 3, 7, 50:
                for i in range(0, len(request), size):
                    s.sendall(request[i:i + size])
                self.assertEqual(read_answer(s)[2], b"abcde")

    def test_http_client(self):
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        for i in range(20):
            c.request("POST", "/echo", body=iter([b"a" * i, b"b" * 3]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
            self.assertEqual(c.getresponse().read(), b"a" * i + b"bbb")
        c.close()

    def test_half_close_still_gets_the_answer(self):
        for path, want in ("/hello", b"hello\n"), ("/delayed?ms=300", b"late\n"), ("/delayed?ms=2500", b"late\n"):
            with self.server.connect() as s:
                s.sendall(get(path) * 2)
                s.shutdown(socket.SHUT_WR)
                out = read_all(s)
                self.assertEqual(out.count(b"HTTP/1.1 200 OK"), 2, path)
                self.assertTrue(out.endswith(want))
        self.assertEqual(self.curl(self.server.url + "/canceled"), b"0\n")

    def test_client_gone_cancels_once(self):
        def canceled():
            return int(self.curl(self.server.url + "/canceled"))
        s = self.server.connect()
        s.sendall(get("/delayed?ms=60000"))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()  # reset
        wait_for("cancel after a reset", lambda: canceled() == 1)
        s = self.server.connect()
        s.sendall(get("/delayed?ms=60000"))
        s.close()  # FIN
        wait_for("cancel after a close", lambda: canceled() == 2)
        s = self.server.connect()
        s.sendall(get("/stream?pieces=100000&bytes=100000"))
        s.recv(1000)
        s.close()
        wait_for("cancel of a stream", lambda: canceled() == 3)

    def test_stream_to_a_slow_reader_is_bounded(self):
        before = self.server.rss()
        with self.server.connect() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            s.sendall(get("/stream?pieces=3000&bytes=100000", close=True))
            select.select([], [], [], 0.5)
            self.assertLess(self.server.rss() - before, 32 << 20)
            total = 0
            while True:
                b = s.recv(1 << 20)
                if not b:
                    break
                total += len(b)
            self.assertGreater(total, 300000000)


class ShortTimeouts(Base):
    options = {"read_ms": 1500, "write_ms": 1500}

    def test_slow_clients(self):
        start = time.monotonic()
        for part in b"GET / HT", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n":
            out = self.ask(part)
            self.assertTrue(out.startswith(b"HTTP/1.1 408 "), out)
        self.assertGreater(time.monotonic() - start, 4)
        with self.server.connect() as s:  # a byte now and then does not help
            s.sendall(b"GET / HTTP/1.1\r\n")
            begin = time.monotonic()
            while not select.select([s], [], [], 0.2)[0]:
                s.sendall(b"X")
                self.assertLess(time.monotonic() - begin, 15)
            self.assertEqual(read_answer(s)[0], 408)

    def test_idle_connections_are_closed_silently(self):
        with self.server.connect() as s:
            s.sendall(get("/hello"))
            self.assertEqual(read_answer(s)[0], 200)
            self.assertEqual(read_all(s), b"")

    def test_a_handler_may_take_longer(self):
        with self.server.connect() as s:
            for _ in range(2):
                s.sendall(get("/delayed?ms=2500"))
                self.assertEqual(read_answer(s)[2], b"late\n")

    def test_reader_without_progress_is_cut(self):
        s = self.server.connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(get("/big?n=60000000"))

        def gone():
            out = self.curl(self.server.url + "/metrics").decode()
            return "\ncairn_http_connections 1\n" in out
        wait_for("the connection is closed", gone)
        s.close()


class Cors(Base):
    options = {"cors": r"https?://(a|b)\.example"}

    def test_only_known_origins(self):
        for origin, want in ("http://a.example", True), ("https://b.example", True), ("http://c.example", False), ("xhttp://a.example", False):
            headers = self.curl_head("-H", "Origin: " + origin, self.server.url + "/hello")[1]
            self.assertEqual(headers.get("access-control-allow-origin"), origin if want else None)


class Limits(Base):
    def test_513th_connection(self):
        held = [self.server.connect() for _ in range(512)]
        for s in held:
            s.sendall(get("/hello"))
            self.assertEqual(read_answer(s)[0], 200)
        out = self.ask(get("/hello"))
        self.assertTrue(out.startswith(b"HTTP/1.1 503 "), out)
        extra = [self.server.connect() for _ in range(88)]  # 600
        self.assertTrue(self.ask(get("/hello")).startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"Connection: close", out)
        code, headers, body = self.curl_head(self.server.url + "/-/healthy")
        self.assertEqual((code, headers["connection"]), (200, "close"))
        for s in held:  # those within the limit work on
            s.sendall(get("/hello"))
            self.assertEqual(read_answer(s)[0], 200)
        for s in extra:  # an idle one is told why it goes
            out = read_all(s)
            self.assertTrue(out == b"" or out.startswith(b"HTTP/1.1 503 "), out)
            s.close()
        held.pop().close()
        wait_for("the free place is taken", lambda: self.curl_head(self.server.url + "/hello")[0] == 200)
        for s in held:
            s.close()

    def test_ten_thousand_attempts(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        held = [self.server.connect() for _ in range(512)]
        for s in held:
            s.sendall(get("/hello"))
            read_answer(s)
        flood = []
        for i in range(10000):
            flood.append(self.server.connect())
            if len(flood) > 2000:
                flood.pop(0).close()
            if i % 1000 == 999:
                self.assertEqual(self.curl(self.server.url + "/-/healthy"), b"hello\n")
        fds = len(os.listdir(f"/proc/{self.server.proc.pid}/fd"))
        self.assertLess(fds, 512 + 64 + 100)
        for s in held + flood:
            s.close()


class Idle(Base):
    options = {"connections": 4000}

    def test_idle_connections_are_small(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        warm = [self.server.connect() for _ in range(100)]
        before = self.server.rss()
        held = [self.server.connect() for _ in range(3000)]
        for size in 20000, 10:
            for s in held:
                s.sendall(get("/show?" + "x" * size))
                self.assertEqual(read_answer(s)[0], 200)
        per = (self.server.rss() - before) / len(held)
        print(f"{per:.0f} bytes an idle connection")
        if not os.environ.get("CAIRN_SANITIZED"):
            self.assertLess(per, 10000)
        for s in held + warm:
            s.close()


class Stop(unittest.TestCase):
    def test_running_request_ends_new_ones_are_refused(self):
        server = Server()
        idle = server.connect()
        idle.sendall(get("/hello"))
        read_answer(idle)
        running = server.connect()
        running.sendall(get("/delayed?ms=1500"))
        second = server.connect()
        second.sendall(get("/hello"))
        read_answer(second)
        server.proc.send_signal(signal.SIGTERM)
        self.assertEqual(read_all(idle), b"")  # closed at once

        def refused():
            try:
                server.connect(1).close()
                return False
            except OSError:
                return True
        wait_for("the listener is closed", refused)
        code, headers, body, _ = read_answer(running)
        self.assertEqual((code, headers["connection"], body), (200, "close", b"late\n"))
        self.assertEqual(server.proc.wait(timeout=10), 0)
        for s in idle, running, second:
            s.close()
        server.proc.stdout.close()

    def test_grace_is_over(self):
        server = Server()
        running = server.connect()
        running.sendall(get("/delayed?ms=60000"))
        wait_for("accepted", lambda: b"cairn_http_connections 2\n" in subprocess.run(
            ["curl", "-s", server.url + "/metrics"], capture_output=True).stdout)
        start = time.monotonic()
        server.proc.send_signal(signal.SIGTERM)
        self.assertEqual(read_all(running), b"")
        self.assertEqual(server.proc.wait(timeout=10), 0)
        self.assertGreater(time.monotonic() - start, 4.5)
        running.close()
        server.proc.stdout.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
