/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/histogram.h"

#include <assert.h>
#include <string.h>

#include "node/base/bytes.h"

enum { HISTOGRAM_VERSION = 1 };
enum {
    FLAG_START = 1,
    FLAG_FLOAT = 2,
    FLAG_ZERO = 4,
    FLAG_NEGATIVE = 8,
    FLAG_POSITIVE = 16,
    FLAG_BOUNDS = 32,
    HINT_SHIFT = 6
};
#define STALE_BITS 0x7ff0000000000002ULL

/* -- writing */

static uint8_t flags_of(const struct histogram *h) {
    bool zero = h->zero_count != 0 || f64_bits(h->zero_threshold) != 0 ||
                f64_bits(h->zero_count_float) != 0;
    return (uint8_t)((h->start_ms != 0 ? FLAG_START : 0) | (h->is_float ? FLAG_FLOAT : 0) |
                     (zero ? FLAG_ZERO : 0) | (h->negative.spans_count > 0 ? FLAG_NEGATIVE : 0) |
                     (h->positive.spans_count > 0 ? FLAG_POSITIVE : 0) |
                     (h->bounds_count > 0 ? FLAG_BOUNDS : 0) | (int)h->hint << HINT_SHIFT);
}

static void put_count(bool is_float, uint64_t count, double count_float, struct buf *out) {
    if (is_float)
        buf_put_f64(out, count_float);
    else
        buf_put_varint(out, count);
}

static void put_side(const struct histogram_side *side, struct buf *out) {
    uint64_t buckets = 0;
    buf_put_varint(out, side->spans_count);
    for (uint32_t i = 0; i < side->spans_count; i++) {
        buf_put_zigzag(out, side->spans[i].offset);
        buf_put_varint(out, side->spans[i].length);
        buckets += side->spans[i].length;
    }
    assert(buckets == side->buckets_count);
    if (side->counts != NULL)
        buf_put(out, side->counts, side->buckets_count * sizeof *side->counts);
    else
        for (uint32_t i = 0; i < side->buckets_count; i++)
            buf_put_zigzag(out, side->deltas[i]);
}

void histogram_put(const struct histogram *h, struct buf *out) {
    assert(h->schema >= INT8_MIN && h->schema <= INT8_MAX);
    assert(h->is_float ? h->count == 0 && h->zero_count == 0
                       : f64_bits(h->count_float) == 0 && f64_bits(h->zero_count_float) == 0);
    uint8_t flags = flags_of(h);
    buf_put_u8(out, HISTOGRAM_VERSION);
    buf_put_u8(out, flags);
    buf_put_u8(out, (uint8_t)h->schema);
    if (flags & FLAG_START) buf_put_zigzag(out, h->start_ms);
    put_count(h->is_float, h->count, h->count_float, out);
    buf_put_f64(out, h->sum);
    if (flags & FLAG_ZERO) {
        buf_put_f64(out, h->zero_threshold);
        put_count(h->is_float, h->zero_count, h->zero_count_float, out);
    }
    if (flags & FLAG_NEGATIVE) put_side(&h->negative, out);
    if (flags & FLAG_POSITIVE) put_side(&h->positive, out);
    if (flags & FLAG_BOUNDS) {
        buf_put_varint(out, h->bounds_count);
        buf_put(out, h->bounds, h->bounds_count * sizeof *h->bounds);
    }
}

/* -- reading */

/* Padding would give one histogram two encodings. */
static uint64_t read_minimal(struct reader *r) {
    const uint8_t *at = r->cur;
    uint64_t v = read_varint(r);
    if (!r->failed && r->cur - at > 1 && r->cur[-1] == 0) r->failed = true;
    return v;
}

static void read_count(struct reader *r, bool is_float, uint64_t *count, double *count_float) {
    if (is_float)
        *count_float = read_f64(r);
    else
        *count = read_minimal(r);
}

