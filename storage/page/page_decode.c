/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what page_encode.c describes. */
#include <assert.h>
#include <string.h>

#include "storage/page/internal.h"

void page_scratch_init(struct page_scratch *s) {
    s->kernels = kernels_best();
    s->patches_count = 0;
}

struct slice { /* which samples are wanted */
    size_t count, from, to;
};

static enum status const_int_read(struct reader *r, unsigned argument, double *out) {
    *out = argument < PAGE_INT_LONG ? (double)argument : (double)read_zigzag(r);
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status const_read(struct reader *r, unsigned argument, double *out) {
    unsigned code = argument - PAGE_CONST_CODE; /* wraps below */
    if (argument <= PAGE_EXPONENT_MAX)
        *out = (double)read_zigzag(r) / decimal_powers[argument];
    else if (code == RUN_RAW)
        *out = read_f64(r);
    else if (code < RUN_CODES)
        *out = f64_from_bits(run_bits[code]);
    else
        return ERR_CORRUPT;
    return r->failed ? ERR_CORRUPT : OK;
}

static enum status decimal_read(struct page_scratch *s, struct reader *r, unsigned exponent,
                                const struct slice *w, double *out) {
    struct istream_read in = {.count = w->count, .upto = w->to};
    if (exponent > PAGE_EXPONENT_MAX) return ERR_CORRUPT;
    TRY(istream_read(s, r, &in, s->ints));
    s->kernels->to_doubles(s->ints + w->from, w->to - w->from, decimal_powers[exponent],
                           in.is_small, out);
    return OK;
}

static enum status ulp_read(struct page_scratch *s, struct reader *r, unsigned exponent,
                            const struct slice *w, double *out) {
    struct istream_read in = {.count = w->count, .upto = w->to};
    TRY(decimal_read(s, r, exponent, w, out));
    TRY(istream_read(s, r, &in, s->ulps));
    s->kernels->add_ulps(out, s->ulps + w->from, w->to - w->from);
    return OK;
}

static enum status bits_read(struct page_scratch *s, struct reader *r, unsigned argument,
                             const struct slice *w, double *out) {
    struct istream_read in = {.count = w->count, .upto = w->to};
    if (argument != 0) return ERR_CORRUPT;
    TRY(istream_read(s, r, &in, s->ints));
    for (size_t i = w->from; i < w->to; i++)
        out[i - w->from] = f64_from_bits(bits_unfold(s->ints[i]));
    return OK;
}

/* A page of numbers only, up to the end of r. */
static enum status numbers_read(struct page_scratch *s, struct reader *r, const struct slice *w,
                                double *out) {
    unsigned head = read_u8(r), kind = head & PAGE_KIND_MASK, argument = head >> PAGE_KIND_BITS;
    if (r->failed || w->count == 0) return ERR_CORRUPT;
    if (kind == PAGE_CONST_INT || kind == PAGE_CONST) {
        double value;
        TRY(kind == PAGE_CONST ? const_read(r, argument, &value)
                               : const_int_read(r, argument, &value));
        s->kernels->fill(out, w->to - w->from, value);
    } else if (w->count > PAGE_SAMPLES_MAX) {
        return ERR_CORRUPT;
    } else if (kind == PAGE_DECIMAL) {
        TRY(decimal_read(s, r, argument, w, out));
    } else if (kind == PAGE_ULP) {
        TRY(ulp_read(s, r, argument, w, out));
    } else if (kind == PAGE_BITS) {
        TRY(bits_read(s, r, argument, w, out));
    } else {
        return ERR_CORRUPT;
    }
    return reader_left(r) == 0 ? OK : ERR_CORRUPT;
}

/* Returns how many values no run has, count + 1 when the runs are malformed. */
static size_t runs_read(struct page_scratch *s, struct reader *r, size_t count, size_t *runs_out) {
    uint64_t runs = read_varint(r);
    size_t next = 0, left = count;
    if (runs == 0 || runs > count) return count + 1;
    for (size_t i = 0; i < runs; i++) {
        uint64_t gap = read_varint(r), len = read_varint(r);
        unsigned code = len & 7;
        len >>= 3;
        if (r->failed || gap >= count - next || len >= count - next - gap) return count + 1;
        len++;
        next += gap;
        s->runs[i] = (struct page_run){(uint16_t)next, (uint16_t)len, (uint8_t)code, NULL};
        if (code == RUN_RAW) s->runs[i].raw = read_bytes(r, len * sizeof(double));
        if (r->failed) return count + 1;
        next += len;
        left -= len;
    }
    *runs_out = (size_t)runs;
    return left;
}

/* Spreads the first `kept` values over count, from behind, with the runs between them. */
static void runs_spread(const struct page_scratch *s, size_t runs, size_t kept, size_t count,
                        double *values) {
    size_t end = count;
    for (size_t i = runs; i-- > 0;) {
        const struct page_run *run = &s->runs[i];
        size_t run_end = (size_t)run->start + run->len, tail = end - run_end;
        kept -= tail;
        memmove(values + run_end, values + kept, tail * sizeof *values);
        if (run->raw != NULL)
            memcpy(values + run->start, run->raw, run->len * sizeof *values);
        else
            s->kernels->fill(values + run->start, run->len, f64_from_bits(run_bits[run->code]));
        end = run->start;
    }
    assert(kept == end);
}

static enum status patched_read(struct page_scratch *s, struct reader *r, const struct slice *w,
                                double *out) {
    size_t runs, kept = runs_read(s, r, w->count, &runs);
    if (kept > w->count) return ERR_CORRUPT;
    struct slice all = {kept, 0, kept};
    if (kept > 0)
        TRY(numbers_read(s, r, &all, s->values));
    else if (reader_left(r) != 0)
        return ERR_CORRUPT;
    runs_spread(s, runs, kept, w->count, s->values);
    memcpy(out, s->values + w->from, (w->to - w->from) * sizeof *out);
    return OK;
}

static enum status other_read(struct page_scratch *s, const struct page *p, const struct slice *w,
                              double *out) {
    struct reader r = reader_init(p->bytes, p->len);
    unsigned other = read_u8(&r) >> PAGE_KIND_BITS;
    if (w->count == 0 || w->count > PAGE_SAMPLES_MAX) return ERR_CORRUPT;
    if (other == PAGE_PATCHED) return patched_read(s, &r, w, out);
    if (other != PAGE_RAW || p->len != 1 + w->count * sizeof *out) return ERR_CORRUPT;
    memcpy(out, p->bytes + 1 + w->from * sizeof *out, (w->to - w->from) * sizeof *out);
    return OK;
}

enum status page_decode_range(struct page_scratch *s, const struct page *p, size_t from, size_t to,
                              double *out) {
    assert(from <= to && to <= p->count);
    struct slice w = {p->count, from, to};
    if (p->len > 0 && (p->bytes[0] & PAGE_KIND_MASK) == PAGE_OTHER)
        return other_read(s, p, &w, out);
    struct reader r = reader_init(p->bytes, p->len);
    return numbers_read(s, &r, &w, out);
}

enum status page_decode(struct page_scratch *s, const struct page *p, double *out) {
    return page_decode_range(s, p, 0, p->count, out);
}

uint64_t page_ref_back(const uint8_t *bytes, size_t len) {
    struct reader r = reader_init(bytes, len);
    if (read_u8(&r) != (PAGE_OTHER | PAGE_REF << PAGE_KIND_BITS)) return 0;
    uint64_t back = read_varint(&r);
    return r.failed || reader_left(&r) != 0 ? 0 : back;
}

enum status column_decode(struct page_scratch *s, const struct page *p, int64_t *out) {
    struct istream_read in = {.count = p->count, .upto = p->count};
    if (p->count == 0 || p->count > PAGE_SAMPLES_MAX) return ERR_CORRUPT;
    struct reader r = reader_init(p->bytes, p->len);
    TRY(istream_read(s, &r, &in, out));
    return reader_left(&r) == 0 ? OK : ERR_CORRUPT;
}
