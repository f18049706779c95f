/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/select.h"

#include <stdlib.h>

/* A selection, in slices:
 *
 *   SETS   each matcher becomes a set of label pairs; those with many values last, and not at all
 * (SET_LAZY) when the others leave few series MATCH  the smallest set's posting lists are walked
 * (all series when there is none), narrowed by the lists of single pairs, then each candidate's own
 * pairs are looked at VIEWS  each match with samples in the range is snapshot
 *
 * Between slices only positions are kept. Series from series_end on are not looked at: their values
 * may have come after the sets were made. */
enum select_state { SELECT_SETS, SELECT_MATCH, SELECT_VIEWS, SELECT_DONE };

enum {
    SLICE_VALUES = 256, /* between looks at the clock: some 10 us each */
    BATCH_SERIES = 64,
    SLICE_LISTS = 64,
};

struct selection {
    struct head *head;
    struct selection *older, *newer;
    struct retired retired;
    struct select_query query;
    enum select_state state;
    struct select_set *sets;
    size_t sets_done;
    struct select_set *driver; /* NULL: all series */
    uint32_t driver_list;      /* among the driver's pairs */
    uint32_t driver_position;  /* in that list, or the series */
    uint32_t *cursors;         /* per set, for SET_ONE, within driver_list */
    uint32_t series_end;
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
}

static void retired_move(struct retired *to, const struct retired *from) {
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
}

