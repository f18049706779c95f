/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "node/base/bytes.h"
#include "tests/storage/store_rig.h"

enum { WRITES = 24, ENTRIES = WRITES + 1 };
#define NOW_MS (STORE_START_MS + 48 * (int64_t)3600000)

static struct store_rig rig;
static struct store_ops ops;
static size_t one, other; /* series of two shards */

/* The shard's first entry, in a frame of its own, opens the epoch. */
static void write_sample(size_t s, unsigned i) {
    store_rig_open_epoch(&rig, rig.shards[s], 1);
    store_rig_settle(&rig, 0);
    int64_t time_ms = STORE_START_MS + i;
    double value = i;
    struct sv labels = sv_make(rig.series[s], rig.series_len[s]);
    struct write_columns c = {1,      &rig.ids[s], &rig.shards[s], &time_ms,
                              &value, &labels,     NULL,           .metadata = NULL};
    struct write_result r;
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, NULL) == OK);
    store_rig_settle(&rig, 0);
}

/* The first shard's entries lie in the files before the second's; some 3 frames a file. */
static void start(void) {
    store_rig_init(&rig, 1);
    rig.follows = true;
    rig.log_options.file_bytes_max = 200;
    store_rig_must_start(&rig, 1);
    store_ops_init(&ops, rig.stores[0]);
    one = 0;
    for (other = 1; rig.shards[other] <= rig.shards[one];)
        other++;
    for (unsigned i = 0; i < WRITES; i++)
        write_sample(one, i);
    for (unsigned i = 0; i < WRITES; i++)
        write_sample(other, i);
}

struct taken {
    struct store_read job;
    bool done;
    enum status status;
    struct err err;
    bool any[STORE_SHARDS];
    uint64_t first[STORE_SHARDS], last[STORE_SHARDS]; /* seq */
    unsigned count, pieces, pieces_max;               /* 0: no bound */
};

static bool on_piece(struct store_read *job, struct sv entries) {
    struct taken *t = container_of(job, struct taken, job);
    t->pieces++;
    cr_assert(entries.len > 0);
    while (entries.len > 0) {
        struct entry_place e;
        cr_assert(ops.entry_next(&entries, &e, NULL) == OK);
        cr_assert(e.place.epoch == 1);
        if (!t->any[e.shard]) t->first[e.shard] = e.place.seq;
        cr_assert(!t->any[e.shard] || e.place.seq == t->last[e.shard] + 1);
        t->any[e.shard] = true;
        t->last[e.shard] = e.place.seq;
        t->count++;
    }
    return t->pieces_max == 0 || t->pieces < t->pieces_max;
}

static void on_done(struct store_read *job, enum status status, const struct err *err) {
    struct taken *t = container_of(job, struct taken, job);
    cr_assert(!t->done);
    t->done = true;
    t->status = status;
    if (err != NULL) t->err = *err;
}

/* Runs until the next piece or the end. */
static void step(struct taken *t) {
    unsigned pieces = t->pieces;
    while (!t->done && t->pieces == pieces)
        cr_assert(sim_step(rig.sim));
}

static void begin(struct taken *t, const struct store_read_from *from, size_t count) {
    t->job.from = from;
    t->job.from_count = count;
    if (t->job.piece_bytes_max == 0) t->job.piece_bytes_max = 100;
    t->job.piece = on_piece;
    t->job.done = on_done;
    core_set_current(rig.rt->cores[0]);
    cr_assert(ops.read(ops.ctx, &t->job, NULL) == OK && !t->done && t->pieces == 0);
    core_set_current(NULL);
    step(t);
}

static void resume(struct taken *t) {
    core_set_current(rig.rt->cores[0]);
    ops.read_resume(ops.ctx, &t->job);
    core_set_current(NULL);
    step(t);
}

static void take(struct taken *t, const struct store_read_from *from, size_t count) {
    begin(t, from, count);
    while (!t->done)
        resume(t);
}

Test(read, places_pieces_and_cancel) {
    start();
    uint32_t a = rig.shards[one], b = rig.shards[other];
    const struct store_read_from both[] = {{.shard = a, .from_start = true},
                                           {.shard = b, .after = {1, WRITES - 2}}};
    struct taken t = {0};
    take(&t, both, 2);
    cr_assert(t.status == OK && t.first[a] == 0 && t.last[a] == WRITES, "%s", t.err.msg);
    cr_assert(t.first[b] == WRITES - 1 && t.last[b] == WRITES && t.count == ENTRIES + 2);
    cr_assert(t.pieces > 5, "%u pieces", t.pieces);
    t = (struct taken){.pieces_max = 2};
    take(&t, both, 2);
    cr_assert(t.status == ERR_CANCELED && t.pieces == 2);
    /* Nothing is wanted; not here; nothing is held. */
    const struct store_read_from none[] = {{.shard = a, .after = {1, WRITES}},
                                           {.shard = STORE_SHARDS, .from_start = true}};
    t = (struct taken){0};
    take(&t, none, 2);
    cr_assert(t.status == OK && t.count == 0 && t.pieces == 0);
    const struct store_read_from tail = {.shard = a, .tail = true, .from_start = true};
    t = (struct taken){0};
    take(&t, &tail, 1);
    cr_assert(t.status == OK && t.count == 0);
    /* An entry larger than a piece is one. */
    t = (struct taken){.job.piece_bytes_max = 1};
    take(&t, both, 2);
    cr_assert(t.status == OK && t.pieces == t.count && t.count == ENTRIES + 2);
    store_rig_fini(&rig);
}

