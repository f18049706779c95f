/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot that is flipped in any bit, cut at any length, of a newer format, of another log or
 * cluster, or lacks a file, is not used and says why, and the start has what the log says. One
 * whose checksums are right and whose records make no sense ends no process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/runtime/disk.h"
#include "tests/storage/snapshot/snapshot_rig.h"

static const char *const paths[] = {"data/head/ROOT", "data/head/core-0", "data/head/core-1"};
enum { FILES = 3, CORE_HEADER = 24, PART_HEADER = 16, MUTATIONS = 4000 };

static struct sr_world world;
static struct sr_node saved, victim;
static struct buf good[FILES], want;
static struct rng rng;

static void file_put(unsigned file, struct sv bytes) {
    struct err err;
    struct disk *disk = sim_disk_as_disk(victim.disk);
    RIG_CHECK(disk_write_file(disk, paths[file], bytes, &err) == OK, "%s", err.msg);
}

static void must_refuse(enum status code, const char *text, const char *what, uint64_t at) {
    struct err err;
    enum status status = sr_probe(&victim, &err);
    RIG_CHECK(status == code ||
                  (code == OK && (status == ERR_CORRUPT || status == ERR_UNSUPPORTED)),
              "%s %" PRIu64 ": %s: %s", what, at, status_name(status), err.msg);
    RIG_CHECK(strstr(err.msg, text) != NULL, "%s %" PRIu64 ": %s", what, at, err.msg);
}

static void must_load(void) {
    struct err err;
    RIG_CHECK(sr_probe(&victim, &err) == OK, "%s", err.msg);
}

/* -- parts */

static size_t part_bytes(const struct buf *core, size_t at) {
    return PART_HEADER + (size_t)get_u32le(core->ptr + at + 4);
}

static bool part_is_packed(const struct buf *core, size_t at) {
    return get_u16le(core->ptr + at + 2) == 1;
}

static size_t packed_parts(const struct buf *core) {
    size_t n = 0;
    for (size_t at = CORE_HEADER; at < core->len; at += part_bytes(core, at))
        n += part_is_packed(core, at);
    return n;
}

/* The same file with no part packed, its checksums aside. */
static void unpack(const struct buf *core, struct buf *out) {
    buf_put(out, core->ptr, CORE_HEADER);
    for (size_t at = CORE_HEADER; at < core->len; at += part_bytes(core, at)) {
        const char *payload = core->ptr + at + PART_HEADER;
        size_t len = part_bytes(core, at) - PART_HEADER, start = out->len;
        buf_put(out, core->ptr + at, PART_HEADER);
        if (!part_is_packed(core, at)) {
            buf_put(out, payload, len);
            continue;
        }
        size_t raw = get_u32le(payload);
        char *to = buf_extend(out, raw);
        RIG_CHECK(to != NULL && ZSTD_decompress(to, raw, payload + 4, len - 4) == raw, "zstd");
        put_u16le(out->ptr + start + 2, 0);
        put_u32le(out->ptr + start + 4, (uint32_t)raw);
    }
}

/* -- bits and lengths */

static void flips(void) {
    RIG_CHECK(packed_parts(&good[1]) + packed_parts(&good[2]) > 0, "no part is packed");
    for (unsigned f = 0; f < FILES; f++) {
        for (size_t i = 0; i < good[f].len; i++) {
            char bit = (char)(1 << rng_below(&rng, 8));
            good[f].ptr[i] ^= bit;
            file_put(f, buf_sv(&good[f]));
            must_refuse(OK, "snapshot", paths[f], i);
            good[f].ptr[i] ^= bit;
        }
        for (size_t len = 0; len < good[f].len; len += 1 + len / 400) {
            file_put(f, sv_make(good[f].ptr, len));
            must_refuse(ERR_CORRUPT, "snapshot", paths[f], len);
        }
        file_put(f, buf_sv(&good[f]));
        must_load();
    }
}

