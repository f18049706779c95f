/* SPDX-License-Identifier: Apache-2.0 */
/* A block that changes a bit on the disk is found by the scrub, or by who reads it, and is answered
 * no more; what another replica had of the same times takes its place, as a whole or not at all,
 * whenever the power goes. The other replica is this one, before. Rows of these times, and bad
 * ones, go and are made anew; where samples have ended they are fetched, too, and go along when
 * shards as a whole are given.
 *   archive_repair [seeds] [first seed] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring/replica/ranges.h"
#include "storage/archive/digest.h"
#include "storage/archive/transfer.h"
#include "tests/storage/archive/archive_rig.h"

enum { PIECES_MAX = 64 };

/* What a core gave of its shards. */
struct taken {
    uint32_t shards[AR_SHARDS];
    struct import_shard imports[AR_SHARDS];
    struct shard_span spans[AR_SHARDS];
    size_t shards_count;
    struct buf pieces[PIECES_MAX];
    size_t pieces_count;
    bool whole; /* all of the shards, no spans of them */
    struct store_export export_;
    struct store_import import;
    bool done, last;
    enum status status;
    struct err err;
};
static struct archive_rig rig;
static struct taken taken[AR_CORES];
static struct {
    unsigned by_scrub, by_reading, refused, corrupt, cuts, repaired, late, moved, rows_fetched,
        only_bad;
    uint64_t merges;
} counts;

static struct archive_stats stats(void) {
    struct archive_stats s;
    archive_get_stats(rig.archive, &s);
    return s;
}

/* -- the workload */

static void write_hours(unsigned hours) {
    int64_t end_ms = rig.now_ms + hours * AR_HOUR_MS;
    for (; rig.now_ms < end_ms; rig.now_ms += 150000) {
        size_t series = rng_below(&rig.rng, AR_SERIES);
        double value = (double)rng_below(&rig.rng, 1000) / 8;
        RIG_CHECK(archive_rig_write(&rig, series, rig.now_ms, value), "%s", rig.err.msg);
    }
}

static void delete_some(void) {
    struct arena arena;
    struct matcher m = {.kind = MATCH_EQ, .name = SV("job"), .value = SV("db")};
    arena_init(&arena, 0);
    RIG_CHECK(matcher_compile(&m, &arena, NULL) == OK, "!");
    int64_t max_ms = rig.now_ms - 4 * AR_HOUR_MS;
    RIG_CHECK(archive_rig_delete(&rig, &m, 1, max_ms - AR_HOUR_MS, max_ms), "%s", rig.err.msg);
    matcher_fini(&m);
    arena_fini(&arena);
}

/* -- giving and taking */

static bool on_piece(struct store_export *x, struct sv bytes) {
    struct taken *t = container_of(x, struct taken, export_);
    RIG_CHECK(t->pieces_count < PIECES_MAX, "many pieces");
    buf_put_sv(&t->pieces[t->pieces_count++], bytes);
    export_resume(rig.stores[t - taken], x);
    return true;
}

static void on_exported(struct store_export *x, enum status status, const struct err *err) {
    struct taken *t = container_of(x, struct taken, export_);
    RIG_CHECK(status == OK, "%s", err->msg);
    t->done = true;
}

static void give(unsigned core) {
    struct taken *t = &taken[core];
    for (uint32_t i = 0; i < AR_SHARDS; i++) {
        struct store_archived a;
        if (!store_shard_archive(rig.stores[core], i, &a) || a.from_ms == INT64_MIN) continue;
        t->shards[t->shards_count] = i;
        t->imports[t->shards_count] = (struct import_shard){i, a.copy};
        t->spans[t->shards_count++] =
            (struct shard_span){.min_ms = INT64_MIN, .max_ms = a.from_ms - 1};
    }
    t->export_ = (struct store_export){.shards = t->shards,
                                       .shards_count = t->shards_count,
                                       .spans = t->whole ? NULL : t->spans,
                                       .piece = on_piece,
                                       .done = on_exported};
    core_set_current(rig.rt->cores[core]);
    RIG_CHECK(export_start(rig.stores[core], &t->export_, &rig.err) == OK, "%s", rig.err.msg);
    core_set_current(NULL);
    while (!t->done)
        RIG_CHECK(sim_step(rig.sim), "nothing is pending");
}

