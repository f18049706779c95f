/* SPDX-License-Identifier: Apache-2.0 */
/* storage/head.h: recent data in memory, one head per core, holding the series of all shards the
 * core owns: interned labels, one hash table, one inverted index, chunks. A verdict is a function
 * of the shard's log alone.
 *
 * Thread: the owning core for everything, but for reading a selection (series_view_*), which a
 * worker may do while the core appends: open chunks are append-only words with a published length,
 * sealed ones immutable, replaced memory is kept until the selections that may see it are released.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/status.h"
#include "node/runtime/core.h"
#include "storage/labels.h"
#include "storage/matcher.h"
#include "storage/sample.h"

enum { HEAD_SHARDS_MAX = 1 << 16 }; /* shards are numbered below it */

struct head_limit { /* of series with that label */
    struct sv name;
    struct sv value;     /* empty: of each value by itself; of "__name__": of each metric name */
    uint64_t series_max; /* 0: none may be */
};

struct head_options {
    uint64_t secret; /* of series ids */
    uint32_t tenant;
    int64_t out_of_order_window_ms; /* 30 min; 0: none */
    uint64_t series_max;            /* 0: no limit */
    uint32_t shards_count;          /* for as many head_shard_set_from needs no memory */
    /* Where all but the newest sealed chunk of a series go, in a file without a name
     * (storage/spill.h); borrowed for head_new. NULL: they stay in memory. */
    const char *spill_dir;
    const struct head_limit *limits; /* copied */
    size_t limits_count;
    /* So many heads take equal parts of the limits, rounded up, and of those of head_set_limits; 0:
     * this one takes all. Ids are hashes, so that the series of a limit are spread evenly. */
    unsigned limits_shares;
};

struct head;
MUST_USE enum status head_new(const struct head_options *options, struct head **out);
void head_free(struct head *head); /* no selection may be left */

enum { HEAD_NONE = UINT32_MAX };

enum verdict {
    VERDICT_ACCEPT, /* kept: newest of its series, or late within the window */
    VERDICT_NOOP,   /* held already with the same bits (at any age), or late at a timestamp that is
                       held: first stays */
    VERDICT_DUPLICATE,    /* another value at the series' newest timestamp: 400 */
    VERDICT_TOO_OLD,      /* older than the window before the shard's newest timestamp: 400 */
    VERDICT_OUT_OF_ORDER, /* older than the series' newest, and no window is set: 400 */
    VERDICT_FUTURE,       /* more than 10 minutes ahead of the cluster's time: 400 */
    VERDICT_LIMIT,        /* a new series beyond a limit or the memory budget */
    VERDICT_COUNT
};

/* Series. ref is stable for the life of the series, and may be another's when it has gone and the
 * selections of that time are released. */
uint32_t head_find(const struct head *head, series_id id); /* HEAD_NONE: unknown */
/* For batches: each asks for the memory of the next step, some 8 samples ahead of it, and waits for
 * none: head_prefetch (table), head_prefetch_series (the line of the series), head_find,
 * head_prefetch_open (its open chunk), head_judge and head_append. */
void head_prefetch(const struct head *head, series_id id);
void head_prefetch_series(const struct head *head, series_id id);
void head_prefetch_ref(const struct head *head, uint32_t ref); /* as _series, where it is known */
void head_prefetch_open(const struct head *head, uint32_t ref);
/* labels: canonical bytes, copied (interned). The id must be unknown. */
enum status head_series_new(struct head *head, series_id id, uint32_t shard, struct sv canonical,
                            uint32_t *out_ref, struct err *err) MUST_USE;
/* Whether a new series with these labels is within series_max and the limits, which count this
 * head's live series: ERR_LIMIT with a sentence that names the limit, and the limit's metric counts
 * it. For who decides; what was decided elsewhere, or earlier, is made without asking. */
MUST_USE enum status head_series_allowed(const struct head *head, struct sv canonical,
                                         struct err *err);
/* Others from now on; series that are there stay. ERR_NOMEM: the limits are as they were. */
MUST_USE enum status head_set_limits(struct head *head, const struct head_limit *limits,
                                     size_t count);
