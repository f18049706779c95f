/* SPDX-License-Identifier: Apache-2.0 */
/* ring/discovery.h: what --ring.discovery means. Parsed here; the DNS and Cloud Map kinds are
 * looked up by their flow. */
#pragma once

#include "node/base/arena.h"
#include "node/base/status.h"
#include "node/base/sv.h"

enum discovery_kind {
    DISCOVERY_NONE,
    DISCOVERY_STATIC,
    DISCOVERY_DNS_A,
    DISCOVERY_DNS_SRV,
    DISCOVERY_CLOUDMAP
};
struct discovery {
    enum discovery_kind kind;
    struct sv *addrs; /* STATIC: host:port each, sorted, unique */
    size_t addrs_count;
    struct sv name; /* DNS name, or namespace/service */
    uint16_t port;  /* DNS_A */
};
/* "" | static:h:p,h:p,... | dns+a://name:port | dns+srv://name | cloudmap://namespace/service.
 * ERR_PARSE or ERR_LIMIT names what is wrong. The names and addresses point into text. */
MUST_USE enum status discovery_parse(struct sv text, struct arena *arena, struct discovery *out,
                                     struct err *err);
