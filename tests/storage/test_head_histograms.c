/* SPDX-License-Identifier: Apache-2.0 */
/* Series with floats, native histograms and start timestamps against an array that holds what
 * should be there, with selections that are kept while it changes. */
#include <stdio.h>

#include "node/base/rng.h"
#include "storage/head_histograms.h"
#include "storage/histogram.h"
#include "tests/storage/head_util.h"

enum { MODEL_MAX = 4096, SELECTIONS = 4, SERIES = 3 };
static const int64_t T0 = 1767225600000, WINDOW = 1800000, HOUR = 3600000;

struct one {
    int64_t time_ms, start_ms;
    bool is_histogram;
    double value; /* of a histogram: its sum, all there is of it */
};
struct model { /* one series */
    struct one at[MODEL_MAX];
    size_t count;
    int64_t from_ms;
};

static struct sv encoded(double sum, int64_t start_ms, struct buf *out) {
    struct histogram h = {.sum = sum, .start_ms = start_ms, .schema = 3};
    buf_clear(out);
    histogram_put(&h, out);
    return buf_sv(out);
}

static size_t model_seek(const struct model *m, int64_t time_ms) {
    size_t i = 0;
    while (i < m->count && m->at[i].time_ms < time_ms)
        i++;
    return i;
}

static void model_put(struct model *m, struct one one) {
    size_t i = model_seek(m, one.time_ms);
    MUST(m->count < MODEL_MAX);
    memmove(&m->at[i + 1], &m->at[i], (m->count - i) * sizeof *m->at);
    m->at[i] = one;
    m->count++;
}

/* The table of Prometheus' tsdb/head_append.go, with the shard's newest time for the head's. */
static enum verdict model_judge(const struct model *m, const struct one *one, int64_t newest_ms) {
    bool in_bounds = one->time_ms >= newest_ms - HOUR;
    if (m->count == 0 || one->time_ms > m->at[m->count - 1].time_ms)
        return in_bounds ? VERDICT_ACCEPT : VERDICT_TOO_OLD;
    size_t i = model_seek(m, one->time_ms);
    bool held = i < m->count && m->at[i].time_ms == one->time_ms;
    if (held && m->at[i].is_histogram == one->is_histogram && m->at[i].value == one->value)
        return VERDICT_NOOP;
    if (held && i == m->count - 1) return in_bounds ? VERDICT_DUPLICATE : VERDICT_TOO_OLD;
    if (one->time_ms < newest_ms - WINDOW) return VERDICT_TOO_OLD;
    return held ? VERDICT_NOOP : VERDICT_ACCEPT;
}

static void expect_read(const struct series_view *v, const struct model *m, int64_t from_ms,
                        int64_t to_ms) {
    struct samples s = {0};
    struct err err = {0};
    MUST(series_view_read(v, from_ms, to_ms, &s, &err) == OK);
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct one *one = &m->at[i];
        if (one->time_ms <= from_ms || one->time_ms > to_ms) continue;
        if (one->is_histogram && one->time_ms < m->from_ms) continue;
        MUST(n < s.count && s.times_ms[n] == one->time_ms && s.values[n] == one->value);
        const struct histogram *h = s.histograms == NULL ? NULL : s.histograms[n];
        MUST((h != NULL) == one->is_histogram);
        MUST(h == NULL || (h->sum == one->value && h->schema == 3));
        MUST((s.starts_ms == NULL ? 0 : s.starts_ms[n]) == one->start_ms);
        n++;
    }
    MUST(n == s.count);
    size_t all = s.count;
    samples_clear(&s);
    MUST(s.histograms == NULL);
    MUST(series_view_newest(v, from_ms, to_ms, &s, &err) == OK);
    MUST((s.count > 0) == (all > 0));
    samples_fini(&s);
}

struct kept {
    struct selection *sel;
    struct model models[SERIES];
};

static struct kept kept[SELECTIONS];
static struct model models[SERIES];

