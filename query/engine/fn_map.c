/* SPDX-License-Identifier: Apache-2.0 */
/* Functions from one float to one float: mathematics, dates, clamping. Histograms are dropped, as
 * in Prometheus. */
#include "query/engine/internal.h"

#include <math.h>

#include "node/base/duration.h"

static double fn_sgn(double v) {
    return v < 0 ? -1 : v > 0 ? 1 : v;
}
static double fn_rad(double v) {
    return v * M_PI / 180;
}
static double fn_deg(double v) {
    return v * 180 / M_PI;
}

/* Go halves e^x, which overflows before the halves do; 21 is where e^-x no longer counts. */
static double fn_sinh(double v) {
    return fabs(v) > 21 ? copysign(exp(fabs(v)) * 0.5, v) : sinh(v);
}
static double fn_cosh(double v) {
    return fabs(v) > 21 ? exp(fabs(v)) * 0.5 : cosh(v);
}

/* As Go has it on amd64: a float out of int64's range (or NaN) is the smallest integer, and
 * time.Time counts seconds without sign from an epoch as far back, so that this is the end of its
 * years. */
static struct civil civil_of(double v) {
    static const uint64_t epoch_s = UINT64_C(9223372028715321600); /* from there to 1970 */
    enum { DAY_S = 86400 };
    int64_t s = v >= -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN;
    uint64_t absolute = (uint64_t)s + epoch_s;
    return civil_from_days((int64_t)(absolute / DAY_S) - (int64_t)(epoch_s / DAY_S),
                           (int64_t)(absolute % DAY_S) * 1000);
}
static double fn_day_of_month(double v) {
    return civil_of(v).day;
}
static double fn_day_of_week(double v) {
    return civil_of(v).weekday;
}
static double fn_day_of_year(double v) {
    return civil_of(v).yearday;
}
static double fn_days_in_month(double v) {
    struct civil c = civil_of(v);
    return civil_days_in_month(c.year, c.month);
}
static double fn_hour(double v) {
    return civil_of(v).hour;
}
static double fn_minute(double v) {
    return civil_of(v).minute;
}
static double fn_month(double v) {
    return civil_of(v).month;
}
static double fn_year(double v) {
    return (double)civil_of(v).year;
}

static const map_fn map_functions[FN_COUNT] = {
    [FN_ABS] = fabs,
    [FN_ACOS] = acos,
    [FN_ACOSH] = acosh,
    [FN_ASIN] = asin,
    [FN_ASINH] = asinh,
    [FN_ATAN] = atan,
    [FN_ATANH] = atanh,
    [FN_CEIL] = ceil,
    [FN_COS] = cos,
    [FN_COSH] = fn_cosh,
    [FN_DAY_OF_MONTH] = fn_day_of_month,
    [FN_DAY_OF_WEEK] = fn_day_of_week,
    [FN_DAY_OF_YEAR] = fn_day_of_year,
    [FN_DAYS_IN_MONTH] = fn_days_in_month,
    [FN_DEG] = fn_deg,
    [FN_EXP] = exp,
    [FN_FLOOR] = floor,
    [FN_HOUR] = fn_hour,
    [FN_LN] = log,
    [FN_LOG10] = log10,
    [FN_LOG2] = log2,
    [FN_MINUTE] = fn_minute,
    [FN_MONTH] = fn_month,
    [FN_RAD] = fn_rad,
    [FN_SGN] = fn_sgn,
    [FN_SIN] = sin,
    [FN_SINH] = fn_sinh,
    [FN_SQRT] = sqrt,
    [FN_TAN] = tan,
    [FN_TANH] = tanh,
    [FN_YEAR] = fn_year,
};

map_fn map_function(enum function_id fn) {
    return fn < FN_COUNT ? map_functions[fn] : NULL;
}

/* Go's math.Min(max, v), then math.Max(min, ...): NaN stays unless an infinity wins. */
static double clamp(double v, double lo, double hi) {
    double x;
    if (hi == -HUGE_VAL || v == -HUGE_VAL)
        x = -HUGE_VAL;
    else if (isnan(hi) || isnan(v))
        x = NAN;
    else
        x = v == 0 && hi == 0 ? (signbit(v) ? v : hi) : v < hi ? v : hi;
    if (lo == HUGE_VAL || x == HUGE_VAL) return HUGE_VAL;
    if (isnan(lo) || isnan(x)) return NAN;
    return x == 0 && lo == 0 ? (signbit(x) ? lo : x) : x > lo ? x : lo;
}

static bool clamp_step(const struct stage *s, size_t k, double v, double *out) {
    double lo = -HUGE_VAL, hi = HUGE_VAL;
    if (s->fn == FN_CLAMP) {
        lo = s->args[0][k];
        hi = s->args[1][k];
    } else if (s->fn == FN_CLAMP_MIN) {
        lo = s->args[0][k];
    } else {
        hi = s->args[0][k];
    }
    if (hi < lo) return false;
    *out = clamp(v, lo, hi);
    return true;
}

static bool map_step(const struct stage *s, size_t k, double v, double *out) {
    switch ((int)s->fn) {
    case FN_CLAMP:
    case FN_CLAMP_MIN:
    case FN_CLAMP_MAX: return clamp_step(s, k, v, out);
    case FN_ROUND: {
        /* The inverse loses less for 0.1 and the like; ties go up. */
        double inverse = 1.0 / (s->args_count > 0 ? s->args[0][k] : 1.0);
        *out = floor(v * inverse + 0.5) / inverse;
        return true;
    }
    case FN_TIMESTAMP: *out = (double)grid_time(&s->out, k) / 1000; return true;
    default: return false;
    }
}

enum { MAP_WORK = 8 }; /* a logarithm, a date */

enum status map_stage(struct stage_run *r, const struct column *in, struct column *out) {
    const struct stage *s = r->stage;
    map_fn fn = map_function(s->fn);
    for (size_t k = 0; k < s->out.steps; k++) {
        uint8_t kind = in->kinds[k];
        TRY(eval_work(r->ev, MAP_WORK));
        if (kind == POINT_HISTOGRAM && s->fn != FN_TIMESTAMP) kind = POINT_NONE;
        if (kind != POINT_NONE) {
            kind = POINT_FLOAT;
            if (fn != NULL)
                out->values[k] = fn(in->values[k]);
            else if (!map_step(s, k, in->values[k], &out->values[k]))
                kind = POINT_NONE;
        }
        out->kinds[k] = kind;
    }
    return OK;
}
