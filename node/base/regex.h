/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/regex.h: RE2 with Go's regexp syntax and Prometheus' anchoring, behind the C++ shim.
 * Thread: a compiled regex is immutable and may be shared; matching takes RE2's internal cache
 * lock. Texts are UTF-8; unlike Go, `.` does not match a byte of invalid UTF-8 (labels never hold
 * one). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "node/base/status.h"
#include "node/base/sv.h"

#ifdef __cplusplus
extern "C" {
#define REGEX_NOEXCEPT noexcept
#else
#define REGEX_NOEXCEPT
#endif

struct regex;

/* Fully anchored with dot matching newline: ^(?s:pattern)$ . Rules of reference: the bare pattern
 * is compiled first (so "a)(b" fails), \C is refused, (?<n>x) is accepted, max_mem 64 MiB.
 * ERR_PARSE text follows Go: "error parsing regexp: ...: `...`". *out owned by the caller. */
enum status regex_compile(struct sv pattern, struct regex **out,
                          struct err *err) REGEX_NOEXCEPT MUST_USE;
/* The same without anchors or flags: pattern as Go's regexp.Compile takes it (templates,
 * reReplaceAll). */
enum status regex_compile_plain(struct sv pattern, struct regex **out,
                                struct err *err) REGEX_NOEXCEPT MUST_USE;
void regex_free(struct regex *re) REGEX_NOEXCEPT;
bool regex_match(const struct regex *re, struct sv text) REGEX_NOEXCEPT;

enum { REGEX_GROUPS_MAX = 64 };
/* Group 0 is the whole match; a group that took no part has ptr NULL. Returns the groups filled in,
 * 0 for no match. */
size_t regex_match_groups(const struct regex *re, struct sv text, struct sv *groups,
                          size_t groups_max) REGEX_NOEXCEPT;
/* The same from byte `start` on; what stands before it still counts for ^ and \b. */
size_t regex_match_groups_at(const struct regex *re, struct sv text, size_t start,
                             struct sv *groups, size_t groups_max) REGEX_NOEXCEPT;
size_t regex_groups_count(const struct regex *re) REGEX_NOEXCEPT; /* without group 0 */
int regex_group_index(const struct regex *re,
                      struct sv name) REGEX_NOEXCEPT; /* -1: none of that name */

enum { REGEX_RANGE_BYTES = 32 };
struct regex_range {
    char min[REGEX_RANGE_BYTES + 1], max[REGEX_RANGE_BYTES + 1]; /* not NUL-terminated */
    size_t min_len, max_len;
};
/* For an anchored regex: every text that matches lies in [min, max] bytewise, so a sorted list is
 * narrowed before it is matched. False when nothing is known (a plain regex, or one RE2 cannot
 * bound). */
bool regex_prefix_range(const struct regex *re, struct regex_range *out) REGEX_NOEXCEPT;

#ifdef __cplusplus
}
#endif

struct buf;
/* Go's Regexp.Expand: $1, ${1}, $name, ${name}, $$; unknown groups are empty. */
void regex_expand(const struct regex *re, struct sv template_text, const struct sv *groups,
                  size_t groups_count, struct buf *out);
/* Go's Regexp.ReplaceAllString: every match that does not overlap, the replacement expanded as
 * above. */
void regex_replace_all(const struct regex *re, struct sv text, struct sv replacement,
                       struct buf *out);
