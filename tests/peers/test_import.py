#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A data directory of Debian's Prometheus is taken up by a node: blocks that promtool made, and what Prometheus itself took. All series
answer as they did there, also after another start, and what the node takes by itself goes on beside them."""
from harness import *

PROMTOOL = "/usr/bin/promtool"
START = 1709244000  # 2024-02-29T22:00:00Z
HOURS = 30


def open_metrics(rng):
    lines = ["# TYPE work counter"]
    for i in range(40):
        total = 0
        for t in range(START + i, START + HOURS * 3600, 60):
            total += rng.randrange(50)
            lines.append(f'work_total{{job="j{i % 3}",instance="i{i}"}} {total} {t}.5')
    return "\n".join(lines) + "\n# EOF\n"


def answers(server):
    end = START + HOURS * 3600 + 7200
    out = [sorted((sorted(s["metric"].items()), s["values"]) for s in server.query(f"{name}[40h]", end)["result"])
           for name in ("work_total", "later")]
    out.append(server.query_range("sum by (job) (count_over_time(work_total[10m]))", START + 600, START + HOURS * 3600, 600)["result"])
    window = urllib.parse.urlencode({"start": START, "end": START + 3600})
    return out + [server.get(f"/api/v1/label/instance/values?{window}").json()["data"]]


def test(folder):
    need(PROMETHEUS, PROMTOOL)
    oracle = Prometheus(folder / "oracle", "--storage.tsdb.retention.time=100y", name="oracle")
    text = folder / "work.txt"
    text.write_text(open_metrics(seed()))
    subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, oracle.folder / "data"], check=True, capture_output=True)
    oracle.start()
    later = [({"__name__": "later", "n": str(n)}, [((START + HOURS * 3600 + 60 * k) * 1000 + n, float(k)) for k in range(100)]) for n in range(5)]
    check_eq(oracle.write(later).code, 204)
    want = answers(oracle)
    check(len(want[0]) == 40 and len(want[1]) == 5, "the oracle has", len(want[0]), "and", len(want[1]), "series")
    oracle.stop()
    node = Cairn(folder / "node", "--storage.tsdb.retention.time=100y").start()
    node.stop()
    ctl = Path(Cairn.binary).with_name("cairnctl")
    done = subprocess.run([ctl, "import", "prometheus", oracle.folder / "data", f"--storage.tsdb.path={node.data_dir}"],
                          capture_output=True, text=True)
    check_eq(done.returncode, 0, done.stderr)
    for what in "imported", "started again":
        node.start()
        check_eq(answers(node), want, what)
        now = int(time.time() * 1000)
        check_eq(node.write([({"__name__": "fresh"}, [(now, 1.0)])]).code, 204)
        check_eq(len(node.query("fresh", now / 1000)["result"]), 1)
        node.stop()
    check(not list((node.data_dir / "blocks").glob("import-*")), "imported files have names of the node's own")


main(test)