/* A reader never follows the link of a chain's last block. */
void head_retire_blocks(struct head *head, struct chunk_block *first, struct chunk_block *last) {
    struct retired r = {.blocks_first = first, .blocks_last = last};
    if (head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(&head->newest->retired, &r);
}

void head_retire_late(struct head *head, struct late *late) {
    struct retired r = {.late_first = late, .late_last = late};
    if (!late->seen || head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(&head->newest->retired, &r);
}

enum status select_new(struct head *head, const struct select_query *query, struct selection **out,
                       struct err *err) {
    struct selection *sel = calloc(1, sizeof *sel);
    if (sel == NULL) return err_set(err, ERR_NOMEM, 0, "select: out of memory");
    size_t n = query->matchers_count;
    sel->sets = calloc(n + 1, sizeof *sel->sets);
    sel->cursors = calloc(n + 1, sizeof *sel->cursors);
    sel->head = head;
    sel->query = *query;
    sel->series_end = head->series.count;
    sel->older = head->newest;
    if (head->newest != NULL) head->newest->newer = sel;
    head->newest = sel;
    enum status status = sel->sets == NULL || sel->cursors == NULL ? ERR_NOMEM : OK;
    for (size_t i = 0; i < n && status == OK; i++)
        status = select_set_begin(&sel->sets[i], head, &query->matchers[i]);
    if (status != OK) {
        selection_release(sel);
        return err_set(err, status, 0, "select: out of memory");
    }
    *out = sel;
    return OK;
}

void selection_release(struct selection *sel) {
    if (sel == NULL) return;
    struct head *head = sel->head;
    if (sel->older != NULL) {
        retired_move(&sel->older->retired, &sel->retired);
        sel->older->newer = sel->newer;
    } else {
        retired_free(head, &sel->retired);
    }
    if (sel->newer != NULL)
        sel->newer->older = sel->older;
    else
        head->newest = sel->older;
    for (size_t i = 0; sel->sets != NULL && i < sel->query.matchers_count; i++)
        select_set_fini(&sel->sets[i]);
    free(sel->sets);
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
    size_t bytes = more_bytes + u32s_memory_bytes(&sel->refs);
    if (sel->query.memory_bytes_max == 0) return OK;
    for (size_t i = 0; i < sel->query.matchers_count; i++)
        bytes += select_set_memory_bytes(&sel->sets[i]);
    if (bytes <= sel->query.memory_bytes_max) return OK;
    return err_set(err, ERR_LIMIT, 0, "select: needs more than %llu bytes of memory",
                   (unsigned long long)sel->query.memory_bytes_max);
}

static struct select_set *select_smallest(struct selection *sel) {
    struct select_set *best = NULL;
    for (size_t i = 0; i < sel->query.matchers_count; i++) {
        struct select_set *set = &sel->sets[i];
        if (set->kind != SET_ONE && set->kind != SET_IN) continue;
        if (best == NULL || set->postings < best->postings) best = set;
    }
    return best;
}

static bool select_is_empty(const struct selection *sel) {
    for (size_t i = 0; i < sel->query.matchers_count; i++)
        if (sel->sets[i].kind == SET_NOTHING) return true;
    return false;
}

/* Leaves SELECT_SETS when all are made. */
static enum status select_sets(struct selection *sel, uint64_t until_ns, struct err *err) {
    while (sel->sets_done < sel->query.matchers_count) {
        struct select_set *set = &sel->sets[sel->sets_done];
        const struct select_set *best = select_smallest(sel);
        if (set->kind == SET_PENDING && set->values_done == 0 && best != NULL &&
            best->postings < set->values_count / 2 && select_set_make_lazy(set) != OK)
            return select_nomem(err);
        while (set->kind == SET_PENDING) {
            if (select_set_walk(set, sel->head, SLICE_VALUES) != OK) return select_nomem(err);
            TRY(select_check_memory(sel, 0, err));
            if (slice_is_over(until_ns)) return OK;
        }
        sel->sets_done++;
    }
    sel->driver = select_smallest(sel);
    sel->state = select_is_empty(sel) ? SELECT_VIEWS : SELECT_MATCH;
    return OK;
}

static const uint32_t *driver_pairs(const struct select_set *driver, uint32_t *out_count) {
    *out_count = driver->kind == SET_ONE ? 1 : driver->pairs.count;
    return driver->kind == SET_ONE ? &driver->pair : driver->pairs.at;
}

/* Whether the other single pairs have the series; when one has not, *next is the first it could be
 * again. */
static bool candidate_passes(struct selection *sel, uint32_t ref, uint32_t *next) {
    for (size_t i = 0; i < sel->query.matchers_count; i++) {
        const struct select_set *set = &sel->sets[i];
        if (set->kind != SET_ONE || set == sel->driver) continue;
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
    for (size_t i = 0; i < sel->query.matchers_count; i++)
        sel->cursors[i] = 0;
    sel->driver_position = 0;
    sel->driver_list++;
    uint32_t lists;
    (void)driver_pairs(sel->driver, &lists);
    return sel->driver_list < lists;
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

static bool series_passes(struct selection *sel, const uint32_t *pairs) {
    for (size_t i = 0; i < sel->query.matchers_count; i++) {
        struct select_set *set = &sel->sets[i];
        if (set == sel->driver || set->kind == SET_ONE) continue;
        if (!select_set_has(set, sel->head, pairs)) return false;
    }
    return true;
}

/* Memory first, questions later: a batch's lines are asked for before any is used. */
static uint32_t batch_filter(struct selection *sel, uint32_t *batch, uint32_t count) {
    const struct head *head = sel->head;
    const struct shard_set *shards = sel->query.shards;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        __builtin_prefetch(head_cold(head, batch[i]));
    for (uint32_t i = 0; i < count; i++) {
        const struct series_cold *cold = head_cold(head, batch[i]);
        if (shards != NULL &&
            (cold->shard >= shards->shards_count || !shard_set_has(shards, cold->shard)))
            continue;
        __builtin_prefetch(cold->pairs);
        batch[kept++] = batch[i];
    }
    count = kept;
    kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (series_passes(sel, head_cold(head, batch[i])->pairs)) batch[kept++] = batch[i];
    return kept;
}

static enum status select_match(struct selection *sel, uint64_t until_ns, struct err *err) {
    bool more = true;
    while (more) {
        uint32_t batch[BATCH_SERIES];
        uint32_t count = select_batch(sel, batch, &more);
        count = batch_filter(sel, batch, count);
        if (u32s_reserve(&sel->refs, count) != OK) return select_nomem(err);
        for (uint32_t i = 0; i < count; i++)
            sel->refs.at[sel->refs.count++] = batch[i];
        TRY(select_check_memory(sel, 0, err));
        if (more && slice_is_over(until_ns)) return OK;
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
            __builtin_prefetch(head_series(head, sel->refs.at[i]));
            __builtin_prefetch(head_cold(head, sel->refs.at[i]));
        }
        for (; sel->refs_done < end; sel->refs_done++) {
            uint32_t ref = sel->refs.at[sel->refs_done];
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
    enum status status = select_sets(sel, 0, err);
    if (status == OK && sel->state == SELECT_MATCH) status = select_match(sel, 0, err);
    if (status == OK) {
        *out = sel->refs;
        sel->refs = (struct u32s){0};
    }
    selection_release(sel);
    return status;
}