static void on_taken(struct store_import *import, enum status status, bool last,
                     const struct err *err) {
    struct taken *t = container_of(import, struct taken, import);
    t->done = true;
    t->last = last;
    t->status = status;
    if (status != OK) t->err = *err;
}

/* Up to its end, an error, or a power cut. */
static void take(unsigned core, struct taken *t) {
    struct store *store = rig.stores[core];
    t->status = OK;
    t->last = false;
    t->import = (struct store_import){.shards = t->imports,
                                      .shards_count = t->shards_count,
                                      .spans = t->whole ? NULL : t->spans,
                                      .taken = on_taken};
    core_set_current(rig.rt->cores[core]);
    RIG_CHECK(import_start(store, &t->import, &rig.err) == OK, "%s", rig.err.msg);
    for (size_t i = 0; i < t->pieces_count && t->status == OK && !rig.failed; i++) {
        t->done = false;
        core_set_current(rig.rt->cores[core]);
        import_piece(store, &t->import, buf_sv(&t->pieces[i]));
        core_set_current(NULL);
        for (unsigned n = 0; !t->done && !rig.failed && n < 20000; n++)
            RIG_CHECK(sim_step(rig.sim), "nothing is pending");
        if (!t->done) return; /* the manifest cannot be saved: the power has gone */
    }
    core_set_current(rig.rt->cores[core]);
    import_stop(store, &t->import);
    core_set_current(NULL);
}

static void take_all(void) {
    for (unsigned i = 0; i < AR_CORES; i++) {
        take(i, &taken[i]);
        RIG_CHECK(taken[i].status == OK && taken[i].last, "seed %" PRIu64 ": %s", rig.seed,
                  taken[i].err.msg);
        RIG_CHECK(taken[i].import.refused == 0, "seed %" PRIu64 ": refused", rig.seed);
    }
}

/* -- what is bad */

