/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/task.h"

#include <stdio.h>
#include <stdlib.h>

#include "node/base/log.h"
#include "node/http/ecs.h"
#include "node/runtime/resolve.h"

static const char *metadata_uri(void) {
    const char *uri = getenv("ECS_CONTAINER_METADATA_URI_V4");
    return uri == NULL ? "" : uri;
}

bool task_is_ecs(void) {
    return metadata_uri()[0] != '\0';
}

static enum status fill_addr(struct options *o, const struct ecs_task *task,
                             struct task_flags *flags, struct err *err) {
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    uint16_t port;
    if (task->ip[0] == '\0')
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "ECS tells no IPv4 address of an awsvpc interface of this task");
    TRY(address_split(sv_from(o->ring_listen.string), host, &port, err));
    snprintf(flags->addr, sizeof flags->addr, "%s:%u", task->ip, (unsigned)port);
    o->ring_advertise.string = flags->addr;
    return OK;
}

enum status task_fill(struct options *o, struct task_flags *flags, struct err *err) {
    bool wants_addr = o->ring_advertise.string[0] == '\0', wants_zone = !flag_was_set("ring.zone");
    if (!task_is_ecs() || o->ring_discovery.string[0] == '\0' || (!wants_addr && !wants_zone))
        return OK;
    struct ecs_task task = {0};
    enum status status = ecs_task_get(metadata_uri(), &task, err);
    if (status == OK && wants_addr) status = fill_addr(o, &task, flags, err);
    if (status != OK && wants_addr)
        return err_prefix(err, "--ring.advertise-address is not given, and");
    if (status != OK) log_warn("--ring.zone is not given, and none is known", "err", err->msg);
    if (wants_zone) {
        snprintf(flags->zone, sizeof flags->zone, "%s", task.zone);
        o->ring_zone.string = flags->zone;
    }
    log_info("flags of this ECS task", "ring.advertise-address", o->ring_advertise.string,
             "ring.zone", o->ring_zone.string);
    return OK;
}
