/* SPDX-License-Identifier: Apache-2.0 */
/* What two replicas have is compared: by hand, and against a model of single samples that are put
 * together to ranges differently on each side. */
#include "ring/replica/ranges.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/rng.h"

enum { CLOSED = 1000, TEXT_MAX = 256 };

static struct shard_ranges sides[2];

static void begin(void) {
    for (int i = 0; i < 2; i++) {
        ranges_fini(&sides[i]);
        sides[i] = (struct shard_ranges){
            .closed_ms = CLOSED, .floor_ms = INT64_MIN, .at = calloc(64, sizeof *sides[i].at)};
        cr_assert_not_null(sides[i].at);
    }
}

static void add(int side, int64_t min_ms, int64_t max_ms, enum range_kind kind, uint64_t sum) {
    struct shard_ranges *s = &sides[side];
    cr_assert_lt(s->count, 64);
    s->at[s->count++] = (struct shard_range){min_ms, max_ms, kind, 1, {sum, sum}};
}

static struct span_found compare(void) {
    struct span_found found;
    ranges_compare(&sides[0], &sides[1], &found);
    return found;
}

static void expect(enum span_verdict verdict, int64_t min_ms, int64_t max_ms) {
    struct span_found found = compare();
    cr_assert_eq(found.verdict, verdict, "%d, not %d", found.verdict, verdict);
    if (verdict == SPAN_EQUAL) return;
    cr_assert_eq(found.span.min_ms, min_ms, "%" PRId64, found.span.min_ms);
    cr_assert_eq(found.span.max_ms, max_ms, "%" PRId64, found.span.max_ms);
}

Test(replica_ranges, nothing_is_equal) {
    begin();
    expect(SPAN_EQUAL, 0, 0);
}

Test(replica_ranges, what_is_merged_has_the_sum_of_its_parts) {
    begin();
    add(0, 20, 29, RANGE_GOOD, 5);
    add(0, 0, 9, RANGE_GOOD, 7);
    add(1, 0, 29, RANGE_GOOD, 12);
    expect(SPAN_EQUAL, 0, 0);
    sides[1].at[0].digest.lo++;
    expect(SPAN_DIFFERS, 0, 29);
    sides[1].at[0].digest.lo--;
    sides[1].at[0].digest.hi++;
    expect(SPAN_DIFFERS, 0, 29);
}

Test(replica_ranges, a_sum_carries) {
    begin();
    add(0, 0, 9, RANGE_GOOD, 0);
    add(0, 20, 29, RANGE_GOOD, 0);
    add(1, 0, 29, RANGE_GOOD, 0);
    sides[0].at[0].digest = (struct range_digest){1, UINT64_MAX};
    sides[0].at[1].digest = (struct range_digest){UINT64_MAX, 2};
    sides[1].at[0].digest =
        (struct range_digest){1, 1}; /* 2^64 (1 - 1 + 1) + 2^64 - 1 + 2 - 2^64 */
    expect(SPAN_EQUAL, 0, 0);
}

Test(replica_ranges, what_one_lacks_is_a_difference) {
    for (int side = 0; side < 2; side++) {
        begin();
        add(0, 0, 9, RANGE_GOOD, 3);
        add(1, 0, 9, RANGE_GOOD, 3);
        add(side, 20, 29, RANGE_GOOD, 5);
        expect(SPAN_DIFFERS, 20, 29);
        struct span_found found = compare();
        cr_assert_eq(found.own_samples, side == 0);
        cr_assert_eq(found.other_samples, side == 1);
        cr_assert_eq(found.own.lo, side == 0 ? 5 : 0);
        cr_assert_eq(found.other.lo, side == 1 ? 5 : 0);
    }
}

Test(replica_ranges, only_what_is_closed_on_both_sides_is_looked_at) {
    for (int side = 0; side < 2; side++) {
        begin();
        add(0, 990, 999, RANGE_GOOD, 3);
        expect(SPAN_DIFFERS, 990, 999);
        sides[side].closed_ms = 999;
        expect(SPAN_EQUAL, 0, 0);
        sides[side].at[0].kind = side == 0 ? RANGE_BAD : RANGE_GOOD;
        expect(SPAN_EQUAL, 0, 0);
    }
}

