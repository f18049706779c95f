/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/select.h"

#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"

/* A selection, in slices:
 *
 *   BEGIN  equal matchers are folded: a text may hold a hundred thousand of them
 *   SETS   each matcher becomes a set of label pairs; those with many values last, and not at all
 * (SET_LAZY) when the others leave few series MATCH  the smallest set's posting lists are walked
 * (all series when there is none), narrowed by the lists of single pairs, then each candidate's own
 * pairs are looked at VIEWS  each match with samples in the range is snapshot
 *
 * Between slices only positions are kept. Series from orders_end on are not looked at: their values
 * may have come after the sets were made. */
enum {
    SLICE_VALUES = 256, /* between looks at the clock: some 10 us each */
    SLICE_MATCHERS = 8,
    SLICE_SETS = 1024,
};

enum status select_new(struct head *head, const struct select_query *query, struct selection **out,
                       struct err *err) {
    struct selection *sel = calloc(1, sizeof *sel);
    if (sel == NULL) return err_set(err, ERR_NOMEM, 0, "select: out of memory");
    size_t n = query->matchers_count;
    sel->sets = n >= MAP_NONE ? NULL : calloc(n + 1, sizeof *sel->sets);
    sel->checks = calloc(n + 1, sizeof(*sel->checks));
    sel->cursors = calloc(n + 1, sizeof *sel->cursors);
    map_init(&sel->folded);
    map_init(&sel->ones);
    sel->head = head;
    sel->query = *query;
    sel->retired.dead_first = sel->retired.dead_last = HEAD_NONE;
    sel->orders_end = head->orders.count;
    sel->older = head->newest;
    if (head->newest != NULL) head->newest->newer = sel;
    head->newest = sel;
    if (sel->sets == NULL || sel->checks == NULL || sel->cursors == NULL) {
        selection_release(sel);
        return err_set(err, ERR_NOMEM, 0, "select: out of memory");
    }
    *out = sel;
    return OK;
}

const struct series_view *selection_series(const struct selection *sel, size_t *out_count) {
    assert(sel->state == SELECT_DONE);
    *out_count = sel->views_count;
    return sel->views;
}

static enum status select_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "select: out of memory");
}

static enum status select_check_memory(const struct selection *sel, size_t more_bytes,
                                       struct err *err) {
    uint64_t bytes = more_bytes + u32s_memory_bytes(&sel->refs) + sel->sets_bytes;
    if (sel->query.memory_bytes_max == 0 || bytes <= sel->query.memory_bytes_max) return OK;
    return err_set(err, ERR_LIMIT, 0, "select: needs more than %llu bytes of memory",
                   (unsigned long long)sel->query.memory_bytes_max);
}

static uint64_t matcher_hash(const struct matcher *m) {
    return hash64(m->value.ptr, m->value.len, hash64(m->name.ptr, m->name.len, (uint64_t)m->kind));
}
static bool folded_eq(const void *owner, uint32_t ref, const void *key) {
    const struct matcher *a = ((const struct selection *)owner)->sets[ref].matcher, *b = key;
    return a->kind == b->kind && sv_eq(a->name, b->name) && sv_eq(a->value, b->value);
}
static uint64_t folded_hash(const void *owner, uint32_t ref) {
    return ((const struct selection *)owner)->sets[ref].hash;
}

static void select_smaller(struct selection *sel, struct select_set *set) {
    if (set->kind != SET_ONE && set->kind != SET_IN) return;
    if (sel->driver == NULL || set->postings < sel->driver->postings) sel->driver = set;
}

