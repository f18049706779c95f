/* SPDX-License-Identifier: Apache-2.0 */
/* A consensus message, refused or taken; what is taken has the same bytes for ever, and a node that
 * gets it neither crashes nor answers with what it would refuse itself. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "ring/raft/raft.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void step_with(const struct raft_msg *m) {
    struct raft_member members[] = {{.id = 1, .voter = true}, {.id = 2, .voter = true}, {.id = 3}};
    struct raft_entry e = {.term = 3, .index = 6, .type = RAFT_ENTRY_DATA, .bytes = SV("x")};
    struct raft_state state = {
        .term = 4,
        .snapshot = {.index = 5, .term = 2, .members = {members, 3}, .bytes = SV("state")},
        .entries = &e,
        .entries_count = 1,
    };
    struct raft_config config = {.self = m->to, .seed = 1};
    struct raft *r = NULL;
    struct raft_out out;
    assert(raft_new(&config, &state, 0, &r, NULL) == OK);
    struct raft_event ev = {.type = RAFT_EV_MSG, .msg = m};
    for (uint64_t now = 900; now < 4000; now += 1000) {
        raft_step(r, now, &ev, &out);
        for (size_t i = 0; i < out.msgs_count; i++) {
            struct buf b = {0};
            struct raft_msg sent;
            raft_msg_put(&out.msgs[i], &b);
            assert(raft_msg_get(buf_sv(&b), &sent, NULL) == OK);
            raft_msg_fini(&sent);
            buf_fini(&b);
        }
        if (out.batch == NULL) continue;
        struct raft_event saved = {.type = RAFT_EV_PERSISTED, .token = out.batch->token};
        raft_step(r, now, &saved, &out);
    }
    raft_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct raft_msg m, again;
    struct err err = {0};
    if (raft_msg_get(sv_make(data, size), &m, &err) != OK) {
        assert(err.code == ERR_PARSE && err.msg[0] != '\0');
        return 0;
    }
    struct buf once = {0}, twice = {0};
    raft_msg_put(&m, &once);
    assert(raft_msg_get(buf_sv(&once), &again, &err) == OK);
    raft_msg_put(&again, &twice);
    assert(sv_eq(buf_sv(&once), buf_sv(&twice)));
    step_with(&m);
    raft_msg_fini(&m);
    raft_msg_fini(&again);
    buf_fini(&once);
    buf_fini(&twice);
    return 0;
}
