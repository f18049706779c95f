/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of ring/raft/raft.h one by one, with every message and save by hand. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/ring/raft/rig.h"

static struct rig g;

/* Log of five nodes as in figure 8 (c) of the paper: node 1 leads again and its old entry "x" is on
 * nodes 1, 2 and 3, while node 5 holds an entry of a term between. Entries travel one by one. */
static void figure_8(uint64_t *out_index) {
    g.config.msg_bytes_max = 1;
    rig_init(&g, 5, 5, 0);
    cr_assert(rig_elect(&g, 1, 0x3e));
    rig_settle(&g);
    g.cut[1][3] = g.cut[1][4] = g.cut[1][5] = true;
    *out_index = rig_propose(&g, 1, "x").index;
    rig_flow(&g, 0, 0);
    cr_assert(rig_info(&g, 2).last == *out_index && rig_info(&g, 3).last == *out_index - 1);
    rig_restart(&g, 1);
    memset(g.cut, 0, sizeof g.cut);
    cr_assert(rig_elect(&g, 5, 1 << 3 | 1 << 4));
    cr_assert(rig_info(&g, 5).last == *out_index); /* its no-op, at x's place */
    rig_restart(&g, 5);
    rig_drop(&g);
    cr_assert(rig_elect(&g, 1, 1 << 2 | 1 << 3 | 1 << 4));
    /* To node 3: refused, then x alone, then the answer. What follows stays on its way. */
    rig_flow(&g, 1, 3);
    rig_flow(&g, 3, 1);
    rig_flow(&g, 1, 3);
    rig_flow(&g, 3, 1);
    cr_assert(raft_entry_at(g.nodes[3].raft, *out_index)->term ==
              raft_entry_at(g.nodes[1].raft, *out_index)->term);
    cr_assert(rig_info(&g, 3).last == *out_index);
    uint64_t match = 0, answered;
    cr_assert(raft_peer(g.nodes[1].raft, 3, &match, &answered) && match == *out_index);
    rig_flow(&g, 1, 2); /* node 2 has x already and now answers so, with the no-op behind it */
    for (unsigned i = 0; i < g.msgs_count; i++)
        cr_assert(g.msgs[i].from != 5);
}

Test(raft, figure_8_an_entry_of_an_older_term_is_not_committed_by_counting) {
    uint64_t index;
    figure_8(&index);
    cr_assert(rig_info(&g, 1).commit < index);
    rig_drop(&g);
    rig_restart(&g, 1);
    /* node 5 can win with nodes 3 and 4 (d): they hold nothing newer than its entry */
    cr_assert(rig_elect(&g, 5, 1 << 3 | 1 << 4));
    rig_settle(&g);
    for (unsigned i = 1; i <= 5; i++) {
        cr_assert(rig_info(&g, i).commit >= index);
        for (unsigned k = 0; k < g.nodes[i].applied_count; k++)
            cr_assert(strcmp(g.nodes[i].applied[k].bytes, "x") != 0, "node %u applied x", i);
    }
    rig_fini(&g);
}

Test(raft, figure_8_with_an_entry_of_its_own_term_the_older_one_commits_too) {
    uint64_t index;
    figure_8(&index);
    g.cut[1][4] = g.cut[1][5] = true;
    rig_flow(&g, 0, 0);
    cr_assert(rig_info(&g, 1).commit == index + 1);
    cr_assert(!rig_elect(&g, 5, 1 << 3 | 1 << 4)); /* (e) */
    cr_assert_str_eq(rig_last(&g, 1), "x");
    rig_fini(&g);
}

Test(raft, a_new_leader_commits_what_older_ones_left_without_a_proposal) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    g.cut[2][1] = g.cut[3][1] = true; /* it hears no answer */
    rig_propose(&g, 1, "left");
    rig_flow(&g, 0, 0);
    cr_assert_str_eq(rig_last(&g, 2), "");
    memset(g.cut, 0, sizeof g.cut);
    g.cut[1][2] = g.cut[1][3] = g.cut[2][1] = g.cut[3][1] = true;
    cr_assert(rig_elect(&g, 2, 0xc));
    rig_settle(&g);
    cr_assert_str_eq(rig_last(&g, 2), "left");
    cr_assert_str_eq(rig_last(&g, 3), "left");
    cr_assert(rig_info(&g, 2).commit == rig_info(&g, 2).last);
    rig_fini(&g);
}

