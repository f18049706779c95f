/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/scan.h"

#include <stdlib.h>
#include <string.h>

#include "ingest/scan_internal.h"
#include "node/base/utf8.h"

enum {
    TAG_LABEL = 0x0a,
    TAG_SAMPLES = 0x12,
    TAG_NAME = 0x0a,
    TAG_VALUE = 0x12,
    TAG_SAMPLE_VALUE = 0x09,
    TAG_SAMPLE_TIME = 0x10
};

enum status scan_bad(const struct scanner *s, const uint8_t *at, const char *what) {
    return err_set(s->err, ERR_PARSE, 0, "remote write: malformed %s at byte %zu", what,
                   (size_t)(at - s->begin));
}

enum status scan_reserve(struct scanner *s, size_t count) {
    if (count > s->o->samples_max)
        return err_set(s->err, ERR_LIMIT, 0, "remote write: more than %u samples in one request",
                       s->o->samples_max);
    if (write_rows_reserve(s->out->rows, count) != OK)
        return err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
    return OK;
}

void scan_set_series(struct scanner *s, size_t first, struct sv labels) {
    struct write_rows *rows = s->out->rows;
    if (rows->count == first) return;
    series_id id = series_id_of(s->o->secret, s->o->tenant, labels);
    uint32_t shard = series_shard(id, s->o->shards_count);
    for (size_t i = first; i < rows->count; i++) {
        rows->ids[i] = id;
        rows->shards[i] = shard;
        rows->labels[i] = labels;
    }
}

/* -- the series that senders send: a run of canonical labels, then samples. Whatever looks
 * different in any way is left to scan_series_any, which reads the series again from its start. */

typedef uint64_t u64x2 __attribute__((vector_size(16)));

static bool ascii(const uint8_t *p, size_t len) {
    u64x2 high = {0, 0};
    uint64_t tail = 0;
    for (; len >= sizeof high; p += sizeof high, len -= sizeof high) {
        u64x2 v;
        memcpy(&v, p, sizeof v);
        high |= v;
    }
    for (; len > 0; p++, len--)
        tail |= *p;
    return ((high[0] | high[1] | tail) & 0x8080808080808080ULL) == 0;
}

/* A minimal length of one or two bytes; false: none. Two bytes are readable at p. */
static inline bool short_len(const uint8_t **p, size_t *out) {
    const uint8_t *q = *p;
    if (q[0] < 0x80) {
        *out = q[0];
        *p = q + 1;
        return true;
    }
    if (q[1] == 0 || q[1] >= 0x80) return false;
    *out = (size_t)(q[0] & 0x7f) | (size_t)q[1] << 7;
    *p = q + 2;
    return true;
}

/* The first eight bytes of a name, padded with zeros, as a number in the order of names. Eight
 * bytes are readable at p. */
static inline uint64_t name_key(const uint8_t *p, size_t len) {
    uint64_t key = __builtin_bswap64(get_u64le(p));
    return len >= 8 ? key : key & ~(UINT64_MAX >> (8 * len)); /* len is not 0 */
}

/* Each label valid UTF-8; canonical bytes. */
static bool labels_are_utf8(struct sv labels) {
    struct label l;
    while (labels_next(&labels, &l, NULL))
        if (!utf8_valid(l.name) || !utf8_valid(l.value)) return false;
    return true;
}

/* The canonical label field that begins at p (which has TAG_LABEL): its name and its end; NULL: it
 * is none. */
static inline const uint8_t *usual_label(const uint8_t *p, const uint8_t *end,
                                         struct sv *out_name) {
    size_t len, name_len, value_len;
    if (end - p >=
        8) { /* both texts under 124 bytes, nearly all: tags and lengths compared as whole words */
        uint32_t head = get_u32le(p);
        len = head >> 8 & 0x7f;
        name_len = head >> 24;
        if ((head & 0x80ff80ff) == (TAG_NAME << 16 | TAG_LABEL) && name_len > 0 &&
            len > name_len + 4 && len + 2 <= (size_t)(end - p) &&
            get_u16le(p + 4 + name_len) == (TAG_VALUE | (len - name_len - 4) << 8)) {
            *out_name = sv_make(p + 4, name_len);
            return p + 2 + len;
        }
    }
    if (end - ++p < 2 || !short_len(&p, &len) || len < 6 || len > (size_t)(end - p)) return NULL;
    end = p + len;
    if (*p++ != TAG_NAME || !short_len(&p, &name_len) || name_len == 0) return NULL;
    if (name_len + 3 > (size_t)(end - p)) return NULL;
    *out_name = sv_make(p, name_len);
    p += name_len;
    if (*p++ != TAG_VALUE || !short_len(&p, &value_len) || value_len == 0) return NULL;
    return value_len == (size_t)(end - p) ? end : NULL;
}

/* Reads a run of labels from *cur on, up to the first byte that begins none. False: not canonical,
 * or near the body's end, where eight bytes may not be readable. */
static bool usual_labels(const struct scanner *s, struct wire *w, struct sv *out) {
    static const uint64_t metric_name = 0x5f5f6e616d655f5fULL; /* "__name__" */
    const uint8_t *p = w->cur;
    struct sv before = {NULL, 0}, name;
    uint64_t key_before = 0;
    bool has_name = false;
    while (p < w->end && *p == TAG_LABEL) {
        const uint8_t *end = usual_label(p, w->end, &name);
        if (end == NULL || end - p > (ptrdiff_t)s->o->label_bytes_max || s->end - end < 8)
            return false;
        uint64_t key = name_key((const uint8_t *)name.ptr, name.len);
        if (key <= key_before && (key < key_before || sv_cmp(before, name) >= 0)) return false;
        has_name |= name.len == 8 && key == metric_name;
        before = name;
        key_before = key;
        p = end;
    }
    *out = sv_make(w->cur, (size_t)(p - w->cur));
    w->cur = p;
    return has_name && out->len <= s->o->labels_bytes_max;
}

