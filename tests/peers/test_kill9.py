#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of one node with default flags, 20 times under more than 50,000 samples a second: every acknowledged sample is there
afterwards, and none that was never sent. The loader sends a refused or unanswered request again, as senders do, except that it
drops some, which may be there or not."""
import math
from harness import *

KILLS, CONNECTIONS, SERIES, RATE_MIN, RATE_MAX = 20, 8, 500, 50_000, 120_000
if SANITIZED:
    KILLS, RATE_MIN, RATE_MAX = 5, 2_000, 20_000
STEP_MS = 1000
POINT = struct.Struct("<d")


class Sender(threading.Thread):
    """One connection with series of its own. A request has one sample for each of them; value = row * SERIES + series, so that a
    sample says which request it came from."""

    def __init__(self, load, index):
        super().__init__(daemon=True)
        self.load, self.index = load, index
        self.states = []  # per row: True acknowledged, False unknown
        self.failure = None
        self.encode_template()

    def encode_template(self):
        """The whole HTTP request for row 0; values and timestamps are then patched in place."""
        body, self.at = bytearray(), []
        for i in range(SERIES):
            one = encode_series({"__name__": "kill9_total", "conn": str(self.index), "i": str(i), "job": "loader"},
                                [(self.load.t0, 0.0)])
            body += one
            self.at.append(len(body) - 15)  # the last 15 bytes: f64, tag of the time, time as a varint of 6
        check_eq(len(varint(self.load.t0)), 6, "bytes of a timestamp")
        wire = snappy(bytes(body))
        head = "".join(f"{k}: {v}\r\n" for k, v in WRITE_HEADERS.items())
        head = f"POST /api/v1/write HTTP/1.1\r\nHost: {HOST}\r\n{head}Content-Length: {len(wire)}\r\n\r\n".encode()
        skip = len(head) + len(wire) - len(body)
        self.at = [skip + p for p in self.at]
        self.request = bytearray(head + wire)

    def patch(self, row):
        stamp = b"\x10" + varint(self.load.t0 + row * STEP_MS)
        value = float(row * SERIES)
        pack, request = struct.Struct("<d7s").pack_into, self.request
        for p in self.at:
            pack(request, p, value, stamp)
            value += 1.0

    def connect(self):
        s = socket.create_connection((HOST, self.load.node.port), timeout=20 * SLOWER)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def send(self, s):
        s.sendall(self.request)
        reply = b""
        while b"\r\n\r\n" not in reply:
            part = s.recv(4096)
            if not part:
                raise ConnectionError("closed")
            reply += part
        head, rest = reply.split(b"\r\n\r\n", 1)
        code = int(head.split()[1])
        m = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        left = (int(m.group(1)) if m else 0) - len(rest)
        while left > 0:
            part = s.recv(left)
            if not part:
                break
            rest += part
            left -= len(part)
        return code, rest

    def run(self):
        try:
            self.run_rows()
        except BaseException as e:
            self.failure = e
            self.load.changed.set()

    def run_rows(self):
        s, row = None, 0
        while not self.load.over:
            self.patch(row)
            self.states.append(False)
            while not self.load.over:
                try:
                    s = s or self.connect()
                    code, text = self.send(s)
                except OSError:
                    if s:
                        s.close()
                    s = None
                    self.load.lost += 1
                    if row % 3 == 0:
                        break  # nobody will ever know
                    self.load.alive.wait(60)
                    continue
                if code == 204:
                    self.states[row] = True
                    self.load.acknowledged(self)
                    break
                check_eq(code, 503, f"answer to a write: {text!r}")
            row += 1
            self.load.pace()


class Load:
    def __init__(self, node, t0):
        self.node, self.t0 = node, t0
        self.over = False
        self.alive, self.changed = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.acks = self.lost = 0
        self.live_seconds, self.live_since = 0.0, None
        self.senders = [Sender(self, i) for i in range(CONNECTIONS)]

    def node_is_up(self):
        self.live_since = time.monotonic()
        self.alive.set()

    def node_goes_down(self):
        self.alive.clear()
        self.live_seconds += time.monotonic() - self.live_since

    def acknowledged(self, sender):
        with self.lock:
            self.acks += 1
        self.changed.set()

    def pace(self):
        """Keeps the run short: not faster than RATE_MAX over the time in which the node lived."""
        while not self.over and self.alive.is_set():
            live = self.live_seconds + time.monotonic() - self.live_since
            ahead = self.acks * SERIES / RATE_MAX - live
            if ahead <= 0:
                return
            threading.Event().wait(min(ahead, 0.05))

    def wait_acks(self, count):
        deadline = time.monotonic() + 30 * SLOWER
        while self.acks < count:
            for s in self.senders:
                if s.failure:
                    raise s.failure
            check(time.monotonic() < deadline, "no acknowledgements:", self.acks, "of", count)
            self.changed.wait(0.1)
            self.changed.clear()


def check_sender(node, sender, at, range_s):
    """Every sample of every series of one connection, and count and sum beside them."""
    acked = {row for row, ok in enumerate(sender.states) if ok}
    selector = f'kill9_total{{conn="{sender.index}"}}[{range_s}s]'
    held = {}
    for r in node.data("/api/v1/query", query=selector, time=at)["result"]:
        i = int(r["metric"]["i"])
        held[i] = rows = set()
        for t, v in r["values"]:
            row, rest = divmod(round(t * 1000) - sender.load.t0, STEP_MS)
            check(rest == 0 and 0 <= row < len(sender.states), "a time that was never sent:", t, r["metric"])
            check(float(v) == row * SERIES + i, "a value that was never sent:", t, v, r["metric"])
            check(row not in rows, "twice:", t, r["metric"])
            rows.add(row)
        check(acked <= rows, len(acked - rows), "acknowledged samples are missing, rows", sorted(acked - rows)[:5], r["metric"])
    check_eq(len(held), SERIES, f"series of connection {sender.index}")
    for name in "count", "sum":
        for r in node.query(f"{name}_over_time({selector})", at)["result"]:
            i = int(r["metric"]["i"])
            value = len(held[i]) if name == "count" else math.fsum(row * SERIES + i for row in held[i])
            check_eq(float(r["value"][1]), float(value), f"{name} of {r['metric']}")
    return sum(len(rows) for rows in held.values()), len(acked) * SERIES


def test(folder):
    rng = seed()
    node = Cairn(folder).start()
    load = Load(node, int(time.time() * 1000) // 1000 * 1000 - 3_000_000)
    load.node_is_up()
    for s in load.senders:
        s.start()
    slowest = 0.0
    for k in range(KILLS):
        # from one request to a second's worth, so that kills hit the first frames after a start as well as a full log
        load.wait_acks(load.acks + (1 if k % 5 == 4 else rng.randrange(20, RATE_MAX // SERIES)))
        load.node_goes_down()
        node.kill()
        began = time.monotonic()
        node.start()
        slowest = max(slowest, time.monotonic() - began)
        load.node_is_up()
    load.wait_acks(load.acks + 50)
    load.over = True
    load.node_goes_down()
    for s in load.senders:
        s.join(60)
        check(not s.is_alive() and s.failure is None, "sender", s.index, s.failure)
    rate = load.acks * SERIES / load.live_seconds
    say(f"{KILLS} kills, {load.acks * SERIES} samples acknowledged in {load.live_seconds:.1f} s: {rate:.0f} a second; "
        f"{load.lost} requests lost; slowest restart {slowest:.2f} s")
    check(load.lost >= KILLS, "kills did not hit requests under way:", load.lost)
    check(rate > RATE_MIN, "the load was too slow:", rate)

    rows = max(len(s.states) for s in load.senders)
    at, range_s = load.t0 / 1000 + rows + 10, rows + 20
    for restarted in False, True:
        found = [check_sender(node, s, at, range_s) for s in load.senders]
        held, acked = map(sum, zip(*found))
        say(f"{'after a restart: ' if restarted else ''}{held} samples held, {acked} acknowledged, none missing")
        if restarted:
            break
        node.stop()
        node.start()
    node.stop()


main(test)
