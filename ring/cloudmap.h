/* SPDX-License-Identifier: Apache-2.0 */
/* ring/cloudmap.h: AWS Cloud Map's DiscoverInstances as bytes: what is asked and what an answer
 * means (botocore's model of servicediscovery, API version 2017-03-14; protocol JSON 1.1). ECS
 * registers each task of a service there, with its address. Sans-I/O: who may name a network hands
 * in struct cloudmap_ops. */
#pragma once

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/status.h"

#define CLOUDMAP_TARGET "Route53AutoNaming_v20170314.DiscoverInstances" /* X-Amz-Target */
enum { CLOUDMAP_INSTANCES_MAX = 1000, CLOUDMAP_ANSWER_BYTES_MAX = 4 << 20 };

/* name: namespace/service as discovery_parse takes it, which needs no escapes. All instances,
 * healthy or not: a cluster that is being born has none that is. The API knows no next page. */
void cloudmap_request_put(struct sv name, struct buf *out);

struct cloudmap_instances {
    struct sv *addrs; /* ip:port or [ip]:port each, in the arena, as listed */
    size_t count;
    size_t unusable; /* instances without an address, which are none of ECS's */
};
/* Of AWS_INSTANCE_IPV4, or without it AWS_INSTANCE_IPV6, and AWS_INSTANCE_PORT, or without it port.
 * ERR_UNAVAILABLE: code is not 200; the message has the service's words. ERR_PARSE names what is
 * wrong and where; ERR_LIMIT: more than CLOUDMAP_INSTANCES_MAX instances; ERR_NOMEM. */
MUST_USE enum status cloudmap_answer_get(int code, struct sv body, uint16_t port,
                                         struct arena *arena, struct cloudmap_instances *out,
                                         struct err *err);

/* An answer of the network: status OK with HTTP's code and body, or why there is none. Valid during
 * the call. */
struct cloudmap_answer {
    enum status status;
    struct err err;
    int code;
    struct sv body;
};
typedef void (*cloudmap_done)(void *arg, const struct cloudmap_answer *answer);
/* On the control core. */
struct cloudmap_ops {
    /* Posts the body (copied) to DiscoverInstances; done once, later, on the control core. One at a
     * time. */
    void (*ask)(void *ctx, struct sv body, cloudmap_done done, void *arg);
    void (*cancel)(void *ctx); /* after it done does not run */
};
