/* SPDX-License-Identifier: Apache-2.0 */
/* node/ctl/ctl.h: shared by the files of cairnctl: a blocking HTTP client and the verbs. Arguments,
 * output and exit codes are those of promtool where it has the verb: 0 for success, 1 for a
 * failure, told on stderr. Thread: the one of the program. */
#pragma once

#include "node/base/buf.h"
#include "node/base/flags.h"
#include "node/base/status.h"
#include "node/base/sv.h"

/* -- http.c */
struct http_call {
    /* given */
    const char *server;              /* base address; http:// when it names no scheme */
    const char *path;                /* below it, beginning with / */
    const struct buf *form;          /* POSTed when not NULL */
    const struct flag_list *headers; /* name=value or name:value; NULL: none */
    long timeout_s;
    /* outcome */
    long code;
    struct buf body; /* the caller's */
};
/* OK also for error codes of HTTP; ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_PARSE (of the address) name
 * the address. */
MUST_USE enum status http_call_run(struct http_call *call, struct err *err);
void form_put(struct buf *form, const char *name, struct sv value);

/* -- text.c; apart because base/json.h and jansson.h share names */
void text_put_quoted(struct buf *out, struct sv s); /* Go's %q */
void text_put_json(struct buf *out,
                   struct sv s); /* encoding/json's string: with <, > and & escaped */

/* -- ring.c: the `data` of an answer, POSTed when there is a form: a new reference, or NULL after
 * having said why */
struct json_t;
struct json_t *ctl_ring_call(const char *url, const char *path, const struct buf *form);
/* Of an object in it: 0 and "" where there is none. */
int64_t ctl_number(const struct json_t *of, const char *key);
const char *ctl_text(const struct json_t *of, const char *key);

/* -- verbs: argv[0] is the verb itself */
int query_instant(int argc, char **argv);
int query_range(int argc, char **argv);
int query_series(int argc, char **argv);
int query_labels(int argc, char **argv);
int check_healthy(int argc, char **argv);
int check_ready(int argc, char **argv);
int check_config(int argc, char **argv);
int test_promql(int argc, char **argv);
int ring_status_main(int argc, char **argv);
int ring_drain_main(int argc, char **argv);
int ring_undrain_main(int argc, char **argv);
int ring_move_main(int argc, char **argv);
int ring_accept_loss_main(int argc, char **argv);
int ring_remove_main(int argc, char **argv);
int ring_recover_main(int argc, char **argv);
int ring_verify_main(int argc, char **argv);
int import_prometheus_main(int argc, char **argv);
int import_openmetrics_main(int argc, char **argv);
int tsdb_list_main(int argc, char **argv);
int tsdb_analyze_main(int argc, char **argv);
int tsdb_verify_main(int argc, char **argv);
int tsdb_dump_main(int argc, char **argv);
int tsdb_export_main(int argc, char **argv);

/* The help of a verb, on stdout; returns 0. */
int ctl_help(const char *verb, const char *arguments, const char *summary,
             const struct flag_def *defs, size_t count);
int ctl_fail(const char *fmt, ...)
    PRINTF_LIKE(1, 2); /* `cairnctl: error: ...` on stderr; returns 1 */
