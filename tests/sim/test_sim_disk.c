/* SPDX-License-Identifier: Apache-2.0 */
/* The disk alone: what a power cut may and may not do. */
#include <assert.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "tests/sim/sim.h"

enum { WRITE_FILE = DISK_READ | DISK_WRITE | DISK_CREATE };

static struct file *must_open(struct disk *d, const char *path) {
    struct file *f = NULL;
    struct err err = {0};
    cr_assert(disk_open(d, path, WRITE_FILE, &f, &err) == OK, "%s", err.msg);
    return f;
}

static size_t read_some(struct file *f, uint8_t *out, size_t cap) {
    size_t len = 0;
    cr_assert(file_pread(f, out, cap, 0, &len, NULL) == OK);
    return len;
}

static void must_write(struct file *f, const void *p, size_t len, uint64_t offset) {
    cr_assert(file_pwrite(f, p, len, offset, NULL) == OK);
}

/* A model beside the disk: the bytes at the last sync, and which of them an unsynced write touched
 * since. */
enum { MODEL_BYTES = 8192 };
struct model {
    uint8_t now[MODEL_BYTES], synced[MODEL_BYTES];
    bool touched[MODEL_BYTES];
    size_t now_len, synced_len;
    bool truncated;
};

static void model_step(struct model *m, struct file *f, struct rng *rng) {
    uint64_t what = rng_below(rng, 8);
    if (what == 0) {
        cr_assert(file_sync(f, NULL) == OK);
        memcpy(m->synced, m->now, sizeof m->now);
        memset(m->touched, 0, sizeof m->touched);
        m->synced_len = m->now_len;
        m->truncated = false;
    } else if (what == 1) {
        size_t len = (size_t)rng_below(rng, m->now_len + 1);
        cr_assert(file_truncate(f, len, NULL) == OK);
        memset(m->now + len, 0, MODEL_BYTES - len);
        memset(m->touched + len, true, MODEL_BYTES - len);
        m->now_len = len;
        m->truncated = true;
    } else {
        static uint8_t bytes[3000];
        size_t len = 1 + (size_t)rng_below(rng, sizeof bytes);
        size_t at = (size_t)rng_below(rng, MODEL_BYTES - len);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)rng_u64(rng);
        must_write(f, bytes, len, at);
        memcpy(m->now + at, bytes, len);
        memset(m->touched + at, true, len);
        m->now_len = MAX(m->now_len, at + len);
    }
}

Test(sim_disk, synced_bytes_survive_any_cut) {
    static struct model m;
    static uint8_t got[MODEL_BYTES];
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        struct sim_disk *sd = sim_disk_new(seed);
        struct disk *d = sim_disk_as_disk(sd);
        struct file *f = must_open(d, "a");
        cr_assert(disk_sync_dir(d, "", NULL) == OK);
        m = (struct model){0};
        for (uint64_t n = rng_below(&rng, 40); n > 0; n--) {
            model_step(&m, f, &rng);
            size_t len = read_some(f, got, sizeof got);
            cr_assert(len == m.now_len && memcmp(got, m.now, len) == 0, "seed %lu", seed);
        }
        file_close(f);
        sim_disk_restart(sd);
        f = must_open(d, "a");
        size_t len = read_some(f, got, sizeof got);
        cr_assert(m.truncated || len >= m.synced_len, "seed %lu", seed);
        for (size_t i = 0; i < len; i++)
            cr_assert(m.touched[i] || got[i] == m.synced[i], "seed %lu byte %zu", seed, i);
        file_close(f);
        sim_disk_free(sd);
    }
}

static bool is_all(const uint8_t *p, size_t len, uint8_t c) {
    for (size_t i = 0; i < len; i++)
        if (p[i] != c) return false;
    return true;
}

