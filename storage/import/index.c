/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a block (tsdb/docs/format/index.md):
 *   u32be 0xBAAAD700 | u8 2 | symbols | series | ... | postings offset table | table of contents
 * Symbols, tables and postings lists are sections [u32be length][bytes][u32be crc]. A series is at
 * a multiple of 16, which is its reference: uvarint length, bytes, u32be crc. Which series there
 * are is the postings list of the empty name and value, the first of its table. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/import/internal.h"

enum { TOC_BYTES = 6 * 8 + 4, HEADER_BYTES = 5, AHEAD_BYTES = 4 << 10, SERIES_ALIGN = 16 };
static const uint32_t magic_index = 0xBAAAD700;

struct toc {
    uint64_t symbols, series, label_indices, postings, postings_table;
};

static enum status read_toc(struct prom_file *f, struct toc *out, struct err *err) {
    const uint8_t *p;
    TRY(prom_file_read(f, 0, HEADER_BYTES, &p, err));
    if (get_u32be(p) != magic_index) return prom_corrupt(f, 0, err, "not an index file");
    if (p[4] == 1)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "%s: an index of version 1, as Prometheus wrote before 2.1", f->file->path);
    if (p[4] != 2) return prom_corrupt(f, 4, err, "an index of an unknown version");
    if (f->size < HEADER_BYTES + TOC_BYTES)
        return prom_corrupt(f, f->size, err, "no table of contents");
    uint64_t at = f->size - TOC_BYTES;
    TRY(prom_file_read(f, at, TOC_BYTES, &p, err));
    if (prom_crc32c(0, p, TOC_BYTES - 4) != get_u32be(p + TOC_BYTES - 4))
        return prom_corrupt(f, at, err, "the table of contents fails its checksum");
    *out = (struct toc){get_u64be(p), get_u64be(p + 8), get_u64be(p + 16), get_u64be(p + 32),
                        get_u64be(p + 40)};
    return OK;
}

static enum status read_symbols(struct prom_index *index, uint64_t at, struct err *err) {
    struct prom_file *f = &index->file;
    uint32_t len;
    TRY(prom_file_check_section(f, at, &len, err));
    if (len < 4) return prom_corrupt(f, at, err, "the symbol table is too short");
    index->symbols = malloc(len);
    if (index->symbols == NULL) return ERR_NOMEM;
    size_t got;
    TRY(file_pread(f->file, index->symbols, len, at + 4, &got, err));
    if (got < len) return prom_corrupt(f, at, err, "the file was cut while it was read");
    uint32_t count = get_u32be(index->symbols);
    if (count > len - 4) return prom_corrupt(f, at, err, "the symbol table is too short");
    index->symbol_offsets = malloc((count + 1UL) * sizeof *index->symbol_offsets);
    if (index->symbol_offsets == NULL) return ERR_NOMEM;
    struct reader r = reader_init(index->symbols, len);
    read_bytes(&r, 4);
    for (uint32_t i = 0; i < count; i++) {
        index->symbol_offsets[i] = (uint32_t)(r.cur - (const uint8_t *)index->symbols);
        read_lenstr(&r);
    }
    if (r.failed) return prom_corrupt(f, at, err, "a symbol is malformed");
    index->symbols_count = count;
    index->symbols_bytes = len;
    return OK;
}

/* Where the list of all series is. */
static enum status find_all(struct prom_file *f, uint64_t table, uint64_t *out, struct err *err) {
    uint32_t len;
    TRY(prom_file_check_section(f, table, &len, err));
    const uint8_t *p;
    size_t n = MIN(len, 64U);
    TRY(prom_file_read(f, table + 4, n, &p, err));
    struct reader r = reader_init(p, n);
    uint32_t count = read_u32be(&r);
    uint64_t keys = read_varint(&r);
    struct sv name = read_lenstr(&r), value = read_lenstr(&r);
    *out = read_varint(&r);
    if (count == 0 || r.failed || keys != 2 || name.len != 0 || value.len != 0)
        return prom_corrupt(f, table, err, "the postings table has no list of all series");
    return OK;
}

static enum status read_refs(struct prom_index *index, uint64_t at, struct err *err) {
    struct prom_file *f = &index->file;
    uint32_t len;
    TRY(prom_file_check_section(f, at, &len, err));
    const uint8_t *p;
    TRY(prom_file_read(f, at + 4, MIN(len, 4U), &p, err));
    uint32_t count = len < 4 ? 0 : get_u32be(p);
    if (len < 4 || (len - 4) / 4 != count || (len - 4) % 4 != 0)
        return prom_corrupt(f, at, err, "a postings list has another length than it says");
    index->refs = malloc(len);
    if (index->refs == NULL) return ERR_NOMEM;
    size_t got;
    TRY(file_pread(f->file, index->refs, len - 4, at + 8, &got, err));
    if (got < len - 4) return prom_corrupt(f, at, err, "the file was cut while it was read");
    for (uint32_t i = 0; i < count; i++) {
        index->refs[i] = get_u32be(&index->refs[i]);
        uint64_t offset = (uint64_t)index->refs[i] * SERIES_ALIGN;
        if (offset < index->series_begin || offset >= index->series_end ||
            (i > 0 && index->refs[i] <= index->refs[i - 1]))
            return prom_corrupt(f, at + 8 + 4ULL * i, err, "a reference to no series");
    }
    index->refs_count = count;
    return OK;
}

