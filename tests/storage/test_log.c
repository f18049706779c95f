/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "tests/storage/log_rig.h"

enum { HEADER = 32, FRAME_HEADER = 24 };

static struct rig rig;

static struct buf only_file(void) {
    uint64_t first = 0;
    cr_assert(rig_files(&rig, &first, 1) == 1);
    return rig_file_read(&rig, first);
}

static void nothing_done(struct core *here, struct log_append *req, enum status status,
                         const struct err *err) {
    (void)here, (void)req;
    cr_assert(status == OK && err == NULL);
    rig.in_flight--;
}

/* Sums computed with XXH3_64bits_withSeed of libxxhash, apart from this code. */
Test(log, golden_file) {
    static const uint8_t want[] = {
        'C',  'A',  'I',  'R',  'N',  'L',  'O',  'G',  1, 0, 1, 0, 0, 0, 0, 0, /* format 1 */
        1,    0,    0,    0,    0,    0,    0,    0,                            /* first frame */
        0xbe, 0xff, 0xe3, 0x7d, 0x17, 0x7c, 0x7f, 0xc0,                         /* sum */
        'F',  'R',  'A',  'M',  8,    0,    0,    0,    1, 0, 0, 0, 0, 0, 0, 0, /* 8 bytes, 1 */
        0xf5, 0x69, 0xa2, 0xa1, 0xf2, 0x7c, 0x3d, 0x23,                         /* sum */
        4,    3,    1,    1,    1,    2,    0xaa, 0xbb,                         /* FLOOR, shard 3 */
    };
    rig_init(&rig, 1);
    rig_must_start(&rig);
    struct log_append req = {.done = nothing_done};
    entry_put(&(struct entry){ENTRY_FLOOR, 3, 1, 1, 1, SV("\xaa\xbb")}, &req.entries);
    rig.in_flight = 1;
    core_set_current(rig.rt->cores[0]);
    log_append(rig.log, rig.rt->cores[0], &req);
    core_set_current(NULL);
    rig_run(&rig);
    struct buf got = only_file();
    cr_assert(got.len == sizeof want && memcmp(got.ptr, want, sizeof want) == 0);
    buf_fini(&got);
    buf_fini(&req.entries);
    rig_fini(&rig);
}

/* Offsets of the frames; the last is the end. */
static size_t frames_of(struct buf file, uint64_t *out, size_t max) {
    size_t n = 0;
    uint64_t at = HEADER;
    for (; at < file.len; at += FRAME_HEADER + get_u32le(file.ptr + at + 4)) {
        cr_assert(n + 1 < max);
        out[n++] = at;
    }
    out[n] = at;
    return n;
}

Test(log, appends_that_wait_are_one_frame_and_one_sync) {
    rig_init(&rig, 2);
    rig_must_start(&rig);
    uint64_t calls = sim_disk_calls(rig.sd);
    for (unsigned i = 0; i < 40; i++)
        rig_append(&rig, i % 2, i % RIG_SHARDS, 1 + i % 3);
    rig_run(&rig); /* checks that each core's are done in order */
    cr_assert(rig.done_count == 40 && rig.failed_count == 0);
    cr_assert(sim_disk_calls(rig.sd) - calls == 2, "%" PRIu64, sim_disk_calls(rig.sd) - calls);
    uint64_t offsets[8];
    struct buf file = only_file();
    cr_assert(frames_of(file, offsets, 8) == 1);
    buf_fini(&file);
    rig_kill(&rig);
    rig_must_start(&rig);
    cr_assert(rig.recovered_count == 40 + 40 / 3 + 2 * (40 / 3));
    rig_fini(&rig);
}

/* What comes while the log naps; the simulator's own nap is no time at all. */
static unsigned naps, comes_in_nap;

static void nap_with_company(struct core *core, unsigned us) {
    cr_assert(core == rig.rt->log_core && us == 1000);
    naps++;
    for (unsigned i = 0; i < comes_in_nap; i++)
        rig_append(&rig, i % RIG_CORES, i % RIG_SHARDS, 1);
}

