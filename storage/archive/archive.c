/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/archive.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/cancel.h"
#include "node/base/log.h"
#include "storage/archive/cover.h"
#include "storage/archive/internal.h"
#include "storage/archive/loss.h"
#include "storage/archive/repair.h"

enum { RETRY_MS = 1000, PACKED_A_ROUND_MAX = 4 };

/* -- what others ask */

const struct manifest *archive_manifest(const struct archive *a) {
    return &a->manifest;
}
struct block_list *archive_blocks(const struct archive *a) {
    return a->list;
}
struct disk *archive_disk(const struct archive *a) {
    return a->rt->disk;
}
const struct archive_options *archive_get_options(const struct archive *a) {
    return &a->options;
}
uint64_t archive_take_number(struct archive *a) {
    return atomic_fetch_add_explicit(&a->next_number, 1, memory_order_relaxed);
}
void archive_set_bytes_max(struct archive *a, uint64_t bytes) {
    assert(core_is_current(a->rt->log_core));
    a->options.bytes_max = bytes;
    archive_count(a);
}
void archive_set_levels(struct archive *a, const struct plan_level levels[PLAN_LEVELS],
                        int64_t raw_ms) {
    assert(core_is_current(a->rt->log_core));
    memcpy(a->options.levels, levels, sizeof a->options.levels);
    a->options.raw_ms = raw_ms;
}
int64_t archive_size_floor(const struct archive *a) {
    return atomic_load_explicit(&a->size_floor_ms, memory_order_relaxed);
}

char *archive_block_path(const struct archive *a, uint64_t number) {
    size_t len = strlen(a->dir) + 32;
    char *path = malloc(len);
    if (path != NULL) snprintf(path, len, "%s/%016" PRIx64 ".block", a->dir, number);
    return path;
}

void archive_add_core(struct archive *a, struct archive_core *ac) {
    assert(!a->started && ac->core->index < a->rt->cores_count);
    ac->archive = a;
    a->cores[ac->core->index] = ac;
    store_set_archive(ac->store, ac);
    store_set_blocks(ac->store, block_list_ref(a->list));
}

void archive_count(struct archive *a) {
    uint64_t bytes = 0, rows_bytes = 0, rows = 0;
    unsigned bad = 0;
    for (uint32_t i = 0; i < a->list->count; i++) {
        const struct manifest_block *of = &a->list->blocks[i].of;
        bytes += of->file_bytes;
        rows += of->resolution_ms != 0;
        rows_bytes += of->resolution_ms != 0 ? of->file_bytes : 0;
        bad += a->list->blocks[i].block == NULL;
    }
    atomic_store_explicit(&a->blocks_count, a->list->count, memory_order_relaxed);
    atomic_store_explicit(&a->blocks_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&a->rows_blocks, rows, memory_order_relaxed);
    atomic_store_explicit(&a->rows_bytes, rows_bytes, memory_order_relaxed);
    atomic_store_explicit(&a->bad_blocks, bad, memory_order_relaxed);
    atomic_store_explicit(&a->size_floor_ms, plan_size_floor(&a->manifest, a->options.bytes_max),
                          memory_order_relaxed);
}

void archive_get_stats(const struct archive *a, struct archive_stats *out) {
    *out = (struct archive_stats){
        .blocks = atomic_load_explicit(&a->blocks_count, memory_order_relaxed),
        .bytes = atomic_load_explicit(&a->blocks_bytes, memory_order_relaxed),
        .rows_blocks = atomic_load_explicit(&a->rows_blocks, memory_order_relaxed),
        .rows_bytes = atomic_load_explicit(&a->rows_bytes, memory_order_relaxed),
        .merges = atomic_load_explicit(&a->merges, memory_order_relaxed),
        .merges_failed = atomic_load_explicit(&a->merges_failed, memory_order_relaxed),
        .log_files_removed = atomic_load_explicit(&a->log_files_removed, memory_order_relaxed),
        .bad_blocks = atomic_load_explicit(&a->bad_blocks, memory_order_relaxed)};
}

