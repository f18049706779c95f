/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a directory of log files. The first byte of each part says what it is:
 *   0-7 a file with these bytes as they are; else a file with a good header and frames of 1 to 255
 * bytes with good sums so that what is behind the checksums is reached, too. Recovery gives an
 * error or a log that a second start reads alike. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/log.h"
#include "storage/log.h"
#include "tests/sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTS_MAX = 4 };

struct seen {
    uint64_t entries, hash;
};

static enum status see(void *ctx, const struct entry *e, struct err *err) {
    (void)err;
    struct seen *seen = ctx;
    seen->entries++;
    seen->hash = hash64(e->body.ptr, e->body.len, seen->hash + e->shard * 31 + e->seq);
    return OK;
}

static void put_framed(struct buf *out, const uint8_t *p, size_t len, uint64_t *number) {
    uint8_t header[32] = "CAIRNLOG\1\0\1";
    put_u64le(header + 16, *number);
    put_u64le(header + 24, hash64(header, 24, 0));
    buf_put(out, header, sizeof header);
    while (len > 1) {
        size_t n = MIN(MAX(p[0], 1), len - 1);
        uint8_t frame[24] = "FRAM";
        put_u32le(frame + 4, (uint32_t)n);
        put_u64le(frame + 8, (*number)++);
        put_u64le(frame + 16, hash64(p + 1, n, hash64(frame, 16, 0)));
        buf_put(out, frame, sizeof frame);
        buf_put(out, p + 1, n);
        p += n + 1;
        len -= n + 1;
    }
}

static void put_file(struct disk *disk, uint64_t first, struct sv bytes) {
    char path[64];
    snprintf(path, sizeof path, "log/log-%016" PRIx64, first);
    struct file *f;
    if (disk_open(disk, path, DISK_READ | DISK_WRITE | DISK_CREATE, &f, NULL) != OK) abort();
    if (bytes.len > 0 && file_pwrite(f, bytes.ptr, bytes.len, 0, NULL) != OK) abort();
    file_close(f);
}

static void put_files(struct disk *disk, const uint8_t *data, size_t size) {
    uint64_t number = 1;
    for (unsigned part = 0; part < PARTS_MAX && size > 1; part++) {
        size_t n = part + 1 == PARTS_MAX ? size : MIN(size, 2 + (size_t)data[1] * 4);
        struct buf file = {0};
        uint64_t first = number;
        if (data[0] < 8)
            buf_put(&file, data + 1, n - 1);
        else
            put_framed(&file, data + 1, n - 1, &number);
        put_file(disk, first + (data[0] < 8 ? data[0] : 0), buf_sv(&file));
        buf_fini(&file);
        data += n;
        size -= n;
    }
}

static enum status start(struct sim *sim, struct seen *seen) {
    struct runtime *rt = sim_start(sim, 0);
    struct log_options options = {.dir = "log",
                                  .file_bytes_max = 1 << 20,
                                  .frame_bytes_max = 1 << 20,
                                  .sync_every_frame = true};
    struct log *log = NULL;
    bool damaged = false;
    struct err err;
    *seen = (struct seen){0};
    enum status status = log_open(rt, &options, see, seen, &log, &damaged, &err);
    assert(status == OK || err.msg[0] != '\0');
    sim_kill(sim, 0);
    if (status == OK) log_free(log);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 1, .nodes_count = 1, .cores_per_node = 1});
    struct runtime *rt = sim_start(sim, 0);
    if (disk_mkdir(rt->disk, "log", NULL) != OK) abort();
    put_files(rt->disk, data, size);
    sim_kill(sim, 0);
    struct seen first, second;
    enum status status = start(sim, &first);
    if (status == OK) {
        assert(start(sim, &second) == OK);
        assert(first.entries == second.entries && first.hash == second.hash);
    } else {
        assert(status == ERR_CORRUPT || status == ERR_UNSUPPORTED);
    }
    sim_free(sim);
    return 0;
}
