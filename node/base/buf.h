/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/buf.h: a growable byte buffer on the heap. Growth doubles.
 * Running out of memory sets `failed`, makes later appends no-ops, and is checked once at the end
 * by the caller: writers stay readable and nothing is silently truncated. Zero-initialised is empty
 * and valid. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "node/base/attr.h"
#include "node/base/sv.h"

struct buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t limit_bytes; /* 0: none; beyond it `failed` is set */
    bool failed;
};

void buf_fini(struct buf *b);
static inline void buf_clear(struct buf *b) {
    b->len = 0;
    b->failed = false;
}
/* Makes room for n more bytes; false (and failed) when there is none. */
bool buf_reserve(struct buf *b, size_t n);
/* n bytes to fill in, counted into len; NULL on failure. */
char *buf_extend(struct buf *b, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct buf buf_move(struct buf *b); /* the content; *b is empty after */
char *buf_cstr(struct buf *b);      /* NUL behind len, not counted; NULL on failure */

static inline void buf_put(struct buf *b, const void *p, size_t n) {
    if (n == 0) return;
    if (__builtin_expect(b->cap - b->len < n || b->failed, 0) && !buf_reserve(b, n)) return;
    memcpy(b->ptr + b->len, p, n);
    b->len += n;
}
static inline void buf_put_sv(struct buf *b, struct sv s) {
    buf_put(b, s.ptr, s.len);
}
static inline void buf_put_char(struct buf *b, char c) {
    buf_put(b, &c, 1);
}
static inline struct sv buf_sv(const struct buf *b) {
    return (struct sv){b->ptr, b->len};
}
