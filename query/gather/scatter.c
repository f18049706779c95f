/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "node/base/cancel.h"
#include "query/gather/internal.h"

enum { FOLD_HERE_BYTES_MAX = 64 << 10 };

/* Partials are folded in the order in which the parts began, not of their arrival: the same data
 * gives the same bits. */
static void scatter_fold(struct scatter *s) {
    LIST_FOREACH(n, &s->spread.parts) {
        struct scatter_part *part = container_of(n, struct scatter_part, base.node);
        if (part->base.state != PART_USED || s->status != OK) continue;
        if (part->partial == NULL) s->status = remote_part_decode(part, &s->err);
        if (s->status != OK) continue;
        if (s->partial == NULL) {
            s->partial = part->partial;
        } else {
            s->status = partial_merge(s->partial, part->partial, s->o.control, &s->err);
            partial_free(part->partial);
        }
        part->partial = NULL;
    }
    if (s->o.encode && s->status == OK && s->partial != NULL)
        s->status = partial_put(s->partial, s->o.control, &s->bytes, &s->err);
}

static void fold_run(struct work *w) {
    scatter_fold(container_of(w, struct scatter, work));
}

static void fold_ran(struct core *here, struct work *w) {
    (void)here;
    struct scatter *s = container_of(w, struct scatter, work);
    s->o.done(s, s->o.ctx);
}

/* Some ten microseconds on the core, which has other things to do. */
static bool fold_is_short(const struct scatter *s) {
    uint64_t bytes = 0, used = 0;
    LIST_FOREACH(n, &s->spread.parts) {
        const struct scatter_part *part = container_of(n, struct scatter_part, base.node);
        if (part->base.state != PART_USED) continue;
        if (part->partial == NULL) return false;
        bytes += partial_memory_bytes(part->partial);
        used++;
    }
    return bytes <= FOLD_HERE_BYTES_MAX || (used < 2 && !s->o.encode);
}

static void scatter_done(struct spread *spread) {
    struct scatter *s = container_of(spread, struct scatter, spread);
    s->status = spread->status;
    s->err = spread->err;
    if (s->status == OK && !fold_is_short(s)) {
        s->work = (struct work){.run = fold_run, .done = fold_ran};
        work_submit(s->o.g->core, &s->work);
        return;
    }
    scatter_fold(s);
    s->o.done(s, s->o.ctx);
}

static enum status scatter_start_local(struct spread_part *part, struct core *core,
                                       struct err *err) {
    return local_part_start(container_of(part, struct scatter_part, base), core, err);
}

static void scatter_start_remote(struct spread_part *part) {
    remote_part_start(container_of(part, struct scatter_part, base));
}

static void scatter_part_fini(struct spread_part *base) {
    struct scatter_part *part = container_of(base, struct scatter_part, base);
    partial_free(part->partial);
    local_part_free(part->local);
}

static const struct spread_ops scatter_ops = {
    .part_bytes = sizeof(struct scatter_part),
    .start_local = scatter_start_local,
    .start_remote = scatter_start_remote,
    .part_fini = scatter_part_fini,
    .done = scatter_done,
};

enum status scatter_new(const struct scatter_options *options, struct scatter **out,
                        struct err *err) {
    struct scatter *s = calloc(1, sizeof *s);
    if (s == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    s->o = *options;
    struct spread_options so = {.g = options->g,
                                .ops = &scatter_ops,
                                .shards = options->shards,
                                .local_only = options->local_only,
                                .timeout_ms = options->timeout_ms};
    *out = s;
    enum status st = spread_start(&s->spread, &so, err);
    if (st == OK) return OK;
    *out = NULL;
    free(s);
    return st;
}

void scatter_cancel(struct scatter *s) {
    if (s->spread.state == SPREAD_OVER) return; /* others of its round may be open */
    cancel_set(&s->o.control->canceled);
    spread_cancel(&s->spread);
}

void scatter_free(struct scatter *s) {
    if (s == NULL) return;
    spread_fini(&s->spread);
    partial_free(s->partial);
    buf_fini(&s->bytes);
    free(s);
}
