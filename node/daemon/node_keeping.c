/* SPDX-License-Identifier: Apache-2.0 */
/* Another retention, downsampling and other limits while the node runs: who asks -> log core, which
 * also opens the data, so that flushers and stores begin with what is in force -> each data core's
 * flusher and store. */
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "node/daemon/node_internal.h"

struct keeping_msg {
    struct msg msg;
    struct node *node;
    struct node_keeping keeping; /* with a reference */
    struct keeping_msg *next;    /* for the data cores */
};

static void message_free(struct keeping_msg *rm) {
    while (rm != NULL) {
        struct keeping_msg *next = rm->next;
        retention_unref(rm->keeping.retention);
        free(rm);
        rm = next;
    }
}

static void on_data_core(struct core *here, struct msg *m) {
    struct keeping_msg *rm = container_of(m, struct keeping_msg, msg);
    const struct node_core *nc = &rm->node->cores[here->index];
    if (nc->flusher != NULL) flusher_set_retention(nc->flusher, rm->keeping.retention);
    if (nc->store != NULL && store_set_limits(nc->store, rm->keeping.limits) != OK)
        log_error("no memory for the limits of new series: those before stay");
    message_free(rm);
}

static void on_log_core(struct core *here, struct msg *m) {
    struct keeping_msg *rm = container_of(m, struct keeping_msg, msg);
    struct node *node = rm->node;
    struct retention *before = node->retention;
    node->retention = retention_ref(rm->keeping.retention);
    retention_unref(before);
    atomic_store(&node->retention_ms, rm->keeping.retention->longest_ms);
    atomic_store(&node->retention_bytes, rm->keeping.retention_bytes);
    memcpy(node->options.downsample, rm->keeping.downsample, sizeof node->options.downsample);
    node->limits = rm->keeping.limits;
    if (node->archive != NULL) {
        archive_set_bytes_max(node->archive, rm->keeping.retention_bytes);
        archive_set_levels(node->archive, rm->keeping.downsample, node->retention->raw_ms);
    }
    for (unsigned i = 0; i < here->rt->cores_count && node->log != NULL; i++) {
        struct keeping_msg *next = rm->next;
        rm->next = next->next;
        next->next = NULL;
        core_post(here->rt->cores[i], &next->msg);
    }
    message_free(rm);
}

enum status node_keep(struct node *node, const struct node_keeping *keeping, struct err *err) {
    struct keeping_msg *first = NULL;
    for (unsigned i = 0; i <= node->rt->cores_count; i++) {
        struct keeping_msg *rm = calloc(1, sizeof *rm);
        if (rm == NULL) {
            message_free(first);
            return err_set(err, ERR_NOMEM, 0, "out of memory");
        }
        rm->node = node;
        rm->keeping = *keeping;
        retention_ref(keeping->retention);
        rm->msg.run = on_data_core;
        rm->next = first;
        first = rm;
    }
    first->msg.run = on_log_core;
    core_post(node->rt->log_core, &first->msg);
    return OK;
}
