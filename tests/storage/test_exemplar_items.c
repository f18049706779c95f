/* SPDX-License-Identifier: Apache-2.0 */
/* Exemplars on their way into blocks and back. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/archive/exemplars.h"
#include "storage/archive/filter.h"
#include "storage/exemplar_items.h"
#include "tests/storage/store_rig.h"

static struct store_rig rig;

static void put(struct buf *out, struct sv series, const struct entry_exemplar *e, size_t count) {
    struct entry_write w = {0};
    for (size_t i = 0; i < count; i++)
        entry_write_exemplar(&w, &e[i]);
    buf_put_lenstr(out, series);
    buf_put_lenstr(out, buf_sv(&w.exemplars));
    entry_write_fini(&w);
}

/* {t="a"}, twice, with 2.5 at 1000, and 1 at 1001 with {t="a"} and at 3 without. By hand. */
static const uint8_t golden[] = {
    8,    0x0a, 6,    0x0a, 1,   't',  0x12, 1,   'a', /* the series */
    12,   0,    0xd0, 0x0f, 0,   0,    0,    0,   0,    0,    4,
    0x40, 0,                                           /* 2.5 at 1000 */
    8,    0x0a, 6,    0x0a, 1,   't',  0x12, 1,   'a', /* again */
    31,   0,    0xd2, 0x0f, 0,   0,    0,    0,   0,    0,    0xf0,
    0x3f, 8,                                                     /* 1 at 1001, and its labels: */
    0x0a, 6,    0x0a, 1,    't', 0x12, 1,    'a',                /* */
    0,    6,    0,    0,    0,   0,    0,    0,   0xf0, 0x3f, 0, /* 1 at 3 */
};

Test(exemplar_items, golden_bytes) {
    static const char series[] = "\x0a\x06\x0a\x01t\x12\x01"
                                 "a";
    const struct sv labels = sv_make(series, 8);
    const struct entry_exemplar ones[] = {
        {0, 1000, 2.5, SV("")}, {0, 1001, 1, labels}, {0, 3, 1, SV("")}};
    struct buf got = {0};
    uint64_t count;
    put(&got, labels, ones, 1);
    put(&got, labels, ones + 1, 2);
    cr_assert(sv_eq(buf_sv(&got), sv_make(golden, sizeof golden)));
    cr_assert(exemplar_items_check(buf_sv(&got), &count, NULL) == OK && count == 3);
    exemplar_items_trim(&got, INT64_MIN);
    cr_assert(sv_eq(buf_sv(&got), sv_make(golden, sizeof golden)));
    exemplar_items_trim(&got, 1000);
    struct buf want = {0};
    put(&want, labels, ones, 1);
    put(&want, labels, ones + 1, 1);
    cr_assert(sv_eq(buf_sv(&got), buf_sv(&want)));
    exemplar_items_trim(&got, 1001);
    cr_assert(exemplar_items_check(buf_sv(&got), &count, NULL) == OK && count == 1);
    exemplar_items_trim(&got, 1002);
    cr_assert(got.len == 0);
    buf_fini(&got);
    buf_fini(&want);
}

Test(exemplar_items, what_is_malformed_is_refused_whole) {
    uint64_t count;
    struct err err;
    struct buf bad = {0};
    struct exemplar_fill fill = {0};
    for (size_t len = 1; len < sizeof golden; len++) {
        bool whole = len == 22; /* the first series ends there */
        enum status status = exemplar_items_check(sv_make(golden, len), &count, &err);
        cr_assert(status == (whole ? OK : ERR_CORRUPT), "%zu bytes", len);
        if (!whole)
            cr_assert(strstr(err.msg, len < 22 ? "byte 0:" : "byte 22:") != NULL, "%s", err.msg);
    }
    unsigned refused = 0;
    for (size_t bit = 0; bit < sizeof golden * 8; bit++) {
        buf_clear(&bad);
        buf_put(&bad, golden, sizeof golden);
        bad.ptr[bit / 8] = (char)(bad.ptr[bit / 8] ^ 1 << bit % 8);
        size_t before = fill.count;
        enum status status = exemplar_fill_add(&fill, 0, INT64_MIN, buf_sv(&bad), &err);
        refused += status == ERR_CORRUPT;
        cr_assert(fill.count == before + (status == OK ? 3 : 0), "bit %zu", bit);
        if (status != OK) { /* such items stay as they are */
            exemplar_items_trim(&bad, INT64_MAX);
            cr_assert(bad.len == sizeof golden);
        }
    }
    cr_assert(refused > 100, "%u", refused);
    exemplar_fill_fini(&fill);
    buf_fini(&bad);
}