static bool rig_time_has_passed(void *ctx) {
    return sim_now_ms(rig.sim) >= *(const uint64_t *)ctx;
}

static void rig_pause(uint64_t ms) {
    uint64_t until_ms = sim_now_ms(rig.sim) + ms;
    struct timer t;
    core_set_current(rig.rt->cores[0]);
    timer_init(&t, rig.rt->cores[0], timer_stop); /* only so that the clock goes on */
    timer_start(&t, ms + 1);
    core_set_current(NULL);
    cr_assert(sim_run(rig.sim, rig_time_has_passed, &until_ms, until_ms + 10));
    core_set_current(rig.rt->cores[0]);
    timer_stop(&t);
    core_set_current(NULL);
}

/* So many appends at once; how many frames they became, with those that come in a nap. */
static uint64_t frames_for(unsigned appends, unsigned in_nap) {
    uint64_t calls = sim_disk_calls(rig.sd);
    naps = 0;
    comes_in_nap = in_nap;
    for (unsigned i = 0; i < appends; i++)
        rig_append(&rig, i % RIG_CORES, i % RIG_SHARDS, 1);
    rig_run(&rig);
    return (sim_disk_calls(rig.sd) - calls) / 2; /* a write and a sync each */
}

Test(log, frames_wait_for_company_where_there_was_some) {
    rig_init(&rig, 5);
    rig_must_start(&rig);
    struct runtime_ops ops = *rig.rt->ops;
    ops.nap = nap_with_company;
    rig.rt->ops = &ops;
    cr_assert(frames_for(1, 0) == 1 && naps == 0);
    cr_assert(frames_for(1, 0) == 1 && naps == 0); /* always alone: never held up */
    cr_assert(frames_for(4, 0) == 1 && naps == 0);
    cr_assert(frames_for(1, 5) == 1 && naps == 1); /* what comes in the nap is of the frame */
    cr_assert(frames_for(1, 1) == 1 && naps == 1);
    cr_assert(frames_for(1, 0) == 1 && naps == 1);
    cr_assert(frames_for(1, 0) == 1 && naps == 0); /* the one before waited in vain */
    cr_assert(frames_for(2, 0) == 1 && naps == 0);
    cr_assert(frames_for(2, 0) == 1 && naps == 0); /* two clients that take turns: too few */
    cr_assert(frames_for(4, 0) == 1 && naps == 0);
    rig_pause(20);
    cr_assert(frames_for(1, 0) == 1 && naps == 0); /* of another time */
    rig_fini(&rig);
}

Test(log, a_log_that_is_synced_now_and_then_waits_for_nobody) {
    rig_init(&rig, 6);
    rig.options.sync_every_frame = false;
    rig_must_start(&rig);
    struct runtime_ops ops = *rig.rt->ops;
    ops.nap = nap_with_company;
    rig.rt->ops = &ops;
    for (unsigned i = 0; i < 4; i++) {
        frames_for(4, 0);
        cr_assert(naps == 0);
    }
    rig_fini(&rig);
}

Test(log, large_groups_are_split_by_whole_entries) {
    rig_init(&rig, 3);
    rig.body_bytes_max = 1000;
    rig.options.frame_bytes_max = 600;
    rig_must_start(&rig);
    for (unsigned i = 0; i < 30; i++)
        rig_append(&rig, 0, i % RIG_SHARDS, 1 + i % 5);
    rig_run(&rig);
    uint64_t offsets[200];
    struct buf file = only_file();
    size_t n = frames_of(file, offsets, 200), large = 0;
    cr_assert(n > 30);
    for (size_t i = 0; i < n; i++) {
        struct sv rest = sv_make(file.ptr + offsets[i] + FRAME_HEADER,
                                 (size_t)(offsets[i + 1] - offsets[i]) - FRAME_HEADER);
        size_t len = rest.len, entries = 0;
        for (struct entry e; rest.len > 0; entries++)
            cr_assert(entry_next(&rest, &e, NULL) == OK);
        large += len > 600;
        cr_assert(len <= 600 || entries == 1, "frame of %zu entries, %zu bytes", entries, len);
    }
    cr_assert(large > 0);
    buf_fini(&file);
    rig_kill(&rig);
    rig_must_start(&rig);
    rig_fini(&rig);
}

