/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/resolve.h: "host:port" to socket addresses, and the hosts and ports of a service.
 * Hosts: IPv4, [IPv6], a name, or nothing (all interfaces). Names are looked up by getaddrinfo, SRV
 * records by c-ares, on a thread of their own, not on libuv's pool: getaddrinfo cannot be cancelled
 * and takes up to half a minute when no name server answers, and libuv's pool is joined when the
 * process ends. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "node/base/status.h"
#include "node/base/sv.h"
#include "node/runtime/core.h"

enum {
    RESOLVE_ADDRS_MAX = 8,
    RESOLVE_HOST_BYTES_MAX = 253,
    RESOLVE_THREADS_MAX = 32,
    RESOLVE_TARGETS_MAX = 256
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};
static inline socklen_t address_len(const union address *a) {
    return a->any.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6;
}

/* The host without brackets, NUL-terminated ("" for all interfaces), and the port. */
MUST_USE enum status address_split(struct sv addr, char host[RESOLVE_HOST_BYTES_MAX + 1],
                                   uint16_t *out_port, struct err *err);
/* false when the host is a name. "" is 0.0.0.0. */
bool address_parse(const char *host, uint16_t port, union address *out);
/* Blocks on names: start-up only. */
MUST_USE enum status address_lookup(const char *host, uint16_t port,
                                    union address out[RESOLVE_ADDRS_MAX], unsigned *out_count,
                                    struct err *err);

struct resolve_target {
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    uint16_t port;
};
/* The targets of a name's SRV records, whatever their priorities and weights: one at least. Blocks,
 * for some seconds when no name server answers. ERR_UNAVAILABLE: the name, and why. */
MUST_USE enum status service_lookup(const char *name,
                                    struct resolve_target out[RESOLVE_TARGETS_MAX],
                                    unsigned *out_count, struct err *err);

/* A look-up under way, on the heap. done runs on the core that asked, unless it was abandoned
 * before. */
struct resolve {
    struct msg msg;
    struct core *core;
    void (*done)(struct core *here, struct resolve *r); /* takes r: must call resolve_free */
    void *ctx;
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    uint16_t port;
    enum status status;
    struct err err;
    union address addrs[RESOLVE_ADDRS_MAX];
    unsigned addrs_count;
    struct resolve_target *targets; /* of a service; NULL: addresses were asked for */
    unsigned targets_count;
    enum {
        RESOLVE_RUNNING,
        RESOLVE_DONE,
        RESOLVE_ABANDONED
    } state; /* under the lock of resolve.c */
};
MUST_USE enum status resolve_start(struct core *core, const char *host, uint16_t port,
                                   struct resolve **out, struct err *err);
/* The same for a service. */
MUST_USE enum status resolve_service_start(struct core *core, const char *name,
                                           struct resolve **out, struct err *err);
/* After it done does not run. r is freed now or by its thread. On the core. */
void resolve_abandon(struct resolve *r);
void resolve_free(struct resolve *r);
