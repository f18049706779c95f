/* SPDX-License-Identifier: Apache-2.0 */
/* A follower loses power at every call to its disk, while it follows one shard, begins it anew
 * under another copy number, and keeps a log-only tail of another, in which it opens an epoch and
 * takes offers. After each start it holds what its log had told as durable, from one end to the
 * other, and can be sent the rest. */
#include <inttypes.h>
#include <stdio.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "tests/storage/store_rig.h"

enum { WHOLE_COUNT = 14, TAIL_FIRST = 5, TAIL_COUNT = 4, OFFERS = 6, SENT_MAX = 256 };
#define NOW_MS (STORE_START_MS + 48 * (int64_t)3600000)

static struct store_rig rig;
static struct store_ops ops;
static uint32_t whole, tailed; /* shards */
static size_t tailed_series;
static uint32_t whole_copy;
static bool offering;

static struct {
    uint64_t position;
    uint32_t shard, copy;
    struct place end;
} sent[SENT_MAX];
static size_t sent_count;
static uint64_t durable;

/* Entries of the shard with a head: 1/0.. 1/6, then epoch 2 with the rest. */
static struct place whole_place(unsigned i) {
    return i < 7 ? (struct place){1, i} : (struct place){2, i - 7};
}

static void put(struct buf *out, uint32_t shard, struct place at, size_t series) {
    struct buf body = {0};
    enum entry_type type = at.seq == 0 ? ENTRY_EPOCH : ENTRY_WRITE;
    if (type == ENTRY_EPOCH) {
        entry_epoch_put(at.epoch - 1, at.epoch == 1 ? 0 : 6, &body);
    } else {
        struct entry_write w = {0};
        if (at.seq == 1)
            entry_write_series(&w, sv_make(rig.series[series], rig.series_len[series]));
        int64_t time_ms = STORE_START_MS + (int64_t)(at.epoch * 100 + at.seq) * 1000;
        RIG_CHECK(entry_write_float(&w, 0, time_ms, (double)at.seq) == OK, "!");
        entry_write_finish(&w, &body);
        entry_write_fini(&w);
    }
    entry_put(&(struct entry){type, shard, 9, at.epoch, at.seq, buf_sv(&body)}, out);
    buf_fini(&body);
}

static struct shard_held held_of(uint32_t shard) {
    struct shard_held held;
    bool any = ops.held(ops.ctx, shard, shard == tailed, &held);
    RIG_CHECK(any == held.has_log && !held.damaged, "damaged");
    return held;
}

static void note(uint32_t shard, uint32_t copy, uint64_t position) {
    RIG_CHECK(sent_count < SENT_MAX, "!");
    sent[sent_count].position = position;
    sent[sent_count].shard = shard;
    sent[sent_count].copy = copy;
    sent[sent_count++].end = held_of(shard).end;
}

/* A few events of the simulation, or until all is durable. */
static void settle(unsigned steps) {
    while (rig.failed_count == 0 && steps-- > 0 && rig.durable[0] < ops.position(ops.ctx)) {
        if (!sim_step(rig.sim)) break;
        if (rig.failed_count == 0) durable = rig.durable[0];
    }
}

static bool follow(uint32_t shard, uint32_t copy, struct buf *b) {
    uint64_t position;
    struct err err;
    core_set_current(rig.rt->cores[0]);
    enum status status =
        ops.follow(ops.ctx, shard, copy, shard == tailed, buf_sv(b), &position, &err);
    core_set_current(NULL);
    buf_fini(b);
    RIG_CHECK(status == OK || (status == ERR_IO && log_is_failed(rig.log)), "%s", err.msg);
    if (status == OK) note(shard, copy, position);
    return status == OK;
}

static bool follow_whole(unsigned steps) {
    struct shard_held held = held_of(whole);
    for (unsigned i = 0; i < WHOLE_COUNT; i += 2) {
        struct buf b = {0};
        if (held.has_log && place_cmp(whole_place(i + 1), held.end) <= 0) continue;
        put(&b, whole, whole_place(i), 0);
        put(&b, whole, whole_place(i + 1), 0);
        if (!follow(whole, whole_copy, &b)) return false;
        settle(steps);
    }
    return true;
}

static bool follow_tail(unsigned steps) {
    for (unsigned i = 0; i < TAIL_COUNT && !offering; i++) {
        struct buf b = {0};
        put(&b, tailed, (struct place){1, TAIL_FIRST + i}, tailed_series);
        if (!follow(tailed, 2, &b)) return false;
        settle(steps);
    }
    return true;
}

