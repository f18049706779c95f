/* SPDX-License-Identifier: Apache-2.0 */
/* Exemplars and metadata over the log: power is cut at every call to the disk. After a start with
 * another number of cores all that was acknowledged is there, in its place and order, and nothing
 * that was never sent. Sending all of it again adds nothing. */
#include <inttypes.h>
#include <stdio.h>

#include "tests/storage/store_rig.h"

enum { STEPS = 90 };
#define NOW_MS (STORE_START_MS + 3600000)

static struct store_rig rig;
static unsigned sent, acked;
static uint64_t position;

static bool is_back(void *ctx) {
    (void)ctx;
    return rig.durable[0] >= position || rig.failed_count > 0;
}

static void exemplar_of(unsigned i, struct write_exemplar *out) {
    static const char labels[] = "\x0a\x06\x0a\x01t\x12\x01v";
    unsigned s = i % STORE_SERIES;
    *out = (struct write_exemplar){.id = rig.ids[s],
                                   .shard = rig.shards[s],
                                   .time_ms = STORE_START_MS + i,
                                   .value = i,
                                   .labels = i % 3 == 0 ? SV("") : SV(labels)};
}

/* Two of each name. */
static void metadata_of(unsigned i, char name[static 16], struct write_metadata *out) {
    int n = snprintf(name, 16, "m%u", i / 2);
    out->item = (struct entry_metadata){sv_make(name, (size_t)n), (uint8_t)(i % 8),
                                        i % 2 ? SV("odd") : SV("even"), SV("s")};
    RIG_CHECK(metadata_shard(STORE_SECRET, 0, STORE_SHARDS, out->item.name, &out->shard) == OK,
              "!");
}

/* One sample, so that the series is known, one exemplar, one metadata. */
static void step(unsigned i, struct write_result *r) {
    unsigned s = i % STORE_SERIES;
    int64_t time_ms = STORE_START_MS + i;
    double value = i;
    char name[16];
    struct sv labels = sv_make(rig.series[s], rig.series_len[s]);
    struct write_exemplar exemplar;
    struct write_metadata metadata;
    exemplar_of(i, &exemplar);
    metadata_of(i, name, &metadata);
    struct write_columns c = {.count = 1,
                              .ids = &rig.ids[s],
                              .shards = &rig.shards[s],
                              .times_ms = &time_ms,
                              .values = &value,
                              .labels = &labels,
                              .exemplars = &exemplar,
                              .exemplars_count = 1,
                              .metadata = &metadata,
                              .metadata_count = 1};
    struct err err = {0};
    enum status status = store_rig_write(&rig, &c, NOW_MS, r, &err);
    if (status == ERR_IO) {
        rig.failed_count++;
        return;
    }
    RIG_CHECK(status == OK, "%s", err.msg);
    position = r->position;
    RIG_CHECK(sim_run(rig.sim, is_back, NULL, sim_now_ms(rig.sim) + 3600000), "never came back");
}

static void work(void) {
    struct write_result r = {0};
    for (; sent < STEPS && rig.failed_count == 0; acked += rig.failed_count == 0) {
        step(sent++, &r);
        RIG_CHECK(rig.failed_count > 0 || (r.exemplars_kept == 1 && r.metadata_kept == 1), "kept");
    }
}

/* -- what is there */

