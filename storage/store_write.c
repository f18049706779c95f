/* SPDX-License-Identifier: Apache-2.0 */
/* The way in. Budget: 2,000 samples of known series over some 1,000 shards at well under 200 ns a
 * sample, so a shard costs no allocation and no call to the log: its entry goes into one buffer,
 * which is handed over once a batch.
 *
 * An entry says what was applied to the head, sample by sample, so everything that adding to it may
 * need is reserved before the head is touched: after that it cannot fail. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "node/base/num.h"
#include "storage/store_internal.h"

enum { PREFETCH_AHEAD = 8 };             /* samples, see head_prefetch */
static const int64_t FUTURE_MS = 600000; /* maxAheadTime of Prometheus' write_handler.go */

/* A sample of an unknown series brings its labels, or stands behind one of the same series that
 * does. */
bool write_labels_given(const struct write_columns *c, size_t i, struct sv *out) {
    if (c->labels == NULL) return false;
    while (c->labels[i].ptr == NULL) {
        if (i == 0 || !series_id_eq(c->ids[i], c->ids[i - 1])) return false;
        i--;
    }
    *out = c->labels[i];
    return true;
}

/* -- texts */

static struct sv batch_labels(struct batch *b, size_t i, uint32_t ref) {
    struct sv given = {0};
    if (ref == HEAD_NONE) {
        if (!write_labels_given(b->columns, i, &given)) assert(!"checked before anything was done");
        return given;
    }
    buf_clear(&b->store->labels);
    head_series_labels(b->store->head, ref, &b->store->labels);
    return buf_sv(&b->store->labels);
}

static void put_series(struct sv canonical, struct buf *out) {
    size_t count = labels_count(canonical), n = 0;
    struct label *list = calloc(count + 1, sizeof *list);
    if (list == NULL) return;
    while (n < count && labels_next(&canonical, &list[n], NULL))
        n++;
    label_list_print_braces(list, n, out);
    free(list);
}

/* storage/interface.go of Prometheus: what is held, and the histogram, are not shown */
static void put_duplicate(struct batch *b, size_t i, uint32_t ref, struct buf *out) {
    const struct write_columns *c = b->columns;
    char old_text[NUM_TEXT_MAX], new_text[NUM_TEXT_MAX];
    int64_t held_ms = 0;
    double held = 0;
    size_t new_len = num_format_f64(new_text, c->values[i], 'g');
    buf_put_sv(out, SV("duplicate sample for timestamp"));
    if (write_histogram(c, i).ptr != NULL) return;
    buf_printf(out, " %" PRId64 "; overrides not allowed: existing ", c->times_ms[i]);
    if (head_holds_histogram(b->store->head, ref, c->times_ms[i])) {
        buf_printf(out, "is a histogram, new value %.*s", (int)new_len, new_text);
        return;
    }
    if (!head_series_newest(b->store->head, ref, &held_ms, &held)) assert(!"judged by it");
    size_t old_len = num_format_f64(old_text, held, 'g');
    buf_printf(out, "%.*s, new value %.*s", (int)old_len, old_text, (int)new_len, new_text);
}

/* storage/interface.go and tsdb/head_append.go of Prometheus */
static void put_verdict(struct batch *b, size_t i, uint32_t ref, enum verdict verdict,
                        struct buf *out) {
    const struct store_options *o = &b->store->options;
    switch (verdict) {
    case VERDICT_DUPLICATE: put_duplicate(b, i, ref, out); break;
    case VERDICT_TOO_OLD:
        buf_put_sv(out,
                   o->head.out_of_order_window_ms > 0 ? SV("too old sample") : SV("out of bounds"));
        break;
    case VERDICT_OUT_OF_ORDER: buf_put_sv(out, SV("out of order sample")); break;
    case VERDICT_FUTURE:
        buf_put_sv(out, SV("out of bounds: timestamp is too far in the future"));
        break;
    case VERDICT_LIMIT: buf_put_sv(out, sv_from(b->err->msg)); break;
    case VERDICT_ACCEPT:
    case VERDICT_NOOP:
    case VERDICT_COUNT: assert(!"not refused"); break;
    }
}

