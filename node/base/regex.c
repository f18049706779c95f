/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/regex.h"

#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/utf8.h"

/* Cuts a group reference ("name" or "{name}") off *rest, which stands behind the dollar sign. */
static bool expand_take_name(struct sv *rest, struct sv *out_name) {
    struct sv s = *rest;
    bool brace = s.len > 0 && s.ptr[0] == '{';
    if (brace) s = sv_skip(s, 1);
    size_t n = 0;
    while (n < s.len) {
        uint32_t rune;
        size_t width = utf8_decode(sv_skip(s, n), &rune);
        if (rune != '_' && !utf8_is_letter(rune) && !utf8_is_digit(rune)) break;
        n += width;
    }
    if (n == 0 || (brace && (n == s.len || s.ptr[n] != '}'))) return false;
    *out_name = sv_take(s, n);
    *rest = sv_skip(s, n + (brace ? 1 : 0));
    return true;
}

/* The index a name of digits stands for; SIZE_MAX when it is a name ("01" is one, as in Go). */
static size_t expand_number(struct sv name) {
    if (name.len > 9 || (name.len > 1 && name.ptr[0] == '0')) return SIZE_MAX;
    size_t n = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < '0' || name.ptr[i] > '9') return SIZE_MAX;
        n = n * 10 + (size_t)(name.ptr[i] - '0');
    }
    return n;
}

void regex_expand(const struct regex *re, struct sv template_text, const struct sv *groups,
                  size_t groups_count, struct buf *out) {
    struct sv s = template_text;
    size_t at;
    while (sv_find_char(s, '$', &at)) {
        buf_put(out, s.ptr, at);
        s = sv_skip(s, at + 1);
        struct sv name;
        if (s.len > 0 && s.ptr[0] == '$') {
            buf_put_char(out, '$');
            s = sv_skip(s, 1);
        } else if (!expand_take_name(&s, &name)) {
            buf_put_char(out, '$');
        } else {
            size_t index = expand_number(name);
            if (index == SIZE_MAX) {
                int named = regex_group_index(re, name);
                index = named < 0 ? SIZE_MAX : (size_t)named;
            }
            if (index < groups_count && groups[index].ptr != NULL) buf_put_sv(out, groups[index]);
        }
    }
    buf_put_sv(out, s);
}

void regex_replace_all(const struct regex *re, struct sv text, struct sv replacement,
                       struct buf *out) {
    struct sv groups[REGEX_GROUPS_MAX];
    size_t copied = 0, from = 0, last_end = SIZE_MAX;
    if (text.ptr == NULL) text.ptr = "";
    while (from <= text.len) {
        size_t count = regex_match_groups_at(re, text, from, groups, REGEX_GROUPS_MAX);
        if (count == 0) break;
        size_t start = (size_t)(groups[0].ptr - text.ptr), end = start + groups[0].len;
        buf_put(out, text.ptr + copied, start - copied);
        /* Go takes no empty match right behind a match. */
        if (end > start || start != last_end) regex_expand(re, replacement, groups, count, out);
        copied = last_end = end;
        if (end > from) {
            from = end;
        } else if (from < text.len) {
            uint32_t rune;
            from += utf8_decode(sv_skip(text, from), &rune);
        } else {
            from++;
        }
    }
    buf_put(out, text.ptr + copied, text.len - copied);
}