static enum status select_fold(struct selection *sel, const struct matcher *m) {
    uint64_t hash = matcher_hash(m);
    if (map_find(&sel->folded, hash, folded_eq, sel, m) != MAP_NONE) return OK;
    struct select_set *set = &sel->sets[sel->sets_count++];
    TRY(select_set_begin(set, sel->head, m));
    set->hash = hash;
    TRY(map_insert(&sel->folded, hash, sel->sets_count - 1, folded_hash, sel));
    sel->sets_bytes += sizeof *set + select_set_memory_bytes(set);
    select_smaller(sel, set);
    sel->nothing = sel->nothing || set->kind == SET_NOTHING;
    return OK;
}

/* Leaves SELECT_BEGIN when every matcher has its set. */
static enum status select_begin(struct selection *sel, uint64_t until_ns, struct err *err) {
    while (sel->matchers_done < sel->query.matchers_count) {
        for (int i = 0; i < SLICE_MATCHERS && sel->matchers_done < sel->query.matchers_count; i++) {
            if (select_fold(sel, &sel->query.matchers[sel->matchers_done]) != OK)
                return select_nomem(err);
            sel->matchers_done++;
            TRY(select_check_memory(sel, 0, err));
        }
        if (head_slice_is_over(until_ns)) break;
    }
    if (sel->matchers_done == sel->query.matchers_count) sel->state = SELECT_SETS;
    return OK;
}

static bool ones_eq(const void *owner, uint32_t ref, const void *key) {
    const uint32_t *pair = key;
    return ((const struct selection *)owner)->sets[ref].pair == *pair;
}
static uint64_t pair_hash(uint32_t pair) {
    return (pair + 1) * 0x9e3779b97f4a7c15ULL;
}
static uint64_t ones_hash(const void *owner, uint32_t ref) {
    return pair_hash(((const struct selection *)owner)->sets[ref].pair);
}

/* A set that is made goes where it will be looked at. */
static enum status select_place(struct selection *sel, uint32_t index) {
    struct select_set *set = &sel->sets[index];
    if (set->kind == SET_ALL) return OK;
    if (set->kind != SET_ONE) {
        sel->checks[sel->checks_count++] = set;
        return OK;
    }
    uint64_t hash = pair_hash(set->pair);
    if (map_find(&sel->ones, hash, ones_eq, sel, &set->pair) != MAP_NONE) return OK;
    TRY(map_insert(&sel->ones, hash, index, ones_hash, sel));
    sel->checks[sel->checks_count++] = sel->checks[sel->ones_count];
    sel->checks[sel->ones_count++] = set;
    return OK;
}

/* Makes one set, or a part of it: *out_made. */
static enum status select_make(struct selection *sel, struct select_set *set, bool *out_made,
                               struct err *err) {
    bool fresh = set->kind == SET_PENDING && set->values_done == 0;
    uint64_t before = select_set_memory_bytes(set);
    enum status st = OK;
    if (fresh && sel->driver != NULL && sel->driver->postings < set->values_count / 2)
        st = select_set_make_lazy(set);
    else if (set->kind == SET_PENDING)
        st = select_set_walk(set, sel->head, SLICE_VALUES);
    if (st != OK) return select_nomem(err);
    sel->sets_bytes += select_set_memory_bytes(set) - before;
    *out_made = set->kind != SET_PENDING;
    return select_check_memory(sel, 0, err);
}

static void select_choose_walk(struct selection *sel) {
    sel->walk = sel->driver == NULL ? WALK_ALL : WALK_PAIRS;
    uint64_t candidates = sel->driver == NULL ? sel->head->series.count : sel->driver->postings;
    if (!select_shards_are_fewer(sel->head, sel->query.shards, candidates)) return;
    sel->walk = WALK_SHARDS;
    sel->driver = NULL;
    sel->driver_position = HEAD_NONE;
    sel->ones_count = 0; /* asked per series like the others */
}

