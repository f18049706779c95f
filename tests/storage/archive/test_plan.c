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
    struct plan_options o = {2 * HOUR, merged_h * HOUR};
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
