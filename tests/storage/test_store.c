/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "node/base/bytes.h"
#include "storage/histogram.h"
#include "tests/storage/store_rig.h"

#define HOUR_MS 3600000
#define NOW_MS (STORE_START_MS + 48 * (int64_t)HOUR_MS)

static struct store_rig rig;

/* One write of one series, a batch of a few samples. */
struct one {
    size_t series;
    int64_t times_ms[4];
    double values[4];
    size_t count;
};

static enum status write_one(const struct one *o, struct write_result *r, struct err *err) {
    series_id ids[4];
    uint32_t shards[4];
    struct sv labels[4];
    for (size_t i = 0; i < o->count; i++) {
        ids[i] = rig.ids[o->series];
        shards[i] = rig.shards[o->series];
        labels[i] = i > 0 ? (struct sv){0} /* those before it will do */
                          : sv_make(rig.series[o->series], rig.series_len[o->series]);
    }
    struct write_columns c = {o->count,  ids,    shards,           o->times_ms,
                              o->values, labels, .starts_ms = NULL};
    return store_rig_write(&rig, &c, NOW_MS, r, err);
}

static void start(int64_t window_ms) {
    store_rig_init(&rig, 1);
    rig.options.head.out_of_order_window_ms = window_ms;
    store_rig_must_start(&rig, 1);
}

static void wait_durable(uint64_t position) {
    while (rig.durable[0] < position)
        cr_assert(sim_step(rig.sim));
}

/* Expected: reference/prometheus.md 3.4 and storage/remote/write_handler.go; the series are written
 * in this order. */
static const struct step {
    int64_t window_ms; /* a change starts afresh */
    int64_t at_ms;     /* after the start */
    double value;
    enum verdict verdict;
    const char *text;
} steps[] = {
    {0, 10 * HOUR_MS, 1, VERDICT_ACCEPT, NULL},
    {0, 10 * HOUR_MS, 1, VERDICT_NOOP, NULL},
    {0, 10 * HOUR_MS, 2, VERDICT_DUPLICATE,
     "duplicate sample for timestamp 1767261600000; overrides not allowed: existing 1, new value "
     "2"},
    {0, 10 * HOUR_MS - 1, 3, VERDICT_OUT_OF_ORDER, "out of order sample"},
    {0, 9 * HOUR_MS - 1, 3, VERDICT_TOO_OLD, "out of bounds"},
    {0, 48 * HOUR_MS + 600000, 1e6, VERDICT_ACCEPT, NULL},
    {0, 48 * HOUR_MS + 600001, 4, VERDICT_FUTURE,
     "out of bounds: timestamp is too far in the future"},
    {0, 48 * HOUR_MS + 600000, -0.5, VERDICT_DUPLICATE,
     "duplicate sample for timestamp 1767399000000; overrides not allowed: existing 1e+06, new "
     "value -0.5"},
    {1800000, 10 * HOUR_MS, 1, VERDICT_ACCEPT, NULL},
    {1800000, 10 * HOUR_MS - 1800000, 5, VERDICT_ACCEPT, NULL},
    {1800000, 10 * HOUR_MS - 1800000, 6, VERDICT_NOOP, NULL}, /* the first value stays, silently */
    {1800000, 10 * HOUR_MS - 1800001, 5, VERDICT_TOO_OLD, "too old sample"},
    {1800000, 40 * HOUR_MS, 7, VERDICT_ACCEPT, NULL},
    {1800000, 10 * HOUR_MS, 1, VERDICT_NOOP, NULL}, /* held: at any age */
};

Test(store, verdicts_and_texts) {
    int64_t window_ms = -1;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        const struct step *s = &steps[i];
        if (s->window_ms != window_ms) {
            if (window_ms >= 0) store_rig_fini(&rig);
            start(window_ms = s->window_ms);
        }
        struct one o = {0, {STORE_START_MS + s->at_ms}, {s->value}, 1};
        struct write_result r;
        struct err err = {0};
        cr_assert(write_one(&o, &r, &err) == OK, "%s", err.msg);
        cr_expect(r.counts[s->verdict] == 1, "step %zu", i);
        cr_expect(r.refused == (s->text != NULL), "step %zu", i);
        if (s->text == NULL) continue;
        cr_expect(r.first_verdict == s->verdict && r.first_index == 0);
        char want[400];
        snprintf(want, sizeof want, "%s for series {__name__=\"up\", job=\"job-0\"}", s->text);
        cr_expect(strcmp(r.first_text, want) == 0, "step %zu: %s", i, r.first_text);
        cr_expect(r.first_plain_len == strlen(s->text), "step %zu", i);
    }
    store_rig_fini(&rig);
}

