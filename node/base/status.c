/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/status.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"ok",       "nomem",       "io",      "corrupt",
                                    "parse",    "limit",       "timeout", "canceled",
                                    "conflict", "unavailable", "exec",    "unsupported"};
static_assert(ARRAY_LEN(names) == STATUS_COUNT, "one name per status");

const char *status_name(enum status code) {
    assert((unsigned)code < STATUS_COUNT);
    return names[code];
}

enum status err_set(struct err *err, enum status code, int os, const char *fmt, ...) {
    assert(code != OK);
    if (err == NULL) return code;
    err->code = code;
    err->os = os;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (os != 0 && n >= 0 && (size_t)n < sizeof err->msg) {
        char text[96];
        const char *s = strerror_r(os, text, sizeof text);
        snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s", s);
    }
    return code;
}

enum status err_prefix(struct err *err, const char *fmt, ...) {
    assert(err != NULL);
    char prefix[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    size_t n = strnlen(prefix, sizeof prefix - 3); /* room for ": " and the NUL */
    size_t old = strnlen(err->msg, sizeof err->msg - 3 - n);
    memmove(err->msg + n + 2, err->msg, old);
    memcpy(err->msg, prefix, n);
    memcpy(err->msg + n, ": ", 2);
    err->msg[n + 2 + old] = '\0';
    return err->code;
}
