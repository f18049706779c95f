/* SPDX-License-Identifier: Apache-2.0 */
/* Twelve hours of churn: every ten minutes one series in twenty ends and another begins, with label
 * values of its own; every two hours a cut takes what is older than half an hour out of the head,
 * in slices between appends. Memory must not grow beyond the live series and their window; what a
 * selection saw it goes on seeing; no reference is used again while a selection lives that may have
 * seen its series. */
#include "node/base/hash.h"
#include "node/base/rng.h"
#include "tests/storage/head_util.h"

enum {
    SERIES = 6000,
    STEP_MS = 60000,
    MINUTES = 12 * 60,
    CUT_MINUTES = 120,
    CHURN_MINUTES = 10,
    CHURN = SERIES / 20,
    WINDOW_MS = 30 * 60000,
    BYTES_PER_SERIES_MAX = 800, /* with those that ended in the window, and a label value each */
    BORN_MAX = SERIES + MINUTES / CHURN_MINUTES * CHURN,
};
#define T0 1600000000000LL

struct life {
    uint32_t ref;
    uint32_t number;
    bool active;
    int64_t last_ms;
};

static struct life lives[BORN_MAX];
static uint32_t active[SERIES]; /* of lives */
static uint32_t born, shard_numbers[UTIL_SHARDS];
static struct rng rng;
static struct head *head;

/* A slice ends at its first look at the clock. */
static uint64_t clock_ns = 1;
static uint64_t fake_mono_ns(struct runtime *rt) {
    (void)rt;
    return clock_ns++;
}

static void birth(uint32_t place) {
    char spec[128];
    snprintf(spec, sizeof spec, "__name__=requests_total,id=request-id-%08u,job=j%u,pod=pod-%u-%u",
             born, born % 7, born / 25, born / 25 * 7919);
    lives[born] =
        (struct life){.ref = util_series(head, spec), .number = HEAD_NONE, .active = true};
    active[place] = born++;
}

static void minute(int64_t time_ms) {
    for (uint32_t i = 0; i < SERIES; i++) {
        struct life *l = &lives[active[i]];
        uint32_t shard = head_series_shard(head, l->ref);
        if (head_series_number(head, l->ref) == HEAD_NONE)
            head_series_set_number(head, l->ref, shard_numbers[shard]++);
        double v = active[i] % 10 < 7 ? 1 : (double)rng_below(&rng, 100000) / 1000;
        MUST(head_append(head, l->ref, time_ms, v) == OK);
        l->last_ms = time_ms;
    }
}

static void churn(void) {
    static uint32_t places[SERIES];
    for (uint32_t i = 0; i < SERIES; i++)
        places[i] = i;
    for (uint32_t i = 0; i < CHURN; i++) {
        uint32_t k = i + (uint32_t)rng_below(&rng, SERIES - i), place = places[k];
        places[k] = places[i];
        lives[active[place]].active = false;
        birth(place);
    }
}

static uint64_t gone_count;
static void gone(void *ctx, uint32_t ref) {
    (void)ctx;
    MUST(head_series_is_live(head, ref)); /* who is told can still ask */
    gone_count++;
}

static bool number_reset(void *ctx, uint32_t ref) {
    (void)ctx;
    head_series_set_number(head, ref, HEAD_NONE);
    return true;
}

static void cut(int64_t from_ms) {
    head_each_series(head, number_reset, NULL);
    for (uint32_t shard = 0; shard < UTIL_SHARDS; shard++) {
        shard_numbers[shard] = 0;
        head_shard_set_from(head, shard, from_ms);
    }
}

static uint64_t hash_views(struct selection *sel) {
    size_t count;
    const struct series_view *views = selection_series(sel, &count);
    struct samples s = {0};
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++) {
        struct label labels[8];
        samples_clear(&s);
        MUST(series_view_read(&views[i], INT64_MIN, INT64_MAX, &s, NULL) == OK && s.count > 0);
        hash = hash64(s.times_ms, s.count * sizeof *s.times_ms, hash);
        hash = hash64(s.values, s.count * sizeof *s.values, hash);
        MUST(series_view_labels(&views[i], labels, 8) == 4);
        hash = hash64(labels[1].value.ptr, labels[1].value.len, hash);
    }
    samples_fini(&s);
    return hash;
}

static void trim_all(void) {
    while (!head_trim(head, 1))
        ;
}

