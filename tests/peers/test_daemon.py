#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program as one meets it on a terminal: what it says when it cannot start, how it ends, one node per data directory, and its
own metrics in its own API."""
from harness import *

Q = "--query.max-samples=2000000000"


def run(folder, *args, before=None, seconds=20):
    """A start that must fail by itself: (exit code, what it wrote)."""
    try:
        p = subprocess.run([Cairn.binary, *args], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=seconds * SLOWER, preexec_fn=before)
    except subprocess.TimeoutExpired:
        raise Failure(f"still running after {seconds} s: {args}")
    return p.returncode, p.stdout


def check_fails(folder, code, pattern, *args, before=None):
    """One sentence on one line, without the marks of a crash, and the exit code."""
    got, text = run(folder, *args, before=before)
    check_eq(got, code, f"exit code of {args}; it wrote: {text}")
    sentences = [line for line in text.splitlines() if "error" in line.lower()]
    check_eq(len(sentences), 1, f"sentences of {args}: {text!r}")
    check(re.search(pattern, sentences[0]), args, "wrote", repr(sentences[0]), "not", pattern)
    check(len(text.splitlines()) <= 3, "more than a sentence:", text)


def flags(folder):
    for pattern, *args in [
        (r"unknown long flag '--nonsense'", "--nonsense"),
        (r"unknown long flag '--web.listen-adress'", "--web.listen-adress=1"),
        (r"expected argument for flag '--web.listen-address'", "--web.listen-address"),
        (r"--query.timeout.*\"soon\"", "--query.timeout=soon"),
        (r"--node.cores.*\b65\b", "--node.cores=65"),
        (r"--node.cores", "--node.cores=many"),
        (r"--ring.shards.*\b0\b", "--ring.shards=0"),
        (r"--log.level.*\"loud\"", "--log.level=loud"),
        (r"--log.format.*\"xml\"", "--log.format=xml"),
        (r"--storage.wal-sync.*\"never\"", "--storage.wal-sync=never"),
        (r"--node.memory-limit", "--node.memory-limit=1QB"),
        (r"cannot be repeated", "--ring.shards=8", "--ring.shards=8"),
        (r"unexpected.*\bfile\.yml\b", "file.yml"),
        (r"--ring.advertise-address", "--ring.discovery=static:a:1,b:1"),
        (r"--ring.min-insync.*\b9\b", "--ring.min-insync=9"),
        (r"--ring.seats", "--ring.seats=/mnt", ),
        (r"--web.config.file", "--web.config.file=web.yml"),
    ]:
        check_fails(folder, 2, pattern, *args)
    code, text = run(folder, "--help")
    check(code == 0 and "--storage.tsdb.path" in text and "--web.listen-address" in text, "--help:", code, text[:300])
    code, text = run(folder, "--version")
    check(code == 0 and re.match(r"cairn, version \d", text), "--version:", code, text)
    say("bad flags are told apart")


RULES = "storage:\n  tsdb:\n    retention:\n      rules:\n        - {match: 'up', time: 1d}\n"
# a series that none of these matches is one where one of three matchers fails, six times: 729 kinds
ENDED = "storage:\n  tsdb:\n    retention:\n      {time: 30d, resolution: %s}\n    downsample: [%s]\n"
BOTH = "{after: 2d, resolution: 5m}, {after: 3d, resolution: 1h}"
MANY_RULES = RULES.replace("        - {match: 'up', time: 1d}\n", "".join(
    f"        - {{match: '{{a=\"{i}\",b=\"{i}\",c=\"{i}\"}}', time: 90d}}\n" for i in range(6)))


def configs(folder):
    port = free_port()
    for pattern, content in [
        (r"bad\.yml.*line 2.*nonsense", "global:\nnonsense: 1\n"),
        (r"bad\.yml.*line 2.*scrape_interval.*\"often\"", "global:\n  scrape_interval: often\n"),
        (r"bad\.yml.*line \d", "global: [\n"),
        (r"bad\.yml.*line \d", "\tglobal: 1\n"),
        (r"bad\.yml.*mapping", "- 1\n- 2\n"),
        (r"bad\.yml", "global: &a [*a"),
        (r"bad\.yml", "\x00\x01\x02"),
        (r"bad\.yml.*line 3.*retension", "storage:\n  tsdb:\n    retension: {time: 1d}\n"),
        (r"bad\.yml.*line 3.*storage\.tsdb\.retention\.time.*\"long\"", "storage:\n  tsdb:\n    retention: {time: long}\n"),
        (r"bad\.yml.*line 3.*storage\.tsdb\.retention\.size.*\"1XB\"", "storage:\n  tsdb:\n    retention: {size: 1XB}\n"),
        (r"bad\.yml.*line 5.*rules\[0\]\.match.*\{job=\"", "storage:\n  tsdb:\n    retention:\n      rules:\n        - {match: '{job=', time: 1d}\n"),
        (r"bad\.yml.*line 6.*rules\[1\]\.match.*empty", RULES + "        - {match: '{job=~\".*\"}', time: 1d}\n"),
        (r"bad\.yml.*line 6.*rules\[1\]\.time.*missing", RULES + "        - {match: 'up'}\n"),
        (r"bad\.yml.*line 6.*rules\[1\]\.match.*missing", RULES + "        - {time: 1d}\n"),
        (r"bad\.yml.*line 6.*rules\[1\]\.time.*\"-1d\"", RULES + "        - {match: 'up', time: -1d}\n"),
        (r"bad\.yml.*line 4.*rules.*list", "storage:\n  tsdb:\n    retention:\n      rules: 1d\n"),
        (r"bad\.yml.*line 5.*rules.*more than 256", MANY_RULES),
        (r"bad\.yml.*line 4.*downsample\[0\]\.resolution.*5m or 1h.*\"10m\"", "storage:\n  tsdb:\n    downsample:\n      - {after: 2d, resolution: 10m}\n"),
        (r"bad\.yml.*line 4.*downsample\[0\]\.after.*missing", "storage:\n  tsdb:\n    downsample:\n      - {resolution: 5m}\n"),
        (r"bad\.yml.*line 5.*downsample\[1\]\.resolution.*twice", "storage:\n  tsdb:\n    downsample:\n      - {after: 2d, resolution: 5m}\n      - {after: 3d, resolution: 5m}\n"),
        (r"bad\.yml.*line 4.*retention\.resolution\.raw.*nothing stay", ENDED % ("{raw: 7d}", "")),
        (r"bad\.yml.*line 4.*retention\.resolution\.raw.*`after`", ENDED % ("{raw: 1d}", "{after: 2d, resolution: 5m}")),
        (r"bad\.yml.*line 4.*retention\.resolution\.5m.*shorter than that of raw", ENDED % ("{raw: 7d, 5m: 6d}", BOTH)),
        (r"bad\.yml.*line 4.*retention\.resolution\.1h.*shorter than those", ENDED % ("{raw: 7d, 5m: 9d, 1h: 8d}", BOTH)),
        (r"bad\.yml.*line 4.*retention\.resolution\.5m.*nothing stay", ENDED % ("{raw: 7d, 5m: 9d}", "{after: 2d, resolution: 5m}")),
        (r"bad\.yml.*line 4.*retention\.resolution\.1h.*no resolution of 1h", ENDED % ("{raw: 7d, 1h: 9d}", "{after: 2d, resolution: 5m}")),
        (r"bad\.yml.*line 4.*retention\.resolution\.raw.*duration", ENDED % ("{raw: soon}", BOTH)),
        (r"line 4.*retention\.resolution\.raw.*longer than storage\.tsdb\.retention\.time", ENDED % ("{raw: 31d, 5m: 31d, 1h: 31d}", BOTH)),
    ]:
        (folder / "bad.yml").write_text(content)
        check_fails(folder, 1, pattern, "--config.file=bad.yml", f"--web.listen-address={HOST}:{port}")
    check_fails(folder, 1, r"none\.yml", "--config.file=none.yml", f"--web.listen-address={HOST}:{port}")
    check_fails(folder, 1, r"bad-dir|directory", "--config.file=/", f"--web.listen-address={HOST}:{port}")
    say("bad configurations are named with their line")


def ports(folder):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        address = f"{HOST}:{taken.getsockname()[1]}"
        (folder / "empty.yml").write_text("")
        check_fails(folder, 1, rf"--web\.listen-address.*{address}", f"--web.listen-address={address}", "--config.file=empty.yml",
                    f"--storage.tsdb.path={folder}/p1")
        check_fails(folder, 1, rf"--ring\.listen-address.*{address}", f"--web.listen-address={HOST}:{free_port()}",
                    f"--storage.tsdb.path={folder}/p2", "--config.file=empty.yml", f"--ring.listen-address={address}",
                    f"--ring.advertise-address={address}", f"--ring.discovery=static:{address},{HOST}:1",
                    "--ring.bootstrap-expect=2")
    for bad in f"{HOST}:99999", HOST, "no such host:1", "":
        check_fails(folder, 1, r"--web\.listen-address|listen", f"--web.listen-address={bad}", "--config.file=empty.yml",
                    f"--storage.tsdb.path={folder}/p3")
    say("a taken port is named with its flag")


def as_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def directories(folder):
    def fails(pattern, path, *args, before=None):
        check_fails(folder, 1, pattern, f"--web.listen-address={HOST}:{free_port()}", "--config.file=empty.yml",
                    f"--storage.tsdb.path={path}", *args, before=before)

    (folder / "file").write_text("text")
    fails(r"/file\b.*([Nn]ot a directory|[Ee]xists)", folder / "file")
    fails(r"/file\b.*[Nn]ot a directory", folder / "file/data")
    Cairn(folder / "deep", data_dir=folder / "none/yet/data").start().stop()
    read_only = folder / "read-only"
    read_only.mkdir(mode=0o555)
    os.chmod(folder, 0o755)
    root = os.geteuid() == 0
    if not root or subprocess.run([Cairn.binary, "--version"], preexec_fn=as_nobody, capture_output=True).returncode == 0:
        fails(r"read-only.*[Pp]ermission denied", read_only, before=as_nobody if root else None)
    else:
        say("the read-only directory was not tried: nobody cannot run the program here")

    nodes = cluster(folder / "foreign", 2)
    start_all(nodes)
    now = int(time.time() * 1000)
    series = [({"__name__": "m", "i": str(i)}, [(now, 1.0)]) for i in range(50)]
    wait_for("a write is taken", lambda: nodes[0].write(series).code == 204)
    stop_all(nodes)
    fails(r"belongs to a cluster of 2 nodes.*--ring\.discovery", nodes[0].data_dir)
    fails(r"--ring\.cluster-name", nodes[0].data_dir, "--ring.cluster-name=other", *nodes[0].flags)
    # a directory is the node: addresses may be others, also each other's
    nodes[0].flags, nodes[1].flags = nodes[1].flags, nodes[0].flags
    start_all(nodes)
    for node in nodes:
        wait_for(f"{node.name} has all", lambda: node.query("count(m)", now / 1000)["result"][0]["value"][1] == "50")
    stop_all(nodes)
    single = Cairn(folder / "single", "--ring.shards=16").start()
    single.stop()
    fails(r"--ring\.shards=16.*1024", single.data_dir)
    seat = single.data_dir / "seat"
    good = seat.read_bytes()
    for bad in b"", b"rubbish", good[:-1], good[:20] + bytes([good[20] ^ 1]) + good[21:]:
        seat.write_bytes(bad)
        fails(r"seat", single.data_dir, "--ring.shards=16")
    seat.write_bytes(good)
    ring_map = single.data_dir / "ring/map"
    good = ring_map.read_bytes()
    ring_map.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    fails(r"map", single.data_dir, "--ring.shards=16")
    ring_map.write_bytes(good)
    single.start()

    # one node per directory
    fails(r"lock.*(another|in use|held|running)|(another|in use|held|running).*lock", single.data_dir, "--ring.shards=16")
    check_eq(single.get("/-/ready").code, 200, "the first node")
    single.kill()
    single.start()  # a lock dies with its process
    single.stop()
    say("bad data directories are named")


def endings(folder):
    """SIGINT with idle connections, one in the middle of a request, one whose answer nobody reads, and a query that runs for long."""
    node = Cairn(folder / "end", Q, "--query.timeout=10m").start()
    now = int(time.time() * 1000)
    for k in range(20):
        node.write([({"__name__": "m", "i": str(i), "k": str(k)}, [(now - 1_000_000 + t * 1000, float(t)) for t in range(500)])
                    for i in range(50)])
    heavy = urllib.parse.urlencode({"query": "sum(quantile_over_time(0.5, rate(m[10m])[2h:1s]))", "start": now / 1000 - 7200,
                                    "end": now / 1000, "step": 1})
    for sig in signal.SIGINT, signal.SIGTERM:
        idle = []
        for _ in range(20):
            c = http.client.HTTPConnection(HOST, node.port, timeout=20)
            c.request("GET", "/-/healthy")
            c.getresponse().read()
            idle.append(c)
        half = socket.create_connection((HOST, node.port))
        half.sendall(b"POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        deaf = socket.create_connection((HOST, node.port))
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
        query = socket.create_connection((HOST, node.port))
        query.sendall(f"GET /api/v1/query_range?{heavy} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

        def cpu():
            fields = Path(f"/proc/{node.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before = cpu()
        wait_for("the query keeps it busy", lambda: cpu() > before + 0.3)
        query.setblocking(False)
        try:
            check(False, "the query was answered too soon for this test:", query.recv(300))
        except BlockingIOError:
            pass
        took = node.stop(seconds=10, sig=sig)
        check(took < 2 * SLOWER, f"signal {sig}: it took {took:.2f} s to end")
        say(f"signal {sig}: ended in {took:.2f} s under load")
        for s in (half, deaf, query, *idle):
            s.close()
        node.start()
    node.stop()
    nodes = start_all(cluster(folder / "end3", 3))
    for node in nodes:
        took = node.stop(sig=signal.SIGINT)
        check(took < 2 * SLOWER, node.name, "took", took)


def early_endings(folder):
    """Told to end before, while and just after it opens its data for the first time: in peace, and the next start finds it whole."""
    for ms in range(0, 40, 2):
        node = Cairn(folder / f"after-{ms}", "--node.cores=4", name=f"after-{ms}").spawn()
        wait_for("it listens", lambda: "Server is ready to receive web requests" in node.log_text(), every=0.001)
        threading.Event().wait(ms / 1000)
        node.stop(sig=signal.SIGINT if ms % 4 else signal.SIGTERM)
    for ms in 0, 10, 20:
        node = Cairn(folder / f"after-{ms}", name=f"again-{ms}").start()
        check_eq(node.write([({"__name__": "a"}, [(int(time.time() * 1000), 1.0)])]).code, 204)
        node.stop()


def own_metrics(folder):
    """Without a configuration it scrapes itself, as job cairn, once at the start and then every 15 s."""
    node = Cairn(folder / "self", scrapes_itself=True).start()
    wait_for("up", lambda: node.query('up{job="cairn"}', time.time())["result"])
    row = node.query('up{job="cairn"}', time.time())["result"][0]
    check_eq(row["value"][1], "1", "up")
    check_eq(row["metric"], {"__name__": "up", "job": "cairn", "instance": f"localhost:{node.port}"}, "labels of up")
    asked = 7
    for _ in range(asked):
        check_eq(node.get("/api/v1/labels").code, 200, "labels")
    sums = wait_for("requests are counted", lambda: node.query(
        'sum(prometheus_http_requests_total{job="cairn",handler="/api/v1/labels",code="200"})', time.time())["result"], 30, 0.2)
    check_eq(float(sums[0]["value"][1]), asked, "requests counted")
    text = node.get("/metrics")
    check_eq(text.code, 200, "/metrics")
    for name in "prometheus_http_requests_total", "process_resident_memory_bytes", "process_open_fds":
        check(re.search(rf"^{name}\b", text.text, re.M), "no", name, "in /metrics")
    tool = shutil.which("promtool")
    if tool is not None:
        p = subprocess.run([tool, "check", "metrics"], input=text.body, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        check_eq((p.returncode, p.stdout), (0, b""), "promtool check metrics")
    names = node.get("/api/v1/label/__name__/values").json()["data"]
    check("process_resident_memory_bytes" in names and "scrape_samples_scraped" in names, "names:", names)
    node.stop()
    say("it answers about itself")


def metric(node, name, labels=""):
    m = re.search(rf"^{name}{re.escape(labels)} (\S+)$", node.get("/metrics").text, re.M)
    check(m, node.name, "has no metric", name, labels)
    return float(m.group(1))


def promises(folder):
    """What the cluster promises, as metrics: three nodes, two copies, then without one of them."""
    nodes = wait_voters(start_all(cluster(folder / "promises", 3, "--ring.shards=60", replication_factor=2)))

    def total(living, name, labels=""):
        return sum(metric(n, name, labels) for n in living)

    def is_whole():
        check_eq(total(nodes, "cairn_ring_shards", '{role="primary"}'), 60, "primaries")
        check_eq(total(nodes, "cairn_ring_shards", '{role="open"}'), 60, "open shards")
        check_eq(total(nodes, "cairn_ring_shards", '{role="following"}'), 60, "followers")
        check_eq(total(nodes, "cairn_ring_shards", '{role="readable"}'), 120, "readable")
        check_eq(total(nodes, "cairn_ring_shards", '{role="promoting"}') + total(nodes, "cairn_ring_shards", '{role="filling"}'), 0,
                 "under way")
        check_eq(total(nodes, "cairn_ring_is_controller"), 1, "controllers")
        check_eq(total(nodes, "cairn_ring_nodes", '{state="alive"}'), 3, "nodes")
        check_eq(total(nodes, "cairn_ring_replicas", '{state="full"}'), 120, "full replicas")
        for name in "under_replicated", "unreadable", "moving":
            check_eq(total(nodes, f"cairn_ring_shards_{name}"), 0, name)
        check_eq(len({metric(n, "cairn_ring_map_version") for n in nodes}), 1, "map versions")
        check_eq(len({metric(n, "cairn_ring_term") for n in nodes}), 1, "terms")
        for n in nodes:
            check(0 < metric(n, "cairn_ring_lease_remaining_seconds") <= 1.5, "lease")
            check(metric(n, "cairn_ring_heartbeats_total", '{result="answered"}') > 0, "heartbeats")
            check_eq(metric(n, "cairn_ring_replicas_unready"), 0, "unready")
            check_eq(len(re.findall(r"^cairn_ring_follower_lag_seconds{", n.get("/metrics").text, re.M)), 2, "lags")
            metric(n, "cairn_ring_retained_bytes")
        return True
    wait_for("the metrics of a whole cluster", is_whole)
    for n in nodes:
        check_eq(metric(n, "cairn_ingest_refused_total", '{reason="request"}'), 0, "refused")
        check_eq(http_request(n.port, "POST", "/api/v1/write", b"rubbish", WRITE_HEADERS).code, 400, "rubbish")
        check_eq(metric(n, "cairn_ingest_refused_total", '{reason="request"}'), 1, "refused")
    now = int(time.time() * 1000)
    check_eq(nodes[0].write([({"__name__": "m"}, [(now, 1.0)])]).code, 204, "a write")
    check_eq(nodes[0].write([({"__name__": "m"}, [(now, 2.0)])]).code, 400, "another value")
    check_eq(total(nodes, "cairn_ingest_refused_total", '{reason="sample"}'), 1, "refused for a sample")

    down, living = nodes[2], nodes[:2]
    down.kill()

    def one_is_dead():
        check_eq(total(living, "cairn_ring_is_controller"), 1, "controllers")
        check_eq(total(living, "cairn_ring_nodes", '{state="dead"}'), 1, "dead nodes")
        check_eq(total(living, "cairn_ring_nodes", '{state="alive"}'), 2, "living nodes")
        check_eq(total(living, "cairn_ring_shards", '{role="open"}'), 60, "open shards")
        check_eq(total(living, "cairn_ring_shards_unreadable"), 0, "unreadable")
        check(total(living, "cairn_ring_replicas", '{state="log"}') > 0, "substitutes")
        return True
    wait_for("the metrics of a cluster without one node", one_is_dead)
    living[1].kill()
    wait_for("the last one is not ready", lambda: living[0].get("/-/ready").code == 503, 20)
    check_eq(runtime_info(living[0])["corruptionCount"], 0, "without a lease no log is corrupt")
    living[0].stop()
    say("the promises are measured")


def runtime_info(server):
    return server.get("/api/v1/status/runtimeinfo").json()["data"]


def status(folder):
    """Retention as Prometheus says it of the same flags, and how many bad frames the log has."""
    need(PROMETHEUS)
    for n, args in enumerate(([], ["--storage.tsdb.retention.time=36h", "--storage.tsdb.retention.size=100GB"],
                              ["--storage.tsdb.retention.size=1500MB"], ["--storage.tsdb.retention.time=1y"])):
        servers = start_all([Prometheus(folder / f"oracle{n}", *args), Cairn(folder / f"node{n}", *args)])
        want, got = (runtime_info(s)["storageRetention"] for s in servers)
        check_eq(got, want, f"storageRetention with {args}")
        stop_all(servers)
    node = Cairn(folder / "bad", "--ring.shards=4").start()
    for k in range(20):
        check_eq(node.write([({"__name__": "m", "n": str(n)}, [(int(time.time()) * 1000 + k, float(k))]) for n in range(20)]).code, 204, "a write")
    node.kill()
    check_eq(node.start() and runtime_info(node)["corruptionCount"], 0, "bad frames after a kill")
    node.kill()
    log = min((node.data_dir / "log").glob("log-*"))
    whole = log.read_bytes()
    log.write_bytes(whole[:66] + bytes([whole[66] ^ 1]) + whole[67:])
    node.spawn()
    wait_for("it answers", lambda: node.get("/-/healthy").code == 200)
    check_eq(runtime_info(node)["corruptionCount"], 1, "bad frames")
    check_eq(metric(node, "prometheus_tsdb_wal_corruptions_total"), 1, "bad frames, as a metric")
    node.kill()
    say("retention and bad frames are told")


def test(folder):
    for part in (flags, configs, ports, directories, promises, endings, early_endings, own_metrics, status):
        own = folder / part.__name__
        own.mkdir(mode=0o755)
        (own / "empty.yml").write_text("")
        os.chmod(folder, 0o755)
        part(own)


main(test)
