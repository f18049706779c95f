/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/frame.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/rng.h"

/* The last part "abc" of a reply; by hand after ring/frame.h, the checksum by libxxhash from
 * Python. */
static const uint8_t golden[] = {
    'C',  'R',  'N',  'F',  1,    0,    2,    1, /* magic, protocol, type, flags */
    8,    7,    6,    5,    4,    3,    2,    1, /* request id */
    0,    1,    2,    3,    4,    5,    6,    7,    8, 9, 10, 11, 12, 13, 14, 15, /* cluster id */
    3,    0,    0,    0,    0,    0,    0,    0,                                  /* map version */
    5,    0,    0,    0,    0,    0,    0,    0,                                  /* sender */
    2,    0,    0,    0,                                                          /* incarnation */
    3,    0,    0,    0,                            /* payload length */
    0x5a, 0xca, 0xfb, 0x3c, 0x24, 0x14, 0x7d, 0x78, /* checksum */
    'a',  'b',  'c',
};

static struct frame reply(void) {
    struct frame f = {.type = FRAME_REPLY,
                      .flags = FRAME_LAST,
                      .request_id = 0x0102030405060708,
                      .map_version = 3,
                      .sender = 5,
                      .incarnation = 2,
                      .payload = SV("abc")};
    for (unsigned i = 0; i < 16; i++)
        f.cluster_id[i] = (uint8_t)i;
    return f;
}

Test(frame, golden_bytes) {
    struct frame f = reply(), got;
    struct buf b = {0};
    frame_put(&f, &b);
    cr_assert_eq(b.len, sizeof golden);
    for (size_t i = 0; i < sizeof golden; i++)
        cr_assert_eq((uint8_t)b.ptr[i], golden[i], "byte %zu", i);
    cr_assert_eq(frame_get(sv_make(golden, sizeof golden), &got, NULL), OK);
    cr_assert(got.type == f.type && got.flags == f.flags && got.request_id == f.request_id);
    cr_assert(got.map_version == 3 && got.sender == 5 && got.incarnation == 2);
    cr_assert_eq(memcmp(got.cluster_id, f.cluster_id, 16), 0);
    cr_assert(sv_eq(got.payload, SV("abc")));
    cr_assert_eq((const uint8_t *)got.payload.ptr, golden + FRAME_HEADER_BYTES);
    buf_fini(&b);
}

Test(frame, corruption_of_each_byte_is_refused) {
    struct frame f;
    struct err err;
    for (size_t len = 0; len < sizeof golden; len++) {
        char *p = malloc(len + 1);
        memcpy(p, golden, len);
        char *cut = realloc(p, len + (len == 0));
        cr_assert_eq(frame_get(sv_make(cut, len), &f, &err), ERR_CORRUPT, "cut at %zu", len);
        free(cut);
    }
    for (size_t i = 0; i < sizeof golden; i++)
        for (int bit = 0; bit < 8; bit++) {
            uint8_t copy[sizeof golden];
            memcpy(copy, golden, sizeof golden);
            copy[i] = (uint8_t)(copy[i] ^ (1 << bit));
            enum status st = frame_get(sv_make(copy, sizeof copy), &f, &err);
            cr_assert_eq(st, i == 4 || i == 5 ? ERR_UNSUPPORTED : ERR_CORRUPT, "flip at %zu", i);
        }
    char longer[sizeof golden + 1] = {0};
    memcpy(longer, golden, sizeof golden);
    cr_assert_eq(frame_get(sv_make(longer, sizeof longer), &f, &err), ERR_CORRUPT);
}

Test(frame, another_protocol_is_named) {
    uint8_t copy[sizeof golden];
    struct frame f;
    struct err err;
    memcpy(copy, golden, sizeof golden);
    copy[4] = 9;
    cr_assert_eq(frame_get(sv_make(copy, sizeof copy), &f, &err), ERR_UNSUPPORTED);
    cr_assert_str_eq(err.msg, "frame: protocol version 9, this program speaks 1");
}

Test(frame, round_trip) {
    struct rng rng;
    rng_init(&rng, 1);
    for (int i = 0; i < 200; i++) {
        char bytes[300];
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (char)rng_u64(&rng);
        struct frame f = {.type = (uint8_t)rng_u64(&rng),
                          .flags = (uint8_t)rng_u64(&rng),
                          .request_id = rng_u64(&rng),
                          .map_version = rng_u64(&rng),
                          .sender = rng_u64(&rng),
                          .incarnation = (uint32_t)rng_u64(&rng),
                          .payload = sv_make(bytes, rng_below(&rng, sizeof bytes))};
        struct frame got;
        struct buf b = {0};
        frame_put(&f, &b);
        cr_assert_eq(frame_get(buf_sv(&b), &got, NULL), OK);
        cr_assert(got.type == f.type && got.flags == f.flags && got.request_id == f.request_id &&
                  got.map_version == f.map_version && got.sender == f.sender &&
                  got.incarnation == f.incarnation && sv_eq(got.payload, f.payload));
        buf_fini(&b);
    }
}

