/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of exemplars and the table of metadata. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "node/base/rng.h"
#include "storage/exemplars.h"
#include "storage/labels.h"
#include "storage/metadata.h"

#define A                                                                                          \
    "\x0a\x06\x0a\x01t\x12\x01"                                                                    \
    "a"
#define B                                                                                          \
    "\x0a\x06\x0a\x01t\x12\x01"                                                                    \
    "b"

static enum exemplar_verdict offer(struct exemplars *e, uint32_t ref, int64_t time_ms, double value,
                                   const char *labels) {
    struct entry_exemplar item = {0, time_ms, value, sv_from(labels)};
    enum exemplar_verdict verdict = exemplars_judge(e, ref, &item);
    if (verdict == EXEMPLAR_ACCEPT) cr_assert(exemplars_add(e, ref, &item) == OK);
    return verdict;
}

static uint32_t place_of(const struct exemplars *e, uint32_t ref) {
    for (uint32_t i = 0; i < exemplars_places(e); i++) {
        uint32_t of;
        int64_t oldest, newest;
        if (exemplars_series(e, i, &of, &oldest, &newest) && of == ref) return i;
    }
    return EXEMPLARS_NONE;
}

static void expect_times(const struct exemplars *e, uint32_t ref, const char *want) {
    struct entry_write w = {0};
    struct entry_exemplar item;
    char got[512] = "";
    uint32_t place = place_of(e, ref);
    if (place != EXEMPLARS_NONE) exemplars_read(e, place, INT64_MIN, INT64_MAX, &w);
    for (struct sv rest = buf_sv(&w.exemplars); entry_exemplar_next(&rest, &item);)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%lld:%g ", (long long)item.time_ms,
                 item.value);
    cr_expect_str_eq(got, want);
    entry_write_fini(&w);
}

Test(exemplars, a_series_that_goes_takes_its_own) {
    struct exemplars e;
    exemplars_init(&e, 8, 1000);
    for (int64_t t = 1000; t < 1006; t++)
        cr_assert(offer(&e, (uint32_t)t % 2, t, 1, A) == EXEMPLAR_ACCEPT);
    exemplars_forget(&e, 7); /* has none */
    exemplars_forget(&e, 1);
    cr_expect(exemplars_count(&e) == 3);
    expect_times(&e, 1, "");
    expect_times(&e, 0, "1000:1 1002:1 1004:1 ");
    cr_assert(offer(&e, 1, 500, 2, B) == EXEMPLAR_ACCEPT); /* another series of that reference */
    expect_times(&e, 1, "500:2 ");
    exemplars_fini(&e);
}

/* validateExemplar of Prometheus 3 (tsdb/exemplar.go), with a window of 100 ms */
Test(exemplars, rules) {
    static const struct {
        int64_t time_ms;
        double value;
        const char *labels;
        enum exemplar_verdict want;
    } steps[] = {
        {1000, 1, A, EXEMPLAR_ACCEPT},         {1000, 1, A, EXEMPLAR_DUPLICATE},
        {1000, 0.5, A, EXEMPLAR_OUT_OF_ORDER}, {1000, 1, "", EXEMPLAR_OUT_OF_ORDER},
        {1000, 1, B, EXEMPLAR_ACCEPT},         {1000, 2, "", EXEMPLAR_ACCEPT},
        {1000, 1, A, EXEMPLAR_OUT_OF_ORDER},   {900, 1, A, EXEMPLAR_OUT_OF_ORDER},
        {901, 3, A, EXEMPLAR_ACCEPT},          {901, 3, A, EXEMPLAR_DUPLICATE},
        {901, 3, B, EXEMPLAR_ACCEPT},          {950, 4, A, EXEMPLAR_ACCEPT},
        {1001, 5, A, EXEMPLAR_ACCEPT},         {901, 3, "", EXEMPLAR_OUT_OF_ORDER},
    };
    struct exemplars e;
    exemplars_init(&e, 100, 100);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        cr_expect_eq(offer(&e, 7, steps[i].time_ms, steps[i].value, steps[i].labels), steps[i].want,
                     "%zu", i);
    expect_times(&e, 7, "901:3 901:3 950:4 1000:1 1000:1 1000:2 1001:5 ");
    exemplars_fini(&e);
    exemplars_init(&e, 0, 100);
    cr_expect_eq(offer(&e, 7, 1, 1, A), EXEMPLAR_DUPLICATE);
    exemplars_fini(&e);
}