/* Of a process that has ended. */
static void make_log(unsigned frames_count, uint64_t file_bytes_max) {
    rig_make_log(&rig, frames_count, file_bytes_max);
    rig_kill(&rig);
}

static void end_remove(const char *name) {
    char path[64];
    snprintf(path, sizeof path, "data/log/%s", name);
    cr_assert(disk_unlink(sim_disk_as_disk(rig.sd), path, NULL) == OK);
}

/* The directory holds that file and nothing else. */
static void only_this(uint64_t first, struct sv bytes) {
    uint64_t firsts[64];
    size_t n = rig_files(&rig, firsts, 64);
    for (size_t i = 0; i < n; i++)
        rig_file_remove(&rig, firsts[i]);
    end_remove("OLDEST");
    end_remove("NEWEST");
    rig_file_write(&rig, first, bytes);
}

static void expect_goes_on(void) {
    uint64_t seq[RIG_SHARDS];
    memcpy(seq, rig.recovered, sizeof seq);
    memcpy(rig.appended, seq, sizeof seq);
    memcpy(rig.acked, seq, sizeof seq);
    rig_append_to_all(&rig);
    rig_power_cut(&rig);
    enum status status = rig_start(&rig);
    cr_assert(status == OK, "%s", rig.damage.msg);
    for (uint32_t s = 0; s < RIG_SHARDS; s++)
        cr_assert(rig.recovered[s] == seq[s] + 1);
}

Test(log, tail_torn_at_any_byte_is_left_out) {
    make_log(13, 1 << 20);
    struct buf file = only_file();
    uint64_t offsets[32];
    size_t n = frames_of(file, offsets, 32);
    cr_assert(n == 13);
    for (uint64_t len = offsets[n - 1]; len < file.len; len++) {
        only_this(1, sv_take(buf_sv(&file), (size_t)len));
        cr_assert(rig_start(&rig) == OK && !rig.damaged, "at %" PRIu64 ": %s", len, rig.damage.msg);
        cr_assert(rig.recovered_count == 24, "at %" PRIu64, len);
        expect_goes_on();
        cr_assert(!rig.damaged && rig.recovered_count == 24 + RIG_SHARDS);
        rig_kill(&rig);
    }
    /* All of it, with bytes changed or added. */
    for (uint64_t at = offsets[n - 1]; at < file.len; at++) {
        file.ptr[at] = (char)(file.ptr[at] ^ 1 << at % 8);
        only_this(1, buf_sv(&file));
        cr_assert(rig_start(&rig) == OK && !rig.damaged, "%s", rig.damage.msg);
        cr_assert(rig.recovered_count == 24);
        rig_kill(&rig);
        file.ptr[at] = (char)(file.ptr[at] ^ 1 << at % 8);
    }
    for (size_t more = 1; more < 80; more++) {
        buf_put_u8(&file, (uint8_t)(more < 40 ? 0 : 'F'));
        only_this(1, buf_sv(&file));
        cr_assert(rig_start(&rig) == OK && !rig.damaged, "%s", rig.damage.msg);
        cr_assert(rig.recovered_count == 26);
        expect_goes_on();
        rig_kill(&rig);
    }
    buf_fini(&file);
    rig_fini(&rig);
}

