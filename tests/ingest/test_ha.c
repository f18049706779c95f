/* SPDX-License-Identifier: Apache-2.0 */
/* HA pairs by the rules of Mimir's tracker: a sender pair on fake time, with the controller's part
 * (who wins an election) written after the same rules, and labels as senders send them. */
#include "ingest/ha.h"

#include <criterion/criterion.h>
#include <math.h>

#include "node/base/metrics.h"
#include "request.h"
#include "tests/sim/sim.h"

static struct sim *sim;
static struct core *core;

/* -- the controller's part */

static struct {
    struct ha_elected known[8];
    size_t count;
    struct { /* asked, not answered */
        char cluster[256], replica[256];
        int64_t now_ms;
    } asked[8];
    size_t asked_count, asked_total;
} world;

static const struct ha_elected *world_elected(void *ctx, struct sv cluster) {
    (void)ctx;
    for (size_t i = 0; i < world.count; i++)
        if (sv_eq(sv_from(world.known[i].cluster), cluster)) return &world.known[i];
    return NULL;
}
static size_t world_count(void *ctx) {
    (void)ctx;
    return world.count;
}
static void world_elect(void *ctx, struct sv cluster, struct sv replica, int64_t now_ms) {
    (void)ctx;
    cr_assert_lt(world.asked_count, ARRAY_LEN(world.asked));
    for (size_t i = 0; i < world.asked_count; i++)
        cr_assert(!sv_eq(sv_from(world.asked[i].cluster), cluster), "one election at a time");
    snprintf(world.asked[world.asked_count].cluster, 256, "%.*s", SV_ARG(cluster));
    snprintf(world.asked[world.asked_count].replica, 256, "%.*s", SV_ARG(replica));
    world.asked[world.asked_count++].now_ms = now_ms;
    world.asked_total++;
}

static struct ha_options options = {.cluster_label = "cluster",
                                    .replica_label = "__replica__",
                                    .update_timeout_ms = 15000,
                                    .update_jitter_max_ms = 0,
                                    .failover_timeout_ms = 30000};

static struct ha *open_ha(void) {
    static const struct ha_wires wires = {NULL, world_elected, world_count, world_elect};
    struct ha *ha;
    sim = sim_new(&(struct sim_options){.seed = 1, .nodes_count = 1, .cores_per_node = 1});
    core = sim_start(sim, 0)->cores[0];
    core_set_current(core);
    cr_assert_eq(ha_new(core, &options, &wires, &ha, NULL), OK);
    return ha;
}

/* The rules of the notes: the same replica refreshes; another wins only after the time-out. */
static void answer_all(struct ha *ha) {
    while (world.asked_count > 0) {
        size_t last = --world.asked_count;
        struct sv cluster = sv_from(world.asked[last].cluster);
        struct sv replica = sv_from(world.asked[last].replica);
        int64_t now_ms = world.asked[last].now_ms;
        struct ha_elected *e = NULL;
        for (size_t i = 0; i < world.count; i++)
            if (sv_eq(sv_from(world.known[i].cluster), cluster)) e = &world.known[i];
        if (e == NULL) {
            e = &world.known[world.count++];
            *e = (struct ha_elected){.cluster = strdup(cluster.ptr), .received_ms = INT64_MIN / 2};
        }
        bool same = e->replica != NULL && sv_eq(sv_from(e->replica), replica);
        if (same || e->replica == NULL ||
            now_ms - e->received_ms >= (int64_t)options.failover_timeout_ms) {
            free(e->replica);
            e->replica = strdup(replica.ptr);
            e->received_ms = now_ms;
        }
        ha_on_elected(ha, cluster, OK, sv_from(e->replica), NULL);
    }
}

struct asked {
    struct ha_check check;
    unsigned done;
    enum ha_verdict verdict;
    struct err err;
};

static void asked_on_done(struct ha_check *check, enum ha_verdict verdict, const struct err *err) {
    struct asked *a = container_of(check, struct asked, check);
    a->done++;
    a->verdict = verdict;
    if (err != NULL) a->err = *err;
}

static void begin(struct ha *ha, struct asked *a, const char *cluster, const char *replica,
                  int64_t now_ms) {
    *a = (struct asked){.check = {.cluster = sv_from(cluster),
                                  .replica = sv_from(replica),
                                  .samples = 10,
                                  .done = asked_on_done}};
    a->verdict = ha_begin(ha, &a->check, now_ms, &a->err);
}

/* With an answer at once, if one is asked for. */
static enum ha_verdict judge(struct ha *ha, const char *cluster, const char *replica,
                             int64_t now_ms) {
    struct asked a;
    begin(ha, &a, cluster, replica, now_ms);
    if (a.verdict != HA_WAIT) return a.verdict;
    answer_all(ha);
    cr_assert_eq(a.done, 1);
    return a.verdict;
}

