/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_fini(struct buf *b) {
    free(b->ptr);
    *b = (struct buf){.limit_bytes = b->limit_bytes};
}

bool buf_reserve(struct buf *b, size_t n) {
    if (b->failed) return false;
    if (b->cap - b->len >= n) return true;
    size_t need;
    if (__builtin_add_overflow(b->len, n, &need) ||
        (b->limit_bytes != 0 && need > b->limit_bytes)) {
        b->failed = true;
        return false;
    }
    size_t cap = b->cap < 64 ? 64 : b->cap * 2;
    if (cap < need) cap = need;
    char *p = realloc(b->ptr, cap);
    if (p == NULL) {
        b->failed = true;
        return false;
    }
    b->ptr = p;
    b->cap = cap;
    return true;
}

char *buf_extend(struct buf *b, size_t n) {
    if (!buf_reserve(b, n)) return NULL;
    char *p = b->ptr + b->len;
    b->len += n;
    return p;
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
        vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

struct buf buf_move(struct buf *b) {
    struct buf out = *b;
    *b = (struct buf){.limit_bytes = b->limit_bytes};
    return out;
}

char *buf_cstr(struct buf *b) {
    if (!buf_reserve(b, 1)) return NULL;
    b->ptr[b->len] = '\0';
    return b->ptr;
}
