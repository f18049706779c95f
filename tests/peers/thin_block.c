/* SPDX-License-Identifier: Apache-2.0 */
/* thin_block DATA_DIR BLOCK: the block lacks some samples from now on, and is good by all of its
 * checksums: of shards that this node follows (by the map that it has saved) every tenth minute
 * goes. For a test of replicas that differ; nothing may run on the directory. */
#include <stdio.h>
#include <string.h>

#include "node/runtime/disk.h"
#include "ring/map.h"
#include "ring/seat.h"
#include "storage/block/block.h"

struct thinner {
    struct ring_map *map;
    node_id self;
    uint64_t left_out;
};

static void thin(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                 size_t labels_count, struct samples *s) {
    struct thinner *t = ctx;
    size_t kept = 0;
    (void)canonical, (void)labels, (void)labels_count;
    if (t->map->nodes[ring_map_primary(t->map, shard)].id == t->self) return;
    for (size_t i = 0; i < s->count; i++) { /* of floats */
        if (s->times_ms[i] / 60000 % 10 == 0) continue;
        s->times_ms[kept] = s->times_ms[i];
        s->values[kept++] = s->values[i];
    }
    t->left_out += s->count - kept;
    s->count = kept;
}

static enum status map_of(struct disk *disk, const char *data_dir, struct thinner *t,
                          struct err *err) {
    char path[4200];
    struct seat seat;
    snprintf(path, sizeof path, "%s/seat", data_dir);
    TRY(seat_load(disk, path, &seat, err));
    t->self = seat.id;
    snprintf(path, sizeof path, "%s/ring", data_dir);
    return ring_map_load(disk, path, &t->map, err);
}

static enum status run(struct disk *disk, const char *path, struct thinner *t, struct err *err) {
    char thinned[4200];
    struct block *block;
    struct block_info info;
    bool written;
    const struct ring_settings *set = &t->map->settings;
    snprintf(thinned, sizeof thinned, "%s.thinned", path);
    TRY(block_open(disk, path, set->secret, 0, &block, err));
    block_get_info(block, &info);
    struct block_merge_input input = {block, NULL};
    struct block_merge_options o = {.writer = {.disk = disk,
                                               .path = thinned,
                                               .secret = set->secret,
                                               .shards_count = set->shards_count,
                                               .level = info.level},
                                    .inputs = &input,
                                    .inputs_count = 1,
                                    .filter = thin,
                                    .ctx = t};
    enum status status = block_merge(&o, &written, err);
    block_unref(block);
    if (status != OK) return status;
    TRY(block_open(disk, thinned, set->secret, 0, &block, err));
    status = block_verify(block, NULL, err);
    block_unref(block);
    return status == OK ? disk_rename(disk, thinned, path, err) : status;
}

int main(int argc, char **argv) {
    struct thinner t = {0};
    struct err err;
    if (argc != 3) {
        fprintf(stderr, "usage: thin_block DATA_DIR BLOCK\n");
        return 2;
    }
    enum status status = map_of(disk_real(), argv[1], &t, &err);
    if (status == OK) status = run(disk_real(), argv[2], &t, &err);
    if (status != OK) fprintf(stderr, "%s\n", err.msg);
    if (status == OK) printf("%llu\n", (unsigned long long)t.left_out);
    ring_map_unref(t.map);
    return status != OK;
}
