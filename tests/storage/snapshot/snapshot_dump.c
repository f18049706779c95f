/* SPDX-License-Identifier: Apache-2.0 */
/* What a node's stores answer, as text. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/histogram.h"
#include "tests/storage/snapshot/snapshot_rig.h"

static void put_hex(struct buf *out, struct sv bytes) {
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%02x", (unsigned)(uint8_t)bytes.ptr[i]);
}

static void dump_held(struct store *store, uint32_t shard, bool tail, struct buf *out) {
    struct shard_held h;
    struct shard_place p;
    uint64_t seq;
    if (!store_held(store, shard, tail, &h)) return;
    buf_printf(out,
               "shard %" PRIu32 " %s copy %" PRIu32 " %d%d%d first %" PRIu32 "/%" PRIu64
               " end %" PRIu32 "/%" PRIu64 " history %" PRIx64 "\n",
               shard, tail ? "tail" : "whole", h.copy, h.is_whole, h.damaged, h.based,
               h.first.epoch, h.first.seq, h.end.epoch, h.end.seq, h.history);
    if (tail) return;
    RIG_CHECK(store_shard_place(store, shard, &p), "!");
    buf_printf(out, " newest %" PRId64 ", %" PRIu32 " numbers\n", p.newest_ms, p.series_count);
    for (uint32_t e = 1; e <= h.end.epoch; e++)
        if (store_epoch_end(store, shard, e, &seq))
            buf_printf(out, " epoch %" PRIu32 " ends %" PRIu64 " %" PRIx64 "\n", e, seq,
                       store_history(store, shard, e + 1));
}

static int by_place(const void *a, const void *b) {
    return place_cmp(((const struct tombstone *)a)->place, ((const struct tombstone *)b)->place);
}

/* Base, cuts and what was deleted, as the manifest would have them. */
static void dump_record(struct store *store, uint32_t shard, struct buf *out) {
    struct store_archived a;
    if (!store_shard_archive(store, shard, &a) || !a.has_head) return;
    int64_t asked_ms[] = {INT64_MIN, a.from_ms, a.cut_ms, INT64_MAX};
    buf_printf(out, " from %" PRId64 " cut %" PRId64 " floor %" PRId64 " shows %" PRId64 "\n",
               a.from_ms, a.cut_ms, a.floor_ms, head_shard_from(store_head(store), shard));
    for (size_t i = 0; i < ARRAY_LEN(asked_ms); i++) {
        struct manifest_shard s;
        RIG_CHECK(store_shard_record(store, shard, asked_ms[i], &s) == OK, "memory");
        buf_printf(out,
                   " base %" PRIu32 "/%" PRIu64 " cut %" PRId64 " newest %" PRId64 ", %" PRIu32
                   " epochs\n",
                   s.base.epoch, s.base.seq, s.cut_ms, s.newest_ms, s.epochs_count);
        if (s.tombstones_count > 1)
            qsort(s.tombstones, s.tombstones_count, sizeof *s.tombstones, by_place);
        for (uint32_t t = 0; t < s.tombstones_count && i == 0; t++) {
            const struct tombstone *ts = &s.tombstones[t];
            buf_printf(out, " deleted %" PRIu32 "/%" PRIu64 " %" PRId64 " %" PRId64 " ",
                       ts->place.epoch, ts->place.seq, ts->min_ms, ts->max_ms);
            put_hex(out, sv_make(ts->matchers, ts->matchers_len));
            buf_put_char(out, '\n');
        }
        manifest_shard_fini(&s);
    }
}

static void dump_sample(const struct samples *s, size_t i, struct buf *out) {
    buf_printf(out, "  %" PRId64 " %016" PRIx64 " start %" PRId64, s->times_ms[i],
               f64_bits(s->values[i]), s->starts_ms == NULL ? 0 : s->starts_ms[i]);
    if (s->histograms != NULL && s->histograms[i] != NULL) {
        struct buf bytes = {0};
        histogram_put(s->histograms[i], &bytes);
        buf_put_char(out, ' ');
        put_hex(out, buf_sv(&bytes));
        buf_fini(&bytes);
    }
    buf_put_char(out, '\n');
}

static int by_id(const void *a, const void *b) {
    const struct series_view *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    if (x->id.hi != y->id.hi) return x->id.hi < y->id.hi ? -1 : 1;
    return x->id.lo < y->id.lo ? -1 : x->id.lo > y->id.lo;
}

static void dump_exemplars(struct store *store, uint32_t ref, struct buf *out) {
    const struct exemplars *e = store_exemplars(store);
    struct entry_write items = {0};
    for (uint32_t i = 0; i < exemplars_places(e); i++) {
        int64_t oldest_ms, newest_ms;
        uint32_t of;
        if (!exemplars_series(e, i, &of, &oldest_ms, &newest_ms) || of != ref) continue;
        exemplars_read(e, i, INT64_MIN, INT64_MAX, &items);
    }
    if (items.exemplars_count > 0) {
        buf_printf(out, "  %" PRIu32 " exemplars ", items.exemplars_count);
        put_hex(out, buf_sv(&items.exemplars));
        buf_put_char(out, '\n');
    }
    entry_write_fini(&items);
}

