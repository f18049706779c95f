/* SPDX-License-Identifier: Apache-2.0 */
/* ring/raft/store.h on the simulated disk: what a save said is durable survives a power cut at any
 * call, errors close the store, and damage is named. The model is saved.c. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "ring/raft/store.h"
#include "tests/ring/raft/raft_world.h"
#include "tests/sim/sim.h"

enum { BATCHES = 24, ENTRIES_MAX = 6 };

/* A batch that a core could give, drawn by seed. */
struct script {
    struct rng rng;
    uint64_t term, vote, last, last_term, snapshot_index, snapshot_term;
    struct raft_entry entries[256]; /* behind the snapshot */
    size_t count;
    struct raft_member members[2];
    struct raft_snapshot snapshot;
    struct raft_batch batch;
    char bytes[64];
    unsigned again; /* batches that were saved again */
};

static void script_init(struct script *s, uint64_t seed) {
    memset(s, 0, sizeof *s);
    rng_init(&s->rng, seed);
    for (size_t i = 0; i < sizeof s->bytes; i++)
        s->bytes[i] = (char)rng_u64(&s->rng);
    s->members[0] = (struct raft_member){.id = 7, .voter = true};
    s->members[1] = (struct raft_member){.id = 9};
}

static void script_snapshot(struct script *s, uint64_t index, uint64_t term) {
    s->snapshot = (struct raft_snapshot){.index = index,
                                         .term = term,
                                         .members = {s->members, 2},
                                         .bytes = sv_make(s->bytes, rng_below(&s->rng, 60))};
    s->batch.snapshot = &s->snapshot;
    s->snapshot_index = index;
    s->snapshot_term = term;
}

static const struct raft_batch *script_next(struct script *s) {
    bool first = s->batch.token == 0;
    s->batch = (struct raft_batch){.token = s->batch.token + 1};
    if (first || rng_chance(&s->rng, 0.3)) {
        s->term += 1 + rng_below(&s->rng, 3);
        s->vote = rng_below(&s->rng, 3);
        s->batch.hard_changed = true;
    }
    size_t keep = s->count;
    uint64_t kind = first ? 2 : rng_below(&s->rng, 6);
    if (kind == 0 && s->count > 0) {
        keep = rng_below(&s->rng, s->count);
        s->batch.truncate_from = s->snapshot_index + keep + 1;
    }
    s->count = keep;
    if (kind == 1 && s->count > 1) { /* its own */
        size_t covered = 1 + rng_below(&s->rng, s->count);
        uint64_t term = s->entries[covered - 1].term;
        s->count -= covered;
        memmove(s->entries, s->entries + covered, s->count * sizeof s->entries[0]);
        script_snapshot(s, s->snapshot_index + covered, term);
    } else if (kind == 2) { /* a leader's */
        uint64_t index = s->snapshot_index + s->count + 1 + rng_below(&s->rng, 5);
        s->count = 0;
        script_snapshot(s, index, s->term);
    }
    size_t old = s->batch.snapshot != NULL ? 0 : s->count;
    for (uint64_t n = rng_below(&s->rng, ENTRIES_MAX); n > 0 && s->count < 250; n--) {
        s->entries[s->count] = (struct raft_entry){
            .term = s->term,
            .index = s->snapshot_index + s->count + 1,
            .type = RAFT_ENTRY_DATA,
            .bytes = sv_make(s->bytes, rng_below(&s->rng, sizeof s->bytes)), /* odd lengths too */
        };
        s->count++;
    }
    s->batch.term = s->term;
    s->batch.vote = s->vote;
    s->batch.entries = s->entries + old;
    s->batch.entries_count = s->count - old;
    return &s->batch;
}

static bool same(const struct saved *m, const struct raft_state *s) {
    if (m->term != s->term || m->vote != s->vote || m->count != s->entries_count) return false;
    if (m->snapshot.index != s->snapshot.index || m->snapshot.term != s->snapshot.term ||
        !sv_eq(m->snapshot.bytes, s->snapshot.bytes) ||
        m->snapshot.members.count != s->snapshot.members.count)
        return false;
    for (uint32_t i = 0; i < m->snapshot.members.count; i++)
        if (m->snapshot.members.items[i].id != s->snapshot.members.items[i].id ||
            m->snapshot.members.items[i].voter != s->snapshot.members.items[i].voter)
            return false;
    for (size_t i = 0; i < m->count; i++)
        if (m->entries[i].index != s->entries[i].index ||
            m->entries[i].term != s->entries[i].term || m->entries[i].type != s->entries[i].type ||
            !sv_eq(m->entries[i].bytes, s->entries[i].bytes))
            return false;
    return true;
}

