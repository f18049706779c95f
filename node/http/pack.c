/* SPDX-License-Identifier: Apache-2.0 */
/* A body's coding in parts, as pigz does it: each part is deflate data of its own that ends at a
 * byte (Z_SYNC_FLUSH) and refers to nothing before it, so that they stand one behind the other; the
 * check sum of all is combined from theirs. Header and end are those of RFC 1952 and RFC 1950. */
#define ZLIB_CONST /* next_in points to const */
#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#include "node/base/bytes.h"
#include "node/http/internal.h"

enum { STEP_BYTES = 64 << 10, RAW_WBITS = -15, MEM_LEVEL = 8 };

struct http_packer {
    enum http_encoding encoding;
    z_stream z;
};

struct http_packer *http_packer_new(enum http_encoding encoding) {
    assert(encoding != HTTP_IDENTITY);
    struct http_packer *p = calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    p->encoding = encoding;
    if (deflateInit2(&p->z, 1, Z_DEFLATED, RAW_WBITS, MEM_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK)
        return p;
    free(p);
    return NULL;
}

void http_packer_free(struct http_packer *p) {
    if (p == NULL) return;
    deflateEnd(&p->z);
    free(p);
}

static uint32_t check_of(enum http_encoding encoding, struct sv bytes) {
    const Bytef *at = (const Bytef *)bytes.ptr;
    return (uint32_t)(encoding == HTTP_GZIP ? crc32_z(0, at, bytes.len)
                                            : adler32_z(1, at, bytes.len));
}

/* false: no memory. */
static bool pack(struct http_packer *p, struct sv in, struct buf *out) {
    deflateReset(&p->z);
    for (;;) {
        size_t n = MIN(in.len, (size_t)STEP_BYTES); /* avail_in is 32 bits wide */
        if (!buf_reserve(out, n / 2 + 256)) return false;
        size_t room = MIN(out->cap - out->len, (size_t)STEP_BYTES);
        p->z.next_in = (const Bytef *)in.ptr;
        p->z.avail_in = (uInt)n;
        p->z.next_out = (Bytef *)(out->ptr + out->len);
        p->z.avail_out = (uInt)room;
        int rc = deflate(&p->z, n == in.len ? Z_SYNC_FLUSH : Z_NO_FLUSH);
        assert(rc != Z_STREAM_ERROR);
        in = sv_skip(in, n - p->z.avail_in);
        out->len += room - p->z.avail_out;
        if (in.len == 0 && p->z.avail_out > 0) return true;
    }
}

void http_packer_put(struct http_packer *p, struct buf *plain, struct http_packed *out) {
    *out = (struct http_packed){.plain_bytes = plain->len};
    if (p == NULL || plain->len == 0 || plain->failed) {
        out->bytes = buf_move(plain);
        out->check = p == NULL ? 0 : check_of(p->encoding, (struct sv){0});
        return;
    }
    out->check = check_of(p->encoding, buf_sv(plain));
    if (!pack(p, buf_sv(plain), &out->bytes)) out->bytes.failed = true;
    buf_fini(plain);
}

void http_pack_begin(struct http_pack_sum *sum, enum http_encoding encoding, struct buf *out) {
    *sum = (struct http_pack_sum){encoding, check_of(encoding, (struct sv){0}), 0};
    if (encoding == HTTP_GZIP)
        buf_put(out, "\x1f\x8b\x08\0\0\0\0\0\x04\x03", 10); /* no time; fastest; Unix */
    else
        buf_put(out, "\x78\x01", 2);
}

void http_pack_add(struct http_pack_sum *sum, const struct http_packed *part) {
    sum->check =
        (uint32_t)(sum->encoding == HTTP_GZIP
                       ? crc32_combine(sum->check, part->check, (z_off_t)part->plain_bytes)
                       : adler32_combine(sum->check, part->check, (z_off_t)part->plain_bytes));
    sum->plain_bytes += part->plain_bytes;
}

void http_pack_end(const struct http_pack_sum *sum, struct buf *out) {
    buf_put(out, "\x03\0", 2); /* the last block, empty */
    if (sum->encoding == HTTP_GZIP) {
        buf_put_u32(out, sum->check);
        buf_put_u32(out, (uint32_t)sum->plain_bytes);
    } else {
        buf_put_u32(out, __builtin_bswap32(sum->check));
    }
}

bool http_pack_whole(enum http_encoding encoding, struct sv in, struct buf *out) {
    struct http_packer *p = http_packer_new(encoding);
    struct http_pack_sum sum;
    struct http_packed all = {.plain_bytes = in.len, .check = check_of(encoding, in)};
    http_pack_begin(&sum, encoding, out);
    http_pack_add(&sum, &all);
    bool ok = p != NULL && pack(p, in, out);
    http_pack_end(&sum, out);
    http_packer_free(p);
    return ok && !out->failed;
}
