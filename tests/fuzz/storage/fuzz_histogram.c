/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an encoded histogram: memory follows the bytes, what can be read is written back
 * bit for bit, and what keeps the rules can be made coarser and keeps them. */
#include <assert.h>
#include <math.h>
#include <stdint.h>

#include "storage/histogram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv bytes = sv_make(data, size);
    struct histogram h;
    struct arena arena;
    struct err err;
    arena_init(&arena, 16 * size + (1 << 13));
    enum status status = histogram_get(bytes, &arena, &h, &err);
    assert(status == OK || status == ERR_CORRUPT);
    if (status == OK) {
        struct buf out = {0};
        histogram_put(&h, &out);
        assert(sv_eq(buf_sv(&out), bytes) && histogram_bytes_equal(bytes, bytes));
        assert(histogram_bytes_start_ms(bytes) == h.start_ms);
        assert(histogram_equal(&h, &h));
        bool valid = histogram_validate(&h, &err) == OK;
        if (valid && h.schema > HISTOGRAM_SCHEMA_MIN) {
            histogram_reduce(&h, h.schema - 1);
            /* sums of counts that wrap may be negative */
            assert(h.is_float || h.count > INT64_MAX || histogram_validate(&h, &err) == OK);
        }
        buf_fini(&out);
    }
    arena_fini(&arena);
    return 0;
}
