/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/regex.h: RE2 with Go's regexp syntax and Prometheus' anchoring, behind the C++ shim.
 * Thread: a compiled regex is immutable and may be shared; matching takes RE2's internal cache lock. */
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

/* Fully anchored with dot matching newline: ^(?s:pattern)$ . Rules of reference: the bare pattern is compiled first (so
 * "a)(b" fails), \C is refused, (?<n>x) is accepted, max_mem 64 MiB. ERR_PARSE text follows Go:
 * "error parsing regexp: ...: `...`". *out owned by the caller. */
enum status regex_compile(struct sv pattern, struct regex **out, struct err *err) REGEX_NOEXCEPT MUST_USE;
/* The same without anchors or flags: pattern as Go's regexp.Compile takes it (templates, reReplaceAll). */
enum status regex_compile_plain(struct sv pattern, struct regex **out, struct err *err) REGEX_NOEXCEPT MUST_USE;
void regex_free(struct regex *re) REGEX_NOEXCEPT;
bool regex_match(const struct regex *re, struct sv text) REGEX_NOEXCEPT;

enum { REGEX_GROUPS_MAX = 64 };
/* Group 0 is the whole match; a group that took no part has ptr NULL. Returns the groups filled in, 0 for no match. */
size_t regex_match_groups(const struct regex *re, struct sv text, struct sv *groups, size_t groups_max) REGEX_NOEXCEPT;
size_t regex_groups_count(const struct regex *re) REGEX_NOEXCEPT;          /* without group 0 */
int regex_group_index(const struct regex *re, struct sv name) REGEX_NOEXCEPT; /* -1: none of that name */

#ifdef __cplusplus
}
#endif

struct buf;
/* Go's Regexp.Expand: $1, ${1}, $name, ${name}, $$; unknown groups are empty. */
void regex_expand(const struct regex *re, struct sv template_text, const struct sv *groups, size_t groups_count,
                  struct buf *out);
