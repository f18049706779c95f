#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second writer of packs of format 2, after the words of storage/log_pack.h and log_values.c, for the few entries of
test_log_pack.c's golden pack: prints its bytes as C has them. It writes no zstd: nothing so short is smaller by it."""
import math, struct

NONE = 255


def bits_of(v: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", v))[0]


def float_of(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def varint(v: int) -> bytes:
    out = bytearray()
    while v >= 0x80:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    return bytes(out + bytes([v]))


def zigzag(v: int) -> int:
    return v * 2 if v >= 0 else -v * 2 - 1


class Coder:
    """The low end of the interval is one large number, to which carries are no matter."""

    def __init__(self):
        self.low, self.range, self.shifts, self.chances, self.used = 0, 0xFFFFFFFF, 0, {}, False

    def narrow(self, at: int, width: int):
        self.low, self.range, self.used = self.low + at, width, True
        while self.range < 1 << 24:
            self.low, self.range, self.shifts = self.low << 8, self.range << 8, self.shifts + 1

    def bit(self, key, bit: int):
        chance = self.chances.get(key, 1 << 15)
        zero = (self.range >> 16) * chance
        self.chances[key] = chance - (chance >> 5) if bit else chance + ((65535 - chance) >> 5)
        self.narrow(*((zero, self.range - zero) if bit else (0, zero)))

    def tree(self, key, value: int, count: int):
        for i in range(count):
            self.bit((key, i, value >> (count - i)), value >> (count - i - 1) & 1)

    def plain(self, value: int, count: int):
        while count > 0:
            n = min(count, 12)
            count -= n
            part = self.range >> n
            self.narrow((value >> count & ((1 << n) - 1)) * part, part)

    def bytes(self) -> bytes:
        return b"\0" + self.low.to_bytes(4 + self.shifts, "big") if self.used else b""


def scaled(v: float, scale: int) -> int:
    x = v * 10.0**scale
    return int(x - 0.5 if x < 0 else x + 0.5) if abs(x) < 2.0**53 else 0


def decimal(a: int, scale: int) -> int:
    return bits_of(a / 10.0**scale)


class Series:
    def __init__(self):
        self.bits, self.delta, self.step, self.scale, self.inexact = 0, 0, 0, 0, 0
        self.kinds, self.widths, self.signs = [2, 3, 2, 3], [0, 0], [0, 0]  # oldest kind first; newest width and sign first

    def put(self, c: Coder, bits: int):
        kinds = tuple(self.kinds)
        c.bit(("differs", kinds), bits != self.bits)
        kind = 0
        if bits != self.bits:
            kind = self.changed(c, kinds, bits)
        self.kinds, self.bits = self.kinds[1:] + [kind], bits

    def changed(self, c: Coder, kinds, bits: int) -> int:
        before, v = float_of(self.bits), float_of(bits)
        repeats = self.scale != NONE and self.delta and decimal(scaled(before, self.scale) + self.delta, self.scale) == bits
        c.bit(("repeats", kinds), not repeats)
        if repeats:
            return 1
        found = None
        for scale in range(0 if self.scale == NONE else self.scale, 10):
            ulps = bits - decimal(scaled(v, scale), scale) if not math.isnan(v) else 1 << 60
            if ulps == 0 or (found is None and zigzag(ulps) < 32):
                found = scale, ulps
            if ulps == 0 or (found == (scale, ulps) and self.inexact and scale == self.scale):
                break
        c.bit(("is bits", kinds), found is None)
        if found is None:
            differs = bits ^ self.bits
            count = (differs.bit_length() + 7) // 8
            c.tree("bytes", count, 4)
            c.plain(differs, 8 * count)
            self.scale, self.step = NONE, 0
            return 3
        self.decimal(c, *found, scaled(v, found[0]) - scaled(before, found[0]))
        return 2

    def decimal(self, c: Coder, scale: int, ulps: int, delta: int):
        c.bit("rescaled", scale != self.scale)
        if scale != self.scale:
            c.tree("scale", scale, 4)
            self.scale, self.step = scale, 0
        c.bit(("inexact", self.inexact), ulps != 0)
        self.inexact = int(ulps != 0)
        if ulps:
            c.tree("ulps", zigzag(ulps), 5)
        size = abs(delta)
        off = self.step == 0 or size % self.step != 0
        if self.step > 1:
            c.bit("off step", off)
        self.step, size = (math.gcd(self.step, size), size) if off else (self.step, size // self.step)
        width, rise = size.bit_length(), self.widths[1] - self.widths[0]
        trend = 0 if rise < -2 else 1 if rise < 0 else 2 if rise == 0 else 3 if rise <= 2 else 4
        c.tree(("width", min(self.widths[0], 31), trend), width, 6)
        left = max(width - 1, 0)
        top = min(left, 3)
        c.tree(("top", width), size >> (left - top) & ((1 << top) - 1), top)
        c.plain(size & ((1 << (left - top)) - 1), left - top)
        if width:
            c.bit(("sign", tuple(self.signs), width > self.widths[0]), delta < 0)
        self.signs, self.widths, self.delta = [int(delta < 0), self.signs[0]], [width, self.widths[0]], delta


def golden() -> bytes:
    """test_log_pack.c has the same entries: two of shards 3 and 5 a frame, at first with a series, at last with a FLOOR, and one more
    behind a CUT."""
    rows = [(1.0, 2.5, 0x3FD3333333333334), (1.0, 3.5, 0x3FD3333333333335), (4097.0, 4.5, 0x3FD3333333333335),
            (12289.0, 0.1 + 0.2, bits_of(-7.25)), (12290.0, 4.25, 0x7FF0000000000002), (12034.0, 1e300, 0x7FF0000000000003), (12034.0, 7.5, 0x7FF0000000000003)]
    c, series = Coder(), [Series() for _ in range(3)]
    for row, (a, b, odd) in enumerate(rows):
        if row == 6:
            series[:2] = Series(), Series()
        for s, bits in zip(series, (bits_of(a), bits_of(b), odd)):
            s.put(c, bits)
    frames = bytes([2] * 5 + [3, 3])
    chain, place, time, new, literal = 1, 2, 4, 16, 128
    # numbers 0 and 1 of shard 3, then 0 of shard 5; what comes behind that is known when it has come once
    places = bytes([3, 2, 0, 0, 1, 1, 1, 5, 1, 0, 1, 1, 1, 3, 2, 0, 0, 1, 1, 9])
    ops = bytes([chain | place | time | new, chain | place, chain | time] + [0] + [time, 0] * 4 + [literal, literal, place | time, 0])
    times = varint(zigzag(1000)) + varint(zigzag(15)) * 6
    section = b"\1\2hi"
    payloads = 0
    for i in range(7):
        # type, shard, incarnation, epoch, seq, length; section bits, count, time, numbers, steps, values
        payloads += 6 + 1 + (len(section) if i == 0 else 0) + 1 + 2 + 2 + 1 + 16
        payloads += 6 + 1 + 1 + 2 + 1 + 8
    payloads += 6 + 2 + 6 + 4
    out = bytes([0, 2]) + varint(payloads) + varint(7)
    floor, cut = bytes([4, 3, 1, 1, 7, 2, 0xAA, 0xBB]), bytes([2, 3, 1, 1, 8, 4]) + varint(zigzag(1000)) + varint(zigzag(2000))
    literals = varint(len(floor)) + floor + varint(len(cut)) + cut
    for stream in (frames, ops, places, times, varint(len(section)) + section, c.bytes(), literals):
        out += varint(len(stream)) * 2 + stream
    return out


if __name__ == "__main__":
    found = golden()
    for i in range(0, len(found), 16):
        print("        " + " ".join(f"0x{b:02x}," for b in found[i:i + 16]))
