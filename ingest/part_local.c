/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"

/* A part on the core that owns its shards:
 *   message -> which shards may be written? -> store_write (judge, order, log, apply)
 *           -> wait for the in-sync sets -> message home */

static void part_at_home(struct core *here, struct msg *m) {
    struct write_part *part = container_of(m, struct write_part, msg);
    assert(here == part->home);
    part_done(part);
}

static void part_go_home(struct write_part *part) {
    part->msg.run = part_at_home;
    core_post(part->home, &part->msg);
}

static struct write_columns part_columns(const struct write_part *part) {
    const struct write_rows *rows = &part->op->sorted;
    size_t first = part->first[ITEM_ROWS];
    return (struct write_columns){
        .starts_ms = rows->starts_ms == NULL ? NULL : rows->starts_ms + first,
        .histograms = rows->histograms == NULL ? NULL : rows->histograms + first,
        .count = part->count[ITEM_ROWS],
        .ids = rows->ids + first,
        .shards = rows->shards + first,
        .times_ms = rows->times_ms + first,
        .values = rows->values + first,
        .labels = rows->labels + first,
        .exemplars = rows->exemplars + part->first[ITEM_EXEMPLARS],
        .exemplars_count = part->count[ITEM_EXEMPLARS],
        .metadata = rows->metadata + part->first[ITEM_METADATA],
        .metadata_count = part->count[ITEM_METADATA],
    };
}

static void part_end_wait(struct write_part *part, enum status status, const struct err *err) {
    part->status = status;
    if (status != OK) part->err = *err;
    part_go_home(part);
}

static void part_on_in_sync(struct replica_wait *wait, enum status status, const struct err *err) {
    part_end_wait(container_of(wait, struct write_part, wait), status, err);
}

static void part_on_own_log(struct ack_wait *wait, enum status status, const struct err *err) {
    part_end_wait(container_of(wait, struct write_part, own_log), status, err);
}

static void part_wait(struct distributor *d, struct write_part *part, const uint32_t *shards,
                      size_t count) {
    const struct write_gate *gate = d->options.gate;
    if (gate != NULL) {
        gate->wait(gate->ctx, &part->wait, shards, count, part_on_in_sync);
        return;
    }
    ack_wait_begin(&part->own_log, part_on_own_log);
    ack_wait_need(&d->board, &part->own_log, d->self_member, part->result.position);
    ack_wait_commit(&part->own_log);
}

/* New series are refused at the store's limit; this is the wall behind it, before the OOM killer's.
 */
static bool memory_is_full(const struct distributor *d) {
    if (d->options.memory_bytes_max == 0) return false;
    struct head_stats stats;
    head_stats(store_head(d->options.store), &stats);
    return stats.memory_bytes > d->options.memory_bytes_max;
}

enum status distributor_may_write(const struct distributor *d, uint32_t shard, uint64_t now_ns,
                                  struct err *err) {
    const struct write_gate *gate = d->options.gate;
    if (gate != NULL) return gate->may_write(gate->ctx, shard, now_ns, err);
    if (ack_member_failed(&d->board, d->self_member) != OK)
        return err_set(err, ERR_UNAVAILABLE, 0, "the log of this node has failed");
    if (d->dest_of[shard] != d->core->index)
        return err_set(err, ERR_CONFLICT, 0, "it is not of this core any more");
    return OK;
}

/* Leaves in the part, and in shards, what may be written; the rest goes to part->left. */
static enum status part_check(struct distributor *d, struct write_part *part, uint32_t *shards,
                              size_t *count) {
    struct err first = {.code = OK}, err;
    uint32_t first_shard = 0;
    size_t good = 0;
    uint64_t now_ns = core_mono_ns(d->core);
    if (memory_is_full(d)) /* trying again would keep what there is of it for longer */
        return err_set(&part->err, ERR_NOMEM, 0,
                       "the memory of this node is full (--node.memory-limit)");
    for (size_t i = 0; i < *count; i++) {
        if (distributor_may_write(d, shards[i], now_ns, &err) == OK) {
            shards[good++] = shards[i];
            continue;
        }
        d->marks[shards[i]] = 1;
        if (first.code == OK) {
            first = err;
            first_shard = shards[i];
        }
    }
    if (good == *count) return OK;
    if (part_split(d, part, &part->left) != OK)
        return err_set(&part->err, ERR_NOMEM, 0, "out of memory");
    *count = good;
    part->left->status =
        err_set(&part->left->err, first.code, 0, "shard %" PRIu32 ": %s", first_shard, first.msg);
    return OK;
}

