/* SPDX-License-Identifier: Apache-2.0 */
/* From which file of the log on a store needs it. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "tests/storage/store_rig.h"

#define HOUR_MS 3600000

static struct store_rig rig;

static void write_at(int64_t time_ms) {
    struct sv labels = sv_make(rig.series[0], rig.series_len[0]);
    double value = 1;
    struct write_columns c = {.count = 1,
                              .ids = rig.ids,
                              .shards = rig.shards,
                              .times_ms = &time_ms,
                              .values = &value,
                              .labels = &labels};
    struct write_result r;
    cr_assert(store_rig_write(&rig, &c, time_ms, &r, NULL) == OK);
    cr_assert(r.counts[VERDICT_ACCEPT] == 1);
}

static bool any_shard(void *ctx, uint32_t shard) {
    (void)ctx, (void)shard;
    return true;
}

/* As the archive does it for what is closed. */
static void advance_all(struct store *store) {
    struct manifest_shard record;
    core_set_current(store_core(store));
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        if (!store_shard_is_due(store, i)) continue;
        cr_assert(store_shard_record(store, i, store_shard_closed(store, i), &record) == OK);
        store_shard_advance(store, &record);
        manifest_shard_fini(&record);
    }
    core_set_current(NULL);
}

/* Every shard but one stays empty, and what that one needs is in the newest files. */
Test(log_floor, shards_without_a_sample_keep_no_files_of_the_log) {
    store_rig_init(&rig, 1);
    rig.options.block_range_ms = 2 * HOUR_MS;
    rig.log_options.file_bytes_max = 1000;
    store_rig_must_start(&rig, 1);
    struct store *store = rig.stores[0];
    struct store_may may = {.write = any_shard};
    uint64_t floor = 0;
    for (int minute = 0; minute <= 300; minute++) {
        write_at(STORE_START_MS + minute * (int64_t)60000);
        core_set_current(store_core(store));
        uint64_t now_ns = (uint64_t)(minute + 1) * 60000000000;
        cr_assert(store_cut_due(store, now_ns, &may, NULL) == OK);
        core_set_current(NULL);
        store_rig_settle(&rig, 0);
        advance_all(store);
        uint64_t now = store_log_floor(store);
        cr_assert(now >= floor && now < UINT64_MAX, "%" PRIu64 " after %" PRIu64, now, floor);
        floor = now;
    }
    /* a frame a minute: from the CUT that closed the range before, two hours ago */
    core_set_current(rig.rt->log_core);
    uint64_t newest = log_current_file(rig.log);
    core_set_current(NULL);
    cr_assert(floor > 150 && floor < newest, "%" PRIu64 " of %" PRIu64, floor, newest);
    store_rig_drain(&rig);
    store_rig_fini(&rig);
}
