#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs each command that the README shows, with free ports and a temporary data directory. A command that no rule below knows
fails the test; those that CI runs by itself (./dev test ...) and ./dev run on a bare machine (tests/bare) are named as such."""
import os, re, signal, socket, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ENV = dict(os.environ, LC_ALL="C")


def commands():
    for line in (ROOT / "README.md").read_text().splitlines():
        m = re.match(r"    ((?:\./dev|build/|curl )\S*.*?)(?:\s+#.*)?$", line)
        if m:
            yield m.group(1).strip()


def configurations():
    """What stands in the README as YAML: indented, from a key of the configuration file on."""
    for text in re.findall(r"(?m)^    \w+:$\n(?:^     .*\n)+", (ROOT / "README.md").read_text()):
        yield "".join(line[4:] + "\n" for line in text.splitlines())


def free_ports(count, step=100):
    """A base port such that base, base + step, ... and each + 5 are free."""
    for base in range(20000 + os.getpid() % 9000, 60000, 7):
        try:
            socks = []
            for i in range(count):
                for p in (base + i * step, base + i * step + 5):
                    s = socket.socket()
                    socks.append(s)
                    s.bind(("127.0.0.1", p))
            return base
        except OSError:
            continue
        finally:
            for s in socks:
                s.close()
    raise SystemExit("no free ports")


class Process:
    """A command of its own process group that is stopped with Ctrl-C's signal."""

    def __init__(self, args, port):
        self.out = tempfile.TemporaryFile()
        self.p = subprocess.Popen(args, cwd=ROOT, stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL,
                                  start_new_session=True, env=ENV)
        self.port = port

    def text(self):
        self.out.seek(0)
        return self.out.read().decode(errors="replace")

    def wait_for(self, text, seconds=300):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if text in self.text():
                return
            if self.p.poll() is not None:
                break
            select_wait()
        raise SystemExit(f"{self.p.args} did not say {text!r}:\n{self.text()}")

    def stop(self):
        if self.p.poll() is None:
            os.killpg(self.p.pid, signal.SIGTERM)
            try:
                self.p.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.p.pid, signal.SIGKILL)
                self.p.wait()
                raise SystemExit(f"{self.p.args} did not end")


def select_wait():
    import select
    select.select([], [], [], 0.1)


def run(args, **kw):
    out = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, env=ENV, stdin=subprocess.DEVNULL, timeout=600, **kw)
    if out.returncode != 0:
        raise SystemExit(f"{args} failed with {out.returncode}:\n{out.stdout}{out.stderr}")
    return out.stdout + out.stderr


