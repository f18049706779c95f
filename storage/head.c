/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/head.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/internal.h"

static const int64_t IN_ORDER_WINDOW_MS = 3600000; /* half of Prometheus' chunk range */

enum status head_new(const struct head_options *options, struct head **out) {
    assert(options->out_of_order_window_ms >= 0);
    struct head *head = malloc(sizeof *head);
    if (head == NULL) return ERR_NOMEM;
    /* the work space behind is large and mostly never touched */
    memset(head, 0, offsetof(struct head, times));
    head->options = *options;
    stable_init(&head->series, sizeof(struct series), 0);
    stable_init(&head->cold, sizeof(struct series_cold), 0);
    map_init(&head->by_id);
    symbols_init(&head->symbols);
    index_init(&head->index);
    chunk_slab_init(&head->blocks);
    head_extras_init(&head->extras);
    times_init(&head->times);
    spill_init(&head->spill, options->spill_dir, head_retire_buffer, head);
    head->options.spill_dir = NULL;
    page_scratch_init(&head->scratch);
    head->min_time_ms = INT64_MAX;
    head->max_time_ms = INT64_MIN;
    head->from_max_ms = INT64_MIN;
    head->refs_free = HEAD_NONE;
    head->trim.before = head->trim.sweep = HEAD_NONE;
    head->target_names[0] = head->target_names[1] = MAP_NONE;
    head->options.limits = NULL;
    if (head_set_limits(head, options->limits, options->limits_count) != OK ||
        (options->shards_count > 0 && head_shard_reserve(head, options->shards_count - 1) != OK)) {
        head_free(head);
        return ERR_NOMEM;
    }
    *out = head;
    return OK;
}

void head_free(struct head *head) {
    if (head == NULL) return;
    assert(head->newest == NULL);
    for (uint32_t ref = 0; ref < head->series.count; ref++) {
        if (!head_is_live(head, ref)) continue;
        struct series_cold *cold = head_cold(head, ref);
        head_labels_give(head, cold->labels);
        free(cold->late);
        head_chain_free(head, &(struct chain){cold->sealed, cold->sealed_count});
    }
    stable_fini(&head->series);
    stable_fini(&head->cold);
    map_fini(&head->by_id);
    symbols_fini(&head->symbols);
    index_fini(&head->index);
    orders_fini(&head->orders);
    times_fini(&head->times);
    spill_fini(&head->spill);
    bump_fini(&head->pair_ids);
    chunk_slab_fini(&head->blocks);
    head_extras_fini(&head->extras);
    u32s_fini(&head->scratch_pairs);
    free(head->shards);
    free(head->limits);
    free(head);
}

static bool series_is(const void *owner, uint32_t ref, const void *key) {
    return series_id_eq(head_series(owner, ref)->id, *(const series_id *)key);
}

static uint64_t series_rehash(const void *owner, uint32_t ref) {
    return head_series(owner, ref)->id.lo;
}

uint32_t head_find(const struct head *head, series_id id) {
    return map_find(&head->by_id, id.lo, series_is, head, &id);
}

void head_prefetch(const struct head *head, series_id id) {
    map_prefetch(&head->by_id, id.lo);
}

/* Takes the first series with the right tag, which nearly always is the one: asking it would wait
 * for its memory. */
static bool series_touch(const void *owner, uint32_t ref, const void *key) {
    (void)key;
    __builtin_prefetch(head_series(owner, ref), 1);
    return true;
}

void head_prefetch_series(const struct head *head, series_id id) {
    (void)map_find(&head->by_id, id.lo, series_touch, head, &id);
}

void head_prefetch_ref(const struct head *head, uint32_t ref) {
    __builtin_prefetch(head_series(head, ref), 1);
}

void head_prefetch_open(const struct head *head, uint32_t ref) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    if (open->tail != NULL)
        __builtin_prefetch(&open->tail->words[open->bits / 64 % CHUNK_BLOCK_WORDS], 1);
}

