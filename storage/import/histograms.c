/* SPDX-License-Identifier: Apache-2.0 */
/* Native histograms in Prometheus' chunks (tsdb/chunkenc/histogram.go, float_histogram.go) and logs
 * (tsdb/record). A chunk, most significant bit first, n and i being the varbits below:
 *   u16be count | u8 hint in its high bits: 01 not reset, 10 reset, 11 gauge | layout | samples
 *   layout: zero threshold: u8 0: 0 | 255: 64 bits | e: 2^(e - 244)
 *           i schema | spans, positive, then negative: n of them, { n length, i offset }*
 *           of schema -53 bounds: n of them, { n: 0: 64 bits | k: (k - 1) / 1000 }*
 *   first:  i time | n count | n zero count | 64 bits sum | i bucket*
 *   next:   i of the change of the distance, for each of these; the sum as in an XOR chunk. After
 *           the sum of a stale marker there is nothing.
 *   In a float histogram counts and buckets are as the sum is, each with a window of its own.
 *   varbits: 0: 0 | 10 :3 | 110 :6 | ... :9 :12 :18 :25 :56 | 11111111 :64 */
#include <math.h>
#include <string.h>

#include "storage/import/bits.h"

enum { CHUNK_HEADER = 3, HINT_NOT_RESET = 1, HINT_RESET = 2, HINT_GAUGE = 3 };

/* -- layouts, of both */

static uint32_t buckets_of(const struct histogram_side *side) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < side->spans_count; i++)
        n += side->spans[i].length;
    return n > HISTOGRAM_BYTES_MAX ? UINT32_MAX : (uint32_t)n;
}

static enum status side_reserve(struct histogram_side *side, uint32_t buckets, bool is_float,
                                struct arena *arena) {
    side->buckets_count = buckets;
    if (is_float)
        side->counts = arena_array(arena, buckets, sizeof *side->counts);
    else
        side->deltas = arena_array(arena, buckets, sizeof *side->deltas);
    return side->counts == NULL && side->deltas == NULL ? ERR_NOMEM : OK;
}

/* Whether it can be held, by the rules of storage/histogram.h and made coarser where it has to be.
 */
static bool is_held(struct histogram *h) {
    if (histogram_is_stale(h)) return true;
    if (h->schema != HISTOGRAM_SCHEMA_CUSTOM && h->schema > HISTOGRAM_SCHEMA_MAX &&
        h->schema <= HISTOGRAM_SCHEMA_REDUCED_MAX)
        histogram_reduce(h, HISTOGRAM_SCHEMA_MAX);
    return histogram_validate(h, NULL) == OK;
}

/* -- chunks */

static uint64_t varbit_signed(struct bits *b) {
    unsigned size = bits_varbit_size(b);
    if (size == 0 || size == 64) return bits_take(b, size);
    return bits_signed(b, size);
}

static enum status chunk_spans(struct bits *b, struct histogram_side *side, struct arena *arena) {
    uint64_t count = bits_varbit(b);
    if (b->failed || count > (uint64_t)(b->end - b->cur) * 8) return ERR_CORRUPT;
    side->spans_count = (uint32_t)count;
    side->spans = arena_array(arena, (size_t)count, sizeof *side->spans);
    if (side->spans == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        uint64_t length = bits_varbit(b);
        int64_t offset = (int64_t)varbit_signed(b);
        if (b->failed || length > UINT32_MAX || offset < INT32_MIN || offset > INT32_MAX)
            return ERR_CORRUPT;
        side->spans[i] = (struct histogram_span){(int32_t)offset, (uint32_t)length};
    }
    side->buckets_count = buckets_of(side);
    /* a bucket takes a bit at least */
    return side->buckets_count > (uint64_t)(b->end - b->cur) * 8 + 64 ? ERR_CORRUPT : OK;
}

static enum status chunk_bounds(struct bits *b, struct histogram *h, struct arena *arena) {
    uint64_t count = bits_varbit(b);
    if (b->failed || count > (uint64_t)(b->end - b->cur) * 8) return ERR_CORRUPT;
    h->bounds_count = (uint32_t)count;
    h->bounds = arena_array(arena, (size_t)count, sizeof *h->bounds);
    if (h->bounds == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        uint64_t n = bits_varbit(b);
        h->bounds[i] = n == 0 ? f64_from_bits(bits_take(b, 64)) : (double)(n - 1) / 1000;
    }
    return b->failed ? ERR_CORRUPT : OK;
}

