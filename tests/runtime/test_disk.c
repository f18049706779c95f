/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/base/buf.h"
#include "node/runtime/disk.h"

static char root[64];
static struct disk *disk;
static struct err err;

static void setup(void) {
    snprintf(root, sizeof root, "%s/cairn-disk-XXXXXX", P_tmpdir);
    cr_assert(mkdtemp(root) != NULL);
    disk = disk_real();
    err = (struct err){0};
}

static bool remove_entry(void *ctx, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    if (remove(path) == 0) return true;
    status_ignore(disk_list(disk, path, remove_entry, path, NULL));
    remove(path);
    return true;
}

static void teardown(void) {
    status_ignore(disk_list(disk, root, remove_entry, root, NULL));
    remove(root);
}

static const char *in(const char *name) {
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void put(const char *name, const char *text) {
    cr_assert(disk_write_file(disk, in(name), sv_from(text), &err) == OK, "%s", err.msg);
}

static void expect(const char *name, const char *text) {
    struct buf b = {0};
    cr_assert(disk_read_file(disk, in(name), 1 << 20, &b, &err) == OK, "%s", err.msg);
    cr_assert(sv_eq(buf_sv(&b), sv_from(text)), "%s: %.*s", name, SV_ARG(buf_sv(&b)));
    buf_fini(&b);
}

TestSuite(disk, .init = setup, .fini = teardown);

Test(disk, what_is_written_at_an_offset_is_read_back) {
    struct file *f;
    int flags = DISK_READ | DISK_WRITE | DISK_CREATE;
    cr_assert(disk_open(disk, in("f"), flags, &f, &err) == OK, "%s", err.msg);
    cr_assert(strcmp(f->path, in("f")) == 0);
    cr_assert(file_pwrite(f, "abc", 3, 5, &err) == OK, "%s", err.msg);
    cr_assert(file_pwrite(f, "xy", 2, 0, &err) == OK, "%s", err.msg);
    cr_assert(file_sync(f, &err) == OK, "%s", err.msg);
    char got[16];
    size_t len = 99;
    cr_assert(file_pread(f, got, sizeof got, 0, &len, &err) == OK, "%s", err.msg);
    cr_assert(len == 8 && memcmp(got, "xy\0\0\0abc", 8) == 0);
    cr_assert(file_pread(f, got, 2, 6, &len, &err) == OK && len == 2 && memcmp(got, "bc", 2) == 0);
    cr_assert(file_pread(f, got, 2, 8, &len, &err) == OK && len == 0);
    uint64_t size = 0;
    cr_assert(file_size(f, &size, &err) == OK && size == 8);
    cr_assert(file_truncate(f, 6, &err) == OK && file_size(f, &size, &err) == OK && size == 6);
    cr_assert(file_pwrite(f, "z", 1, UINT64_MAX, &err) == ERR_IO && err.os == EFBIG);
    cr_assert(file_pread(f, got, 1, UINT64_MAX, &len, &err) == ERR_IO);
    file_close(f);
    file_close(NULL);
}

/* The size limit makes the first pwrite short: only a loop meets the error, and where it stands. */
Test(disk, short_write_is_continued) {
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY};
    cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    struct file *f;
    cr_assert(disk_open(disk, in("f"), DISK_WRITE | DISK_CREATE, &f, &err) == OK, "%s", err.msg);
    static char data[4096];
    enum status status = file_pwrite(f, data, sizeof data, 0, &err);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    cr_assert(status == ERR_IO && err.os == EFBIG, "%s", err.msg);
    cr_assert(strstr(err.msg, "f at 1000: File too large") != NULL, "%s", err.msg);
    file_close(f);
}

Test(disk, exclusive_create_refuses_what_is_there) {
    struct file *f = NULL, *untouched = NULL;
    int flags = DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE;
    cr_assert(disk_open(disk, in("f"), flags, &f, &err) == OK, "%s", err.msg);
    cr_assert(disk_open(disk, in("f"), flags, &untouched, &err) == ERR_CONFLICT);
    cr_assert(untouched == NULL && err.os == EEXIST && strstr(err.msg, in("f")) != NULL);
    file_close(f);
    cr_assert(disk_open(disk, in("f"), DISK_WRITE | DISK_CREATE, &f, &err) == OK, "%s", err.msg);
    file_close(f);
    cr_assert(disk_open(disk, in("missing"), DISK_READ, &untouched, &err) == ERR_UNAVAILABLE);
    cr_assert(untouched == NULL && strstr(err.msg, in("missing")) != NULL, "%s", err.msg);
}

