/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/verify_api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/json.h"
#include "node/base/num.h"
#include "node/daemon/ask_nodes.h"
#include "ring/peers.h"
#include "ring/replica/verify.h"

/* One request. */
struct verify_call {
    struct ask_nodes nodes;
    struct verify_ask ask;
};

static struct verify_call *call_of(struct ask_nodes *nodes) {
    return container_of(nodes, struct verify_call, nodes);
}

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
static enum status parts_check(struct ask_far *far, bool *out_over, uint64_t *out_blocks) {
    struct sv rest = buf_sv(&far->parts);
    *out_over = true;
    *out_blocks = 0;
    while (rest.len > 0) {
        struct verify_part p;
        TRY(verify_part_get(&rest, &p, &far->err));
        if (p.id != call_of(far->ask)->ask.id)
            return err_set(&far->err, ERR_CONFLICT, 0,
                           "it was started anew, or somebody asked for another verification");
        *out_over = *out_over && p.phase == VERIFY_OVER;
        *out_blocks += p.blocks;
    }
    return OK;
}

static void put_parts(struct json *j, const struct ask_far *far, const char *key,
                      void (*put)(struct json *j, const struct verify_part *p)) {
    struct sv rest = buf_sv(&far->parts);
    struct verify_part p;
    json_key(j, sv_from(key));
    json_array_begin(j);
    while (rest.len > 0 && verify_part_get(&rest, &p, NULL) == OK)
        put(j, &p);
    json_array_end(j);
}

static void put_far(struct json *j, struct ask_far *far, bool *all_over) {
    bool over = false;
    uint64_t blocks = 0;
    if (far->status == OK) far->status = parts_check(far, &over, &blocks);
    *all_over = *all_over && (over || far->status != OK);
    if (ask_far_begin(far, j)) {
        json_key_bool(j, SV("done"), over);
        json_key_i64(j, SV("blocks"), (int64_t)blocks);
        put_parts(j, far, "shards", put_shards);
        put_parts(j, far, "findings", put_findings);
    }
    json_object_end(j);
}

static void call_answer(struct ask_nodes *nodes) {
    struct verify_call *c = call_of(nodes);
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
    for (size_t i = 0; i < nodes->fars_count; i++)
        put_far(&j, &nodes->fars[i], &over);
    json_array_end(&j);
    json_key_bool(&j, SV("done"), over);
    json_object_end(&j);
    json_object_end(&j);
    http_answer_take(nodes->req, 200, SV("application/json"), &b);
}

/* -- the flow */

static void call_free(struct ask_nodes *nodes) {
    free(call_of(nodes));
}

static void call_put(struct ask_nodes *nodes, struct buf *out) {
    verify_ask_put(&call_of(nodes)->ask, out);
}

static void call_near(struct ask_near *near) {
    struct replicas *r = near->core->locals[CORE_REPLICA];
    replicas_verify(r, &call_of(near->ask)->ask, &near->part);
    ask_near_done(near);
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
    const struct ring_map *map =
        node_is_open(node) ? peers_map(req->core->locals[CORE_PEERS]) : NULL;
    if (map == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "this node has not joined a cluster yet");
    TRY(ask_read(map, req, &ask, err));
    struct verify_call *c = calloc(1, sizeof *c);
    if (c == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    *c = (struct verify_call){.nodes = {.req = req,
                                        .type = FRAME_VERIFY,
                                        .put = call_put,
                                        .near = call_near,
                                        .answer = call_answer,
                                        .free = call_free},
                              .ask = ask};
    enum status status = ask_nodes_start(&c->nodes, node, err);
    if (status != OK) free(c);
    return status;
}
