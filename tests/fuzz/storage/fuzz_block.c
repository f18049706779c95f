/* SPDX-License-Identifier: Apache-2.0 */
/* A block of arbitrary bytes is opened, verified, selected from, read and merged without harm. Its
 * checksums and lengths are made good first, frame by frame: what is behind them is to be reached.
 */
#include <assert.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "storage/block/block.h"
#include "storage/block/internal.h"
#include "tests/sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SECRET = 7, BYTES_MAX = 64 << 10, SERIES_READ_MAX = 64, SAMPLES_MAX = 1 << 20 };

/* The last frame is the root. */
static void checksums_mend(uint8_t *p, size_t size) {
    size_t end = size - BLOCK_FOOTER_BYTES, at = BLOCK_HEADER_BYTES, root = at;
    memcpy(p, BLOCK_MAGIC, 8);
    put_u16le(p + 10, BLOCK_FORMAT_VERSION);
    put_u32le(p + 12, 0);
    put_u16le(p + 22, 1);
    put_u64le(p + 32, hash64(p, 32, 0));
    while (end - at > FRAME_HEADER_BYTES) {
        struct frame_header h;
        if (!frame_header_get(p + at, &h) || h.stored > end - at - FRAME_HEADER_BYTES) break;
        size_t bytes = FRAME_HEADER_BYTES + h.stored;
        put_u64le(p + at, frame_hash(p + at, bytes, at));
        root = at;
        at += bytes;
    }
    uint8_t *foot = p + end;
    put_u64le(foot, root);
    put_u64le(foot + 8, end - root);
    put_u64le(foot + 16, size);
    put_u64le(foot + 32, hash64(foot, 32, get_u64le(p + 32)));
}

static void select_run(struct block *b, const struct select_query *query) {
    struct block_selection *sel;
    struct samples samples = {0};
    struct err err;
    size_t count;
    if (block_select(b, query, NULL, &sel, &err) != OK) return;
    block_selection_series(sel, &count);
    for (size_t i = 0; i < MIN(count, (size_t)SERIES_READ_MAX); i++) {
        struct label labels[8];
        if (samples.count > SAMPLES_MAX) samples_clear(&samples);
        (void)block_series_labels(sel, i, labels, ARRAY_LEN(labels));
        if (block_series_read(sel, i, query->from_ms, query->to_ms, &samples, &err) != OK) break;
    }
    samples_fini(&samples);
    block_selection_free(sel);
}

static void selects_run(struct block *b) {
    struct matcher matchers[] = {
        {.kind = MATCH_NEQ, .name = SV("job"), .value = SV("b")},
        {.kind = MATCH_RE, .name = SV("__name__"), .value = SV("u.*")},
        {.kind = MATCH_NRE, .name = SV("instance"), .value = SV(".*0.*")},
    };
    struct arena arena;
    struct sv *list;
    size_t count;
    struct err err;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(matchers); i++)
        if (matcher_compile(&matchers[i], &arena, &err) != OK) abort();
    for (size_t i = 0; i <= ARRAY_LEN(matchers); i++) {
        struct select_query query = {.matchers = matchers,
                                     .matchers_count = i,
                                     .from_ms = i % 2 == 0 ? INT64_MIN : 2000,
                                     .to_ms = INT64_MAX,
                                     .memory_bytes_max = 16 << 20};
        select_run(b, &query);
        status_ignore(block_label_names(b, &query, &arena, &list, &count, &err));
        status_ignore(block_label_values(b, SV("job"), &query, &arena, &list, &count, &err));
    }
    for (size_t i = 0; i < ARRAY_LEN(matchers); i++)
        matcher_fini(&matchers[i]);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err err;
    struct block *b;
    if (size < BLOCK_HEADER_BYTES + BLOCK_FOOTER_BYTES || size > BYTES_MAX) return 0;
    uint8_t *p = malloc(size);
    struct sim_disk *sd = sim_disk_new(1);
    struct disk *disk = sim_disk_as_disk(sd);
    if (p == NULL) abort();
    memcpy(p, data, size);
    if (p[36] != 'x') checksums_mend(p, size); /* and as they are */
    enum status status = disk_write_file(disk, "block", sv_make(p, size), &err);
    assert(status == OK);
    if (block_open(disk, "block", SECRET, 0, &b, &err) == OK) {
        status_ignore(block_verify(b, NULL, &err));
        selects_run(b);
        struct block_info info;
        struct buf items = {.limit_bytes = 1 << 20};
        block_get_info(b, &info);
        status_ignore(block_read_items(b, 0, &items, &err));
        buf_fini(&items);
        struct block_merge_input input = {b, NULL};
        struct block_merge_options merge = {
            .writer = {.disk = disk, .path = "merged", .secret = SECRET, .shards_count = 4},
            .inputs = &input,
            .inputs_count = 1};
        bool written;
        status_ignore(block_merge(&merge, &written, &err));
        block_unref(b);
    }
    sim_disk_free(sd);
    free(p);
    return 0;
}