Test(store, window_counts_from_before_the_batch) {
    start(0);
    /* Series by series, as a sender that catches up does: the first series' newest must not make
     * the second's too old. */
    series_id ids[8];
    uint32_t shards[8];
    int64_t times_ms[8];
    double values[8];
    struct sv labels[8];
    size_t other = 1;
    while (rig.shards[other] != rig.shards[0])
        other++;
    for (size_t i = 0; i < 8; i++) {
        size_t s = i < 4 ? 0 : other;
        ids[i] = rig.ids[s];
        shards[i] = rig.shards[s];
        times_ms[i] = STORE_START_MS + (int64_t)(i % 4) * 2 * HOUR_MS;
        values[i] = (double)i;
        labels[i] = sv_make(rig.series[s], rig.series_len[s]);
    }
    struct write_columns c = {8, ids, shards, times_ms, values, labels, .starts_ms = NULL};
    struct write_result r;
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, NULL) == OK);
    cr_assert(r.counts[VERDICT_ACCEPT] == 8, "%s", r.first_text);
    uint64_t position = r.position;
    /* Once more: nothing new, so nothing is logged, and the position is that of the log's end. */
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, NULL) == OK);
    cr_assert(r.counts[VERDICT_NOOP] == 8 && r.position == position);
    struct shard_place place;
    cr_assert(store_shard_place(rig.stores[0], rig.shards[0], &place));
    cr_assert(place.seq == 1 && place.epoch == 1 && place.series_count == 2);
    cr_assert(place.newest_ms == STORE_START_MS + 6 * HOUR_MS);
    store_rig_fini(&rig);
}

Test(store, within_a_batch_each_sample_is_judged_after_those_before) {
    start(0);
    struct one o = {3,
                    {STORE_START_MS, STORE_START_MS + 1, STORE_START_MS + 1, STORE_START_MS},
                    {1, 2, 9, 3},
                    4};
    struct write_result r;
    cr_assert(write_one(&o, &r, NULL) == OK);
    cr_assert(r.counts[VERDICT_ACCEPT] == 2 && r.counts[VERDICT_DUPLICATE] == 1);
    cr_assert(r.counts[VERDICT_OUT_OF_ORDER] == 1);
    cr_assert(r.first_verdict == VERDICT_DUPLICATE && r.first_index == 2);
    int64_t times[8];
    double values[8];
    cr_assert(store_rig_read(rig.stores[0], rig.ids[3], times, values, 8) == 2);
    cr_assert(times[0] == STORE_START_MS && values[0] == 1 && values[1] == 2);
    store_rig_fini(&rig);
}

Test(store, unknown_ids_without_labels_are_asked_for_and_nothing_is_done) {
    start(1800000);
    struct write_result r;
    struct one known = {0, {STORE_START_MS}, {1}, 1};
    cr_assert(write_one(&known, &r, NULL) == OK);
    series_id ids[] = {rig.ids[0], rig.ids[1], rig.ids[2], rig.ids[1]};
    uint32_t shards[] = {rig.shards[0], rig.shards[1], rig.shards[2], rig.shards[1]};
    int64_t times_ms[] = {STORE_START_MS + 1, STORE_START_MS, STORE_START_MS, STORE_START_MS + 1};
    double values[4] = {0};
    struct sv labels[4] = {[2] = sv_make(rig.series[2], rig.series_len[2])};
    struct write_columns c = {4, ids, shards, times_ms, values, labels, .starts_ms = NULL};
    struct arena scratch;
    arena_init(&scratch, 0);
    uint32_t *unknown;
    size_t unknown_count;
    core_set_current(rig.rt->cores[0]);
    cr_assert(store_write(rig.stores[0], &c, NOW_MS, &scratch, &r, &unknown, &unknown_count,
                          NULL) == ERR_UNAVAILABLE);
    core_set_current(NULL);
    cr_assert(unknown_count == 2 && unknown[0] == 1 && unknown[1] == 3);
    cr_assert(head_find(store_head(rig.stores[0]), rig.ids[2]) == HEAD_NONE);
    int64_t times[4];
    cr_assert(store_rig_read(rig.stores[0], rig.ids[0], times, values, 4) == 1);
    arena_fini(&scratch);
    store_rig_fini(&rig);
}

