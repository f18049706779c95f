/* SPDX-License-Identifier: Apache-2.0 */
#include "query/promql/printer.h"

#include <math.h>
#include <stdlib.h>

#include "node/base/duration.h"
#include "node/base/json.h"
#include "node/base/num.h"
#include "query/promql/functions.h"

enum { PRETTY_LINE_BYTES = 100 };

static void put_str(struct buf *out, const char *s) {
    buf_put_sv(out, sv_from(s));
}

/* -- parts */

static bool is_plain_name(struct sv s) {
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(i > 0 && c >= '0' && c <= '9')) return false;
    }
    return s.len > 0;
}

static void put_label_name(struct buf *out, struct sv name) {
    if (is_plain_name(name))
        buf_put_sv(out, name);
    else
        go_put_quoted(out, name);
}

static void put_labels(struct buf *out, const struct label_list *labels) {
    buf_put_char(out, '(');
    for (size_t i = 0; i < labels->count; i++) {
        if (i > 0) put_str(out, ", ");
        put_label_name(out, labels->names[i]);
    }
    buf_put_char(out, ')');
}

void promql_print_matcher(const struct matcher *m, struct buf *out) {
    put_label_name(out, m->name);
    put_str(out, match_kind_text[m->kind]);
    go_put_quoted(out, m->value);
}

static void put_duration_ms(struct buf *out, int64_t ms) {
    if (ms < 0) buf_put_char(out, '-');
    duration_put(out, ms == INT64_MIN ? INT64_MAX : ms < 0 ? -ms : ms);
}

static void put_number(struct buf *out, double value, bool is_duration) {
    if (is_duration)
        put_duration_ms(out, (int64_t)(value * 1e9) / 1000000);
    else
        num_put_f64(out, value, 'f');
}

void promql_print_duration(const struct duration_expr *d, struct buf *out) {
    if (out->failed) return;
    if (d->wrapped) buf_put_char(out, '(');
    switch (d->kind) {
    case DUR_NUMBER: put_number(out, d->seconds, d->literal_is_duration); break;
    case DUR_STEP: put_str(out, "step()"); break;
    case DUR_RANGE: put_str(out, "range()"); break;
    case DUR_NEG:
        buf_put_char(out, '-');
        promql_print_duration(d->rhs, out);
        break;
    case DUR_POS: promql_print_duration(d->rhs, out); break;
    case DUR_BINARY:
        promql_print_duration(d->lhs, out);
        buf_printf(out, " %s ", binary_op_text(d->op));
        promql_print_duration(d->rhs, out);
        break;
    case DUR_MIN_OF:
    case DUR_MAX_OF:
        put_str(out, d->kind == DUR_MIN_OF ? "min_of(" : "max_of(");
        promql_print_duration(d->lhs, out);
        put_str(out, ", ");
        promql_print_duration(d->rhs, out);
        buf_put_char(out, ')');
        break;
    }
    if (d->wrapped) buf_put_char(out, ')');
}

static void put_at(struct buf *out, const struct time_shift *shift) {
    switch (shift->at) {
    case AT_NONE: break;
    case AT_TIMESTAMP: buf_printf(out, " @ %.3f", (double)shift->at_ms / 1000.0); break;
    case AT_START: put_str(out, " @ start()"); break;
    case AT_END: put_str(out, " @ end()"); break;
    }
}

static void put_offset(struct buf *out, const struct time_shift *shift) {
    if (shift->offset_expr == NULL && shift->offset_ms == 0) return;
    put_str(out, " offset ");
    if (shift->offset_expr != NULL)
        promql_print_duration(shift->offset_expr, out);
    else
        put_duration_ms(out, shift->offset_ms);
}

static void put_range_modifier(struct buf *out, enum range_modifier modifier) {
    if (modifier == RANGE_ANCHORED) put_str(out, " anchored");
    if (modifier == RANGE_SMOOTHED) put_str(out, " smoothed");
}