/* -- changes */

static void on_change_done(struct core *here, struct msg *m) {
    struct archive_change *c = container_of(m, struct archive_change, msg);
    c->done(here, c);
}

static void change_end(struct archive_change *c) {
    c->msg.run = on_change_done;
    core_post(c->home, &c->msg);
}

/* Whoever asked for them waits to be told that the archive is stopping. */
static void tombstones_give_up(struct archive *a) {
    LIST_FOREACH_SAFE(n, &a->waiting) {
        struct archive_change *c = container_of(n, struct archive_change, node);
        if (!c->is_tombstones) continue;
        list_remove(&c->node);
        change_end(c);
    }
}

static void on_change(struct core *here, struct msg *m) {
    struct archive_change *c = container_of(m, struct archive_change, msg);
    assert(here == c->archive->rt->log_core);
    list_push_back(&c->archive->waiting, &c->node);
    if (c->archive->stopping)
        tombstones_give_up(c->archive);
    else
        archive_round(c->archive);
}

void archive_change_submit(struct archive *a, struct core *home, struct archive_change *c) {
    c->archive = a;
    c->home = home;
    c->msg.run = on_change;
    core_post(a->rt->log_core, &c->msg);
}

/* Between looking and this it may have come again. */
static void change_drop(struct manifest *m, const struct manifest_part *drop) {
    const struct manifest_shard *s = manifest_shard_find(m, drop->shard);
    if (s != NULL && s->copy <= drop->copy) manifest_shard_remove(m, drop->shard);
}

static enum status change_shard(struct manifest *m, const struct archive_change *c,
                                const struct manifest_shard *from) {
    const struct manifest_shard *old = manifest_shard_find(m, from->shard);
    /* a later copy: it has begun anew meanwhile */
    if (old != NULL && (c->is_import || old->copy > from->copy)) return OK;
    struct manifest_shard s;
    TRY(manifest_shard_copy(from, &s));
    if (old != NULL && old->copy == s.copy) s.gone_ms = MAX(s.gone_ms, old->gone_ms);
    if (manifest_shard_set(m, &s) == OK) return OK;
    manifest_shard_fini(&s);
    return ERR_NOMEM;
}

static enum status change_tombstones(struct manifest *m, const struct manifest_shard *from) {
    struct manifest_shard *old = manifest_shard_find(m, from->shard), s;
    if (old == NULL || old->copy != from->copy) return OK;
    TRY(manifest_shard_copy(from, &s));
    struct tombstone *tombstones = old->tombstones;
    uint32_t count = old->tombstones_count;
    old->tombstones = s.tombstones;
    old->tombstones_count = s.tombstones_count;
    s.tombstones = tombstones;
    s.tombstones_count = count;
    manifest_shard_fini(&s);
    return OK;
}

static enum status change_shards(struct manifest *m, const struct archive_change *c) {
    for (uint32_t i = 0; i < c->shards_count; i++)
        TRY(c->is_tombstones ? change_tombstones(m, &c->shards[i])
                             : change_shard(m, c, &c->shards[i]));
    return OK;
}

/* Of the block, as it was when it was submitted: beside a record of the same copy, for since then
 * the shard may have gone, or begun anew; of an import (which comes before its records) where it is
 * to give the record. */
static bool part_counts(const struct manifest *m, const struct archive_change *c,
                        const struct manifest_part *part, const uint64_t *passed) {
    if (passed != NULL && ((passed[part->shard / 64] >> (part->shard % 64)) & 1)) return false;
    const struct manifest_shard *s = manifest_shard_find(m, part->shard);
    return c->is_import ? s == NULL : s != NULL && s->copy == part->copy;
}

