/* SPDX-License-Identifier: Apache-2.0 */
/* storage/labels.h: canonical bytes against the remote-write 1.0 encoding written out by hand, and
 * texts as Prometheus prints them. */
#include <criterion/criterion.h>
#include <string.h>

#include "storage/labels.h"

Test(labels, canonical_bytes_are_sorted_and_without_empty_values) {
    struct label l[] = {{SV("b"), SV("2")}, {SV("e"), SV("")}, {SV("a"), SV("xy")}};
    struct buf out = {0};
    struct err err;
    cr_assert_eq(labels_encode(l, 3, &out, &err), OK);
    static const char want[] = "\x0a\x07\x0a\x01"
                               "a\x12\x02xy\x0a\x06\x0a\x01"
                               "b\x12\x01"
                               "2";
    cr_assert_eq(out.len, sizeof want - 1);
    cr_assert_eq(memcmp(out.ptr, want, out.len), 0);
    cr_assert_eq(labels_count(buf_sv(&out)), 2);
    cr_assert(sv_eq(labels_get(buf_sv(&out), SV("a")), SV("xy")));
    cr_assert_eq(labels_get(buf_sv(&out), SV("e")).len, 0);
    buf_fini(&out);
}

Test(labels, repeated_names_and_malformed_bytes_are_refused) {
    struct label l[] = {{SV("a"), SV("1")}, {SV("a"), SV("2")}};
    struct buf out = {0};
    struct err err;
    cr_assert_eq(labels_encode(l, 2, &out, &err), ERR_CONFLICT);
    cr_assert_str_eq(err.msg, "label name \"a\" is not unique");
    struct sv bytes = SV("\x0a\x07\x0a\x01"
                         "a\x12\x02x");
    struct label next;
    bool bad = false;
    cr_assert_not(labels_next(&bytes, &next, &bad));
    cr_assert(bad);
    buf_fini(&out);
}

Test(labels, texts) {
    static const struct {
        struct label labels[3];
        size_t count;
        const char *metric, *braces;
    } rows[] = {
        {{{SV_INIT("__name__"), SV_INIT("up")}}, 1, "up", "{__name__=\"up\"}"},
        {{{SV_INIT("__name__"), SV_INIT("up")}, {SV_INIT("a"), SV_INIT("b\"\n")}},
         2,
         "up{a=\"b\\\"\\n\"}",
         "{__name__=\"up\", a=\"b\\\"\\n\"}"},
        {{{SV_INIT("__name__"), SV_INIT("a.b")}, {SV_INIT("c-d"), SV_INIT("e")}},
         2,
         "{\"a.b\", \"c-d\"=\"e\"}",
         "{__name__=\"a.b\", \"c-d\"=\"e\"}"},
        {{{SV_INIT("a"), SV_INIT("\xff\x01\xc3\xa4")}},
         1,
         "{a=\"\\xff\\x01\xc3\xa4\"}",
         "{a=\"\\xff\\x01\xc3\xa4\"}"},
        {{{SV_INIT(""), SV_INIT("")}}, 0, "{}", "{}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf a = {0}, b = {0};
        label_list_print(rows[i].labels, rows[i].count, &a);
        label_list_print_braces(rows[i].labels, rows[i].count, &b);
        cr_expect_str_eq(buf_cstr(&a), rows[i].metric);
        cr_expect_str_eq(buf_cstr(&b), rows[i].braces);
        buf_fini(&a);
        buf_fini(&b);
    }
}

Test(labels, order_is_by_name_then_value_then_length) {
    struct label a[] = {{SV("a"), SV("1")}}, b[] = {{SV("a"), SV("2")}},
                 c[] = {{SV("a"), SV("1")}, {SV("b"), SV("1")}};
    cr_assert_lt(label_list_cmp(a, 1, b, 1), 0);
    cr_assert_lt(label_list_cmp(a, 1, c, 2), 0);
    cr_assert_gt(label_list_cmp(b, 1, c, 2), 0);
    cr_assert_eq(label_list_cmp(c, 2, c, 2), 0);
}

Test(labels, stale_marker_is_one_bit_pattern) {
    cr_assert(value_is_stale(value_stale()));
    cr_assert_not(value_is_stale(__builtin_nan("")));
    cr_assert_not(value_is_stale(0));
}