Test(log, any_flipped_bit_of_a_middle_frame_is_named) {
    make_log(17, 1 << 20);
    rig.allow_gaps = true;
    struct buf file = only_file();
    uint64_t offsets[32];
    cr_assert(frames_of(file, offsets, 32) == 17);
    enum { MIDDLE = 6 }; /* shard 6, seq 1 and 2; two more of it follow */
    char place[80];
    snprintf(place, sizeof place,
             "data/log/log-0000000000000001: offset %" PRIu64 ": bad frame; "
             "frame %d is lost",
             offsets[MIDDLE], MIDDLE + 1);
    for (uint64_t bit = offsets[MIDDLE] * 8; bit < offsets[MIDDLE + 1] * 8; bit++) {
        file.ptr[bit / 8] = (char)(file.ptr[bit / 8] ^ 1 << bit % 8);
        only_this(1, buf_sv(&file));
        for (int start = 0; start < 2; start++) { /* it is told at every start */
            cr_assert(rig_start(&rig) == OK, "%s", rig.damage.msg);
            cr_assert(rig.damaged && strstr(rig.damage.msg, place) != NULL, "%s", rig.damage.msg);
            cr_assert(rig.recovered_count == 32 && rig.gaps_count == 1 && rig.gap[MIDDLE]);
            if (bit % 64 == 0 && start == 1) {
                expect_goes_on();
                cr_assert(rig.damaged && rig.gaps_count == 1);
            }
            rig_kill(&rig);
        }
        file.ptr[bit / 8] = (char)(file.ptr[bit / 8] ^ 1 << bit % 8);
    }
    buf_fini(&file);
    rig_fini(&rig);
}

Test(log, the_next_good_frame_is_found_across_read_windows) {
    rig_init(&rig, 6);
    rig.options.file_bytes_max = 64 << 20;
    rig.body_bytes_max = 60000;
    rig.allow_gaps = true;
    rig_must_start(&rig);
    for (unsigned i = 0; i < 130; i++) {
        rig_append(&rig, 0, i % RIG_SHARDS, 1);
        rig_run(&rig);
    }
    rig_kill(&rig);
    struct buf file = only_file();
    uint64_t offsets[140];
    size_t n = frames_of(file, offsets, 140);
    cr_assert(n == 130 && file.len > 3 << 20);
    for (size_t i = 0; i + 1 < n; i++) {
        /* first the magic, then the length: to the end of the file, and beyond */
        static const struct { unsigned at, flip; } hits[] = {{1, 0x40}, {6, 0x04}, {7, 0x80}};
        for (size_t k = 0; k < ARRAY_LEN(hits); k++) {
            char *p = file.ptr + offsets[i] + hits[k].at;
            *p = (char)(*p ^ (char)hits[k].flip);
            only_this(1, buf_sv(&file));
            cr_assert(rig_start(&rig) == OK && rig.damaged);
            cr_assert(rig.recovered_count == 129, "frame %zu: %u", i, rig.recovered_count);
            rig_kill(&rig);
            *p = (char)(*p ^ (char)hits[k].flip);
        }
    }
    buf_fini(&file);
    rig_fini(&rig);
}

static void put_frame(struct buf *file, uint64_t number, size_t len) {
    /* header, then one entry: type, shard, incarnation, epoch, seq, body length in 3 bytes, body */
    size_t at = file->len, body_len = len - FRAME_HEADER - 8;
    char *p = buf_extend(file, len);
    cr_assert(p != NULL && body_len >= 1 << 14 && body_len < 1 << 21);
    memset(p, 0, len);
    memcpy(p + FRAME_HEADER, "\x01\x00\x01\x01\x01", 5);
    put_varint((uint8_t *)p + FRAME_HEADER + 5, body_len);
    memcpy(p, "FRAM", 4);
    put_u32le(p + 4, (uint32_t)len - FRAME_HEADER);
    put_u64le(p + 8, number);
    put_u64le(p + 16, hash64(p + FRAME_HEADER, len - FRAME_HEADER, hash64(p, 16, 0)));
    cr_assert(file->len == at + len);
}

static enum status count_entry(void *ctx, const struct entry *e, struct err *err) {
    (void)e, (void)err;
    ++*(unsigned *)ctx;
    return OK;
}