Test(replica_ranges, below_a_floor_replicas_may_differ) {
    for (int side = 0; side < 2; side++) {
        begin();
        add(0, 100, 199, RANGE_GOOD, 3);
        sides[side].floor_ms = 100;
        expect(SPAN_DIFFERS, 100, 199);
        sides[side].floor_ms = 101;
        expect(SPAN_EQUAL, 0, 0);
    }
}

/* A deletion as each side knows it; what lies outside of the span does not matter. */
Test(replica_ranges, under_deletions_both_sides_must_know_of_the_same) {
    for (int side = 0; side < 2; side++) {
        begin();
        add(0, 100, 199, RANGE_GOOD, 3);
        add(1, 100, 189, RANGE_GOOD, 3);
        add(side, 50, 99, RANGE_DELETED, 7);
        add(side, 200, INT64_MAX, RANGE_DELETED, 7);
        expect(SPAN_EQUAL, 0, 0);
        add(side, 90, 150, RANGE_DELETED, 8);
        expect(SPAN_LATER, 100, 199);
        add(!side, 80, 150, RANGE_DELETED, 9); /* of other series */
        expect(SPAN_LATER, 100, 199);
        sides[!side].at[sides[!side].count - 1].digest = (struct range_digest){8, 8};
        expect(SPAN_EQUAL, 0, 0);
        sides[!side].at[sides[!side].count - 1].max_ms = 151;
        expect(SPAN_LATER, 100, 199);
        sides[!side].at[sides[!side].count - 1].max_ms = 150;
        sides[side].at[0].digest.lo++;
        expect(SPAN_DIFFERS, 100, 199);
        sides[side].at[0].kind = RANGE_UNKNOWN;
        expect(SPAN_LATER, 100, 199);
        add(0, 300, 309, RANGE_GOOD, 1);
        add(1, 300, 309, RANGE_GOOD, 2);
        expect(SPAN_LATER, 100, 199); /* 300 lies under one side's deletion up to the end of time */
        add(!side, 250, INT64_MAX, RANGE_DELETED, 7);
        expect(SPAN_DIFFERS, 300, 309);
    }
}

/* One has cleaned all of it, the other has not: nothing of it can be seen. */
Test(replica_ranges, what_is_deleted_as_a_whole_may_be_there_or_not) {
    for (int side = 0; side < 2; side++) {
        begin();
        add(side, 100, 199, RANGE_GOOD, 0);
        sides[side].at[0].samples = 0;
        for (int i = 0; i < 2; i++)
            add(i, INT64_MIN, 500, RANGE_DELETED, 7);
        expect(SPAN_EQUAL, 0, 0);
    }
}

static bool verdict_put(void *ctx, const struct span_found *f) {
    char *text = ctx;
    size_t at = strlen(text);
    snprintf(text + at, TEXT_MAX - at, "%" PRId64 ":%d ", f->span.min_ms, f->verdict);
    return f->span.min_ms < 30;
}

Test(replica_ranges, spans_come_one_by_one) {
    char text[TEXT_MAX] = "", want[TEXT_MAX];
    begin();
    for (int side = 0; side < 2; side++) {
        add(side, 30, 31, RANGE_GOOD, 1);
        add(side, 40, 41, RANGE_GOOD, 1);
        add(side, 20, 21, side == 0 ? RANGE_BAD : RANGE_GOOD, 1);
        add(side, 10, 11, RANGE_GOOD, (uint64_t)side);
        add(side, 0, 5, RANGE_GOOD, 1);
    }
    ranges_each(&sides[0], &sides[1], verdict_put, text);
    snprintf(want, sizeof want, "0:%d 10:%d 20:%d 30:%d ", SPAN_EQUAL, SPAN_DIFFERS, SPAN_BAD,
             SPAN_EQUAL);
    cr_expect_str_eq(text, want);
}

Test(replica_ranges, ranges_of_one_side_that_overlap_may_have_a_sample_twice) {
    for (int side = 0; side < 2; side++) {
        begin();
        add(side, 0, 9, RANGE_GOOD, 3);
        add(side, 9, 19, RANGE_GOOD, 3);
        add(!side, 0, 19, RANGE_GOOD, 5);
        expect(SPAN_EQUAL, 0, 0);
    }
}

