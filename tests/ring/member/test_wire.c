/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring/member/wire.h"

/* What is decoded is what was encoded; every shorter input is refused. */
#define ROUND_TRIP(name, put, get, type, value)                                                    \
    do {                                                                                           \
        struct buf b = {0};                                                                        \
        type in = value, out = {0};                                                                \
        put(&in, &b);                                                                              \
        cr_assert_eq(get(buf_sv(&b), &out, NULL), OK, name);                                       \
        struct buf again = {0};                                                                    \
        put(&out, &again);                                                                         \
        cr_assert(sv_eq(buf_sv(&b), buf_sv(&again)), name);                                        \
        for (size_t n = 0; n < b.len; n++)                                                         \
            cr_assert_eq(get(sv_make(b.ptr, n), &out, NULL), ERR_CORRUPT, name " cut at %zu", n);  \
        buf_fini(&b);                                                                              \
        buf_fini(&again);                                                                          \
    } while (0)

#define V(...) __VA_ARGS__

Test(wire, payloads) {
    ROUND_TRIP("join ask", join_ask_put, join_ask_get, struct join_ask,
               V({.verb = JOIN_ASK,
                  .id = UINT64_MAX,
                  .incarnation = 7,
                  .format_level = 1,
                  .bootstrap_expect = 3,
                  .addr = "n0:1",
                  .zone = "a",
                  .cluster_name = "c"}));
    ROUND_TRIP("join answer", join_answer_put, join_answer_get, struct join_answer,
               V({.outcome = JOIN_TAKEN,
                  .phase = 4,
                  .id = 1,
                  .incarnation = UINT32_MAX,
                  .bootstrap_expect = 5,
                  .addr = "n1:1",
                  .zone = "b",
                  .cluster_name = "c",
                  .promised = 9,
                  .leader = 10,
                  .leader_addr = "n2:2",
                  .map = SV("map bytes")}));
    ROUND_TRIP("promise ask", promise_ask_put, promise_ask_get, struct promise_ask,
               V({.candidate = 4, .cluster_name = "c"}));
    ROUND_TRIP("promise answer", promise_answer_put, promise_answer_get, struct promise_answer,
               V({.granted = true, .promised = 5}));
    ROUND_TRIP("admin ask", admin_ask_put, admin_ask_get, struct admin_call,
               V({.verb = ADMIN_HA,
                  .shard = 70000,
                  .node = 1,
                  .to = 2,
                  .cluster = "eu",
                  .replica = "r\n1"}));
}

Test(wire, what_must_not_be_is_refused) {
    struct buf b = {0};
    struct join_ask ask = {.verb = 3, .id = 1}, out;
    join_ask_put(&ask, &b);
    cr_assert_eq(join_ask_get(buf_sv(&b), &out, NULL), ERR_CORRUPT, "an unknown verb");
    buf_clear(&b);
    ask = (struct join_ask){.verb = JOIN_ASK};
    join_ask_put(&ask, &b);
    cr_assert_eq(join_ask_get(buf_sv(&b), &out, NULL), ERR_CORRUPT, "id 0");
    buf_clear(&b);
    ask = (struct join_ask){.verb = JOIN_ASK, .id = 1, .addr = "a\nb"};
    join_ask_put(&ask, &b);
    cr_assert_eq(join_ask_get(buf_sv(&b), &out, NULL), ERR_CORRUPT, "a control byte");
    buf_clear(&b);
    struct admin_call call = {.verb = (enum admin_verb)(ADMIN_HA + 1)};
    admin_ask_put(&call, &b);
    cr_assert_eq(admin_ask_get(buf_sv(&b), &call, NULL), ERR_UNSUPPORTED, "a later verb");
    buf_fini(&b);
}

Test(wire, promise_file) {
    struct buf b = {0};
    promise_file_put(0x0102030405060708, &b);
    node_id id = 0;
    cr_assert_eq(b.len, 28);
    cr_assert_eq(memcmp(b.ptr, "CAIRNPRM\1\0\1\0\x08\7\6\5\4\3\2\1", 20), 0);
    cr_assert_eq(promise_file_get(buf_sv(&b), &id, NULL), OK);
    cr_assert_eq(id, 0x0102030405060708);
    for (size_t i = 0; i < b.len; i++) {
        b.ptr[i] ^= 0x10;
        cr_assert_neq(promise_file_get(buf_sv(&b), &id, NULL), OK, "byte %zu", i);
        b.ptr[i] ^= 0x10;
        cr_assert_neq(promise_file_get(sv_make(b.ptr, i), &id, NULL), OK, "cut at %zu", i);
    }
    buf_fini(&b);
}

Test(wire, address_file) {
    const struct member_address items[] = {{1, 2, "n1:1"}, {5, 1, "[::1]:9095"}, {9, 0, ""}};
    struct buf b = {0};
    addresses_file_put(items, 3, &b);
    struct member_address *out = NULL;
    size_t count = 0;
    cr_assert_eq(addresses_file_get(buf_sv(&b), &out, &count, NULL), OK);
    cr_assert_eq(count, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(out[i].id, items[i].id);
        cr_assert_eq(out[i].incarnation, items[i].incarnation);
        cr_assert_str_eq(out[i].addr, items[i].addr);
    }
    free(out);
    for (size_t i = 0; i < b.len; i++)
        cr_assert_neq(addresses_file_get(sv_make(b.ptr, i), &out, &count, NULL), OK);
    buf_clear(&b);
    const struct member_address twice[] = {{5, 2, "n1:1"}, {5, 1, "n2:1"}};
    addresses_file_put(twice, 2, &b);
    cr_assert_eq(addresses_file_get(buf_sv(&b), &out, &count, NULL), ERR_CORRUPT, "an id twice");
    buf_fini(&b);
}
