/* SPDX-License-Identifier: Apache-2.0 */
/* A committed map on its way to the data cores: saved, installed, told. One at a time, the newest
 * next. */
#include <inttypes.h>

#include "node/base/log.h"
#include "ring/member/internal.h"

void install_newer(struct member *m, struct ring_map *map) {
    if (m->map.newest != NULL && m->map.newest->version >= map->version) return;
    address_from_map(m, m->map.newest, map);
    ring_map_unref(m->map.newest);
    m->map.newest = ring_map_ref(map);
    m->dirty = true;
}

static void install_save(struct job *job) {
    job->status = ring_map_save(job->m->rt->disk, job->m->o.dir, job->map, &job->err);
}

static void install_on_saved(struct member *m, struct job *job) {
    m->map.saving = false;
    if (job->status != OK && drive_no_room(&job->err)) {
        if (m->map.full_ms == 0)
            log_error("no room to save the cluster map, it is tried again", "err", job->err.msg);
        m->map.full_ms = member_now_ms(m) + FULL_RETRY_MS;
        return;
    }
    m->map.full_ms = 0;
    if (job->status != OK) {
        err_prefix(&job->err, "the cluster map cannot be saved");
        member_lose(m, &job->err);
        return;
    }
    m->map.saved = job->map->version;
    if (m->lost || m->stopping) return;
    peers_set_map(m->peers, job->map);
    if (m->phase == MEMBER_JOINING) { /* with a map on disk it never founds another cluster */
        m->phase = MEMBER_MEMBER;
        if (drive_start(m, &m->r.loaded, &job->err) != OK) {
            member_lose(m, &job->err);
            return;
        }
        beat_start(m);
    }
    m->map.under_way = ring_map_ref(job->map);
    m->o.install(m->o.ctx, job->map);
}

void install_step(struct member *m) {
    struct ring_map *map = m->map.newest;
    if (map == NULL || m->map.saving || m->map.under_way != NULL || m->lost || m->stopping) return;
    if (map->version <= m->map.installed || member_now_ms(m) < m->map.full_ms) return;
    if (ring_map_node_index(map, m->o.self) < 0) {
        struct err err;
        err_set(&err, ERR_CONFLICT, 0,
                "this node was removed from the cluster by map version %" PRIu64, map->version);
        member_removed(m, &err);
        return;
    }
    struct job *job = member_job(m, install_save, install_on_saved);
    if (job == NULL) return; /* the next heartbeat's timer settles again */
    job->map = ring_map_ref(map);
    m->map.saving = true;
    member_job_post(job);
}

void member_installed(struct member *m, uint64_t map_version) {
    if (m->map.under_way == NULL || m->map.under_way->version != map_version) return;
    ring_map_unref(m->map.under_way);
    m->map.under_way = NULL;
    m->map.installed = map_version;
    if (m->lost || m->stopping) return;
    beat_now(m);
    m->dirty = true;
    if (!m->settling) member_settle(m);
}

void install_fini(struct member *m) {
    ring_map_unref(m->map.newest);
    ring_map_unref(m->map.under_way);
    m->map.newest = m->map.under_way = NULL;
}