Test(ha, a_pair_over_time) {
    static const struct {
        int64_t at_s;
        const char *replica;
        enum ha_verdict want;
        bool asks;
    } steps[] = {
        {1000, "a", HA_ACCEPT, true}, /* the first one wins */
        {1001, "b", HA_DROP, false},   {1014, "a", HA_ACCEPT, false},
        {1014, "b", HA_DROP, false},   {1015, "b", HA_DROP, true}, /* 15 s: asked, but not 30 s */
        {1016, "a", HA_ACCEPT, true},                              /* refreshed */
        {1030, "b", HA_DROP, false},                               /* a falls silent at 1016 */
        {1031, "b", HA_DROP, true},    {1045, "b", HA_DROP, true},
        {1046, "b", HA_ACCEPT, true}, /* 30 s after a was received */
        {1047, "a", HA_DROP, false},  /* it is back, and has lost */
        {1061, "a", HA_DROP, true},    {1062, "b", HA_ACCEPT, true},
        {1063, "b", HA_ACCEPT, false},
    };
    struct ha *ha = open_ha();
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        size_t before = world.asked_total;
        enum ha_verdict got = judge(ha, "eu", steps[i].replica, steps[i].at_s * 1000);
        cr_assert_eq(got, steps[i].want, "step %zu", i);
        cr_assert_eq(world.asked_total - before, steps[i].asks, "step %zu", i);
    }
    ha_free(ha);
    core_set_current(NULL);
    sim_free(sim);
}

Test(ha, clusters_are_apart_and_requests_share_an_election) {
    struct ha *ha = open_ha();
    struct asked a[5];
    begin(ha, &a[0], "eu", "a", 0);
    begin(ha, &a[1], "eu", "b", 1);
    begin(ha, &a[2], "us", "b", 2);
    begin(ha, &a[3], "eu", "a", 3);
    begin(ha, &a[4], "eu", "a", 4);
    for (unsigned i = 0; i < 5; i++)
        cr_assert(a[i].verdict == HA_WAIT && a[i].done == 0);
    cr_assert_eq(world.asked_total, 2);
    ha_cancel(&a[4].check);
    answer_all(ha);
    static const enum ha_verdict want[] = {HA_ACCEPT, HA_DROP, HA_ACCEPT, HA_ACCEPT};
    for (unsigned i = 0; i < 4; i++)
        cr_assert(a[i].done == 1 && a[i].verdict == want[i], "%u", i);
    cr_assert_eq(a[4].done, 0);
    ha_free(ha);
    core_set_current(NULL);
    sim_free(sim);
}

Test(ha, without_a_controller_the_elected_goes_on) {
    struct ha *ha = open_ha();
    cr_assert_eq(judge(ha, "eu", "a", 0), HA_ACCEPT);
    static const struct {
        const char *cluster, *replica;
        enum ha_verdict want;
    } cases[] = {{"eu", "a", HA_ACCEPT}, {"eu", "b", HA_UNAVAILABLE}, {"us", "a", HA_UNAVAILABLE}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked a;
        struct err why;
        err_set(&why, ERR_UNAVAILABLE, 0, "no controller");
        begin(ha, &a, cases[i].cluster, cases[i].replica, 100000);
        cr_assert_eq(a.verdict, HA_WAIT);
        world.asked_count = 0;
        ha_on_elected(ha, sv_from(cases[i].cluster), ERR_UNAVAILABLE, (struct sv){0}, &why);
        cr_assert(a.done == 1 && a.verdict == cases[i].want, "%zu", i);
        if (cases[i].want == HA_UNAVAILABLE) cr_assert_str_eq(a.err.msg, "no controller");
    }
    ha_free(ha);
    core_set_current(NULL);
    sim_free(sim);
}

Test(ha, limits) {
    options.clusters_max = 2;
    struct ha *ha = open_ha();
    cr_assert_eq(judge(ha, "1", "a", 0), HA_ACCEPT);
    cr_assert_eq(judge(ha, "2", "a", 0), HA_ACCEPT);
    struct asked a;
    begin(ha, &a, "3", "a", 0);
    cr_assert_eq(a.verdict, HA_REFUSE);
    cr_assert_str_eq(a.err.msg, "too many HA clusters, at most 2");
    cr_assert_eq(judge(ha, "2", "a", 40000), HA_ACCEPT); /* those that are known go on */
    static char long_name[HA_NAME_MAX + 2];
    memset(long_name, 'x', HA_NAME_MAX + 1);
    begin(ha, &a, long_name, "a", 0);
    cr_assert_eq(a.verdict, HA_REFUSE);
    begin(ha, &a, "1", long_name, 0);
    cr_assert_eq(a.verdict, HA_REFUSE);
    ha_free(ha);
    core_set_current(NULL);
    sim_free(sim);
}

