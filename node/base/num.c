/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/num.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/digits.h"

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char to_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Go's rule for literals: an underscore stands between digits, or between a base prefix and a
 * digit. */
static bool underscores_ok(struct sv s) {
    size_t i = s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+') ? 1 : 0;
    bool after_digit = false, after_underscore = false, hex = false;
    if (s.len - i >= 2 && s.ptr[i] == '0') {
        char c = to_lower(s.ptr[i + 1]);
        if (c == 'x' || c == 'o' || c == 'b') {
            hex = c == 'x';
            after_digit = true;
            i += 2;
        }
    }
    for (; i < s.len; i++) {
        char c = to_lower(s.ptr[i]);
        if (c == '_') {
            if (!after_digit) return false;
            after_digit = false;
            after_underscore = true;
            continue;
        }
        after_digit = is_digit(c) || (hex && c >= 'a' && c <= 'f');
        if (after_underscore && !after_digit) return false;
        after_underscore = false;
    }
    return !after_underscore;
}

bool num_parse_f64_literal(struct sv s, double *out) {
    size_t at;
    if (!sv_find_char(s, '_', &at)) return num_parse_f64(s, out);
    if (!underscores_ok(s)) return false;
    char small[256];
    char *text = s.len <= sizeof small ? small : malloc(s.len);
    if (text == NULL) return false;
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] != '_') text[n++] = s.ptr[i];
    bool ok = num_parse_f64(sv_make(text, n), out);
    if (text != small) free(text);
    return ok;
}

static bool parse_digits(struct sv s, unsigned base, bool underscores, uint64_t *out) {
    uint64_t v = 0;
    bool any = false;
    for (size_t i = 0; i < s.len; i++) {
        char c = to_lower(s.ptr[i]);
        if (c == '_' && underscores) continue;
        unsigned d;
        if (is_digit(c))
            d = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            d = (unsigned)(c - 'a') + 10;
        else
            return false;
        if (d >= base) return false;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v)) return false;
        any = true;
    }
    if (!any) return false;
    *out = v;
    return true;
}

static bool apply_sign(uint64_t magnitude, bool negative, int64_t *out) {
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) return false;
    *out = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

static struct sv cut_sign(struct sv s, bool *negative) {
    *negative = s.len > 0 && s.ptr[0] == '-';
    return s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+') ? sv_skip(s, 1) : s;
}

bool num_parse_i64_base0(struct sv s, int64_t *out) {
    bool negative;
    if (!underscores_ok(s)) return false;
    s = cut_sign(s, &negative);
    unsigned base = 10;
    if (s.len > 1 && s.ptr[0] == '0') {
        char c = to_lower(s.ptr[1]);
        bool prefixed = s.len > 2 && (c == 'x' || c == 'o' || c == 'b');
        base = !prefixed ? 8 : c == 'x' ? 16 : c == 'o' ? 8 : 2;
        s = sv_skip(s, prefixed ? 2 : 1);
    }
    uint64_t v;
    return parse_digits(s, base, true, &v) && apply_sign(v, negative, out);
}

bool num_parse_i64(struct sv s, int64_t *out) {
    bool negative;
    uint64_t v;
    s = cut_sign(s, &negative);
    return parse_digits(s, 10, false, &v) && apply_sign(v, negative, out);
}

bool num_parse_u64(struct sv s, uint64_t *out) {
    return parse_digits(s, 10, false, out);
}

void num_put_f64(struct buf *b, double v, char fmt) {
    char text[NUM_TEXT_MAX];
    buf_put(b, text, num_format_f64(text, v, fmt));
}

size_t num_format_u64(char out[NUM_U64_MAX], uint64_t v) {
    if (v < DIGITS_WORD_LIMIT) return digits_put(out, (uint32_t)v);
    uint64_t high = v / DIGITS_WORD_LIMIT;
    uint32_t low = (uint32_t)(v % DIGITS_WORD_LIMIT);
    if (high < DIGITS_WORD_LIMIT) {
        size_t n = digits_put(out, (uint32_t)high);
        digits_put_last(out + n, low, DIGITS_WORD);
        return n + DIGITS_WORD;
    }
    size_t n = digits_put(out, (uint32_t)(high / DIGITS_WORD_LIMIT));
    digits_put_last(out + n, (uint32_t)(high % DIGITS_WORD_LIMIT), DIGITS_WORD);
    digits_put_last(out + n + DIGITS_WORD, low, DIGITS_WORD);
    return n + 2 * DIGITS_WORD;
}

