/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/query/engine/gen_query.h"

#include <assert.h>
#include <string.h>

#include "node/base/attr.h"
#include "node/base/rng.h"
#include "query/promql/functions.h"

struct gen {
    struct rng rng;
    const struct gen_options *options;
    struct buf *out;
    unsigned depth;
};

const char *const gen_metrics[] = {
    "c", "g", "edge", "wide", "h_bucket", "h_count", "h_sum", "target_info", "caf\xc3\xa9 temp"};
const unsigned gen_metrics_count = ARRAY_LEN(gen_metrics);

/* Label names as they stand in by(), on() and the like. */
static const char *const label_names[] = {
    "job",     "instance", "le",  "zone",   "\"na\xc3\xafve label\"",
    "missing", "__name__", "sum", "offset", "by"};
static const char *const numbers[] = {
    "0",   "1",   "2",    "3",    "-1", "0.5",   "0.9",      "1e3", "100",  "-0",  "0x1f",  "1_000",
    "NaN", "Inf", "-Inf", "+Inf", "5m", "1e308", "4.9e-324", ".5",  "1e-9", "077", "1h30m",
};
static const char *const durations[] = {"1m",    "90s",     "2m", "5m", "10m",  "300",
                                        "1m30s", "61500ms", "7m", "1s", "0x78", "20m"};
static const char *const durations_heavy[] = {"1h", "6h", "1d", "12h", "1w", "1y", "300"};
static const char *const steps[] = {"30s", "1m", "45", "2m30s", "5m", "17s"};
static const char *const steps_heavy[] = {"1ms", "1s", "100ms", "10s", "1m"};
static const char *const strings[] = {
    "\"\"",           "'job'",         "\"x\"",        "`\\d`",        "\"(.*)\"",
    "\"$1-$2\"",      "'zone'",        "\"${1}\"",     "\"instance\"", "\"__name__\"",
    "\"caf\\u00e9\"", "\"(a|b)(.*)\"", "\"\\x41\\n\"", "'it\\'s'",     "\"na\xc3\xafve label\"",
    "\"[\"",
};

#define PICK(g, list) ((list)[rng_below(&(g)->rng, ARRAY_LEN(list))])

static void put(struct gen *g, const char *text) {
    buf_put_sv(g->out, sv_from(text));
}

static bool chance(struct gen *g, double p) {
    return rng_chance(&g->rng, p) != 0;
}

/* Blanks and comments may stand between any two tokens. */
static void put_gap(struct gen *g) {
    double r = rng_unit(&g->rng);
    put(g, r < 0.9 ? " " : r < 0.95 ? "\n\t" : r < 0.98 ? "  " : " # note\n");
}

static void gen_scalar(struct gen *g);
static void gen_vector(struct gen *g);
static void gen_matrix(struct gen *g);

static void gen_typed(struct gen *g, enum value_type type) {
    if (chance(g, g->options->wild)) type = (enum value_type)(VALUE_SCALAR + rng_below(&g->rng, 4));
    switch (type) {
    case VALUE_SCALAR: gen_scalar(g); return;
    case VALUE_MATRIX: gen_matrix(g); return;
    case VALUE_STRING: put(g, PICK(g, strings)); return;
    case VALUE_NONE:
    case VALUE_VECTOR: gen_vector(g); return;
    }
}

static bool at_bottom(const struct gen *g) {
    return g->depth >= g->options->depth_max;
}

static void gen_labels(struct gen *g) {
    size_t n = rng_below(&g->rng, 4);
    put(g, "(");
    for (size_t i = 0; i < n; i++) {
        if (i > 0) put(g, ", ");
        put(g, PICK(g, label_names));
    }
    put(g, ")");
}

/* -- durations */

static void gen_duration_expr(struct gen *g, unsigned depth) {
    static const char *const ops[] = {" + ", " - ", " * ", " / ", " % ", " ^ "};
    bool grid = !g->options->same_at_any_grid;
    switch (depth == 0 ? 0 : rng_below(&g->rng, 7)) {
    case 0:
    case 1: put(g, PICK(g, durations)); return;
    case 2: put(g, grid ? (chance(g, 0.5) ? "step()" : "range()") : "2m"); return;
    case 3: put(g, chance(g, 0.5) ? "min_of(" : "max_of("); break;
    case 4:
        put(g, chance(g, 0.8) ? "+" : "-");
        gen_duration_expr(g, depth - 1);
        return;
    default:
        put(g, "(");
        gen_duration_expr(g, depth - 1);
        put(g, PICK(g, ops));
        gen_duration_expr(g, depth - 1);
        put(g, ")");
        return;
    }
    gen_duration_expr(g, depth - 1);
    put(g, ", ");
    gen_duration_expr(g, depth - 1);
    put(g, ")");
}