/* An answer of its own: nothing was done, these labels are needed. */
static void part_keep_unknown(struct write_part *part, const uint32_t *unknown, size_t count) {
    part->status = OK;
    part->unknown = malloc(count * sizeof *part->unknown);
    if (part->unknown == NULL) {
        part->status = err_set(&part->err, ERR_NOMEM, 0, "out of memory");
        return;
    }
    memcpy(part->unknown, unknown, count * sizeof *part->unknown);
    part->unknown_count = count;
}

static int64_t cluster_ms(const struct distributor *d) {
    int64_t wall_ms = core_wall_ms(d->core);
    return d->options.lease == NULL ? wall_ms : lease_cluster_ms(d->options.lease, wall_ms);
}

/* Without a living copy with a head (the map's primary is LOG, or INIT) a shard's writes are
 * offered: logged, and judged by who applies them later. */
static bool shard_is_offered(const struct distributor *d, uint32_t shard) {
    return d->offered[shard];
}

typedef enum status (*store_fn)(struct store *store, const struct write_columns *columns,
                                int64_t cluster_now_ms, struct arena *scratch,
                                struct write_result *out, uint32_t **out_unknown,
                                size_t *out_unknown_count, struct err *err);

/* false: part->status says why, or labels are needed. */
static bool part_store(struct distributor *d, struct write_part *part, store_fn store) {
    uint32_t *unknown = NULL;
    size_t unknown_count = 0;
    struct write_columns columns = part_columns(part);
    part->status = store(d->options.store, &columns, cluster_ms(d), &d->scratch, &part->result,
                         &unknown, &unknown_count, &part->err);
    if (part->status != ERR_UNAVAILABLE || unknown_count == 0) return part->status == OK;
    part_keep_unknown(part, unknown, unknown_count);
    return false;
}

/* The shards that are to be offered, beside others that are not, make a part of their own, which
 * runs next. */
static enum status part_set_offers_apart(struct distributor *d, struct write_part *part,
                                         uint32_t *shards, size_t *count, bool *out_offered) {
    size_t kept = 0, offers = 0;
    for (size_t i = 0; i < *count; i++)
        offers += shard_is_offered(d, shards[i]);
    *out_offered = offers == *count;
    if (offers == 0 || offers == *count) return OK;
    for (size_t i = 0; i < *count; i++) {
        if (shard_is_offered(d, shards[i]))
            d->marks[shards[i]] = 1;
        else
            shards[kept++] = shards[i];
    }
    *count = kept;
    if (part_split(d, part, &part->apart) == OK) return OK;
    return err_set(&part->err, ERR_NOMEM, 0, "out of memory");
}

/* false: part->status says why, or labels are needed, or nothing of it may be written. */
static bool part_write(struct distributor *d, struct write_part *part, uint32_t *shards,
                       size_t *count) {
    bool offered = false;
    part->status = part_check(d, part, shards, count);
    if (part->status != OK || *count == 0) return false;
    part->status = part_set_offers_apart(d, part, shards, count, &offered);
    if (part->status != OK) return false;
    return part_store(d, part, offered ? store_offer : store_write);
}

static void part_run(struct core *here, struct msg *m) {
    struct write_part *part = container_of(m, struct write_part, msg);
    struct distributor *d = here->locals[CORE_INGEST];
    size_t count = 0;
    uint32_t *shards = part_shards(part, &d->scratch, &count);
    if (shards == NULL) {
        part->status = err_set(&part->err, ERR_NOMEM, 0, "out of memory");
        part_go_home(part);
    } else if (part_write(d, part, shards, &count)) {
        part_wait(d, part, shards, count);
    } else {
        part_go_home(part);
    }
    arena_reset(&d->scratch);
}

void part_start_local(struct write_part *part) {
    part->msg.run = part_run;
    core_post(part->home->rt->cores[part->dest], &part->msg);
}
