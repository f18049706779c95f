/* SPDX-License-Identifier: Apache-2.0 */
/* Workers read selections while the core appends, in order and late, seals and adds series, of
 * floats, with and without starts, and of native histograms. What a worker sees must be what was
 * there when the selection was made, bit for bit. Meant for -Db_sanitize=thread; two workers, fixed
 * seed. */
#include <pthread.h>

#include "node/base/rng.h"
#include "storage/head_histograms.h"
#include "storage/histogram.h"
#include "tests/storage/head_util.h"

enum { SERIES = 200, SERIES_END = 3000, ROUNDS = 500, JOBS = 4, WORKERS = 2, STEP_MS = 15000 };
#define T0 1600000000000LL

enum job_state { JOB_FREE, JOB_GIVEN, JOB_TAKEN, JOB_DONE };
struct job {
    enum job_state state;
    struct selection *sel;
    uint32_t in_order[SERIES_END], late[SERIES_END];
};

static struct job jobs[JOBS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool stopping;
static uint64_t rows_checked;

/* What a series has at a time: every tenth series constant, others anything. */
static double value_at(uint32_t ref, int64_t time_ms) {
    uint64_t x = ref * 1000003ull + (ref % 10 == 0 ? 0 : (uint64_t)time_ms);
    uint64_t h = rng_splitmix(&x);
    return ref % 3 == 0 ? (double)(h % 100) : f64_from_bits(h);
}

static bool is_histogram(uint32_t ref) {
    return ref % 5 == 1;
}

static int64_t start_at(uint32_t ref, int64_t time_ms) {
    return ref % 5 == 2 ? T0 - (time_ms - T0) / (STEP_MS * 40) - 1 : 0;
}

static void append(struct head *head, uint32_t ref, int64_t time_ms) {
    static struct buf bytes;
    double value = value_at(ref, time_ms);
    if (is_histogram(ref)) {
        struct histogram h = {.sum = value};
        buf_clear(&bytes);
        histogram_put(&h, &bytes);
        MUST(head_append_histogram(head, ref, time_ms, buf_sv(&bytes)) == OK);
    } else if (start_at(ref, time_ms) != 0) {
        MUST(head_append_start(head, ref, time_ms, value, start_at(ref, time_ms)) == OK);
    } else {
        MUST(head_append(head, ref, time_ms, value) == OK);
    }
}

static uint64_t view_check(const struct series_view *v, const struct job *job, struct samples *s) {
    samples_clear(s);
    MUST(series_view_read(v, INT64_MIN, INT64_MAX, s, NULL) == OK);
    MUST(s->count == job->in_order[v->ref] + job->late[v->ref]);
    uint32_t late = 0;
    for (size_t i = 0; i < s->count; i++) {
        MUST(i == 0 || s->times_ms[i] > s->times_ms[i - 1]);
        late += (s->times_ms[i] - T0) % STEP_MS != 0;
        MUST(f64_bits(s->values[i]) == f64_bits(value_at(v->ref, s->times_ms[i])));
        MUST((s->histograms != NULL && s->histograms[i] != NULL) == is_histogram(v->ref));
        MUST((s->starts_ms == NULL ? 0 : s->starts_ms[i]) == start_at(v->ref, s->times_ms[i]));
    }
    MUST(late == job->late[v->ref]);
    struct label labels[4];
    char number[16];
    MUST(series_view_labels(v, labels, 4) == 2 && sv_eq(labels[0].value, SV("up")));
    snprintf(number, sizeof number, "n%u", v->ref);
    MUST(sv_eq(labels[1].name, SV("instance")) && sv_eq(labels[1].value, sv_from(number)));
    return s->count;
}

static struct job *job_wait(enum job_state state) {
    for (;;) {
        for (size_t i = 0; i < JOBS; i++)
            if (jobs[i].state == state) return &jobs[i];
        if (stopping) return NULL;
        pthread_cond_wait(&changed, &lock);
    }
}

static void *worker(void *ctx) {
    (void)ctx;
    struct samples s = {0};
    pthread_mutex_lock(&lock);
    for (struct job *job; (job = job_wait(JOB_GIVEN)) != NULL;) {
        job->state = JOB_TAKEN;
        pthread_mutex_unlock(&lock);
        size_t count;
        uint64_t rows = 0;
        const struct series_view *views = selection_series(job->sel, &count);
        for (size_t i = 0; i < count; i++)
            rows += view_check(&views[i], job, &s);
        pthread_mutex_lock(&lock);
        rows_checked += rows;
        job->state = JOB_DONE;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    samples_fini(&s);
    return NULL;
}

static uint32_t series_count, in_order[SERIES_END], late[SERIES_END];

static void series_add(struct head *head) {
    char spec[64];
    snprintf(spec, sizeof spec, "__name__=up,instance=n%u", series_count);
    MUST(util_series(head, spec) == series_count);
    series_count++;
}

static void round_append(struct head *head, struct rng *r) {
    for (uint32_t ref = 0; ref < series_count; ref++) {
        int64_t t = T0 + (int64_t)in_order[ref]++ * STEP_MS;
        append(head, ref, t);
        if (ref % 7 != 0 || rng_below(r, 4) != 0) continue;
        t -= STEP_MS / 2 + (int64_t)rng_below(r, in_order[ref]) * STEP_MS;
        struct head_stats before, after;
        head_stats(head, &before);
        append(head, ref, t);
        head_stats(head, &after);
        late[ref] += after.samples_appended != before.samples_appended;
    }
}

/* Takes back what is done; gives out a new selection when there is room. */
static void jobs_turn(struct head *head) {
    struct select_query query = util_query(NULL, 0);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < JOBS; i++) {
        struct job *job = &jobs[i];
        if (job->state == JOB_DONE) {
            selection_release(job->sel);
            job->state = JOB_FREE;
        }
        if (job->state != JOB_FREE) continue;
        job->sel = util_select(head, &query);
        memcpy(job->in_order, in_order, sizeof in_order);
        memcpy(job->late, late, sizeof late);
        job->state = JOB_GIVEN;
        pthread_cond_broadcast(&changed);
        break;
    }
    pthread_mutex_unlock(&lock);
}

int main(void) {
    struct rng r;
    rng_init(&r, 7);
    struct head *head = util_head_in(INT64_MAX, P_tmpdir);
    pthread_t threads[WORKERS];
    for (int i = 0; i < SERIES; i++)
        series_add(head);
    for (int i = 0; i < WORKERS; i++)
        MUST(pthread_create(&threads[i], NULL, worker, NULL) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        round_append(head, &r);
        for (int i = 0; i < 9 && series_count < SERIES_END; i++)
            series_add(head);
        jobs_turn(head);
    }
    pthread_mutex_lock(&lock);
    stopping = true; /* workers end when nothing is given */
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < JOBS; i++) {
        MUST(jobs[i].state == JOB_FREE || jobs[i].state == JOB_DONE);
        if (jobs[i].state == JOB_DONE) selection_release(jobs[i].sel);
    }
    struct head_stats stats;
    head_stats(head, &stats);
    printf("%llu rows checked while %llu were appended to %llu series, %llu chunks\n",
           (unsigned long long)rows_checked, (unsigned long long)stats.samples_appended,
           (unsigned long long)stats.series, (unsigned long long)stats.chunks);
    MUST(rows_checked > 100000 && stats.spilled_bytes > 1 << 20 && stats.spill_errors == 0);
    head_free(head);
    return 0;
}