static struct sv series_of(size_t s) {
    return sv_make(rig.series[s], rig.series_len[s]);
}

/* Times of the store's exemplars, by place. */
static void expect_held(const char *want) {
    const struct exemplars *e = store_exemplars(rig.stores[0]);
    char got[512] = "";
    struct entry_write w = {0};
    for (uint32_t i = 0; i < exemplars_places(e); i++) {
        uint32_t ref;
        int64_t oldest, newest;
        struct entry_exemplar item;
        if (!exemplars_series(e, i, &ref, &oldest, &newest)) continue;
        entry_write_clear(&w);
        exemplars_read(e, i, INT64_MIN, INT64_MAX, &w);
        for (struct sv rest = buf_sv(&w.exemplars); entry_exemplar_next(&rest, &item);)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%lld ", (long long)item.time_ms);
        snprintf(got + strlen(got), sizeof got - strlen(got), "| ");
    }
    entry_write_fini(&w);
    cr_expect_str_eq(got, want);
}

static void start(uint32_t max) {
    store_rig_init(&rig, 1);
    rig.options.exemplars_max = max;
    store_rig_must_start(&rig, 1);
}

Test(exemplar_items, the_newest_fill_the_ring_in_order_of_time) {
    start(4);
    struct store *store = rig.stores[0];
    const struct entry_exemplar a[] = {{0, 10, 1, SV("")}, {0, 30, 2, SV("")}, {0, 50, 3, SV("")}};
    const struct entry_exemplar b[] = {{0, 20, 1, SV("")}, {0, 40, 2, SV("")}, {0, 60, 3, SV("")}};
    struct buf of_a = {0}, of_b = {0};
    struct exemplar_fill fill = {0};
    struct err err;
    put(&of_b, series_of(1), b, 3);
    put(&of_a, series_of(0), a, 3);
    cr_assert(exemplar_fill_add(&fill, rig.shards[1], INT64_MIN, buf_sv(&of_b), &err) == OK);
    cr_assert(exemplar_fill_add(&fill, rig.shards[0], INT64_MIN, buf_sv(&of_a), &err) == OK);
    /* of another shard than it says: passed over */
    cr_assert(exemplar_fill_add(&fill, (rig.shards[0] + 1) % STORE_SHARDS, 50, buf_sv(&of_a),
                                &err) == OK);
    cr_assert(exemplar_fill_store(&fill, store, &err) == OK, "%s", err.msg);
    expect_held("40 60 | 50 | "); /* four of seven; of these the last is of no shard's */
    exemplar_fill_fini(&fill);
    uint32_t ref = head_find(store_head(store), rig.ids[0]);
    cr_assert(ref != HEAD_NONE && head_series_shard(store_head(store), ref) == rig.shards[0]);
    /* What comes by the log behind it: the oldest goes first. */
    cr_assert(exemplar_fill_add(&fill, rig.shards[0], 30, buf_sv(&of_a), &err) == OK);
    cr_assert(fill.count == 2); /* from 30 on */
    cr_assert(exemplar_fill_store(&fill, store, &err) == OK);
    expect_held("40 60 | 30 50 | "); /* 50 was there */
    exemplar_fill_fini(&fill);
    buf_fini(&of_a);
    buf_fini(&of_b);
    store_rig_fini(&rig);
}

