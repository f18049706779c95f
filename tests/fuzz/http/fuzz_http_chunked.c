/* SPDX-License-Identifier: Apache-2.0 */
/* Chunked bodies: the first byte chooses the pieces; verdict, body and end must not depend on them.
 */
#include <assert.h>

#include "node/http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct verdict {
    enum status rc;
    bool done;
    size_t used;
    struct buf body;
};

static struct verdict feed(struct sv input, uint32_t pieces) {
    struct verdict v = {0};
    struct http_chunked c = {0};
    while (v.rc == OK && !v.done && v.used < input.len) {
        struct err err;
        size_t n = input.len - v.used, used;
        if (pieces != 0) {
            pieces = pieces * 1664525 + 1013904223; /* a new size for each piece */
            n = MIN(n, (size_t)1 + (pieces >> 24) % 9);
        }
        v.rc = http_chunked_feed(&c, sv_make(input.ptr + v.used, n), &v.body, &used, &v.done, &err);
        assert(used <= n && (v.rc != OK || v.done || used == n));
        v.used += used;
    }
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct sv input = sv_make(data + 1, size - 1);
    struct verdict whole = feed(input, 0), pieces = feed(input, data[0] + 1U);
    assert(whole.rc == pieces.rc && whole.done == pieces.done);
    if (whole.rc == OK) {
        assert(whole.used == pieces.used);
        assert(sv_eq(buf_sv(&whole.body), buf_sv(&pieces.body)));
    }
    buf_fini(&whole.body);
    buf_fini(&pieces.body);
    return 0;
}
