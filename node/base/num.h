/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/num.h: numbers to text and back as Go's strconv and Prometheus' API do it, and checked sums.
 * The conversions live in the C++ shim (dragonbox, fast_float); byte-identical to Go. */
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

/* strconv.FormatFloat(v, fmt, -1, 64) for fmt 'f', 'e' or 'g'; NaN, +Inf, -Inf. Returns the length (no NUL). */
size_t num_format_f64(char out[NUM_TEXT_MAX], double v, char fmt) NUM_NOEXCEPT;
/* strconv.ParseFloat(s, 64) on all of s: decimal, hex floats, inf/infinity/nan any case, leading sign. Overflow
 * gives +-Inf and true (Go: value with ErrRange; callers that must refuse test isinf). No underscores. */
bool num_parse_f64(struct sv s, double *out) NUM_NOEXCEPT;
/* strconv.ParseInt(s, base 0, 64) including 0x 0o 0b, leading-zero octal and underscores; false on error or range. */
bool num_parse_i64_base0(struct sv s, int64_t *out) NUM_NOEXCEPT;

#ifdef __cplusplus
}
#endif

bool num_parse_i64(struct sv s, int64_t *out);  /* decimal, optional sign, whole string */
bool num_parse_u64(struct sv s, uint64_t *out); /* decimal, whole string */

/* Prometheus' JSON value: 'f', or 'e' for 0 < |v| < 1e-6 or |v| >= 1e21 (util/jsonutil). */
void num_put_json_value(struct buf *b, double v);
void num_put_f64(struct buf *b, double v, char fmt);
void num_put_i64(struct buf *b, int64_t v);
void num_put_u64(struct buf *b, uint64_t v);
/* Milliseconds as Prometheus writes timestamps in JSON: seconds, or seconds with exactly three decimals. */
void num_put_timestamp_ms(struct buf *b, int64_t ms);

/* "32MB", "1GiB", "512KB", "10": as Prometheus' units flag (alecthomas/units Base2Bytes); false when malformed. */
bool num_parse_bytes(struct sv s, uint64_t *out_bytes);
