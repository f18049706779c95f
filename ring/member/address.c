/* SPDX-License-Identifier: Apache-2.0 */
/* The address table: the newest address per node id from hellos, probes and heartbeats; what the
 * node itself said wins over the map's copy. Every change goes to the peers of all cores and, a
 * while later, to <dir>/addresses: so all addresses may change while the cluster is down. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "ring/member/internal.h"

enum { ADDRESS_PATH_BYTES = 600 };

static size_t address_find(const struct member *m, node_id id) { /* the first that is not below */
    size_t low = 0, high = m->addr.count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (m->addr.items[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct member_address *address_get(const struct member *m, node_id id) {
    size_t i = address_find(m, id);
    return i < m->addr.count && m->addr.items[i].id == id ? &m->addr.items[i] : NULL;
}

const char *address_of(const struct member *m, node_id id) {
    if (id == m->o.self) return m->o.addr;
    const struct member_address *a = address_get(m, id);
    if (a != NULL) return a->addr;
    const struct ring_map *map = m->map.newest;
    int i = map == NULL ? -1 : ring_map_node_index(map, id);
    return i < 0 ? "" : map->nodes[i].addr;
}

/* -- to the peers */

static void tell_work(struct job *job) {
    struct peers *peers = core_current()->locals[CORE_PEERS];
    if (peers != NULL) peers_set_process(peers, job->id, job->incarnation, job->bytes.ptr);
}

static void tell_done(struct member *m, struct job *job) {
    (void)m, (void)job;
}

static void address_tell(struct member *m, const struct member_address *a) {
    if (!m->started) return;
    peers_set_process(m->peers, a->id, a->incarnation, a->addr);
    for (unsigned i = 0; i < m->rt->cores_count; i++) {
        struct job *job = member_job(m, tell_work, tell_done);
        if (job == NULL) return;
        buf_put_sv(&job->bytes, sv_from(a->addr));
        job->id = a->id;
        job->incarnation = a->incarnation;
        if (buf_cstr(&job->bytes) == NULL)
            member_job_free(job);
        else
            member_job_post_to(job, m->rt->cores[i]);
    }
}

void address_publish(struct member *m) {
    for (size_t i = 0; i < m->addr.count; i++)
        address_tell(m, &m->addr.items[i]);
}

/* -- to the disk: a cache, whose loss costs a look at discovery */

static void save_work(struct job *job) {
    char path[ADDRESS_PATH_BYTES];
    member_path(job->m, "addresses", path);
    job->status = disk_write_file(job->m->rt->disk, path, buf_sv(&job->bytes), &job->err);
}

static void save_done(struct member *m, struct job *job) {
    m->addr.saving = false;
    if (job->status != OK) log_warn("the address table cannot be saved", "err", job->err.msg);
}

static void address_on_timer(struct timer *t) {
    struct member *m = container_of(t, struct member, addr.timer);
    struct job *job = m->addr.saving ? NULL : member_job(m, save_work, save_done);
    if (job == NULL) {
        timer_start(t, ADDRESSES_SAVE_MS);
        return;
    }
    addresses_file_put(m->addr.items, m->addr.count, &job->bytes);
    m->addr.saving = true;
    member_job_post(job);
}

enum status address_open(struct member *m, struct err *err) {
    char path[ADDRESS_PATH_BYTES];
    struct buf bytes = {0};
    struct err why;
    member_path(m, "addresses", path);
    timer_init(&m->addr.timer, m->core, address_on_timer);
    enum status status = disk_read_file(m->rt->disk, path, WIRE_FILE_BYTES_MAX, &bytes, &why);
    if (status == OK) {
        status = addresses_file_get(buf_sv(&bytes), &m->addr.items, &m->addr.count, &why);
        m->addr.cap = m->addr.count;
        if (status != OK && status != ERR_NOMEM) {
            log_warn("the saved address table is passed over", "file", path, "err", why.msg);
            status = OK;
        }
    } else if (status == ERR_UNAVAILABLE) {
        status = OK;
    }
    buf_fini(&bytes);
    if (status != OK && err != NULL) *err = why;
    return status;
}

void address_fini(struct member *m) {
    free(m->addr.items);
    m->addr.items = NULL;
    m->addr.count = 0;
}

/* -- what is learned */

static struct member_address *address_add(struct member *m, node_id id) {
    if (m->addr.count == m->addr.cap) {
        size_t cap = m->addr.cap == 0 ? 16 : 2 * m->addr.cap;
        struct member_address *items = m->addr.count >= 4 * RING_NODES_MAX
                                           ? NULL
                                           : realloc(m->addr.items, cap * sizeof *items);
        if (items == NULL) return NULL;
        m->addr.items = items;
        m->addr.cap = cap;
    }
    size_t i = address_find(m, id);
    memmove(&m->addr.items[i + 1], &m->addr.items[i], (m->addr.count - i) * sizeof *m->addr.items);
    m->addr.count++;
    m->addr.items[i] = (struct member_address){.id = id};
    return &m->addr.items[i];
}

void address_learn(struct member *m, node_id id, uint32_t incarnation, const char *addr) {
    if (id == m->o.self || id == 0 || addr[0] == '\0' || strlen(addr) > RING_ADDR_MAX) return;
    struct member_address *a = address_get(m, id);
    if (a != NULL && a->incarnation > incarnation) return; /* an older process' */
    if (a != NULL && strcmp(a->addr, addr) == 0) {
        bool newer = incarnation > a->incarnation;
        a->incarnation = incarnation;
        if (newer) address_tell(m, a); /* all cores fence the process before it */
        return;
    }
    if (a == NULL) a = address_add(m, id);
    if (a == NULL) return;
    a->incarnation = incarnation;
    snprintf(a->addr, sizeof a->addr, "%s", addr);
    address_tell(m, a);
    if (m->started && !m->stopping && !timer_is_armed(&m->addr.timer))
        timer_start(&m->addr.timer, ADDRESSES_SAVE_MS);
}

/* The map's copy is news only where it is another than in the map before. */
void address_from_map(struct member *m, const struct ring_map *old, const struct ring_map *map) {
    for (uint32_t i = 0; old != NULL && i < map->nodes_count; i++) {
        const struct ring_node *n = &map->nodes[i];
        int was = ring_map_node_index(old, n->id);
        if (was < 0 || strcmp(old->nodes[was].addr, n->addr) == 0) continue;
        address_learn(m, n->id, n->incarnation, n->addr);
    }
}
