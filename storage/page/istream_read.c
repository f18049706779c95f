/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what istream_write.c describes. Everything is parsed and checked before a kernel runs; the
 * packed bits are copied to where words may be loaded across their end. */
#include <string.h>

#include "storage/page/internal.h"

struct head {
    unsigned width, order, flags;
    struct kernel_scan scan;
};

static bool head_read(struct reader *r, size_t count, struct head *h) {
    unsigned head = read_u16(r);
    h->flags = head;
    h->width = head & ISTREAM_WIDTH_MASK;
    h->order = head >> ISTREAM_ORDER_SHIFT & 3;
    if (h->width > 64 || h->order > 2 || h->order >= count) return false;
    if ((head & ISTREAM_RESERVED) != 0) return false;
    h->scan = (struct kernel_scan){.order = h->order, .gcd = 1};
    if (h->order > 0) h->scan.first = (uint64_t)read_zigzag(r);
    if (h->order > 1) h->scan.first_delta = (uint64_t)read_zigzag(r);
    if ((head & ISTREAM_BASE) != 0) h->scan.base = (uint64_t)read_zigzag(r);
    if ((head & ISTREAM_GCD) != 0) {
        h->scan.gcd = read_varint(r);
        if (h->scan.gcd < 2) return false;
    }
    return !r->failed;
}

/* Gap and high of a patch. Nearly all are a byte each. */
static inline void patch_read(struct reader *r, uint64_t *gap, int64_t *high) {
    const uint8_t *p = r->cur;
    if (reader_left(r) >= 2 && ((p[0] | p[1]) & 0x80) == 0) {
        *gap = p[0];
        *high = unzigzag(p[1]);
        r->cur += 2;
        return;
    }
    *gap = read_varint(r);
    *high = read_zigzag(r);
}

static bool patches_read(struct page_scratch *s, struct reader *from, size_t residuals) {
    struct reader r = *from; /* in registers */
    uint64_t count = read_varint(&r);
    if (count == 0 || count > residuals) return false;
    size_t next = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t gap;
        int64_t high;
        patch_read(&r, &gap, &high);
        if (r.failed || high == 0 || gap >= residuals - next) return false;
        next += (size_t)gap;
        s->patch_at[i] = (uint16_t)next++;
        s->patch_highs[i] = high;
    }
    s->patches_count = (size_t)count;
    *from = r;
    return true;
}

/* Residuals in units of gcd, the first `wanted` of all. */
static bool residuals_read(struct page_scratch *s, struct reader *r, const struct head *h,
                           size_t all, size_t wanted) {
    s->patches_count = 0;
    if ((h->flags & ISTREAM_PATCHES) != 0) {
        if (h->width == 64 || !patches_read(s, r, all)) return false;
    }
    size_t bits = all * h->width, len = (bits + 7) / 8;
    const uint8_t *packed = read_bytes(r, len);
    if (packed == NULL) return false;
    if (bits % 8 != 0 && packed[len - 1] >> bits % 8 != 0) return false;
    if (h->width == 0) {
        memset(s->residuals, 0, wanted * sizeof *s->residuals);
    } else {
        size_t used = MIN(len, (wanted * h->width + 7) / 8);
        memcpy(s->packed, packed, used);
        memset(s->packed + used, 0, h->width + 8);
        s->kernels->unpack(s->packed, h->width, wanted, s->residuals);
    }
    for (size_t i = 0; i < s->patches_count && s->patch_at[i] < wanted; i++)
        s->residuals[s->patch_at[i]] |= (uint64_t)s->patch_highs[i] << h->width;
    return true;
}

enum status istream_read(struct page_scratch *s, struct reader *r, struct istream_read *in,
                         int64_t *out) {
    struct head h;
    if (!head_read(r, in->count, &h)) return ERR_CORRUPT;
    size_t wanted = in->upto > h.order ? in->upto - h.order : 0;
    if (!residuals_read(s, r, &h, in->count - h.order, wanted)) return ERR_CORRUPT;
    in->is_small = (h.flags & ISTREAM_SMALL) != 0;
    if (in->upto > 0) s->kernels->scan(&h.scan, s->residuals, in->upto, out);
    return OK;
}