Test(store, foreign_shards_and_false_labels_are_refused_before_anything_is_done) {
    start(1800000);
    series_id id = rig.ids[0];
    uint32_t shard = rig.shards[0], other = (shard + 1) % STORE_SHARDS;
    int64_t time_ms = STORE_START_MS;
    double value = 1;
    struct sv labels = sv_make(rig.series[0], rig.series_len[0]), wrong = SV("x");
    struct write_result r;
    struct err err = {0};
    struct write_columns c = {1, &id, &other, &time_ms, &value, &labels, .starts_ms = NULL};
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, &err) == ERR_CONFLICT, "%s", err.msg);
    uint32_t beyond = STORE_SHARDS;
    c.shards = &beyond;
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, &err) == ERR_CONFLICT, "%s", err.msg);
    c.shards = &shard;
    uint64_t before = rig.durable[0];
    c.labels = &wrong;
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, &err) == ERR_CORRUPT, "%s", err.msg);
    c.labels = &labels;
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, &err) == OK, "%s", err.msg);
    cr_assert(r.position == before + 1);
    store_rig_fini(&rig);
    /* A core that does not hold the shard. */
    store_rig_init(&rig, 1);
    store_rig_must_start(&rig, 2);
    cr_assert(store_has_shard(rig.stores[0], 0) && !store_has_shard(rig.stores[0], 1));
    struct shard_place place;
    cr_assert(!store_shard_place(rig.stores[0], 1, &place));
    store_rig_fini(&rig);
}

Test(store, limits_refuse_new_series_only) {
    start(1800000);
    struct write_result r;
    struct one o = {0, {STORE_START_MS}, {1}, 1};
    cr_assert(write_one(&o, &r, NULL) == OK);
    wait_durable(r.position);
    store_rig_kill(&rig);
    rig.options.head.series_max = 1;
    store_rig_must_start(&rig, 1); /* what was acknowledged comes back, whatever the limit */
    o.series = 1;
    cr_assert(write_one(&o, &r, NULL) == OK);
    cr_assert(r.counts[VERDICT_LIMIT] == 1 && r.first_verdict == VERDICT_LIMIT);
    const char *want =
        "maximum series limit of 1 reached for series {__name__=\"up\", job=\"job-1\"}";
    cr_assert(strcmp(r.first_text, want) == 0, "%s", r.first_text);
    o = (struct one){0, {STORE_START_MS + 1}, {1}, 1};
    cr_assert(write_one(&o, &r, NULL) == OK && r.counts[VERDICT_ACCEPT] == 1);
    wait_durable(r.position);
    store_rig_kill(&rig);
    rig.options.head.series_max = 0;
    rig.options.memory_bytes_max = 1;
    store_rig_must_start(&rig, 1);
    o = (struct one){1, {STORE_START_MS}, {1}, 1};
    cr_assert(write_one(&o, &r, NULL) == OK && r.counts[VERDICT_LIMIT] == 1);
    cr_assert(strncmp(r.first_text, "memory limit of 1 bytes reached", 31) == 0, "%s",
              r.first_text);
    store_rig_fini(&rig);
}

/* A series that is known goes on; at recovery nobody asks. */
Test(store, limits_of_labels_refuse_new_series) {
    static const struct head_limit limits[] = {{SV_INIT("__name__"), SV_INIT(""), 1}};
    start(1800000);
    struct write_result r;
    struct one o = {0, {STORE_START_MS}, {1}, 1};
    cr_assert(write_one(&o, &r, NULL) == OK);
    o.series = 1;
    cr_assert(write_one(&o, &r, NULL) == OK && r.counts[VERDICT_ACCEPT] == 1);
    wait_durable(r.position);
    store_rig_kill(&rig);
    rig.options.head.limits = limits;
    rig.options.head.limits_count = 1;
    store_rig_must_start(&rig, 1);
    o = (struct one){1, {STORE_START_MS + 1}, {1}, 1};
    cr_assert(write_one(&o, &r, NULL) == OK && r.counts[VERDICT_ACCEPT] == 1);
    o = (struct one){2, {STORE_START_MS}, {1}, 1};
    cr_assert(write_one(&o, &r, NULL) == OK && r.counts[VERDICT_LIMIT] == 1);
    const char *want = "limit of 1 series of the metric name \"up\" reached for series "
                       "{__name__=\"up\", job=\"job-2\"}";
    cr_assert(strcmp(r.first_text, want) == 0, "%s", r.first_text);
    store_rig_fini(&rig);
}

