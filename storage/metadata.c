/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/metadata.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "storage/labels.h"

struct metadata_one {
    struct metadata_one *older;
    uint32_t help_len, unit_len;
    uint8_t type;
    char text[]; /* help, unit */
};
struct metadata_name {
    char *name; /* owned */
    uint32_t name_len;
    uint32_t shard;
    uint32_t count;
    struct metadata_one *newest;
};

void metadata_init(struct metadata *m) {
    *m = (struct metadata){0};
    map_init(&m->by_name);
}

void metadata_fini(struct metadata *m) {
    for (uint32_t i = 0; i < m->names_count; i++) {
        for (struct metadata_one *one = m->names[i].newest, *older; one != NULL; one = older) {
            older = one->older;
            free(one);
        }
        free(m->names[i].name);
    }
    free(m->names);
    map_fini(&m->by_name);
    *m = (struct metadata){0};
}

static struct sv name_at(const struct metadata *m, uint32_t place) {
    return sv_make(m->names[place].name, m->names[place].name_len);
}

static bool name_eq(const void *owner, uint32_t place, const void *key) {
    return sv_eq(name_at(owner, place), *(const struct sv *)key);
}

static uint64_t name_hash(const void *owner, uint32_t place) {
    struct sv name = name_at(owner, place);
    return hash64(name.ptr, name.len, 0);
}

uint32_t metadata_place(const struct metadata *m, struct sv name) {
    return map_find(&m->by_name, hash64(name.ptr, name.len, 0), name_eq, m, &name);
}

bool metadata_has_name(const struct metadata *m, struct sv name) {
    uint32_t place = metadata_place(m, name);
    return place != MAP_NONE && m->names[place].newest != NULL;
}

static bool one_is(const struct metadata_one *one, const struct entry_metadata *item) {
    return one->type == item->type && sv_eq(sv_make(one->text, one->help_len), item->help) &&
           sv_eq(sv_make(one->text + one->help_len, one->unit_len), item->unit);
}

bool metadata_holds(const struct metadata *m, const struct entry_metadata *item) {
    uint32_t place = metadata_place(m, item->name);
    if (place == MAP_NONE) return false;
    for (const struct metadata_one *one = m->names[place].newest; one != NULL; one = one->older)
        if (one_is(one, item)) return true;
    return false;
}

/* -- taking one in */

static size_t one_bytes(const struct metadata_one *one) {
    return sizeof *one + one->help_len + one->unit_len;
}

static struct metadata_one *one_new(const struct entry_metadata *item) {
    struct metadata_one *one = malloc(sizeof *one + item->help.len + item->unit.len);
    if (one == NULL) return NULL;
    *one = (struct metadata_one){.type = item->type,
                                 .help_len = (uint32_t)item->help.len,
                                 .unit_len = (uint32_t)item->unit.len};
    if (item->help.len > 0) memcpy(one->text, item->help.ptr, item->help.len);
    if (item->unit.len > 0) memcpy(one->text + one->help_len, item->unit.ptr, item->unit.len);
    return one;
}

static enum status name_new(struct metadata *m, uint32_t shard, struct sv name, uint32_t *out) {
    if (m->names_count == m->names_cap) {
        if (m->names_cap > UINT32_MAX / 4) return ERR_NOMEM;
        uint32_t cap = MAX(m->names_cap * 2, 64);
        struct metadata_name *names = realloc(m->names, cap * sizeof *names);
        if (names == NULL) return ERR_NOMEM;
        m->names = names;
        m->names_cap = cap;
    }
    char *copy = malloc(name.len);
    if (copy == NULL) return ERR_NOMEM;
    memcpy(copy, name.ptr, name.len);
    uint32_t place = m->names_count;
    m->names[place] =
        (struct metadata_name){.name = copy, .name_len = (uint32_t)name.len, .shard = shard};
    enum status st = map_insert(&m->by_name, hash64(name.ptr, name.len, 0), place, name_hash, m);
    if (st != OK) {
        free(copy);
        return st;
    }
    m->names_count++;
    m->bytes += sizeof *m->names + name.len;
    *out = place;
    return OK;
}

