/* SPDX-License-Identifier: Apache-2.0 */
/* Partials on the wire, little-endian:
 *   u8 version (1, 2 with counts of steps, 3 with third columns of sums, 4 with both), u8 kind,
 * varint node number, varint steps, u8 flags (1 order-free, 2 duplicate), varint read, peak, and in
 * version 2 varint read at each step; notes: varint count, each: u8 (1 warning, 2 counted), varint
 * number, text, when counted: 3 f64, 2 zigzag, varint ids:   varint count, each 16 bytes content by
 * kind; a row begins with its labels: varint count, (name, value)..., u8 drop_name columns: one
 * kind byte a step, then 8 bytes for each step that is present Lengths come from the fragment,
 * counts are checked against the bytes left. */
#include "query/engine/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"

enum {
    PARTIAL_VERSION = 1,
    PARTIAL_WITH_STEPS = 1, /* added: the query asks for counts of each step */
    PARTIAL_WITH_REST = 2,  /* added: of sums that need a third column */
    FLAG_ORDER_FREE = 1,
    FLAG_DUPLICATE = 2,
    NOTE_WARNING = 1,
    NOTE_COUNTED = 2,
    ROW_BYTES = 200, /* of labels, mostly */
};

static void labels_put(struct buf *b, const struct labelset *set, bool drop_name) {
    buf_put_varint(b, set->count);
    for (size_t i = 0; i < set->count; i++) {
        buf_put_lenstr(b, set->labels[i].name);
        buf_put_lenstr(b, set->labels[i].value);
    }
    buf_put_u8(b, drop_name);
}

static void notes_put(struct buf *b, const struct notes *notes) {
    buf_put_varint(b, notes->count);
    for (size_t i = 0; i < notes->count; i++) {
        const struct note *n = &notes->items[i];
        buf_put_u8(b, (uint8_t)((n->warning ? NOTE_WARNING : 0) | (n->counted ? NOTE_COUNTED : 0)));
        buf_put_varint(b, n->number);
        buf_put_lenstr(b, sv_make(n->text, n->text_len));
        if (!n->counted) continue;
        buf_put_f64(b, n->min_bucket);
        buf_put_f64(b, n->max_bucket);
        buf_put_f64(b, n->max_diff);
        buf_put_zigzag(b, n->min_ms);
        buf_put_zigzag(b, n->max_ms);
        buf_put_varint(b, n->count);
    }
}

static void present_put(struct buf *b, const double *values, const uint8_t *kinds, size_t steps) {
    for (size_t k = 0; k < steps; k++)
        if (kinds[k] != POINT_NONE) buf_put_f64(b, values[k]);
}

/* Whether a sum needs its third column: then each group says whether it has one. */
static bool agg_has_rest(const struct agg *a) {
    for (uint32_t i = 0; i < a->groups.count; i++)
        if (a->groups.items[i].rest != NULL) return true;
    return false;
}

static void group_put(struct buf *b, const struct agg *a, const struct group *g, bool with_rest) {
    labels_put(b, &g->labels, g->drop_name);
    buf_put(b, g->seen, a->steps);
    for (size_t i = 0; i < agg_columns(a->op); i++)
        present_put(b, g->cols[i], g->seen, a->steps);
    if (with_rest) buf_put_u8(b, g->rest != NULL);
    if (g->rest != NULL) present_put(b, g->rest, g->seen, a->steps);
    if (!agg_is_topk(a->op)) return;
    for (size_t k = 0; k < a->steps; k++) {
        if (g->seen[k] == 0) continue;
        buf_put_varint(b, g->heaps[k].count);
        for (uint32_t i = 0; i < g->heaps[k].count; i++) {
            buf_put_f64(b, g->heaps[k].entries[i].value);
            buf_put_varint(b, g->heaps[k].entries[i].series);
        }
    }
}

