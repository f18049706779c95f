/* SPDX-License-Identifier: Apache-2.0 */
/* What is deleted goes from the disk: blocks are written anew without it, one by one, as a merge of
 * one block (merge.c). Before that every core tells its tombstones, for the manifest has those of
 * the last flush. The tombstones stay: what a flush selected before a deletion may still be on its
 * way into a block. */
#include <assert.h>
#include <stdlib.h>

#include "storage/archive/internal.h"

/* -- telling: log core -> each core -> a change of the manifest -> log core */

struct teller { /* of one core */
    struct msg msg;
    struct archive_tell *tell;
    struct archive_core *ac;
    struct archive_change change;
    struct manifest_shard *shards;
    uint32_t shards_count;
    bool failed;
};

static void tellers_free(struct archive_tell *t) {
    for (unsigned i = 0; i < t->archive->rt->cores_count; i++) {
        struct teller *teller = &t->tellers[i];
        for (uint32_t k = 0; k < teller->shards_count; k++)
            manifest_shard_fini(&teller->shards[k]);
        free(teller->shards);
    }
    free(t->tellers);
    t->tellers = NULL;
    list_remove(&t->node);
}

static void tell_end(struct archive_tell *t) {
    bool failed = false;
    for (unsigned i = 0; i < t->archive->rt->cores_count; i++)
        failed |= t->tellers[i].failed;
    tellers_free(t);
    t->done(t, failed ? ERR_NOMEM : OK);
}

void archive_tells_free(struct archive *a) {
    while (!list_is_empty(&a->tells))
        tellers_free(container_of(a->tells.next, struct archive_tell, node));
}

static void tell_back(struct core *here, struct msg *m) {
    struct teller *teller = container_of(m, struct teller, msg);
    struct archive_tell *t = teller->tell;
    assert(here == t->archive->rt->log_core && t->open > 0);
    if (--t->open == 0) tell_end(t);
}

static void teller_end(struct teller *teller) {
    teller->msg.run = tell_back;
    core_post(teller->tell->archive->rt->log_core, &teller->msg);
}

static void tell_changed(struct core *here, struct archive_change *c) {
    (void)here;
    teller_end(container_of(c, struct teller, change));
}

/* false: no memory. */
static bool tell_shard(struct teller *teller, uint32_t shard) {
    struct store_archived s;
    if (!store_shard_archive(teller->ac->store, shard, &s) || !s.has_head || s.damaged ||
        s.tombstones_count == 0 || s.from_ms == INT64_MIN)
        return true;
    struct manifest_shard *grown =
        realloc(teller->shards, (teller->shards_count + 1) * sizeof *grown);
    if (grown == NULL) return false;
    teller->shards = grown;
    if (store_shard_record(teller->ac->store, shard, s.from_ms, &grown[teller->shards_count]) != OK)
        return false;
    teller->shards_count++;
    return true;
}

static void tell_on_core(struct core *here, struct msg *m) {
    struct teller *teller = container_of(m, struct teller, msg);
    struct archive *a = teller->tell->archive;
    for (uint32_t i = 0; i < a->options.shards_count && !teller->failed; i++)
        teller->failed = !tell_shard(teller, i);
    if (teller->failed || teller->shards_count == 0) {
        teller_end(teller);
        return;
    }
    teller->change = (struct archive_change){.shards = teller->shards,
                                             .shards_count = teller->shards_count,
                                             .is_tombstones = true,
                                             .done = tell_changed};
    archive_change_submit(a, here, &teller->change);
}

bool archive_tell(struct archive *a, struct archive_tell *t) {
    unsigned cores = a->rt->cores_count;
    assert(core_is_current(a->rt->log_core) && a->started);
    t->archive = a;
    t->open = cores;
    t->tellers = calloc(cores, sizeof *t->tellers);
    if (t->tellers == NULL) return false;
    list_push_back(&a->tells, &t->node);
    for (unsigned i = 0; i < cores; i++) {
        struct teller *teller = &t->tellers[i];
        teller->tell = t;
        teller->ac = a->cores[i];
        teller->msg.run = tell_on_core;
        core_post(a->rt->cores[i], &teller->msg);
    }
    return true;
}

/* -- cleaning */

static void clean_end(struct archive_clean *c, enum status status, const char *why) {
    struct err err = {.code = OK};
    if (status != OK) err_set(&err, status, 0, "%s", why);
    c->done(c, status, &err);
}

static void clean_told(struct archive_tell *t, enum status status) {
    struct archive_clean *c = container_of(t, struct archive_clean, tell);
    struct archive *a = t->archive;
    if (status != OK || a->stopping) {
        clean_end(c, status == OK ? ERR_UNAVAILABLE : status,
                  status == OK ? "this node is stopping" : "out of memory");
        return;
    }
    c->from = 0;
    c->before = atomic_load_explicit(&a->next_number, memory_order_relaxed);
    list_push_back(&a->cleans, &c->node);
    archive_merge_next(a);
}

void archive_clean(struct archive *a, struct archive_clean *c) {
    c->tell.done = clean_told;
    if (a->stopping || !a->started)
        clean_end(c, ERR_UNAVAILABLE, "this node is stopping");
    else if (!archive_tell(a, &c->tell))
        clean_end(c, ERR_NOMEM, "out of memory");
}

bool archive_clean_plan(struct archive *a, struct merge_plan *out) {
    while (!list_is_empty(&a->cleans)) {
        struct archive_clean *c = container_of(a->cleans.next, struct archive_clean, node);
        if (plan_clean(&a->manifest, c->from, c->before, out)) {
            c->from = out->numbers[0] + 1;
            return true;
        }
        list_remove(&c->node);
        clean_end(c, OK, "");
    }
    return false;
}

void archive_clean_fail(struct archive *a, enum status status, const char *why) {
    struct list_node *n;
    while ((n = list_pop_front(&a->cleans)) != NULL)
        clean_end(container_of(n, struct archive_clean, node), status, why);
}
