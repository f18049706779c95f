#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The HTTP API against Debian's prometheus 2.42 as oracle: both get the same remote write bytes, then the same requests;
status and body must be the same. Numbers are compared as text. Usage: test_differential.py CAIRN PROMETHEUS."""
import json, sys, urllib.parse

from servers import BASE_MS, STEP_MS, STEPS, cairn, fill, prometheus

# Between two samples: ranges are open on the left since 3.0, which shows only when they begin at a sample.
END_S = (BASE_MS + (STEPS - 1) * STEP_MS) // 1000 - 7
START_S = BASE_MS // 1000


def q(path: str, **params) -> str:
    pairs = []
    for name, value in params.items():
        for v in value if isinstance(value, list) else [value]:
            pairs.append((name.replace("match", "match[]"), str(v)))
    return path + "?" + urllib.parse.urlencode(pairs)


def instant(query: str, **more) -> str:
    return q("query", query=query, **{"time": END_S, **more})


def ranged(query: str, **more) -> str:
    return q("query_range", query=query, **{"start": END_S - 600, "end": END_S, "step": 30, **more})


# Ordered: the order of an instant vector is compared too, elsewhere Prometheus leaves it open.
ORDERED = ("sort(", "sort_desc(", "topk(", "bottomk(")

SAME = [
    instant("1+1"), instant("1/0"), instant("-1e-9"), instant("1e21"), instant("0.1+0.2", time="1700000001.5"),
    instant("0.1+0.2", time="1700000001.501"), instant("1", time="1700000001.0299"), instant('"a <b> & c \\u2028 é"'),
    instant("time()", time="1700000000.123"), instant("up"), instant('up{job="job1"}'), instant("up", time=START_S - 10),
    instant("up", time="2023-11-14T22:20:00Z"), instant("up", time="2023-11-14T22:20:00.25+01:00"),
    instant("special"), instant('sort(special{n!="1"})'), instant("sort_desc(temperature)"), instant("-special"), instant("odd"),
    instant("odd offset 5m"), instant("gone"), instant("gone", time=START_S + 100 * 15 - 1),
    instant("gone", time=START_S + 100 * 15 + 1), instant("http_requests_total[1m]"), instant("odd[31s]"),
    instant("sum(rate(http_requests_total[5m]))"), instant("sum by (job) (rate(http_requests_total[5m]))"),
    instant("sum without (instance, code) (http_requests_total)"), instant("avg by (code) (http_requests_total)"),
    instant("topk(3, http_requests_total)"), instant("bottomk(2, http_requests_total{code=\"200\"})"),
    instant("count_values(\"v\", up)"), instant("quantile(0.9, http_requests_total)"), instant("stddev(http_requests_total)"),
    instant("histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))"), instant("absent(nothing{a=\"b\"})"),
    instant("http_requests_total{code=\"500\"} / ignoring(code) http_requests_total{code=\"200\"}"),
    instant("up and on(instance) up{job=\"job0\"}"), instant("up == 0"), instant("up > bool 0.5"), instant("-up"),
    instant('label_replace(up, "x", "$1", "instance", "(.*):.*")'), instant("max_over_time(temperature[10m:1m])"),
    instant("vector(1) or up"), instant("scalar(temperature)"), instant("temperature @ 1700000600"),
    instant("count(up) by (job) > 3"), instant("up", timeout="30s"),
    instant("up", timeout="30"), instant("nothing"),
    ranged("up"), ranged("1"), ranged("time()"), ranged("sum(rate(http_requests_total[1m]))"), ranged("special"),
    ranged("temperature", step="1m"), ranged("temperature", step="7.5"), ranged("temperature", start=END_S - 1, end=END_S),
    ranged("temperature", start=START_S - 600, end=START_S + 60), ranged("gone", start=START_S + 1400, end=START_S + 1600),
    ranged("temperature", start="2023-11-14T22:20:00Z", end="2023-11-14T22:30:00Z"), ranged("nothing"),
    ranged("temperature", start=END_S, end=END_S), ranged("odd"), ranged("rate(http_requests_total{job=\"job1\"}[5m])"),
    ranged("temperature", start="1700000000.1004", end="1700000100.1", step="10.5"),
    # errors
    instant("up", time="yesterday"), instant("up", timeout="soon"),
    instant("up{"), instant("sum(up"), instant("up[5m"), instant("foo(up)"), instant("rate(up)"), instant('"a" + 1'),
    instant('label_replace(up, "x", "$1", "instance", "(")'),
    ranged("up", start="x"), ranged("up", end="x"), ranged("up", step="x"), ranged("up", step="0"), ranged("up", step="-5"),
    ranged("up", start=END_S, end=START_S), ranged("up", step="1e300"), ranged("up", start=0, end=11001, step=1),
    ranged("up", start=0, end=11000, step=1), ranged("up", timeout="x"),
    q("query_range", query="up", start=1, end=2), q("query_range", query="up"), ranged("up", start=""),
    instant("up", time=""), instant("up", time="0x10"),
    # lists
    q("labels"), q("labels", match="up"), q("labels", match=["up", "odd"]), q("labels", start=END_S - 60, end=END_S),
    q("labels", match="{"), q("labels", match="nothing"), q("labels", start="x"), q("labels", end="x"),
    q("label/__name__/values"), q("label/job/values"), q("label/job/values", match='up{instance="host1:9100"}'),
    q("label/job/values", match=["odd", "up"]), q("label/text/values"), q("label/nothing/values"),
    q("label/job/values", match="up{"), q("label/job/values", start="x"), q("label/le/values", start=START_S, end=END_S),
    q("series", match="up"), q("series", match=['up{job="job0"}', "odd"]), q("series", match=["up", "up"]),
    q("series"), q("series", match="up{"), q("series", match="nothing"), q("series", match="up", start="x"),
    q("series", match="up", end="x"), q("series", match="{job=~\".*\"}"), q("series", match='{__name__=~"o.*",text!=""}'),
    q("series", match="up", start=START_S, end=START_S + 60), q("series", match="up", start=0, end=100),
    # the rest
    q("rules"), q("rules", type="alert"), q("rules", type="record"), q("rules", type="x"), q("alerts"), q("alertmanagers"),
    q("metadata"), q("metadata", limit="x"), q("targets/metadata"), q("targets/metadata", limit="x"),
    q("targets/metadata", match_target="{"), q("format_query", query="sum by(job)(rate(up[5m]))"),
    q("format_query", query="up{"), q("format_query", query='a{b="<&>"}'),
    q("format_query", query="sum by (job) (rate(http_requests_total{code=~\"5..\",job=\"a long enough job\"}[5m])) / "
      "sum by (job) (rate(http_requests_total{job=\"a long enough job\"}[5m]))"),
    q("query_exemplars", query="up{", start=1, end=2), q("query_exemplars", query="1", start=1, end=2),
    q("query_exemplars", query="up", start=2, end=1), q("query_exemplars", query="up", start="x"),
]
POSTS = [
    ("query", "query=sum(up)&time=1700000600"), ("query_range", "query=up&start=1700000600&end=1700000660&step=30"),
    ("labels", "match[]=up"), ("labels", ""), ("series", "match[]=up&match[]=odd"), ("query", "query=up{&time=1"),
    ("series", ""), ("format_query", "query=a%2Bb"),
]

# What Debian's 2.42 answers otherwise than 3.14, which is the model: (request, why, status, body of 3.14 or a part of it).
DUPLICATES = ('found duplicate series for the match group {job=\\"job0\\"} on the right hand-side of the operation: '
              '[{__name__=\\"up\\", instance=\\"host0:9100\\", job=\\"job0\\"}, {__name__=\\"up\\", '
              'instance=\\"host1:9100\\", job=\\"job0\\"}];many-to-many matching not allowed: matching labels must be '
              'unique on one side"}')
NEWER = [
    (instant("up + on(job) up"), "the order of the two series is open", 422, DUPLICATES),
    (instant("http_requests_total * on(job) group_left up"), "the order of the two series is open", 422, DUPLICATES),
    (instant('up{job=~"("}'), "3.14 names the expression as written", 400,
     'error parsing regexp: missing closing ): `(`"}'),
    (instant('count_values("a b", up)'), "any UTF-8 name is valid since 3.0", 200, '"metric":{"a b":"0"}'),
    (ranged("up[5m]"), "3.14 names the parameter", 400, 'invalid parameter \\"query\\": invalid expression type '
     '\\"range vector\\" for range query, must be Scalar or instant Vector"}'),
    (ranged('"text"'), "3.14 names the parameter", 400, 'invalid parameter \\"query\\": invalid expression type '
     '\\"string\\" for range query, must be Scalar or instant Vector"}'),
    (ranged("up{"), "3.14 names the parameter", 400, 'invalid parameter \\"query\\": 1:4: parse error: unexpected end '
     'of input inside braces"}'),
    (instant(""), "posrange.StartPosInput of 3.14 knows no position in an empty text", 400,
     'invalid parameter \\"query\\": unknown position: parse error: no expression found in input"}'),
    (instant("count(up)", lookback_delta="7s"), "lookback_delta came with 2.43", 200, '"result":[]'),
    (instant("count(up)", lookback_delta="8.5"), "lookback_delta came with 2.43", 200, '1700003578,"12"]'),
    (instant("up", lookback_delta="x"), "lookback_delta came with 2.43", 400,
     '"error":"error parsing lookback delta duration: cannot parse \\"x\\" to a valid duration"}'),
    (instant("up", stats="x"), "2.42 has no warning about other values of stats", 200,
     'value \\"x\\" for parameter \\"stats\\" is deprecated and will be rejected in the next major release, use '
     '\\"true\\" or \\"all\\"'),
    (instant("sort(up)", limit=2), "limit of queries came with 3.2", 200, '"warnings":["results truncated due to limit"]}'),
    (instant("up", limit="-1"), "limit", 400,
     '{"status":"error","errorType":"bad_data","error":"invalid parameter \\"limit\\": limit must be non-negative"}'),
    (instant("up", limit="abc"), "limit", 400, '{"status":"error","errorType":"bad_data","error":"invalid parameter '
     '\\"limit\\": strconv.Atoi: parsing \\"abc\\": invalid syntax"}'),
    (instant("up", limit="99999999999999999999"), "limit", 400, 'strconv.Atoi: parsing \\"99999999999999999999\\": '
     'value out of range"}'),
    (q("labels", limit=1), "limit", 200,
     '{"status":"success","data":["__name__"],"warnings":["results truncated due to limit"]}'),
    (q("label/job/values", limit=2), "limit", 200,
     '{"status":"success","data":["job0","job1"],"warnings":["results truncated due to limit"]}'),
    (q("label/job/values", limit=3), "limit", 200, '{"status":"success","data":["job0","job1","job2"]}'),
    (q("series", match="odd", limit=1), "limit", 200, '"}]}'),
    (q("label/a-b/values"), "any UTF-8 name is valid since 3.0", 200, '{"status":"success","data":[]}'),
    (q("label/U__job/values"), "escaped names came with 3.0", 200, '{"status":"success","data":["job0","job1","job2"]}'),
    (q("label/U__j_6f_b/values"), "escaped names", 200, '{"status":"success","data":["job0","job1","job2"]}'),
    (q("label/U___zz_/values"), "a malformed escape is a name", 200, '{"status":"success","data":[]}'),
    (q("label/%FF/values"), "names are UTF-8", 400, '"error":"invalid label name: \\"\\\\xff\\""}'),
    (q("metadata", limit_per_metric="x"), "limit_per_metric came with 2.46", 400,
     '"error":"limit_per_metric must be a number"}'),
    (q("query_exemplars", query="up", start=1, end=2), "2.42 keeps no exemplars without a feature: null", 200,
     '{"status":"success","data":[]}'),
    (q("targets"), "droppedTargetCounts came with 2.46", 200, '"droppedTargetCounts":{}}}'),
    (q("rules", exclude_alerts="x"), "exclude_alerts came with 2.49", 400, 'invalid parameter \\"exclude_alerts\\": error '
     'converting exclude_alerts: strconv.ParseBool: parsing \\"x\\": invalid syntax"}'),
    (q("rules", group_next_token="x"), "pages of groups came with 3.0", 400, 'group_limit needs to be present in order to '
     'paginate over the groups"}'),
    (q("series", match='{job=~".*"}'), "same text since 2.0", 400, "match[] must contain at least one non-empty matcher"),
    (instant("vector(NaN", ), "", 400, 'invalid parameter \\"query\\": 1:11: parse error: unclosed left parenthesis"}'),
]


# 3.14 adds with Kahan's compensation, 2.42 does not: sums of fractions differ in the last digits.
SUMS = ("sum(", "sum by", "avg by")


def close(a, b) -> bool:
    """Equal but for numbers in strings, which may differ by 1e-12 of their size."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b))
    try:
        return a == b or abs(float(a) - float(b)) <= 1e-12 * abs(float(a))
    except (TypeError, ValueError):
        return False


