/* SPDX-License-Identifier: Apache-2.0 */
/* A page is `count` doubles (known beside it). PAGE_FORMAT 1; varints are LEB128 of u64, "zigzag"
 * is a varint of a zigzag code; see istream_write.c for istreams:
 *
 *   byte         bits 0-2 kind, 3-7 argument a; then by kind
 *   0 CONST_INT  every value is the integer a (0 .. 30); a = 31: zigzag n follows
 *   1 CONST      every value is: a = 0 .. 17: n / 10^a, zigzag n follows; a = 18 + code: as in runs
 *                below, for code 5 eight bytes follow
 *   2 DECIMAL    istream n; value = (double)n / 10^a, a = 0 .. 17, the division rounded to nearest
 *   3 ULP        istream n, istream u; value = the double u steps above (double)n / 10^a
 *   4 BITS       istream of folded bits, a = 0
 *   7 OTHER      a = 0 PATCHED: varint runs >= 1; each: varint gap (values since the last run),
 * varint (len - 1) * 8 + code, for code 5 len * 8 bytes. Then, if values are left, a page of those,
 * of kind 0 to 4. a = 1 RAW: count * 8 bytes a = 2 REF: varint k >= 1, the page k entries before
 * this one a = 3 BUCKET: reserved for differences to another series code         0 stale marker, 1
 * NaN (Go's), 2 +Inf, 3 -Inf, 4 -0, 5 the bits themselves, 6 0x7ff8000000000000, 7
 * 0xfff8000000000000 folded       the bits as an integer, the low 63 inverted where the highest is
 * set: the order of integers is that of doubles, u steps are u added, modulo 2^64
 *
 * The encoder writes decimals; where some values are none, or they are long, it tries the other
 * kinds too and keeps the shortest. */
#include <assert.h>
#include <string.h>

#include "storage/page/internal.h"

enum {
    LONG_BYTES = 4, /* decimals longer than this on average are compared with their bits */
    CODE_BITS = 3,
    INT_SHORT_MAX = 30,
};
static_assert(RUN_CODES == 1 << CODE_BITS, "a code is three bits of a run");
static_assert(PAGE_CONST_CODE + RUN_CODES <= 32, "and fits the argument of CONST");

static uint8_t head_byte(enum page_kind kind, unsigned argument) {
    return (uint8_t)(kind | argument << PAGE_KIND_BITS);
}

static bool is_special(uint64_t bits) {
    return (bits & run_bits[RUN_INF]) == run_bits[RUN_INF];
}

static uint8_t run_code_of(uint64_t bits) {
    for (unsigned code = 0; code < RUN_CODES; code++)
        if (code != RUN_RAW && run_bits[code] == bits) return (uint8_t)code;
    return RUN_RAW;
}

static bool values_are_equal(const double *values, size_t count) {
    uint64_t first = f64_bits(values[0]);
    if (f64_bits(values[count - 1]) != first) return false;
    for (size_t i = 0; i < count;) {
        uint64_t differ = 0;
        for (size_t end = MIN(count, i + 16); i < end; i++)
            differ |= f64_bits(values[i]) ^ first;
        if (differ != 0) return false;
    }
    return true;
}

static size_t const_write(double value, uint8_t *out) {
    int64_t n;
    int exponent = is_special(f64_bits(value)) ? -1 : decimal_exponent(value, 0, &n);
    if (exponent == 0 && n >= 0 && n <= INT_SHORT_MAX) {
        out[0] = head_byte(PAGE_CONST_INT, (unsigned)n);
        return 1;
    }
    if (exponent >= 0 && varint_len(zigzag(n)) < 8) {
        out[0] = exponent == 0 ? head_byte(PAGE_CONST_INT, PAGE_INT_LONG)
                               : head_byte(PAGE_CONST, (unsigned)exponent);
        return 1 + put_varint(out + 1, zigzag(n));
    }
    unsigned code = run_code_of(f64_bits(value));
    out[0] = head_byte(PAGE_CONST, PAGE_CONST_CODE + code);
    if (code != RUN_RAW) return 1;
    put_f64le(out + 1, value);
    return 9;
}