/* Interns the labels into scratch_pairs, one id a label. What is not canonical is
 * refused: it would be one series under two ids. */
static enum status series_intern(struct head *head, struct sv canonical, struct err *err) {
    struct u32s *pairs = &head->scratch_pairs;
    struct sv rest = canonical, last = {0};
    struct label label;
    bool bad = false;
    pairs->count = 0;
    for (struct sv at = rest; labels_next(&rest, &label, &bad); at = rest) {
        struct sv bytes = {at.ptr, at.len - rest.len};
        if (bytes.len != label_canonical_bytes(&label) || label.value.len == 0 ||
            (pairs->count > 0 && sv_cmp(last, label.name) >= 0))
            return err_set(err, ERR_CORRUPT, 0,
                           "head: labels of a new series are not canonical at byte %zu",
                           canonical.len - at.len);
        uint32_t pair;
        TRY(symbols_intern(&head->symbols, bytes, &label, &pair));
        TRY(index_reserve(&head->index, pair));
        TRY(u32s_put(pairs, pair));
        last = label.name;
    }
    if (bad)
        return err_set(err, ERR_CORRUPT, 0,
                       "head: labels of a new series are malformed at byte %zu",
                       canonical.len - rest.len);
    return OK;
}

enum status head_series_make(struct head *head, series_id id, uint32_t shard, uint32_t *out_ref) {
    const struct u32s *pairs = &head->scratch_pairs;
    assert(shard < HEAD_SHARDS_MAX);
    TRY(head_ref_reserve(head));
    TRY(head_shard_reserve(head, shard));
    TRY(orders_reserve(&head->orders));
    struct series_labels *labels = head_labels_make(head, pairs->at, pairs->count);
    if (labels == NULL) return ERR_NOMEM;
    uint32_t ref = head_ref_peek(head);
    if (map_insert(&head->by_id, id.lo, ref, series_rehash, head) != OK) {
        head_labels_give(head, labels);
        return ERR_NOMEM;
    }
    head_ref_take(head);
    uint32_t order = labels->order = orders_put(&head->orders, ref, (uint16_t)shard);
    head->live_count++;
    *head_series(head, ref) = (struct series){
        .id = id,
        .open = {.full = CHUNK_SAMPLES_MAX, .owner = HEAD_NONE},
    };
    *head_cold(head, ref) = (struct series_cold){
        .labels = labels, .shard = shard, .next_in_shard = head->shards[shard].first};
    head->shards[shard].first = ref;
    head->shards[shard].series_count++;
    for (uint32_t i = 0; i < pairs->count; i++) {
        index_put(&head->index, pairs->at[i], order);
        struct pair *pair = STABLE_AT(head->symbols.pairs.dir, struct pair, pairs->at[i]);
        pair->uses++;
        pair->live++;
    }
    *out_ref = ref;
    return OK;
}

enum status head_series_new(struct head *head, series_id id, uint32_t shard, struct sv canonical,
                            uint32_t *out_ref, struct err *err) {
    assert_slow(head_find(head, id) == HEAD_NONE);
    if (head->options.series_max != 0 && head->live_count >= head->options.series_max)
        return err_set(err, ERR_LIMIT, 0, "head: limit of %llu series reached",
                       (unsigned long long)head->options.series_max);
    if (head->orders.count == ORDERS_NONE)
        return err_set(err, ERR_LIMIT, 0, "head: no more series can be counted");
    enum status status = series_intern(head, canonical, err);
    if (status == OK) status = head_series_make(head, id, shard, out_ref);
    if (status == ERR_NOMEM)
        return err_set(err, ERR_NOMEM, 0, "head: out of memory for a new series");
    return status;
}

uint32_t head_series_number(const struct head *head, uint32_t ref) {
    return head_series(head, ref)->open.owner;
}

void head_series_set_number(struct head *head, uint32_t ref, uint32_t number) {
    head_series(head, ref)->open.owner = number;
    if (number != HEAD_NONE || head->from_max_ms == INT64_MIN) return;
    head_trim_want(head, head_cold(head, ref)->shard);
}

