/* SPDX-License-Identifier: Apache-2.0 */
/* Results as promtool prints them: prometheus/common's model.Value, its String() and its JSON.
 * Timestamps are seconds with as many decimals as they need, values plain 'f'. */
#include "node/ctl/print.h"

#include <math.h>
#include <stdlib.h>

#include "node/base/num.h"

static enum status malformed(struct err *err) {
    return err_set(err, ERR_PARSE, 0, "the server's answer has another shape than the API's");
}

static struct sv string_of(const json_t *s) {
    return sv_make(json_string_value(s), json_string_length(s));
}

void print_unix_s(struct buf *out, double unix_s) {
    num_put_f64(out, round(unix_s * 1000) / 1000, 'f');
}

void print_time(struct buf *out, const json_t *unix_s) {
    print_unix_s(out, json_number_value(unix_s));
}

/* [time, "value"] */
static bool pair_is_right(const json_t *pair, double *out_value) {
    const json_t *v = json_array_get(pair, 1);
    return json_array_size(pair) == 2 && json_is_number(json_array_get(pair, 0)) &&
           json_is_string(v) && num_parse_f64(string_of(v), out_value);
}

/* -- label sets */

struct texts {
    struct buf *at;
    size_t count;
};

static int text_order(const void *a, const void *b) {
    return sv_cmp(buf_sv((const struct buf *)a), buf_sv((const struct buf *)b));
}

static void texts_fini(struct texts *t) {
    for (size_t i = 0; i < t->count; i++)
        buf_fini(&t->at[i]);
    free(t->at);
}

/* name="value" of each label but the metric name when it goes in front */
static bool texts_of(json_t *metric, bool without_name, struct texts *out) {
    const char *name;
    size_t name_len;
    json_t *value;
    *out = (struct texts){.at = calloc(json_object_size(metric) + 1, sizeof *out->at)};
    if (out->at == NULL) return false;
    json_object_keylen_foreach(metric, name, name_len, value) {
        if (!json_is_string(value)) return false;
        if (without_name && sv_eq(sv_make(name, name_len), SV("__name__"))) continue;
        struct buf *b = &out->at[out->count++];
        buf_put(b, name, name_len);
        buf_put_char(b, '=');
        text_put_quoted(b, string_of(value));
    }
    qsort(out->at, out->count, sizeof *out->at, text_order);
    return true;
}

static bool put_labels(struct buf *out, json_t *metric, bool name_in_front) {
    struct texts t;
    const json_t *name = json_object_get(metric, "__name__");
    bool right = json_is_object(metric) && texts_of(metric, name_in_front, &t);
    if (!json_is_object(metric)) return false;
    if (name_in_front && name != NULL) buf_put_sv(out, string_of(name));
    bool braces = t.count > 0 || !name_in_front || name == NULL;
    if (braces) buf_put_char(out, '{');
    for (size_t i = 0; i < t.count; i++) {
        if (i > 0) buf_put_sv(out, SV(", "));
        buf_put_sv(out, buf_sv(&t.at[i]));
    }
    if (braces) buf_put_char(out, '}');
    texts_fini(&t);
    return right;
}

