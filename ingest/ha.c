/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ha.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/metrics.h"

static const struct metric_def deduped_def = {
    .name = "cortex_distributor_deduped_samples_total",
    .help = "Samples dropped because another replica of their cluster is the elected one.",
    .kind = METRIC_COUNTER};
static const struct metric_def plain_def = {
    .name = "cortex_distributor_non_ha_samples_received_total",
    .help = "Samples received without the labels of an HA pair.",
    .kind = METRIC_COUNTER};

/* An election under way, of one cluster. */
struct election {
    struct list_node node;   /* of ha->elections */
    struct list_node checks; /* of struct ha_check, not empty but for what was cancelled */
    char cluster[HA_NAME_MAX + 1];
};

struct ha {
    struct core *core;
    struct ha_options options;
    struct ha_wires wires;
    int64_t fresh_ms; /* an election younger than that stands */
    struct list_node elections;
};

enum status ha_options_check(const struct ha_options *o, struct err *err) {
    enum { MARGIN_MS = 1000 };
    if (o->cluster_label[0] == '\0' || o->replica_label[0] == '\0' ||
        strcmp(o->cluster_label, o->replica_label) == 0)
        return err_set(err, ERR_PARSE, 0,
                       "HA deduplication needs two different labels, not \"%s\" and \"%s\"",
                       o->cluster_label, o->replica_label);
    if (o->update_jitter_max_ms > o->update_timeout_ms)
        return err_set(err, ERR_LIMIT, 0,
                       "HA jitter (%" PRIu64 " ms) exceeds the update timeout (%" PRIu64 " ms)",
                       o->update_jitter_max_ms, o->update_timeout_ms);
    uint64_t least;
    if (__builtin_add_overflow(o->update_timeout_ms, o->update_jitter_max_ms, &least) ||
        __builtin_add_overflow(least, MARGIN_MS, &least) || o->failover_timeout_ms < least)
        return err_set(err, ERR_LIMIT, 0,
                       "HA failover timeout (%" PRIu64 " ms) must be at least the update timeout "
                       "(%" PRIu64 " ms), its jitter (%" PRIu64 " ms) and one second",
                       o->failover_timeout_ms, o->update_timeout_ms, o->update_jitter_max_ms);
    return OK;
}

enum status ha_new(struct core *core, const struct ha_options *options,
                   const struct ha_wires *wires, struct ha **out, struct err *err) {
    TRY(ha_options_check(options, err));
    struct ha *ha = calloc(1, sizeof *ha);
    if (ha == NULL) return err_set(err, ERR_NOMEM, 0, "ingest: out of memory");
    *ha = (struct ha){.core = core, .options = *options, .wires = *wires};
    list_init(&ha->elections);
    uint64_t random, span = 2 * options->update_jitter_max_ms + 1;
    core->rt->ops->random(core->rt, &random, sizeof random);
    ha->fresh_ms =
        (int64_t)(options->update_timeout_ms - options->update_jitter_max_ms + random % span);
    *out = ha;
    return OK;
}

static void election_free(struct election *e) {
    list_remove(&e->node);
    free(e);
}

void ha_free(struct ha *ha) {
    if (ha == NULL) return;
    while (!list_is_empty(&ha->elections)) {
        struct election *e = container_of(ha->elections.next, struct election, node);
        while (list_pop_front(&e->checks) != NULL)
            ;
        election_free(e);
    }
    free(ha);
}

const struct ha_options *ha_options(const struct ha *ha) {
    return &ha->options;
}

/* -- metrics */

void ha_count_plain(uint64_t samples) {
    metric_add(metric_get(&plain_def, NULL), (double)samples);
}

static void count_dropped(const struct ha_check *check) {
    char label[HA_NAME_MAX + 16];
    int len = snprintf(label, sizeof label, "cluster=\"%.*s\"", SV_ARG(check->cluster));
    for (int i = 9; i < len - 1; i++)
        if (label[i] == '"' || label[i] == '\\' || (unsigned char)label[i] < ' ') label[i] = '?';
    metric_add(metric_get(&deduped_def, label), (double)check->samples);
}

