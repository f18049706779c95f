/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest on disk, little-endian:
 *
 *   00-07 magic "CAIRNMAN"    08-09 format version (2)    10-11 oldest reader's version (2)
 *   12-15 0                   16-23 length of the body
 *   24-   body                then XXH3-64 of all before
 *
 *   body := varint next number, varint count { block }, varint count { shard }
 *   block := varint number, varint level, varint resolution ms, zigzag min ms, zigzag max ms,
 *            varint file bytes, u8 flags (1: of rows, their windows may have histograms),
 *            varint count { varint shard, varint copy }
 *   shard := varint shard, varint copy, zigzag from ms, zigzag floor ms, ended (as in
 *            storage/entry_delete.c), varint gone ms, varint base epoch, varint base seq, zigzag
 * cut ms, zigzag newest ms, varint count { varint epoch, varint last seq, u64 history }, varint
 * count { varint epoch, varint seq, zigzag min ms, zigzag max ms, varint length, matchers }, varint
 * length, body of a WRITE entry with metadata, or nothing Blocks ascend by number; shards, parts
 * and epochs ascend. Version 1 has neither flags (rows may have any) nor ended. */
#include "storage/archive/manifest.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "storage/entry.h"

enum {
    MANIFEST_HEAD_BYTES = 24,
    MANIFEST_SUM_BYTES = 8,
    BLOCK_HISTOGRAMS = 1,
    MANIFEST_BYTES_MAX = 1 << 30,
    MANIFEST_PATH_MAX = 4300,
};
static const char manifest_magic[8] = {'C', 'A', 'I', 'R', 'N', 'M', 'A', 'N'};

/* -- writing */

static void block_put(const struct manifest_block *b, struct buf *out) {
    buf_put_varint(out, b->number);
    buf_put_varint(out, b->level);
    buf_put_varint(out, b->resolution_ms);
    buf_put_zigzag(out, b->min_ms);
    buf_put_zigzag(out, b->max_ms);
    buf_put_varint(out, b->file_bytes);
    buf_put_u8(out, b->has_histograms ? BLOCK_HISTOGRAMS : 0);
    buf_put_varint(out, b->parts_count);
    for (uint32_t i = 0; i < b->parts_count; i++) {
        buf_put_varint(out, b->parts[i].shard);
        buf_put_varint(out, b->parts[i].copy);
    }
}

void manifest_shard_put(const struct manifest_shard *s, unsigned version, struct buf *out) {
    assert(version == MANIFEST_FORMAT || (version == 1 && !ended_any(&s->ended)));
    buf_put_varint(out, s->shard);
    buf_put_varint(out, s->copy);
    buf_put_zigzag(out, s->from_ms);
    buf_put_zigzag(out, s->floor_ms);
    if (version > 1) ended_put(&s->ended, out);
    if (version > 1) buf_put_varint(out, (uint64_t)s->gone_ms);
    buf_put_varint(out, s->base.epoch);
    buf_put_varint(out, s->base.seq);
    buf_put_zigzag(out, s->cut_ms);
    buf_put_zigzag(out, s->newest_ms);
    buf_put_varint(out, s->epochs_count);
    for (uint32_t i = 0; i < s->epochs_count; i++) {
        buf_put_varint(out, s->epochs[i].epoch);
        buf_put_varint(out, s->epochs[i].last_seq);
        buf_put_u64(out, s->epochs[i].history);
    }
    buf_put_varint(out, s->tombstones_count);
    for (uint32_t i = 0; i < s->tombstones_count; i++) {
        const struct tombstone *t = &s->tombstones[i];
        buf_put_varint(out, t->place.epoch);
        buf_put_varint(out, t->place.seq);
        buf_put_zigzag(out, t->min_ms);
        buf_put_zigzag(out, t->max_ms);
        buf_put_lenstr(out, sv_make(t->matchers, t->matchers_len));
    }
    buf_put_lenstr(out, sv_make(s->items, s->items_len));
}

void manifest_put(const struct manifest *m, struct buf *out) {
    size_t start = out->len;
    buf_put(out, manifest_magic, sizeof manifest_magic);
    buf_put_u16(out, MANIFEST_FORMAT);
    buf_put_u16(out, MANIFEST_FORMAT);
    buf_put_u32(out, 0);
    buf_put_u64(out, 0);
    buf_put_varint(out, m->next_number);
    buf_put_varint(out, m->blocks_count);
    for (uint32_t i = 0; i < m->blocks_count; i++)
        block_put(&m->blocks[i], out);
    buf_put_varint(out, m->shards_count);
    for (uint32_t i = 0; i < m->shards_count; i++)
        manifest_shard_put(&m->shards[i], MANIFEST_FORMAT, out);
    if (out->failed) return;
    put_u64le(out->ptr + start + 16, out->len - start - MANIFEST_HEAD_BYTES);
    buf_put_u64(out, hash64(out->ptr + start, out->len - start, 0));
}

