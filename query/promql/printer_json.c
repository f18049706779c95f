/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON is written by hand and not through struct json, whose depth is limited: a tree may be
 * EXPR_HEIGHT_MAX high. */
#include "node/base/json.h"
#include "node/base/num.h"
#include "query/promql/functions.h"
#include "query/promql/printer.h"

static void put_str(struct buf *out, const char *s) {
    buf_put_sv(out, sv_from(s));
}

static void put_bool(struct buf *out, bool b) {
    put_str(out, b ? "true" : "false");
}

static void put_node(struct buf *out, const struct expr *e) {
    if (e == NULL)
        put_str(out, "null");
    else
        promql_put_json(e, out);
}

static void put_number_text(struct buf *out, double value) {
    buf_put_char(out, '"');
    num_put_f64(out, value, 'f');
    buf_put_char(out, '"');
}

static void put_duration(struct buf *out, const struct duration_expr *d) {
    static const char *const ops[] = {
        [DUR_STEP] = "step", [DUR_RANGE] = "range",   [DUR_POS] = "+",
        [DUR_NEG] = "-",     [DUR_MIN_OF] = "min_of", [DUR_MAX_OF] = "max_of",
    };
    if (d == NULL) {
        put_str(out, "null");
        return;
    }
    if (d->kind == DUR_NUMBER) {
        put_str(out, "{\"duration\":");
        put_bool(out, d->literal_is_duration);
        put_str(out, ",\"type\":\"numberLiteral\",\"val\":");
        put_number_text(out, d->seconds);
        buf_put_char(out, '}');
        return;
    }
    put_str(out, "{\"lhs\":");
    put_duration(out, d->lhs);
    put_str(out, ",\"op\":\"");
    put_str(out, d->kind == DUR_BINARY ? binary_op_text(d->op) : ops[d->kind]);
    put_str(out, "\",\"rhs\":");
    put_duration(out, d->rhs);
    put_str(out, ",\"type\":\"durationExpr\",\"wrapped\":");
    put_bool(out, d->wrapped);
    buf_put_char(out, '}');
}

static void put_strings(struct buf *out, const struct label_list *labels) {
    buf_put_char(out, '[');
    for (size_t i = 0; i < labels->count; i++) {
        if (i > 0) buf_put_char(out, ',');
        json_put_string(out, labels->names[i]);
    }
    buf_put_char(out, ']');
}

static void put_matchers(struct buf *out, const struct selector *s) {
    buf_put_char(out, '[');
    for (size_t i = 0; i < s->matchers_count; i++) {
        const struct matcher *m = &s->matchers[i];
        put_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_put_string(out, m->name);
        buf_printf(out, ",\"type\":\"%s\",\"value\":", match_kind_text[m->kind]);
        json_put_string(out, m->value);
        buf_put_char(out, '}');
    }
    buf_put_char(out, ']');
}

static void put_offset(struct buf *out, const struct time_shift *shift) {
    /* The value that an expression has in a prepared tree is not shown, as the text has none. */
    put_str(out, "\"offset\":");
    num_put_i64(out, shift->offset_expr != NULL ? 0 : shift->offset_ms);
    put_str(out, ",\"offsetExpr\":");
    put_duration(out, shift->offset_expr);
}

static void put_start_or_end(struct buf *out, const struct time_shift *shift) {
    put_str(out, "\"startOrEnd\":");
    put_str(out, shift->at == AT_START ? "\"start\"" : shift->at == AT_END ? "\"end\"" : "null");
}

static void put_timestamp(struct buf *out, const struct time_shift *shift) {
    put_str(out, "\"timestamp\":");
    if (shift->at == AT_TIMESTAMP)
        num_put_i64(out, shift->at_ms);
    else
        put_str(out, "null");
}

static void put_range(struct buf *out, const struct range *r) {
    put_str(out, "\"range\":");
    num_put_i64(out, r->range_expr != NULL ? 0 : r->range_ms);
    put_str(out, ",\"rangeExpr\":");
    put_duration(out, r->range_expr);
}

static void put_selector(struct buf *out, const struct selector *s, const struct range *range) {
    put_str(out, "{\"anchored\":");
    put_bool(out, s->modifier == RANGE_ANCHORED);
    put_str(out, ",\"matchers\":");
    put_matchers(out, s);
    put_str(out, ",\"name\":");
    json_put_string(out, s->name);
    buf_put_char(out, ',');
    put_offset(out, &s->shift);
    buf_put_char(out, ',');
    if (range != NULL) {
        put_range(out, range);
        buf_put_char(out, ',');
    }
    put_str(out, "\"smoothed\":");
    put_bool(out, s->modifier == RANGE_SMOOTHED);
    buf_put_char(out, ',');
    put_start_or_end(out, &s->shift);
    buf_put_char(out, ',');
    put_timestamp(out, &s->shift);
    put_str(out, range != NULL ? ",\"type\":\"matrixSelector\"}" : ",\"type\":\"vectorSelector\"}");
}