static unsigned check_series(struct store *store, uint32_t place, bool *found) {
    struct entry_write w = {0};
    struct entry_exemplar item;
    uint32_t ref;
    int64_t oldest_ms, newest_ms, before_ms = INT64_MIN;
    unsigned n = 0;
    if (!exemplars_series(store_exemplars(store), place, &ref, &oldest_ms, &newest_ms)) return 0;
    exemplars_read(store_exemplars(store), place, INT64_MIN, INT64_MAX, &w);
    for (struct sv rest = buf_sv(&w.exemplars); entry_exemplar_next(&rest, &item); n++) {
        unsigned i = (unsigned)(item.time_ms - STORE_START_MS);
        struct write_exemplar want;
        RIG_CHECK(i < sent && !found[i] && item.time_ms > before_ms, "exemplar %u", i);
        exemplar_of(i, &want);
        RIG_CHECK(item.value == want.value && sv_eq(item.labels, want.labels), "exemplar %u", i);
        RIG_CHECK(head_find(store_head(store), want.id) == ref, "exemplar %u of another series", i);
        found[i] = true;
        before_ms = item.time_ms;
    }
    entry_write_fini(&w);
    return n;
}

static void check_names(const struct store *store, bool *found) {
    const struct metadata *m = store_metadata(store);
    for (uint32_t place = 0; place < metadata_names(m); place++) {
        struct entry_write w = {0};
        struct entry_metadata item;
        metadata_read(m, place, &w);
        unsigned before = UINT32_MAX;
        for (struct sv rest = buf_sv(&w.metadata); entry_metadata_next(&rest, &item);) {
            char name[16];
            struct write_metadata want;
            unsigned i = 0;
            for (size_t k = 1; k < item.name.len; k++)
                i = i * 10 + (unsigned)(item.name.ptr[k] - '0');
            i = 2 * i + sv_eq(item.help, SV("odd"));
            metadata_of(i, name, &want);
            RIG_CHECK(i < sent && !found[i] && i < before && item.type == want.item.type &&
                          sv_eq(item.name, want.item.name) && sv_eq(item.help, want.item.help) &&
                          metadata_shard_at(m, place) == want.shard,
                      "metadata %u", i);
            found[i] = true;
            before = i;
        }
        entry_write_fini(&w);
    }
}

static void verify(void) {
    bool exemplars[STEPS] = {false}, metadata[STEPS] = {false};
    for (unsigned c = 0; c < rig.cores_count; c++) {
        unsigned held = 0;
        for (uint32_t p = 0; p < exemplars_places(store_exemplars(rig.stores[c])); p++)
            held += check_series(rig.stores[c], p, exemplars);
        RIG_CHECK(held == exemplars_count(store_exemplars(rig.stores[c])), "count");
        check_names(rig.stores[c], metadata);
    }
    for (unsigned i = 0; i < acked; i++)
        RIG_CHECK(exemplars[i] && metadata[i], "step %u is gone", i);
    RIG_CHECK(sent <= acked + 1, "%u sent, %u acknowledged", sent, acked);
}

static uint64_t run(uint64_t n) {
    sent = acked = 0;
    position = 0;
    store_rig_init(&rig, n + 1);
    rig.options.exemplars_max = 1000;
    if (n > 0) sim_disk_cut_at(rig.sd, n);
    if (store_rig_start(&rig, 1) == OK) work();
    uint64_t calls = sim_disk_calls(rig.sd);
    if (n == 0) verify();
    for (unsigned round = 0; n > 0 && round < 3; round++) {
        store_rig_power_cut(&rig);
        rig.failed_count = 0;
        rig.epoch += round == 1;
        store_rig_must_start(&rig, 1 + (unsigned)(n + round) % STORE_CORES);
        verify();
    }
    if (n > 0) { /* a resend: what was acknowledged is held, the rest is taken */
        store_rig_power_cut(&rig);
        store_rig_must_start(&rig, 1);
        position = 0;
        struct write_result r = {0};
        for (unsigned i = 0; i < acked; i++) {
            step(i, &r);
            RIG_CHECK(r.exemplars_kept == 0 && r.metadata_kept == 0, "step %u was taken twice", i);
        }
        verify();
    }
    store_rig_fini(&rig);
    return calls;
}

int main(void) {
    uint64_t calls = run(0);
    for (uint64_t n = 1; n <= calls; n++)
        run(n);
    printf("power cut at each of %" PRIu64 " calls\n", calls);
    return 0;
}