Test(log, a_magic_across_two_read_windows_is_found) {
    for (size_t delta = 0; delta < 6; delta++) {
        make_log(1, 1 << 20);
        struct buf file = only_file();
        file.len = HEADER;
        put_frame(&file, 1, (1 << 20) - delta); /* the search reads 1 MiB from its start */
        put_frame(&file, 2, 1 << 15);
        file.ptr[HEADER] = 0;
        only_this(1, buf_sv(&file));
        rig.rt = sim_start(rig.sim, 0);
        rig.rt->disk = sim_disk_as_disk(rig.sd);
        unsigned count = 0;
        bool damaged;
        struct err err;
        cr_assert(log_open(rig.rt, &rig.options, count_entry, &count, &rig.log, &damaged, &err) ==
                  OK);
        cr_assert(damaged && count == 1, "delta %zu: %u entries", delta, count);
        buf_fini(&file);
        rig_fini(&rig);
    }
}

Test(log, a_missing_frame_is_named) {
    make_log(8, 1 << 20);
    rig.allow_gaps = true;
    struct buf file = only_file(), out = {0};
    uint64_t offsets[16];
    cr_assert(frames_of(file, offsets, 16) == 8);
    buf_put(&out, file.ptr, (size_t)offsets[3]);
    buf_put(&out, file.ptr + offsets[4], file.len - (size_t)offsets[4]);
    only_this(1, buf_sv(&out));
    cr_assert(rig_start(&rig) == OK && rig.damaged && rig.recovered_count == 14);
    cr_assert(strstr(rig.damage.msg, "bad frame; frame 4 is lost") != NULL, "%s", rig.damage.msg);
    buf_fini(&file);
    buf_fini(&out);
    rig_fini(&rig);
}

Test(log, files_follow_each_other) {
    make_log(60, 300);
    uint64_t firsts[64];
    size_t n = rig_files(&rig, firsts, 64);
    cr_assert(n > 10 && n < 60 && firsts[0] == 1);
    for (size_t i = 0; i < n; i++) {
        struct buf file = rig_file_read(&rig, firsts[i]);
        uint64_t offsets[64];
        size_t frames = frames_of(file, offsets, 64);
        cr_assert(get_u64le(file.ptr + 16) == firsts[i]);
        cr_assert(i + 1 == n || firsts[i + 1] == firsts[i] + frames);
        cr_assert(offsets[frames - 1] <= 300, "grown past the limit before its last frame");
        buf_fini(&file);
    }
    rig_must_start(&rig);
    cr_assert(rig.recovered_count == 120);
    rig_fini(&rig);
}

static void expect_damage(const char *text, unsigned recovered_count) {
    cr_assert(rig_start(&rig) == OK, "%s", rig.damage.msg);
    cr_assert(rig.damaged && strstr(rig.damage.msg, text) != NULL, "%s, not %s", rig.damage.msg,
              text);
    cr_assert(rig.recovered_count == recovered_count, "%u", rig.recovered_count);
    expect_goes_on();
    cr_assert(rig.damaged && rig.gaps_count == (120 - recovered_count) / 2);
    rig_kill(&rig);
}

Test(log, damage_of_whole_files_is_named) {
    make_log(60, 300);
    rig.allow_gaps = true;
    uint64_t firsts[64];
    size_t n = rig_files(&rig, firsts, 64);
    unsigned third = (unsigned)(firsts[3] - firsts[2]);
    struct buf file = rig_file_read(&rig, firsts[2]);
    char text[120];

    rig_file_remove(&rig, firsts[2]);
    snprintf(text, sizeof text,
             "log-%016" PRIx64 ": offset 0: the file does not follow the one before it; frames "
             "%" PRIu64 " to %" PRIu64 " are lost",
             firsts[3], firsts[2], firsts[3] - 1);
    expect_damage(text, 120 - 2 * third);

    rig_fini(&rig);
    make_log(60, 300);
    rig.allow_gaps = true;
    rig_file_write(&rig, firsts[2], sv_take(buf_sv(&file), file.len - 1));
    uint64_t offsets[64];
    size_t frames = frames_of(file, offsets, 64);
    snprintf(text, sizeof text,
             "log-%016" PRIx64 ": offset %" PRIu64 ": bad frame; frame %" PRIu64 " is lost",
             firsts[2], offsets[frames - 1], firsts[3] - 1);
    expect_damage(text, 118);

    rig_fini(&rig);
    make_log(60, 300);
    rig.allow_gaps = true;
    file.ptr[9] ^= 1;
    rig_file_write(&rig, firsts[2], buf_sv(&file));
    snprintf(text, sizeof text, "log-%016" PRIx64 ": offset 0: bad file header", firsts[2]);
    expect_damage(text, 120); /* the frames are all good */
    cr_assert(n > 4);
    buf_fini(&file);
    rig_fini(&rig);
}

