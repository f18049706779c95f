/* SPDX-License-Identifier: Apache-2.0 */
/* What a store knows of a shard beside its series. A record:
 *   shard := varint shard, u8 what is there (1 whole, 2 tail, 4 ended), [held, whole],
 *            [ended, as in storage/entry_delete.c], [held, tail]
 *   held  := varint copy, place first, place end, u8 flags (1 based, 2 marks are short),
 *            u64 file of the last mark, varint count { u64 file, place }
 *   whole := zigzag newest, cut, from, floor, place base, zigzag base's cut, base's newest,
 *            varint series that have a number, varint count { varint epoch, varint last seq,
 *            u64 history }, varint count { place, zigzag to, zigzag newest } of the CUTs behind
 *            base, varint count { place, zigzag first, zigzag last, varint len, matchers } of what
 *            was deleted from closed ranges
 *   tail  := varint series numbered in its epoch
 *   place := varint epoch, varint seq                    times are INT64_MIN where there is none */
#include <stdlib.h>

#include "storage/snapshot/internal.h"

enum {
    HAS_WHOLE = 1,
    HAS_TAIL = 2,
    HAS_ENDED = 4,
    HELD_BASED = 1,
    HELD_MARKS_SHORT = 2,
    LIST_MAX = 1 << 20
};

static bool tail_is_saved(const struct store_shard *st) {
    return st->tail_copy != 0 && st->tail != NULL && st->tail->log.has_log;
}

bool snapshot_shard_is_saved(const struct store *store, uint32_t shard) {
    if (!store_has_shard(store, shard)) return false;
    const struct store_shard *st = &store->shards[shard];
    return st->role != STORE_LOG && st->log.has_log && st->log.copy > st->tail_copy;
}

bool snapshot_shard_is_put(const struct store *store, uint32_t shard) {
    return store_has_shard(store, shard) &&
           (snapshot_shard_is_saved(store, shard) || tail_is_saved(&store->shards[shard]));
}

/* -- writing */

static void place_put(struct place p, struct buf *out) {
    buf_put_varint(out, p.epoch);
    buf_put_varint(out, p.seq);
}

static void held_put(const struct held_log *held, struct buf *out) {
    buf_put_varint(out, held->copy);
    place_put(held->first, out);
    place_put(held->end, out);
    buf_put_u8(out, (uint8_t)((held->based ? HELD_BASED : 0) |
                              (held->marks_short ? HELD_MARKS_SHORT : 0)));
    buf_put_u64(out, held->marked_file);
    buf_put_varint(out, held->marks_count);
    for (uint32_t i = 0; i < held->marks_count; i++) {
        buf_put_u64(out, held->marks[i].file);
        place_put(held->marks[i].place, out);
    }
}

static void lists_put(const struct store_shard *st, struct buf *out) {
    buf_put_varint(out, st->epochs_count);
    for (uint32_t i = 0; i < st->epochs_count; i++) {
        buf_put_varint(out, st->epochs[i].epoch);
        buf_put_varint(out, st->epochs[i].last_seq);
        buf_put_u64(out, st->epochs[i].history);
    }
    buf_put_varint(out, st->cuts_count);
    for (uint32_t i = 0; i < st->cuts_count; i++) {
        place_put(st->cuts[i].place, out);
        buf_put_zigzag(out, st->cuts[i].to_ms);
        buf_put_zigzag(out, st->cuts[i].newest_ms);
    }
    buf_put_varint(out, st->tombstones_count);
    for (uint32_t i = 0; i < st->tombstones_count; i++) {
        const struct tombstone *t = &st->tombstones[i];
        place_put(t->place, out);
        buf_put_zigzag(out, t->min_ms);
        buf_put_zigzag(out, t->max_ms);
        buf_put_lenstr(out, sv_make(t->matchers, t->matchers_len));
    }
}

void snapshot_shard_put(const struct store *store, uint32_t shard, struct buf *out) {
    const struct store_shard *st = &store->shards[shard];
    bool whole = snapshot_shard_is_saved(store, shard), tail = tail_is_saved(st);
    buf_put_varint(out, shard);
    bool ended = whole && ended_any(&st->ended);
    buf_put_u8(
        out, (uint8_t)((whole ? HAS_WHOLE : 0) | (tail ? HAS_TAIL : 0) | (ended ? HAS_ENDED : 0)));
    if (whole) {
        held_put(&st->log, out);
        buf_put_zigzag(out, st->newest_ms);
        buf_put_zigzag(out, st->cut_ms);
        buf_put_zigzag(out, st->from_ms);
        buf_put_zigzag(out, st->floor_ms);
        place_put(st->base, out);
        buf_put_zigzag(out, st->base_cut_ms);
        buf_put_zigzag(out, st->base_newest_ms);
        buf_put_varint(out, st->refs_count);
        lists_put(st, out);
    }
    if (ended) ended_put(&st->ended, out);
    if (tail) {
        held_put(&st->tail->log, out);
        buf_put_varint(out, st->tail->series_count);
    }
}

