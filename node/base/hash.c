/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash64(const void *p, size_t len, uint64_t seed) {
    return XXH3_64bits_withSeed(p, len, seed);
}

struct hash128 hash128(const void *p, size_t len, uint64_t seed) {
    XXH128_hash_t h = XXH3_128bits_withSeed(p, len, seed);
    return (struct hash128){.hi = h.high64, .lo = h.low64};
}

uint64_t hash_xxh64(const void *p, size_t len) {
    return XXH64(p, len, 0);
}
