/* SPDX-License-Identifier: Apache-2.0 */
/* An answer of Cloud Map (the first byte chooses HTTP's code): an error, or addresses that a node
 * can be reached at. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "node/runtime/resolve.h"
#include "ring/cloudmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct arena arena;
    struct err err = {0};
    struct cloudmap_instances found = {.count = SIZE_MAX};
    int code = data[0] == '2' ? 200 : 400;
    arena_init(&arena, 4 << 20);
    enum status status =
        cloudmap_answer_get(code, sv_make(data + 1, size - 1), 7, &arena, &found, &err);
    if (status != OK) {
        assert(err.code == status && found.count == SIZE_MAX);
        assert(code == 200 ? status == ERR_PARSE || status == ERR_LIMIT || status == ERR_NOMEM
                           : status == ERR_UNAVAILABLE);
        assert(strncmp(err.msg, "Cloud Map", 9) == 0);
    } else {
        assert(code == 200 && found.count + found.unusable <= CLOUDMAP_INSTANCES_MAX);
        for (size_t i = 0; i < found.count; i++) {
            char host[RESOLVE_HOST_BYTES_MAX + 1];
            uint16_t port;
            union address a;
            assert(address_split(found.addrs[i], host, &port, NULL) == OK);
            assert(port > 0 && address_parse(host, port, &a));
        }
    }
    arena_fini(&arena);
    return 0;
}