static void batch_refuse(struct batch *b, size_t i, uint32_t ref, enum verdict verdict) {
    struct write_result *r = b->result;
    if (r->refused) return;
    r->refused = true;
    r->first_verdict = verdict;
    r->first_index = i;
    struct buf text = {0};
    put_verdict(b, i, ref, verdict, &text);
    r->first_plain_len = MIN(text.len, sizeof r->first_text - 1);
    buf_put_sv(&text, SV(" for series "));
    put_series(batch_labels(b, i, ref), &text);
    size_t len = MIN(text.len, sizeof r->first_text - 1);
    if (len > 0) memcpy(r->first_text, text.ptr, len);
    r->first_text[len] = '\0';
    buf_fini(&text);
}

/* -- series */

enum status write_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "store: not enough memory for the batch");
}

enum status write_reserve(struct batch *b, struct buf *section, size_t more) {
    struct store *store = b->store;
    size_t bound = entry_write_bound(&store->write, b->left, more);
    if (entry_write_reserve(&store->write, b->left) != OK ||
        !buf_reserve(section, more + VARINT_BYTES_MAX) || !buf_reserve(&store->body, bound) ||
        !store_append_reserve(b->append, 1, bound)) {
        section->failed = store->body.failed = false; /* what is in them is whole */
        return write_nomem(b->err);
    }
    return OK;
}

bool store_series_are_full(const struct store *store, uint64_t count, struct err *err) {
    uint64_t max = store->options.head.series_max;
    char share[60] = "";
    if (max == 0 || count < head_limit_share(store->head, max)) return false;
    if (store->options.head.limits_shares > 1)
        snprintf(share, sizeof share, " (%" PRIu64 " on each of %u cores)",
                 head_limit_share(store->head, max), store->options.head.limits_shares);
    metric_add(store->metrics.refused_series, 1);
    status_ignore(
        err_set(err, ERR_LIMIT, 0, "maximum series limit of %" PRIu64 " reached%s", max, share));
    return true;
}

/* Judges as head_judge does for a series without samples; the verdict is LIMIT with b->err when it
 * may not be made. */
static enum verdict judge_new(struct batch *b, size_t i) {
    int64_t time_ms = b->columns->times_ms[i];
    const struct store_options *o = &b->store->options;
    if (time_ms < head_in_order_ms(b->store->head, b->newest_ms)) return VERDICT_TOO_OLD;
    struct head_stats stats;
    head_stats(b->store->head, &stats);
    if (store_series_are_full(b->store, stats.series, b->err)) return VERDICT_LIMIT;
    if (o->memory_bytes_max != 0 && stats.memory_bytes >= o->memory_bytes_max) {
        metric_add(b->store->metrics.refused_memory, 1);
        err_set(b->err, ERR_LIMIT, 0,
                "memory limit of %" PRIu64 " bytes reached, new series are not taken",
                o->memory_bytes_max);
        return VERDICT_LIMIT;
    }
    if (head_series_allowed(b->store->head, batch_labels(b, i, HEAD_NONE), b->err) != OK)
        return VERDICT_LIMIT;
    return VERDICT_ACCEPT;
}

/* Into the head, under a number, and into the entry: all or nothing. */
static enum status series_make(struct batch *b, size_t i, uint32_t *out_ref) {
    struct sv canonical = batch_labels(b, i, HEAD_NONE);
    TRY(write_reserve(b, &b->store->write.series, canonical.len));
    if (store_number_reserve(b->st) != OK) return write_nomem(b->err);
    TRY(head_series_new(b->store->head, b->columns->ids[i], b->shard, canonical, out_ref, b->err));
    store_number_next(b->store, b->st, *out_ref);
    entry_write_series(&b->store->write, canonical);
    return OK;
}

/* A series known from before this epoch's numbering gets its number, and so its labels go into the
 * log again. */
