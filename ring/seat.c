/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/seat.h"

#include <stdio.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/runtime/disk.h"

/* <data>/seat: 00-07 "CAIRNSEA", 08-09 format version (1), 10-11 oldest reader's version (1), 12-15
 * incarnation, 16-23 node id, 24-31 XXH3-64 of bytes 00-23 */
enum { SEAT_BYTES = 32, SEAT_VERSION = 1 };
static const char seat_magic[8] = {'C', 'A', 'I', 'R', 'N', 'S', 'E', 'A'};

enum status seat_load(struct disk *disk, const char *path, struct seat *out, struct err *err) {
    struct buf b = {0};
    enum status st = disk_read_file(disk, path, 4096, &b, err);
    if (st == OK) {
        if (b.len != SEAT_BYTES || memcmp(b.ptr, seat_magic, sizeof seat_magic) != 0 ||
            get_u64le(b.ptr + 24) != hash64(b.ptr, 24, 0))
            st = err_set(err, ERR_CORRUPT, 0, "seat: %s is not a valid seat file", path);
        else if (get_u16le(b.ptr + 10) > SEAT_VERSION)
            st = err_set(err, ERR_UNSUPPORTED, 0, "seat: %s has format %u, this program reads %u",
                         path, get_u16le(b.ptr + 8), (unsigned)SEAT_VERSION);
        else
            *out = (struct seat){.id = get_u64le(b.ptr + 16), .incarnation = get_u32le(b.ptr + 12)};
    }
    buf_fini(&b);
    return st;
}

static enum status seat_save(struct disk *disk, const char *path, const struct seat *seat,
                             struct err *err) {
    uint8_t p[SEAT_BYTES] = {0};
    memcpy(p, seat_magic, sizeof seat_magic);
    put_u16le(p + 8, SEAT_VERSION);
    put_u16le(p + 10, SEAT_VERSION);
    put_u32le(p + 12, seat->incarnation);
    put_u64le(p + 16, seat->id);
    put_u64le(p + 24, hash64(p, 24, 0));
    return disk_write_file(disk, path, sv_make(p, sizeof p), err);
}

enum status seat_open(struct runtime *rt, const char *data_dir, struct seat *out, struct err *err) {
    char path[4200], map[4200];
    snprintf(path, sizeof path, "%s/seat", data_dir);
    snprintf(map, sizeof map, "%s/ring/map", data_dir);
    struct seat seat = {0};
    enum status st = seat_load(rt->disk, path, &seat, err);
    if (st == ERR_UNAVAILABLE && disk_exists(rt->disk, map))
        return err_set(err, ERR_CORRUPT, 0,
                       "%s is missing, but %s is there: the directory has lost its identity", path,
                       map);
    if (st != OK && st != ERR_UNAVAILABLE) return st;
    while (seat.id == 0)
        rt->ops->random(rt, &seat.id, sizeof seat.id);
    if (seat.incarnation == UINT32_MAX)
        return err_set(err, ERR_LIMIT, 0, "%s has no further incarnation", path);
    seat.incarnation++;
    TRY(seat_save(rt->disk, path, &seat, err));
    *out = seat;
    return OK;
}