Test(store, closed_log_refuses_and_applies_nothing) {
    start(1800000);
    struct write_result r;
    struct err err;
    struct one o = {0, {STORE_START_MS}, {1}, 1};
    sim_disk_fail_at(rig.sd, sim_disk_calls(rig.sd) + 1, EIO);
    cr_assert(write_one(&o, &r, NULL) == OK);
    while (!log_is_failed(rig.log))
        cr_assert(sim_step(rig.sim));
    o.times_ms[0]++;
    cr_assert(write_one(&o, &r, &err) == ERR_IO);
    cr_assert(strstr(err.msg, "Input/output error") != NULL, "%s", err.msg);
    int64_t times[4];
    double values[4];
    cr_assert(store_rig_read(rig.stores[0], rig.ids[0], times, values, 4) == 1);
    store_rig_fini(&rig);
}

Test(store, full_disk_refuses_and_goes_on_by_itself) {
    start(1800000);
    struct write_result r;
    struct err err;
    struct one o = {0, {STORE_START_MS}, {1}, 1};
    sim_disk_fail_at(rig.sd, sim_disk_calls(rig.sd) + 1, ENOSPC);
    cr_assert(write_one(&o, &r, NULL) == OK);
    uint64_t position = r.position;
    while (!log_is_full(rig.log))
        cr_assert(sim_step(rig.sim));
    o.times_ms[0]++;
    cr_assert(write_one(&o, &r, &err) == ERR_UNAVAILABLE);
    cr_assert(strstr(err.msg, "disk is full") != NULL, "%s", err.msg);
    cr_assert(rig.durable[0] < position);
    wait_durable(position);
    cr_assert(!log_is_full(rig.log) && !log_is_failed(rig.log));
    cr_assert(write_one(&o, &r, &err) == OK && r.counts[VERDICT_ACCEPT] == 1);
    wait_durable(r.position);
    store_rig_power_cut(&rig);
    store_rig_must_start(&rig, 1);
    int64_t times[4];
    double values[4];
    cr_assert(store_rig_read(rig.stores[0], rig.ids[0], times, values, 4) == 2);
    store_rig_fini(&rig);
}

Test(store, any_number_of_cores_gives_the_same_content) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        store_rig_init(&rig, seed);
        for (unsigned round = 0; round < 6; round++) {
            unsigned cores = 1 + (unsigned)((seed + round * 2) % STORE_CORES);
            rig.epoch += round == 2 || round == 4; /* numbering begins anew */
            store_rig_must_start(&rig, cores);
            store_rig_verify(&rig, true);
            store_rig_work(&rig, 20);
            store_rig_verify(&rig, true);
            store_rig_kill(&rig);
        }
        cr_assert(rig.accepted > 200 && rig.noops > 20, "the workload does nothing");
        store_rig_fini(&rig);
    }
}

/* -- entries one by one: the gap rules */

static struct buf body_of(size_t series, uint32_t number, int64_t time_ms) {
    struct entry_write w = {0};
    struct buf body = {0};
    if (series < STORE_SERIES)
        entry_write_series(&w, sv_make(rig.series[series], rig.series_len[series]));
    cr_assert(entry_write_float(&w, number, time_ms, 1) == OK);
    entry_write_finish(&w, &body);
    entry_write_fini(&w);
    return body;
}

