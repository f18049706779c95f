/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/select.h"

#include <stdlib.h>

static bool bit_get(const uint64_t *bits, uint32_t i) {
    return bits[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *bits, uint32_t i) {
    bits[i / 64] |= 1ULL << (i % 64);
}

static size_t words_for(uint32_t bits) {
    return ((size_t)bits + 63) / 64;
}

void select_set_fini(struct select_set *set) {
    u32s_fini(&set->pairs);
    free(set->members);
    free(set->asked);
}

size_t select_set_memory_bytes(const struct select_set *set) {
    size_t bitmaps = (size_t)(set->members != NULL) + (size_t)(set->asked != NULL);
    return u32s_memory_bytes(&set->pairs) + bitmaps * words_for(set->values_count) * 8;
}

static enum status bits_new(uint32_t count, uint64_t **out) {
    uint64_t *bits = calloc(words_for(count) + 1, sizeof *bits);
    if (bits == NULL) return ERR_NOMEM;
    *out = bits;
    return OK;
}

/* No members are kept for an equality: one pair is compared by its id. */
static enum status set_add(struct select_set *set, struct head *head, uint32_t pair) {
    uint32_t value = symbols_pair(head->symbols.pairs.dir, pair)->value_index;
    if (set->members != NULL) {
        if (bit_get(set->members, value)) return OK;
        bit_set(set->members, value);
    }
    set->postings += index_count(&head->index, pair);
    return u32s_put(&set->pairs, pair);
}

/* All values have been asked: the cheapest form of the result. */
static void set_close(struct select_set *set, bool negative) {
    if (negative) {
        set->kind = set->pairs.count == 0 ? SET_ALL : SET_NOT_IN;
    } else if (set->pairs.count == 0) {
        set->kind = SET_NOTHING;
    } else if (set->pairs.count == 1) {
        set->kind = SET_ONE;
        set->pair = set->pairs.at[0];
    } else {
        set->kind = SET_IN;
    }
}

static enum status set_add_value(struct select_set *set, struct head *head, struct sv value) {
    uint32_t pair = symbols_find(&head->symbols, set->matcher->name, value);
    return pair == MAP_NONE ? OK : set_add(set, head, pair);
}

enum status select_set_begin(struct select_set *set, struct head *head,
                             const struct matcher *matcher) {
    *set = (struct select_set){.matcher = matcher, .kind = SET_PENDING};
    set->name = symbols_find_name(&head->symbols, matcher->name);
    bool empty_matches = matcher_matches_empty(matcher);
    if (set->name == MAP_NONE) {
        set->kind = empty_matches ? SET_ALL : SET_NOTHING;
        return OK;
    }
    set->values_count = head->symbols.names[set->name].pairs.count;
    bool literals =
        matcher->plan == PLAN_LITERALS && (matcher->kind == MATCH_RE || matcher->kind == MATCH_NRE);
    bool equality = matcher->kind == MATCH_EQ || matcher->kind == MATCH_NEQ;
    bool positive = matcher->kind == MATCH_EQ || matcher->kind == MATCH_RE;
    if (!equality || positive == empty_matches) TRY(bits_new(set->values_count, &set->members));
    /* A list of values decides without a walk: those that match when "" does not, those that do not
     * when it does. */
    if ((!equality && !literals) || positive == empty_matches) return OK;
    if (equality) {
        TRY(set_add_value(set, head, matcher->value));
    } else {
        for (size_t i = 0; i < matcher->literals_count; i++)
            TRY(set_add_value(set, head, matcher->literals[i]));
    }
    set_close(set, empty_matches);
    return OK;
}

/* The values of one sorted run that begin with the prefix. */
static enum status set_walk_run(struct select_set *set, struct head *head, struct sv prefix) {
    char *const *dir = head->symbols.pairs.dir;
    const uint32_t *pairs;
    TRY(symbols_sorted_run(&head->symbols, set->name, set->values_done / NAME_RUN, &pairs));
    uint32_t low = 0, count = NAME_RUN;
    while (count > 0) {
        uint32_t half = count / 2;
        uint32_t pair = pairs[low + half];
        if (!name_is_hole(pair) && sv_cmp(pair_value(symbols_pair(dir, pair)), prefix) < 0) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    for (; low < NAME_RUN && !name_is_hole(pairs[low]); low++) {
        if (!sv_starts(pair_value(symbols_pair(dir, pairs[low])), prefix)) break;
        TRY(set_add(set, head, pairs[low]));
    }
    set->values_done += NAME_RUN;
    return OK;
}

/* Whether the next values are a sorted run to be asked for a prefix; negated or not, those with the
 * prefix are the set:
 * "" does not have it. */
static bool set_at_run(const struct select_set *set) {
    const struct matcher *m = set->matcher;
    if (m->kind == MATCH_EQ || m->kind == MATCH_NEQ || m->plan != PLAN_PREFIX) return false;
    return set->values_done % NAME_RUN == 0 && set->values_count - set->values_done >= NAME_RUN &&
           m->literals[0].len > 0;
}

enum status select_set_walk(struct select_set *set, struct head *head, uint32_t values) {
    if (set_at_run(set)) {
        TRY(set_walk_run(set, head, set->matcher->literals[0]));
        if (set->values_done == set->values_count)
            set_close(set, matcher_matches_empty(set->matcher));
        return OK;
    }
    const struct u32s *pairs = &head->symbols.names[set->name].pairs;
    bool empty_matches = matcher_matches_empty(set->matcher);
    uint32_t end = set->values_done + MIN(values, set->values_count - set->values_done);
    for (; set->values_done < end; set->values_done++) {
        uint32_t pair = pairs->at[set->values_done];
        if (name_is_hole(pair)) continue;
        struct sv value = pair_value(symbols_pair(head->symbols.pairs.dir, pair));
        if (matcher_match(set->matcher, value) != empty_matches) TRY(set_add(set, head, pair));
    }
    if (set->values_done == set->values_count) set_close(set, empty_matches);
    return OK;
}

enum status select_set_make_lazy(struct select_set *set) {
    TRY(bits_new(set->values_count, &set->asked));
    set->kind = SET_LAZY;
    return OK;
}

static bool lazy_matches(struct select_set *set, const struct pair *p) {
    if (!bit_get(set->asked, p->value_index)) {
        bit_set(set->asked, p->value_index);
        if (matcher_match(set->matcher, pair_value(p))) bit_set(set->members, p->value_index);
    }
    return bit_get(set->members, p->value_index);
}

static bool labels_have(const struct series_labels *l, uint32_t pair) {
    uint32_t total = labels_total(l);
    for (uint32_t i = 0; i < total; i++)
        if (labels_at(l, i) == pair) return true;
    return false;
}

bool select_set_has(struct select_set *set, const struct head *head,
                    const struct series_labels *labels) {
    if (set->kind == SET_ALL) return true;
    if (set->kind == SET_ONE) return labels_have(labels, set->pair);
    if (set->kind == SET_NOT_IN && set->pairs.count == 1)
        return !labels_have(labels, set->pairs.at[0]);
    for (uint32_t i = 0, total = labels_total(labels); i < total; i++) {
        const struct pair *p = symbols_pair(head->symbols.pairs.dir, labels_at(labels, i));
        if (p->name != set->name) continue;
        if (set->kind == SET_LAZY) return lazy_matches(set, p);
        return bit_get(set->members, p->value_index) == (set->kind == SET_IN);
    }
    return set->kind == SET_LAZY ? matcher_matches_empty(set->matcher) : set->kind == SET_NOT_IN;
}
