/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "node/base/bytes.h"
#include "tests/storage/store_rig.h"

#define NOW_MS (STORE_START_MS + 48 * (int64_t)3600000)

static struct store_rig rig;
static struct store *store;
static struct store_ops ops;
static uint32_t shard;

static void start(void) {
    store_rig_init(&rig, 1);
    rig.follows = true;
    store_rig_must_start(&rig, 1);
    store = rig.stores[0];
    store_ops_init(&ops, store);
    shard = rig.shards[0];
}

static void role(enum store_role r, uint32_t copy, bool in_sync) {
    struct store_shard_options o = {shard, r, in_sync, copy, 1};
    cr_assert(store_shard_open(store, &o, NULL) == OK);
}

static struct sv text(struct buf *b) {
    return buf_sv(b);
}

/* One entry: with the series numbered 0 when seq is 1 (or by `labels`), samples at the times. */
static void put(struct buf *out, enum entry_type type, struct place at, bool with_labels,
                const int64_t *times_ms, size_t count) {
    struct entry_write w = {0};
    struct buf body = {0};
    if (with_labels) entry_write_series(&w, sv_make(rig.series[0], rig.series_len[0]));
    for (size_t i = 0; i < count; i++)
        cr_assert(entry_write_float(&w, 0, STORE_START_MS + times_ms[i], (double)i) == OK);
    entry_write_finish(&w, &body);
    entry_put(&(struct entry){type, shard, 77, at.epoch, at.seq, buf_sv(&body)}, out);
    buf_fini(&body);
    entry_write_fini(&w);
}

static void put_one(struct buf *out, struct place at) {
    put(out, ENTRY_WRITE, at, at.seq == 1, (int64_t[]){(int64_t)at.epoch * 1000 + (int64_t)at.seq},
        1);
}

static void put_epoch(struct buf *out, uint32_t epoch, struct place before) {
    struct buf body = {0};
    entry_epoch_put(before.epoch, before.seq, &body);
    entry_put(&(struct entry){ENTRY_EPOCH, shard, 77, epoch, 0, buf_sv(&body)}, out);
    buf_fini(&body);
}

/* Of the shard's first epoch. */
static void put_first(struct buf *out) {
    put_epoch(out, 1, (struct place){0});
}

static enum status follow(uint32_t copy, bool tail, struct buf *b, uint64_t *position) {
    struct err err = {0};
    core_set_current(store_core(store));
    ops.follow_ahead(ops.ctx, &(struct store_ahead){shard, text(b)}, 1);
    enum status status = ops.follow(ops.ctx, shard, copy, tail, text(b), position, &err);
    core_set_current(NULL);
    if (status != OK) cr_log_info("%s", err.msg);
    buf_fini(b);
    return status;
}

static size_t samples(void) {
    int64_t times[64];
    double values[64];
    return store_rig_read(store, rig.ids[0], times, values, 64);
}

static void restart(void) {
    while (rig.durable[0] < ops.position(ops.ctx))
        cr_assert(sim_step(rig.sim));
    store_rig_power_cut(&rig);
    store_rig_must_start(&rig, 1);
    store = rig.stores[0];
    store_ops_init(&ops, store);
}

/* Runs of entries [from, to] of epoch 1 on a replica that holds 1 to 4. */
static const struct portion {
    uint64_t from, to;
    enum status status;
    uint64_t end; /* after it */
    bool handed;  /* to the log */
} portions[] = {
    {5, 5, OK, 5, true},
    {1, 4, OK, 4, false},
    {2, 3, OK, 4, false},
    {1, 6, OK, 6, true},
    {4, 9, OK, 9, true},
    {6, 7, ERR_CONFLICT, 4, false},
    {9, 9, ERR_CONFLICT, 4, false},
};

Test(follow, what_is_held_is_passed_over_and_a_gap_changes_nothing) {
    for (size_t i = 0; i < ARRAY_LEN(portions); i++) {
        const struct portion *p = &portions[i];
        start();
        struct buf b = {0};
        uint64_t position, before;
        put_first(&b);
        for (uint64_t seq = 1; seq <= 4; seq++)
            put_one(&b, (struct place){1, seq});
        cr_assert(follow(1, false, &b, &before) == OK && before == 1);
        for (uint64_t seq = p->from; seq <= p->to; seq++)
            put_one(&b, (struct place){1, seq});
        position = 0;
        cr_expect(follow(1, false, &b, &position) == p->status, "portion %zu", i);
        if (p->status == OK) cr_expect(position == before + p->handed, "portion %zu", i);
        cr_expect(ops.position(ops.ctx) == before + p->handed, "portion %zu", i);
        struct shard_held held;
        cr_assert(ops.held(ops.ctx, shard, false, &held));
        cr_expect(held.copy == 1 && held.is_whole && held.first.seq == 0 && held.end.epoch == 1 &&
                      held.end.seq == p->end,
                  "portion %zu: %" PRIu64, i, held.end.seq);
        cr_expect(samples() == p->end);
        restart();
        cr_assert(ops.held(ops.ctx, shard, false, &held) && held.end.seq == p->end);
        cr_expect(samples() == p->end);
        store_rig_fini(&rig);
    }
}

