/* SPDX-License-Identifier: Apache-2.0 */
/* Random series, written, read, selected and merged, against plain arrays; by seed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/storage/block/block_model.h"

enum { SEEDS = 30, SELECTS = 40, INPUTS_MAX = 5 };

static struct model_options options_by(struct rng *rng) {
    static const size_t series[] = {1, 5, 40, 300, 700}, samples[] = {1, 10, 130, 600, 1100};
    return (struct model_options){
        .series_count = series[rng_below(rng, ARRAY_LEN(series))],
        .samples_max = samples[rng_below(rng, ARRAY_LEN(samples))],
        .shards_count = (uint32_t)(1 + rng_below(rng, rng_chance(rng, 0.5) ? 4 : 1000)),
        .label_values = rng_chance(rng, 0.2) ? 5000 : 6,
    };
}

static struct block *block_of(const struct model *m, struct disk *disk, const char *path,
                              uint16_t level) {
    struct block_writer_options options = model_writer_options(m, disk, path);
    struct block *b;
    struct err err;
    bool written = false;
    options.level = level;
    CHECK(model_write(m, &options, &written, &err) == OK, "%s", err.msg);
    CHECK(written == (m->count > 0), "%zu series", m->count);
    CHECK(disk_exists(disk, path) == written, "%s", path);
    if (!written) return NULL;
    CHECK(model_open(disk, path, &b, &err) == OK, "%s", err.msg);
    return b;
}

static void block_check(const struct model *m, struct block *b, struct rng *rng, int selects) {
    struct err err;
    CHECK(block_verify(b, NULL, &err) == OK, "%s", err.msg);
    CHECK(model_compare(m, b, &err) == OK, "%s", err.msg);
    for (int i = 0; i < selects; i++)
        model_check_select(m, b, rng);
}

/* -- merging */

static bool mask_has(const uint64_t *mask, uint32_t shard) {
    return mask == NULL || (mask[shard / 64] >> (shard % 64) & 1) != 0;
}

/* Leaves out each tenth series, and of the others what is at a time that 7 divides. */
static bool filter_drops_series(struct sv canonical) {
    return canonical.len % 10 == 0;
}
static void filter_run(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                       size_t count, struct samples *samples) {
    size_t kept = 0;
    (*(size_t *)ctx)++;
    CHECK(count == labels_count(canonical) && shard < 1001, "%zu labels", count);
    if (count > 0) CHECK(sv_eq(labels_get(canonical, labels[0].name), labels[0].value), "labels");
    for (size_t i = 0; i < samples->count; i++) {
        if (filter_drops_series(canonical) || samples->times_ms[i] % 7 == 0) continue;
        samples->times_ms[kept] = samples->times_ms[i];
        if (samples->starts_ms != NULL) samples->starts_ms[kept] = samples->starts_ms[i];
        if (samples->histograms != NULL) samples->histograms[kept] = samples->histograms[i];
        samples->values[kept++] = samples->values[i];
    }
    samples->count = kept;
}

static const struct model_series *series_in(const struct model *m, series_id id) {
    for (size_t i = 0; i < m->count; i++)
        if (series_id_eq(m->at[i].id, id)) return &m->at[i];
    return NULL;
}

/* The samples of all parts, of equal times that of the first. */
static void series_join(const struct model *parts, size_t parts_count, uint64_t *const *masks,
                        const struct model_series *like, struct samples *out) {
    size_t next[INPUTS_MAX] = {0};
    for (;;) {
        int64_t t = INT64_MAX;
        const struct samples *best = NULL;
        size_t at = 0;
        for (int pass = 0; pass < 2; pass++) {
            for (size_t i = 0; i < parts_count; i++) {
                const struct model_series *s = series_in(&parts[i], like->id);
                if (s == NULL || !mask_has(masks[i], s->shard)) continue;
                if (next[i] == s->samples.count) continue;
                int64_t here = s->samples.times_ms[next[i]];
                if (pass == 0 && here < t) {
                    t = here;
                    best = &s->samples;
                    at = next[i];
                }
                if (pass == 1 && here == t) next[i]++;
            }
        }
        if (best == NULL) return;
        samples_put_from(out, best, at, best->values[at]);
    }
}

