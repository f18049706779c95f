/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/ack.h"

#include <assert.h>

void ack_board_init(struct ack_board *board) {
    board->members_count = 0;
}

unsigned ack_member_add(struct ack_board *board, node_id node) {
    for (unsigned i = 0; i < board->members_count; i++)
        if (board->members[i].node == node) return i;
    assert(board->members_count < ARRAY_LEN(board->members));
    struct ack_member *m = &board->members[board->members_count];
    *m = (struct ack_member){.node = node};
    list_init(&m->waits);
    return board->members_count++;
}

void ack_wait_begin(struct ack_wait *wait, void (*done)(struct ack_wait *wait, enum status status,
                                                        const struct err *err)) {
    *wait = (struct ack_wait){.done = done, .open = 1}; /* the one open need is ack_wait_commit's */
}

void ack_wait_need(struct ack_board *board, struct ack_wait *wait, unsigned member,
                   uint64_t position) {
    assert(member < board->members_count && wait->needs_count < ARRAY_LEN(wait->needs));
    struct ack_member *m = &board->members[member];
    if (position > m->sent) m->sent = position;
    if (position <= m->durable && m->failed == OK) return;
    struct ack_need *need = &wait->needs[wait->needs_count++];
    *need = (struct ack_need){.wait = wait, .position = position};
    wait->open++;
    /* positions come in order, so the walk back is short */
    struct list_node *at = m->waits.prev;
    while (at != &m->waits && container_of(at, struct ack_need, link)->position > position)
        at = at->prev;
    list_push_front(at, &need->link);
}

static void wait_end(struct ack_wait *wait, enum status status, const struct err *err) {
    ack_wait_cancel(wait);
    wait->done(wait, status, err);
}

void ack_wait_commit(struct ack_wait *wait) {
    assert(wait->open > 0);
    if (--wait->open == 0) wait_end(wait, OK, NULL);
}

void ack_wait_cancel(struct ack_wait *wait) {
    for (unsigned i = 0; i < wait->needs_count; i++)
        if (wait->needs[i].link.next != NULL) list_remove(&wait->needs[i].link);
    wait->needs_count = 0;
}

void ack_progress(struct ack_board *board, unsigned member, uint64_t position) {
    assert(member < board->members_count);
    struct ack_member *m = &board->members[member];
    if (position <= m->durable) return;
    m->durable = position;
    if (position > m->sent) m->sent = position;
    while (!list_is_empty(&m->waits)) {
        struct ack_need *need = container_of(m->waits.next, struct ack_need, link);
        if (need->position > m->durable) break;
        list_remove(&need->link);
        struct ack_wait *wait = need->wait;
        assert(wait->open > 0);
        if (--wait->open == 0) wait_end(wait, OK, NULL);
    }
}

void ack_fail(struct ack_board *board, unsigned member, enum status status, const struct err *err) {
    assert(member < board->members_count && status != OK);
    struct ack_member *m = &board->members[member];
    m->failed = status;
    while (!list_is_empty(&m->waits)) {
        struct ack_need *need = container_of(m->waits.next, struct ack_need, link);
        wait_end(need->wait, status, err);
    }
}

enum status ack_member_failed(const struct ack_board *board, unsigned member) {
    assert(member < board->members_count);
    return board->members[member].failed;
}