static bool specials_exist(const double *values, size_t count) {
    uint64_t found = 0; /* an exponent of ones carries into the sign */
    for (size_t i = 0; i < count; i++)
        found |= (f64_bits(values[i]) & run_bits[RUN_INF]) + (1ULL << 52);
    return found >> 63 != 0;
}

/* Marks what cannot be a number and copies the others; returns how many those are. */
static size_t specials_split(struct page_scratch *s, const double *values, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = f64_bits(values[i]);
        s->codes[i] = is_special(bits) ? run_code_of(bits) : (uint8_t)RUN_NONE;
        s->kept[kept] = values[i];
        kept += s->codes[i] == RUN_NONE;
    }
    return kept;
}

/* Marks the kept values in s->fails as well and takes their integers out. */
static size_t fails_split(struct page_scratch *s, const double *values, size_t count,
                          size_t fails) {
    size_t at = 0, kept = 0, fail = 0;
    for (size_t i = 0; i < count; i++) {
        if (s->codes[i] != RUN_NONE) continue;
        if (fail < fails && s->fails[fail] == at) {
            s->codes[i] = run_code_of(f64_bits(values[i]));
            fail++;
        } else {
            s->ints[kept++] = s->ints[at];
        }
        at++;
    }
    assert(fail == fails);
    return kept;
}

static size_t run_write(const double *values, size_t len, uint8_t code, size_t gap, uint8_t *out) {
    size_t n = put_varint(out, gap);
    n += put_varint(out + n, (len - 1) << CODE_BITS | code);
    if (code != RUN_RAW) return n;
    memcpy(out + n, values, len * sizeof *values);
    return n + len * sizeof *values;
}

/* Two passes, as their number comes first. */
static size_t runs_write(const struct page_scratch *s, const double *values, size_t count,
                         uint8_t *out) {
    size_t runs = 0, len = 1, done = 0;
    for (size_t i = 0; i < count; i++)
        runs += s->codes[i] != RUN_NONE && (i == 0 || s->codes[i - 1] != s->codes[i]);
    out[0] = head_byte(PAGE_OTHER, PAGE_PATCHED);
    len += put_varint(out + len, runs);
    for (size_t i = 0; i < count;) {
        uint8_t code = s->codes[i];
        size_t end = i + 1;
        while (end < count && s->codes[end] == code)
            end++;
        if (code != RUN_NONE) {
            len += run_write(values + i, end - i, code, i - done, out + len);
            done = end;
        }
        i = end;
    }
    return len;
}

struct encoding {
    struct page_scratch *s;
    const double *values; /* all */
    const double *plain;  /* without specials */
    size_t count, plain_count;
    unsigned best; /* the trial with the shortest page */
    size_t len;    /* of it */
};

static uint8_t *trial_of(struct encoding *e) {
    return e->s->trials[e->best ^ 1];
}

static void trial_done(struct encoding *e, size_t len) {
    if (len >= e->len) return;
    e->best ^= 1;
    e->len = len;
}

static size_t prefix_write(struct encoding *e, bool has_runs, uint8_t *out) {
    return has_runs ? runs_write(e->s, e->values, e->count, out) : 0;
}

static void try_decimal(struct encoding *e, unsigned exponent, size_t fails) {
    struct page_scratch *s = e->s;
    uint8_t *out = trial_of(e);
    size_t kept = e->plain_count;
    if (fails > 0) {
        if (kept == e->count) memset(s->codes, RUN_NONE, e->count);
        kept = fails_split(s, e->values, e->count, fails);
    }
    size_t len = prefix_write(e, kept < e->count, out);
    out[len++] = head_byte(PAGE_DECIMAL, exponent);
    len += istream_write(s, s->ints, kept, out + len);
    trial_done(e, len);
    if (fails > 0 && e->plain_count < e->count) specials_split(s, e->values, e->count);
}

