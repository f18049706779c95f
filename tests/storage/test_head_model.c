/* SPDX-License-Identifier: Apache-2.0 */
/* The head against a model that keeps plain sorted arrays and asks every series: random appends
 * (next, late, held, too old, applied again), shards that begin later, trimming in slices, deletes,
 * dropped shards, selections that are held while the head goes on, names and values. regexec is the
 * oracle for patterns. --seed=N --steps=N; a failure prints both.
 */
#include <regex.h>
#include <stdarg.h>

#include "node/base/rng.h"
#include "tests/storage/head_util.h"

enum { SERIES_MAX = 400, ROWS_MAX = 4000, HELD_MAX = 4, MATCHERS_MAX = 4 };
#define T0 1600000000000LL

struct model_series {
    char spec[160];
    series_id id;
    uint32_t ref; /* HEAD_NONE: the head need not know it */
    uint32_t shard;
    bool numbered;
    int64_t gone_ms; /* a row it had */
    uint64_t gone_bits;
    size_t count;
    int64_t times_ms[ROWS_MAX];
    uint64_t bits[ROWS_MAX];
};

struct held { /* a selection and what it must show, for as long as it lives */
    struct selection *sel;
    int64_t from_ms, to_ms;
    bool by_ref;
    size_t counts[SERIES_MAX]; /* rows, by series */
    int64_t *times_ms[SERIES_MAX];
    uint64_t *bits[SERIES_MAX];
};

struct world {
    struct rng rng;
    uint64_t seed, step;
    int64_t window_ms, now_ms, newest_ms[UTIL_SHARDS], from_ms[UTIL_SHARDS];
    struct head *head;
    struct model_series *series;
    size_t series_count, series_max;
    struct held held[HELD_MAX];
    size_t late, refused, matched, deleted, died, slices;
};

static struct world w;

static void fail(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "seed %llu step %llu: ", (unsigned long long)w.seed,
            (unsigned long long)w.step);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

static size_t below(size_t n) {
    return (size_t)rng_below(&w.rng, n);
}

static const char *const names[] = {"__name__", "job", "instance", "le", "zone"};
static const char *const values[] = {"a", "b", "a1", "b2", "ab", "x.y", "1", "10", "zz", "a1b"};
static const char *const patterns[] = {"a",   "a|b",    "a.*",   ".*1",       ".+",      ".*",
                                       "a|",  "[ab]1",  "x",     ".*[0-9].*", "(a1|b2)", "x\\.y",
                                       "x.y", "(a|b)?", "",      ".*b.*",     "a1b?",    "[^a].*",
                                       "zz+", "..",     "b2|b2", "(1|10|zz)|"};

static void spec_make(char *out, size_t max) {
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (below(3) == 0) continue;
        len += (size_t)snprintf(out + len, max - len, "%s%s=%s", len == 0 ? "" : ",", names[i],
                                values[below(ARRAY_LEN(values))]);
    }
}

static struct model_series *model_find(series_id id) {
    for (size_t i = 0; i < w.series_count; i++)
        if (series_id_eq(w.series[i].id, id)) return &w.series[i];
    return NULL;
}

static struct model_series *model_get(void) {
    if (w.series_count > 0 && (w.series_count == w.series_max || below(8) != 0))
        return &w.series[below(w.series_count)];
    struct model_series *m = &w.series[w.series_count];
    spec_make(m->spec, sizeof m->spec);
    struct buf canonical = {0};
    util_canonical(m->spec, &canonical);
    m->id = series_id_of(UTIL_SECRET, 0, buf_sv(&canonical));
    m->shard = series_shard(m->id, UTIL_SHARDS);
    m->ref = HEAD_NONE;
    buf_fini(&canonical);
    struct model_series *same = model_find(m->id);
    if (same != NULL) return same;
    w.series_count++;
    return m;
}