Test(sim_disk, an_unsynced_write_is_kept_torn_or_dropped) {
    unsigned kept = 0, gone = 0, grown = 0, prefix = 0, hole = 0, noise = 0;
    static uint8_t bytes[4096], got[8192];
    memset(bytes, 'x', sizeof bytes);
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct sim_disk *sd = sim_disk_new(seed);
        struct disk *d = sim_disk_as_disk(sd);
        struct file *f = must_open(d, "a");
        cr_assert(disk_sync_dir(d, "", NULL) == OK);
        must_write(f, bytes, sizeof bytes, 0);
        file_close(f);
        sim_disk_restart(sd);
        f = must_open(d, "a");
        size_t len = read_some(f, got, sizeof got), xs = 0, zeros = 0;
        for (size_t i = 0; i < len; i++)
            xs += got[i] == 'x', zeros += got[i] == 0;
        cr_assert(len <= sizeof bytes);
        if (len == sizeof bytes && xs == len)
            kept++;
        else if (len == 0)
            gone++;
        else if (zeros == len)
            grown++;
        else if (is_all(got, len, 'x'))
            prefix++;
        else if (xs + zeros == len && zeros % 512 == 0)
            hole++;
        else
            noise++;
        file_close(f);
        sim_disk_free(sd);
    }
    cr_log_info("kept %u gone %u grown %u prefix %u hole %u noise %u", kept, gone, grown, prefix,
                hole, noise);
    cr_assert(kept > 50 && gone > 50 && grown > 5 && prefix > 20 && hole > 2 && noise > 10);
    cr_assert(kept + gone + grown + prefix + hole + noise == 400);
}

Test(sim_disk, a_later_write_may_survive_an_earlier_one) {
    unsigned later_only = 0;
    static uint8_t got[1024];
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct sim_disk *sd = sim_disk_new(seed);
        struct disk *d = sim_disk_as_disk(sd);
        struct file *f = must_open(d, "a");
        cr_assert(disk_sync_dir(d, "", NULL) == OK);
        must_write(f, "11111111", 8, 0);
        must_write(f, "22222222", 8, 512);
        sim_disk_restart(sd);
        cr_assert(file_size(f, &(uint64_t){0}, NULL) == ERR_IO); /* of the life before */
        file_close(f);
        f = must_open(d, "a");
        size_t len = read_some(f, got, sizeof got);
        later_only += len == 520 && memcmp(got + 512, "22222222", 8) == 0 && is_all(got, 512, 0);
        file_close(f);
        sim_disk_free(sd);
    }
    cr_assert(later_only > 10, "%u", later_only);
}

static bool content_is(struct disk *d, const char *path, const char *text) {
    struct buf b = {0};
    bool is = disk_read_file(d, path, 1 << 20, &b, NULL) == OK && sv_eq(buf_sv(&b), sv_from(text));
    buf_fini(&b);
    return is;
}

Test(sim_disk, write_file_is_old_or_new_after_a_cut_at_any_call) {
    unsigned old = 0, new = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        for (uint64_t n = 1;; n++) {
            struct sim_disk *sd = sim_disk_new(seed * 1000 + n);
            struct disk *d = sim_disk_as_disk(sd);
            cr_assert(disk_mkdir(d, "x/y", NULL) == OK);
            cr_assert(disk_write_file(d, "x/y/a", SV("the old content"), NULL) == OK);
            sim_disk_cut_at(sd, sim_disk_calls(sd) + n);
            bool acked = disk_write_file(d, "x/y/a", SV("new and longer content"), NULL) == OK;
            sim_disk_restart(sd);
            bool is_old = content_is(d, "x/y/a", "the old content");
            bool is_new = content_is(d, "x/y/a", "new and longer content");
            cr_assert(is_old != is_new, "seed %lu call %lu", seed, n);
            cr_assert(!acked || is_new, "seed %lu call %lu", seed, n);
            old += is_old;
            new += is_new && !acked;
            sim_disk_free(sd);
            if (acked) break;
        }
    }
    cr_assert(old > 100 && new > 10, "%u %u", old, new);
}

