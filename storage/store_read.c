/* SPDX-License-Identifier: Apache-2.0 */
/* Reading entries back for other nodes. One call, one pass over the log for all its shards, from
 * the oldest file that any of them needs.
 *
 *   FILLING -> (worker done, bytes) -> GIVING -> WAITING -> (resume) -> FILLING
 *   FILLING -> (worker done, no bytes: the end, or an error) -> done
 *   GIVING  -> (piece returned false) -> done
 * What the worker fills it owns while FILLING; all else is the core's. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "storage/store_internal.h"

enum read_state { READ_FILLING, READ_GIVING, READ_WAITING };

struct read_run {         /* of one shard */
    uint32_t shard, copy; /* copy 0: nothing is held */
    bool has_last;        /* the entry given last, or the one that is not wanted */
    struct place last;
};

struct store_reading {
    struct work work;
    struct store *store;
    struct store_read *job;
    struct store_reading *next, *before;
    enum read_state state;
    bool resumed; /* while GIVING */
    struct log_reader *reader;
    uint64_t first_file;
    struct read_run *runs;
    size_t runs_count;
    struct sv held; /* read, and does not fit into the piece before */
    struct buf piece;
    bool end;
    enum status status;
    struct err err;
};

/* -- on the worker */

static int run_of(const struct store_reading *r, const struct entry *e) {
    size_t low = 0, count = r->runs_count;
    while (count > 0) {
        size_t half = count / 2;
        if (r->runs[low + half].shard < e->shard) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    for (; low < r->runs_count && r->runs[low].shard == e->shard; low++)
        if (r->runs[low].copy == e->incarnation) return (int)low;
    return -1;
}

static enum status run_wants(struct read_run *run, const struct entry *e, bool *out,
                             struct err *err) {
    struct place at = {e->epoch, e->seq};
    *out = !run->has_last || place_cmp(at, run->last) > 0;
    if (!*out) return OK;
    if (run->has_last && at.epoch == run->last.epoch && at.seq != run->last.seq + 1)
        return err_set(err, ERR_CORRUPT, 0,
                       "store: shard %" PRIu32 ": the log goes from epoch %" PRIu32 " seq %" PRIu64
                       " to seq %" PRIu64,
                       e->shard, at.epoch, run->last.seq, at.seq);
    run->has_last = true;
    run->last = at;
    return OK;
}

static enum status reading_next(struct store_reading *r) {
    struct entry e;
    bool wanted = false;
    while (!wanted) {
        TRY(log_reader_next(r->reader, &e, &r->held, &r->end, &r->err));
        if (r->end) return OK;
        int run = run_of(r, &e);
        if (run >= 0) TRY(run_wants(&r->runs[run], &e, &wanted, &r->err));
    }
    return OK;
}

static void reading_run(struct work *w) {
    struct store_reading *r = container_of(w, struct store_reading, work);
    buf_clear(&r->piece);
    while (!r->end && r->status == OK) {
        if (r->held.len == 0) r->status = reading_next(r);
        if (r->end || r->status != OK) break;
        if (r->piece.len > 0 && r->piece.len + r->held.len > r->job->piece_bytes_max) return;
        buf_put_sv(&r->piece, r->held);
        if (r->piece.failed)
            r->status = err_set(&r->err, ERR_NOMEM, 0, "store: not enough memory to read the log");
        r->held = sv_make(NULL, 0);
    }
}

/* -- on the core */

static void reading_free(struct store_reading *r) {
    if (r->before != NULL)
        r->before->next = r->next;
    else
        r->store->readings = r->next;
    if (r->next != NULL) r->next->before = r->before;
    log_reader_free(r->reader);
    buf_fini(&r->piece);
    free(r->runs);
    free(r);
}

uint64_t store_readings_floor(const struct store *store) {
    uint64_t floor = UINT64_MAX;
    for (const struct store_reading *r = store->readings; r != NULL; r = r->next)
        floor = MIN(floor, r->first_file);
    return floor;
}

void store_readings_free(struct store *store) {
    while (store->readings != NULL)
        reading_free(store->readings);
}

static void reading_finish(struct store_reading *r, enum status status) {
    struct store_read *job = r->job;
    struct err err = r->err;
    reading_free(r);
    job->private_ = NULL;
    job->done(job, status, status == OK ? NULL : &err);
}

static void reading_fill(struct store_reading *r) {
    r->state = READ_FILLING;
    work_submit(r->store->core, &r->work);
}

static void reading_done(struct core *here, struct work *w) {
    struct store_reading *r = container_of(w, struct store_reading, work);
    assert(here == r->store->core && r->state == READ_FILLING);
    if (r->piece.len == 0 || r->piece.failed) {
        reading_finish(r, r->status);
        return;
    }
    r->state = READ_GIVING;
    r->resumed = false;
    if (!r->job->piece(r->job, buf_sv(&r->piece))) {
        err_set(&r->err, ERR_CANCELED, 0, "store: reading the log was cancelled");
        reading_finish(r, ERR_CANCELED);
    } else if (r->resumed) {
        reading_fill(r);
    } else {
        r->state = READ_WAITING;
    }
}

void store_read_resume(struct store *store, struct store_read *job) {
    struct store_reading *r = job->private_;
    assert(core_is_current(store->core) && r != NULL && r->state != READ_FILLING);
    if (r->state == READ_GIVING)
        r->resumed = true;
    else
        reading_fill(r);
}

/* Also the file to begin with, UINT64_MAX when nothing of the shard is wanted. */
static enum status run_init(const struct store *store, const struct store_read_from *from,
                            struct read_run *run, uint64_t *file, struct err *err) {
    *run = (struct read_run){.shard = from->shard, .has_last = !from->from_start};
    if (!from->from_start) run->last = from->after;
    *file = UINT64_MAX;
    if (!store_has_shard(store, from->shard)) return OK;
    const struct store_shard *st = &store->shards[from->shard];
    if (from->tail && st->tail == NULL) return OK;
    const struct held_log *held = from->tail ? &st->tail->log : &st->log;
    if (!held->has_log) return OK;
    if (held->based && (from->from_start || place_cmp(from->after, held->first) < 0))
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "store: shard %" PRIu32 ": what is before epoch %" PRIu32 " seq %" PRIu64
                       " is in blocks only",
                       from->shard, held->first.epoch, held->first.seq);
    run->copy = held->copy;
    if (from->from_start || place_cmp(from->after, held->end) < 0)
        *file = held_file(held, from->from_start ? NULL : &from->after);
    return OK;
}