/* -- reading */

static uint32_t read_u32_varint(struct reader *r) {
    uint64_t v = read_varint(r);
    if (v > UINT32_MAX) r->failed = true;
    return (uint32_t)v;
}

/* A count of things that take at least that many bytes each; NULL with *out_count 0 is no failure.
 */
static void *read_array(struct reader *r, size_t bytes_min, size_t item_bytes, uint32_t *out_count,
                        bool *nomem) {
    uint64_t count = read_varint(r);
    *out_count = 0;
    if (r->failed || count > reader_left(r) / bytes_min || count > UINT32_MAX) r->failed = true;
    if (r->failed || count == 0) return NULL;
    void *p = calloc((size_t)count, item_bytes);
    if (p == NULL) *nomem = true;
    if (p != NULL) *out_count = (uint32_t)count;
    return p;
}

static void block_read(struct reader *r, unsigned version, struct manifest_block *b, bool *nomem) {
    b->number = read_varint(r);
    uint64_t level = read_varint(r);
    if (level > UINT16_MAX) r->failed = true;
    b->level = (uint16_t)level;
    b->resolution_ms = read_u32_varint(r);
    b->min_ms = read_zigzag(r);
    b->max_ms = read_zigzag(r);
    b->file_bytes = read_varint(r);
    uint8_t flags = version > 1 ? read_u8(r) : b->resolution_ms != 0;
    if (flags > BLOCK_HISTOGRAMS) r->failed = true;
    b->has_histograms = flags != 0;
    b->parts = read_array(r, 2, sizeof *b->parts, &b->parts_count, nomem);
    for (uint32_t i = 0; i < b->parts_count; i++) {
        b->parts[i] = (struct manifest_part){read_u32_varint(r), 0};
        b->parts[i].copy = read_u32_varint(r);
        if (i > 0 && b->parts[i].shard <= b->parts[i - 1].shard) r->failed = true;
    }
    if (b->min_ms > b->max_ms) r->failed = true;
}

static char *read_copy(struct reader *r, size_t *out_len, bool *nomem) {
    struct sv bytes = read_lenstr(r);
    *out_len = 0;
    if (r->failed || *nomem || bytes.len == 0) return NULL;
    char *copy = malloc(bytes.len);
    *nomem = copy == NULL;
    if (copy == NULL) return NULL;
    memcpy(copy, bytes.ptr, bytes.len);
    *out_len = bytes.len;
    return copy;
}

static void tombstone_read(struct reader *r, struct tombstone *t, bool *nomem) {
    t->place.epoch = read_u32_varint(r);
    t->place.seq = read_varint(r);
    t->min_ms = read_zigzag(r);
    t->max_ms = read_zigzag(r);
    t->matchers = read_copy(r, &t->matchers_len, nomem);
}

static void shard_read(struct reader *r, unsigned version, struct manifest_shard *s, bool *nomem) {
    s->shard = read_u32_varint(r);
    s->copy = read_u32_varint(r);
    s->from_ms = read_zigzag(r);
    s->floor_ms = read_zigzag(r);
    if (version > 1) ended_read(r, &s->ended);
    uint64_t gone_ms = version > 1 ? read_varint(r) : 0;
    if (gone_ms > INT64_MAX) r->failed = true;
    s->gone_ms = r->failed ? 0 : (int64_t)gone_ms;
    s->base.epoch = read_u32_varint(r);
    s->base.seq = read_varint(r);
    s->cut_ms = read_zigzag(r);
    s->newest_ms = read_zigzag(r);
    s->epochs = read_array(r, 10, sizeof *s->epochs, &s->epochs_count, nomem);
    for (uint32_t i = 0; i < s->epochs_count; i++) {
        struct manifest_epoch *e = &s->epochs[i];
        e->epoch = read_u32_varint(r);
        e->last_seq = read_varint(r);
        e->history = read_u64(r);
        if (i > 0 && e->epoch <= s->epochs[i - 1].epoch) r->failed = true;
    }
    s->tombstones = read_array(r, 5, sizeof *s->tombstones, &s->tombstones_count, nomem);
    for (uint32_t i = 0; i < s->tombstones_count && !r->failed && !*nomem; i++)
        tombstone_read(r, &s->tombstones[i], nomem);
    s->items = read_copy(r, &s->items_len, nomem);
}

static enum status read_outcome(const struct reader *r, struct sv bytes, bool nomem,
                                struct err *err) {
    if (nomem) return err_set(err, ERR_NOMEM, 0, "manifest: not enough memory");
    if (!r->failed && reader_left(r) == 0) return OK;
    return err_set(err, ERR_CORRUPT, 0, "manifest: bad record at offset %zu",
                   (size_t)(r->cur - (const uint8_t *)bytes.ptr));
}