static enum status chunk_layout(struct bits *b, struct histogram *h, struct arena *arena) {
    uint64_t threshold = bits_take(b, 8);
    if (threshold == 255)
        h->zero_threshold = f64_from_bits(bits_take(b, 64));
    else if (threshold != 0)
        h->zero_threshold = ldexp(0.5, (int)threshold - 243);
    int64_t schema = (int64_t)varbit_signed(b);
    if (b->failed || schema < INT32_MIN || schema > INT32_MAX) return ERR_CORRUPT;
    h->schema = (int32_t)schema;
    TRY(chunk_spans(b, &h->positive, arena));
    TRY(chunk_spans(b, &h->negative, arena));
    if (h->schema == HISTOGRAM_SCHEMA_CUSTOM) TRY(chunk_bounds(b, h, arena));
    return OK;
}

/* A number of a chunk and how it changes. Integers are unsigned: they wrap as Go's do. */
struct field {
    uint64_t now, distance;
    struct bits_window window;
};

static void field_integer(struct bits *b, struct field *f, bool first) {
    if (first) {
        f->now = varbit_signed(b);
        return;
    }
    f->distance += varbit_signed(b);
    f->now += f->distance;
}

static void field_float(struct bits *b, struct field *f, bool first) {
    f->now = first ? bits_take(b, 64) : bits_value(b, &f->window, f->now);
}

struct chunk {
    struct bits bits;
    struct histogram layout;
    struct field time, count, zero, sum;
    struct field *buckets; /* the positive ones, then the negative ones */
    uint32_t buckets_count;
};

static void chunk_next(struct chunk *c, bool first) {
    struct bits *b = &c->bits;
    bool is_float = c->layout.is_float;
    field_integer(b, &c->time, first);
    if (is_float) {
        field_float(b, &c->count, first);
        field_float(b, &c->zero, first);
    } else if (first) {
        c->count.now = bits_varbit(b);
        c->zero.now = bits_varbit(b);
    } else {
        field_integer(b, &c->count, false);
        field_integer(b, &c->zero, false);
    }
    field_float(b, &c->sum, first);
    if (!first && value_is_stale(f64_from_bits(c->sum.now))) return;
    for (uint32_t i = 0; i < c->buckets_count; i++) {
        if (is_float)
            field_float(b, &c->buckets[i], first);
        else
            field_integer(b, &c->buckets[i], first);
    }
}

static enum status take_side(const struct field *from, struct histogram_side *side, bool is_float,
                             struct arena *arena) {
    TRY(side_reserve(side, side->buckets_count, is_float, arena));
    for (uint32_t i = 0; i < side->buckets_count; i++) {
        if (is_float)
            side->counts[i] = f64_from_bits(from[i].now);
        else
            side->deltas[i] = (int64_t)from[i].now;
    }
    /* making it coarser writes the spans too */
    struct histogram_span *spans = arena_array(arena, side->spans_count, sizeof *spans);
    if (spans == NULL) return ERR_NOMEM;
    if (side->spans_count > 0) memcpy(spans, side->spans, side->spans_count * sizeof *spans);
    side->spans = spans;
    return OK;
}

static enum status chunk_histogram(const struct chunk *c, enum histogram_hint hint,
                                   struct arena *arena, struct histogram **out) {
    struct histogram *h = arena_alloc(arena, sizeof *h);
    if (h == NULL) return ERR_NOMEM;
    *out = h;
    if (value_is_stale(f64_from_bits(c->sum.now))) {
        *h = histogram_stale();
        return OK;
    }
    *h = c->layout;
    h->hint = hint;
    h->sum = f64_from_bits(c->sum.now);
    if (h->is_float) {
        h->count_float = f64_from_bits(c->count.now);
        h->zero_count_float = f64_from_bits(c->zero.now);
    } else {
        h->count = c->count.now;
        h->zero_count = c->zero.now;
    }
    TRY(take_side(c->buckets, &h->positive, h->is_float, arena));
    return take_side(c->buckets + h->positive.buckets_count, &h->negative, h->is_float, arena);
}

/* That a sample of a chunk was no reset against the one before is not kept: the one before may be
 * deleted, and who reads finds out by itself. */
static enum histogram_hint hint_of(unsigned chunk_hint, bool first) {
    if (chunk_hint == HINT_GAUGE) return HISTOGRAM_GAUGE;
    return chunk_hint == HINT_RESET && first ? HISTOGRAM_RESET : HISTOGRAM_UNKNOWN;
}

static enum status chunk_append(const struct chunk *c, enum histogram_hint hint,
                                struct arena *arena, struct samples *out,
                                struct prom_counts *counts) {
    struct histogram *h;
    TRY(chunk_histogram(c, hint, arena, &h));
    if (!is_held(h)) {
        counts->histograms++;
        return OK;
    }
    out->times_ms[out->count] = (int64_t)c->time.now;
    out->values[out->count] = h->sum;
    out->histograms[out->count++] = h;
    return OK;
}

