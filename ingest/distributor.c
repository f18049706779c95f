/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/distributor.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"

static const struct metric_def samples_def = {.name = "cairn_ingest_samples_total",
                                              .help = "Samples by what became of them.",
                                              .kind = METRIC_COUNTER};
static const struct metric_def resends_def = {.name = "cairn_ingest_resends_total",
                                              .help = "Parts of writes sent to another node again.",
                                              .kind = METRIC_COUNTER};
static const struct metric_def unavailable_def = {.name = "cairn_ingest_unavailable_total",
                                                  .help = "Writes answered with 503.",
                                                  .kind = METRIC_COUNTER};
static const char *const verdict_labels[] = {"verdict=\"accept\"",       "verdict=\"noop\"",
                                             "verdict=\"duplicate\"",    "verdict=\"too_old\"",
                                             "verdict=\"out_of_order\"", "verdict=\"future\"",
                                             "verdict=\"limit\""};
static_assert(ARRAY_LEN(verdict_labels) == VERDICT_COUNT, "one label a verdict");

enum status distributor_new(struct core *core, const struct distributor_options *options,
                            struct distributor **out, struct err *err) {
    struct distributor *d = calloc(1, sizeof *d);
    if (d == NULL) return err_set(err, ERR_NOMEM, 0, "ingest: out of memory");
    *d = (struct distributor){
        .core = core, .options = *options, .cores_count = core->rt->cores_count};
    ring_map_ref(options->map);
    list_init(&d->ops);
    list_init(&d->waiting);
    list_init(&d->served);
    list_init(&d->deletes);
    arena_init(&d->scratch, 0);
    ack_board_init(&d->board);
    d->self_member = ack_member_add(&d->board, options->self);
    enum status st = distributor_route(d, options->map, options->core_of, err);
    if (st != OK) {
        distributor_free(d);
        return st;
    }
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        d->samples[v] = metric_get(&samples_def, verdict_labels[v]);
    write_refused_register();
    d->resends = metric_get(&resends_def, NULL);
    d->unavailable = metric_get(&unavailable_def, NULL);
    *out = d;
    return OK;
}

static void op_free_private(struct write_op *op) {
    while (!list_is_empty(&op->parts))
        part_free(container_of(op->parts.next, struct write_part, node));
    free(op->order);
    op->order = NULL;
    write_rows_fini(&op->sorted);
}

void distributor_free(struct distributor *d) {
    if (d == NULL) return;
    while (!list_is_empty(&d->ops)) {
        struct write_op *op = container_of(list_pop_front(&d->ops), struct write_op, node);
        op_free_private(op);
    }
    distributor_free_served(d);
    deletes_free(d);
    arena_fini(&d->scratch);
    ring_map_unref(d->options.map);
    free(d->dest_of);
    free(d->epochs);
    free(d->offered);
    free(d->rank);
    free(d->marks);
    free(d->counts);
    free(d);
}

void distributor_on_durable(struct store *store, uint64_t position, enum status status,
                            const struct err *err, void *ctx) {
    struct distributor *d = ctx;
    assert(store == d->options.store);
    if (status == OK)
        ack_progress(&d->board, d->self_member, position);
    else
        ack_fail(&d->board, d->self_member, status, err);
}

/* -- the end of an op */

static void op_set_unavailable(struct write_op *op, enum write_refused_reason reason,
                               const char *text) {
    if (op->outcome == WRITE_UNAVAILABLE) return; /* the first reason is told */
    op->reason = reason;
    op->outcome = WRITE_UNAVAILABLE;
    op->plain_len = 0;
    snprintf(op->text, sizeof op->text, "%s", text);
}

/* Between nodes: the asking node tries the shard again. */
static void op_fold_failed(struct write_op *op, const struct write_part *part) {
    size_t count = 0;
    uint32_t *shards = part_shards(part, &op->arena, &count);
    uint32_t *all = realloc(op->failed, (op->failed_count + count) * sizeof *all);
    if (all != NULL) op->failed = all;
    if (shards == NULL || all == NULL) {
        op_set_unavailable(op, WRITE_REFUSED_MEMORY, "out of memory");
        return;
    }
    memcpy(all + op->failed_count, shards, count * sizeof *all);
    if (op->failed_count == 0) {
        op->failed_status = part->status;
        snprintf(op->failed_text, sizeof op->failed_text, "%.*s", (int)sizeof op->failed_text - 1,
                 part->err.msg);
    }
    op->failed_count += count;
}