Test(sim_disk, unsynced_names_may_vanish_or_come_back) {
    unsigned created = 0, renamed = 0, removed = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct sim_disk *sd = sim_disk_new(seed);
        struct disk *d = sim_disk_as_disk(sd);
        file_close(must_open(d, "old"));
        file_close(must_open(d, "gone"));
        cr_assert(disk_sync_dir(d, ".", NULL) == OK);
        file_close(must_open(d, "fresh"));
        cr_assert(disk_rename(d, "old", "new", NULL) == OK);
        cr_assert(disk_unlink(d, "gone", NULL) == OK);
        cr_assert(!disk_exists(d, "old") && !disk_exists(d, "gone") && disk_exists(d, "fresh"));
        sim_disk_restart(sd);
        cr_assert(disk_exists(d, "old") != disk_exists(d, "new"), "seed %lu", seed);
        created += disk_exists(d, "fresh");
        renamed += disk_exists(d, "new");
        removed += !disk_exists(d, "gone");
        sim_disk_free(sd);
    }
    cr_assert(created > 50 && created < 150 && renamed > 50 && renamed < 150);
    cr_assert(removed > 50 && removed < 150);
}

/* What builds on a lost change is lost with it; a sync of the directory takes along what it builds
 * on. */
Test(sim_disk, chains_of_names_stay_whole) {
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct sim_disk *sd = sim_disk_new(seed);
        struct disk *d = sim_disk_as_disk(sd);
        cr_assert(disk_mkdir(d, "from", NULL) == OK && disk_mkdir(d, "to", NULL) == OK);
        struct file *f = must_open(d, "from/a");
        must_write(f, "abc", 3, 0);
        cr_assert(file_sync(f, NULL) == OK);
        file_close(f);
        cr_assert(disk_rename(d, "from/a", "from/b", NULL) == OK);
        cr_assert(disk_rename(d, "from/b", "to/c", NULL) == OK);
        bool synced = seed % 2 == 0;
        if (synced) cr_assert(disk_sync_dir(d, "to", NULL) == OK);
        sim_disk_restart(sd);
        int count = disk_exists(d, "from/a") + disk_exists(d, "from/b") + disk_exists(d, "to/c");
        cr_assert(count <= 1, "seed %lu", seed);
        cr_assert(!synced || content_is(d, "to/c", "abc"), "seed %lu", seed);
        sim_disk_free(sd);
    }
}

static bool name_collect(void *ctx, const char *name) {
    struct buf *b = ctx;
    buf_printf(b, "%s ", name);
    return strcmp(name, "stop") != 0;
}

Test(sim_disk, a_link_is_a_second_name_that_an_unsynced_directory_may_lose) {
    unsigned kept = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sim_disk *sd = sim_disk_new(seed);
        struct disk *d = sim_disk_as_disk(sd);
        struct err err;
        cr_assert(disk_mkdir(d, "dir", NULL) == OK);
        cr_assert(disk_write_file(d, "a", SV("one"), NULL) == OK);
        cr_assert(disk_link(d, "a", "dir/synced", NULL) == OK);
        cr_assert(disk_sync_dir(d, "dir", NULL) == OK);
        cr_assert(disk_link(d, "a", "dir/b", NULL) == OK);
        cr_assert(disk_link(d, "a", "dir/b", &err) == ERR_CONFLICT && err.os == EEXIST);
        cr_assert(disk_link(d, "none", "c", &err) == ERR_UNAVAILABLE && err.os == ENOENT);
        cr_assert(disk_link(d, "dir", "e", &err) == ERR_IO && err.os == EPERM);
        cr_assert(disk_unlink(d, "a", NULL) == OK && disk_sync_dir(d, "", NULL) == OK);
        sim_disk_restart(sd);
        struct buf b = {0};
        cr_assert(disk_read_file(d, "dir/synced", 10, &b, NULL) == OK);
        cr_assert(sv_eq(buf_sv(&b), SV("one")));
        kept += disk_exists(d, "dir/b");
        buf_fini(&b);
        sim_disk_free(sd);
    }
    cr_assert(kept > 20 && kept < 80, "%u", kept);
}