uint64_t head_limit_share(const struct head *head, uint64_t limit); /* of this head */
/* cairn_new_series_refused_total, by the limit: labels as metric_get takes them. */
struct metric;
struct metric *head_refused_metric(const char *labels);
/* The number of the series in its shard's log (storage/entry.h), HEAD_NONE at first; set by the
 * store. A series with a number is not trimmed. */
uint32_t head_series_number(const struct head *head, uint32_t ref);
void head_series_set_number(struct head *head, uint32_t ref, uint32_t number);
uint32_t head_series_shard(const struct head *head, uint32_t ref);
/* Who keeps references is told of each series that goes, when it goes: by head_trim or
 * head_shard_drop. */
void head_watch_gone(struct head *head, void (*gone)(void *ctx, uint32_t ref), void *ctx);
/* Whether ref is of a series now. */
bool head_series_is_live(const struct head *head, uint32_t ref);
/* Canonical bytes appended to out. */
void head_series_labels(const struct head *head, uint32_t ref, struct buf *out);
/* Newest sample: false when there is none. */
bool head_series_newest(const struct head *head, uint32_t ref, int64_t *out_time_ms,
                        double *out_value);

/* Forgets the shard's series and where it begins. Live selections keep the views they have. */
void head_shard_drop(struct head *head, uint32_t shard);

/* Of the shard nothing before from_ms is answered, judged as held or counted from here on; what is
 * older is in blocks. At once; never goes back. The memory goes by head_trim. The shard is one of
 * options.shards_count, or has had a series. Live selections keep what they see. */
void head_shard_set_from(struct head *head, uint32_t shard, int64_t from_ms);
int64_t head_shard_from(const struct head *head, uint32_t shard); /* INT64_MIN: all */
/* Frees chunks and late samples wholly before their shard's from_ms, and series that have nothing
 * left and no number, in slices until core_mono_ns reaches until_ns (0: to the end). True when done
 * (what memory was lacking for stays until the next time). Costs nothing while there is nothing to
 * do. */
bool head_trim(struct head *head, uint64_t until_ns);
/* Samples of matching series of that shard with min_ms <= t <= max_ms go, for ever: later appends
 * of such times are judged as if never seen. Runs to the end. ERR_NOMEM: some series have been
 * done; the same again does the others. */
MUST_USE enum status head_delete(struct head *head, uint32_t shard, const struct matcher *matchers,
                                 size_t count, int64_t min_ms, int64_t max_ms, struct err *err);
struct head_shard_stats {
    uint64_t series;                  /* with a sample */
    uint64_t samples;                 /* held; a chunk that has begun before from_ms counts whole */
    uint64_t memory_bytes;            /* of these series alone: no index, no labels' text */
    int64_t min_time_ms, max_time_ms; /* of samples; INT64_MAX, INT64_MIN when there are none */
};
/* Walks the shard's series. */
void head_shard_stats(const struct head *head, uint32_t shard, struct head_shard_stats *out);

/* What is in order for its series is accepted from there on: shard_newest - max(window, 1 h);
 * INT64_MIN: all is. */
int64_t head_in_order_ms(const struct head *head, int64_t shard_newest_ms);
/* What would become of the sample; changes nothing. shard_newest_ms: INT64_MIN when the shard has
 * none. What is before the shard's from_ms counts as not held; the caller refuses such times. In
 * order for the series: accepted from shard_newest - max(window, 1 h) on; late: from shard_newest -
 * window on (Prometheus' head_append). */
enum verdict head_judge(const struct head *head, uint32_t ref, int64_t time_ms, double value,
                        int64_t shard_newest_ms);
/* Appends (in order or late) a sample that was judged ACCEPT; in recovery and on followers without
 * judging: a sample that is there already, or is before the shard's from_ms, is left alone, so
 * applying is idempotent. ERR_NOMEM only. */
enum status head_append(struct head *head, uint32_t ref, int64_t time_ms, double value) MUST_USE;

/* -- reading */
struct shard_set { /* one bit per shard */
    const uint64_t *bits;
    uint32_t shards_count;
};
static inline bool shard_set_has(const struct shard_set *s, uint32_t shard) {
    return (s->bits[shard / 64] >> (shard % 64)) & 1;
}

