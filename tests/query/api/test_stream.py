#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Long answers go out in pieces: a result of some 40 MB is complete and right (also compressed), a slow reader slows it
down without a second copy in the server's memory, and readers that go away in the middle or before the answer leave the
server well. Usage: test_stream.py CAIRN."""
import gzip, json, re, socket, subprocess, sys, threading, time, urllib.parse, zlib

from servers import BASE_MS, cairn, wait_for, write_request

SERIES, POINTS, STEP_S = 300, 10000, 1
START_S = BASE_MS // 1000
TARGET = (f"/api/v1/query_range?query=wide%2Btime()&start={START_S}&end={START_S + POINTS - 1}&step={STEP_S}"
          "&lookback_delta=4h")
ANSWER_BYTES_MIN = 20 << 20
VECTOR = 5000


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) << 10


def check_body(body: bytes):
    assert len(body) > ANSWER_BYTES_MIN, len(body)
    answer = json.loads(body)
    assert answer["status"] == "success" and list(answer) == ["status", "data"], list(answer)
    result = answer["data"]["result"]
    assert len(result) == SERIES, len(result)
    assert [s["metric"]["n"] for s in result] == sorted(f"{n:03}" for n in range(SERIES))
    for s in result:
        n = int(s["metric"]["n"])
        assert len(s["values"]) == POINTS
        for i in range(0, POINTS, 1 if n % 50 == 0 else 997):
            assert s["values"][i] == [START_S + i, str(START_S + i + n)], (n, i, s["values"][i])


def check_vector(server):
    """Samples of an instant query, which are not cut, and with a limit."""
    server.write(write_request([({"__name__": "high", "n": f"{n:04}"}, [(BASE_MS - 1000, float(n))])
                                for n in range(VECTOR)]))
    for limit in 0, 1, 1999, VECTOR:
        status, body, _ = server.request("GET", f"/api/v1/query?query=sort(high)&time={START_S}&limit={limit}")
        answer = json.loads(body)
        found = answer["data"]["result"]
        assert status == 200 and ("warnings" in answer) == (0 < limit < VECTOR), (status, limit)
        want = [{"metric": {"__name__": "high", "n": f"{n:04}"}, "value": [START_S, str(n)]} for n in range(limit or VECTOR)]
        assert found == want, (limit, len(found))


def raw_request(port: int) -> socket.socket:
    s = socket.create_connection(("127.0.0.1", port), timeout=60)
    s.sendall(f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return s


def main() -> int:
    server = cairn(sys.argv[1])
    try:
        server.write(write_request([({"__name__": "wide", "n": f"{n:03}"}, [(BASE_MS - 1000, float(n))])
                                    for n in range(SERIES)]))
        status, body, headers = server.request("GET", TARGET, timeout=100)
        assert status == 200 and headers.get("Transfer-Encoding") == "chunked", headers
        check_body(body)
        check_vector(server)
        status, packed, headers = server.request("GET", TARGET, headers={"Accept-Encoding": "gzip"}, timeout=100)
        assert headers.get("Content-Encoding") == "gzip" and len(packed) < len(body) // 2
        assert gzip.decompress(packed) == body
        status, packed, headers = server.request("GET", TARGET, headers={"Accept-Encoding": "deflate"}, timeout=100)
        assert headers.get("Content-Encoding") == "deflate" and zlib.decompress(packed) == body
        curl = subprocess.run(["curl", "-s", "--compressed", f"http://127.0.0.1:{server.port}{TARGET}"], capture_output=True, check=True)
        assert curl.stdout == body

        # others are served while a long answer is written
        longest = []

        def ask():
            began = time.monotonic()
            status, answer, _ = server.request("GET", "/api/v1/query?query=1&time=1")
            longest.append(time.monotonic() - began)
            assert status == 200 and answer.endswith(b'[1,"1"]}}'), answer
        slow = raw_request(server.port)
        first = slow.recv(65536)
        assert first.startswith(b"HTTP/1.1 200"), first[:100]
        for _ in range(20):
            ask()
        got = len(first)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        before = resident_bytes(server.process.pid)
        while got < len(body):
            piece = slow.recv(1 << 20)
            if not piece:
                break
            got += len(piece)
        slow.close()
        assert got >= len(body), (got, len(body))

        # gone in the middle, and before the answer
        threads = []
        for n in range(20):
            def leave(n=n):
                s = raw_request(server.port)
                if n % 2 == 0:
                    s.recv(1000)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                s.close()
            threads.append(threading.Thread(target=leave))
            threads[-1].start()
        for t in threads:
            t.join()
        status, again, _ = server.request("GET", TARGET, timeout=100)
        assert status == 200 and again == body
        assert server.request("GET", "/-/healthy")[0] == 200
        wait_for("what the others began ends soon",
                 lambda: b"\nprometheus_engine_queries 0\n" in server.request("GET", "/metrics")[1], 30)
        # deadlines of a query whose round has one part that ends at once and one that does not
        ended = {200: 0, 503: 0}
        for timeout_ms in range(1, 200, 3):
            status, answer, _ = server.request("GET", "/api/v1/query?query=" + urllib.parse.quote(
                f"count(nothing)+sum(max_over_time(wide[{POINTS}s:1s]))") +
                f"&time={START_S + POINTS}&timeout={timeout_ms}ms&lookback_delta=4h")
            ended[status] += 1
            assert status == 200 or b'"timeout"' in answer, answer
        unanswered = [raw_request(server.port) for _ in range(6)]  # stopping does not wait for their end
    finally:
        began = time.monotonic()
        code = server.stop()
    assert time.monotonic() - began < 15
    for s in unanswered:
        s.close()
    assert code == 0, code
    print(f"answers of {len(body) >> 20} MiB, others waited at most {max(longest) * 1000:.0f} ms, "
          f"resident {before >> 20} MiB meanwhile, {ended[503]} of {sum(ended.values())} queries timed out")
    assert ended[503] > 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
