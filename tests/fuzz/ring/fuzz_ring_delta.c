/* SPDX-License-Identifier: Apache-2.0 */
/* A map delta from anywhere, onto a small map: refused by name, or what comes out obeys the rules,
 * and the delta between both makes it again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "ring/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ring_map *base(void) {
    struct ring_map *map;
    if (ring_map_new(2, 2, &map, NULL) != OK) abort();
    map->version = 1;
    map->settings.replication_factor = 2;
    map->settings.format_level = 1;
    map->nodes[0] = (struct ring_node){.id = 5, .incarnation = 3, .addr = "a:1", .zone = "z1"};
    map->nodes[1] = (struct ring_node){.id = 9, .flags = RING_NODE_DOWN, .addr = "b:1"};
    for (unsigned s = 0; s < 2; s++)
        map->shards[s] = (struct ring_shard){
            .epoch = 1,
            .replicas_count = 2,
            .replicas = {{.node = 0, .state = REPLICA_FULL, .in_sync = true, .copy = 1},
                         {.node = 1, .state = REPLICA_INIT, .copy = 1}}};
    assert(ring_map_check(map, NULL) == OK);
    return map;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ring_map *from = base(), *to = NULL, *again = NULL;
    struct err err = {0};
    if (ring_delta_apply(from, sv_make(data, size), &to, &err) != OK) {
        assert(to == NULL && err.code != OK && err.msg[0] != '\0');
    } else {
        struct buf delta = {0}, a = {0}, b = {0};
        assert(ring_map_check(to, NULL) == OK);
        ring_delta_put(from, to, &delta);
        assert(ring_delta_apply(from, buf_sv(&delta), &again, &err) == OK);
        ring_map_put(to, &a);
        ring_map_put(again, &b);
        assert(sv_eq(buf_sv(&a), buf_sv(&b)));
        buf_fini(&delta);
        buf_fini(&a);
        buf_fini(&b);
    }
    ring_map_unref(from);
    ring_map_unref(to);
    ring_map_unref(again);
    return 0;
}