Test(sim_disk, directories_list_rename_and_fail_as_the_real_ones) {
    struct sim_disk *sd = sim_disk_new(1);
    struct disk *d = sim_disk_as_disk(sd);
    struct file *f = NULL, *lock = NULL;
    struct err err;
    struct buf names = {0};
    cr_assert(disk_mkdir(d, "/data/wal", NULL) == OK && disk_mkdir(d, "/data/wal", NULL) == OK);
    file_close(must_open(d, "data/wal/2"));
    file_close(must_open(d, "data/wal/10"));
    file_close(must_open(d, "data/wal/stop"));
    file_close(must_open(d, "data/wal/x"));
    cr_assert(disk_list(d, "data/wal/", name_collect, &names, NULL) == OK);
    cr_assert_str_eq(buf_cstr(&names), "10 2 stop ");
    buf_fini(&names);
    cr_assert(disk_list(d, "none", name_collect, &names, &err) == ERR_UNAVAILABLE);
    cr_assert(disk_open(d, "none/a", WRITE_FILE, &f, &err) == ERR_UNAVAILABLE && err.os == ENOENT);
    cr_assert(disk_open(d, "data/wal/9", DISK_READ, &f, &err) == ERR_UNAVAILABLE);
    cr_assert(disk_open(d, "data/wal/2", WRITE_FILE | DISK_EXCLUSIVE, &f, &err) == ERR_CONFLICT);
    cr_assert(disk_unlink(d, "data/none", &err) == OK);
    cr_assert(disk_unlink(d, "data/wal", &err) == ERR_IO && err.os == EISDIR);
    cr_assert(disk_mkdir(d, "data/wal/2/sub", &err) == ERR_IO && err.os == ENOTDIR);
    cr_assert(disk_rename(d, "data/none", "data/a", &err) == ERR_UNAVAILABLE);
    cr_assert(disk_rename(d, "data/wal", "data/log", &err) == OK);
    cr_assert(disk_exists(d, "data/log/10") && !disk_exists(d, "data/wal/10"));
    cr_assert(disk_open(d, "data/log/2", DISK_READ, &f, &err) == OK);
    cr_assert(file_pwrite(f, "a", 1, 0, &err) == ERR_IO && err.os == EBADF);
    file_close(f);
    cr_assert(disk_lock(d, "data/lock", &lock, &err) == OK);
    cr_assert(disk_lock(d, "data/lock", &f, &err) == ERR_CONFLICT);
    file_close(lock);
    cr_assert(disk_lock(d, "data/lock", &lock, &err) == OK);
    cr_assert(disk_sync_dir(d, "data", &err) == OK);
    sim_disk_restart(sd);
    cr_assert(disk_lock(d, "data/lock", &f, &err) == OK); /* the dead holder's lock went with it */
    file_close(lock);                                     /* and its late close changes nothing */
    cr_assert(disk_lock(d, "data/lock", &lock, &err) == ERR_CONFLICT);
    file_close(f);
    sim_disk_free(sd);
}

Test(sim_disk, one_call_fails_and_a_failed_sync_is_not_made_good_by_the_next) {
    unsigned lost = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct sim_disk *sd = sim_disk_new(seed);
        struct disk *d = sim_disk_as_disk(sd);
        struct err err = {0};
        struct file *f = must_open(d, "a");
        cr_assert(disk_sync_dir(d, "", NULL) == OK);
        sim_disk_fail_at(sd, sim_disk_calls(sd) + 1, ENOSPC);
        cr_assert(file_pwrite(f, "abc", 3, 0, &err) == ERR_IO && err.os == ENOSPC);
        must_write(f, "abc", 3, 0);
        sim_disk_fail_at(sd, sim_disk_calls(sd) + 1, EIO);
        cr_assert(file_sync(f, &err) == ERR_IO && err.os == EIO);
        cr_assert(file_sync(f, &err) == OK);
        cr_assert(content_is(d, "a", "abc"));
        file_close(f);
        sim_disk_restart(sd);
        lost += !content_is(d, "a", "abc");
        sim_disk_free(sd);
    }
    cr_assert(lost > 30 && lost < 95, "%u", lost);
}