static void keep(struct head *head, struct kept *k) {
    struct select_query query = util_query(NULL, 0);
    k->sel = util_select(head, &query);
    memcpy(k->models, models, sizeof models);
}

static void expect_kept(struct rng *r, const struct kept *k, const uint32_t *refs) {
    size_t count, seen = 0;
    const struct series_view *views = selection_series(k->sel, &count);
    for (size_t i = 0; i < count; i++)
        for (size_t s = 0; s < SERIES; s++) {
            if (views[i].ref != refs[s]) continue;
            seen++;
            int64_t from = T0 + (int64_t)rng_below(r, 8 * (uint64_t)HOUR) - HOUR;
            expect_read(&views[i], &k->models[s], INT64_MIN, INT64_MAX);
            expect_read(&views[i], &k->models[s], from, from + (int64_t)rng_below(r, 2000000));
        }
    for (size_t s = 0; s < SERIES; s++) /* one without a sample may be left out */
        if (k->models[s].count > 0 && k->models[s].from_ms == INT64_MIN) seen++;
    MUST(seen >= 1);
}

static void put(struct head *head, uint32_t ref, const struct one *one, struct buf *bytes) {
    if (one->is_histogram) {
        struct sv encoding = encoded(one->value, one->start_ms, bytes);
        MUST(head_append_histogram(head, ref, one->time_ms, encoding) == OK);
        return;
    }
    if (one->start_ms != 0)
        MUST(head_append_start(head, ref, one->time_ms, one->value, one->start_ms) == OK);
    else
        MUST(head_append(head, ref, one->time_ms, one->value) == OK);
}

static enum verdict judge(struct head *head, uint32_t ref, const struct one *one, int64_t newest_ms,
                          struct buf *bytes) {
    if (!one->is_histogram) return head_judge(head, ref, one->time_ms, one->value, newest_ms);
    struct sv encoding = encoded(one->value, one->start_ms, bytes);
    return head_judge_histogram(head, ref, one->time_ms, encoding, newest_ms);
}

static struct one random_one(struct rng *r, int64_t newest_ms, size_t series) {
    struct one one = {.is_histogram = rng_chance(r, series == 0   ? 1
                                                    : series == 1 ? 0.4
                                                                  : 0),
                      .value = (double)rng_below(r, 3)};
    int64_t step = (int64_t)rng_below(r, 4) * 1000;
    if (rng_chance(r, 0.25)) step = -(int64_t)rng_below(r, 2400) * 1000;
    one.time_ms = newest_ms + step;
    if (rng_chance(r, 0.7)) one.start_ms = T0 - (int64_t)rng_below(r, 3);
    return one;
}

static void trim(struct head *head, const uint32_t *refs, int64_t from_ms) {
    for (size_t s = 0; s < SERIES; s++) {
        head_histograms_set_from(head, head_series_shard(head, refs[s]), from_ms);
        models[s].from_ms = MAX(models[s].from_ms, from_ms);
    }
}

