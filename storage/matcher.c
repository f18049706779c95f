/* SPDX-License-Identifier: Apache-2.0 */
/* Most regular expressions of dashboards are lists of words, a word with .* around it, or .* and .+
 * alone. These are recognised by a reader of that small part of RE2's syntax, and looked up or
 * compared instead of matched; whatever it does not know for sure, faulty patterns included, goes
 * to RE2.
 *
 *   pattern  = "^"? sequence "$"? ("|" "^"? sequence "$"?)*         anchors mean nothing: matching
 * is anchored anyway sequence = (atom "?"?)* atom     = rune | "\" punctuation | "\d" | class | "("
 * ("?:")? alternatives ")"
 */
#include "storage/matcher.h"

#include <assert.h>
#include <stdlib.h>

#include "node/base/attr.h"
#include "node/base/utf8.h"

enum {
    LITERALS_MAX = 4096,      /* of a list of words */
    PRODUCT_MAX = 512,        /* of what classes and groups multiply to */
    WORK_BYTES_MAX = 1 << 20, /* copied while multiplying */
    GROUP_DEPTH_MAX = 16,
};

const char *const match_kind_text[4] = {"=", "!=", "=~", "!~"};

struct strings {
    struct sv *items;
    size_t count, cap;
};

struct reader {
    struct sv rest;
    struct arena *arena;
    char *
        text; /* room for all literal bytes of the pattern: each run of runes is contiguous in it */
    size_t text_len;
    size_t work_bytes;
    unsigned depth;
    bool single; /* one sequence, whose anchors are off already */
    bool nomem;
};

static bool strings_add(struct reader *r, struct strings *set, struct sv s) {
    if (set->count >= LITERALS_MAX) return false;
    if (set->count == set->cap) {
        size_t cap = set->cap == 0 ? 4 : set->cap * 2, size = sizeof(s);
        set->items = set->items == NULL
                         ? arena_alloc(r->arena, cap * size)
                         : arena_grow(r->arena, set->items, set->cap * size, cap * size);
        set->cap = cap;
        r->nomem |= set->items == NULL;
        if (set->items == NULL) return false;
    }
    set->items[set->count++] = s;
    return true;
}

/* set = { a b : a in set, b in tail } */
static bool strings_multiply(struct reader *r, struct strings *set, const struct strings *tail) {
    if (set->count * tail->count > PRODUCT_MAX) return false;
    struct strings out = {0};
    for (size_t i = 0; i < set->count; i++) {
        for (size_t j = 0; j < tail->count; j++) {
            struct sv a = set->items[i], b = tail->items[j];
            r->work_bytes += a.len + b.len;
            if (r->work_bytes > WORK_BYTES_MAX) return false;
            char *text = arena_alloc(r->arena, a.len + b.len);
            r->nomem |= text == NULL;
            if (text == NULL) return false;
            if (a.len > 0) memcpy(text, a.ptr, a.len);
            if (b.len > 0) memcpy(text + a.len, b.ptr, b.len);
            if (!strings_add(r, &out, (struct sv){text, a.len + b.len})) return false;
        }
    }
    *set = out;
    return true;
}

static bool read_alternatives(struct reader *r, struct strings *out);

static bool is_punctuation(char c) {
    return c > ' ' && c < 0x7f && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') &&
           !(c >= 'A' && c <= 'Z');
}

static bool is_plain_in_class(char c) {
    return c >= ' ' && c < 0x7f && c != '[' && c != ']' && c != '\\' && c != '^' && c != '-';
}

static bool add_range(struct reader *r, struct strings *out, char first, char last) {
    for (int c = first; c <= last; c++) {
        char *text = arena_alloc(r->arena, 1);
        r->nomem |= text == NULL;
        if (text == NULL) return false;
        text[0] = (char)c;
        if (!strings_add(r, out, (struct sv){text, 1})) return false;
    }
    return first <= last;
}

/* [abc0-9.] of plain ASCII, without negation or names */
static bool read_class(struct reader *r, struct strings *out) {
    size_t i = 1;
    for (; i < r->rest.len && r->rest.ptr[i] != ']'; i++) {
        char first = r->rest.ptr[i];
        if (first == '\\' && i + 1 < r->rest.len && is_punctuation(r->rest.ptr[i + 1]))
            first = r->rest.ptr[++i];
        else if (!is_plain_in_class(first))
            return false;
        char last = first;
        if (i + 2 < r->rest.len && r->rest.ptr[i + 1] == '-') {
            last = r->rest.ptr[i + 2];
            i += 2;
            if (!is_plain_in_class(last)) return false;
        }
        if (!add_range(r, out, first, last)) return false;
    }
    if (i >= r->rest.len || out->count == 0) return false;
    r->rest = sv_skip(r->rest, i + 1);
    return true;
}

