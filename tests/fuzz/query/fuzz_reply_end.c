/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a reply between nodes; and what a file of running queries says. */
#include <assert.h>

#include "query/gather/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct reply_end e, again;
    struct err err;
    struct buf b = {0};
    if (reply_end_get(sv_make(data, size), &e, &err) == OK) {
        reply_end_put(&e, &b);
        assert(reply_end_get(buf_sv(&b), &again, &err) == OK);
        assert(again.rows == e.rows && again.body_len == e.body_len);
        assert(again.times.select_ns == e.times.select_ns && again.times.cores == e.times.cores);
        assert(sv_eq(again.shards, e.shards));
    }
    buf_clear(&b);
    active_put_left(sv_make(data, size), &b);
    buf_fini(&b);
    return 0;
}