static void gen_duration(struct gen *g) {
    if (g->options->heavy && chance(g, 0.5))
        put(g, PICK(g, durations_heavy));
    else if (chance(g, 0.8))
        put(g, PICK(g, durations));
    else
        gen_duration_expr(g, 2);
}

static void gen_shift(struct gen *g) {
    bool at = chance(g, 0.15), offset = chance(g, 0.2), at_first = chance(g, 0.5);
    for (int i = 0; i < 2; i++) {
        if (at && (i == 0) == at_first) {
            double r = g->options->same_at_any_grid ? 0 : rng_unit(&g->rng);
            put(g, " @ ");
            if (r < 0.5)
                buf_printf(g->out, "%llu.%u", (unsigned long long)rng_below(&g->rng, 4000),
                           (unsigned)rng_below(&g->rng, 10));
            else
                put(g, r < 0.75 ? "start()" : "end()");
        }
        if (offset && (i == 0) != at_first) {
            put(g, chance(g, 0.7) ? " offset " : " offset -");
            if (chance(g, 0.8))
                put(g, PICK(g, durations));
            else
                gen_duration_expr(g, 0);
        }
    }
}

/* -- selectors */

static void gen_matcher(struct gen *g) {
    static const char *const values[] = {
        "job=\"a\"",
        "job!=\"a\"",
        "job=~\"a|b\"",
        "zone!~\"z[01]\"",
        "instance=~\"i1.*\"",
        "instance=~\".+\"",
        "missing=\"\"",
        "missing!~\".+\"",
        "\"na\xc3\xafve label\"!=\"\"",
        "instance!~\".*3\"",
        "zone=~\"z0|z1\"",
        "le=~\"[0-9.]+\"",
        "job=~\"(a+)+\"",
        "instance=~\"i(1|2)\\\\d?\"",
    };
    put(g, PICK(g, values));
}

static void gen_selector(struct gen *g) {
    const char *metric = gen_metrics[rng_below(&g->rng, gen_metrics_count)];
    bool quoted = strchr(metric, ' ') != NULL || chance(g, 0.1);
    bool regex = chance(g, 0.1), braces = quoted || regex || chance(g, 0.5);
    if (!quoted && !regex) put(g, metric);
    if (!braces) return;
    put(g, "{");
    if (regex)
        put(g, chance(g, 0.5) ? "__name__=~\"c|g|edge\"" : "__name__=~\"h_.*|g\"");
    else if (quoted)
        buf_printf(g->out, "\"%s\"", metric);
    size_t n = rng_below(&g->rng, 3);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 || quoted || regex) put(g, ", ");
        gen_matcher(g);
    }
    if (n > 0 && chance(g, 0.1)) put(g, ",");
    put(g, "}");
}

static void gen_subquery(struct gen *g) {
    g->depth++;
    put(g, "(");
    gen_typed(g, VALUE_VECTOR);
    put(g, ")[");
    gen_duration(g);
    put(g, ":");
    if (g->options->heavy)
        put(g, PICK(g, steps_heavy));
    else if (chance(g, 0.8))
        put(g, PICK(g, steps));
    put(g, "]");
    g->depth--;
}

static void gen_range(struct gen *g, bool anchored_ok, bool smoothed_ok) {
    if (!at_bottom(g) && chance(g, 0.35)) {
        gen_subquery(g);
        gen_shift(g);
        return;
    }
    gen_selector(g);
    put(g, "[");
    gen_duration(g);
    put(g, "]");
    bool any = chance(g, 0.02);
    if ((anchored_ok || any) && chance(g, 0.3))
        put(g, " anchored");
    else if ((smoothed_ok || any) && chance(g, 0.3))
        put(g, " smoothed");
    gen_shift(g);
}

static void gen_matrix(struct gen *g) {
    gen_range(g, false, false);
}

/* -- calls */

