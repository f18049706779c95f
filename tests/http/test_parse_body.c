/* SPDX-License-Identifier: Apache-2.0 */
/* Chunked bodies (RFC 9112 7.1), percent-encoding (expected values: Go 1.19 net/url). */
#include <criterion/criterion.h>
#include <stdio.h>

#include "node/base/rng.h"
#include "node/http/parse.h"

static const struct {
    const char *text, *want; /* want NULL: refused; "...": not complete */
} chunked[] = {
    {"0\r\n\r\n", ""},
    {"3\r\nabc\r\n0\r\n\r\n", "abc"},
    {"3\r\nabc\r\n2\r\nde\r\n000\r\n\r\n", "abcde"},
    {"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"},
    {"3;x=y\r\nabc\r\n0;z\r\n\r\n", "abc"},
    {"3;x=\"a b\"\r\nabc\r\n0\r\n\r\n", "abc"},
    {"1\r\na\r\n0\r\nTrailer: x\r\nB:\r\n\r\n", "a"},
    {"5\r\n\r\n0\r\n\r\n0\r\n\r\n", "\r\n0\r\n"},
    {"", "..."},
    {"3\r\nabc\r\n", "..."},
    {"3\r\nabc\r\n0\r\n", "..."},
    {"3\r\nabc\r\n0\r\n\r", "..."},
    {"\r\n", NULL},
    {"g\r\n", NULL},
    {"-1\r\n", NULL},
    {"+1\r\na", NULL},
    {" 1\r\na", NULL},
    {"1 \r\na", NULL},
    {"0x1\r\na", NULL},
    {";x\r\n", NULL},
    {"1\na\r\n", NULL},
    {"1\rxa", NULL},
    {"1\r\nab\r\n", NULL},
    {"1\r\na\n0\r\n\r\n", NULL},
    {"1\r\na\rb", NULL},
    {"3;a=b;c;d=\"e;f\xe4\"\r\nabc\r\n0;a=b;c\r\n\r\n", "abc"},
    {"1;\r\na", NULL},
    {"1;;a\r\na", NULL},
    {"1;a=\r\na", NULL},
    {"1;a==b\r\na", NULL},
    {"1;a b\r\na", NULL},
    {"1;a=\"b\"c\r\na", NULL},
    {"1;a=\"\\\\\"\r\na", NULL},
    {"1;a\"=b\r\na", NULL},
    {"1;x\ny\r\na", NULL},
    {"1;x\x01\r\na", NULL},
    {"0\r\n\n", NULL},
    {"0\r\nnocolon\r\n\r\n", NULL},
    {"0\r\n: x\r\n\r\n", NULL},
    {"0\r\n x: y\r\n\r\n", NULL},
    {"0\r\nx : y\r\n\r\n", NULL},
    {"0\r\nx: y\r\n z\r\n\r\n", NULL},
    {"0\r\nx: y\n\r\n", NULL},
    {"fffffffffffffff\r\n", "..."},
    {"10000000000000000\r\n", NULL},
    {"ffffffffffffffff\r\n", NULL},
};

/* Feeds in pieces of step bytes (0: random ones). */
static enum status feed(struct sv text, size_t step, struct rng *rng, struct buf *out,
                        size_t *out_used, bool *done) {
    struct http_chunked c = {0};
    enum status rc = OK;
    *done = false;
    *out_used = 0;
    while (rc == OK && !*done && *out_used < text.len) {
        size_t n = step != 0 ? step : 1 + (size_t)rng_below(rng, 7), used;
        struct err err;
        struct sv piece = sv_take(sv_skip(text, *out_used), n);
        rc = http_chunked_feed(&c, piece, out, &used, done, &err);
        *out_used += used;
        if (rc == OK && !*done) cr_assert_eq(used, piece.len, "all is consumed until the end");
    }
    return rc;
}

