/* SPDX-License-Identifier: Apache-2.0 */
/* A series as series_save.c wrote it, into a head. What was checked by its checksum is still looked
 * at: bytes that no writer makes must not end the process later. */
#include <stdlib.h>

#include "node/base/arena.h"
#include "storage/histogram.h"
#include "storage/internal.h"
#include "storage/snapshot/internal.h"

/* -- tables */

void snapshot_load_tables_fini(struct load_tables *t, struct store *store) {
    for (uint32_t i = 0; i < t->times_count; i++)
        if (t->times[i].times != NULL) times_give(&store->head->times, t->times[i].times);
    buf_fini(&t->bytes);
    samples_fini(&t->rows);
    buf_fini(&t->canonical);
    saved_columns_free(t->columns);
    free(t->pairs);
    free(t->times);
    *t = (struct load_tables){0};
}

static enum status table_grow(void *table, uint32_t count, uint32_t *cap, size_t item_bytes,
                              struct err *err) {
    void **at = table;
    if (count < *cap) return OK;
    uint32_t more = *cap == 0 ? 1024 : *cap * 2;
    void *p = more > *cap ? realloc(*at, (size_t)more * item_bytes) : NULL;
    if (p == NULL) return err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory");
    *at = p;
    *cap = more;
    return OK;
}

static enum status table_bad(const char *what, struct err *err) {
    return err_set(err, ERR_CORRUPT, 0, "snapshot: a bad table of %s", what);
}

enum status snapshot_load_pairs(struct load_tables *t, struct reader *r, struct err *err) {
    while (reader_left(r) > 0) {
        struct sv pair = read_lenstr(r);
        if (r->failed || pair.len > UINT32_MAX) return table_bad("labels", err);
        void *pairs = t->pairs;
        TRY(table_grow(&pairs, t->pairs_count, &t->pairs_cap, sizeof *t->pairs, err));
        t->pairs = pairs;
        t->pairs[t->pairs_count++] = (struct load_pair){t->bytes.len, (uint32_t)pair.len, MAP_NONE};
        buf_put_sv(&t->bytes, pair);
    }
    return t->bytes.failed ? err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory") : OK;
}

enum status snapshot_load_times(struct load_tables *t, struct reader *r, struct err *err) {
    while (reader_left(r) > 0) {
        uint64_t count = read_varint(r);
        struct sv column = read_lenstr(r);
        if (r->failed || count > PAGE_SAMPLES_MAX || column.len > UINT16_MAX)
            return table_bad("times", err);
        void *times = t->times;
        TRY(table_grow(&times, t->times_count, &t->times_cap, sizeof *t->times, err));
        t->times = times;
        t->times[t->times_count++] =
            (struct load_times){t->bytes.len, (uint16_t)column.len, (uint16_t)count, NULL};
        buf_put_sv(&t->bytes, column);
    }
    return t->bytes.failed ? err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory") : OK;
}

/* Interned when it is first asked for. */
static enum status pair_here(struct head *head, struct load_tables *t, uint64_t number,
                             uint32_t *out) {
    if (number >= t->pairs_count || t->pairs[number].len == 0) return ERR_CORRUPT;
    struct load_pair *p = &t->pairs[number];
    if (p->pair == MAP_NONE) {
        struct sv bytes = sv_make(t->bytes.ptr + p->at, p->len), rest = bytes;
        struct label label;
        bool bad = false;
        if (!labels_next(&rest, &label, &bad) || rest.len > 0 || label.value.len == 0 ||
            label_canonical_bytes(&label) != bytes.len)
            return ERR_CORRUPT;
        TRY(symbols_intern(&head->symbols, bytes, &label, &p->pair));
    }
    *out = p->pair;
    return OK;
}

/* Counted once more. */
static enum status times_here(struct head *head, struct load_tables *t, uint64_t number,
                              struct times **out) {
    if (number >= t->times_count || t->times[number].count == 0) return ERR_CORRUPT;
    struct load_times *e = &t->times[number];
    struct page column = {(const uint8_t *)t->bytes.ptr + e->at, e->len, e->count};
    if (e->times == NULL) TRY(times_restore(&head->times, &head->scratch, &column, &e->times));
    e->times->uses++;
    *out = e->times;
    return OK;
}

/* -- parts of a series */