enum status manifest_shard_get(struct sv bytes, unsigned version, struct manifest_shard *out,
                               struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    bool nomem = false;
    *out = (struct manifest_shard){0};
    shard_read(&r, version, out, &nomem);
    enum status status = read_outcome(&r, bytes, nomem, err);
    if (status != OK) manifest_shard_fini(out);
    return status;
}

static void body_read(struct reader *r, unsigned version, struct manifest *m, bool *nomem) {
    m->next_number = read_varint(r);
    m->blocks = read_array(r, 7, sizeof *m->blocks, &m->blocks_count, nomem);
    m->blocks_cap = m->blocks_count;
    for (uint32_t i = 0; i < m->blocks_count && !r->failed && !*nomem; i++) {
        block_read(r, version, &m->blocks[i], nomem);
        if (i > 0 && m->blocks[i].number <= m->blocks[i - 1].number) r->failed = true;
        if (m->blocks[i].number >= m->next_number) r->failed = true;
    }
    m->shards = read_array(r, 11, sizeof *m->shards, &m->shards_count, nomem);
    m->shards_cap = m->shards_count;
    for (uint32_t i = 0; i < m->shards_count && !r->failed && !*nomem; i++) {
        shard_read(r, version, &m->shards[i], nomem);
        if (i > 0 && m->shards[i].shard <= m->shards[i - 1].shard) r->failed = true;
    }
}

enum status manifest_get(struct sv bytes, struct manifest *out, struct err *err) {
    *out = (struct manifest){0};
    if (bytes.len < MANIFEST_HEAD_BYTES + MANIFEST_SUM_BYTES ||
        memcmp(bytes.ptr, manifest_magic, sizeof manifest_magic) != 0)
        return err_set(err, ERR_CORRUPT, 0, "manifest: bad header");
    if (get_u16le(bytes.ptr + 10) > MANIFEST_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0, "manifest: format version %u, this build reads %d",
                       get_u16le(bytes.ptr + 8), MANIFEST_FORMAT);
    size_t body = bytes.len - MANIFEST_HEAD_BYTES - MANIFEST_SUM_BYTES;
    if (get_u64le(bytes.ptr + 16) != body)
        return err_set(err, ERR_CORRUPT, 0, "manifest: %zu bytes, %" PRIu64 " expected", body,
                       get_u64le(bytes.ptr + 16));
    if (get_u64le(bytes.ptr + MANIFEST_HEAD_BYTES + body) !=
        hash64(bytes.ptr, MANIFEST_HEAD_BYTES + body, 0))
        return err_set(err, ERR_CORRUPT, 0, "manifest: bad checksum");
    struct sv rest = sv_make(bytes.ptr + MANIFEST_HEAD_BYTES, body);
    struct reader r = reader_init(rest.ptr, rest.len);
    bool nomem = false;
    body_read(&r, get_u16le(bytes.ptr + 8), out, &nomem);
    enum status status = read_outcome(&r, bytes, nomem, err);
    if (status != OK) manifest_fini(out);
    return status;
}

/* -- the file */

static enum status manifest_path(const char *dir, char out[MANIFEST_PATH_MAX], struct err *err) {
    int n = snprintf(out, MANIFEST_PATH_MAX, "%s/MANIFEST", dir);
    if (n > 0 && n < MANIFEST_PATH_MAX) return OK;
    return err_set(err, ERR_LIMIT, 0, "manifest: the path of %s is too long", dir);
}

enum status manifest_load(struct disk *disk, const char *dir, struct manifest *out,
                          struct err *err) {
    char path[MANIFEST_PATH_MAX];
    struct buf bytes = {0};
    *out = (struct manifest){.next_number = 1};
    TRY(manifest_path(dir, path, err));
    if (!disk_exists(disk, path)) return OK;
    enum status status = disk_read_file(disk, path, MANIFEST_BYTES_MAX, &bytes, err);
    if (status == OK) {
        status = manifest_get(buf_sv(&bytes), out, err);
        if (status != OK) err_prefix(err, "%s", path);
    }
    buf_fini(&bytes);
    return status;
}

enum status manifest_save(struct disk *disk, const char *dir, const struct manifest *m,
                          struct err *err) {
    char path[MANIFEST_PATH_MAX];
    struct buf bytes = {0};
    TRY(manifest_path(dir, path, err));
    manifest_put(m, &bytes);
    enum status status = bytes.failed ? err_set(err, ERR_NOMEM, 0, "manifest: not enough memory")
                                      : disk_write_file(disk, path, buf_sv(&bytes), err);
    buf_fini(&bytes);
    return status;
}
