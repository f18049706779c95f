/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/ecs.h: what Amazon ECS tells a container of its task: the task metadata endpoint,
 * version 4 ($ECS_CONTAINER_METADATA_URI_V4/task). */
#pragma once

#include "node/base/status.h"
#include "node/base/sv.h"

struct ecs_task {
    char ip[16];   /* IPv4, of the task's own network interface (awsvpc); "": it has none */
    char zone[64]; /* of availability; "": not told */
};
/* ERR_PARSE says what is wrong. Other addresses than awsvpc's reach a task from its host only. */
MUST_USE enum status ecs_task_parse(struct sv json, struct ecs_task *out, struct err *err);
/* Asks; blocks for up to some 6 s: before the loops run. */
MUST_USE enum status ecs_task_get(const char *uri, struct ecs_task *out, struct err *err);