static enum status agg_put(struct eval *ev, struct buf *b, const struct agg *a) {
    buf_put_varint(b, a->series_count);
    for (uint32_t i = 0; i < a->series_count; i++) {
        labels_put(b, &a->series_labels[i], a->series_drop_name[i]);
        TRY(eval_work(ev, 100));
    }
    bool with_rest = agg_has_rest(a);
    buf_put_varint(b, a->groups.count);
    for (uint32_t i = 0; i < a->groups.count; i++) {
        group_put(b, a, &a->groups.items[i], with_rest);
        TRY(eval_work(ev, 100 + a->steps * (agg_is_topk(a->op) ? 16 : 2)));
    }
    return OK;
}

/* Room for all, so that nothing is moved while it grows. */
static void rows_reserve(const struct partial *p, struct buf *out) {
    size_t columns = p->kind == FRAGMENT_PARTIAL ? agg_columns(p->agg.op) : 1;
    size_t row = ROW_BYTES + p->grid.steps * (1 + columns * sizeof(double));
    size_t bytes = (size_t)partial_rows(p) * row;
    if (p->kind == FRAGMENT_SAMPLES) bytes += (size_t)partial_points(p) * 2 * sizeof(double);
    (void)buf_reserve(out, bytes);
}

static enum status rows_put(struct eval *ev, const struct partial *p, struct buf *out) {
    if (p->kind == FRAGMENT_PARTIAL) return agg_put(ev, out, &p->agg);
    if (p->kind == FRAGMENT_VECTORS) {
        buf_put_varint(out, p->vec->count);
        for (size_t i = 0; i < p->vec->count; i++) {
            const struct series *s = &p->vec->series[i];
            labels_put(out, &s->labels, s->drop_name);
            buf_put(out, s->col.kinds, p->grid.steps);
            present_put(out, s->col.values, s->col.kinds, p->grid.steps);
            TRY(eval_work(ev, 100 + p->grid.steps));
        }
        return OK;
    }
    buf_put_varint(out, p->raw_count);
    for (size_t i = 0; i < p->raw_count; i++) {
        const struct raw_series *s = &p->raw[i];
        labels_put(out, &s->labels, false);
        buf_put_varint(out, s->count);
        buf_put(out, s->times_ms, s->count * sizeof *s->times_ms);
        buf_put(out, s->values, s->count * sizeof *s->values);
        TRY(eval_work(ev, 100 + s->count));
    }
    return OK;
}

enum status partial_put(const struct partial *p, struct query_control *control, struct buf *out,
                        struct err *err) {
    struct eval ev = {.q = p->q, .err = err, .control = control};
    buf_put_u8(out, (uint8_t)(PARTIAL_VERSION + (p->reads.steps == NULL ? 0 : PARTIAL_WITH_STEPS) +
                              (agg_has_rest(&p->agg) ? PARTIAL_WITH_REST : 0)));
    buf_put_u8(out, (uint8_t)p->kind);
    buf_put_varint(out, p->number);
    buf_put_varint(out, p->grid.steps);
    buf_put_u8(out, (uint8_t)((p->agg.order_free ? FLAG_ORDER_FREE : 0) |
                              (p->duplicate ? FLAG_DUPLICATE : 0)));
    buf_put_varint(out, p->reads.total);
    buf_put_varint(out, p->peak);
    for (size_t k = 0; p->reads.steps != NULL && k < p->reads.count; k++)
        buf_put_varint(out, p->reads.steps[k]);
    notes_put(out, &p->notes);
    buf_put_varint(out, p->ids.count);
    for (uint32_t i = 0; i < p->ids.count; i++) {
        buf_put_u64(out, p->ids.items[i].hi);
        buf_put_u64(out, p->ids.items[i].lo);
        TRY(eval_work(&ev, 4));
    }
    rows_reserve(p, out);
    TRY(rows_put(&ev, p, out));
    return out->failed ? eval_nomem(&ev) : OK;
}

/* -- reading: every function gives ERR_CORRUPT for bytes that no partial_put wrote */

