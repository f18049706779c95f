/* SPDX-License-Identifier: Apache-2.0 */
/* Values in a pack (storage/log_pack.h). Of each one is said, bit by bit, each with a chance of its
 * own (storage/log_coder.h), what it is beside the one before it of its series:
 *
 *   value    := differs [repeats_not [is_bits, bits or decimal]]   chances by the last four kinds
 *   decimal  := rescaled [tree 4: scale], inexact [tree 5: zigzag ulps], [off_step], difference
 *               The value is the double next to a decimal with `scale` digits behind the point, and
 *               so many ulps above that. The difference is that of both values as decimals of this
 *               scale, in steps where it is not off_step (said where the step is over 1). The step
 *               is the greatest that all so far were multiples of: many a gauge counts pages.
 *   difference := tree 6: width (bits of its size), by the last two widths; up to 3 bits behind the
 *               highest by a tree of that width; those behind them plain; its sign, where it is not
 *               0, by those of the last two and whether it is wider
 *   bits     := tree 4: count of bytes, plain, of both values' bits xor'ed
 *   repeats: the difference, and the scale, are those of the last decimal; no ulps */
#include <stdlib.h>

#include "node/base/num.h"
#include "storage/log_pack_internal.h"

enum value_kind { KIND_SAME, KIND_REPEAT, KIND_DECIMAL, KIND_BITS };
enum {
    KINDS_UNKNOWN = 0xbb, /* before the first value: a row that hardly comes otherwise */
    KINDS_ALL_BITS = 0xff,
    SCALE_BITS = 4,
    ULPS_BITS = 5,
    WIDTH_BITS = 6,
    BYTES_BITS = 4,
};

void pack_model_init(struct pack_model *m) {
    coder_chance *all = (coder_chance *)m;
    static_assert(sizeof *m % sizeof *all == 0, "chances alone");
    for (size_t i = 0; i < sizeof *m / sizeof *all; i++)
        all[i] = CHANCE_EVEN;
}

/* -- what both sides know */

void pack_record_reset(struct pack_record *r, uint32_t numbering) {
    *r = (struct pack_record){.shard = r->shard,
                              .number = r->number,
                              .next = r->next,
                              .numbering = numbering,
                              .kinds = KINDS_UNKNOWN};
}

struct decimal {
    int64_t delta;
    unsigned scale;
    int64_t ulps;
};

static inline unsigned width_of(uint64_t v) {
    return v == 0 ? 0 : 64 - (unsigned)__builtin_clzll(v);
}

static inline coder_chance *width_tree(struct pack_model *m, const struct pack_record *r) {
    int rise = r->widths[1] - r->widths[0];
    unsigned trend = rise < -2 ? 0 : rise < 0 ? 1 : rise == 0 ? 2 : rise <= 2 ? 3 : 4;
    unsigned class = MIN(r->widths[0], WIDTH_CLASSES - 1);
    return m->width[class * WIDTH_TREND + trend];
}

static inline coder_chance *sign_chance(struct pack_model *m, const struct pack_record *r,
                                        unsigned width) {
    return &m->sign[(r->signs & 3) | (width > r->widths[0] ? 4 : 0)];
}

static inline void width_learn(struct pack_record *r, unsigned width, bool negative) {
    r->signs = (uint8_t)(r->signs << 1 | negative);
    r->widths[1] = r->widths[0];
    r->widths[0] = (uint8_t)width;
}

static inline void kind_learn(struct pack_record *r, enum value_kind kind) {
    r->kinds = (uint8_t)((unsigned)r->kinds << 2 | (unsigned)kind);
}

/* -- writing */

/* A few scales are tried, and none any more behind four values that had none. */
static enum value_kind value_look(const struct pack_record *r, uint64_t bits, struct decimal *out) {
    double v = f64_from_bits(bits), before = f64_from_bits(r->bits);
    bool found = false;
    if (r->kinds == KINDS_ALL_BITS) return KIND_BITS;
    if (r->scale != SCALE_NONE && r->delta != 0 &&
        pack_decimal(pack_scaled(before, r->scale) + r->delta, r->scale) == bits)
        return KIND_REPEAT;
    for (unsigned scale = r->scale == SCALE_NONE ? 0 : r->scale; scale < PACK_SCALES; scale++) {
        int64_t a = pack_scaled(v, scale), ulps = (int64_t)(bits - pack_decimal(a, scale));
        if (ulps != 0 && (found || zigzag(ulps) >= 1 << ULPS_BITS)) continue;
        *out = (struct decimal){a - pack_scaled(before, scale), scale, ulps};
        if (ulps == 0 || (r->inexact && scale == r->scale)) return KIND_DECIMAL;
        found = true;
    }
    return found ? KIND_DECIMAL : KIND_BITS;
}