Test(exemplars, the_ring_forgets_what_came_first) {
    struct exemplars e;
    exemplars_init(&e, 4, 1000);
    offer(&e, 1, 100, 1, A);
    offer(&e, 1, 200, 2, A);
    offer(&e, 2, 150, 3, A);
    offer(&e, 1, 50, 4, A); /* late: in front by time, last by arrival */
    cr_expect_eq(exemplars_count(&e), 4);
    offer(&e, 3, 10, 5, A); /* takes 100 */
    expect_times(&e, 1, "50:4 200:2 ");
    offer(&e, 1, 60, 6, A); /* takes 200, of its own series */
    expect_times(&e, 1, "50:4 60:6 ");
    offer(&e, 4, 1, 7, A); /* takes the only one of 2 */
    expect_times(&e, 2, "");
    offer(&e, 4, 2, 8, A);  /* takes 50 */
    offer(&e, 3, 11, 9, A); /* takes the only one of the same series */
    expect_times(&e, 1, "60:6 ");
    expect_times(&e, 3, "11:9 ");
    expect_times(&e, 4, "1:7 2:8 ");
    cr_expect_eq(exemplars_count(&e), 4);
    exemplars_fini(&e);
}

/* Against a plain list: newest max by arrival, each series' by time and arrival. */
Test(exemplars, as_a_list) {
    enum { MAX_HELD = 37, STEPS = 4000, SERIES = 9 };
    static struct {
        uint32_t ref;
        int64_t time_ms;
        double value;
    } all[STEPS];
    struct rng rng;
    rng_init(&rng, 5);
    struct exemplars e;
    exemplars_init(&e, MAX_HELD, 20);
    size_t n = 0;
    for (int step = 0; step < STEPS; step++) {
        uint32_t ref = (uint32_t)rng_below(&rng, SERIES);
        int64_t time_ms = step / 4 + (int64_t)rng_below(&rng, 30);
        if (offer(&e, ref, time_ms, step, A) != EXEMPLAR_ACCEPT) continue;
        all[n].ref = ref;
        all[n].time_ms = time_ms;
        all[n++].value = step;
        char want[512] = "";
        size_t first = n > MAX_HELD ? n - MAX_HELD : 0;
        for (int64_t t = -1, next; t != INT64_MAX; t = next) {
            next = INT64_MAX;
            for (size_t i = first; i < n; i++) {
                if (all[i].ref != ref) continue;
                if (all[i].time_ms == t)
                    snprintf(want + strlen(want), sizeof want - strlen(want), "%lld:%g ",
                             (long long)t, all[i].value);
                if (all[i].time_ms > t && all[i].time_ms < next) next = all[i].time_ms;
            }
        }
        expect_times(&e, ref, want);
    }
    cr_assert_gt(n, STEPS / 4);
    exemplars_fini(&e);
}

Test(exemplars, a_place_far_back_is_refused) {
    struct exemplars e;
    exemplars_init(&e, 1000, INT64_MAX);
    for (int i = 0; i < 500; i++)
        cr_assert_eq(offer(&e, 1, i * 10, 1, A), EXEMPLAR_ACCEPT);
    cr_expect_eq(offer(&e, 1, (500 - EXEMPLARS_WALK_MAX) * 10 + 5, 1, A), EXEMPLAR_ACCEPT);
    cr_expect_neq(offer(&e, 1, 5, 1, A), EXEMPLAR_ACCEPT);
    cr_expect_eq(exemplars_count(&e), 501);
    exemplars_fini(&e);
}

