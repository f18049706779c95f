/* SPDX-License-Identifier: Apache-2.0 */
/* The hash of a sample is the 128-bit product of two words, each a mix (fmix64 of MurmurHash3, a
 * bijection) of the time, and of the value's bits, each XORed with one half of the series id:
 * samples of one series that differ in one of the two have different hashes (but for a factor of
 * zero, one of 2^64), and a swap of two values is seen as well. For a histogram the second word is
 * the mix of the low half of the hash of its bytes, seeded with the high half of the id. */
#include "storage/block/block.h"

#include "node/base/bytes.h"
#include "storage/histogram.h"

static inline uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

static uint64_t histogram_word(const struct histogram *h, series_id id, struct buf *scratch) {
    buf_clear(scratch);
    histogram_put(h, scratch);
    return scratch->failed ? 0 : histogram_hash(buf_sv(scratch), id.hi).lo;
}

enum status block_digest_add(struct block_digest *d, series_id id, const struct samples *samples) {
    __extension__ unsigned __int128 sum = 0;
    struct buf scratch = {0};
    bool nomem = false;
    for (size_t i = 0; i < samples->count; i++) {
        __extension__ unsigned __int128 when = mix((uint64_t)samples->times_ms[i] ^ id.lo);
        const struct histogram *h = samples->histograms == NULL ? NULL : samples->histograms[i];
        if (h == NULL) {
            sum += when * mix(f64_bits(samples->values[i]) ^ id.hi);
            continue;
        }
        sum += when * mix(histogram_word(h, id, &scratch));
        nomem = nomem || scratch.failed;
    }
    buf_fini(&scratch);
    if (nomem) return ERR_NOMEM;
    block_digest_sum(d, (struct block_digest){(uint64_t)(sum >> 64), (uint64_t)sum});
    return OK;
}