static enum status read_core(unsigned core) {
    uint64_t bits = (1 << AR_SHARDS) - 1;
    struct shard_set all = {&bits, AR_SHARDS};
    struct select_query q = {.shards = &all, .from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct stored stored;
    struct samples got = {0};
    bool done = false;
    core_set_current(rig.rt->cores[core]);
    stored_init(&stored, rig.stores[core], &q);
    enum status status = OK;
    while (status == OK && !done)
        status = stored_select(&stored, 0, &done, &rig.err);
    if (status == OK) status = stored_find(&stored, &rig.err);
    for (size_t i = 0; i < stored.count && status == OK; i++) {
        samples_clear(&got);
        status = stored_read(&stored, i, INT64_MIN, INT64_MAX, &got, &rig.err);
    }
    samples_fini(&got);
    stored_release(&stored);
    core_set_current(NULL);
    return status;
}

static enum status read_all(void) {
    for (unsigned i = 0; i < AR_CORES; i++) {
        enum status status = read_core(i);
        if (status != OK) return status;
    }
    return OK;
}

static void wait_bad(void) {
    for (unsigned i = 0; i < 200 && stats().bad_blocks == 0; i++)
        archive_rig_run(&rig, 1000);
    RIG_CHECK(stats().bad_blocks > 0, "seed %" PRIu64 ": it was not found", rig.seed);
}

static void make_bad(void) {
    bool by_reading = rig.scrub_ms == 0;
    do
        RIG_CHECK(sim_disk_rot_file(rig.sd, "data/blocks", ".block"), "no block");
    while (by_reading && read_all() == OK);
    if (by_reading) RIG_CHECK(rig.err.code == ERR_CORRUPT, "%s", rig.err.msg);
    wait_bad();
    counts.by_reading += by_reading;
    counts.by_scrub += !by_reading;
}

static void expect_bad(void) {
    RIG_CHECK(stats().bad_blocks > 0, "seed %" PRIu64 ": nothing is bad any more", rig.seed);
    RIG_CHECK(read_all() == ERR_UNAVAILABLE && strstr(rig.err.msg, "data/blocks/") != NULL,
              "seed %" PRIu64 ": it is answered, or not named: %s", rig.seed, rig.err.msg);
}

/* Each side of ranges_compare from the same store: what is bad must be told as such. */
static unsigned bad_ranges(void) {
    unsigned bad = 0;
    for (uint32_t i = 0; i < AR_SHARDS; i++) {
        struct shard_ranges r = {0};
        core_set_current(rig.rt->cores[i % AR_CORES]);
        RIG_CHECK(digest_ranges(rig.stores[i % AR_CORES], i, &r, &rig.err) == OK, "%s",
                  rig.err.msg);
        core_set_current(NULL);
        bad += ranges_have_bad(&r);
        ranges_fini(&r);
    }
    return bad;
}

static void start_again(void) {
    archive_rig_power_cut(&rig);
    enum status status = archive_rig_start(&rig);
    RIG_CHECK(status == OK, "seed %" PRIu64 ": %s", rig.seed, rig.err.msg);
}

/* -- what must not happen */

/* A span that ends within a block replaces nothing. */
static void try_within(void) {
    for (unsigned core = 0; core < AR_CORES; core++) {
        struct taken *t = &taken[core];
        struct shard_span spans[AR_SHARDS];
        memcpy(spans, t->spans, sizeof spans);
        for (size_t i = 0; i < t->shards_count; i++)
            t->spans[i] =
                (struct shard_span){.min_ms = INT64_MIN, .max_ms = AR_START_MS + AR_HOUR_MS};
        take(core, t);
        RIG_CHECK(t->status == OK && t->last, "%s", t->err.msg);
        counts.refused += t->import.refused;
        memcpy(t->spans, spans, sizeof spans);
    }
}

/* What can be read stays: all that is good is there twice then, and counts once. */
static void set_only_bad(void) {
    for (unsigned core = 0; core < AR_CORES; core++)
        for (size_t i = 0; i < taken[core].shards_count; i++)
            taken[core].spans[i].only_bad = true;
    counts.only_bad++;
}

/* Good blocks of before, of samples. */
static unsigned good_before(uint64_t number) {
    const struct block_list *list = archive_blocks(rig.archive);
    unsigned good = 0;
    for (uint32_t i = 0; i < list->count; i++)
        good += list->blocks[i].of.number < number && list->blocks[i].block != NULL &&
                list->blocks[i].of.resolution_ms == 0;
    return good;
}

static void try_corrupt(void) {
    struct taken *t = &taken[0];
    for (size_t i = 0; i < t->pieces_count; i++) {
        struct buf *b = &t->pieces[i];
        if (b->len < 100) continue;
        size_t at = b->len / 2;
        b->ptr[at] = (char)(b->ptr[at] ^ 4);
        take(0, t);
        RIG_CHECK(t->status == ERR_CORRUPT, "seed %" PRIu64 ": a bad piece was taken", rig.seed);
        b->ptr[at] = (char)(b->ptr[at] ^ 4);
        counts.corrupt++;
        return;
    }
}

static void try_power_cut(void) {
    sim_disk_cut_at(rig.sd, sim_disk_calls(rig.sd) + 1 + rng_below(&rig.rng, 40));
    for (unsigned i = 0; i < AR_CORES && !rig.failed; i++) {
        take(i, &taken[i]);
        if (taken[i].status != OK || !taken[i].last) break;
    }
    start_again();
    counts.cuts++;
}

static void piece_give(unsigned core, size_t i, bool waits) {
    struct taken *t = &taken[core];
    t->done = false;
    core_set_current(rig.rt->cores[core]);
    import_piece(rig.stores[core], &t->import, buf_sv(&t->pieces[i]));
    core_set_current(NULL);
    while (waits && !t->done)
        RIG_CHECK(sim_step(rig.sim), "nothing is pending");
}

/* All cores' changes come at about the same time: behind the first, blocks are merged. */
static void take_together(void) {
    for (unsigned i = 0; i < AR_CORES; i++) {
        struct taken *t = &taken[i];
        t->import = (struct store_import){.shards = t->imports,
                                          .shards_count = t->shards_count,
                                          .spans = t->spans,
                                          .taken = on_taken};
        core_set_current(rig.rt->cores[i]);
        RIG_CHECK(import_start(rig.stores[i], &t->import, &rig.err) == OK, "%s", rig.err.msg);
        core_set_current(NULL);
    }
    for (unsigned i = 0; i < AR_CORES; i++)
        for (size_t n = 0; n + 1 < taken[i].pieces_count; n++)
            piece_give(i, n, true);
    for (unsigned i = 0; i < AR_CORES; i++)
        piece_give(i, taken[i].pieces_count - 1, false);
    while (!taken[0].done || !taken[1].done)
        RIG_CHECK(sim_step(rig.sim), "nothing is pending");
    for (unsigned i = 0; i < AR_CORES; i++) {
        RIG_CHECK(taken[i].status == OK && taken[i].last, "%s", taken[i].err.msg);
        counts.late += taken[i].import.refused;
        core_set_current(rig.rt->cores[i]);
        import_stop(rig.stores[i], &taken[i].import);
        core_set_current(NULL);
    }
}

/* Nothing is in two blocks: of what was replaced a merge under way has taken nothing. */
static void expect_once(void) {
    for (uint32_t i = 0; i < AR_SHARDS; i++) {
        struct shard_ranges r = {0};
        core_set_current(rig.rt->cores[i % AR_CORES]);
        RIG_CHECK(digest_ranges(rig.stores[i % AR_CORES], i, &r, &rig.err) == OK, "%s",
                  rig.err.msg);
        core_set_current(NULL);
        for (uint32_t a = 0; a < r.count; a++)
            for (uint32_t b = 0; b < a; b++)
                RIG_CHECK(r.at[a].max_ms < r.at[b].min_ms || r.at[b].max_ms < r.at[a].min_ms,
                          "seed %" PRIu64 ": shard %" PRIu32 " has ranges that meet", rig.seed, i);
        ranges_fini(&r);
    }
}

/* -- one seed */

static bool count_block(void *ctx, const char *name) {
    size_t len = strlen(name);
    *(size_t *)ctx += len > 6 && strcmp(name + len - 6, ".block") == 0;
    return true;
}
static size_t files_of_blocks(void) {
    size_t count = 0;
    RIG_CHECK(disk_list(rig.rt->disk, "data/blocks", count_block, &count, &rig.err) == OK, "%s",
              rig.err.msg);
    return count;
}

static void end_seed(void) {
    archive_rig_kill(&rig);
    for (unsigned i = 0; i < AR_CORES; i++) {
        for (size_t k = 0; k < taken[i].pieces_count; k++)
            buf_fini(&taken[i].pieces[k]);
        taken[i] = (struct taken){0};
    }
    archive_rig_fini(&rig);
}

static void run(uint64_t seed) {
    archive_rig_init(&rig, seed);
    rig.merged_ms_max = 2 * AR_HOUR_MS; /* nothing is merged: spans end where blocks do */
    rig.scrub_ms = seed % 2 == 0 ? 0 : 20000;
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    write_hours(9);
    archive_rig_run(&rig, 200000);
    RIG_CHECK(bad_ranges() == 0, "bad before");
    for (unsigned i = 0; i < AR_CORES; i++)
        give(i);
    write_hours(rng_chance(&rig.rng, 0.5) ? 3 : 0);
    if (rng_chance(&rig.rng, 0.5)) delete_some();
    make_bad();
    expect_bad();
    RIG_CHECK(bad_ranges() > 0, "no range is bad");
    if (rng_chance(&rig.rng, 0.3)) try_within();
    if (rng_chance(&rig.rng, 0.3)) try_corrupt();
    expect_bad();
    bool only_bad = seed % 6 == 5; /* one bad block, found by the scrub */
    if (only_bad) set_only_bad();
    if (rng_chance(&rig.rng, 0.6)) try_power_cut();
    if (only_bad) archive_rig_run(&rig, 100000); /* it may have to be found anew */
    uint64_t number = archive_take_number(rig.archive);
    unsigned good = good_before(number);
    take_all();
    if (only_bad) RIG_CHECK(good_before(number) == good, "seed %" PRIu64 ": a good one went", seed);
    archive_rig_run(&rig, 60000);
    RIG_CHECK(stats().bad_blocks == 0 && bad_ranges() == 0, "seed %" PRIu64 ": still bad", seed);
    archive_rig_verify(&rig);
    RIG_CHECK(files_of_blocks() == stats().blocks,
              "seed %" PRIu64 ": %zu files of %" PRIu64 " blocks", seed, files_of_blocks(),
              stats().blocks);
    write_hours(5);
    archive_rig_run(&rig, 100000);
    start_again();
    archive_rig_verify(&rig);
    counts.repaired++;
    end_seed();
}

/* Good blocks are replaced while they are merged. */
static void run_merging(uint64_t seed) {
    archive_rig_init(&rig, seed);
    rig.merged_ms_max = 18 * AR_HOUR_MS;
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    unsigned given_at = seed % 2 == 0 ? 4 : 2; /* in the middle of what becomes one block */
    for (unsigned n = 1; n <= 4; n++) {
        write_hours(2);
        archive_rig_run(&rig, 100000);
        for (unsigned i = 0; i < AR_CORES && n == given_at; i++)
            give(i);
    }
    take_together();
    for (unsigned n = 0; n < 300; n++) { /* where ranges meet they are soon merged to one */
        expect_once();
        RIG_CHECK(sim_step(rig.sim), "nothing is pending");
    }
    archive_rig_run(&rig, 200000);
    archive_rig_verify(&rig);
    counts.merges += stats().merges;
    end_seed();
}

/* Blocks of rows that say something of these times, with a number below that. */
static unsigned rows_before(int64_t max_ms, uint64_t number) {
    const struct block_list *list = archive_blocks(rig.archive);
    unsigned count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct manifest_block *of = &list->blocks[i].of;
        count += of->resolution_ms != 0 && of->min_ms < max_ms && of->number < number;
    }
    return count;
}

