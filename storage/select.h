/* SPDX-License-Identifier: Apache-2.0 */
/* storage/select.h: a selection, for the select files, and one matcher turned into a set of label
 * pairs (select_set.c).
 * A series has at most one pair of a name; so a matcher that does not match "" holds when one of
 * the series' pairs is in its set, and one that does, when none of its pairs is among the values
 * that do not match. */
#pragma once

#include "storage/internal.h"

enum set_kind {
    SET_PENDING, /* values are still to be asked */
    SET_ALL,     /* holds for every series */
    SET_NOTHING, /* holds for none */
    SET_ONE,     /* one pair must be there */
    SET_IN,      /* one of `members` must be there */
    SET_NOT_IN,  /* none of `members` may be there */
    SET_LAZY,    /* asked per series, answers remembered per value */
};

struct select_set {
    const struct matcher *matcher;
    enum set_kind kind;
    uint32_t name; /* MAP_NONE: no series has it */
    uint32_t
        values_count; /* of the name when the selection began: later ones belong to later series */
    uint32_t values_done;
    uint32_t pair;     /* SET_ONE */
    struct u32s pairs; /* SET_IN: the members */
    uint64_t *members; /* one bit per value index of the name */
    uint64_t *asked;   /* SET_LAZY: members holds the answer where this is set */
    uint64_t postings; /* SET_ONE, SET_IN: how many series */
    uint64_t hash;     /* of the matcher as written */
};

void select_set_fini(struct select_set *set);
size_t select_set_memory_bytes(const struct select_set *set);
/* Looks up what needs no walk over values; the rest stays SET_PENDING. */
enum status select_set_begin(struct select_set *set, struct head *head,
                             const struct matcher *matcher) MUST_USE;
/* Asks up to `values` more values; done when the kind is no longer SET_PENDING. */
enum status select_set_walk(struct select_set *set, struct head *head, uint32_t values) MUST_USE;
/* Leaves the values to be asked when a series with them comes up. */
enum status select_set_make_lazy(struct select_set *set) MUST_USE;
bool select_set_has(struct select_set *set, const struct head *head,
                    const struct series_labels *labels);

enum select_state { SELECT_BEGIN, SELECT_SETS, SELECT_MATCH, SELECT_VIEWS, SELECT_DONE };
/* Where candidates come from: the smallest set's posting lists; the lists of the shards; all
 * series. */
enum select_walk { WALK_PAIRS, WALK_SHARDS, WALK_ALL };
enum { SELECT_BATCH = 64 };

struct selection {
    struct head *head;
    struct selection *older, *newer;
    struct retired retired;
    struct select_query query;
    enum select_state state;
    size_t matchers_done;
    struct select_set *sets; /* one a distinct matcher */
    uint32_t sets_count, sets_done;
    struct map folded; /* of sets by matcher */
    uint64_t sets_bytes;
    bool nothing; /* a set that holds for no series */
    /* Sets that are made: those of one pair, no pair twice, then those that are asked per series;
     * what holds for all is in neither part. */
    struct select_set **checks;
    uint32_t ones_count, checks_count;
    struct map ones;           /* by pair */
    struct select_set *driver; /* the smallest; NULL: none of them has a list */
    enum select_walk walk;
    uint32_t driver_list;     /* among the driver's pairs; the shard */
    uint32_t driver_position; /* the next order; the next series of the shard, or of all */
    uint32_t driver_hint;
    uint32_t *cursors; /* hints per set of one pair, within driver_list */
    uint32_t orders_end;
    uint32_t batch[SELECT_BATCH]; /* candidates under way */
    uint32_t batch_count, batch_at;
    uint32_t batch_check; /* next of the sets asked per series, for batch[batch_at] */
    bool batch_last;
    struct u32s refs;
    uint32_t refs_done;
    struct series_view *views;
    size_t views_count;
};

/* Whether to go through the series of the shards asked for is less than to look at so many
 * candidates of whatever shards. */
bool select_shards_are_fewer(const struct head *head, const struct shard_set *shards,
                             uint64_t candidates);
/* Up to SELECT_BATCH candidates, which may be dead, and but for WALK_PAIRS of shards that are not
 * asked for; *out_more is false at the end. */
uint32_t select_batch(struct selection *sel, uint32_t *batch, bool *out_more);
