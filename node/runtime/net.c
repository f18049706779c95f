/* SPDX-License-Identifier: Apache-2.0 */
#include "node/runtime/net.h"

#include <assert.h>

enum status net_listen(struct core *core, struct sv addr, net_accept_cb accept, void *ctx,
                       struct err *err) {
    assert(core_is_current(core) && accept != NULL);
    assert(core != core->rt->control_core);
    return core->rt->net->ops->listen(core->rt->net, core, addr, accept, ctx, err);
}

void net_unlisten(struct core *core) {
    assert(core_is_current(core));
    core->rt->net->ops->unlisten(core->rt->net, core);
}

struct conn *net_dial(struct core *core, struct sv addr, const struct conn_events *ev, void *ctx) {
    assert(core_is_current(core));
    assert(ev->opened != NULL && ev->frame != NULL && ev->closed != NULL);
    return core->rt->net->ops->dial(core->rt->net, core, addr, ev, ctx);
}

void conn_set_events(struct conn *c, const struct conn_events *ev, void *ctx) {
    assert(core_is_current(c->core));
    assert(ev->frame != NULL && ev->closed != NULL);
    c->events = ev;
    c->ctx = ctx;
}

void conn_send(struct conn *c, struct buf *frame) {
    assert(core_is_current(c->core));
    assert(frame->len > 0);
    c->net->ops->send(c, frame);
}

void conn_close(struct conn *c) {
    assert(core_is_current(c->core));
    c->net->ops->close(c);
}
