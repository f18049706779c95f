/* SPDX-License-Identifier: Apache-2.0 */
/* Civil time and Go's own durations are compared with Go in test_oracle.c. */
#include <criterion/criterion.h>

#include "node/base/attr.h"
#include "node/base/duration.h"

static const int64_t hour = 3600000, day = 24 * 3600000;

/* The rows of model.ParseDuration's own documentation and rules (prometheus/common). */
Test(duration, parses_and_prints_as_prometheus) {
    const struct {
        const char *text;
        int64_t ms;
        const char *printed; /* NULL: as text */
    } rows[] = {{"0", 0, "0s"},
                {"0s", 0, NULL},
                {"0w", 0, "0s"},
                {"1ms", 1, NULL},
                {"1500ms", 1500, "1s500ms"},
                {"90s", 90000, "1m30s"},
                {"5m", 300000, NULL},
                {"1h30m", hour + hour / 2, NULL},
                {"24h", day, "1d"},
                {"4d1h", 4 * day + hour, NULL},
                {"14d", 14 * day, "2w"},
                {"2w", 14 * day, NULL},
                {"3w", 21 * day, NULL},
                {"3w2d1h", 23 * day + hour, "23d1h"},
                {"1y", 365 * day, NULL},
                {"10y", 3650 * day, NULL},
                {"1y1w", 372 * day, "372d"},
                {"1y2w3d4h5m6s7ms", 382 * day + 4 * hour + 306007, "382d4h5m6s7ms"},
                {"007s", 7000, "7s"},
                {"292y", 292 * 365 * day, NULL},
                {"9223372036854ms", 9223372036854, "106751d23h47m16s854ms"}};
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = -1;
        cr_expect(duration_parse(sv_from(rows[i].text), &ms), "%s", rows[i].text);
        cr_expect_eq(ms, rows[i].ms, "%s: %lld", rows[i].text, (long long)ms);
        duration_put(&b, rows[i].ms);
        const char *want = rows[i].printed == NULL ? rows[i].text : rows[i].printed;
        cr_expect(sv_eq(buf_sv(&b), sv_from(want)), "%s: %.*s", rows[i].text, SV_ARG(buf_sv(&b)));
        buf_clear(&b);
    }
    buf_fini(&b);
}

Test(duration, refuses_what_prometheus_refuses) {
    static const char *const rows[] = {"",
                                       "1",
                                       "-1w",
                                       "+1s",
                                       "1.5d",
                                       "d",
                                       "1h 1m",
                                       "1m1h",
                                       "1s1s",
                                       "1ms1s",
                                       "1d1w",
                                       "294y",
                                       "293y",
                                       "200y200y",
                                       "1H",
                                       "zzz",
                                       " 1s",
                                       "1s ",
                                       "0 ",
                                       "00",
                                       "9223372036855ms",
                                       "99999999999999999999s",
                                       "1s\0",
                                       "1m-1s"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = -1;
        cr_expect(!duration_parse(sv_from(rows[i]), &ms) || strcmp(rows[i], "1s") == 0, "%s",
                  rows[i]);
    }
    int64_t ms;
    cr_assert(!duration_parse(SV("1s\0"), &ms));
}