/* The head knows it from now on. */
static void model_make(struct model_series *m) {
    if (m->ref != HEAD_NONE) return;
    m->ref = util_series(w.head, m->spec);
    m->numbered = false;
    MUST(head_series_number(w.head, m->ref) == HEAD_NONE);
    MUST(head_series_shard(w.head, m->ref) == m->shard);
}

/* The row with that time or the place where it would go. */
static size_t model_place(const struct model_series *m, int64_t time_ms, bool *held) {
    size_t i = m->count;
    while (i > 0 && m->times_ms[i - 1] >= time_ms)
        i--;
    *held = i < m->count && m->times_ms[i] == time_ms;
    return i;
}

static enum verdict model_judge(const struct model_series *m, int64_t t, uint64_t bits) {
    bool held;
    size_t i = model_place(m, t, &held);
    int64_t n = w.newest_ms[m->shard], hour = 3600000;
    int64_t wide = w.window_ms > hour ? w.window_ms : hour;
    bool fresh = n == INT64_MIN || t >= n - wide;
    if (held && m->bits[i] == bits) return VERDICT_NOOP;
    if (i == m->count) return fresh ? VERDICT_ACCEPT : VERDICT_TOO_OLD;
    if (held && i + 1 == m->count) return fresh ? VERDICT_DUPLICATE : VERDICT_TOO_OLD;
    if (w.window_ms == 0) return fresh ? VERDICT_OUT_OF_ORDER : VERDICT_TOO_OLD;
    if (n != INT64_MIN && t < n - w.window_ms) return VERDICT_TOO_OLD;
    return held ? VERDICT_NOOP : VERDICT_ACCEPT;
}

static void model_add(struct model_series *m, int64_t t, uint64_t bits) {
    bool held;
    size_t i = model_place(m, t, &held);
    if (held) return;
    if (i < m->count) w.late++;
    memmove(&m->times_ms[i + 1], &m->times_ms[i], (m->count - i) * sizeof *m->times_ms);
    memmove(&m->bits[i + 1], &m->bits[i], (m->count - i) * sizeof *m->bits);
    m->times_ms[i] = t;
    m->bits[i] = bits;
    m->count++;
    if (t > w.newest_ms[m->shard]) w.newest_ms[m->shard] = t;
}

static void step_append(void) {
    struct model_series *m = model_get();
    if (m->count == ROWS_MAX) return;
    model_make(m);
    int64_t last_ms = m->count == 0 ? w.now_ms : m->times_ms[m->count - 1], t = last_ms;
    switch (below(12)) {
    case 0: t = last_ms; break;
    case 1: t = m->count == 0 ? t : m->times_ms[below(m->count)]; break;
    case 2: t = last_ms - (int64_t)below(3000000); break;
    case 3: t = last_ms - (int64_t)below(20000000); break;
    case 4: t = last_ms + (int64_t)below(600000); break;
    default: t = last_ms + 15000 + (below(10) == 0 ? (int64_t)below(20) - 10 : 0); break;
    }
    if (t > w.now_ms + 300000) t = w.now_ms; /* series stay near each other */
    uint64_t bits = m->count == 0 ? 0 : m->bits[m->count - 1];
    if (below(3) == 0) bits = below(4) == 0 ? rng_u64(&w.rng) : f64_bits((double)below(5));
    if (below(50) == 0) bits = STALE_NAN_BITS;
    if (m->gone_ms != 0 && below(8) == 0) {
        t = m->gone_ms;
        bits = m->gone_bits;
    }
    double v = f64_from_bits(bits);
    enum verdict want = model_judge(m, t, bits);
    enum verdict got = head_judge(w.head, m->ref, t, v, w.newest_ms[m->shard]);
    if (got != want)
        fail("verdict %d, not %d, for %s at %lld", (int)got, (int)want, m->spec, (long long)t);
    if (got != VERDICT_ACCEPT && below(4) != 0) {
        w.refused++;
        return;
    }
    MUST(head_append(w.head, m->ref, t, v) == OK);
    if (t >= w.from_ms[m->shard]) model_add(m, t, bits);
    int64_t newest_ms = 0;
    bool has_newest = head_series_newest(w.head, m->ref, &newest_ms, &v);
    MUST(has_newest == (m->count > 0));
    MUST(!has_newest || newest_ms == m->times_ms[m->count - 1]);
}

