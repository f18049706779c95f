/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/block/tables_in.h"

#include <assert.h>
#include <stdlib.h>

static enum status name_load(struct stream *s, struct arena *arena, struct name_in *out,
                             struct err *err) {
    uint64_t len = stream_varint(s);
    uint64_t left = s->io->block->parts[PART_NAMES].raw_bytes - stream_pos(s);
    if (s->status == OK && len > left) return io_corrupt(s->io, PART_NAMES, stream_pos(s), err);
    struct buf text = {0};
    stream_copy(s, s->status == OK ? (size_t)len : 0, &text);
    uint64_t side = stream_varint(s);
    out->count = stream_varint(s);
    out->name = s->status == OK ? arena_sv(arena, buf_sv(&text)) : (struct sv){0};
    buf_fini(&text);
    if (s->status != OK) return s->status;
    if (len > 0 && out->name.ptr == NULL)
        return err_set(err, ERR_LIMIT, 0, "block: the label names do not fit into memory");
    if (side >= SIDES) return io_corrupt(s->io, PART_NAMES, stream_pos(s), err);
    out->side = (enum block_side)side;
    return OK;
}

enum status names_load(struct block_io *io, struct arena *arena, struct name_in **out,
                       struct err *err) {
    const struct block_totals *t = &io->block->totals;
    uint64_t pairs = 0;
    if (t->names_count > io->block->parts[PART_NAMES].raw_bytes)
        return io_corrupt(io, PART_NAMES, 0, err);
    struct name_in *names = arena_array(arena, t->names_count + 1, sizeof *names);
    if (names == NULL)
        return err_set(err, ERR_LIMIT, 0, "block: the label names do not fit into memory");
    struct stream s = stream_at(io, PART_NAMES, 0, err);
    for (uint64_t i = 0; i < t->names_count; i++) {
        TRY(name_load(&s, arena, &names[i], err));
        names[i].first = pairs;
        bool ascends = i == 0 || sv_cmp(names[i - 1].name, names[i].name) < 0;
        if (!ascends || names[i].count == 0 || names[i].count > t->pairs_count - pairs)
            return io_corrupt(io, PART_NAMES, stream_pos(&s), err);
        pairs += names[i].count;
    }
    if (pairs != t->pairs_count) return io_corrupt(io, PART_NAMES, stream_pos(&s), err);
    *out = names;
    return OK;
}

const struct name_in *names_find(const struct name_in *names, size_t count, struct sv name) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int c = sv_cmp(names[middle].name, name);
        if (c == 0) return &names[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

enum status set_bits_new(uint64_t count, bool value, struct set_bits *out) {
    uint64_t *at = malloc((count / 64 + 1) * sizeof *at);
    if (at == NULL) return ERR_NOMEM;
    memset(at, value ? 0xff : 0, (count / 64 + 1) * sizeof *at);
    if (value) at[count / 64] &= (UINT64_C(1) << (count % 64)) - 1;
    *out = (struct set_bits){at, count};
    return OK;
}

uint64_t set_bits_next(const struct set_bits *s, uint64_t i) {
    if (i >= s->count) return s->count;
    uint64_t word = s->at[i / 64] & UINT64_MAX << (i % 64);
    for (uint64_t at = i / 64;; word = s->at[at]) {
        if (word != 0) return at * 64 + (uint64_t)__builtin_ctzll(word);
        if (++at > s->count / 64) return s->count;
    }
}

enum status pairs_at(struct block_io *io, uint64_t pair, struct pairs_walk *out, struct err *err) {
    uint64_t at;
    struct buf value = out->value; /* its memory is used again */
    buf_clear(&value);
    *out = (struct pairs_walk){.pair = pair - 1, .value = value};
    TRY(io_u64(io, PART_PAIRS_AT, pair, &at, err));
    out->stream = stream_at(io, PART_PAIRS, at, err);
    return OK;
}

enum status pairs_next(struct pairs_walk *w) {
    struct stream *s = &w->stream;
    uint64_t len = stream_varint(s);
    if (s->status != OK) return s->status;
    if (len > s->io->block->parts[PART_PAIRS].raw_bytes - stream_pos(s))
        return io_corrupt(s->io, PART_PAIRS, stream_pos(s), s->err);
    buf_clear(&w->value);
    stream_copy(s, (size_t)len, &w->value);
    w->sets_at = stream_varint(s);
    w->sets_count = stream_varint(s);
    w->pair++;
    return s->status;
}

void pairs_walk_fini(struct pairs_walk *w) {
    buf_fini(&w->value);
}

enum status pairs_seek(struct block_io *io, const struct name_in *name, struct sv value,
                       uint64_t *out, struct err *err) {
    uint64_t low = name->first, high = name->first + name->count;
    struct pairs_walk w = {0};
    enum status status = OK;
    while (low < high && status == OK) {
        uint64_t middle = low + (high - low) / 2;
        status = pairs_at(io, middle, &w, err);
        if (status == OK) status = pairs_next(&w);
        if (status != OK) break;
        if (sv_cmp(buf_sv(&w.value), value) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    pairs_walk_fini(&w);
    *out = low;
    return status;
}

enum status pair_add_sets(struct pairs_walk *w, struct set_bits *bits) {
    struct stream s = stream_at(w->stream.io, PART_PAIR_SETS, w->sets_at, w->stream.err);
    uint64_t set = 0;
    for (uint64_t i = 0; i < w->sets_count; i++) {
        uint64_t step = stream_varint(&s);
        if (s.status != OK) return s.status;
        if (set >= bits->count || step >= bits->count - set)
            return io_corrupt(s.io, PART_PAIR_SETS, w->sets_at, s.err);
        set += step;
        set_bits_add(bits, set);
    }
    return OK;
}

enum status set_get(struct block_io *io, enum block_side side, uint64_t set, struct set_in *out,
                    struct err *err) {
    enum block_part part = part_of_side(PART_SETS, side);
    uint64_t at;
    TRY(io_u64(io, part_of_side(PART_SETS_AT, side), set, &at, err));
    out->pairs = stream_at(io, part, at, err);
    out->postings_at = stream_varint(&out->pairs);
    out->series_count = stream_varint(&out->pairs);
    out->pairs_count = stream_varint(&out->pairs);
    if (out->pairs.status != OK) return out->pairs.status;
    if (out->pairs_count > io->block->parts[part].raw_bytes || out->series_count == 0 ||
        out->series_count > io->block->totals.series_count)
        return io_corrupt(io, part, at, err);
    return OK;
}
