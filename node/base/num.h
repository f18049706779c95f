/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/num.h: numbers to text and back as Go's strconv and Prometheus' API do it, and checked
 * sums. The conversions live in the C++ shim (dragonbox, fast_float); byte-identical to Go. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/sv.h"

#ifdef __cplusplus
extern "C" {
#define NUM_NOEXCEPT noexcept
#else
#define NUM_NOEXCEPT
#endif

enum { NUM_TEXT_MAX = 400 }; /* 'f' of the smallest subnormal */

/* strconv.FormatFloat(v, fmt, -1, 64) for fmt 'f', 'e' or 'g'; NaN, +Inf, -Inf. Returns the length
 * (no NUL). */
size_t num_format_f64(char out[NUM_TEXT_MAX], double v, char fmt) NUM_NOEXCEPT;
/* strconv.ParseFloat(s, 64) on all of s: decimal, hex floats, inf/infinity/nan any case, leading
 * sign (not before nan). Overflow gives +-Inf and true (Go: value with ErrRange; callers that must
 * refuse test isinf). NaN has the bits of math.NaN(), 0x7ff8000000000001. No underscores:
 * num_parse_f64_literal takes them. */
bool num_parse_f64(struct sv s, double *out) NUM_NOEXCEPT;
/* strconv.ParseInt(s, base 0, 64) including 0x 0o 0b, leading-zero octal and underscores; false on
 * error or range. */
bool num_parse_i64_base0(struct sv s, int64_t *out) NUM_NOEXCEPT;

/* Digits without NUL; returns how many. */
enum { NUM_U64_MAX = 20 };
size_t num_format_u64(char out[NUM_U64_MAX], uint64_t v) NUM_NOEXCEPT;

#ifdef __cplusplus
}
#endif

/* num_parse_f64 and underscores between digits ("1_000", "0x_1p4"), exactly as strconv.ParseFloat:
 * PromQL numbers. */
bool num_parse_f64_literal(struct sv s, double *out);
bool num_parse_i64(struct sv s, int64_t *out);  /* decimal, optional sign, whole string */
bool num_parse_u64(struct sv s, uint64_t *out); /* decimal, whole string */

/* The digits of Prometheus' JSON value, without the quotes round them: 'f', or 'e' for 0 < |v| <
 * 1e-6 or |v| >= 1e21 (util/jsonutil). */
size_t num_format_json_value(char out[NUM_TEXT_MAX], double v);
void num_put_json_value(struct buf *b, double v);
void num_put_f64(struct buf *b, double v, char fmt);
void num_put_i64(struct buf *b, int64_t v);
void num_put_u64(struct buf *b, uint64_t v);
/* Milliseconds as Prometheus writes timestamps in JSON: seconds, or seconds with exactly three
 * decimals. */
enum { NUM_TIMESTAMP_MAX = 32 }; /* what is written behind the text included */
size_t num_format_timestamp_ms(char out[NUM_TIMESTAMP_MAX], int64_t ms);
void num_put_timestamp_ms(struct buf *b, int64_t ms);

/* "32MB", "1GiB", "1GB512MB", "1.5KB", "0": as Prometheus' units flag (alecthomas/units Base2Bytes,
 * powers of 1024 either way); a plain count of bytes ("10") is taken too. False when malformed,
 * negative or beyond int64. */
bool num_parse_bytes(struct sv s, uint64_t *out_bytes);
/* Base2Bytes.String(): "0B", "1GiB512MiB". */
void num_put_bytes(struct buf *b, uint64_t bytes);

/* The greatest common divisor; of 0 and a number that number. */
static inline uint64_t u64_gcd(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}