/* One that has nothing and no number may be there or not. */
static void dump_series(struct store *store, const struct series_view *v, struct buf *out) {
    struct samples samples = {0};
    struct label labels[8];
    struct head *head = store_head(store);
    uint32_t number = head_series_number(head, v->ref);
    struct err err;
    RIG_CHECK(series_view_read(v, INT64_MIN, INT64_MAX, &samples, &err) == OK, "%s", err.msg);
    if (samples.count > 0 || number != HEAD_NONE) {
        int64_t newest_ms = 0;
        double newest = 0;
        bool has_newest = head_series_newest(head, v->ref, &newest_ms, &newest);
        buf_printf(out, " series %" PRId64 " ", number == HEAD_NONE ? -1 : (int64_t)number);
        label_list_print(labels, series_view_labels(v, labels, ARRAY_LEN(labels)), out);
        buf_printf(out, " newest %d %" PRId64 " %016" PRIx64 "\n", has_newest,
                   has_newest ? newest_ms : 0, has_newest ? f64_bits(newest) : 0);
        for (size_t i = 0; i < samples.count; i++)
            dump_sample(&samples, i, out);
        dump_exemplars(store, v->ref, out);
    }
    samples_fini(&samples);
}

static void dump_shard_series(struct store *store, uint32_t shard, struct buf *out) {
    uint64_t bits = 1ULL << shard;
    struct shard_set one = {&bits, SR_SHARDS};
    struct select_query q = {.shards = &one, .from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct selection *sel;
    struct err err;
    bool done = false;
    size_t count;
    core_set_current(store_core(store));
    RIG_CHECK(select_new(store_head(store), &q, &sel, &err) == OK, "%s", err.msg);
    RIG_CHECK(select_step(sel, 0, &done, &err) == OK && done, "%s", err.msg);
    const struct series_view *views = selection_series(sel, &count);
    struct series_view *sorted = calloc(count + 1, sizeof *sorted);
    RIG_CHECK(sorted != NULL, "memory");
    if (count > 0) memcpy(sorted, views, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_id);
    for (size_t i = 0; i < count; i++)
        dump_series(store, &sorted[i], out);
    free(sorted);
    selection_release(sel);
    core_set_current(NULL);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Where a manifest told of families their order is that of its telling. */
static void dump_metadata(struct sr_node *n, uint32_t shard, struct buf *out) {
    struct store *store = sr_store(n, shard);
    const struct metadata *m = store_metadata(store);
    char *lines[SR_SERIES * METADATA_PER_NAME_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < metadata_names(m); i++) {
        struct entry_write w = {0};
        struct entry_metadata item;
        unsigned nth = 0;
        if (metadata_shard_at(m, i) != shard) continue;
        metadata_read(m, i, &w);
        struct sv rest = buf_sv(&w.metadata);
        for (; entry_metadata_next(&rest, &item); nth++) {
            struct buf line = {0};
            buf_printf(&line, " family %.*s %u %.*s %.*s %u", SV_ARG(item.name), item.type,
                       SV_ARG(item.help), SV_ARG(item.unit), n->world->with_archive ? 0 : nth);
            lines[count++] = buf_cstr(&line);
        }
        entry_write_fini(&w);
    }
    qsort(lines, count, sizeof *lines, by_text);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s\n", lines[i]);
        free(lines[i]);
    }
}

void sr_dump(struct sr_node *n, struct buf *out) {
    buf_clear(out);
    for (uint32_t s = 0; s < SR_SHARDS; s++) {
        struct store *store = sr_store(n, s);
        dump_held(store, s, false, out);
        dump_held(store, s, true, out);
        dump_record(store, s, out);
        dump_metadata(n, s, out);
        dump_shard_series(store, s, out);
    }
    RIG_CHECK(!out->failed, "memory");
}

void sr_must_equal(const struct buf *a, const struct buf *b, const char *what, uint64_t seed) {
    size_t at = 0;
    while (at < a->len && at < b->len && a->ptr[at] == b->ptr[at])
        at++;
    if (at == a->len && at == b->len) return;
    size_t from = at > 400 ? at - 400 : 0;
    fprintf(stderr, "seed %" PRIu64 ": %s at byte %zu\n--- one\n%.*s\n--- other\n%.*s\n", seed,
            what, at, (int)MIN(a->len - from, 800), a->ptr + from, (int)MIN(b->len - from, 800),
            b->ptr + from);
    RIG_CHECK(false, "they differ");
}
