/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges in hours; a block of the first level is of 2 h. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "storage/archive/plan.h"

#define HOUR ((int64_t)3600000)

static void add(struct manifest *m, uint64_t number, int64_t from_h, int64_t to_h, uint64_t bytes) {
    struct manifest_block b = {.number = number,
                               .min_ms = from_h * HOUR,
                               .max_ms = to_h * HOUR - 1,
                               .file_bytes = bytes,
                               .parts = calloc(1, sizeof *b.parts),
                               .parts_count = 1};
    b.parts[0] = (struct manifest_part){0, 1};
    cr_assert_eq(manifest_block_add(m, &b), OK);
}

static void shard(struct manifest *m, uint32_t number, int64_t from_h, int64_t floor_h) {
    struct manifest_shard s = {.shard = number,
                               .copy = 1,
                               .from_ms = from_h * HOUR,
                               .floor_ms = floor_h == 0 ? INT64_MIN : floor_h * HOUR};
    cr_assert_eq(manifest_shard_set(m, &s), OK);
}

static void expect(const struct manifest *m, int64_t merged_h, size_t count,
                   const uint64_t *numbers) {
    struct merge_plan plan;
    struct plan_options o = {.range_ms = 2 * HOUR, .merged_ms_max = merged_h * HOUR};
    plan_merge(m, &o, &plan);
    cr_assert_eq(plan.count, count, "%u inputs", plan.count);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(plan.numbers[i], numbers[i]);
}

Test(plan, six_hours_when_they_are_closed) {
    struct manifest m = {0};
    add(&m, 1, 0, 2, 100);
    add(&m, 2, 2, 4, 100);
    shard(&m, 0, 4, 0);
    expect(&m, 100, 0, NULL);
    add(&m, 3, 4, 6, 100);
    shard(&m, 0, 6, 0);
    expect(&m, 100, 3, (uint64_t[]){1, 2, 3});
    expect(&m, 5, 0, NULL); /* longer than is wanted */
    manifest_fini(&m);
}

Test(plan, smaller_ranges_first_and_the_oldest) {
    struct manifest m = {0};
    add(&m, 1, 0, 6, 300); /* merged */
    add(&m, 2, 6, 12, 300);
    add(&m, 3, 12, 14, 100);
    add(&m, 4, 14, 18, 100); /* 4 h in one: cuts were late */
    shard(&m, 0, 20, 0);
    expect(&m, 100, 2, (uint64_t[]){3, 4});
    manifest_block_remove(&m, 3);
    manifest_block_remove(&m, 4);
    add(&m, 5, 12, 18, 200);
    expect(&m, 100, 3, (uint64_t[]){1, 2, 5});
    manifest_fini(&m);
}

Test(plan, blocks_that_reach_over_a_window_are_left) {
    struct manifest m = {0};
    add(&m, 1, 1, 7, 100);
    add(&m, 2, 2, 4, 100);
    add(&m, 3, 4, 6, 100);
    shard(&m, 0, 40, 0);
    expect(&m, 6, 2, (uint64_t[]){2, 3});
    expect(&m, 18, 2, (uint64_t[]){2, 3});
    manifest_block_remove(&m, 2);
    expect(&m, 18, 2, (uint64_t[]){1, 3});
    manifest_fini(&m);
}

