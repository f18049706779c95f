/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/internal.h: what the files of the HTTP server share. Nothing outside this folder
 * includes it.
 *
 *   server.c   one listener per core, limits on connections, stop
 *   conn.c     the flow of one connection: its states and the step function
 *   body.c     the request's body: framing, content-encoding, limits
 *   out.c      the write queue of one connection
 *   answer.c   heads and bodies of answers, streams
 *   encode.c   gzip and deflate, both ways
 *   route.c    which handler; url.c escapes and forms */
#pragma once

#include <uv.h>

#include "node/base/list.h"
#include "node/base/metrics.h"
#include "node/base/regex.h"
#include "node/http/parse.h"
#include "node/http/server.h"

enum {
    HTTP_BODY_BYTES_DEFAULT = 1 << 20,
    HTTP_ARENA_BYTES_MAX = 64 << 20,  /* per request */
    HTTP_READ_BYTES = 64 << 10,       /* scratch per core */
    HTTP_READ_AHEAD_BYTES = 64 << 10, /* pipelined requests kept while one is handled */
    HTTP_QUEUE_FULL_BYTES = 1 << 20,  /* of unsent answers: reading stops, streams are full */
    HTTP_QUEUE_LOW_BYTES = 256 << 10, /* and here they go on */
    HTTP_QUEUE_BYTES_MAX = 256 << 20, /* a writer never waits: its client is given up */
    HTTP_COMPRESS_BYTES_MIN = 512,
    HTTP_COMPRESS_INLINE_MAX = 128 << 10, /* some 0.4 ms; larger bodies go to a worker */
    HTTP_SURPLUS_MAX = 64,                /* connections beyond the limit, of all cores */
    HTTP_SURPLUS_PER_CORE_MIN = 4,
    HTTP_SURPLUS_TIMEOUT_MS = 2000,
    HTTP_LINGER_MS = 2000,
    HTTP_PROBE_MS = 1000,
    HTTP_WRITE_TIMEOUT_MS = 30000,
    HTTP_PARAMS_MAX = 10000, /* form parameters; Go's net/url default */
    HTTP_CODES_MAX = 16,     /* distinct status codes counted per route */
};

/* --- url.c --- */
struct http_param {
    struct sv name, value;
};
/* Path (decoded, in the arena) and query of an origin-form or absolute-form target. ERR_PARSE: bad
 * escape or NUL. */
enum status http_target_split(struct sv target, struct arena *arena, struct sv *out_path,
                              struct sv *out_query, struct err *err) MUST_USE;
bool http_is_token_char(char c);
struct sv http_trim_ows(struct sv s);

/* --- route.c --- */
/* The first route in table order that has path and method; then *out_param is what '*' matched.
 * NULL: *out_allowed has the methods of all routes with that path, 0 when there is none. */
const struct http_route *http_route_find(const struct http_route *routes, size_t count,
                                         struct sv path, unsigned method, struct sv *out_param,
                                         unsigned *out_allowed);
void http_methods_put(struct buf *b, unsigned methods); /* "GET, POST" */

/* --- encode.c --- */
enum http_encoding http_encoding_accepted(const struct http_request *req);
/* *out false: not a known coding */
bool http_encoding_parse(struct sv text, enum http_encoding *out);
struct sv http_encoding_name(enum http_encoding encoding);

struct libdeflate_compressor;
/* A whole body. compressor NULL: a new one for this call. false: no memory, or it did not get
 * smaller. */
bool http_compress(struct libdeflate_compressor *compressor, enum http_encoding encoding,
                   struct sv in, struct buf *out);

/* --- pack.c: http_packer (server.h), and what stands round the parts --- */
struct http_pack_sum { /* of the parts so far */
    enum http_encoding encoding;
    uint32_t check;
    uint64_t plain_bytes;
};
void http_pack_begin(struct http_pack_sum *sum, enum http_encoding encoding, struct buf *out);
void http_pack_add(struct http_pack_sum *sum, const struct http_packed *part); /* in their order */
void http_pack_end(const struct http_pack_sum *sum, struct buf *out);
/* All in one. false: no memory. */
bool http_pack_whole(enum http_encoding encoding, struct sv in, struct buf *out);

/* --- encode.c --- */
struct http_inflater;
struct http_inflater *http_inflater_new(enum http_encoding encoding);
/* Appends to out; ERR_LIMIT once out would be larger than bytes_max, ERR_PARSE on bad data. */
enum status http_inflater_feed(struct http_inflater *f, struct sv in, size_t bytes_max,
                               struct buf *out, struct err *err) MUST_USE;
bool http_inflater_is_complete(const struct http_inflater *f);
void http_inflater_free(struct http_inflater *f);

/* --- out.c --- */
struct http_piece {
    struct http_piece *next;
    struct buf data;
    size_t sent;
    bool in_flight;
};
struct http_out {
    struct http_piece *first, *last;
    size_t
        bytes; /* not yet given to the kernel; what is in flight counts until its write returned */
    bool writing; /* a uv_write is under way */
    bool failed;
};

struct http_conn;
void http_out_put(struct http_out *out, struct sv bytes);
void http_out_take(struct http_out *out, struct buf *bytes);
void http_out_free(struct http_out *out);
/* Gives the kernel what it takes now and starts a write of the rest. false: the connection is
 * broken. */
bool http_out_flush(struct http_conn *c);

