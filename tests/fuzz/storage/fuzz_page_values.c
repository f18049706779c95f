/* SPDX-License-Identifier: Apache-2.0 */
/* Doubles and integers to pages and columns and back. Byte 0 says how the others become values:
 * their bits, small integers, or decimals and their running sums. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/page/internal.h"

static struct page_scratch scratch;
static double values[PAGE_SAMPLES_MAX], decoded[PAGE_SAMPLES_MAX];
static int64_t ints[PAGE_SAMPLES_MAX], ints_decoded[PAGE_SAMPLES_MAX];

static void check(bool ok) {
    if (!ok) abort();
}

static size_t values_make(const uint8_t *data, size_t size) {
    unsigned kind = data[0] % 4, exponent = (data[0] >> 2) % (PAGE_EXPONENT_MAX + 1);
    size_t width = kind == 0 ? 8 : 2, count = MIN((size - 1) / width, (size_t)PAGE_SAMPLES_MAX);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *p = data + 1 + i * width;
        double n = kind == 0 ? get_f64le(p) : (double)(int16_t)get_u16le(p);
        double decimal = n / decimal_powers[exponent];
        sum += decimal;
        values[i] = kind < 2 ? n : kind == 2 ? decimal : sum;
        ints[i] = (int64_t)f64_bits(values[i]) >> (data[0] >> 2);
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t count = size < 1 ? 0 : values_make(data, size);
    if (count == 0) return 0;
    page_scratch_init(&scratch);
    uint8_t *bytes = malloc(2 + 8 * count); /* what is promised, so that ASan sees a byte more */
    check(bytes != NULL);
    struct page p = {bytes, page_encode(&scratch, values, count, bytes), count};
    check(p.len <= 1 + 8 * count && page_decode(&scratch, &p, decoded) == OK);
    check(memcmp(values, decoded, count * sizeof *values) == 0);
    p.len = column_encode(&scratch, ints, count, bytes);
    check(p.len <= 2 + 8 * count && column_decode(&scratch, &p, ints_decoded) == OK);
    check(memcmp(ints, ints_decoded, count * sizeof *ints) == 0);
    free(bytes);
    return 0;
}