enum { NO_SERIES = STORE_SERIES };
static const struct feed {
    int shard; /* 0: that of series 0; 1: another; entries with a series are of series 0 */
    enum entry_type type;
    uint32_t copy, epoch;
    uint64_t seq;
    uint32_t previous_epoch;
    uint64_t previous_seq;
    uint32_t number;
    const char *damage; /* the shard is damaged from here on; NULL: not */
    bool fresh;         /* starts afresh before it */
} feeds[] = {
    {0, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, true},
    {0, ENTRY_WRITE, 1, 1, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 1, 2, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 1, 2, 0, 0, 0, NULL, false}, /* applied before */
    {0, ENTRY_WRITE, 1, 1, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 1, 3, 0, 0, 0, NULL, false},
    {0, ENTRY_EPOCH, 1, 2, 0, 1, 3, 0, NULL, false},
    {0, ENTRY_EPOCH, 1, 2, 0, 1, 3, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 2, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_EPOCH, 1, 7, 0, 2, 1, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 7, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 7, 3, 0, 0, 0, "epoch 7 seq 3 does not follow epoch 7 seq 1 (copy 1)",
     false},
    {0, ENTRY_WRITE, 1, 7, 2, 0, 0, 0, "epoch 7 seq 3", false}, /* not applied any more */
    /* What a log begins with: without the frame that opened the epoch, it is none. */
    {0, ENTRY_WRITE, 1, 1, 1, 0, 0, 0, "epoch 1 seq 1 (copy 1) is not the shard's first entry",
     true},
    {0, ENTRY_OFFER, 1, 1, 1, 0, 0, 0, "epoch 1 seq 1 (copy 1) is not the shard's first entry",
     true},
    {0, ENTRY_WRITE, 1, 1, 2, 0, 0, 0, "epoch 1 seq 2 (copy 1) is not the shard's first entry",
     true},
    {0, ENTRY_EPOCH, 2, 7, 0, 0, 0, 0, NULL, false}, /* a later copy begins anew, without damage */
    {0, ENTRY_WRITE, 2, 7, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 2, 7, 2, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 7, 9, 0, 0, 0, NULL, false}, /* an earlier one is void */
    {0, ENTRY_WRITE, 2, 7, 3, 0, 0, 0, NULL, false},
    {0, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, true},
    {0, ENTRY_WRITE, 2, 1, 1, 0, 0, 0, "epoch 1 seq 1 (copy 2) is not the shard's first entry",
     false},
    {0, ENTRY_EPOCH, 1, 2, 0, 1, 9, 0, "opens after epoch 1 seq 9, and nothing is held", true},
    {0, ENTRY_EPOCH, 1, 2, 0, 1, 0, 0, "opens after epoch 1 seq 0, and nothing is held", true},
    {0, ENTRY_EPOCH, 1, 2, 0, 0, 1, 0, "opens after epoch 0 seq 1, and nothing is held", true},
    {0, ENTRY_EPOCH, 1, 2, 0, 0, 0, 0, NULL, true}, /* map epochs before it had no writer */
    {0, ENTRY_WRITE, 1, 2, 1, 0, 0, 0, NULL, false},
    /* From epoch to epoch by an EPOCH entry only, whoever writes. */
    {0, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, true},
    {0, ENTRY_OFFER, 1, 1, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_OFFER, 1, 3, 1, 0, 0, 0, "epoch 3 seq 1 does not follow epoch 1 seq 1", false},
    {0, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, true},
    {0, ENTRY_WRITE, 1, 2, 1, 0, 0, 0, "epoch 2 seq 1 does not follow epoch 1 seq 0", false},
    {0, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, true},
    {0, ENTRY_WRITE, 1, 1, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_EPOCH, 1, 2, 0, 1, 2, 0,
     "epoch 2 opens after epoch 1 seq 2, and the log here ends at epoch 1 seq 1", false},
    /* Led on from an earlier place: what lies behind that was never acknowledged, and stays. */
    {0, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, true},
    {0, ENTRY_WRITE, 1, 1, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 1, 2, 0, 0, 0, NULL, false},
    {0, ENTRY_EPOCH, 1, 3, 0, 1, 1, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 3, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_EPOCH, 1, 5, 0, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 5, 1, 0, 0, 0, NULL, false},
    {0, ENTRY_WRITE, 1, 3, 2, 0, 0, 0, NULL, false}, /* an older epoch is passed over */
    {0, ENTRY_WRITE, 1, 5, 3, 0, 0, 0, "epoch 5 seq 3 does not follow epoch 5 seq 1", false},
    {0, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, true},
    {0, ENTRY_WRITE, 1, 1, 1, 0, 0, 1, "series number 1, and there are 1", false},
    {1, ENTRY_EPOCH, 1, 1, 0, 0, 0, 0, NULL, true},
    {1, ENTRY_WRITE, 1, 1, 1, 0, 0, 0, "series of another shard", false},
};

/* In a process that only recovers. */
static void start_following(void) {
    store_rig_init(&rig, 1);
    rig.follows = true;
    store_rig_must_start(&rig, 1);
}

