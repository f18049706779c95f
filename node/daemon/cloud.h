/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/cloud.h: Cloud Map for the member: it wants to know on the control core, which must
 * not wait for TLS; core 0 asks, with node/http/aws.h. */
#pragma once

#include "node/base/status.h"
#include "node/runtime/core.h"
#include "ring/cloudmap.h"

struct cloud;
/* Before the loops run. */
MUST_USE enum status cloud_new(struct runtime *rt, struct cloud **out, struct err *err);
extern const struct cloudmap_ops cloud_ops; /* their ctx is the struct cloud */
/* On core 0; what is asked afterwards is answered with ERR_CANCELED. `stopped` there, once. */
void cloud_stop(struct cloud *cloud, void (*stopped)(void *ctx), void *ctx);
void cloud_free(struct cloud *cloud); /* when no loop runs any more; accepts NULL */
