/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <unistd.h>

#include "node/base/attr.h"
#include "node/base/buf.h"
#include "node/base/log.h"
#include "node/base/regex.h"

static int read_end;
static int line_number;

static void capture(enum log_level level, enum log_format format) {
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    read_end = fds[0];
    log_setup(level, format, fds[1]);
}

/* One write(2) a line, so one read(2) gives what one call wrote. The line is head, line_number,
 * tail; both are patterns. */
static void expect_line(const char *head, const char *tail) {
    char text[8192];
    struct buf pattern = {0};
    ssize_t n = read(read_end, text, sizeof text);
    cr_assert(n > 0);
    buf_printf(&pattern, "%s%d%s", head, line_number, tail);
    struct regex *re;
    struct err err;
    cr_assert_eq(regex_compile(buf_sv(&pattern), &re, &err), OK, "%s", err.msg);
    cr_assert(regex_match(re, sv_make(text, (size_t)n)), "%.*s", (int)n, text);
    regex_free(re);
    buf_fini(&pattern);
}

#define TIME "time=\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z "

Test(log, logfmt_quotes_where_slog_does) {
    capture(LOG_INFO, LOG_LOGFMT);
    line_number = __LINE__ + 1;
    log_info("node started", "node", "a1", "empty", "", "path", "C:\\x", "eq", "a=b", "nl", "a\nb",
             "é", "é\xff");
    expect_line(TIME "level=INFO source=test_log\\.c:", " msg=\"node started\" node=a1 empty=\"\" "
                                                        "path=C:\\\\x eq=\"a=b\" "
                                                        "nl=\"a\\\\nb\" é=\"é\\\\xff\"\n");
    line_number = __LINE__ + 1;
    log_errorf("write failed", "err", "%s at %d", "no space", 5);
    expect_line(TIME "level=ERROR source=test_log\\.c:",
                " msg=\"write failed\" err=\"no space at 5\"\n");
    line_number = __LINE__ + 1;
    log_warn("x");
    expect_line(TIME "level=WARN source=test_log\\.c:", " msg=x\n");
}

Test(log, json_lines) {
    capture(LOG_DEBUG, LOG_JSON);
    line_number = __LINE__ + 1;
    log_debug("a \"quoted\" word", "k", "v\n");
    expect_line("\\{\"time\":\"[-0-9T:.]+Z\",\"level\":\"DEBUG\",\"source\":\"test_log\\.c:",
                "\","
                "\"msg\":\"a \\\\\"quoted\\\\\" word\",\"k\":\"v\\\\n\"\\}\n");
    static char long_text[3001];
    memset(long_text, 'x', sizeof long_text - 1);
    line_number = __LINE__ + 1;
    log_infof("long", "text", "%s", long_text);
    expect_line("\\{\"time\":.*,\"source\":\"test_log\\.c:",
                "\",\"msg\":\"long\",\"text\":\"x{511}\"\\}\n");
}

Test(log, levels) {
    static const struct {
        const char *text;
        bool ok;
        enum log_level level;
    } rows[] = {{"debug", true, LOG_DEBUG}, {"info", true, LOG_INFO},
                {"warn", true, LOG_WARN},   {"error", true, LOG_ERROR},
                {"ERROR", true, LOG_ERROR}, {"warning", false, LOG_DEBUG},
                {"", false, LOG_DEBUG}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum log_level level = LOG_DEBUG;
        cr_expect_eq(log_level_parse(sv_from(rows[i].text), &level), rows[i].ok, "%s",
                     rows[i].text);
        cr_expect_eq(level, rows[i].level, "%s", rows[i].text);
    }
    capture(LOG_WARN, LOG_LOGFMT);
    cr_assert(!log_enabled(LOG_INFO) && log_enabled(LOG_WARN) && log_enabled(LOG_ERROR));
    log_info("not written");
    log_infof("not written", "n", "%d", 1);
    line_number = __LINE__ + 1;
    log_error("written");
    expect_line(TIME "level=ERROR source=test_log\\.c:", " msg=written\n");
}