static void seal_header(struct buf *file) {
    put_u64le(file->ptr + 24, hash64(file->ptr, 24, 0));
}

Test(log, newer_format_and_unknown_entries_are_refused) {
    make_log(3, 1 << 20);
    struct buf file = only_file();
    put_u16le(file.ptr + 8, 4);
    seal_header(&file);
    only_this(1, buf_sv(&file)); /* newer, and readable */
    cr_assert(rig_start(&rig) == OK && rig.recovered_count == 6, "%s", rig.damage.msg);
    rig_kill(&rig);
    put_u16le(file.ptr + 10, 4);
    seal_header(&file);
    only_this(1, buf_sv(&file));
    cr_assert(rig_start(&rig) == ERR_UNSUPPORTED);
    cr_assert(strstr(rig.damage.msg, "log-0000000000000001: written in format 4") != NULL, "%s",
              rig.damage.msg);

    put_u16le(file.ptr + 10, 1);
    seal_header(&file);
    uint8_t *frame = (uint8_t *)file.ptr + HEADER;
    frame[FRAME_HEADER] = 99;
    put_u64le(frame + 16, hash64(frame + FRAME_HEADER, get_u32le(frame + 4), hash64(frame, 16, 0)));
    only_this(1, buf_sv(&file));
    cr_assert(rig_start(&rig) == ERR_UNSUPPORTED);
    cr_assert(strstr(rig.damage.msg, "log-0000000000000001: offset 56: entry: byte 0: type 99") !=
                  NULL,
              "%s", rig.damage.msg);
    buf_fini(&file);
    rig_fini(&rig);
}

Test(log, frame_in_a_label_does_not_count_twice) {
    /* A frame's bytes within another's payload: the search behind a bad frame must not take it for
     * one of ours unless its number could come next; numbers that were already read never do. */
    make_log(4, 1 << 20);
    rig.allow_gaps = true;
    struct buf file = only_file();
    uint64_t offsets[8];
    cr_assert(frames_of(file, offsets, 8) == 4);
    struct buf out = {0};
    buf_put(&out, file.ptr, (size_t)offsets[2]);
    buf_put_sv(&out, SV("garbage"));
    buf_put(&out, file.ptr + offsets[0], (size_t)(offsets[2] - offsets[0])); /* 1 and 2 again */
    only_this(1, buf_sv(&out));
    cr_assert(rig_start(&rig) == OK && !rig.damaged, "%s", rig.damage.msg);
    cr_assert(rig.recovered_count == 4);
    buf_fini(&file);
    buf_fini(&out);
    rig_fini(&rig);
}

Test(log, interval_mode_acknowledges_before_the_sync_and_syncs_by_timer) {
    rig_init(&rig, 5);
    rig.options.sync_every_frame = false;
    rig.options.sync_interval_ms = 50;
    rig_must_start(&rig);
    uint64_t calls = sim_disk_calls(rig.sd);
    for (unsigned i = 0; i < 5; i++) {
        rig_append(&rig, 0, 0, 1);
        rig_run(&rig);
    }
    cr_assert(sim_disk_calls(rig.sd) == calls + 5); /* five writes */
    while (sim_disk_calls(rig.sd) == calls + 5)
        cr_assert(sim_step(rig.sim));
    cr_assert(sim_disk_calls(rig.sd) == calls + 6 && sim_now_ms(rig.sim) >= 49);
    rig_append(&rig, 0, 0, 1);
    rig_run(&rig);
    core_set_current(rig.rt->log_core);
    cr_assert(log_stop(rig.log, NULL) == OK);
    core_set_current(NULL);
    cr_assert(sim_disk_calls(rig.sd) == calls + 8);
    rig_power_cut(&rig);
    rig_must_start(&rig);
    cr_assert(rig.recovered[0] == 6);
    rig_fini(&rig);
}

