/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed chunks from bytes: byte 0 the count, then the chunk. What decodes must survive being
 * written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/chunk.h"

static void check(bool ok) {
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int64_t times_ms[CHUNK_SAMPLES_MAX], times_again_ms[CHUNK_SAMPLES_MAX];
    static double values[CHUNK_SAMPLES_MAX], values_again[CHUNK_SAMPLES_MAX];
    static uint8_t bytes[CHUNK_BYTES_MAX];
    if (size < 1) return 0;
    size_t count = data[0];
    if (chunk_decode(data + 1, size - 1, 1600000000000, count, times_ms, values) != OK) return 0;
    struct chunk_slab slab;
    chunk_slab_init(&slab);
    struct chunk_open c = {.full = (uint8_t)count};
    for (size_t i = 0; i < count; i++)
        check(chunk_append(&c, &slab, times_ms[i], f64_bits(values[i])) == OK);
    size_t len = chunk_encode(&c, bytes);
    check(chunk_decode(bytes, len, 1600000000000, count, times_again_ms, values_again) == OK);
    check(memcmp(times_ms, times_again_ms, count * sizeof *times_ms) == 0);
    check(memcmp(values, values_again, count * sizeof *values) == 0);
    chunk_slab_fini(&slab);
    return 0;
}
