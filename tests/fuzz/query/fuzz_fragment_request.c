/* SPDX-License-Identifier: Apache-2.0 */
/* The request for a fragment between nodes, and its shard list. */
#include <assert.h>
#include <stdlib.h>

#include "query/gather/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fragment_request r, again;
    struct err err;
    struct ring_map *map;
    if (ring_map_new(1, 64, &map, &err) != OK) return 0;
    for (uint32_t i = 0; i < 64; i++)
        map->shards[i].epoch = 1;
    uint64_t shards = 0;
    struct epochs epochs = {map, NULL};
    status_ignore(shard_list_get(&epochs, sv_make(data, size), &shards, &err));
    if (fragment_request_get(sv_make(data, size), &r, &err) == OK) {
        struct buf b = {0};
        fragment_request_put(&r, &b);
        assert(fragment_request_get(buf_sv(&b), &again, &err) == OK);
        assert(sv_eq(again.text, r.text) && again.params.start_ms == r.params.start_ms);
        buf_fini(&b);
        struct fragment f;
        if (fragment_get(r.fragment, &f, &err) == OK) fragment_fini(&f);
    }
    ring_map_unref(map);
    return 0;
}
