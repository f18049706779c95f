/* SPDX-License-Identifier: Apache-2.0 */
/* Results as a chart of characters: a matrix over time, each series with a sign of its own; an
 * instant vector as bars. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "node/base/num.h"
#include "node/ctl/print.h"

enum { WIDTH = 72, HEIGHT = 18, AXIS_WIDTH = 12, BAR_WIDTH = 50 };
static const char signs[] = "*o+x#@%&=~";

struct chart {
    double min, max, from, to;
    char at[HEIGHT][WIDTH];
};

/* False for what has no place on an axis. */
static bool point_of(const json_t *pair, double *out_time, double *out_value) {
    const json_t *v = json_array_get(pair, 1);
    *out_time = json_number_value(json_array_get(pair, 0));
    return json_is_string(v) &&
           num_parse_f64(sv_make(json_string_value(v), json_string_length(v)), out_value) &&
           isfinite(*out_value) && fabs(*out_value) < DBL_MAX / 4;
}

static void chart_measure(struct chart *c, json_t *list) {
    json_t *item, *pair;
    size_t i, k;
    double t, v;
    *c = (struct chart){.min = INFINITY, .max = -INFINITY, .from = INFINITY, .to = -INFINITY};
    memset(c->at, ' ', sizeof c->at);
    json_array_foreach(list, i, item) {
        json_array_foreach(json_object_get(item, "values"), k, pair) {
            if (!point_of(pair, &t, &v)) continue;
            c->min = fmin(c->min, v);
            c->max = fmax(c->max, v);
            c->from = fmin(c->from, t);
            c->to = fmax(c->to, t);
        }
    }
}

static size_t place(double v, double min, double max, size_t count) {
    return max > min ? (size_t)lround((v - min) / (max - min) * (double)(count - 1)) : 0;
}

static void chart_draw(struct chart *c, json_t *list) {
    json_t *item, *pair;
    size_t i, k;
    double t, v;
    json_array_foreach(list, i, item) {
        char sign = signs[i % (sizeof signs - 1)];
        json_array_foreach(json_object_get(item, "values"), k, pair) {
            if (!point_of(pair, &t, &v)) continue;
            size_t row = HEIGHT - 1 - place(v, c->min, c->max, HEIGHT);
            c->at[row][place(t, c->from, c->to, WIDTH)] = sign;
        }
    }
}

static void put_number(struct buf *out, double v, int width) {
    char text[NUM_TEXT_MAX];
    size_t n = num_format_f64(text, v, 'g');
    if (n > AXIS_WIDTH - 1) {
        buf_printf(out, "%*.5g", width, v);
        return;
    }
    buf_printf(out, "%*.*s", width, (int)n, text);
}

static void put_legend(struct buf *out, json_t *list) {
    json_t *item;
    size_t i;
    json_array_foreach(list, i, item) {
        buf_put_sv(out, SV("  "));
        buf_put_char(out, signs[i % (sizeof signs - 1)]);
        buf_put_char(out, ' ');
        if (!print_metric(out, json_object_get(item, "metric"))) out->failed = true;
        buf_put_char(out, '\n');
    }
}

static void put_chart(struct buf *out, json_t *list) {
    struct chart c;
    chart_measure(&c, list);
    if (c.max < c.min) {
        buf_put_sv(out, SV("nothing to draw\n"));
        return;
    }
    chart_draw(&c, list);
    for (size_t row = 0; row < HEIGHT; row++) {
        size_t len = WIDTH;
        while (len > 0 && c.at[row][len - 1] == ' ')
            len--;
        if (row == 0 || row == HEIGHT - 1 || row == HEIGHT / 2)
            put_number(out,
                       row == 0
                           ? c.max
                           : c.min + (c.max - c.min) * (double)(HEIGHT - 1 - row) / (HEIGHT - 1),
                       AXIS_WIDTH);
        else
            buf_printf(out, "%*s", AXIS_WIDTH, "");
        buf_put_sv(out, SV(" |"));
        buf_put(out, c.at[row], len);
        buf_put_char(out, '\n');
    }
    buf_printf(out, "%*s +", AXIS_WIDTH, "");
    for (size_t i = 0; i < WIDTH; i++)
        buf_put_char(out, '-');
    struct buf from = {0}, to = {0};
    print_unix_s(&from, c.from);
    print_unix_s(&to, c.to);
    buf_printf(out, "\n%*s  %.*s%*.*s\n", AXIS_WIDTH, "", SV_ARG(buf_sv(&from)),
               WIDTH - (int)from.len, SV_ARG(buf_sv(&to)));
    buf_fini(&from);
    buf_fini(&to);
    put_legend(out, list);
}

/* Bars from zero to each value; negative ones are drawn with another sign. */
static void put_bars(struct buf *out, json_t *list) {
    json_t *item;
    size_t i;
    double t, v, max = 0;
    json_array_foreach(list, i, item) if (point_of(json_object_get(item, "value"), &t, &v)) max =
        fmax(max, fabs(v));
    json_array_foreach(list, i, item) {
        const json_t *pair = json_object_get(item, "value");
        bool finite = point_of(pair, &t, &v);
        size_t n = finite && max > 0 ? place(fabs(v), 0, max, BAR_WIDTH + 1) : 0;
        if (finite)
            put_number(out, v, AXIS_WIDTH);
        else
            buf_printf(out, "%*s", AXIS_WIDTH, json_string_value(json_array_get(pair, 1)));
        buf_put_sv(out, SV(" |"));
        for (size_t k = 0; k < BAR_WIDTH; k++)
            buf_put_char(out, k < n ? (v < 0 ? '-' : '#') : ' ');
        buf_put_char(out, ' ');
        if (!print_metric(out, json_object_get(item, "metric"))) out->failed = true;
        buf_put_char(out, '\n');
    }
}

void print_graph(json_t *list, bool is_matrix, struct buf *out) {
    if (json_array_size(list) == 0)
        buf_put_sv(out, SV("nothing to draw\n"));
    else if (is_matrix)
        put_chart(out, list);
    else
        put_bars(out, list);
}
