/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/loop.h: the real runtime: one thread and one libuv loop per core, a worker pool,
 * TCP, the OS's disk. */
#pragma once

#include <uv.h>

#include "node/base/sv.h"
#include "node/runtime/core.h"

struct loop_options {
    unsigned cores_count;   /* >= 1 */
    unsigned workers_count; /* >= 1 */
    /* Each core keeps to a CPU of its own, where the process may use just as many as there are
     * cores. A kernel in a virtual machine takes a halted CPU for one that is taken away, and puts
     * a core that is woken behind the one that woke it: two halves of a query run one after the
     * other then. */
    bool pins;
};

/* Ignores SIGPIPE for the process (libuv writes to sockets without MSG_NOSIGNAL).
 * Makes the loops and the pool without starting the threads: listeners and timers of the layers
 * above are set up on the starting thread first (core_set_current), then loop_runtime_start runs
 * them. */
MUST_USE enum status loop_runtime_new(const struct loop_options *options, struct runtime **out,
                                      struct err *err);
MUST_USE enum status loop_runtime_start(struct runtime *rt, struct err *err);
/* Stops every core and joins the threads. Any thread but a core; once; before loop_runtime_free.
 * Before it, the layers above have closed what is theirs on each core: uv handles (an HTTP server
 * that has called its `stopped`), timers (core_fini asserts), flows that post to each other for
 * ever, work that waits for something else. It closes listeners and connections of net.h itself
 * (`closed` runs as always, on the core; a dial from there fails with `closed`), waits for
 * submitted work and runs its done, then runs what is left in the mailboxes on the calling thread.
 * Handles that were forgotten are logged and closed without their callback; a uv request that
 * cannot be cancelled holds the stop for at most 2 s. */
void loop_runtime_stop(struct runtime *rt);
void loop_runtime_free(struct runtime *rt);

uv_loop_t *core_uv_loop(struct core *core); /* for node/http only */

/* Runs fn on the core and waits for it: start-up and shut-down only, from a thread that is no core.
 */
void core_call(struct core *core, void (*fn)(struct core *here, void *ctx), void *ctx);

/* A bound socket with SO_REUSEPORT, not listening yet, for uv_tcp_open (libuv 1.44 cannot set the
 * option). addr as in net_listen; a name is looked up, so start-up only. exclusive: ERR_CONFLICT
 * when anybody listens there already, which SO_REUSEPORT alone would share between two processes of
 * one user: set it for the first core's socket. Port 0 picks one; *out_port is what to bind the
 * other cores to. */
MUST_USE enum status loop_tcp_bind(struct sv addr, bool exclusive, uv_os_sock_t *out,
                                   unsigned *out_port, struct err *err);
unsigned loop_net_port(
    struct core *core); /* of the core's net_listen; 0 when it does not listen. On the core. */

/* Loop lag of a core: how late a timer that is due every 10 ms would fire, in seconds; feeds the
 * cairn_core_loop_lag_seconds histogram. Data cores and the control core; not the log
 * core, which blocks. */
void loop_register_metrics(struct runtime *rt);