/* A varint of at most eight bytes at once, by gathering groups of 7 bits. How many bytes it has, or
 * 0: it is longer, or there is none before the end of what is readable. */
static inline unsigned varint_8(const uint8_t *p, const uint8_t *end, uint64_t *out) {
    if (end - p < 8) {
        struct wire w = {p, end};
        return wire_varint(&w, out) ? (unsigned)(w.cur - p) : 0;
    }
    uint64_t w = get_u64le(p), stop = ~w & 0x8080808080808080ULL;
    if (stop == 0) return 0;
    w &= stop ^ (stop - 1);
    w &= 0x7f7f7f7f7f7f7f7fULL;
    w = (w & 0x007f007f007f007fULL) | (w & 0x7f007f007f007f00ULL) >> 1;
    w = (w & 0x00003fff00003fffULL) | (w & 0x3fff00003fff0000ULL) >> 2;
    *out = (w & 0x0fffffffULL) | (w & 0x0fffffff00000000ULL) >> 4;
    return (unsigned)__builtin_ctzll(stop) / 8 + 1;
}

/* The next sample: value, then time, either of which is left out when it is 0. */
static bool usual_sample(const struct scanner *s, struct wire *w, uint64_t *out_bits,
                         uint64_t *out_time) {
    const uint8_t *p = w->cur;
    *out_bits = *out_time = 0;
    if (w->end - p < 2 || p[0] != TAG_SAMPLES || p[1] >= 0x80 || p[1] > w->end - p - 2)
        return false;
    const uint8_t *end = p + 2 + p[1];
    p += 2;
    if (end - p >= 9 && *p == TAG_SAMPLE_VALUE) {
        *out_bits = get_u64le(p + 1);
        p += 9;
    }
    if (p < end && *p == TAG_SAMPLE_TIME) {
        unsigned n = varint_8(p + 1, s->end, out_time);
        if (n == 0) return false; /* before 1970: ten bytes */
        p += 1 + n;
    }
    if (p != end) return false;
    w->cur = p;
    return true;
}

/* False: not a usual series; rows are as they were. */
static bool scan_series_usual(struct scanner *s, struct wire w) {
    struct write_rows *rows = s->out->rows;
    struct sv labels;
    size_t first = rows->count, row = first, room = MIN(rows->cap, (size_t)s->o->samples_max);
    if (!usual_labels(s, &w, &labels)) return false;
    for (; w.cur < w.end; row++) {
        uint64_t bits, time_ms;
        if (row >= room) return false;
        if (!usual_sample(s, &w, &bits, &time_ms)) return false;
        rows->values[row] = f64_from_bits(bits);
        rows->times_ms[row] = (int64_t)time_ms;
    }
    if (!ascii((const uint8_t *)labels.ptr, labels.len) && !labels_are_utf8(labels)) return false;
    rows->count = row;
    scan_set_series(s, first, labels);
    return true;
}

/* -- the request */

static enum status scan_series(struct scanner *s, struct wire w) {
    if (++s->series_count > s->o->series_max)
        return err_set(s->err, ERR_LIMIT, 0, "remote write: more than %u series in one request",
                       s->o->series_max);
    /* so that the usual series finds room; a longer one makes its own in scan_series_any */
    size_t ahead = s->out->rows->count + 16;
    if (ahead > s->out->rows->cap && ahead <= s->o->samples_max) TRY(scan_reserve(s, ahead));
    if (s->o->drop_label.len > 0) return scan_series_any(s, w);
    return scan_series_usual(s, w) ? OK : scan_series_any(s, w);
}

static enum status scan_request(struct scanner *s, struct wire w) {
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return scan_bad(s, at, "tag");
        if (field != 1 && field != 3) {
            if (!wire_skip(&w, type)) return scan_bad(s, at, "request");
            continue;
        }
        if (type != WIRE_BYTES || !wire_bytes(&w, &inner)) return scan_bad(s, at, "request");
        if (field == 1) {
            TRY(scan_series(s, inner));
        } else {
            TRY(scan_metadata(s, inner));
        }
    }
    return OK;
}

void scanner_init(struct scanner *s, struct sv body, const struct scan_options *options,
                  struct arena *arena, struct scan_result *out, struct err *err) {
    *out = (struct scan_result){.rows = out->rows};
    write_rows_clear(out->rows);
    const uint8_t *begin = (const uint8_t *)body.ptr;
    *s = (struct scanner){.o = options,
                          .arena = arena,
                          .out = out,
                          .err = err,
                          .begin = begin,
                          .end = begin + body.len};
    arena_init(&s->scratch, 0);
}

void scanner_fini(struct scanner *s, enum status st) {
    free(s->labels);
    buf_fini(&s->canonical);
    buf_fini(&s->histogram);
    buf_fini(&s->refusals);
    arena_fini(&s->scratch);
    if (st != OK) write_rows_clear(s->out->rows);
}

enum status scan_write_request(struct sv body, const struct scan_options *options,
                               struct arena *arena, struct scan_result *out, struct err *err) {
    struct scanner s;
    scanner_init(&s, body, options, arena, out, err);
    enum status st = scan_request(&s, (struct wire){s.begin, s.end});
    scanner_fini(&s, st);
    return st;
}
