/* SPDX-License-Identifier: Apache-2.0 */
/* The tables by which a selection finds series: names, pairs, the sets that have a pair, and the
 * series that have a set. The sets themselves are in memory; their series are not, but are read
 * back from the frames of PART_LABELS: a pass over these for each POSTINGS_BATCH of them. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "storage/block/io.h"
#include "storage/block/writer_internal.h"

enum { POSTINGS_BATCH = 1 << 17 };

struct pair_out {
    struct sv canonical;
    struct label label;
    enum block_side side;
    uint32_t rank, sets_count;
    uint64_t sets_at; /* position in PART_PAIR_SETS */
};

struct tables {
    struct block_writer *w;
    struct map map;
    struct pair_out *pairs;
    uint32_t pairs_count, pairs_cap;
    struct pair_out **sorted;     /* by rank */
    struct u32s set_pairs[SIDES]; /* pairs (not ranks) of all sets, one set after the other */
    uint64_t *positions;          /* in PART_POSTINGS, of a side's sets */
    struct buf raw;
};

static bool pair_eq(const void *owner, uint32_t i, const void *key) {
    return sv_eq(((const struct tables *)owner)->pairs[i].canonical, *(const struct sv *)key);
}
static uint64_t pair_hash(const void *owner, uint32_t i) {
    struct sv bytes = ((const struct tables *)owner)->pairs[i].canonical;
    return hash64(bytes.ptr, bytes.len, 0);
}

static enum status pair_intern(struct tables *t, struct sv canonical, const struct label *label,
                               enum block_side side) {
    uint64_t hash = hash64(canonical.ptr, canonical.len, 0);
    uint32_t i = map_find(&t->map, hash, pair_eq, t, &canonical);
    if (i == MAP_NONE) {
        if (t->pairs_count == t->pairs_cap) {
            uint32_t cap = MAX(t->pairs_cap * 2, 256);
            struct pair_out *pairs = realloc(t->pairs, cap * sizeof *pairs);
            if (pairs == NULL) return ERR_NOMEM;
            t->pairs = pairs;
            t->pairs_cap = cap;
        }
        i = t->pairs_count;
        t->pairs[i] = (struct pair_out){.canonical = canonical, .label = *label, .side = side};
        TRY(map_insert(&t->map, hash, i, pair_hash, t));
        t->pairs_count++;
    }
    t->pairs[i].sets_count++;
    return u32s_put(&t->set_pairs[side], i);
}

static int pair_order(const void *a, const void *b) {
    const struct pair_out *x = *(struct pair_out *const *)a, *y = *(struct pair_out *const *)b;
    int c = sv_cmp(x->label.name, y->label.name);
    return c != 0 ? c : sv_cmp(x->label.value, y->label.value);
}

static enum status pairs_collect(struct tables *t) {
    for (int side = 0; side < SIDES; side++) {
        const struct set_table *sets = &t->w->sets[side];
        for (uint32_t i = 0; i < sets->count; i++) {
            struct sv rest = set_bytes(sets, i), before = rest;
            struct label label;
            for (; labels_next(&rest, &label, NULL); before = rest)
                TRY(pair_intern(t, sv_take(before, before.len - rest.len), &label,
                                (enum block_side)side));
        }
    }
    t->sorted = malloc((t->pairs_count + 1) * sizeof *t->sorted);
    if (t->sorted == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < t->pairs_count; i++)
        t->sorted[i] = &t->pairs[i];
    qsort(t->sorted, t->pairs_count, sizeof(*t->sorted), pair_order);
    for (uint32_t i = 0; i < t->pairs_count; i++)
        t->sorted[i]->rank = i;
    return OK;
}

static enum status raw_put(struct tables *t, enum block_part part, struct err *err) {
    if (t->raw.failed) return writer_nomem(err);
    enum status status = stream_put(t->w, part, buf_sv(&t->raw), err);
    buf_clear(&t->raw);
    return status;
}

static enum status u64_put(struct block_writer *w, enum block_part part, uint64_t v,
                           struct err *err) {
    uint8_t p[8];
    put_u64le(p, v);
    return stream_put(w, part, sv_make(p, sizeof p), err);
}

/* -- postings */

struct postings {
    struct block_writer *w;
    struct frames_in in;
    struct buf raw, out;
    enum block_side side;
    uint32_t first, end;     /* sets of the batch */
    uint32_t *series, *next; /* series of the batch's sets, one set after the other; where each goes
                                on */
    int64_t group[GROUP_SERIES + PAGE_PAD];
};

