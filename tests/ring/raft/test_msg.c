/* SPDX-License-Identifier: Apache-2.0 */
/* ring/raft/msg.h: bytes by hand from the layout in msg.c, round trips, refusals. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/rng.h"
#include "ring/raft/msg.h"

#define HEAD(type, flags, term)                                                                    \
    type flags "\1\0\0\0\0\0\0\0"                                                                  \
               "\2\0\0\0\0\0\0\0" term "\0\0\0\0\0\0\0"

static struct raft_entry entries[] = {
    {.term = 4, .index = 8, .type = RAFT_ENTRY_NOOP},
    {.term = 5, .index = 9, .type = RAFT_ENTRY_DATA, .bytes = SV_INIT("abc")},
};
static struct raft_member members[] = {{.id = 1, .voter = true}, {.id = 2}};

static const struct golden {
    struct raft_msg msg;
    struct sv bytes;
} goldens[] = {
    {{.type = RAFT_MSG_PREVOTE, .from = 1, .to = 2, .term = 6, .index = 300, .index_term = 5},
     SV_INIT(HEAD("\1", "\0", "\6") "\xac\2\5")},
    {{.type = RAFT_MSG_VOTE, .transfer = true, .from = 1, .to = 2, .term = 6, .index = 7},
     SV_INIT(HEAD("\3", "\2", "\6") "\7\0")},
    {{.type = RAFT_MSG_VOTE_REPLY, .granted = true, .from = 1, .to = 2, .term = 6},
     SV_INIT(HEAD("\4", "\1", "\6") "\0\0")},
    {{.type = RAFT_MSG_APPEND,
      .from = 1,
      .to = 2,
      .term = 5,
      .index = 7,
      .index_term = 3,
      .commit = 6,
      .round = 9,
      .sent_ms = 128,
      .entries = entries,
      .entries_count = 2},
     SV_INIT(HEAD("\5", "\0", "\5") "\7\3\6\x9\x80\1\2"
                                    "\4\2\0"
                                    "\5\1\3"
                                    "abc")},
    {{.type = RAFT_MSG_APPEND_REPLY,
      .from = 1,
      .to = 2,
      .term = 5,
      .index = 7,
      .index_term = 3,
      .round = 9,
      .sent_ms = 1},
     SV_INIT(HEAD("\6", "\0", "\5") "\7\3\x9\1")},
    {{.type = RAFT_MSG_SNAPSHOT,
      .from = 1,
      .to = 2,
      .term = 5,
      .round = 9,
      .sent_ms = 1,
      .snapshot = {.index = 6, .term = 3, .members = {members, 2}, .bytes = SV_INIT("hi")}},
     SV_INIT(HEAD("\7", "\0", "\5") "\x9\1\6\3\x16"
                                    "\2\0\0\0"
                                    "\1\0\0\0\0\0\0\0\1"
                                    "\2\0\0\0\0\0\0\0\0"
                                    "\2hi")},
    {{.type = RAFT_MSG_REMOVED, .from = 1, .to = 2, .term = 5, .index = 7, .index_term = 4},
     SV_INIT(HEAD("\x0a", "\0", "\5") "\7\4")},
};

Test(raft_msg, bytes_are_those_of_the_layout) {
    for (size_t i = 0; i < ARRAY_LEN(goldens); i++) {
        struct buf b = {0};
        struct raft_msg m;
        struct err err = {0};
        raft_msg_put(&goldens[i].msg, &b);
        cr_assert(sv_eq(buf_sv(&b), goldens[i].bytes), "case %zu", i);
        cr_assert(raft_msg_get(goldens[i].bytes, &m, &err) == OK, "case %zu: %s", i, err.msg);
        const struct raft_msg *w = &goldens[i].msg;
        cr_assert(m.type == w->type && m.granted == w->granted && m.transfer == w->transfer);
        cr_assert(m.from == 1 && m.to == 2 && m.term == w->term && m.index == w->index);
        cr_assert(m.index_term == w->index_term && m.commit == w->commit);
        cr_assert(m.round == w->round && m.sent_ms == w->sent_ms);
        cr_assert(m.entries_count == w->entries_count);
        for (uint32_t k = 0; k < m.entries_count; k++) {
            cr_assert(m.entries[k].index == w->entries[k].index);
            cr_assert(m.entries[k].term == w->entries[k].term);
            cr_assert(m.entries[k].type == w->entries[k].type);
            cr_assert(sv_eq(m.entries[k].bytes, w->entries[k].bytes));
        }
        cr_assert(m.snapshot.index == w->snapshot.index && m.snapshot.term == w->snapshot.term);
        cr_assert(sv_eq(m.snapshot.bytes, w->snapshot.bytes));
        cr_assert(m.snapshot.members.count == w->snapshot.members.count);
        raft_msg_fini(&m);
        buf_fini(&b);
    }
}

Test(raft_msg, every_shorter_or_longer_message_is_refused) {
    for (size_t i = 0; i < ARRAY_LEN(goldens); i++) {
        struct raft_msg m;
        struct err err = {0};
        char longer[256] = {0};
        struct sv bytes = goldens[i].bytes;
        for (size_t len = 0; len < bytes.len; len++) {
            char *exact = malloc(len + 1); /* so that a read beyond is seen by the sanitizer */
            memcpy(exact, bytes.ptr, len);
            exact = realloc(exact, len == 0 ? 1 : len);
            cr_assert(raft_msg_get(sv_make(exact, len), &m, &err) == ERR_PARSE, "%zu of case %zu",
                      len, i);
            free(exact);
        }
        memcpy(longer, bytes.ptr, bytes.len);
        cr_assert(raft_msg_get(sv_make(longer, bytes.len + 1), &m, &err) == ERR_PARSE);
    }
}

