/* SPDX-License-Identifier: Apache-2.0 */
/* Literals of native histograms in test files. They are checked as written; what they hold is not
 * kept. */
#include "node/base/num.h"
#include "node/ctl/promqltest.h"

enum key_kind { KEY_INTEGER, KEY_NUMBER, KEY_LIST, KEY_HINT };
static const struct key_def {
    struct sv name;
    enum key_kind kind;
} keys[] = {
    {SV_INIT("schema"), KEY_INTEGER},
    {SV_INIT("sum"), KEY_NUMBER},
    {SV_INIT("count"), KEY_NUMBER},
    {SV_INIT("z_bucket"), KEY_NUMBER},
    {SV_INIT("z_bucket_w"), KEY_NUMBER},
    {SV_INIT("buckets"), KEY_LIST},
    {SV_INIT("offset"), KEY_INTEGER},
    {SV_INIT("n_buckets"), KEY_LIST},
    {SV_INIT("n_offset"), KEY_INTEGER},
    {SV_INIT("custom_values"), KEY_LIST},
    {SV_INIT("counter_reset_hint"), KEY_HINT},
};

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

static void skip_spaces(struct sv *rest) {
    while (rest->len > 0 && is_space(rest->ptr[0]))
        *rest = sv_skip(*rest, 1);
}

/* Up to a space or one of the brackets that end values. */
static struct sv take_word(struct sv *rest) {
    size_t n = 0;
    while (n < rest->len && !is_space(rest->ptr[n]) && rest->ptr[n] != '}' && rest->ptr[n] != ']')
        n++;
    struct sv word = sv_take(*rest, n);
    *rest = sv_skip(*rest, n);
    return word;
}

static bool hint_valid(struct sv word) {
    return sv_eq(word, SV("unknown")) || sv_eq(word, SV("reset")) || sv_eq(word, SV("not_reset")) ||
           sv_eq(word, SV("gauge"));
}

static enum status list_parse(struct sv *rest, struct err *err) {
    if (rest->len == 0 || rest->ptr[0] != '[')
        return err_set(err, ERR_PARSE, 0, "histogram: a list begins with [");
    *rest = sv_skip(*rest, 1);
    for (;;) {
        double ignored;
        skip_spaces(rest);
        if (rest->len == 0) return err_set(err, ERR_PARSE, 0, "histogram: a list ends with ]");
        if (rest->ptr[0] == ']') break;
        struct sv word = take_word(rest);
        if (!test_number(word, &ignored))
            return err_set(err, ERR_PARSE, 0, "histogram: bad number \"%.*s\"", SV_ARG(word));
    }
    *rest = sv_skip(*rest, 1);
    return OK;
}

static enum status value_parse(struct sv *rest, const struct key_def *key,
                               struct histogram_literal *out, struct err *err) {
    if (key->kind == KEY_LIST) return list_parse(rest, err);
    struct sv word = take_word(rest);
    double number;
    int64_t integer = 0;
    bool good = key->kind == KEY_HINT      ? hint_valid(word)
                : key->kind == KEY_INTEGER ? num_parse_i64_base0(word, &integer)
                                           : test_number(word, &number);
    if (!good)
        return err_set(err, ERR_PARSE, 0, "histogram: bad value \"%.*s\" of %.*s", SV_ARG(word),
                       SV_ARG(key->name));
    if (key != &keys[0]) return OK;
    if (integer != HISTOGRAM_SCHEMA_CUSTOM && (integer < -4 || integer > 8))
        return err_set(err, ERR_PARSE, 0, "histogram: no schema %.*s", SV_ARG(word));
    out->schema = integer;
    return OK;
}

static const struct key_def *key_find(struct sv name) {
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (sv_eq(keys[i].name, name)) return &keys[i];
    return NULL;
}

enum status histogram_literal_parse(struct sv *rest, struct histogram_literal *out,
                                    struct err *err) {
    struct histogram_literal h = {0};
    unsigned seen = 0;
    struct sv text = sv_skip(*rest, 2);
    for (;;) {
        skip_spaces(&text);
        if (sv_starts(text, SV("}}"))) break;
        size_t colon;
        if (!sv_find_char(text, ':', &colon))
            return err_set(err, ERR_PARSE, 0, "histogram: not closed with }}");
        struct sv name = sv_take(text, colon);
        const struct key_def *key = key_find(name);
        if (key == NULL)
            return err_set(err, ERR_PARSE, 0, "histogram: unknown key \"%.*s\"", SV_ARG(name));
        unsigned bit = 1U << (key - keys);
        if ((seen & bit) != 0)
            return err_set(err, ERR_PARSE, 0, "histogram: %.*s is given twice", SV_ARG(name));
        seen |= bit;
        text = sv_skip(text, colon + 1);
        TRY(value_parse(&text, key, &h, err));
    }
    *rest = sv_skip(text, 2);
    *out = h;
    return OK;
}
