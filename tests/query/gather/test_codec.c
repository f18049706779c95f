/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a reply between nodes, byte by byte; the entries of running queries. */
#include <criterion/criterion.h>
#include <string.h>

#include "query/gather/active.h"
#include "query/gather/internal.h"

/* rows 3, length 0x1234, hash; 7 bytes of timings: 300 ns (ac 02), 70000 ns (f0 a2 04), 5 series,
 * 2 cores; the shard list as it is */
static const char golden[] = "\x03\0\0\0\0\0\0\0"
                             "\x34\x12\0\0\0\0\0\0"
                             "\x88\x77\x66\x55\x44\x33\x22\x11"
                             "\x07\xac\x02\xf0\xa2\x04\x05\x02"
                             "\x01\x09\x04";
static const struct sv golden_sv = {golden, sizeof golden - 1};

Test(reply_end, is_written_as_agreed) {
    struct reply_end e = {
        .rows = 3,
        .body_len = 0x1234,
        .body_hash = 0x1122334455667788,
        .times = {.select_ns = 300, .evaluate_ns = 70000, .series = 5, .cores = 2},
        .shards = SV("\x01\x09\x04"),
    };
    struct buf b = {0};
    reply_end_put(&e, &b);
    cr_assert(sv_eq(buf_sv(&b), golden_sv));
    buf_fini(&b);
}

Test(reply_end, is_read_as_written) {
    struct reply_end e;
    struct err err;
    cr_assert_eq(reply_end_get(golden_sv, &e, &err), OK);
    cr_expect_eq(e.rows, 3);
    cr_expect_eq(e.body_len, 0x1234);
    cr_expect_eq(e.body_hash, 0x1122334455667788);
    cr_expect_eq(e.times.select_ns, 300);
    cr_expect_eq(e.times.evaluate_ns, 70000);
    cr_expect_eq(e.times.series, 5);
    cr_expect_eq(e.times.cores, 2);
    cr_expect(sv_eq(e.shards, SV("\x01\x09\x04")));
}

Test(reply_end, takes_fields_that_a_later_version_adds) {
    char longer[sizeof golden + 1];
    memcpy(longer, golden, 32);
    longer[24] = 9; /* two more bytes of timings */
    longer[32] = 0x7f;
    longer[33] = 0x01;
    memcpy(longer + 34, golden + 32, 3);
    struct reply_end e;
    struct err err;
    cr_assert_eq(reply_end_get(sv_make(longer, 37), &e, &err), OK);
    cr_expect_eq(e.times.cores, 2);
    cr_expect(sv_eq(e.shards, SV("\x01\x09\x04")));
}

Test(reply_end, refuses_what_is_cut_short) {
    for (size_t n = 0; n < 32; n++) {
        struct reply_end e;
        struct err err;
        cr_expect_neq(reply_end_get(sv_take(golden_sv, n), &e, &err), OK, "%zu", n);
    }
}

enum { PER_CORE = 3, CORES = 2 };

Test(active, entries_are_those_of_prometheus) {
    static char bytes[1 + CORES * PER_CORE * ACTIVE_ENTRY_BYTES] = "[";
    cr_assert_eq(active_bytes(CORES, PER_CORE), sizeof bytes);
    struct active a = {.bytes = bytes, .per_core = PER_CORE};
    struct buf left = {0};
    uint32_t first = active_begin(&a, 1, SV("up == \"1\""), 1700000000);
    cr_assert_eq(first, 3);
    cr_assert_str_eq(bytes + 1 + 3 * ACTIVE_ENTRY_BYTES,
                     "{\"query\":\"up == \\\"1\\\"\",\"timestamp_sec\":1700000000},");
    uint32_t second = active_begin(&a, 0, SV("b"), 2);
    cr_assert_eq(second, 0);
    cr_assert_eq(active_put_left(sv_make(bytes, sizeof bytes), &left), 2);
    cr_expect(sv_eq(buf_sv(&left), SV("[{\"query\":\"b\",\"timestamp_sec\":2},{\"query\":\"up == "
                                      "\\\"1\\\"\",\"timestamp_sec\":1700000000}]")));
    active_end(&a, first);
    active_end(&a, second);
    for (size_t i = 1; i < sizeof bytes; i++)
        cr_assert_eq(bytes[i], 0);
    buf_fini(&left);
}

Test(active, slots_of_a_core_run_out_alone) {
    static char bytes[1 + CORES * PER_CORE * ACTIVE_ENTRY_BYTES] = "[";
    struct active a = {.bytes = bytes, .per_core = PER_CORE};
    for (uint32_t i = 0; i < PER_CORE; i++)
        cr_expect_eq(active_begin(&a, 0, SV("x"), 1), i);
    cr_expect_eq(active_begin(&a, 0, SV("x"), 1), ACTIVE_NONE);
    cr_expect_eq(active_begin(&a, 1, SV("x"), 1), PER_CORE);
    active_end(&a, ACTIVE_NONE);
    active_end(&a, 1);
    cr_expect_eq(active_begin(&a, 0, SV("y"), 1), 1);
    cr_expect_eq(active_begin(&(struct active){0}, 0, SV("x"), 1), ACTIVE_NONE);
}

Test(active, a_long_text_is_cut_between_characters) {
    static char bytes[1 + CORES * PER_CORE * ACTIVE_ENTRY_BYTES] = "[";
    struct active a = {.bytes = bytes, .per_core = PER_CORE};
    char text[3000];
    for (size_t kind = 0; kind < 2; kind++) { /* two bytes each as they are; six as JSON */
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = kind == 0 ? "\xc3\xbc"[i % 2] : '\x01';
        struct buf left = {0};
        uint32_t slot = active_begin(&a, 0, sv_make(text, sizeof text), 5);
        cr_assert_eq(slot, 0);
        cr_expect_eq(bytes[1 + ACTIVE_ENTRY_BYTES], 0, "the neighbour is touched");
        cr_assert_eq(active_put_left(sv_make(bytes, sizeof bytes), &left), 1);
        cr_expect_gt(left.len, 800);
        size_t at;
        cr_expect_not(sv_find(buf_sv(&left), SV("\xef\xbf\xbd"), &at), "half a character");
        cr_expect_not(sv_find(buf_sv(&left), SV("ufffd"), &at), "half a character");
        active_end(&a, slot);
        buf_fini(&left);
    }
}

Test(active, what_a_crash_leaves_half_written_is_no_entry) {
    static char bytes[1 + CORES * PER_CORE * ACTIVE_ENTRY_BYTES] = "[";
    struct buf left = {0};
    memcpy(bytes + 1, "{\"query\":\"a\",\"timest", 20);
    memcpy(bytes + 1 + ACTIVE_ENTRY_BYTES, "\"query\":\"a\",\"timestamp_sec\":1},", 31);
    cr_expect_eq(active_put_left(sv_make(bytes, sizeof bytes), &left), 0);
    cr_expect_eq(active_put_left(sv_make(bytes, 0), &left), 0);
    cr_expect(sv_eq(buf_sv(&left), SV("[][]")));
    buf_fini(&left);
}
