/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the OpenMetrics text format by its specification; test_verbs.py compares whole files
 * with promtool. */
#include <criterion/criterion.h>
#include <math.h>

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

Test(openmetrics, mistakes_are_refused) {
    static const char *const bad[] = {"",
                                      " ",
                                      "1a 1 2",
                                      "a",
                                      "a 1",
                                      "a 1 # {} 1",
                                      "a  1 2",
                                      "a 1  2",
                                      "a 1 2 ",
                                      "a 1 2 #",
                                      "a\t1 2",
                                      "a{b} 1 2",
                                      "a{b=} 1 2",
                                      "a{b=\"} 1 2",
                                      "a{b=\"c\" 1 2",
                                      "a{b=\"c\",} 1 2",
                                      "a{1=\"c\"} 1 2",
                                      "a{b=\"c\"}1 2",
                                      "a{b=\"1\",b=\"2\"} 1 2",
                                      "{b=\"c\"} 1 2",
                                      "a{\"b\"} 1 2",
                                      "a{b=\"\xff\"} 1 2",
                                      "a 1_0 2",
                                      "a 0x1p3 2",
                                      "a one 2",
                                      "a 1 2s",
                                      "a 1 +Inf",
                                      "a 1 1e13",
                                      "# EOF ",
                                      "#EOF",
                                      "# x",
                                      "#",
                                      "# TYPE a",
                                      "# TYPE a gauges",
                                      "# HELP",
                                      "# HELP 1 x"};
    struct om_parser p = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct om_line line;
        struct err err = {0};
        cr_expect_eq(om_parse(&p, sv_from(bad[i]), &line, &err), ERR_PARSE, "%s", bad[i]);
        cr_expect(err.msg[0] != '\0', "%s", bad[i]);
    }
    om_parser_fini(&p);
}