Test(frame, hello_golden_and_refusals) {
    static const char plain[] = "\x02\x05"
                                "cairn"
                                "\x01\x03"
                                "h:1\0\0"; /* no nonce, no proof */
    static const struct {
        const char *name;
        struct sv bytes;
    } bad[] = {
        {"empty", SV_INIT("")},
        {"version 0", SV_INIT("\x00\x05"
                              "cairn"
                              "\x01\x03"
                              "h:1\0\0")},
        {"version 1", SV_INIT("\x01\x05"
                              "cairn"
                              "\x01\x03"
                              "h:1\0\0")},
        {"cut name", SV_INIT("\x02\x05"
                             "cai")},
        {"cut address", SV_INIT("\x02\x05"
                                "cairn"
                                "\x01\x03"
                                "h:")},
        {"newline", SV_INIT("\x02\x05"
                            "ca\nrn"
                            "\x01\x03"
                            "h:1\0\0")},
        {"NUL", SV_INIT("\x02\x05"
                        "cairn"
                        "\x01\x03"
                        "h\0"
                        "1\0\0")},
        {"level", SV_INIT("\x02\x05"
                          "cairn"
                          "\xff\xff\xff\xff\x7f\x03"
                          "h:1\0\0")},
        {"no proof", SV_INIT("\x02\x05"
                             "cairn"
                             "\x01\x03"
                             "h:1\0")},
        {"short nonce", SV_INIT("\x02\x05"
                                "cairn"
                                "\x01\x03"
                                "h:1\1n\0")},
        {"short proof", SV_INIT("\x02\x05"
                                "cairn"
                                "\x01\x03"
                                "h:1\0\1p")},
    };
    struct hello h = {.cluster_name = "cairn", .format_level = 1, .addr = "h:1"}, got;
    struct buf b = {0};
    struct err err;
    hello_put(&h, &b);
    cr_assert(sv_eq(buf_sv(&b), sv_make(plain, sizeof plain - 1)));
    buf_put_sv(&b, SV("of a later version"));
    cr_assert_eq(hello_get(buf_sv(&b), &got, &err), OK);
    cr_assert(strcmp(got.cluster_name, "cairn") == 0 && strcmp(got.addr, "h:1") == 0);
    cr_assert(got.format_level == 1 && !got.has_nonce && !got.has_proof);
    h.has_nonce = h.has_proof = true;
    memset(h.nonce, 'n', sizeof h.nonce);
    memset(h.proof, 'p', sizeof h.proof);
    buf_clear(&b);
    hello_put(&h, &b);
    cr_assert_eq(b.len, sizeof plain - 1 + 64);
    cr_assert_eq(hello_get(buf_sv(&b), &got, &err), OK);
    cr_assert(got.has_nonce && got.has_proof && memcmp(&got, &h, sizeof h) == 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(hello_get(bad[i].bytes, &got, &err), ERR_CORRUPT, "%s", bad[i].name);
    for (size_t len = 63; len <= 64; len++) {
        buf_clear(&b);
        buf_put(&b, "\x02", 1);
        buf_put_varint(&b, len);
        for (size_t i = 0; i < len; i++)
            buf_put_char(&b, 'n');
        buf_put_sv(&b, SV("\x01\x03h:1\0\0"));
        cr_assert_eq(hello_get(buf_sv(&b), &got, &err), len == 63 ? OK : ERR_CORRUPT);
    }
    buf_fini(&b);
}

Test(frame, errors_round_trip) {
    struct err err;
    struct buf b = {0};
    for (int st = OK + 1; st < STATUS_COUNT; st++) {
        buf_clear(&b);
        frame_error_put((enum status)st, "why it failed", &b);
        cr_assert_eq(frame_error_get(buf_sv(&b), &err), (enum status)st);
        cr_assert(err.code == (enum status)st && strcmp(err.msg, "why it failed") == 0);
        for (size_t len = 0; len < b.len; len++)
            cr_assert_eq(frame_error_get(sv_take(buf_sv(&b), len), &err), ERR_CORRUPT);
    }
    cr_assert_eq(frame_error_get(SV("\0\1x"), &err), ERR_CORRUPT);
    b.ptr[0] = STATUS_COUNT;
    cr_assert_eq(frame_error_get(buf_sv(&b), &err), ERR_CORRUPT);
    buf_fini(&b);
}
