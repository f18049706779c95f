/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "tests/storage/store_rig.h"

#define NOW_MS (STORE_START_MS + 3600000)

static struct store_rig rig;
static struct store *store;
static uint32_t shard;
static struct buf handed; /* entries of the last block */

static void on_block(struct store *s, uint64_t position, const struct store_block *block,
                     void *ctx) {
    (void)s, (void)position, (void)ctx;
    buf_clear(&handed);
    buf_put_sv(&handed, block->entries);
}

/* The entry is the store's own, and so in a block. */
static void open_epoch(uint32_t epoch) {
    store_rig_open_epoch(&rig, shard, epoch);
    buf_clear(&handed);
}

static void start(void) {
    store_rig_init(&rig, 1);
    rig.follows = true;
    shard = rig.shards[0];
    rig.roles[shard] = (struct store_shard_options){shard, STORE_LOG, false, 3, 1};
    store_rig_must_start(&rig, 1);
    store = rig.stores[0];
    store_set_block_hook(store, on_block, NULL);
    open_epoch(1);
}

static enum status offer(const struct write_columns *c, struct write_result *r, size_t *unknown) {
    struct arena scratch;
    uint32_t *list;
    struct err err = {0};
    arena_init(&scratch, 0);
    core_set_current(store_core(store));
    enum status status = store_offer(store, c, NOW_MS, &scratch, r, &list, unknown, &err);
    core_set_current(NULL);
    if (status != OK) cr_log_info("%s", err.msg);
    arena_fini(&scratch);
    return status;
}

static struct write_columns one(size_t s, bool with_labels, int64_t at_ms) {
    static int64_t time_ms;
    static double value;
    static struct sv labels;
    time_ms = STORE_START_MS + at_ms;
    value = 1.5;
    labels = sv_make(rig.series[s], rig.series_len[s]);
    return (struct write_columns){.count = 1,
                                  .ids = &rig.ids[s],
                                  .shards = &rig.shards[s],
                                  .times_ms = &time_ms,
                                  .values = &value,
                                  .labels = with_labels ? &labels : NULL};
}

/* What the only entry of the last block is. */
static struct entry_write_view only_entry(struct entry *e, struct arena *arena) {
    struct sv rest = buf_sv(&handed);
    struct entry_write_view v;
    cr_assert(entry_next(&rest, e, NULL) == OK && rest.len == 0);
    cr_assert(entry_write_decode(e->body, arena, &v, NULL) == OK);
    return v;
}

Test(offer, numbers_series_within_the_epoch_and_asks_for_labels) {
    struct write_result r;
    struct entry e;
    struct arena arena;
    size_t unknown, second = 1;
    arena_init(&arena, 0);
    start();
    while (rig.shards[second] != shard)
        second++;
    struct write_columns c = one(0, false, 0);
    cr_assert(offer(&c, &r, &unknown) == ERR_UNAVAILABLE && unknown == 1 && handed.len == 0);
    c = one(0, true, 0);
    cr_assert(offer(&c, &r, &unknown) == OK && unknown == 0 && r.counts[VERDICT_ACCEPT] == 1);
    struct entry_write_view v = only_entry(&e, &arena);
    cr_assert(e.type == ENTRY_OFFER && e.incarnation == 3 && e.epoch == 1 && e.seq == 1);
    cr_assert(v.series_count == 1 && v.numbers[0] == 0);
    c = one(second, true, 0);
    cr_assert(offer(&c, &r, &unknown) == OK);
    v = only_entry(&e, &arena);
    cr_assert(e.seq == 2 && v.series_count == 1 && v.numbers[0] == 1);
    c = one(0, false, 1); /* known in this epoch; older, doubled, all is taken */
    cr_assert(offer(&c, &r, &unknown) == OK && offer(&c, &r, &unknown) == OK);
    v = only_entry(&e, &arena);
    cr_assert(e.seq == 4 && v.series_count == 0 && v.numbers[0] == 0 && v.values[0] == 1.5);
    open_epoch(2);
    c = one(second, false, 2);
    cr_assert(offer(&c, &r, &unknown) == ERR_UNAVAILABLE && unknown == 1);
    c = one(second, true, 2);
    cr_assert(offer(&c, &r, &unknown) == OK);
    v = only_entry(&e, &arena);
    cr_assert(e.epoch == 2 && e.seq == 1 && v.series_count == 1 && v.numbers[0] == 0);
    /* The same epoch in another process: numbers go on behind those in the log. */
    while (rig.durable[0] < r.position)
        cr_assert(sim_step(rig.sim));
    store_rig_power_cut(&rig);
    store_rig_must_start(&rig, 1);
    store = rig.stores[0];
    store_set_block_hook(store, on_block, NULL);
    open_epoch(2);
    c = one(0, true, 3);
    cr_assert(offer(&c, &r, &unknown) == OK);
    v = only_entry(&e, &arena);
    cr_assert(e.epoch == 2 && e.seq == 2 && v.series_count == 1 && v.numbers[0] == 1);
    arena_fini(&arena);
    buf_fini(&handed);
    store_rig_fini(&rig);
}

