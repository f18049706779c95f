/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/labels.h"

#include <assert.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/utf8.h"

enum { TAG_LABEL = 0x0a, TAG_NAME = 0x0a, TAG_VALUE = 0x12 };

series_id series_id_of(uint64_t secret, uint32_t tenant, struct sv canonical) {
    uint64_t seed = secret + (uint64_t)tenant * 0x9e3779b97f4a7c15ULL;
    return hash128(canonical.ptr, canonical.len, seed);
}

/* Any valid protobuf: fields in either order, the last of a repeated field wins, unknown ones are
 * skipped. */
static bool field_skip(struct reader *r, uint64_t key) {
    switch (key & 7) {
    case 0: (void)read_varint(r); break;
    case 1: (void)read_bytes(r, 8); break;
    case 2: (void)read_lenstr(r); break;
    case 5: (void)read_bytes(r, 4); break;
    default: r->failed = true; break;
    }
    return !r->failed;
}

static bool label_read(struct sv bytes, struct label *out) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    struct label l = {SV(""), SV("")};
    while (!r.failed && reader_left(&r) > 0) {
        uint64_t key = read_varint(&r);
        if (r.failed) return false;
        if (key == TAG_NAME)
            l.name = read_lenstr(&r);
        else if (key == TAG_VALUE)
            l.value = read_lenstr(&r);
        else if (!field_skip(&r, key))
            return false;
    }
    if (r.failed) return false;
    *out = l;
    return true;
}

bool labels_next(struct sv *rest, struct label *out, bool *bad) {
    if (rest->len == 0) return false;
    struct reader r = reader_init(rest->ptr, rest->len);
    uint64_t key = read_varint(&r);
    struct sv body = read_lenstr(&r);
    if (r.failed || key != TAG_LABEL || !label_read(body, out)) {
        if (bad != NULL) *bad = true;
        return false;
    }
    *rest = sv_make(r.cur, reader_left(&r));
    return true;
}

size_t labels_count(struct sv canonical) {
    struct label l;
    size_t count = 0;
    while (labels_next(&canonical, &l, NULL))
        count++;
    return count;
}

struct sv labels_get(struct sv canonical, struct sv name) {
    struct label l;
    while (labels_next(&canonical, &l, NULL))
        if (sv_eq(l.name, name)) return l.value;
    return SV("");
}

static size_t varint_bytes(uint64_t v) {
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

static int label_name_order(const void *a, const void *b) {
    return sv_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

static void labels_sort(struct label *labels, size_t count) {
    size_t i = 1;
    while (i < count && sv_cmp(labels[i - 1].name, labels[i].name) <= 0)
        i++;
    if (i < count) qsort(labels, count, sizeof *labels, label_name_order);
}

enum status labels_encode(struct label *labels, size_t count, struct buf *out, struct err *err) {
    labels_sort(labels, count);
    for (size_t i = 1; i < count; i++)
        if (sv_eq(labels[i - 1].name, labels[i].name))
            return err_set(err, ERR_CONFLICT, 0, "label name \"%.*s\" is not unique",
                           SV_ARG(sv_take(labels[i].name, 200)));
    for (size_t i = 0; i < count; i++) {
        const struct label *l = &labels[i];
        if (l->value.len == 0) continue;
        size_t name_bytes = 1 + varint_bytes(l->name.len) + l->name.len;
        size_t value_bytes = 1 + varint_bytes(l->value.len) + l->value.len;
        buf_put_u8(out, TAG_LABEL);
        buf_put_varint(out, name_bytes + value_bytes);
        buf_put_u8(out, TAG_NAME);
        buf_put_lenstr(out, l->name);
        buf_put_u8(out, TAG_VALUE);
        buf_put_lenstr(out, l->value);
    }
    if (out->failed) return err_set(err, ERR_NOMEM, 0, "labels: out of memory");
    return OK;
}

static bool name_is_legacy(struct sv name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!alpha && !(i > 0 && c >= '0' && c <= '9')) return false;
    }
    return name.len > 0;
}

static bool metric_is_legacy(struct sv name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
        if (!alpha && !(i > 0 && c >= '0' && c <= '9')) return false;
    }
    return name.len > 0;
}

/* Go's strconv.IsPrint for the ranges that occur in practice: controls, spaces other than U+0020,
 * format characters, private use and non-characters are written as \u escapes. */
