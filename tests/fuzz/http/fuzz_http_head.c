/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads: no part of an accepted head is accepted, views stay inside of it, and the target
 * splits. */
#include <assert.h>
#include <stdlib.h>

#include "node/http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_view(struct sv view, struct sv input) {
    assert(view.ptr >= input.ptr && view.ptr + view.len <= input.ptr + input.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv input = sv_make(data, size);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct http_head head;
    struct err err = {0};
    size_t used = 1;
    enum status rc = http_head_parse(input, &arena, &head, &used, &err);
    assert(rc == OK || (used == 0 && err.msg[0] != '\0'));
    if (rc == OK && used > 0) {
        assert(used <= size && sv_ends(sv_take(input, used), SV("\r\n\r\n")));
        assert(!(head.chunked && head.has_length) && head.headers_count <= HTTP_HEADERS_MAX);
        check_view(head.method_text, input);
        check_view(head.target, input);
        for (size_t i = 0; i < head.headers_count; i++) {
            check_view(head.headers[i].name, input);
            check_view(head.headers[i].value, input);
        }
        struct http_head part;
        size_t part_used;
        assert(http_head_parse(sv_take(input, used - 1), &arena, &part, &part_used, &err) == OK);
        assert(part_used == 0);
    } else if (rc == OK && size > 0) {
        /* what waits for more must not have been refused earlier */
        assert(http_head_parse(sv_take(input, size / 2), &arena, &head, &used, &err) == OK &&
               used == 0);
    }
    arena_fini(&arena);
    return 0;
}
