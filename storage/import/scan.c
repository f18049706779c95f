/* SPDX-License-Identifier: Apache-2.0 */
/* A scan lists (shard, block or head, reference) of every series first, without labels. Then shard
 * by shard: labels are read again, sorted, and equal ones are merged. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/import/dir.h"

struct entry {
    uint32_t shard, source, ref; /* source: a block's number, or blocks_count: the head */
};

/* A series of one source, of the shard that is being read. */
struct part {
    struct sv canonical; /* in the arena */
    uint32_t source, ref;
};

struct prom_scan {
    struct prom_dir *dir;
    struct entry *entries; /* by shard; then as they were found */
    size_t entries_count, entries_cap, entries_next;
    struct arena arena;
    struct part *parts; /* of a shard, by labels, then source */
    size_t parts_count, parts_cap, parts_next;
    struct buf labels;
    struct prom_chunk_places places;
    struct prom_collect collect;
    struct prom_series series;
};

static enum status no_memory(const struct prom_scan *scan, struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "%s: no memory", scan->dir->options.path);
}

static enum status add_entry(struct prom_scan *scan, uint32_t shard, size_t source, uint32_t ref) {
    void *entries = scan->entries;
    TRY(prom_grow(&entries, &scan->entries_cap, scan->entries_count, sizeof *scan->entries));
    scan->entries = entries;
    scan->entries[scan->entries_count++] = (struct entry){shard, (uint32_t)source, ref};
    return OK;
}

static bool overlaps(const struct prom_scan *scan, int64_t min_ms, int64_t max_ms) {
    return max_ms >= scan->collect.from_ms && min_ms <= scan->collect.to_ms;
}

static enum status list_block(struct prom_scan *scan, size_t source, struct err *err) {
    struct prom_block *block = &scan->dir->blocks[source];
    const struct prom_options *o = &scan->dir->options;
    TRY(prom_block_open(o->disk, block, err));
    for (uint32_t i = 0; i < block->index.refs_count; i++) {
        uint32_t ref = block->index.refs[i];
        buf_clear(&scan->labels);
        TRY(prom_index_series(&block->index, ref, &scan->labels, &scan->places, err));
        bool wanted = false;
        for (size_t c = 0; c < scan->places.count && !wanted; c++)
            wanted = overlaps(scan, scan->places.items[c].min_ms, scan->places.items[c].max_ms);
        if (!wanted) continue;
        series_id id = series_id_of(o->secret, o->tenant, buf_sv(&scan->labels));
        if (add_entry(scan, series_shard(id, o->shards_count), source, ref) != OK)
            return no_memory(scan, err);
    }
    return OK;
}

static enum status list_head(struct prom_scan *scan, struct err *err) {
    const struct prom_head *head = &scan->dir->head;
    for (size_t i = 0; i < head->series_count; i++)
        if (add_entry(scan, head->series[i].shard, scan->dir->blocks_count, (uint32_t)i) != OK)
            return no_memory(scan, err);
    return OK;
}

static int cmp_entry(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return x->ref < y->ref ? -1 : x->ref > y->ref;
}

