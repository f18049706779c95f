/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/hidden.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "node/base/log.h"
#include "storage/archive/filter.h"
#include "storage/store_internal.h"

struct hidden_item {
    uint64_t number; /* of the block */
    uint64_t rules;  /* what was deleted of its times */
    struct hidden_sum sum;
};
struct hidden_shard {
    struct hidden_item *items;
    uint32_t count, cap;
    bool wanted;
};
struct hidden {
    struct work work;
    struct store *store;
    struct hidden_shard *shards;
    uint32_t wanted_count, turn;
    bool running;
    /* the work: items of one shard that are to be found, and what was deleted of it */
    uint32_t shard;
    struct block_list *list;
    struct hidden_item *found;
    uint32_t found_count;
    struct archive_filter filter;
    struct tombstone *tombstones; /* copies */
    uint32_t tombstones_count;
    enum status status;
    struct err err;
};

struct block_digest hidden_rule(const struct tombstone *t) {
    struct hash128 h = hash128(t->matchers, t->matchers_len, 0);
    return (struct block_digest){h.hi, h.lo};
}

static bool is_about(const struct tombstone *t, int64_t min_ms, int64_t max_ms) {
    return t->min_ms <= max_ms && t->max_ms >= min_ms;
}

/* 0: nothing. What lies outside of the block makes no difference. */
static uint64_t rules_of(const struct tombstone *tombstones, uint32_t count,
                         const struct block_shard *in) {
    uint64_t rules = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct tombstone *t = &tombstones[i];
        if (!is_about(t, in->min_ms, in->max_ms)) continue;
        struct block_digest what = hidden_rule(t);
        uint64_t words[] = {what.hi, what.lo, (uint64_t)MAX(t->min_ms, in->min_ms),
                            (uint64_t)MIN(t->max_ms, in->max_ms)};
        rules += hash64(words, sizeof words, 0) | 1;
    }
    return rules;
}

static const struct hidden_item *item_find(const struct hidden_shard *s, uint64_t number,
                                           uint64_t rules) {
    for (uint32_t i = 0; i < s->count; i++)
        if (s->items[i].number == number && s->items[i].rules == rules) return &s->items[i];
    return NULL;
}

/* -- on the worker */

/* Of one series: what this deletion takes that none before it does. */
static enum status series_sum(const struct hidden *h, struct block_selection *s, size_t at,
                              uint32_t rule, struct samples *scratch, struct hidden_sum *sum,
                              struct err *err) {
    enum { LABELS_MAX = 256 };
    const struct tombstone *t = &h->tombstones[rule];
    struct label few[LABELS_MAX], *labels = few;
    size_t count;
    samples_clear(scratch);
    int64_t after_ms = t->min_ms == INT64_MIN ? INT64_MIN : t->min_ms - 1;
    TRY(block_series_read(s, at, after_ms, t->max_ms, scratch, err));
    size_t labels_count = block_series_labels(s, at, few, LABELS_MAX);
    if (labels_count > LABELS_MAX) {
        labels = calloc(labels_count, sizeof *labels);
        if (labels == NULL) return err_set(err, ERR_NOMEM, 0, "digests: not enough memory");
        block_series_labels(s, at, labels, labels_count);
    }
    archive_filter_run_first(&h->filter, h->shard, rule, labels, labels_count, scratch);
    if (labels != few) free(labels);
    sum->samples += scratch->count;
    if (block_digest_add(&sum->digest, block_selection_series(s, &count)[at].id, scratch) != OK)
        return err_set(err, ERR_NOMEM, 0, "digests: not enough memory");
    return OK;
}