void head_watch_gone(struct head *head, void (*gone)(void *ctx, uint32_t ref), void *ctx) {
    head->gone = gone;
    head->gone_ctx = ctx;
}

bool head_series_is_live(const struct head *head, uint32_t ref) {
    return ref < head->series.count && head_is_live(head, ref);
}

uint32_t head_series_shard(const struct head *head, uint32_t ref) {
    return head_cold(head, ref)->shard;
}

void head_series_labels(const struct head *head, uint32_t ref, struct buf *out) {
    struct labels_walk walk = {.labels = head_cold(head, ref)->labels,
                               .symbols = head->symbols.pairs.dir};
    for (uint32_t pair; (pair = labels_walk_next(&walk)) != MAP_NONE;) {
        const struct pair *p = symbols_pair(walk.symbols, pair);
        buf_put(out, p->bytes, p->len_bytes);
    }
}

bool head_series_newest(const struct head *head, uint32_t ref, int64_t *out_time_ms,
                        double *out_value) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    if (!open->has_last || head_is_before(head, ref, open->last_ms)) return false;
    *out_time_ms = open->last_ms;
    *out_value = f64_from_bits(open->last_bits);
    return true;
}

static int64_t time_before(int64_t newest_ms, int64_t window_ms) {
    int64_t floor_ms;
    return __builtin_sub_overflow(newest_ms, window_ms, &floor_ms) ? INT64_MIN : floor_ms;
}

int64_t head_in_order_ms(const struct head *head, int64_t shard_newest_ms) {
    return time_before(shard_newest_ms,
                       MAX(head->options.out_of_order_window_ms, IN_ORDER_WINDOW_MS));
}

/* N the shard's newest, W the window, L the series' newest (Prometheus 3.14, tsdb/head_append.go,
 * with the shard's newest time for the head's, so that a verdict is a function of the shard's log;
 * none before: since the shard's from_ms):
 *
 *   time                          | value           | verdict
 *   ------------------------------+-----------------+----------------------------------------------
 *   none before, or > L           | any             | t >= N - max(W, 1h): ACCEPT, else TOO_OLD
 *   = L                           | same bits       | NOOP
 *   = L                           | other bits      | t >= N - max(W, 1h): DUPLICATE, else TOO_OLD
 *   < L, held                     | same bits       | NOOP
 *   < L, held,     t >= N - W > 0 | other bits      | NOOP: the first value stays
 *   < L, not held, t >= N - W > 0 | any             | ACCEPT, late
 *   < L, t < N - W, W > 0         | new or other    | TOO_OLD
 *   < L, t >= N - 1h, W = 0       | new or other    | OUT_OF_ORDER
 *   < L, t < N - 1h,  W = 0       | new or other    | TOO_OLD
 */
enum verdict head_judge(const struct head *head, uint32_t ref, int64_t time_ms, double value,
                        int64_t shard_newest_ms) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    if (__builtin_expect(open->has_extras, 0))
        return head_judge_marked(head, ref, time_ms, value, shard_newest_ms);
    int64_t window_ms = head->options.out_of_order_window_ms;
    int64_t in_order_ms = time_before(shard_newest_ms, MAX(window_ms, IN_ORDER_WINDOW_MS));
    if (!open->has_last || time_ms > open->last_ms || head_is_before(head, ref, open->last_ms))
        return time_ms >= in_order_ms ? VERDICT_ACCEPT : VERDICT_TOO_OLD;
    uint64_t bits = f64_bits(value), held;
    if (time_ms == open->last_ms) {
        if (bits == open->last_bits) return VERDICT_NOOP;
        return time_ms >= in_order_ms ? VERDICT_DUPLICATE : VERDICT_TOO_OLD;
    }
    bool is_held = head_holds(head, ref, time_ms, &held);
    if (is_held && held == bits) return VERDICT_NOOP;
    if (window_ms > 0) {
        if (time_ms < time_before(shard_newest_ms, window_ms)) return VERDICT_TOO_OLD;
        return is_held ? VERDICT_NOOP : VERDICT_ACCEPT;
    }
    return time_ms < in_order_ms ? VERDICT_TOO_OLD : VERDICT_OUT_OF_ORDER;
}

