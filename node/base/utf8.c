/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/utf8.h"

#include <string.h>

#include "node/base/attr.h"

struct rune_range {
    uint32_t first, last;
};

#include "node/base/unicode_tables.h"

/* Length of the valid sequence at p, 0 when there is none (RFC 3629, table of section 4). */
static size_t sequence_len(const uint8_t *p, size_t left) {
    uint8_t b = p[0];
    if (b < 0x80) return 1;
    if (b < 0xc2 || b > 0xf4) return 0;
    size_t len = b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    if (left < len) return 0;
    uint8_t low = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
    uint8_t high = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return len;
}

bool utf8_valid(struct sv s) {
    const uint8_t *p = (const uint8_t *)s.ptr, *end = p + s.len;
    while (p < end) {
        while (end - p >= 8) { /* labels are ASCII nearly always */
            uint64_t word;
            memcpy(&word, p, sizeof word);
            if ((word & 0x8080808080808080) != 0) break;
            p += 8;
        }
        if (p == end) break;
        size_t n = sequence_len(p, (size_t)(end - p));
        if (n == 0) return false;
        p += n;
    }
    return true;
}

size_t utf8_decode(struct sv s, uint32_t *out_rune) {
    const uint8_t *p = (const uint8_t *)s.ptr;
    size_t n = sequence_len(p, s.len);
    if (n == 0) {
        *out_rune = UTF8_INVALID;
        return 1;
    }
    uint32_t rune = n == 1 ? p[0] : p[0] & (0x7fU >> n);
    for (size_t i = 1; i < n; i++)
        rune = rune << 6 | (p[i] & 0x3fU);
    *out_rune = rune;
    return n;
}

size_t utf8_encode(char out[4], uint32_t rune) {
    if (rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff)) rune = UTF8_INVALID;
    if (rune < 0x80) {
        out[0] = (char)rune;
        return 1;
    }
    size_t n = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (rune & 0x3f));
        rune >>= 6;
    }
    out[0] = (char)((0xf00U >> n & 0xf0) | rune);
    return n;
}

size_t utf8_rune_count(struct sv s) {
    size_t count = 0;
    while (s.len > 0) {
        uint32_t rune;
        s = sv_skip(s, utf8_decode(s, &rune));
        count++;
    }
    return count;
}

static bool rune_in(uint32_t rune, const struct rune_range *ranges, size_t count) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (rune > ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < count && rune >= ranges[low].first;
}

bool utf8_is_letter(uint32_t rune) {
    return rune_in(rune, letter_ranges, ARRAY_LEN(letter_ranges));
}

bool utf8_is_digit(uint32_t rune) {
    return rune_in(rune, digit_ranges, ARRAY_LEN(digit_ranges));
}

bool utf8_is_print(uint32_t rune) {
    return rune_in(rune, print_ranges, ARRAY_LEN(print_ranges));
}