/* A toy log: records [u32 number][u64 checksum]; reading stops at the first bad one. */
enum { TOY_BYTES = 12 };

static unsigned toy_append(struct disk *d, bool with_sync) {
    struct file *f = NULL;
    unsigned acked = 0;
    if (disk_open(d, "log", WRITE_FILE, &f, NULL) != OK) return 0;
    if (disk_sync_dir(d, "", NULL) == OK) {
        for (uint32_t i = 0; i < 20; i++) {
            uint8_t record[TOY_BYTES];
            put_u32le(record, i);
            put_u64le(record + 4, hash64(record, 4, 0));
            if (file_pwrite(f, record, sizeof record, (uint64_t)i * TOY_BYTES, NULL) != OK) break;
            if (with_sync && file_sync(f, NULL) != OK) break;
            acked++;
        }
    }
    file_close(f);
    return acked;
}

static unsigned toy_recover(struct disk *d) {
    struct buf b = {0};
    unsigned count = 0;
    if (disk_read_file(d, "log", 1 << 20, &b, NULL) == OK) {
        while ((count + 1) * TOY_BYTES <= b.len) {
            const char *record = b.ptr + (size_t)count * TOY_BYTES;
            if (get_u32le(record) != count || get_u64le(record + 4) != hash64(record, 4, 0)) break;
            count++;
        }
    }
    buf_fini(&b);
    return count;
}

/* Cuts at every call; how often less came back than was acknowledged, and more. */
static void toy_cut_everywhere(bool with_sync, unsigned *out_less, unsigned *out_more) {
    *out_less = *out_more = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (uint64_t n = 1; n <= 43; n++) {
            struct sim_disk *sd = sim_disk_new(seed * 100 + n);
            sim_disk_cut_at(sd, n);
            unsigned acked = toy_append(sim_disk_as_disk(sd), with_sync);
            cr_assert(!with_sync || n > 42 || acked == (n < 3 ? 0 : (n - 3) / 2), "n %lu: %u", n,
                      acked);
            sim_disk_restart(sd);
            unsigned back = toy_recover(sim_disk_as_disk(sd));
            cr_assert(!with_sync || back <= acked + 1);
            *out_less += back < acked;
            *out_more += back > acked;
            sim_disk_free(sd);
        }
    }
}

Test(sim_disk, a_log_that_syncs_keeps_all_it_acknowledged_at_any_cut) {
    unsigned less, more;
    toy_cut_everywhere(true, &less, &more);
    cr_assert(less == 0 && more > 20, "less %u more %u", less, more);
}

Test(sim_disk, a_log_that_forgets_to_sync_is_caught) {
    unsigned less, more;
    toy_cut_everywhere(false, &less, &more);
    cr_assert(less > 100, "less %u", less);
}

Test(sim_disk, same_seed_same_outcome) {
    static uint8_t first[4096], again[4096];
    size_t lens[2] = {0, 0};
    for (int round = 0; round < 2; round++) {
        struct sim_disk *sd = sim_disk_new(77);
        struct disk *d = sim_disk_as_disk(sd);
        struct file *f = must_open(d, "a");
        cr_assert(disk_sync_dir(d, "", NULL) == OK);
        for (uint32_t i = 0; i < 100; i++)
            must_write(f, &i, sizeof i, i * 37 % 4000);
        file_close(f);
        sim_disk_restart(sd);
        f = must_open(d, "a");
        lens[round] = read_some(f, round == 0 ? first : again, sizeof first);
        file_close(f);
        sim_disk_free(sd);
    }
    cr_assert(lens[0] == lens[1] && memcmp(first, again, lens[0]) == 0);
}
