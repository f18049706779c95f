# SPDX-License-Identifier: Apache-2.0
"""What the tests with real processes share: starting cairn, clusters and Debian's peer programs on free ports in folders of their
own, waiting for events with deadlines, HTTP, remote write, and the tail of every server's log when a test fails.

A test is a program: python3 test_x.py CAIRN. It ends with 0, 1, or 77 with a printed reason when a peer program is missing.
CAIRN_SANITIZED=1 says that cairn was built with a sanitizer: memory and time limits are wider then."""
import ctypes, http.client, json, os, random, re, shutil, signal, socket, struct, subprocess, sys, tempfile, threading
import time, traceback, urllib.parse
from pathlib import Path

SANITIZED = os.environ.get("CAIRN_SANITIZED") == "1"
SLOWER = 4 if SANITIZED else 1
HOST = "127.0.0.1"
PROMETHEUS = "/usr/bin/prometheus"


class Failure(Exception):
    pass


def check(ok, *what):
    if not ok:
        raise Failure(" ".join(str(w) for w in what))


def check_eq(got, want, what=""):
    check(got == want, f"{what}: got {got!r}, want {want!r}")


def say(*words):
    print(f"[{time.monotonic() - STARTED:6.1f}s]", *words, flush=True)


STARTED = time.monotonic()


def wait_for(what, fn, seconds=20, every=0.02):
    """Polls fn until it is true and returns that; fails with `what` after the deadline. A Failure of fn counts as not yet."""
    deadline = time.monotonic() + seconds * SLOWER
    last = None
    while True:
        try:
            last = fn()
            if last:
                return last
        except (Failure, OSError, http.client.HTTPException) as e:
            last = e
        if time.monotonic() > deadline:
            raise Failure(f"never happened in {seconds * SLOWER} s: {what}; last: {str(last)[:2000]}")
        threading.Event().wait(every)


# -- ports: below the range from which the kernel takes those of outgoing connections, so that none is lost between here and there

_ports_given = set()


def free_port():
    for _ in range(1000):
        port = random.SystemRandom().randrange(11000, 32000)
        if port in _ports_given:
            continue
        with socket.socket() as s:
            try:
                s.bind((HOST, port))
            except OSError:
                continue
        _ports_given.add(port)
        return port
    raise Failure("no free port")


# -- HTTP

class Answer:
    def __init__(self, code, headers, body):
        self.code, self.headers, self.body = code, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failure(f"not JSON: HTTP {self.code}: {self.text[:500]}")

    def __str__(self):
        return f"HTTP {self.code}: {self.text[:600]}"


def http_request(port, method, path, body=None, headers=None, timeout=60, host=HOST):
    c = http.client.HTTPConnection(host, port, timeout=timeout * SLOWER)
    try:
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
    finally:
        c.close()


# -- remote write 1.0, encoded from its specification; snappy's block format with literals only, which is valid snappy

def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def encode_labels(labels):
    return b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))


def encode_series(labels, samples):
    return field(1, encode_labels(labels) + b"".join(
        field(2, b"\x09" + struct.pack("<d", v) + b"\x10" + varint(t)) for t, v in samples))


def encode_write(series):
    return b"".join(encode_series(labels, samples) for labels, samples in series)


def snappy(data):
    if not data:
        return b"\0"
    return varint(len(data)) + bytes([63 << 2]) + struct.pack("<I", len(data) - 1) + data


WRITE_HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                 "X-Prometheus-Remote-Write-Version": "0.1.0", "User-Agent": "Prometheus/2.42.0"}


# -- processes

_running = []
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)


class Process:
    """A server. Start it from the main thread: it dies with the thread that started it."""
    ready_path = "/-/ready"
    host = HOST
    env = None  # of the test

    def __init__(self, name, folder, port):
        self.name, self.folder, self.port = name, Path(folder), port
        self.proc = None
        self.log_path = self.folder / f"{name}.log"

    def command(self):
        raise NotImplementedError

    def spawn(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=self.env,
                                         preexec_fn=_die_with_parent)
        _running.append(self)
        return self

    def is_ready(self):
        check(self.proc.poll() is None, self.name, "ended with", self.proc.returncode)
        return http_request(self.port, "GET", self.ready_path, timeout=2, host=self.host).code == 200

    def wait_ready(self, seconds=60):
        deadline = time.monotonic() + seconds * SLOWER
        while time.monotonic() < deadline:
            if self.proc.poll() is not None:
                raise Failure(f"{self.name} ended with {self.proc.returncode} before it was ready")
            try:
                if self.is_ready():
                    return self
            except (OSError, http.client.HTTPException):
                pass
            threading.Event().wait(0.02)
        raise Failure(f"{self.name} did not become ready in {seconds * SLOWER} s")

    def start(self):
        return self.spawn().wait_ready()

    @property
    def pid(self):
        return self.proc.pid

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def kill(self):
        """kill -9, and gone when it returns."""
        if self.alive():
            self.proc.kill()
        self.proc.wait()
        if self in _running:
            _running.remove(self)

    def stop(self, seconds=10, sig=signal.SIGTERM):
        """Ends it in peace; returns the seconds it took. Exit code 0 is required, which a sanitizer's finding would spoil."""
        began = time.monotonic()
        self.proc.send_signal(sig)
        try:
            code = self.proc.wait(timeout=seconds * SLOWER)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end within {seconds * SLOWER} s of signal {sig}")
        check_eq(code, 0, f"exit code of {self.name}")
        _running.remove(self)
        return time.monotonic() - began

    def log_text(self):
        try:
            return self.log_path.read_text(errors="replace")
        except OSError:
            return ""

    def rss_bytes(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text()).group(1)) * 1024

    def peak_rss_bytes(self):
        return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text()).group(1)) * 1024

    def fds_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # -- Prometheus' API, which cairn and Prometheus both have

    def get(self, path, timeout=60):
        return http_request(self.port, "GET", path, timeout=timeout, host=self.host)

    def api(self, path, timeout=60, **form):
        """A form by POST; the whole answer."""
        form = {k.replace("_match", "match[]").rstrip("_"): v for k, v in form.items()}
        return http_request(self.port, "POST", path, urllib.parse.urlencode(form, doseq=True),
                            {"Content-Type": "application/x-www-form-urlencoded"}, timeout, self.host)

    def data(self, path, **form):
        a = self.api(path, **form)
        check(a.code == 200 and a.json()["status"] == "success", f"{self.name} {path} {form}:", a)
        return a.json()["data"]

    def query(self, expr, at, **form):
        return self.data("/api/v1/query", query=expr, time=f"{at:.3f}", **form)

    def query_range(self, expr, start, end, step, **form):
        return self.data("/api/v1/query_range", query=expr, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:g}", **form)

    def write(self, series, timeout=60):
        """[(labels, [(time in ms, value)])] -> the answer"""
        return http_request(self.port, "POST", "/api/v1/write", snappy(encode_write(series)), WRITE_HEADERS, timeout, self.host)