struct series_view { /* immutable; valid until its selection is released */
    series_id id;
    uint32_t ref;
    uint32_t shard;
    /* private to the head */
    char *const *symbols;  /* directory of pairs */
    const void *labels;    /* pair ids */
    const void *sealed;    /* newest sealed chunk, linked to older ones */
    const void *late;      /* samples that came out of order */
    int64_t after_ms;      /* nothing up to here is seen */
    uint32_t sealed_count; /* that many are linked */
    uint32_t late_count;
    int32_t open_delta_ms; /* the open chunk, see storage/chunk.h */
    const void *open_first;
    int64_t open_last_ms;
    uint64_t open_last_bits;
    uint16_t open_bits;
    uint8_t open_count, open_run;
    uint32_t histograms_count, starts_count; /* storage/head_histograms.h */
    const void *histograms, *starts;
};

struct selection; /* pins the head */
struct select_query {
    const struct matcher *matchers;
    size_t matchers_count;
    const struct shard_set *shards; /* only series of these; NULL: all */
    int64_t from_ms, to_ms;         /* series without a sample in (from, to] may be left out */
    uint64_t series_max;            /* beyond: ERR_LIMIT; 0: none */
    uint64_t memory_bytes_max;      /* of the selection; beyond: ERR_LIMIT; 0: none */
};
/* Of a few shards without matchers the series come by ref. Selecting goes in slices: call
 * select_step until it says done; each call works until core_mono_ns reaches until_ns (0: to the
 * end). Series created between slices may be missed or seen. Everything given must live until then.
 */
MUST_USE enum status select_new(struct head *head, const struct select_query *query,
                                struct selection **out, struct err *err);
MUST_USE enum status select_step(struct selection *sel, uint64_t until_ns, bool *out_done,
                                 struct err *err);
const struct series_view *selection_series(const struct selection *sel, size_t *out_count);
void selection_release(struct selection *sel); /* on the owning core */

/* Any thread while the selection lives. */
size_t series_view_labels(const struct series_view *v, struct label *out,
                          size_t max); /* sorted by name; returns the count */
/* Only those with such a name. */
size_t series_view_labels_asked(const struct series_view *v, struct labels_asked *asked,
                                struct label *out, size_t max);
/* Appends samples with from < t <= to in time order, late ones merged in, stale markers included.
 */
MUST_USE enum status series_view_read(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                                      struct samples *out, struct err *err);
/* At least the newest of these; mostly without decoding a chunk. */
MUST_USE enum status series_view_newest(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                                        struct samples *out, struct err *err);
/* About how many samples reading them decodes, by their distances; most, or more, where it is that
 * many or not to be said. */
uint64_t series_views_samples(const struct series_view *views, size_t count, int64_t from_ms,
                              int64_t to_ms, uint64_t most);
/* Asks the memory for what reading these views, or their newest sample, will need: from ms on, or
 * up to it. */
enum { SERIES_TOUCH_MAX = 16 };
void series_views_touch(const struct series_view *views, size_t count, int64_t ms, bool newest);

/* Label names and values over series that match (no matchers: all) and have samples in the range;
 * sorted, unique, from the arena; limit 0: all. On the core. */
MUST_USE enum status head_label_names(struct head *head, const struct select_query *query,
                                      struct arena *arena, struct sv **out, size_t *out_count,
                                      struct err *err);
MUST_USE enum status head_label_values(struct head *head, struct sv name,
                                       const struct select_query *query, struct arena *arena,
                                       struct sv **out, size_t *out_count, struct err *err);

struct head_stats {
    uint64_t series, label_pairs, chunks, samples_appended, memory_bytes;
    uint64_t time_columns; /* of sealed chunks, shared */
    uint64_t spilled_bytes, spill_errors /* of the disk; what was meant for it is in memory */;
    int64_t min_time_ms, max_time_ms; /* none is outside; INT64_MAX, INT64_MIN when empty */
};
void head_stats(const struct head *head, struct head_stats *out);
/* For status/tsdb and tests: visits every series; stops when fn returns false. */
void head_each_series(const struct head *head, bool (*fn)(void *ctx, uint32_t ref), void *ctx);
