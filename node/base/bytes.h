/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/bytes.h: little-endian integers, LEB128 varints and a bounds-checked reader for wire
 * and disk. A reader that runs out of bytes sets `failed` and gives zeros: check once at the end of
 * a message. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "node/base/buf.h"
#include "node/base/sv.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the get and put functions copy host order");

static inline uint16_t get_u16le(const void *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t get_u32le(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t get_u64le(const void *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline double get_f64le(const void *p) {
    double v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void put_u16le(void *p, uint16_t v) {
    memcpy(p, &v, sizeof v);
}
static inline void put_u32le(void *p, uint32_t v) {
    memcpy(p, &v, sizeof v);
}
static inline void put_u64le(void *p, uint64_t v) {
    memcpy(p, &v, sizeof v);
}
static inline void put_f64le(void *p, double v) {
    memcpy(p, &v, sizeof v);
}

static inline uint64_t f64_bits(double v) {
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}
static inline double f64_from_bits(uint64_t u) {
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

static inline uint64_t zigzag(int64_t v) {
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline int64_t unzigzag(uint64_t v) {
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

enum { VARINT_BYTES_MAX = 10 };
/* Writes 1 to 10 bytes, returns how many. */
static inline size_t put_varint(uint8_t *p, uint64_t v) {
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

static inline void buf_put_u8(struct buf *b, uint8_t v) {
    buf_put(b, &v, 1);
}
static inline void buf_put_u16(struct buf *b, uint16_t v) {
    buf_put(b, &v, sizeof v);
}
static inline void buf_put_u32(struct buf *b, uint32_t v) {
    buf_put(b, &v, sizeof v);
}
static inline void buf_put_u64(struct buf *b, uint64_t v) {
    buf_put(b, &v, sizeof v);
}
static inline void buf_put_f64(struct buf *b, double v) {
    buf_put(b, &v, sizeof v);
}
static inline void buf_put_varint(struct buf *b, uint64_t v) {
    uint8_t p[VARINT_BYTES_MAX];
    buf_put(b, p, put_varint(p, v));
}
static inline void buf_put_zigzag(struct buf *b, int64_t v) {
    buf_put_varint(b, zigzag(v));
}
static inline void buf_put_lenstr(struct buf *b, struct sv s) { /* varint length, bytes */
    buf_put_varint(b, s.len);
    buf_put_sv(b, s);
}

struct reader {
    const uint8_t *cur, *end;
    bool failed;
};

static inline struct reader reader_init(const void *p, size_t len) {
    return (struct reader){(const uint8_t *)p, (const uint8_t *)p + len, false};
}
static inline size_t reader_left(const struct reader *r) {
    return (size_t)(r->end - r->cur);
}
static inline const uint8_t *read_bytes(struct reader *r, size_t n) {
    if (r->failed || reader_left(r) < n) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->cur;
    r->cur += n;
    return p;
}
static inline uint8_t read_u8(struct reader *r) {
    const uint8_t *p = read_bytes(r, 1);
    return p == NULL ? 0 : *p;
}
static inline uint16_t read_u16(struct reader *r) {
    const uint8_t *p = read_bytes(r, 2);
    return p == NULL ? (uint16_t)0 : get_u16le(p);
}
static inline uint32_t read_u32(struct reader *r) {
    const uint8_t *p = read_bytes(r, 4);
    return p == NULL ? 0 : get_u32le(p);
}
static inline uint64_t read_u64(struct reader *r) {
    const uint8_t *p = read_bytes(r, 8);
    return p == NULL ? 0 : get_u64le(p);
}
static inline double read_f64(struct reader *r) {
    const uint8_t *p = read_bytes(r, 8);
    return p == NULL ? 0 : get_f64le(p);
}
static inline uint64_t read_varint(struct reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t b = read_u8(r);
        if (r->failed) return 0;
        if (shift == 63 && b > 1) break; /* would not fit 64 bits */
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) return v;
    }
    r->failed = true;
    return 0;
}
static inline int64_t read_zigzag(struct reader *r) {
    return unzigzag(read_varint(r));
}
static inline struct sv read_lenstr(struct reader *r) {
    uint64_t n = read_varint(r);
    if (r->failed || n > reader_left(r)) {
        r->failed = true;
        return (struct sv){0};
    }
    const uint8_t *p = read_bytes(r, (size_t)n);
    return sv_make(p, (size_t)n);
}
