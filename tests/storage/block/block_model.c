/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/block/block_model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"

uint64_t model_seed;

void model_fail(const char *file, int line, const char *cond, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: %s (seed %" PRIu64 "): ", file, line, cond, model_seed);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    abort();
}

void samples_put(struct samples *s, int64_t time_ms, double value, int64_t start_ms) {
    CHECK(samples_reserve(s, s->count + 1) == OK, "memory");
    if (start_ms != 0 && s->starts_ms == NULL) {
        s->starts_ms = calloc(s->cap, sizeof *s->starts_ms);
        CHECK(s->starts_ms != NULL, "memory");
    }
    s->times_ms[s->count] = time_ms;
    s->values[s->count] = value;
    if (s->starts_ms != NULL) s->starts_ms[s->count] = start_ms;
    if (s->histograms != NULL) s->histograms[s->count] = NULL;
    s->count++;
}

void samples_put_histogram(struct samples *s, int64_t time_ms, struct histogram *h) {
    samples_put(s, time_ms, h->sum, h->start_ms);
    CHECK(samples_want_histograms(s) == OK, "memory");
    s->histograms[s->count - 1] = h;
}

void samples_put_from(struct samples *s, const struct samples *from, size_t i, double value) {
    if (from->histograms != NULL && from->histograms[i] != NULL)
        samples_put_histogram(s, from->times_ms[i], from->histograms[i]);
    else
        samples_put(s, from->times_ms[i], value, from->starts_ms == NULL ? 0 : from->starts_ms[i]);
}

/* -- making */

static const char *const metric_names[] = {"up",
                                           "node_cpu_seconds_total",
                                           "http_requests_total",
                                           "http_request_duration_seconds_bucket",
                                           "a",
                                           "\xff\xfe"};
static const char *const odd_names[] = {"le", "mode",   "code", "Upper",
                                        "_x", "region", "pod",  "zzz"};

static void labels_make(struct model_series *s, struct rng *rng, const struct model_options *o) {
    static char texts[MODEL_LABELS_MAX][48];
    struct label labels[MODEL_LABELS_MAX];
    size_t count = 0;
    struct err err;
    if (!rng_chance(rng, 0.03))
        labels[count++] = (struct label){
            SV("__name__"), sv_from(metric_names[rng_below(rng, ARRAY_LEN(metric_names))])};
    for (size_t i = 0; i < ARRAY_LEN(odd_names); i++) {
        if (!rng_chance(rng, 0.3)) continue;
        snprintf(texts[i], sizeof texts[0], "%s-%" PRIu64, odd_names[i],
                 rng_below(rng, i == 7 ? o->label_values : 4));
        labels[count++] = (struct label){sv_from(odd_names[i]), sv_from(texts[i])};
    }
    if (rng_chance(rng, 0.95)) {
        snprintf(texts[8], sizeof texts[0], "host-%" PRIu64 ":9100", rng_below(rng, 5));
        labels[count++] = (struct label){SV("instance"), sv_from(texts[8])};
        labels[count++] = (struct label){SV("job"), rng_chance(rng, 0.5) ? SV("node") : SV("api")};
    }
    CHECK(labels_encode(labels, count, &s->canonical, &err) == OK, "%s", err.msg);
}

static double value_make(struct rng *rng, unsigned kind, size_t row, double before) {
    switch (kind) {
    case 5: return (double)(row * 2654435761 % 1000) / 8; /* the same of each series */
    case 0: return before;
    case 1: return before + (double)rng_below(rng, 100);
    case 2: return (double)((int64_t)rng_below(rng, 2000) - 1000) / 100;
    case 3: return f64_from_bits(rng_u64(rng));
    case 4: return rng_chance(rng, 0.9) ? before : f64_from_bits(0x7ff8000000000000 | rng_u64(rng));
    default: return rng_chance(rng, 0.3) ? value_stale() : rng_chance(rng, 0.3) ? -0.0 : 1.0 / 3;
    }
}