static void put_subquery(struct buf *out, const struct expr *e) {
    const struct range *r = &e->u.range;
    put_str(out, "{\"expr\":");
    put_node(out, e->children[0]);
    buf_put_char(out, ',');
    put_offset(out, &r->shift);
    buf_put_char(out, ',');
    put_range(out, r);
    buf_put_char(out, ',');
    put_start_or_end(out, &r->shift);
    put_str(out, ",\"step\":");
    num_put_i64(out, r->step_expr != NULL ? 0 : r->step_ms);
    put_str(out, ",\"stepExpr\":");
    put_duration(out, r->step_expr);
    buf_put_char(out, ',');
    put_timestamp(out, &r->shift);
    put_str(out, ",\"type\":\"subquery\"}");
}

static void put_aggregate(struct buf *out, const struct expr *e) {
    put_str(out, "{\"expr\":");
    put_node(out, e->children[0]);
    put_str(out, ",\"grouping\":");
    put_strings(out, &e->u.aggregate.grouping);
    buf_printf(out, ",\"op\":\"%s\",\"param\":", aggregate_op_text(e->u.aggregate.op));
    put_node(out, e->children_count > 1 ? e->children[1] : NULL);
    put_str(out, ",\"type\":\"aggregation\",\"without\":");
    put_bool(out, e->u.aggregate.without);
    buf_put_char(out, '}');
}

static void put_fill(struct buf *out, const struct fill *fill) {
    struct json j = json_init(out);
    if (fill->set)
        json_f64(&j, fill->value);
    else
        put_str(out, "null");
}

static void put_matching(struct buf *out, const struct binary *b) {
    static const char *const cards[] = {
        [CARD_ONE_TO_ONE] = "one-to-one",
        [CARD_MANY_TO_ONE] = "many-to-one",
        [CARD_ONE_TO_MANY] = "one-to-many",
        [CARD_MANY_TO_MANY] = "many-to-many",
    };
    if (!b->matching_set) {
        put_str(out, "null");
        return;
    }
    buf_printf(out, "{\"card\":\"%s\",\"fillValues\":{\"lhs\":", cards[b->card]);
    put_fill(out, &b->fill_left);
    put_str(out, ",\"rhs\":");
    put_fill(out, &b->fill_right);
    put_str(out, "},\"include\":");
    put_strings(out, &b->include);
    put_str(out, ",\"labels\":");
    put_strings(out, &b->labels);
    put_str(out, ",\"on\":");
    put_bool(out, b->on);
    buf_put_char(out, '}');
}

static void put_binary(struct buf *out, const struct expr *e) {
    put_str(out, "{\"bool\":");
    put_bool(out, e->u.binary.return_bool);
    put_str(out, ",\"lhs\":");
    put_node(out, e->children[0]);
    put_str(out, ",\"matching\":");
    put_matching(out, &e->u.binary);
    buf_printf(out, ",\"op\":\"%s\",\"rhs\":", binary_op_text(e->u.binary.op));
    put_node(out, e->children[1]);
    put_str(out, ",\"type\":\"binaryExpr\"}");
}

static void put_call(struct buf *out, const struct expr *e) {
    const struct function_def *def = e->u.function;
    put_str(out, "{\"args\":[");
    for (size_t i = 0; i < e->children_count; i++) {
        if (i > 0) buf_put_char(out, ',');
        put_node(out, e->children[i]);
    }
    put_str(out, "],\"func\":{\"argTypes\":[");
    for (unsigned i = 0; i < def->args_count; i++)
        buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", value_type_name(def->args[i]));
    buf_printf(out, "],\"name\":\"%s\",\"returnType\":\"%s\",\"variadic\":%d},\"type\":\"call\"}",
               def->name, value_type_name(def->returns), def->variadic);
}

void promql_put_json(const struct expr *e, struct buf *out) {
    if (out->failed) return;
    switch (e->kind) {
    case EXPR_NUMBER:
        put_str(out, "{\"type\":\"numberLiteral\",\"val\":");
        put_number_text(out, e->u.number_value);
        buf_put_char(out, '}');
        break;
    case EXPR_STRING:
        put_str(out, "{\"type\":\"stringLiteral\",\"val\":");
        json_put_string(out, e->u.string);
        buf_put_char(out, '}');
        break;
    case EXPR_PAREN:
        put_str(out, "{\"expr\":");
        put_node(out, e->children[0]);
        put_str(out, ",\"type\":\"parenExpr\"}");
        break;
    case EXPR_UNARY:
        put_str(out, "{\"expr\":");
        put_node(out, e->children[0]);
        buf_printf(out, ",\"op\":\"%c\",\"type\":\"unaryExpr\"}", e->u.unary_minus ? '-' : '+');
        break;
    case EXPR_BINARY: put_binary(out, e); break;
    case EXPR_AGGREGATE: put_aggregate(out, e); break;
    case EXPR_CALL: put_call(out, e); break;
    case EXPR_SELECTOR: put_selector(out, &e->u.selector, NULL); break;
    case EXPR_MATRIX: put_selector(out, &e->children[0]->u.selector, &e->u.range); break;
    case EXPR_SUBQUERY: put_subquery(out, e); break;
    case EXPR_STEP_INVARIANT: put_node(out, e->children[0]); break;
    }
}
