/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "node/base/refs.h"
#include "storage/block/internal.h"
#include "storage/page/page.h"

enum status block_corrupt(const struct block *b, const char *what, struct err *err) {
    return err_set(err, ERR_CORRUPT, 0, "block %s: %s", b->path, what);
}

static enum status block_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "block: out of memory");
}

static enum status header_get(struct block *b, const uint8_t *p, struct err *err) {
    if (memcmp(p, BLOCK_MAGIC, 8) != 0 || get_u64le(p + 32) != hash64(p, 32, 0))
        return block_corrupt(b, "bad header at 0", err);
    if (get_u16le(p + 10) > BLOCK_FORMAT_VERSION || get_u16le(p + 22) > PAGE_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "block %s: written in format %u, which asks for a reader of format %u; this "
                       "build has %u",
                       b->path, get_u16le(p + 8), get_u16le(p + 10), BLOCK_FORMAT_VERSION);
    if (get_u32le(p + 12) != b->tenant)
        return err_set(err, ERR_CONFLICT, 0, "block %s: of tenant %u, not %u", b->path,
                       get_u32le(p + 12), b->tenant);
    b->shards_count = get_u32le(p + 16);
    b->level = get_u16le(p + 20);
    b->resolution_ms = get_u32le(p + 24);
    return b->shards_count > 0 ? OK : block_corrupt(b, "bad header at 0", err);
}

static enum status ends_read(struct block *b, uint64_t *out_root, struct err *err) {
    uint8_t head[BLOCK_HEADER_BYTES], foot[BLOCK_FOOTER_BYTES];
    size_t got;
    TRY(file_size(b->file, &b->file_bytes, err));
    if (b->file_bytes < sizeof head + sizeof foot) return block_corrupt(b, "too short", err);
    uint64_t end = b->file_bytes - sizeof foot;
    TRY(file_pread(b->file, head, sizeof head, 0, &got, err));
    if (got < sizeof head) return block_corrupt(b, "too short", err);
    TRY(header_get(b, head, err));
    TRY(file_pread(b->file, foot, sizeof foot, end, &got, err));
    uint64_t root = get_u64le(foot), bytes = get_u64le(foot + 8);
    bool good = got == sizeof foot &&
                get_u64le(foot + 32) == hash64(foot, 32, get_u64le(head + 32)) &&
                get_u64le(foot + 16) == b->file_bytes && root < end && bytes == end - root &&
                bytes <= FRAME_BYTES_MAX && end < BLOCK_FILE_BYTES_MAX;
    if (!good)
        return err_set(err, ERR_CORRUPT, 0, "block %s: bad footer at %" PRIu64, b->path, end);
    *out_root = ref_make(root, bytes);
    return OK;
}

static enum status root_read(struct block *b, struct err *err) {
    struct frames_in in = {.file = b->file, .path = b->path};
    struct buf raw = {0};
    uint64_t ref = 0;
    bool nomem = false;
    TRY(ends_read(b, &ref, err));
    enum status status = frames_get(&in, ref, &raw, err);
    if (status == OK && !root_get(b, buf_sv(&raw), &nomem))
        status = nomem ? block_nomem(err)
                       : err_set(err, ERR_CORRUPT, 0, "block %s: bad root at %" PRIu64, b->path,
                                 ref_offset(ref));
    frames_in_fini(&in);
    buf_fini(&raw);
    return status;
}

static void block_free(struct block *b) {
    file_close(b->file);
    for (int part = 0; part < PART_COUNT; part++)
        free(b->parts[part].frames);
    free(b->directory_first);
    free(b->shards);
    free(b->path);
    free(b);
}

static size_t memory_bytes_of(const struct block *b) {
    size_t bytes = sizeof *b + strlen(b->path) + 1 + b->shards_present * sizeof *b->shards +
                   b->parts[PART_DIRECTORY].frames_count * sizeof *b->directory_first;
    for (int part = 0; part < PART_COUNT; part++)
        bytes += b->parts[part].frames_count * sizeof *b->parts[part].frames;
    return bytes;
}