enum status write_series_number(struct batch *b, uint32_t ref) {
    if (head_series_number(b->store->head, ref) != HEAD_NONE) return OK;
    struct sv canonical = batch_labels(b, 0, ref);
    if (b->store->labels.failed || store_number_reserve(b->st) != OK) return write_nomem(b->err);
    TRY(write_reserve(b, &b->store->write.series, canonical.len));
    store_number_next(b->store, b->st, ref);
    entry_write_series(&b->store->write, canonical);
    return OK;
}

/* -- samples */

static enum status float_apply(struct batch *b, size_t i, uint32_t ref) {
    const struct write_columns *c = b->columns;
    struct store *store = b->store;
    TRY(write_series_number(b, ref));
    bool start = c->starts_ms != NULL && c->starts_ms[i] != 0;
    enum status status =
        start ? head_append_start(store->head, ref, c->times_ms[i], c->values[i], c->starts_ms[i])
              : head_append(store->head, ref, c->times_ms[i], c->values[i]);
    if (status != OK) return write_nomem(b->err);
    status = entry_write_float(&store->write, head_series_number(store->head, ref), c->times_ms[i],
                               c->values[i]);
    if (status == OK && start) status = entry_write_start(&store->write, c->starts_ms[i]);
    assert(status == OK); /* reserved */
    b->st->newest_ms = MAX(b->st->newest_ms, c->times_ms[i]);
    return OK;
}

static enum status histogram_apply(struct batch *b, size_t i, uint32_t ref) {
    struct store *store = b->store;
    TRY(write_series_number(b, ref));
    struct entry_histogram item = {.number = head_series_number(store->head, ref),
                                   .time_ms = b->columns->times_ms[i],
                                   .bytes = b->columns->histograms[i]};
    TRY(write_reserve(b, &store->write.histograms, entry_histogram_bound(&item)));
    if (head_append_histogram(store->head, ref, item.time_ms, item.bytes) != OK)
        return write_nomem(b->err);
    entry_write_histogram(&store->write, &item);
    assert(!store->write.histograms.failed); /* reserved */
    b->st->newest_ms = MAX(b->st->newest_ms, item.time_ms);
    return OK;
}

/* What is held and comes again (store_set_repeats): with what is applied it goes into the log, and
 * changes nothing here. Of what is closed nothing can be said any more. */
static NOINLINE enum verdict judge_again(const struct batch *b, size_t i, uint32_t ref) {
    const struct write_columns *c = b->columns;
    const struct store *store = b->store;
    if (store->repeats == NULL || !store->repeats(store->repeats_ctx, b->shard))
        return VERDICT_NOOP;
    if (c->times_ms[i] < b->st->cut_ms) return VERDICT_TOO_OLD;
    bool same =
        head_holds_same(store->head, ref, c->times_ms[i], c->values[i], write_histogram(c, i));
    return same ? VERDICT_ACCEPT : VERDICT_NOOP;
}

/* Inlined once for each kind: floats must not pay for histograms. */
static ALWAYS_INLINE enum status write_kind(struct batch *b, size_t i, bool histogram) {
    const struct write_columns *c = b->columns;
    struct head *head = b->store->head;
    uint32_t ref = b->refs[i];
    if (ref == HEAD_NONE) ref = head_find(head, c->ids[i]); /* an earlier sample may have made it */
    enum verdict verdict;
    if (c->times_ms[i] > b->future_ms)
        verdict = VERDICT_FUTURE;
    else if (ref == HEAD_NONE)
        verdict = judge_new(b, i);
    else if (histogram)
        verdict = head_judge_histogram(head, ref, c->times_ms[i], c->histograms[i], b->newest_ms);
    else
        verdict = head_judge(head, ref, c->times_ms[i], c->values[i], b->newest_ms);
    if (verdict == VERDICT_NOOP) verdict = judge_again(b, i, ref);
    if (verdict == VERDICT_ACCEPT && c->times_ms[i] < b->st->cut_ms) verdict = VERDICT_TOO_OLD;
    if (verdict == VERDICT_ACCEPT) {
        if (ref == HEAD_NONE) TRY(series_make(b, i, &ref));
        TRY(histogram ? histogram_apply(b, i, ref) : float_apply(b, i, ref));
    } else if (verdict != VERDICT_NOOP) {
        batch_refuse(b, i, ref, verdict);
    }
    b->result->counts[verdict]++;
    if (histogram)
        b->result->histograms_written += verdict == VERDICT_ACCEPT || verdict == VERDICT_NOOP;
    return OK;
}