Test(disk, a_link_is_a_second_name_of_the_same_bytes) {
    put("a", "one");
    cr_assert(disk_link(disk, in("a"), in("b"), &err) == OK, "%s", err.msg);
    cr_assert(disk_sync_dir(disk, root, &err) == OK, "%s", err.msg);
    cr_assert(disk_link(disk, in("a"), in("b"), &err) == ERR_CONFLICT && err.os == EEXIST);
    cr_assert(disk_link(disk, in("none"), in("c"), &err) == ERR_UNAVAILABLE && err.os == ENOENT);
    cr_assert(disk_mkdir(disk, in("d"), &err) == OK, "%s", err.msg);
    cr_assert(disk_link(disk, in("d"), in("e"), &err) == ERR_IO && err.os == EPERM);
    cr_assert(disk_unlink(disk, in("a"), &err) == OK, "%s", err.msg);
    expect("b", "one");
    put("a", "two"); /* a new file under the old name */
    expect("b", "one");
}

Test(disk, rename_replaces) {
    put("a", "new");
    put("b", "old");
    cr_assert(disk_rename(disk, in("a"), in("b"), &err) == OK, "%s", err.msg);
    cr_assert(disk_sync_dir(disk, root, &err) == OK, "%s", err.msg);
    cr_assert(!disk_exists(disk, in("a")));
    expect("b", "new");
    cr_assert(disk_rename(disk, in("a"), in("b"), &err) == ERR_UNAVAILABLE);
    cr_assert(strstr(err.msg, in("a")) != NULL && strstr(err.msg, in("b")) != NULL, "%s", err.msg);
}

Test(disk, unlink_of_what_is_missing_is_ok) {
    put("a", "x");
    cr_assert(disk_unlink(disk, in("a"), &err) == OK && !disk_exists(disk, in("a")));
    cr_assert(disk_unlink(disk, in("a"), &err) == OK);
    cr_assert(disk_mkdir(disk, in("d"), &err) == OK);
    cr_assert(disk_unlink(disk, in("d"), &err) == ERR_IO && strstr(err.msg, in("d")) != NULL);
}

Test(disk, mkdir_makes_parents) {
    cr_assert(disk_mkdir(disk, in("a/b//c/"), &err) == OK, "%s", err.msg);
    cr_assert(disk_mkdir(disk, in("a/b/c"), &err) == OK, "%s", err.msg);
    cr_assert(disk_exists(disk, in("a/b/c")));
    put("a/file", "x");
    cr_assert(disk_mkdir(disk, in("a/file/d"), &err) == ERR_IO && err.os == ENOTDIR);
    cr_assert(strstr(err.msg, in("a/file")) != NULL, "%s", err.msg);
}

struct listing {
    char text[256];
    unsigned stop_after;
};
static bool list_name(void *ctx, const char *name) {
    struct listing *l = ctx;
    size_t n = strlen(l->text);
    snprintf(l->text + n, sizeof l->text - n, "%s ", name);
    return l->stop_after == 0 || --l->stop_after > 0;
}

