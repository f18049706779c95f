/* SPDX-License-Identifier: Apache-2.0 */
/* query/api/query_log.h: the query log (global.query_log_file: a JSON object a line, as Prometheus
 * writes it) and the warning about slow queries. Entries are made on the query's core and written
 * by the log core, which may block on the disk; beyond ENTRIES_MAX under way they are dropped and
 * counted. */
#pragma once

#include "node/http/server.h"
#include "query/gather/gather.h"

struct query_log;
/* At start-up. path: NULL or "" for no file; it is created, and appended to. slower_than_ns 0: no
 * warnings. */
MUST_USE enum status query_log_new(struct runtime *rt, const char *path, uint64_t slower_than_ns,
                                   struct query_log **out, struct err *err);
/* After the query has ended, before gather_query_fini. */
void query_log_note(struct query_log *log, struct http_request *req, const struct gather_query *q);
void query_log_free(struct query_log *log); /* after the log core has stopped */