/* Takes out the rows of the range. */
static void model_cut(struct model_series *m, int64_t min_ms, int64_t max_ms) {
    size_t kept = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (m->times_ms[i] >= min_ms && m->times_ms[i] <= max_ms) {
            m->gone_ms = m->times_ms[i];
            m->gone_bits = m->bits[i];
            continue;
        }
        m->times_ms[kept] = m->times_ms[i];
        m->bits[kept++] = m->bits[i];
    }
    m->count = kept;
}

/* What has rows or a number is there; what has neither may go, and does in the shard. */
static void check_trimmed(uint32_t shard) {
    for (size_t i = 0; i < w.series_count; i++) {
        struct model_series *m = &w.series[i];
        if (m->ref == HEAD_NONE) continue;
        uint32_t ref = head_find(w.head, m->id);
        bool must = m->count > 0 || m->numbered;
        if (must && ref != m->ref) fail("%s is gone", m->spec);
        if (!must && m->shard == shard && ref != HEAD_NONE) fail("%s is still there", m->spec);
        if (ref == HEAD_NONE) m->ref = HEAD_NONE;
        w.died += ref == HEAD_NONE;
    }
}

static void check_shard_stats(uint32_t shard) {
    struct head_shard_stats stats;
    head_shard_stats(w.head, shard, &stats);
    uint64_t series = 0, samples = 0;
    int64_t min_ms = INT64_MAX, max_ms = INT64_MIN;
    for (size_t i = 0; i < w.series_count; i++) {
        const struct model_series *m = &w.series[i];
        if (m->shard != shard || m->count == 0) continue;
        series++;
        samples += m->count;
        min_ms = m->times_ms[0] < min_ms ? m->times_ms[0] : min_ms;
        max_ms = m->times_ms[m->count - 1] > max_ms ? m->times_ms[m->count - 1] : max_ms;
    }
    MUST(stats.series == series && stats.max_time_ms == max_ms);
    bool whole = w.from_ms[shard] == INT64_MIN;
    MUST(whole ? stats.samples == samples : stats.samples >= samples);
    MUST(whole ? stats.min_time_ms == min_ms : stats.min_time_ms <= min_ms);
    MUST(whole || stats.min_time_ms >= w.from_ms[shard]);
    MUST((stats.memory_bytes > 0) >= (series > 0));
}

static void step_from(void) {
    uint32_t shard = (uint32_t)below(UTIL_SHARDS);
    int64_t before_ms = w.from_ms[shard], from_ms = w.now_ms - (int64_t)below(20000000) + 4000000;
    head_shard_set_from(w.head, shard, from_ms);
    if (from_ms > before_ms) w.from_ms[shard] = from_ms;
    MUST(head_shard_from(w.head, shard) == w.from_ms[shard]);
    for (size_t i = 0; i < w.series_count; i++)
        if (w.series[i].shard == shard && from_ms > before_ms)
            model_cut(&w.series[i], INT64_MIN, from_ms - 1);
    check_shard_stats(shard);
    if (below(3) != 0) return; /* trimmed later, in slices */
    MUST(head_trim(w.head, 0));
    check_trimmed(from_ms > before_ms ? shard : HEAD_NONE);
    check_shard_stats(shard);
}

static void step_slice(void) {
    (void)head_trim(w.head, 1);
    w.slices++;
    check_trimmed(HEAD_NONE);
}

static void step_number(void) {
    struct model_series *m = model_get();
    model_make(m);
    m->numbered = below(2) == 0;
    head_series_set_number(w.head, m->ref, m->numbered ? (uint32_t)below(1000) : HEAD_NONE);
}

