/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that changed, a file that is cut or has grown: verifying always says so and names the file;
 * reading says so or gives what was written, never anything else. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/storage/block/block_model.h"

enum { FLIPS = 10000, SELECT_EACH = 16 };

static unsigned opened, refused, read_well;

static void error_check(enum status status, const struct err *err) {
    CHECK(status == ERR_CORRUPT && strstr(err->msg, "block file") != NULL, "%s: %s",
          status_name(status), err->msg);
    refused++;
}

/* A selection by matchers and times must be the model's or an error, too. */
static void select_check(const struct model *m, struct block *b, struct rng *rng) {
    struct matcher matcher = {
        .kind = MATCH_RE, .name = SV("instance"), .value = SV("host-[1-3].*")};
    struct select_query query = {
        .matchers = &matcher, .matchers_count = 1, .from_ms = 1500000, .to_ms = INT64_MAX};
    struct block_selection *sel;
    struct samples samples = {0};
    struct arena arena;
    struct err err;
    arena_init(&arena, 0);
    CHECK(matcher_compile(&matcher, &arena, &err) == OK, "%s", err.msg);
    enum status status = block_select(b, &query, NULL, &sel, &err);
    if (status != OK) {
        error_check(status, &err);
    } else {
        size_t count, at = 0;
        const struct block_series *series = block_selection_series(sel, &count);
        for (size_t i = 0; i < m->count && status == OK; i++) {
            const struct model_series *s = &m->at[i];
            struct sv host = labels_get(buf_sv(&s->canonical), SV("instance"));
            bool wanted = matcher_match(&matcher, host) &&
                          s->samples.times_ms[s->samples.count - 1] > query.from_ms;
            CHECK(wanted == (at < count && series_id_eq(series[at].id, s->id)), "series %zu", i);
            if (!wanted) continue;
            samples_clear(&samples);
            status = block_series_read(sel, at++, query.from_ms, query.to_ms, &samples, &err);
            if (status != OK)
                error_check(status, &err);
            else
                CHECK(samples_equal(&s->samples, query.from_ms, query.to_ms, &samples),
                      "series %zu", i);
        }
        block_selection_free(sel);
    }
    (void)rng;
    matcher_fini(&matcher);
    samples_fini(&samples);
    arena_fini(&arena);
}

static void damaged_check(const struct model *m, struct disk *disk, struct rng *rng, bool selects) {
    struct block *b;
    struct err err;
    enum status status = model_open(disk, "file", &b, &err);
    if (status != OK) {
        error_check(status, &err);
        return;
    }
    opened++;
    error_check(block_verify(b, NULL, &err), &err);
    status = model_compare(m, b, &err);
    if (status != OK)
        error_check(status, &err);
    else
        read_well++;
    if (selects) select_check(m, b, rng);
    block_unref(b);
}

static void byte_flip(struct disk *disk, const struct buf *file, uint64_t at, uint8_t mask) {
    struct file *f;
    struct err err;
    uint8_t byte = (uint8_t)((uint8_t)file->ptr[at] ^ mask);
    CHECK(disk_open(disk, "file", DISK_READ | DISK_WRITE, &f, &err) == OK, "%s", err.msg);
    CHECK(file_pwrite(f, &byte, 1, at, &err) == OK, "%s", err.msg);
    file_close(f);
}

static void flips_run(const struct model *m, struct disk *disk, const struct buf *file,
                      struct rng *rng, size_t flips) {
    for (size_t i = 0; i < flips; i++) {
        uint64_t at = file->len == flips ? i : rng_below(rng, file->len);
        uint8_t mask = (uint8_t)(1u << rng_below(rng, 8));
        byte_flip(disk, file, at, mask);
        damaged_check(m, disk, rng, i % SELECT_EACH == 0);
        byte_flip(disk, file, at, 0);
    }
}

static void model_write_file(const struct model *m, struct disk *disk, struct buf *file) {
    struct block_writer_options options = model_writer_options(m, disk, "file");
    struct err err;
    bool written = false;
    CHECK(model_write(m, &options, &written, &err) == OK && written, "%s", err.msg);
    buf_clear(file);
    CHECK(disk_read_file(disk, "file", 64 << 20, file, &err) == OK, "%s", err.msg);
}

static void lengths_run(const struct model *m, struct disk *disk, const struct buf *file,
                        struct rng *rng) {
    struct file *f;
    struct err err;
    for (size_t len = 0; len < file->len; len++) {
        CHECK(disk_write_file(disk, "file", sv_make(file->ptr, len), &err) == OK, "%s", err.msg);
        unsigned before = opened;
        damaged_check(m, disk, rng, true);
        CHECK(opened == before, "cut to %zu", len);
    }
    CHECK(disk_write_file(disk, "file", buf_sv(file), &err) == OK, "%s", err.msg);
    CHECK(disk_open(disk, "file", DISK_READ | DISK_WRITE, &f, &err) == OK, "%s", err.msg);
    CHECK(file_pwrite(f, "", 1, file->len, &err) == OK, "%s", err.msg);
    file_close(f);
    damaged_check(m, disk, rng, true);
}

int main(void) {
    struct model small, large;
    struct buf file = {0};
    struct rng rng;
    struct sim_disk *sd = sim_disk_new(1);
    struct disk *disk = sim_disk_as_disk(sd);
    model_seed = 1;
    rng_init(&rng, model_seed);
    model_make(&small, &rng, &(struct model_options){8, 20, 4, 3});
    model_write_file(&small, disk, &file);
    CHECK(file.len > 600 && file.len < 4000, "%zu bytes", file.len);
    flips_run(&small, disk, &file, &rng, file.len);
    lengths_run(&small, disk, &file, &rng);
    model_make(&large, &rng, &(struct model_options){40, 200, 20, 3});
    model_write_file(&large, disk, &file);
    CHECK(file.len > 20000, "%zu bytes", file.len);
    flips_run(&large, disk, &file, &rng, FLIPS);
    /* Most flips leave a part that can be read, and some are in what only verifying reads. */
    CHECK(opened > FLIPS / 2 && read_well > 10, "%u opened, %u read well", opened, read_well);
    printf("%u opened, %u errors, %u read well\n", opened, refused, read_well);
    model_free(&small);
    model_free(&large);
    buf_fini(&file);
    sim_disk_free(sd);
    return 0;
}