static int key_order(const void *a, const void *b) {
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

bool print_metric(struct buf *out, json_t *metric) {
    return put_labels(out, metric, true);
}

static bool put_labels_json(struct buf *out, json_t *metric) {
    struct sv *keys = calloc(json_object_size(metric) + 1, sizeof *keys);
    if (keys == NULL || !json_is_object(metric)) {
        free(keys);
        return false;
    }
    const char *name;
    size_t name_len, n = 0;
    json_t *value;
    json_object_keylen_foreach(metric, name, name_len, value) keys[n++] = sv_make(name, name_len);
    qsort(keys, n, sizeof *keys, key_order);
    buf_put_char(out, '{');
    for (size_t i = 0; i < n; i++) {
        if (i > 0) buf_put_char(out, ',');
        text_put_json(out, keys[i]);
        buf_put_char(out, ':');
        text_put_json(out, string_of(json_object_getn(metric, keys[i].ptr, keys[i].len)));
    }
    buf_put_char(out, '}');
    free(keys);
    return true;
}

/* -- samples */

static bool put_pair(struct buf *out, const json_t *pair, enum print_format format) {
    double v;
    if (!pair_is_right(pair, &v)) return false;
    if (format == PRINT_JSON) {
        buf_put_char(out, '[');
        print_time(out, json_array_get(pair, 0));
        buf_put_sv(out, SV(",\""));
        num_put_f64(out, v, 'f');
        buf_put_sv(out, SV("\"]"));
        return true;
    }
    num_put_f64(out, v, 'f');
    buf_put_sv(out, SV(" @["));
    print_time(out, json_array_get(pair, 0));
    buf_put_char(out, ']');
    return true;
}

static bool put_one_text(struct buf *out, json_t *item, bool is_matrix) {
    if (!put_labels(out, json_object_get(item, "metric"), true)) return false;
    if (!is_matrix) {
        buf_put_sv(out, SV(" => "));
        return put_pair(out, json_object_get(item, "value"), PRINT_PROMQL);
    }
    buf_put_sv(out, SV(" =>"));
    json_t *values = json_object_get(item, "values"), *pair;
    size_t i;
    json_array_foreach(values, i, pair) {
        buf_put_char(out, '\n');
        if (!put_pair(out, pair, PRINT_PROMQL)) return false;
    }
    return true;
}

static bool put_one_json(struct buf *out, json_t *item, bool is_matrix) {
    buf_put_sv(out, SV("{\"metric\":"));
    if (!put_labels_json(out, json_object_get(item, "metric"))) return false;
    if (!is_matrix) {
        buf_put_sv(out, SV(",\"value\":"));
        if (!put_pair(out, json_object_get(item, "value"), PRINT_JSON)) return false;
    } else {
        buf_put_sv(out, SV(",\"values\":["));
        json_t *values = json_object_get(item, "values"), *pair;
        size_t i;
        json_array_foreach(values, i, pair) {
            if (i > 0) buf_put_char(out, ',');
            if (!put_pair(out, pair, PRINT_JSON)) return false;
        }
        buf_put_char(out, ']');
    }
    buf_put_char(out, '}');
    return true;
}

/* LabelSet.Before of prometheus/common: fewer labels first, then by the names of both in order. */
static int metric_order(const void *a, const void *b) {
    json_t *x = json_object_get(*(json_t *const *)a, "metric"),
           *y = json_object_get(*(json_t *const *)b, "metric");
    size_t nx = json_object_size(x), ny = json_object_size(y);
    if (nx != ny) return nx < ny ? -1 : 1;
    struct buf tx = {0}, ty = {0};
    int c = 0;
    if (put_labels_json(&tx, x) && put_labels_json(&ty, y)) c = sv_cmp(buf_sv(&tx), buf_sv(&ty));
    buf_fini(&tx);
    buf_fini(&ty);
    return c;
}

static enum status print_list(json_t *result, bool is_matrix, enum print_format format,
                              struct buf *out, struct err *err) {
    size_t count = json_array_size(result);
    json_t **items = calloc(count + 1, sizeof(json_t *));
    if (items == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < count; i++)
        items[i] = json_array_get(result, i);
    if (is_matrix && format == PRINT_PROMQL) qsort(items, count, sizeof(json_t *), metric_order);
    bool right = json_is_array(result);
    if (format == PRINT_JSON) buf_put_char(out, '[');
    for (size_t i = 0; i < count && right; i++) {
        if (i > 0) buf_put_char(out, format == PRINT_JSON ? ',' : '\n');
        right = format == PRINT_JSON ? put_one_json(out, items[i], is_matrix)
                                     : put_one_text(out, items[i], is_matrix);
    }
    if (format == PRINT_JSON) buf_put_char(out, ']');
    buf_put_char(out, '\n');
    free(items);
    return right ? OK : malformed(err);
}

enum status print_result(const json_t *data, enum print_format format, struct buf *out,
                         struct err *err) {
    struct sv type = string_of(json_object_get(data, "resultType"));
    json_t *result = json_object_get(data, "result");
    bool is_matrix = sv_eq(type, SV("matrix"));
    if (is_matrix || sv_eq(type, SV("vector"))) {
        if (!json_is_array(result)) return malformed(err);
        if (format == PRINT_TABLE) return print_table(result, false, out, err);
        if (format == PRINT_GRAPH) {
            print_graph(result, is_matrix, out);
            return OK;
        }
    }
    if (sv_eq(type, SV("vector"))) return print_list(result, false, format, out, err);
    if (sv_eq(type, SV("matrix"))) return print_list(result, true, format, out, err);
    if (!sv_eq(type, SV("scalar")))
        return err_set(err, ERR_PARSE, 0, "unexpected value type \"%.*s\"",
                       SV_ARG(sv_take(type, 40)));
    if (format != PRINT_JSON) buf_put_sv(out, SV("scalar: "));
    if (!put_pair(out, result, format)) return malformed(err);
    buf_put_char(out, '\n');
    return OK;
}

/* -- lists */

enum status print_series(const json_t *list, enum print_format format, struct buf *out,
                         struct err *err) {
    json_t *metric;
    size_t i;
    if (!json_is_array(list)) return malformed(err);
    if (format == PRINT_TABLE) return print_table(list, true, out, err);
    if (format == PRINT_JSON) buf_put_char(out, '[');
    json_array_foreach(list, i, metric) {
        if (format == PRINT_JSON && i > 0) buf_put_char(out, ',');
        if (!(format == PRINT_JSON ? put_labels_json(out, metric) : put_labels(out, metric, false)))
            return malformed(err);
        if (format != PRINT_JSON) buf_put_char(out, '\n');
    }
    if (format == PRINT_JSON) buf_put_sv(out, SV("]\n"));
    return OK;
}

enum status print_values(const json_t *list, enum print_format format, struct buf *out,
                         struct err *err) {
    json_t *value;
    size_t i;
    if (!json_is_array(list)) return malformed(err);
    if (format == PRINT_JSON) buf_put_char(out, '[');
    json_array_foreach(list, i, value) {
        if (!json_is_string(value)) return malformed(err);
        if (format == PRINT_JSON && i > 0) buf_put_char(out, ',');
        if (format == PRINT_JSON) {
            text_put_json(out, string_of(value));
        } else {
            buf_put_sv(out, string_of(value));
            buf_put_char(out, '\n');
        }
    }
    if (format == PRINT_JSON) buf_put_sv(out, SV("]\n"));
    return OK;
}
