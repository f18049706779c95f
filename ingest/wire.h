/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/wire.h: reading protobuf's wire format (https://protobuf.dev/programming-guides/encoding)
 * as Go's generated code does: varints of at most 10 bytes whose bits above 64 are dropped, field
 * number 0 refused, unknown fields skipped. Refused although Go takes it, as no sender writes it:
 * groups, field numbers over 2^29 - 1, tags and lengths that are padded to more than 5 bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/bytes.h"
#include "node/base/sv.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { WIRE_SHORT_BYTES = 5, WIRE_FIELD_MAX = 0x1fffffff };

struct wire {
    const uint8_t *cur, *end;
};

static inline struct sv wire_sv(struct wire w) {
    return sv_make(w.cur, (size_t)(w.end - w.cur));
}
static inline size_t wire_left(const struct wire *w) {
    return (size_t)(w->end - w->cur);
}

static inline bool wire_varint_long(struct wire *w, unsigned bytes_max, uint64_t *out) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes_max && w->cur < w->end; i++) {
        uint8_t b = *w->cur++;
        v |= (uint64_t)(b & 0x7f) << (7 * i); /* i is at most 9: what does not fit is shifted out */
        if (b < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}
static inline bool wire_varint(struct wire *w, uint64_t *out) {
    return wire_varint_long(w, VARINT_BYTES_MAX, out);
}
static inline bool wire_short_varint(struct wire *w,
                                     uint64_t *out) { /* tags, lengths: nearly always one byte */
    if (w->cur < w->end && *w->cur < 0x80) {
        *out = *w->cur++;
        return true;
    }
    return wire_varint_long(w, WIRE_SHORT_BYTES, out);
}
static inline bool wire_tag(struct wire *w, uint32_t *out_field, unsigned *out_type) {
    uint64_t tag;
    if (!wire_short_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > WIRE_FIELD_MAX) return false;
    *out_field = (uint32_t)(tag >> 3);
    *out_type = (unsigned)(tag & 7);
    return true;
}
static inline bool wire_take(struct wire *w, uint64_t len, struct wire *out) {
    if (len > wire_left(w)) return false;
    *out = (struct wire){w->cur, w->cur + len};
    w->cur += len;
    return true;
}
static inline bool wire_bytes(struct wire *w, struct wire *out) {
    uint64_t len;
    return wire_short_varint(w, &len) && wire_take(w, len, out);
}
/* As wire_bytes, but refuses a length that has a shorter encoding. */
static inline bool wire_bytes_minimal(struct wire *w, struct wire *out) {
    const uint8_t *at = w->cur;
    uint64_t len;
    if (!wire_short_varint(w, &len) || (w->cur - at > 1 && w->cur[-1] == 0)) return false;
    return wire_take(w, len, out);
}
static inline bool wire_fixed64(struct wire *w, uint64_t *out) {
    if (wire_left(w) < 8) return false;
    *out = get_u64le(w->cur);
    w->cur += 8;
    return true;
}
static inline bool wire_skip(struct wire *w, unsigned type) {
    uint64_t v;
    struct wire inner;
    switch (type) {
    case WIRE_VARINT: return wire_varint(w, &v);
    case WIRE_FIXED64: return wire_fixed64(w, &v);
    case WIRE_BYTES: return wire_bytes(w, &inner);
    case WIRE_FIXED32: return wire_take(w, 4, &inner);
    default: return false; /* groups, and types that do not exist */
    }
}
