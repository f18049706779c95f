/* SPDX-License-Identifier: Apache-2.0 */
/* The root of a block: what of the index stays in memory. All but digests are varints, times are
 * zigzag:
 *
 *   series, samples, columns, names, pairs, sets of the metric and of the target side, bytes of
 *   data (pages, columns, items), first and last time
 *   shards that are there; each: shard - the one before - 1 (the first: shard), series; if any:
 *   samples, min, max, u64 and u64 of the digest (high, low); then frames of items; if any: bytes
 *   for each part but PAGES, in the order of enum block_part: bytes of the stream (0 for
 *   DIRECTORY, LABELS, ITEMS), frames; each: offset - end of the one before (zigzag), bytes; for
 *   DIRECTORY also: first series - that of the one before */
#include <stdlib.h>

#include "storage/block/internal.h"

static void shard_put(const struct shard_entry *e, struct buf *out) {
    const struct block_shard *s = &e->info;
    buf_put_varint(out, s->series_count);
    if (s->series_count > 0) {
        buf_put_varint(out, s->samples_count);
        buf_put_zigzag(out, s->min_ms);
        buf_put_zigzag(out, s->max_ms);
        buf_put_u64(out, s->digest.hi);
        buf_put_u64(out, s->digest.lo);
    }
    buf_put_varint(out, e->items_count);
    if (e->items_count > 0) buf_put_varint(out, e->items_bytes);
}

static void part_put(const struct part *p, const uint64_t *firsts, struct buf *out) {
    uint64_t end = 0, first = 0;
    buf_put_varint(out, p->raw_bytes);
    buf_put_varint(out, p->frames_count);
    for (size_t i = 0; i < p->frames_count; i++) {
        buf_put_zigzag(out, (int64_t)(ref_offset(p->frames[i]) - end));
        buf_put_varint(out, ref_bytes(p->frames[i]));
        end = ref_offset(p->frames[i]) + ref_bytes(p->frames[i]);
        if (firsts == NULL) continue;
        buf_put_varint(out, firsts[i] - first);
        first = firsts[i];
    }
}

void root_put(const struct root *root, struct buf *out) {
    const struct block_totals *t = &root->totals;
    const uint64_t counts[] = {
        t->series_count, t->samples_count,           t->columns_count,           t->names_count,
        t->pairs_count,  t->sets_count[SIDE_METRIC], t->sets_count[SIDE_TARGET], t->data_bytes};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        buf_put_varint(out, counts[i]);
    buf_put_zigzag(out, t->min_ms);
    buf_put_zigzag(out, t->max_ms);
    buf_put_varint(out, root->shards_present);
    uint32_t next = 0;
    for (size_t i = 0; i < root->shards_present; i++) {
        buf_put_varint(out, root->shards[i].shard - next);
        next = root->shards[i].shard + 1;
        shard_put(&root->shards[i], out);
    }
    for (int part = PART_PAGES + 1; part < PART_COUNT; part++)
        part_put(&root->parts[part], part == PART_DIRECTORY ? root->directory_first : NULL, out);
}

/* A count of things that take a byte at least each in what is left. */
static bool count_get(struct reader *r, size_t *out) {
    uint64_t count = read_varint(r);
    *out = (size_t)count;
    return !r->failed && count <= reader_left(r);
}

static void *array_new(size_t count, size_t size, bool *out_nomem) {
    void *p = calloc(count + 1, size);
    *out_nomem = *out_nomem || p == NULL;
    return p;
}

static void shard_get(struct reader *r, struct shard_entry *e) {
    struct block_shard *s = &e->info;
    s->series_count = read_varint(r);
    if (s->series_count > 0) {
        s->samples_count = read_varint(r);
        s->min_ms = read_zigzag(r);
        s->max_ms = read_zigzag(r);
        s->digest.hi = read_u64(r);
        s->digest.lo = read_u64(r);
    }
    uint64_t items = read_varint(r);
    e->items_count = (uint32_t)items;
    r->failed = r->failed || items > UINT32_MAX;
    if (items > 0) e->items_bytes = read_varint(r);
}

