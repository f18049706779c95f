/* SPDX-License-Identifier: Apache-2.0 */
/* What a series costs, and what appending to a known one does. 100 targets of 1,000 series each
 * with 12 labels as a Kubernetes scrape has them, at 15 s, one scrape in 66 a millisecond late;
 * 70 % of the series constant, as in real captures, the rest counters and gauges with decimals, one
 * in a hundred with all bits in use. The head's own count is compared with
 * malloc's. Times are printed, not judged: machines differ. */
#include <malloc.h>
#include <time.h>

#include "node/base/rng.h"
#include "tests/storage/head_util.h"

enum { TARGETS = 100, METRICS = 1000, SERIES = TARGETS * METRICS, SAMPLES = 30, STEP_MS = 15000 };
enum { BYTES_PER_SERIES_MAX = 700 };
#define T0 1600000000000LL

static size_t heap_bytes(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void series_spec(int target, int metric, char *out, size_t max) {
    int n = snprintf(out, max,
                     "__name__=container_metric_%d_total,job=kubelet,instance=10.2.%d.%d:10250,"
                     "cluster=prod-eu-1,"
                     "namespace=team-%d,pod=service-%d-7d9f8b6c5d-x%dz,container=main-%d,node=ip-"
                     "10-2-%d-%d.internal,"
                     "service=svc-%d,endpoint=https-metrics,mode=mode-%d,device=disk%d",
                     metric / 8, target / 250, target % 250, target % 20, target % 37, target,
                     target % 37, target / 250, target % 250, target % 37, metric % 8, metric % 4);
    MUST(n > 0 && (size_t)n < max);
}

static uint32_t refs[SERIES];
static series_id ids[SERIES];
static double last[SERIES];

static double value_next(struct rng *r, int series) {
    int kind = series % 10;
    if (kind < 7) return last[series];
    if (kind < 9) return last[series] += (double)rng_below(r, 100);
    if (series % 100 == 9) return last[series] = rng_unit(r);
    return last[series] = (double)rng_below(r, 10000) / 100;
}

/* Of the k-th scrape of its target. */
static int64_t time_of(int series, int k) {
    uint64_t x = (uint64_t)(series / METRICS) << 32 | (uint64_t)k;
    return T0 + (int64_t)k * STEP_MS + series / METRICS * 150 + (rng_splitmix(&x) % 66 == 0);
}

static void random_order(struct head *head, struct rng *r) {
    static uint32_t order[SERIES];
    for (uint32_t i = 0; i < SERIES; i++)
        order[i] = i;
    for (uint32_t i = SERIES - 1; i > 0; i--) {
        uint32_t k = (uint32_t)rng_below(r, i + 1), swap = order[i];
        order[i] = order[k];
        order[k] = swap;
    }
    uint64_t ns = now_ns();
    enum { AHEAD = 8 };
    static uint32_t found[SERIES];
    for (int i = 0; i < SERIES + 3 * AHEAD; i++) {
        int series = i - AHEAD, find = i - 2 * AHEAD, append = i - 3 * AHEAD;
        if (i < SERIES) head_prefetch(head, ids[order[i]]);
        if (series >= 0 && series < SERIES) head_prefetch_series(head, ids[order[series]]);
        if (find >= 0 && find < SERIES) {
            found[find] = head_find(head, ids[order[find]]);
            head_prefetch_open(head, found[find]);
        }
        if (append < 0) continue;
        double v = value_next(r, (int)order[append]);
        int64_t t = time_of((int)order[append], SAMPLES);
        MUST(found[append] == refs[order[append]]);
        MUST(head_judge(head, found[append], t, v, t) == VERDICT_ACCEPT);
        MUST(head_append(head, found[append], t, v) == OK);
    }
    printf("the same in random order: %.1f ns a sample\n", (double)(now_ns() - ns) / SERIES);
}

struct selector {
    enum match_kind kind;
    const char *name, *value;
    size_t want;
};

/* By hand from series_spec. */
static const struct selector selectors[] = {
    {MATCH_EQ, "job", "kubelet", SERIES},
    {MATCH_EQ, "__name__", "container_metric_7_total", TARGETS * 8},
    {MATCH_RE, "__name__", "container_metric_.*", SERIES},
    {MATCH_RE, "pod", ".*-x1.z", 10 * METRICS},
    {MATCH_NRE, "device", "disk[01]", SERIES / 2},
    {MATCH_NEQ, "mode", "mode-0", SERIES / 8 * 7},
};

static void select_timed(struct head *head, const struct selector *s, size_t rows_min) {
    struct arena arena;
    arena_init(&arena, 0);
    struct matcher m = {.kind = s->kind, .name = sv_from(s->name), .value = sv_from(s->value)};
    MUST(matcher_compile(&m, &arena, NULL) == OK);
    struct select_query query = util_query(&m, 1);
    uint64_t ns = now_ns();
    struct selection *sel = util_select(head, &query);
    uint64_t select_ns = now_ns() - ns;
    size_t count, rows = 0;
    const struct series_view *views = selection_series(sel, &count);
    struct samples out = {0};
    ns = now_ns();
    for (size_t i = 0; i < count; i++) {
        samples_clear(&out);
        MUST(series_view_read(&views[i], INT64_MIN, INT64_MAX, &out, NULL) == OK);
        rows += out.count;
    }
    printf("%s%s\"%s\": %zu series in %.2f ms, %.1f ns to read a sample\n", s->name,
           match_kind_text[s->kind], s->value, count, (double)select_ns / 1e6,
           (double)(now_ns() - ns) / (double)rows);
    MUST(count == s->want && rows >= count * rows_min);
    samples_fini(&out);
    selection_release(sel);
    matcher_fini(&m);
    arena_fini(&arena);
}

/* malloc adds its own headers; a sanitizer's malloc does not answer. */
static void memory_check(const struct head *head, size_t malloc_bytes) {
    struct head_stats stats;
    head_stats(head, &stats);
    printf("%.1f bytes a series, malloc says %.1f\n", (double)stats.memory_bytes / SERIES,
           (double)malloc_bytes / SERIES);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    double ratio = (double)malloc_bytes / (double)stats.memory_bytes;
    MUST(ratio > 0.97 && ratio < 1.08);
#endif
}

/* On with every series; every tenth gets late samples. Returns the ns a sample. */
static double grow_old(struct head *head, struct rng *r, int from, int to) {
    uint64_t ns = now_ns();
    for (int k = from; k < to; k++) {
        for (int i = 0; i < SERIES; i++)
            MUST(head_append(head, refs[i], time_of(i, k), value_next(r, i)) == OK);
        for (int i = 0; i < SERIES && k % 60 == 0; i += 10)
            MUST(head_append(head, refs[i], time_of(i, k) - 1000, -1) == OK);
    }
    return (double)(now_ns() - ns) / ((double)(to - from) * SERIES);
}

/* What a series costs when its head holds what a cut every two hours leaves: 1 h to 3 h. */
static void steady_state(struct head *head, struct rng *r, size_t malloc_before) {
    enum { HOUR = 240 };
    struct head_stats stats;
    for (int hours = 2; hours <= 5; hours++) {
        int from = hours == 2 ? SAMPLES + 1 : (hours - 1) * HOUR;
        double ns = grow_old(head, r, from, hours * HOUR);
        if (hours == 3 || hours == 5) {
            int64_t from_ms = T0 + (int64_t)(hours - 1) * HOUR * STEP_MS;
            memory_check(head, heap_bytes() - malloc_before);
            for (uint32_t shard = 0; shard < UTIL_SHARDS; shard++)
                head_shard_set_from(head, shard, from_ms);
            uint64_t trim_ns = now_ns();
            MUST(head_trim(head, 0));
            printf("trimmed to an hour in %.1f ms; ", (double)(now_ns() - trim_ns) / 1e6);
        }
        head_stats(head, &stats);
        printf("after %d h (%.1f ns a sample): %.2f chunks a series; ", hours, ns,
               (double)stats.chunks / SERIES);
        memory_check(head, heap_bytes() - malloc_before);
    }
}

int main(int argc, char **argv) {
    struct rng r;
    rng_init(&r, 42);
    size_t malloc_before = heap_bytes();
    struct head_options options = {.secret = UTIL_SECRET,
                                   .out_of_order_window_ms = 1800000,
                                   .shards_count = UTIL_SHARDS,
                                   .spill_dir = argc > 1 ? argv[1] : NULL};
    struct head *head;
    MUST(head_new(&options, &head) == OK);
    struct buf canonical = {0};
    uint64_t create_ns = now_ns();
    for (int i = 0; i < SERIES; i++) {
        char spec[512];
        series_spec(i / METRICS, i % METRICS, spec, sizeof spec);
        util_canonical(spec, &canonical);
        MUST(labels_count(buf_sv(&canonical)) == 12);
        ids[i] = series_id_of(UTIL_SECRET, 0, buf_sv(&canonical));
        refs[i] = util_series_of(head, buf_sv(&canonical));
        MUST(refs[i] == (uint32_t)i);
        last[i] = (double)rng_below(&r, 1000);
    }
    create_ns = now_ns() - create_ns;
    uint64_t append_ns = now_ns();
    for (int k = 0; k < SAMPLES; k++) {
        for (int i = 0; i < SERIES; i++) {
            int64_t t = time_of(i, k);
            if (i + 8 < SERIES) head_prefetch(head, ids[i + 8]);
            uint32_t ref = head_find(head, ids[i]);
            double v = value_next(&r, i);
            MUST(head_judge(head, ref, t, v, t) == VERDICT_ACCEPT);
            MUST(head_append(head, ref, t, v) == OK);
        }
    }
    append_ns = now_ns() - append_ns;
    struct head_stats stats;
    head_stats(head, &stats);
    size_t malloc_bytes = heap_bytes() - malloc_before - canonical.cap;
    double per_series = (double)stats.memory_bytes / SERIES;
    printf("%d series, 12 labels, %d samples, %llu pairs: ", SERIES, SAMPLES,
           (unsigned long long)stats.label_pairs);
    memory_check(head, malloc_bytes);
    printf("new series: %.0f ns with making its labels; find, judge and append: %.1f ns a sample\n",
           (double)create_ns / SERIES, (double)append_ns / SERIES / SAMPLES);
    MUST(stats.series == SERIES && stats.samples_appended == (uint64_t)SERIES * SAMPLES);
    MUST(per_series <= BYTES_PER_SERIES_MAX);
    random_order(head, &r);
    for (size_t i = 0; i < ARRAY_LEN(selectors); i++)
        select_timed(head, &selectors[i], SAMPLES + 1);
    buf_fini(&canonical);
    steady_state(head, &r, malloc_before);
    select_timed(head, &selectors[0], 240);
    head_free(head);
    return 0;
}