static struct histogram *histogram_make(struct samples *s, struct rng *rng) {
    struct histogram *h = arena_zalloc(&s->arena, sizeof *h);
    CHECK(h != NULL, "memory");
    h->hint = (enum histogram_hint)rng_below(rng, 4);
    h->schema = (int32_t)rng_below(rng, 8);
    h->start_ms = rng_chance(rng, 0.1) ? 77000 : 0;
    h->sum = rng_chance(rng, 0.05) ? value_stale() : (double)rng_below(rng, 1000) / 7;
    struct histogram_side *side = &h->positive;
    side->spans_count = (uint32_t)rng_below(rng, 4);
    side->spans = arena_array(&s->arena, 4, sizeof *side->spans);
    side->deltas = arena_array(&s->arena, 64, sizeof *side->deltas);
    CHECK(side->spans != NULL && side->deltas != NULL, "memory");
    for (uint32_t i = 0; i < side->spans_count; i++) {
        side->spans[i] = (struct histogram_span){(int32_t)rng_below(rng, 9), 1 + i * 4};
        side->buckets_count += side->spans[i].length;
    }
    for (uint32_t i = 0; i < side->buckets_count; i++)
        h->count += (uint64_t)(side->deltas[i] = (int64_t)rng_below(rng, 300));
    return h;
}

/* Times are a grid of the target's with rows missing at some, late by some ms, or the series' own.
 */
static void samples_make(struct model_series *s, struct rng *rng, const struct model_options *o) {
    uint64_t target = s->labels_count == 0 ? 0 : s->labels[s->labels_count - 1].value.len;
    struct rng grid;
    rng_init(&grid, target * 3 + 1);
    size_t rows = 1 + (size_t)rng_below(rng, o->samples_max);
    if (rng_chance(rng, 0.6)) rows = o->samples_max;
    unsigned kind = (unsigned)rng_below(rng, 7), odd = (unsigned)rng_below(rng, 10);
    size_t skip = rng_chance(rng, 0.2) ? (size_t)rng_below(rng, rows) : 0;
    int64_t start = rng_chance(rng, 0.2) ? 5 : 0, t = 1000000 + (int64_t)target;
    double value = (double)rng_below(rng, 1000);
    for (size_t i = 0; i < rows; i++) {
        t += 15000 + (rng_chance(&grid, 0.02) ? 1 : 0);
        value = value_make(rng, kind, i, value);
        bool missing = (odd == 0 && rng_chance(rng, 0.01)) || (odd == 1 && i == rows / 2) ||
                       (odd == 2 && rng_chance(rng, 0.5)) || i < skip;
        if (missing && (i + 1 < rows || s->samples.count > 0)) continue;
        if (start > 0 && rng_chance(rng, 0.01)) start += 1000;
        int64_t late = odd == 3 ? (int64_t)rng_below(rng, 9) : 0;
        if (odd == 4 || (odd == 5 && i / 7 % 3 == 1))
            samples_put_histogram(&s->samples, t + late, histogram_make(&s->samples, rng));
        else
            samples_put(&s->samples, t + late, value, start);
    }
}

static int series_order(const void *a, const void *b) {
    const struct model_series *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return sv_cmp(buf_sv(&x->canonical), buf_sv(&y->canonical));
}

static void series_free(struct model_series *s) {
    buf_fini(&s->canonical);
    samples_fini(&s->samples);
}

static void series_name(struct model_series *s, uint32_t shards_count) {
    struct sv rest = buf_sv(&s->canonical);
    s->labels_count = 0;
    while (labels_next(&rest, &s->labels[s->labels_count], NULL))
        s->labels_count++;
    s->id = series_id_of(MODEL_SECRET, MODEL_TENANT, buf_sv(&s->canonical));
    s->shard = series_shard(s->id, shards_count);
}

void model_make(struct model *m, struct rng *rng, const struct model_options *o) {
    *m = (struct model){.shards_count = o->shards_count};
    m->at = calloc(o->series_count + 1, sizeof *m->at);
    CHECK(m->at != NULL, "memory");
    for (size_t i = 0; i < o->series_count; i++) {
        labels_make(&m->at[i], rng, o);
        series_name(&m->at[i], o->shards_count);
        samples_make(&m->at[i], rng, o);
    }
    qsort(m->at, o->series_count, sizeof *m->at, series_order);
    for (size_t i = 0; i < o->series_count; i++) {
        if (m->count > 0 && series_order(&m->at[m->count - 1], &m->at[i]) == 0)
            series_free(&m->at[i]);
        else
            m->at[m->count++] = m->at[i];
    }
}

