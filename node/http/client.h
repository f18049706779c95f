/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/client.h: an HTTP/1.1 client on the loop of one core (real runtime only; libcurl does
 * the protocol and TLS). Connections are kept and used again. Certificates are verified against the
 * system's CA bundle, or the one in the options. Redirects are answers like others; proxies are not
 * used; names are looked up on a thread of their own (node/runtime/resolve.h), so nothing waits
 * for a name server, a stop neither.
 * Thread: everything on the client's core, or on the thread that sets it up before the loops run.
 * The first https:// request of a day reads and parses the CA bundle on the core, which takes some
 * 20 ms: not for the control core. */
#pragma once

#include "node/base/status.h"
#include "node/http/header.h"
#include "node/runtime/core.h"

struct http_client;
struct http_fetch; /* a request under way */

struct http_client_options {
    const char *ca_file; /* PEM; NULL: the system's. Copied. */
};
MUST_USE enum status http_client_new(struct core *core, const struct http_client_options *options,
                                     struct http_client **out, struct err *err);
/* Requests under way are done with ERR_CANCELED, new ones are refused; `stopped` runs once, when
 * no handle of the loop is left, perhaps before this returns. */
void http_client_stop(struct http_client *client, void (*stopped)(void *ctx), void *ctx);
/* After `stopped`, or when no request was ever started; not from within a callback of the client's.
 * NULL is accepted. */
void http_client_free(struct http_client *client);

struct http_fetched {
    /* OK: an answer came whole, whatever its code. ERR_TIMEOUT, ERR_LIMIT (the body is larger),
     * ERR_CANCELED, ERR_NOMEM, ERR_UNAVAILABLE (no connection, TLS, a broken answer): err says
     * which, beginning with scheme, host and port. */
    enum status status;
    struct err err;
    int code;       /* of HTTP */
    struct sv body; /* valid during the call */
};
typedef void (*http_fetch_done)(void *ctx, const struct http_fetched *fetched);

struct http_fetch_options {
    const char *method; /* "GET", "POST", "PUT", ...; all but GET send a body, which may be empty */
    const char *url;    /* http:// or https:// */
    const struct http_header *headers; /* Host and Content-Length come by themselves */
    size_t headers_count;
    struct sv body;
    uint64_t timeout_ms; /* of everything: look-up, connection, answer */
    size_t answer_bytes_max;
    http_fetch_done done; /* exactly once, never before http_fetch_start has returned; it may start,
                             cancel and stop */
    void *ctx;
};
/* All options are copied. Headers must hold no control characters: ERR_PARSE, as for a bad url.
 * ERR_CANCELED: the client is stopping. *out: until done has run. */
MUST_USE enum status http_fetch_start(struct http_client *client,
                                      const struct http_fetch_options *options,
                                      struct http_fetch **out, struct err *err);
/* After it done does not run, and fetch is gone. */
void http_fetch_cancel(struct http_fetch *fetch);
