/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out at the n-th allocation, for every n: the call says ERR_NOMEM, nothing is half
 * done, the same call again succeeds, and in the end the head holds what it would have held. */
#include <errno.h>
#include <inttypes.h>

#include "tests/storage/head_util.h"
#include "tests/storage/nomem.h"

enum { SERIES = 40, SAMPLES = 320, SPEC = 64 };
#define T0 1600000000000LL

static struct buf canonical[SERIES];
static unsigned failures;

static void add_all(struct head *head) {
    for (int i = 0; i < SERIES; i++) {
        struct sv bytes = buf_sv(&canonical[i]);
        series_id id = series_id_of(UTIL_SECRET, 0, bytes);
        uint32_t ref = HEAD_NONE;
        struct err err = {0};
        enum status status = head_series_new(head, id, 0, bytes, &ref, &err);
        if (status != OK) {
            MUST(status == ERR_NOMEM && err.code == ERR_NOMEM && head_find(head, id) == HEAD_NONE);
            failures++;
            MUST(head_series_new(head, id, 0, bytes, &ref, &err) == OK);
        }
        MUST(ref == (uint32_t)i && head_find(head, id) == ref);
    }
}

static void append_all(struct head *head) {
    for (uint32_t i = 0; i < SAMPLES * SERIES; i++) {
        uint32_t ref = i % SERIES, k = i / SERIES;
        bool late = k % 9 == 8;
        int64_t t = T0 + (late ? (int64_t)((k * 37) % k) * 1000 - 500 : (int64_t)k * 1000);
        double v = ref % 4 == 0 ? 1 : (double)(k * k + ref) / 3;
        enum status status = head_append(head, ref, t, v);
        if (status == OK) continue;
        MUST(status == ERR_NOMEM);
        failures++;
        MUST(head_append(head, ref, t, v) == OK);
    }
}

static enum status read_all(struct head *head, const struct select_query *query,
                            uint64_t *out_hash) {
    struct selection *sel = NULL;
    bool done = false;
    TRY(select_new(head, query, &sel, NULL));
    enum status status = select_step(sel, 0, &done, NULL);
    struct samples s = {0};
    uint64_t hash = 0;
    size_t count = 0;
    const struct series_view *views = status == OK ? selection_series(sel, &count) : NULL;
    for (size_t i = 0; i < count && status == OK; i++) {
        samples_clear(&s);
        status = series_view_read(&views[i], INT64_MIN, INT64_MAX, &s, NULL);
        hash = hash64(s.times_ms, s.count * sizeof *s.times_ms, hash);
        hash = hash64(s.values, s.count * sizeof *s.values, hash + s.count);
    }
    samples_fini(&s);
    selection_release(sel);
    if (status == OK) *out_hash = hash;
    return status;
}

static uint64_t select_all(struct head *head, const struct matcher *m) {
    struct select_query query = util_query(m, 1);
    uint64_t hash = 0;
    enum status status = read_all(head, &query, &hash);
    if (status != OK) {
        MUST(status == ERR_NOMEM);
        failures++;
        MUST(read_all(head, &query, &hash) == OK);
    }
    return hash;
}

static void labels_all(struct head *head, const struct matcher *m) {
    struct select_query query = util_query(m, 1);
    for (int tries = 0; tries < 2; tries++) {
        struct arena arena;
        arena_init(&arena, 0);
        struct sv *out;
        size_t count = 0;
        enum status status =
            head_label_values(head, SV("instance"), &query, &arena, &out, &count, NULL);
        arena_fini(&arena);
        if (status == OK) {
            MUST(count == SERIES);
            return;
        }
        MUST(status == ERR_NOMEM || status == ERR_LIMIT);
        failures++;
    }
    MUST(false);
}

/* While a selection lives, so that what goes must be kept. What memory was lacking for goes the
 * next time: afterwards nothing is left that could go. */
static void cut_all(struct head *head, const struct matcher *m) {
    struct select_query query = util_query(m, 1);
    struct selection *sel = NULL;
    bool done = false;
    while (select_new(head, &query, &sel, NULL) != OK)
        failures++;
    while (select_step(sel, 0, &done, NULL) != OK) {
        failures++;
        selection_release(sel);
        MUST(select_new(head, &query, &sel, NULL) == OK);
    }
    enum status status;
    while ((status = head_delete(head, 0, m, 1, T0 + 200000, T0 + 210000, NULL)) != OK) {
        MUST(status == ERR_NOMEM);
        failures++;
    }
    head_shard_set_from(head, 0, T0 + 150000);
    MUST(head_trim(head, 0));
    struct head_stats first, second, third;
    head_stats(head, &first);
    MUST(head_trim(head, 0));
    head_stats(head, &second);
    MUST(head_trim(head, 0));
    head_stats(head, &third);
    MUST(memcmp(&second, &third, sizeof third) == 0);
    failures += first.chunks != second.chunks;
    selection_release(sel);
    head_stats(head, &third);
    MUST(third.memory_bytes < second.memory_bytes);
}

/* Returns a hash of all samples. */
static uint64_t run(uint64_t n, const struct matcher *m) {
    struct head_options options = {.secret = UTIL_SECRET, .out_of_order_window_ms = 1800000};
    struct head *head = NULL;
    nomem_arm(n, true);
    nomem_on(true);
    enum status status = head_new(&options, &head);
    if (status != OK) {
        MUST(status == ERR_NOMEM);
        failures++;
        MUST(head_new(&options, &head) == OK);
    }
    add_all(head);
    append_all(head);
    uint64_t hash = select_all(head, m);
    labels_all(head, m);
    cut_all(head, m);
    hash ^= select_all(head, m) + 1;
    nomem_on(false);
    struct head_stats stats;
    head_stats(head, &stats);
    MUST(stats.series == SERIES);
    head_free(head);
    return hash;
}

int main(void) {
    struct arena arena;
    arena_init(&arena, 0);
    struct matcher m = {.kind = MATCH_RE, .name = SV("instance"), .value = SV("i.*")};
    MUST(matcher_compile(&m, &arena, NULL) == OK);
    for (int i = 0; i < SERIES; i++) {
        char spec[SPEC];
        snprintf(spec, sizeof spec, "__name__=up,job=j%d,instance=i%d,l%d=x", i % 3, i, i);
        util_canonical(spec, &canonical[i]);
    }
    uint64_t want = run(0, &m);
    uint64_t total = nomem_allocations();
    MUST(total > 200 && failures == 0);
    for (uint64_t n = 1; n <= total; n++)
        MUST(run(n, &m) == want);
    printf("%" PRIu64 " allocations, each failed once: %u failures came back as errors\n", total,
           failures);
    MUST(failures + 60 >= total);
    for (int i = 0; i < SERIES; i++)
        buf_fini(&canonical[i]);
    arena_fini(&arena);
    return 0;
}
