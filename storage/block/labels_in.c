/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/block/labels_in.h"

#include <assert.h>
#include <stdlib.h>

void labels_in_fini(struct labels_in *l) {
    for (int side = 0; side < SIDES; side++) {
        free(l->sides[side].ids);
        free(l->sides[side].starts);
        free(l->sides[side].labels);
    }
    free(l->labels);
    free(l->canonical);
}

static enum status labels_nomem(const struct find *f) {
    return err_set(f->err, ERR_NOMEM, 0, "select: out of memory");
}

/* An array, counted against the query's memory. */
static enum status array_new(struct find *f, size_t count, size_t size, void *out) {
    TRY(find_check_memory(f, count * size));
    void *p = calloc(count + 1, size);
    if (p == NULL) return labels_nomem(f);
    f->more_bytes += count * size;
    memcpy(out, &p, sizeof p);
    return OK;
}

static enum status sets_used(struct labels_in *l, struct find *f, enum block_side side, bool all) {
    struct set_labels *sets = &l->sides[side];
    struct set_bits used;
    if (set_bits_new(f->block->totals.sets_count[side], false, &used) != OK) return labels_nomem(f);
    for (uint64_t i = 0; i < used.count && all; i++)
        set_bits_add(&used, i);
    for (size_t i = 0; i < f->count && !all; i++)
        set_bits_add(&used, f->found[i].sets[side]);
    for (uint64_t i = 0; i <= used.count / 64; i++)
        sets->count += (size_t)__builtin_popcountll(used.at[i]);
    enum status status = array_new(f, sets->count, sizeof *sets->ids, &sets->ids);
    if (status == OK) status = array_new(f, sets->count + 1, sizeof *sets->starts, &sets->starts);
    for (uint64_t i = 0, at = 0; i < sets->count && status == OK; i++) {
        at = set_bits_next(&used, at);
        sets->ids[i] = (uint32_t)at++;
    }
    free(used.at);
    return status;
}

/* Pairs of the used sets, and which these are. */
static enum status sets_pairs(struct labels_in *l, struct find *f, enum block_side side,
                              struct set_bits *used) {
    struct set_labels *sets = &l->sides[side];
    struct u32s pairs = {0};
    enum status status = u32s_reserve(&pairs, 1) == OK ? OK : labels_nomem(f);
    for (size_t i = 0; i < sets->count && status == OK; i++) {
        struct set_in set;
        uint64_t pair = 0;
        sets->starts[i] = pairs.count;
        status = set_get(f->io, side, sets->ids[i], &set, f->err);
        for (uint64_t k = 0; status == OK && k < set.pairs_count; k++) {
            uint64_t step = stream_varint(&set.pairs);
            bool good = step < used->count - pair && (k == 0 || step > 0);
            pair += step;
            status = set.pairs.status;
            if (status == OK && !good)
                status = io_corrupt(f->io, part_of_side(PART_SETS, side), sets->ids[i], f->err);
            if (status == OK && u32s_put(&pairs, (uint32_t)pair) != OK) status = labels_nomem(f);
            if (status == OK) set_bits_add(used, pair);
        }
        if (status == OK) status = find_check_memory(f, u32s_memory_bytes(&pairs));
    }
    sets->starts[sets->count] = pairs.count;
    f->more_bytes += u32s_memory_bytes(&pairs);
    sets->labels = pairs.at;
    return status;
}

static enum status label_load(struct labels_in *l, struct find *f, const struct name_in *name,
                              struct sv value) {
    struct buf canonical = {0};
    label_put_canonical(&canonical, name->name, value);
    if (canonical.failed) return labels_nomem(f);
    struct sv copy = arena_sv(&f->arena, buf_sv(&canonical));
    buf_fini(&canonical);
    if (copy.ptr == NULL)
        return err_set(f->err, ERR_LIMIT, 0, "select: the labels do not fit into memory");
    struct label label = {name->name, sv_skip(copy, copy.len - value.len)}; /* it stands last */
    const struct label *before = l->count > 0 ? &l->labels[l->count - 1] : NULL;
    if (before != NULL && before->name.ptr == label.name.ptr &&
        sv_cmp(before->value, label.value) >= 0)
        return io_corrupt(f->io, PART_PAIRS, l->count, f->err);
    l->canonical[l->count] = copy;
    l->labels[l->count++] = label;
    return OK;
}