static enum status refuse(void *ctx, const struct entry *e, struct err *err) {
    unsigned *count = ctx;
    if (++*count < 4) return OK;
    return err_set(err, ERR_NOMEM, 0, "no room for shard %u", e->shard);
}

/* A step of the simulation; a call that found no room finds none for four more tries. */
static void step_full(uint64_t *at, unsigned *tries) {
    if (rig.in_flight == 0) return;
    cr_assert(sim_step(rig.sim));
    if (sim_disk_calls(rig.sd) < *at || !log_is_full(rig.log) || *tries == 5) return;
    cr_assert(log_refusal(rig.log, NULL) == ERR_UNAVAILABLE);
    if (++*tries == 5) return;
    *at = sim_disk_calls(rig.sd) + 1;
    sim_disk_fail_at(rig.sd, *at, ENOSPC);
}

/* At a frame and where a new file is made; at a sync it is the end. */
Test(log, a_full_disk_is_waited_for) {
    unsigned waited = 0, closed = 0;
    for (unsigned skip = 1; skip <= 40; skip++) {
        rig_init(&rig, skip);
        rig.options.file_bytes_max = 600;
        rig_must_start(&rig);
        uint64_t start_ns = core_mono_ns(rig.rt->cores[0]), at = sim_disk_calls(rig.sd) + skip;
        unsigned tries = 0;
        sim_disk_fail_at(rig.sd, at, ENOSPC);
        for (unsigned i = 0; i < 16 && rig.failed_count == 0; i++) {
            rig_append(&rig, i % 2, i % 2, 3);
            for (unsigned k = 0; k < 8; k++)
                step_full(&at, &tries);
        }
        while (rig.in_flight > 0)
            step_full(&at, &tries);
        cr_assert(tries == (rig.failed_count == 0 ? 5 : 0), "call %u: %u tries", skip, tries);
        cr_assert(log_is_failed(rig.log) == (rig.failed_count > 0));
        if (tries > 0)
            cr_assert(core_mono_ns(rig.rt->cores[0]) - start_ns >= 5000000000, "no pause");
        waited += tries > 0;
        closed += tries == 0;
        sim_disk_fail_at(rig.sd, 0, 0);
        rig_power_cut(&rig);
        rig_must_start(&rig);
        rig_verify(&rig);
        rig_fini(&rig);
    }
    cr_assert(waited > 5 && closed > 5, "%u waited, %u closed", waited, closed);
}

Test(log, error_of_apply_stops_recovery) {
    make_log(5, 1 << 20);
    rig.rt = sim_start(rig.sim, 0);
    rig.rt->disk = sim_disk_as_disk(rig.sd);
    unsigned count = 0;
    bool damaged;
    struct log *log;
    struct err err;
    cr_assert(log_open(rig.rt, &rig.options, refuse, &count, &log, &damaged, &err) == ERR_NOMEM);
    cr_assert(count == 4);
    cr_assert(strstr(err.msg, "log: data/log/log-0000000000000001: offset ") == err.msg, "%s",
              err.msg);
    cr_assert(strstr(err.msg, "no room for shard 1") != NULL, "%s", err.msg);
    rig_fini(&rig);
}

/* -- files that are missing at either end */

static size_t make_files(uint64_t firsts[64]) {
    make_log(40, 300);
    size_t n = rig_files(&rig, firsts, 64);
    cr_assert(n > 4 && n < 64);
    rig.allow_gaps = true;
    return n;
}

