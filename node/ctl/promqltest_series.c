/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of series: metric{label="value"} 1 2+3x4 _ _x5 stale {{...}}x6, and metric@st -1mx3. A
 * value repeated N times stands N+1 times, `_xN` is N missing ones. */
#include <ctype.h>
#include <math.h>

#include "node/base/duration.h"
#include "node/base/num.h"
#include "node/ctl/promqltest.h"
#include "query/promql/parser.h"

struct sequence {
    struct arena *arena;
    struct sv rest;
    struct item *items;
    size_t count, cap;
    struct err *err;
};

bool test_number(struct sv text, double *out) {
    int64_t integer;
    if (!num_parse_i64_base0(text, &integer)) return num_parse_f64_literal(text, out);
    *out = (double)integer;
    return true;
}

bool test_time_ms(struct sv text, int64_t *out) {
    bool minus = sv_starts(text, SV("-"));
    int64_t ms;
    double seconds;
    if (minus) text = sv_skip(text, 1);
    if (!duration_parse(text, &ms)) {
        if (text.len == 0 || !isdigit((unsigned char)text.ptr[0])) return false;
        if (!test_number(text, &seconds) || !(seconds < 1e12)) return false;
        ms = llround(seconds * 1000);
    }
    *out = minus ? -ms : ms;
    return true;
}

static char head(struct sv s) {
    return s.len == 0 ? '\0' : s.ptr[0];
}
static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_alpha(char c) {
    return isalpha((unsigned char)c) != 0;
}
static bool is_space(char c) {
    return c == ' ' || c == '\t';
}
static char at(struct sv s, size_t i) {
    return i < s.len ? s.ptr[i] : '\0';
}

static enum status bad_item(struct sequence *q, const char *what) {
    struct sv near = q->rest;
    for (size_t i = 0; i < near.len; i++)
        if (is_space(near.ptr[i])) near.len = i;
    return err_set(q->err, ERR_PARSE, 0, "%s at \"%.*s\"", what, SV_ARG(near));
}

static enum status push(struct sequence *q, struct item item, uint64_t count) {
    if (count > TEST_ITEMS_MAX - q->count)
        return err_set(q->err, ERR_LIMIT, 0, "more than %d values in a line", TEST_ITEMS_MAX);
    while (q->count + count > q->cap) {
        size_t cap = q->cap == 0 ? 32 : q->cap * 2;
        void *grown = arena_grow(q->arena, q->items, q->cap * sizeof item, cap * sizeof item);
        if (grown == NULL) return err_set(q->err, ERR_NOMEM, 0, "out of memory");
        q->items = grown;
        q->cap = cap;
    }
    for (; count > 0; count--)
        q->items[q->count++] = item;
    return OK;
}

static size_t digits(struct sv s, size_t i) {
    size_t n = i;
    while (is_digit(at(s, n)) || (n > i && at(s, n) == '_' && is_digit(at(s, n + 1))))
        n++;
    return n;
}

/* "0x1F" is a number, "0x8" a repeated 0: hexadecimal needs a letter to be known as such. */
static size_t hex_length(struct sv s) {
    size_t n = 2;
    bool letter = false;
    if (at(s, 0) != '0' || (at(s, 1) != 'x' && at(s, 1) != 'X')) return 0;
    for (; isxdigit((unsigned char)at(s, n)); n++)
        letter |= is_alpha(at(s, n));
    return letter ? n : 0;
}

static bool take_number(struct sv *rest, double *out) {
    size_t sign = head(*rest) == '+' || head(*rest) == '-' ? 1 : 0, n = sign;
    if (is_alpha(at(*rest, n))) {
        n += 3; /* inf, nan */
        if (is_alpha(at(*rest, n)) && at(*rest, n) != 'x') return false;
    } else if ((n = hex_length(sv_skip(*rest, sign))) > 0) {
        n += sign;
    } else {
        n = digits(*rest, sign);
        if (at(*rest, n) == '.') n = digits(*rest, n + 1);
        if (at(*rest, n) == 'e' || at(*rest, n) == 'E') {
            size_t exponent = n + 1;
            if (at(*rest, exponent) == '+' || at(*rest, exponent) == '-') exponent++;
            n = digits(*rest, exponent);
        }
    }
    struct sv text = sv_take(*rest, n);
    if (sign == 1 && tolower((unsigned char)at(text, 1)) == 'n') text = sv_skip(text, 1);
    if (!test_number(text, out)) return false;
    *rest = sv_skip(*rest, n);
    return true;
}

/* "xN"; without it *out is 0 and *given false */
static enum status take_times(struct sequence *q, uint64_t *out, bool *given) {
    *out = 0;
    *given = head(q->rest) == 'x';
    if (!*given) return OK;
    size_t n = 1;
    while (is_digit(at(q->rest, n)))
        n++;
    if (!num_parse_u64(sv_make(q->rest.ptr + 1, n - 1), out))
        return bad_item(q, "expected a count after x");
    if (*out >= TEST_ITEMS_MAX)
        return err_set(q->err, ERR_LIMIT, 0, "more than %d values in a line", TEST_ITEMS_MAX);
    q->rest = sv_skip(q->rest, n);
    return OK;
}

static enum status take_missing(struct sequence *q) {
    uint64_t times;
    bool given;
    q->rest = sv_skip(q->rest, 1);
    TRY(take_times(q, &times, &given));
    return push(q, (struct item){.kind = ITEM_NONE}, given ? times : 1);
}

