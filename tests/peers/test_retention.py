#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Retention by matcher of a running node: from the configuration file, changed by a reload, kept over a restart; what is left is compared
with what a list comprehension leaves, and the bytes of what has ended leave the disk."""
import math
from harness import *

HOUR_MS = 3600_000
START_MS = 1709244000_000  # a multiple of two hours
STEP_MS, SPAN_MS = 60_000, 60 * HOUR_MS
FLAGS = ["--storage.blocks-interval=100ms", "--ring.shards=2", "--web.enable-lifecycle"]
JOBS = ("debug", "web", "gold")


def labels(i):
    return {"__name__": "v", "job": JOBS[i % 3], "i": str(i)}


def config(time, *rules):
    return f"""storage:
  tsdb:
    retention:
      time: {time}
      rules: [{', '.join(f"{{match: '{m}', time: {t}}}" for m, t in rules)}]
"""


def feed(node, first_ms, end_ms):
    for at in range(first_ms, end_ms, 2 * HOUR_MS):
        times = range(at, min(at + 2 * HOUR_MS, end_ms), STEP_MS)
        series = [(labels(i), [(t, float(math.sin(i + t) * 1e6)) for t in times]) for i in range(30)]
        wait_for("a write is taken", lambda: node.write(series).code == 204)


def oldest(node, at_ms, job):
    """The age in hours of the oldest sample of each of the job's series, rounded down."""
    data = node.query(f'v{{job="{job}"}}[100h]', at_ms / 1000)["result"]
    check_eq(len(data), 10, f"series of {job}")
    return {int((at_ms - s["values"][0][0] * 1000) // HOUR_MS) for s in data}


def settled(node, at_ms, **hours):
    """Retention ends at a multiple of two hours: up to two hours more than what is asked are there."""
    def done():
        for job, want in hours.items():
            for h in oldest(node, at_ms, job):
                check(h in (want, want + 1, want + 2), f"{job} has {h} hours, not {want}")
        return True
    wait_for(f"only {hours} are there", done, 60)


def runtime(node):
    data = node.get("/api/v1/status/runtimeinfo").json()["data"]
    return data["storageRetention"], data["reloadConfigSuccess"]


def blocks_bytes(node):
    return sum(f.stat().st_size for f in (node.folder / "data" / "blocks").glob("*.block"))


def blocks_samples(node):
    return sum(b["stats"]["numSamples"] for b in node.get("/api/v1/status/tsdb/blocks").json()["data"]["blocks"])


class Configured(Cairn):
    def command(self):
        args = Cairn.command(self)
        (self.folder / "empty.yml").write_text(self.config)
        return args


def test(folder):
    node = Configured(folder / "node", *FLAGS)
    node.folder.mkdir(parents=True)
    file = node.folder / "empty.yml"
    node.config = config("0s")
    node.start()
    end_ms = START_MS + SPAN_MS
    feed(node, START_MS, end_ms)
    settled(node, end_ms, debug=59, web=59, gold=59)
    check_eq(runtime(node), ("", True), "storageRetention: for ever")
    began = node.get("/api/v1/status/runtimeinfo").json()["data"]["lastConfigTime"]
    closed = (end_ms - STEP_MS - HOUR_MS) // (2 * HOUR_MS) * 2 * HOUR_MS  # an hour behind the newest, at a multiple of two hours
    wait_for("all closed ranges are in blocks", lambda: blocks_samples(node) == 30 * (closed - START_MS) // STEP_MS, 60)
    before = blocks_bytes(node)

    # web has no rule; the first rule that matches counts: gold's is longer than the general one
    file.write_text(config("20h", ('{job="gold"}', "40h"), ('{job=~"debug|gold"}', "6h")))
    check_eq(http_request(node.port, "POST", "/-/reload").code, 200, "reload")
    settled(node, end_ms, debug=6, web=20, gold=40)
    check("40h" in node.get("/api/v1/status/config").json()["data"]["yaml"], "the new configuration is shown")
    check_eq(runtime(node), ("20h", True), "storageRetention")
    check(node.get("/api/v1/status/runtimeinfo").json()["data"]["lastConfigTime"] > began, "lastConfigTime is the reload's")
    say("three kinds of series end at their own times after a reload")

    feed(node, end_ms, end_ms + 6 * HOUR_MS)
    end_ms += 6 * HOUR_MS
    settled(node, end_ms, debug=6, web=20, gold=40)
    after = wait_for("less than six tenths of the bytes are there", lambda: blocks_bytes(node) < 0.6 * before and blocks_bytes(node))
    say(f"blocks had {before} bytes, and have {after}")

    for bad in ("storage: {tsdb: {retention: {time: x}}}", config("1h") + "global: {scrape_interval: 3s}\n"):
        file.write_text(bad)
        a = http_request(node.port, "POST", "/-/reload")
        check(a.code == 500 and "failed to reload config" in a.text, a)
        check_eq(runtime(node), ("20h", False), "after a reload that failed")
    node.config = config("20h", ('{job="gold"}', "40h"), ('{job=~"debug|gold"}', "6h"))
    node.stop()
    node.start()
    settled(node, end_ms, debug=6, web=20, gold=40)
    file.write_text(config("10h"))
    os.kill(node.pid, signal.SIGHUP)
    settled(node, end_ms, debug=6, web=10, gold=10)
    node.stop()
    say("a restart keeps it, SIGHUP changes it, and what is wrong changes nothing")


main(test)
