/* SPDX-License-Identifier: Apache-2.0 */
/* hash128 keeps secrets from one call to the next; the library, called with seeds, is the oracle.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <xxhash.h>

#include "node/base/hash.h"

Test(hash, is_xxh3_with_the_seed_at_any_length_and_change_of_seed) {
    static const uint64_t seeds[] = {0, 1, 0x5eed, UINT64_MAX, 0, 1};
    char bytes[2048];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31 + i / 7);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        for (size_t k = 0; k < sizeof seeds / sizeof *seeds; k++) {
            XXH128_hash_t want = XXH3_128bits_withSeed(bytes, len, seeds[k]);
            struct hash128 got = hash128(bytes, len, seeds[k]);
            cr_assert(got.hi == want.high64 && got.lo == want.low64, "length %zu", len);
        }
    }
}
