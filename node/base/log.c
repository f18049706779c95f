/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "node/base/buf.h"
#include "node/base/duration.h"
#include "node/base/json.h"
#include "node/base/utf8.h"

static struct {
    enum log_level level;
    enum log_format format;
    int fd;
} log_config = {LOG_INFO, LOG_LOGFMT, STDERR_FILENO};

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

void log_setup(enum log_level level, enum log_format format, int fd) {
    log_config.level = level;
    log_config.format = format;
    log_config.fd = fd;
}

bool log_enabled(enum log_level level) {
    return level >= log_config.level;
}

bool log_level_parse(struct sv s, enum log_level *out) {
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (!sv_eq_nocase(s, sv_from(level_names[i]))) continue;
        *out = (enum log_level)i;
        return true;
    }
    return false;
}

/* slog's text handler: anything JSON would escape, spaces and '=' call for quotes; a backslash
 * alone does not. */
static bool needs_quotes(struct sv s) {
    if (s.len == 0) return true;
    while (s.len > 0) {
        uint32_t rune;
        size_t width = utf8_decode(s, &rune);
        if (rune == ' ' || rune == '=' || rune == '"' || rune == UTF8_INVALID ||
            !utf8_is_print(rune))
            return true;
        s = sv_skip(s, width);
    }
    return false;
}

static void put_pair(struct buf *b, const char *key, struct sv value) {
    if (log_config.format == LOG_JSON) {
        buf_put_char(b, b->len == 0 ? '{' : ',');
        json_put_string(b, sv_from(key));
        buf_put_char(b, ':');
        json_put_string(b, value);
        return;
    }
    if (b->len > 0) buf_put_char(b, ' ');
    buf_put_sv(b, sv_from(key));
    buf_put_char(b, '=');
    if (needs_quotes(value))
        go_put_quoted(b, value);
    else
        buf_put_sv(b, value);
}

static void put_head(struct buf *b, enum log_level level, const char *file, int line,
                     const char *msg) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct civil c = civil_from_ms((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    char text[256];
    int n = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)c.year, c.month,
                     c.day, c.hour, c.minute, c.second, c.millisecond);
    put_pair(b, "time", sv_make(text, (size_t)n));
    put_pair(b, "level", sv_from(level_names[level]));
    const char *slash = strrchr(file, '/');
    snprintf(text, sizeof text, "%s:%d", slash == NULL ? file : slash + 1, line);
    put_pair(b, "source", sv_from(text));
    put_pair(b, "msg", sv_from(msg));
}

static void put_line(struct buf *b) {
    if (log_config.format == LOG_JSON) buf_put_char(b, '}');
    buf_put_char(b, '\n');
    struct sv line =
        b->failed ? SV("level=ERROR msg=\"out of memory while logging\"\n") : buf_sv(b);
    ssize_t n;
    do
        n = write(log_config.fd, line.ptr, line.len);
    while (n < 0 && errno == EINTR);
    /* A log that cannot be written has nowhere to complain. */
    buf_fini(b);
}

void log_write(enum log_level level, const char *file, int line, const char *msg, ...) {
    if (!log_enabled(level)) return;
    struct buf b = {0};
    put_head(&b, level, file, line, msg);
    va_list ap;
    va_start(ap, msg);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
        const char *value = va_arg(ap, const char *);
        put_pair(&b, key, value == NULL ? SV("") : sv_from(value));
        if (value == NULL)
            break; /* an odd list, or a NULL value: what follows cannot be told apart */
    }
    va_end(ap);
    put_line(&b);
}

void log_writef(enum log_level level, const char *file, int line, const char *msg, const char *key,
                const char *fmt, ...) {
    if (!log_enabled(level)) return;
    struct buf b = {0};
    put_head(&b, level, file, line, msg);
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    struct sv value = sv_make(small, n < 0                      ? 0
                                     : (size_t)n < sizeof small ? (size_t)n
                                                                : sizeof small - 1);
    put_pair(&b, key, value);
    put_line(&b);
}