static bool offer(uint32_t epoch, unsigned steps) {
    uint64_t position;
    offering = true;
    core_set_current(rig.rt->cores[0]);
    enum status status = ops.open_epoch(ops.ctx, tailed, epoch, &position, &rig.err);
    core_set_current(NULL);
    for (unsigned i = 0; i < OFFERS && status == OK; i++) {
        int64_t time_ms = STORE_START_MS + i;
        double value = i;
        struct sv labels = sv_make(rig.series[tailed_series], rig.series_len[tailed_series]);
        struct write_columns c = {1,       &rig.ids[tailed_series], &tailed, &time_ms, &value,
                                  &labels, .starts_ms = NULL};
        struct write_result r;
        struct arena scratch;
        uint32_t *unknown;
        size_t unknown_count;
        arena_init(&scratch, 0);
        core_set_current(rig.rt->cores[0]);
        status = store_offer(rig.stores[0], &c, NOW_MS, &scratch, &r, &unknown, &unknown_count,
                             &rig.err);
        core_set_current(NULL);
        arena_fini(&scratch);
        if (status != OK) break;
        RIG_CHECK(r.counts[VERDICT_ACCEPT] == 1, "not taken");
        note(tailed, 2, r.position);
        settle(steps);
    }
    RIG_CHECK(status == OK || (status == ERR_IO && log_is_failed(rig.log)), "%s", rig.err.msg);
    return status == OK;
}

static bool start(void) {
    rig.roles[whole] = (struct store_shard_options){whole, STORE_FULL, false, whole_copy, 1};
    rig.roles[tailed] = (struct store_shard_options){tailed, STORE_LOG, false, 2, 1};
    sent_count = 0;
    durable = 0;
    if (store_rig_start(&rig, 1) != OK) return false;
    store_ops_init(&ops, rig.stores[0]);
    return true;
}

static size_t samples(void) {
    int64_t times_ms[64];
    double values[64];
    return store_rig_read(rig.stores[0], rig.ids[0], times_ms, values, 64);
}

/* What was durable is there, and what is there is all of it up to its end. */
static void check_start(const struct place *whole_end, const struct place *tail_end) {
    struct shard_held w = held_of(whole), t = held_of(tailed);
    RIG_CHECK(w.copy == whole_copy, "copy %u", w.copy);
    if (whole_end->epoch != 0)
        RIG_CHECK(w.has_log && w.first.seq == 0 && place_cmp(w.end, *whole_end) >= 0, "lost");
    bool from_begin = place_cmp(t.first, (struct place){1, TAIL_FIRST}) == 0;
    if (offering && t.first.epoch > 1) from_begin = t.first.seq == 0; /* nothing else was left */
    if (tail_end->epoch != 0)
        RIG_CHECK(t.has_log && from_begin && place_cmp(t.end, *tail_end) >= 0, "lost of the tail");
    size_t want = 0;
    for (unsigned i = 0; i < WHOLE_COUNT && w.has_log; i++)
        want += place_cmp(whole_place(i), w.end) <= 0 && whole_place(i).seq > 0;
    RIG_CHECK(samples() == want, "%zu samples, not %zu", samples(), want);
}

static void work(unsigned steps) {
    if (!follow_whole(steps) || !follow_tail(steps)) return;
    whole_copy = 2; /* the map that says so is on disk */
    ops.drop(ops.ctx, whole, 2);
    if (follow_whole(steps) && offer(2, steps)) settle(UINT32_MAX);
}

static uint64_t run(uint64_t n, uint64_t seed) {
    store_rig_init(&rig, seed);
    rig.follows = true;
    rig.log_options.file_bytes_max = 300;
    whole = rig.shards[0];
    for (tailed_series = 1; rig.shards[tailed_series] == whole;)
        tailed_series++;
    tailed = rig.shards[tailed_series];
    whole_copy = 1;
    offering = false;
    if (n > 0) sim_disk_cut_at(rig.sd, n);
    if (start()) work((unsigned)(seed * 7 % 30));
    uint64_t calls = sim_disk_calls(rig.sd);
    struct place whole_end = {0}, tail_end = {0};
    for (size_t i = 0; i < sent_count; i++) {
        if (sent[i].position > durable) continue;
        if (sent[i].shard == whole && sent[i].copy == whole_copy) whole_end = sent[i].end;
        if (sent[i].shard == tailed) tail_end = sent[i].end;
    }
    for (unsigned round = 0; round < 2; round++) {
        store_rig_power_cut(&rig);
        rig.failed_count = 0;
        RIG_CHECK(start() && !rig.damaged, "%s", rig.err.msg);
        check_start(&whole_end, &tail_end);
    }
    RIG_CHECK(follow_whole(3) && follow_tail(3), "stopped");
    whole_end = whole_place(WHOLE_COUNT - 1);
    tail_end = held_of(tailed).end;
    if (offering) RIG_CHECK(offer(3, 3), "stopped");
    tail_end = held_of(tailed).end;
    settle(UINT32_MAX);
    store_rig_power_cut(&rig);
    RIG_CHECK(start(), "%s", rig.err.msg);
    check_start(&whole_end, &tail_end);
    store_rig_fini(&rig);
    return calls;
}

int main(void) {
    uint64_t calls = 0;
    for (uint64_t seed = 0; seed < 4; seed++)
        calls = MAX(calls, run(0, seed));
    for (uint64_t n = 1; n <= calls; n++)
        for (uint64_t seed = 0; seed < 8; seed++)
            run(n, n * 8 + seed);
    printf("power cut at each of %" PRIu64 " calls\n", calls);
    return 0;
}
