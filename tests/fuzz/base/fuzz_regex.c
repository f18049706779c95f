/* SPDX-License-Identifier: Apache-2.0 */
/* First line: the pattern; second: a template; the rest: the text. Sizes are capped, as a compiled
 * pattern may be thousands of times its text. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/regex.h"
#include "node/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATTERN_BYTES_MAX = 64, TEXT_BYTES_MAX = 256 };

static void run(const struct regex *re, struct sv template_text, struct sv text) {
    struct sv groups[REGEX_GROUPS_MAX];
    struct buf b = {.limit_bytes = 1 << 20};
    bool match = regex_match(re, text);
    size_t n = regex_match_groups(re, text, groups, REGEX_GROUPS_MAX);
    assert(match == (n > 0));
    for (size_t i = 0; i < n; i++) {
        if (groups[i].ptr == NULL) continue;
        assert(groups[i].ptr >= text.ptr && groups[i].ptr + groups[i].len <= text.ptr + text.len);
    }
    struct regex_range range;
    if (match && regex_prefix_range(re, &range)) {
        assert(sv_cmp(sv_make(range.min, range.min_len), text) <= 0);
        assert(sv_cmp(text, sv_make(range.max, range.max_len)) <= 0);
    }
    if (n > 0) regex_expand(re, template_text, groups, n, &b);
    regex_replace_all(re, text, template_text, &b);
    buf_clear(&b);
    regex_replace_all(re, text, SV("$0"), &b); /* every match by itself changes nothing */
    assert(b.failed || sv_eq(buf_sv(&b), text));
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv pattern, template_text, rest = sv_make(data, size);
    rest = sv_cut(rest, '\n', &pattern);
    rest = sv_cut(rest, '\n', &template_text);
    if (pattern.len > PATTERN_BYTES_MAX || rest.len > TEXT_BYTES_MAX || template_text.len > 64)
        return 0;
    struct regex *anchored = NULL, *plain = NULL;
    struct err err;
    enum status a = regex_compile(pattern, &anchored, &err);
    enum status p = regex_compile_plain(pattern, &plain, &err);
    assert(a == p || a == ERR_PARSE); /* wrapping may pass a size limit, and nothing else */
    if (a == OK) run(anchored, template_text, rest);
    if (p == OK) run(plain, template_text, rest);
    if (a == OK && utf8_valid(rest) && regex_match(anchored, rest)) {
        struct regex *dots = NULL;
        struct buf b = {0};
        buf_put_sv(&b, SV("(?s:"));
        buf_put_sv(&b, pattern);
        buf_put_char(&b, ')');
        if (regex_compile_plain(buf_sv(&b), &dots, NULL) == OK) assert(regex_match(dots, rest));
        regex_free(dots);
        buf_fini(&b);
    }
    regex_free(anchored);
    regex_free(plain);
    return 0;
}
