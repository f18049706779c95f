/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/hash.h: XXH3 (xxHash 0.8) of bytes. Not against attackers without the seed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hash128 {
    uint64_t hi, lo;
};
uint64_t hash64(const void *p, size_t len, uint64_t seed);
struct hash128 hash128(const void *p, size_t len, uint64_t seed);
/* XXH64 with seed 0: Prometheus' label hashes (limit_ratio) and file checks that others read. */
uint64_t hash_xxh64(const void *p, size_t len);