static double *read_floats(struct reader *r, uint64_t count, struct arena *arena) {
    const uint8_t *bytes = NULL;
    if (count <= reader_left(r) / sizeof(double)) bytes = read_bytes(r, count * sizeof(double));
    if (bytes == NULL) {
        r->failed = true;
        return NULL;
    }
    double *out = arena_alloc(arena, count * sizeof *out);
    if (out != NULL) memcpy(out, bytes, count * sizeof *out);
    return out;
}

static int64_t *read_deltas(struct reader *r, uint64_t count, struct arena *arena) {
    if (count > reader_left(r)) {
        r->failed = true;
        return NULL;
    }
    int64_t *out = arena_alloc(arena, count * sizeof *out);
    for (uint64_t i = 0; out != NULL && i < count; i++)
        out[i] = unzigzag(read_minimal(r));
    return out;
}

/* ERR_NOMEM, or r->failed. */
static enum status read_side(struct reader *r, bool is_float, struct arena *arena,
                             struct histogram_side *out) {
    uint64_t spans = read_minimal(r), buckets = 0;
    if (r->failed || spans == 0 || spans > reader_left(r) / 2) {
        r->failed = true;
        return OK;
    }
    out->spans = arena_alloc(arena, spans * sizeof *out->spans);
    if (out->spans == NULL) return ERR_NOMEM;
    for (uint64_t i = 0; i < spans; i++) {
        int64_t offset = unzigzag(read_minimal(r));
        uint64_t length = read_minimal(r);
        if (offset < INT32_MIN || offset > INT32_MAX || length > reader_left(r)) r->failed = true;
        out->spans[i] = (struct histogram_span){(int32_t)offset, (uint32_t)length};
        buckets += length;
        if (r->failed || buckets > reader_left(r)) {
            r->failed = true;
            return OK;
        }
    }
    out->spans_count = (uint32_t)spans;
    out->buckets_count = (uint32_t)buckets;
    if (is_float)
        out->counts = read_floats(r, buckets, arena);
    else
        out->deltas = read_deltas(r, buckets, arena);
    return r->failed || out->counts != NULL || out->deltas != NULL ? OK : ERR_NOMEM;
}

static enum status read_bounds(struct reader *r, struct arena *arena, struct histogram *out) {
    uint64_t count = read_minimal(r);
    if (count == 0) r->failed = true;
    if (!r->failed) out->bounds = read_floats(r, count, arena);
    out->bounds_count = (uint32_t)count;
    return r->failed || out->bounds != NULL ? OK : ERR_NOMEM;
}

static enum status read_all(struct reader *r, struct arena *arena, struct histogram *h) {
    if (read_u8(r) != HISTOGRAM_VERSION) r->failed = true;
    uint8_t flags = read_u8(r);
    h->hint = (enum histogram_hint)(flags >> HINT_SHIFT);
    h->is_float = (flags & FLAG_FLOAT) != 0;
    h->schema = (int8_t)read_u8(r);
    if (flags & FLAG_START) h->start_ms = unzigzag(read_minimal(r));
    read_count(r, h->is_float, &h->count, &h->count_float);
    h->sum = read_f64(r);
    if (flags & FLAG_ZERO) {
        h->zero_threshold = read_f64(r);
        read_count(r, h->is_float, &h->zero_count, &h->zero_count_float);
    }
    if (flags & FLAG_NEGATIVE) TRY(read_side(r, h->is_float, arena, &h->negative));
    if (flags & FLAG_POSITIVE && !r->failed) TRY(read_side(r, h->is_float, arena, &h->positive));
    if (flags & FLAG_BOUNDS && !r->failed) TRY(read_bounds(r, arena, h));
    if (reader_left(r) != 0 || (!r->failed && flags != flags_of(h))) r->failed = true;
    return OK;
}