class Cairn(Process):
    binary = None

    def __init__(self, folder, *flags, name="cairn", port=None, data_dir=None, scrapes_itself=False):
        super().__init__(name, folder, port or free_port())
        self.data_dir = Path(data_dir or self.folder / "data")
        self.flags = list(flags)
        self.scrapes_itself = scrapes_itself

    def command(self):
        args = [self.binary, f"--web.listen-address={HOST}:{self.port}", f"--storage.tsdb.path={self.data_dir}"]
        if not self.scrapes_itself:  # an empty file is a configuration, with nothing to scrape
            config = self.folder / "empty.yml"
            config.write_text("")
            args.append(f"--config.file={config}")
        return args + self.flags


class Prometheus(Process):
    """Debian's, which takes remote writes; with an empty configuration where none is written to .config before it starts."""

    def __init__(self, folder, *flags, name="prometheus", port=None):
        super().__init__(name, folder, port or free_port())
        self.flags = flags
        self.config = self.folder / "prometheus.yml"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text("")

    def command(self):
        return [PROMETHEUS, f"--config.file={self.config}", f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address={HOST}:{self.port}", "--web.enable-remote-write-receiver", *self.flags]


def cluster(folder, count, *flags, replication_factor=1):
    """count nodes that know each other by static discovery and found a cluster together; not started yet."""
    ring = [free_port() for _ in range(count)]
    members = "static:" + ",".join(f"{HOST}:{p}" for p in ring)
    nodes = []
    for i, port in enumerate(ring):
        node = Cairn(Path(folder) / f"n{i}", f"--ring.listen-address={HOST}:{port}", f"--ring.advertise-address={HOST}:{port}",
                     f"--ring.discovery={members}", f"--ring.bootstrap-expect={count}",
                     f"--ring.replication-factor={replication_factor}", *flags, name=f"node{i}")
        node.ring_address = f"{HOST}:{port}"
        nodes.append(node)
    return nodes


def start_all(processes):
    for p in processes:
        p.spawn()
    for p in processes:
        p.wait_ready()
    return processes


def wait_voters(nodes, count=3):
    """Until so many nodes vote: only then the cluster outlives one of them."""
    def enough():
        a = nodes[0].get("/api/v1/status/ring")
        return a.code == 200 and len(a.json()["data"]["voters"]) >= count
    wait_for(f"{count} voters", enough)
    return nodes


def stop_all(processes):
    """All at once, without draining: nobody would be there to take over."""
    for p in processes:
        p.proc.send_signal(signal.SIGINT)
    for p in processes:
        p.stop(sig=signal.SIGINT)


def need(*paths):
    """Peer programs; without one the test is skipped."""
    for path in paths:
        if not os.access(path, os.X_OK):
            print(f"skipped: {path} is not installed (./dev setup installs it)")
            sys.exit(77)


def seed():
    s = int(os.environ.get("CAIRN_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {s} (CAIRN_TEST_SEED repeats it)", flush=True)
    return random.Random(s)


def _clean_up(failed):
    for p in list(_running):
        if p.alive():
            p.proc.kill()
        p.proc.wait()
    if failed:
        for path in sorted(Path(_folder).rglob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-40:]
            lines = [line[:400] for line in lines]
            print(f"--- tail of {path.relative_to(_folder)}", *lines, sep="\n", flush=True)
    shutil.rmtree(_folder, ignore_errors=True)


def _on_term(sig, frame):
    raise Failure(f"ended by signal {sig}")


_folder = None


def main(test):
    """Runs test(folder) and leaves nothing behind: no process, no file."""
    global _folder
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} CAIRN [arguments of the test]")
    Cairn.binary = os.path.abspath(sys.argv[1])
    signal.signal(signal.SIGTERM, _on_term)
    _folder = tempfile.mkdtemp(prefix="cairn-test-")
    failed = True
    try:
        test(Path(_folder))
        failed = False
        say("ok")
    except SystemExit as e:
        failed = e.code not in (0, 77, None)
        raise
    except Failure as e:
        traceback.print_exc(limit=-4, file=sys.stdout)
        say("FAILED:", e)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
    finally:
        sys.stdout.flush()
        _clean_up(failed)
    sys.exit(1 if failed else 0)