struct decode {
    struct eval *ev;
    struct reader r;
    struct partial *p;
    struct labelset labels; /* scratch; strings point into the input */
    size_t labels_cap;
    bool drop_name;
    bool with_rest;
};

static enum status labels_read(struct decode *d) {
    uint64_t count = read_varint(&d->r);
    if (d->r.failed || count > reader_left(&d->r) / 2) return ERR_CORRUPT;
    if (count > d->labels_cap) {
        struct label *grown = reallocarray(d->labels.labels, (size_t)count, sizeof *grown);
        if (grown == NULL) return ERR_NOMEM;
        d->labels.labels = grown;
        d->labels_cap = (size_t)count;
    }
    for (size_t i = 0; i < count; i++) {
        struct label *l = &d->labels.labels[i];
        l->name = read_lenstr(&d->r);
        l->value = read_lenstr(&d->r);
        if (d->r.failed || (i > 0 && sv_cmp(l[-1].name, l->name) >= 0)) return ERR_CORRUPT;
    }
    d->labels.count = (size_t)count;
    d->drop_name = read_u8(&d->r) != 0;
    return d->r.failed ? ERR_CORRUPT : OK;
}

static enum status kinds_read(struct decode *d, uint8_t *kinds) {
    const uint8_t *bytes = read_bytes(&d->r, d->p->grid.steps);
    if (bytes == NULL) return ERR_CORRUPT;
    for (size_t k = 0; k < d->p->grid.steps; k++) {
        if (bytes[k] > POINT_FLOAT) return ERR_CORRUPT;
        kinds[k] = bytes[k];
    }
    return OK;
}

static enum status present_read(struct decode *d, double *values, const uint8_t *kinds) {
    for (size_t k = 0; k < d->p->grid.steps; k++)
        if (kinds[k] != POINT_NONE) values[k] = read_f64(&d->r);
    return d->r.failed ? ERR_CORRUPT : OK;
}

static enum status notes_read(struct decode *d) {
    uint64_t count = read_varint(&d->r);
    if (count > NOTES_MAX) return ERR_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        struct note n = {0};
        uint8_t flags = read_u8(&d->r);
        uint64_t number = read_varint(&d->r);
        struct sv text = read_lenstr(&d->r);
        char copy[1024];
        if (d->r.failed || text.len >= sizeof copy) return ERR_CORRUPT;
        if (number >= query_numbers(d->p->q) && number != NOTE_NOWHERE) return ERR_CORRUPT;
        memcpy(copy, text.ptr, text.len);
        n.warning = (flags & NOTE_WARNING) != 0;
        n.counted = (flags & NOTE_COUNTED) != 0;
        n.number = (uint32_t)number;
        n.text = copy;
        n.text_len = text.len;
        if (n.counted) {
            n.min_bucket = read_f64(&d->r);
            n.max_bucket = read_f64(&d->r);
            n.max_diff = read_f64(&d->r);
            n.min_ms = read_zigzag(&d->r);
            n.max_ms = read_zigzag(&d->r);
            n.count = read_varint(&d->r);
        }
        if (d->r.failed) return ERR_CORRUPT;
        TRY(notes_add(&d->p->notes, &n));
    }
    return OK;
}

static enum status heaps_read(struct decode *d, struct group *g) {
    struct agg *a = &d->p->agg;
    for (size_t k = 0; k < a->steps; k++) {
        if (g->seen[k] == 0) continue;
        uint64_t count = read_varint(&d->r);
        if (d->r.failed || count > reader_left(&d->r) / 9 || (double)count > a->param[k])
            return ERR_CORRUPT;
        for (uint64_t i = 0; i < count; i++) {
            struct topk_entry e = {.value = read_f64(&d->r)};
            uint64_t series = read_varint(&d->r);
            if (d->r.failed || series >= a->series_count) return ERR_CORRUPT;
            e.series = (uint32_t)series;
            TRY(topk_push(a, &g->heaps[k], e, (size_t)count));
            TRY(eval_work(d->ev, 16));
        }
    }
    return OK;
}

