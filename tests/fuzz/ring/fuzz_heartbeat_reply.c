/* SPDX-License-Identifier: Apache-2.0 */
/* A reply to a heartbeat from anywhere. */
#include <assert.h>
#include <stdint.h>

#include "ring/control/heartbeat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct heartbeat_reply r, again;
    struct err err = {0};
    if (heartbeat_reply_get(sv_make(data, size), &r, &err) != OK) {
        assert(err.code == ERR_CORRUPT && err.msg[0] != '\0');
        return 0;
    }
    struct buf b = {0};
    heartbeat_reply_put(&r, &b);
    assert(heartbeat_reply_get(buf_sv(&b), &again, &err) == OK);
    assert(again.answer == r.answer && again.sequence == r.sequence && again.leader == r.leader &&
           again.map_version == r.map_version && again.wall_ms == r.wall_ms);
    buf_fini(&b);
    return 0;
}
