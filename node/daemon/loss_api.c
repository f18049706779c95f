/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/loss_api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/json.h"
#include "node/daemon/ask_nodes.h"
#include "node/daemon/ring_api.h"
#include "ring/replica/loss.h"

struct loss_request {
    struct ask_nodes nodes;
    struct loss_ask ask;
    struct err otherwise;
};

static struct loss_request *request_of(struct ask_nodes *nodes) {
    return container_of(nodes, struct loss_request, nodes);
}

/* -- the answers */

static void put_span(struct json *j, const struct loss_item *item) {
    json_key_i64(j, SV("shard"), item->shard);
    json_key_i64(j, SV("minTime"), item->span.min_ms);
    json_key_i64(j, SV("maxTime"), item->span.max_ms);
}

/* Everything of the parts is well-formed. */
static void far_check(struct ask_far *far) {
    struct sv rest = buf_sv(&far->parts);
    struct loss_item item;
    while (far->status == OK && rest.len > 0)
        far->status = loss_item_get(&rest, &item, &far->err);
}

static void put_far(struct json *j, struct ask_far *far) {
    struct sv rest = buf_sv(&far->parts);
    struct loss_item item;
    far_check(far);
    if (ask_far_begin(far, j)) {
        json_key(j, SV("bad"));
        json_array_begin(j);
        while (rest.len > 0 && loss_item_get(&rest, &item, NULL) == OK) {
            json_object_begin(j);
            put_span(j, &item);
            json_key_bool(j, SV("elsewhere"), item.what == LOSS_ASKED);
            json_object_end(j);
        }
        json_array_end(j);
    }
    json_object_end(j);
}

static void answer(struct ask_nodes *nodes, struct buf *b) {
    http_answer_take(nodes->req, 200, SV("application/json"), b);
}

static void bad_answer(struct ask_nodes *nodes) {
    struct buf b = {0};
    struct json j = json_init(&b);
    json_object_begin(&j);
    json_key_string(&j, SV("status"), SV("success"));
    json_key(&j, SV("data"));
    json_object_begin(&j);
    json_key(&j, SV("nodes"));
    json_array_begin(&j);
    for (size_t i = 0; i < nodes->fars_count; i++)
        put_far(&j, &nodes->fars[i]);
    json_array_end(&j);
    json_object_end(&j);
    json_object_end(&j);
    answer(nodes, &b);
}

/* Of an acceptance that changed nothing: why. */
static enum status refusal(const struct ask_nodes *nodes, struct err *out) {
    uint32_t shard = request_of((struct ask_nodes *)(uintptr_t)nodes)->ask.only;
    *out = request_of((struct ask_nodes *)(uintptr_t)nodes)->otherwise;
    for (size_t i = 0; i < nodes->fars_count; i++) {
        const struct ask_far *far = &nodes->fars[i];
        struct sv rest = buf_sv(&far->parts);
        struct loss_item item;
        if (far->status != OK)
            return err_set(out, ERR_UNAVAILABLE, 0, "accept-loss: node %s: %s", far->addr,
                           far->err.msg);
        while (rest.len > 0 && loss_item_get(&rest, &item, NULL) == OK) {
            if (item.what == LOSS_FAILED)
                return err_set(out, ERR_UNAVAILABLE, 0, "accept-loss: node %s: %.*s", far->addr,
                               SV_ARG(item.text));
            if (item.what == LOSS_ASKED)
                err_set(out, ERR_CONFLICT, 0,
                        "accept-loss: what is bad of shard %" PRIu32
                        " on node %s is fetched from another replica",
                        shard, far->addr);
        }
    }
    return out->code;
}

static unsigned put_lost(struct json *j, const struct ask_nodes *nodes) {
    unsigned count = 0;
    for (size_t i = 0; i < nodes->fars_count; i++) {
        const struct ask_far *far = &nodes->fars[i];
        struct sv rest = buf_sv(&far->parts);
        struct loss_item item;
        while (far->status == OK && rest.len > 0 && loss_item_get(&rest, &item, NULL) == OK) {
            if (item.what != LOSS_ACCEPTED) continue;
            count++;
            ask_far_begin(far, j);
            put_span(j, &item);
            json_key_string(j, SV("kept"), item.text);
            json_object_end(j);
        }
    }
    return count;
}

static void accept_answer(struct ask_nodes *nodes) {
    struct buf b = {0};
    struct json j = json_init(&b);
    struct err err;
    for (size_t i = 0; i < nodes->fars_count; i++)
        far_check(&nodes->fars[i]);
    json_object_begin(&j);
    json_key_string(&j, SV("status"), SV("success"));
    json_key(&j, SV("data"));
    json_object_begin(&j);
    json_key(&j, SV("lost"));
    json_array_begin(&j);
    unsigned count = put_lost(&j, nodes);
    json_array_end(&j);
    json_object_end(&j);
    json_object_end(&j);
    if (count > 0) {
        answer(nodes, &b);
        return;
    }
    buf_fini(&b);
    enum status status = refusal(nodes, &err);
    ring_api_error(nodes->req, status, err.msg);
}

/* -- the flow */

static void request_free(struct ask_nodes *nodes) {
    free(request_of(nodes));
}

static void request_put(struct ask_nodes *nodes, struct buf *out) {
    loss_ask_put(&request_of(nodes)->ask, out);
}

static void near_done(struct loss_call *call) {
    struct ask_near *near = call->user;
    near->part = buf_move(&call->out);
    free(call);
    ask_near_done(near);
}

static void request_near(struct ask_near *near) {
    struct loss_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        near->part.failed = true;
        ask_near_done(near);
        return;
    }
    call->ask = request_of(near->ask)->ask;
    call->done = near_done;
    call->user = near;
    replicas_loss(near->core->locals[CORE_REPLICA], call);
}

static enum status request_start(struct node *node, struct http_request *req,
                                 const struct loss_request *from, struct err *err) {
    struct loss_request *r = calloc(1, sizeof *r);
    if (r == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    *r = *from;
    r->nodes = (struct ask_nodes){.req = req,
                                  .type = FRAME_LOSS,
                                  .put = request_put,
                                  .near = request_near,
                                  .answer = from->ask.accept ? accept_answer : bad_answer,
                                  .free = request_free};
    enum status status = ask_nodes_start(&r->nodes, node, err);
    if (status != OK) free(r);
    return status;
}

enum status loss_api_bad(struct node *node, struct http_request *req, struct err *err) {
    return request_start(node, req, &(struct loss_request){.ask = {false, LOSS_ALL}}, err);
}

enum status loss_api_accept(struct node *node, struct http_request *req, uint32_t shard,
                            const struct err *otherwise, struct err *err) {
    return request_start(
        node, req, &(struct loss_request){.ask = {true, shard}, .otherwise = *otherwise}, err);
}
