/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/hash.h"

#include <stdbool.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* XXH3 derives 192 bytes of secret from the seed for each input over 240 bytes, which costs as much
 * as hashing them. A process hashes its series with one seed: each thread keeps the last seed's
 * secret. The result is XXH3's own with the seed (xxhash.h, XXH3_128bits_withSecretandSeed). */
static _Thread_local struct {
    uint64_t seed;
    bool set;
    uint8_t bytes[XXH_SECRET_DEFAULT_SIZE];
} hash_secret;

uint64_t hash64(const void *p, size_t len, uint64_t seed) {
    return XXH3_64bits_withSeed(p, len, seed);
}

struct hash128 hash128(const void *p, size_t len, uint64_t seed) {
    if (len > XXH3_MIDSIZE_MAX && (!hash_secret.set || hash_secret.seed != seed)) {
        XXH3_generateSecret_fromSeed(hash_secret.bytes, seed);
        hash_secret.seed = seed;
        hash_secret.set = true;
    }
    XXH128_hash_t h =
        XXH3_128bits_withSecretandSeed(p, len, hash_secret.bytes, sizeof hash_secret.bytes, seed);
    return (struct hash128){.hi = h.high64, .lo = h.low64};
}

uint64_t hash_xxh64(const void *p, size_t len) {
    return XXH64(p, len, 0);
}