static bool shards_get(struct block *b, struct reader *r, bool *out_nomem) {
    uint64_t next = 0, series = 0, items = 0;
    if (!count_get(r, &b->shards_present)) return false;
    b->shards = array_new(b->shards_present, sizeof *b->shards, out_nomem);
    if (b->shards == NULL) return false;
    for (size_t i = 0; i < b->shards_present; i++) {
        struct shard_entry *e = &b->shards[i];
        uint64_t step = read_varint(r);
        if (step >= b->shards_count || next + step >= b->shards_count) return false;
        e->shard = (uint32_t)(next + step);
        next = (uint64_t)e->shard + 1;
        e->series_first = series;
        e->items_first = (uint32_t)items;
        shard_get(r, e);
        if (r->failed || e->info.series_count > b->totals.series_count - series) return false;
        series += e->info.series_count;
        items += e->items_count;
        if (items > UINT32_MAX) return false;
    }
    return series == b->totals.series_count;
}

static bool part_get(struct block *b, enum block_part part, struct reader *r, bool *out_nomem) {
    struct part *p = &b->parts[part];
    uint64_t end = 0, first = 0;
    p->raw_bytes = read_varint(r);
    if (!count_get(r, &p->frames_count)) return false;
    p->frames = array_new(p->frames_count, sizeof *p->frames, out_nomem);
    if (p->frames == NULL) return false;
    if (part == PART_DIRECTORY)
        b->directory_first = array_new(p->frames_count, sizeof *b->directory_first, out_nomem);
    if (part == PART_DIRECTORY && b->directory_first == NULL) return false;
    for (size_t i = 0; i < p->frames_count; i++) {
        uint64_t offset = end + (uint64_t)read_zigzag(r), bytes = read_varint(r);
        if (offset >= b->file_bytes || bytes > FRAME_BYTES_MAX) return false;
        p->frames[i] = ref_make(offset, bytes);
        end = offset + bytes;
        if (part != PART_DIRECTORY) continue;
        uint64_t step = read_varint(r);
        if (step > SERIES_COUNT_MAX || first + step > b->totals.series_count) return false;
        if ((i == 0) != (step == 0)) return false;
        first += step;
        b->directory_first[i] = (uint32_t)first;
    }
    return !r->failed;
}

static bool part_is_whole(const struct block *b, int part) {
    const struct part *p = &b->parts[part];
    uint64_t series = b->totals.series_count;
    if (part == PART_DIRECTORY) return p->frames_count > 0 || series == 0;
    if (part == PART_LABELS) return p->frames_count == (series + GROUP_SERIES - 1) / GROUP_SERIES;
    if (part == PART_ITEMS) return true;
    return p->raw_bytes / STREAM_FRAME_BYTES + (p->raw_bytes % STREAM_FRAME_BYTES != 0) ==
           p->frames_count;
}

bool root_get(struct block *b, struct sv raw, bool *out_nomem) {
    struct block_totals *t = &b->totals;
    struct reader r = reader_init(raw.ptr, raw.len);
    uint64_t *const counts[] = {
        &t->series_count, &t->samples_count,           &t->columns_count,           &t->names_count,
        &t->pairs_count,  &t->sets_count[SIDE_METRIC], &t->sets_count[SIDE_TARGET], &t->data_bytes};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        *counts[i] = read_varint(&r);
    t->min_ms = read_zigzag(&r);
    t->max_ms = read_zigzag(&r);
    if (t->series_count > SERIES_COUNT_MAX || !shards_get(b, &r, out_nomem)) return false;
    for (int part = PART_PAGES + 1; part < PART_COUNT; part++)
        if (!part_get(b, (enum block_part)part, &r, out_nomem) || !part_is_whole(b, part))
            return false;
    const struct part *parts = b->parts;
    const struct shard_entry *last = &b->shards[b->shards_present - (b->shards_present > 0)];
    return !r.failed && reader_left(&r) == 0 &&
           t->pairs_count == parts[PART_PAIRS_AT].raw_bytes / 8 &&
           t->sets_count[SIDE_METRIC] == parts[PART_SETS_AT].raw_bytes / 8 &&
           t->sets_count[SIDE_TARGET] ==
               parts[part_of_side(PART_SETS_AT, SIDE_TARGET)].raw_bytes / 8 &&
           t->columns_count == parts[PART_COLUMNS_AT].raw_bytes / COLUMN_ENTRY_BYTES &&
           (b->shards_present == 0 ||
            (uint64_t)last->items_first + last->items_count == parts[PART_ITEMS].frames_count);
}