Test(raft, nothing_is_told_or_counted_before_it_is_durable) {
    rig_init(&g, 3, 3, 0);
    g.nodes[1].hold_saves = g.nodes[2].hold_saves = true;
    rig_tick(&g, 1, 2000);
    rig_flow(&g, 1, 2); /* pre-vote needs no disk */
    rig_flow(&g, 2, 1);
    cr_assert(rig_info(&g, 1).role == RAFT_CANDIDATE);
    cr_assert(rig_waiting(&g, RAFT_MSG_VOTE, 1, 0) == 0, "its term and vote are not durable");
    rig_save(&g, 1);
    cr_assert(rig_waiting(&g, RAFT_MSG_VOTE, 1, 0) == 2);
    rig_flow(&g, 1, 2);
    cr_assert(rig_waiting(&g, RAFT_MSG_VOTE_REPLY, 2, 1) == 0);
    rig_save(&g, 2);
    cr_assert(rig_waiting(&g, RAFT_MSG_VOTE_REPLY, 2, 1) == 1);
    rig_drop(&g); /* the third never votes: win by node 2 in another round */
    cr_assert(g.nodes[2].disk.vote == 1 && g.nodes[2].disk.term == 2);
    g.nodes[1].hold_saves = g.nodes[2].hold_saves = false;
    cr_assert(rig_elect(&g, 1, 1 << 2));
    rig_settle(&g);
    uint64_t before = rig_info(&g, 1).commit;
    g.nodes[1].hold_saves = g.nodes[2].hold_saves = true;
    g.cut[1][3] = true;
    uint64_t index = rig_propose(&g, 1, "a").index;
    cr_assert(rig_waiting(&g, RAFT_MSG_APPEND, 1, 2) == 1, "a leader need not wait to send");
    rig_flow(&g, 1, 2);
    cr_assert(rig_waiting(&g, RAFT_MSG_APPEND_REPLY, 2, 1) == 0);
    rig_save(&g, 2);
    rig_flow(&g, 2, 1);
    cr_assert(rig_info(&g, 1).commit == before, "only one of three has it durable");
    rig_save(&g, 1);
    cr_assert(rig_info(&g, 1).commit == index);
    rig_fini(&g);
}

Test(raft, a_follower_whose_disk_fails_is_down_and_silent) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    g.nodes[3].hold_saves = true;
    rig_propose(&g, 1, "a");
    rig_flow(&g, 1, 3);
    rig_save_fails(&g, 3);
    cr_assert(rig_info(&g, 3).role == RAFT_DOWN && rig_info(&g, 3).down == ERR_IO);
    cr_assert(rig_waiting(&g, RAFT_MSG_APPEND_REPLY, 3, 0) == 0);
    rig_propose(&g, 1, "b");
    rig_settle(&g);
    cr_assert_str_eq(rig_last(&g, 2), "b");
    rig_tick(&g, 3, 5000);
    cr_assert(rig_waiting(&g, 0, 3, 0) == 0 && rig_info(&g, 3).role == RAFT_DOWN);
    g.nodes[3].hold_saves = false;
    rig_restart(&g, 3); /* with room on its disk again */
    rig_tick(&g, 1, 0); /* all this time it had no answer: it steps down */
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    cr_assert_str_eq(rig_last(&g, 3), "b");
    rig_fini(&g);
}