/* Without a part that counts it is not added, and its file goes. */
enum status archive_change_block(struct manifest *m, const struct archive_change *c,
                                 const struct manifest_block *from, const uint64_t *passed) {
    struct manifest_block b = *from;
    b.parts = malloc((b.parts_count + 1) * sizeof *b.parts);
    if (b.parts == NULL) return ERR_NOMEM;
    b.parts_count = 0;
    for (uint32_t i = 0; i < from->parts_count; i++)
        if (part_counts(m, c, &from->parts[i], passed)) b.parts[b.parts_count++] = from->parts[i];
    if (b.parts_count > 0 && manifest_block_add(m, &b) != OK) {
        manifest_block_fini(&b);
        return ERR_NOMEM;
    }
    if (b.parts_count == 0) manifest_block_fini(&b);
    return OK;
}

static enum status change_apply(struct archive *a, struct manifest *m, struct archive_change *c) {
    if (c->repairs_count > 0) return repair_apply(a, m, c);
    if (c->losses_count > 0) {
        loss_apply(a, m, c);
        return OK;
    }
    if (c == &a->merge.change && a->merge.voided) return OK; /* what was added is a stray */
    for (uint32_t i = 0; i < c->removes_count; i++) {
        const struct manifest_block *b = manifest_block_find(m, c->removes[i]);
        if (b != NULL && c->ended_to_ms != 0) cover_set_gone(m, b, MIN(b->max_ms, c->ended_to_ms));
        manifest_block_remove(m, c->removes[i]);
    }
#ifdef PLANT_MERGE_LOSES_TOMBSTONE
    for (uint32_t i = 0; i < m->shards_count && c->removes_count > 0; i++) {
        struct manifest_shard *s = &m->shards[i];
        if (s->tombstones_count > 0) free(s->tombstones[--s->tombstones_count].matchers);
    }
#endif
    for (uint32_t i = 0; i < c->drops_count; i++)
        change_drop(m, &c->drops[i]);
    for (uint32_t i = 0; i < c->shards_count && !c->is_tombstones; i++) {
        const struct manifest_shard *old = manifest_shard_find(m, c->shards[i].shard);
        if (old != NULL && old->copy < c->shards[i].copy)
            manifest_shard_remove(m, c->shards[i].shard);
    }
    if (!c->is_import) TRY(change_shards(m, c));
    for (uint32_t i = 0; i < c->adds_count; i++)
        TRY(archive_change_block(m, c, &c->adds[i].of, NULL));
    return c->is_import ? change_shards(m, c) : OK;
}

/* The manifest and the list as all current changes make them. */
static enum status next_make(struct archive *a) {
    struct list_block *added;
    uint32_t added_count = 0;
    LIST_FOREACH(n, &a->current)
    added_count += container_of(n, struct archive_change, node)->adds_count;
    added = calloc(added_count + 1, sizeof *added);
    if (added == NULL) return ERR_NOMEM;
    enum status status = manifest_copy(&a->manifest, &a->next);
    added_count = 0;
    LIST_FOREACH(n, &a->current) {
        struct archive_change *c = container_of(n, struct archive_change, node);
        if (status == OK) status = change_apply(a, &a->next, c);
        for (uint32_t i = 0; i < c->adds_count; i++)
            added[added_count++] = c->adds[i];
    }
    a->next.next_number = atomic_load_explicit(&a->next_number, memory_order_relaxed);
    if (status == OK) a->saved = block_list_new(&a->next, a->list, added, added_count);
    free(added);
    if (status == OK && a->saved != NULL) {
        scrub_mark(a->scrub, a->saved);
        return OK;
    }
    manifest_fini(&a->next);
    return ERR_NOMEM;
}

/* -- rounds */

/* false: nobody waits for it. */
static bool hold_next(struct archive *a) {
    struct list_node *n = list_pop_front(&a->holds);
    if (n == NULL) return false;
    struct archive_hold *hold = container_of(n, struct archive_hold, node);
    a->state = ARCHIVE_HELD;
    hold->held(hold, true);
    return true;
}

void archive_hold(struct archive *a, struct archive_hold *hold) {
    assert(core_is_current(a->rt->log_core));
    if (a->stopping || !a->started) {
        hold->held(hold, false);
        return;
    }
    list_push_back(&a->holds, &hold->node);
    if (a->state == ARCHIVE_IDLE) hold_next(a);
}

