/* SPDX-License-Identifier: Apache-2.0 */
/* What may end as samples, and which blocks go then; every case by hand. Times are hours. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "storage/archive/cover.h"
#include "storage/archive/plan.h"

#define HOUR ((int64_t)3600000)
enum { RAW = 0, FINE = 300000, COARSE = 3600000 };

static struct manifest m;

/* Of rows: windows that end in (from, to]; of raw: samples from behind from, up to to. */
static struct manifest_block *add(uint64_t number, uint32_t resolution_ms, int64_t from,
                                  int64_t to) {
    bool raw = resolution_ms == RAW;
    struct manifest_block b = {.number = number,
                               .resolution_ms = resolution_ms,
                               .min_ms = from * HOUR + raw,
                               .max_ms = to * HOUR - !raw,
                               .file_bytes = 1,
                               .parts = calloc(2, sizeof *b.parts),
                               .parts_count = 2};
    b.parts[0] = (struct manifest_part){3, 1};
    b.parts[1] = (struct manifest_part){5, 1};
    if (m.next_number == 0) m.next_number = 1;
    cr_assert_eq(manifest_block_add(&m, &b), OK);
    return manifest_block_find(&m, number);
}

static struct manifest_shard *shard(uint32_t number, int64_t raw, int64_t fine) {
    struct manifest_shard s = {.shard = number,
                               .copy = 1,
                               .from_ms = 1000 * HOUR,
                               .floor_ms = INT64_MIN,
                               .ended = {raw * HOUR, fine * HOUR}};
    cr_assert_eq(manifest_shard_set(&m, &s), OK);
    return manifest_shard_find(&m, number);
}

/* Blocks stand as they are in the manifest; a bad one is said. */
static struct block_list *list_of(uint64_t bad) {
    struct block_list *list = calloc(1, sizeof *list + m.blocks_count * sizeof list->blocks[0]);
    cr_assert_not_null(list);
    list->count = m.blocks_count;
    for (uint32_t i = 0; i < m.blocks_count; i++) {
        list->blocks[i].of = m.blocks[i];
        list->blocks[i].block = m.blocks[i].number == bad ? NULL : (struct block *)1;
    }
    return list;
}

static struct ended limit(bool fine, bool coarse, int64_t raw, int64_t to_fine, uint64_t bad) {
    struct block_list *list = list_of(bad);
    struct cover_wanted wanted = {3, 1, {0}, INT64_MIN, 2 * HOUR, fine, coarse};
    struct ended out = cover_limit(list, &wanted, &(struct ended){raw * HOUR, to_fine * HOUR});
    free(list);
    return out;
}

static uint32_t drops(bool also_fine, bool also_coarse, uint64_t bad, uint64_t out[8]) {
    struct block_list *list = list_of(bad);
    struct cover_drops d = {list, &m, also_fine, also_coarse};
    uint32_t count = cover_plan_drops(&d, out, 8);
    free(list);
    return count;
}

#define EXPECT_ENDED(e, raw, fine)                                                                 \
    do {                                                                                           \
        struct ended got = e;                                                                      \
        cr_expect_eq(got.raw_ms, (raw)*HOUR, "raw %f", (double)got.raw_ms / HOUR);                 \
        cr_expect_eq(got.fine_ms, (fine)*HOUR, "fine %f", (double)got.fine_ms / HOUR);             \
    } while (0)

Test(cover, samples_end_as_far_as_all_rows_stand) {
    add(1, RAW, 0, 6);
    add(2, RAW, 6, 12);
    EXPECT_ENDED(limit(true, false, 12, 0, 0), 0, 0);
    EXPECT_ENDED(limit(false, false, 12, 0, 0), 0, 0);
    add(3, FINE, 0, 6);
    EXPECT_ENDED(limit(true, false, 12, 0, 0), 6, 0);
    EXPECT_ENDED(limit(true, false, 4, 0, 0), 4, 0);
    EXPECT_ENDED(limit(true, false, 12, 0, 3), 0, 0); /* it cannot be read */
    EXPECT_ENDED(limit(true, true, 12, 0, 0), 0, 0);  /* rows of 1 h are made of samples, too */
    add(4, COARSE, 0, 6);
    EXPECT_ENDED(limit(true, true, 12, 12, 0), 6, 6);
    EXPECT_ENDED(limit(true, true, 12, 2, 0), 6, 2);
    EXPECT_ENDED(limit(false, true, 12, 12, 0), 6, 6);
    add(5, FINE, 6, 18);
    EXPECT_ENDED(limit(true, false, 12, 0, 0), 12, 0);
    EXPECT_ENDED(limit(true, true, 12, 0, 0), 6, 0);
    manifest_fini(&m);
}

