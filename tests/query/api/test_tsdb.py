#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/api/v1/status/tsdb against Debian's prometheus 2.42, fed the same: same keys in the same order, same counts. Usage:
test_tsdb.py CAIRN PROMETHEUS."""
import json, sys

from servers import cairn, data_set, fill, prometheus


def stats(server, query=""):
    status, body = server.get("status/tsdb" + query)
    return status, json.loads(body)


def order(value):
    """Keys in the order they are written."""
    if isinstance(value, dict):
        return [(k, order(v)) for k, v in value.items()]
    return order(value[0]) if isinstance(value, list) and value else None


def memory() -> list:
    """2.42 counts each value once; since 3.0 it is name and value of every series, each with its length (1 byte below 255)."""
    sums = {}
    for labels, _ in data_set():
        for name, value in labels.items():
            sums[name] = sums.get(name, 0) + 2 + len(name.encode()) + len(value.encode())
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:10]


def main() -> int:
    if not sys.argv[2]:
        print("prometheus is not installed")
        return 77
    ours, theirs = cairn(sys.argv[1]), prometheus(sys.argv[2])
    bad = 0
    try:
        a = stats(ours)  # prometheus keeps its counts for 30 s, so it is asked once; its empty head has these times too
        if a[0] != 200 or a[1]["data"]["headStats"] != {"numSeries": 0, "numLabelPairs": 0, "chunkCount": 0, "minTime": 2**63 - 1,
                                                        "maxTime": -2**63}:
            bad += 1
            print("EMPTY", a, sep="\n  ")
        fill(ours, theirs)
        a, b = stats(ours)[1], stats(theirs)[1]
        if order(a) != order(b):
            bad += 1
            print("SHAPE", order(a), order(b), sep="\n  ")
        x, y = a["data"], b["data"]
        for head in (x["headStats"], y["headStats"]):
            head.pop("chunkCount")  # each cuts its chunks where it likes
        for key in x:
            if key == "headStats":
                same = x[key] == y[key]
            elif key == "memoryInBytesByLabelName":
                same = [(e["name"], e["value"]) for e in x[key]] == memory()
            else:  # the ten largest; which of those with one count are left out is open
                tail = min(e["value"] for e in y[key])
                head = lambda entries: {(e["name"], e["value"]) for e in entries if e["value"] > tail}
                same = head(x[key]) == head(y[key]) and [e["value"] for e in x[key]] == [e["value"] for e in y[key]]
                same = same and len(x[key]) > 3
            if not same:
                bad += 1
                print("DIFFERS", key, x[key], y[key], sep="\n  ")
        two = stats(ours, "?limit=2")[1]["data"]
        if any(len(v) != 2 for k, v in two.items() if k != "headStats") or stats(ours, "?limit=0")[0] != 400:
            bad += 1
            print("LIMIT", two)
    finally:
        code = ours.stop()
        theirs.stop()
    print(f"{bad} differ")
    return 1 if bad or code else 0


if __name__ == "__main__":
    sys.exit(main())