def same(target: str, a, b) -> bool:
    if a[0] != b[0]:
        return False
    if target.startswith(("format_query", "label/")) and a[0] == 200 and a[1] != b[1]:
        return False  # escapes included; labels in results are escaped otherwise since 2.43
    x, y = normal(target, a[1]), normal(target, b[1])
    query = urllib.parse.parse_qs(target.partition("?")[2]).get("query", [""])[0]
    return close(x, y) if query.startswith(SUMS) else x == y


def normal(target: str, body: bytes):
    """Numbers stay text. Lists whose order is open are sorted: vectors, and series."""
    if not body:
        return None
    body = body.replace(b"Invalid time value for", b"invalid time value for")  # reworded in 2.43
    value = json.loads(body, parse_float=lambda s: "number " + s, parse_int=lambda s: "number " + s)
    data = value.get("data")
    if target.startswith("series") and isinstance(data, list):
        data.sort(key=lambda x: json.dumps(x, sort_keys=True))
    if target.startswith("query") and isinstance(data, dict) and data["resultType"] in ("vector", "matrix"):
        query = urllib.parse.parse_qs(target.partition("?")[2]).get("query", [""])[0]
        if not query.startswith(ORDERED) and not target.startswith("query_range"):
            data["result"].sort(key=lambda x: json.dumps(x["metric"], sort_keys=True))
    return value


