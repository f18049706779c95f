/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses to probe: a static list, or all A or SRV records of a name, looked up again and
 * again. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "node/runtime/resolve.h"
#include "ring/member/internal.h"

struct target *discover_find(struct member *m, const char *addr) {
    for (size_t i = 0; i < m->birth.targets_count; i++)
        if (strcmp(m->birth.targets[i].addr, addr) == 0) return &m->birth.targets[i];
    return NULL;
}

static bool discover_add(struct member *m, struct sv addr, bool listed) {
    if (addr.len > RING_ADDR_MAX) return true;
    char text[RING_ADDR_MAX + 1];
    snprintf(text, sizeof text, "%.*s", SV_ARG(addr));
    if (strcmp(text, m->o.addr) == 0) return true; /* this node itself */
    struct target *t = discover_find(m, text);
    if (t == NULL) {
        size_t n = m->birth.targets_count;
        t = realloc(m->birth.targets, (n + 1) * sizeof *t);
        if (t == NULL) return false;
        m->birth.targets = t;
        m->birth.targets_count = n + 1;
        t = &t[n];
        *t = (struct target){0};
        snprintf(t->addr, sizeof t->addr, "%s", text);
    }
    t->listed = t->listed || listed;
    return true;
}

enum status discover_open(struct member *m, struct err *err) {
    const struct discovery *d = m->o.discovery;
    for (size_t i = 0; d != NULL && d->kind == DISCOVERY_STATIC && i < d->addrs_count; i++)
        if (!discover_add(m, d->addrs[i], true))
            return err_set(err, ERR_NOMEM, 0, "member: out of memory");
    return OK;
}

/* Discovery may not tell everybody of everybody: lists differ while an operator changes them. Who
 * asks us can be asked. Only until there is a map, which then says who is there. */
void discover_learn(struct member *m, const char *addr) {
    if (addr[0] == '\0' || m->map.newest != NULL || m->birth.targets_count >= RING_NODES_MAX)
        return;
    status_ignore(discover_add(m, sv_from(addr), false) ? OK : ERR_NOMEM);
}

/* An address that is not listed any more is forgotten; calls under way look theirs up again. */
static void discover_sweep(struct member *m) {
    size_t kept = 0;
    for (size_t i = 0; i < m->birth.targets_count; i++)
        if (m->birth.targets[i].listed) m->birth.targets[kept++] = m->birth.targets[i];
    m->birth.targets_count = kept;
}

static void add_addresses(struct member *m, const struct resolve *r) {
    for (unsigned i = 0; i < r->addrs_count; i++) {
        const union address *a = &r->addrs[i];
        char ip[INET6_ADDRSTRLEN] = "", addr[INET6_ADDRSTRLEN + 16];
        if (a->any.sa_family != AF_INET) continue; /* dns+a: A records */
        if (inet_ntop(AF_INET, &a->v4.sin_addr, ip, sizeof ip) == NULL) continue;
        snprintf(addr, sizeof addr, "%s:%u", ip, (unsigned)r->port);
        if (!discover_add(m, sv_from(addr), true)) break;
    }
}

static void add_targets(struct member *m, const struct resolve *r) {
    for (unsigned i = 0; i < r->targets_count; i++) {
        char addr[RESOLVE_HOST_BYTES_MAX + 16];
        snprintf(addr, sizeof addr, "%s:%u", r->targets[i].host, (unsigned)r->targets[i].port);
        if (!discover_add(m, sv_from(addr), true)) break;
    }
}

static void discover_on_resolved(struct core *here, struct resolve *r) {
    struct member *m = r->ctx;
    (void)here;
    m->birth.resolve = NULL;
    bool leader = drive_leader(m) != 0;
    m->birth.resolve_at_ms =
        member_now_ms(m) + (leader && r->status == OK ? PROBE_IDLE_MS : RESOLVE_RETRY_MS);
    if (r->status != OK) {
        log_warn("--ring.discovery: a look-up failed", "name", r->host, "err", r->err.msg);
        resolve_free(r);
        return;
    }
    for (size_t i = 0; i < m->birth.targets_count; i++)
        m->birth.targets[i].listed = false;
    if (r->targets != NULL)
        add_targets(m, r);
    else
        add_addresses(m, r);
    discover_sweep(m);
    resolve_free(r);
    m->birth.probe_at_ms = 0;
    member_settle(m);
}

void discover_step(struct member *m, uint64_t now_ms) {
    const struct discovery *d = m->o.discovery;
    if (d == NULL || (d->kind != DISCOVERY_DNS_A && d->kind != DISCOVERY_DNS_SRV) ||
        m->birth.resolve != NULL || now_ms < m->birth.resolve_at_ms)
        return;
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    snprintf(host, sizeof host, "%.*s", SV_ARG(d->name));
    m->birth.resolve_at_ms = now_ms + RESOLVE_RETRY_MS;
    struct err err;
    enum status status = d->kind == DISCOVERY_DNS_SRV
                             ? resolve_service_start(m->core, host, &m->birth.resolve, &err)
                             : resolve_start(m->core, host, d->port, &m->birth.resolve, &err);
    if (status != OK) {
        m->birth.resolve = NULL;
        log_warn("--ring.discovery: a look-up failed", "name", host, "err", err.msg);
        return;
    }
    m->birth.resolve->done = discover_on_resolved;
    m->birth.resolve->ctx = m;
}

void discover_fini(struct member *m) {
    if (m->birth.resolve != NULL) resolve_abandon(m->birth.resolve);
    m->birth.resolve = NULL;
}