Test(cover, of_another_copy_nothing_stands) {
    add(1, RAW, 0, 6);
    add(2, FINE, 0, 6)->parts[0].copy = 2;
    EXPECT_ENDED(limit(true, false, 6, 0, 0), 0, 0);
    manifest_fini(&m);
}

Test(cover, blocks_go_the_oldest_first) {
    uint64_t out[8];
    add(1, RAW, 0, 6);
    add(2, RAW, 6, 12);
    add(3, RAW, 12, 18);
    add(4, FINE, 0, 12);
    shard(3, 12, 0);
    struct manifest_shard *other = shard(5, 12, 0);
    cr_expect_eq(drops(true, false, 0, out), 2);
    cr_expect(out[0] == 1 && out[1] == 2);
    cr_expect_eq(drops(true, true, 0, out), 0, "rows of 1 h are still to be made");
    cr_expect_eq(drops(true, false, 4, out), 0, "it cannot be read");
    other->ended.raw_ms = 6 * HOUR;
    cr_expect_eq(drops(true, false, 0, out), 1, "one shard still has samples");
    other->copy = 2;
    cr_expect_eq(drops(true, false, 0, out), 2, "what it has is of another copy");
    other->copy = 1;
    other->ended.raw_ms = 12 * HOUR;
    manifest_block_find(&m, 4)->min_ms = 6 * HOUR;
    cr_expect_eq(drops(true, false, 0, out), 0, "the first has no rows, and is older");
    manifest_fini(&m);
}

Test(cover, histograms_and_split_hours_keep_samples) {
    uint64_t out[8];
    add(1, RAW, 0, 6);
    add(2, FINE, 0, 6);
    struct manifest_shard *s = shard(3, 6, 0);
    shard(5, 6, 0);
    manifest_block_find(&m, 2)->has_histograms = true;
    cr_expect_eq(drops(true, false, 0, out), 0);
    manifest_block_find(&m, 2)->has_histograms = false;
    s->tombstones = calloc(1, sizeof *s->tombstones);
    s->tombstones_count = 1;
    s->tombstones[0] = (struct tombstone){.min_ms = INT64_MIN, .max_ms = 2 * HOUR + 1};
    cr_expect_eq(drops(true, false, 0, out), 0, "it ended within an hour");
    s->tombstones[0].max_ms = 2 * HOUR;
    cr_expect_eq(drops(true, false, 0, out), 1);
    s->tombstones[0].min_ms = HOUR + 1;
    cr_expect_eq(drops(true, false, 0, out), 1);
    s->tombstones[0].min_ms = HOUR;
    cr_expect_eq(drops(true, false, 0, out), 0, "the hour before may have a sample there");
    manifest_fini(&m);
}

Test(cover, rows_of_5m_go_when_those_of_1h_stand) {
    uint64_t out[8];
    add(1, FINE, 0, 6);
    add(2, FINE, 6, 12);
    shard(3, 12, 6);
    shard(5, 12, 6);
    cr_expect_eq(drops(true, true, 0, out), 0);
    add(3, COARSE, 0, 12);
    cr_expect_eq(drops(true, true, 0, out), 1);
    cr_expect_eq(out[0], 1);
    manifest_fini(&m);
}

Test(cover, rows_are_made_of_all_samples_or_not_at_all) {
    struct merge_plan plan = {.from_ms = 0, .to_ms = 6 * HOUR};
    struct manifest_shard *s = shard(3, 12, 0);
    shard(5, 12, 0);
    add(1, RAW, 4, 6); /* what stayed for a deletion */
    struct manifest_block *rows = add(2, FINE, 0, 12);
    struct block_list *list = list_of(0);
    cr_expect_eq(cover_gone_at_most(list, s), 12 * HOUR);
    free(list);
    s->gone_ms = 12 * HOUR;
    cr_expect(!plan_rows_has(&m, s, &plan));
    rows->max_ms = 4 * HOUR - 1;
    list = list_of(0);
    cr_expect_eq(cover_gone_at_most(list, s), 4 * HOUR,
                 "of the first without rows nothing is gone");
    free(list);
    s->gone_ms = 0;
    cr_expect(plan_rows_has(&m, s, &plan));
    cover_set_gone(&m, manifest_block_find(&m, 1), INT64_MAX);
    cr_expect_eq(s->gone_ms, INT64_MAX);
    manifest_fini(&m);
}