enum status store_read_start(struct store *store, struct store_read *job, struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL && job->piece_bytes_max > 0);
    struct store_reading *r = calloc(1, sizeof *r);
    if (r == NULL) return err_set(err, ERR_NOMEM, 0, "store: not enough memory to read the log");
    *r = (struct store_reading){.work = {.run = reading_run, .done = reading_done},
                                .store = store,
                                .job = job,
                                .next = store->readings};
    if (r->next != NULL) r->next->before = r;
    store->readings = r;
    r->runs = calloc(job->from_count + 1, sizeof *r->runs);
    uint64_t first_file = UINT64_MAX, file;
    enum status status = OK;
    for (size_t i = 0; r->runs != NULL && i < job->from_count && status == OK; i++) {
        assert(i == 0 || job->from[i - 1].shard <= job->from[i].shard);
        status = run_init(store, &job->from[i], &r->runs[r->runs_count++], &file, err);
        first_file = MIN(first_file, file);
    }
    if (status != OK) {
        reading_free(r);
        return status;
    }
    r->first_file = first_file;
    r->end = first_file == UINT64_MAX;
    if (!r->end) r->reader = log_reader_new(store->log, first_file);
    if (r->runs == NULL || (!r->end && r->reader == NULL)) {
        reading_free(r);
        return err_set(err, ERR_NOMEM, 0, "store: not enough memory to read the log");
    }
    job->private_ = r;
    reading_fill(r);
    return OK;
}
