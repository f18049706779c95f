/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/status.h: how functions fail: a code for the machine, one sentence for the human.
 * Every fallible function returns enum status. A wrong caller is an assert, a wrong world is a
 * status. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "node/base/attr.h"

enum status {
    OK = 0,
    ERR_NOMEM,       /* an allocation or memory budget failed */
    ERR_IO,          /* the operating system said no; err.os has errno */
    ERR_CORRUPT,     /* stored or received bytes fail their checksum or format */
    ERR_PARSE,       /* input text or bytes are malformed */
    ERR_LIMIT,       /* input is well-formed but exceeds a stated limit */
    ERR_TIMEOUT,     /* a deadline passed */
    ERR_CANCELED,    /* the caller went away */
    ERR_CONFLICT,    /* contradicts existing state (duplicate, stale epoch, foreign cluster) */
    ERR_UNAVAILABLE, /* temporarily impossible; a retry may work */
    ERR_EXEC,        /* a query failed while it was evaluated */
    ERR_UNSUPPORTED, /* well-formed and known, but this build cannot do it; the message names it */
    STATUS_COUNT
};

struct err {
    enum status code;
    int os;
    char msg[480];
};

#ifdef __cplusplus
extern "C" { /* the shim reports errors too */
#endif

/* Fills *err (may be NULL) and returns code, so that `return err_set(...)` is one line. os is an
 * errno or 0; when not 0 its text is appended. */
enum status err_set(struct err *err, enum status code, int os, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* Puts "prefix: " before err->msg: context is added once per layer. Returns err->code. */
enum status err_prefix(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *status_name(enum status code);

#ifdef __cplusplus
}
#endif

/* For a MUST_USE result that is ignored on purpose. */
static inline void status_ignore(enum status code) {
    (void)code;
}

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum status try_status_ = (expr);                                                          \
        if (try_status_ != OK) return try_status_;                                                 \
    } while (0)
