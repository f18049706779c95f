/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/exemplar_items.h"

#include <assert.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "storage/store_internal.h"

enum { WALK_PLACES = 64 };

/* -- the format */

bool exemplar_items_next(struct sv *rest, struct sv *out_labels, struct sv *out_exemplars) {
    if (rest->len == 0) return false;
    struct reader r = reader_init(rest->ptr, rest->len);
    *out_labels = read_lenstr(&r);
    *out_exemplars = read_lenstr(&r);
    *rest = sv_make(r.cur, reader_left(&r));
    return !r.failed;
}

static bool labels_are_canonical(struct sv labels) {
    struct label label, before = {0};
    bool bad = labels.len == 0;
    while (!bad && labels_next(&labels, &label, &bad)) {
        bad = bad || label.value.len == 0 || sv_cmp(before.name, label.name) >= 0;
        before = label;
    }
    return !bad;
}

enum status exemplar_items_check(struct sv items, uint64_t *out_count, struct err *err) {
    struct sv rest = items, labels, exemplars;
    *out_count = 0;
    while (rest.len > 0) {
        size_t offset = items.len - rest.len;
        uint64_t count = 0;
        bool more = exemplar_items_next(&rest, &labels, &exemplars);
        if (!more || !labels_are_canonical(labels) ||
            entry_exemplars_check(exemplars, &count, NULL) != OK)
            return err_set(err, ERR_CORRUPT, 0, "exemplars: byte %zu: malformed", offset);
        *out_count += count;
    }
    return OK;
}

/* Those of one series with from_ms <= t. */
static void exemplars_from(struct sv exemplars, int64_t from_ms, struct entry_write *out) {
    struct entry_exemplar e;
    entry_write_clear(out);
    while (entry_exemplar_next(&exemplars, &e))
        if (e.time_ms >= from_ms) entry_write_exemplar(out, &e);
}

void exemplar_items_trim(struct buf *items, int64_t from_ms) {
    uint64_t count;
    struct sv rest = buf_sv(items), labels, exemplars;
    struct entry_write kept = {0};
    struct buf out = {0};
    if (exemplar_items_check(rest, &count, NULL) != OK) return;
    while (exemplar_items_next(&rest, &labels, &exemplars)) {
        exemplars_from(exemplars, from_ms, &kept);
        if (kept.exemplars_count == 0) continue;
        buf_put_lenstr(&out, labels);
        buf_put_lenstr(&out, buf_sv(&kept.exemplars));
        out.failed = out.failed || kept.exemplars.failed;
    }
    if (!out.failed) {
        buf_clear(items);
        buf_put_sv(items, buf_sv(&out)); /* no longer than what was there */
    }
    entry_write_fini(&kept);
    buf_fini(&out);
}

/* -- out of the ring */

static struct exemplar_pick *pick_of(const struct exemplar_walk *w, uint32_t shard) {
    uint32_t low = 0, high = w->picks_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (w->picks[mid].shard < shard)
            low = mid + 1;
        else
            high = mid;
    }
    return low < w->picks_count && w->picks[low].shard == shard ? &w->picks[low] : NULL;
}

static enum status place_pick(struct exemplar_walk *w, const struct store *store, uint32_t place) {
    const struct exemplars *e = store_exemplars(store);
    uint32_t ref;
    int64_t oldest_ms, newest_ms;
    if (!exemplars_series(e, place, &ref, &oldest_ms, &newest_ms)) return OK;
    struct exemplar_pick *p = pick_of(w, head_series_shard(store->head, ref));
    if (p == NULL || p->from_ms >= p->to_ms || newest_ms < p->from_ms || oldest_ms >= p->to_ms)
        return OK;
    entry_write_clear(&w->exemplars);
    int64_t after_ms = p->from_ms == INT64_MIN ? INT64_MIN : p->from_ms - 1;
    if (exemplars_read(e, place, after_ms, p->to_ms - 1, &w->exemplars) == 0) return OK;
    buf_clear(&w->labels);
    head_series_labels(store->head, ref, &w->labels);
    size_t len = p->items.len;
    buf_put_lenstr(&p->items, buf_sv(&w->labels));
    buf_put_lenstr(&p->items, buf_sv(&w->exemplars.exemplars));
    if (!w->labels.failed && !w->exemplars.exemplars.failed && !p->items.failed) return OK;
    p->items.len = len;
    return ERR_NOMEM;
}

enum status exemplar_walk_step(struct exemplar_walk *w, const struct store *store,
                               uint64_t until_ns, bool *out_done) {
    const uint32_t places = exemplars_places(store_exemplars(store));
    assert(core_is_current(store->core));
    while (w->place < places) {
        TRY(place_pick(w, store, w->place++));
        if (w->place % WALK_PLACES == 0 && core_mono_ns(store->core) >= until_ns) break;
    }
    *out_done = w->place >= places;
    return OK;
}