static NOINLINE enum status histogram_write(struct batch *b, size_t i) {
    return write_kind(b, i, true);
}

static enum status sample_write(struct batch *b, size_t i) {
    const struct sv *histograms = b->columns->histograms;
    return histograms != NULL && histograms[i].ptr != NULL ? histogram_write(b, i)
                                                           : write_kind(b, i, false);
}

/* -- entries */

/* The entry of the run: what was applied. */
static void entry_emit(struct batch *b) {
    struct held_log *held = &b->st->log;
    struct place at = {held->end.epoch, held->end.seq + 1};
#ifdef PLANT_SKIP_SEQ
    if (at.seq % 5 == 4) at.seq++;
#endif
    store_append_put(b->append,
                     &(struct entry){.type = ENTRY_WRITE,
                                     .shard = b->shard,
                                     .incarnation = held->copy,
                                     .epoch = at.epoch,
                                     .seq = at.seq,
                                     .body = buf_sv(&b->store->body)},
                     false);
    held_step(held, b->store->file, at);
}

/* Samples [from, to), all of one shard, and its next exemplars and metadata. */
static enum status run_write(struct batch *b, uint32_t shard, size_t from, size_t to) {
    struct store *store = b->store;
    b->shard = shard;
    b->st = &store->shards[b->shard];
    b->newest_ms = b->st->newest_ms;
    b->left = to - from;
    entry_write_clear(&store->write);
    TRY(write_reserve(b, &b->store->write.series, 0));
    enum status status = OK;
    for (size_t i = from; i < to && status == OK; i++) {
        size_t ahead = i + PREFETCH_AHEAD;
        if (ahead < b->columns->count && b->refs[ahead] != HEAD_NONE)
            head_prefetch_open(store->head, b->refs[ahead]);
        status = sample_write(b, i);
        b->left--;
    }
    b->left = 0;
    if (status == OK) status = write_items(b);
    if (entry_write_is_empty(&store->write)) return status;
    buf_clear(&store->body);
    entry_write_finish(&store->write, &store->body);
    assert(!store->body.failed); /* reserved */
    entry_emit(b);
    return status;
}

/* -- before anything is done */

enum status write_labels_check(const struct batch *b, size_t i, struct sv labels) {
    const struct head_options *o = &b->store->options.head;
    if (series_id_eq(series_id_of(o->secret, o->tenant, labels), b->columns->ids[i])) return OK;
    return err_set(b->err, ERR_CORRUPT, 0,
                   "store: the labels of sample %zu are not those of its id", i);
}

enum status write_shard_check(const struct batch *b, uint32_t shard) {
    if (!store_has_shard(b->store, shard))
        return err_set(b->err, ERR_CONFLICT, 0, "store: shard %u is not here", shard);
    const struct store_shard *st = &b->store->shards[shard];
    if (st->writing && st->role == STORE_FULL && !st->log.damaged) return OK;
    if (store_damage(b->store, shard, b->err)) return ERR_CORRUPT;
    return err_set(b->err, ERR_CONFLICT, 0, "store: shard %u is not open for writing", shard);
}

