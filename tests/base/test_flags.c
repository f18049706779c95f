/* SPDX-License-Identifier: Apache-2.0 */
/* Texts and behaviour were taken from Prometheus 2.42, which parses with kingpin; value errors
 * carry the flag besides. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "node/base/flags.h"

struct options {
    union flag_value config, lifecycle, agent, samples, ratio, lookback, size, features, hidden,
        help, version;
};

#define AT(member) offsetof(struct options, member)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show context-sensitive help.", AT(help), false},
    {"version", 0, FLAG_BOOL, NULL, "Show application version.", AT(version), false},
    {"config.file", 'c', FLAG_STRING, "prometheus.yml", "Prometheus configuration file path.",
     AT(config), false},
    {"web.enable-lifecycle", 'l', FLAG_BOOL, "false",
     "Enable shutdown and reload via HTTP request, which is a sentence long enough to be broken "
     "into lines.",
     AT(lifecycle), false},
    {"agent", 'a', FLAG_BOOL, "true", "Run as an agent.", AT(agent), false},
    {"query.max-samples", 0, FLAG_INT, "50000000", "Most samples.", AT(samples), false},
    {"ratio", 0, FLAG_FLOAT, NULL, "A ratio.", AT(ratio), false},
    {"query.lookback-delta", 0, FLAG_DURATION, "5m", "Lookback.", AT(lookback), false},
    {"storage.tsdb.retention.size", 0, FLAG_BYTES, NULL, "Size.", AT(size), false},
    {"enable-feature", 'f', FLAG_LIST, "base", "Features.", AT(features), false},
    {"hidden", 0, FLAG_STRING, NULL, "Not shown.", AT(hidden), true},
};

enum { ARGS_MAX = 8 };

static enum status parse(char *const *args, struct options *options, struct flag_list *positional,
                         struct err *err) {
    char *argv[ARGS_MAX + 1] = {(char[]){"cairn"}};
    int argc = 1;
    while (args[argc - 1] != NULL) {
        argv[argc] = args[argc - 1];
        argc++;
    }
    return flags_parse(defs, ARRAY_LEN(defs), argc, argv, options, positional, err);
}

static void release(struct options *options, struct flag_list *positional) {
    free(options->features.list.items);
    if (positional != NULL) free(positional->items);
}

/* Every flag's value as text, in the order of the table, separated by '|'. */
static void put_values(const struct options *options, struct buf *b) {
    for (size_t i = 2; i < ARRAY_LEN(defs); i++) {
        if (i > 2) buf_put_char(b, '|');
        flag_put_value(&defs[i], options, b);
    }
}

#define DEFAULTS "prometheus.yml|false|true|50000000|0|5m|0B|base|"

