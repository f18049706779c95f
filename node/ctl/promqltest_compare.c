/* SPDX-License-Identifier: Apache-2.0 */
/* Results against what an eval expects. */
#include <float.h>
#include <math.h>

#include "node/base/num.h"
#include "node/ctl/promqltest.h"

static const double epsilon = 1e-6;

bool test_values_equal(double a, double b) {
    if (value_is_stale(a) || value_is_stale(b)) return value_is_stale(a) && value_is_stale(b);
    if (isnan(a) && isnan(b)) return true;
    if (a == b) return true;
    double sum = fabs(a) + fabs(b), diff = fabs(a - b);
    if (a == 0 || b == 0 || sum < DBL_MIN) return diff < epsilon * DBL_MIN;
    return diff / fmin(sum, DBL_MAX) < epsilon;
}

static void put_value(struct buf *out, double v) {
    if (value_is_stale(v))
        buf_put_sv(out, SV("stale"));
    else
        num_put_f64(out, v, 'g');
}

void test_put_result(struct buf *out, const struct result *r) {
    enum { SERIES_SHOWN = 40 };
    if (r->type == VALUE_SCALAR) {
        buf_put_sv(out, SV("      scalar "));
        put_value(out, r->scalar);
        buf_put_char(out, '\n');
    }
    if (r->type == VALUE_STRING) buf_printf(out, "      string \"%.*s\"\n", SV_ARG(r->string));
    for (size_t i = 0; i < r->series_count && i < SERIES_SHOWN; i++) {
        const struct result_series *s = &r->series[i];
        buf_put_sv(out, SV("      "));
        label_list_print_braces(s->labels, s->labels_count, out);
        for (size_t k = 0; k < s->points_count; k++) {
            buf_put_char(out, ' ');
            put_value(out, s->points[k].value);
            if (r->type != VALUE_MATRIX) continue;
            buf_put_char(out, '@');
            num_put_timestamp_ms(out, s->points[k].time_ms);
        }
        buf_put_char(out, '\n');
    }
    if (r->series_count > SERIES_SHOWN)
        buf_printf(out, "      and %zu more\n", r->series_count - SERIES_SHOWN);
    if (r->type != VALUE_SCALAR && r->type != VALUE_STRING && r->series_count == 0)
        buf_put_sv(out, SV("      no series\n"));
}

static bool differs(struct buf *why, const char *what, const struct label *labels, size_t count) {
    buf_printf(why, "    %s", what);
    if (labels != NULL) {
        buf_put_char(why, ' ');
        label_list_print_braces(labels, count, why);
    }
    buf_put_char(why, '\n');
    return false;
}

static bool value_differs(struct buf *why, double want, double got) {
    buf_put_sv(why, SV("    expected "));
    put_value(why, want);
    buf_put_sv(why, SV(", got "));
    put_value(why, got);
    buf_put_char(why, '\n');
    return false;
}

static const struct series_line *find(const struct eval_cmd *cmd, const struct result_series *s,
                                      size_t *out_index) {
    for (size_t i = 0; i < cmd->series_count; i++) {
        const struct series_line *e = &cmd->series[i];
        *out_index = i;
        if (label_list_cmp(e->labels, e->labels_count, s->labels, s->labels_count) == 0) return e;
    }
    return NULL;
}

static bool missing(const struct eval_cmd *cmd, const struct result *r, struct buf *why) {
    for (size_t i = 0; i < cmd->series_count; i++) {
        const struct series_line *e = &cmd->series[i];
        bool found = false;
        for (size_t k = 0; k < r->series_count && !found; k++)
            found = label_list_cmp(e->labels, e->labels_count, r->series[k].labels,
                                   r->series[k].labels_count) == 0;
        if (!found) return !differs(why, "missing", e->labels, e->labels_count);
    }
    return false;
}

static bool repeated(const struct result *r, struct buf *why) {
    for (size_t i = 0; i < r->series_count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct result_series *a = &r->series[i], *b = &r->series[k];
            if (label_list_cmp(a->labels, a->labels_count, b->labels, b->labels_count) == 0)
                return !differs(why, "twice in the result", a->labels, a->labels_count);
        }
    return false;
}

static bool compare_vector(const struct eval_cmd *cmd, const struct result *r, struct buf *why) {
    for (size_t i = 0; i < r->series_count; i++) {
        const struct result_series *s = &r->series[i];
        size_t index;
        const struct series_line *e = find(cmd, s, &index);
        if (e == NULL) return differs(why, "unexpected", s->labels, s->labels_count);
        if (cmd->ordered && index != i)
            return differs(why, "in another place", s->labels, s->labels_count);
        if (s->points_count != 1 || s->points[0].histogram != NULL ||
            e->items[0].kind != ITEM_FLOAT)
            return differs(why, "not one float", s->labels, s->labels_count);
        if (!test_values_equal(e->items[0].value, s->points[0].value)) {
            value_differs(why, e->items[0].value, s->points[0].value);
            return differs(why, "in", s->labels, s->labels_count);
        }
    }
    return !missing(cmd, r, why);
}

/* The times of a range query's points, or those that the eval names. */
struct times {
    int64_t start_ms, end_ms, step_ms;
};

