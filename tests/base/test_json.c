/* SPDX-License-Identifier: Apache-2.0 */
/* Strings and numbers are compared with Go in test_oracle.c; here are structure and a table to run
 * everywhere. */
#include <criterion/criterion.h>
#include <math.h>

#include "node/base/attr.h"
#include "node/base/json.h"

Test(json, commas_and_nesting) {
    struct buf b = {0};
    struct json j = json_init(&b);
    json_object_begin(&j);
    json_key_string(&j, SV("status"), SV("success"));
    json_key(&j, SV("data"));
    json_array_begin(&j);
    json_array_begin(&j);
    json_array_end(&j);
    json_object_begin(&j);
    json_object_end(&j);
    json_i64(&j, -5);
    json_u64(&j, UINT64_MAX);
    json_null(&j);
    json_bool(&j, false);
    json_raw(&j, SV("[1,2]"));
    json_array_end(&j);
    json_key_i64(&j, SV("n"), 7);
    json_key_bool(&j, SV("ok"), true);
    json_key_f64(&j, SV("x"), 1e-7);
    json_key_f64(&j, SV("nan"), NAN);
    json_key(&j, SV("o"));
    json_object_begin(&j);
    json_key(&j, SV("p"));
    json_array_begin(&j);
    json_string(&j, SV("q"));
    json_string(&j, SV("r"));
    json_array_end(&j);
    json_object_end(&j);
    json_object_end(&j);
    cr_assert_str_eq(
        buf_cstr(&b),
        "{\"status\":\"success\",\"data\":[[],{},-5,18446744073709551615,null,false,[1,2]],"
        "\"n\":7,\"ok\":true,\"x\":1e-7,\"nan\":null,\"o\":{\"p\":[\"q\",\"r\"]}}");
    cr_assert_eq(j.depth, 0);
    buf_fini(&b);
}

Test(json, strings_and_quotes) {
    static const struct {
        struct sv in;
        const char *json, *quoted;
    } rows[] = {
        /* encoding/json with SetEscapeHTML(false); strconv.Quote */
        {SV_INIT(""), "\"\"", "\"\""},
        {SV_INIT("a<b>&c"), "\"a<b>&c\"", "\"a<b>&c\""},
        {SV_INIT("\"\\/"), "\"\\\"\\\\/\"", "\"\\\"\\\\/\""},
        {SV_INIT("\a\b\t\n\v\f\r"), "\"\\u0007\\b\\t\\n\\u000b\\f\\r\"",
         "\"\\a\\b\\t\\n\\v\\f\\r\""},
        {SV_INIT("\0\x1f\x7f"), "\"\\u0000\\u001f\x7f\"", "\"\\x00\\x1f\\x7f\""},
        {SV_INIT("\xff\xc3"), "\"\\ufffd\\ufffd\"", "\"\\xff\\xc3\""},
        {SV_INIT("\u2028\ufffd"), "\"\\u2028\ufffd\"", "\"\\u2028\ufffd\""},
        {SV_INIT("é\u00a0\U000e0001"), "\"é\u00a0\U000e0001\"", "\"é\\u00a0\\U000e0001\""},
    };
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_put_string(&b, rows[i].in);
        cr_expect_str_eq(buf_cstr(&b), rows[i].json);
        buf_clear(&b);
        go_put_quoted(&b, rows[i].in);
        cr_expect_str_eq(buf_cstr(&b), rows[i].quoted);
        buf_clear(&b);
    }
    buf_fini(&b);
}
