/* SPDX-License-Identifier: Apache-2.0 */
/* Another retention while the node runs: who asks -> log core, which also opens the data, so that
 * flushers begin with the one that is in force -> each data core's flusher. */
#include <stdlib.h>

#include "node/daemon/node_internal.h"

struct retention_msg {
    struct msg msg;
    struct node *node;
    struct retention *retention; /* a reference */
    uint64_t bytes;
    struct retention_msg *next; /* for the data cores */
};

static void message_free(struct retention_msg *rm) {
    while (rm != NULL) {
        struct retention_msg *next = rm->next;
        retention_unref(rm->retention);
        free(rm);
        rm = next;
    }
}

static void on_data_core(struct core *here, struct msg *m) {
    struct retention_msg *rm = container_of(m, struct retention_msg, msg);
    struct flusher *flusher = rm->node->cores[here->index].flusher;
    if (flusher != NULL) flusher_set_retention(flusher, rm->retention);
    message_free(rm);
}

static void on_log_core(struct core *here, struct msg *m) {
    struct retention_msg *rm = container_of(m, struct retention_msg, msg);
    struct node *node = rm->node;
    struct retention *before = node->retention;
    node->retention = retention_ref(rm->retention);
    retention_unref(before);
    atomic_store(&node->retention_ms, rm->retention->longest_ms);
    atomic_store(&node->retention_bytes, rm->bytes);
    if (node->archive != NULL) archive_set_bytes_max(node->archive, rm->bytes);
    for (unsigned i = 0; i < here->rt->cores_count && node->log != NULL; i++) {
        struct retention_msg *next = rm->next;
        rm->next = next->next;
        next->next = NULL;
        core_post(here->rt->cores[i], &next->msg);
    }
    message_free(rm);
}

enum status node_set_retention(struct node *node, struct retention *retention, uint64_t bytes,
                               struct err *err) {
    struct retention_msg *first = NULL;
    for (unsigned i = 0; i <= node->rt->cores_count; i++) {
        struct retention_msg *rm = calloc(1, sizeof *rm);
        if (rm == NULL) {
            message_free(first);
            return err_set(err, ERR_NOMEM, 0, "out of memory");
        }
        rm->node = node;
        rm->retention = retention_ref(retention);
        rm->bytes = bytes;
        rm->msg.run = on_data_core;
        rm->next = first;
        first = rm;
    }
    first->msg.run = on_log_core;
    core_post(node->rt->log_core, &first->msg);
    return OK;
}