/* The whole start, with damage somewhere. */
static void starts(void) {
    for (unsigned n = 0; n < 30; n++) {
        unsigned f = (unsigned)rng_below(&rng, FILES);
        size_t i = rng_below(&rng, good[f].len);
        struct buf dump = {0};
        sr_kill(&victim);
        sr_copy(&victim, &saved, true);
        good[f].ptr[i] ^= 1;
        file_put(f, buf_sv(&good[f]));
        good[f].ptr[i] ^= 1;
        RIG_CHECK(sr_start(&victim, 1 + n % SR_CORES) && !victim.loaded, "!");
        sr_dump(&victim, &dump);
        sr_must_equal(&want, &dump, "after damage", n);
        buf_fini(&dump);
    }
    sr_kill(&victim);
    sr_copy(&victim, &saved, true);
}

/* -- of another kind */

static void root_seal(struct buf *root) {
    put_u64le(root->ptr + root->len - 8, hash64(root->ptr, root->len - 8, 0));
}

static void strangers(void) {
    struct buf root = {0}, core = {0};
    struct sr_node other;
    struct err err;
    buf_put_sv(&root, buf_sv(&good[0]));
    put_u16le(root.ptr + 10, 2);
    root_seal(&root);
    file_put(0, buf_sv(&root));
    must_refuse(ERR_UNSUPPORTED, "asks for a reader of format 2", "newer root", 0);
    put_u16le(root.ptr + 10, 1);
    root.ptr[16] ^= 1;
    root_seal(&root);
    file_put(0, buf_sv(&root));
    must_refuse(ERR_CORRUPT, "another cluster", "cluster", 0);
    root.ptr[16] ^= 1;
    root.ptr[48] ^= 1;
    root_seal(&root);
    file_put(0, buf_sv(&root));
    must_refuse(ERR_CORRUPT, "another log: the log has another frame", "frame", 0);
    root.ptr[48] ^= 1;
    put_u64le(root.ptr + 40, get_u64le(root.ptr + 40) + 1);
    root_seal(&root);
    file_put(0, buf_sv(&root));
    must_refuse(ERR_CORRUPT, "another log: the log has no good frame", "later frame", 0);
    file_put(0, buf_sv(&good[0]));
    buf_put_sv(&core, buf_sv(&good[1]));
    put_u16le(core.ptr + 10, 5);
    put_u64le(core.ptr + 16, hash64(core.ptr, 16, 0));
    file_put(1, buf_sv(&core));
    must_refuse(ERR_UNSUPPORTED, "asks for a reader of format 5", "newer file", 0);
    RIG_CHECK(disk_unlink(sim_disk_as_disk(victim.disk), paths[1], NULL) == OK, "!");
    must_refuse(ERR_CORRUPT, "core-0", "no file", 0);
    file_put(1, buf_sv(&good[1]));
    must_load();
    /* the snapshot beside the log of another node, whose frames are others */
    sr_node_init(&other, &world, 2, 99);
    RIG_CHECK(sr_start(&other, 2), "!");
    sr_work(&other, 200);
    sr_kill(&other);
    sr_kill(&victim);
    sr_copy(&victim, &other, false);
    RIG_CHECK(sr_probe(&victim, &err) == ERR_CORRUPT && strstr(err.msg, "another log"), "%s",
              err.msg);
    sr_node_fini(&other);
    sr_kill(&victim);
    sr_copy(&victim, &saved, true);
    buf_fini(&root);
    buf_fini(&core);
}

/* -- records that make no sense, with checksums that do */

static uint64_t chain_seal(struct buf *core) {
    uint64_t check = hash64(core->ptr, 16, 0);
    put_u64le(core->ptr + 16, check);
    for (size_t at = CORE_HEADER; at + PART_HEADER <= core->len;) {
        char *part = core->ptr + at;
        size_t len = part_bytes(core, at) - PART_HEADER;
        uint64_t seed = hash64(part, 8, check);
        check = hash64(part + PART_HEADER, len, seed);
        put_u64le(part + 8, check);
        at += PART_HEADER + len;
    }
    return check;
}