size_t num_format_json_value(char out[NUM_TEXT_MAX], double v) {
    double abs = fabs(v);
    if (abs < 1e15 && v == (double)(int64_t)v && (v != 0 || !signbit(v))) {
        out[0] = '-';
        return num_format_u64(out + (v < 0), (uint64_t)abs) + (v < 0);
    }
    return num_format_f64(out, v, abs != 0 && (abs < 1e-6 || abs >= 1e21) ? 'e' : 'f');
}

void num_put_json_value(struct buf *b, double v) {
    char text[NUM_TEXT_MAX];
    buf_put(b, text, num_format_json_value(text, v));
}

void num_put_u64(struct buf *b, uint64_t v) {
    char text[NUM_U64_MAX];
    buf_put(b, text, num_format_u64(text, v));
}

void num_put_i64(struct buf *b, int64_t v) {
    if (v < 0) buf_put_char(b, '-');
    num_put_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

size_t num_format_timestamp_ms(char out[NUM_TIMESTAMP_MAX], int64_t ms) {
    uint64_t abs = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    uint32_t fraction = (uint32_t)(abs % 1000);
    char *p = out;
    if (ms < 0) *p++ = '-';
    p += num_format_u64(p, abs / 1000);
    if (fraction != 0) {
        *p++ = '.';
        digits_put_last(p, fraction, 3);
        p += 3;
    }
    return (size_t)(p - out);
}

void num_put_timestamp_ms(struct buf *b, int64_t ms) {
    char text[NUM_TIMESTAMP_MAX];
    buf_put(b, text, num_format_timestamp_ms(text, ms));
}

static const char units_letters[] = "KMGTPE";

/* One of the two unit tables of Base2Bytes: suffix "iB" or "B"; both know "B". */
static bool unit_find(struct sv unit, struct sv suffix, double *out) {
    *out = 1;
    if (sv_eq(unit, SV("B"))) return true;
    for (const char *c = units_letters; *c != '\0'; c++) {
        *out *= 1024;
        if (unit.len > 0 && unit.ptr[0] == *c && sv_eq(sv_skip(unit, 1), suffix)) return true;
    }
    return false;
}

static size_t digits_len(struct sv s) {
    size_t n = 0;
    while (n < s.len && is_digit(s.ptr[n]))
        n++;
    return n;
}

static bool bytes_parse_with(struct sv s, struct sv suffix, double *out) {
    double sum = 0;
    while (s.len > 0) {
        size_t whole_len = digits_len(s), fraction_len = 0;
        uint64_t whole = 0, fraction = 0;
        double scale = 1;
        if (whole_len > 0 && !parse_digits(sv_take(s, whole_len), 10, false, &whole)) return false;
        s = sv_skip(s, whole_len);
        if (s.len > 0 && s.ptr[0] == '.') {
            s = sv_skip(s, 1);
            fraction_len = digits_len(s);
            if (fraction_len > 0 && !parse_digits(sv_take(s, fraction_len), 10, false, &fraction))
                return false;
            for (size_t i = 0; i < fraction_len; i++)
                scale *= 10;
            s = sv_skip(s, fraction_len);
        }
        if (whole_len + fraction_len == 0) return false;
        size_t unit_len = 0;
        while (unit_len < s.len && s.ptr[unit_len] != '.' && !is_digit(s.ptr[unit_len]))
            unit_len++;
        double unit;
        if (!unit_find(sv_take(s, unit_len), suffix, &unit)) return false;
        sum += ((double)whole + (double)fraction / scale) * unit;
        s = sv_skip(s, unit_len);
    }
    *out = sum;
    return true;
}

bool num_parse_bytes(struct sv s, uint64_t *out_bytes) {
    if (s.len > 0 && s.ptr[0] == '+') s = sv_skip(s, 1);
    uint64_t plain;
    if (num_parse_u64(s, &plain)) {
        if (plain > INT64_MAX) return false;
        *out_bytes = plain;
        return true;
    }
    double sum;
    if (s.len == 0 || (!bytes_parse_with(s, SV("iB"), &sum) && !bytes_parse_with(s, SV("B"), &sum)))
        return false;
    if (sum >= 0x1p63) return false;
    *out_bytes = (uint64_t)sum;
    return true;
}

void num_put_bytes(struct buf *b, uint64_t bytes) {
    if (bytes == 0) {
        buf_put_sv(b, SV("0B"));
        return;
    }
    for (int i = (int)sizeof units_letters - 2; i >= -1; i--) {
        unsigned shift = (unsigned)(i + 1) * 10;
        uint64_t count =
            i == (int)sizeof units_letters - 2 ? bytes >> shift : bytes >> shift & 1023;
        if (count == 0) continue;
        num_put_u64(b, count);
        if (i >= 0) {
            buf_put_char(b, units_letters[i]);
            buf_put_char(b, 'i');
        }
        buf_put_char(b, 'B');
    }
}
