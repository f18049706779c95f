# SPDX-License-Identifier: Apache-2.0
"""A client for benches that takes little time itself: http.client parses headers for a quarter of a millisecond a request, which would
be taken for the server's on both sides. Here the clock stops when the last byte has been read; what it says is looked at afterwards."""
import socket, time

HEAD_END = b"\r\n\r\n"


def chunks_of(data: bytes) -> bytes:
    """A chunked body put together; None: it has not ended."""
    body, at = [], 0
    while True:
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(data[at:line].split(b";")[0], 16)
        begin, at = line + 2, line + 4 + size
        if len(data) < at:
            return None
        if size == 0:  # no server here sends trailers
            return b"".join(body)
        body.append(data[begin:begin + size])


class Answer:
    """Of what has come so far."""

    def __init__(self):
        self.data, self.head_end, self.length, self.body = bytearray(), -1, None, None

    def take(self, some: bytes) -> bool:
        """True when nothing is missing."""
        self.data += some
        if self.head_end < 0:
            self.head_end = self.data.find(HEAD_END)
            if self.head_end < 0:
                return False
            fields = dict(line.split(b":", 1) for line in bytes(self.data[:self.head_end]).lower().split(b"\r\n")[1:])
            self.length = int(fields[b"content-length"]) if b"content-length" in fields else None
        begin = self.head_end + len(HEAD_END)
        if self.length is not None:
            return len(self.data) >= begin + self.length
        if not self.data.endswith(b"0\r\n\r\n"):  # may be within a chunk: then the next look finds more
            return False
        self.body = chunks_of(bytes(self.data[begin:]))
        return self.body is not None

    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    def content(self) -> bytes:
        return bytes(self.data[self.head_end + len(HEAD_END):]) if self.body is None else self.body


class Connection:
    """Kept open; one request at a time."""

    def __init__(self, port: int, timeout: float = 300):
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str) -> tuple:
        """Seconds from the first byte sent to the last one read, status, body."""
        request, answer = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode(), Answer()
        began, whole = time.perf_counter(), False
        self.socket.sendall(request)
        while not whole:
            some = self.socket.recv(1 << 20)
            ended = time.perf_counter()
            if not some:
                raise SystemExit(f"port {self.port} closed the connection: {path}")
            whole = answer.take(some)
        return ended - began, answer.status(), answer.content()