Test(disk, list_is_sorted_bytewise) {
    static const char *const names[] = {"b", "a", "Z", "a0", "10", "9", ".hidden"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        put(names[i], "");
    struct listing l = {0};
    cr_assert(disk_list(disk, root, list_name, &l, &err) == OK, "%s", err.msg);
    cr_assert_str_eq(l.text, ".hidden 10 9 Z a a0 b ");
    l = (struct listing){.stop_after = 2};
    cr_assert(disk_list(disk, root, list_name, &l, &err) == OK);
    cr_assert_str_eq(l.text, ".hidden 10 ");
    l = (struct listing){0};
    cr_assert(disk_mkdir(disk, in("empty"), &err) == OK);
    cr_assert(disk_list(disk, in("empty"), list_name, &l, &err) == OK && l.text[0] == '\0');
    cr_assert(disk_list(disk, in("none"), list_name, &l, &err) == ERR_UNAVAILABLE);
    cr_assert(strstr(err.msg, in("none")) != NULL, "%s", err.msg);
}

Test(disk, lock_conflicts_in_this_and_another_process) {
    struct file *lock = NULL, *second = NULL;
    cr_assert(disk_lock(disk, in("lock"), &lock, &err) == OK, "%s", err.msg);
    cr_assert(disk_lock(disk, in("lock"), &second, &err) == ERR_CONFLICT && second == NULL);
    cr_assert(strstr(err.msg, in("lock")) != NULL && strstr(err.msg, "locked") != NULL);
    pid_t child = fork();
    if (child == 0) _exit(disk_lock(disk, in("lock"), &second, NULL) == ERR_CONFLICT ? 0 : 1);
    int how = 0;
    cr_assert(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
    file_close(lock);
    cr_assert(disk_lock(disk, in("lock"), &lock, &err) == OK, "%s", err.msg);
    file_close(lock);
}

Test(disk, read_only_directory_is_named) {
    put("kept", "x");
    /* root may write everywhere, so the test goes on as nobody */
    cr_assert(chmod(root, 0555) == 0);
    bool was_root = geteuid() == 0;
    if (was_root) cr_assert(seteuid(65534) == 0);
    struct file *f;
    enum status created = disk_open(disk, in("new"), DISK_WRITE | DISK_CREATE, &f, &err);
    struct err mkdir_err, write_err, unlink_err;
    enum status made = disk_mkdir(disk, in("dir/sub"), &mkdir_err);
    enum status written = disk_write_file(disk, in("kept"), SV("y"), &write_err);
    enum status removed = disk_unlink(disk, in("kept"), &unlink_err);
    if (was_root) cr_assert(seteuid(0) == 0);
    chmod(root, 0755);
    char want[256];
    snprintf(want, sizeof want, "disk: create %s: Permission denied", in("new"));
    cr_assert(created == ERR_IO && err.os == EACCES);
    cr_assert_str_eq(err.msg, want);
    snprintf(want, sizeof want, "disk: create directory %s: Permission denied", in("dir"));
    cr_assert(made == ERR_IO);
    cr_assert_str_eq(mkdir_err.msg, want);
    snprintf(want, sizeof want, "disk: create %s: Permission denied", in("kept.tmp"));
    cr_assert(written == ERR_IO);
    cr_assert_str_eq(write_err.msg, want);
    snprintf(want, sizeof want, "disk: remove %s: Permission denied", in("kept"));
    cr_assert(removed == ERR_IO);
    cr_assert_str_eq(unlink_err.msg, want);
    expect("kept", "x");
}

Test(disk, whole_files_are_replaced_and_limited) {
    put("f", "a long first content");
    put("f", "short");
    expect("f", "short");
    put("f.tmp", "left by an interrupted attempt, longer than the next content");
    put("f", "new");
    expect("f", "new");
    cr_assert(!disk_exists(disk, in("f.tmp")));
    struct buf b = {0};
    buf_put_sv(&b, SV("before "));
    cr_assert(disk_read_file(disk, in("f"), 3, &b, &err) == OK, "%s", err.msg);
    cr_assert(sv_eq(buf_sv(&b), SV("before new")));
    cr_assert(disk_read_file(disk, in("f"), 2, &b, &err) == ERR_LIMIT, "%s", err.msg);
    cr_assert(strstr(err.msg, in("f")) != NULL && sv_eq(buf_sv(&b), SV("before new")));
    cr_assert(disk_read_file(disk, in("none"), 2, &b, &err) == ERR_UNAVAILABLE);
    put("f", "");
    cr_assert(disk_read_file(disk, in("f"), 0, &b, &err) == OK && b.len == 10);
    buf_fini(&b);
    cr_assert(disk_write_file(disk, in("none/f"), SV("x"), &err) == ERR_UNAVAILABLE);
    cr_assert(strstr(err.msg, in("none/f")) != NULL, "%s", err.msg);
}

Test(disk, free_space_is_known) {
    uint64_t free_bytes = 0;
    cr_assert(disk_space(disk, root, &free_bytes, &err) == OK && free_bytes > 0, "%s", err.msg);
    cr_assert(disk_space(disk, in("none"), &free_bytes, &err) == ERR_UNAVAILABLE);
}