static int matcher_text_compare(const void *a, const void *b) {
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

static bool is_name_matcher(const struct matcher *m, const struct selector *s) {
    return m->kind == MATCH_EQ && s->name.len > 0 && sv_eq(m->name, SV("__name__")) &&
           sv_eq(m->value, s->name);
}

/* Matchers are sorted by their text. */
static void put_matchers(struct buf *out, const struct selector *s) {
    AUTO(buf_fini) struct buf texts = {0};
    size_t count = 0;
    struct sv *sorted = calloc(s->matchers_count + 1, sizeof(*sorted));
    size_t *ends = calloc(s->matchers_count + 1, sizeof(*ends));
    for (size_t i = 0; i < s->matchers_count && sorted != NULL && ends != NULL; i++) {
        if (is_name_matcher(&s->matchers[i], s)) continue;
        promql_print_matcher(&s->matchers[i], &texts);
        ends[count++] = texts.len;
    }
    out->failed |= sorted == NULL || ends == NULL || texts.failed;
    if (count > 0 && !out->failed) {
        for (size_t i = 0; i < count; i++) {
            size_t start = i == 0 ? 0 : ends[i - 1];
            sorted[i] = (struct sv){texts.ptr + start, ends[i] - start};
        }
        qsort(sorted, count, sizeof(*sorted), matcher_text_compare);
        for (size_t i = 0; i < count; i++) {
            buf_put_char(out, i == 0 ? '{' : ',');
            buf_put_sv(out, sorted[i]);
        }
        buf_put_char(out, '}');
    }
    free(ends);
    free(sorted);
}

static void put_selector(struct buf *out, const struct selector *s) {
    buf_put_sv(out, s->name);
    put_matchers(out, s);
    /* only info() takes it; Prometheus prints nothing here, which no longer parses */
    if (s->matchers_count == 0) buf_put_sv(out, SV("{}"));
    put_at(out, &s->shift);
    put_range_modifier(out, s->modifier);
    put_offset(out, &s->shift);
}

static void put_duration_or_ms(struct buf *out, const struct duration_expr *d, int64_t ms) {
    if (d != NULL)
        promql_print_duration(d, out);
    else
        put_duration_ms(out, ms);
}

static void put_matrix(struct buf *out, const struct expr *e) {
    const struct selector *s = &e->children[0]->u.selector;
    buf_put_sv(out, s->name);
    put_matchers(out, s);
    buf_put_char(out, '[');
    put_duration_or_ms(out, e->u.range.range_expr, e->u.range.range_ms);
    buf_put_char(out, ']');
    put_range_modifier(out, s->modifier);
    put_at(out, &s->shift);
    put_offset(out, &s->shift);
}

static void put_subquery_suffix(struct buf *out, const struct range *r) {
    buf_put_char(out, '[');
    put_duration_or_ms(out, r->range_expr, r->range_ms);
    buf_put_char(out, ':');
    if (r->step_expr != NULL || r->step_ms != 0) put_duration_or_ms(out, r->step_expr, r->step_ms);
    buf_put_char(out, ']');
    put_at(out, &r->shift);
    put_offset(out, &r->shift);
}

/* "sum by (a) " */
static void put_aggregate_head(struct buf *out, const struct aggregate *a) {
    put_str(out, aggregate_op_text(a->op));
    if (!a->without && a->grouping.count == 0) return;
    put_str(out, a->without ? " without " : " by ");
    put_labels(out, &a->grouping);
    buf_put_char(out, ' ');
}

static void put_fill(struct buf *out, const char *word, double value) {
    buf_printf(out, " %s (", word);
    num_put_f64(out, value, 'g');
    buf_put_char(out, ')');
}

/* "+ bool on (a) group_left (b) fill (0)" */
static void put_operator(struct buf *out, const struct binary *b) {
    put_str(out, binary_op_text(b->op));
    if (b->return_bool) put_str(out, " bool");
    if (!b->matching_set) return;
    bool grouped = b->card == CARD_MANY_TO_ONE || b->card == CARD_ONE_TO_MANY;
    if (b->labels.count > 0 || b->on || grouped) {
        put_str(out, b->on ? " on " : " ignoring ");
        put_labels(out, &b->labels);
    }
    if (grouped) {
        put_str(out, b->card == CARD_MANY_TO_ONE ? " group_left " : " group_right ");
        put_labels(out, &b->include);
    }
    if (b->fill_left.set && b->fill_right.set && b->fill_left.value == b->fill_right.value) {
        put_fill(out, "fill", b->fill_left.value);
        return;
    }
    if (b->fill_left.set) put_fill(out, "fill_left", b->fill_left.value);
    if (b->fill_right.set) put_fill(out, "fill_right", b->fill_right.value);
}

/* -- one line */

static void put_arguments(struct buf *out, const struct expr *e) {
    buf_put_char(out, '(');
    for (size_t i = 0; i < e->children_count; i++) {
        if (i > 0) put_str(out, ", ");
        promql_print(e->children[i], out);
    }
    buf_put_char(out, ')');
}

void promql_print(const struct expr *e, struct buf *out) {
    if (out->failed) return;
    switch (e->kind) {
    case EXPR_NUMBER: put_number(out, e->u.number_value, e->number_is_duration); break;
    case EXPR_STRING: go_put_quoted(out, e->u.string); break;
    case EXPR_PAREN: put_arguments(out, e); break;
    case EXPR_UNARY:
        buf_put_char(out, e->u.unary_minus ? '-' : '+');
        promql_print(e->children[0], out);
        break;
    case EXPR_BINARY:
        promql_print(e->children[0], out);
        buf_put_char(out, ' ');
        put_operator(out, &e->u.binary);
        buf_put_char(out, ' ');
        promql_print(e->children[1], out);
        break;
    case EXPR_AGGREGATE:
        put_aggregate_head(out, &e->u.aggregate);
        buf_put_char(out, '(');
        if (e->children_count > 1) {
            promql_print(e->children[1], out);
            put_str(out, ", ");
        }
        promql_print(e->children[0], out);
        buf_put_char(out, ')');
        break;
    case EXPR_CALL:
        put_str(out, e->u.function->name);
        put_arguments(out, e);
        break;
    case EXPR_SELECTOR: put_selector(out, &e->u.selector); break;
    case EXPR_MATRIX: put_matrix(out, e); break;
    case EXPR_SUBQUERY:
        promql_print(e->children[0], out);
        put_subquery_suffix(out, &e->u.range);
        break;
    case EXPR_STEP_INVARIANT: promql_print(e->children[0], out); break;
    }
}

/* -- many lines */

static void put_indent(struct buf *out, unsigned level) {
    for (unsigned i = 0; i < level; i++)
        put_str(out, "  ");
}

/* Only as much is printed as it takes to know, so a deep tree costs no square of its text. */
static bool needs_split(const struct expr *e) {
    struct buf line = {.limit_bytes = PRETTY_LINE_BYTES};
    promql_print(e, &line);
    bool split =
        line.failed || line.len > PRETTY_LINE_BYTES; /* the limit is only as fine as growth */
    buf_fini(&line);
    return split;
}

static void pretty(const struct expr *e, unsigned level, struct buf *out);

static void pretty_split_binary(const struct expr *e, unsigned level, struct buf *out) {
    pretty(e->children[0], level + 1, out);
    buf_put_char(out, '\n');
    put_indent(out, level);
    put_operator(out, &e->u.binary);
    buf_put_char(out, '\n');
    pretty(e->children[1], level + 1, out);
}

/* "head(", one child a line, ")" */
static void pretty_split_list(const struct expr *e, unsigned level, struct buf *out) {
    put_indent(out, level);
    if (e->kind == EXPR_AGGREGATE) put_aggregate_head(out, &e->u.aggregate);
    if (e->kind == EXPR_CALL) put_str(out, e->u.function->name);
    put_str(out, "(\n");
    for (size_t i = 0; i < e->children_count; i++) {
        size_t child = e->kind == EXPR_AGGREGATE ? e->children_count - 1 - i : i;
        if (i > 0) put_str(out, ",\n");
        pretty(e->children[child], level + 1, out);
    }
    buf_put_char(out, '\n');
    put_indent(out, level);
    buf_put_char(out, ')');
}

static void pretty(const struct expr *e, unsigned level, struct buf *out) {
    if (out->failed) return;
    switch (e->kind) {
    case EXPR_STEP_INVARIANT: pretty(e->children[0], level, out); return;
    case EXPR_UNARY: {
        AUTO(buf_fini) struct buf child = {.limit_bytes = out->limit_bytes};
        pretty(e->children[0], level, &child);
        out->failed |= child.failed;
        put_indent(out, level);
        buf_put_char(out, e->u.unary_minus ? '-' : '+');
        buf_put_sv(out, sv_trim(buf_sv(&child)));
        return;
    }
    case EXPR_SUBQUERY: /* on one line it is not indented, in Prometheus neither */
        if (!needs_split(e)) {
            promql_print(e, out);
            return;
        }
        pretty(e->children[0], level, out);
        put_subquery_suffix(out, &e->u.range);
        return;
    case EXPR_BINARY:
    case EXPR_AGGREGATE:
    case EXPR_CALL:
    case EXPR_PAREN:
        if (!needs_split(e)) break;
        if (e->kind == EXPR_BINARY)
            pretty_split_binary(e, level, out);
        else
            pretty_split_list(e, level, out);
        return;
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_SELECTOR:
    case EXPR_MATRIX: break;
    }
    put_indent(out, level);
    promql_print(e, out);
}

void promql_pretty(const struct expr *expr, struct buf *out) {
    pretty(expr, 0, out);
}
