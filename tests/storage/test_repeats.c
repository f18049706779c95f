/* SPDX-License-Identifier: Apache-2.0 */
/* store_set_repeats: where a member has the log only, what is held already is logged again when it
 * comes again: it may be held by what that log has not. */
#include <criterion/criterion.h>

#include "tests/storage/store_rig.h"

#define NOW_MS (STORE_START_MS + 3600000)

static struct store_rig rig;

static void start(void) {
    store_rig_init(&rig, 1);
    rig.options.head.out_of_order_window_ms = 1800000;
    store_rig_must_start(&rig, 1);
}

static void write_one(int64_t at_ms, double value, struct write_result *r) {
    int64_t time_ms = STORE_START_MS + at_ms;
    struct sv labels = sv_make(rig.series[0], rig.series_len[0]);
    struct write_columns c = {.count = 1,
                              .ids = rig.ids,
                              .shards = rig.shards,
                              .times_ms = &time_ms,
                              .values = &value,
                              .labels = &labels};
    cr_assert(store_rig_write(&rig, &c, NOW_MS, r, NULL) == OK);
}

static bool repeats;
static bool repeats_of(void *ctx, uint32_t shard) {
    return repeats && ctx == &rig && shard == rig.shards[0];
}

static uint64_t seq_now(void) {
    struct shard_place place;
    cr_assert(store_shard_place(rig.stores[0], rig.shards[0], &place));
    return place.seq;
}

/* The value that the log has last of the shard, and how often it has that time. */
static unsigned logged(int64_t time_ms, double *last) {
    int64_t times[8];
    double values[8];
    unsigned n = 0;
    size_t count = store_rig_read(rig.stores[0], rig.ids[0], times, values, 8);
    for (size_t i = 0; i < count; i++)
        if (times[i] == time_ms) n++, *last = values[i];
    return n;
}

Test(repeats, are_logged_where_they_must_be) {
    static const struct {
        bool repeats;
        double value;
        enum verdict verdict;
        unsigned entries;
    } tries[] = {
        {false, 1, VERDICT_NOOP, 0},  {true, 1, VERDICT_ACCEPT, 1},
        {true, 7, VERDICT_NOOP, 0}, /* it was another that is held, and stays */
        {true, 1, VERDICT_ACCEPT, 1}, {false, 1, VERDICT_NOOP, 0},
    };
    start();
    store_set_repeats(rig.stores[0], repeats_of, &rig);
    struct write_result r;
    write_one(0, 1, &r);
    write_one(1000, 2, &r);
    cr_assert(r.counts[VERDICT_ACCEPT] == 1);
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        uint64_t before = seq_now();
        uint64_t position = r.position;
        repeats = tries[i].repeats;
        write_one(0, tries[i].value, &r);
        cr_expect(r.counts[tries[i].verdict] == 1, "try %zu", i);
        cr_expect(seq_now() == before + tries[i].entries, "try %zu", i);
        cr_expect(r.position == position + tries[i].entries, "try %zu", i);
        double value = 0;
        cr_expect(logged(STORE_START_MS, &value) == 1 && value == 1, "try %zu", i);
    }
    while (rig.durable[0] < r.position)
        cr_assert(sim_step(rig.sim));
    store_rig_power_cut(&rig);
    store_rig_must_start(&rig, 1);
    double value = 0;
    cr_expect(logged(STORE_START_MS, &value) == 1 && value == 1);
    store_rig_fini(&rig);
}

/* Of what a CUT has closed nobody can say what a copy filled from the log would have. */
Test(repeats, of_what_is_closed_are_too_old) {
    start();
    store_set_repeats(rig.stores[0], repeats_of, &rig);
    struct write_result r;
    struct buf cut = {0};
    write_one(0, 1, &r);
    entry_cut_put(INT64_MIN, STORE_START_MS + 1, &cut);
    struct entry e = {ENTRY_CUT, rig.shards[0], 1, 1, seq_now() + 1, buf_sv(&cut)};
    cr_assert(store_recover(rig.stores[0], &e, NULL) == OK);
    repeats = false;
    write_one(0, 1, &r);
    cr_expect(r.counts[VERDICT_NOOP] == 1);
    repeats = true;
    write_one(0, 1, &r);
    cr_expect(r.counts[VERDICT_TOO_OLD] == 1);
    buf_fini(&cut);
    store_rig_fini(&rig);
}
