/* SPDX-License-Identifier: Apache-2.0 */
/* What Prometheus' log says beside samples (records of --enable-feature=metadata-wal-records and
 * exemplar-storage), for all of a directory at once. */
#include <stdlib.h>

#include "node/base/num.h"

#include "storage/import/dir.h"
#include "storage/metadata.h"

/* -- exemplars */

static int time_cmp(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t prom_newest_after(int64_t *times, size_t count, size_t max) {
    if (count <= max) return INT64_MIN;
    qsort(times, count, sizeof *times, time_cmp);
    return times[count - max - 1];
}

/* A total order, also of NaNs. */
static uint64_t value_rank(double value) {
    uint64_t bits = f64_bits(value), sign = UINT64_C(1) << 63;
    return (bits & sign) != 0 ? ~bits : bits | sign;
}

/* The log has what Prometheus took: of one time those that are greater than the one before, and
 * late ones. */
static int exemplar_cmp(const void *a, const void *b) {
    const struct prom_exemplar *x = a, *y = b;
    uint64_t p = value_rank(x->value), q = value_rank(y->value);
    if (x->time_ms != y->time_ms) return x->time_ms < y->time_ms ? -1 : 1;
    if (p != q) return p < q ? -1 : 1;
    return sv_cmp(x->labels, y->labels);
}

size_t prom_exemplars_sort(struct prom_exemplar *exemplars, size_t count) {
    size_t kept = 0;
    if (count > 1) qsort(exemplars, count, sizeof *exemplars, exemplar_cmp);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || exemplar_cmp(&exemplars[kept - 1], &exemplars[i]) != 0)
            exemplars[kept++] = exemplars[i];
    return kept;
}

enum status prom_dir_exemplars(const struct prom_dir *dir, size_t max, uint64_t *out_count,
                               int64_t *out_ms) {
    const struct prom_head *head = &dir->head;
    size_t all = 0, n = 0;
    for (size_t i = 0; i < head->series_count; i++)
        all += head->series[i].exemplars_count;
    *out_count = all;
    *out_ms = INT64_MIN;
    if (all <= max) return OK;
    int64_t *times = malloc(all * sizeof *times);
    if (times == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < head->series_count; i++)
        for (size_t k = 0; k < head->series[i].exemplars_count; k++)
            times[n++] = head->series[i].exemplars[k].time_ms;
    *out_ms = prom_newest_after(times, all, max);
    free(times);
    return OK;
}

/* -- families */

/* What Prometheus' scraping takes for a series of a family of that type (isSeriesPartOfFamily in
 * scrape/scrape.go). A counter's family is named as the series in the text format, and without
 * _total in OpenMetrics: the log does not say which it was. */
static const struct {
    uint8_t type;
    const char *suffix;
} suffixes[] = {
    {3, "_bucket"}, {3, "_count"}, {3, "_sum"}, {4, "_bucket"}, {4, "_gcount"},
    {4, "_gsum"},   {5, "_count"}, {5, "_sum"}, {6, "_info"},
};

static bool ends_with(struct sv s, struct sv end) {
    return s.len > end.len && sv_eq(sv_make(s.ptr + s.len - end.len, end.len), end);
}

static struct sv family_of(const struct prom_head_series *s) {
    struct sv name = labels_get(s->canonical, SV("__name__"));
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        struct sv suffix = sv_from(suffixes[i].suffix);
        if (suffixes[i].type == s->metadata_type && ends_with(name, suffix))
            return sv_make(name.ptr, name.len - suffix.len);
    }
    return name;
}

static int said_cmp(const void *a, const void *b) {
    const struct prom_head_series *x = *(const struct prom_head_series *const *)a;
    const struct prom_head_series *y = *(const struct prom_head_series *const *)b;
    return (x->metadata_at > y->metadata_at) - (x->metadata_at < y->metadata_at);
}

static enum status family_add(const struct prom_dir *dir, const struct prom_head_series *s,
                              struct metadata *m, uint64_t *left_out) {
    const struct prom_options *o = &dir->options;
    struct entry_metadata item = {family_of(s), s->metadata_type, s->help, s->unit};
    uint32_t shard;
    if (!entry_metadata_valid(&item)) {
        ++*left_out;
        return OK;
    }
    TRY(metadata_shard(o->secret, o->tenant, o->shards_count, item.name, &shard));
    return metadata_add(m, shard, &item);
}

enum status prom_dir_families(const struct prom_dir *dir, struct metadata *m,
                              uint64_t *out_left_out) {
    const struct prom_head *head = &dir->head;
    const struct prom_head_series **said = calloc(head->series_count + 1, sizeof *said);
    enum status status = OK;
    size_t count = 0;
    *out_left_out = 0;
    if (said == NULL) return ERR_NOMEM;
    for (size_t i = 0; i < head->series_count; i++)
        if (head->series[i].metadata_at > 0) said[count++] = &head->series[i];
    qsort(said, count, sizeof *said, said_cmp);
    for (size_t i = 0; i < count && status == OK; i++)
        status = family_add(dir, said[i], m, out_left_out);
    free(said);
    return status;
}