static void op_fold_part(struct write_op *op, const struct write_part *part) {
    if (part->status != OK && op->local_only) {
        op_fold_failed(op, part);
        return;
    }
    if (part->status != OK) {
        op_set_unavailable(op, write_refused_by(part->status), part->err.msg);
        return;
    }
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        op->counts[v] += part->result.counts[v];
    op->histograms_written += part->result.histograms_written;
    op->exemplars_kept += part->result.exemplars_kept;
    if (!part->result.refused || op->outcome == WRITE_UNAVAILABLE) return;
    size_t row = op->order[part->first[ITEM_ROWS] + part->result.first_index];
    if (op->outcome == WRITE_REFUSED && row > op->first_refused) return;
    op->outcome = WRITE_REFUSED;
    op->first_refused = row;
    snprintf(op->text, sizeof op->text, "%s", part->result.first_text);
    op->plain_len = part->result.first_plain_len;
}

/* Rows that the asking node must send labels for; indexes of the op's rows. */
static void op_fold_unknown(struct write_op *op, const struct write_part *part) {
    if (part->unknown_count == 0) return;
    uint32_t *all = realloc(op->unknown, (op->unknown_count + part->unknown_count) * sizeof *all);
    if (all == NULL) {
        op_set_unavailable(op, WRITE_REFUSED_MEMORY, "out of memory");
        return;
    }
    op->unknown = all;
    for (size_t i = 0; i < part->unknown_count; i++)
        all[op->unknown_count++] = op->order[part->first[ITEM_ROWS] + part->unknown[i]];
}

static void op_end(struct core *here, struct msg *m) {
    struct write_op *op = container_of(m, struct write_op, msg);
    struct distributor *d = op->d;
    assert(here == d->core && op->parts_open == 0);
    LIST_FOREACH(n, &op->parts) {
        const struct write_part *part = container_of(n, struct write_part, node);
        op_fold_part(op, part);
        if (op->local_only) op_fold_unknown(op, part); /* else they have been sent long ago */
    }
    if (!op->local_only) {
        for (unsigned v = 0; v < VERDICT_COUNT; v++)
            if (op->counts[v] > 0) metric_add(d->samples[v], op->counts[v]);
        if (op->outcome == WRITE_UNAVAILABLE) metric_add(d->unavailable, 1);
        if (op->outcome != WRITE_OK)
            write_count_refused(op->outcome == WRITE_REFUSED ? WRITE_REFUSED_SAMPLE : op->reason);
    }
    op_free_private(op);
    list_remove(&op->node);
    d->bytes_in_flight -= op->charged_bytes;
    op->done(here, op);
}

static void op_end_soon(struct write_op *op) {
    op->msg.run = op_end;
    core_post(op->d->core, &op->msg);
}

static void op_part_is_over(struct write_op *op) {
    assert(op->parts_open > 0);
    if (--op->parts_open == 0) op_end_soon(op);
}

/* -- parts: started, over, waiting, cut anew */

/* A part that cannot even start. */
static enum status part_may_start(const struct distributor *d, const struct write_part *part,
                                  struct err *err) {
    if (part->dest == DEST_NONE)
        return err_set(err, ERR_UNAVAILABLE, 0, "it is damaged on this node");
    if (part->dest < d->cores_count) return OK;
    if (part->op->local_only) return err_set(err, ERR_CONFLICT, 0, "it is not this node's");
    if (d->stopping) return err_set(err, ERR_UNAVAILABLE, 0, "this node is stopping");
    if (d->options.peers == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "this node has no connections to others");
    return OK;
}

static void part_start(struct distributor *d, struct write_part *part) {
    assert(part->state == PART_ROUTED || part->state == PART_WAITING);
    part->state = PART_OPEN;
    part->status = part_may_start(d, part, &part->err);
    if (part->status != OK)
        part_done(part);
    else if (part->dest < d->cores_count)
        part_start_local(part);
    else
        part_start_remote(part);
}

/* Starts what has just been cut; ends when nothing is under way. */
static void op_start_parts(struct distributor *d, struct write_op *op, struct list_node *parts) {
    struct list_node *n;
    op->parts_open++; /* held until all have started */
    while ((n = list_pop_front(parts)) != NULL) {
        list_push_back(&op->parts, n);
        op->parts_open++;
        part_start(d, container_of(n, struct write_part, node));
    }
    op_part_is_over(op);
}

