/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/discovery.h"

#include <stdlib.h>

#include "node/base/num.h"
#include "ring/map.h"

static enum status host_port_check(struct sv addr, struct err *err) {
    size_t colon = addr.len;
    while (colon > 0 && addr.ptr[colon - 1] != ':') colon--;
    uint64_t port;
    if (colon < 2 || !num_parse_u64(sv_skip(addr, colon), &port) || port == 0 || port > 65535)
        return err_set(err, ERR_PARSE, 0, "--ring.discovery: \"%.*s\" is not host:port", SV_ARG(addr));
    if (addr.len > RING_ADDR_MAX) return err_set(err, ERR_LIMIT, 0, "--ring.discovery: address of %zu bytes", addr.len);
    return OK;
}

static int sv_cmp_qsort(const void *a, const void *b) { return sv_cmp(*(const struct sv *)a, *(const struct sv *)b); }

static enum status parse_static(struct sv rest, struct arena *arena, struct discovery *out, struct err *err) {
    size_t count = 1;
    for (size_t i = 0; i < rest.len; i++) count += rest.ptr[i] == ',';
    if (count > RING_NODES_MAX) return err_set(err, ERR_LIMIT, 0, "--ring.discovery: %zu nodes, at most %d", count, RING_NODES_MAX);
    struct sv *addrs = arena_array(arena, count, sizeof *addrs);
    if (addrs == NULL) return err_set(err, ERR_NOMEM, 0, "--ring.discovery: out of memory");
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct sv addr;
        rest = sv_cut(rest, ',', &addr);
        addr = sv_trim(addr);
        TRY(host_port_check(addr, err));
        addrs[n++] = addr;
    }
    qsort(addrs, n, sizeof *addrs, sv_cmp_qsort);
    for (size_t i = 1; i < n; i++)
        if (sv_eq(addrs[i - 1], addrs[i]))
            return err_set(err, ERR_PARSE, 0, "--ring.discovery: %.*s is listed twice", SV_ARG(addrs[i]));
    out->kind = DISCOVERY_STATIC;
    out->addrs = addrs;
    out->addrs_count = n;
    return OK;
}

enum status discovery_parse(struct sv text, struct arena *arena, struct discovery *out, struct err *err) {
    *out = (struct discovery){.kind = DISCOVERY_NONE};
    if (text.len == 0) return OK;
    if (sv_starts(text, SV("static:"))) return parse_static(sv_skip(text, 7), arena, out, err);
    if (sv_starts(text, SV("dns+a://"))) {
        struct sv name, port_text = sv_cut(sv_skip(text, 8), ':', &name);
        uint64_t port;
        if (name.len == 0 || !num_parse_u64(port_text, &port) || port == 0 || port > 65535)
            return err_set(err, ERR_PARSE, 0, "--ring.discovery: dns+a:// needs name:port, got \"%.*s\"", SV_ARG(text));
        out->kind = DISCOVERY_DNS_A;
        out->name = name;
        out->port = (uint16_t)port;
        return OK;
    }
    if (sv_starts(text, SV("dns+srv://")) && text.len > 10) {
        out->kind = DISCOVERY_DNS_SRV;
        out->name = sv_skip(text, 10);
        return OK;
    }
    if (sv_starts(text, SV("cloudmap://"))) {
        struct sv space, service = sv_cut(sv_skip(text, 11), '/', &space);
        if (space.len == 0 || service.len == 0)
            return err_set(err, ERR_PARSE, 0, "--ring.discovery: cloudmap:// needs namespace/service, got \"%.*s\"", SV_ARG(text));
        out->kind = DISCOVERY_CLOUDMAP;
        out->name = sv_skip(text, 11);
        return OK;
    }
    return err_set(err, ERR_PARSE, 0,
                   "--ring.discovery: \"%.*s\" is none of static:host:port,..., dns+a://name:port, dns+srv://name, "
                   "cloudmap://namespace/service", SV_ARG(text));
}