static void walk(uint64_t seed, unsigned *counts) {
    struct rng r;
    rng_init(&r, seed);
    struct head *head = util_head(WINDOW);
    struct head_stats before, after;
    uint32_t refs[SERIES] = {util_series(head, "__name__=histograms"),
                             util_series(head, "__name__=both"),
                             util_series(head, "__name__=floats")};
    head_stats(head, &before);
    memset(models, 0, sizeof models);
    for (size_t s = 0; s < SERIES; s++)
        models[s].from_ms = INT64_MIN;
    int64_t newest_ms = T0;
    struct buf bytes = {0};
    for (int i = 0; i < 1500; i++) {
        size_t s = rng_below(&r, SERIES);
        struct one one = random_one(&r, newest_ms, s);
        enum verdict want = model_judge(&models[s], &one, newest_ms);
        MUST(judge(head, refs[s], &one, newest_ms, &bytes) == want);
        counts[want]++;
        if (want == VERDICT_ACCEPT) {
            put(head, refs[s], &one, &bytes);
            model_put(&models[s], one);
            newest_ms = MAX(newest_ms, one.time_ms);
        }
        if (want == VERDICT_ACCEPT && rng_chance(&r, 0.1)) put(head, refs[s], &one, &bytes);
        struct kept *k = &kept[rng_below(&r, SELECTIONS)];
        if (!rng_chance(&r, 0.03)) continue;
        if (k->sel == NULL) {
            keep(head, k);
        } else {
            expect_kept(&r, k, refs);
            selection_release(k->sel);
            k->sel = NULL;
        }
        /* what may still be judged stays, so that the model need not forget */
        if (rng_chance(&r, 0.2)) trim(head, refs, newest_ms - 2 * HOUR + (int64_t)rng_below(&r, 9));
    }
    struct kept last = {0};
    keep(head, &last);
    expect_kept(&r, &last, refs);
    selection_release(last.sel);
    for (size_t s = 0; s < SERIES; s++)
        head_shard_drop(head, head_series_shard(head, refs[s]));
    for (size_t k = 0; k < SELECTIONS; k++) {
        if (kept[k].sel == NULL) continue;
        expect_kept(&r, &kept[k], refs); /* they outlive the shard */
        selection_release(kept[k].sel);
        kept[k].sel = NULL;
    }
    head_stats(head, &after);
    MUST(head_find(head, series_id_of(UTIL_SECRET, 0, SV("none"))) == HEAD_NONE);
    MUST(after.series == 0);
    buf_fini(&bytes);
    head_free(head);
}

/* Memory is counted while they are there, and given back when they are trimmed and dropped. */
static void memory_is_counted(void) {
    struct head *head = util_head(WINDOW);
    uint32_t ref = util_series(head, "__name__=histograms"), shard = head_series_shard(head, ref);
    struct buf bytes = {0};
    struct head_stats none, all, some, dropped;
    head_stats(head, &none);
    for (int i = 0; i < 1000; i++) {
        struct sv encoding = encoded(i, 0, &bytes);
        MUST(head_append_histogram(head, ref, T0 + i, encoding) == OK);
    }
    head_stats(head, &all);
    MUST(all.samples_appended == 1000 && all.min_time_ms == T0 && all.max_time_ms == T0 + 999);
    /* a row of 16 bytes, and the bytes with their length */
    MUST(all.memory_bytes - none.memory_bytes >= 1000 * (16 + 4 + bytes.len));
    MUST(all.memory_bytes - none.memory_bytes < 2000 * (16 + 4 + bytes.len));
    head_histograms_set_from(head, shard, T0 + 900);
    head_stats(head, &some);
    MUST(all.memory_bytes - some.memory_bytes >= 900 * (16 + 4 + bytes.len));
    /* the newest is kept to judge by, and hidden */
    head_histograms_set_from(head, shard, T0 + 5000);
    struct select_query query = util_query(NULL, 0);
    struct selection *sel = util_select(head, &query);
    size_t count;
    MUST(selection_series(sel, &count) != NULL || count == 0);
    MUST(count == 0);
    selection_release(sel);
    MUST(head_judge_histogram(head, ref, T0 + 999, encoded(999, 0, &bytes), T0 + 999) ==
         VERDICT_NOOP);
    MUST(head_judge_histogram(head, ref, T0 + 999, encoded(1, 0, &bytes), T0 + 999) ==
         VERDICT_DUPLICATE);
    head_shard_drop(head, shard);
    head_stats(head, &dropped);
    MUST(dropped.memory_bytes - none.memory_bytes < 4096);
    buf_fini(&bytes);
    head_free(head);
}

int main(void) {
    unsigned counts[VERDICT_COUNT] = {0};
    memory_is_counted();
    for (uint64_t seed = 1; seed <= 60; seed++)
        walk(seed, counts);
    for (int v = VERDICT_ACCEPT; v <= VERDICT_TOO_OLD; v++) {
        printf("verdict %d: %u\n", v, counts[v]);
        MUST(counts[v] > 100);
    }
    return 0;
}