/* What is looked at ahead is what a peer sent, before anybody has checked it. */
Test(follow, looking_ahead_survives_anything_and_changes_nothing) {
    start();
    struct buf good = {0}, bad = {0}, other = {0};
    uint64_t position;
    put_first(&good);
    put_one(&good, (struct place){1, 1});
    cr_assert(follow(1, false, &good, &position) == OK);
    uint32_t number;
    struct entry_write w = {0};
    for (number = 0; number < 1000; number += 333) /* one of them is known */
        cr_assert(entry_write_float(&w, number, STORE_START_MS + number, 1) == OK);
    entry_write_finish(&w, &other);
    entry_put(&(struct entry){ENTRY_WRITE, shard, 77, 1, 2, buf_sv(&other)}, &bad);
    put_epoch(&bad, 2, (struct place){1, 1});
    uint32_t shards[] = {shard, shard + 1, STORE_SHARDS, UINT32_MAX};
    core_set_current(store_core(store));
    for (size_t len = 0; len <= bad.len; len++)
        for (size_t flip = 0; flip <= len * 8; flip += 3) {
            char *exact =
                malloc(MAX(len, (size_t)1)); /* so that a tool sees what is read beyond it */
            memcpy(exact, bad.ptr, len);
            if (flip < len * 8) exact[flip / 8] = (char)(exact[flip / 8] ^ 1 << flip % 8);
            struct store_ahead next[STORE_AHEAD_MAX];
            for (size_t i = 0; i < STORE_AHEAD_MAX; i++)
                next[i] = (struct store_ahead){shards[i % 4], sv_make(exact, len)};
            ops.follow_ahead(ops.ctx, next, STORE_AHEAD_MAX);
            free(exact);
        }
    core_set_current(NULL);
    put_one(&good, (struct place){1, 2});
    cr_assert(follow(1, false, &good, &position) == OK && position == 2 && samples() == 2);
    buf_fini(&bad);
    buf_fini(&other);
    entry_write_fini(&w);
    store_rig_fini(&rig);
}

Test(follow, a_later_gap_in_a_portion_changes_nothing_either) {
    start();
    struct buf b = {0};
    uint64_t position;
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    put_one(&b, (struct place){1, 3});
    cr_assert(follow(1, false, &b, &position) == ERR_CONFLICT);
    struct shard_held held;
    cr_assert(!ops.held(ops.ctx, shard, false, &held) && !held.has_log && held.copy == 1);
    cr_assert(samples() == 0 && ops.position(ops.ctx) == 0);
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    buf_put_char(&b, 'x');
    cr_assert(follow(1, false, &b, &position) == ERR_UNSUPPORTED && samples() == 0);
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    b.len--;
    cr_assert(follow(1, false, &b, &position) == ERR_CORRUPT && samples() == 0);
    store_rig_fini(&rig);
}

Test(follow, epochs_are_remembered_and_numbers_begin_again) {
    start();
    struct buf b = {0};
    uint64_t position, last;
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    put_one(&b, (struct place){1, 2});
    put_epoch(&b, 3, (struct place){1, 2});
    put_one(&b, (struct place){3, 1});
    cr_assert(follow(1, false, &b, &position) == OK);
    core_set_current(store_core(store));
    cr_assert(ops.open_epoch(ops.ctx, shard, 2, &position, NULL) == ERR_CONFLICT);
    cr_assert(ops.open_epoch(ops.ctx, shard, 7, &position, NULL) == OK && position == 2);
    cr_assert(ops.open_epoch(ops.ctx, shard, 7, &position, NULL) == OK && position == 2);
    core_set_current(NULL);
    for (unsigned round = 0; round < 2; round++) {
        cr_assert(ops.epoch_end(ops.ctx, shard, 1, &last) && last == 2);
        cr_assert(!ops.epoch_end(ops.ctx, shard, 2, &last));
        cr_assert(ops.epoch_end(ops.ctx, shard, 3, &last) && last == 1);
        cr_assert(!ops.epoch_end(ops.ctx, shard, 7, &last)); /* is open */
        struct shard_place place;
        cr_assert(store_shard_place(store, shard, &place));
        cr_assert(place.epoch == 7 && place.seq == 0 && place.series_count == 0);
        restart();
    }
    store_rig_fini(&rig);
}