Test(flags, values) {
    static const struct {
        const char *args[ARGS_MAX];
        const char *values, *positional;
    } rows[] = {
        {{NULL}, DEFAULTS, ""},
        {{"--config.file=a.yml"}, "a.yml|false|true|50000000|0|5m|0B|base|", ""},
        {{"--config.file", "a.yml"}, "a.yml|false|true|50000000|0|5m|0B|base|", ""},
        {{"--config.file="}, "|false|true|50000000|0|5m|0B|base|", ""},
        {{"--config.file=a=b"}, "a=b|false|true|50000000|0|5m|0B|base|", ""},
        {{"-c", "x"}, "x|false|true|50000000|0|5m|0B|base|", ""},
        {{"-cx"}, "x|false|true|50000000|0|5m|0B|base|", ""},
        {{"-lcx"}, "x|true|true|50000000|0|5m|0B|base|", ""},
        {{"--config.file", "-"}, "-|false|true|50000000|0|5m|0B|base|", ""},
        {{"--web.enable-lifecycle", "--no-agent"},
         "prometheus.yml|true|false|50000000|0|5m|0B|base|",
         ""},
        {{"--no-web.enable-lifecycle"}, DEFAULTS, ""},
        {{"--query.max-samples=-3", "--ratio=1e-3"},
         "prometheus.yml|false|true|-3|0.001|5m|0B|base|",
         ""},
        {{"--query.max-samples=1e6"}, "prometheus.yml|false|true|1000000|0|5m|0B|base|", ""},
        {{"--query.lookback-delta=90s"}, "prometheus.yml|false|true|50000000|0|1m30s|0B|base|", ""},
        {{"--storage.tsdb.retention.size=1536MB"},
         "prometheus.yml|false|true|50000000|0|5m|1GiB512MiB|base|",
         ""},
        {{"--enable-feature=a", "-fb", "--enable-feature", "c,d"},
         "prometheus.yml|false|true|50000000|0|5m|0B|a,b,c,d|",
         ""},
        {{"--hidden=x"}, "prometheus.yml|false|true|50000000|0|5m|0B|base|x", ""},
        {{"one", "--web.enable-lifecycle", "two"},
         "prometheus.yml|true|true|50000000|0|5m|0B|base|",
         "one two "},
        {{"--web.enable-lifecycle=true"},
         "prometheus.yml|true|true|50000000|0|5m|0B|base|",
         "true "},
        {{"--", "--config.file=x", "-l"}, DEFAULTS, "--config.file=x -l "},
        {{"-"}, DEFAULTS, "- "},
        {{"--help", "--nope"}, DEFAULTS, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct options options;
        struct flag_list positional;
        struct err err = {0};
        struct buf b = {0};
        cr_assert_eq(parse((char *const *)(uintptr_t)rows[i].args, &options, &positional, &err), OK,
                     "%zu: %s", i, err.msg);
        put_values(&options, &b);
        cr_expect(sv_eq(buf_sv(&b), sv_from(rows[i].values)), "row %zu: %.*s", i,
                  SV_ARG(buf_sv(&b)));
        buf_clear(&b);
        for (size_t k = 0; k < positional.count; k++)
            buf_printf(&b, "%s ", positional.items[k]);
        cr_expect(sv_eq(buf_sv(&b), sv_from(rows[i].positional)), "row %zu: %.*s", i,
                  SV_ARG(buf_sv(&b)));
        buf_fini(&b);
        release(&options, &positional);
    }
}

Test(flags, errors) {
    static const struct {
        const char *args[ARGS_MAX];
        const char *error;
    } rows[] = {
        {{"--foo"}, "unknown long flag '--foo'"},
        {{"--foo=bar"}, "unknown long flag '--foo'"},
        {{"--config"}, "unknown long flag '--config'"}, /* no abbreviations */
        {{"--no-config.file"}, "unknown long flag '--no-config.file'"},
        {{"--no-foo"}, "unknown long flag '--no-foo'"},
        {{"-x"}, "unknown short flag '-x'"},
        {{"-lx"}, "unknown short flag '-x'"},
        {{"--config.file"}, "expected argument for flag '--config.file'"},
        {{"--config.file", "--agent"}, "expected argument for flag '--config.file'"},
        {{"-c"}, "expected argument for flag '-c'"},
        {{"bar"}, "unexpected bar"},
        {{"--web.enable-lifecycle=true"}, "unexpected true"},
        {{"--no-web.enable-lifecycle=x"}, "unexpected x"},
        {{"--config.file=a", "--config.file=b"}, "flag 'config.file' cannot be repeated"},
        {{"--agent", "--no-agent"}, "flag 'agent' cannot be repeated"},
        {{"--query.max-samples=abc"},
         "flag '--query.max-samples': strconv.ParseFloat: parsing \"abc\": invalid syntax"},
        {{"--ratio=1.5x"}, "flag '--ratio': strconv.ParseFloat: parsing \"1.5x\": invalid syntax"},
        {{"--query.lookback-delta="}, "flag '--query.lookback-delta': empty duration string"},
        {{"--query.lookback-delta=5q"},
         "flag '--query.lookback-delta': not a valid duration string: \"5q\""},
        {{"--storage.tsdb.retention.size=5q"},
         "flag '--storage.tsdb.retention.size': not a valid size: \"5q\" (for example 512MB)"},
        {{"--nope", "--help"}, "unknown long flag '--nope'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct options options;
        struct err err = {0};
        cr_expect_eq(parse((char *const *)(uintptr_t)rows[i].args, &options, NULL, &err), ERR_PARSE,
                     "row %zu", i);
        cr_expect_str_eq(err.msg, rows[i].error);
        release(&options, NULL);
    }
}

Test(flags, was_set_tells_given_from_default) {
    struct options options;
    char *const args[] = {(char[]){"--config.file=prometheus.yml"}, (char[]){"--version"}, NULL};
    cr_assert_eq(parse(args, &options, NULL, NULL), OK);
    cr_assert(flag_was_set("config.file") && flag_was_set("version"));
    cr_assert(!flag_was_set("agent") && !flag_was_set("nope"));
    cr_assert(options.version.boolean && !options.help.boolean);
    release(&options, NULL);
}

Test(flags, help_reads_as_kingpin) {
    struct buf b = {0};
    flags_put_help(defs, 5, "cairn", "A monitoring node.", &b);
    cr_assert_str_eq(
        buf_cstr(&b),
        "usage: cairn [<flags>]\n\nA monitoring node.\n\n\nFlags:\n"
        "  -h, --[no-]help              Show context-sensitive help.\n"
        "      --[no-]version           Show application version.\n"
        "  -c, --config.file=\"prometheus.yml\"\n"
        "                               Prometheus configuration file path.\n"
        "  -l, --[no-]web.enable-lifecycle\n"
        "                               Enable shutdown and reload via HTTP request,\n"
        "                               which is a sentence long enough to be broken into\n"
        "                               lines.\n"
        "  -a, --[no-]agent             Run as an agent.\n");
    buf_clear(&b);
    flags_put_help(defs, ARRAY_LEN(defs), "cairn", "", &b);
    size_t at;
    cr_assert(!sv_find(buf_sv(&b), SV("hidden"), &at));
    cr_assert(sv_find(buf_sv(&b), SV("--storage.tsdb.retention.size=SIZE\n"), &at));
    cr_assert(sv_find(buf_sv(&b), SV("--enable-feature=\"base\" ..."), &at));
    buf_fini(&b);
}