void model_free(struct model *m) {
    for (size_t i = 0; i < m->count; i++)
        series_free(&m->at[i]);
    free(m->at);
    *m = (struct model){0};
}

void model_make_part(struct model *part, const struct model *whole, struct rng *rng) {
    *part = (struct model){.shards_count = whole->shards_count};
    part->at = calloc(whole->count + 1, sizeof *part->at);
    CHECK(part->at != NULL, "memory");
    /* a stretch of time, of which most series have all */
    uint64_t low = rng_below(rng, 4), high = low + 1 + rng_below(rng, 4);
    bool sparse = rng_chance(rng, 0.3);
    for (size_t i = 0; i < whole->count; i++) {
        const struct model_series *from = &whole->at[i];
        struct model_series *s = &part->at[part->count];
        if (rng_chance(rng, 0.2)) continue;
        for (size_t k = 0; k < from->samples.count; k++) {
            uint64_t quarter = k * 4 / from->samples.count;
            if (quarter < low || quarter >= high || (sparse && rng_chance(rng, 0.3))) continue;
            double value = from->samples.values[k];
            if (sparse && rng_chance(rng, 0.1)) value = 12345;
            samples_put_from(&s->samples, &from->samples, k, value);
        }
        if (s->samples.count == 0) continue;
        buf_put_sv(&s->canonical, buf_sv(&from->canonical));
        series_name(s, part->shards_count);
        part->count++;
    }
}

/* -- writing and reading */

struct block_writer_options model_writer_options(const struct model *m, struct disk *disk,
                                                 const char *path) {
    return (struct block_writer_options){.disk = disk,
                                         .path = path,
                                         .secret = MODEL_SECRET,
                                         .tenant = MODEL_TENANT,
                                         .shards_count = m->shards_count};
}

/* Each third shard has items, one byte more than its number. Nothing is allocated: allocations are
 * counted. */
static struct sv items_of(uint32_t shard) {
    static _Thread_local char items[4096];
    if (shard % 3 != 0 || shard >= sizeof items) return SV("");
    for (uint32_t i = 0; i <= shard; i++)
        items[i] = (char)(shard + i);
    return (struct sv){items, shard + 1};
}

static enum status model_put(const struct model *m, struct block_writer *w, struct err *err) {
    enum status status = OK;
    for (size_t i = m->count; i-- > 0 && status == OK;) /* in another order than the series */
        if (i + 1 == m->count || m->at[i].shard != m->at[i + 1].shard)
            status = block_writer_items(w, m->at[i].shard, items_of(m->at[i].shard), err);
    for (size_t i = 0; i < m->count && status == OK; i++)
        status = block_writer_add(w, m->at[i].shard, buf_sv(&m->at[i].canonical), &m->at[i].samples,
                                  err);
    return status;
}

enum status model_write(const struct model *m, const struct block_writer_options *options,
                        bool *out_written, struct err *err) {
    struct block_writer *w;
    TRY(block_writer_new(options, &w, err));
    enum status status = model_put(m, w, err);
    if (status == OK) status = block_writer_finish(w, out_written, err);
    block_writer_free(w);
    return status;
}

enum status model_open(struct disk *disk, const char *path, struct block **out, struct err *err) {
    return block_open(disk, path, MODEL_SECRET, MODEL_TENANT, out, err);
}

/* -- comparing */

bool samples_equal(const struct samples *all, int64_t from_ms, int64_t to_ms,
                   const struct samples *got) {
    size_t count = 0;
    for (size_t i = 0; i < all->count; i++) {
        if (all->times_ms[i] <= from_ms || all->times_ms[i] > to_ms) continue;
        if (count == got->count || got->times_ms[count] != all->times_ms[i] ||
            f64_bits(got->values[count]) != f64_bits(all->values[i]))
            return false;
        const struct histogram *h = all->histograms == NULL ? NULL : all->histograms[i];
        const struct histogram *g = got->histograms == NULL ? NULL : got->histograms[count];
        if ((h == NULL) != (g == NULL)) return false;
        if (h != NULL &&
            (!histogram_equal(h, g) || h->hint != g->hint || h->start_ms != g->start_ms))
            return false;
        int64_t start = all->starts_ms == NULL ? 0 : all->starts_ms[i];
        if ((got->starts_ms == NULL ? 0 : got->starts_ms[count]) != start) return false;
        count++;
    }
    return count == got->count;
}