Test(follow, who_follows_does_not_write_until_it_opens) {
    start();
    struct buf b = {0};
    uint64_t position;
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    cr_assert(follow(1, false, &b, &position) == OK);
    int64_t time_ms = STORE_START_MS + 5000;
    double value = 1;
    struct sv labels = sv_make(rig.series[0], rig.series_len[0]);
    struct write_columns c = {1, &rig.ids[0], &shard, &time_ms, &value, &labels, .starts_ms = NULL};
    struct write_result r;
    struct err err;
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, &err) == ERR_CONFLICT);
    cr_assert(strstr(err.msg, "not open for writing") != NULL, "%s", err.msg);
    core_set_current(store_core(store));
    cr_assert(ops.open_epoch(ops.ctx, shard, 2, &position, NULL) == OK && position == 2);
    core_set_current(NULL);
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, &err) == OK && r.position == 3);
    /* A map with a later epoch: not any more. */
    struct store_shard_options o = {shard, STORE_FULL, false, 1, 3};
    cr_assert(store_shard_open(store, &o, NULL) == OK);
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, &err) == ERR_CONFLICT);
    store_rig_fini(&rig);
}

/* Offers are judged where they are applied, each from the state before the entry: window 30 min. */
Test(follow, offers_are_judged_when_they_are_applied) {
    start();
    struct buf b = {0};
    uint64_t position;
    const int64_t min = 60000;
    put_first(&b);
    put(&b, ENTRY_WRITE, (struct place){1, 1}, true, (int64_t[]){0, 60 * min}, 2);
    put_epoch(&b, 2, (struct place){1, 1});
    /* kept; the same time with another value; late within the window; too late; held; newest: does
     * not move the window of this entry; and so this one is kept */
    put(&b, ENTRY_OFFER, (struct place){2, 1}, true,
        (int64_t[]){61 * min, 61 * min, 31 * min, 29 * min, 0, 120 * min, 30 * min}, 7);
    /* now it is too old */
    put(&b, ENTRY_OFFER, (struct place){2, 2}, false, (int64_t[]){89 * min, 90 * min}, 2);
    cr_assert(follow(1, false, &b, &position) == OK);
    static const struct {
        int64_t minute;
        double value;
    } want[] = {{0, 0}, {30, 6}, {31, 2}, {60, 1}, {61, 0}, {90, 1}, {120, 5}};
    for (unsigned round = 0; round < 2; round++) {
        int64_t times[16];
        double values[16];
        size_t n = store_rig_read(store, rig.ids[0], times, values, 16);
        cr_assert(n == ARRAY_LEN(want), "%zu samples", n);
        for (size_t i = 0; i < n; i++)
            cr_expect(times[i] == STORE_START_MS + want[i].minute * min &&
                          values[i] == want[i].value,
                      "sample %zu: minute %" PRId64 " value %g", i,
                      (times[i] - STORE_START_MS) / min, values[i]);
        restart();
    }
    store_rig_fini(&rig);
}

/* -- what an epoch begins with */

/* Epoch 1 with three samples, epoch 2 with one; a primary's frames, of which some got lost. */
static void put_entry(struct buf *out, unsigned i) {
    if (i == 0 || i == 4)
        put_epoch(out, i == 0 ? 1 : 2, i == 0 ? (struct place){0} : (struct place){1, 3});
    else if (i < 4)
        put_one(out, (struct place){1, i});
    else
        put(out, ENTRY_OFFER, (struct place){2, 1}, true, (int64_t[]){9000}, 1);
}

Test(follow, a_lost_frame_is_a_gap_wherever_it_was) {
    for (unsigned has = 0; has < 5; has++) {
        for (unsigned lost = 1; has + lost < 6; lost++) {
            start();
            struct buf b = {0};
            uint64_t position;
            struct shard_held held, after;
            for (unsigned i = 0; i < has; i++)
                put_entry(&b, i);
            cr_assert(has == 0 || follow(1, false, &b, &position) == OK);
            ops.held(ops.ctx, shard, false, &held);
            for (unsigned i = has + lost; i < 6; i++)
                put_entry(&b, i);
            cr_expect(follow(1, false, &b, &position) == ERR_CONFLICT, "%u, %u lost", has, lost);
            ops.held(ops.ctx, shard, false, &after);
            cr_expect(held.has_log == after.has_log && place_cmp(held.end, after.end) == 0);
            for (unsigned i = has; i < 6; i++)
                put_entry(&b, i);
            cr_expect(follow(1, false, &b, &position) == OK && samples() == 4, "%u", has);
            store_rig_fini(&rig);
        }
    }
}