static void try_bits(struct encoding *e) {
    struct page_scratch *s = e->s;
    uint8_t *out = trial_of(e);
    for (size_t i = 0; i < e->plain_count; i++)
        s->ints[i] = bits_fold(f64_bits(e->plain[i]));
    size_t len = prefix_write(e, e->plain_count < e->count, out);
    out[len++] = head_byte(PAGE_BITS, 0);
    len += istream_write(s, s->ints, e->plain_count, out + len);
    trial_done(e, len);
}

static void try_ulps(struct encoding *e) {
    struct page_scratch *s = e->s;
    int exponent = decimal_split_ulps(s, e->plain, e->plain_count);
    if (exponent < 0) return;
    uint8_t *out = trial_of(e);
    size_t len = prefix_write(e, e->plain_count < e->count, out);
    out[len++] = head_byte(PAGE_ULP, (unsigned)exponent);
    len += istream_write(s, s->ints, e->plain_count, out + len);
    len += istream_write(s, s->ulps, e->plain_count, out + len);
    trial_done(e, len);
}

static void try_numbers(struct encoding *e) {
    unsigned exponent;
    size_t fails = decimal_split(e->s, e->plain, e->plain_count, &exponent);
    if (fails <= e->plain_count / 2) try_decimal(e, exponent, fails);
    if (fails == 0 && e->len <= LONG_BYTES * e->plain_count) return;
    try_bits(e);
    try_ulps(e);
}

size_t page_encode(struct page_scratch *s, const double *values, size_t count, uint8_t *out) {
    assert(count >= 1 && count <= PAGE_SAMPLES_MAX);
    if (values_are_equal(values, count)) return const_write(values[0], out);
    struct encoding e = {.s = s,
                         .values = values,
                         .plain = values,
                         .count = count,
                         .plain_count = count,
                         .len = SIZE_MAX};
    if (specials_exist(values, count)) {
        e.plain = s->kept;
        e.plain_count = specials_split(s, values, count);
    }
    if (e.plain_count < count && (e.plain_count == 0 || values_are_equal(e.plain, e.plain_count))) {
        size_t len = runs_write(s, values, count, trial_of(&e));
        if (e.plain_count > 0) len += const_write(e.plain[0], trial_of(&e) + len);
        trial_done(&e, len);
    } else {
        try_numbers(&e);
    }
    assert(e.len <= PAGE_TRIAL_BYTES);
    if (e.len <= 1 + 8 * count) {
        memcpy(out, s->trials[e.best], e.len);
        return e.len;
    }
    out[0] = head_byte(PAGE_OTHER, PAGE_RAW);
    memcpy(out + 1, values, count * sizeof *values);
    return 1 + 8 * count;
}

size_t page_ref_encode(uint64_t back, uint8_t out[PAGE_REF_BYTES_MAX]) {
    assert(back >= 1);
    out[0] = head_byte(PAGE_OTHER, PAGE_REF);
    return 1 + put_varint(out + 1, back);
}

size_t column_encode(struct page_scratch *s, const int64_t *ints, size_t count, uint8_t *out) {
    assert(count >= 1 && count <= PAGE_SAMPLES_MAX);
    size_t len = istream_write(s, ints, count, s->trials[0]);
    assert(len <= PAGE_TRIAL_BYTES);
    if (len <= ISTREAM_HEAD_BYTES + 8 * count) {
        memcpy(out, s->trials[0], len);
        return len;
    }
    put_u16le(out, 64); /* order 0 at full width */
    memcpy(out + ISTREAM_HEAD_BYTES, ints, count * sizeof *ints);
    return ISTREAM_HEAD_BYTES + 8 * count;
}
