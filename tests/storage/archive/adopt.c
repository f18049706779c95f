/* SPDX-License-Identifier: Apache-2.0 */
/* A block that `cairnctl import` left is taken up at a start, and so is what it left of metric
 * families, and both stay: for shards that have no record yet, too, through rounds, another start
 * and a power cut at any call of the taking up. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/archive/families.h"
#include "tests/storage/archive/archive_rig.h"

enum { SAMPLES = 40, FAMILIES = 9 };
static struct archive_rig rig;

static int by_place(const void *a, const void *b) {
    const struct model_series *const *x = a, *const *y = b;
    if ((*x)->shard != (*y)->shard) return (*x)->shard < (*y)->shard ? -1 : 1;
    size_t len = MIN((*x)->canonical_len, (*y)->canonical_len);
    int order = memcmp((*x)->canonical, (*y)->canonical, len);
    return order != 0 ? order
                      : ((*x)->canonical_len > (*y)->canonical_len) -
                            ((*x)->canonical_len < (*y)->canonical_len);
}

static void model_add(struct model_series *s, struct samples *samples) {
    samples->count = 0;
    for (int i = 0; i < SAMPLES; i++) {
        int64_t time_ms = AR_START_MS - 30 * AR_HOUR_MS + i * 60000;
        samples->times_ms[samples->count] = time_ms;
        samples->values[samples->count++] = i;
        s->samples[s->count++] =
            (struct model_sample){.time_ms = time_ms, .now.value = i, .state = MODEL_HELD};
    }
}

/* On the disk alone, as another program writes it: every other series. */
static void import_write(const char *path, size_t first) {
    struct model_series *order[AR_SERIES];
    struct block_writer_options o = {.disk = sim_disk_as_disk(rig.sd),
                                     .path = path,
                                     .secret = AR_SECRET,
                                     .shards_count = AR_SHARDS};
    struct block_writer *w;
    struct samples samples = {0};
    struct err err;
    bool written;
    for (size_t i = 0; i < AR_SERIES; i++)
        order[i] = &rig.model.series[i];
    qsort(order, AR_SERIES, sizeof(struct model_series *), by_place);
    RIG_CHECK(samples_reserve(&samples, SAMPLES) == OK, "memory");
    RIG_CHECK(block_writer_new(&o, &w, &err) == OK, "%s", err.msg);
    for (size_t i = first; i < AR_SERIES; i += 2) {
        struct model_series *s = order[i];
        model_add(s, &samples);
        enum status status =
            block_writer_add(w, s->shard, sv_make(s->canonical, s->canonical_len), &samples, &err);
        RIG_CHECK(status == OK, "%s", err.msg);
    }
    RIG_CHECK(block_writer_finish(w, &written, &err) == OK && written, "%s", err.msg);
    block_writer_free(w);
    samples_fini(&samples);
}

/* Two of each name. */
static void family(int i, char name[static 24], struct entry_metadata *out, uint32_t *out_shard) {
    snprintf(name, 24, "family_%d", i / 2);
    *out = (struct entry_metadata){sv_from(name), 2, i % 2 ? SV("newer") : SV("older"), SV("s")};
    RIG_CHECK(metadata_shard(AR_SECRET, 0, AR_SHARDS, out->name, out_shard) == OK, "memory");
}

static void families_leave(void) {
    struct metadata m;
    struct err err;
    metadata_init(&m);
    for (int i = 0; i < 2 * FAMILIES; i++) {
        char name[24];
        struct entry_metadata item;
        uint32_t shard;
        family(i, name, &item, &shard);
        RIG_CHECK(metadata_add(&m, shard, &item) == OK, "memory");
    }
    enum status status = families_write(sim_disk_as_disk(rig.sd), "data/blocks/import-1.families",
                                        &m, AR_SHARDS, &err);
    RIG_CHECK(status == OK, "%s", err.msg);
    metadata_fini(&m);
}

static void families_verify(void) {
    for (int i = 0; i < FAMILIES; i++) {
        char name[24];
        struct entry_metadata item;
        uint32_t shard, count = 0;
        struct entry_write w = {0};
        family(2 * i, name, &item, &shard);
        const struct metadata *m = store_metadata(archive_rig_store(&rig, shard));
        RIG_CHECK(metadata_has_name(m, item.name), "%s is not known", name);
        metadata_read(m, metadata_place(m, item.name), &w);
        for (struct sv rest = buf_sv(&w.metadata); entry_metadata_next(&rest, &item);)
            RIG_CHECK(sv_eq(item.help, count++ == 0 ? SV("newer") : SV("older")), "%s", name);
        RIG_CHECK(count == 2, "%s: %u", name, count);
        entry_write_fini(&w);
    }
    RIG_CHECK(!disk_exists(sim_disk_as_disk(rig.sd), "data/blocks/import-1.families"), "it stays");
}

static void must_start(void) {
    enum status status = archive_rig_start(&rig);
    RIG_CHECK(status == OK, "%s", rig.err.msg);
}

/* Returns the calls to the disk that the taking up made. */
static uint64_t run(uint64_t cut) {
    archive_rig_init(&rig, cut + 1);
    must_start();
    uint64_t number = archive_take_number(rig.archive);
    char leftover[64]; /* of a start that ended before the manifest named it */
    snprintf(leftover, sizeof leftover, "data/blocks/import-%016" PRIx64 ".block", number);
    archive_rig_kill(&rig);
    import_write("data/blocks/import-0.block", 0); /* sorted before it */
    import_write(leftover, 1);
    families_leave();
    uint64_t before = sim_disk_calls(rig.sd);
    if (cut > 0) sim_disk_cut_at(rig.sd, before + cut);
    bool started = archive_rig_start(&rig) == OK;
    uint64_t calls = sim_disk_calls(rig.sd) - before;
    if (cut > 0 || !started) {
        archive_rig_power_cut(&rig);
        must_start();
    }
    archive_rig_verify(&rig);
    families_verify();
    RIG_CHECK(rig.counts.from_blocks > 0, "nothing was taken up");
    archive_rig_run(&rig, 45000); /* some rounds, before any shard is cut */
    archive_rig_verify(&rig);
    archive_rig_run(&rig, 300000);
    archive_rig_verify(&rig);
    archive_rig_kill(&rig);
    must_start();
    archive_rig_verify(&rig);
    families_verify();
    archive_rig_fini(&rig);
    return calls;
}

int main(void) {
    uint64_t calls = run(0);
    for (uint64_t cut = 1; cut <= calls; cut++)
        run(cut);
    printf("power cut at each of %" PRIu64 " calls\n", calls);
    return 0;
}