void exemplar_walk_fini(struct exemplar_walk *w) {
    buf_fini(&w->labels);
    entry_write_fini(&w->exemplars);
    *w = (struct exemplar_walk){0};
}

/* -- into the ring */

struct exemplar_found {
    int64_t time_ms;
    size_t order;                                      /* in which they were added */
    size_t labels, labels_len, exemplar, exemplar_len; /* in bytes */
    uint32_t shard;
};

static enum status fill_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "exemplars: not enough memory");
}

static enum status found_put(struct exemplar_fill *f, const struct exemplar_found *found) {
    if (f->count == f->cap) {
        size_t cap = MAX(f->cap * 2, 256);
        struct exemplar_found *p = realloc(f->found, cap * sizeof *p);
        if (p == NULL) return ERR_NOMEM;
        f->found = p;
        f->cap = cap;
    }
    f->found[f->count] = *found;
    f->found[f->count].order = f->count;
    f->count++;
    return OK;
}

enum status exemplar_fill_add(struct exemplar_fill *f, uint32_t shard, int64_t from_ms,
                              struct sv items, struct err *err) {
    uint64_t count;
    TRY(exemplar_items_check(items, &count, err));
    size_t base = f->bytes.len;
    buf_put_sv(&f->bytes, items);
    if (f->bytes.failed) return fill_nomem(err);
    struct sv rest = items, labels, exemplars;
    while (exemplar_items_next(&rest, &labels, &exemplars)) {
        struct entry_exemplar e;
        for (struct sv at = exemplars; entry_exemplar_next(&exemplars, &e); at = exemplars) {
            struct exemplar_found found = {.time_ms = e.time_ms,
                                           .shard = shard,
                                           .labels = base + (size_t)(labels.ptr - items.ptr),
                                           .labels_len = labels.len,
                                           .exemplar = base + (size_t)(at.ptr - items.ptr),
                                           .exemplar_len = at.len - exemplars.len};
            if (e.time_ms >= from_ms && found_put(f, &found) != OK) return fill_nomem(err);
        }
    }
    return OK;
}

static bool any_series(void *ctx, uint32_t ref) {
    (void)ctx;
    (void)ref;
    return true;
}

enum status exemplar_fill_take(struct exemplar_fill *f, struct store *store, struct err *err) {
    const uint32_t count = store->options.shards_count;
    struct exemplar_pick *picks = calloc(count, sizeof *picks);
    struct exemplar_walk walk = {.picks = picks, .picks_count = count};
    bool done;
    if (picks == NULL) return fill_nomem(err);
    for (uint32_t i = 0; i < count; i++)
        picks[i] = (struct exemplar_pick){.shard = i, .from_ms = INT64_MIN, .to_ms = INT64_MAX};
    enum status status = exemplar_walk_step(&walk, store, UINT64_MAX, &done);
    if (status != OK) fill_nomem(err);
    for (uint32_t i = 0; i < count && status == OK; i++)
        status = exemplar_fill_add(f, i, INT64_MIN, buf_sv(&picks[i].items), err);
    if (status == OK) exemplars_drop(&store->exemplars, any_series, NULL);
    for (uint32_t i = 0; i < count; i++)
        buf_fini(&picks[i].items);
    exemplar_walk_fini(&walk);
    free(picks);
    return status;
}

static int found_cmp(const void *a, const void *b) {
    const struct exemplar_found *x = a, *y = b;
    if (x->time_ms != y->time_ms) return x->time_ms < y->time_ms ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static enum status fill_one(const struct exemplar_fill *f, const struct exemplar_found *found,
                            struct store *store, struct err *err) {
    const struct head_options *o = &store->options.head;
    struct sv labels = sv_make(f->bytes.ptr + found->labels, found->labels_len);
    struct sv bytes = sv_make(f->bytes.ptr + found->exemplar, found->exemplar_len);
    struct entry_exemplar e;
    series_id id = series_id_of(o->secret, o->tenant, labels);
    if (store_shard_of(store, id) != found->shard || !entry_exemplar_next(&bytes, &e)) return OK;
    uint32_t ref = head_find(store->head, id);
    if (ref == HEAD_NONE) TRY(head_series_new(store->head, id, found->shard, labels, &ref, err));
    return exemplars_add(&store->exemplars, ref, &e) == OK ? OK : fill_nomem(err);
}

enum status exemplar_fill_store(struct exemplar_fill *f, struct store *store, struct err *err) {
    size_t max = store->options.exemplars_max;
    if (f->count > 1) qsort(f->found, f->count, sizeof *f->found, found_cmp);
    for (size_t i = f->count - MIN(f->count, max); i < f->count; i++)
        TRY(fill_one(f, &f->found[i], store, err));
    metric_set(store->metrics.exemplars_held, exemplars_count(&store->exemplars));
    return OK;
}

void exemplar_fill_fini(struct exemplar_fill *f) {
    buf_fini(&f->bytes);
    free(f->found);
    *f = (struct exemplar_fill){0};
}