static bool read_group(struct reader *r, struct strings *out) {
    if (++r->depth > GROUP_DEPTH_MAX) return false;
    r->rest = sv_skip(r->rest, sv_starts(r->rest, SV("(?:")) ? 3 : 1);
    if (r->rest.len > 0 && r->rest.ptr[0] == '?') return false; /* flags, names */
    if (!read_alternatives(r, out)) return false;
    if (r->rest.len == 0 || r->rest.ptr[0] != ')') return false;
    r->rest = sv_skip(r->rest, 1);
    r->depth--;
    return true;
}

static bool quantifier_follows(const struct reader *r) {
    return r->rest.len > 0 && strchr("*+?{", r->rest.ptr[0]) != NULL && r->rest.ptr[0] != '\0';
}

/* One rune or escaped rune; false when it stands for something else. */
static bool read_rune(struct reader *r, struct sv *out) {
    char c = r->rest.ptr[0];
    size_t len = 1, skip = 0;
    if (c == '\\') {
        if (r->rest.len < 2 || !is_punctuation(r->rest.ptr[1])) return false;
        skip = 1;
    } else if (c != '\0' && strchr(".*+?{}[]()^$|", c) != NULL) {
        return false;
    } else {
        uint32_t rune;
        len = utf8_decode(r->rest, &rune);
    }
    memcpy(r->text + r->text_len, r->rest.ptr + skip, len);
    *out = (struct sv){r->text + r->text_len, len};
    r->text_len += len;
    r->rest = sv_skip(r->rest, skip + len);
    return true;
}

/* A rune is left in *out_rune, anything else in *out. */
static bool read_atom(struct reader *r, struct strings *out, struct sv *out_rune) {
    char c = r->rest.ptr[0];
    if (c == '(') return read_group(r, out);
    if (c == '[') return read_class(r, out);
    if (sv_starts(r->rest, SV("\\d"))) {
        r->rest = sv_skip(r->rest, 2);
        return add_range(r, out, '0', '9');
    }
    return read_rune(r, out_rune);
}

static bool read_sequence(struct reader *r, struct strings *out) {
    struct strings set = {0};
    if (!strings_add(r, &set, (struct sv){"", 0})) return false;
    struct sv run = {NULL, 0}; /* runes not yet multiplied in */
    while (r->rest.len > 0 && r->rest.ptr[0] != '|' && r->rest.ptr[0] != ')') {
        if (r->depth == 0 && !r->single && r->rest.ptr[0] == '$' &&
            (r->rest.len == 1 || r->rest.ptr[1] == '|')) {
            r->rest = sv_skip(r->rest, 1);
            break;
        }
        struct strings atom = {0};
        struct sv rune = {NULL, 0};
        if (!read_atom(r, &atom, &rune)) return false;
        if (rune.len > 0 && !quantifier_follows(r)) {
            run = (struct sv){run.len == 0 ? rune.ptr : run.ptr, run.len + rune.len};
            continue;
        }
        if (rune.len > 0 && !strings_add(r, &atom, rune)) return false;
        struct strings head = {&run, 1, 1};
        if (run.len > 0 && !strings_multiply(r, &set, &head)) return false;
        run.len = 0;
        if (r->rest.len > 0 && r->rest.ptr[0] == '?') {
            r->rest = sv_skip(r->rest, 1);
            if (!strings_add(r, &atom, (struct sv){"", 0})) return false;
        }
        if (quantifier_follows(r) || !strings_multiply(r, &set, &atom)) return false;
    }
    struct strings tail = {&run, 1, 1};
    if (run.len > 0 && set.count == 1 && set.items[0].len == 0) return strings_add(r, out, run);
    if (run.len > 0 && !strings_multiply(r, &set, &tail)) return false;
    for (size_t i = 0; i < set.count; i++)
        if (!strings_add(r, out, set.items[i])) return false;
    return true;
}

static bool read_alternatives(struct reader *r, struct strings *out) {
    for (;;) {
        if (r->depth == 0 && r->rest.len > 0 && r->rest.ptr[0] == '^') {
            r->rest = sv_skip(r->rest, 1);
            if (quantifier_follows(r)) return false;
        }
        if (!read_sequence(r, out)) return false;
        if (r->rest.len == 0 || r->rest.ptr[0] != '|') return true;
        r->rest = sv_skip(r->rest, 1);
    }
}

