/* SPDX-License-Identifier: Apache-2.0 */
/* The head: what the logs hold beyond the head chunks, after Prometheus' replay (tsdb/head_wal.go):
 * a series' sample in order counts when it is newer than its chunks and than the last one; of late
 * ones that go into one chunk the first at a time counts. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "storage/entry.h"
#include "storage/import/internal.h"

void prom_head_init(struct prom_head *head, const struct prom_options *options,
                    struct prom_counts *counts, int64_t min_valid_ms) {
    *head = (struct prom_head){.options = options,
                               .counts = counts,
                               .min_valid_ms = min_valid_ms,
                               .min_ms = INT64_MAX,
                               .max_ms = INT64_MIN};
    arena_init(&head->arena, 0);
    map_init(&head->by_labels);
    map_init(&head->by_ref);
}

void prom_head_fini(struct prom_head *head) {
    for (size_t i = 0; i < head->series_count; i++) {
        struct prom_head_series *s = &head->series[i];
        samples_fini(&s->in_order);
        samples_fini(&s->late);
        prom_intervals_fini(&s->deleted);
        free(s->exemplars);
    }
    for (size_t i = 0; i < head->chunk_files_count; i++)
        prom_file_close(&head->chunk_files[i]);
    free(head->chunk_files);
    free(head->series);
    free(head->refs);
    free(head->chunks);
    free(head->labels);
    buf_fini(&head->scratch);
    samples_fini(&head->decoded);
    map_fini(&head->by_labels);
    map_fini(&head->by_ref);
    arena_fini(&head->arena);
}

/* -- series and their references */

static bool labels_eq(const void *owner, uint32_t index, const void *key) {
    const struct prom_head *head = owner;
    return sv_eq(head->series[index].canonical, *(const struct sv *)key);
}

static uint64_t labels_hash(const void *owner, uint32_t index) {
    const struct prom_head *head = owner;
    return hash64(head->series[index].canonical.ptr, head->series[index].canonical.len, 0);
}

static bool ref_eq(const void *owner, uint32_t index, const void *key) {
    const struct prom_head *head = owner;
    return head->refs[index].ref == *(const uint64_t *)key;
}

static uint64_t ref_hash(const void *owner, uint32_t index) {
    const struct prom_head *head = owner;
    return hash64(&head->refs[index].ref, sizeof(uint64_t), 0);
}

static struct prom_head_ref *find_ref(struct prom_head *head, uint64_t ref) {
    uint32_t index = map_find(&head->by_ref, hash64(&ref, sizeof ref, 0), ref_eq, head, &ref);
    return index == MAP_NONE ? NULL : &head->refs[index];
}

struct prom_head_ref *prom_head_ref(struct prom_head *head, uint64_t ref) {
    struct prom_head_ref *found = find_ref(head, ref);
    if (found != NULL) return found;
    void *refs = head->refs;
    if (prom_grow(&refs, &head->refs_cap, head->refs_count, sizeof *head->refs) != OK) return NULL;
    head->refs = refs;
    if (head->refs_count >= MAP_NONE) return NULL;
    uint32_t index = (uint32_t)head->refs_count;
    found = &head->refs[index];
    *found = (struct prom_head_ref){.ref = ref,
                                    .series = MAP_NONE,
                                    .chunks = {MAP_NONE, MAP_NONE},
                                    .chunks_last = {MAP_NONE, MAP_NONE}};
    if (map_insert(&head->by_ref, ref_hash(head, index), index, ref_hash, head) != OK) return NULL;
    head->refs_count++;
    return found;
}

struct prom_head_series *prom_head_find(struct prom_head *head, uint64_t ref) {
    const struct prom_head_ref *found = find_ref(head, ref);
    return found == NULL || found->series == MAP_NONE ? NULL : &head->series[found->series];
}

static enum status find_or_make(struct prom_head *head, struct sv canonical, uint32_t *out) {
    uint64_t hash = hash64(canonical.ptr, canonical.len, 0);
    *out = map_find(&head->by_labels, hash, labels_eq, head, &canonical);
    if (*out != MAP_NONE) return OK;
    void *series = head->series;
    TRY(prom_grow(&series, &head->series_cap, head->series_count, sizeof *head->series));
    head->series = series;
    if (head->series_count >= MAP_NONE) return ERR_NOMEM;
    canonical = arena_sv(&head->arena, canonical);
    if (canonical.ptr == NULL) return ERR_NOMEM;
    uint32_t index = (uint32_t)head->series_count;
    const struct prom_options *o = head->options;
    head->series[index] = (struct prom_head_series){
        .canonical = canonical,
        .shard = series_shard(series_id_of(o->secret, o->tenant, canonical), o->shards_count),
        .chunks = {MAP_NONE, MAP_NONE},
        .chunks_last = {MAP_NONE, MAP_NONE},
        .chunks_max_ms = INT64_MIN};
    TRY(map_insert(&head->by_labels, hash, index, labels_hash, head));
    head->series_count++;
    head->counts->head_series++;
    *out = index;
    return OK;
}

