/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/ring_api.h: the cluster over HTTP: GET /api/v1/status/ring, .../ring/bad, and under
 * --web.enable-admin-api POST /api/v1/admin/ring/drain|undrain|move|accept-loss|remove|verify. */
#pragma once

#include "node/daemon/node.h"
#include "node/http/server.h"

struct ring_api {
    struct node *node;
    bool admin; /* --web.enable-admin-api */
};
/* Routes to be added to the server's table; api outlives the server. */
/* Ends the request. */
void ring_api_error(struct http_request *req, enum status status, const char *text);
size_t ring_api_routes(struct ring_api *api, struct http_route *out, size_t max);