static bool compare_points(const struct times *t, const struct series_line *e,
                           const struct result_series *s, struct buf *why) {
    size_t k = 0;
    for (size_t i = 0; i < e->items_count; i++) {
        int64_t time_ms = t->start_ms + (int64_t)i * t->step_ms;
        if (time_ms > t->end_ms)
            return differs(why, "more values than steps for", e->labels, e->labels_count);
        if (e->items[i].kind != ITEM_FLOAT) continue;
        if (k == s->points_count || s->points[k].time_ms != time_ms ||
            s->points[k].histogram != NULL) {
            buf_printf(why, "    no point at %lld ms, or one where none was expected\n",
                       (long long)time_ms);
            return differs(why, "in", s->labels, s->labels_count);
        }
        if (!test_values_equal(e->items[i].value, s->points[k].value)) {
            buf_printf(why, "    at %lld ms:\n", (long long)time_ms);
            value_differs(why, e->items[i].value, s->points[k].value);
            return differs(why, "in", s->labels, s->labels_count);
        }
        k++;
    }
    if (k == s->points_count) return true;
    return differs(why, "more points than expected in", s->labels, s->labels_count);
}

static bool compare_matrix(const struct eval_cmd *cmd, const struct result *r, struct buf *why) {
    struct times t = {cmd->start_ms, cmd->end_ms, cmd->step_ms};
    if (cmd->expects_matrix)
        t = (struct times){cmd->matrix_start_ms, cmd->matrix_end_ms, cmd->matrix_step_ms};
    if (!result_is_sorted(r)) return differs(why, "series are not in the order of labels", NULL, 0);
    for (size_t i = 0; i < r->series_count; i++) {
        size_t index;
        const struct series_line *e = find(cmd, &r->series[i], &index);
        if (e == NULL)
            return differs(why, "unexpected", r->series[i].labels, r->series[i].labels_count);
        if (!compare_points(&t, e, &r->series[i], why)) return false;
    }
    return !missing(cmd, r, why);
}

static bool type_expected(const struct eval_cmd *cmd, enum value_type type) {
    if (cmd->expects_scalar) return type == VALUE_SCALAR;
    if (cmd->expects_string) return type == VALUE_STRING;
    if (cmd->expects_matrix || !cmd->instant) return type == VALUE_MATRIX;
    return type == VALUE_VECTOR;
}

static bool compare_any(const struct eval_cmd *cmd, const struct result *r, struct buf *why) {
    if (!type_expected(cmd, r->type)) {
        buf_printf(why, "    the result is a %s\n", value_type_name(r->type));
        return false;
    }
    if (r->type == VALUE_SCALAR)
        return test_values_equal(cmd->scalar, r->scalar) ||
               value_differs(why, cmd->scalar, r->scalar);
    if (r->type == VALUE_STRING)
        return sv_eq(cmd->string, r->string) || differs(why, "another string", NULL, 0);
    if (repeated(r, why)) return false;
    return r->type == VALUE_MATRIX ? compare_matrix(cmd, r, why) : compare_vector(cmd, r, why);
}

bool compare_result(const struct eval_cmd *cmd, const struct result *r, struct buf *why) {
    if (compare_any(cmd, r, why)) return true;
    buf_put_sv(why, SV("    got:\n"));
    test_put_result(why, r);
    return false;
}

bool result_is_sorted(const struct result *r) {
    for (size_t i = 1; i < r->series_count; i++)
        if (label_list_cmp(r->series[i - 1].labels, r->series[i - 1].labels_count,
                           r->series[i].labels, r->series[i].labels_count) > 0)
            return false;
    return true;
}

static bool notes_differ(struct buf *why, const char *kind, const char *what, struct sv text) {
    buf_printf(why, "    %s: %s%s%.*s\n", kind, what, text.len > 0 ? ": " : "", SV_ARG(text));
    return false;
}

/* Each expectation meets an annotation, and, if there are expectations, each annotation one. */
static bool compare_kind(const struct expectations *want, char *const *got, size_t count,
                         const char *kind, struct buf *why) {
    for (size_t i = 0; i < want->count; i++) {
        bool met = false;
        for (size_t k = 0; k < count && !met; k++)
            met = expectation_holds(&want->items[i], sv_from(got[k]));
        if (!met) return notes_differ(why, kind, "expected and missing", want->items[i].text);
    }
    for (size_t k = 0; want->count > 0 && k < count; k++) {
        struct sv text = sv_from(got[k]);
        bool met = sv_ends(text, SV(" annotations omitted"));
        for (size_t i = 0; i < want->count && !met; i++)
            met = expectation_holds(&want->items[i], text);
        if (!met) return notes_differ(why, kind, "unexpected", text);
    }
    return true;
}

bool compare_notes_presence(const struct eval_cmd *cmd, const struct result *r, struct buf *why) {
    if (cmd->warns.count > 0 && r->warnings_count == 0)
        return notes_differ(why, "warning", "expected and missing", SV(""));
    if (cmd->infos.count > 0 && r->infos_count == 0)
        return notes_differ(why, "info", "expected and missing", SV(""));
    if (cmd->no_warn && r->warnings_count > 0)
        return notes_differ(why, "warning", "unexpected", sv_from(r->warnings[0]));
    if (cmd->no_info && r->infos_count > 0)
        return notes_differ(why, "info", "unexpected", sv_from(r->infos[0]));
    return true;
}

static bool notes_as_expected(const struct eval_cmd *cmd, const struct result *r, struct buf *why) {
    return compare_notes_presence(cmd, r, why) &&
           compare_kind(&cmd->warns, r->warnings, r->warnings_count, "warning", why) &&
           compare_kind(&cmd->infos, r->infos, r->infos_count, "info", why);
}

bool compare_notes(const struct eval_cmd *cmd, const struct result *r, struct buf *why) {
    if (notes_as_expected(cmd, r, why)) return true;
    for (size_t i = 0; i < r->warnings_count; i++)
        buf_printf(why, "    got %s\n", r->warnings[i]);
    for (size_t i = 0; i < r->infos_count; i++)
        buf_printf(why, "    got %s\n", r->infos[i]);
    return false;
}
