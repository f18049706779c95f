/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever our parser accepts, llhttp 8.1 in strict mode accepts with the same headers, body and
 * end. The other way round is not asked: ours refuses more (test_parse_head.c has the list). Known
 * differences, each counted:
 * - method: a token llhttp has no name for (ours: method 0, answered with 501)
 * - target: bytes that RFC 3986 wants escaped; Go's server, and so Prometheus, takes them
 * - trailer: fields behind a chunked body, which llhttp obeys as headers; ours checks their form
 *   and drops them
 * - close: Connection: close beside keep-alive in HTTP/1.0, or with a HTAB behind: ours closes
 * - extension: a second chunk extension behind one with a value (allowed by RFC 9112 7.1.1)
 * Arguments: mutations, seed. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* clang-format off: llhttp's method names are also ours */
#define HTTP_GET LLHTTP_GET
#define HTTP_HEAD LLHTTP_HEAD
#define HTTP_POST LLHTTP_POST
#define HTTP_PUT LLHTTP_PUT
#define HTTP_DELETE LLHTTP_DELETE
#define HTTP_OPTIONS LLHTTP_OPTIONS
#include <llhttp.h>
#undef HTTP_GET
#undef HTTP_HEAD
#undef HTTP_POST
#undef HTTP_PUT
#undef HTTP_DELETE
#undef HTTP_OPTIONS
/* clang-format on */

#include "node/base/num.h"
#include "node/base/rng.h"
#include "node/http/parse.h"

enum { TEXT_MAX = 2048, SEEN_HEADERS_MAX = 128 };

struct seen {
    char names[SEEN_HEADERS_MAX][TEXT_MAX];
    size_t name_lens[SEEN_HEADERS_MAX];
    char values[SEEN_HEADERS_MAX][TEXT_MAX];
    size_t value_lens[SEEN_HEADERS_MAX];
    size_t count;
    bool in_value, head_done, done;
    char url[TEXT_MAX], body[TEXT_MAX];
    size_t url_len, body_len;
};

static void append(char *to, size_t *len, const char *at, size_t n) {
    assert(*len + n <= TEXT_MAX);
    memcpy(to + *len, at, n);
    *len += n;
}

static int on_url(llhttp_t *p, const char *at, size_t n) {
    struct seen *s = p->data;
    append(s->url, &s->url_len, at, n);
    return 0;
}
static int on_field(llhttp_t *p, const char *at, size_t n) {
    struct seen *s = p->data;
    if (s->head_done) return 0; /* trailers */
    if (s->in_value || s->count == 0) {
        assert(s->count < SEEN_HEADERS_MAX);
        s->name_lens[s->count] = s->value_lens[s->count] = 0;
        s->count++;
        s->in_value = false;
    }
    append(s->names[s->count - 1], &s->name_lens[s->count - 1], at, n);
    return 0;
}
static int on_value(llhttp_t *p, const char *at, size_t n) {
    struct seen *s = p->data;
    if (s->head_done) return 0;
    s->in_value = true;
    append(s->values[s->count - 1], &s->value_lens[s->count - 1], at, n);
    return 0;
}
static int on_value_complete(llhttp_t *p) {
    struct seen *s = p->data;
    s->in_value = true;
    return 0;
}
static int on_head_done(llhttp_t *p) {
    struct seen *s = p->data;
    s->head_done = true;
    return 0;
}
static int on_body(llhttp_t *p, const char *at, size_t n) {
    struct seen *s = p->data;
    append(s->body, &s->body_len, at, n);
    return 0;
}
static int on_done(llhttp_t *p) {
    struct seen *s = p->data;
    s->done = true;
    return HPE_PAUSED;
}

