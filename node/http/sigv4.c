/* SPDX-License-Identifier: Apache-2.0 */
/* A canonical form of the request is hashed; what is signed is that hash with time and scope:
 *
 *   method \n path \n query \n name:value\n... \n names \n hex(SHA256(body))
 *   AWS4-HMAC-SHA256 \n time \n day/region/service/aws4_request \n hex(SHA256(of that))
 *
 * by the key HMAC(HMAC(HMAC(HMAC("AWS4" secret, day), region), service), "aws4_request"). */
#include "node/http/sigv4.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "node/base/buf.h"
#include "node/base/duration.h"

enum { HASH_BYTES = 32, PAIRS_MAX = 1000 };

struct canon {
    const struct sigv4_request *request;
    struct http_header headers[SIGV4_SIGNED_MAX]; /* by name, which is in lower case */
    size_t headers_count;
    char time[24]; /* 20150830T123600Z */
    struct buf scope, names, text;
};

static void put_hex(struct buf *out, const uint8_t *bytes, size_t count) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        buf_put_char(out, digits[bytes[i] >> 4]);
        buf_put_char(out, digits[bytes[i] & 15]);
    }
}

static bool put_hash(struct buf *out, struct sv bytes) {
    uint8_t hash[HASH_BYTES];
    unsigned len = 0;
    if (EVP_Digest(bytes.len == 0 ? "" : bytes.ptr, bytes.len, hash, &len, EVP_sha256(), NULL) != 1)
        return false;
    put_hex(out, hash, len);
    return true;
}

static bool hmac(struct sv key, struct sv text, uint8_t out[HASH_BYTES]) {
    unsigned len = 0;
    return HMAC(EVP_sha256(), key.ptr, (int)key.len, (const uint8_t *)text.ptr, text.len, out,
                &len) != NULL &&
           len == HASH_BYTES;
}

/* -- the path: without empty and dot segments, escaped (once more, the URL's is escaped already) */

static void put_segment(struct buf *out, struct sv s) {
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            buf_put_char(out, c);
            continue;
        }
        buf_put_char(out, '%');
        buf_put_char(out, hex[(unsigned char)c >> 4]);
        buf_put_char(out, hex[(unsigned char)c & 15]);
    }
}

static void put_path(struct buf *out, struct sv path) {
    size_t began = out->len;
    bool ends = sv_ends(path, SV("/"));
    buf_put_char(out, '/');
    struct sv rest = path, part;
    while (rest.len > 0) {
        rest = sv_cut(rest, '/', &part);
        if (part.len == 0 || sv_eq(part, SV("."))) continue;
        if (!sv_eq(part, SV(".."))) {
            if (out->len > began + 1) buf_put_char(out, '/');
            put_segment(out, part);
            continue;
        }
        while (!out->failed && out->len > began + 1 && out->ptr[out->len - 1] != '/')
            out->len--;
        if (!out->failed && out->len > began + 1) out->len--; /* the slash before it */
    }
    if (ends && out->len > began + 1) buf_put_char(out, '/');
}

/* -- the query: by name, then by value */

static int header_cmp(const void *a, const void *b) {
    const struct http_header *x = a, *y = b;
    int c = sv_cmp(x->name, y->name);
    return c != 0 ? c : sv_cmp(x->value, y->value);
}

static enum status put_query(struct buf *out, struct sv query, struct arena *arena,
                             struct err *err) {
    if (query.len == 0) return OK;
    size_t count = 1;
    for (size_t i = 0; i < query.len; i++)
        count += query.ptr[i] == '&';
    if (count > PAIRS_MAX)
        return err_set(err, ERR_LIMIT, 0, "%zu parameters of a query, at most %d", count,
                       PAIRS_MAX);
    struct http_header *pairs = arena_array(arena, count, sizeof *pairs);
    if (pairs == NULL) return err_set(err, ERR_NOMEM, 0, "no memory to sign a request");
    for (size_t i = 0; i < count; i++) {
        struct sv pair;
        query = sv_cut(query, '&', &pair);
        pairs[i].value = sv_cut(pair, '=', &pairs[i].name);
    }
    qsort(pairs, count, sizeof *pairs, header_cmp);
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s%.*s=%.*s", i == 0 ? "" : "&", SV_ARG(pairs[i].name),
                   SV_ARG(pairs[i].value));
    return OK;
}

