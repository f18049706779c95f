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
 * Between slices only positions are kept. Series from series_end on are not looked at: their values
 * may have come after the sets were made. */
enum select_state { SELECT_BEGIN, SELECT_SETS, SELECT_MATCH, SELECT_VIEWS, SELECT_DONE };

enum {
    SLICE_VALUES = 256, /* between looks at the clock: some 10 us each */
    BATCH_SERIES = 64,
    SLICE_LISTS = 64,
    SLICE_MATCHERS = 8,
    SLICE_SETS = 1024,
};

struct selection {
    struct head *head;
    struct selection *older, *newer;
    struct retired retired;
    struct select_query query;
    enum select_state state;
    size_t matchers_done;
    struct select_set *sets; /* one a distinct matcher */
    uint32_t sets_count, sets_done;
    struct map folded; /* of sets by matcher */
    uint64_t sets_bytes;
    bool nothing; /* a set that holds for no series */
    /* Sets that are made: those of one pair, no pair twice, then those that are asked per series;
     * what holds for all is in neither part. */
    struct select_set **checks;
    uint32_t ones_count, checks_count;
    struct map ones;           /* by pair */
    struct select_set *driver; /* the smallest; NULL: all series */
    uint32_t driver_list;      /* among the driver's pairs */
    uint32_t driver_position;  /* in that list, or the series */
    uint32_t driver_held;      /* the series at the position, while lists are swept */
    uint32_t *cursors;         /* per set of one pair, within driver_list */
    uint32_t series_end;
    uint32_t batch[BATCH_SERIES]; /* candidates under way */
    uint32_t batch_count, batch_at;
    uint32_t batch_check; /* next of the sets asked per series, for batch[batch_at] */
    bool batch_last;
    struct u32s refs;
    uint32_t refs_done;
    struct series_view *views;
    size_t views_count;
};

static void retired_free(struct head *head, struct retired *r) {
    if (r->blocks_first != NULL) chunk_slab_give(&head->blocks, r->blocks_first, r->blocks_last);
    for (struct late *late = r->late_first, *next; late != NULL; late = next) {
        next = late->next;
        head->late_bytes -= sizeof *late + late->cap * sizeof *late->at;
        free(late);
    }
    for (struct extra_rows *rows = r->extra_first, *next; rows != NULL; rows = next) {
        next = rows->next;
        head_extra_rows_free(head, rows);
    }
    head_give_series(head, r->dead_first);
}

static void retired_move(struct head *head, struct retired *to, const struct retired *from) {
    if (from->blocks_first != NULL) {
        from->blocks_last->next = to->blocks_first;
        if (to->blocks_first == NULL) to->blocks_last = from->blocks_last;
        to->blocks_first = from->blocks_first;
    }
    if (from->late_first != NULL) {
        from->late_last->next = to->late_first;
        if (to->late_first == NULL) to->late_last = from->late_last;
        to->late_first = from->late_first;
    }
    if (from->extra_first != NULL) {
        from->extra_last->next = to->extra_first;
        if (to->extra_first == NULL) to->extra_last = from->extra_last;
        to->extra_first = from->extra_first;
    }
    if (from->dead_first != HEAD_NONE) {
        head_series(head, from->dead_last)->open.owner = to->dead_first;
        if (to->dead_first == HEAD_NONE) to->dead_last = from->dead_last;
        to->dead_first = from->dead_first;
    }
}