/* Epochs with a number of entries each; the shard's log ends in `last`, whose entries do not
 * count. */
static const struct path {
    struct place ends[3]; /* closed epochs; epoch 0: none */
    uint32_t last;
    unsigned like; /* the first of these with that history */
} paths[] = {
    {{{1, 2}, {3, 1}}, 7, 0}, {{{1, 2}, {3, 1}}, 7, 0}, {{{1, 3}, {3, 1}}, 7, 2},
    {{{1, 2}, {4, 1}}, 7, 3}, {{{1, 2}, {3, 2}}, 7, 4}, {{{1, 2}}, 7, 5},
    {{{3, 1}}, 7, 6},         {{{1, 2}}, 3, 5},         {{{1, 2}, {3, 1}}, 9, 0},
    {{{0, 0}}, 7, 9},         {{{0, 0}}, 1, 9},         {{{1, 2}, {3, 1}, {7, 0}}, 9, 11},
};

static void follow_path(const struct path *p) {
    struct buf b = {0};
    struct place before = {0};
    uint64_t position;
    for (size_t i = 0; i < ARRAY_LEN(p->ends) && p->ends[i].epoch != 0; i++) {
        put_epoch(&b, p->ends[i].epoch, before);
        for (uint64_t seq = 1; seq <= p->ends[i].seq; seq++)
            put_one(&b, (struct place){p->ends[i].epoch, seq});
        before = p->ends[i];
    }
    put_epoch(&b, p->last, before);
    put_one(&b, (struct place){p->last, 1});
    cr_assert(follow(1, false, &b, &position) == OK);
}

Test(follow, histories_are_equal_where_every_epoch_ended_alike) {
    uint64_t histories[ARRAY_LEN(paths)];
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct shard_held held;
        start();
        follow_path(&paths[i]);
        cr_assert(ops.held(ops.ctx, shard, false, &held));
        histories[i] = held.history;
        for (size_t k = 0; k < i; k++)
            cr_expect((histories[k] == histories[i]) == (paths[k].like == paths[i].like),
                      "%zu, %zu", k, i);
        /* As a primary of that history sees it, in whichever epoch it is. */
        if (paths[i].like == 0) {
            cr_expect(ops.history(ops.ctx, shard, 7) == histories[0]);
            cr_expect(ops.history(ops.ctx, shard, 1) == 0);
        }
        if (i == 11) cr_expect(ops.history(ops.ctx, shard, 7) == histories[0]);
        restart();
        cr_assert(ops.held(ops.ctx, shard, false, &held) && held.history == histories[i]);
        store_rig_fini(&rig);
    }
}

/* More epochs than ends are kept of: what they were still counts. */
Test(follow, histories_outlive_the_table_of_epochs) {
    uint64_t histories[2], early = 0, position;
    for (uint64_t more = 0; more < 2; more++) {
        start();
        struct buf b = {0};
        put_first(&b);
        for (uint64_t seq = 1; seq <= 1 + more; seq++)
            put_one(&b, (struct place){1, seq});
        put_epoch(&b, 2, (struct place){1, 1 + more});
        for (uint32_t epoch = 3; epoch <= 400; epoch++) {
            put_epoch(&b, epoch, (struct place){epoch - 1, 0});
            if (epoch != 300) continue;
            cr_assert(follow(1, false, &b, &position) == OK);
            early = ops.history(ops.ctx, shard, 300);
        }
        cr_assert(follow(1, false, &b, &position) == OK);
        histories[more] = ops.history(ops.ctx, shard, 400);
        cr_expect(ops.history(ops.ctx, shard, 300) == early);
        store_rig_fini(&rig);
    }
    cr_expect(histories[0] != histories[1]);
}

