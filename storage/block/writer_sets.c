/* SPDX-License-Identifier: Apache-2.0 */
/* Label sets: a series' labels in two halves, each interned. Names that say where a series comes
 * from go to the target side, all others say what it is. A name that is on the wrong side costs
 * bytes: sets that occur with few series each. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "storage/block/writer_internal.h"

static const struct sv target_names[] = {
    SV_INIT("job"),       SV_INIT("instance"),
    SV_INIT("cluster"),   SV_INIT("region"),
    SV_INIT("namespace"), SV_INIT("pod"),
    SV_INIT("container"), SV_INIT("node"),
    SV_INIT("zone"),      SV_INIT("host"),
    SV_INIT("hostname"),  SV_INIT("service"),
    SV_INIT("endpoint"),  SV_INIT("env"),
    SV_INIT("app"),       SV_INIT("environment"),
    SV_INIT("dc"),        SV_INIT("datacenter"),
    SV_INIT("az"),        SV_INIT("availability_zone"),
    SV_INIT("replica"),   SV_INIT("prometheus"),
    SV_INIT("account"),   SV_INIT("prometheus_replica"),
    SV_INIT("team"),      SV_INIT("stage"),
    SV_INIT("workload"),  SV_INIT("uid"),
    SV_INIT("id"),        SV_INIT("image"),
};

enum block_side label_side(struct sv name) {
    for (size_t i = 0; i < ARRAY_LEN(target_names); i++)
        if (target_names[i].len == name.len && memcmp(target_names[i].ptr, name.ptr, name.len) == 0)
            return SIDE_TARGET;
    return SIDE_METRIC;
}

static bool set_eq(const void *owner, uint32_t id, const void *key) {
    return sv_eq(set_bytes(owner, id), *(const struct sv *)key);
}
static uint64_t bytes_hash(struct sv bytes) {
    return hash64(bytes.ptr, bytes.len, 0);
}
static uint64_t set_hash(const void *owner, uint32_t id) {
    return bytes_hash(set_bytes(owner, id));
}

enum status set_intern(struct set_table *t, struct sv bytes, uint32_t *out_id) {
    uint64_t hash = bytes_hash(bytes);
    uint32_t id = map_find(&t->map, hash, set_eq, t, &bytes);
    if (id != MAP_NONE) {
        *out_id = id;
        return OK;
    }
    if (t->count == t->cap) {
        uint32_t cap = t->cap == 0 ? 64 : t->cap * 2;
        struct label_set *at = realloc(t->at, cap * sizeof *at);
        if (at == NULL) return ERR_NOMEM;
        t->at = at;
        t->cap = cap;
    }
    size_t at = t->bytes.len;
    if (!buf_reserve(&t->bytes, bytes.len + 1)) return ERR_NOMEM;
    buf_put_sv(&t->bytes, bytes);
    t->at[t->count] = (struct label_set){.at = at, .len = (uint32_t)bytes.len};
    TRY(map_insert(&t->map, hash, t->count, set_hash, t));
    *out_id = t->count++;
    return OK;
}

enum status labels_split(struct block_writer *w, struct sv canonical, uint32_t out[SIDES],
                         struct err *err) {
    struct label label;
    bool bad = canonical.len > UINT32_MAX;
    struct sv rest = canonical, before = canonical;
    for (int side = 0; side < SIDES; side++)
        buf_clear(&w->side_bytes[side]);
    while (!bad && labels_next(&rest, &label, &bad)) {
        struct buf *to = &w->side_bytes[label_side(label.name)];
        buf_put(to, before.ptr, before.len - rest.len);
        before = rest;
    }
    if (bad) return err_set(err, ERR_CORRUPT, 0, "block: labels that are none");
    for (int side = 0; side < SIDES; side++) {
        struct set_table *t = &w->sets[side];
        if (w->side_bytes[side].failed ||
            set_intern(t, buf_sv(&w->side_bytes[side]), &out[side]) != OK)
            return writer_nomem(err);
        t->at[out[side]].series_count++;
    }
    return OK;
}
