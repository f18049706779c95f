# SPDX-License-Identifier: Apache-2.0
"""A cluster of real processes, each a host of its own: a network namespace on a bridge, so that links can be cut; data directories
may be small file systems of their own, so that disks can be filled. And a load of single samples that knows what was acknowledged,
when, and how long each series waited between two acknowledgements. Needs root and ip(8)."""
from harness import *


def sh(*args, ok=True):
    r = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    check(not ok or r.returncode == 0, " ".join(map(str, args)), "failed:", r.stderr.strip())
    return r


def need_namespaces():
    if os.geteuid() != 0:
        print("skipped: network namespaces need root")
        sys.exit(77)
    name = f"crnprobe{os.getpid()}"
    r = sh("ip", "netns", "add", name, ok=False) if shutil.which("ip") else None
    if r is None or r.returncode != 0:
        print("skipped: no network namespaces here:", "ip is not installed" if r is None else r.stderr.strip())
        sys.exit(77)
    sh("ip", "netns", "del", name)


class NetNode(Cairn):
    """A node in a namespace of its own; everything listens on its address there."""

    def __init__(self, net, index, *flags):
        super().__init__(net.folder / f"n{index}", *flags, name=f"node{index}", port=9090)
        self.net, self.index = net, index
        self.host = f"{net.subnet}.{index + 10}"
        self.ns = f"{net.name}n{index}"
        self.link = f"{net.name}h{index}"
        self.ring_address = f"{self.host}:9095"
        self.mounted = False

    def command(self):
        args = ["ip", "netns", "exec", self.ns] + super().command()
        args = [a.replace(f"{HOST}:{self.port}", f"{self.host}:{self.port}") for a in args]
        return args + [f"--ring.listen-address={self.ring_address}", f"--ring.advertise-address={self.ring_address}",
                       f"--ring.discovery={self.net.discovery}"]

    def make_host(self):
        sh("ip", "netns", "add", self.ns)
        sh("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.ns)
        sh("ip", "link", "set", self.link, "master", self.net.bridge, "up")
        sh("ip", "-n", self.ns, "addr", "add", f"{self.host}/24", "dev", "eth0")
        sh("ip", "-n", self.ns, "link", "set", "eth0", "up")
        sh("ip", "-n", self.ns, "link", "set", "lo", "up")

    def small_disk(self, megabytes):
        """The data directory becomes a file system of that size; before the first start."""
        self.data_dir.mkdir(parents=True)
        sh("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", self.data_dir)
        self.mounted = True

    def fill_disk(self):
        with open(self.data_dir / "ballast", "ab", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 65536)
            except OSError:
                pass

    def empty_disk(self):
        (self.data_dir / "ballast").unlink()

    def cut(self):
        sh("ip", "link", "set", self.link, "down")

    def heal(self):
        sh("ip", "link", "set", self.link, "up")


class Net:
    """Hosts on one bridge. with Net(folder, 3, flags...) as net: net.nodes"""

    def __init__(self, folder, count, *flags, spare=0, discovery=None):
        self.folder, self.flags = Path(folder), flags
        self.name = f"c{os.getpid() % 100000}"
        self.bridge = f"{self.name}br"
        rng = random.SystemRandom()
        self.subnet = f"10.{rng.randrange(64, 250)}.{rng.randrange(1, 250)}"
        self.founders = count
        self.nodes = [NetNode(self, i, *flags, *([f"--ring.bootstrap-expect={count}"] if i < count else [])) for i in range(count + spare)]
        self.members = ",".join(n.ring_address for n in self.nodes[:count])
        self.discovery = discovery or f"static:{self.members}"

    def __enter__(self):
        try:
            sh("ip", "link", "add", self.bridge, "type", "bridge")
            sh("ip", "addr", "add", f"{self.subnet}.1/24", "dev", self.bridge)
            sh("ip", "link", "set", self.bridge, "up")
            for n in self.nodes:
                n.make_host()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for n in self.nodes:
            if n.alive():
                n.proc.send_signal(signal.SIGCONT)
                n.kill()
            sh("ip", "netns", "del", n.ns, ok=False)
            sh("ip", "link", "del", n.link, ok=False)
            if n.mounted:
                sh("umount", "-l", n.data_dir, ok=False)
        sh("ip", "link", "del", self.bridge, ok=False)

    def ring(self):
        """The controller's view, from any node that can say."""
        last = None
        for n in self.nodes:
            if not n.alive():
                continue
            try:
                a = n.get("/api/v1/status/ring", timeout=3)
                last = a
                if a.code == 200:
                    return a.json()["data"]
            except (OSError, http.client.HTTPException) as e:
                last = e
        raise Failure(f"nobody knows the ring: {last}")

    def wait_whole(self, seconds=60):
        """Nothing is missing or under way, the voters too: on the way from one to three a quorum is two of two for a moment."""
        def whole():
            r = self.ring()
            voters = 1 if len(r["nodes"]) < 3 else 3 if len(r["nodes"]) < 5 else 5
            whole = r["shardsUnderReplicated"] == 0 and r["shardsUnreadable"] == 0 and r["shardsMoving"] == 0
            return r if whole and len(r["voters"]) == voters else None
        return wait_for("every shard has all its replicas", whole, seconds, every=0.1)

    def controller(self):
        r = self.ring()
        address = next(n["address"] for n in r["nodes"] if n["id"] == r["leader"])
        return next(n for n in self.nodes if n.ring_address == address)


class Load(threading.Thread):
    """One thread with series of its own; each is sent sample by sample, and again, elsewhere, until it is acknowledged."""

    def __init__(self, net, index, series, nodes=None):
        super().__init__(daemon=True)
        self.net, self.index, self.series = net, index, series
        self.nodes = nodes or net.nodes[:net.founders]
        self.acked = {s: {} for s in range(series)}
        self.sent = {s: {} for s in range(series)}
        self.ack_times = {s: [] for s in range(series)}  # when each 204 came
        self.resends = 0
        self.refused = None
        self.stopping = threading.Event()

    def labels(self, s):
        return {"__name__": "load_total", "thread": str(self.index), "i": str(s)}

    def send(self, at, series, ms, value):
        node = self.nodes[at]
        # short, so that the gap tells of the cluster and not of a client that waits for a node that is stopped
        c = http.client.HTTPConnection(node.host, node.port, timeout=1 * SLOWER)
        try:
            c.request("POST", "/api/v1/write", snappy(encode_write([(self.labels(series), [(ms, value)])])), WRITE_HEADERS)
            r = c.getresponse()
            body = r.read()
            if r.status // 100 == 4 and r.status != 429:
                self.refused = f"{r.status} {body[:300]}"
            return r.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            c.close()

    def run(self):
        at, value = self.index % len(self.nodes), 0
        while not self.stopping.is_set():
            for s in range(self.series):
                ms, value = int(time.time() * 1000), value + 1
                self.sent[s][ms] = float(value)
                while not self.stopping.is_set():
                    code = self.send(at, s, ms, float(value))
                    if code == 204:
                        self.acked[s][ms] = float(value)
                        self.ack_times[s].append(time.monotonic())
                        break
                    self.resends += 1
                    at = (at + 1) % len(self.nodes)
            self.stopping.wait(0.05)

    def longest_gap(self, since, until):
        """Between two acknowledgements for one series, for gaps that touch the span."""
        worst = 0.0
        for s, times in self.ack_times.items():
            times = list(times)
            for a, b in zip(times, times[1:] + [until]):
                if b >= since and a <= until:
                    worst = max(worst, b - a)
        return worst


class Here:
    """What a load needs of a net, for nodes on this host."""

    def __init__(self, nodes):
        self.nodes, self.founders = nodes, len(nodes)


class Loads:
    def __init__(self, net, threads=8, series=8, nodes=None, first=0):
        self.net = net
        self.threads = [Load(net, first + i, series, nodes) for i in range(threads)]

    def start(self):
        for t in self.threads:
            t.start()
        return self

    def stop(self):
        for t in self.threads:
            t.stopping.set()
        for t in self.threads:
            t.join()
            check(t.refused is None, "a good write was refused:", t.refused)

    def series_acked(self):
        return sum(len(times) > 0 for t in self.threads for times in t.ack_times.values())

    def acked_count(self):
        return sum(len(a) for t in self.threads for a in t.acked.values())

    def longest_gap(self, since, until=None):
        until = until or time.monotonic()
        return max(t.longest_gap(since, until) for t in self.threads)

    def wait_flow(self, seconds=30):
        """Every series has had an acknowledgement since now."""
        since = time.monotonic()
        wait_for("every series is acknowledged again",
                 lambda: all(times and times[-1] > since for t in self.threads for times in t.ack_times.values()), seconds)

    def verify(self, node, whole_series=True):
        """All that was acknowledged is there, and nothing that was not sent, each once. whole_series=False: series may be missing, but
        not a part of one. Returns how many series there are."""
        found = {}
        acked = {(t.index, s): dict(a) for t in self.threads for s, a in t.acked.items()}  # before it is asked: the load may go on
        width = int(time.time() - STARTED_WALL) + 120
        for r in node.query(f"load_total[{width}s]", time.time() + 60)["result"]:
            m = r["metric"]
            key = int(m["thread"]), int(m["i"])
            check(key not in found, "series twice:", m)
            found[key] = {int(round(float(t) * 1000)): float(v) for t, v in r["values"]}
        lost = 0
        for t in self.threads:
            for s in range(t.series):
                have = found.get((t.index, s), {})
                if not have and not whole_series:
                    continue
                for ms, v in acked[t.index, s].items():
                    if have.get(ms) != v:
                        lost += 1
                for ms, v in have.items():
                    check(t.sent[s].get(ms) == v, "a sample that nobody sent:", t.index, s, ms, v)
        check_eq(lost, 0, f"acknowledged samples missing at {node.name}")
        return len(found)


class Queries(threading.Thread):
    """Asks each node in turn for all series and all samples while things happen. A node that says it is ready must answer, and with
    nothing less than what was acknowledged before it was asked. What is wrong is in `wrong`; connections that a node which ends has
    closed do not count, an answer that is short or an error does."""

    def __init__(self, loads, nodes=None):
        super().__init__(daemon=True)
        self.loads, self.nodes = loads, nodes or loads.net.nodes
        self.wrong, self.answered, self.slowest = [], 0, 0.0
        self.stopping = threading.Event()

    def ask(self, node, expr, least):
        began = time.monotonic()
        a = node.api("/api/v1/query", timeout=15, query=expr, time=f"{time.time() + 5:.3f}")
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        if a.code != 200:
            self.wrong.append(f"at {time.monotonic() - STARTED:.1f}s {node.name}: {expr}: {a}")
            return
        result = a.json()["data"]["result"]
        got = int(float(result[0]["value"][1])) if result else 0
        self.answered += 1
        if got < least:
            self.wrong.append(f"at {time.monotonic() - STARTED:.1f}s {node.name}: {expr} is {got}, acknowledged before: {least}")

    def run(self):
        width = int(time.time() - STARTED_WALL) + 3600
        while not self.stopping.is_set():
            for node in self.nodes:
                try:
                    if not node.alive() or node.get("/-/ready", timeout=2).code != 200:
                        continue
                    self.ask(node, "count(load_total)", self.loads.series_acked())
                    self.ask(node, f"sum(count_over_time(load_total[{width}s]))", self.loads.acked_count())
                except (OSError, http.client.HTTPException):
                    pass
            self.stopping.wait(0.05)

    def stop(self):
        self.stopping.set()
        self.join()
        check(self.answered > 0, "no query was answered")
        check(not self.wrong, len(self.wrong), "wrong answers beside", self.answered, "right ones:\n  " + "\n  ".join(self.wrong[:8]))
        say(f"{self.answered} queries answered meanwhile, all complete, the slowest in {self.slowest:.2f} s")


def cairnctl(*args, fails=False, seconds=120):
    r = subprocess.run([str(Path(Cairn.binary).parent / "cairnctl"), *map(str, args)], capture_output=True, text=True,
                       timeout=seconds * SLOWER)
    check((r.returncode != 0) == fails, "cairnctl", *args, "ended with", r.returncode, r.stdout[-500:], r.stderr[-500:])
    return r.stdout + r.stderr


def check_balanced(ring, nodes):
    """The living nodes have equal shares, within one, of replicas and of primaries."""
    alive = [n for n in ring["nodes"] if n["state"] == "alive"]
    check_eq(len(alive), nodes, "nodes alive")
    for what, share in (("replicas", [n["replicas"]["full"] for n in alive]), ("primaries", [n["primaries"] for n in alive])):
        check(max(share) - min(share) <= 1, what, "are not balanced:", share)
    return True


STARTED_WALL = time.time()
