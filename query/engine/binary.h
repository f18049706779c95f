/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/binary.h: operators between two vectors. */
#pragma once

#include "query/engine/internal.h"

struct sig_side {
    struct series **series;
    uint32_t count, cap;
};
struct sig { /* a match group */
    struct labelset labels;
    uint64_t hash;
    struct sig_side many, one; /* "many" is the left side, except with group_right */
};
struct matching {
    const struct binary *binary;
    struct arena arena;
    struct map map;
    struct sig *sigs;
    uint32_t count, cap;
};
enum status matching_init(struct eval *ev, struct matching *m, const struct binary *b,
                          struct vectors *many, struct vectors *one) MUST_USE;
void matching_fini(struct matching *m);
/* The labels that two series must share to match; out has room for in->count. */
void match_labels(const struct binary *b, const struct labelset *in, struct labelset *out);
enum status binary_arithmetic(struct eval *ev, const struct expr *e, struct matching *m,
                              struct vectors *out) MUST_USE;
enum status binary_set(struct eval *ev, const struct expr *e, struct matching *m,
                       struct vectors *out) MUST_USE;