/* Saves until an error; the model has all acknowledged batches, *out_failed tells of the last. */
static void run_script(struct disk *disk, struct script *s, struct saved *model, bool *out_failed) {
    struct raft_store *store = NULL;
    struct raft_state state;
    struct err err = {0};
    *out_failed = false;
    if (raft_store_open(disk, "raft", &store, &state, &err) != OK) return;
    for (unsigned i = 0; i < BATCHES && !*out_failed; i++) {
        const struct raft_batch *b = script_next(s);
        *out_failed = raft_store_save(store, b, &err) != OK;
        if (*out_failed && raft_store_is_full(store, &err)) { /* the disk has room again */
            cr_assert(err.os == ENOSPC && strstr(err.msg, "raft") != NULL);
            cr_assert(raft_store_save(store, b, &err) == OK, "%s", err.msg);
            *out_failed = false;
            s->again++;
        }
        if (!*out_failed) saved_apply(model, b, 4);
    }
    if (*out_failed) {
        struct raft_batch again = {.token = 999, .hard_changed = true, .term = 99};
        cr_assert(raft_store_save(store, &again, &err) == ERR_IO, "it closed for good");
        cr_assert(strstr(err.msg, "raft") != NULL);
    }
    raft_store_close(store);
}

/* The state is the model's, or that of any point of the batch that was under way. */
static void check_after(struct disk *disk, struct saved *model, const struct raft_batch *failed,
                        uint64_t seed, uint64_t call) {
    struct raft_store *store = NULL;
    struct raft_state state;
    struct err err = {0};
    enum status st = raft_store_open(disk, "raft", &store, &state, &err);
    cr_assert(st == OK, "seed %" PRIu64 " call %" PRIu64 ": %s", seed, call, err.msg);
    bool ok = same(model, &state);
    static const unsigned parts[] = {1, 2, 4};
    for (unsigned i = 0; i < 3 && !ok && failed != NULL; i++) {
        struct saved next = {0};
        saved_clone(model, &next);
        saved_apply(&next, failed, parts[i]);
        ok = same(&next, &state);
        saved_fini(&next);
    }
    cr_assert(ok, "seed %" PRIu64 " cut at call %" PRIu64 ": another state", seed, call);
    raft_store_close(store);
}

/* at 0: nothing happens; os 0: the power goes. Returns how many calls the disk had. */
static uint64_t one_call(uint64_t seed, uint64_t at, int os, unsigned *out_again) {
    bool cut = os == 0;
    struct sim_disk *d = sim_disk_new(seed * 1000003 + at);
    static struct script s;
    struct saved model = {0};
    bool failed;
    script_init(&s, seed);
    if (at > 0 && cut) sim_disk_cut_at(d, at);
    if (at > 0 && !cut) sim_disk_fail_at(d, at, os);
    run_script(sim_disk_as_disk(d), &s, &model, &failed);
    cr_assert(at > 0 || (!failed && s.batch.token == BATCHES));
    uint64_t calls = sim_disk_calls(d);
    *out_again += s.again;
    sim_disk_restart(d);
    for (unsigned again = 0; again < 2; again++) /* the open must not lose anything either */
        check_after(sim_disk_as_disk(d), &model, failed ? &s.batch : NULL, seed, at);
    saved_fini(&model);
    sim_disk_free(d);
    return calls;
}

/* An error of that number at each call; 0: the power goes. Returns how often a batch was saved
 * again. */
static unsigned every_call(uint64_t seed, int os) {
    unsigned again = 0;
    uint64_t calls = one_call(seed, 0, os, &again);
    cr_assert(calls > 60, "only %" PRIu64 " calls", calls);
    for (uint64_t at = 1; at <= calls; at++)
        one_call(seed, at, os, &again);
    return again;
}

Test(raft_store, what_was_saved_survives_a_power_cut_at_every_call) {
    for (uint64_t seed = 1; seed <= 6; seed++)
        every_call(seed, 0);
}

Test(raft_store, an_error_at_any_call_closes_it_and_loses_nothing_acknowledged) {
    for (uint64_t seed = 1; seed <= 4; seed++)
        cr_assert(every_call(seed, EIO) == 0);
}