/* After a cut and its trimming: exactly the series with samples since are there. */
static void check_series(int64_t from_ms) {
    uint64_t want = 0;
    for (uint32_t i = 0; i < born; i++) {
        want += lives[i].last_ms >= from_ms;
        if (lives[i].active) MUST(head_series_is_live(head, lives[i].ref));
    }
    struct head_stats stats;
    head_stats(head, &stats);
    if (stats.series != want)
        fprintf(stderr, "%llu series, not %llu\n", (unsigned long long)stats.series,
                (unsigned long long)want);
    MUST(stats.series == want);
    uint64_t by_shard = 0;
    for (uint32_t shard = 0; shard < UTIL_SHARDS; shard++) {
        struct head_shard_stats s;
        head_shard_stats(head, shard, &s);
        by_shard += s.series;
        MUST(s.series == 0 || s.min_time_ms >= from_ms);
    }
    MUST(by_shard == want && stats.min_time_ms >= from_ms);
}

/* Series die and are born while a selection lives. */
static void references_wait(void) {
    static bool was[2 * BORN_MAX];
    struct select_query query = util_query(NULL, 0);
    struct selection *sel = util_select(head, &query);
    uint64_t hash = hash_views(sel);
    size_t count;
    const struct series_view *views = selection_series(sel, &count);
    for (size_t i = 0; i < count; i++)
        was[views[i].ref] = true;
    struct head_stats before, held, after;
    head_stats(head, &before);
    cut(INT64_MAX);
    trim_all();
    head_stats(head, &held);
    MUST(held.series == 0 && before.series == count);
    uint32_t highest = 0;
    for (uint32_t i = 0; i < SERIES; i++) {
        char spec[64];
        snprintf(spec, sizeof spec, "__name__=later,id=%u", i);
        uint32_t ref = util_series(head, spec);
        MUST(!was[ref]);
        highest = ref > highest ? ref : highest;
    }
    MUST(hash_views(sel) == hash);
    selection_release(sel);
    for (uint32_t shard = 0; shard < UTIL_SHARDS; shard++)
        head_shard_drop(head, shard);
    uint32_t again = 0;
    for (uint32_t i = 0; i < SERIES; i++) {
        char spec[64];
        snprintf(spec, sizeof spec, "__name__=last,id=%u", i);
        again += util_series(head, spec) <= highest;
    }
    MUST(again == SERIES);
    head_stats(head, &after);
    printf("%llu bytes with a selection of %zu series that went, %llu after it\n",
           (unsigned long long)held.memory_bytes, count, (unsigned long long)after.memory_bytes);
}

int main(void) {
    static const struct runtime_ops runtime_ops = {.mono_ns = fake_mono_ns};
    struct runtime runtime = {.ops = &runtime_ops};
    struct core core = {.rt = &runtime};
    core_set_current(&core);
    rng_init(&rng, 5);
    head = util_head_in(WINDOW_MS, P_tmpdir);
    head_watch_gone(head, gone, NULL);
    for (uint32_t i = 0; i < SERIES; i++)
        birth(i);
    uint64_t peaks[MINUTES / CUT_MINUTES] = {0}, hash = 0, slices = 0;
    struct selection *held = NULL;
    for (int m = 0; m < MINUTES; m++) {
        int64_t now_ms = T0 + (int64_t)m * STEP_MS, from_ms = head_shard_from(head, 0);
        if (m > 0 && m % CHURN_MINUTES == 0) churn();
        minute(now_ms);
        if (m > 0 && m % CUT_MINUTES == 0) {
            struct select_query query = util_query(NULL, 0);
            held = util_select(head, &query);
            hash = hash_views(held);
            cut(now_ms - WINDOW_MS);
        }
        for (int i = 0; i < 20; i++) { /* on through the next minutes */
            slices++;
            if (!head_trim(head, 1)) continue;
            if (m > CUT_MINUTES && m % CUT_MINUTES == 55) check_series(from_ms);
            break;
        }
        if (m % CUT_MINUTES == 50 && held != NULL) {
            MUST(hash_views(held) == hash);
            selection_release(held);
            held = NULL;
        }
        struct head_stats stats;
        head_stats(head, &stats);
        if (m % CUT_MINUTES < 60) continue; /* a selection lived */
        uint64_t *peak = &peaks[m / CUT_MINUTES];
        *peak = stats.memory_bytes > *peak ? stats.memory_bytes : *peak;
    }
    struct head_stats stats;
    head_stats(head, &stats);
    printf("%u series ever, %llu now, %llu label pairs, %llu slices; bytes at most, by cut:", born,
           (unsigned long long)stats.series, (unsigned long long)stats.label_pairs,
           (unsigned long long)slices);
    for (size_t i = 0; i < ARRAY_LEN(peaks); i++)
        printf(" %llu", (unsigned long long)peaks[i]);
    printf("\n");
    fflush(stdout);
    for (size_t i = 3; i < ARRAY_LEN(peaks); i++)
        MUST(peaks[i] < peaks[2] + peaks[2] / 16 && peaks[i] < stats.series * BYTES_PER_SERIES_MAX);
    MUST(slices > MINUTES + 300);
    MUST(gone_count == born - stats.series);
    references_wait();
    head_free(head);
    core_set_current(NULL);
    return 0;
}