/* Calls for each series of the batch's sets: fills them in, or, for one set that is larger than a
 * batch, writes them at once. */
static enum status postings_pass(struct postings *p, struct err *err) {
    const struct u64s *frames = &p->w->streams[PART_LABELS].frames;
    uint64_t before = 0;
    for (size_t f = 0; f < frames->count; f++) {
        size_t count = MIN(p->w->series_count - f * GROUP_SERIES, GROUP_SERIES);
        TRY(writer_canceled(p->w, err));
        TRY(frames_get(&p->in, frames->at[f], &p->raw, err));
        if (!group_get(p->w->scratch, buf_sv(&p->raw), count, p->side, p->group))
            return err_set(err, ERR_CORRUPT, 0, "block %s: labels were not written", p->in.path);
        for (size_t i = 0; i < count; i++) {
            uint64_t set = (uint64_t)p->group[i], series = f * GROUP_SERIES + i;
            if (set < p->first || set >= p->end) continue;
            if (p->series != NULL) {
                p->series[p->next[set - p->first]++] = (uint32_t)series;
                continue;
            }
            buf_put_varint(&p->out, series - before);
            before = series;
        }
        if (p->out.failed) return writer_nomem(err);
        TRY(stream_put(p->w, PART_POSTINGS, buf_sv(&p->out), err));
        buf_clear(&p->out);
    }
    return OK;
}

static enum status postings_put_batch(struct postings *p, uint64_t *positions, struct err *err) {
    const struct label_set *sets = p->w->sets[p->side].at;
    uint32_t at = 0;
    for (uint32_t i = p->first; i < p->end; i++) {
        p->next[i - p->first] = at;
        at += sets[i].series_count;
    }
    TRY(postings_pass(p, err));
    const uint32_t *series = p->series;
    for (uint32_t i = p->first; i < p->end; i++) {
        uint32_t before = 0;
        positions[i] = p->w->streams[PART_POSTINGS].raw_bytes;
        for (uint32_t k = 0; k < sets[i].series_count; k++) {
            buf_put_varint(&p->out, *series - before);
            before = *series++;
        }
        if (p->out.failed) return writer_nomem(err);
        TRY(stream_put(p->w, PART_POSTINGS, buf_sv(&p->out), err));
        buf_clear(&p->out);
    }
    return OK;
}

static enum status postings_batches(struct postings *p, uint64_t *positions, struct err *err) {
    const struct set_table *sets = &p->w->sets[p->side];
    for (p->first = 0; p->first < sets->count; p->first = p->end) {
        uint64_t total = 0;
        for (p->end = p->first; p->end < sets->count; p->end++) {
            if (total > 0 && total + sets->at[p->end].series_count > POSTINGS_BATCH) break;
            total += sets->at[p->end].series_count;
        }
        if (total > POSTINGS_BATCH) { /* one set */
            positions[p->first] = p->w->streams[PART_POSTINGS].raw_bytes;
            TRY(postings_pass(p, err));
            continue;
        }
        p->series = malloc((total + 1) * sizeof *p->series);
        p->next = malloc((p->end - p->first) * sizeof *p->next);
        bool nomem = p->series == NULL || p->next == NULL;
        enum status status = nomem ? writer_nomem(err) : postings_put_batch(p, positions, err);
        free(p->series);
        free(p->next);
        p->series = p->next = NULL;
        if (status != OK) return status;
    }
    return OK;
}

static enum status postings_write(struct tables *t, enum block_side side, struct err *err) {
    struct block_writer *w = t->w;
    free(t->positions);
    t->positions = malloc((w->sets[side].count + 1) * sizeof *t->positions);
    struct postings *p = calloc(1, sizeof *p);
    enum status status = p == NULL || t->positions == NULL ? writer_nomem(err) : OK;
    if (status == OK) {
        p->w = w;
        p->in = (struct frames_in){.file = w->out.file, .path = w->path_new};
        p->side = side;
        status = postings_batches(p, t->positions, err);
        frames_in_fini(&p->in);
        buf_fini(&p->raw);
        buf_fini(&p->out);
    }
    free(p);
    return status;
}

/* -- tables */

