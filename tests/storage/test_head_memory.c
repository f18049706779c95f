/* SPDX-License-Identifier: Apache-2.0 */
/* What a series costs, and what appending to a known one does. 100 targets of 1,000 series each
 * with 12 labels as a Kubernetes scrape has them; 30 samples at 15 s, 70 % of the series constant,
 * as in real captures (the rest counters and gauges). The head's own count is compared with
 * malloc's. Times are printed, not judged: machines differ. */
#include <malloc.h>
#include <time.h>

#include "node/base/rng.h"
#include "tests/storage/head_util.h"

enum { TARGETS = 100, METRICS = 1000, SERIES = TARGETS * METRICS, SAMPLES = 30, STEP_MS = 15000 };
enum { BYTES_PER_SERIES_MAX = 700 };
#define T0 1600000000000LL

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
    return last[series] = rng_unit(r);
}

int main(void) {
    struct rng r;
    rng_init(&r, 42);
    size_t malloc_before = (size_t)mallinfo2().uordblks + (size_t)mallinfo2().hblkhd;
    struct head *head = util_head(1800000);
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
        int64_t t = T0 + k * STEP_MS;
        for (int i = 0; i < SERIES; i++) {
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
    size_t malloc_bytes =
        (size_t)mallinfo2().uordblks + (size_t)mallinfo2().hblkhd - malloc_before - canonical.cap;
    double per_series = (double)stats.memory_bytes / SERIES;
    printf("%d series, 12 labels, %d samples: %.1f bytes a series (malloc says %.1f), %llu pairs\n",
           SERIES, SAMPLES, per_series, (double)malloc_bytes / SERIES,
           (unsigned long long)stats.label_pairs);
    printf("new series: %.0f ns with making its labels; find, judge and append: %.1f ns a sample\n",
           (double)create_ns / SERIES, (double)append_ns / SERIES / SAMPLES);
    MUST(stats.series == SERIES && stats.samples_appended == (uint64_t)SERIES * SAMPLES);
    MUST(per_series <= BYTES_PER_SERIES_MAX);
    /* malloc adds its own headers; a sanitizer's malloc does not answer */
    if (malloc_bytes > SERIES) {
        double ratio = (double)malloc_bytes / (double)stats.memory_bytes;
        MUST(ratio > 0.97 && ratio < 1.08);
    }
    buf_fini(&canonical);
    head_free(head);
    return 0;
}
