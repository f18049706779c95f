#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/federate against Debian's prometheus 2.42: fed the same remote write bytes both give the same text, and a prometheus that
scrapes cairn's /federate answers queries with the same values. Usage: test_federate.py CAIRN PROMETHEUS."""
import gzip, json, os, re, sys, time, urllib.parse

from servers import STALE, cairn, prometheus, wait_for, write_request


def feed(now_ms: int) -> bytes:
    series = []
    for i in range(30):
        labels = {"__name__": "requests_total", "job": f"job{i % 3}", "path": f"/p{i}"}
        series.append((labels, [(now_ms - 60000, float(i)), (now_ms - 20000 - i, i * 1.5)]))
    special = [0.0, -0.0, 1.0, -1.0, 1e-7, 1e20, 1e21, 123456789.125, float("inf"), float("-inf"), float("nan"), 5e-324, 0.1 + 0.2]
    series += [({"__name__": "special", "n": str(n), "instance": "own"}, [(now_ms - 9000, v)]) for n, v in enumerate(special)]
    series.append(({"__name__": "odd", "text": 'quote " backslash \\ newline \n ü'}, [(now_ms - 5000, 1.0)]))
    series.append(({"__name__": "bare"}, [(now_ms - 5000, 2.0)]))
    series.append(({"__name__": "replica_of", "region": "other"}, [(now_ms - 5000, 4.0)]))
    series.append(({"__name__": "gone"}, [(now_ms - 30000, 3.0), (now_ms - 10000, STALE)]))
    series.append(({"__name__": "old"}, [(now_ms - 400000, 3.0)]))
    series.append(({"job": "nameless"}, [(now_ms - 5000, 3.0)]))
    return write_request(sorted(series, key=lambda s: s[1][0][0]))


def lines(body: bytes) -> list:
    """The order inside a family is open in Prometheus: sorted there, families stay where they are."""
    out, family = [], []
    for line in body.decode().splitlines():
        if line.startswith("# TYPE"):
            out += sorted(family)
            family = []
            out.append(line)
        else:
            family.append(line)
    return out + sorted(family)


CASES = [
    ['{__name__=~".+"}'], ["requests_total"], ['requests_total{job="job1"}', "special"], ["special", 'special{n="3"}'], ["nothing"], [],
    ["gone"], ["old"], ["odd", "bare", "replica_of"], ['{__name__=~"b.*|s.*"}'], ["requests_total{"], ["rate(special[5m])"],
    ['{job=~".+"}'],
]


def query(server, text):
    status, body = server.get("query?" + urllib.parse.urlencode({"query": text}))
    assert status == 200, body
    return {json.dumps(r["metric"], sort_keys=True): r["value"][1] for r in json.loads(body)["data"]["result"]}


def test_bodies(ours, theirs) -> int:
    bad = 0
    for case in CASES:
        target = "/federate?" + urllib.parse.urlencode([("match[]", m) for m in case])
        a, b = ours.request("GET", target), theirs.request("GET", target)
        same = a[0] == b[0] and (a[0] != 200 or lines(a[1]) == lines(b[1]))
        if a[0] == 200 and not a[2]["Content-Type"].startswith("text/plain; version=0.0.4"):
            same = False
        if not same:
            bad += 1
            print("DIFFERS", case, a, b, sep="\n  ")
    everything = "/federate?" + urllib.parse.urlencode({"match[]": '{__name__=~".+"}'})
    plain = ours.request("GET", everything)
    packed = ours.request("GET", everything, None, {"Accept-Encoding": "gzip"})
    if packed[2].get("Content-Encoding") != "gzip" or gzip.decompress(packed[1]) != plain[1] or len(plain[1]) < 2000:
        bad += 1
        print("gzip differs", packed[2])
    if lines(plain[1]) != plain[1].decode().splitlines():
        bad += 1
        print("not sorted by labels inside a family")
    if ours.request("POST", "/federate")[0] != 405:
        bad += 1
        print("POST is not refused")
    return bad


def test_names(ours, now_ms) -> int:
    """Names beyond the old alphabet, which 2.42 does not take: as Prometheus 3 escapes them."""
    ours.write(write_request([({"__name__": "my.metric-ü", "the.label": "x", "1st": "y"}, [(now_ms, 7.0)])]))
    target = "/federate?" + urllib.parse.urlencode({"match[]": '{"my.metric-ü"}'})
    bad = 0
    added = 'region="north",zone="a$b"'
    for accept, want in (("text/plain", f'my_metric__{{_st="y",the_label="x",instance="",{added}}} 7 {now_ms}'),
                         ("text/plain; version=1.0.0; escaping=allow-utf-8",
                          f'{{"my.metric-ü","1st"="y","the.label"="x",instance="",{added}}} 7 {now_ms}')):
        got = ours.request("GET", target, None, {"Accept": accept})[1].decode().splitlines()
        if got[1:] != [want]:
            bad += 1
            print("names", accept, got, want, sep="\n  ")
    return bad


LABELS = 'global:\n  external_labels: {zone: "a$$b", region: "${CAIRN_TEST_REGION}"}\n'
SCRAPE = """scrape_configs:
- job_name: federate
  honor_labels: true
  scrape_interval: 1s
  scrape_timeout: 1s
  metrics_path: /federate
  params: {'match[]': ['{__name__=~".+"}']}
  static_configs: [{targets: ['127.0.0.1:PORT']}]
"""


def main() -> int:
    if not sys.argv[2]:
        print("prometheus is not installed")
        return 77
    os.environ["CAIRN_TEST_REGION"] = "north"
    ours = cairn(sys.argv[1], config=LABELS)
    theirs = scraper = None
    bad = 0
    try:
        theirs = prometheus(sys.argv[2], "--enable-feature=expand-external-labels", config=LABELS)
        now_ms = int(time.time() * 1000)
        request = feed(now_ms)
        for server in (ours, theirs):
            server.write(request)
        bad += test_bodies(ours, theirs)
        bad += test_names(ours, now_ms)
        scraper = prometheus(sys.argv[2], config=SCRAPE.replace("PORT", str(ours.port)))
        wait_for("the scrape", lambda: query(scraper, "bare"))
        for text in ("requests_total", "special", "odd"):
            a, b = query(ours, text), query(scraper, text)
            for gone in (', "region": "north"', ', "zone": "a$b"', ', "job": "federate"'):  # what federation and scrape add
                b = {k.replace(gone, ""): v for k, v in b.items()}
            a = {k: "0" if v == "-0" else v for k, v in a.items()}
            if not a or a != b:
                bad += 1
                print("scraped values differ", a, b, sep="\n  ")
        metrics = ours.request("GET", "/metrics")[1].decode()
        if not re.search(r"^prometheus_web_federation_errors_total 0", metrics, re.M):
            bad += 1
            print("no metric of errors")
    finally:
        code = ours.stop()
        for server in (theirs, scraper):
            if server is not None:
                server.stop()
    print(f"{len(CASES)} bodies compared, {bad} differ")
    return 1 if bad or code != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
