/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/verify_api.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/json.h"
#include "node/base/num.h"
#include "ring/peers.h"
#include "ring/replica/verify.h"

enum { VERIFY_CALL_MS = 10000 };

/* What one node says. */
struct verify_far {
    struct verify_call *call;
    node_id id;
    char addr[RING_ADDR_MAX + 1];
    struct buf parts;
    enum status status;
    struct err err;
};
/* What one core of this node says. */
struct verify_near {
    struct msg msg;
    struct verify_call *call;
    struct core *core;
    struct buf part;
};
/* One request; freed when everybody has answered. */
struct verify_call {
    struct http_request *req; /* NULL once the client has gone */
    struct core *core;
    struct verify_ask ask;
    struct verify_far *fars; /* the first is this node */
    struct verify_near *nears;
    size_t fars_count, nears_count, open, nears_open;
};

/* -- the answer */

static const char *const state_names[] = {[VERIFY_NONE] = "none",
                                          [VERIFY_OPEN] = "open",
                                          [VERIFY_DONE] = "done",
                                          [VERIFY_FAILED] = "failed"};
static const char *const verdict_names[] = {
    [SPAN_EQUAL] = "equal",     [SPAN_APART] = "apart", [SPAN_BAD] = "bad",
    [SPAN_DIFFERS] = "differs", [SPAN_LATER] = "later", [SPAN_LOST] = "lost"};

static void put_shards(struct json *j, const struct verify_part *p) {
    struct sv rest = p->shards;
    struct verify_shard s;
    uint32_t shard;
    for (uint64_t i = 0; i < p->shards_count && verify_shard_next(&rest, &shard, &s); i++) {
        json_object_begin(j);
        json_key_i64(j, SV("shard"), shard);
        json_key_string(j, SV("state"), sv_from(state_names[s.state]));
        json_key_bool(j, SV("primary"), s.leads);
        json_key_i64(j, SV("ranges"), s.equal);
        json_key_i64(j, SV("notCompared"), s.apart);
        json_object_end(j);
    }
}

static void put_findings(struct json *j, const struct verify_part *p) {
    struct sv rest = p->findings;
    struct verify_finding f;
    for (uint64_t i = 0; i < p->findings_count && verify_finding_next(&rest, &f); i++) {
        json_object_begin(j);
        json_key_i64(j, SV("shard"), f.shard);
        json_key_string(j, SV("what"), sv_from(verdict_names[f.verdict]));
        json_key_bool(j, SV("repaired"), f.repaired);
        json_key_i64(j, SV("minTime"), f.span.min_ms);
        json_key_i64(j, SV("maxTime"), f.span.max_ms);
        json_key_i64(j, SV("samples"), (int64_t)f.own_samples);
        json_key_i64(j, SV("primarySamples"), (int64_t)f.other_samples);
        json_object_end(j);
    }
}

/* Everything of the parts is well-formed, and of this verification. */
static enum status parts_check(struct verify_far *far, bool *out_over, uint64_t *out_blocks) {
    struct sv rest = buf_sv(&far->parts);
    *out_over = true;
    *out_blocks = 0;
    while (rest.len > 0) {
        struct verify_part p;
        TRY(verify_part_get(&rest, &p, &far->err));
        if (p.id != far->call->ask.id)
            return err_set(&far->err, ERR_CONFLICT, 0,
                           "it was started anew, or somebody asked for another verification");
        *out_over = *out_over && p.phase == VERIFY_OVER;
        *out_blocks += p.blocks;
    }
    return OK;
}

static void put_parts(struct json *j, const struct verify_far *far, const char *key,
                      void (*put)(struct json *j, const struct verify_part *p)) {
    struct sv rest = buf_sv(&far->parts);
    struct verify_part p;
    json_key(j, sv_from(key));
    json_array_begin(j);
    while (rest.len > 0 && verify_part_get(&rest, &p, NULL) == OK)
        put(j, &p);
    json_array_end(j);
}

static void put_far(struct json *j, struct verify_far *far, bool *all_over) {
    char id[17];
    bool over = false;
    uint64_t blocks = 0;
    if (far->status == OK) far->status = parts_check(far, &over, &blocks);
    *all_over = *all_over && (over || far->status != OK);
    snprintf(id, sizeof id, "%016" PRIx64, far->id);
    json_object_begin(j);
    json_key_string(j, SV("id"), sv_from(id));
    json_key_string(j, SV("address"), sv_from(far->addr));
    if (far->status != OK) {
        json_key_string(j, SV("error"), sv_from(far->err.msg));
    } else {
        json_key_bool(j, SV("done"), over);
        json_key_i64(j, SV("blocks"), (int64_t)blocks);
        put_parts(j, far, "shards", put_shards);
        put_parts(j, far, "findings", put_findings);
    }
    json_object_end(j);
}

static void call_answer(struct verify_call *c) {
    struct buf b = {0};
    struct json j = json_init(&b);
    char id[24];
    bool over = true;
    snprintf(id, sizeof id, "%" PRIu64, c->ask.id);
    json_object_begin(&j);
    json_key_string(&j, SV("status"), SV("success"));
    json_key(&j, SV("data"));
    json_object_begin(&j);
    json_key_string(&j, SV("id"), sv_from(id));
    json_key(&j, SV("nodes"));
    json_array_begin(&j);
    for (size_t i = 0; i < c->fars_count; i++)
        put_far(&j, &c->fars[i], &over);
    json_array_end(&j);
    json_key_bool(&j, SV("done"), over);
    json_object_end(&j);
    json_object_end(&j);
    http_answer_take(c->req, 200, SV("application/json"), &b);
}