static void step_drop(void) {
    uint32_t shard = (uint32_t)below(UTIL_SHARDS);
    head_shard_drop(w.head, shard);
    w.from_ms[shard] = INT64_MIN;
    for (size_t i = 0; i < w.series_count; i++) {
        struct model_series *m = &w.series[i];
        if (m->shard != shard) continue;
        m->ref = HEAD_NONE;
        m->count = 0;
        MUST(head_find(w.head, m->id) == HEAD_NONE);
    }
    check_shard_stats(shard);
}

struct query {
    struct matcher matchers[MATCHERS_MAX];
    size_t count;
    uint64_t shard_bits;
    struct shard_set shards;
    struct select_query q;
    struct arena arena;
};

static void query_make(struct query *q) {
    *q = (struct query){.count = below(MATCHERS_MAX + 1)};
    arena_init(&q->arena, 0);
    for (size_t i = 0; i < q->count; i++) {
        struct matcher *m = &q->matchers[i];
        m->kind = (enum match_kind)below(4);
        m->name = below(8) == 0 ? SV("nope") : sv_from(names[below(ARRAY_LEN(names))]);
        bool regex = m->kind == MATCH_RE || m->kind == MATCH_NRE;
        if (regex)
            m->value = sv_from(patterns[below(ARRAY_LEN(patterns))]);
        else
            m->value = below(6) == 0    ? SV("")
                       : below(10) == 0 ? SV("none")
                                        : sv_from(values[below(ARRAY_LEN(values))]);
        MUST(matcher_compile(m, &q->arena, NULL) == OK);
    }
    uint64_t bits[] = {UINT64_MAX, rng_u64(&w.rng), (uint64_t)1 << below(UTIL_SHARDS)};
    q->shard_bits = bits[below(ARRAY_LEN(bits))];
    q->shards = (struct shard_set){&q->shard_bits, UTIL_SHARDS};
    q->q = util_query(q->matchers, q->count);
    if (below(3) != 0) q->q.shards = &q->shards;
    if (below(2) == 0) return;
    q->q.from_ms = T0 + (int64_t)below((size_t)(w.now_ms - T0) + 1);
    q->q.to_ms = q->q.from_ms + (int64_t)below(10000000);
}

static void query_fini(struct query *q) {
    for (size_t i = 0; i < q->count; i++)
        matcher_fini(&q->matchers[i]);
    arena_fini(&q->arena);
}

static void model_value(const struct model_series *m, struct sv name, char out[32]) {
    struct buf canonical = {0};
    util_canonical(m->spec, &canonical);
    struct sv v = labels_get(buf_sv(&canonical), name);
    memcpy(out, v.ptr, v.len);
    out[v.len] = '\0';
    buf_fini(&canonical);
}

static bool model_regex(struct sv pattern, const char *value) {
    static regex_t compiled[ARRAY_LEN(patterns)];
    static bool there[ARRAY_LEN(patterns)];
    size_t i = 0;
    while (!sv_eq(sv_from(patterns[i]), pattern))
        i++;
    char text[64];
    snprintf(text, sizeof text, "^(%s)$", patterns[i]);
    if (!there[i]) MUST(regcomp(&compiled[i], text, REG_EXTENDED | REG_NOSUB) == 0);
    there[i] = true;
    return regexec(&compiled[i], value, 0, NULL, 0) == 0;
}

static bool model_matches(const struct model_series *m, const struct query *q) {
    if (q->q.shards != NULL && (q->shard_bits >> m->shard & 1) == 0) return false;
    for (size_t i = 0; i < q->count; i++) {
        const struct matcher *k = &q->matchers[i];
        char value[32];
        model_value(m, k->name, value);
        bool regex = k->kind == MATCH_RE || k->kind == MATCH_NRE;
        bool is = regex ? model_regex(k->value, value) : sv_eq(sv_from(value), k->value);
        if (is != (k->kind == MATCH_EQ || k->kind == MATCH_RE)) return false;
    }
    return true;
}

