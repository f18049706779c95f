/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of a query, cancelling, and a caller's other cluster, tenant or version. */
#include <inttypes.h>
#include <stdio.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "tests/storage/block/block_model.h"

static struct model model;
static struct disk *disk;
static struct block *block;

static const struct select_query query_all = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};

static void series_limit_holds(void) {
    struct block_selection *sel;
    struct err err;
    for (uint64_t max = 1; max <= model.count; max++) {
        struct select_query query = query_all;
        query.series_max = max;
        enum status status = block_select(block, &query, NULL, &sel, &err);
        CHECK(status == (max < model.count ? ERR_LIMIT : OK), "%" PRIu64 ": %s", max,
              status_name(status));
        if (status == OK) block_selection_free(sel);
    }
}

/* At any limit there is the error or all of the answer. */
static void memory_limit_holds(void) {
    struct matcher matcher = {.kind = MATCH_NEQ, .name = SV("job"), .value = SV("none")};
    struct block_selection *sel;
    struct arena arena;
    struct err err;
    unsigned refused = 0, answered = 0;
    arena_init(&arena, 0);
    CHECK(matcher_compile(&matcher, &arena, &err) == OK, "%s", err.msg);
    for (uint64_t max = 1; max < 400000; max += 997) {
        struct select_query query = query_all;
        size_t count;
        query.memory_bytes_max = max;
        query.matchers = &matcher;
        query.matchers_count = 1;
        enum status status = block_select(block, &query, NULL, &sel, &err);
        CHECK(status == OK || status == ERR_LIMIT, "%" PRIu64 ": %s", max, err.msg);
        refused += status != OK;
        if (status != OK) continue;
        block_selection_series(sel, &count);
        CHECK(count == model.count, "%zu series", count);
        block_selection_free(sel);
        answered++;
    }
    CHECK(refused > 10 && answered > 10, "%u refused, %u answered", refused, answered);
    arena_fini(&arena);
}

static void names_limit_holds(void) {
    struct arena arena;
    struct err err;
    struct sv *names;
    size_t count;
    arena_init(&arena, 1);
    CHECK(block_label_names(block, &query_all, &arena, &names, &count, &err) == ERR_LIMIT, "%s",
          err.msg);
    arena_fini(&arena);
}

static void canceled_is_an_end(void) {
    bool canceled = true;
    struct block_selection *sel;
    struct err err;
    bool written = false;
    struct block_writer_options options = model_writer_options(&model, disk, "other");
    options.canceled = &canceled;
    CHECK(block_select(block, &query_all, &canceled, &sel, &err) == ERR_CANCELED, "%s", err.msg);
    CHECK(block_verify(block, &canceled, &err) == ERR_CANCELED, "%s", err.msg);
    CHECK(model_write(&model, &options, &written, &err) == ERR_CANCELED, "%s", err.msg);
    CHECK(!disk_exists(disk, "other") && !disk_exists(disk, "other.tmp"), "left behind");
    struct block_merge_input input = {block, NULL};
    struct block_merge_options merge = {.writer = options, .inputs = &input, .inputs_count = 1};
    CHECK(block_merge(&merge, &written, &err) == ERR_CANCELED, "%s", err.msg);
    CHECK(!disk_exists(disk, "other") && !disk_exists(disk, "other.tmp"), "left behind");
    canceled = false;
    CHECK(block_merge(&merge, &written, &err) == OK && written, "%s", err.msg);
}

static void others_are_refused(void) {
    struct block *b;
    struct block_selection *sel;
    struct err err;
    bool written;
    CHECK(block_open(disk, "file", MODEL_SECRET, MODEL_TENANT + 1, &b, &err) == ERR_CONFLICT, "%s",
          err.msg);
    CHECK(block_open(disk, "absent", MODEL_SECRET, MODEL_TENANT, &b, &err) != OK, "absent");
    /* another secret gives other ids, which are of other shards */
    CHECK(block_open(disk, "file", MODEL_SECRET + 1, MODEL_TENANT, &b, &err) == OK, "%s", err.msg);
    CHECK(block_select(b, &query_all, NULL, &sel, &err) == ERR_CORRUPT, "%s", err.msg);
    block_unref(b);
    struct block_merge_input input = {block, NULL};
    struct block_merge_options merge = {
        .writer = model_writer_options(&model, disk, "other"), .inputs = &input, .inputs_count = 1};
    merge.writer.shards_count++;
    CHECK(block_merge(&merge, &written, &err) == ERR_CONFLICT, "%s", err.msg);
}

/* A reader of a later version is asked for: told, not called corrupt. */
static void later_version_is_told(void) {
    struct buf file = {0};
    struct block *b;
    struct err err;
    CHECK(disk_read_file(disk, "file", 64 << 20, &file, &err) == OK, "%s", err.msg);
    put_u16le(file.ptr + 10, 2);
    put_u64le(file.ptr + 32, hash64(file.ptr, 32, 0));
    CHECK(disk_write_file(disk, "later", buf_sv(&file), &err) == OK, "%s", err.msg);
    CHECK(model_open(disk, "later", &b, &err) == ERR_UNSUPPORTED, "%s", err.msg);
    CHECK(strstr(err.msg, "asks for a reader of format 2") != NULL, "%s", err.msg);
    buf_fini(&file);
}

static void nothing_is_not_written(void) {
    struct block_writer_options options = model_writer_options(&model, disk, "empty");
    struct block_merge_options merge = {.writer = options};
    struct block_writer *w;
    struct err err;
    bool written = true;
    CHECK(block_writer_new(&options, &w, &err) == OK, "%s", err.msg);
    CHECK(block_writer_items(w, 1, SV("items"), &err) == OK, "%s", err.msg);
    CHECK(block_writer_finish(w, &written, &err) == OK && !written, "%s", err.msg);
    block_writer_free(w);
    written = true;
    CHECK(block_merge(&merge, &written, &err) == OK && !written, "%s", err.msg);
    CHECK(!disk_exists(disk, "empty") && !disk_exists(disk, "empty.tmp"), "left behind");
}

int main(void) {
    struct sim_disk *sd = sim_disk_new(1);
    struct rng rng;
    struct err err;
    bool written;
    disk = sim_disk_as_disk(sd);
    rng_init(&rng, 3);
    model_make(&model, &rng, &(struct model_options){300, 40, 50, 100});
    struct block_writer_options options = model_writer_options(&model, disk, "file");
    CHECK(model_write(&model, &options, &written, &err) == OK, "%s", err.msg);
    CHECK(model_open(disk, "file", &block, &err) == OK, "%s", err.msg);
    series_limit_holds();
    memory_limit_holds();
    names_limit_holds();
    canceled_is_an_end();
    others_are_refused();
    later_version_is_told();
    nothing_is_not_written();
    block_unref(block);
    model_free(&model);
    sim_disk_free(sd);
    return 0;
}
