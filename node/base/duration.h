/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/duration.h: Prometheus durations ("1h30m", model.ParseDuration) and civil time in UTC.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/sv.h"

/* Units y w d h m s ms, largest first, each at most once; "0" is allowed; no sign. Milliseconds. */
bool duration_parse(struct sv s, int64_t *out_ms);
/* model.Duration.String(): "0s", "1h30m", "1w" only when exact, "1500ms" is "1s500ms". ms >= 0. */
void duration_put(struct buf *b, int64_t ms);
/* Go's time.Duration.String() of nanoseconds ("1.5s", "2m0s", "150ms") for logs. */
void duration_put_go(struct buf *b, int64_t ns);

struct civil { /* proleptic Gregorian, UTC */
    int64_t year;
    int month, day; /* 1-based */
    int hour, minute, second;
    int millisecond;
    int weekday; /* 0 is Sunday */
    int yearday; /* 1-based */
};
struct civil civil_from_ms(int64_t unix_ms);
struct civil civil_from_days(int64_t unix_days, int64_t of_day_ms); /* reaches beyond int64 ms */
int64_t civil_to_ms(struct civil c);                                /* reads year..millisecond */
int civil_days_in_month(int64_t year, int month);
/* RFC 3339 with optional fraction; the zone is required (time.Parse with RFC3339Nano, and as
 * lenient: an hour of one digit, a comma before the fraction). Milliseconds, rounded towards the
 * past. */
bool civil_parse_rfc3339(struct sv s, int64_t *out_ms);
/* "2006-01-02T15:04:05.123Z"; the fraction without trailing zeros, none when 0 (time.RFC3339Nano).
 */
void civil_put_rfc3339(struct buf *b, int64_t unix_ms);