/* A log-only primary led on from 1/2 while no copy with a head lived. */
Test(follow, an_epoch_may_open_before_the_end_of_what_is_held) {
    struct buf b = {0};
    uint64_t position, last;
    struct shard_held held;
    start();
    follow_path(&(struct path){{{1, 2}}, 3, 0});
    uint64_t straight = ops.history(ops.ctx, shard, 3);
    store_rig_fini(&rig);
    start();
    put_first(&b);
    for (uint64_t seq = 1; seq <= 4; seq++)
        put_one(&b, (struct place){1, seq});
    cr_assert(follow(1, false, &b, &position) == OK);
    put_epoch(&b, 3, (struct place){1, 5});
    cr_assert(follow(1, false, &b, &position) == ERR_CONFLICT); /* later: entries are missing */
    put_epoch(&b, 3, (struct place){1, 2});
    put(&b, ENTRY_OFFER, (struct place){3, 1}, true, (int64_t[]){9000}, 1);
    cr_assert(follow(1, false, &b, &position) == OK);
    for (unsigned round = 0; round < 2; round++) {
        cr_assert(ops.held(ops.ctx, shard, false, &held) && samples() == 5);
        cr_assert(place_cmp(held.end, (struct place){3, 1}) == 0);
        cr_assert(ops.epoch_end(ops.ctx, shard, 1, &last) && last == 4); /* here */
        cr_assert(held.history != straight && held.history == ops.history(ops.ctx, shard, 3));
        restart();
    }
    store_rig_fini(&rig);
}

/* A substitute's tail and the copy with a head that takes its place, on one node. */
Test(follow, tail_and_whole_are_told_apart_by_copy) {
    start();
    struct buf b = {0};
    uint64_t position;
    struct shard_held held;
    role(STORE_LOG, 2, false);
    put_one(&b, (struct place){1, 5});
    put_one(&b, (struct place){1, 6});
    cr_assert(follow(2, true, &b, &position) == OK);
    cr_assert(ops.held(ops.ctx, shard, true, &held) && held.copy == 2 && !held.is_whole);
    cr_assert(held.first.seq == 5 && held.end.seq == 6 && samples() == 0);
    put_one(&b, (struct place){1, 8});
    cr_assert(follow(2, true, &b, &position) == ERR_CONFLICT);
    role(STORE_INIT, 3, true);
    put_first(&b);
    for (uint64_t seq = 1; seq <= 3; seq++)
        put_one(&b, (struct place){1, seq});
    cr_assert(follow(2, false, &b, &position) == ERR_CONFLICT); /* the tail's number */
    put_first(&b);
    for (uint64_t seq = 1; seq <= 3; seq++)
        put_one(&b, (struct place){1, seq});
    cr_assert(follow(3, false, &b, &position) == OK && samples() == 3);
    put_one(&b, (struct place){1, 7});
    cr_assert(follow(2, true, &b, &position) == OK);
    for (unsigned round = 0; round < 2; round++) {
        cr_assert(ops.held(ops.ctx, shard, true, &held) && held.copy == 2);
        cr_assert(held.first.seq == 5 && held.end.seq == 7);
        cr_assert(ops.held(ops.ctx, shard, false, &held) && held.copy == 3 && held.is_whole);
        cr_assert(held.first.seq == 0 && held.end.seq == 3 && samples() == 3);
        rig.roles[shard] = (struct store_shard_options){shard, STORE_INIT, true, 3, 1};
        restart();
    }
    role(STORE_FULL, 3, false); /* caught up: the tail is void */
    cr_assert(!ops.held(ops.ctx, shard, true, &held));
    rig.roles[shard] = (struct store_shard_options){shard, STORE_LOG, false, 2, 1};
    rig.roles[shard].copy = 4; /* begun anew as a substitute: nothing of the others */
    restart();
    cr_assert(!ops.held(ops.ctx, shard, true, &held) && held.copy == 4);
    cr_assert(!ops.held(ops.ctx, shard, false, &held) && samples() == 0);
    store_rig_fini(&rig);
}

Test(follow, damage_ends_with_a_new_copy) {
    start();
    struct buf b = {0};
    uint64_t position;
    put_one(&b, (struct place){1, 2});
    struct sv bytes = buf_sv(&b);
    struct entry e;
    cr_assert(entry_next(&bytes, &e, NULL) == OK);
    e.incarnation = 1;
    cr_assert(store_recover(store, &e, NULL) == OK);
    buf_fini(&b);
    struct shard_held held;
    cr_assert(ops.held(ops.ctx, shard, false, &held) && held.damaged);
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    cr_assert(follow(1, false, &b, &position) == ERR_CORRUPT);
    ops.drop(ops.ctx, shard, 2);
    cr_assert(!ops.held(ops.ctx, shard, false, &held) && !held.damaged && held.copy == 2);
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    cr_assert(follow(1, false, &b, &position) == ERR_CONFLICT);
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    cr_assert(follow(2, false, &b, &position) == OK && samples() == 1);
    ops.drop(ops.ctx, shard, 0); /* leaves the node */
    put_first(&b);
    put_one(&b, (struct place){1, 1});
    cr_assert(follow(2, false, &b, &position) == ERR_CONFLICT && samples() == 0);
    cr_assert(!store_has_shard(store, shard));
    store_rig_fini(&rig);
}