/* Leaves SELECT_SETS when all are made. */
static enum status select_sets(struct selection *sel, uint64_t until_ns, struct err *err) {
    for (uint32_t tried = 1; sel->sets_done < sel->sets_count && !sel->nothing; tried++) {
        struct select_set *set = &sel->sets[sel->sets_done];
        bool made = false, walks = set->kind == SET_PENDING;
        TRY(select_make(sel, set, &made, err));
        if (made) {
            select_smaller(sel, set);
            sel->nothing = set->kind == SET_NOTHING;
            if (select_place(sel, sel->sets_done) != OK) return select_nomem(err);
            sel->sets_done++;
        }
        if ((walks || tried % SLICE_SETS == 0) && head_slice_is_over(until_ns)) return OK;
    }
    sel->state = sel->nothing ? SELECT_VIEWS : SELECT_MATCH;
    select_choose_walk(sel);
    return OK;
}

/* Memory first, questions later: a batch's lines are asked for before any is used. */
static void batch_fetch(struct selection *sel) {
    const struct head *head = sel->head;
    uint32_t count = select_batch(sel, sel->batch, &sel->batch_last), kept = 0;
    sel->batch_last = !sel->batch_last;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ref = sel->batch[i];
        if (head->cold.dir[ref >> STABLE_SHIFT] == NULL) continue;
        __builtin_prefetch(head_cold(head, ref));
        sel->batch[kept++] = ref;
    }
    count = kept;
    kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!head_is_live(head, sel->batch[i])) continue;
        const struct series_cold *cold = head_cold(head, sel->batch[i]);
        if (!shard_is_asked(sel->query.shards, cold->shard)) continue;
        __builtin_prefetch(cold->labels);
        sel->batch[kept++] = sel->batch[i];
    }
    sel->batch_count = kept;
    sel->batch_at = 0;
    sel->batch_check = sel->ones_count;
}

/* Asks the sets that are left for the batch's next series; up to SLICE_SETS of them. */
static void batch_ask(struct selection *sel) {
    uint32_t ref = sel->batch[sel->batch_at], asked = 0;
    bool passes =
        head_is_live(sel->head, ref) && head_cold(sel->head, ref)->labels->order < sel->orders_end;
    const struct series_labels *labels = passes ? head_cold(sel->head, ref)->labels : NULL;
    for (; sel->batch_check < sel->checks_count && passes; sel->batch_check++) {
        struct select_set *set = sel->checks[sel->batch_check];
        if (asked++ == SLICE_SETS) return;
        if (set != sel->driver) passes = select_set_has(set, sel->head, labels);
    }
    if (passes) sel->refs.at[sel->refs.count++] = ref;
    sel->batch_at++;
    sel->batch_check = sel->ones_count;
}

