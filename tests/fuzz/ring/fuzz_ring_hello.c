/* SPDX-License-Identifier: Apache-2.0 */
/* The hello of a connection: malformed, or printable names that survive a round trip. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "ring/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct hello h, again;
    struct err err = {0};
    if (hello_get(sv_make(data, size), &h, &err) != OK) {
        assert(err.code == ERR_CORRUPT && err.msg[0] != '\0');
        return 0;
    }
    assert(strlen(h.cluster_name) < sizeof h.cluster_name && strlen(h.addr) < sizeof h.addr);
    for (const char *p = h.addr; *p != '\0'; p++)
        assert((unsigned char)*p >= ' ');
    struct buf b = {0};
    hello_put(&h, &b);
    assert(hello_get(buf_sv(&b), &again, &err) == OK && memcmp(&h, &again, sizeof h) == 0);
    buf_fini(&b);
    return 0;
}
