/* SPDX-License-Identifier: Apache-2.0 */
/* Shortest digits by dragonbox (Jeon 2020), decimal parsing by fast_float (Lemire 2021); the layout
 * round them is strconv's. No exceptions leave this file: nothing here throws, and it is built
 * without them. */
#include "node/base/num.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include <dragonbox/dragonbox.h>
#include <fast_float/fast_float.h>

#include "node/base/digits.h"

namespace {

struct decimal {
    char digits[20]; /* without leading or trailing zeros */
    int count;
    int point; /* the decimal point stands before digits[point]: 0.d1d2... * 10^point */
};

int put_u64(char *out, uint64_t v) {
    return static_cast<int>(num_format_u64(out, v));
}

using shortest = jkj::dragonbox::decimal_fp<uint64_t, true, false>; /* no trailing zeros */

decimal decimal_of(const shortest &d) {
    decimal out;
    out.count = put_u64(out.digits, d.significand);
    out.point = out.count + d.exponent;
    return out;
}

char *put_exponent_layout(char *p, const decimal &d) {
    *p++ = d.digits[0];
    if (d.count > 1) {
        *p++ = '.';
        memcpy(p, d.digits + 1, static_cast<size_t>(d.count - 1));
        p += d.count - 1;
    }
    int exp = d.point - 1;
    *p++ = 'e';
    *p++ = exp < 0 ? '-' : '+';
    if (exp < 0) exp = -exp;
    if (exp < 10) *p++ = '0';
    return p + put_u64(p, static_cast<uint64_t>(exp));
}

enum { PLACES_MAX = 2 * DIGITS_WORD };

/* Of nearly all values: some places behind the point. Each digit is written where it stays: what
 * was written in parts cannot be read again without waiting. */
char *put_places(char *p, uint64_t significand, int places) {
    static const uint64_t powers[PLACES_MAX + 1] = {1,
                                                    10,
                                                    100,
                                                    1000,
                                                    10000,
                                                    100000,
                                                    1000000,
                                                    10000000,
                                                    100000000,
                                                    1000000000,
                                                    10000000000,
                                                    100000000000,
                                                    1000000000000,
                                                    10000000000000,
                                                    100000000000000,
                                                    1000000000000000,
                                                    10000000000000000};
    uint64_t rest = significand % powers[places];
    p += put_u64(p, significand / powers[places]);
    *p++ = '.';
    if (places > DIGITS_WORD) {
        int first = places - DIGITS_WORD;
        digits_put_last(p, static_cast<uint32_t>(rest / DIGITS_WORD_LIMIT),
                        static_cast<size_t>(first));
        p += first;
        places = DIGITS_WORD;
        rest %= DIGITS_WORD_LIMIT;
    }
    digits_put_last(p, static_cast<uint32_t>(rest), static_cast<size_t>(places));
    return p + places;
}

char *put_plain_layout(char *p, const shortest &s) {
    if (s.exponent < 0 && s.exponent >= -PLACES_MAX)
        return put_places(p, s.significand, -s.exponent);
    if (s.exponent >= 0) {
        p += put_u64(p, s.significand);
        memset(p, '0', static_cast<size_t>(s.exponent));
        return p + s.exponent;
    }
    decimal d = decimal_of(s); /* at most 17 digits: all are behind the point */
    *p++ = '0';
    *p++ = '.';
    memset(p, '0', static_cast<size_t>(-d.point));
    p += -d.point;
    memcpy(p, d.digits, static_cast<size_t>(d.count));
    return p + d.count;
}

size_t put_text(char *out, const char *text) {
    size_t n = strlen(text);
    memcpy(out, text, n);
    return n;
}

bool eq_nocase(const char *s, size_t len, const char *lower) {
    if (len != strlen(lower)) return false;
    for (size_t i = 0; i < len; i++) {
        char c = s[i] >= 'A' && s[i] <= 'Z' ? static_cast<char>(s[i] | 0x20) : s[i];
        if (c != lower[i]) return false;
    }
    return true;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = static_cast<char>(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* mantissa * 2^exp, rounded once, half to even; `sticky` says that lower bits were cut off. */
double round_binary(uint64_t mantissa, int64_t exp, bool sticky) {
    if (mantissa == 0) return 0;
    int lead = __builtin_clzll(mantissa);
    mantissa <<= lead;
    exp -= lead; /* value = mantissa * 2^exp with the top bit set */
    int drop = 11;
    if (exp + 63 < -1022) { /* subnormal: fewer bits are kept */
        int64_t more = -1022 - (exp + 63);
        drop = more > 53 ? 65 : drop + static_cast<int>(more);
    }
    if (exp + 63 > 1023) return HUGE_VAL;
    if (drop > 64) return 0; /* below half of the smallest subnormal */
    uint64_t kept = drop == 64 ? 0 : mantissa >> drop;
    uint64_t cut = drop == 64 ? mantissa : mantissa & ((uint64_t{1} << drop) - 1);
    uint64_t half = uint64_t{1} << (drop - 1);
    if (cut > half || (cut == half && (sticky || (kept & 1) != 0))) kept++;
    return std::ldexp(static_cast<double>(kept),
                      static_cast<int>(exp) + drop); /* exact, or overflows to Inf */
}

/* Go's hexadecimal floats: 0x mantissa p exponent, the exponent being required. s is behind "0x".
 */
bool parse_hex(const char *s, const char *end, double *out) {
    uint64_t mantissa = 0;
    int64_t exp = 0;
    bool any = false, point = false, sticky = false;
    for (; s < end; s++) {
        if (*s == '.' && !point) {
            point = true;
            continue;
        }
        int d = hex_digit(*s);
        if (d < 0) break;
        any = true;
        if (mantissa >> 60 == 0) {
            mantissa = mantissa << 4 | static_cast<uint64_t>(d);
            if (point) exp -= 4;
        } else {
            sticky |= d != 0;
            if (!point) exp += 4;
        }
    }
    if (!any || s == end || (*s | 0x20) != 'p') return false;
    s++;
    bool negative = s < end && *s == '-';
    if (s < end && (*s == '-' || *s == '+')) s++;
    if (s == end) return false;
    int64_t e = 0;
    for (; s < end; s++) {
        if (*s < '0' || *s > '9') return false;
        if (e < 10000) e = e * 10 + (*s - '0'); /* as far as strconv reads it */
    }
    exp += negative ? -e : e;
    /* Beyond +-2^20 the result is 0 or Inf whatever the mantissa. */
    exp = exp > (1 << 20) ? 1 << 20 : exp < -(1 << 20) ? -(1 << 20) : exp;
    *out = round_binary(mantissa, exp, sticky);
    return true;
}

} // namespace

extern "C" size_t num_format_f64(char out[NUM_TEXT_MAX], double v, char fmt) noexcept {
    if (std::isnan(v)) return put_text(out, "NaN");
    if (std::isinf(v)) return put_text(out, v > 0 ? "+Inf" : "-Inf");
    char *p = out;
    if (std::signbit(v)) {
        *p++ = '-';
        v = -v;
    }
    if (v == 0) return static_cast<size_t>(p - out) + put_text(p, fmt == 'e' ? "0e+00" : "0");
    /* Most sample values are small integers: these digits are the shortest ones already. */
    if (fmt == 'f' && v < 1e15 && v == static_cast<double>(static_cast<uint64_t>(v)))
        return static_cast<size_t>(p - out) +
               static_cast<size_t>(put_u64(p, static_cast<uint64_t>(v)));
    shortest s = jkj::dragonbox::to_decimal(v);
    if (fmt == 'f') return static_cast<size_t>(put_plain_layout(p, s) - out);
    decimal d = decimal_of(s);
    bool exponent = fmt == 'e' || d.point - 1 < -4 || d.point - 1 >= 6;
    p = exponent ? put_exponent_layout(p, d) : put_plain_layout(p, s);
    return static_cast<size_t>(p - out);
}

extern "C" bool num_parse_f64(struct sv s, double *out) noexcept {
    const char *p = s.ptr, *end = s.ptr + s.len;
    if (s.len == 0) return false;
    if (eq_nocase(p, s.len, "nan")) {
        uint64_t bits = 0x7ff8000000000001; /* math.NaN(), Prometheus' normal NaN */
        memcpy(out, &bits, sizeof bits);
        return true;
    }
    bool negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    size_t len = static_cast<size_t>(end - p);
    double v;
    if (len == 0) return false;
    if (eq_nocase(p, len, "inf") || eq_nocase(p, len, "infinity")) {
        v = HUGE_VAL;
    } else if (len > 2 && p[0] == '0' && (p[1] | 0x20) == 'x') {
        if (!parse_hex(p + 2, end, &v)) return false;
    } else {
        if (*p != '.' && (*p < '0' || *p > '9')) return false; /* no second sign, no nan(...) */
        auto r = fast_float::from_chars(p, end, v);
        if (r.ec != std::errc() && r.ec != std::errc::result_out_of_range) return false;
        if (r.ptr != end) return false;
    }
    *out = negative ? -v : v;
    return true;
}
