/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ingest/request.h: WriteRequests written by hand, byte by byte, so that no encoder of ours
 * is its own oracle. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/scan.h"
#include "node/base/bytes.h"
#include "node/base/rng.h"

#define MUST(expr)                                                                                 \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expr);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { REQUEST_SECRET = 0x5eed, REQUEST_SHARDS = 64 };

static inline struct scan_options request_scan_options(void) {
    return (struct scan_options){.secret = REQUEST_SECRET,
                                 .shards_count = REQUEST_SHARDS,
                                 .series_max = 1000000,
                                 .samples_max = 1000000,
                                 .label_bytes_max = 64 << 10,
                                 .labels_bytes_max = 1 << 20};
}

/* A varint in `bytes` bytes, padded with zero groups; 0: as short as it goes. */
static inline void request_varint(struct buf *b, uint64_t v, unsigned bytes) {
    uint8_t p[16];
    unsigned n = 0;
    do {
        p[n++] = (uint8_t)((v & 0x7f) | 0x80);
        v >>= 7;
    } while (v > 0);
    while (n < bytes)
        p[n++] = 0x80;
    p[n - 1] &= 0x7f;
    buf_put(b, p, n);
}
static inline void request_bytes(struct buf *b, unsigned field, struct sv s) {
    request_varint(b, (uint64_t)field << 3 | 2, 0);
    request_varint(b, s.len, 0);
    buf_put_sv(b, s);
}
static inline void request_label(struct buf *series, struct sv name, struct sv value) {
    struct buf l = {0};
    request_bytes(&l, 1, name);
    request_bytes(&l, 2, value);
    request_bytes(series, 1, buf_sv(&l));
    buf_fini(&l);
}
/* As Go's generated code writes it: zeros are left out. */
static inline void request_sample_bits(struct buf *series, int64_t time_ms, uint64_t bits) {
    struct buf s = {0};
    if (bits != 0) {
        buf_put_u8(&s, 0x09);
        buf_put_u64(&s, bits);
    }
    if (time_ms != 0) {
        buf_put_u8(&s, 0x10);
        request_varint(&s, (uint64_t)time_ms, 0);
    }
    request_bytes(series, 2, buf_sv(&s));
    buf_fini(&s);
}
static inline void request_sample(struct buf *series, int64_t time_ms, double value) {
    request_sample_bits(series, time_ms, f64_bits(value));
}
static inline void request_series(struct buf *request, struct buf *series) { /* empties series */
    request_bytes(request, 1, buf_sv(series));
    buf_clear(series);
}