enum status histogram_get(struct sv bytes, struct arena *arena, struct histogram *out,
                          struct err *err) {
    struct histogram h = {0};
    struct reader r = reader_init(bytes.ptr, bytes.len);
    if (read_all(&r, arena, &h) != OK)
        return err_set(err, ERR_NOMEM, 0, "histogram: not enough memory to decode it");
    if (r.failed)
        return err_set(err, ERR_CORRUPT, 0, "histogram: byte %zu of %zu: malformed",
                       (size_t)(r.cur - (const uint8_t *)bytes.ptr), bytes.len);
    *out = h;
    return OK;
}

enum status histogram_check(struct sv bytes, struct arena *scratch, struct err *err) {
    struct histogram h;
    if (bytes.len > HISTOGRAM_BYTES_MAX)
        return err_set(err, ERR_CORRUPT, 0, "histogram: %zu bytes, at most %d", bytes.len,
                       HISTOGRAM_BYTES_MAX);
    TRY(histogram_get(bytes, scratch, &h, err));
    if (histogram_validate(&h, err) == OK) return OK;
    if (err != NULL) err->code = ERR_CORRUPT;
    return ERR_CORRUPT;
}

/* -- comparing */

static bool floats_equal(const double *a, const double *b, size_t count) {
    return count == 0 || memcmp(a, b, count * sizeof *a) == 0;
}

static bool side_equal(const struct histogram_side *a, const struct histogram_side *b) {
    if (a->spans_count != b->spans_count || a->buckets_count != b->buckets_count) return false;
    for (uint32_t i = 0; i < a->spans_count; i++)
        if (a->spans[i].offset != b->spans[i].offset || a->spans[i].length != b->spans[i].length)
            return false;
    if (a->buckets_count == 0) return true;
    if (a->counts != NULL) return floats_equal(a->counts, b->counts, a->buckets_count);
    return memcmp(a->deltas, b->deltas, a->buckets_count * sizeof *a->deltas) == 0;
}

static bool float_equal(double a, double b) {
    return f64_bits(a) == f64_bits(b);
}

bool histogram_equal(const struct histogram *a, const struct histogram *b) {
    return a->is_float == b->is_float && a->schema == b->schema && a->count == b->count &&
           float_equal(a->count_float, b->count_float) && a->zero_count == b->zero_count &&
           float_equal(a->zero_count_float, b->zero_count_float) &&
           float_equal(a->zero_threshold, b->zero_threshold) && float_equal(a->sum, b->sum) &&
           side_equal(&a->negative, &b->negative) && side_equal(&a->positive, &b->positive) &&
           a->bounds_count == b->bounds_count &&
           floats_equal(a->bounds, b->bounds, a->bounds_count);
}

/* Where what is compared begins: behind flags, schema and start. */
static struct sv compared(struct sv bytes, uint8_t *out_flags) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    (void)read_u8(&r);
    uint8_t flags = read_u8(&r);
    *out_flags = flags & (uint8_t)((1 << HINT_SHIFT) - 1) & (uint8_t)~FLAG_START;
    (void)read_u8(&r);
    if (flags & FLAG_START) (void)read_varint(&r);
    assert(!r.failed);
    return sv_make(r.cur, reader_left(&r));
}

bool histogram_bytes_equal(struct sv a, struct sv b) {
    uint8_t a_flags, b_flags;
    struct sv a_rest = compared(a, &a_flags), b_rest = compared(b, &b_flags);
    return a_flags == b_flags && a.ptr[2] == b.ptr[2] && sv_eq(a_rest, b_rest);
}

int64_t histogram_bytes_start_ms(struct sv bytes) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    (void)read_u8(&r);
    uint8_t flags = read_u8(&r);
    (void)read_u8(&r);
    return flags & FLAG_START ? read_zigzag(&r) : 0;
}

bool histogram_is_stale(const struct histogram *h) {
    return f64_bits(h->sum) == STALE_BITS;
}

struct histogram histogram_stale(void) {
    return (struct histogram){.sum = f64_from_bits(STALE_BITS)};
}
