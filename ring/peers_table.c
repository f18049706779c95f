/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ring/peers_internal.h"

/* Index of the first that is not below id. */
static uint32_t known_lower(const struct peers *peers, node_id id) {
    uint32_t low = 0, high = peers->known_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (peers->known[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct peer *peer_get(const struct peers *peers, node_id id) {
    uint32_t i = known_lower(peers, id);
    return i < peers->known_count && peers->known[i]->id == id ? peers->known[i] : NULL;
}

static void peer_attach(struct peers *peers, struct peer *peer) {
    int i = peers->map == NULL ? -1 : ring_map_node_index(peers->map, peer->id);
    peer->member = i < 0 ? NULL : &peers->map->nodes[i];
    if (i >= 0) peer->incarnation = MAX(peer->incarnation, peer->member->incarnation);
}

void peer_free(struct peer *peer) {
    timer_stop(&peer->link.timer);
    if (peer->link.state == LINK_UP) metric_add(peer->link.connected, -1);
    free(peer);
}

/* Whoever knocks with many ids does not push out who is in use. */
static bool known_evict(struct peers *peers) {
    for (uint32_t i = 0; i < peers->known_count; i++) {
        struct peer *peer = peers->known[i];
        if (peer->member != NULL || peer->inbounds > 0 || peer->link.state != LINK_IDLE ||
            !list_is_empty(&peer->link.calls))
            continue;
        peer_free(peer);
        memmove(peers->known + i, peers->known + i + 1,
                (--peers->known_count - i) * sizeof *peers->known);
        return true;
    }
    return false;
}

static bool known_grow(struct peers *peers) {
    uint32_t cap = peers->known_cap == 0 ? 16 : peers->known_cap * 2;
    struct peer **known = realloc(peers->known, cap * sizeof(struct peer *));
    if (known == NULL) return false;
    peers->known = known;
    peers->known_cap = cap;
    return true;
}

struct peer *peer_find_or_new(struct peers *peers, node_id id, bool bounded) {
    assert(id != 0);
    struct peer *peer = peer_get(peers, id);
    if (peer != NULL) return peer;
    if (bounded && peers->known_count >= PEERS_KNOWN_MAX && !known_evict(peers)) return NULL;
    if (peers->known_count == peers->known_cap && !known_grow(peers)) return NULL;
    peer = calloc(1, sizeof *peer);
    if (peer == NULL) return NULL;
    peer->id = id;
    link_init(&peer->link, peers, peer);
    peer_attach(peers, peer);
    uint32_t i = known_lower(peers, id);
    memmove(peers->known + i + 1, peers->known + i,
            (peers->known_count++ - i) * sizeof *peers->known);
    peers->known[i] = peer;
    return peer;
}

const char *peer_addr(const struct peer *peer) {
    if (peer->addr[0] != '\0') return peer->addr;
    return peer->member != NULL ? peer->member->addr : "";
}

static void peer_set_addr(struct peer *peer, const char *addr, uint32_t incarnation) {
    size_t len = strlen(addr);
    if (len > RING_ADDR_MAX) return;
    memcpy(peer->addr, addr, len + 1);
    peer->addr_incarnation = incarnation;
    link_moved(&peer->link);
}

/* The process at the other end is no more; the network would say so, but later. */
static void peer_drop_older(struct peer *peer) {
    struct link *link = &peer->link;
    if (link->state != LINK_UP || link->incarnation >= peer->incarnation) return;
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "its process has been replaced by a newer one");
    link_break(link, &err);
}

void peer_learn(struct peers *peers, struct peer *peer, uint32_t incarnation, const char *addr) {
    assert(incarnation >= peer->incarnation);
    bool is_new = incarnation > peer->incarnation;
    bool moved = addr[0] != '\0' && strcmp(addr, peer_addr(peer)) != 0;
    peer->incarnation = incarnation;
    if (addr[0] != '\0') peer_set_addr(peer, addr, incarnation);
    peer_drop_older(peer);
    if ((is_new || moved) && peers->learned != NULL)
        peers->learned(peers->ctx, peer->id, incarnation, addr);
}

void peers_set_addr(struct peers *peers, node_id id, const char *addr) {
    assert(core_is_current(peers->core));
    if (id == peers->self) return;
    bool forget = addr == NULL || addr[0] == '\0';
    struct peer *peer = forget ? peer_get(peers, id) : peer_find_or_new(peers, id, true);
    if (peer == NULL) return;
    peer_set_addr(peer, forget ? "" : addr, peer->incarnation);
}

void peers_set_process(struct peers *peers, node_id id, uint32_t incarnation, const char *addr) {
    assert(core_is_current(peers->core));
    if (id == peers->self) return;
    struct peer *peer = peer_find_or_new(peers, id, true);
    if (peer == NULL || incarnation < peer->incarnation) return;
    peer->incarnation = incarnation;
    if (addr[0] != '\0') peer_set_addr(peer, addr, incarnation);
    peer_drop_older(peer);
}

const char *peers_addr(const struct peers *peers, node_id id) {
    const struct peer *peer = peer_get(peers, id);
    if (peer != NULL) return peer_addr(peer);
    int i = peers->map == NULL ? -1 : ring_map_node_index(peers->map, id);
    return i < 0 ? "" : peers->map->nodes[i].addr;
}

/* A map that was published with another address after the one in the table was told is newer. */
static bool peer_addr_is_stale(const struct peer *peer, const struct ring_node *before) {
    return peer->addr[0] != '\0' && before != NULL && peer->member != NULL &&
           strcmp(before->addr, peer->member->addr) != 0 &&
           peer->member->incarnation >= peer->addr_incarnation;
}

void peers_set_map(struct peers *peers, struct ring_map *map) {
    assert(core_is_current(peers->core));
    struct ring_map *old = peers->map;
    if (old != NULL && map->version <= old->version) return;
    assert(old == NULL || memcmp(old->settings.cluster_id, map->settings.cluster_id, 16) == 0);
    peers->map = ring_map_ref(map);
    for (uint32_t i = 0; i < peers->known_count; i++) {
        struct peer *peer = peers->known[i];
        const struct ring_node *before = peer->member;
        peer_attach(peers, peer);
        if (peer_addr_is_stale(peer, before)) peer->addr[0] = '\0';
        link_moved(&peer->link);
        peer_drop_older(peer);
        if (list_is_empty(&peer->link.calls)) link_unused(&peer->link);
    }
    ring_map_unref(old);
}
