/* SPDX-License-Identifier: Apache-2.0 */
/* kingpin's grammar: a long flag's value is what follows '=' or the next argument; a switch takes
 * none, so what follows its '=' is a positional argument (and usually refused). "--" ends flags;
 * "-" is positional. */
#include "node/base/flags.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/duration.h"
#include "node/base/num.h"

enum { FLAGS_MAX = 512 };

/* What the last flags_parse saw: it runs once, before threads start. */
static struct {
    const struct flag_def *defs;
    size_t count;
    bool set[FLAGS_MAX];
} last_parse;

struct flags_parser {
    const struct flag_def *defs;
    size_t count;
    void *options;
    struct flag_list *positional;
    struct err *err;
    char **argv;
    int argc, next;
    bool flags_ended;
    bool stop; /* --help or --version */
};

static union flag_value *value_of(const struct flag_def *def, void *options) {
    return (union flag_value *)(void *)((char *)options + def->offset);
}

static enum status list_append(struct flag_list *list, const char *item) {
    const char **items = reallocarray(list->items, list->count + 1, sizeof *items);
    if (items == NULL) return ERR_NOMEM;
    items[list->count++] = item;
    list->items = items;
    return OK;
}

static enum status value_error(const struct flag_def *def, const char *text, struct err *err) {
    struct sv s = sv_from(text);
    int len = s.len > 200 ? 200 : (int)s.len;
    switch (def->kind) {
    case FLAG_DURATION:
        if (s.len == 0)
            return err_set(err, ERR_PARSE, 0, "flag '--%s': empty duration string", def->name);
        return err_set(err, ERR_PARSE, 0, "flag '--%s': not a valid duration string: \"%.*s\"",
                       def->name, len, text);
    case FLAG_BYTES:
        return err_set(err, ERR_PARSE, 0,
                       "flag '--%s': not a valid size: \"%.*s\" (for example 512MB)", def->name,
                       len, text);
    case FLAG_INT:
    case FLAG_FLOAT:
        return err_set(err, ERR_PARSE, 0,
                       "flag '--%s': strconv.ParseFloat: parsing \"%.*s\": invalid syntax",
                       def->name, len, text);
    case FLAG_STRING:
    case FLAG_BOOL:
    case FLAG_LIST: break;
    }
    return err_set(err, ERR_PARSE, 0, "flag '--%s': invalid value \"%.*s\"", def->name, len, text);
}

/* kingpin reads integers through ParseFloat, so 1e6 is one. */
static bool parse_integer(struct sv s, int64_t *out) {
    double v;
    if (num_parse_i64(s, out)) return true;
    if (!num_parse_f64(s, &v) || !(v >= -0x1p63 && v < 0x1p63)) return false;
    *out = (int64_t)v;
    return true;
}

static enum status value_set(const struct flag_def *def, union flag_value *v, const char *text,
                             struct err *err) {
    struct sv s = sv_from(text);
    bool ok = true;
    switch (def->kind) {
    case FLAG_STRING: v->string = text; break;
    case FLAG_BOOL:
        v->boolean = sv_eq(s, SV("true"));
        ok = v->boolean || sv_eq(s, SV("false"));
        break;
    case FLAG_INT: ok = parse_integer(s, &v->integer); break;
    case FLAG_FLOAT: ok = num_parse_f64(s, &v->number); break;
    case FLAG_DURATION: ok = duration_parse(s, &v->duration_ms); break;
    case FLAG_BYTES: ok = num_parse_bytes(s, &v->bytes); break;
    case FLAG_LIST: return list_append(&v->list, text);
    }
    return ok ? OK : value_error(def, text, err);
}

static enum status defaults_set(struct flags_parser *p) {
    for (size_t i = 0; i < p->count; i++) {
        const struct flag_def *def = &p->defs[i];
        union flag_value *v = value_of(def, p->options);
        *v = (union flag_value){0};
        if (def->kind == FLAG_STRING) v->string = "";
        if (def->value != NULL) TRY(value_set(def, v, def->value, p->err));
    }
    return OK;
}

