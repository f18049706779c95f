/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of Prometheus (tsdb/docs/format/chunks.md). An XOR chunk (after Gorilla, Pelkonen et al.,
 * VLDB 2015, 4.1), most significant bit first:
 *   u16be count | varint first time, 64 bits of first value | uvarint distance, V | { T V }*
 *   T: what the distance changed by: 0 nothing | 10 d:14 | 110 d:17 | 1110 d:20 | 1111 d:64
 *      d is two's complement, but its smallest number stands for the positive one
 *   V: 0 last value | 10 x in the last window | 11 leading:5 significant:6 (0: 64) x
 * An XOR2 chunk (tsdb/chunkenc/xor2.go of 3.14), d now plain two's complement:
 *   u16be count | u8 starts | varint first time, 64 bits of first value | uvarint distance, V | J*
 *   J: 0 neither changed | 10 W | 110 d:13 V | 1110 d:20 V | 11110 d:64 V | 11111 stale marker
 *   V: 0 last value | 10 x in the last window | 11 0 leading:5 significant:6 x | 111 stale marker
 *   W: 0 x in the last window | 1 leading:5 significant:6 x
 *   The last value is the last one that was no stale marker, at first 0.
 *   starts: 0x80: a varint follows the first sample; from the sample on whose number is in the
 * other bits, if not 0, a varbit follows each: start timestamps */
#include "storage/import/bits.h"

static uint64_t bits_varint(struct bits *b) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint64_t byte = bits_take(b, 8);
        if (b->failed || (shift == 63 && byte > 1)) break;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) return v;
    }
    b->failed = true;
    return 0;
}

static uint64_t bits_distance_change(struct bits *b) {
    static const uint8_t sizes[] = {14, 17, 20};
    if (bits_take(b, 1) == 0) return 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        if (bits_take(b, 1) != 0) continue;
        return bits_signed(b, sizes[i]);
    }
    return bits_take(b, 64);
}

enum status prom_chunk_decode(const uint8_t *bytes, size_t len, struct samples *out) {
    if (len < 2) return ERR_CORRUPT;
    size_t count = get_u16be(bytes);
    TRY(samples_reserve(out, out->count + count));
    struct bits b = {.cur = bytes + 2, .end = bytes + len};
    struct bits_window w = {0};
    uint64_t time = 0, distance = 0, value = 0; /* unsigned: they wrap as Go's do */
    for (size_t i = 0; i < count; i++) {
        if (i == 0) {
            time = (uint64_t)unzigzag(bits_varint(&b));
            value = bits_take(&b, 64);
        } else {
            if (i == 1)
                distance = bits_varint(&b);
            else
                distance += bits_distance_change(&b);
            time += distance;
            value = bits_value(&b, &w, value);
        }
        if (b.failed) return ERR_CORRUPT;
        out->times_ms[out->count + i] = (int64_t)time;
        out->values[out->count + i] = f64_from_bits(value);
    }
    out->count += count;
    return OK;
}

struct xor2 {
    struct bits bits;
    struct bits_window window;
    uint64_t time, distance, value, last; /* last: no stale marker */
};

static void xor2_difference(struct xor2 *x, bool same_window) {
    struct bits *b = &x->bits;
    if (!same_window) {
        x->window.leading = (unsigned)bits_take(b, 5);
        x->window.significant = (unsigned)bits_take(b, 6);
        if (x->window.significant == 0) x->window.significant = 64;
    }
    unsigned leading = x->window.leading, significant = x->window.significant;
    if (significant == 0 || leading + significant > 64) {
        b->failed = true;
        return;
    }
    x->last ^= bits_take(b, significant) << (64 - leading - significant);
    x->value = x->last;
}

static void xor2_value(struct xor2 *x) {
    struct bits *b = &x->bits;
    if (bits_take(b, 1) == 0)
        x->value = x->last;
    else if (bits_take(b, 1) == 0)
        xor2_difference(x, true);
    else if (bits_take(b, 1) == 0)
        xor2_difference(x, false);
    else
        x->value = STALE_NAN_BITS;
}

static void xor2_distance(struct xor2 *x, unsigned size) {
    uint64_t d = bits_take(&x->bits, size);
    if (size < 64 && d >= 1ULL << (size - 1)) d -= 1ULL << size;
    x->distance += d;
    x->time += x->distance;
    xor2_value(x);
}

static void xor2_next(struct xor2 *x) {
    static const uint8_t sizes[] = {13, 20, 64};
    unsigned ones = 0;
    while (ones < 5 && bits_take(&x->bits, 1) == 1)
        ones++;
    if (ones >= 2 && ones <= 4) {
        xor2_distance(x, sizes[ones - 2]);
        return;
    }
    x->time += x->distance;
    if (ones == 0)
        x->value = x->last;
    else if (ones == 1)
        xor2_difference(x, bits_take(&x->bits, 1) == 0);
    else
        x->value = STALE_NAN_BITS;
}

enum status prom_chunk_decode_2(const uint8_t *bytes, size_t len, struct samples *out,
                                struct prom_counts *counts) {
    if (len < 3) return ERR_CORRUPT;
    size_t count = get_u16be(bytes), starts_from = bytes[2] & 0x7f;
    TRY(samples_reserve(out, out->count + count));
    struct xor2 x = {.bits = {.cur = bytes + 3, .end = bytes + len}};
    for (size_t i = 0; i < count; i++) {
        if (i == 0) {
            x.time = (uint64_t)unzigzag(bits_varint(&x.bits));
            x.value = bits_take(&x.bits, 64);
            if (x.value != STALE_NAN_BITS) x.last = x.value;
            if ((bytes[2] & 0x80) != 0) bits_varint(&x.bits);
            counts->starts += (bytes[2] & 0x80) != 0;
        } else if (i == 1) {
            x.distance = bits_varint(&x.bits);
            x.time += x.distance;
            xor2_value(&x);
        } else {
            xor2_next(&x);
        }
        if (i > 0 && starts_from > 0 && i >= starts_from) {
            bits_varbit(&x.bits);
            counts->starts++;
        }
        if (x.bits.failed) return ERR_CORRUPT;
        out->times_ms[out->count + i] = (int64_t)x.time;
        out->values[out->count + i] = f64_from_bits(x.value);
    }
    out->count += count;
    return OK;
}

enum status prom_chunk_collect(uint8_t encoding, const uint8_t *bytes, size_t len,
                               struct samples *scratch, struct prom_collect *into,
                               struct prom_counts *counts) {
    samples_clear(scratch);
    switch (encoding) {
    case PROM_XOR: TRY(prom_chunk_decode(bytes, len, scratch)); break;
    case PROM_XOR2: TRY(prom_chunk_decode_2(bytes, len, scratch, counts)); break;
    case PROM_HISTOGRAM:
    case PROM_FLOAT_HISTOGRAM:
        TRY(prom_histogram_chunk(encoding == PROM_FLOAT_HISTOGRAM, bytes, len, &into->histograms,
                                 scratch, counts));
        break;
    default: counts->encodings++; return OK;
    }
    return prom_collect_add(into, scratch);
}