static enum status series_seal(struct head *head, struct series *s, uint32_t ref) {
    struct series_cold *cold = head_cold(head, ref);
    struct chain chain = {cold->sealed, cold->sealed_count};
    TRY(head_chain_seal(head, &chain, &s->open, true));
    head->chunks_count -= chain.count == cold->sealed_count; /* it went into another */
    cold->sealed = chain.newest;
    cold->sealed_count = chain.count;
    if (s->open.first != NULL) head_retire_blocks(head, s->open.first, s->open.tail);
    chunk_reset(&s->open);
    return OK;
}

static void series_began(struct head *head, struct series *s, uint32_t ref) {
    if (s->open.count == 1)
        head->chunks_count++;
    else
        s->open.full = head_seal_point(head, ref, &s->open);
}

static inline enum status series_append(struct head *head, struct series *s, uint32_t ref,
                                        int64_t time_ms, double value) {
    uint64_t bits = f64_bits(value);
    if (head_is_before(head, ref, time_ms)) return OK;
    if (s->open.has_last && time_ms <= s->open.last_ms) {
        uint64_t held;
        if (time_ms == s->open.last_ms || head_holds(head, ref, time_ms, &held)) return OK;
        TRY(head_late_insert(head, ref, time_ms, bits));
    } else {
        if (s->open.count == s->open.full) TRY(series_seal(head, s, ref));
        TRY(chunk_append(&s->open, &head->blocks, time_ms, bits));
        if (s->open.count <= 2) series_began(head, s, ref);
    }
    head_count_sample(head, time_ms);
    return OK;
}

enum status head_append(struct head *head, uint32_t ref, int64_t time_ms, double value) {
    struct series *s = head_series(head, ref);
    if (__builtin_expect(s->open.has_extras, 0))
        return head_append_start(head, ref, time_ms, value, 0);
    return series_append(head, s, ref, time_ms, value);
}

enum status head_append_start(struct head *head, uint32_t ref, int64_t time_ms, double value,
                              int64_t start_ms) {
    if (head_is_before(head, ref, time_ms) || head_holds_histogram(head, ref, time_ms)) return OK;
    TRY(head_set_start(head, ref, time_ms, start_ms));
    return series_append(head, head_series(head, ref), ref, time_ms, value);
}

void head_stats(const struct head *head, struct head_stats *out) {
    *out = (struct head_stats){
        .series = head->live_count,
        .label_pairs = symbols_count(&head->symbols),
        .chunks = head->chunks_count,
        .time_columns = head->times.used,
        .spilled_bytes = head->spill.file_bytes,
        .spill_errors = head->spill.errors,
        .samples_appended = head->samples_appended,
        .memory_bytes = sizeof *head + head->series.memory_bytes + head->cold.memory_bytes +
                        map_memory_bytes(&head->by_id) + symbols_memory_bytes(&head->symbols) +
                        index_memory_bytes(&head->index) + head->pair_ids.memory_bytes +
                        head->blocks.memory_bytes + u32s_memory_bytes(&head->scratch_pairs) +
                        head->sealed_bytes + head->times.memory_bytes + head->spill.memory_bytes +
                        head->late_bytes + head->pairs_bytes + head->sets_bytes +
                        head->orders.memory_bytes + head->shards_count * sizeof *head->shards +
                        head->limits_bytes + head_extras_memory_bytes(&head->extras),
        .min_time_ms = head->min_time_ms,
        .max_time_ms = head->max_time_ms,
    };
}

void head_each_series(const struct head *head, bool (*fn)(void *ctx, uint32_t ref), void *ctx) {
    for (uint32_t ref = 0; ref < head->series.count; ref++)
        if (head_is_live(head, ref) && !fn(ctx, ref)) return;
}
