/* SPDX-License-Identifier: Apache-2.0 */
/* Other limits of new series while the node runs: who asks -> log core, which also opens the data,
 * so that stores begin with those that are in force -> each data core's store. */
#include <stdlib.h>

#include "node/base/log.h"
#include "node/daemon/node_internal.h"

struct limits_msg {
    struct msg msg;
    struct node *node;
    const struct series_limits *limits;
    struct limits_msg *next; /* for the data cores */
};

static void message_free(struct limits_msg *lm) {
    while (lm != NULL) {
        struct limits_msg *next = lm->next;
        free(lm);
        lm = next;
    }
}

static void on_data_core(struct core *here, struct msg *m) {
    struct limits_msg *lm = container_of(m, struct limits_msg, msg);
    struct store *store = lm->node->cores[here->index].store;
    if (store != NULL && store_set_limits(store, lm->limits) != OK)
        log_error("no memory for the limits of new series: those before stay");
    message_free(lm);
}

static void on_log_core(struct core *here, struct msg *m) {
    struct limits_msg *lm = container_of(m, struct limits_msg, msg);
    struct node *node = lm->node;
    node->limits = lm->limits;
    for (unsigned i = 0; i < here->rt->cores_count && node->log != NULL; i++) {
        struct limits_msg *next = lm->next;
        lm->next = next->next;
        next->next = NULL;
        core_post(here->rt->cores[i], &next->msg);
    }
    message_free(lm);
}

enum status node_set_limits(struct node *node, const struct series_limits *limits,
                            struct err *err) {
    struct limits_msg *first = NULL;
    for (unsigned i = 0; i <= node->rt->cores_count; i++) {
        struct limits_msg *lm = calloc(1, sizeof *lm);
        if (lm == NULL) {
            message_free(first);
            return err_set(err, ERR_NOMEM, 0, "out of memory");
        }
        *lm = (struct limits_msg){{.run = on_data_core}, node, limits, first};
        first = lm;
    }
    first->msg.run = on_log_core;
    core_post(node->rt->log_core, &first->msg);
    return OK;
}
