/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/ask_nodes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/json.h"
#include "ring/peers.h"

enum { ASK_CALL_MS = 10000 };

static void fini(struct ask_nodes *ask) {
    for (size_t i = 0; ask->fars != NULL && i < ask->fars_count; i++)
        buf_fini(&ask->fars[i].parts);
    for (size_t i = 0; ask->nears != NULL && i < ask->nears_count; i++)
        buf_fini(&ask->nears[i].part);
    free(ask->fars);
    free(ask->nears);
}

static void far_ended(struct ask_nodes *ask) {
    if (--ask->open > 0) return;
    if (ask->req != NULL) ask->answer(ask);
    fini(ask);
    ask->free(ask);
}

static void far_on_reply(void *ctx, enum status status, struct sv part, bool last,
                         const struct err *err) {
    struct ask_far *far = ctx;
    if (status != OK) {
        far->status = status;
        far->err = *err;
    } else {
        if (part.len > 0) buf_put_sv(&far->parts, sv_skip(part, 1)); /* the version */
        if (far->parts.failed) far->status = err_set(&far->err, ERR_NOMEM, 0, "out of memory");
    }
    if (last) far_ended(far->ask);
}

static void near_home(struct core *here, struct msg *m) {
    struct ask_near *near = container_of(m, struct ask_near, msg);
    struct ask_nodes *ask = near->ask;
    struct ask_far *self = &ask->fars[0];
    assert(here == ask->core);
    buf_put_sv(&self->parts, buf_sv(&near->part));
    if (self->parts.failed || near->part.failed)
        self->status = err_set(&self->err, ERR_NOMEM, 0, "out of memory");
    if (--ask->nears_open == 0) far_ended(ask);
}

void ask_near_done(struct ask_near *near) {
    near->msg.run = near_home;
    core_post(near->ask->core, &near->msg);
}

static void near_run(struct core *here, struct msg *m) {
    struct ask_near *near = container_of(m, struct ask_near, msg);
    assert(here == near->core);
    near->ask->near(near);
}

static void on_gone(struct http_request *req, void *ctx) {
    (void)req;
    ((struct ask_nodes *)ctx)->req = NULL;
}

/* This node first. */
static void fars_set(struct ask_nodes *ask, const struct ring_map *map, node_id self) {
    size_t count = 1;
    for (uint32_t i = 0; i < map->nodes_count; i++) {
        const struct ring_node *node = &map->nodes[i];
        struct ask_far *far = &ask->fars[node->id == self ? 0 : count++];
        far->ask = ask;
        far->id = node->id;
        memcpy(far->addr, node->addr, sizeof far->addr);
    }
}

static void ask_all(struct ask_nodes *ask, struct peers *peers) {
    ask->open = ask->fars_count;
    ask->nears_open = ask->nears_count;
    for (size_t i = 1; i < ask->fars_count; i++) {
        struct buf payload = {0};
        struct peer_call_options o = {.to = ask->fars[i].id,
                                      .type = ask->type,
                                      .timeout_ms = ASK_CALL_MS,
                                      .reply = far_on_reply,
                                      .ctx = &ask->fars[i]};
        ask->put(ask, &payload);
        peers_call(peers, &o, &payload);
    }
    for (size_t i = 0; i < ask->nears_count; i++) {
        ask->nears[i].msg.run = near_run;
        core_post(ask->nears[i].core, &ask->nears[i].msg);
    }
}

enum status ask_nodes_start(struct ask_nodes *ask, const struct node *node, struct err *err) {
    struct peers *peers = ask->req->core->locals[CORE_PEERS];
    const struct ring_map *map = node_is_open(node) ? peers_map(peers) : NULL;
    if (map == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "this node has not joined a cluster yet");
    struct runtime *rt = ask->req->core->rt;
    ask->core = ask->req->core;
    ask->fars_count = map->nodes_count;
    ask->nears_count = rt->cores_count;
    ask->fars = calloc(ask->fars_count, sizeof *ask->fars);
    ask->nears = calloc(ask->nears_count, sizeof *ask->nears);
    if (ask->fars == NULL || ask->nears == NULL || ring_map_node_index(map, node_self(node)) < 0) {
        fini(ask);
        return err_set(err, ERR_UNAVAILABLE, 0, "this node is not in the map, or has no memory");
    }
    fars_set(ask, map, node_self(node));
    for (unsigned i = 0; i < rt->cores_count; i++)
        ask->nears[i] = (struct ask_near){.ask = ask, .core = rt->cores[i]};
    ask->req->canceled = on_gone;
    ask->req->canceled_ctx = ask;
    ask_all(ask, peers);
    return OK;
}

bool ask_far_begin(const struct ask_far *far, struct json *j) {
    char id[20];
    snprintf(id, sizeof id, "%016" PRIx64, far->id);
    json_object_begin(j);
    json_key_string(j, SV("id"), sv_from(id));
    json_key_string(j, SV("address"), sv_from(far->addr));
    if (far->status != OK) json_key_string(j, SV("error"), sv_from(far->err.msg));
    return far->status == OK;
}