def main() -> int:
    if not sys.argv[2]:
        print("prometheus is not installed")
        return 77
    ours, theirs = cairn(sys.argv[1]), prometheus(sys.argv[2])
    bad = exact = 0

    def complain(target, *lines):
        nonlocal bad
        bad += 1
        print("DIFFERS", urllib.parse.unquote(target), *lines, sep="\n  ")

    try:
        fill(ours, theirs)
        for target in SAME:
            a, b = ours.get(target), theirs.get(target)
            exact += a == b
            if not same(target, a, b):
                complain(target, f"cairn      {a}"[:600], f"prometheus {b}"[:600])
        for path, form in POSTS:
            a, b = ours.post(path, form), theirs.post(path, form)
            exact += a == b
            if not same(path, a, b):
                complain("POST " + path + " " + form, f"cairn      {a}"[:600], f"prometheus {b}"[:600])
        for target, why, status, text in NEWER:
            a = ours.get(target)
            if a[0] != status or text.encode() not in a[1]:
                complain(target, why, f"cairn    {a}"[:600], f"expected {status} {text}")
    finally:
        code = ours.stop()
        theirs.stop()
    if code != 0:
        bad += 1
        print("cairn ended with", code)
    print(f"{len(SAME) + len(POSTS)} requests compared with prometheus ({exact} answers equal to the byte), "
          f"{len(NEWER)} with the text of 3.14, {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