/* --- the exchange: one request and its answer --- */
enum http_answer_state {
    ANSWER_NONE,       /* no request, or its handler has not been called */
    ANSWER_AWAITED,    /* the handler has it */
    ANSWER_COMPRESSED, /* a worker compresses the body */
    ANSWER_STREAMED,   /* between begin and end */
    ANSWER_FINISHED,   /* all of it is in the write queue */
};

struct http_exchange {
    struct http_request req; /* public; first */
    enum http_answer_state answer;
    struct http_head head;
    const struct http_route *route; /* NULL: answered by the server itself */
    uint64_t started_ns;
    int code;
    size_t answer_bytes; /* body, as sent */
    bool close;          /* no further request on this connection */
    bool linger;         /* the client may still be sending */
    bool stream_chunked, stream_full;
    /* request body */
    size_t body_bytes_max, wire_bytes;
    struct http_chunked chunked;
    struct http_inflater *inflater;
    struct buf body;
    /* form, parsed at first use */
    struct http_param *params;
    size_t params_count, params_body_count;
    bool form_parsed;
    enum status form_status; /* OK: well-formed */
    char form_msg[64];
    /* answer */
    struct buf extra_headers;
    bool has_encoding;          /* the handler named a Content-Encoding itself */
    struct http_packer *packer; /* of what the core itself writes to a stream */
    struct http_pack_sum sum;
    void (*writable)(struct http_request *req, void *ctx);
    void *writable_ctx;
    struct work work; /* compression */
    enum http_encoding encoding;
    struct buf plain, packed;
    struct sv content_type; /* in the arena, while a worker compresses */
};

enum http_conn_state { CONN_HEAD, CONN_BODY, CONN_HANDLE, CONN_FLUSH, CONN_LINGER, CONN_CLOSING };

struct http_core;
struct http_conn {
    struct list_node link; /* http_core.conns or .surplus */
    struct http_core *hc;
    enum http_conn_state state;
    bool surplus;  /* beyond connections_max */
    bool stepping; /* conn_run or a callback of the handler is on the stack */
    bool reading, eof, closed, probed;
    bool resume_posted;
    struct msg resume;
    uv_tcp_t tcp;
    uv_write_t write_req;
    struct timer read_timer, write_timer;
    size_t write_left; /* libuv's queue at the last tick of write_timer */
    uint64_t write_progress_ns;
    uint64_t active_ns; /* first byte of the request being read, or end of the last answer */
    struct sv input;    /* within conn_run: bytes not yet consumed */
    struct buf in;      /* between runs: the same, empty when idle */
    struct http_out out;
    struct arena arena;
    struct http_exchange x;
    char remote[64];
};

static inline struct http_exchange *http_exchange_of(struct http_request *req) {
    return container_of(req, struct http_exchange, req);
}
static inline struct http_conn *http_conn_of(struct http_exchange *x) {
    return container_of(x, struct http_conn, x);
}

/* --- conn.c, body.c --- */
void http_conn_accept(struct http_core *hc, uv_stream_t *listener);
void http_conn_close(struct http_conn *c);
void http_conn_evict(
    struct http_conn *c); /* a surplus connection makes room: 503 if that is still possible */
void http_conn_drain(struct http_conn *c); /* the server stops: closes when idle */
void http_conn_changed(
    struct http_conn *c); /* the answer or the write queue changed outside of conn_run */
void http_conn_written(struct http_conn *c, int rc);
/* The server's own answer to a request that it could not read; the connection ends. Call conn_run
 * after it. */
void http_conn_refuse(struct http_conn *c, int code, const char *text);
enum body_result { BODY_MORE, BODY_DONE, BODY_REFUSED };
int http_body_begin(struct http_exchange *x); /* 0 or the status code that refuses it */
enum body_result http_body_read(struct http_conn *c);

/* --- answer.c --- */
void http_exchange_reset(struct http_exchange *x); /* frees what the request held */
struct sv http_code_text(int code);

/* --- server.c --- */
struct http_code_count {
    int code;
    struct metric *requests;
};
struct http_route_metrics {
    struct metric *duration, *size;
    struct http_code_count codes[HTTP_CODES_MAX];
};
struct http_core {
    struct http_server *server;
    struct core *core;
    uv_tcp_t listener;
    bool listening, stopping, accept_stalled, reported;
    struct list_node conns, surplus;
    size_t conns_count, surplus_count, surplus_max;
    struct timer grace;
    struct msg stop_msg, done_msg;
    struct libdeflate_compressor *compressor;
    int64_t date_s; /* of date_text */
    char date_text[32];
    struct http_route_metrics *metrics; /* per route, then one for unmatched requests */
    char scratch[HTTP_READ_BYTES];
};
struct http_server {
    struct runtime *rt;
    const struct http_route *routes; /* borrowed */
    size_t routes_count;
    unsigned connections_max;
    int64_t read_timeout_ms, write_timeout_ms;
    bool cors_any;
    struct regex *cors_origin;
    unsigned port;
    struct http_core **cores;
    unsigned cores_count;
    /* Connections of all cores. Relaxed: the number alone matters, it guards no other memory. */
    _Atomic unsigned open;
    uint64_t grace_ms;
    unsigned cores_left; /* core 0's, while stopping */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct metric *open_gauge, *refused;
};
bool http_server_admit(
    struct http_server *server); /* counts one more connection unless there are too many */
void http_server_leave(struct http_core *hc, struct http_conn *c); /* its socket is closed */
void http_core_check_drained(struct http_core *hc); /* after a connection was freed */
struct sv http_core_date(struct http_core *hc);
void http_core_observe(struct http_core *hc, const struct http_exchange *x);