/* Names shard and node, once. */
static void part_give_up(struct write_part *part) {
    struct distributor *d = part->op->d;
    const struct ring_map *map = d->options.map;
    int node = part->to == 0 ? -1 : ring_map_node_index(map, part->to);
    struct err why = part->err;
    part->state = PART_DONE;
    if (part->dest < d->cores_count && strncmp(why.msg, "shard ", 6) == 0) return;
    if (node < 0)
        err_set(&part->err, part->status, 0, "shard %" PRIu32 ": %s", part_shard(part), why.msg);
    else
        err_set(&part->err, part->status, 0, "shard %" PRIu32 " (node %s): %s", part_shard(part),
                map->nodes[node].addr, why.msg);
}

/* Not where waiting helps nobody: memory, and limits. Without a lease the newest map may never come
 * here, while the sender knows other nodes. */
bool distributor_may_retry(const struct distributor *d, uint64_t began_ns, enum status status) {
    uint64_t now_ns = core_mono_ns(d->core), resend_ms = d->options.resend_ms;
    uint64_t spent_ms = (now_ns - began_ns) / 1000000;
    if (d->options.lease != NULL && !lease_is_held(d->options.lease, now_ns))
        resend_ms = MIN(resend_ms, (uint64_t)NO_LEASE_RESEND_MS);
    return !d->stopping && status != ERR_NOMEM && status != ERR_LIMIT &&
           spent_ms + RETRY_MAX_MS < resend_ms;
}

static void part_failed(struct distributor *d, struct write_part *part) {
    assert(part->status != OK && part->state == PART_OPEN);
    if (part->op->local_only || !distributor_may_retry(d, part->op->began_ns, part->status)) {
        part_give_up(part);
        op_part_is_over(part->op);
        return;
    }
    uint32_t random;
    d->core->rt->ops->random(d->core->rt, &random, sizeof random);
    part->state = PART_WAITING;
    list_push_back(&d->waiting, &part->waiting);
    timer_start(&part->retry, RETRY_MIN_MS + random % (RETRY_MAX_MS - RETRY_MIN_MS + 1));
}

static void part_start_apart(struct distributor *d, struct write_part *part) {
    struct write_part *apart = part->apart;
    if (apart == NULL) return;
    part->apart = NULL;
    list_push_back(&part->op->parts, &apart->node);
    part->op->parts_open++;
    part_start(d, apart);
}

void part_done(struct write_part *part) {
    struct write_op *op = part->op;
    struct distributor *d = op->d;
    struct write_part *left = part->left;
    assert(core_is_current(d->core) && part->state == PART_OPEN);
    part->left = NULL;
    if (left != NULL) {
        list_push_back(&op->parts, &left->node);
        left->state = PART_OPEN;
        op->parts_open++;
        part_failed(d, left);
    }
    part_start_apart(d, part);
    if (part->status != OK) {
        part_failed(d, part);
        return;
    }
    part->state = PART_DONE;
    op_part_is_over(op);
}

/* The part is replaced by those of the newest map. */
static void part_reroute(struct distributor *d, struct write_part *part) {
    struct write_op *op = part->op;
    struct list_node parts;
    list_init(&parts);
    if (part_sort(d, part) != OK || op_cut(d, op, part->first, part->count, &parts) != OK) {
        part->state = PART_OPEN;
        part->status = err_set(&part->err, ERR_NOMEM, 0, "out of memory");
        part_failed(d, part);
        return;
    }
    part_free(part);
    op_start_parts(d, op, &parts);
    op_part_is_over(op); /* the one that is gone */
}

static void part_try_again(struct write_part *part) {
    struct distributor *d = part->op->d;
    assert(part->state == PART_WAITING);
    list_remove(&part->waiting);
    timer_stop(&part->retry);
    metric_add(d->resends, 1);
    if (part->routing == d->routing)
        part_start(d, part);
    else
        part_reroute(d, part);
}

void part_on_retry(struct timer *t) {
    part_try_again(container_of(t, struct write_part, retry));
}

/* -- maps */

void distributor_wake(struct distributor *d) {
    assert(core_is_current(d->core));
    LIST_FOREACH(n, &d->waiting)
    timer_start(&container_of(n, struct write_part, waiting)->retry, 0);
    deletes_wake(d);
}

