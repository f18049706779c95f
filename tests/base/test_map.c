/* SPDX-License-Identifier: Apache-2.0 */
/* The table against a plain array that knows which refs are in it, under random inserts, removes
 * and lookups. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "node/base/map.h"
#include "node/base/rng.h"

enum { KEYS = 5000 };
struct model {
    uint64_t hashes[KEYS]; /* ref -> hash; some collide */
    bool present[KEYS];
    size_t count;
};

static bool model_eq(const void *owner, uint32_t ref, const void *key) {
    (void)owner;
    return ref == *(const uint32_t *)key;
}

static uint64_t model_hash(const void *owner, uint32_t ref) {
    return ((const struct model *)owner)->hashes[ref];
}

struct visit {
    const struct model *model;
    bool seen[KEYS];
    size_t count, stop_after;
};

static bool visit_ref(void *ctx, uint32_t ref) {
    struct visit *v = ctx;
    cr_assert(v->model->present[ref] && !v->seen[ref]);
    v->seen[ref] = true;
    return ++v->count != v->stop_after;
}

static void check_all(const struct map *m, const struct model *model) {
    cr_assert_eq(m->count, model->count);
    for (uint32_t ref = 0; ref < KEYS; ref++) {
        uint32_t found = map_find(m, model->hashes[ref], model_eq, model, &ref);
        cr_assert_eq(found, model->present[ref] ? ref : MAP_NONE, "ref %u", ref);
    }
    struct visit v = {.model = model};
    map_each(m, visit_ref, &v);
    cr_assert_eq(v.count, model->count);
}

static void run(uint64_t seed, unsigned hash_bits) {
    cr_log_info("seed %llu, %u hash bits", (unsigned long long)seed, hash_bits);
    struct rng rng;
    struct map m;
    struct model *model = calloc(1, sizeof *model);
    rng_init(&rng, seed);
    map_init(&m);
    for (size_t i = 0; i < KEYS; i++)
        model->hashes[i] = rng_u64(&rng) << (64 - hash_bits) | rng_below(&rng, 3);
    for (int step = 0; step < 60000; step++) {
        /* the population swells and shrinks, so that the table grows, fills with tombstones and is
         * cleaned */
        bool growing = (step / 10000) % 2 == 0;
        uint32_t ref = (uint32_t)rng_below(&rng, step < 20000 ? 300 : KEYS);
        uint64_t hash = model->hashes[ref];
        if (!model->present[ref] && rng_chance(&rng, growing ? 0.9 : 0.2)) {
            map_prefetch(&m, hash);
            cr_assert_eq(map_insert(&m, hash, ref, model_hash, model), OK);
            model->present[ref] = true;
            model->count++;
        } else if (rng_chance(&rng, growing ? 0.2 : 0.9)) {
            cr_assert_eq(map_remove(&m, hash, ref), model->present[ref]);
            model->count -= model->present[ref];
            model->present[ref] = false;
        }
        if (step % 5000 == 0) check_all(&m, model);
    }
    check_all(&m, model);
    /* KEYS entries need at most twice the slots a load of 7/8 asks for, tombstones or not */
    cr_assert(map_memory_bytes(&m) <= 16384 * 5 + 8, "%zu", map_memory_bytes(&m));
    map_fini(&m);
    cr_assert_eq(map_memory_bytes(&m), 0);
    free(model);
}

Test(map, agrees_with_a_model) {
    for (uint64_t seed = 1; seed <= 5; seed++)
        run(seed, 64);
}

Test(map, agrees_with_a_model_when_hashes_collide) {
    for (uint64_t seed = 1; seed <= 2; seed++)
        run(seed, 8);
}

Test(map, churn_at_a_small_size_does_not_grow) {
    struct map m;
    struct model *model = calloc(1, sizeof *model);
    map_init(&m);
    for (uint32_t i = 0; i < KEYS; i++)
        model->hashes[i] = hash64(&i, sizeof i, 1);
    for (uint32_t round = 0; round < 100; round++)
        for (uint32_t i = 0; i < KEYS; i++) {
            cr_assert_eq(map_insert(&m, model->hashes[i], i, model_hash, model), OK);
            if (i >= 5) cr_assert(map_remove(&m, model->hashes[i - 5], i - 5));
            if (i == KEYS - 1)
                for (uint32_t k = KEYS - 5; k < KEYS; k++)
                    cr_assert(map_remove(&m, model->hashes[k], k));
        }
    cr_assert_eq(m.count, 0);
    cr_assert(map_memory_bytes(&m) <= 32 * 5 + 8, "%zu", map_memory_bytes(&m));
    map_fini(&m);
    free(model);
}

Test(map, each_stops_and_the_empty_table_answers) {
    struct map m;
    struct model *model = calloc(1, sizeof *model);
    uint32_t key = 3;
    map_init(&m);
    cr_assert_eq(map_find(&m, 1, model_eq, model, &key), MAP_NONE);
    cr_assert(!map_remove(&m, 1, 3));
    map_prefetch(&m, 1);
    for (uint32_t i = 0; i < 5; i++) {
        model->present[i] = true;
        cr_assert_eq(map_insert(&m, i, i, model_hash, model), OK);
    }
    struct visit v = {.model = model, .stop_after = 3};
    map_each(&m, visit_ref, &v);
    cr_assert_eq(v.count, 3);
    map_fini(&m);
    free(model);
}

/* Test vectors of the xxHash project: XXH64 and XXH3 of the empty input with seed 0. */
Test(hash, known_vectors) {
    cr_assert_eq(hash_xxh64("", 0), 0xef46db3751d8e999);
    cr_assert_eq(hash64("", 0, 0), 0x2d06800538d394c2);
    struct hash128 h = hash128("", 0, 0);
    cr_assert(h.hi == 0x99aa06d3014798d8 && h.lo == 0x6001c324468d497f);
    cr_assert_neq(hash64("a", 1, 1), hash64("a", 1, 2));
}