static int ref_order(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* Whether the posting lists have said all: then candidates are matches, and nothing of a series is
 * looked at. */
static bool match_is_by_lists(const struct selection *sel) {
    if (sel->walk != WALK_PAIRS) return false;
    for (uint32_t i = sel->ones_count; i < sel->checks_count; i++)
        if (sel->checks[i] != sel->driver) return false;
    return true;
}

static enum status match_batch(struct selection *sel, bool by_lists, struct err *err) {
    if (u32s_reserve(&sel->refs, SELECT_BATCH) != OK) return select_nomem(err);
    TRY(select_check_memory(sel, 0, err));
    if (!by_lists) {
        batch_fetch(sel);
        return OK;
    }
    bool more;
    sel->refs.count += select_batch(sel, sel->refs.at + sel->refs.count, &more);
    sel->batch_last = !more;
    return OK;
}

static enum status select_match(struct selection *sel, uint64_t until_ns, struct err *err) {
    bool many = sel->checks_count - sel->ones_count > SLICE_SETS / SELECT_BATCH;
    bool by_lists = match_is_by_lists(sel);
    for (;;) {
        if (sel->batch_at == sel->batch_count) {
            if (sel->batch_last) break;
            TRY(match_batch(sel, by_lists, err));
        }
        while (sel->batch_at < sel->batch_count) {
            batch_ask(sel);
            if (many && head_slice_is_over(until_ns)) return OK;
        }
        if (!sel->batch_last && head_slice_is_over(until_ns)) return OK;
    }
    if (sel->walk == WALK_SHARDS && sel->refs.count > 1)
        qsort(sel->refs.at, sel->refs.count, sizeof *sel->refs.at, ref_order);
    sel->state = SELECT_VIEWS;
    return OK;
}

/* What a view is taken from, for those up to end: series, what leads from it, where its shard
 * begins. */
static void views_fetch(const struct selection *sel, uint32_t end) {
    const struct head *head = sel->head;
    for (uint32_t i = sel->refs_done; i < end; i++) {
        if (head->cold.dir[sel->refs.at[i] >> STABLE_SHIFT] == NULL) continue;
        const struct series_cold *cold = head_cold(head, sel->refs.at[i]);
        __builtin_prefetch(head_series(head, sel->refs.at[i]));
        __builtin_prefetch(cold);
        __builtin_prefetch(&cold->next_in_shard); /* it may stand on two lines */
    }
    for (uint32_t i = sel->refs_done; i < end; i++) {
        if (head->cold.dir[sel->refs.at[i] >> STABLE_SHIFT] == NULL) continue;
        uint32_t shard = head_cold(head, sel->refs.at[i])->shard;
        head_series_touch(head, sel->refs.at[i], sel->query.to_ms);
        if (shard < head->shards_count) __builtin_prefetch(&head->shards[shard]);
    }
}

static enum status select_views(struct selection *sel, uint64_t until_ns, struct err *err) {
    const struct head *head = sel->head;
    if (sel->views == NULL && sel->refs.count > 0) {
        TRY(select_check_memory(sel, sel->refs.count * sizeof *sel->views, err));
        sel->views = malloc(sel->refs.count * sizeof *sel->views);
        if (sel->views == NULL) return select_nomem(err);
    }
    while (sel->refs_done < sel->refs.count) {
        uint32_t end = sel->refs_done + MIN(SELECT_BATCH, sel->refs.count - sel->refs_done);
        views_fetch(sel, end);
        for (; sel->refs_done < end; sel->refs_done++) {
            uint32_t ref = sel->refs.at[sel->refs_done];
            if (!head_is_live(head, ref)) continue;
            if (!head_series_overlaps(head, ref, sel->query.from_ms, sel->query.to_ms)) continue;
            if (sel->query.series_max != 0 && sel->views_count == sel->query.series_max)
                return err_set(err, ERR_LIMIT, 0, "select: more than %llu series match",
                               (unsigned long long)sel->query.series_max);
            series_view_take(head, ref, &sel->views[sel->views_count++]);
        }
        if (sel->refs_done < sel->refs.count && head_slice_is_over(until_ns)) return OK;
    }
    sel->state = SELECT_DONE;
    return OK;
}

enum status select_step(struct selection *sel, uint64_t until_ns, bool *out_done, struct err *err) {
    if (sel->state == SELECT_BEGIN) TRY(select_begin(sel, until_ns, err));
    if (sel->state == SELECT_SETS) TRY(select_sets(sel, until_ns, err));
    if (sel->state == SELECT_MATCH) TRY(select_match(sel, until_ns, err));
    if (sel->state == SELECT_VIEWS) TRY(select_views(sel, until_ns, err));
    *out_done = sel->state == SELECT_DONE;
    return OK;
}

enum status select_refs(struct head *head, const struct select_query *query, struct u32s *out,
                        struct err *err) {
    struct selection *sel = NULL;
    TRY(select_new(head, query, &sel, err));
    enum status status = select_begin(sel, 0, err);
    if (status == OK) status = select_sets(sel, 0, err);
    if (status == OK && sel->state == SELECT_MATCH) status = select_match(sel, 0, err);
    if (status == OK) {
        *out = sel->refs;
        sel->refs = (struct u32s){0};
    }
    selection_release(sel);
    return status;
}
