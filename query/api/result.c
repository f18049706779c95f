/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "node/base/num.h"
#include "query/api/internal.h"

/* A scalar and a string carry their time as a JSON number of any precision and the value in plain
 * 'f'; samples their time with three decimals and the value as num_put_json_value writes it. */
static void put_scalar(struct buf *out, const struct result *r) {
    struct json j = json_init(out);
    json_array_begin(&j);
    json_f64(&j, (double)r->time_ms / 1000);
    if (r->type == VALUE_STRING) {
        buf_put_char(out, ',');
        api_put_text(out, r->string);
    } else {
        buf_put_sv(out, SV(",\""));
        num_put_f64(out, r->scalar, 'f');
        buf_put_char(out, '"');
    }
    json_array_end(&j);
}

static void stamp_set(struct result_stamp *stamp, int64_t time_ms) {
    stamp->time_ms = time_ms;
    stamp->text[0] = '[';
    size_t n = 1 + num_format_timestamp_ms(stamp->text + 1, time_ms);
    memcpy(stamp->text + n, ",\"", 2);
    stamp->len = (uint8_t)(n + 2);
}

static void put_point(struct buf *out, struct result_stamp *stamp, const struct result_point *p) {
    assert(p->histogram == NULL);
    if (stamp->len == 0 || stamp->time_ms != p->time_ms) stamp_set(stamp, p->time_ms);
    if (!buf_reserve(out, sizeof stamp->text + NUM_TEXT_MAX + 2)) return;
    char *text = out->ptr + out->len, *at = text;
    memcpy(at, stamp->text, sizeof stamp->text); /* a fixed size is a few moves */
    at += stamp->len;
    at += num_format_json_value(at, p->value);
    memcpy(at, "\"]", 2);
    out->len += (size_t)(at + 2 - text);
}

/* -- a result in parts */

enum { SERIES_POINTS = 4 }; /* what its labels count as */

struct result_pos result_cut(const struct result *r, struct result_pos from, size_t series_end,
                             size_t points) {
    while (from.series < series_end) {
        size_t left = r->series[from.series].points_count - from.point, cost = left + SERIES_POINTS;
        if (cost > points) {
            if (points > SERIES_POINTS && r->type != VALUE_VECTOR)
                from.point += points - SERIES_POINTS;
            return from;
        }
        points -= cost;
        from = (struct result_pos){from.series + 1, 0};
    }
    return from;
}

static void put_labels(struct buf *out, const struct result_series *s, struct sv values) {
    buf_put_sv(out, SV("{\"metric\":"));
    api_put_label_set(out, s->labels, s->labels_count);
    buf_put_sv(out, values);
}

static void put_sample(struct buf *out, struct result_stamp *stamp, const struct result_series *s) {
    assert(s->points_count == 1);
    put_labels(out, s, SV(",\"value\":"));
    put_point(out, stamp, &s->points[0]);
    buf_put_char(out, '}');
}

/* Points from .. to of it; its labels stand before the first, its end behind the last. */
static void put_points(struct buf *out, struct result_stamps *stamps, const struct result_series *s,
                       size_t from, size_t to) {
    bool any = s->points_count > 0;
    if (from == 0) put_labels(out, s, any ? SV(",\"values\":[") : (struct sv){0});
    for (size_t i = from; i < to && !out->failed; i++) {
        if (i > 0) buf_put_char(out, ',');
        put_point(out, &stamps->at[i % RESULT_STAMPS], &s->points[i]);
    }
    if (to == s->points_count) buf_put_sv(out, any ? SV("]}") : SV("}"));
}

void result_put_part(const struct result *r, const struct result_part *part,
                     struct result_stamps *stamps, struct buf *out) {
    struct result_pos at = part->from;
    while (at.series < part->to.series || at.point < part->to.point) {
        const struct result_series *s = &r->series[at.series];
        if (at.series > 0 && at.point == 0) buf_put_char(out, ',');
        size_t end = at.series == part->to.series ? part->to.point : s->points_count;
        if (r->type == VALUE_VECTOR)
            put_sample(out, &stamps->at[0], s);
        else
            put_points(out, stamps, s, at.point, end);
        at = end == s->points_count ? (struct result_pos){at.series + 1, 0}
                                    : (struct result_pos){at.series, end};
    }
}

bool result_is_list(const struct result *r) {
    return r->type == VALUE_VECTOR || r->type == VALUE_MATRIX;
}

void result_put_single(const struct result *r, struct buf *out) {
    put_scalar(out, r);
}
