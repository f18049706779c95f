/* SPDX-License-Identifier: Apache-2.0 */
/* Matchers become sets of label sets, one on each side: a name is on one side only. Then the series
 * of the side that has fewer are taken from posting lists, and the sets of each are looked at.
 * Where a side leaves most series, no list is read. */
#include "storage/block/find.h"

#include <assert.h>
#include <stdlib.h>

#include "node/base/cancel.h"

enum { CANCEL_CHECK = 256 /* values, or series, between looks at the flag */ };

static enum status find_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "select: out of memory");
}

enum status find_new(struct block *b, const struct select_query *query, const bool *canceled,
                     struct find **out, struct err *err) {
    struct find *f = calloc(1, sizeof *f);
    if (f == NULL) return find_nomem(err);
    f->block = b;
    f->query = query;
    f->canceled = canceled;
    f->err = err;
    f->group = UINT64_MAX;
    arena_init(&f->arena, query->memory_bytes_max);
    f->io = malloc(sizeof *f->io);
    f->pages = calloc(1, sizeof *f->pages);
    if (f->io != NULL) block_io_init(f->io, b);
    if (f->io == NULL || f->pages == NULL) {
        find_free(f);
        return find_nomem(err);
    }
    f->pages->io = f->io;
    *out = f;
    return OK;
}

void find_free(struct find *f) {
    if (f == NULL) return;
    for (int side = 0; side < SIDES; side++)
        free(f->allowed[side].at);
    free(f->series.at);
    free(f->found);
    arena_fini(&f->arena);
    if (f->pages != NULL) pages_in_fini(f->pages);
    if (f->io != NULL) block_io_fini(f->io);
    free(f->pages);
    free(f->io);
    free(f);
}

size_t find_memory_bytes(const struct find *f) {
    size_t bytes = arena_used_bytes(&f->arena) + f->cap * sizeof *f->found + f->more_bytes;
    for (int side = 0; side < SIDES; side++)
        if (f->allowed[side].at != NULL) bytes += f->allowed[side].count / 8;
    return bytes + (f->series.at == NULL ? 0 : f->series.count / 8);
}

enum status find_check_memory(const struct find *f, size_t more_bytes) {
    uint64_t max = f->query->memory_bytes_max;
    if (max == 0 || find_memory_bytes(f) + more_bytes <= max) return OK;
    return err_set(f->err, ERR_LIMIT, 0, "select: needs more than %llu bytes of memory",
                   (unsigned long long)max);
}

static enum status find_check_canceled(const struct find *f) {
    if (!cancel_is_set(f->canceled)) return OK;
    return err_set(f->err, ERR_CANCELED, 0, "select: canceled");
}

static bool shards_are_all(const struct find *f) {
    const struct shard_set *shards = f->query->shards;
    if (shards == NULL) return true;
    for (size_t i = 0; i < f->block->shards_present; i++) {
        uint32_t shard = f->block->shards[i].shard;
        if (shard >= shards->shards_count || !shard_set_has(shards, shard)) return false;
    }
    return true;
}

static bool times_are_all(const struct find *f) {
    return f->query->from_ms < f->block->totals.min_ms &&
           f->query->to_ms >= f->block->totals.max_ms;
}

bool find_is_all(const struct find *f) {
    return f->query->matchers_count == 0 && shards_are_all(f) && times_are_all(f);
}

/* -- matchers */

/* Adds the sets of pairs first .. end - 1 whose value is matched, or is not: as `wanted` says. */
static enum status values_walk(struct find *f, const struct matcher *m, uint64_t range[2],
                               bool wanted, struct set_bits *bits) {
    struct pairs_walk w = {0};
    if (range[0] == range[1]) return OK;
    enum status status = pairs_at(f->io, range[0], &w, f->err);
    for (uint64_t i = range[0]; i < range[1] && status == OK; i++) {
        status = pairs_next(&w);
        if (status != OK) break;
        if (m == NULL || matcher_match(m, buf_sv(&w.value)) == wanted)
            status = pair_add_sets(&w, bits);
        if (status == OK && i % CANCEL_CHECK == 0) status = find_check_canceled(f);
    }
    pairs_walk_fini(&w);
    return status;
}