Test(read, nothing_is_read_before_it_is_asked_for) {
    start();
    const struct store_read_from from = {.shard = rig.shards[one], .from_start = true};
    struct taken t = {0};
    begin(&t, &from, 1);
    cr_assert(t.pieces == 1 && !t.done);
    while (sim_step(rig.sim)) {
    }
    cr_assert(t.pieces == 1 && !t.done);
    /* What is written after it began may be left out, and what was there before comes. */
    write_sample(one, WRITES);
    while (!t.done)
        resume(&t);
    cr_assert(t.status == OK && t.last[rig.shards[one]] >= WRITES);
    /* A store that goes takes what is under way with it. */
    t = (struct taken){0};
    begin(&t, &from, 1);
    store_rig_fini(&rig);
    cr_assert(!t.done);
}

/* -- damage */

static void flip(uint64_t first, uint64_t offset) {
    char path[64];
    snprintf(path, sizeof path, "data/log/log-%016" PRIx64, first);
    struct file *f;
    uint8_t byte;
    size_t got;
    cr_assert(disk_open(sim_disk_as_disk(rig.sd), path, DISK_READ | DISK_WRITE, &f, NULL) == OK);
    cr_assert(file_pread(f, &byte, 1, offset, &got, NULL) == OK && got == 1);
    byte ^= 1;
    cr_assert(file_pwrite(f, &byte, 1, offset, NULL) == OK && file_sync(f, NULL) == OK);
    file_close(f);
}

Test(read, a_bad_frame_is_named_and_what_lies_behind_it_is_read) {
    start();
    flip(1, 32 + 24 + 3); /* in the first frame */
    const struct store_read_from all = {.shard = rig.shards[one], .from_start = true};
    const struct store_read_from part = {.shard = rig.shards[one], .after = {1, WRITES / 2}};
    const struct store_read_from second = {.shard = rig.shards[other], .from_start = true};
    struct taken t = {0};
    take(&t, &all, 1);
    cr_assert(t.status == ERR_CORRUPT && t.count == 0);
    cr_assert(strstr(t.err.msg, "log-0000000000000001: offset 32: bad frame") != NULL, "%s",
              t.err.msg);
    t = (struct taken){0};
    take(&t, &part, 1);
    cr_assert(t.status == OK && t.count == WRITES / 2, "%s", t.err.msg);
    t = (struct taken){0};
    take(&t, &second, 1);
    cr_assert(t.status == OK && t.count == ENTRIES, "%s", t.err.msg);
    store_rig_fini(&rig);
}

Test(read, what_recovery_found_lost_stops_only_whom_it_concerns) {
    start();
    store_rig_kill(&rig);
    flip(1, 32 + 24 + 3);
    cr_assert(store_rig_start(&rig, 1) == OK && rig.damaged);
    store_ops_init(&ops, rig.stores[0]);
    struct shard_held held;
    cr_assert(ops.held(ops.ctx, rig.shards[one], false, &held) && held.damaged);
    cr_assert(ops.held(ops.ctx, rig.shards[other], false, &held) && !held.damaged);
    const struct store_read_from second = {.shard = rig.shards[other], .from_start = true};
    struct taken t = {0};
    take(&t, &second, 1);
    cr_assert(t.status == OK && t.count == ENTRIES, "%s", t.err.msg);
    /* Filled again under another copy, it reads as any other. */
    ops.drop(ops.ctx, rig.shards[one], 2);
    for (unsigned i = 0; i < WRITES; i++)
        write_sample(one, i);
    const struct store_read_from first = {.shard = rig.shards[one], .from_start = true};
    t = (struct taken){0};
    take(&t, &first, 1);
    cr_assert(t.status == OK && t.count == ENTRIES, "%s", t.err.msg);
    store_rig_fini(&rig);
}

/* Frames: the second shard's two, the first's first (lost), and more of both. */
Test(read, a_lost_frame_is_passed_over) {
    start();
    store_rig_fini(&rig);
    store_rig_init(&rig, 1);
    rig.follows = true;
    rig.log_options.file_bytes_max = 400;
    store_rig_must_start(&rig, 1);
    for (unsigned i = 0; i < WRITES; i++) {
        write_sample(other, i);
        write_sample(one, i);
    }
    store_rig_kill(&rig);
    struct buf bytes = {0};
    cr_assert(disk_read_file(sim_disk_as_disk(rig.sd), "data/log/log-0000000000000001", 1 << 20,
                             &bytes, NULL) == OK);
    uint64_t frame = 32;
    for (unsigned i = 0; i < 2; i++)
        frame += 24 + get_u32le(bytes.ptr + frame + 4);
    flip(1, frame + 24);
    buf_fini(&bytes);
    cr_assert(store_rig_start(&rig, 1) == OK && rig.damaged);
    store_ops_init(&ops, rig.stores[0]);
    struct shard_held held;
    cr_assert(ops.held(ops.ctx, rig.shards[one], false, &held) && held.damaged);
    const struct store_read_from from = {.shard = rig.shards[other], .from_start = true};
    struct taken t = {0};
    take(&t, &from, 1);
    cr_assert(t.status == OK && t.count == ENTRIES && t.first[rig.shards[other]] == 0, "%s",
              t.err.msg);
    store_rig_fini(&rig);
}