static enum ha_verdict judge(const struct ha_check *check, struct sv elected) {
    if (sv_eq(check->replica, elected)) return HA_ACCEPT;
    count_dropped(check);
    return HA_DROP;
}

/* -- checks */

static struct election *election_find(struct ha *ha, struct sv cluster) {
    LIST_FOREACH(n, &ha->elections) { /* few: at most one a cluster, and soon over */
        struct election *e = container_of(n, struct election, node);
        if (sv_eq(sv_from(e->cluster), cluster)) return e;
    }
    return NULL;
}

static enum ha_verdict election_begin(struct ha *ha, struct ha_check *check, int64_t now_ms,
                                      struct err *err) {
    struct election *e = election_find(ha, check->cluster);
    bool is_new = e == NULL;
    if (is_new) {
        e = calloc(1, sizeof *e);
        if (e == NULL) {
            err_set(err, ERR_NOMEM, 0, "out of memory");
            return HA_UNAVAILABLE;
        }
        memcpy(e->cluster, check->cluster.ptr, check->cluster.len);
        list_init(&e->checks);
        list_push_back(&ha->elections, &e->node);
    }
    list_push_back(&e->checks, &check->node);
    if (is_new) ha->wires.elect(ha->wires.ctx, check->cluster, check->replica, now_ms);
    return HA_WAIT;
}

enum ha_verdict ha_begin(struct ha *ha, struct ha_check *check, int64_t now_ms, struct err *err) {
    assert(core_is_current(ha->core) && check->cluster.len > 0 && check->replica.len > 0);
    list_init(&check->node);
    if (check->cluster.len > HA_NAME_MAX || check->replica.len > HA_NAME_MAX) {
        err_set(err, ERR_LIMIT, 0, "labels %s and %s may have at most %d bytes",
                ha->options.cluster_label, ha->options.replica_label, HA_NAME_MAX);
        return HA_REFUSE;
    }
    const struct ha_elected *known = ha->wires.elected(ha->wires.ctx, check->cluster);
    if (known != NULL && now_ms - known->received_ms < ha->fresh_ms)
        return judge(check, sv_from(known->replica));
    if (known == NULL && ha->options.clusters_max > 0 &&
        ha->wires.clusters_count(ha->wires.ctx) >= ha->options.clusters_max) {
        err_set(err, ERR_LIMIT, 0, "too many HA clusters, at most %" PRIu32,
                ha->options.clusters_max);
        return HA_REFUSE;
    }
    return election_begin(ha, check, now_ms, err);
}

void ha_cancel(struct ha_check *check) {
    list_remove(&check->node);
}

/* Nobody knows who is elected now; who was it last is not made to wait for a controller. */
static enum ha_verdict judge_by_last(struct ha *ha, const struct ha_check *check) {
    const struct ha_elected *known = ha->wires.elected(ha->wires.ctx, check->cluster);
    return known != NULL && sv_eq(check->replica, sv_from(known->replica)) ? HA_ACCEPT
                                                                           : HA_UNAVAILABLE;
}

void ha_on_elected(struct ha *ha, struct sv cluster, enum status status, struct sv replica,
                   const struct err *err) {
    assert(core_is_current(ha->core));
    struct election *e = election_find(ha, cluster);
    if (e == NULL) return;
    list_remove(&e->node); /* what callbacks begin is another one */
    struct list_node *n;
    while ((n = list_pop_front(&e->checks)) != NULL) {
        struct ha_check *check = container_of(n, struct ha_check, node);
        enum ha_verdict verdict = status == OK ? judge(check, replica) : judge_by_last(ha, check);
        check->done(check, verdict, verdict == HA_UNAVAILABLE ? err : NULL);
    }
    election_free(e);
}

void ha_stop(struct ha *ha) {
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "this node is stopping");
    while (!list_is_empty(&ha->elections)) {
        struct election *e = container_of(ha->elections.next, struct election, node);
        ha_on_elected(ha, sv_from(e->cluster), ERR_UNAVAILABLE, (struct sv){0}, &err);
    }
}