/* -- headers */

static struct sv lower(struct sv s, struct arena *arena) {
    char *text = arena_alloc(arena, s.len);
    for (size_t i = 0; text != NULL && i < s.len; i++)
        text[i] = (char)(s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? s.ptr[i] | 0x20 : s.ptr[i]);
    return sv_make(text, text == NULL ? 0 : s.len);
}

static bool is_changed_on_the_way(struct sv name) {
    static const struct sv names[] = {SV_INIT("expect"), SV_INIT("transfer-encoding"),
                                      SV_INIT("user-agent"), SV_INIT("x-amzn-trace-id")};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (sv_eq(name, names[i])) return true;
    return false;
}

static enum status canon_add(struct canon *c, struct sv name, struct sv value, struct arena *arena,
                             struct err *err) {
    struct sv key = lower(name, arena);
    if (key.ptr == NULL) return err_set(err, ERR_NOMEM, 0, "no memory to sign a request");
    if (is_changed_on_the_way(key)) return OK;
    if (c->headers_count == SIGV4_SIGNED_MAX)
        return err_set(err, ERR_LIMIT, 0, "more than %d headers to sign", SIGV4_SIGNED_MAX);
    size_t at = c->headers_count++; /* those of one name keep their order */
    for (; at > 0 && sv_cmp(c->headers[at - 1].name, key) > 0; at--)
        c->headers[at] = c->headers[at - 1];
    c->headers[at] = (struct http_header){.name = key, .value = value};
    return OK;
}

/* Runs of blanks are one; none at the ends. */
static void put_value(struct buf *out, struct sv value) {
    bool gap = false;
    value = sv_trim(value);
    for (size_t i = 0; i < value.len; i++) {
        bool blank = value.ptr[i] == ' ' || value.ptr[i] == '\t';
        if (!blank && gap) buf_put_char(out, ' ');
        if (!blank) buf_put_char(out, value.ptr[i]);
        gap = blank;
    }
}

static void put_headers(struct canon *c) {
    for (size_t i = 0; i < c->headers_count; i++) {
        const struct http_header *h = &c->headers[i];
        bool again = i > 0 && sv_eq(c->headers[i - 1].name, h->name);
        if (again) {
            buf_put_char(&c->text, ',');
        } else {
            if (i > 0) buf_put_char(&c->text, '\n');
            if (i > 0) buf_put_char(&c->names, ';');
            buf_put_sv(&c->text, h->name);
            buf_put_char(&c->text, ':');
            buf_put_sv(&c->names, h->name);
        }
        put_value(&c->text, h->value);
    }
    buf_put_sv(&c->text, SV("\n\n"));
    buf_put_sv(&c->text, buf_sv(&c->names));
}

/* -- the whole */

static enum status canon_put(struct canon *c, struct arena *arena, struct err *err) {
    const struct sigv4_request *r = c->request;
    buf_put_sv(&c->text, r->method);
    buf_put_char(&c->text, '\n');
    put_path(&c->text, r->path);
    buf_put_char(&c->text, '\n');
    TRY(put_query(&c->text, r->query, arena, err));
    buf_put_char(&c->text, '\n');
    put_headers(c);
    buf_put_char(&c->text, '\n');
    return put_hash(&c->text, r->body) ? OK : err_set(err, ERR_NOMEM, 0, "SHA-256 failed");
}

