/* SPDX-License-Identifier: Apache-2.0 */
/* A block: meta.json, index, chunks/NNNNNN, tombstones. A file of chunks:
 *   u32be 0x85BD40DD | u8 1 | 0 0 0 | { uvarint length, u8 encoding, bytes, u32be crc }*
 * The checksum is of encoding and bytes. A chunk's place is (file << 32 | offset), files counted
 * from 0 in the order of their names. */
#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/import/internal.h"

enum { CHUNKS_AHEAD_BYTES = 16 << 10, META_BYTES_MAX = 16 << 20, HEADER_BYTES = 8 };
static const uint32_t magic_chunks = 0x85BD40DD;

static bool ulid_copy(char out[PROM_ULID_LEN + 1], const json_t *value) {
    const char *s = json_string_value(value);
    if (s == NULL || strlen(s) != PROM_ULID_LEN) return false;
    memcpy(out, s, PROM_ULID_LEN + 1);
    return true;
}

static enum status take_parents(const json_t *parents, struct prom_block *out) {
    size_t count = json_array_size(parents);
    out->parents = calloc(count + 1, sizeof *out->parents);
    if (out->parents == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!ulid_copy(out->parents[i], json_object_get(json_array_get(parents, i), "ulid")))
            return ERR_CORRUPT;
        out->parents_count = i + 1;
    }
    return OK;
}

static enum status take_meta(const json_t *root, struct prom_block *out) {
    const json_t *min = json_object_get(root, "minTime"), *max = json_object_get(root, "maxTime");
    const json_t *compaction = json_object_get(root, "compaction");
    if (json_integer_value(json_object_get(root, "version")) != 1 || !json_is_integer(min) ||
        !json_is_integer(max) || !ulid_copy(out->ulid, json_object_get(root, "ulid")))
        return ERR_CORRUPT;
    out->min_ms = json_integer_value(min);
    out->max_ms = json_integer_value(max);
    out->deletable = json_is_true(json_object_get(compaction, "deletable"));
    out->in_order = true;
    const json_t *hints = json_object_get(compaction, "hints");
    for (size_t i = 0; i < json_array_size(hints); i++) {
        const char *hint = json_string_value(json_array_get(hints, i));
        if (hint != NULL && strncmp(hint, "from-", 5) == 0) out->in_order = false;
    }
    return take_parents(json_object_get(compaction, "parents"), out);
}

enum status prom_meta_parse(struct sv json, struct prom_block *out, struct err *err) {
    json_error_t why;
    json_t *root = json_loadb(json.ptr, json.len, 0, &why);
    if (root == NULL) return err_set(err, ERR_CORRUPT, 0, "at %d: %s", why.position, why.text);
    enum status got = take_meta(root, out);
    json_decref(root);
    if (got == ERR_NOMEM) return err_set(err, got, 0, "no memory");
    if (got != OK) return err_set(err, got, 0, "at 0: not what Prometheus writes");
    return OK;
}

enum status prom_block_meta(struct disk *disk, const char *dir, const char *ulid,
                            struct prom_block *out, struct err *err) {
    struct prom_block block = {0};
    struct buf text = {0};
    block.path = prom_path("%s/%s", dir, ulid);
    char *path = block.path == NULL ? NULL : prom_path("%s/meta.json", block.path);
    enum status got = path == NULL ? err_set(err, ERR_NOMEM, 0, "%s: no memory", dir)
                                   : disk_read_file(disk, path, META_BYTES_MAX, &text, err);
    struct err inner;
    if (got == OK) {
        got = prom_meta_parse(buf_sv(&text), &block, &inner);
        if (got != OK)
            err_set(err, got, 0, "%s: %s", path, inner.msg);
        else if (strcmp(block.ulid, ulid) != 0)
            got = err_set(err, ERR_CORRUPT, 0, "%s: at 0: the block calls itself %s", path,
                          block.ulid);
    }
    buf_fini(&text);
    free(path);
    if (got != OK) {
        prom_block_fini(&block);
        return got;
    }
    *out = block;
    return OK;
}

void prom_block_fini(struct prom_block *block) {
    prom_block_close(block);
    free(block->path);
    free(block->parents);
    *block = (struct prom_block){0};
}