/* A byte of a payload. */
static void payload_spoil(struct buf *core) {
    size_t parts = 0, at, nth;
    for (at = CORE_HEADER; at < core->len; at += part_bytes(core, at))
        parts++;
    nth = (size_t)rng_below(&rng, parts);
    for (at = CORE_HEADER; nth > 0; nth--)
        at += part_bytes(core, at);
    size_t i = at + PART_HEADER + (size_t)rng_below(&rng, get_u32le(core->ptr + at + 4));
    static const uint8_t values[] = {0, 1, 2, 0x7f, 0x80, 0xff};
    if (rng_chance(&rng, 0.5))
        core->ptr[i] = (char)values[rng_below(&rng, sizeof values)];
    else
        core->ptr[i] = (char)(core->ptr[i] ^ (1 << rng_below(&rng, 8)));
}

static void nonsense(void) {
    uint64_t taken = 0, unpacked = 0;
    for (unsigned n = 0; n < MUTATIONS; n++) {
        struct buf root = {0}, core = {0}, dump = {0};
        struct err err;
        unsigned f = 1 + (unsigned)rng_below(&rng, 2);
        bool plain = rng_chance(&rng, 0.7); /* else it is zstd that sees most of it */
        if (plain)
            unpack(&good[f], &core);
        else
            buf_put_sv(&core, buf_sv(&good[f]));
        for (uint64_t i = 1 + rng_below(&rng, 3); i > 0; i--)
            payload_spoil(&core);
        buf_put_sv(&root, buf_sv(&good[0]));
        put_u64le(root.ptr + 56 + 16 * (f - 1), core.len);
        put_u64le(root.ptr + 56 + 16 * (f - 1) + 8, chain_seal(&core));
        root_seal(&root);
        file_put(0, buf_sv(&root));
        file_put(f, buf_sv(&core));
        enum status status = sr_probe(&victim, &err);
        RIG_CHECK(status == OK || status == ERR_CORRUPT, "%s: %s", status_name(status), err.msg);
        if (status == OK) sr_dump(&victim, &dump);
        taken += status == OK;
        unpacked += strstr(err.msg, "what is packed makes no sense") != NULL;
        file_put(f, buf_sv(&good[f]));
        buf_fini(&root);
        buf_fini(&core);
        buf_fini(&dump);
    }
    file_put(0, buf_sv(&good[0]));
    must_load();
    printf("%" PRIu64 " of %d senseless ones were taken, zstd said no %" PRIu64 " times\n", taken,
           MUTATIONS, unpacked);
    RIG_CHECK(taken < MUTATIONS && taken > 0 && unpacked > 0, "!");
}

static void setup(unsigned steps) {
    struct err err;
    sr_world_init(&world, 5);
    world.with_archive = false;
    world.exemplars_max = 10000;
    sr_node_init(&saved, &world, 0, 5);
    sr_node_init(&victim, &world, 1, 5);
    RIG_CHECK(sr_start(&saved, 2), "!");
    sr_work(&saved, steps);
    RIG_CHECK(sr_save(&saved, &err) == OK, "%s", err.msg);
    sr_dump(&saved, &want);
    sr_kill(&saved);
    sr_copy(&victim, &saved, true);
    for (unsigned f = 0; f < FILES; f++) {
        struct disk *disk = sim_disk_as_disk(saved.disk);
        buf_clear(&good[f]);
        RIG_CHECK(disk_read_file(disk, paths[f], 1 << 24, &good[f], &err) == OK, "%s", err.msg);
    }
    must_load();
}

static void teardown(void) {
    printf("%zu bytes\n", good[0].len + good[1].len + good[2].len);
    sr_node_fini(&saved);
    sr_node_fini(&victim);
    sr_world_fini(&world);
}

int main(void) {
    rng_init(&rng, 5);
    setup(110);
    flips();
    strangers();
    starts();
    teardown();
    setup(1500); /* with sealed chunks, and much that came late */
    nonsense();
    teardown();
    for (unsigned f = 0; f < FILES; f++)
        buf_fini(&good[f]);
    buf_fini(&want);
    return 0;
}
