/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"

/* A part on the core that owns its shards:
 *   message -> store_write (judge, order, log, apply) -> wait for the in-sync set -> message home
 */

static void part_at_home(struct core *here, struct msg *m) {
    struct write_part *part = container_of(m, struct write_part, msg);
    assert(here == part->home);
    part_end(part);
}

static void part_go_home(struct write_part *part) {
    part->msg.run = part_at_home;
    core_post(part->home, &part->msg);
}

static void part_on_durable(struct ack_wait *wait, enum status status, const struct err *err) {
    struct write_part *part = container_of(wait, struct write_part, wait);
    part->status = status;
    if (status != OK) part->err = *err;
    part_go_home(part);
}

static struct write_columns part_columns(const struct write_part *part) {
    const struct write_rows *rows = &part->op->sorted;
    return (struct write_columns){
        .count = part->count,
        .ids = rows->ids + part->first,
        .shards = rows->shards + part->first,
        .times_ms = rows->times_ms + part->first,
        .values = rows->values + part->first,
        .labels = rows->labels + part->first,
        .exemplars = rows->exemplars + part->first_exemplar,
        .exemplars_count = part->exemplars_count,
        .metadata = rows->metadata + part->first_metadata,
        .metadata_count = part->metadata_count,
    };
}

static void shard_need(struct distributor *d, uint32_t shard_number, bool *needs) {
    const struct ring_map *map = d->options.map;
    const struct ring_shard *shard = &map->shards[shard_number];
    for (unsigned r = 0; r < shard->replicas_count; r++)
        if (shard->replicas[r].in_sync)
            needs[ack_member_add(&d->board, map->nodes[shard->replicas[r].node].id)] = true;
}

/* Every member of the in-sync sets of the part's shards must be durable up to where its stream
 * stands now. */
static void part_wait(struct distributor *d, struct write_part *part) {
    const struct write_rows *rows = &part->op->sorted;
    ack_wait_begin(&part->wait, part_on_durable);
    bool needs[ARRAY_LEN(d->board.members)] = {false};
    for (size_t k = part->first; k < part->first + part->count; k++)
        if (k == part->first || rows->shards[k] != rows->shards[k - 1])
            shard_need(d, rows->shards[k], needs);
    for (size_t k = 0; k < part->exemplars_count; k++)
        shard_need(d, rows->exemplars[part->first_exemplar + k].shard, needs);
    for (size_t k = 0; k < part->metadata_count; k++)
        shard_need(d, rows->metadata[part->first_metadata + k].shard, needs);
    for (unsigned m = 0; m < d->board.members_count; m++)
        if (needs[m]) ack_wait_need(&d->board, &part->wait, m, part->result.position);
    ack_wait_commit(&part->wait);
}

/* New series are refused at the store's limit; this is the wall behind it, before the OOM killer's.
 */
static bool memory_is_full(const struct distributor *d) {
    if (d->options.memory_bytes_max == 0) return false;
    struct head_stats stats;
    head_stats(store_head(d->options.store), &stats);
    return stats.memory_bytes > d->options.memory_bytes_max;
}

static void part_run(struct core *here, struct msg *m) {
    struct write_part *part = container_of(m, struct write_part, msg);
    struct distributor *d = here->locals[CORE_INGEST];
    struct write_columns columns = part_columns(part);
    uint32_t *unknown = NULL;
    size_t unknown_count = 0;
    part->status = ack_member_failed(&d->board, d->self_member);
    if (part->status != OK) {
        err_set(&part->err, part->status, 0, "the log of this node has failed");
        part_go_home(part);
        return;
    }
    if (memory_is_full(d)) {
        part->status = err_set(&part->err, ERR_UNAVAILABLE, 0,
                               "the memory of this node is full (--node.memory-limit)");
        part_go_home(part);
        return;
    }
    part->status = store_write(d->options.store, &columns, core_wall_ms(here), &d->scratch,
                               &part->result, &unknown, &unknown_count, &part->err);
    if (part->status == ERR_UNAVAILABLE && unknown_count > 0) {
        part->status = OK; /* an answer of its own: nothing was done, these labels are needed */
        part->unknown = malloc(unknown_count * sizeof *part->unknown);
        if (part->unknown == NULL) {
            part->status = err_set(&part->err, ERR_NOMEM, 0, "out of memory");
        } else {
            memcpy(part->unknown, unknown, unknown_count * sizeof *part->unknown);
            part->unknown_count = unknown_count;
        }
        part_go_home(part);
    } else if (part->status != OK) {
        part_go_home(part);
    } else {
        part_wait(d, part);
    }
    arena_reset(&d->scratch);
}

void part_start_local(struct write_part *part) {
    part->msg.run = part_run;
    core_post(part->home->rt->cores[part->dest], &part->msg);
}
