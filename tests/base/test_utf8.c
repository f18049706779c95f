/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "node/base/attr.h"
#include "node/base/utf8.h"

Test(utf8, every_code_point_round_trips) {
    for (uint32_t rune = 0; rune <= 0x110000; rune++) {
        char text[4];
        size_t n = utf8_encode(text, rune);
        uint32_t back;
        bool sound = rune <= 0x10ffff && !(rune >= 0xd800 && rune <= 0xdfff);
        cr_assert(utf8_valid(sv_make(text, n)));
        cr_assert_eq(utf8_decode(sv_make(text, n), &back), n);
        cr_assert_eq(back, sound ? rune : UTF8_INVALID, "%x", rune);
        cr_assert_eq(n, !sound ? 3 : rune < 0x80 ? 1 : rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4);
        if (n > 1) cr_assert(!utf8_valid(sv_make(text, n - 1)));
    }
}

Test(utf8, malformed_sequences_are_refused_one_byte_at_a_time) {
    static const struct sv rows[] = {
        /* RFC 3629 section 10 and Unicode's table 3-7 */
        SV_INIT("\x80"),
        SV_INIT("\xc0\xaf"),
        SV_INIT("\xc1\xbf"),
        SV_INIT("\xe0\x80\xaf"),
        SV_INIT("\xe0\x9f\xbf"),
        SV_INIT("\xed\xa0\x80"),
        SV_INIT("\xed\xbf\xbf"),
        SV_INIT("\xf0\x80\x80\xaf"),
        SV_INIT("\xf0\x8f\xbf\xbf"),
        SV_INIT("\xf4\x90\x80\x80"),
        SV_INIT("\xf5\x80\x80\x80"),
        SV_INIT("\xff"),
        SV_INIT("\xc3"),
        SV_INIT("\xe2\x82"),
        SV_INIT("\xf0\x9f\x98"),
        SV_INIT("\xc3("),
        SV_INIT("12345678\xe2\x82"),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        cr_expect(!utf8_valid(rows[i]), "row %zu", i);
        uint32_t rune;
        if ((unsigned char)rows[i].ptr[0] < 0x80) continue;
        cr_expect_eq(utf8_decode(rows[i], &rune), 1);
        cr_expect_eq(rune, UTF8_INVALID);
    }
    cr_assert_eq(utf8_rune_count(SV("a\xffé\xe2\x82")), 5);
    cr_assert(utf8_valid((struct sv){0}));
}

Test(utf8, classes) {
    cr_assert(utf8_is_letter('a') && utf8_is_letter(0xe9) && utf8_is_letter(0x65e5) &&
              !utf8_is_letter('_'));
    cr_assert(utf8_is_digit('7') && utf8_is_digit(0x967) && !utf8_is_digit(0xb2));
    cr_assert(utf8_is_print(' ') && !utf8_is_print(0xa0) && !utf8_is_print(0x7f) &&
              !utf8_is_print(0x10ffff));
    cr_assert(utf8_is_print(0x1f600) && !utf8_is_print(0) && !utf8_is_letter(UINT32_MAX));
}