static bool rune_is_print(uint32_t r) {
    static const uint32_t hidden[][2] = {
        {0x00, 0x1f},     {0x7f, 0xa0},       {0xad, 0xad},        {0x600, 0x605},
        {0x61c, 0x61c},   {0x6dd, 0x6dd},     {0x70f, 0x70f},      {0x1680, 0x1680},
        {0x180e, 0x180e}, {0x2000, 0x200f},   {0x2028, 0x202f},    {0x205f, 0x206f},
        {0x3000, 0x3000}, {0xd800, 0xf8ff},   {0xfeff, 0xfeff},    {0xfff0, 0xfffb},
        {0xfffe, 0xffff}, {0xe0000, 0xe0fff}, {0xf0000, 0x10ffff},
    };
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
        if (r >= hidden[i][0] && r <= hidden[i][1]) return false;
    return true;
}

static void rune_put_quoted(struct buf *b, struct sv bytes, uint32_t rune) {
    static const char escapes[] = "abtnvfr"; /* 7 to 13 */
    if (bytes.len == 1 && rune == 0xfffd) {
        buf_printf(b, "\\x%02x", (unsigned char)bytes.ptr[0]);
    } else if (rune == '"' || rune == '\\') {
        buf_put_char(b, '\\');
        buf_put_char(b, (char)rune);
    } else if (rune_is_print(rune)) {
        buf_put_sv(b, bytes);
    } else if (rune >= 7 && rune <= 13) {
        buf_put_char(b, '\\');
        buf_put_char(b, escapes[rune - 7]);
    } else if (rune < 0x20 || rune == 0x7f) {
        buf_printf(b, "\\x%02x", rune);
    } else {
        buf_printf(b, rune < 0x10000 ? "\\u%04x" : "\\U%08x", rune);
    }
}

void label_put_quoted(struct buf *out, struct sv s) {
    buf_put_char(out, '"');
    while (s.len > 0) {
        uint32_t rune = 0;
        size_t n = utf8_decode(s, &rune);
        rune_put_quoted(out, sv_take(s, n), rune);
        s = sv_skip(s, n);
    }
    buf_put_char(out, '"');
}

static void label_put(struct buf *out, const struct label *l) {
    if (name_is_legacy(l->name))
        buf_put_sv(out, l->name);
    else
        label_put_quoted(out, l->name);
    buf_put_char(out, '=');
    label_put_quoted(out, l->value);
}

void label_list_print_braces(const struct label *labels, size_t count, struct buf *out) {
    buf_put_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buf_put_sv(out, SV(", "));
        label_put(out, &labels[i]);
    }
    buf_put_char(out, '}');
}

void label_list_print(const struct label *labels, size_t count, struct buf *out) {
    struct sv name = {0};
    for (size_t i = 0; i < count; i++)
        if (sv_eq(labels[i].name, SV("__name__"))) name = labels[i].value;
    bool plain = metric_is_legacy(name);
    if (plain) buf_put_sv(out, name);
    if (plain && count == 1) return;
    buf_put_char(out, '{');
    bool first = true;
    if (name.len > 0 && !plain) {
        label_put_quoted(out, name);
        first = false;
    }
    for (size_t i = 0; i < count; i++) {
        if (sv_eq(labels[i].name, SV("__name__"))) continue;
        if (!first) buf_put_sv(out, SV(", "));
        first = false;
        label_put(out, &labels[i]);
    }
    buf_put_char(out, '}');
}

void labels_print(struct sv canonical, struct buf *out) {
    size_t count = labels_count(canonical);
    struct label *list = calloc(count + 1, sizeof *list);
    if (list == NULL) {
        out->failed = true;
        return;
    }
    size_t n = 0;
    while (n < count && labels_next(&canonical, &list[n], NULL))
        n++;
    label_list_print(list, n, out);
    free(list);
}

int label_list_cmp(const struct label *a, size_t a_count, const struct label *b, size_t b_count) {
    size_t n = MIN(a_count, b_count);
    for (size_t i = 0; i < n; i++) {
        int c = sv_cmp(a[i].name, b[i].name);
        if (c == 0) c = sv_cmp(a[i].value, b[i].value);
        if (c != 0) return c;
    }
    return (a_count > b_count) - (a_count < b_count);
}

bool label_name_valid(struct sv name) {
    return name.len > 0 && utf8_valid(name);
}

bool metric_name_valid(struct sv name) {
    return name.len > 0 && utf8_valid(name);
}

bool value_is_stale(double v) {
    return f64_bits(v) == STALE_NAN_BITS;
}

double value_stale(void) {
    return f64_from_bits(STALE_NAN_BITS);
}