/* A bad block of rows goes, and is made anew, of good raw ones. */
static void lose_rows(void) {
    const struct block_list *list = archive_blocks(rig.archive);
    uint64_t number = 0, next = archive_take_number(rig.archive);
    char path[64];
    for (uint32_t i = 0; i < list->count; i++)
        if (list->blocks[i].of.resolution_ms != 0) number = list->blocks[i].of.number;
    snprintf(path, sizeof path, "data/blocks/%016" PRIx64 ".block", number);
    archive_rig_kill(&rig);
    rig.disk.denied = path;
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    RIG_CHECK(stats().bad_blocks == 1 && bad_ranges() == 0, "%u bad blocks", stats().bad_blocks);
    archive_rig_verify(&rig);
    archive_rig_run(&rig, 200000);
    rig.disk.denied = NULL;
    RIG_CHECK(stats().bad_blocks == 0, "seed %" PRIu64 ": still bad", rig.seed);
    RIG_CHECK(manifest_block_find(archive_manifest(rig.archive), number) == NULL, "still there");
    RIG_CHECK(rows_before(INT64_MAX, UINT64_MAX) > rows_before(INT64_MAX, next), "none anew");
    archive_rig_verify(&rig);
}

/* Rows of what is replaced go, and are made anew. */
static void run_rows(uint64_t seed) {
    archive_rig_init(&rig, seed);
    rig.merged_ms_max = 2 * AR_HOUR_MS;
    rig.levels[0] = (struct plan_level){2 * AR_HOUR_MS, DOWNSAMPLE_5M_MS};
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    write_hours(9);
    archive_rig_run(&rig, 200000);
    for (unsigned i = 0; i < AR_CORES; i++)
        give(i);
    int64_t max_ms = taken[0].spans[0].max_ms;
    uint64_t number = archive_take_number(rig.archive);
    RIG_CHECK(rows_before(max_ms, number) > 0, "no rows");
    take_all();
    archive_rig_verify(&rig);
    RIG_CHECK(rows_before(max_ms, number) == 0, "seed %" PRIu64 ": rows of before", seed);
    archive_rig_run(&rig, 200000);
    RIG_CHECK(rows_before(max_ms, UINT64_MAX) > 0, "seed %" PRIu64 ": no rows any more", seed);
    archive_rig_verify(&rig);
    lose_rows();
    end_seed();
}