Test(store, entries_must_follow_each_other) {
    uint32_t shards[2] = {0};
    for (size_t i = 0; i < ARRAY_LEN(feeds); i++) {
        const struct feed *f = &feeds[i];
        if (f->fresh) {
            if (i > 0) store_rig_fini(&rig);
            start_following();
            shards[0] = rig.shards[0];
            shards[1] = (shards[0] + 1) % STORE_SHARDS;
        }
        struct buf body = {0};
        if (f->type == ENTRY_EPOCH)
            entry_epoch_put(f->previous_epoch, f->previous_seq, &body);
        else
            body = body_of(f->seq == 1 ? 0 : NO_SERIES, f->number, STORE_START_MS + (int64_t)i);
        struct entry e = {f->type, shards[f->shard], f->copy, f->epoch, f->seq, buf_sv(&body)};
        struct err err = {0};
        cr_assert(store_recover(rig.stores[0], &e, &err) == OK, "entry %zu: %s", i, err.msg);
        bool damaged = store_damage(rig.stores[0], e.shard, &err);
        cr_assert(damaged == (f->damage != NULL), "entry %zu: %s", i, err.msg);
        if (damaged) {
            cr_assert(strstr(err.msg, f->damage) != NULL, "entry %zu: %s", i, err.msg);
            uint32_t list[2];
            cr_assert(store_damaged_shards(rig.stores[0], list, 2) == 1 && list[0] == e.shard);
        }
        buf_fini(&body);
    }
    store_rig_fini(&rig);
}

Test(store, a_damaged_shard_takes_no_writes_and_others_do) {
    start_following();
    struct buf body = body_of(0, 0, STORE_START_MS);
    struct entry e = {ENTRY_WRITE, rig.shards[0], 1, 1, 1, buf_sv(&body)};
    cr_assert(store_recover(rig.stores[0], &e, NULL) == OK);
    size_t other = 1;
    while (rig.shards[other] == rig.shards[0])
        other++;
    struct write_result r;
    struct err err;
    struct one o = {0, {STORE_START_MS}, {1}, 1};
    cr_assert(write_one(&o, &r, &err) == ERR_CORRUPT);
    cr_assert(strstr(err.msg, "is not the shard's first entry") != NULL, "%s", err.msg);
    o.series = other;
    store_rig_open_epoch(&rig, rig.shards[other], 1);
    cr_assert(write_one(&o, &r, &err) == OK && r.counts[VERDICT_ACCEPT] == 1);
    buf_fini(&body);
    store_rig_fini(&rig);
}

Test(store, what_this_build_cannot_apply_stops_recovery) {
    start(1800000);
    struct entry e = {ENTRY_WRITE, 1, 1, 1, 1, SV("\x40\x01\x01x")}; /* what comes next */
    cr_assert(store_recover(rig.stores[0], &e, NULL) == ERR_UNSUPPORTED);
    e.shard = STORE_SHARDS;
    cr_assert(store_recover(rig.stores[0], &e, NULL) == ERR_CONFLICT);
    store_rig_fini(&rig);
}

/* A series of one sample after the other, floats and histograms; expected: tsdb/head_append.go and
 * storage/interface.go of Prometheus 3.14. */
static const struct typed_step {
    int64_t at_ms;
    double value; /* or the histogram's sum */
    bool histogram;
    enum verdict verdict;
    const char *text;
} typed_steps[] = {
    {HOUR_MS, 1, true, VERDICT_ACCEPT, NULL},
    {HOUR_MS, 1, true, VERDICT_NOOP, NULL},
    {HOUR_MS, 2, true, VERDICT_DUPLICATE, "duplicate sample for timestamp"},
    {HOUR_MS, 1, false, VERDICT_DUPLICATE,
     "duplicate sample for timestamp 1767229200000; overrides not allowed: existing is a "
     "histogram, "
     "new value 1"},
    {HOUR_MS + 1, 3, false, VERDICT_ACCEPT, NULL},
    {HOUR_MS + 1, 3, true, VERDICT_DUPLICATE, "duplicate sample for timestamp"},
    {HOUR_MS, 5, false, VERDICT_NOOP, NULL}, /* late: the first stays, whatever it is */
    {HOUR_MS + 1, 3, false, VERDICT_NOOP, NULL},
    {HOUR_MS - 1799999, 7, true, VERDICT_ACCEPT, NULL},
    {HOUR_MS - 1799998, 8, false, VERDICT_ACCEPT, NULL},
    {HOUR_MS - 1799999, 8, true, VERDICT_NOOP, NULL},
    {HOUR_MS - 1799999, 8, false, VERDICT_NOOP, NULL},
    {HOUR_MS - 1800000, 9, true, VERDICT_TOO_OLD, "too old sample"},
    {48 * HOUR_MS + 600001, 4, true, VERDICT_FUTURE,
     "out of bounds: timestamp is too far in the future"},
    {40 * HOUR_MS, 7, true, VERDICT_ACCEPT, NULL},
    {HOUR_MS, 1, true, VERDICT_NOOP, NULL}, /* held: at any age */
    {HOUR_MS, 2, true, VERDICT_TOO_OLD, "too old sample"},
};