/* -- the flow: all nodes at once, this one by its cores */

static void call_free(struct verify_call *c) {
    for (size_t i = 0; c->fars != NULL && i < c->fars_count; i++)
        buf_fini(&c->fars[i].parts);
    for (size_t i = 0; c->nears != NULL && i < c->nears_count; i++)
        buf_fini(&c->nears[i].part);
    free(c->fars);
    free(c->nears);
    free(c);
}

static void far_ended(struct verify_call *c) {
    if (--c->open > 0) return;
    if (c->req != NULL) call_answer(c);
    call_free(c);
}

static void far_on_reply(void *ctx, enum status status, struct sv part, bool last,
                         const struct err *err) {
    struct verify_far *far = ctx;
    if (status != OK) {
        far->status = status;
        far->err = *err;
    } else {
        if (part.len > 0) buf_put_sv(&far->parts, sv_skip(part, 1)); /* the version */
        if (far->parts.failed) far->status = err_set(&far->err, ERR_NOMEM, 0, "out of memory");
    }
    if (last) far_ended(far->call);
}

static void near_home(struct core *here, struct msg *m) {
    struct verify_near *near = container_of(m, struct verify_near, msg);
    struct verify_call *c = near->call;
    struct verify_far *self = &c->fars[0];
    assert(here == c->core);
    buf_put_sv(&self->parts, buf_sv(&near->part));
    if (self->parts.failed || near->part.failed)
        self->status = err_set(&self->err, ERR_NOMEM, 0, "out of memory");
    if (--c->nears_open == 0) far_ended(c);
}

static void near_run(struct core *here, struct msg *m) {
    struct verify_near *near = container_of(m, struct verify_near, msg);
    struct replicas *r = here->locals[CORE_REPLICA];
    if (r != NULL) replicas_verify(r, &near->call->ask, &near->part);
    near->msg.run = near_home;
    core_post(near->call->core, &near->msg);
}

static void on_gone(struct http_request *req, void *ctx) {
    (void)req;
    ((struct verify_call *)ctx)->req = NULL;
}

static void call_start(struct verify_call *c, struct peers *peers) {
    c->open = c->fars_count;
    c->nears_open = c->nears_count;
    for (size_t i = 1; i < c->fars_count; i++) {
        struct buf payload = {0};
        struct peer_call_options o = {.to = c->fars[i].id,
                                      .type = FRAME_VERIFY,
                                      .timeout_ms = VERIFY_CALL_MS,
                                      .reply = far_on_reply,
                                      .ctx = &c->fars[i]};
        verify_ask_put(&c->ask, &payload);
        peers_call(peers, &o, &payload);
    }
    for (size_t i = 0; i < c->nears_count; i++) {
        c->nears[i].msg.run = near_run;
        core_post(c->nears[i].core, &c->nears[i].msg);
    }
}

/* This node first. */
static void far_set(struct verify_call *c, const struct ring_node *node, node_id self,
                    size_t *count) {
    struct verify_far *far = &c->fars[node->id == self ? 0 : (*count)++];
    far->call = c;
    far->id = node->id;
    memcpy(far->addr, node->addr, sizeof far->addr);
}

static enum status ask_read(const struct ring_map *map, struct http_request *req,
                            struct verify_ask *out, struct err *err) {
    struct sv text;
    uint64_t shard = 0;
    *out = (struct verify_ask){.only = VERIFY_ALL};
    if (http_form_get(req, SV("id"), &text)) {
        if (!num_parse_u64(text, &out->id) || out->id == 0)
            return err_set(err, ERR_PARSE, 0, "parameter id is no number");
        return OK;
    }
    out->begin = true;
    if (http_form_get(req, SV("shard"), &text)) {
        if (!num_parse_u64(text, &shard) || shard >= map->settings.shards_count)
            return err_set(err, ERR_PARSE, 0, "parameter shard is no number below %" PRIu32,
                           map->settings.shards_count);
        out->only = (uint32_t)shard;
    }
    req->core->rt->ops->random(req->core->rt, &out->id, sizeof out->id);
    out->id = out->id >> 1 | 1;
    return OK;
}

enum status verify_api_start(struct node *node, struct http_request *req, struct err *err) {
    struct verify_ask ask;
    struct peers *peers = req->core->locals[CORE_PEERS];
    const struct ring_map *map = node_is_open(node) ? peers_map(peers) : NULL;
    if (map == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "this node has not joined a cluster yet");
    TRY(ask_read(map, req, &ask, err));
    struct runtime *rt = req->core->rt;
    struct verify_call *c = calloc(1, sizeof *c);
    if (c == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    *c = (struct verify_call){.req = req,
                              .core = req->core,
                              .ask = ask,
                              .fars = calloc(map->nodes_count, sizeof *c->fars),
                              .nears = calloc(rt->cores_count, sizeof *c->nears),
                              .fars_count = map->nodes_count,
                              .nears_count = rt->cores_count};
    if (c->fars == NULL || c->nears == NULL || ring_map_node_index(map, node_self(node)) < 0) {
        call_free(c);
        return err_set(err, ERR_UNAVAILABLE, 0, "this node is not in the map, or has no memory");
    }
    size_t count = 1;
    for (uint32_t i = 0; i < map->nodes_count; i++)
        far_set(c, &map->nodes[i], node_self(node), &count);
    for (unsigned i = 0; i < rt->cores_count; i++)
        c->nears[i] = (struct verify_near){.call = c, .core = rt->cores[i]};
    req->canceled = on_gone;
    req->canceled_ctx = c;
    call_start(c, peers);
    return OK;
}