static enum status agg_read_series(struct decode *d) {
    struct agg *a = &d->p->agg;
    uint64_t count = read_varint(&d->r);
    if (d->r.failed || count > reader_left(&d->r) / 2 || count >= UINT32_MAX ||
        (count > 0 && !agg_is_topk(a->op)))
        return ERR_CORRUPT;
    if (!budget_take(&d->p->budget, (size_t)(count + 1) * (sizeof *a->series_labels + 1)))
        return ERR_NOMEM;
    a->series_cap = (uint32_t)count + 1;
    a->series_labels = calloc((size_t)count + 1, sizeof *a->series_labels);
    a->series_drop_name = calloc((size_t)count + 1, sizeof *a->series_drop_name);
    if (a->series_labels == NULL || a->series_drop_name == NULL) return ERR_NOMEM;
    for (; a->series_count < count; a->series_count++) {
        TRY(labels_read(d));
        TRY(eval_work(d->ev, 100));
        if (!labelset_copy(a->groups.arena, &d->labels, 0, &a->series_labels[a->series_count]))
            return ERR_NOMEM;
        a->series_drop_name[a->series_count] = d->drop_name;
    }
    return OK;
}

/* Groups are read as their own label sets, whatever the grouping: `without ()` of nothing but the
 * name keeps them. */
static enum status agg_read(struct decode *d) {
    struct agg *a = &d->p->agg;
    TRY(agg_read_series(d));
    uint64_t count = read_varint(&d->r);
    if (d->r.failed || count > reader_left(&d->r) / 2) return ERR_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        TRY(labels_read(d));
        TRY(eval_work(d->ev, 100 + a->steps));
        uint32_t at, before = a->groups.count;
        if (a->op == AGG_COUNT_VALUES)
            TRY(agg_group_value(a, &d->labels, labelset_get(&d->labels, a->value_label), &at));
        else
            TRY(agg_group(a, &d->labels, d->drop_name, &at));
        if (a->groups.count == before) return ERR_CORRUPT; /* a group twice */
        struct group *g = &a->groups.items[at];
        if (g->labels.count != d->labels.count)
            return ERR_CORRUPT; /* labels that are not of the grouping */
        TRY(kinds_read(d, g->seen));
        for (size_t c = 0; c < agg_columns(a->op); c++)
            TRY(present_read(d, g->cols[c], g->seen));
        if (d->with_rest && read_u8(&d->r) != 0) {
            g->rest = arena_array(a->groups.arena, a->steps + 1, sizeof *g->rest);
            if (g->rest == NULL) return ERR_NOMEM;
            TRY(present_read(d, g->rest, g->seen));
        }
        if (agg_is_topk(a->op)) TRY(heaps_read(d, g));
    }
    return OK;
}

static enum status vectors_read(struct decode *d) {
    uint64_t count = read_varint(&d->r);
    if (d->r.failed || count > reader_left(&d->r) / 2) return ERR_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        TRY(labels_read(d));
        if (reader_left(&d->r) < d->p->grid.steps) return ERR_CORRUPT;
        TRY(eval_work(d->ev, 100 + d->p->grid.steps));
        struct series *s = vectors_add(d->p->vec, &d->labels, 0);
        if (s == NULL) return ERR_NOMEM;
        s->drop_name = d->drop_name;
        TRY(kinds_read(d, s->col.kinds));
        TRY(present_read(d, s->col.values, s->col.kinds));
        d->p->points += column_points(&s->col, d->p->grid.steps);
    }
    return OK;
}