Test(exemplar_items, what_the_store_has_goes_among_what_fills_it) {
    start(4);
    struct store *store = rig.stores[0];
    const struct entry_exemplar before[] = {
        {0, 10, 1, SV("")}, {0, 40, 2, SV("")}, {0, 50, 3, SV("")}};
    const struct entry_exemplar more[] = {
        {0, 30, 1, SV("")}, {0, 40, 2, SV("")}, {0, 60, 3, SV("")}};
    struct buf items = {0};
    struct exemplar_fill fill = {0};
    struct err err;
    put(&items, series_of(0), before, 3);
    cr_assert(exemplar_fill_add(&fill, rig.shards[0], INT64_MIN, buf_sv(&items), &err) == OK);
    cr_assert(exemplar_fill_store(&fill, store, &err) == OK, "%s", err.msg);
    expect_held("10 40 50 | ");
    exemplar_fill_fini(&fill);
    core_set_current(store_core(store));
    cr_assert(exemplar_fill_take(&fill, store, &err) == OK, "%s", err.msg);
    core_set_current(NULL);
    expect_held("");
    buf_clear(&items);
    put(&items, series_of(0), more, 3);
    put(&items, series_of(2), more, 1);
    cr_assert(exemplar_fill_add(&fill, rig.shards[0], INT64_MIN, buf_sv(&items), &err) == OK);
    cr_assert(exemplar_fill_store(&fill, store, &err) == OK, "%s", err.msg);
    expect_held("40 50 60 | "); /* of the newest four two are the same */
    exemplar_fill_fini(&fill);
    buf_fini(&items);
    store_rig_fini(&rig);
}

/* What is walked out and filled in again is the same; only what a pick wants is walked. */
Test(exemplar_items, a_walk_takes_what_the_picks_want) {
    start(1000);
    struct store *store = rig.stores[0];
    struct buf items[STORE_SHARDS] = {0};
    struct exemplar_fill fill = {0};
    struct err err;
    for (size_t s = 0; s < STORE_SERIES; s++) {
        struct entry_exemplar e[2] = {{0, (int64_t)s, 1, SV("")}, {0, 100 + (int64_t)s, 1, SV("")}};
        put(&items[rig.shards[s]], series_of(s), e, 2);
    }
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++)
        cr_assert(exemplar_fill_add(&fill, shard, INT64_MIN, buf_sv(&items[shard]), &err) == OK);
    cr_assert(exemplar_fill_store(&fill, store, &err) == OK);
    /* What the first series has at 100 is just too late, the other's at 100 + k alone is wanted. */
    size_t k = 1;
    while (rig.shards[k] <= rig.shards[0])
        k++;
    struct exemplar_pick picks[2] = {
        {.shard = rig.shards[0], .from_ms = INT64_MIN, .to_ms = 100},
        {.shard = rig.shards[k], .from_ms = 100 + (int64_t)k, .to_ms = 101 + (int64_t)k}};
    struct exemplar_walk walk = {.picks = picks, .picks_count = 2};
    core_set_current(rig.rt->cores[0]);
    for (bool done = false; !done;)
        cr_assert(exemplar_walk_step(&walk, store, 0, &done) == OK);
    core_set_current(NULL);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t count, want = 0;
        for (size_t s = 0; s < STORE_SERIES; s++)
            want += i == 0 ? rig.shards[s] == picks[0].shard : s == k;
        cr_assert(exemplar_items_check(buf_sv(&picks[i].items), &count, &err) == OK);
        cr_assert(count == want, "pick %u: %d", i, (int)count);
        struct sv rest = buf_sv(&picks[i].items), labels, exemplars;
        while (exemplar_items_next(&rest, &labels, &exemplars)) {
            struct entry_exemplar e;
            cr_assert(entry_exemplar_next(&exemplars, &e) && e.number == 0);
            cr_assert(e.time_ms >= picks[i].from_ms && e.time_ms < picks[i].to_ms);
            cr_assert(sv_eq(labels, series_of((size_t)(e.time_ms % 100))));
        }
        buf_fini(&picks[i].items);
    }
    exemplar_walk_fini(&walk);
    exemplar_fill_fini(&fill);
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++)
        buf_fini(&items[shard]);
    store_rig_fini(&rig);
}

