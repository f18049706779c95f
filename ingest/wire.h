/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/wire.h: reading protobuf's wire format (https://protobuf.dev/programming-guides/encoding)
 * as Go's generated code does: varints of at most 10 bytes, field number 0 refused, groups refused,
 * unknown fields skipped. Positions for errors are offsets from the start of the whole message. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/bytes.h"
#include "node/base/sv.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire {
    const uint8_t *cur, *end;
};

static inline bool wire_varint(struct wire *w, uint64_t *out) {
    if (w->cur < w->end && *w->cur < 0x80) { /* nearly all */
        *out = *w->cur++;
        return true;
    }
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && w->cur < w->end; shift += 7) {
        uint8_t b = *w->cur++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *out = v;
            return shift < 63 || b <= 1;
        }
    }
    return false;
}
static inline bool wire_tag(struct wire *w, uint32_t *out_field, unsigned *out_type) {
    uint64_t tag;
    if (!wire_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return false;
    *out_field = (uint32_t)(tag >> 3);
    *out_type = (unsigned)(tag & 7);
    return true;
}
static inline bool wire_bytes(struct wire *w, struct wire *out) {
    uint64_t len;
    if (!wire_varint(w, &len) || len > (uint64_t)(w->end - w->cur)) return false;
    *out = (struct wire){w->cur, w->cur + len};
    w->cur += len;
    return true;
}
/* As wire_bytes, but refuses a length that has a shorter encoding. */
static inline bool wire_bytes_minimal(struct wire *w, struct wire *out) {
    const uint8_t *at = w->cur;
    uint64_t len;
    if (!wire_varint(w, &len) || len > (uint64_t)(w->end - w->cur)) return false;
    if (w->cur - at > 1 && w->cur[-1] == 0) return false;
    *out = (struct wire){w->cur, w->cur + len};
    w->cur += len;
    return true;
}
static inline bool wire_fixed64(struct wire *w, uint64_t *out) {
    if (w->end - w->cur < 8) return false;
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
    case WIRE_FIXED32:
        if (w->end - w->cur < 4) return false;
        w->cur += 4;
        return true;
    default: return false; /* groups, and types that do not exist */
    }
}
static inline struct sv wire_sv(struct wire w) {
    return sv_make(w.cur, (size_t)(w.end - w.cur));
}