static enum status labels_load(struct labels_in *l, struct find *f, const struct set_bits *used) {
    const struct name_in *name = f->names;
    struct pairs_walk w = {.pair = UINT64_MAX};
    enum status status = OK;
    for (uint64_t i = set_bits_next(used, 0); i < used->count && status == OK;
         i = set_bits_next(used, i + 1)) {
        if (i == 0 || w.pair + 1 != i) status = pairs_at(f->io, i, &w, f->err);
        if (status == OK) status = pairs_next(&w);
        while (i >= name->first + name->count)
            name++;
        if (status == OK) status = label_load(l, f, name, buf_sv(&w.value));
    }
    pairs_walk_fini(&w);
    return status;
}

/* Numbers of pairs become indexes of labels. */
static enum status pairs_number(struct labels_in *l, struct find *f, const struct set_bits *used) {
    uint32_t *before = NULL; /* labels before each word of used */
    TRY(array_new(f, used->count / 64 + 1, sizeof *before, &before));
    uint32_t count = 0;
    for (uint64_t i = 0; i <= used->count / 64; i++) {
        before[i] = count;
        count += (uint32_t)__builtin_popcountll(used->at[i]);
    }
    for (int side = 0; side < SIDES; side++) {
        struct set_labels *sets = &l->sides[side];
        for (uint32_t i = 0; i < sets->starts[sets->count]; i++) {
            uint32_t pair = sets->labels[i];
            uint64_t below = used->at[pair / 64] & ((UINT64_C(1) << (pair % 64)) - 1);
            sets->labels[i] = before[pair / 64] + (uint32_t)__builtin_popcountll(below);
        }
    }
    free(before);
    return OK;
}

static enum status labels_fill(struct labels_in *l, struct find *f, bool all,
                               struct set_bits *used) {
    size_t count = 0;
    for (int side = 0; side < SIDES; side++) {
        TRY(sets_used(l, f, (enum block_side)side, all));
        TRY(sets_pairs(l, f, (enum block_side)side, used));
    }
    for (uint64_t i = 0; i <= used->count / 64; i++)
        count += (size_t)__builtin_popcountll(used->at[i]);
    TRY(array_new(f, count, sizeof *l->labels, &l->labels));
    TRY(array_new(f, count, sizeof *l->canonical, &l->canonical));
    TRY(labels_load(l, f, used));
    return pairs_number(l, f, used);
}

enum status labels_in_load(struct labels_in *l, struct find *f, bool all) {
    struct set_bits used;
    if (f->count == 0 && !all) return OK;
    if (f->names == NULL) TRY(names_load(f->io, &f->arena, &f->names, f->err));
    if (set_bits_new(f->block->totals.pairs_count, false, &used) != OK) return labels_nomem(f);
    enum status status = labels_fill(l, f, all, &used);
    free(used.at);
    return status;
}

struct labels_cursor { /* walks both sides' labels of a series by name */
    const uint32_t *at[SIDES], *end[SIDES];
};

static struct labels_cursor labels_cursor_of(const struct labels_in *l, const struct found *found) {
    struct labels_cursor c;
    for (int side = 0; side < SIDES; side++) {
        const struct set_labels *sets = &l->sides[side];
        size_t low = 0, high = sets->count;
        while (high - low > 1) {
            size_t middle = (low + high) / 2;
            if (sets->ids[middle] <= found->sets[side])
                low = middle;
            else
                high = middle;
        }
        assert(sets->ids[low] == found->sets[side]);
        c.at[side] = sets->labels + sets->starts[low];
        c.end[side] = sets->labels + sets->starts[low + 1];
    }
    return c;
}

/* A name is on one side only, so that indexes of different sides are never equal. */
static bool labels_cursor_next(struct labels_cursor *c, uint32_t *out) {
    bool has_metric = c->at[SIDE_METRIC] < c->end[SIDE_METRIC];
    bool has_target = c->at[SIDE_TARGET] < c->end[SIDE_TARGET];
    if (!has_metric && !has_target) return false;
    bool metric = !has_target || (has_metric && *c->at[SIDE_METRIC] < *c->at[SIDE_TARGET]);
    *out = *c->at[metric ? SIDE_METRIC : SIDE_TARGET]++;
    return true;
}

void labels_in_canonical(const struct labels_in *l, const struct found *found, struct buf *out) {
    struct labels_cursor c = labels_cursor_of(l, found);
    uint32_t i;
    buf_clear(out);
    while (labels_cursor_next(&c, &i))
        buf_put_sv(out, l->canonical[i]);
}

size_t labels_in_get(const struct labels_in *l, const struct found *found, struct label *out,
                     size_t max) {
    struct labels_cursor c = labels_cursor_of(l, found);
    uint32_t i;
    size_t count = 0;
    for (; labels_cursor_next(&c, &i); count++)
        if (count < max) out[count] = l->labels[i];
    return count;
}
