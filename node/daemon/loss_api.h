/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/loss_api.h: what is bad in blocks (ring/replica/loss.h), of all nodes.
 *   GET  /api/v1/status/ring/bad          {"nodes":[{"id","address","error" or
 *        "bad":[{"shard","minTime","maxTime","elsewhere"}]}]}; elsewhere: another replica is asked
 *   POST /api/v1/admin/ring/accept-loss   of a shard whose replicas the controller says are
 *        complete: {"lost":[{"id","address","shard","minTime","maxTime","kept"}]} */
#pragma once

#include "node/daemon/node.h"
#include "node/http/server.h"

/* Errors: nothing was answered. */
MUST_USE enum status loss_api_bad(struct node *node, struct http_request *req, struct err *err);
/* otherwise: what is told where nothing of the shard is bad, with 409. */
MUST_USE enum status loss_api_accept(struct node *node, struct http_request *req, uint32_t shard,
                                     const struct err *otherwise, struct err *err);
