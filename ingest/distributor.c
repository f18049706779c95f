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

/* -- where shards go */

static int rank_cmp(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static enum status distributor_rank(struct distributor *d, struct err *err) {
    const struct ring_map *map = d->options.map;
    uint32_t shards = map->settings.shards_count;
    int self = ring_map_node_index(map, d->options.self);
    uint64_t *keys = calloc(shards, sizeof *keys);
    if (keys == NULL) return err_set(err, ERR_NOMEM, 0, "ingest: out of memory");
    for (uint32_t s = 0; s < shards; s++) {
        uint16_t node = ring_map_primary(map, s);
        d->dest_of[s] = node == self ? d->options.core_of[s] : (uint16_t)(d->cores_count + node);
        keys[s] = (uint64_t)d->dest_of[s] << 32 | s;
    }
    qsort(keys, shards, sizeof *keys, rank_cmp);
    for (uint32_t i = 0; i < shards; i++)
        d->rank[(uint32_t)keys[i]] = i;
    free(keys);
    return OK;
}

enum status distributor_new(struct core *core, const struct distributor_options *options,
                            struct distributor **out, struct err *err) {
    struct distributor *d = calloc(1, sizeof *d);
    if (d == NULL) return err_set(err, ERR_NOMEM, 0, "ingest: out of memory");
    *d = (struct distributor){
        .core = core, .options = *options, .cores_count = core->rt->cores_count};
    ring_map_ref(options->map);
    list_init(&d->ops);
    list_init(&d->served);
    arena_init(&d->scratch, 0);
    ack_board_init(&d->board);
    d->self_member = ack_member_add(&d->board, options->self);
    uint32_t shards = options->map->settings.shards_count;
    d->dest_of = calloc(shards, sizeof *d->dest_of);
    d->rank = calloc(shards, sizeof *d->rank);
    d->counts = calloc((size_t)shards + 1, sizeof *d->counts);
    enum status st = OK;
    if (d->dest_of == NULL || d->rank == NULL || d->counts == NULL)
        st = err_set(err, ERR_NOMEM, 0, "ingest: out of memory");
    if (st == OK) st = distributor_rank(d, err);
    if (st != OK) {
        distributor_free(d);
        return st;
    }
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        d->samples[v] = metric_get(&samples_def, verdict_labels[v]);
    d->resends = metric_get(&resends_def, NULL);
    d->unavailable = metric_get(&unavailable_def, NULL);
    *out = d;
    return OK;
}

void distributor_free(struct distributor *d) {
    if (d == NULL) return;
    while (!list_is_empty(&d->ops)) {
        struct write_op *op = container_of(list_pop_front(&d->ops), struct write_op, node);
        write_op_free_private(op);
    }
    distributor_free_served(d);
    arena_fini(&d->scratch);
    ring_map_unref(d->options.map);
    free(d->dest_of);
    free(d->rank);
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

void write_op_free_private(struct write_op *op) {
    for (size_t i = 0; i < op->parts_count; i++) {
        timer_stop(&op->parts[i].retry);
        free(op->parts[i].unknown);
    }
    free(op->parts);
    free(op->order);
    write_rows_fini(&op->sorted);
    op->parts = NULL;
    op->order = NULL;
    op->parts_count = 0;
}

static void op_set_unavailable(struct write_op *op, const char *text) {
    if (op->outcome == WRITE_UNAVAILABLE) return; /* the first reason is told */
    op->outcome = WRITE_UNAVAILABLE;
    snprintf(op->text, sizeof op->text, "%s", text);
}

static void op_fold_part(struct write_op *op, const struct write_part *part) {
    if (part->status != OK) {
        op_set_unavailable(op, part->err.msg);
        return;
    }
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        op->counts[v] += part->result.counts[v];
    if (!part->result.refused || op->outcome == WRITE_UNAVAILABLE) return;
    size_t row = op->order[part->first + part->result.first_index];
    if (op->outcome == WRITE_REFUSED && row > op->first_refused) return;
    op->outcome = WRITE_REFUSED;
    op->first_refused = row;
    snprintf(op->text, sizeof op->text, "%.*s", (int)part->result.first_plain_len,
             part->result.first_text);
}

/* Rows that the asking node must send labels for; indexes of the op's rows. */
static void op_fold_unknown(struct write_op *op, const struct write_part *part) {
    if (part->unknown_count == 0) return;
    uint32_t *all = realloc(op->unknown, (op->unknown_count + part->unknown_count) * sizeof *all);
    if (all == NULL) {
        op_set_unavailable(op, "out of memory");
        return;
    }
    op->unknown = all;
    for (size_t i = 0; i < part->unknown_count; i++)
        all[op->unknown_count++] = op->order[part->first + part->unknown[i]];
}

static void op_end(struct core *here, struct msg *m) {
    struct write_op *op = container_of(m, struct write_op, msg);
    struct distributor *d = op->d;
    assert(here == d->core && op->parts_open == 0);
    for (size_t i = 0; i < op->parts_count; i++) {
        op_fold_part(op, &op->parts[i]);
        if (op->local_only)
            op_fold_unknown(op, &op->parts[i]); /* else they have been sent long ago */
    }
    if (!op->local_only) {
        for (unsigned v = 0; v < VERDICT_COUNT; v++)
            if (op->counts[v] > 0) metric_add(d->samples[v], op->counts[v]);
        if (op->outcome == WRITE_UNAVAILABLE) metric_add(d->unavailable, 1);
    }
    write_op_free_private(op);
    list_remove(&op->node);
    d->bytes_in_flight -= op->charged_bytes;
    op->done(here, op);
}

static void op_end_soon(struct write_op *op) {
    op->msg.run = op_end;
    core_post(op->d->core, &op->msg);
}

void part_end(struct write_part *part) {
    struct write_op *op = part->op;
    assert(part->open && op->parts_open > 0);
    part->open = false;
    if (--op->parts_open == 0) op_end_soon(op);
}

/* -- the beginning: sort by destination and shard, stable, so that a series' samples keep their
 * order */

static enum status op_sort(struct distributor *d, struct write_op *op) {
    size_t n = op->rows.count;
    TRY(op_sort_items(d, op));
    if (n == 0) return OK;
    op->order = malloc(n * sizeof *op->order);
    if (op->order == NULL || write_rows_reserve(&op->sorted, n) != OK) return ERR_NOMEM;
    uint32_t shards = d->options.map->settings.shards_count;
    memset(d->counts, 0, ((size_t)shards + 1) * sizeof *d->counts);
    for (size_t i = 0; i < n; i++)
        d->counts[d->rank[op->rows.shards[i]] + 1]++;
    for (uint32_t i = 0; i < shards; i++)
        d->counts[i + 1] += d->counts[i];
    for (size_t i = 0; i < n; i++)
        op->order[d->counts[d->rank[op->rows.shards[i]]]++] = (uint32_t)i;
    struct write_rows *to = &op->sorted;
    for (size_t k = 0; k < n; k++) {
        uint32_t i = op->order[k];
        to->ids[k] = op->rows.ids[i];
        to->shards[k] = op->rows.shards[i];
        to->times_ms[k] = op->rows.times_ms[i];
        to->values[k] = op->rows.values[i];
        to->labels[k] = op->rows.labels[i];
    }
    to->count = n;
    return OK;
}

/* A part that cannot even start: its shards are another node's (a request between nodes), or
 * damaged here. */
static bool part_is_refused(const struct distributor *d, struct write_part *part) {
    uint32_t shard = part_shard(part);
    if (part->dest == DEST_NONE)
        part->status = err_set(&part->err, ERR_UNAVAILABLE, 0,
                               "shard %" PRIu32 " is damaged on this node", shard);
    else if (part->dest >= d->cores_count && part->op->local_only)
        part->status =
            err_set(&part->err, ERR_CONFLICT, 0, "shard %" PRIu32 " is not this node's", shard);
    else if (part->dest >= d->cores_count && d->stopping)
        part->status = err_set(&part->err, ERR_UNAVAILABLE, 0, "this node is stopping");
    return part->status != OK;
}

static void op_start_parts(struct distributor *d, struct write_op *op) {
    bool foreign = false;
    for (size_t i = 0; i < op->parts_count; i++) {
        struct write_part *part = &op->parts[i];
        timer_init(&part->retry, d->core, part_on_retry);
        if (part_is_refused(d, part) && op->local_only) foreign = true;
    }
    op->parts_open = 1; /* held until all have started */
    for (size_t i = 0; i < op->parts_count; i++) {
        struct write_part *part = &op->parts[i];
        if (part->status != OK) continue;
        if (foreign) { /* a frame is served whole or not at all */
            part->status =
                err_set(&part->err, ERR_CONFLICT, 0, "a shard of the request is not this node's");
            continue;
        }
        part->open = true;
        op->parts_open++;
        if (part->dest < d->cores_count)
            part_start_local(part);
        else
            part_start_remote(part);
    }
    if (--op->parts_open == 0) op_end_soon(op);
}

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
    op->unknown = NULL;
    op->unknown_count = 0;
    op->parts = NULL;
    op->parts_count = op->parts_open = 0;
    op->order = NULL;
    op->sorted = (struct write_rows){0};
    op->began_ns = core_mono_ns(d->core);
    op->charged_bytes = op->body.len + arena_used_bytes(&op->arena) +
                        op->rows.count * OP_ROW_BYTES +
                        2 * op->rows.exemplars_count * sizeof *op->rows.exemplars +
                        2 * op->rows.metadata_count * sizeof *op->rows.metadata;
    list_push_back(&d->ops, &op->node);
    d->bytes_in_flight += op->charged_bytes;
    enum status st = OK;
    if (d->bytes_in_flight > d->options.bytes_in_flight_max &&
        d->bytes_in_flight > op->charged_bytes) {
        op_set_unavailable(op, "too many writes are under way");
        st = ERR_LIMIT;
    } else if (!write_rows_is_empty(&op->rows)) {
        st = op_sort(d, op);
        if (st == OK) st = op_cut(d, op);
        if (st != OK) op_set_unavailable(op, "out of memory");
    }
    if (st == OK && op->parts_count > 0)
        op_start_parts(d, op);
    else
        op_end_soon(op);
}

void distributor_stop(struct distributor *d) {
    d->stopping = true;
    LIST_FOREACH(n, &d->ops) {
        struct write_op *op = container_of(n, struct write_op, node);
        for (size_t i = 0; i < op->parts_count; i++)
            if (op->parts[i].open && op->parts[i].dest >= d->cores_count)
                part_stop_remote(&op->parts[i]);
    }
}
