/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/sv.h: a borrowed run of bytes, passed by value, not NUL-terminated. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct sv {
    const char *ptr;
    size_t len;
};

#define SV(lit) ((struct sv){(lit), sizeof(lit) - 1})
#define SV_INIT(lit)                                                                               \
    { (lit), sizeof(lit) - 1 }             /* for static initialisers */
#define SV_ARG(sv) (int)(sv).len, (sv).ptr /* for "%.*s" */

static inline struct sv sv_from(const char *cstr) {
    return (struct sv){cstr, cstr == NULL ? 0 : strlen(cstr)};
}
static inline struct sv sv_make(const void *ptr, size_t len) {
    return (struct sv){(const char *)ptr, len};
}
static inline bool sv_eq(struct sv a, struct sv b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
/* Bytewise order, a prefix sorts first (Go's string order). */
static inline int sv_cmp(struct sv a, struct sv b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    if (c != 0) return c;
    return a.len < b.len ? -1 : a.len > b.len;
}
static inline bool sv_starts(struct sv s, struct sv prefix) {
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}
static inline bool sv_ends(struct sv s, struct sv suffix) {
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}
static inline struct sv sv_skip(struct sv s, size_t n) {
    n = n < s.len ? n : s.len;
    return (struct sv){s.ptr + n, s.len - n};
}
static inline struct sv sv_take(struct sv s, size_t n) {
    return (struct sv){s.ptr, n < s.len ? n : s.len};
}
static inline bool sv_find_char(struct sv s, char c, size_t *out_index) {
    const char *p = s.len == 0 ? NULL : (const char *)memchr(s.ptr, c, s.len);
    if (p == NULL) return false;
    *out_index = (size_t)(p - s.ptr);
    return true;
}
/* Cuts s at the first c: *head is what stands before; returns what follows (empty when there is no
 * c). */
struct sv sv_cut(struct sv s, char c, struct sv *head);
struct sv sv_trim(struct sv s);              /* without spaces and tabs, CR, LF at both ends */
bool sv_eq_nocase(struct sv a, struct sv b); /* ASCII only */
bool sv_find(struct sv s, struct sv needle, size_t *out_index);
