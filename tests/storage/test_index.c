/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "node/base/rng.h"
#include "storage/index.h"

static void index_add(struct index *ix, uint32_t pair, uint32_t order) {
    cr_assert(index_reserve(ix, pair) == OK);
    index_put(ix, pair, order);
}

Test(index, lists_keep_what_was_put) {
    struct index ix;
    index_init(&ix);
    cr_expect(index_get(&ix, 5).entries == 0 && index_count(&ix, 5) == 0);
    for (uint32_t order = 0; order < 10000; order++)
        for (uint32_t pair = 0; pair < 12; pair++)
            if (order % (1u << pair) == 0) index_add(&ix, pair, order);
    size_t bytes = 0;
    for (uint32_t pair = 0; pair < 12; pair++) {
        struct posting_view p = index_get(&ix, pair);
        uint32_t hint = 0, count = (9999u >> pair) + 1;
        cr_assert(index_count(&ix, pair) == count);
        for (uint32_t i = 0; i < count; i++)
            cr_assert(posting_seek(p, &hint, i == 0 ? 0 : ((i - 1) << pair) + 1) == i << pair);
        cr_assert(posting_seek(p, &hint, ((count - 1) << pair) + 1) == ORDERS_NONE);
        bytes += pair == 0 ? 0 : count * sizeof *p.at;
    }
    cr_expect(index_memory_bytes(&ix) - 1024 * 16 - 16 * 8 <= bytes * 5 / 4, "%zu",
              index_memory_bytes(&ix));
    index_fini(&ix);
}

enum { LIST_MAX = 4000 };

/* Some at once from some place on, all the way, now and then with a jump. */
static void lists_are_taken(struct rng *r, struct posting_view p, const uint32_t *want,
                            uint32_t count) {
    uint32_t out[70], hint = 0, at = 0, order = 0;
    for (;;) {
        uint32_t max = 1 + (uint32_t)rng_below(r, ARRAY_LEN(out));
        uint32_t got = posting_take(p, &hint, order, out, max);
        while (at < count && want[at] < order)
            at++;
        cr_assert(got == MIN(max, count - at), "%u of %u from %u on", got, max, order);
        cr_assert(got == 0 || memcmp(out, &want[at], got * sizeof *out) == 0);
        if (got == 0) return;
        order = out[got - 1] + 1 + (rng_chance(r, 0.2) ? (uint32_t)rng_below(r, 300) : 0);
    }
}

/* Against a plain list: orders in runs and gaps of every kind, series that go, sweeps, and walks
 * with growing and with fresh hints. */
