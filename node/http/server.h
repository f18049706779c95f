/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/server.h: the HTTP/1.1 server (RFC 9112, strict). One listener per core on the same
 * port (SO_REUSEPORT); a connection lives on the core that accepted it. keep-alive, pipelining
 * (answers in order), chunked bodies both ways, Expect: 100-continue, gzip and deflate request
 * bodies (except where a route takes the raw body), compressed answers by Accept-Encoding
 * (libdeflate for whole bodies, zlib level 1 for streams), HEAD, OPTIONS and CORS as Prometheus.
 * Thread: everything on the request's core. Limits below; each has its answer (400, 408, 413, 414,
 * 431, 501, 503). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"
#include "node/http/header.h"
#include "node/runtime/core.h"

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_DELETE = 16,
    HTTP_OPTIONS = 32
};

enum { HTTP_HEAD_BYTES_MAX = 64 << 10, HTTP_HEADERS_MAX = 100 };

/* One request, valid until its answer has been finished. All views point into the request's memory.
 */
enum http_encoding { HTTP_IDENTITY, HTTP_GZIP, HTTP_DEFLATE };

struct http_request {
    struct core *core;
    enum http_method method;
    struct sv path;      /* percent-decoded, without query string */
    struct sv raw_query; /* behind '?' as sent */
    struct http_header *headers;
    size_t headers_count;
    struct sv body;       /* decoded from chunks and content-encoding */
    struct arena *arena;  /* per request, limited; for handlers too */
    struct sv path_param; /* what matched '*' in the route */
    struct sv remote;     /* "ip:port" */
    void *route_ctx;
    /* the handler's: called once when the client goes away before the answer is finished; NULL when
     * not needed */
    void (*canceled)(struct http_request *req, void *ctx);
    void *canceled_ctx;
};

/* Case-insensitive; empty when absent. */
struct sv http_header_get(const struct http_request *req, struct sv name);
/* A form parameter from the query string or an application/x-www-form-urlencoded POST body (body
 * first, as Go's r.FormValue); decoded into the arena. false when absent. */
bool http_form_get(struct http_request *req, struct sv name, struct sv *out);
/* All values of a repeated parameter, in order (body's first). ERR_PARSE on bad percent-encoding.
 */
enum status http_form_all(struct http_request *req, struct sv name, struct sv **out,
                          size_t *out_count, struct err *err) MUST_USE;

/* Answers, exactly one per request, now or later from the same core. content is copied or taken as
 * said. */
void http_answer(struct http_request *req, int code, struct sv content_type,
                 struct sv body); /* copies */
void http_answer_take(struct http_request *req, int code, struct sv content_type,
                      struct buf *body); /* moves */
void http_answer_text(struct http_request *req, int code, const char *fmt, ...)
    PRINTF_LIKE(3, 4); /* adds \n */
/* Before the answer: an extra header (copied). */
void http_answer_header(struct http_request *req, struct sv name, struct sv value);
/* A long body in pieces (chunked): begin, any number of writes, end. http_stream_write moves the
 * piece and returns false when the client is gone; `writable` is called when a queue over 1 MiB has
 * drained (NULL: the caller never waits). */
void http_stream_begin(struct http_request *req, int code, struct sv content_type);
bool http_stream_write(struct http_request *req, struct buf *piece);
/* A piece that another thread has packed. */
struct http_packed {
    struct buf bytes;
    uint64_t plain_bytes;
    uint32_t check; /* of the plain ones */
};
bool http_stream_write_packed(struct http_request *req, struct http_packed *piece);
enum http_encoding http_stream_encoding(const struct http_request *req);
bool http_stream_is_full(const struct http_request *req);
void http_stream_on_writable(struct http_request *req,
                             void (*writable)(struct http_request *req, void *ctx), void *ctx);
void http_stream_end(struct http_request *req);

/* Packs pieces of streams in that coding, which is not identity; one thread at a time. NULL: no
 * memory. */
struct http_packer;
struct http_packer *http_packer_new(enum http_encoding encoding);
void http_packer_free(struct http_packer *p);
/* Takes plain; p NULL: identity. */
void http_packer_put(struct http_packer *p, struct buf *plain, struct http_packed *out);

typedef void (*http_handler)(struct http_request *req);

struct http_route {
    unsigned methods; /* bits of enum http_method; another gives 405 with Allow */
    const char *path; /* exact, or with one '*' for one path segment, or ending in "**" for the rest
                         (may be empty) */
    http_handler handler;
    void *ctx;
    size_t body_bytes_max; /* 0: 1 MiB; applies before and after content decoding */
    bool raw_body;         /* content-encoding is the handler's business (remote write) */
    bool always_admit;     /* served even on connections beyond connections_max (/-/healthy) */
};

struct http_server_options {
    const char *listen_addr; /* "host:port"; port 0 picks one */
    const struct http_route *routes;
    size_t routes_count;
    unsigned connections_max; /* over the process; beyond it 503 and close, routes with always_admit
                                 excepted */
    int64_t write_timeout_ms; /* without progress while an answer waits; 0: 30 s */
    int64_t read_timeout_ms;  /* for a whole request head and body, and idle keep-alive (5 min) */
    const char *cors_origin_regex; /* NULL or ".*": '*' */
};

/* One server spans all data cores of the runtime. Call before the loops run. A taken port:
 * ERR_CONFLICT whose text names address and port. */
struct http_server;
MUST_USE enum status http_server_new(struct runtime *rt, const struct http_server_options *options,
                                     struct http_server **out, struct err *err);
unsigned http_server_port(const struct http_server *server);
/* Stops accepting, lets running requests finish up to grace_ms, then closes; `stopped` runs once on
 * core 0. Any thread. */
void http_server_stop(struct http_server *server, uint64_t grace_ms, void (*stopped)(void *ctx),
                      void *ctx);
void http_server_free(struct http_server *server); /* after stopped */
/* prometheus_http_requests_total{handler,code}, prometheus_http_request_duration_seconds{handler},
 * open connections. */
