/* SPDX-License-Identifier: Apache-2.0 */
/* The hash of a sample is the 128-bit product of two words, each a mix (fmix64 of MurmurHash3, a
 * bijection) of the time or of the value's bits with one half of the series id: samples of one
 * series that differ in one of the two have different hashes (but for a factor of zero, one of
 * 2^64), and a swap of two values is seen as well. */
#include "storage/block/block.h"

#include "node/base/bytes.h"

static inline uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

void block_digest_add(struct block_digest *d, series_id id, const struct samples *samples) {
    __extension__ unsigned __int128 sum = 0;
    for (size_t i = 0; i < samples->count; i++) {
        __extension__ unsigned __int128 when = mix((uint64_t)samples->times_ms[i] ^ id.lo);
        sum += when * mix(f64_bits(samples->values[i]) ^ id.hi);
    }
    block_digest_sum(d, (struct block_digest){(uint64_t)(sum >> 64), (uint64_t)sum});
}
