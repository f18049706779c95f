/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/duration.h"

#include "node/base/attr.h"
#include "node/base/num.h"

enum { SECOND_MS = 1000, MINUTE_MS = 60 * SECOND_MS, HOUR_MS = 60 * MINUTE_MS };
static const int64_t day_ms = INT64_C(24) * HOUR_MS;
/* model.Duration counts nanoseconds in an int64, about 292 years. */
static const int64_t duration_ms_max = INT64_MAX / 1000000;

static const struct unit {
    const char *name;
    int64_t ms;
    bool whole; /* written only when nothing remains, as 90d reads better than 12w6d */
} units[] = {
    {"y", INT64_C(365) * 24 * HOUR_MS, true},
    {"w", INT64_C(7) * 24 * HOUR_MS, true},
    {"d", INT64_C(24) * HOUR_MS, false},
    {"h", HOUR_MS, false},
    {"m", MINUTE_MS, false},
    {"s", SECOND_MS, false},
    {"ms", 1, false},
};

static size_t digits_len(struct sv s) {
    size_t n = 0;
    while (n < s.len && s.ptr[n] >= '0' && s.ptr[n] <= '9')
        n++;
    return n;
}

bool duration_parse(struct sv s, int64_t *out_ms) {
    int64_t total = 0;
    size_t unit_index = 0;
    if (sv_eq(s, SV("0"))) {
        *out_ms = 0;
        return true;
    }
    if (s.len == 0) return false;
    while (s.len > 0) {
        size_t n = digits_len(s);
        int64_t count, part;
        if (n == 0 || !num_parse_i64(sv_take(s, n), &count)) return false;
        s = sv_skip(s, n);
        size_t name_len = 0;
        while (name_len < s.len && (s.ptr[name_len] < '0' || s.ptr[name_len] > '9'))
            name_len++;
        struct sv name = sv_take(s, name_len);
        while (unit_index < ARRAY_LEN(units) && !sv_eq(name, sv_from(units[unit_index].name)))
            unit_index++;
        if (unit_index == ARRAY_LEN(units)) return false;
        if (__builtin_mul_overflow(count, units[unit_index].ms, &part) ||
            __builtin_add_overflow(total, part, &total) || total > duration_ms_max)
            return false;
        unit_index++;
        s = sv_skip(s, name_len);
    }
    *out_ms = total;
    return true;
}

void duration_put(struct buf *b, int64_t ms) {
    if (ms == 0) {
        buf_put_sv(b, SV("0s"));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        int64_t count = ms / units[i].ms;
        if (count <= 0 || (units[i].whole && ms % units[i].ms != 0)) continue;
        num_put_i64(b, count);
        buf_put_sv(b, sv_from(units[i].name));
        ms -= count * units[i].ms;
    }
}

/* value / 10^digits without trailing zeros */
static void put_fraction(struct buf *b, uint64_t value, unsigned digits) {
    uint64_t scale = 1;
    for (unsigned i = 0; i < digits; i++)
        scale *= 10;
    num_put_u64(b, value / scale);
    value %= scale;
    if (value == 0) return;
    buf_put_char(b, '.');
    while (value != 0) {
        scale /= 10;
        buf_put_char(b, (char)('0' + value / scale));
        value %= scale;
    }
}

void duration_put_go(struct buf *b, int64_t ns) {
    uint64_t abs = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    const uint64_t second = 1000000000, minute = 60 * second, hour = 60 * minute;
    if (ns < 0) buf_put_char(b, '-');
    if (abs == 0) {
        buf_put_sv(b, SV("0s"));
    } else if (abs < second) {
        unsigned digits = abs < 1000 ? 0 : abs < 1000000 ? 3 : 6;
        put_fraction(b, abs, digits);
        buf_put_sv(b, digits == 0 ? SV("ns") : digits == 3 ? SV("\302\265s") : SV("ms"));
    } else {
        if (abs >= hour) {
            num_put_u64(b, abs / hour);
            buf_put_char(b, 'h');
        }
        if (abs >= minute) {
            num_put_u64(b, abs % hour / minute);
            buf_put_char(b, 'm');
        }
        put_fraction(b, abs % minute, 9);
        buf_put_char(b, 's');
    }
}

/* Days since 1970-01-01 and back: Howard Hinnant, "chrono-compatible low-level date algorithms".
 * The year begins in March there, so that the leap day is its last. */