Test(raft_msg, what_no_correct_peer_says_is_refused) {
    struct raft_member twice[] = {{.id = 3, .voter = true}, {.id = 3}};
    struct raft_member none_votes[] = {{.id = 3}};
    struct raft_entry backwards[] = {{.term = 5, .index = 8, .type = RAFT_ENTRY_DATA},
                                     {.term = 4, .index = 9, .type = RAFT_ENTRY_DATA}};
    struct raft_entry future = {.term = 6, .index = 8, .type = RAFT_ENTRY_DATA};
    struct raft_entry conf = {
        .term = 5, .index = 8, .type = RAFT_ENTRY_CONF, .bytes = SV("\1\0\0\0x")};
    struct raft_entry unknown = {.term = 5, .index = 8, .type = 7};
    struct raft_snapshot empty = {.index = 3, .term = 2};
    struct raft_snapshot same = {.index = 3, .term = 2, .members = {twice, 2}};
    struct raft_snapshot mute = {.index = 3, .term = 2, .members = {none_votes, 1}};
#define APPEND .type = RAFT_MSG_APPEND, .from = 1, .to = 2, .term = 5, .index = 7, .index_term = 3
    const struct raft_msg bad[] = {
        {.type = 0, .from = 1, .to = 2},
        {.type = 11, .from = 1, .to = 2},
        {.type = RAFT_MSG_ASK, .from = 0, .to = 2},
        {.type = RAFT_MSG_ASK, .from = 1, .to = 0},
        {.type = RAFT_MSG_ASK, .from = 1, .to = 2, .term = UINT64_MAX},
        {APPEND, .entries = backwards, .entries_count = 2},
        {APPEND, .entries = &future, .entries_count = 1},
        {APPEND, .entries = &conf, .entries_count = 1},
        {APPEND, .entries = &unknown, .entries_count = 1},
        {.type = RAFT_MSG_APPEND, .from = 1, .to = 2, .term = 5, .index = 0, .index_term = 3},
        {.type = RAFT_MSG_SNAPSHOT, .from = 1, .to = 2, .term = 5, .snapshot = empty},
        {.type = RAFT_MSG_SNAPSHOT, .from = 1, .to = 2, .term = 5, .snapshot = same},
        {.type = RAFT_MSG_SNAPSHOT, .from = 1, .to = 2, .term = 5, .snapshot = mute},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf b = {0};
        struct raft_msg m;
        struct err err = {0};
        raft_msg_put(&bad[i], &b);
        cr_assert(raft_msg_get(buf_sv(&b), &m, &err) == ERR_PARSE, "case %zu", i);
        cr_assert(strstr(err.msg, "raft") != NULL);
        buf_fini(&b);
    }
}

Test(raft_msg, noise_is_refused_or_reads_back_the_same) {
    struct rng rng;
    unsigned good = 0;
    rng_init(&rng, 11);
    for (unsigned round = 0; round < 200000; round++) {
        const struct golden *from = &goldens[rng_below(&rng, ARRAY_LEN(goldens))];
        char bytes[256];
        struct raft_msg m;
        memcpy(bytes, from->bytes.ptr, from->bytes.len);
        for (uint64_t n = rng_below(&rng, 3); n > 0; n--)
            bytes[rng_below(&rng, from->bytes.len)] = (char)rng_u64(&rng);
        if (raft_msg_get(sv_make(bytes, from->bytes.len), &m, NULL) != OK) continue;
        struct buf again = {0};
        struct raft_msg twice;
        raft_msg_put(&m, &again);
        cr_assert(raft_msg_get(buf_sv(&again), &twice, NULL) == OK);
        cr_assert(twice.type == m.type && twice.entries_count == m.entries_count);
        raft_msg_fini(&m);
        raft_msg_fini(&twice);
        buf_fini(&again);
        good++;
    }
    cr_assert(good > 1000 && good < 200000);
}
