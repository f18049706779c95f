/* SPDX-License-Identifier: Apache-2.0 */
/* Pages and columns from bytes: a u16 count, then the page. Both sets of kernels and every range
 * must agree; what decodes must survive being written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/page/internal.h"

enum { COUNT_MAX = PAGE_SAMPLES_MAX + 200 };

static struct page_scratch best, plain;
static double values[COUNT_MAX], values_again[COUNT_MAX];
static int64_t ints[COUNT_MAX], ints_again[COUNT_MAX];

static void check(bool ok) {
    if (!ok) abort();
}

static void check_page(const struct page *p) {
    enum status got = page_decode(&best, p, values);
    check(got == page_decode(&plain, p, values_again));
    if (got != OK) return;
    check(memcmp(values, values_again, p->count * sizeof *values) == 0);
    size_t from = p->count / 3, to = p->count - p->count / 4;
    check(page_decode_range(&best, p, from, to, values_again) == OK);
    check(memcmp(values + from, values_again, (to - from) * sizeof *values) == 0);
    if (p->count > PAGE_SAMPLES_MAX) return;
    uint8_t bytes[PAGE_BYTES_MAX];
    struct page again = {bytes, page_encode(&best, values, p->count, bytes), p->count};
    check(again.len <= 1 + 8 * p->count);
    check(page_decode(&best, &again, values_again) == OK);
    check(memcmp(values, values_again, p->count * sizeof *values) == 0);
}

static void check_column(const struct page *p) {
    enum status got = column_decode(&best, p, ints);
    check(got == column_decode(&plain, p, ints_again));
    if (got != OK) return;
    check(memcmp(ints, ints_again, p->count * sizeof *ints) == 0);
    uint8_t bytes[COLUMN_BYTES_MAX];
    struct page again = {bytes, column_encode(&best, ints, p->count, bytes), p->count};
    check(column_decode(&best, &again, ints_again) == OK);
    check(memcmp(ints, ints_again, p->count * sizeof *ints) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    page_scratch_init(&best);
    page_scratch_init(&plain);
    plain.kernels = kernels_plain();
    struct page p = {data + 2, size - 2, get_u16le(data) % (COUNT_MAX + 1)};
    check_page(&p);
    check_column(&p);
    return 0;
}
