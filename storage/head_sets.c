/* SPDX-License-Identifier: Apache-2.0 */
/* The labels of a series: those of its own, and a set that it shares with others. Which labels are
 * the target's nobody says: two series that come one after the other and have much in common begin
 * a set, and those that come later and have all of it name it. Sets that were named last are looked
 * at first, so that the series of a target, which come together, come to share theirs after the
 * first few. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/internal.h"

enum {
    SHARED_MIN = 3, /* pairs of a set */
    BETTER_MIN = 2, /* more pairs than the best known set, for a new one */
};

static size_t labels_bytes(uint32_t own) {
    return sizeof(struct series_labels) + own * sizeof(uint32_t);
}

static size_t set_bytes(uint32_t count) {
    return (sizeof(struct label_set) + count * sizeof(uint32_t) + 8 + 15) / 16 * 16;
}

uint32_t labels_walk_next(struct labels_walk *w) {
    const struct series_labels *l = w->labels;
    bool has_own = w->own < l->own;
    bool has_shared = l->shared != NULL && w->shared < l->shared->count;
    if (!has_own && !has_shared) return MAP_NONE;
    if (has_own && has_shared) {
        struct sv own = pair_name(symbols_pair(w->symbols, l->pairs[w->own]));
        struct sv shared = pair_name(symbols_pair(w->symbols, l->shared->pairs[w->shared]));
        has_own = sv_cmp(own, shared) < 0;
    }
    return has_own ? l->pairs[w->own++] : l->shared->pairs[w->shared++];
}

/* -- sets */

/* Both by name, so what both have comes in the same order in both. */
static bool is_within(const struct label_set *set, const uint32_t *pairs, uint32_t count) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < count && found < set->count; i++)
        found += set->pairs[found] == pairs[i];
    return found == set->count;
}

static struct label_set **best_set(struct head *head, const uint32_t *pairs, uint32_t count) {
    struct label_set **best = NULL;
    for (uint32_t i = 0; i < SETS_RECENT && head->sets_recent[i] != NULL; i++) {
        struct label_set **at = &head->sets_recent[i];
        if (best != NULL && (*at)->count <= (*best)->count) continue;
        if (is_within(*at, pairs, count)) best = at;
    }
    return best;
}

/* Those of pairs that the series before had too. */
static uint32_t common_with_last(const struct head *head, const uint32_t *pairs, uint32_t count,
                                 uint32_t *out) {
    uint32_t common = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < head->last_count; k++)
            if (head->last_pairs[k] == pairs[i]) out[common++] = pairs[i];
    return common;
}

static void recent_remove(struct head *head, struct label_set **at) {
    struct label_set **end = head->sets_recent + SETS_RECENT - 1;
    memmove(at, at + 1, (size_t)(end - at) * sizeof(*at));
    *end = NULL;
}

static void recent_put(struct head *head, struct label_set *set) {
    memmove(head->sets_recent + 1, head->sets_recent,
            (SETS_RECENT - 1) * sizeof(*head->sets_recent));
    head->sets_recent[0] = set;
}

/* *out: one that all of its pairs are in, or NULL. */
static enum status set_choose(struct head *head, const uint32_t *pairs, uint32_t count,
                              struct label_set **out) {
    uint32_t common[LAST_PAIRS_MAX], n = 0;
    *out = NULL;
    if (count > LAST_PAIRS_MAX) return OK;
    struct label_set **best = best_set(head, pairs, count), *set;
    n = common_with_last(head, pairs, count, common);
    if (n >= SHARED_MIN && n >= (best == NULL ? 0 : (*best)->count) + BETTER_MIN) {
        set = malloc(sizeof *set + n * sizeof *set->pairs);
        if (set == NULL) return ERR_NOMEM;
        *set = (struct label_set){.count = n};
        memcpy(set->pairs, common, n * sizeof *common);
        head->sets_bytes += set_bytes(n);
    } else if (best != NULL) {
        set = *best;
        recent_remove(head, best);
    } else {
        return OK;
    }
    recent_put(head, set);
    *out = set;
    return OK;
}

/* Sets that nobody names go with their last series; one that was made for a series that could not
 * be made goes at once. */
static void set_unuse(struct head *head, struct label_set *set) {
    if (set->uses > 0) return;
    for (uint32_t i = 0; i < SETS_RECENT; i++)
        if (head->sets_recent[i] == set) recent_remove(head, &head->sets_recent[i]);
    head->sets_bytes -= set_bytes(set->count);
    free(set);
}

/* -- labels */

/* Exact in size, used again by size. */
static struct series_labels *labels_alloc(struct head *head, uint32_t own) {
    if (own >= PAIRS_SIZES) {
        struct series_labels *l = malloc(labels_bytes(own));
        if (l != NULL) head->pairs_bytes += labels_bytes(own);
        return l;
    }
    struct series_labels *l = head->labels_free[own];
    if (l == NULL)
        return bump_alloc(&head->pair_ids, labels_bytes(own), _Alignof(struct series_labels));
    head->labels_free[own] = l->next_free;
    return l;
}

struct series_labels *head_labels_make(struct head *head, const uint32_t *pairs, uint32_t count) {
    struct label_set *set;
    if (set_choose(head, pairs, count, &set) != OK) return NULL;
    uint32_t own = count - (set == NULL ? 0 : set->count), at = 0;
    struct series_labels *l = labels_alloc(head, own);
    if (l == NULL) {
        if (set != NULL) set_unuse(head, set);
        return NULL;
    }
    l->shared = set;
    l->own = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (set != NULL && at < set->count && set->pairs[at] == pairs[i])
            at++;
        else
            l->pairs[l->own++] = pairs[i];
    }
    assert(l->own == own);
    if (set != NULL) set->uses++;
    head->last_count = count > LAST_PAIRS_MAX ? 0 : count;
    memcpy(head->last_pairs, pairs, head->last_count * sizeof *pairs);
    return l;
}

void head_labels_give(struct head *head, struct series_labels *l) {
    uint32_t own = l->own;
    if (l->shared != NULL) {
        assert(l->shared->uses > 0);
        l->shared->uses--;
        set_unuse(head, l->shared);
    }
    if (own >= PAIRS_SIZES) {
        head->pairs_bytes -= labels_bytes(own);
        free(l);
    } else {
        l->next_free = head->labels_free[own];
        head->labels_free[own] = l;
    }
}
