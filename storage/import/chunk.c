/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of Prometheus (tsdb/docs/format/chunks.md). An XOR chunk (after Gorilla, Pelkonen et al.,
 * VLDB 2015, 4.1), most significant bit first:
 *   u16be count | varint first time, 64 bits of first value | uvarint distance, V | { T V }*
 *   T: what the distance changed by: 0 nothing | 10 d:14 | 110 d:17 | 1110 d:20 | 1111 d:64
 *      d is two's complement, but its smallest number stands for the positive one
 *   V: 0 last value | 10 x in the last window | 11 leading:5 significant:6 (0: 64) x */
#include <assert.h>

#include "storage/import/internal.h"

struct bits {
    const uint8_t *cur, *end;
    uint64_t word; /* its low `held` bits are next */
    unsigned held;
    bool failed;
};

static uint64_t bits_take(struct bits *b, unsigned n) {
    assert(n <= 64);
    if (n > 56) {
        uint64_t high = bits_take(b, n - 32);
        return high << 32 | bits_take(b, 32);
    }
    while (b->held < n) {
        if (b->cur == b->end) {
            b->failed = true;
            return 0;
        }
        b->word = b->word << 8 | *b->cur++;
        b->held += 8;
    }
    b->held -= n;
    return b->word >> b->held & ((1ULL << n) - 1);
}

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
        uint64_t d = bits_take(b, sizes[i]);
        return d > 1ULL << (sizes[i] - 1) ? d - (1ULL << sizes[i]) : d;
    }
    return bits_take(b, 64);
}

struct window {
    unsigned leading, significant; /* significant 0: none yet */
};

static uint64_t bits_value(struct bits *b, struct window *w, uint64_t last) {
    if (bits_take(b, 1) == 0) return last;
    if (bits_take(b, 1) == 1) {
        w->leading = (unsigned)bits_take(b, 5);
        w->significant = (unsigned)bits_take(b, 6);
        if (w->significant == 0) w->significant = 64;
    }
    if (w->significant == 0 || w->leading + w->significant > 64) {
        b->failed = true;
        return 0;
    }
    return last ^ bits_take(b, w->significant) << (64 - w->leading - w->significant);
}

enum status prom_chunk_decode(const uint8_t *bytes, size_t len, struct samples *out) {
    if (len < 2) return ERR_CORRUPT;
    size_t count = get_u16be(bytes);
    TRY(samples_reserve(out, out->count + count));
    struct bits b = {.cur = bytes + 2, .end = bytes + len};
    struct window w = {0};
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

enum status prom_chunk_collect(uint8_t encoding, const uint8_t *bytes, size_t len,
                               struct samples *scratch, struct prom_collect *into,
                               struct prom_counts *counts) {
    switch (encoding) {
    case PROM_XOR:
        samples_clear(scratch);
        TRY(prom_chunk_decode(bytes, len, scratch));
        return prom_collect_add(into, scratch->times_ms, scratch->values, scratch->count);
    case PROM_HISTOGRAM:
    case PROM_FLOAT_HISTOGRAM:
    case PROM_HISTOGRAM_ST:
    case PROM_FLOAT_HISTOGRAM_ST:
        if (len < 2) return ERR_CORRUPT;
        counts->histograms += get_u16be(bytes);
        return OK;
    default: counts->encodings++; return OK;
    }
}
