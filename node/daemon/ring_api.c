/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/ring_api.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/json.h"
#include "node/base/num.h"
#include "node/daemon/loss_api.h"
#include "node/daemon/verify_api.h"

/* A request that waits for the controller's answer. */
struct ring_call {
    struct admin_call call;
    struct node *node;
    struct http_request *req; /* NULL once the client has gone */
};

static int code_of(enum status status) {
    if (status == ERR_PARSE) return 400;
    if (status == ERR_CONFLICT) return 409;
    if (status == ERR_UNSUPPORTED) return 403;
    return 503;
}

void ring_api_error(struct http_request *req, enum status status, const char *text) {
    struct buf b = {0};
    struct json j = json_init(&b);
    json_object_begin(&j);
    json_key_string(&j, SV("status"), SV("error"));
    json_key_string(&j, SV("errorType"),
                    code_of(status) == 503 ? SV("unavailable") : SV("bad_data"));
    json_key_string(&j, SV("error"), sv_from(text));
    json_object_end(&j);
    http_answer_take(req, code_of(status), SV("application/json"), &b);
}

static void on_canceled(struct http_request *req, void *ctx) {
    (void)req;
    ((struct ring_call *)ctx)->req = NULL;
}

/* Whose replicas are complete has lost nothing by the map: maybe in its blocks. */
static void accept_blocks(struct ring_call *c) {
    struct err err;
    enum status status = loss_api_accept(c->node, c->req, c->call.shard, &c->call.err, &err);
    if (status != OK) ring_api_error(c->req, status, err.msg);
}

static void on_done(struct core *here, struct admin_call *call) {
    (void)here;
    struct ring_call *c = container_of(call, struct ring_call, call);
    if (c->req != NULL && call->verb == ADMIN_ACCEPT_LOSS && call->status == ERR_CONFLICT) {
        accept_blocks(c);
    } else if (c->req != NULL && call->status != OK) {
        ring_api_error(c->req, call->status, call->err.msg);
    } else if (c->req != NULL) {
        struct buf b = {0};
        buf_put_sv(&b, SV("{\"status\":\"success\",\"data\":"));
        buf_put_sv(&b, call->answer.len == 0 ? SV("null") : buf_sv(&call->answer));
        buf_put_sv(&b, SV("}"));
        http_answer_take(c->req, 200, SV("application/json"), &b);
    }
    buf_fini(&call->answer);
    free(c);
}

static void ask(struct http_request *req, const struct admin_call *call) {
    const struct ring_api *api = req->route_ctx;
    struct ring_call *c = calloc(1, sizeof *c);
    if (c == NULL) {
        ring_api_error(req, ERR_NOMEM, "out of memory");
        return;
    }
    c->call = *call;
    c->call.done = on_done;
    c->node = api->node;
    c->req = req;
    req->canceled = on_canceled;
    req->canceled_ctx = c;
    member_admin(node_member(api->node), req->core, &c->call);
}

static void on_status(struct http_request *req) {
    ask(req, &(struct admin_call){.verb = ADMIN_STATUS});
}

static void on_bad(struct http_request *req) {
    const struct ring_api *api = req->route_ctx;
    struct err err;
    enum status status = loss_api_bad(api->node, req, &err);
    if (status != OK) ring_api_error(req, status, err.msg);
}

/* A node by its id, as 16 hex digits, or by its address in the map. */
static enum status find_node(struct http_request *req, struct sv name, node_id *out,
                             struct err *err) {
    const struct ring_api *api = req->route_ctx;
    struct sv text;
    *out = 0;
    if (!http_form_get(req, name, &text) || text.len == 0)
        return err_set(err, ERR_PARSE, 0, "parameter %.*s is missing: a node's id or address",
                       SV_ARG(name));
    const struct ring_map *map = NULL;
    if (node_is_open(api->node)) map = peers_map(req->core->locals[CORE_PEERS]);
    for (uint32_t i = 0; map != NULL && i < map->nodes_count; i++) {
        char id[17];
        snprintf(id, sizeof id, "%016" PRIx64, map->nodes[i].id);
        if (sv_eq(text, sv_from(id)) || sv_eq(text, sv_from(map->nodes[i].addr)))
            *out = map->nodes[i].id;
    }
    if (*out != 0) return OK;
    return err_set(err, ERR_PARSE, 0, "no node %.*s is in the cluster", SV_ARG(text));
}

static enum status find_shard(struct http_request *req, uint32_t *out, struct err *err) {
    struct sv text;
    uint64_t n;
    if (!http_form_get(req, SV("shard"), &text) || !num_parse_u64(text, &n) || n > UINT32_MAX)
        return err_set(err, ERR_PARSE, 0, "parameter shard is missing or no number");
    *out = (uint32_t)n;
    return OK;
}

static enum status admin_read(struct http_request *req, struct admin_call *call, struct err *err) {
    static const struct {
        const char *path;
        enum admin_verb verb;
        bool node, to, shard;
    } verbs[] = {
        {"drain", ADMIN_DRAIN, true, false, false},
        {"undrain", ADMIN_UNDRAIN, true, false, false},
        {"move", ADMIN_MOVE, true, true, true},
        {"accept-loss", ADMIN_ACCEPT_LOSS, false, false, true},
        {"remove", ADMIN_REMOVE, true, false, false},
    };
    const struct ring_api *api = req->route_ctx;
    if (!api->admin)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "admin APIs disabled (start this node with --web.enable-admin-api)");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (!sv_eq(req->path_param, sv_from(verbs[i].path))) continue;
        call->verb = verbs[i].verb;
        if (verbs[i].node) TRY(find_node(req, SV("node"), &call->node, err));
        if (verbs[i].to) TRY(find_node(req, SV("to"), &call->to, err));
        if (verbs[i].shard) TRY(find_shard(req, &call->shard, err));
        return OK;
    }
    return err_set(err, ERR_PARSE, 0, "unknown verb");
}

static void on_admin(struct http_request *req) {
    const struct ring_api *api = req->route_ctx;
    struct admin_call call = {0};
    struct err err;
    bool verifies = api->admin && sv_eq(req->path_param, SV("verify"));
    enum status st =
        verifies ? verify_api_start(api->node, req, &err) : admin_read(req, &call, &err);
    if (st != OK)
        ring_api_error(req, st, err.msg);
    else if (!verifies)
        ask(req, &call);
}

size_t ring_api_routes(struct ring_api *api, struct http_route *out, size_t max) {
    assert(max >= 3);
    (void)max;
    out[0] = (struct http_route){
        .methods = HTTP_GET, .path = "/api/v1/status/ring", .handler = on_status, .ctx = api};
    out[1] = (struct http_route){.methods = HTTP_POST | HTTP_PUT,
                                 .path = "/api/v1/admin/ring/*",
                                 .handler = on_admin,
                                 .ctx = api};
    out[2] = (struct http_route){
        .methods = HTTP_GET, .path = "/api/v1/status/ring/bad", .handler = on_bad, .ctx = api};
    return 3;
}