Test(offer, refuses_the_future_other_shards_and_false_labels) {
    struct write_result r;
    size_t unknown, foreign = 1;
    start();
    struct write_columns c = one(0, true, 3600000 + 600000);
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_ACCEPT] == 1);
    c = one(0, true, 3600000 + 600001);
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_FUTURE] == 1 && r.refused);
    cr_assert(strcmp(r.first_text, "out of bounds: timestamp is too far in the future") == 0);
    cr_assert(r.first_plain_len == strlen(r.first_text) && r.position == 2);
    while (rig.shards[foreign] == shard)
        foreign++;
    store_rig_open_epoch(&rig, rig.shards[foreign], 1);
    c = one(foreign, true, 0); /* a shard with a head */
    cr_assert(offer(&c, &r, &unknown) == ERR_CONFLICT);
    c = one(foreign, true, 0);
    c.shards = &shard;
    cr_assert(offer(&c, &r, &unknown) == ERR_CONFLICT);
    c = one(0, true, 0);
    struct err err;
    cr_assert(store_rig_write(&rig, &c, NOW_MS, &r, &err) == ERR_CONFLICT); /* no head here */
    struct sv wrong = SV("x");
    size_t fresh = 1;
    while (rig.shards[fresh] != shard)
        fresh++;
    c = one(fresh, true, 0);
    c.labels = &wrong;
    cr_assert(offer(&c, &r, &unknown) == ERR_CORRUPT);
    buf_fini(&handed);
    store_rig_fini(&rig);
}

Test(offer, limits_bound_the_series_of_an_epoch) {
    struct write_result r;
    size_t unknown, second = 1;
    start();
    store_rig_kill(&rig);
    rig.options.head.series_max = 1;
    store_rig_must_start(&rig, 1);
    store = rig.stores[0];
    open_epoch(1);
    while (rig.shards[second] != shard)
        second++;
    struct write_columns c = one(0, true, 0);
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_ACCEPT] == 1);
    c = one(second, true, 0);
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_LIMIT] == 1 && r.refused);
    c = one(0, false, 1);
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_ACCEPT] == 1);
    open_epoch(2); /* forgotten */
    c = one(second, true, 0);
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_ACCEPT] == 1);
    const struct head_limit none = {SV("__name__"), SV("up"), 0};
    cr_assert(store_set_limits(store, &(struct series_limits){.at = &none, .count = 1}) == OK);
    c = one(second, false, 1); /* known by now */
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_ACCEPT] == 1);
    c = one(0, true, 2);
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_LIMIT] == 1 && r.refused);
    cr_assert(store_set_limits(store, &(struct series_limits){0}) == OK);
    cr_assert(offer(&c, &r, &unknown) == OK && r.counts[VERDICT_ACCEPT] == 1);
    store_rig_fini(&rig);
}