/* -- reading */

struct record {
    struct reader *r;
    bool nomem;
    struct store_shard whole; /* its lists are owned */
    struct held_log tail;
    uint32_t tail_series_count;
};

static void record_fini(struct record *rec) {
    free(rec->whole.epochs);
    rec->whole.epochs = NULL;
    store_archived_fini(&rec->whole);
    held_fini(&rec->whole.log);
    held_fini(&rec->tail);
}

static uint32_t read_u32_varint(struct reader *r) {
    uint64_t v = read_varint(r);
    if (v > UINT32_MAX) r->failed = true;
    return (uint32_t)v;
}

static struct place place_read(struct reader *r) {
    uint32_t epoch = read_u32_varint(r);
    return (struct place){.epoch = epoch, .seq = read_varint(r)};
}

/* Of items that take at least bytes_min each; NULL: there are none, or it failed. */
static void *list_read(struct record *rec, size_t bytes_min, size_t item_bytes,
                       uint32_t *out_count) {
    uint64_t count = read_varint(rec->r);
    if (count > reader_left(rec->r) / bytes_min || count > LIST_MAX) rec->r->failed = true;
    *out_count = 0;
    if (rec->r->failed || rec->nomem || count == 0) return NULL;
    void *p = calloc((size_t)count, item_bytes);
    rec->nomem = p == NULL;
    if (p != NULL) *out_count = (uint32_t)count;
    return p;
}

static void held_read(struct record *rec, struct held_log *held) {
    struct reader *r = rec->r;
    held_init(held, read_u32_varint(r));
    held->has_log = true;
    held->first = place_read(r);
    held->end = place_read(r);
    uint8_t flags = read_u8(r);
    held->based = (flags & HELD_BASED) != 0;
    held->marks_short = (flags & HELD_MARKS_SHORT) != 0;
    held->marked_file = read_u64(r);
    held->marks = list_read(rec, 10, sizeof *held->marks, &held->marks_count);
    held->marks_cap = held->marks_count;
    for (uint32_t i = 0; i < held->marks_count; i++) {
        held->marks[i].file = read_u64(r);
        held->marks[i].place = place_read(r);
    }
    if (held->copy == 0 || place_cmp(held->first, held->end) > 0) r->failed = true;
}

static void tombstones_read(struct record *rec, struct store_shard *st) {
    struct reader *r = rec->r;
    st->tombstones = list_read(rec, 5, sizeof *st->tombstones, &st->tombstones_count);
    st->tombstones_cap = st->tombstones_count;
    for (uint32_t i = 0; i < st->tombstones_count; i++) {
        struct tombstone *t = &st->tombstones[i];
        t->place = place_read(r);
        t->min_ms = read_zigzag(r);
        t->max_ms = read_zigzag(r);
        struct sv matchers = read_lenstr(r);
        if (r->failed) return;
        t->matchers = malloc(matchers.len + 1);
        if (t->matchers == NULL) {
            rec->nomem = true;
            return;
        }
        memcpy(t->matchers, matchers.ptr, matchers.len);
        t->matchers_len = matchers.len;
    }
}

static void whole_read(struct record *rec) {
    struct store_shard *st = &rec->whole;
    struct reader *r = rec->r;
    held_read(rec, &st->log);
    st->newest_ms = read_zigzag(r);
    st->cut_ms = read_zigzag(r);
    st->from_ms = read_zigzag(r);
    st->floor_ms = read_zigzag(r);
    st->base = place_read(r);
    st->base_cut_ms = read_zigzag(r);
    st->base_newest_ms = read_zigzag(r);
    st->refs_count = read_u32_varint(r);
    st->epochs = list_read(rec, 10, sizeof *st->epochs, &st->epochs_count);
    st->epochs_cap = st->epochs_count;
    for (uint32_t i = 0; i < st->epochs_count; i++) {
        st->epochs[i].epoch = read_u32_varint(r);
        st->epochs[i].last_seq = read_varint(r);
        st->epochs[i].history = read_u64(r);
        if (i > 0 && st->epochs[i].epoch <= st->epochs[i - 1].epoch) r->failed = true;
    }
    if (st->epochs_count > EPOCHS_MAX) r->failed = true;
    st->cuts = list_read(rec, 4, sizeof *st->cuts, &st->cuts_count);
    st->cuts_cap = st->cuts_count;
    for (uint32_t i = 0; i < st->cuts_count; i++) {
        st->cuts[i].place = place_read(r);
        st->cuts[i].to_ms = read_zigzag(r);
        st->cuts[i].newest_ms = read_zigzag(r);
    }
    tombstones_read(rec, st);
}