static bool put_signature(const struct canon *c, const struct sigv4_credentials *credentials,
                          const struct sigv4_scope *scope, struct buf *out) {
    struct buf key = {0}, text = {0};
    uint8_t sum[HASH_BYTES];
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%.*s\n", c->time, SV_ARG(buf_sv(&c->scope)));
    bool ok = put_hash(&text, buf_sv(&c->text));
    buf_put_sv(&key, SV("AWS4"));
    buf_put_sv(&key, credentials->secret);
    const struct sv steps[] = {sv_make(c->time, 8), scope->region, scope->service,
                               SV("aws4_request"), buf_sv(&text)};
    ok = ok && !key.failed && !text.failed;
    for (size_t i = 0; i < ARRAY_LEN(steps) && ok; i++)
        ok = hmac(i == 0 ? buf_sv(&key) : sv_make(sum, sizeof sum), steps[i], sum);
    if (ok) put_hex(out, sum, sizeof sum);
    if (key.ptr != NULL) OPENSSL_cleanse(key.ptr, key.len);
    OPENSSL_cleanse(sum, sizeof sum);
    buf_fini(&key);
    buf_fini(&text);
    return ok;
}

static enum status canon_sign(struct canon *c, const struct sigv4_credentials *credentials,
                              const struct sigv4_scope *scope, struct arena *arena, struct sv *out,
                              struct err *err) {
    TRY(canon_add(c, SV("host"), c->request->host, arena, err));
    TRY(canon_add(c, SV("x-amz-date"), sv_from(c->time), arena, err));
    if (credentials->token.len > 0)
        TRY(canon_add(c, SV("x-amz-security-token"), credentials->token, arena, err));
    for (size_t i = 0; i < c->request->headers_count; i++)
        TRY(canon_add(c, c->request->headers[i].name, c->request->headers[i].value, arena, err));
    buf_printf(&c->scope, "%.8s/%.*s/%.*s/aws4_request", c->time, SV_ARG(scope->region),
               SV_ARG(scope->service));
    TRY(canon_put(c, arena, err));
    struct buf value = {0};
    buf_printf(&value, "AWS4-HMAC-SHA256 Credential=%.*s/%.*s, SignedHeaders=%.*s, Signature=",
               SV_ARG(credentials->key_id), SV_ARG(buf_sv(&c->scope)), SV_ARG(buf_sv(&c->names)));
    bool ok = !c->scope.failed && !c->names.failed && !c->text.failed &&
              put_signature(c, credentials, scope, &value) && !value.failed;
    *out = ok ? arena_sv(arena, buf_sv(&value)) : (struct sv){0};
    buf_fini(&value);
    return out->ptr != NULL ? OK : err_set(err, ERR_NOMEM, 0, "no memory to sign a request");
}

enum status sigv4_sign(const struct sigv4_request *request,
                       const struct sigv4_credentials *credentials, const struct sigv4_scope *scope,
                       struct arena *arena, struct http_header out[SIGV4_HEADERS_MAX],
                       size_t *out_count, struct err *err) {
    struct civil t = civil_from_ms(scope->unix_ms);
    if (scope->unix_ms < 0 || t.year > 9999)
        return err_set(err, ERR_PARSE, 0, "%" PRId64 " is no time to sign a request at",
                       scope->unix_ms);
    struct canon *c = arena_zalloc(arena, sizeof *c);
    if (c == NULL) return err_set(err, ERR_NOMEM, 0, "no memory to sign a request");
    c->request = request;
    snprintf(c->time, sizeof c->time, "%04u%02u%02uT%02u%02u%02uZ", (unsigned)t.year % 10000,
             (unsigned)t.month % 100, (unsigned)t.day % 100, (unsigned)t.hour % 100,
             (unsigned)t.minute % 100, (unsigned)t.second % 100);
    struct sv signature;
    enum status status = canon_sign(c, credentials, scope, arena, &signature, err);
    buf_fini(&c->scope);
    buf_fini(&c->names);
    buf_fini(&c->text);
    if (status != OK) return status;
    size_t n = 0;
    out[n++] = (struct http_header){SV("X-Amz-Date"), sv_from(c->time)};
    if (credentials->token.len > 0)
        out[n++] = (struct http_header){SV("X-Amz-Security-Token"), credentials->token};
    out[n++] = (struct http_header){SV("Authorization"), signature};
    *out_count = n;
    return OK;
}