enum status prom_index_open(struct disk *disk, const char *path, struct prom_index *out,
                            struct err *err) {
    struct prom_index index = {0};
    TRY(prom_file_open(disk, path, AHEAD_BYTES, &index.file, err));
    struct toc toc = {0};
    uint64_t all = 0;
    enum status got = read_toc(&index.file, &toc, err);
    if (got == OK && (toc.symbols == 0 || toc.series == 0 || toc.postings_table == 0))
        got = prom_corrupt(&index.file, index.file.size - TOC_BYTES, err,
                           "the table of contents lacks a section");
    index.series_begin = toc.series;
    index.series_end = index.file.size - MIN(index.file.size, (uint64_t)TOC_BYTES);
    if (got == OK) got = read_symbols(&index, toc.symbols, err);
    if (got == OK) got = find_all(&index.file, toc.postings_table, &all, err);
    if (got == OK) got = read_refs(&index, all, err);
    if (got != OK) {
        if (got == ERR_NOMEM) err_set(err, ERR_NOMEM, 0, "%s: no memory", path);
        prom_index_close(&index);
        return got;
    }
    *out = index;
    return OK;
}

void prom_index_close(struct prom_index *index) {
    prom_file_close(&index->file);
    free(index->symbols);
    free(index->symbol_offsets);
    free(index->refs);
    free(index->labels);
    *index = (struct prom_index){0};
}

static bool symbol(const struct prom_index *index, uint64_t number, struct sv *out) {
    if (number >= index->symbols_count) return false;
    uint32_t at = index->symbol_offsets[number];
    struct reader r = reader_init(index->symbols + at, index->symbols_bytes - at);
    *out = read_lenstr(&r);
    assert(!r.failed);
    return true;
}

/* Labels of an entry; false: malformed. */
static enum status read_labels(struct prom_index *index, struct reader *r, struct buf *out,
                               struct err *err) {
    uint64_t count = read_varint(r);
    if (r->failed || count > reader_left(r) / 2) return ERR_CORRUPT;
    for (size_t i = 0; i < count; i++) {
        void *labels = index->labels;
        TRY(prom_grow(&labels, &index->labels_cap, i, sizeof *index->labels));
        index->labels = labels;
        uint64_t name = read_varint(r), value = read_varint(r);
        if (r->failed || !symbol(index, name, &index->labels[i].name) ||
            !symbol(index, value, &index->labels[i].value))
            return ERR_CORRUPT;
    }
    if (out == NULL) return OK;
    enum status got = labels_encode(index->labels, (size_t)count, out, err);
    if (got == OK && out->failed) got = ERR_NOMEM;
    return got == ERR_CONFLICT ? ERR_CORRUPT : got;
}

static enum status read_places(struct reader *r, struct prom_chunk_places *places) {
    uint64_t count = read_varint(r);
    if (r->failed || count > reader_left(r)) return ERR_CORRUPT;
    uint64_t time = 0, ref = 0; /* unsigned: they wrap as Go's do */
    places->count = 0;
    for (size_t i = 0; i < count; i++) {
        void *items = places->items;
        TRY(prom_grow(&items, &places->cap, i, sizeof *places->items));
        places->items = items;
        struct prom_chunk_place *place = &places->items[i];
        time = i == 0 ? (uint64_t)read_zigzag(r) : time + read_varint(r);
        place->min_ms = (int64_t)time;
        time += read_varint(r);
        place->max_ms = (int64_t)time;
        ref = i == 0 ? read_varint(r) : ref + (uint64_t)read_zigzag(r);
        place->ref = ref;
        if (r->failed) return ERR_CORRUPT;
        places->count = i + 1;
    }
    return OK;
}

enum status prom_index_series(struct prom_index *index, uint32_t ref, struct buf *labels,
                              struct prom_chunk_places *places, struct err *err) {
    struct prom_file *f = &index->file;
    uint64_t at = (uint64_t)ref * SERIES_ALIGN;
    const uint8_t *p;
    size_t n = prom_file_left(f, at, VARINT_BYTES_MAX);
    TRY(prom_file_read(f, at, n, &p, err));
    struct reader r = reader_init(p, n);
    uint64_t len = read_varint(&r);
    size_t head = (size_t)(r.cur - p);
    if (r.failed || len > f->size)
        return prom_corrupt(f, at, err, "the length of a series is malformed");
    TRY(prom_file_read(f, at, head + (size_t)len + 4, &p, err));
    if (prom_crc32c(0, p + head, (size_t)len) != get_u32be(p + head + len))
        return prom_corrupt(f, at, err, "a series fails its checksum");
    r = reader_init(p + head, (size_t)len);
    struct err inner;
    enum status got = read_labels(index, &r, labels, &inner);
    if (got == OK) got = read_places(&r, places);
    if (got == ERR_CORRUPT) return prom_corrupt(f, at, err, "a series is malformed");
    if (got != OK) return err_set(err, got, 0, "%s: no memory", f->file->path);
    return OK;
}
