/* SPDX-License-Identifier: Apache-2.0 */
/* Expected verdicts from RFC 9112 (sections named beside the rows) and the list in parse.h. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/http/parse.h"

#define H "Host: a\r\n"

static enum status parse(const char *text, size_t len, struct http_head *out, size_t *out_used,
                         struct err *err) {
    static struct arena arena;
    arena_reset(&arena);
    /* an exact copy on the heap, so that the address sanitizer sees a read behind the end */
    char *copy = malloc(len == 0 ? 1 : len);
    cr_assert(copy != NULL);
    if (len > 0) memcpy(copy, text, len);
    enum status rc = http_head_parse(sv_make(copy, len), &arena, out, out_used, err);
    static char *before; /* the views must live until the next call */
    free(before);
    before = copy;
    return rc;
}

static const struct {
    struct sv text;
    const char *want; /* in the error */
} bad[] = {
    /* request line, section 3 */
    {SV_INIT("\r\n\r\n"), "malformed method"},
    {SV_INIT("\x16\x03\x01"), "malformed method"},
    {SV_INIT(" GET / HTTP/1.1\r\n" H "\r\n"), "malformed method"},
    {SV_INIT("G\"T / HTTP/1.1\r\n" H "\r\n"), "malformed method"},
    {SV_INIT("GET\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET  / HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET a HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET * HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET /a#b HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET /\x01 HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET /\x7f HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET /\0 HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET /\tb HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET ftp://a/ HTTP/1.1\r\n" H "\r\n"), "malformed request target"},
    {SV_INIT("GET /\r\n\r\n"), "unsupported protocol version"},
    {SV_INIT("GET / \r\n\r\n"), "unsupported protocol version"},
    {SV_INIT("GET /  HTTP/1.1\r\n" H "\r\n"), "unsupported protocol version"},
    {SV_INIT("GET / HTTP/1.1 \r\n" H "\r\n"), "unsupported protocol version"},
    {SV_INIT("GET / HTTP/1.2\r\n" H "\r\n"), "unsupported protocol version"},
    {SV_INIT("GET / HTTP/0.9\r\n" H "\r\n"), "unsupported protocol version"},
    {SV_INIT("GET / HTTP/2.0\r\n" H "\r\n"), "unsupported protocol version"},
    {SV_INIT("GET / http/1.1\r\n" H "\r\n"), "unsupported protocol version"},
    {SV_INIT("GET / HTTP/1.10\r\n" H "\r\n"), "unsupported protocol version"},
    /* line ends, 2.2 */
    {SV_INIT("GET / HTTP/1.1\n" H "\r\n"), "bare LF"},
    {SV_INIT("GET / HTTP/1.1\r\nHost: a\n\r\n"), "bare LF"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "\n"), "bare LF"},
    {SV_INIT("GET / HTTP/1.1\n"), "bare LF"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A: b\rc\r\n\r\n"), "control byte"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A: b\r\r\n\r\n"), "control byte"},
    {SV_INIT("GET / HTTP/1.1\r\r\n" H "\r\n"), "unsupported protocol version"},
    /* fields, 5 */
    {SV_INIT("GET / HTTP/1.1\r\n" H "A : b\r\n\r\n"), "malformed name"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A\t: b\r\n\r\n"), "malformed name"},
    {SV_INIT("GET / HTTP/1.1\r\n" H ": b\r\n\r\n"), "malformed name"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A(: b\r\n\r\n"), "malformed name"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "\xc3\xa4: b\r\n\r\n"), "malformed name"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A b\r\n\r\n"), "no colon"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n"), "folded"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A: b\r\n\tc\r\n\r\n"), "folded"},
    {SV_INIT("GET / HTTP/1.1\r\n " H "\r\n"), "folded"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n"), "control byte"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A: b\x7f\r\n\r\n"), "control byte"},
    {SV_INIT("GET / HTTP/1.1\r\n" H "A: b\x0b\r\n\r\n"), "control byte"},
    /* Host, 3.2 */
    {SV_INIT("GET / HTTP/1.1\r\n\r\n"), "missing Host"},
    {SV_INIT("GET / HTTP/1.1\r\n" H H "\r\n"), "several Host"},
    {SV_INIT("GET / HTTP/1.0\r\n" H H "\r\n"), "several Host"},
    {SV_INIT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), "malformed Host"},
    {SV_INIT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), "malformed Host"},
    {SV_INIT("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), "malformed Host"},
    /* body length, 6 */
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
     "several Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
     "several Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\n"), "malformed Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1 \t\r\n\r\n"), "malformed Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\t\r\n\r\n"), "transfer encoding"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n"), "malformed Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\n"), "malformed Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n"), "malformed Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\n"), "malformed Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1 2\r\n\r\n"), "malformed Content-Length"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551616\r\n\r\n"),
     "out of range"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
     "together"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"),
     "together"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n"),
     "transfer encoding"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n"),
     "transfer encoding"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"), "transfer encoding"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n"), "transfer encoding"},
    {SV_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n"), "transfer encoding"},
    {SV_INIT("POST / HTTP/1.1\r\n" H
             "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
     "transfer encoding"},
    {SV_INIT("POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n"), "HTTP/1.0"},
};

Test(parse_head, doubtful_heads_are_refused_by_name) {
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct http_head head;
        size_t used = 99;
        struct err err = {0};
        enum status rc = parse(bad[i].text.ptr, bad[i].text.len, &head, &used, &err);
        cr_assert(rc == ERR_PARSE && used == 0, "row %zu: status %d", i, (int)rc);
        cr_assert(strstr(err.msg, bad[i].want) != NULL, "row %zu: %s", i, err.msg);
    }
}