/* -- taking over, as recovery of the log would (store_recover) */

static enum status whole_take(struct store *store, uint32_t shard, struct record *rec,
                              bool *out_taken) {
    struct store_shard *st = &store->shards[shard], *in = &rec->whole;
    *out_taken = st->open && st->role != STORE_LOG && !st->log.has_log &&
                 in->log.copy >= st->log.copy && in->log.copy > st->tail_copy;
    if (!*out_taken) return OK;
    uint32_t *refs = NULL;
    if (in->refs_count > 0) {
        refs = malloc(in->refs_count * sizeof *refs);
        if (refs == NULL) return ERR_NOMEM;
        memset(refs, 0xff, in->refs_count * sizeof *refs);
    }
    static_assert(HEAD_NONE == 0xffffffff, "refs that are not there yet");
    st->refs = refs;
    st->refs_count = st->refs_cap = in->refs_count;
    st->log = in->log;
    st->newest_ms = in->newest_ms;
    st->cut_ms = in->cut_ms;
    st->from_ms = in->from_ms;
    st->floor_ms = in->floor_ms;
    st->ended = in->ended;
    store->ended_max_ms = MAX(store->ended_max_ms, in->ended.raw_ms);
    st->base = in->base;
    st->base_cut_ms = in->base_cut_ms;
    st->base_newest_ms = in->base_newest_ms;
    st->epochs = in->epochs;
    st->epochs_count = st->epochs_cap = in->epochs_count;
    st->cuts = in->cuts;
    st->cuts_count = st->cuts_cap = in->cuts_count;
    st->tombstones = in->tombstones;
    st->tombstones_count = st->tombstones_cap = in->tombstones_count;
    head_shard_set_from(store->head, shard, MAX(st->from_ms, st->floor_ms));
    *in = (struct store_shard){0};
    return OK;
}

static enum status tail_take(struct store *store, uint32_t shard, struct record *rec) {
    struct store_shard *st = &store->shards[shard];
    uint32_t copy = rec->tail.copy;
    bool later = st->role == STORE_LOG && copy > st->tail_copy;
    if (!st->open || st->tail_copy == 0 || (copy != st->tail_copy && !later)) return OK;
    if (st->tail != NULL) return OK;
    st->tail_copy = copy;
    if (tail_make(store, st) == NULL) return ERR_NOMEM;
    st->tail->log = rec->tail;
    st->tail->series_count = rec->tail_series_count;
    rec->tail = (struct held_log){0};
    return OK;
}

enum status snapshot_shard_get(struct store *store, struct reader *r, uint64_t numbers_max,
                               bool *ours, uint32_t *out_shard) {
    struct record rec = {.r = r};
    uint32_t shard = read_u32_varint(r);
    uint8_t what = read_u8(r);
    if (what == 0 || what > (HAS_WHOLE | HAS_TAIL | HAS_ENDED) || what == HAS_ENDED ||
        (what & (HAS_WHOLE | HAS_ENDED)) == HAS_ENDED || shard >= store->options.shards_count)
        r->failed = true;
    if (!r->failed && ours[shard]) r->failed = true; /* once more */
    if (!r->failed && (what & HAS_WHOLE) != 0) whole_read(&rec);
    if (!r->failed && (what & HAS_ENDED) != 0) ended_read(r, &rec.whole.ended);
    if (!r->failed && (what & HAS_TAIL) != 0) {
        held_read(&rec, &rec.tail);
        rec.tail_series_count = read_u32_varint(r);
    }
    enum status status = rec.nomem ? ERR_NOMEM : OK;
    if (status == OK && (r->failed || rec.whole.refs_count > numbers_max)) status = ERR_CORRUPT;
    if (status == OK && (what & HAS_WHOLE) != 0)
        status = whole_take(store, shard, &rec, &ours[shard]);
    if (status == OK && (what & HAS_TAIL) != 0) status = tail_take(store, shard, &rec);
    *out_shard = shard;
    record_fini(&rec);
    return status;
}

bool snapshot_shard_is_complete(const struct store *store, uint32_t shard) {
    const struct store_shard *st = &store->shards[shard];
    for (uint32_t i = 0; i < st->refs_count; i++)
        if (st->refs[i] == HEAD_NONE) return false;
    return true;
}