static void gen_arg(struct gen *g, const struct function_def *def, size_t i) {
    static const char *const quantiles[] = {"0.5", "0.9", "0", "1", "-1", "2", "NaN"};
    static const char *const names[] = {"\"x\"", "\"job\"", "'zone'", "\"__name__\"", "\"y\""};
    enum value_type type = def->args[MIN(i, (size_t)def->args_count - 1)];
    bool to_label = def->id == FN_LABEL_REPLACE || def->id == FN_LABEL_JOIN;
    if (type == VALUE_MATRIX && !chance(g, g->options->wild))
        gen_range(g, def->anchored_ok, def->smoothed_ok);
    else if (def->id == FN_INFO && i == 1)
        put(g, chance(g, 0.5) ? "{version=~\".+\"}" : "{__name__=\"target_info\", missing=\"\"}");
    else if (type == VALUE_SCALAR && chance(g, 0.4))
        put(g, PICK(g, quantiles));
    else if (to_label && type == VALUE_STRING && i != 2 && i != 4 && chance(g, 0.8))
        put(g, PICK(g, names));
    else
        gen_typed(g, type);
}

static void gen_call(struct gen *g, const struct function_def *def) {
    size_t count = def->args_count;
    if (def->variadic > 0)
        count = count - 1 + rng_below(&g->rng, (uint64_t)def->variadic + 1);
    else if (def->variadic < 0)
        count = count - 1 + rng_below(&g->rng, 4);
    if (chance(g, g->options->wild)) count = rng_below(&g->rng, 5);
    if (def->args_count == 0) count = 0;
    put(g, def->name);
    put(g, "(");
    g->depth++;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) put(g, ",");
        if (i > 0) put_gap(g);
        gen_arg(g, def, i);
    }
    g->depth--;
    put(g, ")");
}

static bool call_is_allowed(const struct gen *g, enum function_id id) {
    bool grid = id == FN_START || id == FN_END || id == FN_RANGE || id == FN_STEP;
    return !(grid && g->options->same_at_any_grid);
}

static void gen_call_of(struct gen *g, enum value_type type) {
    for (;;) {
        const struct function_def *def = &functions[rng_below(&g->rng, FN_COUNT)];
        if (def->returns != type || !call_is_allowed(g, def->id)) continue;
        gen_call(g, def);
        return;
    }
}

/* -- operators */

static void gen_fill(struct gen *g) {
    static const char *const fills[] = {" fill(0)", " fill_left(1)", " fill_right(-1)",
                                        " fill_left(1) fill_right(NaN)", " fill(1e3)"};
    if (chance(g, 0.1)) put(g, PICK(g, fills));
}

static void gen_matching(struct gen *g, bool set) {
    if (chance(g, 0.35)) return;
    put(g, chance(g, 0.5) ? " on" : " ignoring");
    gen_labels(g);
    if (set) return;
    if (chance(g, 0.5)) {
        put(g, chance(g, 0.5) ? " group_left" : " group_right");
        if (chance(g, 0.7)) put(g, chance(g, 0.5) ? "(zone)" : "()");
    }
}

static void gen_binary(struct gen *g, enum value_type lhs, enum value_type rhs) {
    bool vectors = lhs == VALUE_VECTOR && rhs == VALUE_VECTOR;
    enum binary_op op;
    do
        op = (enum binary_op)rng_below(&g->rng, OP_COUNT);
    while (!vectors && binary_op_is_set(op) && !chance(g, g->options->wild));
    bool scalars = lhs == VALUE_SCALAR && rhs == VALUE_SCALAR;
    g->depth++;
    put(g, "(");
    gen_typed(g, lhs);
    put_gap(g);
    put(g, binary_op_text(op));
    if (binary_op_is_comparison(op) && (scalars || chance(g, 0.3))) put(g, " bool");
    if (vectors) gen_matching(g, binary_op_is_set(op));
    if (vectors && !binary_op_is_set(op)) gen_fill(g);
    put_gap(g);
    gen_typed(g, rhs);
    put(g, ")");
    g->depth--;
}

