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

static void put_sample(struct buf *out, struct result_stamp *stamp, const struct result_series *s) {
    buf_put_sv(out, SV("{\"metric\":"));
    api_put_label_set(out, s->labels, s->labels_count);
    assert(s->points_count == 1);
    buf_put_sv(out, SV(",\"value\":"));
    put_point(out, stamp, &s->points[0]);
    buf_put_char(out, '}');
}

/* Points of the current series until the piece is large enough; true when the series has ended. */
static bool put_series(struct result_writer *w, struct buf *out, size_t wanted_bytes) {
    const struct result_series *s = &w->result->series[w->series_at];
    if (!w->in_values) {
        buf_put_sv(out, SV("{\"metric\":"));
        api_put_label_set(out, s->labels, s->labels_count);
        if (s->points_count > 0) buf_put_sv(out, SV(",\"values\":["));
        w->in_values = true;
        w->points_at = 0;
    }
    while (w->points_at < s->points_count) {
        if (out->len >= wanted_bytes) return false;
        if (w->points_at > 0) buf_put_char(out, ',');
        put_point(out, &w->stamps[w->points_at % RESULT_STAMPS], &s->points[w->points_at]);
        w->points_at++;
    }
    if (s->points_count > 0) buf_put_char(out, ']');
    buf_put_char(out, '}');
    w->in_values = false;
    return true;
}

void result_writer_next(struct result_writer *w, struct buf *out, size_t wanted_bytes) {
    const struct result *r = w->result;
    if (w->done || out->failed) return;
    if (r->type == VALUE_SCALAR || r->type == VALUE_STRING) {
        put_scalar(out, r);
        w->done = true;
        return;
    }
    size_t count = MIN(r->series_count, w->series_max);
    if (!w->began) buf_put_char(out, '[');
    w->began = true;
    while (w->series_at < count && out->len < wanted_bytes && !out->failed) {
        if (w->series_at > 0 && !w->in_values) buf_put_char(out, ',');
        if (r->type == VALUE_VECTOR)
            put_sample(out, &w->stamps[0], &r->series[w->series_at]);
        else if (!put_series(w, out, wanted_bytes))
            return;
        w->series_at++;
    }
    if (w->series_at < count) return;
    buf_put_char(out, ']');
    w->done = true;
}