Test(replica_ranges, a_bad_one_is_fetched_with_all_that_meets_it) {
    begin();
    add(0, 0, 9, RANGE_GOOD, 1);
    add(0, 8, 19, RANGE_BAD, 0);
    add(0, 30, 39, RANGE_GOOD, 1);
    add(1, 0, 9, RANGE_GOOD, 1);
    add(1, 15, 25, RANGE_GOOD, 1);
    add(1, 30, 39, RANGE_GOOD, 1);
    expect(SPAN_BAD, 0, 25);
    sides[0].floor_ms = sides[1].floor_ms = 20; /* floors and deletions do not matter */
    add(0, 0, 100, RANGE_DELETED, 0);
    expect(SPAN_BAD, 0, 25);
    add(1, 0, 100, RANGE_DELETED, 0);
    expect(SPAN_BAD, 0, 25);
    sides[1].at[1].kind = RANGE_BAD;
    expect(SPAN_LOST, 0, 25);
}

static void expect_aside(bool is_bad, int64_t min_ms, int64_t max_ms) {
    struct span_found found;
    ranges_compare_aside(&sides[0], &sides[1], &found);
    cr_assert_eq(found.verdict, is_bad ? SPAN_BAD : SPAN_EQUAL, "%d", found.verdict);
    if (!is_bad) return;
    cr_assert(found.span.only_bad);
    cr_assert_eq(found.span.min_ms, min_ms, "%" PRId64, found.span.min_ms);
    cr_assert_eq(found.span.max_ms, max_ms, "%" PRId64, found.span.max_ms);
}

/* Of a replica that is not in sync: what differs is nobody's business, and what only it has deleted
 * may be missing there. */
Test(replica_ranges, of_one_that_is_not_in_sync_only_what_is_bad_here) {
    begin();
    add(0, 0, 9, RANGE_GOOD, 1);
    add(1, 0, 9, RANGE_GOOD, 2);
    expect_aside(false, 0, 0);
    add(0, 100, 199, RANGE_BAD, 0);
    expect_aside(true, 100, 199);
    add(0, 100, 150, RANGE_DELETED, 7); /* it has not heard of that yet */
    sides[0].floor_ms = 120;
    expect_aside(true, 100, 199);
    add(1, 20, 40, RANGE_DELETED, 8);  /* of other times */
    add(1, 50, 150, RANGE_DELETED, 7); /* the same, of the span */
    expect_aside(true, 100, 199);
    sides[1].at[sides[1].count - 1].max_ms = 151;
    expect_aside(false, 0, 0);
    add(0, 0, 500, RANGE_DELETED, 7); /* takes it all */
    expect_aside(true, 100, 199);
    add(1, 190, 250, RANGE_DELETED, 9); /* of other series */
    expect_aside(false, 0, 0);
    add(0, 190, 250, RANGE_DELETED, 9);
    sides[1].floor_ms = 120;
    expect_aside(true, 100, 199);
    sides[1].floor_ms = 121;
    expect_aside(false, 0, 0);
    sides[0].floor_ms = 121;
    expect_aside(true, 100, 199);
    add(1, 150, 160, RANGE_BAD, 0);
    expect_aside(false, 0, 0);
}

/* It gives what is in the span, of whichever ranges: one that it has not closed wholly does not
 * matter where what is bad is closed. What is good here and meets it stays as it is. */
Test(replica_ranges, of_one_that_is_not_in_sync_parts_of_ranges) {
    begin();
    add(0, 100, 199, RANGE_BAD, 0);
    add(0, 250, 300, RANGE_GOOD, 0);
    add(1, 150, 260, RANGE_GOOD, 0);
    sides[1].closed_ms = 280;
    expect_aside(true, 100, 199);
    add(0, 190, 220, RANGE_GOOD, 0);
    add(0, 90, 120, RANGE_GOOD, 0);
    sides[1].closed_ms = 200;
    expect_aside(true, 100, 199);
    sides[1].closed_ms = 199;
    expect_aside(false, 0, 0);
    sides[1].closed_ms = 280;
    sides[0].closed_ms = 200;
    expect_aside(true, 100, 199);
    sides[0].closed_ms = 199;
    expect_aside(false, 0, 0);
}