static void gen_aggregate_param(struct gen *g, enum aggregate_op op) {
    static const char *const counts[] = {"1", "2", "3", "0", "-1", "1000", "NaN", "1e19"};
    static const char *const ratios[] = {"0.5", "-0.5", "1", "0", "0.1", "NaN", "7"};
    static const char *const labels[] = {"\"v\"", "\"job\"", "\"a b\"", "\"\""};
    if (op == AGG_COUNT_VALUES)
        put(g, PICK(g, labels));
    else if (!at_bottom(g) && chance(g, 0.2))
        gen_typed(g, VALUE_SCALAR);
    else if (op == AGG_QUANTILE || op == AGG_LIMIT_RATIO)
        put(g, PICK(g, ratios));
    else
        put(g, PICK(g, counts));
}

static void gen_grouping(struct gen *g) {
    put(g, chance(g, 0.7) ? " by " : " without ");
    gen_labels(g);
}

static void gen_aggregate(struct gen *g) {
    enum aggregate_op op = (enum aggregate_op)rng_below(&g->rng, AGG_OP_COUNT);
    bool param = op == AGG_TOPK || op == AGG_BOTTOMK || op == AGG_COUNT_VALUES ||
                 op == AGG_QUANTILE || op == AGG_LIMITK || op == AGG_LIMIT_RATIO;
    bool grouping = chance(g, 0.6), before = chance(g, 0.5);
    put(g, aggregate_op_text(op));
    if (grouping && before) gen_grouping(g);
    put(g, "(");
    g->depth++;
    if (param) gen_aggregate_param(g, op);
    if (param) put(g, ", ");
    gen_typed(g, VALUE_VECTOR);
    g->depth--;
    put(g, ")");
    if (grouping && !before) gen_grouping(g);
}

/* -- by type */

static void gen_scalar(struct gen *g) {
    if (at_bottom(g)) {
        put(g, PICK(g, numbers));
        return;
    }
    g->depth++;
    switch (rng_below(&g->rng, 6)) {
    case 0: gen_call_of(g, VALUE_SCALAR); break;
    case 1: gen_binary(g, VALUE_SCALAR, VALUE_SCALAR); break;
    case 2:
        put(g, chance(g, 0.5) ? "-(" : "+(");
        gen_scalar(g);
        put(g, ")");
        break;
    default: put(g, PICK(g, numbers)); break;
    }
    g->depth--;
}

static void gen_vector(struct gen *g) {
    if (at_bottom(g)) {
        gen_selector(g);
        gen_shift(g);
        return;
    }
    g->depth++;
    switch (rng_below(&g->rng, 16)) {
    case 0:
    case 1: gen_binary(g, VALUE_VECTOR, VALUE_VECTOR); break;
    case 2: gen_binary(g, VALUE_VECTOR, VALUE_SCALAR); break;
    case 3: gen_binary(g, VALUE_SCALAR, VALUE_VECTOR); break;
    case 4:
    case 5:
    case 6: gen_aggregate(g); break;
    case 7:
        put(g, chance(g, 0.5) ? "-(" : "(");
        gen_vector(g);
        put(g, ")");
        break;
    case 8:
        gen_selector(g);
        gen_shift(g);
        break;
    default: gen_call_of(g, VALUE_VECTOR); break;
    }
    g->depth--;
}

enum value_type gen_query(uint64_t seed, const struct gen_options *options, struct buf *out) {
    struct gen g = {.options = options, .out = out};
    enum value_type type = VALUE_VECTOR;
    rng_init(&g.rng, seed);
    double r = rng_unit(&g.rng);
    if (r < 0.05) type = VALUE_SCALAR;
    if (r > 0.95 && options->instant) type = r > 0.97 ? VALUE_MATRIX : VALUE_STRING;
    gen_typed(&g, type);
    return type;
}

void gen_damage(uint64_t seed, struct sv text, struct buf *out) {
    static const char bytes[] = "(){}[],:;@#\"'`\\+-*/%^=!<>~$.0129eExXmsyabNI_ \n\xc3\xa9\xff";
    struct rng rng;
    rng_init(&rng, seed);
    unsigned hits = 1 + (unsigned)rng_below(&rng, 3);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (hits == 0 || rng_below(&rng, text.len) >= 2) {
            buf_put_char(out, c);
            continue;
        }
        hits--;
        uint64_t how = rng_below(&rng, 4);
        if (how == 0) continue;
        if (how == 1) buf_put_char(out, c);
        buf_put_char(out, how == 1 ? c : bytes[rng_below(&rng, sizeof bytes - 1)]);
        if (how == 2) buf_put_char(out, c);
    }
}
