# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven by its DevTools protocol over a pair of pipes (--remote-debugging-pipe: JSON messages that end
with a zero byte), so no port and no websocket. It ends when the pipes close, so also when the test is killed."""
import base64, fcntl, json, os, select, shutil, subprocess, tempfile, time
from pathlib import Path

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-default-browser-check",
         "--disable-extensions", "--no-proxy-server", "--lang=en-US", "--window-size=1100,900", "--remote-debugging-pipe"]
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""),
        "ArrowLeft": (37, ""), "ArrowRight": (39, ""), " ": (32, " ")}
CTRL, SHIFT = 2, 8


class BrowserError(Exception):
    pass


class Browser:
    def __init__(self, program):
        self.folder = folder = Path(tempfile.mkdtemp(prefix="cairn-browser-"))
        to_read, self.to = os.pipe()
        self.source, from_write = os.pipe()
        to_read, from_write = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (to_read, from_write))

        def place_pipes():  # Chromium reads 3 and writes 4; all else is closed by exec
            os.dup2(to_read, 3)
            os.dup2(from_write, 4)

        env = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder), "TZ": "UTC"}
        with open(folder / "chromium.log", "wb") as log:
            self.proc = subprocess.Popen([program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"], env=env,
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False,
                                         preexec_fn=place_pipes)
        os.close(to_read)
        os.close(from_write)
        self.pending, self.events, self.next_id, self.session = b"", [], 0, None
        target = next(t for t in self.call("Target.getTargets", seconds=30)["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(domain + ".enable")

    def _read(self, deadline):
        while b"\0" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.source], [], [], left)[0]:
                raise BrowserError("no answer in time")
            chunk = os.read(self.source, 1 << 20)
            if not chunk:
                log = (self.folder / "chromium.log").read_text(errors="replace")
                raise BrowserError(f"the browser ended with {self.proc.wait()}: {log[-2000:]}")
            self.pending += chunk
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, seconds=15, **params):
        self.next_id += 1
        message = {"id": self.next_id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        deadline = time.monotonic() + seconds
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self.next_id:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def eval(self, script, seconds=15):
        """The JSON value of an expression, or of the promise it is."""
        r = self.call("Runtime.evaluate", seconds, expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in r:
            raise BrowserError(f"{script}: {r['exceptionDetails'].get('exception', r['exceptionDetails'])}")
        return r["result"].get("value")

    def wait(self, condition, seconds=10):
        """Until the expression is true, seen at every frame's end; its value."""
        script = f"""new Promise((done, failed) => {{ const began = performance.now(); (function look() {{
            let v; try {{ v = ({condition}); }} catch (e) {{ v = false; }}
            if (v) done(v); else if (performance.now() - began > {seconds * 1000}) failed(document.body.innerText.slice(0, 2000));
            else setTimeout(look, 10); }})(); }})"""
        return self.eval(script, seconds + 10)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def type(self, text):
        """As an input method does: one insertion, except the last character, which is a key."""
        if text[:-1]:
            self.call("Input.insertText", text=text[:-1])
        self.call("Input.dispatchKeyEvent", type="char", text=text[-1])

    def press(self, key, modifiers=0):
        code, text = KEYS[key]
        common = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        text = "" if modifiers & CTRL else text
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector):
        x, y = self.eval(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
                         " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path):
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def seen(self, method):
        return [e["params"] for e in self.events if e["method"] == method]

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
            self.proc.wait(timeout=5)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            self.proc.kill()
            self.proc.wait()
        os.close(self.to)
        os.close(self.source)
        shutil.rmtree(self.folder, ignore_errors=True)