void archive_release(struct archive *a) {
    assert(core_is_current(a->rt->log_core) && a->state == ARCHIVE_HELD);
    a->state = ARCHIVE_IDLE;
    if (a->stopping)
        archive_stopped_check(a);
    else
        archive_round(a);
}

static void install_begin(struct archive *a);
static void clean_begin(struct archive *a);

static void round_fail(struct archive *a) {
    log_warn("the list of blocks was not saved, it is tried again", "err", a->err.msg);
    manifest_fini(&a->next);
    block_list_unref(a->saved);
    a->saved = NULL;
    while (!list_is_empty(&a->current)) {
        struct list_node *last = a->current.prev;
        list_remove(last);
        list_push_front(&a->waiting, last);
    }
    a->state = ARCHIVE_IDLE;
    if (a->stopping)
        archive_stopped_check(a);
    else
        timer_start(&a->timer, RETRY_MS);
}

static void save_run(struct work *w) {
    struct archive *a = container_of(w, struct archive, work);
    a->status = manifest_save(a->rt->disk, a->dir, &a->next, &a->err);
}

static void save_ran(struct core *here, struct work *w) {
    (void)here;
    struct archive *a = container_of(w, struct archive, work);
    if (a->status != OK) {
        round_fail(a);
        return;
    }
    manifest_fini(&a->manifest);
    a->manifest = a->next;
    a->next = (struct manifest){0};
    a->before = a->list;
    a->list = a->saved;
    a->saved = NULL;
    install_begin(a);
}

void archive_round(struct archive *a) {
    if (a->state != ARCHIVE_IDLE || !a->started || a->stopping || hold_next(a)) return;
    if (timer_is_armed(&a->timer)) timer_stop(&a->timer);
    while (!list_is_empty(&a->waiting))
        list_push_back(&a->current, list_pop_front(&a->waiting));
    if (list_is_empty(&a->current) && !scrub_has_found(a->scrub)) {
        install_begin(a);
        return;
    }
    a->state = ARCHIVE_SAVING;
    if (next_make(a) != OK) {
        err_set(&a->err, ERR_NOMEM, 0, "archive: not enough memory");
        round_fail(a);
        return;
    }
    a->work = (struct work){.run = save_run, .done = save_ran};
    work_submit(a->rt->log_core, &a->work);
}

static void archive_on_timer(struct timer *t) {
    archive_round(container_of(t, struct archive, timer));
}

/* -- on each core */

static void on_installed(struct core *here, struct msg *m) {
    (void)here;
    struct archive *a = container_of(m, struct archive_core, msg)->archive;
    assert(a->state == ARCHIVE_INSTALLING && a->installs_open > 0);
    if (--a->installs_open == 0) clean_begin(a);
}

static void core_import(struct archive_core *ac, const struct manifest_shard *s) {
    struct err err;
    bool taken;
    if (store_shard_base(ac->store, s, &taken, &err) != OK)
        log_error("a shard was not taken up", "err", err.msg);
}

/* While a round is with the cores the archive's lists do not change. */
static void core_on_install(struct core *here, struct msg *m) {
    struct archive_core *ac = container_of(m, struct archive_core, msg);
    struct archive *a = ac->archive;
    assert(here == ac->core);
    if (store_blocks(ac->store) != a->list) store_set_blocks(ac->store, block_list_ref(a->list));
    LIST_FOREACH(n, &a->current) {
        const struct archive_change *c = container_of(n, struct archive_change, node);
        for (uint32_t i = 0; i < c->shards_count; i++) {
            const struct manifest_shard *s = manifest_shard_find(&a->manifest, c->shards[i].shard);
            if (s == NULL || c->is_tombstones) continue;
            if (!c->is_import)
                store_shard_advance(ac->store, s);
            else if (store_shard_copy(ac->store, s->shard) == s->copy)
                core_import(ac, s);
        }
    }
    for (uint32_t i = 0; i < a->options.shards_count; i++) {
        struct store_archived s;
        if (store_shard_archive(ac->store, i, &s)) a->own[i] = s.copy;
    }
    ac->log_floor = store_log_floor(ac->store);
    if (ac->advanced != NULL) ac->advanced(ac);
    m->run = on_installed;
    core_post(here->rt->log_core, m);
}

