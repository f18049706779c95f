/* SPDX-License-Identifier: Apache-2.0 */
#include "query/promql/functions.h"

#include <assert.h>

#include "node/base/attr.h"

#define V VALUE_VECTOR
#define S VALUE_SCALAR
#define M VALUE_MATRIX
#define T VALUE_STRING
#define ARGS(...)                                                                                  \
    .args = {__VA_ARGS__}, .args_count = sizeof((enum value_type[]){__VA_ARGS__}) / sizeof(V)
#define NO_ARGS .args_count = 0
#define F(text, fn, type, ...) [fn] = {.name = (text), .id = (fn), .returns = (type), __VA_ARGS__}

/* clang-format off */
const struct function_def functions[] = {
    F("abs", FN_ABS, V, ARGS(V)),
    F("absent", FN_ABSENT, V, ARGS(V)),
    F("absent_over_time", FN_ABSENT_OVER_TIME, V, ARGS(M)),
    F("acos", FN_ACOS, V, ARGS(V)),
    F("acosh", FN_ACOSH, V, ARGS(V)),
    F("asin", FN_ASIN, V, ARGS(V)),
    F("asinh", FN_ASINH, V, ARGS(V)),
    F("atan", FN_ATAN, V, ARGS(V)),
    F("atanh", FN_ATANH, V, ARGS(V)),
    F("avg_over_time", FN_AVG_OVER_TIME, V, ARGS(M)),
    F("ceil", FN_CEIL, V, ARGS(V)),
    F("changes", FN_CHANGES, V, ARGS(M), .anchored_ok = true),
    F("clamp", FN_CLAMP, V, ARGS(V, S, S)),
    F("clamp_max", FN_CLAMP_MAX, V, ARGS(V, S)),
    F("clamp_min", FN_CLAMP_MIN, V, ARGS(V, S)),
    F("cos", FN_COS, V, ARGS(V)),
    F("cosh", FN_COSH, V, ARGS(V)),
    F("count_over_time", FN_COUNT_OVER_TIME, V, ARGS(M)),
    F("day_of_month", FN_DAY_OF_MONTH, V, ARGS(V), .variadic = 1, .at_unsafe = true),
    F("day_of_week", FN_DAY_OF_WEEK, V, ARGS(V), .variadic = 1, .at_unsafe = true),
    F("day_of_year", FN_DAY_OF_YEAR, V, ARGS(V), .variadic = 1, .at_unsafe = true),
    F("days_in_month", FN_DAYS_IN_MONTH, V, ARGS(V), .variadic = 1, .at_unsafe = true),
    F("deg", FN_DEG, V, ARGS(V)),
    F("delta", FN_DELTA, V, ARGS(M), .anchored_ok = true, .smoothed_ok = true),
    F("deriv", FN_DERIV, V, ARGS(M)),
    F("double_exponential_smoothing", FN_DOUBLE_EXPONENTIAL_SMOOTHING, V,
      ARGS(M, S, S), .experimental = true),
    F("end", FN_END, S, NO_ARGS, .experimental = true, .at_unsafe = true),
    F("exp", FN_EXP, V, ARGS(V)),
    F("first_over_time", FN_FIRST_OVER_TIME, V, ARGS(M)),
    F("floor", FN_FLOOR, V, ARGS(V)),
    F("histogram_avg", FN_HISTOGRAM_AVG, V, ARGS(V)),
    F("histogram_count", FN_HISTOGRAM_COUNT, V, ARGS(V)),
    F("histogram_fraction", FN_HISTOGRAM_FRACTION, V, ARGS(S, S, V)),
    F("histogram_quantile", FN_HISTOGRAM_QUANTILE, V, ARGS(S, V)),
    F("histogram_quantiles", FN_HISTOGRAM_QUANTILES, V,
      ARGS(V, T, S, S), .variadic = 9, .experimental = true),
    F("histogram_stddev", FN_HISTOGRAM_STDDEV, V, ARGS(V)),
    F("histogram_stdvar", FN_HISTOGRAM_STDVAR, V, ARGS(V)),
    F("histogram_sum", FN_HISTOGRAM_SUM, V, ARGS(V)),
    F("hour", FN_HOUR, V, ARGS(V), .variadic = 1, .at_unsafe = true),
    F("idelta", FN_IDELTA, V, ARGS(M)),
    F("increase", FN_INCREASE, V, ARGS(M), .anchored_ok = true, .smoothed_ok = true),
    F("info", FN_INFO, V, ARGS(V, V), .variadic = 1, .experimental = true),
    F("irate", FN_IRATE, V, ARGS(M)),
    F("label_join", FN_LABEL_JOIN, V, ARGS(V, T, T, T), .variadic = -1),
    F("label_replace", FN_LABEL_REPLACE, V, ARGS(V, T, T, T, T)),
    F("last_over_time", FN_LAST_OVER_TIME, V, ARGS(M)),
    F("ln", FN_LN, V, ARGS(V)),
    F("log10", FN_LOG10, V, ARGS(V)),
    F("log2", FN_LOG2, V, ARGS(V)),
    F("mad_over_time", FN_MAD_OVER_TIME, V, ARGS(M), .experimental = true),
    F("max_of", FN_MAX_OF, S, ARGS(S, S), .experimental = true),
    F("max_over_time", FN_MAX_OVER_TIME, V, ARGS(M)),
    F("min_of", FN_MIN_OF, S, ARGS(S, S), .experimental = true),
    F("min_over_time", FN_MIN_OVER_TIME, V, ARGS(M)),
    F("minute", FN_MINUTE, V, ARGS(V), .variadic = 1, .at_unsafe = true),
    F("month", FN_MONTH, V, ARGS(V), .variadic = 1, .at_unsafe = true),
    F("pi", FN_PI, S, NO_ARGS),
    F("predict_linear", FN_PREDICT_LINEAR, V, ARGS(M, S), .at_unsafe = true),
    F("present_over_time", FN_PRESENT_OVER_TIME, V, ARGS(M)),
    F("quantile_over_time", FN_QUANTILE_OVER_TIME, V, ARGS(S, M)),
    F("rad", FN_RAD, V, ARGS(V)),
    F("range", FN_RANGE, S, NO_ARGS, .experimental = true, .at_unsafe = true),
    F("rate", FN_RATE, V, ARGS(M), .anchored_ok = true, .smoothed_ok = true),
    F("resets", FN_RESETS, V, ARGS(M), .anchored_ok = true),
    F("round", FN_ROUND, V, ARGS(V, S), .variadic = 1),
    F("scalar", FN_SCALAR, S, ARGS(V)),
    F("sgn", FN_SGN, V, ARGS(V)),
    F("sin", FN_SIN, V, ARGS(V)),
    F("sinh", FN_SINH, V, ARGS(V)),
    F("sort", FN_SORT, V, ARGS(V)),
    F("sort_by_label", FN_SORT_BY_LABEL, V, ARGS(V, T), .variadic = -1, .experimental = true),
    F("sort_by_label_desc", FN_SORT_BY_LABEL_DESC, V,
      ARGS(V, T), .variadic = -1, .experimental = true),
    F("sort_desc", FN_SORT_DESC, V, ARGS(V)),
    F("sqrt", FN_SQRT, V, ARGS(V)),
    F("start", FN_START, S, NO_ARGS, .experimental = true, .at_unsafe = true),
    F("start_timestamp", FN_START_TIMESTAMP, V, ARGS(V), .experimental = true),
    F("stddev_over_time", FN_STDDEV_OVER_TIME, V, ARGS(M)),
    F("stdvar_over_time", FN_STDVAR_OVER_TIME, V, ARGS(M)),
    F("step", FN_STEP, S, NO_ARGS, .experimental = true, .at_unsafe = true),
    F("sum_over_time", FN_SUM_OVER_TIME, V, ARGS(M)),
    F("tan", FN_TAN, V, ARGS(V)),
    F("tanh", FN_TANH, V, ARGS(V)),
    F("time", FN_TIME, S, NO_ARGS, .at_unsafe = true),
    F("timestamp", FN_TIMESTAMP, V, ARGS(V), .at_unsafe = true),
    F("ts_of_first_over_time", FN_TS_OF_FIRST_OVER_TIME, V, ARGS(M), .experimental = true),
    F("ts_of_last_over_time", FN_TS_OF_LAST_OVER_TIME, V, ARGS(M), .experimental = true),
    F("ts_of_max_over_time", FN_TS_OF_MAX_OVER_TIME, V, ARGS(M), .experimental = true),
    F("ts_of_min_over_time", FN_TS_OF_MIN_OVER_TIME, V, ARGS(M), .experimental = true),
    F("vector", FN_VECTOR, V, ARGS(S)),
    F("year", FN_YEAR, V, ARGS(V), .variadic = 1, .at_unsafe = true),
};
/* clang-format on */
static_assert(ARRAY_LEN(functions) == FN_COUNT, "one row a function");

const struct function_def *function_find(struct sv name) {
    size_t low = 0, high = FN_COUNT;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = sv_cmp(name, sv_from(functions[mid].name));
        if (c == 0) return &functions[mid];
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}