static enum status sets_write(struct tables *t, enum block_side side, struct err *err) {
    const struct set_table *sets = &t->w->sets[side];
    const uint32_t *pairs = t->set_pairs[side].at;
    enum block_part at = part_of_side(PART_SETS_AT, side), part = part_of_side(PART_SETS, side);
    for (uint32_t i = 0; i < sets->count; i++) {
        size_t count = labels_count(set_bytes(sets, i));
        uint32_t before = 0;
        TRY(u64_put(t->w, at, t->w->streams[part].raw_bytes, err));
        buf_put_varint(&t->raw, t->positions[i]);
        buf_put_varint(&t->raw, sets->at[i].series_count);
        buf_put_varint(&t->raw, count);
        for (size_t k = 0; k < count; k++) {
            uint32_t rank = t->pairs[*pairs++].rank;
            buf_put_varint(&t->raw, rank - before);
            before = rank;
        }
        TRY(raw_put(t, part, err));
    }
    TRY(stream_end(t->w, at, err));
    return stream_end(t->w, part, err);
}

/* The sets of each pair, by rank. */
static enum status pair_sets_write(struct tables *t, struct err *err) {
    size_t total = (size_t)t->set_pairs[0].count + t->set_pairs[1].count, at = 0;
    uint32_t *sets = malloc((total + 1) * sizeof *sets);
    size_t *next = malloc((t->pairs_count + 1) * sizeof *next);
    enum status status = sets == NULL || next == NULL ? writer_nomem(err) : OK;
    for (uint32_t i = 0; i < t->pairs_count && status == OK; i++) {
        next[i] = at;
        at += t->sorted[i]->sets_count;
    }
    for (int side = 0; side < SIDES && status == OK; side++) {
        const uint32_t *pairs = t->set_pairs[side].at;
        for (uint32_t i = 0; i < t->w->sets[side].count; i++)
            for (size_t k = labels_count(set_bytes(&t->w->sets[side], i)); k > 0; k--)
                sets[next[t->pairs[*pairs++].rank]++] = i;
    }
    const uint32_t *set = sets;
    for (uint32_t i = 0; i < t->pairs_count && status == OK; i++) {
        uint32_t before = 0;
        t->sorted[i]->sets_at = t->w->streams[PART_PAIR_SETS].raw_bytes;
        for (uint32_t k = 0; k < t->sorted[i]->sets_count; k++) {
            buf_put_varint(&t->raw, *set - before);
            before = *set++;
        }
        status = raw_put(t, PART_PAIR_SETS, err);
    }
    free(sets);
    free(next);
    return status == OK ? stream_end(t->w, PART_PAIR_SETS, err) : status;
}

static enum status pairs_write(struct tables *t, struct err *err) {
    for (uint32_t i = 0; i < t->pairs_count; i++) {
        const struct pair_out *p = t->sorted[i];
        TRY(u64_put(t->w, PART_PAIRS_AT, t->w->streams[PART_PAIRS].raw_bytes, err));
        buf_put_lenstr(&t->raw, p->label.value);
        buf_put_varint(&t->raw, p->sets_at);
        buf_put_varint(&t->raw, p->sets_count);
        TRY(raw_put(t, PART_PAIRS, err));
    }
    TRY(stream_end(t->w, PART_PAIRS_AT, err));
    return stream_end(t->w, PART_PAIRS, err);
}

static enum status names_write(struct tables *t, struct err *err) {
    for (uint32_t i = 0, end; i < t->pairs_count; i = end) {
        struct sv name = t->sorted[i]->label.name;
        for (end = i + 1; end < t->pairs_count; end++)
            if (!sv_eq(t->sorted[end]->label.name, name)) break;
        buf_put_lenstr(&t->raw, name);
        buf_put_u8(&t->raw, (uint8_t)t->sorted[i]->side);
        buf_put_varint(&t->raw, end - i);
        TRY(raw_put(t, PART_NAMES, err));
        t->w->names_count++;
    }
    t->w->pairs_count = t->pairs_count;
    return stream_end(t->w, PART_NAMES, err);
}

static enum status tables_put(struct tables *t, struct err *err) {
    if (pairs_collect(t) != OK) return writer_nomem(err);
    for (int side = 0; side < SIDES; side++) {
        TRY(postings_write(t, (enum block_side)side, err));
        TRY(sets_write(t, (enum block_side)side, err));
    }
    TRY(stream_end(t->w, PART_POSTINGS, err));
    TRY(pair_sets_write(t, err));
    TRY(pairs_write(t, err));
    return names_write(t, err);
}

enum status tables_write(struct block_writer *w, struct err *err) {
    struct tables t = {.w = w};
    map_init(&t.map);
    TRY(frames_flush(&w->out, err)); /* labels are read back */
    enum status status = tables_put(&t, err);
    map_fini(&t.map);
    free(t.pairs);
    free(t.sorted);
    for (int side = 0; side < SIDES; side++)
        u32s_fini(&t.set_pairs[side]);
    free(t.positions);
    buf_fini(&t.raw);
    return status;
}