/* -- blocks */

static struct block *block_with(struct sim_disk *sd, const char *path, int64_t first_ms) {
    struct block_writer_options o = {
        .disk = sim_disk_as_disk(sd), .path = path, .secret = 1, .shards_count = 1};
    static const char series[] = "\x0a\x06\x0a\x01t\x12\x01"
                                 "a";
    struct block_writer *w;
    struct block *b;
    struct samples s = {0};
    struct buf items = {0};
    bool written;
    cr_assert(block_writer_new(&o, &w, NULL) == OK && samples_reserve(&s, 1) == OK);
    s.times_ms[0] = first_ms;
    s.values[s.count++] = 1;
    cr_assert(block_writer_add(w, 0, sv_make(series, 8), &s, NULL) == OK);
    for (int64_t i = 0; i < 10; i++)
        put(&items, sv_make(series, 8), &(struct entry_exemplar){0, first_ms + i, 1, SV("")}, 1);
    cr_assert(block_writer_items(w, 0, buf_sv(&items), NULL) == OK);
    cr_assert(block_writer_finish(w, &written, NULL) == OK && written);
    block_writer_free(w);
    cr_assert(block_open(sim_disk_as_disk(sd), path, 1, 0, &b, NULL) == OK);
    samples_fini(&s);
    buf_fini(&items);
    return b;
}

static uint64_t merged_count(struct sim_disk *sd, const struct block_merge_input *inputs,
                             struct archive_filter *f) {
    struct block_merge_options o = {.writer = {.disk = sim_disk_as_disk(sd),
                                               .path = "merged",
                                               .secret = 1,
                                               .shards_count = 1,
                                               .level = 1},
                                    .inputs = inputs,
                                    .inputs_count = 2,
                                    .filter = archive_filter_run,
                                    .filter_items = archive_filter_items,
                                    .ctx = f};
    struct block *b;
    struct buf items = {0};
    bool written;
    uint64_t count;
    cr_assert(block_merge(&o, &written, NULL) == OK && written);
    cr_assert(block_open(sim_disk_as_disk(sd), "merged", 1, 0, &b, NULL) == OK);
    if (block_read_items(b, 0, &items, NULL) != OK) buf_clear(&items);
    cr_assert(exemplar_items_check(buf_sv(&items), &count, NULL) == OK);
    block_unref(b);
    buf_fini(&items);
    return count;
}

Test(exemplar_items, merges_keep_the_newest_and_drop_what_is_below_the_floor) {
    struct sim_disk *sd = sim_disk_new(1);
    struct block *a = block_with(sd, "a", 100), *b = block_with(sd, "b", 200);
    const uint64_t all = 1;
    const struct block_merge_input inputs[] = {{a, &all}, {b, &all}};
    struct archive_filter f;
    struct err err;
    int64_t from_ms;
    cr_assert(archive_filter_init(&f, NULL, &err) == OK);
    cr_assert(archive_exemplars_from(inputs, 2, 1, 20, &from_ms, &err) == OK);
    cr_assert(from_ms == INT64_MIN && merged_count(sd, inputs, &f) == 20);
    cr_assert(archive_exemplars_from(inputs, 2, 1, 13, &from_ms, &err) == OK && from_ms == 107);
    f.exemplars_from_ms = from_ms;
    cr_assert(merged_count(sd, inputs, &f) == 13);
    f.exemplars_from_ms = INT64_MIN;
    cr_assert(archive_filter_add(&f, &(struct filter_rules){0, 204, NULL, 0}, &err) == OK);
    struct block *c = block_with(sd, "c", 300); /* a sample above the floor, or nothing is left */
    const struct block_merge_input others[] = {{b, &all}, {c, &all}};
    cr_assert(merged_count(sd, others, &f) == 16);
    archive_filter_fini(&f);
    block_unref(a);
    block_unref(b);
    block_unref(c);
    sim_disk_free(sd);
}
