/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "ingest/internal.h"
#include "ingest/remote_write.h"
#include "node/base/utf8.h"

struct own_write {
    struct write_op op;
    void (*done)(void *ctx, enum write_outcome outcome, const char *text);
    void *ctx;
};

static void own_write_free(struct own_write *w) {
    write_rows_fini(&w->op.rows);
    buf_fini(&w->op.body);
    arena_fini(&w->op.arena);
    free(w);
}

static void own_write_on_done(struct core *here, struct write_op *op) {
    (void)here;
    struct own_write *w = container_of(op, struct own_write, op);
    w->done(w->ctx, op->outcome, op->text);
    own_write_free(w);
}

static enum status check_labels(const struct remote_write_sample *s, size_t index,
                                struct err *err) {
    bool has_name = false;
    for (size_t i = 0; i < s->labels_count; i++) {
        const struct label *l = &s->labels[i];
        if (!label_name_valid(l->name) || !utf8_valid(l->value))
            return err_set(err, ERR_PARSE, 0, "sample %zu: label %zu is not valid", index, i);
        has_name |= l->value.len > 0 && sv_eq(l->name, SV("__name__"));
    }
    return has_name ? OK : err_set(err, ERR_PARSE, 0, "sample %zu: no metric name", index);
}

/* Labels first lie one behind the other in a buffer that still moves: rows hold lengths, and get
 * their places at the end. */
static enum status own_write_fill(struct own_write *w, const struct ring_settings *settings,
                                  const struct remote_write_sample *samples, size_t count,
                                  struct err *err) {
    struct write_rows *rows = &w->op.rows;
    if (write_rows_reserve(rows, count) != OK) return err_set(err, ERR_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < count; i++) {
        size_t before = w->op.body.len;
        TRY(check_labels(&samples[i], i, err));
        TRY(labels_encode(samples[i].labels, samples[i].labels_count, &w->op.body, err));
        rows->times_ms[i] = samples[i].time_ms;
        rows->values[i] = samples[i].value;
        rows->labels[i] = sv_make(NULL, w->op.body.len - before);
    }
    const char *at = w->op.body.ptr;
    for (size_t i = 0; i < count; i++) {
        rows->labels[i].ptr = at;
        at += rows->labels[i].len;
        rows->ids[i] = series_id_of(settings->secret, 0, rows->labels[i]);
        rows->shards[i] = series_shard(rows->ids[i], settings->shards_count);
    }
    rows->count = count;
    return OK;
}

enum status ingest_samples(struct core *core, const struct remote_write_sample *samples,
                           size_t count,
                           void (*done)(void *ctx, enum write_outcome outcome, const char *text),
                           void *ctx, struct err *err) {
    struct distributor *d = core->locals[CORE_INGEST];
    if (d == NULL) return err_set(err, ERR_UNAVAILABLE, 0, "this node is of no cluster yet");
    struct own_write *w = calloc(1, sizeof *w);
    if (w == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    w->done = done;
    w->ctx = ctx;
    w->op.done = own_write_on_done;
    arena_init(&w->op.arena, 0);
    enum status st = own_write_fill(w, &d->options.map->settings, samples, count, err);
    if (st != OK) {
        own_write_free(w);
        return st;
    }
    distributor_write(d, &w->op);
    return OK;
}
