/* SPDX-License-Identifier: Apache-2.0 */
/* storage/page/page.h: up to 1024 values of one series, or times or integers of a column, as few
 * immutable bytes. Lossless for every bit pattern of a double (NaN payloads, -0, subnormals).
 *
 * How many samples a page has stands beside it, in a directory, as do its checksum and its format
 * (PAGE_FORMAT); the bytes are specified in page_encode.c and istream_write.c. Decoding checks
 * every bound: bytes that no encoder writes are ERR_CORRUPT or decode to some values, they are
 * never read past len. What lies in an output after a failure is undefined. Thread: any, one
 * scratch each. Nothing here allocates. Budget (bench/page.c), a sample of real exporters: 0.3
 * bytes, 7 ns to encode, 0.4 ns to decode on an x86-64 with AVX2. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "node/base/status.h"

enum {
    PAGE_FORMAT = 1,
    PAGE_SAMPLES_MAX = 1024, /* a page of one value alone may stand for more */
    PAGE_BYTES_MAX = 1 + 8 * PAGE_SAMPLES_MAX,
    COLUMN_BYTES_MAX = 2 + 8 * PAGE_SAMPLES_MAX,
    PAGE_REF_BYTES_MAX = 1 + 10,
    /* private: kernels work on whole groups of values and load words that stand across the end */
    PAGE_PAD = 16,
    PAGE_PACKED_BYTES = 8 * PAGE_SAMPLES_MAX + 8 * PAGE_PAD,
    PAGE_TRIAL_BYTES = 2 * (12 + 8) * PAGE_SAMPLES_MAX + 128, /* two streams of patches only */
};

struct page_kernels;

struct page_run { /* private */
    uint16_t start, len;
    uint8_t code;
    const uint8_t *raw;
};

/* Work space of one encoder or decoder, some 160 KB of which little is touched. */
struct page_scratch {
    /* private */
    const struct page_kernels *kernels;
    size_t patches_count;
    int64_t ints[PAGE_SAMPLES_MAX + PAGE_PAD], ulps[PAGE_SAMPLES_MAX + PAGE_PAD];
    uint64_t residuals[PAGE_SAMPLES_MAX + PAGE_PAD];
    double values[PAGE_SAMPLES_MAX + PAGE_PAD], kept[PAGE_SAMPLES_MAX + PAGE_PAD];
    int64_t patch_highs[PAGE_SAMPLES_MAX];
    uint16_t patch_at[PAGE_SAMPLES_MAX], fails[PAGE_SAMPLES_MAX];
    uint8_t codes[PAGE_SAMPLES_MAX];
    struct page_run runs[PAGE_SAMPLES_MAX];
    uint8_t packed[PAGE_PACKED_BYTES];
    uint8_t trials[2][PAGE_TRIAL_BYTES];
};
void page_scratch_init(struct page_scratch *s); /* once; nothing to free */

struct page { /* borrowed bytes */
    const uint8_t *bytes;
    size_t len, count;
};

/* 1 <= count <= PAGE_SAMPLES_MAX. Returns the length, at most 1 + 8 * count. */
size_t page_encode(struct page_scratch *s, const double *values, size_t count, uint8_t *out);
/* count > PAGE_SAMPLES_MAX is possible for a page of one value only: else ERR_CORRUPT.
 * A reference must be resolved first: ERR_CORRUPT. */
enum status page_decode(struct page_scratch *s, const struct page *p, double *out) MUST_USE;
/* Samples from .. to - 1 into out[0 .. to - from); from <= to <= count. */
enum status page_decode_range(struct page_scratch *s, const struct page *p, size_t from, size_t to,
                              double *out) MUST_USE;

/* A page that says "the same as the page `back` (>= 1) entries before"; for writers of blocks. */
size_t page_ref_encode(uint64_t back, uint8_t out[PAGE_REF_BYTES_MAX]);
/* 0: it is none, or malformed. */
uint64_t page_ref_back(const uint8_t *bytes, size_t len);

/* Times in ms, ascending or not, with gaps or not; or any integers, as of histogram buckets.
 * Limits as for pages; the length is at most 2 + 8 * count. */
size_t column_encode(struct page_scratch *s, const int64_t *ints, size_t count, uint8_t *out);
enum status column_decode(struct page_scratch *s, const struct page *p, int64_t *out) MUST_USE;