static void model_range(const struct model_series *m, const struct query *q, size_t *first,
                        size_t *end) {
    *first = *end = 0;
    for (size_t i = 0; i < m->count; i++) {
        *first += m->times_ms[i] <= q->q.from_ms;
        *end += m->times_ms[i] <= q->q.to_ms;
    }
    if (*end < *first) *end = *first;
}

/* What is read for one instant ends with the same sample. */
static void newest_check(const struct series_view *v, const struct held *h,
                         const struct samples *all) {
    struct samples s = {0};
    MUST(series_view_newest(v, h->from_ms, h->to_ms, &s, NULL) == OK);
    MUST((s.count > 0) == (all->count > 0));
    if (s.count > 0) {
        MUST(s.times_ms[s.count - 1] == all->times_ms[all->count - 1]);
        MUST(f64_bits(s.values[s.count - 1]) == f64_bits(all->values[all->count - 1]));
    }
    samples_fini(&s);
}

/* With the same names for all series, so that what is remembered of them is used. */
static void asked_check(const struct series_view *v, struct labels_asked *asked) {
    struct label all[8], got[8];
    size_t count = series_view_labels(v, all, 8), kept = 0;
    size_t n = series_view_labels_asked(v, asked, got, 8);
    for (size_t i = 0; i < count; i++) {
        bool is_asked = false;
        for (size_t k = 0; k < asked->count; k++)
            is_asked |= sv_eq(asked->names[k], all[i].name);
        if (!is_asked) continue;
        MUST(kept < n && sv_eq(got[kept].name, all[i].name) &&
             sv_eq(got[kept].value, all[i].value));
        kept++;
    }
    MUST(kept == n);
}

static void held_check(const struct held *h) {
    static bool seen[SERIES_MAX];
    memset(seen, 0, sizeof seen);
    size_t count;
    const struct series_view *views = selection_series(h->sel, &count);
    struct samples s = {0};
    struct sv asked_names[] = {sv_from(names[below(ARRAY_LEN(names))]), SV("nope"),
                               sv_from(names[below(ARRAY_LEN(names))])};
    struct labels_asked asked = {.names = asked_names, .count = below(ARRAY_LEN(asked_names) + 1)};
    for (size_t i = 0; i < count; i++) {
        const struct series_view *v = &views[i];
        const struct model_series *m = model_find(v->id);
        asked_check(v, &asked);
        MUST(m != NULL && m->shard == v->shard);
        size_t at = (size_t)(m - w.series);
        if (seen[at]) fail("%s is there twice", m->spec);
        seen[at] = true;
        if (h->by_ref && i > 0 && v->ref <= views[i - 1].ref) fail("not by reference");
        samples_clear(&s);
        MUST(series_view_read(v, h->from_ms, h->to_ms, &s, NULL) == OK);
        if (h->counts[at] == SIZE_MAX) fail("%s does not match", m->spec);
        if (s.count != h->counts[at])
            fail("%s has %zu rows, not %zu", m->spec, s.count, h->counts[at]);
        for (size_t k = 0; k < s.count; k++)
            if (s.times_ms[k] != h->times_ms[at][k] || f64_bits(s.values[k]) != h->bits[at][k])
                fail("%s differs in row %zu", m->spec, k);
        newest_check(v, h, &s);
        struct label labels[8];
        struct buf want = {0}, got = {0};
        util_canonical(m->spec, &want);
        MUST(labels_encode(labels, series_view_labels(v, labels, 8), &got, NULL) == OK);
        if (!sv_eq(buf_sv(&want), buf_sv(&got))) fail("labels of %s", m->spec);
        if (!series_id_eq(v->id, series_id_of(UTIL_SECRET, 0, buf_sv(&want))))
            fail("id of %s", m->spec);
        buf_fini(&want);
        buf_fini(&got);
    }
    for (size_t i = 0; i < w.series_count; i++)
        if (!seen[i] && h->counts[i] != SIZE_MAX && h->counts[i] > 0)
            fail("%s is missing", w.series[i].spec);
    samples_fini(&s);
}