static void oldest_drop(struct metadata *m, struct metadata_name *n) {
    struct metadata_one **at = &n->newest;
    while ((*at)->older != NULL)
        at = &(*at)->older;
    m->bytes -= one_bytes(*at);
    free(*at);
    *at = NULL;
    n->count--;
}

static enum status add_at(struct metadata *m, uint32_t shard, const struct entry_metadata *item,
                          bool behind) {
    if (metadata_holds(m, item)) return OK;
    uint32_t place = metadata_place(m, item->name);
    if (behind && place != MAP_NONE && m->names[place].count == METADATA_PER_NAME_MAX) return OK;
    struct metadata_one *one = one_new(item);
    if (one == NULL) return ERR_NOMEM;
    if (place == MAP_NONE && name_new(m, shard, item->name, &place) != OK) {
        free(one);
        return ERR_NOMEM;
    }
    struct metadata_name *n = &m->names[place];
    assert(n->shard == shard);
    struct metadata_one **at = &n->newest;
    while (behind && *at != NULL)
        at = &(*at)->older;
    one->older = *at;
    *at = one;
    n->count++;
    m->bytes += one_bytes(one);
    if (n->count > METADATA_PER_NAME_MAX) oldest_drop(m, n);
    return OK;
}

enum status metadata_add(struct metadata *m, uint32_t shard, const struct entry_metadata *item) {
    return add_at(m, shard, item, false);
}

enum status metadata_add_behind(struct metadata *m, uint32_t shard,
                                const struct entry_metadata *item) {
    return add_at(m, shard, item, true);
}

void metadata_drop(struct metadata *m, uint32_t shard) {
    for (uint32_t i = 0; i < m->names_count; i++) {
        struct metadata_name *n = &m->names[i];
        if (n->shard != shard) continue;
        for (struct metadata_one *one = n->newest, *older; one != NULL; one = older) {
            older = one->older;
            m->bytes -= one_bytes(one);
            free(one);
        }
        n->newest = NULL;
        n->count = 0;
    }
}

/* -- reading */

uint32_t metadata_names(const struct metadata *m) {
    return m->names_count;
}

uint32_t metadata_shard_at(const struct metadata *m, uint32_t place) {
    assert(place < m->names_count);
    return m->names[place].shard;
}

void metadata_read(const struct metadata *m, uint32_t place, struct entry_write *out) {
    for (const struct metadata_one *one = m->names[place].newest; one != NULL; one = one->older) {
        struct entry_metadata item = {.name = name_at(m, place),
                                      .type = one->type,
                                      .help = sv_make(one->text, one->help_len),
                                      .unit = sv_make(one->text + one->help_len, one->unit_len)};
        entry_write_metadata(out, &item);
    }
}

enum status metadata_put_shard(const struct metadata *m, uint32_t shard, struct buf *out) {
    struct entry_write w = {0};
    for (uint32_t i = 0; i < metadata_names(m); i++)
        if (metadata_shard_at(m, i) == shard) metadata_read(m, i, &w);
    if (!entry_write_is_empty(&w)) entry_write_finish(&w, out);
    bool failed = w.metadata.failed || out->failed;
    entry_write_fini(&w);
    return failed ? ERR_NOMEM : OK;
}

enum status metadata_get_shard(struct metadata *m, uint32_t shard, struct sv body,
                               struct arena *scratch, struct err *err) {
    struct entry_write_view v;
    struct entry_metadata item;
    if (body.len == 0) return OK;
    arena_reset(scratch);
    TRY(entry_write_decode(body, scratch, &v, err));
    while (entry_metadata_next(&v.metadata, &item))
        if (metadata_add_behind(m, shard, &item) != OK)
            return err_set(err, ERR_NOMEM, 0, "metadata: not enough memory");
    return OK;
}

enum status metadata_shard(uint64_t secret, uint32_t tenant, uint32_t shards_count, struct sv name,
                           uint32_t *out) {
    struct label label = {SV("__name__"), name};
    struct buf canonical = {0};
    enum status st = labels_encode(&label, 1, &canonical, NULL);
    if (canonical.failed) st = ERR_NOMEM;
    if (st == OK)
        *out = series_shard(series_id_of(secret, tenant, buf_sv(&canonical)), shards_count);
    buf_fini(&canonical);
    return st;
}