static void install_begin(struct archive *a) {
    a->state = ARCHIVE_INSTALLING;
    a->log_floor = log_current_file(a->log);
    memset(a->own, 0, a->options.shards_count * sizeof *a->own);
    a->installs_open = a->rt->cores_count;
    for (unsigned i = 0; i < a->rt->cores_count; i++) {
        a->cores[i]->msg.run = core_on_install;
        core_post(a->rt->cores[i], &a->cores[i]->msg);
    }
}

/* -- what nobody needs any more */

/* Nobody holds a bad one open: who could unlink it with the last reference. The manifest does not
 * change meanwhile. */
static void bad_remove(const struct archive *a) {
    for (uint32_t i = 0; a->before != NULL && i < a->before->count; i++) {
        const struct list_block *b = &a->before->blocks[i];
        if (b->block != NULL || manifest_block_find(&a->manifest, b->of.number) != NULL) continue;
        char *path = archive_block_path(a, b->of.number);
        if (path != NULL) status_ignore(disk_unlink(a->rt->disk, path, NULL)); /* or a stray */
        free(path);
    }
}

static void clean_run(struct work *w) {
    struct archive *a = container_of(w, struct archive, work);
    uint64_t files;
    uint32_t kept = 0;
    bad_remove(a);
    block_list_unref(a->before);
    a->before = NULL;
    for (uint32_t i = 0; i < a->obsolete_count; i++) {
        if (block_is_shared(a->obsolete[i]))
            a->obsolete[kept++] = a->obsolete[i];
        else
            block_unref(a->obsolete[i]);
    }
    a->obsolete_count = kept;
    a->status = log_remove_before(a->log, a->log_floor, &files, &a->log_bytes_removed, &a->err);
    atomic_fetch_add_explicit(&a->log_files_removed, files, memory_order_relaxed);
    bool more = true;
    for (unsigned i = 0; i < PACKED_A_ROUND_MAX && more && a->status == OK; i++) {
        uint64_t bytes;
        a->status = log_pack_closed(a->log, &a->merge.canceled, false, &more, &bytes, &a->err);
        a->log_bytes_removed += bytes;
    }
    if (a->status == ERR_CANCELED) a->status = OK;
}

static void on_dropped(struct core *here, struct archive_change *c) {
    (void)here;
    container_of(c, struct archive, drop)->dropping = false;
}

/* Shards that have moved away, or begun anew, leave their blocks here. */
static void drop_absent(struct archive *a) {
    if (a->dropping || a->stopping) return;
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->manifest.shards_count; i++) {
        const struct manifest_shard *s = &a->manifest.shards[i];
        uint32_t own = s->shard < a->options.shards_count ? a->own[s->shard] : 0;
        if (own == 0 || own > s->copy)
            a->drops[count++] = (struct manifest_part){s->shard, s->copy};
    }
    if (count == 0) return;
    a->dropping = true;
    a->drop = (struct archive_change){.drops = a->drops, .drops_count = count, .done = on_dropped};
    archive_change_submit(a, a->rt->log_core, &a->drop);
}

static void clean_ran(struct core *here, struct work *w) {
    (void)here;
    struct archive *a = container_of(w, struct archive, work);
    if (a->status != OK)
        log_warn("old files of the log were not removed or packed", "err", a->err.msg);
    log_removed(a->log, a->log_bytes_removed);
    while (!list_is_empty(&a->current)) {
        struct archive_change *c = container_of(a->current.next, struct archive_change, node);
        list_remove(&c->node);
        change_end(c);
    }
    a->state = ARCHIVE_IDLE;
    archive_count(a);
    if (a->stopping) {
        archive_stopped_check(a);
        return;
    }
    drop_absent(a);
    archive_merge_next(a);
    if (!list_is_empty(&a->waiting) || !list_is_empty(&a->holds) || scrub_has_found(a->scrub))
        archive_round(a);
    else
        timer_start(&a->timer, a->options.round_ms);
}