static int sv_compare(const void *a, const void *b) {
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

/* All strings the pattern matches, sorted, or false. single: only one sequence, no "|" outside of
 * groups. */
static bool expand(struct reader *r, struct sv pattern, bool single, struct strings *out) {
    r->rest = pattern;
    r->single = single;
    r->text = arena_alloc(r->arena, pattern.len);
    r->text_len = 0;
    r->nomem |= r->text == NULL;
    if (r->text == NULL) return false;
    if (!(single ? read_sequence(r, out) : read_alternatives(r, out)) || r->rest.len > 0)
        return false;
    qsort(out->items, out->count, sizeof(*out->items), sv_compare);
    size_t kept = 1;
    for (size_t i = 1; i < out->count; i++)
        if (!sv_eq(out->items[i], out->items[kept - 1])) out->items[kept++] = out->items[i];
    out->count = kept;
    return true;
}

static enum match_plan plan_around(struct sv *pattern) {
    if (sv_starts(*pattern, SV("^"))) *pattern = sv_skip(*pattern, 1);
    bool before = sv_starts(*pattern, SV(".*"));
    if (before) *pattern = sv_skip(*pattern, 2);
    if (sv_ends(*pattern, SV("$")) && !sv_ends(*pattern, SV("\\$"))) pattern->len--;
    bool after = sv_ends(*pattern, SV(".*")) && !sv_ends(*pattern, SV("\\.*"));
    if (after) pattern->len -= 2;
    if (before && after) return PLAN_CONTAINS;
    return before ? PLAN_SUFFIX : after ? PLAN_PREFIX : PLAN_REGEX;
}

static bool is_one_of(struct sv s, const char *const *texts, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (sv_eq(s, sv_from(texts[i]))) return true;
    return false;
}

static enum match_plan plan_find(struct reader *r, struct sv pattern, struct strings *out) {
    static const char *const any[] = {".*", "(.*)", "(?:.*)", "^.*$", "^.*", ".*$"};
    static const char *const not_empty[] = {".+", "(.+)", "(?:.+)", "^.+$", "^.+", ".+$"};
    if (!utf8_valid(pattern)) return PLAN_REGEX;
    if (is_one_of(pattern, any, ARRAY_LEN(any))) return PLAN_ANY;
    if (is_one_of(pattern, not_empty, ARRAY_LEN(not_empty))) return PLAN_NOT_EMPTY;
    struct sv inner = pattern;
    enum match_plan plan = plan_around(&inner);
    bool around = plan != PLAN_REGEX;
    if (!expand(r, around ? inner : pattern, around, out)) return PLAN_REGEX;
    if (!around) return PLAN_LITERALS;
    return out->count == 1 && out->items[0].len > 0 ? plan : PLAN_REGEX;
}

static enum status plan_regex(struct matcher *m, struct arena *arena, struct err *err) {
    struct reader r = {.arena = arena};
    struct strings literals = {0};
    m->plan = plan_find(&r, m->value, &literals);
    if (r.nomem) return err_set(err, ERR_NOMEM, 0, "not enough memory for a label matcher");
    if (m->plan == PLAN_REGEX) return regex_compile(m->value, &m->regex, err);
    if (m->plan != PLAN_ANY && m->plan != PLAN_NOT_EMPTY) {
        m->literals = literals.items;
        m->literals_count = literals.count;
    }
    return OK;
}

enum status matcher_compile(struct matcher *m, struct arena *arena, struct err *err) {
    m->regex = NULL;
    m->literals = NULL;
    m->literals_count = 0;
    if (m->kind == MATCH_RE || m->kind == MATCH_NRE) {
        TRY(plan_regex(m, arena, err));
    } else {
        m->plan = PLAN_LITERALS;
        m->literals = arena_alloc(arena, sizeof(*m->literals));
        if (m->literals == NULL)
            return err_set(err, ERR_NOMEM, 0, "not enough memory for a label matcher");
        m->literals[0] = m->value;
        m->literals_count = 1;
    }
    m->matches_empty = matcher_match(m, (struct sv){"", 0});
    return OK;
}

void matcher_fini(struct matcher *m) {
    regex_free(m->regex);
    m->regex = NULL;
}

static bool literals_have(const struct matcher *m, struct sv value) {
    size_t low = 0, high = m->literals_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = sv_cmp(value, m->literals[mid]);
        if (c == 0) return true;
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

static bool plan_matches(const struct matcher *m, struct sv value) {
    size_t at;
    switch (m->plan) {
    case PLAN_LITERALS:
        return m->literals_count == 1 ? sv_eq(value, m->literals[0]) : literals_have(m, value);
    case PLAN_PREFIX: return sv_starts(value, m->literals[0]);
    case PLAN_SUFFIX: return sv_ends(value, m->literals[0]);
    case PLAN_CONTAINS: return sv_find(value, m->literals[0], &at);
    case PLAN_ANY: return true;
    case PLAN_NOT_EMPTY: return value.len > 0;
    case PLAN_REGEX: return regex_match(m->regex, value);
    }
    return false;
}

bool matcher_match(const struct matcher *m, struct sv value) {
    bool negative = m->kind == MATCH_NEQ || m->kind == MATCH_NRE;
    return plan_matches(m, value) != negative;
}
