/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/log.h: logfmt or JSON lines on stderr in Prometheus' (slog) style:
 * time=2026-01-02T15:04:05.123Z level=INFO source=wal.c:42 msg="..." key=value
 * Thread: any; one write(2) a line. Only the flow that owns an operation logs it, once. */
#pragma once

#include <stdbool.h>

#include "node/base/attr.h"
#include "node/base/sv.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

/* Once, before threads start. fd is not owned. */
void log_setup(enum log_level level, enum log_format format, int fd);
bool log_enabled(enum log_level level);
bool log_level_parse(struct sv s, enum log_level *out); /* debug info warn error */

/* kv: alternating const char * key and const char * value, ended by NULL. Values are quoted where
 * needed; a NULL value is written as "" and ends the list. */
void log_write(enum log_level level, const char *file, int line, const char *msg, ...)
    __attribute__((sentinel));
/* One formatted value (cut at 511 bytes) beside the message: log_warnf("slow fsync", "took_ms",
 * "%d", took_ms). */
void log_writef(enum log_level level, const char *file, int line, const char *msg, const char *key,
                const char *fmt, ...) PRINTF_LIKE(6, 7);

/* log_info("node started", "node", id_text, "listen", addr) */
#define log_debug(...) log_write(LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__, (const char *)NULL)
#define log_info(...) log_write(LOG_INFO, __FILE__, __LINE__, __VA_ARGS__, (const char *)NULL)
#define log_warn(...) log_write(LOG_WARN, __FILE__, __LINE__, __VA_ARGS__, (const char *)NULL)
#define log_error(...) log_write(LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__, (const char *)NULL)
#define log_debugf(msg, key, ...) log_writef(LOG_DEBUG, __FILE__, __LINE__, msg, key, __VA_ARGS__)
#define log_infof(msg, key, ...) log_writef(LOG_INFO, __FILE__, __LINE__, msg, key, __VA_ARGS__)
#define log_warnf(msg, key, ...) log_writef(LOG_WARN, __FILE__, __LINE__, msg, key, __VA_ARGS__)
#define log_errorf(msg, key, ...) log_writef(LOG_ERROR, __FILE__, __LINE__, msg, key, __VA_ARGS__)
