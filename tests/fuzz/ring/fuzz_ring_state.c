/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes as a snapshot of the cluster's state, and as a command on an empty one and after
 * itself: refused by name, or the state says the same when it is written and read again. */
#include <assert.h>
#include <stdint.h>

#include "ring/control/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct ring_state *s) {
    struct ring_state again;
    struct buf first = {0}, second = {0};
    ring_state_put(s, &first);
    assert(ring_state_get(buf_sv(&first), &again, NULL) == OK);
    ring_state_put(&again, &second);
    assert(sv_eq(buf_sv(&first), buf_sv(&second)));
    ring_state_fini(&again);
    buf_fini(&first);
    buf_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ring_state s;
    struct err err = {0};
    struct sv bytes = sv_make(data, size);
    if (ring_state_get(bytes, &s, &err) == OK) {
        round_trip(&s);
        ring_state_fini(&s);
    } else {
        assert(err.code != OK && err.msg[0] != '\0');
    }
    ring_state_init(&s);
    for (int i = 0; i < 2; i++) {
        bool changed = true;
        enum status st = ring_state_apply(&s, bytes, &changed, &err);
        assert(st == OK || !changed);
        assert(i == 0 || !changed); /* twice is once */
        round_trip(&s);
    }
    ring_state_fini(&s);
    return 0;
}