static void difference_put(struct log_pack *p, struct pack_record *r, int64_t delta) {
    struct pack_model *m = &p->model;
    struct coder_out *c = &p->values_out;
    struct buf *out = &p->streams[PACK_VALUES];
    uint64_t size = delta < 0 ? -(uint64_t)delta : (uint64_t)delta;
    bool off = r->step == 0 || (r->step > 1 && size % r->step != 0);
    if (r->step > 1) coder_put(c, out, &m->off_step, off);
    if (off)
        r->step = u64_gcd(r->step, size);
    else if (r->step > 1)
        size /= r->step;
    unsigned width = width_of(size), left = width > 0 ? width - 1 : 0, top = MIN(left, TOP_BITS);
    coder_put_tree(c, out, width_tree(m, r), width, WIDTH_BITS);
    left -= top;
    coder_put_tree(c, out, m->top[width], (unsigned)(size >> left) & ((1U << top) - 1), top);
    coder_put_plain(c, out, size, left);
    if (width > 0) coder_put(c, out, sign_chance(m, r, width), delta < 0);
    width_learn(r, width, delta < 0);
}

static void decimal_put(struct log_pack *p, struct pack_record *r, const struct decimal *d) {
    struct pack_model *m = &p->model;
    struct coder_out *c = &p->values_out;
    struct buf *out = &p->streams[PACK_VALUES];
    coder_put(c, out, &m->rescaled, d->scale != r->scale);
    if (d->scale != r->scale) {
        coder_put_tree(c, out, m->scale, d->scale, SCALE_BITS);
        r->scale = (uint8_t)d->scale;
        r->step = 0;
    }
    coder_put(c, out, &m->inexact[r->inexact], d->ulps != 0);
    r->inexact = d->ulps != 0;
    if (r->inexact) coder_put_tree(c, out, m->ulps, (unsigned)zigzag(d->ulps), ULPS_BITS);
    difference_put(p, r, d->delta);
    r->delta = d->delta;
}

static void bits_put(struct log_pack *p, struct pack_record *r, uint64_t bits) {
    uint64_t differs = r->bits ^ bits;
    unsigned bytes = (width_of(differs) + 7) / 8;
    coder_put_tree(&p->values_out, &p->streams[PACK_VALUES], p->model.bytes, bytes, BYTES_BITS);
    coder_put_plain(&p->values_out, &p->streams[PACK_VALUES], differs, 8 * bytes);
    r->scale = SCALE_NONE;
    r->step = 0;
}

static void value_put(struct log_pack *p, struct pack_record *r, uint64_t bits) {
    struct pack_model *m = &p->model;
    struct coder_out *c = &p->values_out;
    struct buf *out = &p->streams[PACK_VALUES];
    struct decimal d = {0};
    uint8_t kinds = r->kinds;
    coder_put(c, out, &m->differs[kinds], 1);
    enum value_kind kind = value_look(r, bits, &d);
    coder_put(c, out, &m->repeats_not[kinds], kind != KIND_REPEAT);
    if (kind != KIND_REPEAT) coder_put(c, out, &m->is_bits[kinds], kind == KIND_BITS);
    if (kind == KIND_DECIMAL) decimal_put(p, r, &d);
    if (kind == KIND_BITS) bits_put(p, r, bits);
    kind_learn(r, kind);
    r->bits = bits;
}