static enum status value_add(struct find *f, const struct name_in *name, struct sv value,
                             struct set_bits *bits) {
    uint64_t at;
    TRY(pairs_seek(f->io, name, value, &at, f->err));
    if (at == name->first + name->count) return OK;
    struct pairs_walk w = {0};
    enum status status = pairs_at(f->io, at, &w, f->err);
    if (status == OK) status = pairs_next(&w);
    if (status == OK && sv_eq(buf_sv(&w.value), value)) status = pair_add_sets(&w, bits);
    pairs_walk_fini(&w);
    return status;
}

/* The values that begin with the prefix stand together. */
static enum status prefix_range(struct find *f, const struct name_in *name, struct sv prefix,
                                uint64_t range[2]) {
    struct buf after = {0};
    buf_put_sv(&after, prefix);
    while (after.len > 0 && (uint8_t)after.ptr[after.len - 1] == 0xff)
        after.len--;
    if (after.len > 0) ((uint8_t *)after.ptr)[after.len - 1]++;
    enum status status = after.failed ? find_nomem(f->err) : OK;
    range[1] = name->first + name->count;
    if (status == OK) status = pairs_seek(f->io, name, prefix, &range[0], f->err);
    if (status == OK && after.len > 0)
        status = pairs_seek(f->io, name, buf_sv(&after), &range[1], f->err);
    buf_fini(&after);
    return status;
}

/* The sets with a value of the name that decides: one that matches where "" does not, or that does
 * not match where "" does. */
static enum status deciding_sets(struct find *f, const struct matcher *m,
                                 const struct name_in *name, struct set_bits *bits) {
    bool empty_matches = matcher_matches_empty(m);
    bool positive = m->kind == MATCH_EQ || m->kind == MATCH_RE;
    bool equality = m->kind == MATCH_EQ || m->kind == MATCH_NEQ;
    bool listed = positive != empty_matches; /* what the plan lists decides */
    uint64_t range[2] = {name->first, name->first + name->count};
    if (listed && equality) return value_add(f, name, m->value, bits);
    if (equality) /* ="" or !="": any value decides */
        return values_walk(f, NULL, range, true, bits);
    if (listed && m->plan == PLAN_LITERALS) {
        for (size_t i = 0; i < m->literals_count; i++)
            TRY(value_add(f, name, m->literals[i], bits));
        return OK;
    }
    if (m->plan == PLAN_NOT_EMPTY) return values_walk(f, NULL, range, true, bits);
    if (listed && m->plan == PLAN_PREFIX && m->literals[0].len > 0) {
        TRY(prefix_range(f, name, m->literals[0], range));
        return values_walk(f, NULL, range, true, bits);
    }
    return values_walk(f, m, range, !empty_matches, bits);
}

static void bits_and(struct set_bits *a, const struct set_bits *b, bool negate) {
    uint64_t flip = negate ? UINT64_MAX : 0;
    for (uint64_t i = 0; i <= a->count / 64; i++)
        a->at[i] &= b->at[i] ^ flip;
}

static enum status find_allow(struct find *f, const struct matcher *m, bool *out_nothing) {
    const struct name_in *name = names_find(f->names, f->block->totals.names_count, m->name);
    bool empty_matches = matcher_matches_empty(m);
    if (name == NULL || (m->plan == PLAN_ANY && m->kind == MATCH_RE)) {
        *out_nothing = *out_nothing || (name == NULL && !empty_matches);
        return OK;
    }
    struct set_bits bits, *allowed = &f->allowed[name->side];
    uint64_t count = f->block->totals.sets_count[name->side];
    TRY(find_check_memory(f, count / 8 * 2));
    if (allowed->at == NULL && set_bits_new(count, true, allowed) != OK) return find_nomem(f->err);
    if (set_bits_new(count, false, &bits) != OK) return find_nomem(f->err);
    enum status status = deciding_sets(f, m, name, &bits);
    if (status == OK) bits_and(allowed, &bits, empty_matches);
    free(bits.at);
    return status;
}

