/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/discovery.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "ring/map.h"

struct good {
    const char *text;
    enum discovery_kind kind;
    const char *name; /* or the addresses, joined by a space */
    uint16_t port;
};
static const struct good goods[] = {
    {"", DISCOVERY_NONE, "", 0},
    {"static:h:1", DISCOVERY_STATIC, "h:1", 0},
    {"static:b:2,a:1", DISCOVERY_STATIC, "a:1 b:2", 0},
    {"static: b:2 ,\ta:1", DISCOVERY_STATIC, "a:1 b:2", 0},
    {"static:10.0.0.1:9095,[::1]:9095,[fe80::1]:65535", DISCOVERY_STATIC,
     "10.0.0.1:9095 [::1]:9095 [fe80::1]:65535", 0},
    {"static:a:1,a:2", DISCOVERY_STATIC, "a:1 a:2", 0},
    {"dns+a://ring.example.com:9095", DISCOVERY_DNS_A, "ring.example.com", 9095},
    {"dns+srv://_ring._tcp.example.com", DISCOVERY_DNS_SRV, "_ring._tcp.example.com", 0},
    {"cloudmap://prod.local/cairn", DISCOVERY_CLOUDMAP, "prod.local/cairn", 0},
};

struct bad {
    const char *text;
    const char *says;
};
static const struct bad bads[] = {
    {"static:", "\"\" is not host:port"},
    {"static:a", "\"a\" is not host:port"},
    {"static::1", "\":1\" is not host:port"},
    {"static:a:", "\"a:\" is not host:port"},
    {"static:a:0", "\"a:0\" is not host:port"},
    {"static:a:65536", "\"a:65536\" is not host:port"},
    {"static:a:-1", "\"a:-1\" is not host:port"},
    {"static:a:99999999999999999999", "is not host:port"},
    {"static:a:1,", "\"\" is not host:port"},
    {"static:a:1,,b:1", "\"\" is not host:port"},
    {"static:a b:1", "\"a b:1\" is not host:port"},
    {"static:http://a:1", "\"http://a:1\" is not host:port"},
    {"static:::1:9095", "\"::1:9095\" is not host:port"},
    {"static:[]:1", "\"[]:1\" is not host:port"},
    {"static:[g]:1", "\"[g]:1\" is not host:port"},
    {"static:a:1,b:1,a:1", "a:1 is listed twice"},
    {"dns+a://name", "needs name:port"},
    {"dns+a://:80", "needs name:port"},
    {"dns+a://name:0", "needs name:port"},
    {"dns+a://name:80:90", "needs name:port"},
    {"dns+a://na/me:80", "needs name:port"},
    {"dns+srv://", "needs a name"},
    {"dns+srv://a:80", "needs a name"},
    {"cloudmap://", "needs namespace/service"},
    {"cloudmap://space", "needs namespace/service"},
    {"cloudmap:///service", "needs namespace/service"},
    {"cloudmap://space/", "needs namespace/service"},
    {"cloudmap://space/service/more", "needs namespace/service"},
    {"a:1,b:1", "is none of static:"},
    {"consul://x", "is none of static:"},
    {"Static:a:1", "is none of static:"},
};

Test(discovery, what_is_accepted) {
    for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
        const struct good *g = &goods[i];
        struct arena arena;
        struct discovery d;
        struct err err = {0};
        arena_init(&arena, 0);
        cr_assert_eq(discovery_parse(sv_from(g->text), &arena, &d, &err), OK, "%s", err.msg);
        cr_assert_eq(d.kind, g->kind, "%s", g->text);
        cr_assert_eq(d.port, g->port);
        struct buf joined = {0};
        for (size_t k = 0; k < d.addrs_count; k++) {
            if (k > 0) buf_put_char(&joined, ' ');
            buf_put_sv(&joined, d.addrs[k]);
        }
        if (d.kind != DISCOVERY_STATIC) buf_put_sv(&joined, d.name);
        cr_assert(sv_eq(buf_sv(&joined), sv_from(g->name)), "%s", g->text);
        buf_fini(&joined);
        arena_fini(&arena);
    }
}

Test(discovery, what_is_refused_and_why) {
    for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
        struct arena arena;
        struct discovery d = {.kind = DISCOVERY_CLOUDMAP, .port = 7};
        struct err err = {0};
        arena_init(&arena, 0);
        cr_assert_eq(discovery_parse(sv_from(bads[i].text), &arena, &d, &err), ERR_PARSE, "%s",
                     bads[i].text);
        cr_assert(strstr(err.msg, bads[i].says) != NULL, "%s: %s", bads[i].text, err.msg);
        cr_assert_eq(strncmp(err.msg, "--ring.discovery: ", 18), 0);
        cr_assert(d.kind == DISCOVERY_CLOUDMAP && d.port == 7, "untouched on failure");
        arena_fini(&arena);
    }
}

Test(discovery, limits) {
    struct buf text = {0};
    struct arena arena;
    struct discovery d;
    struct err err;
    arena_init(&arena, 0);
    buf_put_sv(&text, SV("static:"));
    for (int i = 0; i < RING_NODES_MAX; i++)
        buf_printf(&text, "%sn%d:1", i == 0 ? "" : ",", i);
    cr_assert_eq(discovery_parse(buf_sv(&text), &arena, &d, &err), OK);
    cr_assert_eq(d.addrs_count, RING_NODES_MAX);
    buf_put_sv(&text, SV(",x:1"));
    cr_assert_eq(discovery_parse(buf_sv(&text), &arena, &d, &err), ERR_LIMIT);
    buf_clear(&text);
    buf_put_sv(&text, SV("static:"));
    for (int i = 0; i < 254; i++)
        buf_put_char(&text, 'h');
    buf_put_sv(&text, SV(":1"));
    cr_assert_eq(discovery_parse(buf_sv(&text), &arena, &d, &err), ERR_LIMIT);
    struct arena small;
    arena_init(&small, 1);
    cr_assert_eq(discovery_parse(SV("static:a:1"), &small, &d, &err), ERR_NOMEM);
    arena_fini(&small);
    arena_fini(&arena);
    buf_fini(&text);
}