Test(raft, a_leader_whose_disk_fails_gives_up_and_another_takes_over) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    struct raft_event read = {.type = RAFT_EV_READ, .id = 77};
    g.cut[1][2] = g.cut[1][3] = true;
    cr_assert(rig_step(&g, 1, &read).status == OK);
    g.nodes[1].hold_saves = true;
    cr_assert(rig_propose(&g, 1, "a").status == OK);
    rig_save_fails(&g, 1);
    cr_assert(rig_info(&g, 1).role == RAFT_DOWN);
    cr_assert(g.nodes[1].read.id == 77 && !g.nodes[1].read.ok);
    cr_assert(rig_propose(&g, 1, "b").status == ERR_UNAVAILABLE);
    cr_assert(raft_quorum_age_ms(g.nodes[1].raft, g.now_ms) == UINT64_MAX);
    memset(g.cut, 0, sizeof g.cut);
    cr_assert(rig_elect(&g, 2, 0xc));
    rig_settle(&g);
    cr_assert(rig_propose(&g, 2, "c").status == OK);
    rig_settle(&g);
    cr_assert_str_eq(rig_last(&g, 3), "c");
    rig_fini(&g);
}

Test(raft, entries_of_any_length_come_back_after_a_restart) {
    static const char text[] = "abcdefghijklmnopq";
    rig_init(&g, 1, 1, 0);
    cr_assert(rig_info(&g, 1).role == RAFT_LEADER, "a sole voter waits for nobody");
    for (unsigned i = 0; i <= 17; i++)
        cr_assert(rig_propose(&g, 1, text + 17 - i).status == OK);
    rig_restart(&g, 1);
    unsigned seen = 0;
    for (unsigned k = 0; k < g.nodes[1].applied_count; k++) {
        if (g.nodes[1].applied[k].type != RAFT_ENTRY_DATA) continue;
        cr_assert_str_eq(g.nodes[1].applied[k].bytes, text + 17 - seen);
        cr_assert(g.nodes[1].applied[k].len == seen);
        seen++;
    }
    cr_assert(seen == 18);
    rig_fini(&g);
}

Test(raft, a_sole_voter_raises_the_term_each_time) {
    rig_init(&g, 1, 1, 0);
    for (uint64_t term = 2; term < 6; term++) {
        cr_assert(rig_info(&g, 1).role == RAFT_LEADER && rig_info(&g, 1).term == term);
        cr_assert(g.nodes[1].disk.term == term && g.nodes[1].disk.vote == 1);
        cr_assert(raft_quorum_age_ms(g.nodes[1].raft, g.now_ms + 12345) == 0);
        rig_restart(&g, 1);
    }
    rig_fini(&g);
}

Test(raft, two_voters_down_to_one_raise_the_term_too) {
    rig_init(&g, 2, 2, 0);
    cr_assert(rig_elect(&g, 1, 0x6));
    rig_settle(&g);
    uint64_t term = rig_info(&g, 1).term;
    cr_assert(rig_change(&g, 1, RAFT_REMOVE, 1).status == OK); /* itself */
    rig_settle(&g);
    cr_assert(rig_info(&g, 1).role == RAFT_FOLLOWER && g.nodes[1].told_removed);
    cr_assert(rig_info(&g, 2).role == RAFT_LEADER, "leadership was handed over");
    cr_assert(rig_info(&g, 2).term > term);
    rig_tick(&g, 1, 9000);
    cr_assert(rig_info(&g, 1).role == RAFT_FOLLOWER && rig_info(&g, 1).term == term);
    rig_fini(&g);
}

Test(raft, a_removed_node_is_told_and_disturbs_nobody) {
    rig_init(&g, 4, 3, 1);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    g.cut[1][3] = g.cut[1][4] = true; /* what tells them is lost */
    cr_assert(rig_change(&g, 1, RAFT_REMOVE, 3).status == OK);
    rig_settle(&g);
    cr_assert(rig_change(&g, 1, RAFT_REMOVE, 4).status == OK);
    rig_settle(&g);
    cr_assert(!g.nodes[3].told_removed && !g.nodes[4].told_removed);
    memset(g.cut, 0, sizeof g.cut);
    uint64_t term = rig_info(&g, 1).term;
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k < 14; k++) {
            rig_tick(&g, 1, 150);
            rig_flow(&g, 0, 0);
        }
        rig_tick(&g, 3, 0); /* a voter, so it thinks: campaigns */
        rig_tick(&g, 4, 0); /* a learner, so it thinks: asks */
        rig_flow(&g, 0, 0);
    }
    cr_assert(g.nodes[3].told_removed && rig_info(&g, 3).removed);
    cr_assert(g.nodes[4].told_removed && rig_info(&g, 4).removed);
    cr_assert(rig_info(&g, 1).role == RAFT_LEADER && rig_info(&g, 1).term == term);
    cr_assert(rig_info(&g, 3).term <= term);
    rig_fini(&g);
}

