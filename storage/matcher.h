/* SPDX-License-Identifier: Apache-2.0 */
/* storage/matcher.h: a label matcher. Values are compared bytewise; a label that is absent has the
 * value "". Immutable after matcher_compile; may be shared between threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "node/base/arena.h"
#include "node/base/regex.h"
#include "node/base/status.h"
#include "node/base/sv.h"

enum match_kind { MATCH_EQ, MATCH_NEQ, MATCH_RE, MATCH_NRE };
extern const char *const match_kind_text[4]; /* "=", "!=", "=~", "!~" */

/* What a regular expression was turned into, so that most never run RE2. */
enum match_plan {
    PLAN_REGEX,
    PLAN_LITERALS,
    PLAN_PREFIX,
    PLAN_SUFFIX,
    PLAN_CONTAINS,
    PLAN_ANY,
    PLAN_NOT_EMPTY
};

struct matcher {
    enum match_kind kind;
    struct sv name;
    struct sv value; /* the literal or the pattern as written */
    /* private to matcher.c and the index */
    enum match_plan plan;
    struct sv *literals; /* PLAN_LITERALS: sorted; PREFIX, SUFFIX, CONTAINS: the one string */
    size_t literals_count;
    struct regex *regex; /* PLAN_REGEX */
    bool matches_empty;
};

/* Fills plan, literals (from the arena) and regex. ERR_PARSE with Go's text, ERR_NOMEM. Strings are
 * borrowed. A list of words of any length up to 4096 becomes PLAN_LITERALS. Equality is
 * PLAN_LITERALS too, with its value as the only one. */
enum status matcher_compile(struct matcher *m, struct arena *arena, struct err *err) MUST_USE;
void matcher_fini(struct matcher *m); /* frees the regex */
bool matcher_match(const struct matcher *m, struct sv value);
static inline bool matcher_matches_empty(const struct matcher *m) {
    return m->matches_empty;
}
