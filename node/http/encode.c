/* SPDX-License-Identifier: Apache-2.0 */
/* Content codings. Whole bodies go through libdeflate at level 1, streams and bodies above 8 MiB
 * through zlib at level 1 (pack.c; higher levels cost more CPU than the bytes are worth). "deflate"
 * is the zlib format (RFC 9110 8.4.1.2). */
#define ZLIB_CONST /* next_in points to const */
#include <assert.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <zlib.h>

#include "node/http/internal.h"

enum { WHOLE_BYTES_MAX = 8 << 20, STEP_BYTES = 64 << 10, ZLIB_WBITS = 15, ZLIB_GZIP = 16 };

bool http_encoding_parse(struct sv text, enum http_encoding *out) {
    if (text.len == 0 || sv_eq_nocase(text, SV("identity")))
        *out = HTTP_IDENTITY;
    else if (sv_eq_nocase(text, SV("gzip")) || sv_eq_nocase(text, SV("x-gzip")))
        *out = HTTP_GZIP;
    else if (sv_eq_nocase(text, SV("deflate")))
        *out = HTTP_DEFLATE;
    else
        return false;
    return true;
}

struct sv http_encoding_name(enum http_encoding encoding) {
    return encoding == HTTP_GZIP      ? SV("gzip")
           : encoding == HTTP_DEFLATE ? SV("deflate")
                                      : SV("identity");
}

/* Thousandths of a weight such as ";q=0.5"; a malformed one counts as 0: the client gets identity.
 */
static unsigned weight_of(struct sv params) {
    params = http_trim_ows(params);
    if (params.len == 0) return 1000;
    if (params.len < 3 || (params.ptr[0] != 'q' && params.ptr[0] != 'Q') || params.ptr[1] != '=')
        return 0;
    if (params.ptr[2] == '1') return 1000;
    if (params.ptr[2] != '0') return 0;
    unsigned q = 0, unit = 100;
    for (size_t i = 4; i < params.len && unit > 0; i++, unit /= 10) {
        if (params.ptr[i] < '0' || params.ptr[i] > '9') return 0;
        q += (unsigned)(params.ptr[i] - '0') * unit;
    }
    return q;
}

enum http_encoding http_encoding_accepted(const struct http_request *req) {
    int gzip = -1, deflate = -1, any = -1, identity = -1;
    for (size_t i = 0; i < req->headers_count; i++) {
        if (!sv_eq_nocase(req->headers[i].name, SV("accept-encoding"))) continue;
        struct sv rest = req->headers[i].value;
        while (rest.len > 0) {
            struct sv item, name;
            rest = sv_cut(rest, ',', &item);
            int weight = (int)weight_of(sv_cut(item, ';', &name));
            name = http_trim_ows(name);
            if (sv_eq_nocase(name, SV("gzip")) || sv_eq_nocase(name, SV("x-gzip")))
                gzip = weight;
            else if (sv_eq_nocase(name, SV("deflate")))
                deflate = weight;
            else if (sv_eq_nocase(name, SV("identity")))
                identity = weight;
            else if (sv_eq(name, SV("*")))
                any = weight;
        }
    }
    if (gzip < 0) gzip = any < 0 ? 0 : any;
    if (deflate < 0) deflate = 0; /* never by '*': clients disagree on what deflate is */
    if (gzip == 0 && deflate == 0) return HTTP_IDENTITY;
    if (identity > gzip && identity > deflate) return HTTP_IDENTITY;
    return gzip >= deflate ? HTTP_GZIP : HTTP_DEFLATE;
}

bool http_compress(struct libdeflate_compressor *compressor, enum http_encoding encoding,
                   struct sv in, struct buf *out) {
    assert(encoding != HTTP_IDENTITY);
    if (in.len > WHOLE_BYTES_MAX) return http_pack_whole(encoding, in, out) && out->len < in.len;
    struct libdeflate_compressor *own = NULL;
    if (compressor == NULL) compressor = own = libdeflate_alloc_compressor(1);
    if (compressor == NULL) return false;
    size_t n = 0;
    /* a result that is not smaller is of no use, so that is all the room it gets */
    if (buf_reserve(out, in.len)) {
        char *to = out->ptr + out->len;
        n = encoding == HTTP_GZIP
                ? libdeflate_gzip_compress(compressor, in.ptr, in.len, to, in.len)
                : libdeflate_zlib_compress(compressor, in.ptr, in.len, to, in.len);
        out->len += n;
    }
    libdeflate_free_compressor(own);
    return n > 0;
}

struct http_inflater {
    z_stream z;
    bool gzip;
    bool member_ended; /* at a place where the data may end */
};

struct http_inflater *http_inflater_new(enum http_encoding encoding) {
    struct http_inflater *f = calloc(1, sizeof *f);
    if (f == NULL) return NULL;
    f->gzip = encoding == HTTP_GZIP;
    if (inflateInit2(&f->z, ZLIB_WBITS + (f->gzip ? ZLIB_GZIP : 0)) == Z_OK) return f;
    free(f);
    return NULL;
}

enum status http_inflater_feed(struct http_inflater *f, struct sv in, size_t bytes_max,
                               struct buf *out, struct err *err) {
    bool more_out =
        false; /* the output was full: zlib may hold bytes back although the input is used up */
    while (in.len > 0 || more_out) {
        if (f->member_ended) { /* gzip is a series of members (RFC 1952 2.2) */
            if (!f->gzip)
                return err_set(err, ERR_PARSE, 0, "bytes behind the end of the deflate data");
            inflateReset(&f->z);
            f->member_ended = false;
        }
        size_t room = MIN((size_t)STEP_BYTES,
                          bytes_max + 1 - out->len); /* one more tells full from too large */
        if (!buf_reserve(out, room))
            return err_set(err, ERR_NOMEM, 0, "no memory for the decoded body");
        size_t n = MIN(in.len, (size_t)STEP_BYTES);
        f->z.next_in = (const Bytef *)in.ptr;
        f->z.avail_in = (uInt)n;
        f->z.next_out = (Bytef *)(out->ptr + out->len);
        f->z.avail_out = (uInt)room;
        int rc = inflate(&f->z, Z_NO_FLUSH);
        in = sv_skip(in, n - f->z.avail_in);
        out->len += room - f->z.avail_out;
        if (out->len > bytes_max)
            return err_set(err, ERR_LIMIT, 0, "decoded body is larger than %zu bytes", bytes_max);
        if (rc == Z_MEM_ERROR) return err_set(err, ERR_NOMEM, 0, "no memory to decode the body");
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return err_set(err, ERR_PARSE, 0, "malformed %s data", f->gzip ? "gzip" : "deflate");
        f->member_ended = rc == Z_STREAM_END;
        more_out = !f->member_ended && f->z.avail_out == 0;
    }
    return OK;
}

bool http_inflater_is_complete(const struct http_inflater *f) {
    return f->member_ended;
}

void http_inflater_free(struct http_inflater *f) {
    if (f == NULL) return;
    inflateEnd(&f->z);
    free(f);
}