static void held_drop(struct held *h) {
    selection_release(h->sel);
    for (size_t i = 0; i < SERIES_MAX; i++) {
        free(h->times_ms[i]);
        free(h->bits[i]);
    }
    *h = (struct held){0};
}

static void held_expect(struct held *h, size_t i, const struct query *q) {
    const struct model_series *m = &w.series[i];
    size_t first, end;
    model_range(m, q, &first, &end);
    h->counts[i] = end - first;
    h->times_ms[i] = malloc((end - first + 1) * sizeof(int64_t));
    h->bits[i] = malloc((end - first + 1) * sizeof(uint64_t));
    memcpy(h->times_ms[i], m->times_ms + first, (end - first) * sizeof(int64_t));
    memcpy(h->bits[i], m->bits + first, (end - first) * sizeof(uint64_t));
    w.matched++;
}

static void step_select(void) {
    struct held *h = &w.held[below(HELD_MAX)];
    if (h->sel != NULL) {
        held_check(h);
        if (below(3) == 0) held_drop(h);
        return;
    }
    struct query q;
    query_make(&q);
    h->sel = util_select(w.head, &q.q);
    h->from_ms = q.q.from_ms;
    h->to_ms = q.q.to_ms;
    h->by_ref = q.q.shards != NULL && q.count == 0;
    for (size_t i = 0; i < SERIES_MAX; i++) {
        h->counts[i] = SIZE_MAX; /* no match, or a series that comes later */
        if (i < w.series_count && model_matches(&w.series[i], &q)) held_expect(h, i, &q);
    }
    held_check(h);
    query_fini(&q);
}

static void expect_strings(const char *what, const struct sv *got, size_t count,
                           const struct query *q, struct sv name) {
    size_t found = 0;
    for (size_t k = 1; k < count; k++)
        if (sv_cmp(got[k - 1], got[k]) >= 0) fail("%s are not sorted", what);
    const char *const *all = name.ptr == NULL ? names : values;
    size_t all_count = name.ptr == NULL ? ARRAY_LEN(names) : ARRAY_LEN(values);
    for (size_t a = 0; a < all_count; a++) {
        bool must = false, may = false, has = false;
        for (size_t i = 0; i < w.series_count; i++) {
            const struct model_series *m = &w.series[i];
            char value[32];
            model_value(m, name.ptr == NULL ? sv_from(all[a]) : name, value);
            if (name.ptr == NULL ? value[0] == '\0' : strcmp(value, all[a]) != 0) continue;
            if (!model_matches(m, q) || m->count == 0) continue;
            size_t first, end;
            model_range(m, q, &first, &end);
            must |= end > first;
            /* a series whose span covers the range may count, with a hole there */
            int64_t low_ms = m->times_ms[0];
            if (w.from_ms[m->shard] != INT64_MIN) low_ms = w.from_ms[m->shard];
            may |= low_ms <= q->q.to_ms && m->times_ms[m->count - 1] > q->q.from_ms;
        }
        for (size_t k = 0; k < count; k++)
            has |= sv_eq(got[k], sv_from(all[a]));
        found += has;
        if ((must && !has) || (has && !may))
            fail("%s: %s is %s", what, all[a], has ? "there" : "missing");
    }
    if (found != count) fail("%s: %zu, not %zu", what, count, found);
}

static void step_delete(void) {
    struct query q;
    query_make(&q);
    uint32_t shard = (uint32_t)below(UTIL_SHARDS);
    int64_t min_ms = T0 + (int64_t)below((size_t)(w.now_ms - T0) + 1);
    int64_t max_ms = below(3) == 0 ? INT64_MAX : min_ms + (int64_t)below(5000000);
    if (below(3) == 0) min_ms = INT64_MIN;
    const struct model_series *some = model_get(); /* edges at rows */
    if (some->count > 0) min_ms = some->times_ms[below(some->count)];
    if (some->count > 0 && below(2) == 0) max_ms = some->times_ms[below(some->count)];
    if (some->count > 0 && below(2) == 0) shard = some->shard;
    MUST(head_delete(w.head, shard, q.matchers, q.count, min_ms, max_ms, NULL) == OK);
    q.q.shards = NULL;
    for (size_t i = 0; i < w.series_count; i++) {
        struct model_series *m = &w.series[i];
        size_t before = m->count;
        if (m->shard == shard && model_matches(m, &q)) model_cut(m, min_ms, max_ms);
        w.deleted += before - m->count;
    }
    check_shard_stats(shard);
    query_fini(&q);
}