static void seen(struct prom_head *head, int64_t min_ms, int64_t max_ms) {
    head->min_ms = MIN(head->min_ms, min_ms);
    head->max_ms = MAX(head->max_ms, max_ms);
}

/* The chunks that were written under the reference are the series'. */
static void attach_chunks(struct prom_head *head, struct prom_head_ref *ref,
                          struct prom_head_series *s) {
    for (int late = 0; late < 2; late++) {
        for (uint32_t i = ref->chunks[late]; i != MAP_NONE; i = head->chunks[i].next) {
            seen(head, head->chunks[i].min_ms, head->chunks[i].max_ms);
            if (!late) s->chunks_max_ms = MAX(s->chunks_max_ms, head->chunks[i].max_ms);
        }
        if (ref->chunks[late] == MAP_NONE) continue;
        if (s->chunks_last[late] == MAP_NONE)
            s->chunks[late] = ref->chunks[late];
        else
            head->chunks[s->chunks_last[late]].next = ref->chunks[late];
        s->chunks_last[late] = ref->chunks_last[late];
        ref->chunks[late] = ref->chunks_last[late] = MAP_NONE;
    }
}

enum status prom_head_add_series(struct prom_head *head, uint64_t ref_number, struct label *labels,
                                 size_t count) {
    buf_clear(&head->scratch);
    enum status got = labels_encode(labels, count, &head->scratch, NULL);
    if (got != OK) return got == ERR_CONFLICT ? ERR_CORRUPT : got;
    if (head->scratch.failed) return ERR_NOMEM;
    uint32_t series;
    TRY(find_or_make(head, buf_sv(&head->scratch), &series));
    struct prom_head_ref *ref = prom_head_ref(head, ref_number);
    if (ref == NULL) return ERR_NOMEM;
    ref->series = series;
    attach_chunks(head, ref, &head->series[series]);
    return OK;
}

/* -- what the logs say of them */

static enum status insert(struct samples *p, size_t at, const struct prom_sample *sample) {
    if (p->count == p->cap) TRY(samples_reserve(p, p->count == 0 ? 1 : p->count * 2));
    if (sample->histogram != NULL) TRY(samples_want_histograms(p));
    size_t behind = p->count - at;
    memmove(&p->times_ms[at + 1], &p->times_ms[at], behind * sizeof *p->times_ms);
    memmove(&p->values[at + 1], &p->values[at], behind * sizeof *p->values);
    p->times_ms[at] = sample->time_ms;
    p->values[at] = sample->value;
    if (p->histograms != NULL) {
        memmove(&p->histograms[at + 1], &p->histograms[at], behind * sizeof(void *));
        p->histograms[at] = sample->histogram;
    }
    p->count++;
    return OK;
}

enum status prom_head_add_sample(struct prom_head *head, const struct prom_sample *sample) {
    int64_t time_ms = sample->time_ms;
    if (!sample->late && time_ms < head->min_valid_ms) return OK;
    struct prom_head_series *s = prom_head_find(head, sample->ref);
    if (s == NULL) {
        head->counts->unknown_samples++;
        return OK;
    }
    struct samples *p = sample->late ? &s->late : &s->in_order;
    size_t at = p->count;
    if (sample->late) { /* the first at a time stays, of those that go into one chunk */
        while (at > s->late_open && p->times_ms[at - 1] > time_ms)
            at--;
        if (at > s->late_open && p->times_ms[at - 1] == time_ms) return OK;
    } else if (time_ms <= s->chunks_max_ms || (at > 0 && time_ms <= p->times_ms[at - 1])) {
        return OK;
    }
    seen(head, time_ms, time_ms);
    return insert(p, at, sample);
}

/* A chunk was begun, and the one before, if any, is at place. Where that was never written, or was
 * cut, the log alone has its samples. Place 0 stands for the first one, and for one after a
 * compaction: Prometheus then forgets what the log has, which it loses when it was killed. */