/* Bad ones that meet are one; a good one between them does not matter. */
Test(replica_ranges, of_one_that_is_not_in_sync_bad_ones_that_meet) {
    begin();
    add(0, 100, 199, RANGE_BAD, 0);
    add(0, 150, 160, RANGE_GOOD, 0);
    add(0, 180, 250, RANGE_BAD, 0);
    add(0, 251, 260, RANGE_BAD, 0);
    expect_aside(true, 100, 250);
    sides[1].closed_ms = 250;
    expect_aside(false, 0, 0);
}

/* One span that it cannot give does not stand before another. */
Test(replica_ranges, of_one_that_is_not_in_sync_the_first_that_it_has) {
    begin();
    add(0, 100, 199, RANGE_BAD, 0);
    add(0, 300, 399, RANGE_BAD, 0);
    add(1, 150, 160, RANGE_DELETED, 9);
    expect_aside(true, 300, 399);
    sides[1].closed_ms = 399;
    expect_aside(false, 0, 0);
}

Test(replica_ranges, what_the_other_cannot_read_says_nothing) {
    begin();
    add(0, 0, 9, RANGE_GOOD, 1);
    add(1, 0, 9, RANGE_BAD, 0);
    expect(SPAN_EQUAL, 0, 0);
}

Test(replica_ranges, what_is_bad_goes_before_what_differs) {
    begin();
    add(0, 0, 9, RANGE_GOOD, 1);
    add(1, 0, 9, RANGE_GOOD, 2);
    add(0, 20, 29, RANGE_BAD, 0);
    add(1, 20, 29, RANGE_GOOD, 2);
    add(0, 40, 49, RANGE_BAD, 0);
    expect(SPAN_BAD, 20, 29);
    sides[1].at[1].kind = RANGE_BAD;
    expect(SPAN_BAD, 40, 49);
}

/* Samples at 0..N-1, each with its own sum; each side cuts them into ranges at places of its own;
 * side 0 may lack some. What is reported is exactly one of the spans between places where both cut,
 * and there is one exactly when some is lacking. */
Test(replica_ranges, random_cuts_and_lacks) {
    enum { N = 40, ROUNDS = 3000 };
    struct rng rng;
    unsigned lacked = 0;
    rng_init(&rng, 7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool lacks[N], cuts[2][N];
        bool any = false;
        begin();
        for (int i = 0; i < N; i++) {
            lacks[i] = rng_chance(&rng, 0.02);
            any = any || lacks[i];
            for (int side = 0; side < 2; side++)
                cuts[side][i] = rng_chance(&rng, 0.3);
        }
        for (int side = 0; side < 2; side++)
            for (int i = 0; i < N; i++) {
                struct shard_ranges *s = &sides[side];
                if (i == 0 || cuts[side][i]) add(side, i, i, RANGE_GOOD, 0);
                s->at[s->count - 1].max_ms = i;
                uint64_t sum = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1);
                if (side == 0 && lacks[i]) continue;
                struct range_digest *d = &s->at[s->count - 1].digest;
                d->lo += sum;
                d->hi += sum / 3 + (d->lo < sum);
            }
        struct span_found found = compare();
        cr_assert_eq(found.verdict, any ? SPAN_DIFFERS : SPAN_EQUAL, "round %u", round);
        if (!any) continue;
        lacked++;
        bool within = false;
        for (int64_t i = found.span.min_ms; i <= found.span.max_ms; i++)
            within = within || lacks[i];
        cr_assert(within, "round %u: nothing is lacking there", round);
        for (int side = 0; side < 2; side++) {
            int64_t min = found.span.min_ms, behind = found.span.max_ms + 1;
            cr_assert(min == 0 || cuts[side][min], "round %u", round);
            cr_assert(behind == N || cuts[side][behind], "round %u", round);
        }
    }
    cr_assert(lacked > ROUNDS / 4 && lacked < ROUNDS);
}
