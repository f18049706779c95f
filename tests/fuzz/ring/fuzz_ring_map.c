/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster map from anywhere: refused by name, or it obeys its rules and says the same when it is
 * written again. The checksum is put right first, so that what is behind it is reached. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "ring/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_map(struct sv bytes) {
    struct ring_map *map = NULL, *again = NULL;
    struct err err = {0};
    if (ring_map_get(bytes, &map, &err) != OK) {
        assert(map == NULL && err.code != OK && err.msg[0] != '\0');
        return;
    }
    assert(ring_map_check(map, NULL) == OK);
    struct buf first = {0}, second = {0};
    ring_map_put(map, &first);
    assert(ring_map_get(buf_sv(&first), &again, &err) == OK);
    ring_map_put(again, &second);
    assert(sv_eq(buf_sv(&first), buf_sv(&second)));
    ring_map_unref(map);
    ring_map_unref(again);
    buf_fini(&first);
    buf_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try_map(sv_make(data, size));
    if (size < 8) return 0;
    char *copy = malloc(size);
    if (copy == NULL) abort();
    memcpy(copy, data, size);
    put_u64le(copy + size - 8, hash64(copy, size - 8, 0));
    try_map(sv_make(copy, size));
    free(copy);
    return 0;
}