def started_once(data, *flags, post=None):
    """The directory of a node that ran until it had answered."""
    port = free_ports(1)
    node = Process(["build/cairn", f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={data}", *flags], port)
    try:
        node.wait_for("Server is ready")
        return post and run(post.replace("localhost:9090", f"127.0.0.1:{port}").split())
    finally:
        node.stop()


def imported(command, tmp):
    """Into the directory of a node that was started once."""
    text, data = Path(tmp) / "samples.txt", Path(tmp) / "import"
    text.write_text("# TYPE a counter\na_total 1 1700000000\na_total 2 1700000060\n# EOF\n")
    started_once(data)
    folder = Path(tmp) / "prometheus"
    if " DIR" in command:
        if not os.access("/usr/bin/promtool", os.X_OK):
            return "skipped: /usr/bin/promtool is not installed (./dev setup installs it)"
        run(["/usr/bin/promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder)])
    run(command.replace("=data", f"={data}").replace(" DIR", f" {folder}").replace(" FILE", f" {text}").split())
    assert list((data / "blocks").glob("import-*.block")), "nothing was imported"
    return "imported"


def looked_at(command, tmp):
    data = Path(tmp) / "import"  # of the imports further up
    out = run(command.replace(" data", f" {data}").split())
    if " dump " in command:
        assert '{__name__="a_total"} 2 1700000060000' in out, out
    return "exit 0"


def recovered(command, tmp):
    """Of the snapshot that the curl further up has made."""
    snapshots = list((Path(tmp) / "backup" / "snapshots").iterdir())
    assert len(snapshots) == 1, snapshots
    run(command.replace(" COPY...", f" {snapshots[0]}").split())
    started_once(snapshots[0])
    return "a new cluster"


def check(command, node_port, tmp):
    if command.startswith("curl ") and command.endswith("/snapshot"):
        assert "success" in started_once(Path(tmp) / "backup", "--web.enable-admin-api", post=command)
        return "success"
    if command.startswith("build/cairnctl tsdb "):
        return looked_at(command, tmp)
    if command.startswith("build/cairnctl ring verify "):
        out = started_once(Path(tmp) / "verified", "--web.enable-admin-api", post=command)
        assert "0 findings" in out, out
        return "nothing is bad"
    if command.startswith("build/cairnctl ring recover "):
        return recovered(command, tmp)
    if re.fullmatch(r"\./dev test( --\w+)?", command) or command in ("./dev run", "./dev lint"):
        return "by CI itself"
    if command.startswith("./dev run "):
        p = Process(command.replace("127.0.0.1:9490", f"127.0.0.1:{free_ports(1)}").split() + [f"--storage.tsdb.path={tmp}/run"], 0)
        try:
            p.wait_for("Cairn is ready")
        finally:
            p.stop()
        return "ready"
    if command == "./dev cluster 3":
        base = free_ports(3)
        p = Process(command.split() + [f"--base-port={base}", f"--data={tmp}/cluster"], base)
        try:
            p.wait_for("cluster of 3 is ready")
            for i in range(3):
                urllib.request.urlopen(f"http://127.0.0.1:{base + 100 * i}/-/ready", timeout=5).read()
        finally:
            p.stop()
        return "three nodes ready"
    if command.startswith("build/cairnctl import "):
        return imported(command, tmp)
    if command.startswith("build/cairnctl "):
        import shlex
        config = Path(tmp) / "prometheus.yml"
        config.write_text("global: {scrape_interval: 15s}\n")
        run(shlex.split(command.replace("http://localhost:9090", f"http://127.0.0.1:{node_port}").replace(" prometheus.yml", f" {config}")))
        return "exit 0"
    if command.startswith("build/cairn --ring.discovery="):
        base = free_ports(3)
        text = command
        for i, name in enumerate("abc"):
            text = re.sub(rf"\b{name}:9095", f"127.0.0.1:{base + 5 + 100 * i}", text)
        p = Process(text.split() + [f"--web.listen-address=127.0.0.1:{base}", f"--ring.listen-address=127.0.0.1:{base + 5}",
                                    f"--storage.tsdb.path={tmp}/byhand"], base)
        try:
            p.wait_for("Server is ready")
        finally:
            p.stop()
        return "starts"
    if command == "./dev fuzz":
        if not os.environ.get("CAIRN_README_FUZZ"):
            return "the list needs clang's build; run by tests/readme with CAIRN_README_FUZZ=1"
        assert "fuzz_" in run(command.split())
        return "lists targets"
    if command.startswith("./dev bench "):
        run(command.split() + ["--instances", "2", "--rows", "3", "--settle", "0", "--only", "cairn"])
        return "small run"
    raise SystemExit(f"README shows {command!r}, which this test does not know")


def main():
    with tempfile.TemporaryDirectory(prefix="cairn-readme-") as tmp:
        port = free_ports(1)
        node = Process(["./dev", "run", f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp}/node"], port)
        try:
            node.wait_for("Cairn is ready")
            end = time.monotonic() + 30
            while '"up"' not in urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/label/__name__/values").read().decode():
                assert time.monotonic() < end, "the node did not scrape itself"
                select_wait()
            count = 0
            for command in commands():
                print(f"{command}: {check(command, port, tmp)}", flush=True)
                count += 1
            for text in configurations():
                (Path(tmp) / "shown.yml").write_text(text)
                run(["build/cairnctl", "check", "config", f"{tmp}/shown.yml"])
                print(f"the configuration {text.splitlines()[0]} is valid", flush=True)
                count += 1
            assert count >= 14, f"only {count} commands found in the README"
        finally:
            node.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