static const char *const seeds[] = {
    "GET /api/v1/query?query=up%7Ba%3D%22b%22%7D&time=1.5 HTTP/1.1\r\nHost: "
    "localhost:9090\r\nUser-Agent: "
    "Grafana/10\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n",
    "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nContent-Encoding: "
    "snappy\r\n\r\nhello world",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n "
    "world\r\n0\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: a\r\ntransfer-encoding:chunked\r\nExpect: "
    "100-continue\r\n\r\n1;x\r\na\r\n00\r\nT: v\r\nU:\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: close\r\nX-Empty:\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nOrigin: http://a.b\r\n\r\n",
    "GET http://a.b:80/c?d HTTP/1.1\r\nhost: a.b:80\r\nX: a\tb  \r\nY:  z\xff\r\nConnection: a, "
    "close\r\n\r\n",
    "\r\nHEAD /-/healthy HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n",
    "DELETE /a/b HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: "
    "2\r\n\r\nxy",
};
static const char *const splices[] = {
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "\"",
    "=",
    "0",
    "1",
    "-1",
    "+",
    "f",
    "Host: b\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 3\t\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "chunked",
    ", chunked",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/9.9",
    "\r\n ",
    "\x80",
    "\x7f",
    "\x0b",
    "?",
    "#",
    "%",
    "/",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "0\r\n\r\n",
    "3\r\nabc\r\n",
    ";a=\"b\"",
    "X",
    "_",
    "GET ",
};

static size_t mutate(struct rng *rng, char *text) {
    const char *seed = seeds[rng_below(rng, ARRAY_LEN(seeds))];
    size_t len = strlen(seed);
    memcpy(text, seed, len);
    for (uint64_t n = rng_below(rng, 4); n > 0; n--) {
        size_t at = (size_t)rng_below(rng, len + 1), cut = 0, put_len = 0;
        char put[64];
        switch (rng_below(rng, 5)) {
        case 0: /* another byte */
            cut = at < len;
            put[put_len++] = (char)rng_below(rng, 256);
            break;
        case 1: cut = (size_t)rng_below(rng, MIN(len - at, (size_t)7) + 1); break;
        case 2: { /* a piece from elsewhere */
            size_t from = (size_t)rng_below(rng, len + 1);
            put_len = (size_t)rng_below(rng, MIN(len - from, (size_t)40) + 1);
            memcpy(put, text + from, put_len);
            break;
        }
        default: {
            const char *s = splices[rng_below(rng, ARRAY_LEN(splices))];
            put_len = strlen(s);
            memcpy(put, s, put_len);
            if (rng_below(rng, 2) == 0) cut = MIN(put_len, len - at);
        }
        }
        if (len - cut + put_len > TEXT_MAX - 8) continue;
        memmove(text + at + put_len, text + at + cut, len - at - cut);
        memcpy(text + at, put, put_len);
        len = len - cut + put_len;
    }
    return len;
}

struct ours {
    struct http_head head;
    struct buf body;
    size_t used;
};

/* Head and whole body, as the server reads them. */
static bool accept_ours(struct sv text, struct arena *arena, struct ours *out) {
    struct err err;
    if (http_head_parse(text, arena, &out->head, &out->used, &err) != OK || out->used == 0)
        return false;
    struct sv rest = sv_skip(text, out->used);
    if (!out->head.chunked) {
        if (out->head.content_length > rest.len) return false;
        buf_put(&out->body, rest.ptr, (size_t)out->head.content_length);
        out->used += (size_t)out->head.content_length;
        return true;
    }
    struct http_chunked c = {0};
    size_t used;
    bool done;
    if (http_chunked_feed(&c, rest, &out->body, &used, &done, &err) != OK || !done) return false;
    out->used += used;
    return true;
}

static bool has_foreign_byte(struct sv target) {
    for (size_t i = 0; i < target.len; i++)
        if ((unsigned char)target.ptr[i] >= 0x80 ||
            strchr("\"<>\\^`{|}#[]@", target.ptr[i]) != NULL)
            return true;
    return false;
}

static bool same(const struct ours *o, struct seen *s, bool body) {
    if (!sv_eq(o->head.target, sv_make(s->url, s->url_len)) || o->head.headers_count != s->count)
        return false;
    for (size_t i = 0; i < s->count; i++) {
        struct sv value = sv_trim(
            sv_make(s->values[i], s->value_lens[i])); /* llhttp leaves whitespace at the end */
        if (!sv_eq(o->head.headers[i].name, sv_make(s->names[i], s->name_lens[i])) ||
            !sv_eq(o->head.headers[i].value, value))
            return false;
    }
    return !body || sv_eq(buf_sv(&o->body), sv_make(s->body, s->body_len));
}