/* Finds the series. *out_unknown_count > 0: labels are missing for those. */
static enum status batch_find(struct batch *b, struct arena *scratch, uint32_t **out_unknown,
                              size_t *out_unknown_count) {
    const struct write_columns *c = b->columns;
    struct head *head = b->store->head;
    uint32_t *unknown = NULL;
    size_t unknown_count = 0;
    for (size_t i = 0; i < MIN(c->count, 2 * PREFETCH_AHEAD); i++)
        head_prefetch(head, c->ids[i]);
    for (size_t i = 0; i < c->count; i++) {
        if (i + 2 * PREFETCH_AHEAD < c->count) head_prefetch(head, c->ids[i + 2 * PREFETCH_AHEAD]);
        if (i + PREFETCH_AHEAD < c->count) head_prefetch_series(head, c->ids[i + PREFETCH_AHEAD]);
        if (i == 0 || c->shards[i] != c->shards[i - 1]) TRY(write_shard_check(b, c->shards[i]));
        if (store_shard_of(b->store, c->ids[i]) != c->shards[i]) {
            return err_set(b->err, ERR_CONFLICT, 0, "store: sample %zu is not of shard %u", i,
                           c->shards[i]);
        }
        b->refs[i] = head_find(head, c->ids[i]);
        if (b->refs[i] != HEAD_NONE) continue;
        struct sv labels;
        if (write_labels_given(c, i, &labels)) {
            if (c->labels[i].ptr != NULL) TRY(write_labels_check(b, i, labels));
        } else {
            if (unknown == NULL) unknown = arena_alloc(scratch, c->count * sizeof *unknown);
            if (unknown == NULL) return write_nomem(b->err);
            unknown[unknown_count++] = (uint32_t)i;
        }
    }
    *out_unknown = unknown;
    *out_unknown_count = unknown_count;
    return OK;
}

static void batch_count(const struct batch *b) {
    const uint32_t *n = b->result->counts;
    struct store *store = b->store;
    bool window = store->options.head.out_of_order_window_ms > 0;
    if (n[VERDICT_ACCEPT] > 0) metric_add(store->metrics.appended, n[VERDICT_ACCEPT]);
    if (n[VERDICT_OUT_OF_ORDER] > 0)
        metric_add(store->metrics.out_of_order, n[VERDICT_OUT_OF_ORDER]);
    if (n[VERDICT_TOO_OLD] > 0)
        metric_add(window ? store->metrics.too_old : store->metrics.out_of_bound,
                   n[VERDICT_TOO_OLD]);
    write_items_count(b);
}

enum status store_write(struct store *store, const struct write_columns *columns,
                        int64_t cluster_now_ms, struct arena *scratch, struct write_result *out,
                        uint32_t **out_unknown, size_t *out_unknown_count, struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL);
    assert(columns->count <= UINT32_MAX);
    struct err unwanted;
    if (err == NULL) err = &unwanted;
    *out_unknown = NULL;
    *out_unknown_count = 0;
    TRY(log_refusal(store->log, err));
    struct write_result result = {0};
    struct batch b = {.store = store,
                      .shard_check = write_shard_check,
                      .columns = columns,
                      .result = &result,
                      .err = err};
    if (__builtin_add_overflow(cluster_now_ms, FUTURE_MS, &b.future_ms)) b.future_ms = INT64_MAX;
    b.refs = arena_alloc(scratch, columns->count * sizeof *b.refs);
    if (b.refs == NULL) return write_nomem(err);
    TRY(batch_find(&b, scratch, out_unknown, out_unknown_count));
    TRY(write_items_check(&b));
    if (*out_unknown_count > 0) {
        return err_set(err, ERR_UNAVAILABLE, 0, "store: labels of %zu samples are not known",
                       *out_unknown_count);
    }
    b.append = store_append_take(store);
    if (b.append == NULL) return write_nomem(err);
    enum status status = OK;
    for (size_t from = 0, to; from < columns->count && status == OK; from = to) {
        to = from + 1;
        while (to < columns->count && columns->shards[to] == columns->shards[from])
            to++;
        status = run_write(&b, columns->shards[from], from, to);
    }
    while (status == OK && b.exemplars_at < columns->exemplars_count)
        status = run_write(&b, columns->exemplars[b.exemplars_at].shard, 0, 0);
    while (status == OK && b.metadata_at < columns->metadata_count)
        status = run_write(&b, columns->metadata[b.metadata_at].shard, 0, 0);
    store_append_hand(store, b.append, APPEND_OWN);
    batch_count(&b);
    result.position = store->position;
    *out = result;
    return status;
}