static enum status pairs_get(struct head *head, struct load_tables *t, struct reader *r) {
    struct u32s *pairs = &head->scratch_pairs;
    uint64_t count = read_varint(r);
    struct sv last = SV("");
    pairs->count = 0;
    buf_clear(&t->canonical);
    for (uint64_t i = 0; i < count && !r->failed; i++) {
        uint64_t number = read_varint(r);
        uint32_t pair;
        TRY(pair_here(head, t, number, &pair));
        buf_put(&t->canonical, t->bytes.ptr + t->pairs[number].at, t->pairs[number].len);
        TRY(index_reserve(&head->index, pair));
        TRY(u32s_put(pairs, pair));
        struct sv name =
            head->symbols.names[symbols_pair(head->symbols.pairs.dir, pair)->name].text;
        if (i > 0 && sv_cmp(last, name) >= 0) return ERR_CORRUPT;
        last = name;
    }
    if (t->canonical.failed) return ERR_NOMEM;
    return r->failed || count == 0 ? ERR_CORRUPT : OK;
}

static void bounds_widen(struct head *head, int64_t first_ms, int64_t last_ms, uint64_t samples) {
    head->min_time_ms = MIN(head->min_time_ms, first_ms);
    head->max_time_ms = MAX(head->max_time_ms, last_ms);
    head->samples_appended += samples;
}

/* Up to format 3. */
static enum status words_get(struct reader *r, struct chunk_slab *slab, struct chunk_open *c) {
    c->has_last = 1;
    c->last_ms = (int64_t)read_u64(r);
    c->last_bits = read_u64(r);
    c->delta_ms = (int32_t)read_u32(r);
    c->bits = read_u16(r);
    c->count = read_u8(r);
    c->run = read_u8(r);
    c->leading = read_u8(r);
    c->significant = read_u8(r);
    c->full = read_u8(r);
    const uint8_t *words = read_bytes(r, chunk_words(c->bits) * 8);
    return r->failed ? ERR_CORRUPT : chunk_restore(c, slab, words);
}

static enum status open_get(struct head *head, uint32_t ref, struct load_tables *t,
                            struct reader *r) {
    struct chunk_open *open = &head_series(head, ref)->open;
    struct chunk_open c = {.owner = open->owner};
    TRY(t->format <= CORE_FORMAT_WORDS ? words_get(r, &head->blocks, &c)
                                       : saved_open_get(t->columns, r, &head->blocks, &c));
    *open = c;
    if (c.count == 0) return OK;
    struct chunk_snapshot s = chunk_snapshot(&c);
    head->chunks_count++;
    bounds_widen(head, chunk_snapshot_first_ms(&s), c.last_ms, c.count);
    return OK;
}

static enum status sealed_get(struct head *head, uint32_t ref, struct load_tables *t,
                              struct reader *r) {
    struct series_cold *cold = head_cold(head, ref);
    const struct chunk_open *open = &head_series(head, ref)->open;
    struct chain chain = {0};
    uint64_t count = read_varint(r);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t kind = read_u8(r);
        uint64_t number = read_varint(r);
        struct sv bytes = read_lenstr(r);
        struct times *times;
        if (r->failed || kind > SAVED_PAGE) return ERR_CORRUPT;
        struct chunk_saved saved = {kind == SAVED_CONST ? CHUNK_CONST : CHUNK_PAGE,
                                    (const uint8_t *)bytes.ptr, bytes.len};
        TRY(times_here(head, t, number, &times));
        TRY(head_chain_restore(head, &chain, times, &saved));
        cold->sealed = chain.newest;
        cold->sealed_count = chain.count;
        head->chunks_count++;
        bounds_widen(head, times->first_ms, times->last_ms, times->count);
    }
    if (chain.count == 0 || !open->has_last) return ERR_CORRUPT;
    struct chunk_snapshot s = chunk_snapshot(open);
    int64_t last_ms = chain.newest->times->last_ms;
    bool follows = s.count > 0 ? last_ms < chunk_snapshot_first_ms(&s) : last_ms <= open->last_ms;
    return follows ? OK : ERR_CORRUPT;
}

/* No time is there twice. */
static enum status times_check(const struct head *head, uint32_t ref, struct samples *rows) {
    struct series_view view;
    series_view_take(head, ref, &view);
    samples_clear(rows);
    TRY(series_view_read(&view, INT64_MIN, INT64_MAX, rows, NULL));
    for (size_t i = 1; i < rows->count; i++)
        if (rows->times_ms[i] <= rows->times_ms[i - 1]) return ERR_CORRUPT;
    return OK;
}