static enum status take_histogram(struct sequence *q) {
    struct histogram_literal base, step;
    uint64_t times;
    bool given, grows = false;
    TRY(histogram_literal_parse(&q->rest, &base, q->err));
    if ((head(q->rest) == '+' || head(q->rest) == '-') &&
        sv_starts(sv_skip(q->rest, 1), SV("{{"))) {
        grows = true;
        q->rest = sv_skip(q->rest, 1);
        TRY(histogram_literal_parse(&q->rest, &step, q->err));
        if (base.schema > step.schema)
            return err_set(q->err, ERR_PARSE, 0,
                           "histogram: the increment's schema is below the base's");
    }
    TRY(take_times(q, &times, &given));
    if (grows && !given) return bad_item(q, "expected x after the increment");
    return push(q, (struct item){.kind = ITEM_HISTOGRAM}, times + 1);
}

static enum status take_float(struct sequence *q) {
    struct item item = {.kind = ITEM_FLOAT};
    uint64_t times;
    bool given, grows;
    double step = 0;
    if (sv_starts(q->rest, SV("stale"))) {
        q->rest = sv_skip(q->rest, 5);
        item.value = value_stale();
    } else if (!take_number(&q->rest, &item.value)) {
        return bad_item(q, "bad value");
    }
    grows = head(q->rest) == '+' || head(q->rest) == '-';
    if (grows && !take_number(&q->rest, &step)) return bad_item(q, "bad increment");
    TRY(take_times(q, &times, &given));
    if (grows && !given) return bad_item(q, "expected x after the increment");
    if (!grows) return push(q, item, times + 1);
    /* added up like Prometheus does, with the same rounding */
    for (uint64_t i = 0; i <= times; i++, item.value += step)
        TRY(push(q, item, 1));
    return OK;
}

static bool take_offset(struct sv *rest, int64_t *out) {
    size_t n = head(*rest) == '+' || head(*rest) == '-' ? 1 : 0;
    while (is_digit(at(*rest, n)) || at(*rest, n) == '.' ||
           (is_alpha(at(*rest, n)) && at(*rest, n) != 'x'))
        n++;
    struct sv text = sv_take(*rest, n);
    if (head(text) == '+') text = sv_skip(text, 1);
    if (!test_time_ms(text, out)) return false;
    *rest = sv_skip(*rest, n);
    return true;
}

static enum status take_start(struct sequence *q) {
    struct item item = {.kind = ITEM_START};
    uint64_t times;
    bool given, grows;
    int64_t step = 0;
    if (!take_offset(&q->rest, &item.offset_ms)) return bad_item(q, "bad start timestamp");
    grows = head(q->rest) == '+' || head(q->rest) == '-';
    if (grows && !take_offset(&q->rest, &step)) return bad_item(q, "bad increment");
    TRY(take_times(q, &times, &given));
    if (grows && !given) return bad_item(q, "expected x after the increment");
    for (uint64_t i = 0; i <= times; i++) {
        TRY(push(q, item, 1));
        if (__builtin_add_overflow(item.offset_ms, step, &item.offset_ms))
            return err_set(q->err, ERR_LIMIT, 0, "start timestamps leave the range of time");
    }
    return OK;
}

/* The metric with its labels: up to the end of the name or of the braces. */
static size_t metric_length(struct sv s) {
    size_t n = 0;
    while (is_alpha(at(s, n)) || is_digit(at(s, n)) || at(s, n) == '_' || at(s, n) == ':')
        n++;
    size_t brace = n;
    while (is_space(at(s, brace)))
        brace++;
    if (at(s, brace) != '{' || at(s, brace + 1) == '{') return n;
    char quote = '\0';
    for (size_t i = brace + 1; i < s.len; i++) {
        char c = s.ptr[i];
        if (quote != '\0') {
            if (c == '\\' && quote != '`')
                i++;
            else if (c == quote)
                quote = '\0';
        } else if (c == '"' || c == '\'' || c == '`') {
            quote = c;
        } else if (c == '}') {
            return i + 1;
        }
    }
    return s.len;
}

static enum status take_item(struct sequence *q, bool starts) {
    if (head(q->rest) == '_') return take_missing(q);
    if (starts) return take_start(q);
    if (sv_starts(q->rest, SV("{{"))) return take_histogram(q);
    return take_float(q);
}

static enum status labels_parse(struct sv text, struct arena *arena, struct series_line *out,
                                struct err *err) {
    struct promql_label *labels;
    size_t count;
    TRY(promql_parse_metric(text, arena, &labels, &count, err));
    out->labels = arena_array(arena, count + 1, sizeof *out->labels);
    if (out->labels == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < count; i++) /* an empty value is no label */
        if (labels[i].value.len > 0)
            out->labels[out->labels_count++] = (struct label){labels[i].name, labels[i].value};
    return OK;
}

enum status series_line_parse(struct sv text, struct arena *arena, struct series_line *out,
                              struct err *err) {
    struct series_line line = {0};
    struct sequence q = {.arena = arena, .err = err};
    size_t n = metric_length(text);
    TRY(labels_parse(sv_take(text, n), arena, &line, err));
    q.rest = sv_skip(text, n);
    if (sv_starts(q.rest, SV("@st"))) {
        line.is_starts = true;
        q.rest = sv_skip(q.rest, 3);
    }
    while (q.rest.len > 0) {
        if (!is_space(head(q.rest))) return bad_item(&q, "expected a space");
        while (is_space(head(q.rest)))
            q.rest = sv_skip(q.rest, 1);
        if (q.rest.len > 0) TRY(take_item(&q, line.is_starts));
    }
    for (size_t i = 0; i < q.count; i++)
        if (q.items[i].kind == ITEM_HISTOGRAM) line.has_histograms = true;
    line.items = q.items;
    line.items_count = q.count;
    *out = line;
    return OK;
}
