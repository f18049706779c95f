/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a consensus store; the first byte picks which. Whatever it is, it is refused with
 * its name and place, or gives a log in order behind the snapshot. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "ring/raft/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct raft_state state = {.snapshot = {.index = 4, .term = 2}};
    struct err err = {0};
    uint64_t torn = 0;
    enum status st;
    if (size == 0) return 0;
    struct sv file = sv_make(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0: st = raft_store_meta_get(file, "raft/f", &state, &err); break;
    case 1: st = raft_store_snapshot_get(file, "raft/f", &state, &err); break;
    default: st = raft_store_log_get(file, "raft/f", &state, &torn, &err); break;
    }
    if (st != OK) {
        assert(st == ERR_CORRUPT || st == ERR_UNSUPPORTED);
        assert(strstr(err.msg, "raft/f") != NULL);
    }
    assert(torn <= file.len);
    for (size_t i = 0; st == OK && i < state.entries_count; i++) {
        assert(state.entries[i].index == state.snapshot.index + 1 + i);
        const char *p = state.entries[i].bytes.ptr;
        assert(state.entries[i].bytes.len == 0 ||
               (p >= file.ptr && p + state.entries[i].bytes.len <= file.ptr + file.len));
    }
    raft_store_state_fini(&state);
    return 0;
}