void prom_head_mark(struct prom_head *head, uint64_t ref, uint64_t place) {
    struct prom_head_series *s = prom_head_find(head, ref);
    if (s == NULL) return;
    if (place != 0 && place <= head->chunk_last_place) s->late.count = s->late_open;
    s->late_open = s->late.count;
}

enum status prom_head_delete(struct prom_head *head, uint64_t ref, int64_t min_ms, int64_t max_ms) {
    struct prom_head_series *s = prom_head_find(head, ref);
    if (s == NULL) return OK;
    if (min_ms == INT64_MIN && max_ms == INT64_MAX) { /* the series went to a block as a whole */
        s->in_order.count = s->late.count = s->late_open = 0;
        for (int late = 0; late < 2; late++)
            s->chunks[late] = s->chunks_last[late] = MAP_NONE;
        s->chunks_max_ms = INT64_MIN;
        return OK;
    }
    if (max_ms < head->min_valid_ms) return OK;
    return prom_intervals_add(&s->deleted, (struct prom_interval){0, min_ms, max_ms});
}

enum status prom_head_add_exemplar(struct prom_head *head, uint64_t ref, int64_t time_ms,
                                   double value, struct sv canonical) {
    if (time_ms < head->min_valid_ms) return OK;
    struct prom_head_series *s = prom_head_find(head, ref);
    if (s == NULL) {
        head->counts->unknown_samples++;
        return OK;
    }
    if (!entry_exemplar_labels_valid(canonical)) {
        head->counts->exemplars++;
        return OK;
    }
    void *items = s->exemplars;
    TRY(prom_grow(&items, &s->exemplars_cap, s->exemplars_count, sizeof *s->exemplars));
    s->exemplars = items;
    canonical = arena_sv(&head->arena, canonical);
    if (canonical.ptr == NULL) return ERR_NOMEM;
    s->exemplars[s->exemplars_count++] = (struct prom_exemplar){canonical, time_ms, value};
    return OK;
}

void prom_head_sort(struct prom_head *head) {
    for (size_t i = 0; i < head->series_count; i++) {
        prom_intervals_sort(&head->series[i].deleted);
        head->series[i].exemplars_count =
            prom_exemplars_sort(head->series[i].exemplars, head->series[i].exemplars_count);
    }
}

/* -- the logs */

static enum status on_record(void *ctx, struct sv bytes) {
    return prom_head_record(ctx, bytes);
}

static enum status on_late_record(void *ctx, struct sv bytes) {
    return prom_head_late_record(ctx, bytes);
}

static enum status read_log(struct prom_head *head, const char *name, uint64_t from,
                            uint64_t *out_segments, struct err *err) {
    bool late = strcmp(name, "wbl") == 0;
    char *path = prom_path("%s/%s", head->options->path, name);
    if (path == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", head->options->path);
    struct prom_record_sink sink = {late ? on_late_record : on_record, head};
    /* a checkpoint was whole before it got its name */
    bool may_be_torn = strncmp(name, "wal/", 4) != 0;
    enum status got = prom_log_read(head->options->disk, path, from, may_be_torn, &sink,
                                    out_segments, &head->counts->wal_cut_bytes, err);
    free(path);
    return got;
}

enum status prom_head_read_logs(struct prom_head *head, struct err *err) {
    char *wal = prom_path("%s/wal", head->options->path);
    if (wal == NULL) return err_set(err, ERR_NOMEM, 0, "%s: no memory", head->options->path);
    struct prom_numbers checkpoints = {0};
    enum status got =
        prom_list_numbers(head->options->disk, wal, SV("checkpoint."), &checkpoints, err);
    free(wal);
    uint64_t from = 0, ignored = 0;
    if (got == OK && checkpoints.count > 0) {
        uint64_t last = checkpoints.items[checkpoints.count - 1];
        char *name = prom_path("wal/checkpoint.%08" PRIu64, last);
        got = name == NULL ? err_set(err, ERR_NOMEM, 0, "%s: no memory", head->options->path)
                           : read_log(head, name, 0, &ignored, err);
        free(name);
        from = last + 1;
    }
    free(checkpoints.items);
    if (got == OK) got = read_log(head, "wal", from, &head->counts->wal_segments, err);
    if (got == OK) got = read_log(head, "wbl", 0, &head->counts->wbl_segments, err);
    if (got == OK) prom_head_sort(head);
    return got;
}
