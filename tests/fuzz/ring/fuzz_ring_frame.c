/* SPDX-License-Identifier: Apache-2.0 */
/* A frame of another node: refused by name, or the same bytes when it is written again. Length and
 * checksum are put right first, so that what is behind them is reached. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "ring/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_frame(struct sv bytes) {
    struct frame f;
    struct err err = {0};
    enum status st = frame_get(bytes, &f, &err);
    if (st != OK) {
        assert((st == ERR_CORRUPT || st == ERR_UNSUPPORTED) && err.code == st && err.msg[0] != 0);
        return;
    }
    assert(f.payload.len + FRAME_HEADER_BYTES == bytes.len);
    struct buf again = {0};
    frame_put(&f, &again);
    assert(sv_eq(buf_sv(&again), bytes));
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try_frame(sv_make(data, size));
    if (size < FRAME_HEADER_BYTES) return 0;
    char *copy = malloc(size);
    if (copy == NULL) abort();
    memcpy(copy, data, size);
    put_u32le(copy + 52, (uint32_t)(size - FRAME_HEADER_BYTES));
    uint64_t seed = hash64(copy, 56, 0);
    put_u64le(copy + 56, hash64(copy + FRAME_HEADER_BYTES, size - FRAME_HEADER_BYTES, seed));
    try_frame(sv_make(copy, size));
    free(copy);
    return 0;
}
