/* SPDX-License-Identifier: Apache-2.0 */
/* pattern NUL value: whatever plan the pattern gets, it answers as RE2 does. */
#include <assert.h>
#include <stdint.h>

#include "node/base/utf8.h"
#include "storage/matcher.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv pattern, value = sv_cut(sv_make(data, size), '\0', &pattern);
    struct arena arena;
    struct regex *regex = NULL;
    arena_init(&arena, 64 << 20);
    struct matcher m = {.kind = MATCH_RE, .value = pattern};
    enum status rc = matcher_compile(&m, &arena, NULL);
    enum status want = regex_compile(pattern, &regex, NULL);
    assert((rc == OK) == (want == OK));
    if (rc == OK) {
        assert(matcher_match(&m, SV("")) == regex_match(regex, SV("")));
        if (utf8_valid(value)) assert(matcher_match(&m, value) == regex_match(regex, value));
        for (size_t i = 0; i < m.literals_count && m.plan == PLAN_LITERALS; i++)
            assert(regex_match(regex, m.literals[i]));
        matcher_fini(&m);
        regex_free(regex);
    }
    arena_fini(&arena);
    return 0;
}
