/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/discovery.h"

#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"
#include "ring/map.h"

enum { DISCOVERY_NAME_BYTES_MAX = 253 }; /* as DNS has it */

static bool port_parse(struct sv text, uint16_t *out) {
    uint64_t port;
    if (text.len > 5 || !num_parse_u64(text, &port) || port == 0 || port > 65535) return false;
    *out = (uint16_t)port;
    return true;
}

/* A DNS or Cloud Map name: letters, digits, hyphen, underscore, dot. */
static bool name_check(struct sv name) {
    if (name.len == 0 || name.len > DISCOVERY_NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alnum && c != '-' && c != '_' && c != '.') return false;
    }
    return true;
}

/* name:port, 1.2.3.4:port or [v6]:port, as net_dial takes it. */
static enum status host_port_check(struct sv addr, struct err *err) {
    if (addr.len > RING_ADDR_MAX)
        return err_set(err, ERR_LIMIT, 0, "--ring.discovery: address of %zu bytes, at most %d",
                       addr.len, RING_ADDR_MAX);
    size_t colon = addr.len;
    while (colon > 0 && addr.ptr[colon - 1] != ':')
        colon--;
    struct sv host = sv_take(addr, colon == 0 ? 0 : colon - 1);
    uint16_t port;
    static const char v6[] = "0123456789abcdefABCDEF:.";
    bool good = colon > 0 && port_parse(sv_skip(addr, colon), &port);
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        for (size_t i = 1; i + 1 < host.len && good; i++)
            good = memchr(v6, host.ptr[i], sizeof v6 - 1) != NULL;
    else
        good = good && name_check(host);
    if (good) return OK;
    return err_set(err, ERR_PARSE, 0, "--ring.discovery: \"%.*s\" is not host:port", SV_ARG(addr));
}

static int sv_cmp_qsort(const void *a, const void *b) {
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

static enum status parse_static(struct sv rest, struct arena *arena, struct discovery *out,
                                struct err *err) {
    size_t count = 1;
    for (size_t i = 0; i < rest.len; i++)
        count += rest.ptr[i] == ',';
    if (count > RING_NODES_MAX)
        return err_set(err, ERR_LIMIT, 0, "--ring.discovery: %zu nodes, at most %d", count,
                       RING_NODES_MAX);
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
            return err_set(err, ERR_PARSE, 0, "--ring.discovery: %.*s is listed twice",
                           SV_ARG(addrs[i]));
    *out = (struct discovery){.kind = DISCOVERY_STATIC, .addrs = addrs, .addrs_count = n};
    return OK;
}

enum status discovery_parse(struct sv text, struct arena *arena, struct discovery *out,
                            struct err *err) {
    struct discovery d = {.kind = DISCOVERY_NONE};
    if (text.len == 0) {
        *out = d;
        return OK;
    }
    if (sv_starts(text, SV("static:"))) return parse_static(sv_skip(text, 7), arena, out, err);
    if (sv_starts(text, SV("dns+a://"))) {
        d.kind = DISCOVERY_DNS_A;
        struct sv port = sv_cut(sv_skip(text, 8), ':', &d.name);
        if (!name_check(d.name) || !port_parse(port, &d.port))
            return err_set(err, ERR_PARSE, 0,
                           "--ring.discovery: dns+a:// needs name:port, got \"%.*s\"",
                           SV_ARG(text));
    } else if (sv_starts(text, SV("dns+srv://"))) {
        d.kind = DISCOVERY_DNS_SRV;
        d.name = sv_skip(text, 10);
        if (!name_check(d.name))
            return err_set(err, ERR_PARSE, 0,
                           "--ring.discovery: dns+srv:// needs a name, got \"%.*s\"", SV_ARG(text));
    } else if (sv_starts(text, SV("cloudmap://"))) {
        d.kind = DISCOVERY_CLOUDMAP;
        d.name = sv_skip(text, 11);
        struct sv space, service = sv_cut(d.name, '/', &space);
        if (!name_check(space) || !name_check(service))
            return err_set(err, ERR_PARSE, 0,
                           "--ring.discovery: cloudmap:// needs namespace/service, got \"%.*s\"",
                           SV_ARG(text));
    } else {
        return err_set(err, ERR_PARSE, 0,
                       "--ring.discovery: \"%.*s\" is none of static:host:port,..., "
                       "dns+a://name:port, dns+srv://name, "
                       "cloudmap://namespace/service",
                       SV_ARG(text));
    }
    *out = d;
    return OK;
}