Test(ha, the_jitter_moves_the_end_of_an_election) {
    enum { TRACKERS = 200 };
    unsigned early = 0, late = 0;
    options.update_jitter_max_ms = 5000;
    struct ha *ha[TRACKERS];
    ha[0] = open_ha();
    cr_assert_eq(judge(ha[0], "eu", "a", 0), HA_ACCEPT);
    static const struct ha_wires wires = {NULL, world_elected, world_count, world_elect};
    for (unsigned i = 0; i < TRACKERS; i++) {
        struct asked a[3];
        if (i > 0) cr_assert_eq(ha_new(core, &options, &wires, &ha[i], NULL), OK);
        begin(ha[i], &a[0], "eu", "a", 9999); /* 15 - 5 s: stands for all */
        cr_assert_eq(a[0].verdict, HA_ACCEPT);
        begin(ha[i], &a[1], "eu", "a", 15000);
        early += a[1].verdict == HA_WAIT;
        late += a[1].verdict == HA_ACCEPT;
        world.asked_count = 0;
        begin(ha[i], &a[2], "eu", "a", 20001); /* for none */
        cr_assert_eq(a[2].verdict, HA_WAIT);
        world.asked_count = 0;
        ha_free(ha[i]);
    }
    cr_assert(early > TRACKERS / 4 && late > TRACKERS / 4, "%u, %u", early, late);
    core_set_current(NULL);
    sim_free(sim);
}

Test(ha, options_are_checked) {
    static const struct {
        struct ha_options o;
        const char *text; /* NULL: good */
    } cases[] = {
        {{"cluster", "__replica__", 15000, 5000, 30000, 0}, NULL},
        {{"cluster", "__replica__", 15000, 5000, 21000, 0}, NULL},
        {{"cluster", "__replica__", 15000, 5000, 20999, 0}, "at least the update timeout"},
        {{"cluster", "__replica__", 5000, 6000, 30000, 0}, "jitter (6000 ms) exceeds"},
        {{"cluster", "__replica__", UINT64_MAX, 5000, 30000, 0}, "at least"},
        {{"", "__replica__", 15000, 5000, 30000, 0}, "two different labels"},
        {{"cluster", "", 15000, 5000, 30000, 0}, "two different labels"},
        {{"x", "x", 15000, 5000, 30000, 0}, "two different labels"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        enum status st = ha_options_check(&cases[i].o, &err);
        cr_assert_eq(st == OK, cases[i].text == NULL, "%zu", i);
        if (st != OK) cr_assert(strstr(err.msg, cases[i].text) != NULL, "%s", err.msg);
    }
}

/* -- labels */

static void put_series(struct buf *request, const char *const *labels, unsigned samples) {
    struct buf series = {0};
    for (; *labels != NULL; labels += 2)
        request_label(&series, sv_from(labels[0]), sv_from(labels[1]));
    for (unsigned i = 0; i < samples; i++)
        request_sample(&series, 1000 + i, 1);
    request_series(request, &series);
    buf_fini(&series);
}

Test(ha, the_first_series_decides) {
    static const struct {
        const char *first[9];
        const char *cluster, *replica; /* NULL: not found */
    } cases[] = {
        {{"__name__", "up", "__replica__", "a", "cluster", "eu", NULL}, "eu", "a"},
        {{"cluster", "eu", "__name__", "up", "__replica__", "a", NULL}, "eu", "a"},
        {{"__name__", "up", "cluster", "eu", NULL}, NULL, NULL},
        {{"__name__", "up", "__replica__", "a", NULL}, NULL, NULL},
        {{"__name__", "up", "__replica__", "", "cluster", "eu", NULL}, NULL, NULL},
        {{"__name__", "up", "__replica__", "a", "cluster", "\xff", NULL}, NULL, NULL},
        {{NULL}, NULL, NULL},
    };
    static const char *const second[] = {"__name__", "up", "__replica__", "z",
                                         "cluster",  "z",  NULL};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0};
        struct sv cluster, replica;
        request_bytes(&b, 3, SV("\x08\x01")); /* metadata before it counts for nothing */
        put_series(&b, cases[i].first, 2);
        put_series(&b, second, 3);
        bool found = ha_find_labels(&options, buf_sv(&b), &cluster, &replica);
        cr_assert_eq(found, cases[i].cluster != NULL, "%zu", i);
        if (found) {
            cr_assert(sv_eq(cluster, sv_from(cases[i].cluster)), "%zu", i);
            cr_assert(sv_eq(replica, sv_from(cases[i].replica)), "%zu", i);
        }
        cr_assert_eq(ha_count_samples(buf_sv(&b)), 5);
        for (size_t len = 0; len < b.len; len++) { /* cut anywhere: no crash, no more samples */
            char *exact = malloc(len + 1);
            memcpy(exact, b.ptr, len);
            (void)ha_find_labels(&options, sv_make(exact, len), &cluster, &replica);
            cr_assert_leq(ha_count_samples(sv_make(exact, len)), 5);
            free(exact);
        }
        buf_fini(&b);
    }
}