/* A reader never follows the link of a chain's last block. */
void head_retire_blocks(struct head *head, struct chunk_block *first, struct chunk_block *last) {
    struct retired r = {.blocks_first = first,
                        .blocks_last = last,
                        .dead_first = HEAD_NONE,
                        .dead_last = HEAD_NONE};
    if (head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

void head_retire_late(struct head *head, struct late *late) {
    struct retired r = {
        .late_first = late, .late_last = late, .dead_first = HEAD_NONE, .dead_last = HEAD_NONE};
    if (!late->seen || head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

void head_retire_extra(struct head *head, struct extra_rows *rows) {
    struct retired r = {
        .extra_first = rows, .extra_last = rows, .dead_first = HEAD_NONE, .dead_last = HEAD_NONE};
    if (head->newest == NULL) /* not seen itself, its histograms may be in an array that was */
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

void head_retire_series(struct head *head, uint32_t dead_first, uint32_t dead_last) {
    struct retired r = {.dead_first = dead_first, .dead_last = dead_last};
    if (head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

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
    sel->series_end = head->series.count;
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

void selection_release(struct selection *sel) {
    if (sel == NULL) return;
    struct head *head = sel->head;
    if (sel->older != NULL) {
        retired_move(head, &sel->older->retired, &sel->retired);
        sel->older->newer = sel->newer;
    } else {
        retired_free(head, &sel->retired);
    }
    if (sel->newer != NULL)
        sel->newer->older = sel->older;
    else
        head->newest = sel->older;
    for (uint32_t i = 0; i < sel->sets_count; i++)
        select_set_fini(&sel->sets[i]);
    map_fini(&sel->folded);
    map_fini(&sel->ones);
    free(sel->sets);
    free(sel->checks);
    free(sel->cursors);
    u32s_fini(&sel->refs);
    free(sel->views);
    free(sel);
}

const struct series_view *selection_series(const struct selection *sel, size_t *out_count) {
    assert(sel->state == SELECT_DONE);
    *out_count = sel->views_count;
    return sel->views;
}

static bool slice_is_over(uint64_t until_ns) {
    if (until_ns == 0) return false;
    struct core *core = core_current();
    return core != NULL && core_mono_ns(core) >= until_ns;
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
        if (slice_is_over(until_ns)) break;
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
        if ((walks || tried % SLICE_SETS == 0) && slice_is_over(until_ns)) return OK;
    }
    sel->state = sel->nothing ? SELECT_VIEWS : SELECT_MATCH;
    return OK;
}

static const uint32_t *driver_pairs(const struct select_set *driver, uint32_t *out_count) {
    *out_count = driver->kind == SET_ONE ? 1 : driver->pairs.count;
    return driver->kind == SET_ONE ? &driver->pair : driver->pairs.at;
}

/* Whether the other single pairs have the series; when one has not, *next is the first it could be
 * again. A series has few pairs, so one of many sets soon fails. */
static bool candidate_passes(struct selection *sel, uint32_t ref, uint32_t *next) {
    for (uint32_t i = 0; i < sel->ones_count; i++) {
        const struct select_set *set = sel->checks[i];
        if (set == sel->driver) continue;
        struct posting_view p = index_get(&sel->head->index, set->pair);
        sel->cursors[i] = posting_seek(p, sel->cursors[i], ref);
        uint32_t found = sel->cursors[i] < p.count ? p.at[sel->cursors[i]] : HEAD_NONE;
        if (found == ref) continue;
        *next = found;
        return false;
    }
    return true;
}

/* The next list of the driver; false when there is none. */
static bool driver_next_list(struct selection *sel) {
    memset(sel->cursors, 0, sel->ones_count * sizeof *sel->cursors);
    sel->driver_position = 0;
    sel->driver_list++;
    uint32_t lists;
    (void)driver_pairs(sel->driver, &lists);
    return sel->driver_list < lists;
}

/* References go from posting lists while selections are under way: a position is that of the first
 * series that is not before the one it had. */
void selections_hold_places(struct head *head) {
    for (struct selection *sel = head->newest; sel != NULL; sel = sel->older) {
        uint32_t lists;
        sel->driver_held = HEAD_NONE;
        if (sel->state != SELECT_MATCH || sel->driver == NULL) continue;
        struct posting_view p =
            index_get(&head->index, driver_pairs(sel->driver, &lists)[sel->driver_list]);
        if (sel->driver_position < p.count) sel->driver_held = p.at[sel->driver_position];
    }
}

void selections_find_places(struct head *head) {
    for (struct selection *sel = head->newest; sel != NULL; sel = sel->older) {
        uint32_t lists;
        if (sel->state != SELECT_MATCH || sel->driver == NULL) continue;
        struct posting_view p =
            index_get(&head->index, driver_pairs(sel->driver, &lists)[sel->driver_list]);
        sel->driver_position = posting_seek(p, 0, sel->driver_held);
        memset(sel->cursors, 0, sel->ones_count * sizeof *sel->cursors);
    }
}

/* Up to BATCH_SERIES candidates; *out_more is false at the end. */
static uint32_t select_batch(struct selection *sel, uint32_t *batch, bool *out_more) {
    uint32_t count = 0;
    *out_more = true;
    if (sel->driver == NULL) {
        while (count < BATCH_SERIES && sel->driver_position < sel->series_end)
            batch[count++] = sel->driver_position++;
        *out_more = sel->driver_position < sel->series_end;
        return count;
    }
    uint32_t lists, lists_seen = 0, tried = 0;
    const uint32_t *pairs = driver_pairs(sel->driver, &lists);
    while (count < BATCH_SERIES && lists_seen < SLICE_LISTS && tried < SLICE_VALUES) {
        struct posting_view p = index_get(&sel->head->index, pairs[sel->driver_list]);
        bool at_end =
            sel->driver_position >= p.count || p.at[sel->driver_position] >= sel->series_end;
        if (at_end) {
            lists_seen++;
            if (driver_next_list(sel)) continue;
            sel->driver_list--;
            sel->driver_position = p.count;
            *out_more = false;
            return count;
        }
        uint32_t ref = p.at[sel->driver_position], next = ref;
        tried++;
        if (candidate_passes(sel, ref, &next)) {
            batch[count++] = ref;
            sel->driver_position++;
        } else {
            sel->driver_position = posting_seek(p, sel->driver_position, next);
        }
    }
    return count;
}

/* Memory first, questions later: a batch's lines are asked for before any is used. */
static void batch_fetch(struct selection *sel) {
    const struct head *head = sel->head;
    const struct shard_set *shards = sel->query.shards;
    uint32_t count = select_batch(sel, sel->batch, &sel->batch_last), kept = 0;
    sel->batch_last = !sel->batch_last;
    for (uint32_t i = 0; i < count; i++)
        if (head->cold.dir[sel->batch[i] >> STABLE_SHIFT] != NULL)
            __builtin_prefetch(head_cold(head, sel->batch[i]));
    for (uint32_t i = 0; i < count; i++) {
        if (!head_is_live(head, sel->batch[i])) continue;
        const struct series_cold *cold = head_cold(head, sel->batch[i]);
        if (shards != NULL &&
            (cold->shard >= shards->shards_count || !shard_set_has(shards, cold->shard)))
            continue;
        __builtin_prefetch(cold->pairs);
        sel->batch[kept++] = sel->batch[i];
    }
    sel->batch_count = kept;
    sel->batch_at = 0;
    sel->batch_check = sel->ones_count;
}

/* Asks the sets that are left for the batch's next series; up to SLICE_SETS of them. */
static void batch_ask(struct selection *sel) {
    uint32_t ref = sel->batch[sel->batch_at], asked = 0;
    bool passes = head_is_live(sel->head, ref);
    const uint32_t *pairs = passes ? head_cold(sel->head, ref)->pairs : NULL;
    for (; sel->batch_check < sel->checks_count && passes; sel->batch_check++) {
        struct select_set *set = sel->checks[sel->batch_check];
        if (asked++ == SLICE_SETS) return;
        if (set != sel->driver) passes = select_set_has(set, sel->head, pairs);
    }
    if (passes) sel->refs.at[sel->refs.count++] = ref;
    sel->batch_at++;
    sel->batch_check = sel->ones_count;
}

static enum status select_match(struct selection *sel, uint64_t until_ns, struct err *err) {
    bool many = sel->checks_count - sel->ones_count > SLICE_SETS / BATCH_SERIES;
    for (;;) {
        if (sel->batch_at == sel->batch_count) {
            if (sel->batch_last) break;
            batch_fetch(sel);
            if (u32s_reserve(&sel->refs, sel->batch_count) != OK) return select_nomem(err);
            TRY(select_check_memory(sel, 0, err));
        }
        while (sel->batch_at < sel->batch_count) {
            batch_ask(sel);
            if (many && slice_is_over(until_ns)) return OK;
        }
        if (!sel->batch_last && slice_is_over(until_ns)) return OK;
    }
    sel->state = SELECT_VIEWS;
    return OK;
}

static enum status select_views(struct selection *sel, uint64_t until_ns, struct err *err) {
    const struct head *head = sel->head;
    if (sel->views == NULL && sel->refs.count > 0) {
        TRY(select_check_memory(sel, sel->refs.count * sizeof *sel->views, err));
        sel->views = malloc(sel->refs.count * sizeof *sel->views);
        if (sel->views == NULL) return select_nomem(err);
    }
    while (sel->refs_done < sel->refs.count) {
        uint32_t end = sel->refs_done + MIN(BATCH_SERIES, sel->refs.count - sel->refs_done);
        for (uint32_t i = sel->refs_done; i < end; i++) {
            if (head->cold.dir[sel->refs.at[i] >> STABLE_SHIFT] == NULL) continue;
            __builtin_prefetch(head_series(head, sel->refs.at[i]));
            __builtin_prefetch(head_cold(head, sel->refs.at[i]));
        }
        for (; sel->refs_done < end; sel->refs_done++) {
            uint32_t ref = sel->refs.at[sel->refs_done];
            if (!head_is_live(head, ref)) continue;
            if (!head_series_overlaps(head, ref, sel->query.from_ms, sel->query.to_ms)) continue;
            if (sel->query.series_max != 0 && sel->views_count == sel->query.series_max)
                return err_set(err, ERR_LIMIT, 0, "select: more than %llu series match",
                               (unsigned long long)sel->query.series_max);
            series_view_take(head, ref, &sel->views[sel->views_count++]);
        }
        if (sel->refs_done < sel->refs.count && slice_is_over(until_ns)) return OK;
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
