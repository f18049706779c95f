/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/json.h"

#include <assert.h>
#include <math.h>

#include "node/base/num.h"
#include "node/base/utf8.h"

static const char hex[] = "0123456789abcdef";

/* Bytes a string may hold as they are; the bytes above 0x7f need decoding. */
static bool json_plain(unsigned char c) {
    return c >= 0x20 && c != '"' && c != '\\' && c < 0x80;
}

static void put_u4(struct buf *b, uint32_t unit) {
    char text[6] = {
        '\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
    buf_put(b, text, sizeof text);
}

static void put_escaped(struct buf *b, unsigned char c) {
    switch (c) {
    case '"': buf_put_sv(b, SV("\\\"")); break;
    case '\\': buf_put_sv(b, SV("\\\\")); break;
    case '\b': buf_put_sv(b, SV("\\b")); break;
    case '\f': buf_put_sv(b, SV("\\f")); break;
    case '\n': buf_put_sv(b, SV("\\n")); break;
    case '\r': buf_put_sv(b, SV("\\r")); break;
    case '\t': buf_put_sv(b, SV("\\t")); break;
    default: put_u4(b, c);
    }
}

void json_put_string(struct buf *b, struct sv s) {
    buf_put_char(b, '"');
    while (s.len > 0) {
        size_t plain = 0;
        while (plain < s.len && json_plain((unsigned char)s.ptr[plain]))
            plain++;
        buf_put(b, s.ptr, plain);
        s = sv_skip(s, plain);
        if (s.len == 0) break;
        uint32_t rune;
        size_t width = utf8_decode(s, &rune);
        if (rune < 0x80)
            put_escaped(b, (unsigned char)rune);
        else if (rune == 0x2028 || rune == 0x2029 || (rune == UTF8_INVALID && width == 1))
            put_u4(b, rune);
        else
            buf_put(b, s.ptr, width);
        s = sv_skip(s, width);
    }
    buf_put_char(b, '"');
}

static void put_go_escaped(struct buf *b, uint32_t rune) {
    static const char names[] = "abtnvfr"; /* 0x07 to 0x0d */
    buf_put_char(b, '\\');
    if (rune == '"' || rune == '\\') {
        buf_put_char(b, (char)rune);
    } else if (rune >= 7 && rune <= 13) {
        buf_put_char(b, names[rune - 7]);
    } else if (rune < 0x20 || rune == 0x7f) {
        char text[3] = {'x', hex[rune >> 4], hex[rune & 15]};
        buf_put(b, text, sizeof text);
    } else {
        buf_put_char(b, rune < 0x10000 ? 'u' : 'U');
        for (int shift = rune < 0x10000 ? 12 : 28; shift >= 0; shift -= 4)
            buf_put_char(b, hex[rune >> shift & 15]);
    }
}

void go_put_quoted(struct buf *b, struct sv s) {
    buf_put_char(b, '"');
    while (s.len > 0) {
        uint32_t rune;
        size_t width = utf8_decode(s, &rune);
        if (width == 1 && rune == UTF8_INVALID) {
            unsigned char c = (unsigned char)s.ptr[0];
            char text[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
            buf_put(b, text, sizeof text);
        } else if (rune == '"' || rune == '\\' || !utf8_is_print(rune)) {
            put_go_escaped(b, rune);
        } else {
            buf_put(b, s.ptr, width);
        }
        s = sv_skip(s, width);
    }
    buf_put_char(b, '"');
}

/* A comma before every item of a container but the first; none behind a key, which clears the bit
 * it set. */
static void json_item(struct json *j) {
    uint64_t bit = UINT64_C(1) << j->depth;
    if ((j->has_item & bit) != 0) buf_put_char(j->out, ',');
    j->has_item |= bit;
}

static void json_begin(struct json *j, char c) {
    json_item(j);
    buf_put_char(j->out, c);
    j->depth++;
    assert(j->depth < JSON_DEPTH_MAX);
    j->has_item &= ~(UINT64_C(1) << j->depth);
}

static void json_end(struct json *j, char c) {
    assert(j->depth > 0);
    j->depth--;
    j->has_item |= UINT64_C(1) << j->depth;
    buf_put_char(j->out, c);
}

void json_object_begin(struct json *j) {
    json_begin(j, '{');
}

void json_object_end(struct json *j) {
    json_end(j, '}');
}

void json_array_begin(struct json *j) {
    json_begin(j, '[');
}

void json_array_end(struct json *j) {
    json_end(j, ']');
}

void json_key(struct json *j, struct sv key) {
    json_item(j);
    json_put_string(j->out, key);
    buf_put_char(j->out, ':');
    j->has_item &= ~(UINT64_C(1) << j->depth); /* the value sets it again */
}

void json_string(struct json *j, struct sv s) {
    json_item(j);
    json_put_string(j->out, s);
}

void json_i64(struct json *j, int64_t v) {
    json_item(j);
    num_put_i64(j->out, v);
}

void json_u64(struct json *j, uint64_t v) {
    json_item(j);
    num_put_u64(j->out, v);
}

void json_f64(struct json *j, double v) {
    json_item(j);
    if (!isfinite(v)) {
        buf_put_sv(j->out, SV("null"));
        return;
    }
    char text[NUM_TEXT_MAX];
    double abs = fabs(v);
    bool exponent = abs != 0 && (abs < 1e-6 || abs >= 1e21);
    size_t n = num_format_f64(text, v, exponent ? 'e' : 'f');
    /* encoding/json writes e-09 as e-9 */
    if (exponent && n >= 4 && text[n - 4] == 'e' && text[n - 3] == '-' && text[n - 2] == '0') {
        text[n - 2] = text[n - 1];
        n--;
    }
    buf_put(j->out, text, n);
}

void json_bool(struct json *j, bool v) {
    json_raw(j, v ? SV("true") : SV("false"));
}

void json_null(struct json *j) {
    json_raw(j, SV("null"));
}

void json_raw(struct json *j, struct sv json_text) {
    json_item(j);
    buf_put_sv(j->out, json_text);
}

void json_key_string(struct json *j, struct sv key, struct sv s) {
    json_key(j, key);
    json_string(j, s);
}

void json_key_i64(struct json *j, struct sv key, int64_t v) {
    json_key(j, key);
    json_i64(j, v);
}

void json_key_bool(struct json *j, struct sv key, bool v) {
    json_key(j, key);
    json_bool(j, v);
}

void json_key_f64(struct json *j, struct sv key, double v) {
    json_key(j, key);
    json_f64(j, v);
}
