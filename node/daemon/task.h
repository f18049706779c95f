/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/task.h: in an ECS task, where the environment has ECS_CONTAINER_METADATA_URI_V4,
 * flags that are not given and that ECS knows better: --ring.advertise-address (the task's IPv4
 * address, the port of --ring.listen-address) and --ring.zone. */
#pragma once

#include "node/daemon/options.h"

struct task_flags { /* what options then point to */
    char addr[32], zone[64];
};
bool task_is_ecs(void);
/* Nothing without ECS or --ring.discovery. Blocks; before the loops run. An error where there is no
 * address then; without a zone it is logged, and there is none. */
MUST_USE enum status task_fill(struct options *o, struct task_flags *flags, struct err *err);
