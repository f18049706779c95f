/* SPDX-License-Identifier: Apache-2.0 */
/* HA pairs of senders: a tracker on each core (ingest/ha.h) over the elections that the cluster's
 * log holds.
 *   control core (member's ha_changed) -> each core -> control core: the snapshot before is freed
 * One at a time; what changes meanwhile is in the next. An election goes from the core to the
 * controller, wherever it is (member_admin), and back. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "node/daemon/node_internal.h"

/* Immutable. */
struct ha_snapshot {
    size_t count;
    struct ha_elected items[]; /* ascending by cluster; texts are owned */
};

struct node_ha_core {
    struct node *node;
    struct core *core;
    struct ha *ha;
    const struct ha_snapshot *in; /* in force here; NULL: none yet */
    struct msg install;
    struct list_node calls; /* of struct ha_call */
};

struct node_ha {                                  /* the control core's */
    struct ha_snapshot *snapshot, *next, *newest; /* on all cores; on its way; the one after */
    unsigned installs_open;
    struct node_ha_core cores[];
};

struct ha_call {
    struct admin_call call;
    struct list_node node; /* of node_ha_core.calls */
    struct node_ha_core *hc;
};

/* -- snapshots */

static void snapshot_free(struct ha_snapshot *s) {
    if (s == NULL) return;
    for (size_t i = 0; i < s->count; i++) {
        free(s->items[i].cluster);
        free(s->items[i].replica);
    }
    free(s);
}

static struct ha_snapshot *snapshot_new(const struct ring_state *state) {
    struct ha_snapshot *s = calloc(1, sizeof *s + state->ha_count * sizeof s->items[0]);
    if (s == NULL) return NULL;
    for (; s->count < state->ha_count; s->count++) {
        struct ha_elected *e = &s->items[s->count];
        *e = state->ha[s->count];
        e->cluster = strdup(e->cluster);
        e->replica = strdup(e->replica);
        if (e->cluster != NULL && e->replica != NULL) continue;
        s->count++; /* so that both texts are freed */
        snapshot_free(s);
        return NULL;
    }
    return s;
}

static void ha_hand_out(struct node *node);

static void ha_on_installed(struct core *here, struct msg *m) {
    (void)here;
    struct node *node = container_of(m, struct node_ha_core, install)->node;
    struct node_ha *nh = node->ha;
    assert(nh->installs_open > 0);
    if (--nh->installs_open > 0) return;
    snapshot_free(nh->snapshot);
    nh->snapshot = nh->next;
    nh->next = NULL;
    ha_hand_out(node);
}

static void ha_on_install(struct core *here, struct msg *m) {
    struct node_ha_core *hc = container_of(m, struct node_ha_core, install);
    hc->in = hc->node->ha->next;
    m->run = ha_on_installed;
    core_post(here->rt->control_core, m);
}

static void ha_hand_out(struct node *node) {
    struct node_ha *nh = node->ha;
    if (nh->next != NULL || nh->newest == NULL) return;
    nh->next = nh->newest;
    nh->newest = NULL;
    nh->installs_open = node->rt->cores_count;
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        nh->cores[i].install.run = ha_on_install;
        core_post(node->rt->cores[i], &nh->cores[i].install);
    }
}

void node_ha_changed(void *ctx, const struct ring_state *state) {
    struct node *node = ctx;
    if (node->ha == NULL) return;
    struct ha_snapshot *s = snapshot_new(state);
    if (s == NULL) { /* the one before stays: the controller is asked more often */
        log_error("elections of HA pairs were not taken over", "err", "out of memory");
        return;
    }
    snapshot_free(node->ha->newest);
    node->ha->newest = s;
    ha_hand_out(node);
}

/* -- wires of the trackers */

static int elected_cmp(const void *key, const void *item) {
    return sv_cmp(*(const struct sv *)key, sv_from(((const struct ha_elected *)item)->cluster));
}

static const struct ha_elected *ha_wire_elected(void *ctx, struct sv cluster) {
    const struct node_ha_core *hc = ctx;
    if (hc->in == NULL || hc->in->count == 0) return NULL;
    return bsearch(&cluster, hc->in->items, hc->in->count, sizeof hc->in->items[0], elected_cmp);
}

static size_t ha_wire_count(void *ctx) {
    const struct node_ha_core *hc = ctx;
    return hc->in == NULL ? 0 : hc->in->count;
}

static void ha_on_answer(struct core *here, struct admin_call *call) {
    struct ha_call *c = container_of(call, struct ha_call, call);
    struct node_ha_core *hc = c->hc;
    assert(here == hc->core);
    list_remove(&c->node);
    ha_on_elected(hc->ha, sv_from(call->cluster), call->status, buf_sv(&call->answer), &call->err);
    buf_fini(&call->answer);
    free(c);
}

static void ha_wire_elect(void *ctx, struct sv cluster, struct sv replica, int64_t now_ms) {
    (void)now_ms; /* the controller's clock decides */
    struct node_ha_core *hc = ctx;
    struct ha_call *c = calloc(1, sizeof *c);
    if (c == NULL) abort(); /* a few hundred bytes, and nobody would ever answer */
    c->hc = hc;
    c->call.verb = ADMIN_HA;
    c->call.done = ha_on_answer;
    snprintf(c->call.cluster, sizeof c->call.cluster, "%.*s", SV_ARG(cluster));
    snprintf(c->call.replica, sizeof c->call.replica, "%.*s", SV_ARG(replica));
    list_push_back(&hc->calls, &c->node);
    member_admin(hc->node->member, hc->core, &c->call);
}

/* -- life */

enum status node_ha_open(struct node *node, struct err *err) {
    unsigned cores = node->rt->cores_count;
    if (node->options.ha == NULL) return OK;
    node->ha = calloc(1, sizeof *node->ha + cores * sizeof node->ha->cores[0]);
    if (node->ha == NULL) return err_set(err, ERR_NOMEM, 0, "node: out of memory");
    struct core *current = core_current();
    enum status st = OK;
    for (unsigned i = 0; i < cores; i++)
        list_init(&node->ha->cores[i].calls);
    for (unsigned i = 0; i < cores && st == OK; i++) {
        struct node_ha_core *hc = &node->ha->cores[i];
        hc->node = node;
        hc->core = node->rt->cores[i];
        struct ha_wires wires = {.ctx = hc,
                                 .elected = ha_wire_elected,
                                 .clusters_count = ha_wire_count,
                                 .elect = ha_wire_elect};
        core_set_current(hc->core);
        st = ha_new(hc->core, node->options.ha, &wires, &hc->ha, err);
        hc->core->locals[CORE_HA] = hc->ha;
        node->cores[i].ha = hc;
    }
    core_set_current(current);
    return st;
}

void node_ha_stop_core(struct node_core *nc) {
    if (nc->ha != NULL) ha_stop(nc->ha->ha);
}

void node_ha_free(struct node *node) {
    struct node_ha *nh = node->ha;
    if (nh == NULL) return;
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        struct node_ha_core *hc = &nh->cores[i];
        struct list_node *n;
        while ((n = list_pop_front(&hc->calls)) != NULL) {
            struct ha_call *c = container_of(n, struct ha_call, node);
            buf_fini(&c->call.answer);
            free(c);
        }
        ha_free(hc->ha);
    }
    snapshot_free(nh->snapshot);
    snapshot_free(nh->next);
    snapshot_free(nh->newest);
    free(nh);
    node->ha = NULL;
}