static enum status rule_sum(const struct hidden *h, struct block *block, uint32_t rule,
                            const uint64_t *bits, struct hidden_sum *sum, struct err *err) {
    const struct tombstone *t = &h->tombstones[rule];
    struct shard_set set = {bits, h->store->options.shards_count};
    struct select_query q = {.shards = &set,
                             .from_ms = t->min_ms == INT64_MIN ? INT64_MIN : t->min_ms - 1,
                             .to_ms = t->max_ms};
    archive_filter_matchers(&h->filter, h->shard, rule, &q.matchers, &q.matchers_count);
    struct block_selection *s = NULL;
    struct samples scratch = {0};
    size_t count = 0;
    enum status status = block_select(block, &q, NULL, &s, err);
    if (status == OK) block_selection_series(s, &count);
    for (size_t i = 0; i < count && status == OK; i++)
        status = series_sum(h, s, i, rule, &scratch, sum, err);
    samples_fini(&scratch);
    block_selection_free(s);
    return status;
}

static struct block *block_of(const struct hidden *h, uint64_t number) {
    for (uint32_t i = 0; i < h->list->count; i++)
        if (h->list->blocks[i].of.number == number) return h->list->blocks[i].block;
    return NULL;
}

static enum status item_sum(const struct hidden *h, struct hidden_item *item, const uint64_t *bits,
                            struct err *err) {
    struct block *block = block_of(h, item->number);
    struct block_shard in;
    if (!block_get_shard(block, h->shard, &in)) return OK;
    for (uint32_t i = 0; i < h->tombstones_count; i++) {
        if (!is_about(&h->tombstones[i], in.min_ms, in.max_ms)) continue;
        enum status status = rule_sum(h, block, i, bits, &item->sum, err);
        if (status == ERR_CORRUPT || status == ERR_IO) block_set_suspect(block);
        TRY(status);
    }
    return OK;
}

static void hidden_run(struct work *w) {
    struct hidden *h = container_of(w, struct hidden, work);
    const struct filter_rules rules = {h->shard, INT64_MIN, h->tombstones, h->tombstones_count};
    uint64_t *bits = calloc(h->store->options.shards_count / 64 + 1, sizeof *bits);
    h->status = bits == NULL ? err_set(&h->err, ERR_NOMEM, 0, "digests: not enough memory")
                             : archive_filter_add(&h->filter, &rules, &h->err);
    if (bits != NULL) bits[h->shard / 64] |= (uint64_t)1 << (h->shard % 64);
    for (uint32_t i = 0; i < h->found_count && h->status == OK; i++)
        h->status = item_sum(h, &h->found[i], bits, &h->err);
    free(bits);
}

/* -- on the core */

static void job_end(struct hidden *h) {
    block_list_unref(h->list);
    archive_filter_fini(&h->filter);
    for (uint32_t i = 0; i < h->tombstones_count; i++)
        free(h->tombstones[i].matchers);
    free(h->tombstones);
    free(h->found);
    h->list = NULL;
    h->tombstones = NULL;
    h->found = NULL;
    h->tombstones_count = h->found_count = 0;
}

static bool block_counts(const struct block_list *list, uint64_t number) {
    for (uint32_t i = 0; list != NULL && i < list->count; i++)
        if (list->blocks[i].of.number == number) return true;
    return false;
}

/* Those of blocks that went, or of which more was deleted since, are forgotten. */
static void items_keep(struct hidden *h) {
    struct hidden_shard *s = &h->shards[h->shard];
    const struct block_list *list = store_blocks(h->store);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        bool stays = block_counts(list, s->items[i].number);
        for (uint32_t k = 0; k < h->found_count; k++)
            stays = stays && h->found[k].number != s->items[i].number;
        if (stays) s->items[kept++] = s->items[i];
    }
    s->count = kept;
    if (s->cap < kept + h->found_count) {
        struct hidden_item *items = realloc(s->items, (kept + h->found_count) * sizeof *items);
        if (items == NULL) return; /* they are found again */
        s->items = items;
        s->cap = kept + h->found_count;
    }
    for (uint32_t i = 0; i < h->found_count; i++)
        s->items[s->count++] = h->found[i];
}

static void hidden_next(struct hidden *h);

static void hidden_ran(struct core *here, struct work *w) {
    struct hidden *h = container_of(w, struct hidden, work);
    assert(here == h->store->core);
    h->running = false;
    if (h->status == OK)
        items_keep(h);
    else
        log_warn("what was deleted of blocks could not be counted", "err", h->err.msg);
    job_end(h);
    hidden_next(h);
}

