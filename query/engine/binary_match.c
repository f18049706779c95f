/* SPDX-License-Identifier: Apache-2.0 */
/* Vector matching: series of both sides by their matching labels. */
#include "query/engine/binary.h"

#include <stdlib.h>
#include <string.h>

static bool sig_eq(const void *owner, uint32_t ref, const void *key) {
    const struct matching *m = owner;
    return labelset_cmp(&m->sigs[ref].labels, key) == 0;
}
static uint64_t sig_hash(const void *owner, uint32_t ref) {
    const struct matching *m = owner;
    return m->sigs[ref].hash;
}

void match_labels(const struct binary *b, const struct labelset *in, struct labelset *out) {
    if (b->on)
        labelset_keep(in, &b->labels, out);
    else
        labelset_remove(in, &b->labels, true, out);
}

static enum status sig_find(struct matching *m, const struct labelset *labels, uint32_t *out) {
    struct labelset key;
    key.labels = arena_array(&m->arena, labels->count + 1, sizeof *key.labels);
    if (key.labels == NULL) return ERR_NOMEM;
    match_labels(m->binary, labels, &key);
    uint64_t hash = labelset_hash(&key);
    uint32_t found = map_find(&m->map, hash, sig_eq, m, &key);
    if (found == MAP_NONE) {
        if (m->count == m->cap) {
            uint32_t cap = m->cap == 0 ? 64 : m->cap * 2;
            size_t size = sizeof *m->sigs;
            struct sig *grown = budget_grow(m->arena.budget, m->sigs, m->cap * size, cap * size);
            if (grown == NULL) return ERR_NOMEM;
            m->sigs = grown;
            m->cap = cap;
        }
        m->sigs[m->count] = (struct sig){.labels = key, .hash = hash};
        struct map_entry entry = {hash, m->count, sig_hash, m};
        TRY(map_insert_charged(&m->map, m->arena.budget, &entry));
        found = m->count++;
    }
    *out = found;
    return OK;
}

static enum status side_add(struct matching *m, struct sig_side *side, struct series *s) {
    if (side->count == side->cap) {
        uint32_t cap = side->cap == 0 ? 2 : side->cap * 2;
        size_t size = sizeof(*side->series);
        struct series **grown = arena_grow(&m->arena, side->series, side->cap * size, cap * size);
        if (grown == NULL) return ERR_NOMEM;
        side->series = grown;
        side->cap = cap;
    }
    side->series[side->count++] = s;
    return OK;
}

enum status matching_init(struct eval *ev, struct matching *m, const struct binary *b,
                          struct vectors *many, struct vectors *one) {
    *m = (struct matching){.binary = b};
    arena_init_budget(&m->arena, ev->budget);
    map_init(&m->map);
    for (int side = 0; side < 2; side++) {
        struct vectors *v = side == 0 ? many : one;
        for (size_t i = 0; i < v->count; i++) {
            uint32_t at;
            TRY(eval_work(ev, 300));
            TRY(sig_find(m, &v->series[i].labels, &at));
            TRY(side_add(m, side == 0 ? &m->sigs[at].many : &m->sigs[at].one, &v->series[i]));
        }
    }
    return OK;
}

void matching_fini(struct matching *m) {
    budget_give(m->arena.budget, map_memory_bytes(&m->map) + m->cap * sizeof *m->sigs);
    map_fini(&m->map);
    free(m->sigs);
    arena_fini(&m->arena);
}
