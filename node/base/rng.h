/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/rng.h: seeded pseudo-random numbers (xoshiro256**, Blackman and Vigna 2018), for tests,
 * the simulator and jitter. Not for secrets: those come from getrandom(2). */
#pragma once

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

static inline uint64_t rng_splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}
static inline void rng_init(struct rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++)
        r->s[i] = rng_splitmix(&seed);
}
static inline uint64_t rng_rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}
static inline uint64_t rng_u64(struct rng *r) {
    uint64_t *s = r->s, result = rng_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rng_rotl(s[3], 45);
    return result;
}
static inline uint64_t rng_below(struct rng *r, uint64_t n) { /* uniform in [0, n), n > 0 */
    __extension__ unsigned __int128 wide = rng_u64(r);
    return (uint64_t)((wide * n) >> 64);
}
static inline double rng_unit(struct rng *r) {
    return (double)(rng_u64(r) >> 11) * 0x1.0p-53;
}
static inline int rng_chance(struct rng *r, double p) {
    return rng_unit(r) < p;
}