enum status block_open(struct disk *disk, const char *path, uint64_t secret, uint32_t tenant,
                       struct block **out, struct err *err) {
    struct block *b = calloc(1, sizeof *b);
    if (b == NULL) return block_nomem(err);
    *b = (struct block){.refs = 1, .disk = disk, .secret = secret, .tenant = tenant};
    b->path = strdup(path);
    enum status status = b->path == NULL ? block_nomem(err) : OK;
    if (status == OK) status = disk_open(disk, path, DISK_READ, &b->file, err);
    if (status == OK) status = root_read(b, err);
    if (status != OK) {
        block_free(b);
        return status;
    }
    b->memory_bytes = memory_bytes_of(b);
    *out = b;
    return OK;
}

struct block *block_ref(struct block *b) {
    refs_inc(&b->refs);
    return b;
}

void block_unref(struct block *b) {
    if (b == NULL || !refs_dec(&b->refs)) return;
    /* what is left behind counts in no manifest */
    if (b->obsolete) status_ignore(disk_unlink(b->disk, b->path, NULL));
    block_free(b);
}

bool block_is_shared(const struct block *b) {
    return refs_count(&b->refs) > 1;
}

void block_set_obsolete(struct block *b) {
    b->obsolete = true;
}

/* A flag that somebody looks at in time: nothing is ordered by it. */
void block_set_suspect(struct block *b) {
    __atomic_store_n(&b->suspect, true, __ATOMIC_RELAXED);
}

void block_clear_suspect(struct block *b) {
    __atomic_store_n(&b->suspect, false, __ATOMIC_RELAXED);
}

bool block_is_suspect(const struct block *b) {
    return __atomic_load_n(&b->suspect, __ATOMIC_RELAXED);
}

void block_get_info(const struct block *b, struct block_info *out) {
    *out = (struct block_info){.path = b->path,
                               .level = b->level,
                               .resolution_ms = b->resolution_ms,
                               .min_ms = b->totals.min_ms,
                               .max_ms = b->totals.max_ms,
                               .series_count = b->totals.series_count,
                               .samples_count = b->totals.samples_count,
                               .file_bytes = b->file_bytes,
                               .index_bytes = b->file_bytes - b->totals.data_bytes,
                               .memory_bytes = b->memory_bytes};
}

const struct shard_entry *block_find_shard(const struct block *b, uint32_t shard) {
    size_t low = 0, high = b->shards_present;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (b->shards[middle].shard < shard)
            low = middle + 1;
        else
            high = middle;
    }
    return low < b->shards_present && b->shards[low].shard == shard ? &b->shards[low] : NULL;
}

bool block_get_shard(const struct block *b, uint32_t shard, struct block_shard *out) {
    const struct shard_entry *e = block_find_shard(b, shard);
    if (e == NULL) return false;
    *out = e->info;
    return true;
}

enum status block_read_items(const struct block *b, uint32_t shard, struct buf *out,
                             struct err *err) {
    const struct shard_entry *e = block_find_shard(b, shard);
    struct frames_in in = {.file = b->file, .path = b->path};
    struct buf raw = {0};
    enum status status = OK;
    if (e == NULL || e->items_count == 0)
        return err_set(err, ERR_UNAVAILABLE, 0, "block %s: shard %u has no items", b->path, shard);
    size_t before = out->len;
    for (uint32_t i = 0; i < e->items_count && status == OK; i++) {
        status = frames_get(&in, b->parts[PART_ITEMS].frames[e->items_first + i], &raw, err);
        if (status == OK) buf_put_sv(out, buf_sv(&raw));
    }
    if (status == OK && out->failed) status = block_nomem(err);
    if (status == OK && out->len - before != e->items_bytes)
        status = err_set(err, ERR_CORRUPT, 0, "block %s: items of shard %u", b->path, shard);
    frames_in_fini(&in);
    buf_fini(&raw);
    return status;
}
