/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of Prometheus (tsdb/docs/format/chunks.md). An XOR chunk (after Gorilla, Pelkonen et al.,
 * VLDB 2015, 4.1), most significant bit first:
 *   u16be count | varint first time, 64 bits of first value | uvarint distance, V | { T V }*
 *   T: what the distance changed by: 0 nothing | 10 d:14 | 110 d:17 | 1110 d:20 | 1111 d:64
 *      d is two's complement, but its smallest number stands for the positive one
 *   V: 0 last value | 10 x in the last window | 11 leading:5 significant:6 (0: 64) x */
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

enum status prom_chunk_collect(uint8_t encoding, const uint8_t *bytes, size_t len,
                               struct samples *scratch, struct prom_collect *into,
                               struct prom_counts *counts) {
    samples_clear(scratch);
    switch (encoding) {
    case PROM_XOR: TRY(prom_chunk_decode(bytes, len, scratch)); break;
    case PROM_HISTOGRAM:
    case PROM_FLOAT_HISTOGRAM:
        TRY(prom_histogram_chunk(encoding == PROM_FLOAT_HISTOGRAM, bytes, len, &into->histograms,
                                 scratch, counts));
        break;
    default: counts->encodings++; return OK;
    }
    return prom_collect_add(into, scratch);
}