struct counts {
    unsigned accepted, method, target, trailer, close, extension, upgrade;
};

static const char *compare(struct sv text, const struct ours *o, struct seen *s, struct counts *n) {
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_header_field = on_field;
    settings.on_header_value = on_value;
    settings.on_header_value_complete = on_value_complete;
    settings.on_headers_complete = on_head_done;
    settings.on_body = on_body;
    settings.on_message_complete = on_done;
    llhttp_t parser;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    s->count = s->url_len = s->body_len = 0;
    s->in_value = s->head_done = s->done = false;
    parser.data = s;
    llhttp_errno_t rc = llhttp_execute(&parser, text.ptr, text.len);
    if (rc == HPE_PAUSED_UPGRADE ||
        (s->done && parser.upgrade)) { /* llhttp leaves the rest to somebody else */
        n->upgrade++;
        return same(o, s, false) ? NULL : "other headers (upgrade)";
    }
    if (rc == HPE_PAUSED && s->done) {
        if ((size_t)(llhttp_get_error_pos(&parser) - text.ptr) != o->used) return "another end";
        bool keep_alive = llhttp_should_keep_alive(&parser) != 0;
        if (keep_alive != o->head.keep_alive) {
            if (o->head.chunked)
                n->trailer++;
            else if (!o->head.keep_alive)
                n->close++;
            else
                return "another keep-alive";
        }
        return same(o, s, true) ? NULL : "other content";
    }
    static char reason[200];
    snprintf(reason, sizeof reason, "%s: %s", llhttp_errno_name(rc),
             llhttp_get_error_reason(&parser));
    bool framing = rc == HPE_INVALID_TRANSFER_ENCODING || rc == HPE_INVALID_CONTENT_LENGTH ||
                   rc == HPE_UNEXPECTED_CONTENT_LENGTH;
    if (o->head.method == 0)
        n->method++;
    else if (rc == HPE_INVALID_URL && has_foreign_byte(o->head.target))
        n->target++;
    else if (s->head_done && o->head.chunked && framing && same(o, s, true))
        n->trailer++;
    else if (rc == HPE_INVALID_CHUNK_SIZE && llhttp_get_error_pos(&parser)[-1] == ';')
        n->extension++;
    else
        return reason;
    return NULL;
}

int main(int argc, char **argv) {
    uint64_t mutations = argc > 1 ? strtoull(argv[1], NULL, 10) : 400000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct rng rng;
    rng_init(&rng, seed);
    struct arena arena;
    arena_init(&arena, 0);
    static struct seen seen;
    struct counts n = {0};
    unsigned differences = 0;
    for (uint64_t i = 0; i < mutations && differences < 20; i++) {
        char text[TEXT_MAX + 1];
        size_t len = mutate(&rng, text);
        text[len] = '\0';
        arena_reset(&arena);
        struct ours ours = {0};
        if (accept_ours(sv_make(text, len), &arena, &ours)) {
            n.accepted++;
            const char *why = compare(sv_make(text, len), &ours, &seen, &n);
            if (why != NULL) {
                differences++;
                printf("mutation %" PRIu64 " of seed %" PRIu64 ": llhttp: %s\n", i, seed, why);
                struct buf quoted = {0};
                for (size_t k = 0; k < len; k++)
                    buf_printf(&quoted, text[k] >= 32 && text[k] < 127 ? "%c" : "\\x%02x",
                               (unsigned char)text[k]);
                printf("  %s\n", buf_cstr(&quoted));
                buf_fini(&quoted);
            }
        }
        buf_fini(&ours.body);
    }
    arena_fini(&arena);
    printf("%" PRIu64 " mutations (seed %" PRIu64
           "), %u accepted by us, %u differences; llhttp alone refuses: "
           "%u method, %u target; %u trailer, %u close, %u extension, %u upgrades\n",
           mutations, seed, n.accepted, differences, n.method, n.target, n.trailer, n.close,
           n.extension, n.upgrade);
    return differences > 0 || n.accepted < mutations / 10;
}
