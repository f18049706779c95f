/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions are compared with Go in test_oracle.c; here is what Go's standard library does not
 * have. */
#include <criterion/criterion.h>
#include <math.h>

#include "node/base/attr.h"
#include "node/base/bytes.h"
#include "node/base/num.h"

#define ASSERT_TEXT(b, want)                                                                       \
    do {                                                                                           \
        cr_assert(!(b).failed && sv_eq(buf_sv(&(b)), sv_from(want)), "got %.*s, want %s",          \
                  SV_ARG(buf_sv(&(b))), want);                                                     \
        buf_clear(&(b));                                                                           \
    } while (0)

Test(num, formats_and_parses_the_edges) {
    static const struct {
        double v;
        const char *f, *e, *g, *json;
    } rows[] = {
        /* strconv.FormatFloat */
        {0, "0", "0e+00", "0", "0"},
        {-0.0, "-0", "-0e+00", "-0", "-0"},
        {1e5, "100000", "1e+05", "100000", "100000"},
        {1e6, "1000000", "1e+06", "1e+06", "1000000"},
        {123456789, "123456789", "1.23456789e+08", "1.23456789e+08", "123456789"},
        {1e-6, "0.000001", "1e-06", "1e-06", "0.000001"},
        {9.5e-7, "0.00000095", "9.5e-07", "9.5e-07", "9.5e-07"},
        {1e20, "100000000000000000000", "1e+20", "1e+20", "100000000000000000000"},
        {1e21, "1000000000000000000000", "1e+21", "1e+21", "1e+21"},
        {-0.1, "-0.1", "-1e-01", "-0.1", "-0.1"},
        {1e100, NULL, "1e+100", "1e+100", "1e+100"},
        {INFINITY, "+Inf", "+Inf", "+Inf", "+Inf"},
        {-INFINITY, "-Inf", "-Inf", "-Inf", "-Inf"},
        {NAN, "NaN", "NaN", "NaN", "NaN"},
    };
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        num_put_f64(&b, rows[i].v, 'f');
        if (rows[i].f != NULL) ASSERT_TEXT(b, rows[i].f);
        buf_clear(&b);
        num_put_f64(&b, rows[i].v, 'e');
        ASSERT_TEXT(b, rows[i].e);
        num_put_f64(&b, rows[i].v, 'g');
        ASSERT_TEXT(b, rows[i].g);
        num_put_json_value(&b, rows[i].v);
        ASSERT_TEXT(b, rows[i].json);
        double back = 0;
        cr_assert(num_parse_f64(sv_from(rows[i].e), &back));
        cr_assert(isnan(rows[i].v) ? f64_bits(back) == 0x7ff8000000000001
                                   : f64_bits(back) == f64_bits(rows[i].v));
    }
    buf_fini(&b);
}

Test(num, underscores_only_in_literals) {
    double v = 7;
    cr_assert(!num_parse_f64(SV("1_000"), &v));
    cr_assert_eq(v, 7);
    cr_assert(num_parse_f64_literal(SV("1_000"), &v) && v == 1000);
    cr_assert(!num_parse_f64_literal(SV("1__000"), &v));
    cr_assert(!num_parse_f64((struct sv){0}, &v));
    cr_assert(!num_parse_f64_literal((struct sv){0}, &v));
}

/* util/jsonutil.MarshalTimestamp */
Test(num, timestamps_have_none_or_three_decimals) {
    static const struct {
        int64_t ms;
        const char *want;
    } rows[] = {{0, "0"},
                {1, "0.001"},
                {-1, "-0.001"},
                {10, "0.010"},
                {100, "0.100"},
                {999, "0.999"},
                {1000, "1"},
                {-1500, "-1.500"},
                {1700000000123, "1700000000.123"},
                {INT64_MAX, "9223372036854775.807"},
                {INT64_MIN, "-9223372036854775.808"}};
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        num_put_timestamp_ms(&b, rows[i].ms);
        ASSERT_TEXT(b, rows[i].want);
    }
    num_put_i64(&b, INT64_MIN);
    ASSERT_TEXT(b, "-9223372036854775808");
    num_put_u64(&b, UINT64_MAX);
    ASSERT_TEXT(b, "18446744073709551615");
    buf_fini(&b);
}

/* github.com/alecthomas/units ParseBase2Bytes; texts by hand from its grammar and its tables */
Test(num, byte_sizes) {
    static const struct {
        const char *text;
        bool ok;
        uint64_t bytes;
    } rows[] = {{"0", true, 0},
                {"10", true, 10},
                {"10B", true, 10},
                {"32MB", true, 32 << 20},
                {"32MiB", true, 32 << 20},
                {"1GiB", true, 1 << 30},
                {"512KB", true, 512 << 10},
                {"1.5KB", true, 1536},
                {".5KB", true, 512},
                {"1.KB", true, 1024},
                {"1GB512MB", true, (1 << 30) + (512 << 20)},
                {"+1KB", true, 1024},
                {"7EB", true, UINT64_C(7) << 60},
                {"8EB", false, 0},
                {"9223372036854775807", true, INT64_MAX},
                {"9223372036854775808", false, 0},
                {"1GiB512MB", false, 0}, /* one table for all parts */
                {"", false, 0},
                {"KB", false, 0},
                {"-1KB", false, 0},
                {"1kB", false, 0},
                {"1kb", false, 0},
                {"1 KB", false, 0},
                {"5q", false, 0},
                {"1.2.3KB", false, 0},
                {".KB", false, 0},
                {"99999999999999999999KB", false, 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t bytes = 0;
        cr_expect_eq(num_parse_bytes(sv_from(rows[i].text), &bytes), rows[i].ok, "%s",
                     rows[i].text);
        cr_expect_eq(bytes, rows[i].bytes, "%s: %llu", rows[i].text, (unsigned long long)bytes);
    }
    struct buf b = {0};
    num_put_bytes(&b, 0);
    ASSERT_TEXT(b, "0B");
    num_put_bytes(&b, 1023);
    ASSERT_TEXT(b, "1023B");
    num_put_bytes(&b, (UINT64_C(1) << 30) + (512 << 20) + 5);
    ASSERT_TEXT(b, "1GiB512MiB5B");
    num_put_bytes(&b, UINT64_C(7) << 60);
    ASSERT_TEXT(b, "7EiB");
    buf_fini(&b);
}