static void labels_check(const struct model_series *s, const struct block_selection *sel,
                         size_t index) {
    struct label labels[MODEL_LABELS_MAX];
    size_t count = block_series_labels(sel, index, labels, MODEL_LABELS_MAX);
    CHECK(count == s->labels_count, "%zu labels", count);
    for (size_t i = 0; i < count; i++)
        CHECK(sv_eq(labels[i].name, s->labels[i].name) &&
                  sv_eq(labels[i].value, s->labels[i].value),
              "label %zu: %.*s=%.*s", i, SV_ARG(labels[i].name), SV_ARG(labels[i].value));
}

static enum status all_compare(const struct model *m, struct block *b, struct err *err) {
    struct select_query query = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct block_selection *sel;
    struct samples samples = {0};
    size_t count;
    TRY(block_select(b, &query, NULL, &sel, err));
    const struct block_series *series = block_selection_series(sel, &count);
    enum status status = OK;
    CHECK(count == m->count, "%zu series of %zu", count, m->count);
    for (size_t i = 0; i < count && status == OK; i++) {
        samples_clear(&samples);
        CHECK(series_id_eq(series[i].id, m->at[i].id) && series[i].shard == m->at[i].shard,
              "series %zu", i);
        labels_check(&m->at[i], sel, i);
        status = block_series_read(sel, i, INT64_MIN, INT64_MAX, &samples, err);
        if (status != OK) break;
        CHECK(samples_equal(&m->at[i].samples, INT64_MIN, INT64_MAX, &samples),
              "samples of series %zu", i);
    }
    samples_fini(&samples);
    block_selection_free(sel);
    return status;
}

static enum status shard_sum(const struct model *m, uint32_t shard, struct block_shard *out) {
    *out = (struct block_shard){.min_ms = INT64_MAX, .max_ms = INT64_MIN};
    for (size_t i = 0; i < m->count; i++) {
        const struct samples *s = &m->at[i].samples;
        if (m->at[i].shard != shard) continue;
        out->series_count++;
        out->samples_count += s->count;
        out->min_ms = MIN(out->min_ms, s->times_ms[0]);
        out->max_ms = MAX(out->max_ms, s->times_ms[s->count - 1]);
        TRY(block_digest_add(&out->digest, m->at[i].id, s));
    }
    return OK;
}

static enum status shards_compare(const struct model *m, struct block *b, struct err *err) {
    struct buf got = {0};
    enum status status = OK;
    for (uint32_t shard = 0; shard < m->shards_count && status == OK; shard++) {
        struct block_shard is, sum;
        status = shard_sum(m, shard, &sum);
        if (status != OK) break;
        CHECK(block_get_shard(b, shard, &is) == (sum.series_count > 0), "shard %u", shard);
        if (sum.series_count == 0) continue;
        CHECK(is.series_count == sum.series_count && is.samples_count == sum.samples_count &&
                  is.min_ms == sum.min_ms && is.max_ms == sum.max_ms,
              "shard %u", shard);
        CHECK(is.digest.hi == sum.digest.hi && is.digest.lo == sum.digest.lo, "shard %u", shard);
        buf_clear(&got);
        struct sv items = items_of(shard);
        status = block_read_items(b, shard, &got, err);
        if (items.len == 0 && status == ERR_UNAVAILABLE) status = OK;
        if (status == OK) CHECK(sv_eq(items, buf_sv(&got)), "items of shard %u", shard);
    }
    buf_fini(&got);
    return status;
}