static void expect_metadata(const struct metadata *m, const char *name, const char *want) {
    struct entry_write w = {0};
    struct entry_metadata item;
    char got[512] = "";
    uint32_t place = metadata_place(m, sv_from(name));
    if (place != MAP_NONE) metadata_read(m, place, &w);
    for (struct sv rest = buf_sv(&w.metadata); entry_metadata_next(&rest, &item);) {
        cr_expect(sv_eq(item.name, sv_from(name)));
        snprintf(got + strlen(got), sizeof got - strlen(got), "%u:%.*s:%.*s ", item.type,
                 SV_ARG(item.help), SV_ARG(item.unit));
    }
    cr_expect_str_eq(got, want);
    entry_write_fini(&w);
}

Test(metadata, distinct_newest_first_bounded) {
    struct metadata m;
    metadata_init(&m);
    struct entry_metadata first = {SV("up"), 2, SV("one"), SV("s")},
                          second = {SV("up"), 1, SV("two"), SV("")},
                          other = {SV("down"), 0, SV(""), SV("")};
    cr_expect(!metadata_holds(&m, &first));
    cr_assert(metadata_add(&m, 3, &first) == OK && metadata_add(&m, 4, &other) == OK);
    cr_assert(metadata_add(&m, 3, &second) == OK && metadata_add(&m, 3, &first) == OK);
    expect_metadata(&m, "up", "1:two: 2:one:s ");
    expect_metadata(&m, "down", "0:: ");
    expect_metadata(&m, "absent", "");
    cr_expect_eq(metadata_names(&m), 2);
    cr_expect_eq(metadata_shard_at(&m, metadata_place(&m, SV("up"))), 3);
    char help[32];
    for (int i = 0; i < METADATA_PER_NAME_MAX; i++) {
        struct entry_metadata item = {
            SV("up"), 1, sv_make(help, (size_t)snprintf(help, sizeof help, "%d", i)), SV("")};
        cr_assert(metadata_add(&m, 3, &item) == OK);
    }
    cr_expect(!metadata_holds(&m, &first) && !metadata_holds(&m, &second));
    expect_metadata(
        &m, "up",
        "1:15: 1:14: 1:13: 1:12: 1:11: 1:10: 1:9: 1:8: 1:7: 1:6: 1:5: 1:4: 1:3: 1:2: 1:1: 1:0: ");
    cr_assert(metadata_add_behind(&m, 3, &first) == OK); /* there is no room */
    cr_expect(!metadata_holds(&m, &first));
    cr_assert(
        metadata_add_behind(&m, 4, &(struct entry_metadata){SV("down"), 1, SV("x"), SV("")}) == OK);
    cr_assert(metadata_add_behind(&m, 4, &other) == OK &&
              metadata_add(&m, 4, &(struct entry_metadata){SV("down"), 2, SV("y"), SV("")}) == OK);
    expect_metadata(&m, "down", "2:y: 0:: 1:x: ");
    for (int i = 0; i < 1000; i++) {
        char name[32];
        struct entry_metadata item = {sv_make(name, (size_t)snprintf(name, sizeof name, "n%d", i)),
                                      1, SV("h"), SV("")};
        cr_assert(metadata_add(&m, 1, &item) == OK);
    }
    expect_metadata(&m, "n777", "1:h: ");
    cr_expect_eq(metadata_names(&m), 1002);
    metadata_fini(&m);
}

/* The shard of the series {__name__="up"}, whose canonical bytes are written out here. */
Test(metadata, shard_of_the_name) {
    uint32_t shard = 9999;
    series_id id = series_id_of(77, 0, SV("\x0a\x0e\x0a\x08__name__\x12\x02up"));
    cr_assert(metadata_shard(77, 0, 1024, SV("up"), &shard) == OK);
    cr_expect_eq(shard, id.hi % 1024);
}