/* -- where samples have ended */

/* Up to where nothing but rows of 1 h is visible, of any shard. */
static int64_t coarse_to(void) {
    int64_t to_ms = INT64_MAX;
    for (uint32_t i = 0; i < AR_SHARDS; i++) {
        struct store_archived a;
        RIG_CHECK(store_shard_archive(archive_rig_store(&rig, i), i, &a), "!");
        to_ms = MIN(to_ms, a.ended.fine_ms);
    }
    return to_ms;
}

/* The newest block of rows that are visible, and of which no samples are left; 0: none. */
static uint64_t rows_alone(void) {
    const struct block_list *list = archive_blocks(rig.archive);
    uint64_t newest = 0;
    int64_t newest_ms = INT64_MIN;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct manifest_block *b = &list->blocks[i].of;
        bool alone = b->max_ms > newest_ms &&
                     (b->resolution_ms == DOWNSAMPLE_5M_MS ||
                      (b->resolution_ms == DOWNSAMPLE_1H_MS && b->max_ms < coarse_to()));
        for (uint32_t k = 0; k < list->count && alone; k++)
            alone = list->blocks[k].of.resolution_ms != 0 ||
                    list->blocks[k].of.min_ms > b->max_ms + 1 ||
                    list->blocks[k].of.max_ms <= b->min_ms;
        if (!alone) continue;
        newest = b->number;
        newest_ms = b->max_ms;
    }
    return newest;
}

