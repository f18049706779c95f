/* SPDX-License-Identifier: Apache-2.0 */
/* query/promql/functions.h: the functions of PromQL: names, argument types, arity. What they
 * compute is the engine's. The table is sorted by name and indexed by enum function_id. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "node/base/sv.h"
#include "query/promql/ast.h"

enum function_id {
    FN_ABS,
    FN_ABSENT,
    FN_ABSENT_OVER_TIME,
    FN_ACOS,
    FN_ACOSH,
    FN_ASIN,
    FN_ASINH,
    FN_ATAN,
    FN_ATANH,
    FN_AVG_OVER_TIME,
    FN_CEIL,
    FN_CHANGES,
    FN_CLAMP,
    FN_CLAMP_MAX,
    FN_CLAMP_MIN,
    FN_COS,
    FN_COSH,
    FN_COUNT_OVER_TIME,
    FN_DAY_OF_MONTH,
    FN_DAY_OF_WEEK,
    FN_DAY_OF_YEAR,
    FN_DAYS_IN_MONTH,
    FN_DEG,
    FN_DELTA,
    FN_DERIV,
    FN_DOUBLE_EXPONENTIAL_SMOOTHING,
    FN_END,
    FN_EXP,
    FN_FIRST_OVER_TIME,
    FN_FLOOR,
    FN_HISTOGRAM_AVG,
    FN_HISTOGRAM_COUNT,
    FN_HISTOGRAM_FRACTION,
    FN_HISTOGRAM_QUANTILE,
    FN_HISTOGRAM_QUANTILES,
    FN_HISTOGRAM_STDDEV,
    FN_HISTOGRAM_STDVAR,
    FN_HISTOGRAM_SUM,
    FN_HOUR,
    FN_IDELTA,
    FN_INCREASE,
    FN_INFO,
    FN_IRATE,
    FN_LABEL_JOIN,
    FN_LABEL_REPLACE,
    FN_LAST_OVER_TIME,
    FN_LN,
    FN_LOG10,
    FN_LOG2,
    FN_MAD_OVER_TIME,
    FN_MAX_OF,
    FN_MAX_OVER_TIME,
    FN_MIN_OF,
    FN_MIN_OVER_TIME,
    FN_MINUTE,
    FN_MONTH,
    FN_PI,
    FN_PREDICT_LINEAR,
    FN_PRESENT_OVER_TIME,
    FN_QUANTILE_OVER_TIME,
    FN_RAD,
    FN_RANGE,
    FN_RATE,
    FN_RESETS,
    FN_ROUND,
    FN_SCALAR,
    FN_SGN,
    FN_SIN,
    FN_SINH,
    FN_SORT,
    FN_SORT_BY_LABEL,
    FN_SORT_BY_LABEL_DESC,
    FN_SORT_DESC,
    FN_SQRT,
    FN_START,
    FN_START_TIMESTAMP,
    FN_STDDEV_OVER_TIME,
    FN_STDVAR_OVER_TIME,
    FN_STEP,
    FN_SUM_OVER_TIME,
    FN_TAN,
    FN_TANH,
    FN_TIME,
    FN_TIMESTAMP,
    FN_TS_OF_FIRST_OVER_TIME,
    FN_TS_OF_LAST_OVER_TIME,
    FN_TS_OF_MAX_OVER_TIME,
    FN_TS_OF_MIN_OVER_TIME,
    FN_VECTOR,
    FN_YEAR,
    FN_COUNT
};

enum { FUNCTION_ARGS_MAX = 5 };

struct function_def {
    const char *name;
    enum function_id id;
    enum value_type returns;
    enum value_type
        args[FUNCTION_ARGS_MAX]; /* the last type also holds for further, variadic ones */
    unsigned args_count;
    /* 0: exactly args_count arguments. n > 0: args_count - 1 up to args_count - 1 + n. -1: at least
     * args_count - 1. */
    int variadic;
    bool experimental; /* needs promql-experimental-functions */
    bool at_unsafe;    /* depends on the evaluation time even when its arguments do not */
    bool anchored_ok, smoothed_ok; /* may take an anchored, a smoothed range */
};

extern const struct function_def functions[FN_COUNT];

/* NULL when there is none; names are case-sensitive. */
const struct function_def *function_find(struct sv name);