/* At every start, until its data is written again elsewhere. */
static void expect_told(const char *text) {
    for (int start = 0; start < 3; start++) {
        cr_assert(rig_start(&rig) == OK, "%s", rig.damage.msg);
        cr_assert(rig.damaged && strstr(rig.damage.msg, text) != NULL, "%s", rig.damage.msg);
        rig_append(&rig, 0, 0, 1);
        rig_run(&rig);
        cr_assert(rig.failed_count == 0);
        rig_kill(&rig);
    }
}

Test(log, an_oldest_file_that_is_missing_is_told) {
    uint64_t firsts[64];
    char text[120];
    make_files(firsts);
    rig_file_remove(&rig, firsts[0]);
    snprintf(text, sizeof text, "log-%016" PRIx64 ": offset 0: files before it are missing; frame",
             firsts[1]);
    expect_told(text);
    rig_fini(&rig);
}

Test(log, a_newest_file_that_is_missing_is_told) {
    uint64_t firsts[64];
    char text[120];
    size_t n = make_files(firsts);
    rig_file_remove(&rig, firsts[n - 1]);
    snprintf(text, sizeof text, "log-%016" PRIx64 ": offset 0: the file is missing; frame",
             firsts[n - 1]);
    cr_assert(rig_start(&rig) == OK && rig.damaged);
    cr_assert(strstr(rig.damage.msg, text) != NULL, "%s", rig.damage.msg);
    rig_kill(&rig);
    expect_told("the file does not follow the one before it; frame");
    rig_fini(&rig);
}

Test(log, all_files_missing_is_told) {
    uint64_t firsts[64];
    size_t n = make_files(firsts);
    for (size_t i = 0; i < n; i++)
        rig_file_remove(&rig, firsts[i]);
    memset(rig.appended, 0, sizeof rig.appended);
    cr_assert(rig_start(&rig) == OK && rig.damaged);
    cr_assert(strstr(rig.damage.msg, "the file is missing; frames 1 to ") != NULL, "%s",
              rig.damage.msg);
    rig_kill(&rig);
    expect_told("files before it are missing; frames 1 to ");
    rig_fini(&rig);
}

Test(log, what_is_removed_on_purpose_is_not_missed) {
    uint64_t firsts[64], files, bytes;
    size_t n = make_files(firsts);
    cr_assert(rig_start(&rig) == OK && !rig.damaged);
    cr_assert(log_remove_before(rig.log, firsts[n / 2], &files, &bytes, NULL) == OK && files > 0);
    rig_power_cut(&rig);
    cr_assert(rig_start(&rig) == OK && !rig.damaged, "%s", rig.damage.msg);
    rig_fini(&rig);
}

Test(log, notes_of_the_ends_are_headers_of_files_and_may_be_missing_or_bad) {
    static const uint8_t golden[24] = {'C', 'A', 'I', 'R', 'N', 'L', 'O', 'G', 1, 0, 1, 0,
                                       0,   0,   0,   0,   1,   0,   0,   0,   0, 0, 0, 0};
    struct disk *disk;
    struct buf bytes = {0};
    make_log(4, 1 << 20);
    disk = sim_disk_as_disk(rig.sd);
    cr_assert(disk_read_file(disk, "data/log/NEWEST", 100, &bytes, NULL) == OK);
    cr_assert(bytes.len == 32 && memcmp(bytes.ptr, golden, sizeof golden) == 0);
    cr_assert(get_u64le(bytes.ptr + 24) == hash64(bytes.ptr, 24, 0));
    for (size_t cut = 0; cut < 34; cut++) {
        const char *name = cut % 2 == 0 ? "data/log/NEWEST" : "data/log/OLDEST";
        cr_assert(disk_write_file(disk, name, sv_make(bytes.ptr, MIN(cut, 31)), NULL) == OK);
        if (cut >= 32) cr_assert(disk_unlink(disk, name, NULL) == OK);
        cr_assert(rig_start(&rig) == OK && !rig.damaged, "%s", rig.damage.msg);
        rig_kill(&rig);
    }
    buf_fini(&bytes);
    rig_fini(&rig);
}