void pack_values_put(struct log_pack *p, uint32_t numbering, const uint8_t *values) {
    if (p->values_out.range == 0) coder_out_begin(&p->values_out);
    for (size_t i = 0; i < p->chain_count; i++) {
        struct pack_record *r = &p->records[p->chain[i]];
        uint64_t bits = get_u64le(values + 8 * i);
        if (r->numbering != numbering) pack_record_reset(r, numbering);
        if (bits != r->bits) {
            value_put(p, r, bits);
            continue;
        }
        coder_put(&p->values_out, &p->streams[PACK_VALUES], &p->model.differs[r->kinds], 0);
        kind_learn(r, KIND_SAME);
    }
}

/* -- reading */

static int64_t difference_get(struct log_pack *p, struct pack_record *r) {
    struct pack_model *m = &p->model;
    struct coder_in *c = &p->values_in;
    bool off = r->step == 0 || (r->step > 1 && coder_get(c, &m->off_step) != 0);
    unsigned width = coder_get_tree(c, width_tree(m, r), WIDTH_BITS);
    unsigned left = width > 0 ? width - 1 : 0, top = MIN(left, TOP_BITS);
    uint64_t size = width > 0;
    left -= top;
    size = size << top | coder_get_tree(c, m->top[width], top);
    size = size << left | coder_get_plain(c, left);
    bool negative = width > 0 && coder_get(c, sign_chance(m, r, width)) != 0;
    width_learn(r, width, negative);
    if (off)
        r->step = u64_gcd(r->step, size);
    else
        size *= r->step;
    return (int64_t)(negative ? -size : size);
}

static bool decimal_get(struct log_pack *p, struct pack_record *r) {
    struct pack_model *m = &p->model;
    struct coder_in *c = &p->values_in;
    int64_t ulps = 0;
    if (coder_get(c, &m->rescaled) != 0) {
        r->scale = (uint8_t)coder_get_tree(c, m->scale, SCALE_BITS);
        r->step = 0;
    }
    if (r->scale >= PACK_SCALES) return false;
    r->inexact = coder_get(c, &m->inexact[r->inexact]) != 0;
    if (r->inexact) ulps = unzigzag(coder_get_tree(c, m->ulps, ULPS_BITS));
    r->delta = difference_get(p, r);
    uint64_t before = (uint64_t)pack_scaled(f64_from_bits(r->bits), r->scale);
    r->bits = pack_decimal((int64_t)(before + (uint64_t)r->delta), r->scale) + (uint64_t)ulps;
    return true;
}

static bool bits_get(struct log_pack *p, struct pack_record *r) {
    unsigned bytes = coder_get_tree(&p->values_in, p->model.bytes, BYTES_BITS);
    if (bytes > 8) return false;
    r->bits ^= coder_get_plain(&p->values_in, 8 * bytes);
    r->scale = SCALE_NONE;
    r->step = 0;
    return true;
}

static bool repeat_get(struct pack_record *r) {
    if (r->scale >= PACK_SCALES) return false;
    uint64_t before = (uint64_t)pack_scaled(f64_from_bits(r->bits), r->scale);
    r->bits = pack_decimal((int64_t)(before + (uint64_t)r->delta), r->scale);
    return true;
}

static bool value_get(struct log_pack *p, struct pack_record *r) {
    struct coder_in *c = &p->values_in;
    uint8_t kinds = r->kinds;
    enum value_kind kind = KIND_REPEAT;
    bool good;
    if (coder_get(c, &p->model.repeats_not[kinds]) == 0) {
        good = repeat_get(r);
    } else if (coder_get(c, &p->model.is_bits[kinds]) == 0) {
        kind = KIND_DECIMAL;
        good = decimal_get(p, r);
    } else {
        kind = KIND_BITS;
        good = bits_get(p, r);
    }
    kind_learn(r, kind);
    return good;
}

bool pack_values_get(struct log_pack *p, uint32_t numbering, uint8_t *to) {
    struct coder_in *c = &p->values_in;
    if (c->range == 0) coder_in_begin(c);
    for (size_t i = 0; i < p->chain_count; i++) {
        struct pack_record *r = &p->records[p->chain[i]];
        if (r->numbering != numbering) pack_record_reset(r, numbering);
        if (coder_get(c, &p->model.differs[r->kinds]) == 0)
            kind_learn(r, KIND_SAME);
        else if (!value_get(p, r))
            return false;
        put_u64le(to + 8 * i, r->bits);
    }
    return !c->over;
}