static void ended_start(uint64_t seed) {
    archive_rig_init(&rig, seed);
    bool coarse = seed % 3 == 0;
    rig.merged_ms_max = (seed % 2 == 0 ? 2 : 6) * AR_HOUR_MS;
    rig.levels[0] = (struct plan_level){2 * AR_HOUR_MS, DOWNSAMPLE_5M_MS};
    if (coarse) rig.levels[1] = (struct plan_level){3 * AR_HOUR_MS, DOWNSAMPLE_1H_MS};
    RIG_CHECK(retention_new(0, NULL, 0, &rig.retention, &rig.err) == OK, "%s", rig.err.msg);
    retention_set_resolutions(
        rig.retention, &(struct retention_by_resolution){.raw_ms = 8 * AR_HOUR_MS,
                                                         .fine_ms = coarse ? 14 * AR_HOUR_MS : 0,
                                                         .has_fine = true,
                                                         .has_coarse = coarse});
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    for (unsigned n = 0; n < 9; n++) {
        write_hours(4);
        if (rng_chance(&rig.rng, 0.2)) delete_some();
        archive_rig_run(&rig, 100000);
    }
    for (size_t i = 0; i < AR_SERIES; i++)
        RIG_CHECK(archive_rig_write(&rig, i, rig.now_ms, 1), "%s", rig.err.msg);
    archive_rig_run(&rig, 9 * AR_HOUR_MS); /* what is idle is cut up to its end */
    archive_rig_verify(&rig);
    RIG_CHECK(rows_alone() != 0, "seed %" PRIu64 ": no samples have gone", seed);
}

