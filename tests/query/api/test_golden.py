#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The requests that Grafana, dashboards and tools send, against a real server with known data, and the answers they rely
on (shapes from web/api/v1/api.go of Prometheus 3.14; values counted by hand from servers.data_set).
Usage: test_golden.py CAIRN."""
import json, re, sys

from servers import BASE_MS, STEP_MS, STEPS, cairn, data_set, fill

END_S = (BASE_MS + (STEPS - 1) * STEP_MS) // 1000
SERIES = len(data_set())
OK = '{"status":"success","data":'
NAMES = ["gone", "http_requests_total", "latency_seconds_bucket", "odd", "special", "temperature", "up"]
LABELS = ["__name__", "code", "instance", "job", "le", "n", "room", "text"]


def text(value) -> str:
    return json.dumps(value, separators=(",", ":"))


# method, target, form, status, whole body; a body in /slashes/ is a regular expression for all of it
GOLDEN = [
    # Grafana's "Save & test"
    ("POST", "/api/v1/query", "query=1%2B1&time=1700000000.5", 200,
     OK + '{"resultType":"scalar","result":[1700000000.5,"2"]}}'),
    ("GET", "/api/v1/query?query=1%2B1&time=1700000000", None, 200,
     OK + '{"resultType":"scalar","result":[1700000000,"2"]}}'),
    ("GET", "/api/v1/status/buildinfo", None, 200,
     r'/\{"status":"success","data":\{"version":"3\.14\.0","revision":"[^"]*","branch":"","buildUser":"","buildDate":"",'
     r'"goVersion":"","application":"cairn","applicationVersion":"\d+\.\d+\.\d+"\}\}/'),
    # its query editor
    ("POST", "/api/v1/labels", f"start={BASE_MS // 1000}&end={END_S}", 200, OK + text(LABELS) + "}"),
    ("GET", f"/api/v1/label/__name__/values?start={BASE_MS // 1000}&end={END_S}", None, 200, OK + text(NAMES) + "}"),
    ("GET", "/api/v1/label/__name__/values?limit=2", None, 200,
     OK + text(NAMES[:2]) + ',"warnings":["results truncated due to limit"]}'),
    ("GET", "/api/v1/label/code/values?match%5B%5D=%7Bjob%3D%22job1%22%7D", None, 200, OK + '["200","500"]}'),
    ("POST", "/api/v1/series", "match%5B%5D=temperature", 200, OK + '[{"__name__":"temperature","room":"attic"}]}'),
    ("POST", "/api/v1/series", "match%5B%5D=http_requests_total&limit=1", 200,
     OK + '[{"__name__":"http_requests_total","code":"200","instance":"host0:9100","job":"job0"}],'
     '"warnings":["results truncated due to limit"]}'),
    ("GET", "/api/v1/metadata?limit=5000", None, 200, OK + "{}}"),
    ("GET", "/api/v1/rules", None, 200, OK + '{"groups":[]}}'),
    ("GET", "/api/v1/rules?type=alert&exclude_alerts=true&group_limit=10", None, 200, OK + '{"groups":[]}}'),
    ("GET", "/api/v1/alerts", None, 200, OK + '{"alerts":[]}}'),
    ("POST", "/api/v1/query_exemplars", f"query=up&start={BASE_MS // 1000}&end={END_S}", 200, OK + "[]}"),
    ("POST", "/api/v1/query_range", f"query=count(up)&start={END_S - 30}&end={END_S}&step=15", 200,
     OK + '{"resultType":"matrix","result":[{"metric":{},"values":[' +
     ",".join(f'[{END_S - 30 + 15 * i},"12"]' for i in range(3)) + "]}]}}"),
    ("GET", "/api/v1/query?query=count(special)&time=1700000000&partial_response=true", None, 200,
     OK + '{"resultType":"vector","result":[{"metric":{},"value":[1700000000,"14"]}]}}'),
    ("GET", "/api/v1/query?query=count(up)&stats=all&time=1700000000", None, 200,
     r'/\{"status":"success","data":\{"resultType":"vector","result":\[\{"metric":\{\},"value":\[1700000000,"12"\]\}\],'
     r'"stats":\{"timings":\{"evalTotalTime":[\d.e-]+,"resultSortTime":[\d.e-]+,"queryPreparationTime":[\d.e-]+,"innerEvalTime":[\d.e-]+,'
     r'"execQueueTime":[\d.e-]+,"execTotalTime":[\d.e-]+\},"samples":\{"totalQueryableSamples":12,"samplesRead":12,'
     r'"peakSamples":\d+\}\}\}\}/'),
    ("GET", "/api/v1/query?query=rate(temperature%5B1m%5D)&time=1700000100", None, 200,
     r'/\{"status":"success","data":\{.*\},"infos":\["PromQL info: metric might not be a counter, name does not end in '
     r'_total/_sum/_count/_bucket: \\"temperature\\" \(1:6\)"\]\}/'),
    ("GET", "/api/v1/query?query=quantile(2,up)&time=1700000100", None, 200,
     r'/\{"status":"success","data":\{.*\},"warnings":\["PromQL warning: quantile value should be between 0 and 1, got 2 '
     r'\(1:10\)"\]\}/'),
    # status
    ("GET", "/api/v1/status/config", None, 200, OK + '{"yaml":"global: {}\\n"}}'),
    ("GET", "/api/v1/status/flags", None, 200, r'/\{"status":"success","data":\{.*"query\.lookback-delta":"5m".*\}\}/'),
    ("GET", "/api/v1/status/runtimeinfo", None, 200,
     r'/\{"status":"success","data":\{"startTime":"20[^"]*Z","CWD":"/[^"]*","hostname":"[^"]+","serverTime":"20[^"]*Z",'
     r'"reloadConfigSuccess":true,"lastConfigTime":"20[^"]*Z","corruptionCount":0,"goroutineCount":\d+,"GOMAXPROCS":\d+,'
     r'"GOMEMLIMIT":9223372036854775807,"GOGC":"","GODEBUG":"","storageRetention":"15d"\}\}/'),
    ("GET", "/api/v1/status/walreplay", None, 200, OK + '{"min":0,"max":0,"current":0}}'),
    ("GET", "/api/v1/status/tsdb?limit=1", None, 200,
     rf'/\{{"status":"success","data":\{{"headStats":\{{"numSeries":{SERIES},"numLabelPairs":35,"chunkCount":\d+,'
     rf'"minTime":{BASE_MS},"maxTime":{END_S * 1000}\}},"seriesCountByMetricName":\[\{{"name":"http_requests_total",'
     r'"value":24\}\],"labelValueCountByLabelName":\[\{"name":"n","value":14\}\],"memoryInBytesByLabelName":\['
     r'\{"name":"__name__","value":1222\}\],"seriesCountByLabelValuePair":\[\{"name":"__name__=http_requests_total",'
     r'"value":24\}\]\}\}/'),
    ("GET", "/api/v1/status/tsdb?limit=0", None, 400,
     '{"status":"error","errorType":"bad_data","error":"limit must be a positive number"}'),
    ("GET", "/api/v1/status/tsdb?limit=10001", None, 400,
     '{"status":"error","errorType":"bad_data","error":"limit must not exceed 10000"}'),
    ("GET", "/api/v1/status/tsdb/blocks", None, 200, OK + '{"blocks":[]}}'),
    ("GET", "/api/v1/features", None, 200, r'/\{"status":"success","data":\{"api":\{.*"promql":\{.*"promql_functions":'
     r'\{"abs":true,.*"promql_operators":\{.*"<=":true.*\}\}\}/'),
    ("GET", "/api/v1/targets?state=active", None, 200,
     OK + '{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":null}}'),
    ("GET", "/api/v1/scrape_pools", None, 200, OK + '{"scrapePools":[]}}'),
    ("GET", "/api/v1/alertmanagers", None, 200, OK + '{"activeAlertmanagers":[],"droppedAlertmanagers":[]}}'),
    ("GET", "/api/v1/notifications", None, 200, OK + "[]}"),
    ("POST", "/api/v1/admin/tsdb/delete_series", "match[]=up", 500,
     '{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}'),
    ("PUT", "/api/v1/admin/tsdb/snapshot", "", 500,
     '{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}'),
    ("GET", "/api/v1/parse_query?query=up", None, 200,
     OK + '{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":0,"offsetExpr":null,'
     '"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"}}'),
    ("GET", "/api/v1/parse_query?query=1%3C2", None, 400,
     '{"status":"error","errorType":"bad_data","error":"invalid parameter \\"query\\": 1:2: parse error: comparisons '
     'between scalars must use BOOL modifier"}'),
    ("GET", "/api/v1/parse_query?query=a%3C%3D2", None, 200, r'/\{"status":"success","data":\{.*"op":"\\u003c=".*\}\}/'),
    # limits
    ("GET", "/api/v1/query?query=up&timeout=0", None, 503,
     '{"status":"error","errorType":"timeout","error":"query timed out in query queue"}'),
    ("DELETE", "/api/v1/query", None, 405, r"/.*/"),
    ("GET", "/api/v1/nothing", None, 404, r"/.*/"),
    # the page
    ("GET", "/", None, 200, r"/<!DOCTYPE html>.*</html>\n/"),
]


def main() -> int:
    server = cairn(sys.argv[1])
    bad = 0
    try:
        fill(server)
        for method, target, form, status, body in GOLDEN:
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
            got, answer, answer_headers = server.request(method, target, form, headers)
            answer = answer.decode()
            right = re.fullmatch(body[1:-1], answer, re.S) if body.startswith("/") else answer == body
            kind = answer_headers.get("Content-Type", "")
            if target.startswith("/api/v1/") and status != 404 and status != 405 and kind != "application/json":
                right = False
            if got != status or not right:
                bad += 1
                print("DIFFERS", method, target, form, f"got      {got} {kind} {answer[:1500]}", f"expected {status} {body}",
                      sep="\n  ")
    finally:
        code = server.stop()
    if code != 0:
        bad += 1
        print("cairn ended with", code)
    print(f"{len(GOLDEN)} requests, {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
