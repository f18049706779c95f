/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "node/base/rng.h"
#include "storage/times.h"

#define T0 1600000000000LL

static struct times_table table;
static struct page_scratch scratch;

static void begin(void) {
    times_init(&table);
    page_scratch_init(&scratch);
}

static void expect_times(const struct times *t, const int64_t *want, size_t count) {
    static int64_t got[PAGE_SAMPLES_MAX];
    cr_assert(t->count == count && t->first_ms == want[0] && t->last_ms == want[count - 1]);
    times_read(t, &scratch, got);
    cr_assert(memcmp(got, want, count * sizeof *want) == 0);
}

static void scrapes(int64_t *out, size_t count, int64_t from_ms, struct rng *r) {
    for (size_t i = 0; i < count; i++)
        out[i] = from_ms + (int64_t)i * 15000 + (r == NULL ? 0 : (int64_t)rng_below(r, 5));
}

Test(times, equal_times_are_one_column) {
    struct rng r;
    rng_init(&r, 3);
    begin();
    int64_t a[120], b[120];
    scrapes(a, 120, T0, &r);
    memcpy(b, a, sizeof b);
    struct times *first = times_take(&table, &scratch, a, 120);
    cr_assert(times_take(&table, &scratch, b, 120) == first && first->uses == 2);
    b[60]++; /* same ends, same count */
    struct times *other = times_take(&table, &scratch, b, 120);
    cr_assert(other != first && other->uses == 1 && table.used == 2);
    cr_assert(times_take(&table, &scratch, a, 119) != first && table.used == 3);
    expect_times(first, a, 120);
    expect_times(other, b, 120);
    times_give(&table, first);
    times_give(&table, first);
    cr_assert(table.used == 2);
    times_give(&table, other);
    times_give(&table, times_take(&table, &scratch, a, 119));
    times_give(&table, times_take(&table, &scratch, a, 119));
    cr_assert(table.used == 1);
    times_give(&table, times_take(&table, &scratch, a, 119));
    struct times *left = times_take(&table, &scratch, a, 119);
    times_give(&table, left);
    times_give(&table, left);
    cr_assert(table.used == 0);
    times_fini(&table);
}

Test(times, joined_columns_are_those_of_both) {
    begin();
    int64_t all[240];
    scrapes(all, 240, T0, NULL);
    struct times *left = times_take(&table, &scratch, all, 100);
    struct times *right = times_take(&table, &scratch, all + 100, 140);
    struct times *both = times_take_both(&table, &scratch, left, right);
    expect_times(both, all, 240);
    cr_assert(times_take_both(&table, &scratch, left, right) == both && both->uses == 2);
    cr_assert(times_take(&table, &scratch, all, 240) == both);
    for (int i = 0; i < 3; i++)
        times_give(&table, both);
    times_give(&table, right);
    cr_assert(table.used == 1);
    /* what was remembered of columns that went is not taken for others in their place */
    for (int64_t k = 1; k < 50; k++) {
        int64_t more[240];
        scrapes(more, 240, T0 + k, NULL);
        memcpy(more, all, 100 * sizeof *more);
        right = times_take(&table, &scratch, more + 100, 140);
        both = times_take_both(&table, &scratch, left, right);
        expect_times(both, more, 240);
        times_give(&table, both);
        times_give(&table, right);
    }
    times_give(&table, left);
    cr_assert(table.used == 0);
    times_fini(&table);
}

/* Against a list, with places that are given up and used again. */
Test(times, columns_come_and_go) {
    enum { COLUMNS = 200, ROUNDS = 20000 };
    static struct times *there[COLUMNS];
    static uint32_t uses[COLUMNS];
    struct rng r;
    rng_init(&r, 9);
    begin();
    uint32_t used = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t k = (size_t)rng_below(&r, COLUMNS), count = 1 + k % 60;
        int64_t want[60];
        scrapes(want, count, T0 + (int64_t)(k / 60), NULL);
        if (uses[k] > 0 && rng_chance(&r, 0.6)) {
            expect_times(there[k], want, count);
            times_give(&table, there[k]);
            used -= --uses[k] == 0;
        } else {
            struct times *t = times_take(&table, &scratch, want, count);
            cr_assert(uses[k] == 0 || t == there[k]);
            there[k] = t;
            used += uses[k]++ == 0;
        }
        cr_assert(table.used == used);
    }
    for (size_t k = 0; k < COLUMNS; k++)
        for (; uses[k] > 0; uses[k]--)
            times_give(&table, there[k]);
    cr_assert(table.used == 0 && table.memory_bytes == table.cap * sizeof *table.at);
    times_fini(&table);
}
