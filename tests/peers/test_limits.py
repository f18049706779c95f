#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Limits of new series from the configuration file: of all, of each metric name, of one value of a label. New series beyond one are
refused with a sentence and counted while known ones go on, also those of a real sender; a reload changes them; a bad file is refused
with its line, and the limits before it stay."""
import http.server, itertools
from harness import *


class Limited(Cairn):
    config = ""

    def command(self):
        args = Cairn.command(self)
        self.config_file().write_text(self.config)
        return args

    def config_file(self):
        return self.folder / "empty.yml"

    def reload(self, config, code=200):
        self.config_file().write_text(config)
        a = http_request(self.port, "POST", "/-/reload")
        check_eq(a.code, code, f"reload: {a}")
        return a.text

    def refused(self, **labels):
        """The counter's sum over children with these labels."""
        total = 0
        for line in self.get("/metrics").text.splitlines():
            if line.startswith("cairn_new_series_refused_total{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total


def of(name, n, **more):
    return {"__name__": name, "n": str(n), **more}


class Clock:
    """Times that rise, so that each write is a new sample."""

    def __init__(self):
        self.ms = int(time.time() * 1000) - 900_000

    def __call__(self):
        self.ms += 1000
        return self.ms


def taken(node, now, *series):
    a = node.write([(s, [(now(), 1.0)]) for s in series])
    check_eq(a.code, 204, f"{series}: {a}")


def refused(node, now, text, *series):
    a = node.write([(s, [(now(), 1.0)]) for s in series])
    check_eq(a.code, 400, f"{series}: {a}")
    check(text in a.text, f"{text!r} is not in:", a)


def count(node, now, name):
    found = node.query(f"count({name})", (now.ms + 1000) / 1000)["result"]
    return int(float(found[0]["value"][1])) if found else 0


RULES = """limits:
  max_series: 12
  per_label:
    - {label: __name__, max_series: 5}
    - label: job
      value: debug
      max_series: 3
    - label: team
      value: none
      max_series: 0
"""


def test_each(folder):
    node = Limited(folder / "one", "--node.cores=1", "--web.enable-lifecycle")
    node.config, now = RULES, Clock()
    node.start()
    taken(node, now, *[of("a", n) for n in range(5)])
    refused(node, now, 'limit of 5 series of the metric name "a" reached', of("a", 5))
    taken(node, now, *[of("b", n, job="debug") for n in range(3)])
    refused(node, now, 'limit of 3 series with the label job="debug" reached', of("b", 3, job="debug"))
    taken(node, now, of("b", 3, job="web"))
    refused(node, now, 'limit of 0 series with the label team="none" reached', of("c", 0, team="none"))
    # what is good in a batch is kept: known ones and new ones that are within their limits
    refused(node, now, 'metric name "a"', *[of("a", n) for n in range(7)], of("c", 1))
    check_eq((count(node, now, "a"), count(node, now, "b"), count(node, now, "c")), (5, 4, 1), "series")
    taken(node, now, of("c", 2), of("c", 3))
    refused(node, now, "maximum series limit of 12 reached", of("d", 0), of("a", 1))
    taken(node, now, *[of("a", n) for n in range(5)], of("c", 3))
    newest = node.query('timestamp(a{n="1"})', (now.ms + 1000) / 1000)["result"][0]["value"][1]
    check(float(newest) * 1000 > now.ms - 20_000, "known series go on:", newest, now.ms)
    check_eq([node.refused(limit="series"), node.refused(label="__name__"), node.refused(label="job", value="debug"),
              node.refused(label="team", value="none"), node.refused(limit="memory")], [1, 3, 1, 1, 0], "counted")

    node.reload(RULES.replace("12", "14").replace("max_series: 5", "max_series: 6"))
    wait_for("a higher limit", lambda: node.write([(of("a", 5), [(now(), 1.0)])]).code == 204)
    refused(node, now, 'limit of 6 series of the metric name "a"', of("a", 6))
    node.reload(RULES.replace("12", "2"))  # lower than what is there
    fresh = itertools.count()  # the first may come before the limit, and is known from then on
    wait_for("a lower limit", lambda: "limit of 2 reached" in node.write([(of("fresh", next(fresh)), [(now(), 1.0)])]).text)
    taken(node, now, *[of("a", n) for n in range(6)], of("c", 3))

    for text, line, why in ((RULES.replace("12", "many"), 2, "max_series is not a number"), (RULES.replace("12", "0"), 2, "positive"),
                            (RULES.replace("label: job", "name: job"), 5, "field name not found"),
                            (RULES.replace("value: debug", "value: ''"), 6, "value is empty"),
                            (RULES.replace("      max_series: 3\n", ""), 5, "lacks its max_series"),
                            (RULES + "    - {label: __name__, max_series: 9}\n", 11, "twice"),
                            ("limits: [1]\n", 1, "not a mapping"), ("limits:\n  per_label: 3\n", 2, "not a list")):
        for said in (node.reload(text, 500), subprocess.run([Path(Cairn.binary).with_name("cairnctl"), "check", "config",
                                                              node.config_file()], capture_output=True, text=True).stderr):
            check(f"line {line}:" in said and why in said and str(node.config_file()) in said, f"line {line} {why}:", said)
    check("limit of 2 reached" in node.write([(of("e", 0), [(now(), 1.0)])]).text, "the limits before stay")
    check("scrape_interval" not in node.get("/api/v1/status/config").text, "the file before is shown")
    node.reload("")
    wait_for("no limit", lambda: node.write([(of("e", n), [(now(), 1.0)]) for n in range(20)]).code == 204)
    node.stop()

    node.config = RULES  # in force from the start; what is there comes back whatever it says
    node.start()
    check(count(node, now, "e") == 20, "what was acknowledged is there")
    taken(node, now, of("e", 7))
    refused(node, now, "maximum series limit of 12 reached", of("f", 1))
    node.stop()
    node.config = "limits:\n  max_series: -1\n"
    done = subprocess.run(node.command(), capture_output=True, text=True, timeout=30)
    check(done.returncode == 1 and "line 2: limits: max_series is not a number" in done.stderr, done)


def test_shares(folder):
    """Cores take equal parts, so that some more or less than the limit may be taken."""
    node = Limited(folder / "three", "--node.cores=3")
    node.config, now = "limits: {max_series: 100, per_label: [{label: job, value: x, max_series: 61}]}\n", Clock()
    node.start()
    at = now()
    a = node.write([(of("a", n, job="x"), [(at, 1.0)]) for n in range(200)])
    check("limit of 61 series with the label job=\"x\" reached (21 on each of 3 cores)" in a.text, a)
    check_eq(count(node, now, "a"), 63, "series of the label: 200 fill each core's share")
    a = node.write([(of("b", n), [(at, 1.0)]) for n in range(200)])
    check("maximum series limit of 100 reached (34 on each of 3 cores)" in a.text, a)
    check_eq(count(node, now, '{__name__=~"a|b"}'), 102, "all series")
    node.stop()


class Exporter(http.server.BaseHTTPRequestHandler):
    count = 20

    def do_GET(self):
        body = "".join(f'gauge{{n="{n}"}} {time.time()}\n' for n in range(Exporter.count)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Sender(Process):
    def __init__(self, folder, exporter_port, to_port):
        super().__init__("sender", folder, free_port())
        self.exporter_port, self.to_port = exporter_port, to_port

    def command(self):
        config = self.folder / "prometheus.yml"
        config.write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: x\n    static_configs: [{{targets: ['{HOST}:{self.exporter_port}']}}]\n"
                          f"remote_write:\n  - url: http://{HOST}:{self.to_port}/api/v1/write\n    queue_config: {{batch_send_deadline: 200ms, max_shards: 1}}\n")
        return [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={self.folder}/data", f"--web.listen-address={HOST}:{self.port}"]


def test_sender(folder):
    need(PROMETHEUS)
    server = http.server.ThreadingHTTPServer((HOST, 0), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    node = Limited(folder / "real", "--node.cores=2", "--web.enable-lifecycle")
    node.config = "limits:\n  per_label: [{label: __name__, max_series: 40}]\n"
    node.start()
    sender = Sender(folder / "sender", server.server_port, node.port).start()

    def have():
        return {int(s["metric"]["n"]): float(s["value"][1]) for s in node.query("timestamp(gauge)", time.time())["result"]}
    wait_for("all series", lambda: len(have()) == 20)
    Exporter.count = 120  # a fault of the target
    wait_for("new ones are refused", lambda: node.refused(label="__name__") > 200)
    since = time.time()
    wait_for("known series go on", lambda: all(have().get(n, 0) > since for n in range(20)))
    check(20 <= len(have()) <= 40, "series taken:", len(have()))
    node.reload("")
    wait_for("the others come with the next scrape", lambda: len(have()) == 120)
    sender.stop()
    node.stop()
    server.shutdown()


def test(folder):
    test_each(folder)
    say("each limit, reloads, bad files")
    test_shares(folder)
    test_sender(folder)


main(test)
