/* SPDX-License-Identifier: Apache-2.0 */
/* Results as a table: a column a label, metric name first, then value and time; a matrix has a row
 * a point. */
#include <stdlib.h>

#include "node/base/utf8.h"
#include "node/ctl/print.h"

struct table {
    struct sv *names; /* of labels */
    size_t names_count, columns;
    struct buf *cells; /* row by row, the head first */
    size_t rows, rows_cap;
    bool failed;
};

static int name_order(const void *a, const void *b) {
    const struct sv *x = a, *y = b, name = SV("__name__");
    if (sv_eq(*x, name) || sv_eq(*y, name)) return (int)sv_eq(*y, name) - (int)sv_eq(*x, name);
    return sv_cmp(*x, *y);
}

static void add_names(struct table *t, json_t *metric) {
    const char *name;
    size_t len;
    json_t *value;
    struct sv *grown =
        reallocarray(t->names, t->names_count + json_object_size(metric) + 1, sizeof *grown);
    if (grown == NULL) {
        t->failed = true;
        return;
    }
    t->names = grown;
    json_object_keylen_foreach(metric, name, len, value) {
        bool known = false;
        for (size_t i = 0; i < t->names_count; i++)
            known |= sv_eq(t->names[i], sv_make(name, len));
        if (!known) t->names[t->names_count++] = sv_make(name, len);
    }
}

/* The cells of a new row, empty; NULL without memory. */
static struct buf *add_row(struct table *t) {
    if (t->rows == t->rows_cap) {
        size_t cap = t->rows_cap == 0 ? 64 : t->rows_cap * 2;
        struct buf *grown = reallocarray(t->cells, cap * t->columns, sizeof *grown);
        if (grown == NULL) {
            t->failed = true;
            return NULL;
        }
        t->cells = grown;
        t->rows_cap = cap;
    }
    struct buf *row = &t->cells[t->rows++ * t->columns];
    for (size_t i = 0; i < t->columns; i++)
        row[i] = (struct buf){0};
    return row;
}

static void add_labels(struct table *t, struct buf *row, const json_t *metric) {
    for (size_t i = 0; i < t->names_count; i++) {
        const json_t *v = json_object_getn(metric, t->names[i].ptr, t->names[i].len);
        if (json_is_string(v)) buf_put(&row[i], json_string_value(v), json_string_length(v));
    }
}

static void add_point(struct table *t, const json_t *metric, const json_t *pair) {
    struct buf *row = add_row(t);
    if (row == NULL) return;
    const json_t *v = json_array_get(pair, 1);
    add_labels(t, row, metric);
    print_time(&row[t->names_count], json_array_get(pair, 0));
    if (json_is_string(v))
        buf_put(&row[t->names_count + 1], json_string_value(v), json_string_length(v));
}

static size_t width_of(struct sv s) {
    size_t width = 0;
    for (uint32_t rune; s.len > 0; s = sv_skip(s, utf8_decode(s, &rune)))
        width++;
    return width;
}

/* Control characters would break the lines. */
static void put_cell(struct buf *out, struct sv s, size_t width, bool right) {
    size_t pad = width - width_of(s);
    for (size_t i = 0; right && i < pad; i++)
        buf_put_char(out, ' ');
    for (size_t i = 0; i < s.len; i++)
        buf_put_char(out, (unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f ? '?' : s.ptr[i]);
    for (size_t i = 0; !right && i < pad; i++)
        buf_put_char(out, ' ');
}

static void put_table(const struct table *t, struct buf *out) {
    size_t *widths = calloc(t->columns + 1, sizeof *widths);
    if (widths == NULL) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < t->rows * t->columns; i++)
        widths[i % t->columns] = MAX(widths[i % t->columns], width_of(buf_sv(&t->cells[i])));
    for (size_t r = 0; r < t->rows; r++) {
        for (size_t c = 0; c < t->columns; c++) {
            if (c > 0) buf_put_sv(out, SV("  "));
            put_cell(out, buf_sv(&t->cells[r * t->columns + c]), widths[c], c >= t->names_count);
        }
        while (out->len > 0 && out->ptr[out->len - 1] == ' ')
            out->len--;
        buf_put_char(out, '\n');
    }
    free(widths);
}

static void table_fini(struct table *t) {
    for (size_t i = 0; i < t->rows * t->columns; i++)
        buf_fini(&t->cells[i]);
    free(t->cells);
    free(t->names);
}

static void add_head(struct table *t, bool with_points) {
    if (t->names_count > 0) qsort(t->names, t->names_count, sizeof *t->names, name_order);
    t->columns = t->names_count + (with_points ? 2 : 0);
    if (t->columns == 0) return;
    struct buf *row = add_row(t);
    if (row == NULL) return;
    for (size_t i = 0; i < t->names_count; i++)
        buf_put_sv(&row[i], sv_eq(t->names[i], SV("__name__")) ? SV("METRIC") : t->names[i]);
    if (!with_points) return;
    buf_put_sv(&row[t->names_count], SV("TIME"));
    buf_put_sv(&row[t->names_count + 1], SV("VALUE"));
}

enum status print_table(const json_t *list, bool is_series, struct buf *out, struct err *err) {
    struct table t = {0};
    json_t *item, *pair;
    size_t i, k;
    json_array_foreach(list, i, item)
        add_names(&t, is_series ? item : json_object_get(item, "metric"));
    if (!t.failed) add_head(&t, !is_series);
    json_array_foreach(list, i, item) {
        const json_t *value = json_object_get(item, "value");
        if (t.failed || t.columns == 0) break;
        if (is_series) {
            struct buf *row = add_row(&t);
            if (row != NULL) add_labels(&t, row, item);
            continue;
        }
        if (value != NULL) add_point(&t, json_object_get(item, "metric"), value);
        json_array_foreach(json_object_get(item, "values"), k, pair) if (!t.failed)
            add_point(&t, json_object_get(item, "metric"), pair);
    }
    if (!t.failed) put_table(&t, out);
    bool failed = t.failed;
    table_fini(&t);
    return failed ? err_set(err, ERR_NOMEM, 0, "out of memory") : OK;
}