enum status prom_histogram_chunk(bool is_float, const uint8_t *bytes, size_t len,
                                 struct arena *arena, struct samples *out,
                                 struct prom_counts *counts) {
    if (len < CHUNK_HEADER) return ERR_CORRUPT;
    size_t count = get_u16be(bytes);
    TRY(samples_reserve(out, out->count + count));
    TRY(samples_want_histograms(out));
    if (count == 0) return OK;
    struct chunk c = {.bits = {.cur = bytes + CHUNK_HEADER, .end = bytes + len},
                      .layout = {.is_float = is_float}};
    TRY(chunk_layout(&c.bits, &c.layout, arena));
    c.buckets_count = c.layout.positive.buckets_count + c.layout.negative.buckets_count;
    c.buckets = arena_array(arena, c.buckets_count, sizeof *c.buckets);
    if (c.buckets == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        chunk_next(&c, i == 0);
        if (c.bits.failed) return ERR_CORRUPT;
        TRY(chunk_append(&c, hint_of(bytes[2] >> 6, i == 0), arena, out, counts));
    }
    return OK;
}

/* -- logs */

static enum status read_spans(struct reader *r, struct histogram_side *side, struct arena *arena) {
    uint64_t count = read_varint(r);
    if (r->failed || count > reader_left(r) / 2) return ERR_CORRUPT;
    side->spans_count = (uint32_t)count;
    side->spans = arena_array(arena, (size_t)count, sizeof *side->spans);
    if (side->spans == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        int64_t offset = read_zigzag(r);
        uint64_t length = read_varint(r);
        if (r->failed || length > UINT32_MAX || offset < INT32_MIN || offset > INT32_MAX)
            return ERR_CORRUPT;
        side->spans[i] = (struct histogram_span){(int32_t)offset, (uint32_t)length};
    }
    return OK;
}

static enum status read_buckets(struct reader *r, struct histogram_side *side, bool is_float,
                                struct arena *arena) {
    uint64_t count = read_varint(r);
    if (r->failed || count > reader_left(r) || count != buckets_of(side)) return ERR_CORRUPT;
    TRY(side_reserve(side, (uint32_t)count, is_float, arena));
    for (size_t i = 0; i < count; i++) {
        if (is_float)
            side->counts[i] = f64_from_bits(read_u64be(r));
        else
            side->deltas[i] = read_zigzag(r);
    }
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status read_bounds(struct reader *r, struct histogram *h, struct arena *arena) {
    uint64_t count = read_varint(r);
    if (r->failed || count > reader_left(r) / 8) return ERR_CORRUPT;
    h->bounds_count = (uint32_t)count;
    h->bounds = arena_array(arena, (size_t)count, sizeof *h->bounds);
    if (h->bounds == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        h->bounds[i] = f64_from_bits(read_u64be(r));
    return OK;
}

enum status prom_histogram_read(struct reader *r, bool is_float, struct arena *arena,
                                struct prom_counts *counts, struct histogram **out) {
    struct histogram *h = arena_zalloc(arena, sizeof *h);
    if (h == NULL) return ERR_NOMEM;
    uint8_t hint = read_u8(r);
    int64_t schema = read_zigzag(r);
    if (r->failed || schema < INT32_MIN || schema > INT32_MAX) return ERR_CORRUPT;
    h->is_float = is_float;
    h->hint = hint == HISTOGRAM_GAUGE || hint == HISTOGRAM_RESET ? (enum histogram_hint)hint
                                                                 : HISTOGRAM_UNKNOWN;
    h->schema = (int32_t)schema;
    h->zero_threshold = f64_from_bits(read_u64be(r));
    if (is_float) {
        h->zero_count_float = f64_from_bits(read_u64be(r));
        h->count_float = f64_from_bits(read_u64be(r));
    } else {
        h->zero_count = read_varint(r);
        h->count = read_varint(r);
    }
    h->sum = f64_from_bits(read_u64be(r));
    TRY(read_spans(r, &h->positive, arena));
    TRY(read_spans(r, &h->negative, arena));
    TRY(read_buckets(r, &h->positive, is_float, arena));
    TRY(read_buckets(r, &h->negative, is_float, arena));
    if (h->schema == HISTOGRAM_SCHEMA_CUSTOM) TRY(read_bounds(r, h, arena));
    if (r->failed) return ERR_CORRUPT;
    if (histogram_is_stale(h)) *h = histogram_stale();
    *out = is_held(h) ? h : NULL;
    if (*out == NULL) counts->histograms++;
    return OK;
}
