/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/parse.h: sans-I/O pieces of HTTP/1.1: request head, chunked body, URL and form
 * decoding. Used by the server and by their fuzz targets. Strictness as in reference: rejects
 * obs-fold, bare CR or LF, space before colon, several or odd Content-Length, Content-Length with
 * Transfer-Encoding, any coding but one `chunked`, TE on 1.0, missing or repeated Host, control
 * bytes, versions other than 1.0 and 1.1. */
#pragma once

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"
#include "node/http/server.h"

struct http_head {
    struct sv method_text;
    unsigned method; /* enum http_method, 0 for another token */
    struct sv target;
    int minor_version;           /* 0 or 1 */
    struct http_header *headers; /* in the arena */
    size_t headers_count;
    bool chunked, keep_alive, expect_continue;
    bool has_length;
    uint64_t content_length;
};

/* input begins at a request line. Returns OK and *out_used when a whole head is there; OK with
 * *out_used 0 when more bytes are needed; ERR_PARSE (400), ERR_LIMIT (431) otherwise. Views point
 * into input. */
enum status http_head_parse(struct sv input, struct arena *arena, struct http_head *out,
                            size_t *out_used, struct err *err) MUST_USE;

struct http_chunked {
    /* private */
    int state;
    uint64_t left;
    size_t line_bytes;
};
/* Decodes as much of input as there is, appending body bytes to out; *out_done at the end (after
 * trailers). */
enum status http_chunked_feed(struct http_chunked *c, struct sv input, struct buf *out,
                              size_t *out_used, bool *out_done, struct err *err) MUST_USE;

/* %XX and, in forms, '+'. ERR_PARSE on a bad escape; decoded into the arena. */
enum status url_decode(struct sv s, bool form, struct arena *arena, struct sv *out,
                       struct err *err) MUST_USE;
