/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the OpenMetrics text format by its specification; test_verbs.py compares whole files
 * with promtool. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "storage/import/openmetrics_line.h"

static struct om_line line_of(struct om_parser *p, const char *text) {
    struct om_line line;
    struct err err = {0};
    cr_assert_eq(om_parse(p, sv_from(text), &line, &err), OK, "%s: %s", text, err.msg);
    return line;
}

static void expect_labels(const struct om_line *line, const char *printed) {
    struct buf b = {0};
    labels_print(line->canonical, &b);
    cr_expect(sv_eq(buf_sv(&b), sv_from(printed)), "%.*s, not %s", SV_ARG(buf_sv(&b)), printed);
    buf_fini(&b);
}

Test(openmetrics, samples_are_read) {
    struct om_parser p = {0};
    struct om_line line = line_of(&p, "a:b_c{z=\"1\",b=\"x\\\\y\\\"\\n\\q\",e=\"\"} 0.5 1.0015");
    expect_labels(&line, "a:b_c{b=\"x\\\\y\\\"\\n\\\\q\", z=\"1\"}"); /* \q is no escape */
    cr_expect(line.kind == OM_SAMPLE && line.value == 0.5 && !line.has_exemplar);
    cr_expect_eq(line.time_ms, 1002); /* to the nearest, away from 0 */
    line = line_of(&p, "{\"disk.used\",\"mount point\"=\"/\"} NaN -1.5");
    cr_expect(sv_eq(labels_get(line.canonical, SV("__name__")), SV("disk.used")));
    cr_expect(sv_eq(labels_get(line.canonical, SV("mount point")), SV("/")));
    cr_expect_eq(f64_bits(line.value), NORMAL_NAN_BITS);
    cr_expect_eq(line.time_ms, -1500);
    line = line_of(&p, "x{} -Inf 1709244030.001 # {trace_id=\"1\"} 5 1709244030");
    cr_expect_eq(line.time_ms, 1709244030001);
    cr_expect(line.has_exemplar && isinf(line.value) && line.value < 0);
    cr_expect_eq(line_of(&p, "# EOF").kind, OM_EOF);
    cr_expect_eq(line_of(&p, "# HELP \"a b\" text").kind, OM_METADATA);
    cr_expect_eq(line_of(&p, "# TYPE x gaugehistogram").kind, OM_METADATA);
    om_parser_fini(&p);
}

static void expect_exemplar(const struct om_line *line, const char *labels, double value,
                            int64_t time_ms) {
    struct buf b = {0};
    cr_assert(line->has_exemplar && line->exemplar_fits);
    labels_print(line->exemplar.labels, &b);
    cr_expect(sv_eq(buf_sv(&b), sv_from(labels)), "%.*s, not %s", SV_ARG(buf_sv(&b)), labels);
    cr_expect(f64_bits(line->exemplar.value) == f64_bits(value), "%g", line->exemplar.value);
    cr_expect_eq(line->exemplar.time_ms, time_ms);
    buf_fini(&b);
}

Test(openmetrics, exemplars_are_read) {
    struct om_parser p = {0};
    struct om_line line =
        line_of(&p, "a_total{b=\"c\"} 3 10.5 # {z=\"\\\"\\n\",a=\"1\"} 0.25 9.0015");
    expect_labels(&line, "a_total{b=\"c\"}"); /* its own labels stay beside it */
    cr_expect(line.value == 3 && line.time_ms == 10500);
    expect_exemplar(&line, "{a=\"1\", z=\"\\\"\\n\"}", 0.25, 9002);
    line = line_of(&p, "a_bucket{le=\"1\"} 3 10.5 # {} -Inf"); /* the sample's time */
    expect_exemplar(&line, "{}", -INFINITY, 10500);
    line = line_of(&p, "a_total 3 10.5 # {\"trace id\"=\"1\"} 1");
    expect_exemplar(&line, "{\"trace id\"=\"1\"}", 1, 10500);
    cr_expect(!line_of(&p, "a_total 3 10.5").has_exemplar);
    /* OpenMetrics 1.0: 128 UTF-8 characters of names and values together */
    char text[600], value[300];
    for (size_t i = 0; i < 248; i += 2)
        memcpy(value + i, "\xc3\xa4", 2);
    snprintf(text, sizeof text, "a_total 3 10.5 # {abcd=\"%.248s\"} 1", value);
    cr_expect(line_of(&p, text).exemplar_fits);
    text[strlen("a_total 3 10.5 # {")] = 'x'; /* as long */
    cr_expect(line_of(&p, text).exemplar_fits);
    memcpy(strstr(text, "\"} 1"), "y\"} 1", 6);
    line = line_of(&p, text);
    cr_expect(line.has_exemplar && !line.exemplar_fits);
    line = line_of(&p, "a_total 3 10.5 # {b=\"1\",b=\"2\"} 1");
    cr_expect(line.has_exemplar && !line.exemplar_fits && line.value == 3);
    om_parser_fini(&p);
}