static enum status open_chunk_file(struct disk *disk, const char *dir, uint64_t number,
                                   struct prom_file *out, struct err *err) {
    char *path = prom_path("%s/%06" PRIu64, dir, number);
    if (path == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", dir);
    enum status got = prom_file_open(disk, path, CHUNKS_AHEAD_BYTES, out, err);
    free(path);
    if (got != OK) return got;
    const uint8_t *p;
    TRY(prom_file_read(out, 0, HEADER_BYTES, &p, err));
    if (get_u32be(p) != magic_chunks) return prom_corrupt(out, 0, err, "not a file of chunks");
    if (p[4] != 1) return prom_corrupt(out, 4, err, "chunks of an unknown version");
    return OK;
}

static enum status open_chunks(struct disk *disk, struct prom_block *block, struct err *err) {
    char *dir = prom_path("%s/chunks", block->path);
    struct prom_numbers numbers = {0};
    enum status got = dir == NULL ? err_set(err, ERR_NOMEM, 0, "%s: no memory", block->path)
                                  : prom_list_numbers(disk, dir, SV(""), &numbers, err);
    if (got == OK) {
        block->chunk_files = calloc(numbers.count + 1, sizeof *block->chunk_files);
        if (block->chunk_files == NULL) got = err_set(err, ERR_NOMEM, 0, "%s: no memory", dir);
    }
    for (size_t i = 0; got == OK && i < numbers.count; i++) {
        block->chunk_files_count = i + 1;
        got = open_chunk_file(disk, dir, numbers.items[i], &block->chunk_files[i], err);
    }
    free(numbers.items);
    free(dir);
    return got;
}

enum status prom_block_open(struct disk *disk, struct prom_block *block, struct err *err) {
    assert(block->chunk_files == NULL);
    char *index = prom_path("%s/index", block->path);
    char *tombstones = prom_path("%s/tombstones", block->path);
    enum status got = index == NULL || tombstones == NULL
                          ? err_set(err, ERR_NOMEM, 0, "%s: no memory", block->path)
                          : prom_index_open(disk, index, &block->index, err);
    if (got == OK) got = open_chunks(disk, block, err);
    if (got == OK) got = prom_tombstones_read(disk, tombstones, &block->tombstones, err);
    free(index);
    free(tombstones);
    if (got != OK) prom_block_close(block);
    return got;
}

void prom_block_close(struct prom_block *block) {
    prom_index_close(&block->index);
    for (size_t i = 0; i < block->chunk_files_count; i++)
        prom_file_close(&block->chunk_files[i]);
    free(block->chunk_files);
    block->chunk_files = NULL;
    block->chunk_files_count = 0;
    prom_intervals_fini(&block->tombstones);
    samples_fini(&block->decoded);
}

static enum status collect_chunk(struct prom_block *block, uint64_t place,
                                 struct prom_collect *into, struct prom_counts *counts,
                                 struct err *err) {
    uint64_t number = place >> 32, at = place & UINT32_MAX;
    if (number >= block->chunk_files_count)
        return prom_corrupt(&block->index.file, 0, err, "a chunk is in a file that is not there");
    struct prom_file *f = &block->chunk_files[number];
    const uint8_t *p;
    size_t n = prom_file_left(f, at, VARINT_BYTES_MAX);
    TRY(prom_file_read(f, at, n, &p, err));
    struct reader r = reader_init(p, n);
    uint64_t len = read_varint(&r);
    size_t head = (size_t)(r.cur - p);
    if (r.failed || len > f->size)
        return prom_corrupt(f, at, err, "the length of a chunk is malformed");
    TRY(prom_file_read(f, at, head + 1 + (size_t)len + 4, &p, err));
    if (prom_crc32c(0, p + head, 1 + (size_t)len) != get_u32be(p + head + 1 + len))
        return prom_corrupt(f, at, err, "a chunk fails its checksum");
    enum status got =
        prom_chunk_collect(p[head], p + head + 1, (size_t)len, &block->decoded, into, counts);
    if (got == ERR_CORRUPT) return prom_corrupt(f, at, err, "a chunk is malformed");
    if (got != OK) return err_set(err, got, 0, "%s: no memory", f->file->path);
    return OK;
}

enum status prom_block_collect(struct prom_block *block, uint32_t ref,
                               const struct prom_chunk_places *places, struct prom_collect *into,
                               struct prom_counts *counts, struct err *err) {
    into->deleted = prom_intervals_of(&block->tombstones, ref, &into->deleted_count);
    for (size_t i = 0; i < places->count; i++) {
        const struct prom_chunk_place *place = &places->items[i];
        if (place->max_ms < into->from_ms || place->min_ms > into->to_ms) continue;
        TRY(collect_chunk(block, place->ref, into, counts, err));
    }
    return OK;
}
