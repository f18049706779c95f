/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "node/base/rng.h"
#include "storage/index.h"

static void index_add(struct index *ix, uint32_t pair, uint32_t ref) {
    cr_assert(index_reserve(ix, pair) == OK);
    index_put(ix, pair, ref);
}

Test(index, lists_keep_what_was_put) {
    struct index ix;
    index_init(&ix);
    cr_expect(index_get(&ix, 5).count == 0);
    for (uint32_t ref = 0; ref < 10000; ref++)
        for (uint32_t pair = 0; pair < 12; pair++)
            if (ref % (1u << pair) == 0) index_add(&ix, pair, ref);
    size_t bytes = 0;
    for (uint32_t pair = 0; pair < 12; pair++) {
        struct posting_view p = index_get(&ix, pair);
        cr_assert(p.count == (9999u >> pair) + 1);
        for (uint32_t i = 0; i < p.count; i++)
            cr_assert(p.at[i] == i << pair);
        bytes += p.count * sizeof *p.at;
    }
    cr_expect(index_memory_bytes(&ix) - 1024 * 16 - 16 * 8 <= bytes * 5 / 4, "%zu",
              index_memory_bytes(&ix));
    index_fini(&ix);
}

Test(index, seeking_finds_the_first_that_is_not_below) {
    const uint64_t seed = 0x5eed0003;
    printf("index seed %#llx\n", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    static uint32_t at[300];
    for (int round = 0; round < 3000; round++) {
        uint32_t count = (uint32_t)rng_below(&r, 300), v = 0;
        for (uint32_t i = 0; i < count; i++)
            at[i] = v += 1 + (uint32_t)rng_below(&r, 9);
        struct posting_view p = {at, count};
        for (int k = 0; k < 20; k++) {
            uint32_t from = (uint32_t)rng_below(&r, count + 1),
                     ref = (uint32_t)rng_below(&r, v + 3), want = from;
            if (k == 0) ref = UINT32_MAX;
            while (want < count && at[want] < ref)
                want++;
            cr_assert(posting_seek(p, from, ref) == want, "%u from %u of %u", ref, from, count);
        }
    }
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
