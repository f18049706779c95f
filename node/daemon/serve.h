/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/serve.h: the node's HTTP side: routes of the management endpoints, remote write, API
 * and page. */
#pragma once

#include "node/daemon/config.h"
#include "node/daemon/node.h"
#include "node/daemon/options.h"
#include "node/http/server.h"

struct serve;
struct query_log;
MUST_USE enum status serve_new(struct runtime *rt, struct node *node, const struct options *options,
                               const struct config *config,
                               const struct config_retention_flags *retention,
                               struct query_log *query_log, struct serve **out, struct err *err);
/* Reads the configuration again: what the section `storage` says counts from now on; where anything
 * else has changed it is an error, and nothing is taken. One at a time: ERR_CONFLICT. Any thread.
 */
MUST_USE enum status serve_reload(struct serve *serve, struct err *err);
unsigned serve_port(const struct serve *serve);
void serve_stop(struct serve *serve, uint64_t grace_ms, void (*stopped)(void *ctx), void *ctx);
void serve_free(struct serve *serve);