enum status model_compare(const struct model *m, struct block *b, struct err *err) {
    struct block_info info;
    uint64_t samples = 0;
    int64_t min_ms = INT64_MAX, max_ms = INT64_MIN;
    block_get_info(b, &info);
    for (size_t i = 0; i < m->count; i++) {
        const struct samples *s = &m->at[i].samples;
        samples += s->count;
        min_ms = MIN(min_ms, s->times_ms[0]);
        max_ms = MAX(max_ms, s->times_ms[s->count - 1]);
    }
    CHECK(info.series_count == m->count && info.samples_count == samples, "%" PRIu64 " samples",
          info.samples_count);
    CHECK(info.min_ms == min_ms && info.max_ms == max_ms, "%" PRId64, info.min_ms);
    TRY(all_compare(m, b, err));
    return shards_compare(m, b, err);
}

/* -- selecting */

static struct sv series_value(const struct model_series *s, struct sv name) {
    for (size_t i = 0; i < s->labels_count; i++)
        if (sv_eq(s->labels[i].name, name)) return s->labels[i].value;
    return SV("");
}

static void matcher_make(const struct model *m, struct matcher *out, struct rng *rng,
                         struct arena *arena) {
    static const char *const patterns[] = {
        "host-.*",  "host-[0-2]:9100", ".+",      ".*",     "up|a|", "",         "node.*",
        ".*_total", "(le|mode)-1",     "zzz-1.*", "\xff.*", ".*0.*", "http_re.+"};
    static const char *const names[] = {"__name__", "instance", "job",    "le",  "mode",
                                        "code",     "region",   "absent", "zzz", "_x"};
    struct err err;
    *out = (struct matcher){.kind = (enum match_kind)rng_below(rng, 4)};
    out->name = sv_from(names[rng_below(rng, ARRAY_LEN(names))]);
    bool regex = out->kind == MATCH_RE || out->kind == MATCH_NRE;
    if (!regex && m->count > 0 && rng_chance(rng, 0.8))
        out->value = series_value(&m->at[rng_below(rng, m->count)], out->name);
    else
        out->value = sv_from(patterns[rng_below(rng, ARRAY_LEN(patterns))]);
    if (regex && sv_starts(out->value, SV("\xff"))) out->value = SV("h.*");
    CHECK(matcher_compile(out, arena, &err) == OK, "%s", err.msg);
}

static bool series_matches(const struct model_series *s, const struct select_query *q) {
    for (size_t i = 0; i < q->matchers_count; i++)
        if (!matcher_match(&q->matchers[i], series_value(s, q->matchers[i].name))) return false;
    return q->shards == NULL || shard_set_has(q->shards, s->shard);
}

static bool series_has_samples(const struct model_series *s, const struct select_query *q) {
    for (size_t i = 0; i < s->samples.count; i++)
        if (s->samples.times_ms[i] > q->from_ms && s->samples.times_ms[i] <= q->to_ms) return true;
    return false;
}

static void names_check(struct block *b, const struct select_query *q,
                        const struct block_selection *sel, struct sv name) {
    struct arena arena;
    struct sv *got;
    size_t got_count, series_count, wanted_count = 0;
    struct err err;
    arena_init(&arena, 0);
    if (name.len == 0)
        CHECK(block_label_names(b, q, &arena, &got, &got_count, &err) == OK, "%s", err.msg);
    else
        CHECK(block_label_values(b, name, q, &arena, &got, &got_count, &err) == OK, "%s", err.msg);
    for (size_t i = 1; i < got_count; i++)
        CHECK(sv_cmp(got[i - 1], got[i]) < 0, "%.*s", SV_ARG(got[i]));
    bool *seen = calloc(got_count + 1, sizeof *seen);
    CHECK(seen != NULL, "memory");
    block_selection_series(sel, &series_count);
    for (size_t i = 0; i < series_count; i++) {
        struct label labels[MODEL_LABELS_MAX];
        size_t count = block_series_labels(sel, i, labels, MODEL_LABELS_MAX);
        for (size_t k = 0; k < count; k++) {
            if (name.len > 0 && !sv_eq(labels[k].name, name)) continue;
            struct sv wanted = name.len == 0 ? labels[k].name : labels[k].value;
            size_t at = 0;
            while (at < got_count && !sv_eq(got[at], wanted))
                at++;
            CHECK(at < got_count, "no %.*s", SV_ARG(wanted));
            wanted_count += !seen[at];
            seen[at] = true;
        }
    }
    CHECK(wanted_count == got_count, "%zu of %zu", got_count, wanted_count);
    free(seen);
    arena_fini(&arena);
}