enum status prom_scan_new(struct prom_dir *dir, int64_t from_ms, int64_t to_ms,
                          struct prom_scan **out, struct err *err) {
    assert(!dir->scanned);
    struct prom_scan *scan = calloc(1, sizeof *scan);
    if (scan == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", dir->options.path);
    scan->dir = dir;
    dir->scanned = true;
    arena_init(&scan->arena, 0);
    scan->collect.from_ms = from_ms;
    scan->collect.to_ms = to_ms;
    enum status got = OK;
    /* meta.json is believed about times: Prometheus does not open a block for others either */
    for (size_t i = 0; got == OK && i < dir->blocks_count; i++)
        if (overlaps(scan, dir->blocks[i].min_ms, dir->blocks[i].max_ms))
            got = list_block(scan, i, err);
    if (got == OK) got = list_head(scan, err);
    if (got != OK) {
        prom_scan_free(scan);
        return got;
    }
    if (scan->entries_count > 0)
        qsort(scan->entries, scan->entries_count, sizeof *scan->entries, cmp_entry);
    *out = scan;
    return OK;
}

void prom_scan_free(struct prom_scan *scan) {
    if (scan == NULL) return;
    for (size_t i = 0; i < scan->dir->blocks_count; i++)
        prom_block_close(&scan->dir->blocks[i]);
    scan->dir->scanned = false;
    free(scan->entries);
    free(scan->parts);
    free(scan->places.items);
    buf_fini(&scan->labels);
    prom_collect_fini(&scan->collect);
    arena_fini(&scan->arena);
    free(scan);
}

static int cmp_part(const void *a, const void *b) {
    const struct part *x = a, *y = b;
    int c = sv_cmp(x->canonical, y->canonical);
    if (c != 0) return c;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return x->ref < y->ref ? -1 : x->ref > y->ref;
}

/* Labels of the next shard that has entries. */
static enum status load_shard(struct prom_scan *scan, struct err *err) {
    struct prom_dir *dir = scan->dir;
    uint32_t shard = scan->entries[scan->entries_next].shard;
    arena_reset(&scan->arena);
    scan->parts_count = scan->parts_next = 0;
    for (; scan->entries_next < scan->entries_count; scan->entries_next++) {
        const struct entry *e = &scan->entries[scan->entries_next];
        if (e->shard != shard) break;
        void *parts = scan->parts;
        if (prom_grow(&parts, &scan->parts_cap, scan->parts_count, sizeof *scan->parts) != OK)
            return no_memory(scan, err);
        scan->parts = parts;
        struct part *part = &scan->parts[scan->parts_count++];
        *part = (struct part){.source = e->source, .ref = e->ref};
        if (e->source == dir->blocks_count) {
            part->canonical = dir->head.series[e->ref].canonical;
            continue;
        }
        buf_clear(&scan->labels);
        TRY(prom_index_series(&dir->blocks[e->source].index, e->ref, &scan->labels, &scan->places,
                              err));
        part->canonical = arena_sv(&scan->arena, buf_sv(&scan->labels));
        if (part->canonical.ptr == NULL) return no_memory(scan, err);
    }
    qsort(scan->parts, scan->parts_count, sizeof *scan->parts, cmp_part);
    scan->series.shard = shard;
    return OK;
}

static void take_items(struct prom_scan *scan, const struct prom_head_series *s) {
    struct prom_series *out = &scan->series;
    size_t from = 0, to = s->exemplars_count;
    while (from < to && s->exemplars[from].time_ms < scan->collect.from_ms)
        from++;
    while (to > from && s->exemplars[to - 1].time_ms > scan->collect.to_ms)
        to--;
    out->exemplars = from == to ? NULL : &s->exemplars[from];
    out->exemplars_count = to - from;
}

/* One series of all its sources. */
static enum status load_series(struct prom_scan *scan, struct err *err) {
    struct prom_dir *dir = scan->dir;
    struct prom_collect *c = &scan->collect;
    prom_collect_reset(c);
    scan->series = (struct prom_series){.shard = scan->series.shard,
                                        .canonical = scan->parts[scan->parts_next].canonical};
    for (; scan->parts_next < scan->parts_count; scan->parts_next++) {
        const struct part *part = &scan->parts[scan->parts_next];
        if (!sv_eq(part->canonical, scan->series.canonical)) break;
        if (part->source == dir->blocks_count) {
            TRY(prom_head_collect(&dir->head, part->ref, c, err));
            take_items(scan, &dir->head.series[part->ref]);
            continue;
        }
        struct prom_block *block = &dir->blocks[part->source];
        TRY(prom_index_series(&block->index, part->ref, NULL, &scan->places, err));
        TRY(prom_block_collect(block, part->ref, &scan->places, c, &dir->counts, err));
    }
    if (prom_collect_finish(c) != OK) return no_memory(scan, err);
    dir->counts.conflicts += c->conflicts;
    c->conflicts = 0;
    scan->series.samples = c->samples;
    return OK;
}

enum status prom_scan_next(struct prom_scan *scan, const struct prom_series **out,
                           struct err *err) {
    do {
        if (scan->parts_next == scan->parts_count) {
            if (scan->entries_next == scan->entries_count) {
                *out = NULL;
                return OK;
            }
            TRY(load_shard(scan, err));
        }
        TRY(load_series(scan, err));
    } while (scan->series.samples.count == 0 && scan->series.exemplars_count == 0);
    *out = &scan->series;
    return OK;
}