/* want: method version target flags(k keep-alive, c chunked, e expect) length headers */
static const struct {
    const char *text, *want;
} good[] = {
    {"GET / HTTP/1.1\r\n" H "\r\n", "1 1 / k-- - 1"},
    {"\r\nGET / HTTP/1.1\r\n" H "\r\n", "1 1 / k-- - 1"},
    {"HEAD /a?b HTTP/1.0\r\n\r\n", "2 0 /a?b --- - 0"},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "1 0 / k-- - 1"},
    {"GET / HTTP/1.0\r\nConnection: Upgrade,\t Keep-Alive ,x\r\n\r\n", "1 0 / k-- - 1"},
    {"GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", "1 1 / --- - 2"},
    {"GET / HTTP/1.1\r\n" H "Connection: keep-alive\r\nconnection: x, CLOSE\r\n\r\n",
     "1 1 / --- - 3"},
    {"GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n", "1 1 / k-- - 2"},
    {"POST / HTTP/1.1\r\n" H "content-LENGTH:\t  12  \r\n\r\n", "4 1 / k-- 12 2"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551615\r\n\r\n",
     "4 1 / k-- 18446744073709551615 2"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 007\r\n\r\n", "4 1 / k-- 7 2"},
    {"PUT / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n", "8 1 / kc- - 2"},
    {"POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n", "4 1 / k-e 1 3"},
    {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", "4 0 / --- 1 2"},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", "32 1 * k-- - 1"},
    {"DELETE /x HTTP/1.1\r\nHost:\r\n\r\n", "16 1 /x k-- - 1"},
    {"GET http://h:1/x HTTP/1.1\r\nHost: [::1]:9090\r\n\r\n", "1 1 http://h:1/x k-- - 1"},
    {"GET HTTPS://h HTTP/1.1\r\n" H "\r\n", "1 1 HTTPS://h k-- - 1"},
    {"CONNECT h:1 HTTP/1.1\r\n" H "\r\n", "0 1 h:1 k-- - 1"},
    {"get / HTTP/1.1\r\n" H "\r\n", "0 1 / k-- - 1"},
    {"PATCH / HTTP/1.1\r\n" H "\r\n", "0 1 / k-- - 1"},
    {"GET /{\"\xc3\xa4\"}|^`\\ HTTP/1.1\r\n" H "\r\n", "1 1 /{\"\xc3\xa4\"}|^`\\ k-- - 1"},
    {"GET / HTTP/1.1\r\n" H "X: \xff \t y\r\nEmpty:\r\n\r\n", "1 1 / k-- - 3"},
};