static int64_t days_from_civil(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static bool is_leap(int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int civil_days_in_month(int64_t year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

struct civil civil_from_ms(int64_t unix_ms) {
    int64_t days = unix_ms / day_ms, rest = unix_ms % day_ms;
    if (rest < 0) {
        rest += day_ms;
        days--;
    }
    return civil_from_days(days, rest);
}

struct civil civil_from_days(int64_t days, int64_t rest) {
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (int)((5 * day_of_year + 2) / 153);
    struct civil c = {.day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1),
                      .month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9,
                      .hour = (int)(rest / HOUR_MS),
                      .minute = (int)(rest % HOUR_MS / MINUTE_MS),
                      .second = (int)(rest % MINUTE_MS / SECOND_MS),
                      .millisecond = (int)(rest % SECOND_MS),
                      .weekday = (int)((days % 7 + 11) % 7)}; /* 1970-01-01 was a Thursday */
    c.year = year_of_era + era * 400 + (c.month <= 2);
    c.yearday = (int)(days - days_from_civil(c.year, 1, 1)) + 1;
    return c;
}

int64_t civil_to_ms(struct civil c) {
    int64_t of_day = c.hour * HOUR_MS + c.minute * MINUTE_MS + c.second * SECOND_MS + c.millisecond;
    return days_from_civil(c.year, c.month, c.day) * day_ms + of_day;
}

/* Exactly n digits, then one byte of `behind` when that is not 0. */
static bool take_number(struct sv *s, size_t n, char behind, int *out) {
    size_t digits = digits_len(*s);
    size_t width = n + (behind != '\0');
    int64_t v;
    if (digits < n || s->len < width || (behind != '\0' && s->ptr[n] != behind)) return false;
    if (!num_parse_i64(sv_take(*s, n), &v)) return false;
    *out = (int)v;
    *s = sv_skip(*s, width);
    return true;
}

static bool take_zone(struct sv s, int64_t *out_ms) {
    int hours, minutes;
    *out_ms = 0;
    if (sv_eq(s, SV("Z"))) return true;
    if (s.len == 0 || (s.ptr[0] != '+' && s.ptr[0] != '-')) return false;
    int sign = s.ptr[0] == '-' ? -1 : 1;
    s = sv_skip(s, 1);
    if (!take_number(&s, 2, ':', &hours) || !take_number(&s, 2, '\0', &minutes) || s.len != 0)
        return false;
    if (hours > 24 || minutes > 60) return false; /* as wide as Go's time.Parse */
    *out_ms = sign * ((int64_t)hours * HOUR_MS + (int64_t)minutes * MINUTE_MS);
    return true;
}

bool civil_parse_rfc3339(struct sv s, int64_t *out_ms) {
    struct civil c = {0};
    int year;
    if (!take_number(&s, 4, '-', &year) || !take_number(&s, 2, '-', &c.month)) return false;
    if (!take_number(&s, 2, 'T', &c.day)) return false;
    size_t hour_len = s.len > 1 && s.ptr[1] == ':' ? 1 : 2; /* Go takes an hour of one digit */
    if (!take_number(&s, hour_len, ':', &c.hour)) return false;
    if (!take_number(&s, 2, ':', &c.minute) || !take_number(&s, 2, '\0', &c.second)) return false;
    c.year = year;
    if (c.month < 1 || c.month > 12 || c.day < 1 || c.day > civil_days_in_month(c.year, c.month))
        return false;
    if (c.hour > 23 || c.minute > 59 || c.second > 59) return false;
    if (s.len > 1 && (s.ptr[0] == '.' || s.ptr[0] == ',')) { /* Go reads a comma too */
        s = sv_skip(s, 1);
        size_t n = digits_len(s);
        if (n == 0) return false;
        for (size_t i = 0; i < 3; i++)
            c.millisecond = c.millisecond * 10 + (i < n ? s.ptr[i] - '0' : 0);
        s = sv_skip(s, n);
    }
    int64_t zone_ms;
    if (!take_zone(s, &zone_ms)) return false;
    *out_ms = civil_to_ms(c) - zone_ms;
    return true;
}

void civil_put_rfc3339(struct buf *b, int64_t unix_ms) {
    struct civil c = civil_from_ms(unix_ms);
    buf_printf(b, "%s%04lld-%02d-%02dT%02d:%02d:%02d", c.year < 0 ? "-" : "",
               (long long)(c.year < 0 ? -c.year : c.year), c.month, c.day, c.hour, c.minute,
               c.second);
    if (c.millisecond != 0) {
        char text[4] = {'.', (char)('0' + c.millisecond / 100),
                        (char)('0' + c.millisecond / 10 % 10), (char)('0' + c.millisecond % 10)};
        size_t n = sizeof text;
        while (text[n - 1] == '0')
            n--;
        buf_put(b, text, n);
    }
    buf_put_char(b, 'Z');
}
