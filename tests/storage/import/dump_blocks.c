/* SPDX-License-Identifier: Apache-2.0 */
/* dump_blocks DIR: all that is in the blocks of a node's data directory, each verified first, as
 * lines of import_dump; before each block `range MIN MAX`. */
#include <stdlib.h>
#include <string.h>

#include "ring/map.h"
#include "storage/archive/families.h"
#include "storage/block/block.h"
#include "tests/storage/import/dump_text.h"

enum { LABELS_MAX = 64 };

static enum status dump_selection(struct block_selection *sel, struct err *err) {
    size_t count;
    const struct block_series *series = block_selection_series(sel, &count);
    struct samples samples = {0};
    enum status got = OK;
    for (size_t i = 0; got == OK && i < count; i++) {
        struct label labels[LABELS_MAX];
        size_t labels_count = block_series_labels(sel, i, labels, LABELS_MAX);
        struct buf canonical = {0};
        if (labels_count > LABELS_MAX) abort();
        if (labels_encode(labels, labels_count, &canonical, err) != OK) abort();
        printf("series %" PRIu32, series[i].shard);
        put_hex(buf_sv(&canonical));
        putchar('\n');
        buf_fini(&canonical);
        samples_clear(&samples);
        got = block_series_read(sel, i, INT64_MIN, INT64_MAX, &samples, err);
        if (got == OK) put_samples(&samples);
    }
    samples_fini(&samples);
    return got;
}

static enum status dump_block(const char *path, uint64_t secret, struct err *err) {
    struct block *b;
    TRY(block_open(disk_real(), path, secret, 0, &b, err));
    struct block_info info;
    block_get_info(b, &info);
    printf("range %" PRId64 " %" PRId64 "\n", info.min_ms, info.max_ms);
    struct block_selection *sel = NULL;
    struct select_query all = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    enum status got = block_verify(b, NULL, err);
    if (got == OK) got = block_select(b, &all, NULL, &sel, err);
    if (got == OK) got = dump_selection(sel, err);
    block_selection_free(sel);
    block_unref(b);
    return got;
}

struct dumping {
    const char *dir;
    uint64_t secret;
    struct err err;
    bool failed;
};

static bool on_name(void *ctx, const char *name) {
    struct dumping *d = ctx;
    char *path = NULL;
    if (strcmp(name, "MANIFEST") == 0) return true; /* of the node that was started here */
    if (sv_ends(sv_from(name), SV(FAMILIES_SUFFIX))) return true;
    if (!sv_ends(sv_from(name), SV(".block"))) {
        d->failed = true;
        err_set(&d->err, ERR_CONFLICT, 0, "%s is no block", name);
        return false;
    }
    if (asprintf(&path, "%s/blocks/%s", d->dir, name) < 0) abort();
    d->failed = dump_block(path, d->secret, &d->err) != OK;
    free(path);
    return !d->failed;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    struct dumping d = {.dir = argv[1]};
    char *ring = NULL, *blocks = NULL;
    struct ring_map *map = NULL;
    if (asprintf(&ring, "%s/ring", d.dir) < 0 || asprintf(&blocks, "%s/blocks", d.dir) < 0) abort();
    d.failed = ring_map_load(disk_real(), ring, &map, &d.err) != OK;
    if (!d.failed) {
        d.secret = map->settings.secret;
        enum status got = disk_list(disk_real(), blocks, on_name, &d, &d.err);
        d.failed = d.failed || got != OK;
    }
    ring_map_unref(map);
    free(ring);
    free(blocks);
    if (d.failed) fprintf(stderr, "error %s: %s\n", status_name(d.err.code), d.err.msg);
    return d.failed;
}
