/* SPDX-License-Identifier: Apache-2.0 */
/* storage/select.h: one matcher turned into a set of label pairs (select_set.c), for select.c.
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
/* pairs: as in series_cold. */
bool select_set_has(struct select_set *set, const struct head *head, const uint32_t *pairs);