static enum status raw_read(struct decode *d) {
    uint64_t count = read_varint(&d->r);
    if (d->r.failed || count > reader_left(&d->r) / 2) return ERR_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        TRY(labels_read(d));
        uint64_t n = read_varint(&d->r);
        if (d->r.failed || n > reader_left(&d->r) / 16) return ERR_CORRUPT;
        struct raw_series *s = partial_add_raw(d->p, &d->labels);
        if (s == NULL) return ERR_NOMEM;
        TRY(eval_work(d->ev, 100 + (size_t)n));
        s->count = (size_t)n;
        s->times_ms = arena_array(&d->p->arena, s->count + 1, sizeof *s->times_ms);
        s->values = arena_array(&d->p->arena, s->count + 1, sizeof *s->values);
        if (s->times_ms == NULL || s->values == NULL) return ERR_NOMEM;
        const uint8_t *t = read_bytes(&d->r, s->count * 8), *v = read_bytes(&d->r, s->count * 8);
        if (t == NULL || v == NULL) return ERR_CORRUPT;
        memcpy(s->times_ms, t, s->count * 8);
        memcpy(s->values, v, s->count * 8);
    }
    return OK;
}

static enum status reads_steps_read(struct decode *d) {
    struct reads *reads = &d->p->reads;
    if (reads->steps == NULL) return OK;
    uint64_t sum = 0;
    for (size_t k = 0; k < reads->count && !d->r.failed; k++)
        sum += reads->steps[k] = read_varint(&d->r);
    return d->r.failed || sum != reads->total ? ERR_CORRUPT : OK;
}

static enum status partial_read(struct decode *d, const struct fragment *f) {
    struct partial *p = d->p;
    unsigned least = PARTIAL_VERSION + (p->reads.steps == NULL ? 0 : PARTIAL_WITH_STEPS);
    unsigned version = read_u8(&d->r);
    bool sums = p->kind == FRAGMENT_PARTIAL && agg_columns(p->agg.op) > 1;
    d->with_rest = version == least + PARTIAL_WITH_REST && sums;
    if ((version != least && !d->with_rest) || read_u8(&d->r) != f->kind) return ERR_CORRUPT;
    if (read_varint(&d->r) != f->number || read_varint(&d->r) != p->grid.steps) return ERR_CORRUPT;
    uint8_t flags = read_u8(&d->r);
    p->agg.order_free = (flags & FLAG_ORDER_FREE) != 0;
    p->duplicate = (flags & FLAG_DUPLICATE) != 0;
    p->reads.total = read_varint(&d->r);
    p->peak = read_varint(&d->r);
    TRY(reads_steps_read(d));
    TRY(notes_read(d));
    uint64_t ids = read_varint(&d->r);
    if (d->r.failed || ids > reader_left(&d->r) / 16) return ERR_CORRUPT;
    for (uint64_t i = 0; i < ids; i++) {
        series_id id = {.hi = read_u64(&d->r)};
        id.lo = read_u64(&d->r);
        TRY(id_set_add(&p->ids, &p->budget, id, &p->duplicate));
        TRY(eval_work(d->ev, 30));
    }
    if (p->kind == FRAGMENT_PARTIAL)
        TRY(agg_read(d));
    else if (p->kind == FRAGMENT_VECTORS)
        TRY(vectors_read(d));
    else
        TRY(raw_read(d));
    return d->r.failed || reader_left(&d->r) != 0 ? ERR_CORRUPT : OK;
}

enum status partial_get(const struct partial_bytes *from, struct query_control *control,
                        struct partial **out, struct err *err) {
    struct eval ev = {0};
    TRY(eval_of_fragment(from->q, from->f, &ev, err));
    ev.control = control;
    struct decode d = {.ev = &ev, .r = reader_init(from->bytes.ptr, from->bytes.len)};
    enum status st = partial_new(&ev, from->f, &d.p);
    if (st == OK) {
        st = partial_read(&d, from->f);
        if (st == ERR_NOMEM) st = eval_nomem(&ev);
        if (st == ERR_CORRUPT)
            err_set(err, ERR_CORRUPT, 0, "partial answer of a fragment is malformed");
    }
    free(d.labels.labels);
    eval_fini(&ev);
    if (st != OK) {
        partial_free(d.p);
        return st;
    }
    *out = d.p;
    return OK;
}
