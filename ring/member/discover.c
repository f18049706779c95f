/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses to probe: a static list, or all A or SRV records of a name, or the instances of a
 * Cloud Map service, looked up again and again. What failed, or lists nobody, changes nothing.
 * Cloud Map may forget an instance for a while (it is told by others, who restart, too), so that
 * its newest answers count together. */
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
    if (listed) t->missed = 0;
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

static void discover_answer_begins(struct member *m) {
    for (size_t i = 0; i < m->birth.targets_count; i++)
        m->birth.targets[i].missed++;
}

/* An address that was not listed for so many answers is forgotten, and so is one that was learned;
 * calls under way look theirs up again. */
static void discover_answer_ends(struct member *m, unsigned answers) {
    size_t kept = 0;
    for (size_t i = 0; i < m->birth.targets_count; i++)
        if (m->birth.targets[i].listed && m->birth.targets[i].missed < answers)
            m->birth.targets[kept++] = m->birth.targets[i];
    m->birth.targets_count = kept;
    m->birth.probe_at_ms = 0;
    member_settle(m);
}

static void discover_again(struct member *m, bool good) {
    bool idle = good && drive_leader(m) != 0;
    m->birth.resolve_at_ms = member_now_ms(m) + (idle ? PROBE_IDLE_MS : RESOLVE_RETRY_MS);
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
    discover_again(m, r->status == OK);
    if (r->status != OK) {
        log_warn("--ring.discovery: a look-up failed", "name", r->host, "err", r->err.msg);
        resolve_free(r);
        return;
    }
    discover_answer_begins(m);
    if (r->targets != NULL)
        add_targets(m, r);
    else
        add_addresses(m, r);
    resolve_free(r);
    discover_answer_ends(m, 1);
}

/* -- Cloud Map */

/* Once per change: it is asked every other second until it answers. */
static void cloudmap_say(struct member *m, const char *text) {
    if (strcmp(m->birth.cloudmap_said, text) == 0) return;
    char name[2 * RESOLVE_HOST_BYTES_MAX + 2];
    snprintf(name, sizeof name, "%.*s", SV_ARG(m->o.discovery->name));
    snprintf(m->birth.cloudmap_said, sizeof m->birth.cloudmap_said, "%s", text);
    if (text[0] == '\0')
        log_info("--ring.discovery: Cloud Map answers again", "name", name);
    else
        log_warn("--ring.discovery: a look-up failed", "name", name, "err", text);
}

/* That of this node's own address, which the others probably use, too. */
static uint16_t cloudmap_port(const struct member *m) {
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    uint16_t port = 0;
    status_ignore(address_split(sv_from(m->o.addr), host, &port, NULL));
    return port;
}

static enum status cloudmap_take(struct member *m, const struct cloudmap_answer *a,
                                 struct arena *arena, struct err *err) {
    struct cloudmap_instances found;
    if (a->status != OK) {
        *err = a->err;
        return a->status;
    }
    TRY(cloudmap_answer_get(a->code, a->body, cloudmap_port(m), arena, &found, err));
    if (found.count == 0 && found.unusable > 0)
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "Cloud Map lists %zu instances, none with AWS_INSTANCE_IPV4 or "
                       "AWS_INSTANCE_IPV6",
                       found.unusable);
    if (found.count == 0) return err_set(err, ERR_UNAVAILABLE, 0, "Cloud Map lists no instance");
    discover_answer_begins(m);
    for (size_t i = 0; i < found.count; i++)
        if (!discover_add(m, found.addrs[i], true)) break;
    return OK;
}

static void cloudmap_on_answer(void *arg, const struct cloudmap_answer *a) {
    struct member *m = arg;
    struct arena arena;
    struct err err = {0};
    m->birth.cloudmap_asking = false;
    arena_init(&arena, 1 << 20);
    enum status status = cloudmap_take(m, a, &arena, &err);
    arena_fini(&arena);
    discover_again(m, status == OK);
    if (status != ERR_CANCELED) cloudmap_say(m, status == OK ? "" : err.msg); /* it stops */
    if (status == OK) discover_answer_ends(m, CLOUDMAP_ANSWERS);
}

static void cloudmap_ask(struct member *m) {
    struct buf body = {0};
    cloudmap_request_put(m->o.discovery->name, &body);
    if (!body.failed) {
        m->birth.cloudmap_asking = true;
        m->o.cloudmap->ask(m->o.cloudmap_ctx, buf_sv(&body), cloudmap_on_answer, m);
    }
    buf_fini(&body);
}

/* -- all kinds */

static void names_ask(struct member *m) {
    const struct discovery *d = m->o.discovery;
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    snprintf(host, sizeof host, "%.*s", SV_ARG(d->name));
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

void discover_step(struct member *m, uint64_t now_ms) {
    enum discovery_kind kind = m->o.discovery == NULL ? DISCOVERY_NONE : m->o.discovery->kind;
    bool names = kind == DISCOVERY_DNS_A || kind == DISCOVERY_DNS_SRV;
    if (!names && kind != DISCOVERY_CLOUDMAP) return;
    if (m->birth.resolve != NULL || m->birth.cloudmap_asking || now_ms < m->birth.resolve_at_ms)
        return;
    m->birth.resolve_at_ms = now_ms + RESOLVE_RETRY_MS;
    if (names)
        names_ask(m);
    else
        cloudmap_ask(m);
}

void discover_fini(struct member *m) {
    if (m->birth.resolve != NULL) resolve_abandon(m->birth.resolve);
    if (m->birth.cloudmap_asking) m->o.cloudmap->cancel(m->o.cloudmap_ctx);
    m->birth.resolve = NULL;
    m->birth.cloudmap_asking = false;
}
