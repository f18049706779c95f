/* SPDX-License-Identifier: Apache-2.0 */
/* Maps of clusters that are born without a controller: one node on its own, or a fixed list of
 * addresses. */
#include <stdlib.h>
#include <string.h>

#include "node/base/buf.h"
#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "ring/placement.h"

static enum status settings_init(struct ring_settings *set, struct sv cluster_name,
                                 uint32_t shards_count, uint32_t replication_factor,
                                 struct err *err) {
    *set = (struct ring_settings){.shards_count = shards_count,
                                  .replication_factor = replication_factor,
                                  .format_level = RING_FORMAT_LEVEL};
    if (cluster_name.len == 0 || cluster_name.len >= sizeof set->cluster_name)
        return err_set(err, ERR_LIMIT, 0, "--ring.cluster-name must have 1 to %zu bytes",
                       sizeof set->cluster_name - 1);
    memcpy(set->cluster_name, cluster_name.ptr, cluster_name.len);
    return OK;
}

static int member_addr_cmp(const void *a, const void *b) {
    const struct placement_member *x = a, *y = b;
    return sv_cmp(x->addr, y->addr);
}

enum status placement_static(struct sv cluster_name, uint32_t shards_count,
                             uint32_t replication_factor, const struct sv *addrs,
                             size_t addrs_count, struct ring_map **out, struct err *err) {
    struct ring_settings set;
    TRY(settings_init(&set, cluster_name, shards_count, replication_factor, err));
    if (addrs_count == 0 || addrs_count > RING_NODES_MAX)
        return err_set(err, ERR_LIMIT, 0, "--ring.discovery: %zu nodes, 1 to %d are possible",
                       addrs_count, RING_NODES_MAX);
    struct placement_member *members = calloc(addrs_count, sizeof *members);
    struct buf seed = {0};
    enum status st = OK;
    if (members == NULL) {
        st = err_set(err, ERR_NOMEM, 0, "placement: out of memory");
    } else {
        for (size_t i = 0; i < addrs_count; i++) {
            uint64_t node = hash64(addrs[i].ptr, addrs[i].len, 0);
            members[i] = (struct placement_member){.id = node == 0 ? 1 : node, .addr = addrs[i]};
        }
        qsort(members, addrs_count, sizeof *members, member_addr_cmp);
        buf_put_lenstr(&seed, cluster_name);
        buf_put_varint(&seed, shards_count);
        for (size_t i = 0; i < addrs_count; i++)
            buf_put_lenstr(&seed, members[i].addr);
        if (seed.failed) st = err_set(err, ERR_NOMEM, 0, "placement: out of memory");
    }
    if (st == OK) {
        struct hash128 id = hash128(seed.ptr, seed.len, 0x636c7573746572); /* "cluster" */
        put_u64le(set.cluster_id, id.lo);
        put_u64le(set.cluster_id + 8, id.hi);
        set.secret = hash64(seed.ptr, seed.len, 0x736563726574); /* "secret" */
        st = placement_make(&set, members, addrs_count, NULL, out, err);
    }
    buf_fini(&seed);
    free(members);
    return st;
}

enum status placement_single(struct sv cluster_name, uint32_t shards_count,
                             const uint8_t random[48], struct sv addr, struct ring_map **out,
                             struct err *err) {
    struct ring_settings set;
    TRY(settings_init(&set, cluster_name, shards_count, 1, err));
    memcpy(set.cluster_id, random, sizeof set.cluster_id);
    set.secret = get_u64le(random + 16);
    uint64_t node = get_u64le(random + 24);
    struct placement_member self = {.id = node == 0 ? 1 : node, .addr = addr};
    return placement_make(&set, &self, 1, NULL, out, err);
}