static void expect_typed(const char *when) {
    struct select_query query = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct selection *sel;
    struct samples s = {0};
    bool done;
    size_t count, at = 0;
    cr_assert(select_new(store_head(rig.stores[0]), &query, &sel, NULL) == OK);
    cr_assert(select_step(sel, 0, &done, NULL) == OK && done);
    const struct series_view *views = selection_series(sel, &count);
    cr_assert(count == 1, "%s", when);
    cr_assert(series_view_read(views, INT64_MIN, INT64_MAX, &s, NULL) == OK);
    for (size_t i = 0; i < s.count; i++, at++) {
        const struct typed_step *want = NULL;
        for (size_t k = 0; k < ARRAY_LEN(typed_steps); k++)
            if (typed_steps[k].verdict == VERDICT_ACCEPT &&
                STORE_START_MS + typed_steps[k].at_ms == s.times_ms[i])
                want = &typed_steps[k];
        cr_assert(want != NULL, "%s: sample %zu", when, i);
        const struct histogram *h = s.histograms[i];
        cr_expect((h != NULL) == want->histogram && s.values[i] == want->value, "%s: sample %zu",
                  when, i);
        cr_expect(h == NULL || (h->sum == want->value && h->start_ms == 4), "%s: %zu", when, i);
        int64_t start_ms = want->value == 3 ? 11 : 0; /* of a float */
        cr_expect(s.starts_ms[i] == (h != NULL ? 4 : start_ms), "%s: sample %zu", when, i);
    }
    cr_expect(at == 5, "%s: %zu samples", when, at);
    samples_fini(&s);
    selection_release(sel);
}

Test(store, floats_and_histograms_of_one_series) {
    start(1800000);
    struct buf bytes = {0};
    struct write_result r;
    for (size_t i = 0; i < ARRAY_LEN(typed_steps); i++) {
        const struct typed_step *s = &typed_steps[i];
        struct histogram h = {.sum = s->value, .start_ms = 4};
        int64_t time_ms = STORE_START_MS + s->at_ms, start_ms = s->value == 3 ? 11 : 0;
        struct sv labels = sv_make(rig.series[0], rig.series_len[0]);
        buf_clear(&bytes);
        histogram_put(&h, &bytes);
        struct sv histogram = s->histogram ? buf_sv(&bytes) : (struct sv){0};
        struct write_columns c = {.count = 1,
                                  .ids = rig.ids,
                                  .shards = rig.shards,
                                  .times_ms = &time_ms,
                                  .values = &s->value,
                                  .labels = &labels,
                                  .starts_ms = &start_ms,
                                  .histograms = &histogram};
        cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, NULL) == OK);
        cr_expect(r.counts[s->verdict] == 1, "step %zu", i);
        bool written = s->verdict == VERDICT_ACCEPT || s->verdict == VERDICT_NOOP;
        cr_expect(r.histograms_written == (s->histogram && written), "step %zu", i);
        cr_expect(r.refused == (s->text != NULL), "step %zu", i);
        if (s->text == NULL) continue;
        r.first_text[r.first_plain_len] = '\0';
        cr_expect_str_eq(r.first_text, s->text);
    }
    expect_typed("written");
    wait_durable(r.position);
    store_rig_power_cut(&rig);
    store_rig_must_start(&rig, 1);
    expect_typed("recovered");
    buf_fini(&bytes);
    store_rig_fini(&rig);
}