Test(plan, a_straggler_waits_for_others) {
    struct manifest m = {0};
    add(&m, 1, 0, 6, 10000);
    add(&m, 2, 3, 4, 10);
    shard(&m, 0, 6, 0);
    expect(&m, 6, 0, NULL);
    for (uint64_t i = 3; i <= 10; i++)
        add(&m, i, 3, 4, 10);
    expect(&m, 6, 10, (uint64_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    manifest_fini(&m);
}

Test(plan, borders_of_ranges) {
    cr_assert_eq(range_floor(5 * HOUR + 1, 2 * HOUR), 4 * HOUR);
    cr_assert_eq(range_floor(4 * HOUR, 2 * HOUR), 4 * HOUR);
    cr_assert_eq(range_floor(-1, 2 * HOUR), -2 * HOUR);
    cr_assert_eq(range_floor(INT64_MIN, 2 * HOUR), INT64_MIN);
    cr_assert_eq(range_floor(INT64_MIN + 5, 2 * HOUR), INT64_MIN);
    cr_assert_eq(range_floor(INT64_MAX, 2 * HOUR), INT64_MAX / (2 * HOUR) * (2 * HOUR));
}

Test(plan, what_is_older_than_all_floors_goes) {
    struct manifest m = {0};
    uint64_t numbers[4];
    add(&m, 1, 0, 2, 100);
    add(&m, 2, 2, 4, 100);
    shard(&m, 0, 10, 0);
    cr_assert_eq(plan_drops(&m, numbers, 4), 0);
    shard(&m, 0, 10, 2);
    cr_assert_eq(plan_drops(&m, numbers, 4), 1);
    cr_assert_eq(numbers[0], 1);
    shard(&m, 0, 10, 3);
    cr_assert_eq(plan_drops(&m, numbers, 4), 1);
    manifest_shard_remove(&m, 7); /* none */
    struct manifest_shard anew = {.shard = 0, .copy = 2};
    cr_assert_eq(manifest_shard_set(&m, &anew), OK);
    cr_assert_eq(plan_drops(&m, numbers, 4), 2, "of a copy that is not any more");
    manifest_fini(&m);
}

Test(plan, the_oldest_go_beyond_a_size) {
    struct manifest m = {0};
    add(&m, 1, 0, 2, 100);
    add(&m, 2, 2, 4, 100);
    add(&m, 3, 4, 6, 100);
    cr_assert_eq(plan_size_floor(&m, 0), INT64_MIN);
    cr_assert_eq(plan_size_floor(&m, 300), INT64_MIN);
    cr_assert_eq(plan_size_floor(&m, 299), 2 * HOUR);
    cr_assert_eq(plan_size_floor(&m, 100), 4 * HOUR);
    cr_assert_eq(plan_size_floor(&m, 1), 6 * HOUR);
    manifest_fini(&m);
}

static void deleted(struct manifest *m, uint32_t number, uint32_t copy, int64_t from_h,
                    int64_t to_h) {
    struct manifest_shard s = {.shard = number, .copy = copy, .from_ms = 100 * HOUR};
    s.tombstones = calloc(1, sizeof *s.tombstones);
    s.tombstones_count = 1;
    s.tombstones[0] = (struct tombstone){
        .min_ms = from_h * HOUR, .max_ms = to_h * HOUR - 1, .matchers = calloc(1, 1)};
    cr_assert_eq(manifest_shard_set(m, &s), OK);
}

static void expect_clean(const struct manifest *m, uint64_t from, uint64_t before,
                         uint64_t number) {
    struct merge_plan plan;
    bool found = plan_clean(m, from, before, &plan);
    cr_assert_eq(found, number != 0, "from %d", (int)from);
    if (found) cr_assert(plan.count == 1 && plan.numbers[0] == number);
}

Test(plan, what_was_deleted_from_is_cleaned_once_and_in_order) {
    struct manifest m = {0};
    add(&m, 5, 0, 2, 100);
    add(&m, 3, 2, 4, 100);
    add(&m, 4, 4, 6, 100);
    manifest_block_find(&m, 3)->level = 2;
    shard(&m, 0, 6, 0);
    expect_clean(&m, 0, 10, 0); /* nothing was deleted */
    deleted(&m, 0, 1, 1, 3);
    expect_clean(&m, 0, 10, 3);
    expect_clean(&m, 4, 10, 5); /* 4 is behind it */
    expect_clean(&m, 6, 10, 0);
    expect_clean(&m, 4, 5, 0); /* 5 was written later */
    struct merge_plan plan;
    cr_assert(plan_clean(&m, 3, 4, &plan) && plan.level == 2);
    deleted(&m, 0, 1, 4, 5);
    expect_clean(&m, 0, 10, 4);
    deleted(&m, 0, 2, 0, 6); /* of another copy of the shard */
    expect_clean(&m, 0, 10, 0);
    manifest_fini(&m);
}

/* -- rows of an hour, of what is older than 20 h */

struct tried {
    int64_t from_h;
};
static bool was_tried(void *ctx, const struct merge_plan *plan) {
    return plan->from_ms == ((struct tried *)ctx)->from_h * HOUR;
}

static struct merge_plan rows_plan(const struct manifest *m, int64_t tried_h) {
    struct merge_plan plan;
    struct plan_options o = {.range_ms = 2 * HOUR, .merged_ms_max = 54 * HOUR};
    struct tried tried = {tried_h};
    o.levels[1] = (struct plan_level){20 * HOUR, (uint32_t)HOUR};
    plan_rows(m, &o, was_tried, &tried, &plan);
    return plan;
}

static void expect_rows(const struct merge_plan *plan, int64_t from_h, int64_t to_h,
                        uint32_t count) {
    cr_assert_eq(plan->count, count, "%u inputs", plan->count);
    cr_assert(plan->makes_rows && plan->resolution_ms == HOUR);
    cr_assert_eq(plan->from_ms, from_h * HOUR, "from %d h", (int)(plan->from_ms / HOUR));
    cr_assert_eq(plan->to_ms, to_h * HOUR, "to %d h", (int)(plan->to_ms / HOUR));
}

static void add_rows(struct manifest *m, uint64_t number, int64_t from_h, int64_t to_h) {
    add(m, number, from_h, to_h, 10);
    manifest_block_find(m, number)->resolution_ms = HOUR;
}

Test(plan, rows_of_the_longest_range_within_their_age) {
    struct manifest m = {0};
    add(&m, 1, 0, 6, 100);
    add(&m, 2, 6, 12, 100);
    add(&m, 3, 12, 18, 100);
    add(&m, 4, 18, 24, 100);
    shard(&m, 0, 38, 0);
    struct merge_plan plan = rows_plan(&m, -1000);
    cr_assert_eq(plan.count, 1, "the first millisecond, of the windows before");
    expect_rows(&plan, -18, 0, 1);
    plan = rows_plan(&m, -18);
    cr_assert_eq(plan.count, 0, "18 h until 38 h is not older than 20 h");
    shard(&m, 0, 39, 0);
    plan = rows_plan(&m, -18);
    expect_rows(&plan, 0, 18, 4); /* what is at 18 h stands in the fourth */
    add_rows(&m, 5, 0, 18);
    plan = rows_plan(&m, -18);
    cr_assert_eq(plan.count, 0, "they are there");
    manifest_fini(&m);
}

Test(plan, rows_of_a_long_block_in_one) {
    struct manifest m = {0};
    add(&m, 1, 0, 54, 100);
    manifest_block_find(&m, 1)->min_ms = 1;
    shard(&m, 0, 100, 0);
    struct merge_plan plan = rows_plan(&m, -1000);
    expect_rows(&plan, 0, 54, 1);
    add_rows(&m, 2, 18, 36); /* by another policy */
    plan = rows_plan(&m, -1000);
    expect_rows(&plan, 0, 18, 1);
    plan = rows_plan(&m, 0);
    expect_rows(&plan, 36, 54, 1);
    manifest_fini(&m);
}

Test(plan, rows_that_follow_one_another_are_merged) {
    struct manifest m = {0};
    add_rows(&m, 1, 0, 18);
    add_rows(&m, 2, 18, 36);
    shard(&m, 0, 200, 0);
    cr_assert_eq(rows_plan(&m, -1000).count, 0);
    add_rows(&m, 3, 38, 54);
    cr_assert_eq(rows_plan(&m, -1000).count, 0, "a gap says nothing of what is in it");
    add_rows(&m, 4, 36, 38);
    struct merge_plan plan = rows_plan(&m, -1000);
    cr_assert(!plan.makes_rows && plan.resolution_ms == HOUR);
    cr_assert(plan.count == 2 && plan.numbers[0] == 4 && plan.numbers[1] == 3, "by time");
    cr_assert(plan.from_ms == 36 * HOUR && plan.to_ms == 54 * HOUR, "short ranges first");
    manifest_block_remove(&m, 3);
    manifest_block_remove(&m, 4);
    add_rows(&m, 5, 36, 54);
    plan = rows_plan(&m, -1000);
    cr_assert(plan.count == 3 && plan.from_ms == 0 && plan.to_ms == 54 * HOUR);
    manifest_fini(&m);
}

Test(plan, rows_speak_for_shards_that_are_closed) {
    struct manifest m = {0};
    add(&m, 1, 0, 18, 100);
    manifest_block_find(&m, 1)->min_ms = 1;
    shard(&m, 0, 100, 0);
    shard(&m, 1, 18, 0); /* may still get what is at 18 h */
    struct merge_plan plan = rows_plan(&m, -1000);
    expect_rows(&plan, 0, 18, 1);
    cr_assert(plan_rows_has(&m, manifest_shard_find(&m, 0), &plan));
    cr_assert(!plan_rows_has(&m, manifest_shard_find(&m, 1), &plan));
    manifest_fini(&m);
}