Test(raft, a_change_is_in_force_when_appended_and_not_when_truncated) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    cr_assert(rig_change(&g, 1, RAFT_REMOVE, 3).status == ERR_UNAVAILABLE,
              "nothing of its own term is committed yet");
    rig_settle(&g);
    g.cut[1][2] = g.cut[1][3] = true;
    cr_assert(rig_change(&g, 1, RAFT_DEMOTE, 3).status == OK);
    cr_assert(raft_members_voters(rig_info(&g, 1).members) == 2);
    struct raft_reply second = rig_change(&g, 1, RAFT_ADD_LEARNER, 6);
    cr_assert(second.status == ERR_UNAVAILABLE && strstr(second.reason, "another change") != NULL);
    rig_flow(&g, 0, 0);
    cr_assert(rig_elect(&g, 2, 0xc));
    memset(g.cut, 0, sizeof g.cut);
    rig_settle(&g);
    cr_assert(rig_info(&g, 1).role == RAFT_FOLLOWER && rig_info(&g, 1).leader == 2);
    cr_assert(raft_members_voters(rig_info(&g, 1).members) == 3);
    cr_assert(rig_change(&g, 2, RAFT_ADD_LEARNER, 3).status == ERR_CONFLICT);
    cr_assert(rig_change(&g, 2, RAFT_REMOVE, 6).status == ERR_CONFLICT);
    rig_fini(&g);
}

Test(raft, a_snapshot_holds_the_committed_configuration) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    g.cut[1][2] = g.cut[1][3] = true;
    cr_assert(rig_change(&g, 1, RAFT_DEMOTE, 3).status == OK);
    struct raft_event ev = {
        .type = RAFT_EV_SNAPSHOT, .index = rig_info(&g, 1).applied, .bytes = SV("machine")};
    cr_assert(rig_step(&g, 1, &ev).status == OK);
    cr_assert(g.nodes[1].disk.snapshot.index == ev.index);
    cr_assert(raft_members_voters(&g.nodes[1].disk.snapshot.members) == 3);
    cr_assert(raft_members_voters(rig_info(&g, 1).members) == 2, "and the entry is in force");
    rig_restart(&g, 1);
    cr_assert(raft_members_voters(rig_info(&g, 1).members) == 2);
    rig_fini(&g);
}

Test(raft, a_restarted_node_serves_its_snapshot_until_a_leader_speaks) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_propose(&g, 1, "a");
    rig_settle(&g);
    cr_assert_str_eq(rig_last(&g, 2), "a");
    rig_restart(&g, 2);
    cr_assert(g.nodes[2].restored == 1 && g.nodes[2].applied_count == 0);
    cr_assert(rig_info(&g, 2).commit == 1 && rig_info(&g, 2).last > 2);
    rig_tick(&g, 2, 100);
    cr_assert(g.nodes[2].applied_count == 0);
    rig_settle(&g);
    cr_assert_str_eq(rig_last(&g, 2), "a");
    rig_fini(&g);
}

