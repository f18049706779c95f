/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/verify_api.h: POST /api/v1/admin/ring/verify: all nodes look at their replicas now
 * (ring/replica/verify.h). Without `id` it begins, of one `shard` or of all, and says its id; with
 * `id` it tells how far each node is, and what it found. */
#pragma once

#include "node/daemon/node.h"
#include "node/http/server.h"

/* ERR_PARSE: nothing was answered. */
MUST_USE enum status verify_api_start(struct node *node, struct http_request *req, struct err *err);