/* Another node gets the shards: this one, as of nothing. */
static void run_moved(uint64_t seed) {
    ended_start(seed);
    for (unsigned i = 0; i < AR_CORES; i++) {
        taken[i].whole = true;
        give(i);
    }
    for (unsigned i = 0; i < AR_CORES; i++) {
        core_set_current(rig.rt->cores[i]);
        for (size_t k = 0; k < taken[i].shards_count; k++) {
            uint32_t shard = taken[i].shards[k];
            taken[i].imports[k].copy = ++rig.model.copies[shard];
            store_drop(rig.stores[i], shard, rig.model.copies[shard]);
        }
        core_set_current(NULL);
    }
    archive_rig_run(&rig, 60000);
    RIG_CHECK(stats().blocks == 0, "something is left");
    take_all();
    archive_rig_verify(&rig);
    for (uint32_t i = 0; i < AR_SHARDS; i++) {
        uint64_t position;
        core_set_current(rig.rt->cores[i % AR_CORES]);
        RIG_CHECK(store_open_epoch(rig.stores[i % AR_CORES], i, 1, &position, &rig.err) == OK, "%s",
                  rig.err.msg);
        core_set_current(NULL);
    }
    write_hours(12);
    archive_rig_run(&rig, 200000);
    archive_rig_verify(&rig);
    start_again();
    archive_rig_verify(&rig);
    counts.moved++;
    end_seed();
}

/* Rows that cannot be read are fetched: nobody here could make them anew. */
static void run_rows_fetched(uint64_t seed) {
    char path[64];
    ended_start(seed);
    for (unsigned i = 0; i < AR_CORES; i++)
        give(i);
    snprintf(path, sizeof path, "data/blocks/%016" PRIx64 ".block", rows_alone());
    archive_rig_kill(&rig);
    rig.disk.denied = path;
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    archive_rig_run(&rig, 60000);
    expect_bad();
    RIG_CHECK(bad_ranges() > 0, "seed %" PRIu64 ": nobody would fetch it", seed);
    take_all();
    rig.disk.denied = NULL;
    RIG_CHECK(stats().bad_blocks == 0 && bad_ranges() == 0, "seed %" PRIu64 ": still bad", seed);
    archive_rig_verify(&rig);
    archive_rig_run(&rig, 200000);
    start_again();
    archive_rig_verify(&rig);
    counts.rows_fetched++;
    end_seed();
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 60;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run(seed);
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run_merging(seed);
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run_rows(seed);
    for (uint64_t seed = first; seed < first + seeds / 2; seed++) {
        run_moved(seed);
        run_rows_fetched(seed);
    }
    printf("%" PRIu64 " seeds from %" PRIu64 ": found by the scrub %u, by reading %u; repaired %u, "
           "shards refused %u, bad pieces %u, power cuts %u; beside %" PRIu64
           " merges, shards refused %u; where samples have ended: moved %u, rows fetched %u; only "
           "what was bad %u\n",
           seeds, first, counts.by_scrub, counts.by_reading, counts.repaired, counts.refused,
           counts.corrupt, counts.cuts, counts.merges, counts.late, counts.moved,
           counts.rows_fetched, counts.only_bad);
    bool all = counts.by_scrub > 0 && counts.by_reading > 0 && counts.refused > 0 &&
               counts.corrupt > 0 && counts.cuts > 0 && counts.late > 0 && counts.merges > 0;
    if (!all && seeds >= 40) fprintf(stderr, "something never happened\n");
    return !all && seeds >= 40;
}
