/* SPDX-License-Identifier: Apache-2.0 */
/* --ring.discovery: an error that names the flag, or parts that lie inside of the text. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "ring/discovery.h"
#include "ring/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct sv part, struct sv text) {
    return part.len > 0 && part.ptr >= text.ptr && part.ptr + part.len <= text.ptr + text.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    struct discovery d;
    struct err err = {0};
    struct sv text = sv_make(data, size);
    arena_init(&arena, 1 << 20);
    if (discovery_parse(text, &arena, &d, &err) != OK) {
        assert(err.code == ERR_PARSE || err.code == ERR_LIMIT);
        assert(strstr(err.msg, "--ring.discovery") != NULL);
    } else if (d.kind == DISCOVERY_STATIC) {
        assert(d.addrs_count > 0 && d.addrs_count <= RING_NODES_MAX);
        for (size_t i = 0; i < d.addrs_count; i++) {
            assert(inside(d.addrs[i], text) && d.addrs[i].len <= RING_ADDR_MAX);
            assert(i == 0 || sv_cmp(d.addrs[i - 1], d.addrs[i]) < 0);
        }
    } else if (d.kind != DISCOVERY_NONE) {
        assert(inside(d.name, text) && (d.kind == DISCOVERY_DNS_A) == (d.port != 0));
    } else {
        assert(size == 0);
    }
    arena_fini(&arena);
    return 0;
}
