/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/sigv4.h: AWS Signature Version 4 in the Authorization header, for every service but S3
 * (which escapes paths once instead of twice). Source: "AWS Signature Version 4 for API requests"
 * in the IAM user guide. Pure: no clock, no environment, no network. */
#pragma once

#include "node/base/arena.h"
#include "node/base/status.h"
#include "node/http/header.h"

struct sigv4_credentials {
    struct sv key_id, secret;
    struct sv token; /* of temporary ones; else empty */
};
struct sigv4_scope {
    struct sv region, service;
    int64_t unix_ms;
};
struct sigv4_request {
    struct sv method;
    struct sv host;  /* as the Host header: with a port unless it is the scheme's */
    struct sv path;  /* as it stands in the URL; "" is "/" */
    struct sv query; /* behind '?', likewise: names and values percent-encoded, but for the
                        unreserved characters of RFC 3986 */
    const struct http_header *headers; /* all are signed, but for what proxies and clients change:
                                          Expect, Transfer-Encoding, User-Agent, X-Amzn-Trace-Id.
                                          Without Host, Date, X-Amz-Date, X-Amz-Security-Token,
                                          Authorization. */
    size_t headers_count;
    struct sv body;
};

enum { SIGV4_HEADERS_MAX = 3, SIGV4_SIGNED_MAX = 64 };
/* Headers to add to the request: X-Amz-Date, X-Amz-Security-Token where there is a token, and
 * Authorization. Their bytes are the arena's or the credentials'. ERR_NOMEM; ERR_LIMIT: over
 * SIGV4_SIGNED_MAX headers; ERR_PARSE: a time before 1970 or after 9999. */
MUST_USE enum status sigv4_sign(const struct sigv4_request *request,
                                const struct sigv4_credentials *credentials,
                                const struct sigv4_scope *scope, struct arena *arena,
                                struct http_header out[SIGV4_HEADERS_MAX], size_t *out_count,
                                struct err *err);