static void selection_check(const struct model *m, struct block *b, const struct select_query *q,
                            struct rng *rng) {
    struct block_selection *sel;
    struct samples samples = {0};
    struct err err;
    size_t count, at = 0;
    CHECK(block_select(b, q, NULL, &sel, &err) == OK, "%s", err.msg);
    const struct block_series *series = block_selection_series(sel, &count);
    for (size_t i = 0; i < m->count; i++) {
        const struct model_series *s = &m->at[i];
        bool found = at < count && series_id_eq(series[at].id, s->id);
        bool matches = series_matches(s, q);
        CHECK(!found || matches, "series %zu does not match", i);
        CHECK(found || !matches || !series_has_samples(s, q), "series %zu of %zu is missing", i,
              m->count);
        if (!found) continue;
        int64_t last = s->samples.times_ms[s->samples.count - 1];
        CHECK(last > q->from_ms && s->samples.times_ms[0] <= q->to_ms, "series %zu", i);
        if (rng_chance(rng, 0.3)) {
            samples_clear(&samples);
            int64_t middle = s->samples.times_ms[rng_below(rng, s->samples.count)];
            middle =
                MIN(MAX(middle, q->from_ms), q->to_ms); /* in two pieces, as of a long series */
            CHECK(block_series_read(sel, at, q->from_ms, middle, &samples, &err) == OK, "%s",
                  err.msg);
            CHECK(block_series_read(sel, at, middle, q->to_ms, &samples, &err) == OK, "%s",
                  err.msg);
            CHECK(samples_equal(&s->samples, q->from_ms, q->to_ms, &samples), "series %zu", i);
        }
        at++;
    }
    CHECK(at == count, "%zu of %zu are known", at, count);
    for (int i = 0; i < 8 && count > 0; i++) { /* in any order */
        struct label labels[MODEL_LABELS_MAX];
        size_t k = (size_t)rng_below(rng, count);
        samples_clear(&samples);
        (void)block_series_labels(sel, k, labels, MODEL_LABELS_MAX);
        CHECK(block_series_read(sel, k, INT64_MIN, INT64_MAX, &samples, &err) == OK, "%s", err.msg);
        for (size_t n = 0; n < m->count; n++)
            if (series_id_eq(m->at[n].id, series[k].id))
                CHECK(samples_equal(&m->at[n].samples, INT64_MIN, INT64_MAX, &samples),
                      "series %zu", n);
    }
    names_check(b, q, sel, SV(""));
    names_check(b, q, sel, SV("instance"));
    names_check(b, q, sel, SV("zzz"));
    samples_fini(&samples);
    block_selection_free(sel);
}

void model_check_select(const struct model *m, struct block *b, struct rng *rng) {
    struct matcher matchers[4];
    struct select_query q = {.matchers = matchers,
                             .matchers_count = (size_t)rng_below(rng, 4),
                             .from_ms = INT64_MIN,
                             .to_ms = INT64_MAX};
    uint64_t bits[16] = {0};
    struct shard_set shards = {bits, m->shards_count};
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < q.matchers_count; i++)
        matcher_make(m, &matchers[i], rng, &arena);
    if (rng_chance(rng, 0.3)) {
        for (uint32_t i = 0; i < m->shards_count; i++)
            bits[i / 64] |= (uint64_t)rng_chance(rng, 0.3) << (i % 64);
        q.shards = &shards;
    }
    if (rng_chance(rng, 0.5)) {
        q.from_ms = 1000000 + (int64_t)rng_below(rng, 20000000) - 1000000;
        q.to_ms = q.from_ms + (int64_t)rng_below(rng, 8000000) - 10;
    } else if (m->count > 0 && rng_chance(rng, 0.5)) { /* from the last, or to the first of one */
        const struct samples *s = &m->at[rng_below(rng, m->count)].samples;
        if (rng_chance(rng, 0.5))
            q.from_ms = s->times_ms[s->count - 1];
        else
            q.to_ms = s->times_ms[0] - (int64_t)rng_below(rng, 2);
    }
    selection_check(m, b, &q, rng);
    for (size_t i = 0; i < q.matchers_count; i++)
        matcher_fini(&matchers[i]);
    arena_fini(&arena);
}