/* Its last reference is the archive's, so that no core removes a file. */
static void block_retire(struct archive *a, struct block *block) {
    if (a->obsolete_count == a->obsolete_cap) {
        uint32_t cap = a->obsolete_cap == 0 ? 16 : a->obsolete_cap * 2;
        struct block **obsolete = realloc(a->obsolete, cap * sizeof(struct block *));
        if (obsolete == NULL) return; /* a stray, which goes at the next start */
        a->obsolete = obsolete;
        a->obsolete_cap = cap;
    }
    block_set_obsolete(block);
    a->obsolete[a->obsolete_count++] = block_ref(block);
}

static void clean_begin(struct archive *a) {
    a->state = ARCHIVE_CLEANING;
    for (unsigned i = 0; i < a->rt->cores_count; i++)
        a->log_floor = MIN(a->log_floor, a->cores[i]->log_floor);
    for (uint32_t i = 0; a->before != NULL && i < a->before->count; i++) {
        const struct list_block *b = &a->before->blocks[i];
        if (b->block != NULL && manifest_block_find(&a->manifest, b->of.number) == NULL)
            block_retire(a, b->block);
    }
    LIST_FOREACH(n, &a->current) {
        const struct archive_change *c = container_of(n, struct archive_change, node);
        for (uint32_t i = 0; i < c->adds_count; i++) /* nothing of it counts */
            if (manifest_block_find(&a->manifest, c->adds[i].of.number) == NULL)
                block_retire(a, c->adds[i].block);
    }
    a->work = (struct work){.run = clean_run, .done = clean_ran};
    work_submit(a->rt->log_core, &a->work);
}

/* -- life */

void archive_start(struct archive *a, struct log *log) {
    assert(!a->started);
    struct core *current = core_current();
    a->log = log;
    a->started = true;
    core_set_current(a->rt->log_core);
    timer_init(&a->timer, a->rt->log_core, archive_on_timer);
    timer_start(&a->timer, a->options.round_ms);
    scrub_start(a->scrub);
    core_set_current(current);
}

void archive_stopped_check(struct archive *a) {
    if (a->state != ARCHIVE_IDLE || a->merge.running || scrub_is_running(a->scrub) ||
        a->stopped == NULL)
        return;
    void (*stopped)(void *ctx) = a->stopped;
    a->stopped = NULL;
    stopped(a->stopped_ctx);
}

void archive_stop(struct archive *a, void (*done)(void *ctx), void *ctx) {
    assert(core_is_current(a->rt->log_core) && !a->stopping);
    a->stopping = true;
    a->stopped = done;
    a->stopped_ctx = ctx;
    cancel_set(&a->merge.canceled);
    if (a->started) timer_stop(&a->timer);
    if (a->started) scrub_stop(a->scrub);
    struct list_node *n;
    while ((n = list_pop_front(&a->holds)) != NULL) {
        struct archive_hold *hold = container_of(n, struct archive_hold, node);
        hold->held(hold, false);
    }
    archive_clean_fail(a, ERR_UNAVAILABLE, "this node is stopping");
    tombstones_give_up(a);
    archive_stopped_check(a);
}

void archive_free(struct archive *a) {
    if (a == NULL) return;
    archive_tells_free(a);
    archive_merge_free(&a->merge);
    scrub_free(a->scrub);
    block_list_unref(a->list);
    block_list_unref(a->before);
    block_list_unref(a->saved);
    for (uint32_t i = 0; i < a->obsolete_count; i++)
        block_unref(a->obsolete[i]);
    free(a->obsolete);
    manifest_fini(&a->manifest);
    manifest_fini(&a->next);
    free(a->cores);
    free(a->own);
    free(a->drops);
    archive_files_fini(&a->files);
    free(a->sweeps);
    free(a->dir);
    free(a);
}