/* -- candidates */

static enum status side_weight(struct find *f, enum block_side side, uint64_t *out) {
    const struct set_bits *allowed = &f->allowed[side];
    *out = f->block->totals.series_count;
    if (allowed->at == NULL) return OK;
    *out = 0;
    for (uint64_t i = set_bits_next(allowed, 0); i < allowed->count;
         i = set_bits_next(allowed, i + 1)) {
        struct set_in set;
        TRY(set_get(f->io, side, i, &set, f->err));
        *out += set.series_count;
    }
    return OK;
}

static enum status side_postings(struct find *f, enum block_side side, struct set_bits *out) {
    const struct set_bits *allowed = &f->allowed[side];
    uint64_t series_count = f->block->totals.series_count;
    TRY(find_check_memory(f, series_count / 8));
    if (set_bits_new(series_count, false, out) != OK) return find_nomem(f->err);
    for (uint64_t i = set_bits_next(allowed, 0); i < allowed->count;
         i = set_bits_next(allowed, i + 1)) {
        struct set_in set;
        TRY(set_get(f->io, side, i, &set, f->err));
        struct stream s = stream_at(f->io, PART_POSTINGS, set.postings_at, f->err);
        uint64_t series = 0;
        for (uint64_t k = 0; k < set.series_count; k++) {
            uint64_t step = stream_varint(&s);
            if (s.status != OK) return s.status;
            if (step >= series_count - series)
                return io_corrupt(f->io, PART_POSTINGS, set.postings_at, f->err);
            series += step;
            set_bits_add(out, series);
        }
        TRY(find_check_canceled(f));
    }
    return OK;
}

static enum status find_candidates(struct find *f) {
    uint64_t weight[SIDES], all = f->block->totals.series_count;
    for (int side = 0; side < SIDES; side++)
        TRY(side_weight(f, (enum block_side)side, &weight[side]));
    enum block_side first = weight[SIDE_METRIC] <= weight[SIDE_TARGET] ? SIDE_METRIC : SIDE_TARGET;
    enum block_side second = first == SIDE_METRIC ? SIDE_TARGET : SIDE_METRIC;
    if (weight[first] > all / 2) return OK;
    TRY(side_postings(f, first, &f->series));
    /* lists of the other side cost less than looking at the sets of each candidate */
    if (f->allowed[second].at == NULL || weight[second] > 8 * weight[first]) return OK;
    struct set_bits other = {0};
    enum status status = side_postings(f, second, &other);
    if (status == OK) bits_and(&f->series, &other, false);
    free(other.at);
    return status;
}

/* -- series */

static enum status group_load(struct find *f, uint64_t group) {
    const struct block *b = f->block;
    size_t count = MIN(b->totals.series_count - group * GROUP_SERIES, (uint64_t)GROUP_SERIES);
    uint64_t ref = b->parts[PART_LABELS].frames[group];
    struct sv raw;
    if (f->group == group) return OK;
    TRY(io_scratch(f->io, f->err));
    TRY(find_check_canceled(f));
    TRY(io_frame(f->io, PART_LABELS, ref, &raw, f->err));
    f->group = UINT64_MAX;
    for (int side = 0; side < SIDES; side++) {
        bool good =
            group_get(f->io->scratch, raw, count, (enum block_side)side, f->group_sets[side]);
        for (size_t i = 0; i < count && good; i++)
            good = (uint64_t)f->group_sets[side][i] < b->totals.sets_count[side];
        if (!good) return io_corrupt(f->io, PART_LABELS, ref_offset(ref), f->err);
    }
    f->group = group;
    return OK;
}

