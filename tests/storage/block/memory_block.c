/* SPDX-License-Identifier: Apache-2.0 */
/* What writing, merging and an open block hold in memory: the tables of labels and some bytes per
 * thousand series, however many series there are. malloc and its kin are wrapped by the linker. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/storage/block/block_model.h"

enum {
    TARGETS = 500,
    METRICS_FEW = 200,
    METRICS_MANY = 800, /* 400,000 series */
    SHARDS = 8,
    OPEN_BYTES_MAX = 100, /* of a thousand series */
    /* of a thousand series: frames of the new index, and of the inputs, while it is made */
    MERGE_BYTES_MAX = 400,
    LABELS_BYTES_MAX = 400, /* of a label set: it is in memory */
};

static size_t held, peak;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

static void *count(void *p) {
    held += malloc_usable_size(p);
    peak = MAX(peak, held);
    return p;
}
void *__wrap_malloc(size_t size) {
    return count(__real_malloc(size));
}
void *__wrap_calloc(size_t n, size_t size) {
    return count(__real_calloc(n, size));
}
void *__wrap_realloc(void *p, size_t size) {
    held -= malloc_usable_size(p);
    return count(__real_realloc(p, size));
}
void __wrap_free(void *p) {
    held -= malloc_usable_size(p);
    __real_free(p);
}

struct one {
    char bytes[64];
    uint8_t len, shard;
};

static int one_order(const void *a, const void *b) {
    const struct one *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return sv_cmp(sv_make(x->bytes, x->len), sv_make(y->bytes, y->len));
}

static struct one *series_make(size_t metrics) {
    struct one *all = malloc(metrics * TARGETS * sizeof *all);
    struct buf canonical = {0};
    struct err err;
    CHECK(all != NULL, "memory");
    for (size_t i = 0; i < metrics * TARGETS; i++) {
        char name[16], instance[16];
        snprintf(name, sizeof name, "metric_%zu", i / TARGETS);
        snprintf(instance, sizeof instance, "host-%zu", i % TARGETS);
        struct label labels[] = {{SV("__name__"), sv_from(name)},
                                 {SV("instance"), sv_from(instance)}};
        buf_clear(&canonical);
        CHECK(labels_encode(labels, 2, &canonical, &err) == OK, "%s", err.msg);
        series_id id = series_id_of(MODEL_SECRET, MODEL_TENANT, buf_sv(&canonical));
        all[i] =
            (struct one){.len = (uint8_t)canonical.len, .shard = (uint8_t)series_shard(id, SHARDS)};
        memcpy(all[i].bytes, canonical.ptr, canonical.len);
    }
    qsort(all, metrics * TARGETS, sizeof *all, one_order);
    buf_fini(&canonical);
    return all;
}

static void block_put(const char *path, const struct one *all, size_t total, int64_t time_ms) {
    struct model m = {.shards_count = SHARDS};
    struct block_writer_options options = model_writer_options(&m, disk_real(), path);
    struct block_writer *w;
    struct err err;
    bool written;
    CHECK(block_writer_new(&options, &w, &err) == OK, "%s", err.msg);
    for (size_t i = 0; i < total; i++) {
        double value = (double)i;
        struct samples samples = {.times_ms = &time_ms, .values = &value, .count = 1};
        CHECK(block_writer_add(w, all[i].shard, sv_make(all[i].bytes, all[i].len), &samples,
                               &err) == OK,
              "%s", err.msg);
    }
    CHECK(block_writer_finish(w, &written, &err) == OK, "%s", err.msg);
    block_writer_free(w);
}

static struct block *block_get(const char *path) {
    struct block *b;
    struct err err;
    CHECK(model_open(disk_real(), path, &b, &err) == OK, "%s", err.msg);
    return b;
}

/* Peaks of writing and of merging two blocks; bytes of an open one. */
struct peaks {
    size_t write, merge, open;
};

static struct peaks run(const char *dir, size_t metrics) {
    struct one *all = series_make(metrics);
    struct peaks out;
    struct block *blocks[2];
    struct model m = {.shards_count = SHARDS};
    char paths[3][64];
    struct err err;
    bool written;
    for (int i = 0; i < 3; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%d", dir, i);
    size_t before = peak = held;
    for (int i = 0; i < 2; i++)
        block_put(paths[i], all, metrics * TARGETS, 1000 * i);
    out.write = peak - before;
    before = held;
    for (int i = 0; i < 2; i++)
        blocks[i] = block_get(paths[i]);
    out.open = (held - before) / 2;
    struct block_info info;
    block_get_info(blocks[0], &info);
    CHECK(info.memory_bytes <= out.open && info.memory_bytes * 2 >= out.open, "%" PRIu64,
          info.memory_bytes);
    struct block_merge_input inputs[] = {{blocks[0], NULL}, {blocks[1], NULL}};
    struct block_merge_options merge = {.writer = model_writer_options(&m, disk_real(), paths[2]),
                                        .inputs = inputs,
                                        .inputs_count = 2};
    before = peak = held;
    CHECK(block_merge(&merge, &written, &err) == OK && written, "%s", err.msg);
    out.merge = peak - before;
    for (int i = 0; i < 2; i++)
        block_unref(blocks[i]);
    for (int i = 0; i < 3; i++)
        unlink(paths[i]);
    free(all);
    return out;
}

int main(void) {
    char dir[] = "/tmp/cairn-block-XXXXXX";
    CHECK(mkdtemp(dir) != NULL, "%s", dir);
    struct peaks few = run(dir, METRICS_FEW), many = run(dir, METRICS_MANY);
    size_t thousands = (METRICS_MANY - METRICS_FEW) * TARGETS / 1000;
    size_t labels = (METRICS_MANY - METRICS_FEW) * LABELS_BYTES_MAX;
    printf("%d, then %d series: write %zu, %zu; merge %zu, %zu; open %zu, %zu bytes\n",
           METRICS_FEW * TARGETS, METRICS_MANY * TARGETS, few.write, many.write, few.merge,
           many.merge, few.open, many.open);
    CHECK(many.open - few.open <= thousands * OPEN_BYTES_MAX, "%zu bytes", many.open);
    CHECK(few.open < 1 << 20, "%zu bytes of 100,000 series", few.open);
    CHECK(many.write <= few.write + thousands * MERGE_BYTES_MAX + labels, "%zu", many.write);
    CHECK(many.merge <= few.merge + thousands * MERGE_BYTES_MAX + 3 * labels, "%zu", many.merge);
    rmdir(dir);
    return 0;
}