Test(store, a_cut_starts_the_numbers_again) {
    start(1800000);
    struct write_result r;
    struct buf first = body_of(0, 0, STORE_START_MS), cut = {0};
    entry_cut_put(STORE_START_MS - 2 * HOUR_MS, STORE_START_MS, &cut);
    struct entry e = {ENTRY_WRITE, rig.shards[0], 1, 1, 1, buf_sv(&first)};
    cr_assert(store_recover(rig.stores[0], &e, NULL) == OK);
    e = (struct entry){ENTRY_CUT, rig.shards[0], 1, 1, 2, buf_sv(&cut)};
    cr_assert(store_recover(rig.stores[0], &e, NULL) == OK);
    struct shard_place place;
    cr_assert(store_shard_place(rig.stores[0], rig.shards[0], &place) && place.series_count == 0);
    struct one o = {0, {STORE_START_MS + 1}, {2}, 1};
    cr_assert(write_one(&o, &r, NULL) == OK && r.counts[VERDICT_ACCEPT] == 1);
    cr_assert(store_shard_place(rig.stores[0], rig.shards[0], &place));
    cr_assert(place.series_count == 1 && place.seq == 3);
    buf_fini(&first);
    buf_fini(&cut);
    store_rig_fini(&rig);
}

/* Whatever the window would allow: the range is closed. */
Test(store, what_is_older_than_a_cut_is_too_old) {
    start(1800000);
    struct write_result r;
    struct buf first = body_of(0, 0, STORE_START_MS), cut = {0};
    entry_cut_put(INT64_MIN, STORE_START_MS - 60000, &cut);
    struct entry e = {ENTRY_WRITE, rig.shards[0], 1, 1, 1, buf_sv(&first)};
    cr_assert(store_recover(rig.stores[0], &e, NULL) == OK);
    e = (struct entry){ENTRY_CUT, rig.shards[0], 1, 1, 2, buf_sv(&cut)};
    cr_assert(store_recover(rig.stores[0], &e, NULL) == OK);
    struct one o = {0, {STORE_START_MS - 60001}, {2}, 1};
    cr_assert(write_one(&o, &r, NULL) == OK && r.counts[VERDICT_TOO_OLD] == 1);
    cr_assert(r.refused && strncmp(r.first_text, "too old sample", 14) == 0, "%s", r.first_text);
    o.times_ms[0] = STORE_START_MS - 60000;
    cr_assert(write_one(&o, &r, NULL) == OK && r.counts[VERDICT_ACCEPT] == 1);
    buf_fini(&first);
    buf_fini(&cut);
    store_rig_fini(&rig);
}

/* -- the record of a base */

static void expect_families(const char *name, const char *want) {
    const struct metadata *m = store_metadata(rig.stores[0]);
    uint32_t place = metadata_place(m, sv_from(name));
    struct entry_write w = {0};
    struct entry_metadata item;
    char got[256] = "";
    if (place != MAP_NONE) metadata_read(m, place, &w);
    for (struct sv rest = buf_sv(&w.metadata); entry_metadata_next(&rest, &item);)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%.*s ", SV_ARG(item.help));
    entry_write_fini(&w);
    cr_expect_str_eq(got, want);
}

Test(store, families_keep_their_order_over_a_base) {
    static const char *const helps[] = {"first", "second", "third"};
    struct manifest_shard record;
    struct write_result r;
    uint32_t shard = 0;
    bool taken;
    start(0);
    for (size_t i = 0; i < ARRAY_LEN(helps); i++) {
        struct write_metadata m = {.item = {SV("up"), 2, sv_from(helps[i]), SV("")}};
        cr_assert(metadata_shard(STORE_SECRET, 0, STORE_SHARDS, m.item.name, &m.shard) == OK);
        struct write_columns c = {.metadata = &m, .metadata_count = 1};
        cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, NULL) == OK && r.metadata_kept == 1);
        shard = m.shard;
    }
    expect_families("up", "third second first ");
    cr_assert(store_shard_record(rig.stores[0], shard, INT64_MIN, &record) == OK);
    store_rig_drain(&rig);
    store_rig_fini(&rig);
    store_rig_init(&rig, 2); /* another, of which no entry was read */
    rig.follows = true;
    store_rig_must_start(&rig, 1);
    core_set_current(store_core(rig.stores[0]));
    for (int times = 0; times < 2; times++) { /* also where it is known already */
        cr_assert(store_shard_base(rig.stores[0], &record, &taken, NULL) == OK);
        expect_families("up", "third second first ");
    }
    core_set_current(NULL);
    manifest_shard_fini(&record);
    store_rig_fini(&rig);
}