static const struct flag_def *find_long(const struct flags_parser *p, struct sv name) {
    for (size_t i = 0; i < p->count; i++)
        if (sv_eq(sv_from(p->defs[i].name), name)) return &p->defs[i];
    return NULL;
}

static enum status flag_apply(struct flags_parser *p, const struct flag_def *def,
                              const char *text) {
    bool *set = &last_parse.set[def - p->defs];
    union flag_value *v = value_of(def, p->options);
    if (*set && def->kind != FLAG_LIST)
        return err_set(p->err, ERR_PARSE, 0, "flag '%s' cannot be repeated", def->name);
    if (!*set && def->kind == FLAG_LIST) v->list.count = 0; /* the default goes */
    *set = true;
    TRY(value_set(def, v, text, p->err));
    p->stop = def->kind == FLAG_BOOL && v->boolean &&
              (strcmp(def->name, "help") == 0 || strcmp(def->name, "version") == 0);
    return OK;
}

static enum status take_positional(struct flags_parser *p, const char *arg) {
    if (p->positional == NULL) return err_set(p->err, ERR_PARSE, 0, "unexpected %.200s", arg);
    return list_append(p->positional, arg);
}

/* The next argument as a value; one that looks like a flag is none. */
static const char *take_argument(struct flags_parser *p) {
    if (p->next >= p->argc) return NULL;
    const char *arg = p->argv[p->next];
    if (arg[0] == '-' && arg[1] != '\0') return NULL;
    p->next++;
    return arg;
}

static enum status parse_long(struct flags_parser *p, const char *arg) {
    struct sv name;
    size_t at;
    struct sv text = sv_from(arg + 2);
    bool has_value = sv_find_char(text, '=', &at);
    name = has_value ? sv_take(text, at) : text;
    const char *value = has_value ? name.ptr + name.len + 1 : NULL;
    const struct flag_def *def = find_long(p, name);
    bool negated = false;
    if (def == NULL && sv_starts(name, SV("no-"))) {
        def = find_long(p, sv_skip(name, 3));
        negated = def != NULL && def->kind == FLAG_BOOL;
        if (!negated) def = NULL;
    }
    if (def == NULL)
        return err_set(p->err, ERR_PARSE, 0, "unknown long flag '--%.*s'",
                       name.len > 200 ? 200 : (int)name.len, name.ptr);
    if (def->kind == FLAG_BOOL) {
        TRY(flag_apply(p, def, negated ? "false" : "true"));
        return value == NULL || p->stop ? OK : take_positional(p, value);
    }
    if (value == NULL) value = take_argument(p);
    if (value == NULL)
        return err_set(p->err, ERR_PARSE, 0, "expected argument for flag '--%s'", def->name);
    return flag_apply(p, def, value);
}

/* "-abc" is -a -b -c; the rest of the word is the value of the first flag that takes one. */
static enum status parse_short(struct flags_parser *p, const char *arg) {
    for (const char *c = arg + 1; *c != '\0' && !p->stop; c++) {
        const struct flag_def *def = NULL;
        for (size_t i = 0; i < p->count && def == NULL; i++)
            if (p->defs[i].short_name == *c) def = &p->defs[i];
        if (def == NULL) return err_set(p->err, ERR_PARSE, 0, "unknown short flag '-%c'", *c);
        if (def->kind == FLAG_BOOL) {
            TRY(flag_apply(p, def, "true"));
            continue;
        }
        const char *value = c[1] != '\0' ? c + 1 : take_argument(p);
        if (value == NULL)
            return err_set(p->err, ERR_PARSE, 0, "expected argument for flag '-%c'", *c);
        return flag_apply(p, def, value);
    }
    return OK;
}

