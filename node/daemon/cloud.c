/* SPDX-License-Identifier: Apache-2.0 */
/* One question at a time: control core -(msg)-> core 0 -> AWS -> core 0 -(msg)-> control core. */
#include "node/daemon/cloud.h"

#include <assert.h>
#include <stdlib.h>

#include "node/http/aws.h"

enum { ASK_MS = 5000 };

struct cloud {
    struct core *here, *wants; /* core 0, control core */
    struct aws *aws;           /* core 0's */
    /* of the question, moving with msg */
    struct msg msg;
    struct buf body;
    struct cloudmap_answer answer;
    struct buf answer_body;
    /* the control core's */
    bool asking, canceled;
    cloudmap_done done;
    void *arg;
};

static void cloud_on_back(struct core *here, struct msg *msg) {
    struct cloud *c = container_of(msg, struct cloud, msg);
    assert(here == c->wants && c->asking);
    c->asking = false;
    struct buf bytes = buf_move(&c->answer_body);
    c->answer.body = buf_sv(&bytes);
    if (!c->canceled) c->done(c->arg, &c->answer);
    buf_fini(&bytes);
}

static void cloud_send_back(struct cloud *c) {
    c->msg.run = cloud_on_back;
    core_post(c->wants, &c->msg);
}

static void cloud_on_fetched(void *ctx, const struct http_fetched *fetched) {
    struct cloud *c = ctx;
    c->answer = (struct cloudmap_answer){fetched->status, fetched->err, fetched->code, {0}};
    buf_put_sv(&c->answer_body, fetched->body);
    if (c->answer_body.failed)
        c->answer.status = err_set(&c->answer.err, ERR_NOMEM, 0, "Cloud Map: out of memory");
    cloud_send_back(c);
}

static void cloud_on_there(struct core *here, struct msg *msg) {
    static const struct aws_service service = {.name = "servicediscovery",
                                               .host_prefix = "data-",
                                               .endpoint_variable =
                                                   "AWS_ENDPOINT_URL_SERVICEDISCOVERY"};
    struct cloud *c = container_of(msg, struct cloud, msg);
    assert(here == c->here);
    struct aws_call_options o = {.service = &service,
                                 .target = CLOUDMAP_TARGET,
                                 .body = buf_sv(&c->body),
                                 .timeout_ms = ASK_MS,
                                 .answer_bytes_max = CLOUDMAP_ANSWER_BYTES_MAX,
                                 .done = cloud_on_fetched,
                                 .ctx = c};
    c->answer = (struct cloudmap_answer){0};
    c->answer.status = aws_call(c->aws, &o, &c->answer.err);
    if (c->answer.status != OK) cloud_send_back(c);
}

static void cloud_ask(void *ctx, struct sv body, cloudmap_done done, void *arg) {
    struct cloud *c = ctx;
    assert(core_is_current(c->wants) && !c->asking);
    c->asking = true;
    c->canceled = false;
    c->done = done;
    c->arg = arg;
    buf_clear(&c->body);
    buf_put_sv(&c->body, body); /* without memory an empty one, which Cloud Map refuses */
    c->msg.run = cloud_on_there;
    core_post(c->here, &c->msg);
}

static void cloud_cancel(void *ctx) {
    struct cloud *c = ctx;
    c->canceled = true;
}

const struct cloudmap_ops cloud_ops = {.ask = cloud_ask, .cancel = cloud_cancel};

enum status cloud_new(struct runtime *rt, struct cloud **out, struct err *err) {
    struct cloud *c = calloc(1, sizeof *c);
    if (c == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    c->here = rt->cores[0];
    c->wants = rt->control_core;
    core_set_current(c->here);
    enum status status = aws_new(c->here, getenv, &c->aws, err);
    core_set_current(NULL);
    if (status != OK) {
        cloud_free(c);
        return status;
    }
    *out = c;
    return OK;
}

void cloud_stop(struct cloud *cloud, void (*stopped)(void *ctx), void *ctx) {
    aws_stop(cloud->aws, stopped, ctx);
}

void cloud_free(struct cloud *cloud) {
    if (cloud == NULL) return;
    aws_free(cloud->aws);
    buf_fini(&cloud->body);
    buf_fini(&cloud->answer_body);
    free(cloud);
}