Test(parse_chunked, verdict_and_body_do_not_depend_on_the_pieces) {
    struct rng rng;
    rng_init(&rng, 1);
    for (size_t i = 0; i < ARRAY_LEN(chunked); i++) {
        char with_next[256];
        snprintf(with_next, sizeof with_next, "%s%s", chunked[i].text,
                 chunked[i].want != NULL && strcmp(chunked[i].want, "...") != 0 ? "GET /" : "");
        struct sv text = sv_from(with_next);
        for (size_t step = 0; step < text.len + 1; step++) {
            struct buf out = {0};
            size_t used;
            bool done;
            enum status rc = feed(text, step, &rng, &out, &used, &done);
            if (chunked[i].want == NULL) {
                cr_assert(rc == ERR_PARSE, "row %zu step %zu: %d", i, step, (int)rc);
            } else if (strcmp(chunked[i].want, "...") == 0) {
                cr_assert(rc == OK && !done, "row %zu step %zu", i, step);
            } else {
                cr_assert(rc == OK && done, "row %zu step %zu", i, step);
                cr_assert(sv_eq(buf_sv(&out), sv_from(chunked[i].want)), "row %zu step %zu", i,
                          step);
                cr_assert_eq(used, strlen(chunked[i].text), "row %zu step %zu", i, step);
            }
            buf_fini(&out);
        }
    }
}

Test(parse_chunked, overhead_and_size_are_limited) {
    static char text[20000];
    struct buf out = {0};
    size_t used;
    bool done;
    struct http_chunked c = {0};
    memset(text, 'x', sizeof text);
    memcpy(text, "1;", 2);
    cr_assert_eq(http_chunked_feed(&c, sv_make(text, 1000), &out, &used, &done, NULL), ERR_LIMIT);
    c = (struct http_chunked){0};
    memcpy(text, "0\r\nx:", 5);
    cr_assert_eq(http_chunked_feed(&c, sv_make(text, sizeof text), &out, &used, &done, NULL),
                 ERR_LIMIT);
    c = (struct http_chunked){0};
    out.limit_bytes = 4;
    cr_assert_eq(http_chunked_feed(&c, SV("5\r\nabcde\r\n"), &out, &used, &done, NULL), ERR_LIMIT);
    buf_fini(&out);
}

static const struct {
    struct sv text;
    bool form;
    struct sv want; /* ptr NULL: refused */
    const char *error;
} escapes[] = {
    {SV_INIT(""), false, SV_INIT(""), NULL},
    {SV_INIT("/a%20b"), false, SV_INIT("/a b"), NULL},
    {SV_INIT("a+b"), false, SV_INIT("a+b"), NULL},
    {SV_INIT("a+b"), true, SV_INIT("a b"), NULL},
    {SV_INIT("%2B%2b"), true, SV_INIT("++"), NULL},
    {SV_INIT("%00%fF"), true, SV_INIT("\0\xff"), NULL},
    {SV_INIT("%25zz"), true, SV_INIT("%zz"), NULL},
    {SV_INIT("a%"), true, {NULL, 0}, "invalid URL escape \"%\""},
    {SV_INIT("a%4"), true, {NULL, 0}, "invalid URL escape \"%4\""},
    {SV_INIT("a%zzb"), true, {NULL, 0}, "invalid URL escape \"%zz\""},
    {SV_INIT("%4gx"), false, {NULL, 0}, "invalid URL escape \"%4g\""},
    {SV_INIT("%%41"), false, {NULL, 0}, "invalid URL escape \"%%4\""},
};

Test(url, escapes_as_in_go) {
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        struct sv out = SV("untouched");
        struct err err = {0};
        enum status rc = url_decode(escapes[i].text, escapes[i].form, &arena, &out, &err);
        if (escapes[i].error == NULL) {
            cr_assert(rc == OK && sv_eq(out, escapes[i].want), "row %zu", i);
        } else {
            cr_assert(rc == ERR_PARSE && sv_eq(out, SV("untouched")), "row %zu", i);
            cr_assert_str_eq(err.msg, escapes[i].error);
        }
    }
    arena_fini(&arena);
}
