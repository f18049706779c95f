/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "node/base/rng.h"
#include "storage/spill.h"

enum { PIECES = 4000, PIECE_MAX = 3000 };

static struct spill spill;
static struct spill_buffer *held; /* what a reader may look at */
static size_t held_count;

static void hold(void *ctx, struct spill_buffer *buffer) {
    (void)ctx;
    buffer->next = held;
    held = buffer;
    held_count++;
}

static void release(void) {
    for (struct spill_buffer *next; held != NULL; held = next) {
        next = held->next;
        free(held);
    }
    held_count = 0;
}

struct piece {
    struct spilled at;
    bool there;
    uint32_t seed;
};
static struct piece pieces[PIECES];

static uint32_t piece_make(uint32_t seed, uint8_t *out) {
    struct rng r;
    rng_init(&r, seed);
    uint32_t len = 1 + (uint32_t)rng_below(&r, PIECE_MAX);
    for (uint32_t i = 0; i < len; i++)
        out[i] = (uint8_t)rng_u64(&r);
    return len;
}

static void piece_check(const struct piece *p) {
    uint8_t want[PIECE_MAX + 1];
    cr_assert(piece_make(p->seed, want) == p->at.len);
    cr_assert(memcmp(spill_bytes(&p->at), want, p->at.len) == 0);
}

/* Pieces come and go; returns how many bytes there are in the end. */
static uint64_t run(uint64_t seed, uint32_t rounds) {
    struct rng r;
    rng_init(&r, seed);
    uint64_t bytes = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        struct piece *p = &pieces[rng_below(&r, PIECES)];
        uint8_t text[PIECE_MAX + 1];
        if (p->there) {
            piece_check(p);
            bytes -= p->at.len;
            spill_drop(&spill, &p->at);
            p->there = false;
            continue;
        }
        p->seed = round;
        uint32_t len = piece_make(p->seed, text);
        p->there = spill_put(&spill, text, len, &p->at);
        cr_assert(p->there && p->at.len == len);
        bytes += len;
    }
    return bytes;
}

static void drop_all(void) {
    for (size_t i = 0; i < PIECES; i++)
        if (pieces[i].there) {
            piece_check(&pieces[i]);
            spill_drop(&spill, &pieces[i].at);
        }
    memset(pieces, 0, sizeof pieces);
}

Test(spill, pieces_come_back_from_the_file) {
    spill_init(&spill, P_tmpdir, hold, NULL);
    cr_assert(spill_is_on(&spill) && spill.errors == 0);
    uint64_t bytes = run(1, 30000);
    cr_expect(bytes > 1 << 20 && spill.file_bytes > bytes * 9 / 10, "%zu of %zu bytes in the file",
              (size_t)spill.file_bytes, (size_t)bytes);
    cr_expect(spill.memory_bytes < bytes / 8, "%zu bytes of memory", (size_t)spill.memory_bytes);
    cr_expect(held_count > 100 && spill.errors == 0);
    uint32_t places = spill.places_count;
    drop_all();
    cr_expect(spill.file_bytes == 0);
    run(2, 30000);
    cr_expect(spill.places_count <= places + places / 8, "%u places, then %u", places,
              spill.places_count);
    drop_all();
    release();
    spill_fini(&spill);
}

/* A reader that has the address of the buffer goes on reading there. */
Test(spill, buffers_are_retired_not_freed) {
    spill_init(&spill, P_tmpdir, hold, NULL);
    struct spilled first, other;
    uint8_t text[PIECE_MAX + 1];
    uint32_t len = piece_make(7, text);
    cr_assert(spill_put(&spill, text, len, &first));
    const uint8_t *seen = spill_bytes(&first);
    uint32_t others = 0;
    struct spilled all[200];
    while (held_count == 0 && others < 200)
        cr_assert(spill_put(&spill, text, len, &all[others++]));
    other = first;
    cr_expect(held_count == 1 && spill_bytes(&other) != seen);
    cr_expect(memcmp(seen, text, len) == 0 && memcmp(spill_bytes(&other), text, len) == 0);
    spill_drop(&spill, &first);
    for (uint32_t i = 0; i < others; i++)
        spill_drop(&spill, &all[i]);
    release();
    spill_fini(&spill);
}

/* The disk takes a megabyte and no more. */
Test(spill, what_the_disk_refuses_stays_in_memory) {
    struct rlimit limit = {1 << 20, 1 << 20};
    spill_init(&spill, P_tmpdir, hold, NULL);
    static struct spilled first[200];
    static const uint8_t text[PIECE_MAX] = "x";
    size_t count = 0;
    while (held_count == 0) /* the file has its size */
        cr_assert(spill_put(&spill, text, PIECE_MAX, &first[count++]));
    cr_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &limit) == 0);
    uint64_t bytes = run(3, 20000);
    cr_expect(spill.errors > 10 && spill.file_bytes <= 1 << 20);
    cr_expect(spill.memory_bytes + spill.file_bytes > bytes && bytes > 2 << 20);
    drop_all();
    while (count > 0)
        spill_drop(&spill, &first[--count]);
    release();
    spill_fini(&spill);
}

Test(spill, without_a_directory_it_is_off) {
    struct spilled at;
    spill_init(&spill, NULL, hold, NULL);
    cr_expect(!spill_is_on(&spill) && spill.errors == 0);
    cr_expect(!spill_put(&spill, (const uint8_t *)"x", 1, &at));
    spill_fini(&spill);
    spill_init(&spill, "/nonexistent/directory", hold, NULL);
    cr_expect(!spill_is_on(&spill) && spill.errors == 1);
    cr_expect(!spill_put(&spill, (const uint8_t *)"x", 1, &at));
    spill_fini(&spill);
}

static size_t files_in(const char *path) {
    DIR *dir = opendir(path);
    size_t count = 0;
    cr_assert(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    cr_assert(closedir(dir) == 0);
    return count - 2;
}

Test(spill, the_file_has_no_name) {
    char path[] = P_tmpdir "/test-spill-XXXXXX";
    cr_assert(mkdtemp(path) != NULL);
    spill_init(&spill, path, hold, NULL);
    run(4, 5000);
    cr_expect(spill.file_bytes > 0 && files_in(path) == 0);
    drop_all();
    release();
    spill_fini(&spill);
    cr_assert(remove(path) == 0);
}
