/* SPDX-License-Identifier: Apache-2.0 */
/* The UTF-8 check against a second one that decodes first and then judges the code point, and the
 * quoting on top. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/json.h"
#include "node/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Length of the code point at p, 0 when it is malformed, by the bit patterns of RFC 3629 section 3.
 */
static size_t naive_len(const uint8_t *p, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = 0;
    if ((p[0] & 0x80) == 0)
        len = 1;
    else if ((p[0] & 0xe0) == 0xc0)
        len = 2;
    else if ((p[0] & 0xf0) == 0xe0)
        len = 3;
    else if ((p[0] & 0xf8) == 0xf0)
        len = 4;
    if (len == 0 || len > left) return 0;
    uint32_t rune = len == 1 ? p[0] : p[0] & (0xffU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        rune = rune << 6 | (p[i] & 0x3fU);
    }
    bool sound = rune >= least[len] && rune <= 0x10ffff && !(rune >= 0xd800 && rune <= 0xdfff);
    return sound ? len : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv s = sv_make(data, size);
    bool valid = true;
    size_t count = 0;
    for (size_t at = 0; at < size; count++) {
        size_t len = naive_len(data + at, size - at);
        uint32_t rune;
        size_t ours = utf8_decode(sv_skip(s, at), &rune);
        assert(ours == (len == 0 ? 1 : len));
        if (len == 0) {
            assert(rune == UTF8_INVALID);
            valid = false;
        } else {
            char text[4];
            size_t n = utf8_encode(text, rune);
            assert(n == len && memcmp(text, data + at, n) == 0);
        }
        at += ours;
    }
    assert(utf8_valid(s) == valid);
    assert(utf8_rune_count(s) == count);
    struct buf b = {0};
    json_put_string(&b, s);
    assert(utf8_valid(buf_sv(&b)) && b.len >= 2);
    buf_clear(&b);
    go_put_quoted(&b, s);
    assert(utf8_valid(buf_sv(&b)) && b.len >= 2);
    for (size_t i = 0; i < b.len; i++)
        assert((unsigned char)b.ptr[i] >= 0x20 && b.ptr[i] != 0x7f);
    buf_fini(&b);
    return 0;
}