static void describe(const struct http_head *h, char *out, size_t size) {
    char length[24] = "-";
    if (h->has_length)
        snprintf(length, sizeof length, "%llu", (unsigned long long)h->content_length);
    snprintf(out, size, "%u %d %.*s %c%c%c %s %zu", h->method, h->minor_version, SV_ARG(h->target),
             h->keep_alive ? 'k' : '-', h->chunked ? 'c' : '-', h->expect_continue ? 'e' : '-',
             length, h->headers_count);
}

Test(parse_head, good_heads_are_understood_whole_and_in_no_part) {
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        size_t len = strlen(good[i].text), used;
        char text[1024], got[256];
        struct http_head head;
        struct err err = {0};
        snprintf(text, sizeof text, "%sNEXT", good[i].text);
        cr_assert_eq(parse(text, len + 4, &head, &used, &err), OK, "row %zu: %s", i, err.msg);
        describe(&head, got, sizeof got);
        cr_assert_str_eq(got, good[i].want, "row %zu", i);
        cr_assert_eq(used, len, "row %zu", i);
        for (size_t part = 0; part < len; part++) {
            enum status rc = parse(text, part, &head, &used, &err);
            cr_assert(rc == OK && used == 0, "row %zu cut at %zu: %s", i, part, err.msg);
        }
    }
}

Test(parse_head, names_and_values_are_trimmed_views) {
    struct http_head h;
    size_t used;
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Y:\t b  c \t\r\nEmpty: \r\n\r\n";
    cr_assert_eq(parse(text, sizeof text - 1, &h, &used, NULL), OK);
    cr_assert(sv_eq(h.method_text, SV("GET")));
    cr_assert(sv_eq(h.headers[1].name, SV("X-Y")));
    cr_assert(sv_eq(h.headers[1].value, SV("b  c")));
    cr_assert(sv_eq(h.headers[2].name, SV("Empty")) && h.headers[2].value.len == 0);
}

Test(parse_head, size_and_number_of_headers_are_limited) {
    static char text[HTTP_HEAD_BYTES_MAX + 1024];
    struct http_head h;
    size_t used;
    for (int extra = 0; extra <= 1; extra++) { /* one byte below and one above the limit */
        int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\n" H "X: ");
        size_t pad = (size_t)(HTTP_HEAD_BYTES_MAX - n - 4 + extra);
        memset(text + n, 'x', pad);
        memcpy(text + n + pad, "\r\n\r\n", 4);
        enum status rc = parse(text, (size_t)n + pad + 4, &h, &used, NULL);
        cr_assert_eq(rc, extra == 0 ? OK : ERR_LIMIT);
        /* an endless head is refused without its end */
        cr_assert_eq(parse(text, (size_t)HTTP_HEAD_BYTES_MAX, &h, &used, NULL),
                     extra == 0 ? OK : ERR_LIMIT);
    }
    for (int count = HTTP_HEADERS_MAX; count <= HTTP_HEADERS_MAX + 1; count++) {
        int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\n" H);
        for (int i = 1; i < count; i++)
            n += snprintf(text + n, sizeof text - (size_t)n, "X%d: y\r\n", i);
        n += snprintf(text + n, sizeof text - (size_t)n, "\r\n");
        enum status rc = parse(text, (size_t)n, &h, &used, NULL);
        cr_assert_eq(rc, count <= HTTP_HEADERS_MAX ? OK : ERR_LIMIT);
        if (rc == OK) cr_assert_eq(h.headers_count, (size_t)count);
    }
}