Test(raft_store, a_full_disk_at_any_call_is_waited_for_unless_it_shows_at_a_sync) {
    for (uint64_t seed = 1; seed <= 4; seed++)
        cr_assert(every_call(seed, ENOSPC) > 20);
}

/* A log of three frames of one entry each behind a snapshot of index 4. */
struct files {
    struct sim_disk *sim;
    struct disk *disk;
    struct buf log;
    size_t frames[4]; /* offsets, the last is the end */
};

static void files_init(struct files *f) {
    struct raft_store *store;
    struct raft_state state;
    struct raft_member member = {.id = 7, .voter = true};
    struct raft_snapshot snapshot = {
        .index = 4, .term = 2, .members = {&member, 1}, .bytes = SV("state")};
    struct raft_batch b = {
        .token = 1, .hard_changed = true, .term = 3, .vote = 7, .snapshot = &snapshot};
    memset(f, 0, sizeof *f);
    f->sim = sim_disk_new(1);
    f->disk = sim_disk_as_disk(f->sim);
    cr_assert(raft_store_open(f->disk, "raft", &store, &state, NULL) == OK);
    cr_assert(state.term == 0 && state.snapshot.index == 0 && state.entries_count == 0);
    cr_assert(raft_store_save(store, &b, NULL) == OK);
    for (unsigned i = 0; i < 3; i++) {
        f->frames[i] = raft_store_log_bytes(store);
        struct raft_entry e = {
            .term = 3, .index = 5 + i, .type = RAFT_ENTRY_DATA, .bytes = sv_make("abcdefg", i * 3)};
        struct raft_batch next = {.token = 2 + i, .term = 3, .entries = &e, .entries_count = 1};
        cr_assert(raft_store_save(store, &next, NULL) == OK);
    }
    f->frames[3] = raft_store_log_bytes(store);
    raft_store_close(store);
    cr_assert(disk_read_file(f->disk, "raft/log", 1 << 20, &f->log, NULL) == OK);
    cr_assert(f->log.len == f->frames[3]);
}

static void files_fini(struct files *f) {
    buf_fini(&f->log);
    sim_disk_free(f->sim);
}

static enum status open_with(struct files *f, const char *path, struct sv content,
                             size_t *out_entries, struct err *err) {
    struct raft_store *store = NULL;
    struct raft_state state;
    cr_assert(disk_write_file(f->disk, path, content, NULL) == OK);
    enum status st = raft_store_open(f->disk, "raft", &store, &state, err);
    *out_entries = st == OK ? state.entries_count : 0;
    raft_store_close(store);
    return st;
}

Test(raft_store, a_torn_tail_is_cut_after_the_last_good_frame) {
    struct files f;
    files_init(&f);
    for (size_t len = f.frames[0]; len <= f.frames[3]; len++) {
        size_t want = 0, got;
        while (want < 3 && f.frames[want + 1] <= len)
            want++;
        struct err err = {0};
        cr_assert(open_with(&f, "raft/log", sv_make(f.log.ptr, len), &got, &err) == OK, "%s",
                  err.msg);
        cr_assert(got == want, "%zu bytes gave %zu entries", len, got);
    }
    files_fini(&f);
}

Test(raft_store, a_flipped_bit_is_found_and_its_place_named) {
    struct files f;
    files_init(&f);
    for (size_t bit = 0; bit < f.frames[3] * 8; bit++) {
        struct err err = {0};
        size_t got, at = bit / 8;
        f.log.ptr[at] = (char)(f.log.ptr[at] ^ (1 << bit % 8));
        enum status st = open_with(&f, "raft/log", buf_sv(&f.log), &got, &err);
        f.log.ptr[at] = (char)(f.log.ptr[at] ^ (1 << bit % 8));
        if (at >= f.frames[2]) { /* of the last frame: as if torn */
            cr_assert(st == OK && got == 2, "bit %zu: %s", bit, err.msg);
            continue;
        }
        cr_assert(st == ERR_CORRUPT || (st == ERR_UNSUPPORTED && (at == 10 || at == 11)),
                  "bit %zu: %s %s", bit, status_name(st), err.msg);
        cr_assert(strstr(err.msg, "raft/log") != NULL);
        if (st != ERR_CORRUPT) continue;
        char where[32];
        size_t frame = at < f.frames[1] ? 0 : 1;
        snprintf(where, sizeof where, "offset %zu:", at < f.frames[0] ? 0 : f.frames[frame]);
        cr_assert(strstr(err.msg, where) != NULL, "bit %zu: %s", bit, err.msg);
    }
    files_fini(&f);
}

