/* SPDX-License-Identifier: Apache-2.0 */
/* A heartbeat from anywhere: refused by name, or it says the same when it is written again. */
#include <assert.h>
#include <stdint.h>

#include "ring/control/heartbeat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct heartbeat h, again;
    struct err err = {0};
    if (heartbeat_get(sv_make(data, size), &h, &err) != OK) {
        assert(err.code != OK && err.msg[0] != '\0');
        return 0;
    }
    struct buf first = {0}, second = {0};
    heartbeat_put(&h, &first);
    assert(heartbeat_get(buf_sv(&first), &again, &err) == OK);
    heartbeat_put(&again, &second);
    assert(sv_eq(buf_sv(&first), buf_sv(&second)));
    heartbeat_fini(&h);
    heartbeat_fini(&again);
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}