static enum status late_get(struct head *head, uint32_t ref, struct load_tables *t,
                            struct reader *r) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    uint64_t count = read_varint(r);
    if (r->failed || count == 0 || count > reader_left(r) / 16) return ERR_CORRUPT;
    TRY(head_late_restore(head, ref, (uint32_t)count));
    struct late *late = head_cold(head, ref)->late;
    for (; late->count < count; late->count++) {
        struct late_sample *row = &late->at[late->count];
        row->time_ms = (int64_t)read_u64(r);
        row->bits = read_u64(r);
        if (late->count > 0 && row->time_ms <= row[-1].time_ms) return ERR_CORRUPT;
    }
    if (!open->has_last || late->at[count - 1].time_ms >= open->last_ms) return ERR_CORRUPT;
    bounds_widen(head, late->at[0].time_ms, open->last_ms, count);
    return times_check(head, ref, &t->rows);
}

static enum status histograms_get(struct store *store, uint32_t ref, struct reader *r) {
    struct head *head = store->head;
    uint64_t count = read_varint(r), before = head->samples_appended;
    if (r->failed || count > reader_left(r) / 9) return ERR_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        int64_t time_ms = (int64_t)read_u64(r);
        struct sv bytes = read_lenstr(r);
        arena_reset(&store->decode);
        if (r->failed) return ERR_CORRUPT;
        TRY(histogram_check(bytes, &store->decode, NULL));
        TRY(head_append_histogram(head, ref, time_ms, bytes));
    }
    return head->samples_appended - before == count ? OK : ERR_CORRUPT;
}

static enum status starts_get(struct head *head, uint32_t ref, struct reader *r) {
    uint64_t count = read_varint(r);
    if (r->failed || count > reader_left(r) / 16) return ERR_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        int64_t time_ms = (int64_t)read_u64(r), start_ms = (int64_t)read_u64(r);
        TRY(head_restore_start(head, ref, time_ms, start_ms));
    }
    return OK;
}

/* -- the series */

static enum status number_get(struct store *store, uint32_t shard, uint32_t ref, uint64_t number) {
    struct store_shard *st = &store->shards[shard];
    if (number == 0) return OK;
    if (number > st->refs_count || st->refs[number - 1] != HEAD_NONE) return ERR_CORRUPT;
    st->refs[number - 1] = ref;
    head_series_set_number(store->head, ref, (uint32_t)(number - 1));
    return OK;
}

static enum status parts_get(struct store *store, struct load_tables *t, uint32_t ref,
                             struct reader *r) {
    struct head *head = store->head;
    uint8_t what = read_u8(r);
    if (what > SAVED_ALL) return ERR_CORRUPT;
    if ((what & SAVED_OPEN) != 0) TRY(open_get(head, ref, t, r));
    if ((what & SAVED_SEALED) != 0) TRY(sealed_get(head, ref, t, r));
    if ((what & SAVED_LATE) != 0) TRY(late_get(head, ref, t, r));
    if ((what & SAVED_HISTOGRAMS) != 0) TRY(histograms_get(store, ref, r));
    if ((what & SAVED_STARTS) != 0) TRY(starts_get(head, ref, r));
    return r->failed || reader_left(r) > 0 ? ERR_CORRUPT : OK;
}

enum status snapshot_series_get(struct store *store, struct load_tables *t, const bool *ours,
                                struct reader *all, struct snapshot_told *told) {
    uint32_t len = read_u32(all), ref;
    const uint8_t *p = read_bytes(all, len);
    if (p == NULL) return ERR_CORRUPT;
    struct reader one = reader_init(p, len), *r = &one;
    bool has_id = t->format <= CORE_FORMAT_WORDS;
    const struct head_options *o = &store->options.head;
    if (!has_id && t->columns == NULL && (t->columns = saved_columns_new()) == NULL)
        return ERR_NOMEM;
    if (!has_id) TRY(saved_column_get(t->columns, r)); /* later ones may name it */
    uint64_t shard = read_varint(r);
    if (shard >= store->options.shards_count) return ERR_CORRUPT;
    if (!ours[shard]) return OK;
    series_id id = {0};
    if (has_id) {
        id.hi = read_u64(r);
        id.lo = read_u64(r);
    }
    uint64_t number = read_varint(r), samples = store->head->samples_appended;
    TRY(pairs_get(store->head, t, r));
    if (!has_id) id = series_id_of(o->secret, o->tenant, buf_sv(&t->canonical));
    if (store_shard_of(store, id) != shard) return ERR_CORRUPT;
    if (head_find(store->head, id) != HEAD_NONE) return ERR_CORRUPT;
    TRY(head_series_make(store->head, id, (uint32_t)shard, &ref));
    TRY(number_get(store, (uint32_t)shard, ref, number));
    TRY(parts_get(store, t, ref, r));
    told->series++;
    told->samples += store->head->samples_appended - samples;
    return OK;
}