enum status flags_parse(const struct flag_def *defs, size_t defs_count, int argc, char **argv,
                        void *options, struct flag_list *positional, struct err *err) {
    assert(defs_count <= FLAGS_MAX);
    struct flags_parser p = {.defs = defs,
                             .count = defs_count,
                             .options = options,
                             .positional = positional,
                             .err = err,
                             .argv = argv,
                             .argc = argc,
                             .next = 1};
    memset(&last_parse, 0, sizeof last_parse);
    last_parse.defs = defs;
    last_parse.count = defs_count;
    if (positional != NULL) *positional = (struct flag_list){0};
    TRY(defaults_set(&p));
    while (p.next < argc && !p.stop) {
        const char *arg = argv[p.next++];
        if (p.flags_ended || arg[0] != '-' || arg[1] == '\0')
            TRY(take_positional(&p, arg));
        else if (strcmp(arg, "--") == 0)
            p.flags_ended = true;
        else if (arg[1] == '-')
            TRY(parse_long(&p, arg));
        else
            TRY(parse_short(&p, arg));
    }
    return OK;
}

bool flag_was_set(const char *name) {
    for (size_t i = 0; i < last_parse.count; i++)
        if (strcmp(last_parse.defs[i].name, name) == 0) return last_parse.set[i];
    return false;
}

static void put_flag_head(struct buf *out, const struct flag_def *def) {
    if (def->short_name != '\0')
        buf_printf(out, "  -%c, ", def->short_name);
    else
        buf_put_sv(out, SV("      "));
    buf_printf(out, def->kind == FLAG_BOOL ? "--[no-]%s" : "--%s", def->name);
    if (def->kind == FLAG_BOOL) return;
    if (def->value != NULL && (def->kind == FLAG_STRING || def->kind == FLAG_LIST))
        buf_printf(out, "=\"%s\"", def->value);
    else if (def->value != NULL)
        buf_printf(out, "=%s", def->value);
    else {
        buf_put_char(out, '=');
        for (const char *c = strrchr(def->name, '.') == NULL ? def->name
                                                             : strrchr(def->name, '.') + 1;
             *c != '\0'; c++)
            buf_put_char(out, *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c);
    }
    if (def->kind == FLAG_LIST) buf_put_sv(out, SV(" ..."));
}

/* The help text in a second column, broken at spaces to lines of 80 columns. It starts beside a
 * short head, else on a line of its own. */
static void put_help_column(struct buf *out, size_t head_len, struct sv text) {
    enum { INDENT = 31, WIDTH = 80 - INDENT };
    size_t column = head_len;
    if (head_len >= INDENT - 1) {
        buf_put_char(out, '\n');
        column = 0;
    }
    while (text.len > 0) {
        size_t n = text.len;
        if (n > WIDTH) {
            for (n = WIDTH; n > 0 && text.ptr[n] != ' '; n--) {
            }
            if (n == 0)
                for (n = WIDTH; n < text.len && text.ptr[n] != ' '; n++) {
                }
        }
        buf_printf(out, "%*s%.*s\n", (int)(INDENT - column), "", (int)n, text.ptr);
        text = sv_skip(text, n + 1);
        column = 0;
    }
}

void flags_put_help(const struct flag_def *defs, size_t defs_count, const char *program,
                    const char *summary, struct buf *out) {
    buf_printf(out, "usage: %s [<flags>]\n\n%s\n\n\nFlags:\n", program, summary);
    for (size_t i = 0; i < defs_count; i++) {
        if (defs[i].hidden) continue;
        size_t start = out->len;
        put_flag_head(out, &defs[i]);
        put_help_column(out, out->len - start, sv_from(defs[i].help));
    }
}

void flag_put_value(const struct flag_def *def, const void *options, struct buf *out) {
    const union flag_value *v =
        (const union flag_value *)(const void *)((const char *)options + def->offset);
    switch (def->kind) {
    case FLAG_STRING: buf_put_sv(out, sv_from(v->string)); break;
    case FLAG_BOOL: buf_put_sv(out, v->boolean ? SV("true") : SV("false")); break;
    case FLAG_INT: num_put_i64(out, v->integer); break;
    case FLAG_FLOAT: num_put_f64(out, v->number, 'g'); break;
    case FLAG_DURATION: duration_put(out, v->duration_ms); break;
    case FLAG_BYTES: num_put_bytes(out, v->bytes); break;
    case FLAG_LIST:
        for (size_t i = 0; i < v->list.count; i++) {
            if (i > 0) buf_put_char(out, ',');
            buf_put_sv(out, sv_from(v->list.items[i]));
        }
        break;
    }
}