static enum status tombstones_copy(struct hidden *h, const struct store_archived *a) {
    h->tombstones = calloc(a->tombstones_count + 1, sizeof *h->tombstones);
    if (h->tombstones == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < a->tombstones_count; i++) {
        struct tombstone *to = &h->tombstones[i];
        *to = a->tombstones[i];
        to->matchers = malloc(to->matchers_len + 1);
        if (to->matchers == NULL) return ERR_NOMEM;
        memcpy(to->matchers, a->tombstones[i].matchers, to->matchers_len);
        h->tombstones_count++;
    }
    return OK;
}

/* What of the shard is not known. ERR_NOMEM. */
static enum status job_make(struct hidden *h, uint32_t shard) {
    struct store_archived a;
    struct block_list *list = store_blocks(h->store);
    h->shard = shard;
    h->filter = (struct archive_filter){.exemplars_from_ms = INT64_MIN};
    arena_init(&h->filter.arena, 0);
    if (list == NULL || !store_shard_archive(h->store, shard, &a)) return OK;
    h->list = block_list_ref(list);
    h->found = calloc(list->count + 1, sizeof *h->found);
    if (h->found == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct list_block *b = &list->blocks[i];
        struct block_shard in;
        if (b->block == NULL || b->of.resolution_ms != 0 || !list_block_has(b, shard, a.copy) ||
            !block_get_shard(b->block, shard, &in) || in.series_count == 0)
            continue;
        uint64_t rules = rules_of(a.tombstones, a.tombstones_count, &in);
        if (rules != 0 && item_find(&h->shards[shard], b->of.number, rules) == NULL)
            h->found[h->found_count++] =
                (struct hidden_item){.number = b->of.number, .rules = rules};
    }
    return h->found_count == 0 ? OK : tombstones_copy(h, &a);
}

static void hidden_next(struct hidden *h) {
    const uint32_t count = h->store->options.shards_count;
    while (!h->running && h->wanted_count > 0) {
        uint32_t shard = h->turn++ % count;
        if (!h->shards[shard].wanted) continue;
        h->shards[shard].wanted = false;
        h->wanted_count--;
        if (job_make(h, shard) != OK || h->found_count == 0) {
            job_end(h); /* without memory it is asked for again */
            continue;
        }
        h->running = true;
        h->err = (struct err){0};
        h->work = (struct work){.run = hidden_run, .done = hidden_ran};
        work_submit(h->store->core, &h->work);
    }
}

static struct hidden *hidden_of(struct store *store) {
    if (store->hidden != NULL) return store->hidden;
    struct hidden *h = calloc(1, sizeof *h);
    struct hidden_shard *shards = calloc(store->options.shards_count, sizeof *shards);
    if (h == NULL || shards == NULL) {
        free(h);
        free(shards);
        return NULL;
    }
    h->store = store;
    h->shards = shards;
    return store->hidden = h;
}

enum hidden_answer hidden_ask(struct store *store, const struct list_block *b, uint32_t shard,
                              const struct block_shard *in, const struct store_archived *a,
                              struct hidden_sum *out) {
    uint64_t rules = rules_of(a->tombstones, a->tombstones_count, in);
    if (rules == 0) return HIDDEN_NOTHING;
    struct hidden *h = hidden_of(store);
    if (h == NULL) return HIDDEN_LATER;
    const struct hidden_item *item = item_find(&h->shards[shard], b->of.number, rules);
    if (item != NULL) {
        *out = item->sum;
        return HIDDEN_KNOWN;
    }
    h->wanted_count += !h->shards[shard].wanted;
    h->shards[shard].wanted = true;
    hidden_next(h);
    return HIDDEN_LATER;
}

void hidden_free(struct hidden *h) {
    if (h == NULL) return;
    job_end(h);
    for (uint32_t i = 0; i < h->store->options.shards_count; i++)
        free(h->shards[i].items);
    free(h->shards);
    free(h);
}