static void expect_family(const char *text, enum om_said said, const char *name, const char *says) {
    struct om_parser p = {0};
    struct om_line line = line_of(&p, text);
    cr_assert(line.kind == OM_METADATA && line.said == said, "%s", text);
    cr_expect(sv_eq(line.name, sv_from(name)), "%.*s", SV_ARG(line.name));
    cr_expect(said == OM_TYPE || sv_eq(line.text, sv_from(says)), "%.*s", SV_ARG(line.text));
    om_parser_fini(&p);
}

Test(openmetrics, families_are_read) {
    static const char *const types[] = {"unknown",        "counter", "gauge", "histogram",
                                        "gaugehistogram", "summary", "info",  "stateset"};
    struct om_parser p = {0};
    for (uint8_t i = 0; i < ARRAY_LEN(types); i++) { /* prometheus.MetricMetadata's numbers */
        char text[64];
        snprintf(text, sizeof text, "# TYPE a:b_c %s", types[i]);
        cr_expect_eq(line_of(&p, text).type, i, "%s", text);
    }
    om_parser_fini(&p);
    expect_family("# TYPE a counter", OM_TYPE, "a", "");
    expect_family("# TYPE \"a \\\"b\\\"\" gauge", OM_TYPE, "a \"b\"", "");
    expect_family("# HELP a Back\\\\slash \\\"q\\\" \"r\"\\nfeed \\t", OM_HELP, "a",
                  "Back\\slash \"q\" \"r\"\nfeed \\t");
    expect_family("# HELP \"a b\" two  words ", OM_HELP, "a b", "two  words ");
    expect_family("# HELP a", OM_HELP, "a", "");
    expect_family("# UNIT a_seconds seconds", OM_UNIT, "a_seconds", "seconds");
    expect_family("# UNIT a ", OM_UNIT, "a", "");
}

Test(openmetrics, mistakes_are_refused) {
    static const char *const bad[] = {
        "", " ", "1a 1 2", "a", "a 1", "a 1 # {} 1", "a  1 2", "a 1  2", "a 1 2 ", "a 1 2 #",
        "a\t1 2", "a{b} 1 2", "a{b=} 1 2", "a{b=\"} 1 2", "a{b=\"c\" 1 2", "a{b=\"c\",} 1 2",
        "a{1=\"c\"} 1 2", "a{b=\"c\"}1 2", "a{b=\"1\",b=\"2\"} 1 2", "{b=\"c\"} 1 2",
        "a{\"b\"} 1 2", "a{b=\"\xff\"} 1 2", "a 1_0 2", "a 0x1p3 2", "a one 2", "a 1 2s",
        "a 1 +Inf", "a 1 1e13", "# EOF ", "#EOF", "# x", "#", "# TYPE a", "# TYPE a gauges",
        "# HELP", "# HELP 1 x", "# UNIT a_seconds bytes", "# UNIT seconds seconds",
        "# UNIT aseconds seconds", "# TYPE \"a gauge", "# TYPE \"\" gauge",
        /* promtool says of each exemplar that it is a bad one */
        "a 1 2 # {x=\"1\",} 1", "a 1 2 # {x=\"1\"}", "a 1 2 # {x=\"1\"} 1 2 3",
        "a 1 2 # {x=\"1\"} 1 NaN", "a 1 2 # {x=\"1\"} a", "a 1 2 #  {x=\"1\"} 1",
        "a 1 2 # {x=\"1\"} 1 +Inf", "a 1 2 # {\"x\"} 1", "a 1 2 # {x=\"1\"}  1",
        "a 1 2 # {x=\"1\"} 1 ", "a 1 2 # {x=\"1\" 1", "a 1 2 # x 1"};
    struct om_parser p = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct om_line line;
        struct err err = {0};
        cr_expect_eq(om_parse(&p, sv_from(bad[i]), &line, &err), ERR_PARSE, "%s", bad[i]);
        cr_expect(err.msg[0] != '\0', "%s", bad[i]);
    }
    om_parser_fini(&p);
}
