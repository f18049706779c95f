/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/loop.h: the real runtime: one thread and one libuv loop per core, a worker pool, TCP, the OS's disk. */
#pragma once

#include <uv.h>

#include "node/runtime/core.h"

struct loop_options {
    unsigned cores_count;   /* >= 1 */
    unsigned workers_count; /* >= 1 */
};

/* Makes the loops and the pool without starting the threads: listeners and timers of the layers above are set up on the
 * starting thread first (core_set_current), then loop_runtime_start runs them. */
MUST_USE enum status loop_runtime_new(const struct loop_options *options, struct runtime **out, struct err *err);
MUST_USE enum status loop_runtime_start(struct runtime *rt, struct err *err);
/* Asks every core to stop (after the layers above have closed their handles), joins the threads. Any thread but a core. */
void loop_runtime_stop(struct runtime *rt);
void loop_runtime_free(struct runtime *rt);

uv_loop_t *core_uv_loop(struct core *core); /* for node/http only */

/* Runs fn on the core and waits for it: start-up and shut-down only, from a thread that is no core. */
void core_call(struct core *core, void (*fn)(struct core *here, void *ctx), void *ctx);

/* Loop lag of a core since the last call: how late its 10 ms heartbeat timer fired, in seconds; feeds the
 * cairn_core_loop_lag_seconds histogram. */
void loop_register_metrics(struct runtime *rt);