/* Remote write 2.0: symbols "", cluster, eu, __replica__, a, in front of or behind two series. */
Test(ha, labels_of_a_2_0_request) {
    static const char series[] = "\x2a\x08\x0a\x04\x01\x02\x03\x04\x12\x00";        /* one sample */
    static const char other[] = "\x2a\x0a\x0a\x04\x01\x04\x03\x02\x1a\x00\x12\x00"; /* two */
    static const char one_label[] = "\x2a\x06\x0a\x02\x01\x02\x12\x00";
    static const char *const texts[] = {"", "cluster", "eu", "__replica__", "a"};
    for (unsigned behind = 0; behind < 3; behind++) {
        struct buf b = {0};
        struct sv cluster, replica;
        if (behind == 1) buf_put(&b, series, sizeof series - 1);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
            request_bytes(&b, 4, sv_from(texts[i]));
        if (behind == 0) buf_put(&b, series, sizeof series - 1);
        if (behind == 2) buf_put(&b, one_label, sizeof one_label - 1);
        buf_put(&b, other, sizeof other - 1); /* the first decides */
        bool found = ha_find_labels_v2(&options, buf_sv(&b), &cluster, &replica);
        cr_assert_eq(found, behind < 2, "%u", behind);
        if (found) cr_assert(sv_eq(cluster, SV("eu")) && sv_eq(replica, SV("a")));
        cr_assert_eq(ha_count_samples_v2(buf_sv(&b)), 3);
        for (size_t len = 0; len < b.len; len++) { /* cut anywhere: no crash, no more samples */
            char *exact = malloc(len + 1);
            memcpy(exact, b.ptr, len);
            (void)ha_find_labels_v2(&options, sv_make(exact, len), &cluster, &replica);
            cr_assert_leq(ha_count_samples_v2(sv_make(exact, len)), 3);
            free(exact);
        }
        buf_fini(&b);
    }
}

Test(ha, the_replica_label_is_taken_out_of_every_series) {
    static const char *const with[][9] = {
        {"__name__", "up", "__replica__", "a", "cluster", "eu", NULL},
        {"__name__", "down", "cluster", "eu", NULL},
        {"__name__", "left", "__replica__", "", "i", "1", NULL},
        {"__replica__", "a", NULL}, /* nothing is left: not a series */
    };
    static const char *const without[][9] = {{"__name__", "up", "cluster", "eu", NULL},
                                             {"__name__", "down", "cluster", "eu", NULL},
                                             {"__name__", "left", "i", "1", NULL}};
    struct buf a = {0}, b = {0};
    for (size_t i = 0; i < ARRAY_LEN(with); i++)
        put_series(&a, with[i], 2);
    for (size_t i = 0; i < ARRAY_LEN(without); i++)
        put_series(&b, without[i], 2);
    struct write_rows rows[2] = {{0}, {0}};
    struct arena arena;
    arena_init(&arena, 0);
    for (unsigned k = 0; k < 2; k++) {
        struct scan_options o = request_scan_options();
        struct scan_result result = {.rows = &rows[k]};
        if (k == 0) o.drop_label = SV("__replica__");
        cr_assert_eq(
            scan_write_request(k == 0 ? buf_sv(&a) : buf_sv(&b), &o, &arena, &result, NULL), OK);
        cr_assert_eq(result.skipped_series_samples, k == 0 ? 2 : 0);
    }
    cr_assert(rows[0].count == 6 && rows[1].count == 6);
    for (size_t i = 0; i < 6; i++)
        cr_assert(series_id_eq(rows[0].ids[i], rows[1].ids[i]) &&
                  sv_eq(rows[0].labels[i], rows[1].labels[i]) &&
                  rows[0].shards[i] == rows[1].shards[i]);
    write_rows_fini(&rows[0]);
    write_rows_fini(&rows[1]);
    buf_fini(&a);
    buf_fini(&b);
    arena_fini(&arena);
}
