/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/ha.h: pairs of senders (two Prometheus with the same configuration) that are told apart by
 * a replica label: of each pair, named by a cluster label, one replica is elected and the other's
 * samples are dropped. The rules are those of Mimir's HA tracker, so that its users need to change
 * nothing:
 *   - the labels of a request's first series decide; when one of the two is missing or empty, the
 *     request is taken as it is
 *   - an election that is younger than update_timeout (plus or minus up to update_jitter_max, drawn
 *     once a process) stands: the elected replica's requests are taken, others' are dropped, which
 *     is no error to the sender (202)
 *   - else it is renewed with this request's replica: the elected one's time is refreshed, another
 *     one wins only when the elected one has not been heard of for failover_timeout (the
 *     controller's part: ring/member, ADMIN_HA)
 *   - the replica label is taken out of every series (scan_options.drop_label), the cluster's stays
 *   - more clusters than clusters_max: 400
 * Other than Mimir: while no controller answers, the elected replica by the last known state goes
 * on to be taken; for others that is 503.
 *
 * One tracker a core; requests of one cluster that come during an election wait for the same one.
 * Thread: the core's. */
#pragma once

#include "node/base/list.h"
#include "node/base/sv.h"
#include "node/runtime/core.h"
#include "ring/control/state.h"

enum { HA_NAME_MAX = 255 };
struct ha_options {
    const char *cluster_label, *replica_label; /* "cluster", "__replica__"; kept by the caller */
    uint64_t update_timeout_ms;                /* 15 s */
    uint64_t update_jitter_max_ms;             /* 5 s */
    uint64_t failover_timeout_ms;              /* 30 s */
    uint32_t clusters_max;                     /* 0: no bound */
};
/* ERR_LIMIT, ERR_PARSE: says which option and why. */
MUST_USE enum status ha_options_check(const struct ha_options *options, struct err *err);

struct ha_wires {
    void *ctx;
    /* In an immutable snapshot that lives at least until the next call on this core; NULL: never
     * elected. */
    const struct ha_elected *(*elected)(void *ctx, struct sv cluster);
    size_t (*clusters_count)(void *ctx);
    /* Asks the controller to elect (texts are borrowed for the call); the answer comes to
     * ha_on_elected, later and once, for each cluster at most one at a time. */
    void (*elect)(void *ctx, struct sv cluster, struct sv replica, int64_t now_ms);
};
struct ha;
MUST_USE enum status ha_new(struct core *core, const struct ha_options *options,
                            const struct ha_wires *wires, struct ha **out, struct err *err);
void ha_stop(struct ha *ha); /* what waits is over, as if no controller answered */
void ha_free(struct ha *ha); /* what waits is forgotten */
const struct ha_options *ha_options(const struct ha *ha);

/* The two labels of the first series of an uncompressed remote write 1.0 request; they point into
 * it. false: one is missing, empty or not UTF-8, or the body is malformed (scanning it tells). */
bool ha_find_labels(const struct ha_options *options, struct sv body, struct sv *out_cluster,
                    struct sv *out_replica);
/* Samples and native histograms of the whole request. */
uint64_t ha_count_samples(struct sv body);
/* The same of remote write 2.0. */
bool ha_find_labels_v2(const struct ha_options *options, struct sv body, struct sv *out_cluster,
                       struct sv *out_replica);
uint64_t ha_count_samples_v2(struct sv body);

enum ha_verdict {
    HA_ACCEPT,      /* take it, without the replica label */
    HA_DROP,        /* 202 */
    HA_REFUSE,      /* 400 with err */
    HA_UNAVAILABLE, /* 503 with err */
    HA_WAIT         /* done tells */
};
struct ha_check {
    /* given */
    struct sv cluster, replica; /* borrowed until the verdict */
    uint64_t samples;           /* for the metrics */
    void (*done)(struct ha_check *check, enum ha_verdict verdict, const struct err *err);
    /* private */
    struct list_node node;
};
/* now_ms: the cluster's clock. err is set with HA_REFUSE. With HA_WAIT done is called later, once,
 * and never inside. */
enum ha_verdict ha_begin(struct ha *ha, struct ha_check *check, int64_t now_ms, struct err *err);
void ha_cancel(struct ha_check *check); /* one that waits: done will not be called */
/* OK: who is elected now (borrowed); else why it is not known. */
void ha_on_elected(struct ha *ha, struct sv cluster, enum status status, struct sv replica,
                   const struct err *err);
void ha_count_plain(uint64_t samples); /* of a request without the two labels */
/* Metrics, named and meant as Mimir's: cortex_distributor_deduped_samples_total{cluster},
 * cortex_distributor_non_ha_samples_received_total. */
