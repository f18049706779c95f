# SPDX-License-Identifier: Apache-2.0
"""Real servers for the tests of the HTTP API: cairn and Debian's prometheus, each on a free port of 127.0.0.1 with a
directory of its own, and remote write requests made by hand (protobuf and snappy from their specifications)."""
import http.client, os, re, shutil, socket, struct, subprocess, sys, tempfile, threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "peers"))
from harness import free_port, wait_for  # noqa: E402

BASE_MS = 1700000000000  # all samples lie in the hour from here
STEP_MS = 15000
STEPS = 240
START_TIMEOUT_S = 30


def varint(n: int) -> bytes:
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def series_bytes(labels: dict, samples: list) -> bytes:
    """prometheus.TimeSeries: 1 labels {1 name, 2 value}, 2 samples {1 double value, 2 int64 timestamp}."""
    out = b""
    for name, value in sorted(labels.items(), key=lambda item: item[0].encode()):
        out += field(1, field(1, name.encode()) + field(2, value.encode()))
    for time_ms, value in samples:
        raw = value if isinstance(value, bytes) else struct.pack("<d", value)
        out += field(2, b"\x09" + raw + b"\x10" + varint(time_ms & (1 << 64) - 1))
    return out


def snappy(data: bytes) -> bytes:
    """The block format with literals only."""
    out = varint(len(data))
    for at in range(0, len(data), 65536):
        piece = data[at:at + 65536]
        out += b"\xf4" + struct.pack("<H", len(piece) - 1) + piece
    return out


def write_request(series: list) -> bytes:
    return snappy(b"".join(field(1, series_bytes(labels, samples)) for labels, samples in series))


class Server:
    def __init__(self, argv: list, work: str, find_port, port: int = 0, alone: bool = True):
        self.work, self.port, self.lines = work, port, []
        try:
            self.process = subprocess.Popen([os.path.abspath(argv[0]), *argv[1:]], cwd=work,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE, text=True)
        except OSError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        self.ready = threading.Event()
        self.find_port = find_port
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        if not self.ready.wait(START_TIMEOUT_S) or self.process.poll() is not None:
            self.stop()
            raise RuntimeError("server did not start: " + " ".join(argv) + "\n" + "".join(self.lines[-20:]))
        if alone:
            self.wait_ready()

    def wait_ready(self):
        try:  # it founds a cluster of one first
            wait_for("ready, or its end", lambda: self.process.poll() is not None or self.request("GET", "/-/ready")[0] == 200, START_TIMEOUT_S)
            over = self.process.poll() is not None
        except Exception:
            over = True
        if over:
            self.stop()
            raise RuntimeError("server did not become ready: " + "".join(self.lines[-20:]))

    def read_log(self):
        for line in self.process.stderr:
            self.lines.append(line)
            port = self.find_port(line)
            if port is not None:
                self.port = port or self.port
                self.ready.set()
        self.ready.set()

    def request(self, method: str, target: str, body=None, headers=None, timeout=30):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def get(self, target: str):
        status, body, _ = self.request("GET", "/api/v1/" + target)
        return status, body

    def post(self, path: str, form: str):
        status, body, _ = self.request("POST", "/api/v1/" + path, form,
                                       {"Content-Type": "application/x-www-form-urlencoded"})
        return status, body

    def write(self, request: bytes):
        status, body, _ = self.request("POST", "/api/v1/write", request, {
            "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0"})
        if status not in (200, 204):
            raise RuntimeError(f"remote write: {status} {body!r}")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.reader.join(5)
        if any("runtime error:" in line for line in self.lines):  # of a build with -fsanitize=undefined
            code = code or 99
        if code > 0:
            print("".join(self.lines[-80:]))
        shutil.rmtree(self.work, ignore_errors=True)
        return code


def cairn(program: str, *flags: str, config: str = "global: {}\n") -> Server:
    work = tempfile.mkdtemp(prefix="cairn-api-")
    with open(os.path.join(work, "prometheus.yml"), "w", encoding="ascii") as f:
        f.write(config)

    def find_port(line):
        m = re.search(r'msg="Server is ready.* port=(\d+)', line)
        return int(m.group(1)) if m else None
    program = os.path.abspath(program)  # the server runs in a folder of its own
    return Server([program, "--web.listen-address=127.0.0.1:0", "--storage.tsdb.path=data", *flags], work, find_port)


def prometheus(program: str, *flags: str, config: str = "global: {}\n") -> Server:
    """It cannot pick a port itself, so one is found for it; tried again when somebody else was faster."""
    for attempt in range(5):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        work = tempfile.mkdtemp(prefix="prometheus-api-")
        with open(os.path.join(work, "prometheus.yml"), "w", encoding="ascii") as f:
            f.write(config)
        try:
            return Server([program, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}",
                           "--storage.tsdb.path=data", "--web.enable-remote-write-receiver", *flags], work,
                          lambda line: 0 if "Server is ready to receive web requests" in line else None, port)
        except RuntimeError:
            if attempt == 4:
                raise


STALE = struct.pack("<Q", 0x7FF0000000000002)
ODD = 'quote " backslash \\ newline \n <&> ü € \u2028'


def data_set() -> list:
    """(labels, value at step i or None) of every series."""
    out = []
    for j in range(3):
        for i in range(4):
            labels = {"__name__": "up", "job": f"job{j}", "instance": f"host{i}:9100"}
            out.append((labels, lambda k, i=i, j=j: float((k // 20 + i + j) % 4 != 0)))
            labels = {"__name__": "http_requests_total", "job": f"job{j}", "instance": f"host{i}:9100", "code": "200"}
            out.append((labels, lambda k, i=i, j=j: float((k % 100) * (7 + i) + j)))
            labels = {"__name__": "http_requests_total", "job": f"job{j}", "instance": f"host{i}:9100", "code": "500"}
            out.append((labels, lambda k, i=i, j=j: k * 0.1 * (i + 1) + j if k % 7 else None))
    for le, share in (("0.1", 0.4), ("1", 0.9), ("+Inf", 1.0)):
        out.append(({"__name__": "latency_seconds_bucket", "le": le}, lambda k, s=share: float(int(k * 10 * s))))
    special = [0.0, -0.0, 1e-7, -1e-6, 1e20, 1e21, 123456789.125, float("inf"), float("-inf"), float("nan"), 5e-324,
               1.7976931348623157e308, 0.1 + 0.2, -1.0]
    for n, value in enumerate(special):
        out.append(({"__name__": "special", "n": str(n)}, lambda k, v=value: v))
    out.append(({"__name__": "odd", "text": ODD}, lambda k: 1.0))
    out.append(({"__name__": "gone"}, lambda k: 3.0 if k < 100 else STALE if k == 100 else None))
    out.append(({"__name__": "temperature", "room": "attic"}, lambda k: 20 + (k % 17) * 0.7 - (k % 5)))
    return out


def fill(*servers: Server):
    """The same bytes for all: one request per 20 steps."""
    data = data_set()
    for from_step in range(0, STEPS, 20):
        series = []
        for labels, value in data:
            samples = [(BASE_MS + k * STEP_MS, value(k)) for k in range(from_step, from_step + 20)]
            samples = [s for s in samples if s[1] is not None]
            if samples:
                series.append((labels, samples))
        request = write_request(series)
        for server in servers:
            server.write(request)