static void model_join(struct model *out, const struct model *whole, const struct model *parts,
                       size_t parts_count, uint64_t *const *masks, bool filters) {
    *out = (struct model){.shards_count = whole->shards_count};
    out->at = calloc(whole->count + 1, sizeof *out->at);
    for (size_t i = 0; i < whole->count; i++) {
        struct model_series *s = &out->at[out->count];
        size_t ignored = 0;
        *s = whole->at[i];
        s->samples = (struct samples){0};
        series_join(parts, parts_count, masks, &whole->at[i], &s->samples);
        if (filters)
            filter_run(&ignored, s->shard, buf_sv(&s->canonical), s->labels, s->labels_count,
                       &s->samples);
        s->canonical = (struct buf){0};
        if (s->samples.count == 0) {
            samples_fini(&s->samples);
            continue;
        }
        buf_put_sv(&s->canonical, buf_sv(&whole->at[i].canonical));
        out->count++;
    }
}

static void merge_check(const struct model *whole, struct disk *disk, struct rng *rng) {
    struct model parts[INPUTS_MAX], joined;
    struct block_merge_input inputs[INPUTS_MAX];
    uint64_t *masks[INPUTS_MAX] = {0};
    struct block *blocks[INPUTS_MAX], *b;
    size_t count = 0, wanted = 1 + (size_t)rng_below(rng, INPUTS_MAX), filtered = 0;
    struct err err;
    bool written = false, filters = rng_chance(rng, 0.3);
    for (size_t i = 0; i < wanted; i++) {
        char path[32];
        snprintf(path, sizeof path, "part-%zu", i);
        model_make_part(&parts[count], whole, rng);
        blocks[count] = block_of(&parts[count], disk, path, (uint16_t)rng_below(rng, 2));
        if (blocks[count] == NULL) {
            model_free(&parts[count]);
            continue;
        }
        if (rng_chance(rng, 0.3)) {
            masks[count] = calloc(16, sizeof(uint64_t));
            for (int k = 0; k < 16; k++)
                masks[count][k] = rng_u64(rng);
        }
        inputs[count] = (struct block_merge_input){blocks[count], masks[count]};
        count++;
    }
    struct block_merge_options options = {.writer = model_writer_options(whole, disk, "merged"),
                                          .inputs = inputs,
                                          .inputs_count = count,
                                          .filter = filters ? filter_run : NULL,
                                          .ctx = &filtered};
    options.writer.level = (uint16_t)(1 + rng_below(rng, 2));
    model_join(&joined, whole, parts, count, masks, filters);
    CHECK(block_merge(&options, &written, &err) == OK, "%s", err.msg);
    CHECK(written == (joined.count > 0), "%zu series", joined.count);
    CHECK(!filters || filtered >= joined.count, "%zu calls", filtered);
    if (written) {
        CHECK(model_open(disk, "merged", &b, &err) == OK, "%s", err.msg);
        CHECK(block_verify(b, NULL, &err) == OK, "%s", err.msg);
        /* items of a shard are those of all inputs: not the model's */
        for (int i = 0; i < 10; i++)
            model_check_select(&joined, b, rng);
        for (uint32_t shard = 0; shard < whole->shards_count; shard++) {
            struct block_shard is = {0};
            struct block_digest sum = {0};
            for (size_t i = 0; i < joined.count; i++)
                if (joined.at[i].shard == shard)
                    CHECK(block_digest_add(&sum, joined.at[i].id, &joined.at[i].samples) == OK,
                          "memory");
            (void)block_get_shard(b, shard, &is);
            CHECK(is.digest.hi == sum.hi && is.digest.lo == sum.lo, "digest of shard %u", shard);
        }
        block_unref(b);
    }
    for (size_t i = 0; i < count; i++) {
        block_unref(blocks[i]);
        model_free(&parts[i]);
        free(masks[i]);
    }
    model_free(&joined);
}

static void seed_run(uint64_t seed) {
    struct sim_disk *sd = sim_disk_new(seed);
    struct disk *disk = sim_disk_as_disk(sd);
    struct model m;
    struct rng rng;
    model_seed = seed;
    rng_init(&rng, seed);
    struct model_options options = options_by(&rng);
    model_make(&m, &rng, &options);
    struct block *b = block_of(&m, disk, "block", (uint16_t)rng_below(&rng, 4));
    block_check(&m, b, &rng, SELECTS);
    block_set_obsolete(block_ref(b));
    block_unref(b);
    CHECK(disk_exists(disk, "block"), "while it is used");
    block_unref(b);
    CHECK(!disk_exists(disk, "block"), "when it is not");
    merge_check(&m, disk, &rng);
    model_free(&m);
    sim_disk_free(sd);
}

int main(int argc, char **argv) {
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : argc > 1 ? 1 : SEEDS;
    for (uint64_t seed = first; seed < first + count; seed++)
        seed_run(seed);
    printf("%" PRIu64 " seeds\n", count);
    return 0;
}
