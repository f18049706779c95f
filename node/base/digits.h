/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/digits.h: decimal digits of numbers below 10^8, eight at a time in one register, halved
 * three times (after Mula, SSE: conversion integers to decimal representation, 2011): two lanes of
 * four digits, four of two, eight of one. The multipliers are 2^20 / 100 and 2^10 / 10, rounded up,
 * which is exact below 10^4 and 10^2. Both functions may write eight bytes whatever the count. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { DIGITS_WORD = 8, DIGITS_WORD_LIMIT = 100000000 };

/* The first digit in the lowest byte, each as its number. */
static inline uint64_t digits_word(uint32_t v) {
    uint64_t x = v / 10000 | (uint64_t)(v % 10000) << 32;
    uint64_t high = (x * 10486 >> 20) & 0x0000007f0000007f;
    x = high | (x - high * 100) << 16;
    high = (x * 103 >> 10) & 0x000f000f000f000f;
    return high | (x - high * 10) << 8;
}

/* Without leading zeros; returns how many digits: 1 .. 8. */
static inline size_t digits_put(char *out, uint32_t v) {
    uint64_t word = digits_word(v);
    unsigned zeros = (unsigned)__builtin_ctzll(word | (uint64_t)1 << 56) / 8;
    word = (word | 0x3030303030303030) >> zeros * 8;
    memcpy(out, &word, sizeof word);
    return DIGITS_WORD - zeros;
}

/* The last `count` digits of v, 1 .. 8. */
static inline void digits_put_last(char *out, uint32_t v, size_t count) {
    uint64_t word = (digits_word(v) | 0x3030303030303030) >> (DIGITS_WORD - count) * 8;
    memcpy(out, &word, sizeof word);
}
