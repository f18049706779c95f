/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/plan.h: the coordinator's state: which tree nodes are fragments, in which round each
 * can be sent, and what came back. */
#pragma once

#include "query/engine/internal.h"

enum plan_state { PLAN_WAITING, PLAN_SENT, PLAN_FOLDED, PLAN_DROPPED };

struct plan_bound { /* a scalar with data, needed by a fragment on this grid */
    const struct expr *expr;
    struct grid grid;
};
enum { PLAN_BOUNDS_MAX = 64 };
struct plan_fragment {
    struct fragment f;
    struct grid grid;
    unsigned level; /* rounds that must be over before it can be sent */
    enum plan_state state;
    struct plan_bound *bounds;
    size_t bounds_count, bounds_cap;
    struct partial *partial;
};
struct plan_reads { /* by a node at the coordinator */
    uint32_t number;
    struct reads reads;
};
struct plan {
    struct query *q;
    struct budget budget; /* of all that the coordinator holds, answers included */
    struct arena arena;
    struct plan_fragment **fragments;
    size_t fragments_count, fragments_cap;
    uint32_t *node_fragment; /* by tree node: index + 1 */
    bool *blocked;           /* by tree node: not to be pushed down */
    struct plan_fragment **round;
    size_t round_count, round_cap;
    unsigned level;
    struct notes notes;
    struct plan_reads *reads;
    size_t reads_count;
    uint64_t round_held, round_peak, peak; /* samples; of the parts of a round together */
    struct eval ev;
    struct err err;
};

/* Finds the fragments of e on this grid; *rounds: how many rounds must be over before e can be
 * evaluated. */
enum status plan_collect(struct plan *p, const struct expr *e, const struct grid *grid,
                         unsigned *rounds, struct err *err) MUST_USE;
/* Adds what e and all below it read, on e's grid. */
enum status plan_reads_below(struct plan *p, const struct expr *e, const struct grid *grid,
                             struct reads *into) MUST_USE;
/* Computes the bound inputs of the fragments that can be sent now. */
enum status plan_attach_bounds(struct plan *p) MUST_USE;
/* The deepest node of a chain that drops names; NULL when none does. *leaf: it is the leaf. */
const struct expr *chain_lowest_drop(const struct expr *e, bool *leaf);