static enum status series_overlaps(struct find *f, uint64_t series, uint32_t target, bool *out) {
    struct page_at page;
    int64_t ends[2];
    bool more;
    *out = false;
    TRY(pages_seek(f->pages, series, target, f->err));
    for (;;) {
        TRY(pages_next(f->pages, &page, &more, f->err));
        if (!more) return OK;
        TRY(page_ends(f->io, &page, ends, f->err));
        if (ends[0] > f->query->to_ms) return OK;
        if (ends[1] <= f->query->from_ms) continue;
        *out = true;
        return OK;
    }
}

static enum status find_put(struct find *f, const struct found *found) {
    uint64_t max = f->query->series_max;
    if (max > 0 && f->count == max)
        return err_set(f->err, ERR_LIMIT, 0, "select: more than %llu series match",
                       (unsigned long long)max);
    if (f->count == f->cap) {
        size_t cap = MAX(f->cap * 2, 64);
        TRY(find_check_memory(f, (cap - f->cap) * sizeof *f->found));
        struct found *at = realloc(f->found, cap * sizeof *at);
        if (at == NULL) return find_nomem(f->err);
        f->found = at;
        f->cap = cap;
    }
    f->found[f->count++] = *found;
    return OK;
}

enum status find_sets(struct find *f, uint64_t series, struct found *out) {
    TRY(group_load(f, series / GROUP_SERIES));
    out->series = (uint32_t)series;
    for (int side = 0; side < SIDES; side++)
        out->sets[side] = (uint32_t)f->group_sets[side][series % GROUP_SERIES];
    return OK;
}

static enum status find_look(struct find *f, uint64_t series, uint32_t shard) {
    struct found found = {.shard = shard};
    TRY(find_sets(f, series, &found));
    for (int side = 0; side < SIDES; side++)
        if (f->allowed[side].at != NULL && !set_bits_has(&f->allowed[side], found.sets[side]))
            return OK;
    bool overlaps = true;
    if (!times_are_all(f)) TRY(series_overlaps(f, series, found.sets[SIDE_TARGET], &overlaps));
    return overlaps ? find_put(f, &found) : OK;
}

static bool shard_is_wanted(const struct find *f, uint32_t shard) {
    const struct shard_set *wanted = f->query->shards;
    return wanted == NULL || (shard < wanted->shards_count && shard_set_has(wanted, shard));
}

/* Goes from candidate to candidate: one walk over the bits, whatever number of shards there is. */
static enum status find_walk(struct find *f) {
    const struct shard_entry *shard = f->block->shards;
    uint64_t end = f->block->totals.series_count;
    for (uint64_t i = 0; i < end; i++) {
        if (f->series.at != NULL) i = set_bits_next(&f->series, i);
        if (i >= end) return OK;
        while (i >= shard->series_first + shard->info.series_count)
            shard++;
        if (shard_is_wanted(f, shard->shard))
            TRY(find_look(f, i, shard->shard));
        else
            i = shard->series_first + shard->info.series_count - 1;
    }
    return OK;
}

enum status find_series(struct find *f) {
    const struct block *b = f->block;
    bool nothing = f->query->to_ms < b->totals.min_ms || f->query->from_ms >= b->totals.max_ms ||
                   f->query->from_ms >= f->query->to_ms;
    if (f->names == NULL) TRY(names_load(f->io, &f->arena, &f->names, f->err));
    for (size_t i = 0; i < f->query->matchers_count && !nothing; i++) {
        TRY(find_allow(f, &f->query->matchers[i], &nothing));
        TRY(find_check_canceled(f));
    }
    if (nothing) return OK;
    if (f->query->matchers_count > 0) TRY(find_candidates(f));
    return find_walk(f);
}