Test(raft, quorum_age_follows_the_answers_and_ends_with_a_transfer) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    cr_assert(raft_quorum_age_ms(g.nodes[1].raft, g.now_ms) == UINT64_MAX, "no answer yet");
    rig_settle(&g);
    cr_assert(raft_quorum_age_ms(g.nodes[1].raft, g.now_ms) == 0);
    cr_assert(raft_quorum_age_ms(g.nodes[2].raft, g.now_ms) == UINT64_MAX);
    rig_tick(&g, 1, 400); /* sent at +400, answered later: the sending counts */
    g.now_ms += 100;
    cr_assert(raft_quorum_age_ms(g.nodes[1].raft, g.now_ms) == 500);
    rig_flow(&g, 0, 0);
    cr_assert(raft_quorum_age_ms(g.nodes[1].raft, g.now_ms) == 100);
    struct raft_event ev = {.type = RAFT_EV_TRANSFER, .id = 3};
    cr_assert(rig_step(&g, 1, &ev).status == OK);
    cr_assert(raft_quorum_age_ms(g.nodes[1].raft, g.now_ms) == UINT64_MAX);
    cr_assert(rig_propose(&g, 1, "a").status == ERR_UNAVAILABLE);
    rig_flow(&g, 0, 0);
    cr_assert(rig_info(&g, 3).role == RAFT_LEADER, "others vote at once when the leader asks");
    rig_settle(&g);
    cr_assert(rig_info(&g, 1).leader == 3);
    rig_fini(&g);
}

Test(raft, a_leader_without_a_quorum_steps_down_and_a_node_with_a_leader_ignores_candidates) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    struct raft_msg vote = {
        .type = RAFT_MSG_VOTE, .from = 3, .to = 2, .term = 9, .index = 99, .index_term = 8};
    struct raft_event ev = {.type = RAFT_EV_MSG, .msg = &vote};
    uint64_t term = rig_info(&g, 2).term;
    g.now_ms += 900;
    rig_step(&g, 2, &ev);
    cr_assert(rig_info(&g, 2).term == term && rig_waiting(&g, RAFT_MSG_VOTE_REPLY, 2, 3) == 0);
    g.now_ms += 101;
    rig_step(&g, 2, &ev);
    cr_assert(rig_info(&g, 2).term == 9 && rig_waiting(&g, RAFT_MSG_VOTE_REPLY, 2, 3) == 1);
    rig_drop(&g);
    rig_tick(&g, 1, 998);
    cr_assert(rig_info(&g, 1).role == RAFT_LEADER);
    rig_tick(&g, 1, 1);
    cr_assert(rig_info(&g, 1).role == RAFT_FOLLOWER);
    rig_fini(&g);
}

/* Failover within 5 s: a lost or split vote must not cost another whole election timeout. */
Test(raft, who_asked_in_vain_for_votes_asks_again_before_another_timeout) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    g.cut[1][2] = g.cut[2][1] = g.cut[1][3] = g.cut[3][1] = true;
    rig_tick(&g, 2, 2000); /* the longest timeout of the default configuration */
    cr_assert_gt(rig_waiting(&g, RAFT_MSG_PREVOTE, 2, 3), 0);
    rig_drop(&g);
    rig_tick(&g, 2, 999); /* the shortest, nearly */
    cr_assert_gt(rig_waiting(&g, RAFT_MSG_PREVOTE, 2, 3), 0);
    rig_fini(&g);
}

Test(raft, a_start_counts_as_hearing_a_leader) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g); /* node 2 answered just now, so node 1 relies on it for a second */
    rig_restart(&g, 2);
    struct raft_msg vote = {
        .type = RAFT_MSG_VOTE, .from = 3, .to = 2, .term = 9, .index = 99, .index_term = 8};
    struct raft_event ev = {.type = RAFT_EV_MSG, .msg = &vote};
    g.now_ms += 999;
    rig_step(&g, 2, &ev);
    cr_assert(rig_info(&g, 2).term < 9 && rig_waiting(&g, RAFT_MSG_VOTE_REPLY, 2, 3) == 0);
    g.now_ms += 1;
    rig_step(&g, 2, &ev);
    cr_assert(rig_info(&g, 2).vote == 3 && rig_waiting(&g, RAFT_MSG_VOTE_REPLY, 2, 3) == 1);
    rig_fini(&g);
}