Test(raft_store, a_flipped_bit_of_meta_or_snapshot_stops_the_start) {
    static const char *const names[] = {"raft/meta", "raft/snapshot"};
    for (unsigned i = 0; i < 2; i++) {
        struct files f;
        struct buf file = {0};
        size_t got;
        files_init(&f);
        cr_assert(disk_read_file(f.disk, names[i], 1 << 20, &file, NULL) == OK);
        for (size_t bit = 0; bit < file.len * 8; bit++) {
            struct err err = {0};
            file.ptr[bit / 8] = (char)(file.ptr[bit / 8] ^ (1 << bit % 8));
            enum status st = open_with(&f, names[i], buf_sv(&file), &got, &err);
            file.ptr[bit / 8] = (char)(file.ptr[bit / 8] ^ (1 << bit % 8));
            cr_assert(st == ERR_CORRUPT || st == ERR_UNSUPPORTED, "%s bit %zu", names[i], bit);
            cr_assert(strstr(err.msg, names[i]) != NULL, "%s", err.msg);
        }
        for (size_t len = 0; len < file.len; len++)
            cr_assert(open_with(&f, names[i], sv_make(file.ptr, len), &got, NULL) == ERR_CORRUPT);
        buf_fini(&file);
        files_fini(&f);
    }
}

Test(raft_store, a_missing_file_is_no_empty_one) {
    static const char *const names[] = {"raft/meta", "raft/snapshot", "raft/log"};
    for (unsigned i = 0; i < 3; i++) {
        struct files f;
        struct raft_store *store;
        struct raft_state state;
        struct err err = {0};
        files_init(&f);
        cr_assert(disk_unlink(f.disk, names[i], NULL) == OK);
        cr_assert(raft_store_open(f.disk, "raft", &store, &state, &err) == ERR_CORRUPT, "%s",
                  names[i]);
        files_fini(&f);
    }
}

/* Written out by hand; the sums are those of the xxhash library over these bytes. */
Test(raft_store, golden_bytes) {
    struct files f;
    struct buf meta = {0}, snapshot = {0};
    files_init(&f);
    cr_assert(disk_read_file(f.disk, "raft/meta", 1 << 20, &meta, NULL) == OK);
    cr_assert(disk_read_file(f.disk, "raft/snapshot", 1 << 20, &snapshot, NULL) == OK);
    static const char want_meta[] = "CAIRNRFM\1\0\1\0\0\0\0\0\3\0\0\0\0\0\0\0\7\0\0\0\0\0\0";
    cr_assert(meta.len == 40 && memcmp(meta.ptr, want_meta, 32) == 0);
    cr_assert(get_u64le(meta.ptr + 32) == hash64(want_meta, 32, 0));
    static const char want_snapshot[] = "CAIRNRFS\1\0\1\0\0\0\0\0\4\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"
                                        "\x0d\0\0\0\1\0\0\0\7\0\0\0\0\0\0\0\1\5\0\0\0state";
    size_t len = sizeof want_snapshot - 1;
    cr_assert(snapshot.len == len + 8 && memcmp(snapshot.ptr, want_snapshot, len) == 0);
    static const char want_log[] = "CAIRNRFL\1\0\1\0\0\0\0\0\4\0\0\0\0\0\0\0\2\0\0\0\0\0\0";
    cr_assert(memcmp(f.log.ptr, want_log, 32) == 0);
    cr_assert(f.frames[0] == 40 && get_u64le(f.log.ptr + 32) == hash64(want_log, 32, 0));
    /* frame 2: entry 6 of term 3, three bytes */
    static const char want_payload[] = "\3\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\1\3\0\0\0abc";
    const char *frame = f.log.ptr + f.frames[1];
    static const char want_head[] = "RAFR\x18\0\0\0\2\0\0\0\0\0\0";
    cr_assert(memcmp(frame, want_head, 16) == 0 && memcmp(frame + 24, want_payload, 24) == 0);
    cr_assert(get_u64le(frame + 16) == hash64(want_payload, 24, hash64(want_head, 16, 0)));
    cr_assert(f.frames[2] - f.frames[1] == 48);
    buf_fini(&meta);
    buf_fini(&snapshot);
    files_fini(&f);
}