Test(index, lists_of_every_shape_against_a_plain_one) {
    const uint64_t seed = 0x5eed0003;
    printf("index seed %#llx\n", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    static uint32_t want[LIST_MAX];
    static uint16_t shard_of[LIST_MAX * 10];
    uint32_t as_runs = 0;
    for (int round = 0; round < 300; round++) {
        struct index ix;
        struct orders orders = {0};
        index_init(&ix);
        uint32_t count = 0, run = 1 + (uint32_t)rng_below(&r, 40),
                 gap = 1 + (uint32_t)rng_below(&r, 9), left = run;
        uint32_t adds = (uint32_t)rng_below(&r, LIST_MAX);
        for (uint32_t i = 0; i < adds; i++) {
            for (uint32_t skip = left == 0 ? gap : 0; skip > 0; skip--) {
                cr_assert(orders_reserve(&orders) == OK);
                (void)orders_put(&orders, 1, 0);
            }
            left = left == 0 ? run : left - 1;
            if (rng_chance(&r, 0.001)) run = 1 + (uint32_t)rng_below(&r, 40);
            cr_assert(orders_reserve(&orders) == OK);
            uint32_t order = orders_put(&orders, i, (uint16_t)(i * 40503u));
            shard_of[order] = (uint16_t)(i * 40503u);
            index_add(&ix, 0, order);
            want[count++] = order;
            if (rng_chance(&r, 0.999)) continue;
            double share = rng_unit(&r);
            uint32_t kept = 0;
            for (uint32_t k = 0; k < count; k++) {
                bool goes = rng_chance(&r, share);
                if (goes) orders_remove(&orders, want[k]);
                if (!goes) want[kept++] = want[k];
            }
            count = kept;
            cr_assert(index_sweep(&ix, 0, &orders) == count);
        }
        struct posting_view p = index_get(&ix, 0);
        as_runs += p.runs != NULL;
        cr_assert(index_count(&ix, 0) == count);
        uint32_t hint = 0, at = 0;
        for (uint32_t order = 0; order <= orders.count; order += 1 + (uint32_t)rng_below(&r, 7)) {
            uint32_t fresh = 0;
            while (at < count && want[at] < order)
                at++;
            uint32_t found = at < count ? want[at] : ORDERS_NONE;
            cr_assert(posting_seek(p, &hint, order) == found, "%u", order);
            cr_assert(posting_seek(p, &fresh, order) == found, "%u", order);
        }
        for (uint32_t i = 0; i < count; i++)
            cr_assert(orders_shard(&orders, want[i]) == shard_of[want[i]]);
        lists_are_taken(&r, p, want, count);
        index_fini(&ix);
        orders_fini(&orders);
        cr_assert(orders.memory_bytes == 0);
    }
    cr_expect(as_runs > 50 && as_runs < 250, "%u lists are runs", as_runs);
}

/* A thousand series a target, twelve targets: what all have is one run. */
Test(index, runs_take_no_memory_to_speak_of) {
    struct index ix;
    index_init(&ix);
    for (uint32_t order = 0; order < 12000; order++) {
        index_add(&ix, 0, order);
        index_add(&ix, 1 + order / 1000, order);
    }
    cr_expect(index_memory_bytes(&ix) - 1024 * 16 - 16 * 8 < 13 * 100, "%zu",
              index_memory_bytes(&ix));
    index_fini(&ix);
}

Test(index, symbols_are_found_again_and_stay_where_they_are) {
    struct symbols sy;
    symbols_init(&sy);
    const char *first = NULL;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20000; i++) {
            char name[16], value[300];
            snprintf(name, sizeof name, "n%d", i % 50);
            snprintf(value, sizeof value, "v%0*d", i % 7 == 0 ? 200 : 3, i);
            struct label label = {sv_from(name), sv_from(value)};
            struct buf canonical = {0};
            label_put_canonical(&canonical, label.name, label.value);
            cr_assert(canonical.len == label_canonical_bytes(&label));
            uint32_t pair;
            cr_assert(symbols_intern(&sy, buf_sv(&canonical), &label, &pair) == OK &&
                      pair == (uint32_t)i);
            cr_assert(symbols_find(&sy, label.name, label.value) == pair);
            struct label got = pair_label(symbols_pair(sy.pairs.dir, pair));
            cr_assert(sv_eq(got.name, label.name) && sv_eq(got.value, label.value));
            if (first == NULL) first = symbols_pair(sy.pairs.dir, 0)->bytes;
            buf_fini(&canonical);
        }
    }
    const uint32_t *run;
    uint32_t pair_sum = 0;
    for (int i = 0; i < 3000; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i * 7919 % 3001);
        struct label label = {SV("many"), sv_from(value)};
        struct buf canonical = {0};
        label_put_canonical(&canonical, label.name, label.value);
        uint32_t pair;
        cr_assert(symbols_intern(&sy, buf_sv(&canonical), &label, &pair) == OK);
        if (i >= NAME_RUN && i < 2 * NAME_RUN) pair_sum += pair;
        buf_fini(&canonical);
    }
    size_t before = symbols_memory_bytes(&sy);
    cr_assert(symbols_sorted_run(&sy, 50, 1, &run) == OK);
    cr_expect(symbols_memory_bytes(&sy) >= before + 2 * NAME_RUN * sizeof *run);
    for (int i = 0; i < NAME_RUN; i++) {
        pair_sum -= run[i];
        if (i == 0) continue;
        struct sv a = pair_value(symbols_pair(sy.pairs.dir, run[i - 1]));
        cr_assert(sv_cmp(a, pair_value(symbols_pair(sy.pairs.dir, run[i]))) < 0);
    }
    cr_expect(pair_sum == 0);
    cr_expect(sy.names_count == 51 && sy.pairs.count == 23000 && sy.names[7].pairs.count == 400);
    cr_expect(symbols_pair(sy.pairs.dir, 0)->bytes == first);
    cr_expect(symbols_find(&sy, SV("n1"), SV("v000")) == MAP_NONE &&
              symbols_find_name(&sy, SV("n51")) == MAP_NONE);
    symbols_fini(&sy);
}
