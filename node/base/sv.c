/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/sv.h"

#include <string.h>

struct sv sv_cut(struct sv s, char c, struct sv *head) {
    size_t i;
    if (!sv_find_char(s, c, &i)) {
        *head = s;
        return (struct sv){s.ptr + s.len, 0};
    }
    *head = sv_take(s, i);
    return sv_skip(s, i + 1);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct sv sv_trim(struct sv s) {
    while (s.len > 0 && is_space(s.ptr[0]))
        s = sv_skip(s, 1);
    while (s.len > 0 && is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

static unsigned char lower(char c) {
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool sv_eq_nocase(struct sv a, struct sv b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i])) return false;
    return true;
}

bool sv_find(struct sv s, struct sv needle, size_t *out_index) {
    if (needle.len == 0) {
        *out_index = 0;
        return true;
    }
    const char *p = s.len == 0 ? NULL : (const char *)memmem(s.ptr, s.len, needle.ptr, needle.len);
    if (p == NULL) return false;
    *out_index = (size_t)(p - s.ptr);
    return true;
}