Test(raft, only_what_a_message_compared_is_committed_by_it) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    g.cut[1][3] = g.cut[2][1] = true;
    uint64_t agreed = rig_info(&g, 2).last;
    rig_propose(&g, 1, "a");
    rig_propose(&g, 1, "b");
    rig_flow(&g, 0, 0);
    cr_assert(rig_info(&g, 2).last == agreed + 2 && rig_info(&g, 2).commit == agreed);
    /* a later leader has other entries there, committed, and tells of them before it sends them */
    struct raft_msg append = {.type = RAFT_MSG_APPEND,
                              .from = 3,
                              .to = 2,
                              .term = 9,
                              .index = agreed,
                              .index_term = raft_entry_at(g.nodes[2].raft, agreed)->term,
                              .commit = agreed + 2,
                              .round = 1,
                              .sent_ms = 1};
    struct raft_event ev = {.type = RAFT_EV_MSG, .msg = &append};
    rig_step(&g, 2, &ev);
    cr_assert(rig_info(&g, 2).leader == 3 && rig_info(&g, 2).commit == agreed);
    cr_assert_str_eq(rig_last(&g, 2), "");
    struct raft_entry other = {
        .term = 8, .index = agreed + 1, .type = RAFT_ENTRY_DATA, .bytes = SV("other")};
    append.entries = &other;
    append.entries_count = 1;
    rig_step(&g, 2, &ev);
    cr_assert(rig_info(&g, 2).commit == agreed + 1 && rig_info(&g, 2).last == agreed + 1);
    cr_assert_str_eq(rig_last(&g, 2), "other");
    other.term = 9; /* and one that contradicts what is committed is no correct leader's */
    rig_step(&g, 2, &ev);
    cr_assert(rig_info(&g, 2).ignored == 1 && rig_info(&g, 2).last == agreed + 1);
    rig_fini(&g);
}

Test(raft, a_read_is_confirmed_by_a_round_that_began_after_it) {
    rig_init(&g, 3, 3, 0);
    cr_assert(rig_elect(&g, 1, 0xe));
    rig_settle(&g);
    rig_tick(&g, 1, 150);
    rig_flow(&g, 1, 0); /* answers to an earlier round are on their way */
    struct raft_event ev = {.type = RAFT_EV_READ, .id = 5};
    g.cut[1][2] = g.cut[1][3] = true;
    struct raft_reply reply = rig_step(&g, 1, &ev);
    cr_assert(reply.status == OK && reply.index == rig_info(&g, 1).commit);
    rig_flow(&g, 0, 1);
    rig_flow(&g, 1, 0);
    cr_assert(g.nodes[1].read.id != 5, "an older round proves nothing");
    memset(g.cut, 0, sizeof g.cut);
    rig_settle(&g);
    cr_assert(g.nodes[1].read.id == 5 && g.nodes[1].read.ok);
    cr_assert(rig_step(&g, 2, &ev).status == ERR_UNAVAILABLE);
    cr_assert(rig_step(&g, 2, &ev).leader == 1);
    rig_fini(&g);
}

Test(raft, a_learner_is_fed_by_snapshot_and_counts_when_promoted) {
    rig_init(&g, 2, 1, 0);
    rig_propose(&g, 1, "a");
    cr_assert(rig_change(&g, 1, RAFT_PROMOTE, 2).status == ERR_CONFLICT);
    cr_assert(rig_change(&g, 1, RAFT_ADD_LEARNER, 2).status == OK);
    cr_assert(rig_info(&g, 1).commit == rig_info(&g, 1).last, "a learner does not count");
    cr_assert(rig_change(&g, 1, RAFT_PROMOTE, 2).status == ERR_UNAVAILABLE, "it has nothing yet");
    rig_settle(&g);
    cr_assert(g.nodes[2].restored == 1);
    cr_assert_str_eq(rig_last(&g, 2), "a");
    cr_assert(rig_change(&g, 1, RAFT_PROMOTE, 2).status == OK);
    cr_assert(rig_info(&g, 1).commit < rig_info(&g, 1).last, "now it does");
    rig_settle(&g);
    cr_assert(rig_info(&g, 1).commit == rig_info(&g, 1).last);
    cr_assert(rig_change(&g, 1, RAFT_REMOVE, 2).status == OK);
    rig_settle(&g);
    cr_assert(g.nodes[2].told_removed);
    cr_assert(rig_change(&g, 1, RAFT_REMOVE, 1).status == ERR_CONFLICT, "the last voter");
    rig_fini(&g);
}