/* Nobody answers any more who is down by the map: what went there is sent elsewhere now. */
static void part_leave_node(struct distributor *d, struct write_part *part) {
    if (part->state != PART_OPEN || part->dest < d->cores_count) return;
    int node = ring_map_node_index(d->options.map, part->to);
    if (node >= 0 && !(d->options.map->nodes[node].flags & RING_NODE_DOWN)) return;
    part_cancel_remote(part);
    part->status = err_set(&part->err, ERR_UNAVAILABLE, 0, "the node is down");
    part_failed(d, part);
}

/* fn may end the part, and with it, later, the op. */
static void each_part(struct distributor *d,
                      void (*fn)(struct distributor *d, struct write_part *part)) {
    LIST_FOREACH(o, &d->ops) {
        struct write_op *op = container_of(o, struct write_op, node);
        LIST_FOREACH_SAFE(n, &op->parts) fn(d, container_of(n, struct write_part, node));
    }
}

enum status distributor_set_map(struct distributor *d, struct ring_map *map,
                                const uint16_t *core_of, struct err *err) {
    assert(core_is_current(d->core));
    struct ring_map *old = d->options.map;
    if (map->version < old->version) return OK;
    TRY(distributor_route(d, map, core_of, err));
    d->routing++;
    d->options.map = ring_map_ref(map);
    ring_map_unref(old);
    each_part(d, part_leave_node);
    deletes_on_map(d);
    distributor_wake(d);
    return OK;
}

/* -- the beginning */

/* rows, the same sorted, and order */
enum {
    OP_ROW_BYTES = 2 * (sizeof(series_id) + sizeof(uint32_t) + sizeof(int64_t) + sizeof(double) +
                        sizeof(struct sv)) +
                   sizeof(uint32_t)
};

void distributor_write(struct distributor *d, struct write_op *op) {
    assert(core_is_current(d->core));
    op->d = d;
    op->outcome = WRITE_OK;
    op->text[0] = '\0';
    memset(op->counts, 0, sizeof op->counts);
    op->histograms_written = op->exemplars_kept = 0;
    op->plain_len = 0;
    op->unknown = NULL;
    op->unknown_count = 0;
    op->failed = NULL;
    op->failed_count = 0;
    list_init(&op->parts);
    op->parts_open = 0;
    op->order = NULL;
    op->sorted = (struct write_rows){0};
    op->began_ns = core_mono_ns(d->core);
    op->charged_bytes = op->body.len + arena_used_bytes(&op->arena) +
                        op->rows.count * OP_ROW_BYTES +
                        2 * op->rows.exemplars_count * sizeof *op->rows.exemplars +
                        2 * op->rows.metadata_count * sizeof *op->rows.metadata;
    list_push_back(&d->ops, &op->node);
    d->bytes_in_flight += op->charged_bytes;
    struct list_node parts;
    list_init(&parts);
    enum status st = OK;
    if (d->bytes_in_flight > d->options.bytes_in_flight_max &&
        d->bytes_in_flight > op->charged_bytes) {
        op_set_unavailable(op, WRITE_REFUSED_BUSY, "too many writes are under way");
    } else if (!write_rows_is_empty(&op->rows)) {
        static const size_t first[ITEM_KINDS];
        st = op_sort(d, op);
        size_t count[ITEM_KINDS] = {op->sorted.count, op->sorted.exemplars_count,
                                    op->sorted.metadata_count};
        if (st == OK) st = op_cut(d, op, first, count, &parts);
        if (st != OK) op_set_unavailable(op, WRITE_REFUSED_MEMORY, "out of memory");
    }
    op_start_parts(d, op, &parts);
}

static void part_stop(struct distributor *d, struct write_part *part) {
    bool waits = part->state == PART_WAITING;
    if (!waits && (part->state != PART_OPEN || part->dest < d->cores_count)) return;
    if (waits) {
        list_remove(&part->waiting);
        timer_stop(&part->retry);
        part->state = PART_OPEN;
    } else {
        part_cancel_remote(part);
        part->status = err_set(&part->err, ERR_UNAVAILABLE, 0, "this node is stopping");
    }
    part_failed(d, part);
}

void distributor_stop(struct distributor *d) {
    d->stopping = true;
    each_part(d, part_stop);
    deletes_stop(d);
}
