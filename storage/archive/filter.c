/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/filter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/entry.h"
#include "storage/exemplar_items.h"

struct filter_tombstone {
    int64_t min_ms, max_ms;
    struct matcher *matchers;
    size_t matchers_count;
};
struct filter_shard {
    uint32_t shard;
    int64_t floor_ms;
    struct filter_tombstone *tombstones;
    uint32_t tombstones_count;
};

static enum status tombstone_read(struct archive_filter *f, const struct tombstone *from,
                                  struct filter_tombstone *to, struct err *err) {
    char *bytes = arena_alloc(&f->arena, from->matchers_len + 1);
    if (bytes == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    memcpy(bytes, from->matchers, from->matchers_len);
    *to = (struct filter_tombstone){.min_ms = from->min_ms, .max_ms = from->max_ms};
    return entry_matchers_get(sv_make(bytes, from->matchers_len), &f->arena, &to->matchers,
                              &to->matchers_count, err);
}

enum status archive_filter_add(struct archive_filter *f, const struct filter_rules *s,
                               struct err *err) {
    if (s->tombstones_count == 0 && s->floor_ms == INT64_MIN) return OK;
    if ((f->shards_count & (f->shards_count + 1)) == 0) { /* 0, 1, 3, 7: full */
        size_t cap = (size_t)f->shards_count * 2 + 1;
        struct filter_shard *shards = realloc(f->shards, (cap + 1) * sizeof *shards);
        if (shards == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
        f->shards = shards;
    }
    struct filter_shard *to = &f->shards[f->shards_count];
    *to = (struct filter_shard){.shard = s->shard, .floor_ms = s->floor_ms};
    to->tombstones = arena_alloc(&f->arena, (s->tombstones_count + 1) * sizeof *to->tombstones);
    if (to->tombstones == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    f->shards_count++;
    for (uint32_t i = 0; i < s->tombstones_count; i++) {
        TRY(tombstone_read(f, &s->tombstones[i], &to->tombstones[i], err));
        to->tombstones_count++;
    }
    return OK;
}

enum status archive_filter_init(struct archive_filter *f, const struct manifest *m,
                                struct err *err) {
    *f = (struct archive_filter){.exemplars_from_ms = INT64_MIN, .trim_ms = INT64_MIN};
    arena_init(&f->arena, 0);
    for (uint32_t i = 0; m != NULL && i < m->shards_count; i++) {
        const struct manifest_shard *s = &m->shards[i];
        struct filter_rules rules = {s->shard, s->floor_ms, s->tombstones, s->tombstones_count};
        enum status status = archive_filter_add(f, &rules, err);
        if (status == OK) continue;
        archive_filter_fini(f);
        return status;
    }
    return OK;
}

void archive_filter_fini(struct archive_filter *f) {
    for (uint32_t i = 0; i < f->shards_count; i++)
        for (uint32_t k = 0; k < f->shards[i].tombstones_count; k++)
            for (size_t n = 0; n < f->shards[i].tombstones[k].matchers_count; n++)
                matcher_fini(&f->shards[i].tombstones[k].matchers[n]);
    free(f->shards);
    arena_fini(&f->arena);
    *f = (struct archive_filter){0};
}

bool archive_filter_is_empty(const struct archive_filter *f) {
    return f->shards_count == 0;
}

static const struct filter_shard *find(const struct archive_filter *f, uint32_t shard) {
    uint32_t low = 0, high = f->shards_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (f->shards[mid].shard < shard)
            low = mid + 1;
        else
            high = mid;
    }
    return low < f->shards_count && f->shards[low].shard == shard ? &f->shards[low] : NULL;
}

bool archive_filter_has(const struct archive_filter *f, uint32_t shard, int64_t from_ms,
                        int64_t to_ms) {
    const struct filter_shard *fs = find(f, shard);
    if (fs == NULL || from_ms >= to_ms) return false;
    bool any = fs->floor_ms != INT64_MIN && from_ms < fs->floor_ms - 1;
    for (uint32_t i = 0; i < fs->tombstones_count; i++)
        any |= fs->tombstones[i].max_ms > from_ms && fs->tombstones[i].min_ms <= to_ms;
    return any;
}

static bool matches(const struct filter_tombstone *t, const struct label *labels, size_t count) {
    for (size_t i = 0; i < t->matchers_count; i++) {
        const struct matcher *m = &t->matchers[i];
        struct sv value = {0};
        for (size_t k = 0; k < count; k++)
            if (sv_eq(labels[k].name, m->name)) value = labels[k].value;
        if (!matcher_match(m, value)) return false;
    }
    return true;
}

void samples_leave_out(struct samples *s, int64_t min_ms, int64_t max_ms) {
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (s->times_ms[i] >= min_ms && s->times_ms[i] <= max_ms) continue;
        s->times_ms[kept] = s->times_ms[i];
        s->values[kept] = s->values[i];
        if (s->histograms != NULL) s->histograms[kept] = s->histograms[i];
        if (s->starts_ms != NULL) s->starts_ms[kept] = s->starts_ms[i];
        kept++;
    }
    s->count = kept;
}

void archive_filter_run(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                        size_t labels_count, struct samples *samples) {
    (void)canonical;
    const struct archive_filter *f = ctx;
    const struct filter_shard *fs = find(f, shard);
    if (f->trim_ms != INT64_MIN) samples_leave_out(samples, INT64_MIN, f->trim_ms);
    if (fs == NULL) return;
    if (fs->floor_ms != INT64_MIN) samples_leave_out(samples, INT64_MIN, fs->floor_ms - 1);
    for (uint32_t i = 0; i < fs->tombstones_count; i++)
        if (matches(&fs->tombstones[i], labels, labels_count))
            samples_leave_out(samples, fs->tombstones[i].min_ms, fs->tombstones[i].max_ms);
}

void archive_filter_run_first(const struct archive_filter *f, uint32_t shard, uint32_t count,
                              const struct label *labels, size_t labels_count,
                              struct samples *samples) {
    const struct filter_shard *fs = find(f, shard);
    for (uint32_t i = 0; fs != NULL && i < MIN(count, fs->tombstones_count); i++)
        if (matches(&fs->tombstones[i], labels, labels_count))
            samples_leave_out(samples, fs->tombstones[i].min_ms, fs->tombstones[i].max_ms);
}

void archive_filter_matchers(const struct archive_filter *f, uint32_t shard, uint32_t at,
                             const struct matcher **out, size_t *out_count) {
    const struct filter_shard *fs = find(f, shard);
    assert(fs != NULL && at < fs->tombstones_count);
    *out = fs->tombstones[at].matchers;
    *out_count = fs->tombstones[at].matchers_count;
}

void archive_filter_items(void *ctx, uint32_t shard, struct buf *items) {
    const struct archive_filter *f = ctx;
    const struct filter_shard *s = find(f, shard);
    int64_t from_ms = MAX(f->exemplars_from_ms, s == NULL ? INT64_MIN : s->floor_ms);
    if (f->trim_ms != INT64_MIN) from_ms = MAX(from_ms, f->trim_ms + 1);
    if (from_ms != INT64_MIN) exemplar_items_trim(items, from_ms);
}

/* -- windows */

bool archive_filter_windows(const struct archive_filter *f, uint32_t shard,
                            const struct label *labels, size_t labels_count,
                            struct filter_windows *out) {
    const struct filter_shard *fs = find(f, shard);
    if (fs == NULL) return false;
    out->floor_ms = fs->floor_ms;
    out->deleted_count = 0;
    out->is_short = false;
    for (uint32_t i = out->next; i < fs->tombstones_count; i++) {
        const struct filter_tombstone *t = &fs->tombstones[i];
        if (!matches(t, labels, labels_count)) continue;
        if (out->deleted_count == FILTER_WINDOWS_MAX) {
            out->is_short = true;
            out->next = i;
            break;
        }
        out->deleted[out->deleted_count].min_ms = t->min_ms;
        out->deleted[out->deleted_count++].max_ms = t->max_ms;
    }
    return out->floor_ms != INT64_MIN || out->deleted_count > 0;
}

bool filter_takes_window(const struct filter_windows *w, int64_t end_ms, uint32_t resolution_ms) {
    int64_t first_ms = end_ms - resolution_ms + 1;
    if (end_ms < w->floor_ms) return true;
    for (uint32_t i = 0; i < w->deleted_count; i++)
        if (w->deleted[i].min_ms <= first_ms && w->deleted[i].max_ms >= end_ms) return true;
    return false;
}

/* Whether a window's last millisecond is at `last_ms`. */
static bool is_border(int64_t last_ms, uint32_t resolution_ms) {
    return last_ms % resolution_ms == 0;
}

bool filter_splits_windows(const struct filter_windows *w, int64_t from_ms, int64_t to_ms,
                           uint32_t resolution_ms) {
    if (w->floor_ms > from_ms && w->floor_ms <= to_ms && w->floor_ms != INT64_MIN &&
        !is_border(w->floor_ms - 1, resolution_ms))
        return true;
    for (uint32_t i = 0; i < w->deleted_count; i++) {
        int64_t min_ms = w->deleted[i].min_ms, max_ms = w->deleted[i].max_ms;
        if (max_ms <= from_ms || min_ms > to_ms) continue;
        if (min_ms > from_ms + 1 && !is_border(min_ms - 1, resolution_ms)) return true;
        if (max_ms < to_ms && !is_border(max_ms, resolution_ms)) return true;
    }
    return false;
}