static void step_labels(void) {
    struct query q;
    query_make(&q);
    struct sv *out = NULL;
    size_t count = 0;
    MUST(head_label_names(w.head, &q.q, &q.arena, &out, &count, NULL) == OK);
    expect_strings("names", out, count, &q, (struct sv){0});
    struct sv name = sv_from(names[below(ARRAY_LEN(names))]);
    MUST(head_label_values(w.head, name, &q.q, &q.arena, &out, &count, NULL) == OK);
    expect_strings("values", out, count, &q, name);
    query_fini(&q);
}

static void run(uint64_t seed, uint64_t steps) {
    w = (struct world){.seed = seed, .now_ms = T0, .series = calloc(SERIES_MAX, sizeof *w.series)};
    MUST(w.series != NULL);
    rng_init(&w.rng, seed);
    static const int64_t windows_ms[] = {0, 60000, 1800000, 7200000};
    w.window_ms = windows_ms[below(4)];
    static const size_t series_max[] = {10, 40, SERIES_MAX};
    w.series_max = series_max[below(3)];
    w.head = util_head_in(w.window_ms, seed % 2 == 0 ? P_tmpdir : NULL);
    for (size_t i = 0; i < UTIL_SHARDS; i++)
        w.newest_ms[i] = w.from_ms[i] = INT64_MIN;
    for (w.step = 0; w.step < steps; w.step++) {
        w.now_ms += (int64_t)below(2000);
        size_t kind = below(1000);
        if (kind < 940)
            step_append();
        else if (kind < 965)
            step_select();
        else if (kind < 975)
            step_labels();
        else if (kind < 985)
            step_number();
        else if (kind < 991)
            step_slice();
        else if (kind < 995)
            step_from();
        else if (kind < 999)
            step_delete();
        else if (below(4) == 0)
            step_drop();
    }
    struct head_stats stats;
    head_stats(w.head, &stats);
    printf("seed %llu: %zu series, %llu samples, %zu late, %zu refused, %llu chunks, %zu matches "
           "checked, %zu deleted, %zu series died, %zu slices\n",
           (unsigned long long)seed, w.series_count, (unsigned long long)stats.samples_appended,
           w.late, w.refused, (unsigned long long)stats.chunks, w.matched, w.deleted, w.died,
           w.slices);
    for (size_t i = 0; i < HELD_MAX; i++)
        if (w.held[i].sel != NULL) {
            held_check(&w.held[i]);
            held_drop(&w.held[i]);
        }
    head_free(w.head);
    free(w.series);
}

/* A slice ends at its first look at the clock. */
static uint64_t clock_ns = 1;
static uint64_t fake_mono_ns(struct runtime *rt) {
    (void)rt;
    return clock_ns++;
}

int main(int argc, char **argv) {
    static const struct runtime_ops runtime_ops = {.mono_ns = fake_mono_ns};
    struct runtime runtime = {.ops = &runtime_ops};
    struct core core = {.rt = &runtime};
    core_set_current(&core);
    unsigned long long seed = 0, steps = 30000;
    for (int i = 1; i < argc; i++)
        if (sscanf(argv[i], "--seed=%llu", &seed) != 1)
            MUST(sscanf(argv[i], "--steps=%llu", &steps) == 1);
    for (uint64_t s = seed == 0 ? 1 : seed; s <= (seed == 0 ? 8 : seed); s++)
        run(s, steps);
    core_set_current(NULL);
    return 0;
}
