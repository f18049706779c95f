/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/symbols.h"

#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"

#define NAME_RUN_CHANGED UINT32_MAX /* in place of the first of a sorted run */
enum { BUMP_SEGMENT_BYTES = 32 << 10, TAG_LABEL = 0x0a, TAG_NAME = 0x0a, TAG_VALUE = 0x12 };

void *bump_alloc(struct bump *b, size_t bytes, size_t align) {
    size_t pad = (size_t)(-(uintptr_t)b->cur & (align - 1));
    if (b->cur == NULL || (size_t)(b->end - b->cur) < pad ||
        (size_t)(b->end - b->cur) - pad < bytes) {
        /* A segment begins with the link to the one before; a large piece gets one of its own size.
         */
        size_t segment_bytes = BUMP_SEGMENT_BYTES;
        if (bytes > segment_bytes - 16 && __builtin_add_overflow(bytes, 16, &segment_bytes))
            return NULL;
        char *segment = malloc(segment_bytes);
        if (segment == NULL) return NULL;
        memcpy(segment, &b->segments, sizeof b->segments);
        b->segments = segment;
        b->memory_bytes += segment_bytes;
        b->cur = segment + 16;
        b->end = segment + segment_bytes;
        pad = 0;
    }
    char *p = b->cur + pad;
    b->cur = p + bytes;
    return p;
}

void bump_fini(struct bump *b) {
    void *segment = b->segments;
    while (segment != NULL) {
        void *next;
        memcpy(&next, segment, sizeof next);
        free(segment);
        segment = next;
    }
    *b = (struct bump){0};
}

void stable_init(struct stable *s, size_t item_bytes, size_t column_bytes) {
    *s = (struct stable){.item_bytes = item_bytes, .column_bytes = column_bytes};
}

static size_t segment_bytes(const struct stable *s) {
    return (s->item_bytes + s->column_bytes) << STABLE_SHIFT;
}

/* dir[-1] is the directory before. */
static void stable_free_dir(char **dir) {
    while (dir != NULL) {
        char **base = dir - 1;
        dir = (char **)(void *)base[0];
        free(base);
    }
}

void stable_fini(struct stable *s) {
    for (uint32_t i = 0; i < s->segments; i++)
        free(s->dir[i]);
    stable_free_dir(s->dir);
    stable_init(s, s->item_bytes, s->column_bytes);
}

void stable_free_segment(struct stable *s, uint32_t segment) {
    free(s->dir[segment]);
    s->dir[segment] = NULL;
    s->memory_bytes -= segment_bytes(s);
}

enum status stable_restore_segment(struct stable *s, uint32_t segment) {
    assert(s->dir[segment] == NULL);
    s->dir[segment] = aligned_alloc(64, segment_bytes(s));
    if (s->dir[segment] == NULL) return ERR_NOMEM;
    s->memory_bytes += segment_bytes(s);
    return OK;
}

static enum status stable_grow_dir(struct stable *s) {
    uint32_t cap = s->dir_cap == 0 ? 15 : s->dir_cap * 2 + 1;
    char **base = malloc((cap + 1) * sizeof *base);
    if (base == NULL) return ERR_NOMEM;
    base[0] = (char *)(void *)s->dir;
    if (s->segments > 0) memcpy(base + 1, s->dir, s->segments * sizeof *base);
    s->dir = base + 1;
    s->dir_cap = cap;
    s->memory_bytes += (cap + 1) * sizeof *base;
    return OK;
}

enum status stable_reserve(struct stable *s) {
    if (s->count < s->segments << STABLE_SHIFT) return OK;
    if (s->segments == s->dir_cap) TRY(stable_grow_dir(s));
    size_t bytes = segment_bytes(s);
    char *segment = aligned_alloc(64, bytes);
    if (segment == NULL) return ERR_NOMEM;
    s->dir[s->segments++] = segment;
    s->memory_bytes += bytes;
    return OK;
}

enum status u32s_reserve(struct u32s *a, uint32_t more) {
    if (a->cap - a->count >= more) return OK;
    uint32_t need, cap = a->cap < 4 ? 4 : a->cap + a->cap / 2;
    if (__builtin_add_overflow(a->count, more, &need) || cap < a->cap) return ERR_NOMEM;
    if (cap < need) cap = need;
    uint32_t *at = realloc(a->at, cap * sizeof *at);
    if (at == NULL) return ERR_NOMEM;
    a->at = at;
    a->cap = cap;
    return OK;
}

enum status u32s_put(struct u32s *a, uint32_t v) {
    TRY(u32s_reserve(a, 1));
    a->at[a->count++] = v;
    return OK;
}

void u32s_fini(struct u32s *a) {
    free(a->at);
    *a = (struct u32s){0};
}

void symbols_init(struct symbols *sy) {
    *sy = (struct symbols){0};
    sy->pair_free = MAP_NONE;
    stable_init(&sy->pairs, sizeof(struct pair), sizeof(uint32_t));
    map_init(&sy->pair_map);
    map_init(&sy->name_map);
}

static struct pair *pair_at(const struct symbols *sy, uint32_t pair) {
    return STABLE_AT(sy->pairs.dir, struct pair, pair);
}

void symbols_fini(struct symbols *sy) {
    for (uint32_t i = 0; i < sy->names_count; i++) {
        u32s_fini(&sy->names[i].pairs);
        u32s_fini(&sy->names[i].sorted);
    }
    free(sy->names);
    for (uint32_t i = 0; i < sy->pairs.count; i++)
        free((char *)(uintptr_t)pair_at(sy, i)->bytes);
    stable_fini(&sy->pairs);
    map_fini(&sy->pair_map);
    map_fini(&sy->name_map);
    bump_fini(&sy->text);
    buf_fini(&sy->scratch);
}

size_t symbols_memory_bytes(const struct symbols *sy) {
    return sy->pairs.memory_bytes + map_memory_bytes(&sy->pair_map) +
           map_memory_bytes(&sy->name_map) + sy->names_cap * sizeof *sy->names +
           sy->text.memory_bytes + sy->scratch.cap + sy->values_bytes + sy->pairs_bytes;
}

/* As malloc rounds it, with its own word. */
static size_t pair_text_bytes(size_t len) {
    return (len + 8 + 15) / 16 * 16;
}

static size_t varint_bytes(uint64_t v) {
    uint8_t p[VARINT_BYTES_MAX];
    return put_varint(p, v);
}

static size_t label_body_bytes(struct sv name, struct sv value) {
    return 1 + varint_bytes(name.len) + name.len + 1 + varint_bytes(value.len) + value.len;
}

size_t label_canonical_bytes(const struct label *label) {
    size_t body = label_body_bytes(label->name, label->value);
    return 1 + varint_bytes(body) + body;
}

void label_put_canonical(struct buf *out, struct sv name, struct sv value) {
    buf_put_u8(out, TAG_LABEL);
    buf_put_varint(out, label_body_bytes(name, value));
    buf_put_u8(out, TAG_NAME);
    buf_put_lenstr(out, name);
    buf_put_u8(out, TAG_VALUE);
    buf_put_lenstr(out, value);
}

struct sv pair_name_long(const struct pair *p) {
    struct reader r = reader_init(p->bytes, p->len_bytes);
    (void)read_u8(&r);
    (void)read_varint(&r);
    (void)read_u8(&r);
    struct sv name = read_lenstr(&r);
    assert(!r.failed);
    return name;
}

static bool pair_is(const void *owner, uint32_t ref, const void *key) {
    const struct symbols *sy = owner;
    const struct pair *p = symbols_pair(sy->pairs.dir, ref);
    return sv_eq(sv_make(p->bytes, p->len_bytes), *(const struct sv *)key);
}

static uint64_t pair_rehash(const void *owner, uint32_t ref) {
    const struct symbols *sy = owner;
    const struct pair *p = symbols_pair(sy->pairs.dir, ref);
    return hash64(p->bytes, p->len_bytes, 0);
}

static bool name_is(const void *owner, uint32_t ref, const void *key) {
    const struct symbols *sy = owner;
    return sv_eq(sy->names[ref].text, *(const struct sv *)key);
}

static uint64_t name_rehash(const void *owner, uint32_t ref) {
    const struct symbols *sy = owner;
    return hash64(sy->names[ref].text.ptr, sy->names[ref].text.len, 0);
}

uint32_t symbols_find_canonical(const struct symbols *sy, struct sv canonical) {
    return map_find(&sy->pair_map, hash64(canonical.ptr, canonical.len, 0), pair_is, sy,
                    &canonical);
}

uint32_t symbols_find(struct symbols *sy, struct sv name, struct sv value) {
    buf_clear(&sy->scratch);
    label_put_canonical(&sy->scratch, name, value);
    if (sy->scratch.failed) return MAP_NONE;
    return symbols_find_canonical(sy, buf_sv(&sy->scratch));
}

uint32_t symbols_find_name(const struct symbols *sy, struct sv name) {
    return map_find(&sy->name_map, hash64(name.ptr, name.len, 0), name_is, sy, &name);
}

static enum status name_intern(struct symbols *sy, struct sv text, uint32_t *out) {
    *out = symbols_find_name(sy, text);
    if (*out != MAP_NONE) return OK;
    if (sy->names_count == sy->names_cap) {
        uint32_t cap = sy->names_cap == 0 ? 32 : sy->names_cap * 2;
        struct name *names = realloc(sy->names, cap * sizeof *names);
        if (names == NULL) return ERR_NOMEM;
        sy->names = names;
        sy->names_cap = cap;
    }
    char *copy = bump_alloc(&sy->text, text.len, 1);
    if (copy == NULL) return ERR_NOMEM;
    if (text.len > 0) memcpy(copy, text.ptr, text.len);
    sy->names[sy->names_count] = (struct name){.text = {copy, text.len}, .hole = NAME_HOLE_LAST};
    TRY(map_insert(&sy->name_map, hash64(text.ptr, text.len, 0), sy->names_count, name_rehash, sy));
    *out = sy->names_count++;
    return OK;
}

/* Room for one more value, so that name_put cannot fail. */
static enum status name_reserve(struct symbols *sy, uint32_t name) {
    struct u32s *values = &sy->names[name].pairs;
    size_t before = u32s_memory_bytes(values);
    if (sy->names[name].hole == NAME_HOLE_LAST) TRY(u32s_reserve(values, 1));
    sy->values_bytes += u32s_memory_bytes(values) - before;
    return OK;
}

/* The run is sorted anew when it is asked for. */
static void name_run_changed(struct name *n, uint32_t value_index) {
    uint32_t first = value_index / NAME_RUN * NAME_RUN;
    if (first < n->sorted.count) n->sorted.at[first] = NAME_RUN_CHANGED;
}

static uint32_t name_put(struct name *n, uint32_t pair) {
    uint32_t i = n->hole & ~NAME_HOLE;
    if (n->hole == NAME_HOLE_LAST)
        i = n->pairs.count++;
    else
        n->hole = n->pairs.at[i];
    n->pairs.at[i] = pair;
    name_run_changed(n, i);
    return i;
}

static void name_take(struct name *n, uint32_t value_index) {
    n->pairs.at[value_index] = n->hole;
    n->hole = value_index | NAME_HOLE;
    name_run_changed(n, value_index);
}

enum status symbols_intern(struct symbols *sy, struct sv canonical, const struct label *label,
                           uint32_t *out_pair) {
    uint32_t pair = symbols_find_canonical(sy, canonical), name;
    if (pair != MAP_NONE) {
        *out_pair = pair;
        return OK;
    }
    if (canonical.len > UINT32_MAX || sy->pairs.count == (NAME_HOLE_LAST & ~NAME_HOLE))
        return ERR_LIMIT;
    TRY(name_intern(sy, label->name, &name));
    TRY(name_reserve(sy, name));
    pair = sy->pair_free;
    if (pair == MAP_NONE) {
        TRY(stable_reserve(&sy->pairs));
        pair = sy->pairs.count;
    }
    char *copy = malloc(canonical.len);
    if (copy == NULL) return ERR_NOMEM;
    memcpy(copy, canonical.ptr, canonical.len);
    if (map_insert(&sy->pair_map, hash64(copy, canonical.len, 0), pair, pair_rehash, sy) != OK) {
        free(copy);
        return ERR_NOMEM;
    }
    struct pair *p = pair_at(sy, pair);
    if (pair == sy->pair_free) {
        sy->pair_free = p->value_index;
        sy->free_count--;
    } else {
        sy->pairs.count++;
    }
    sy->pairs_bytes += pair_text_bytes(canonical.len);
    *p = (struct pair){.bytes = copy,
                       .len_bytes = (uint32_t)canonical.len,
                       .value_bytes = (uint32_t)label->value.len,
                       .name = name,
                       .value_index = name_put(&sy->names[name], pair)};
    *STABLE_COLUMN(sy->pairs.dir, struct pair, uint32_t, pair) = name;
    *out_pair = pair;
    return OK;
}

void symbols_free(struct symbols *sy, uint32_t pair) {
    struct pair *p = pair_at(sy, pair);
    assert(p->bytes != NULL && p->uses == 0);
    bool was_there = map_remove(&sy->pair_map, hash64(p->bytes, p->len_bytes, 0), pair);
    assert(was_there);
    name_take(&sy->names[p->name], p->value_index);
    sy->pairs_bytes -= pair_text_bytes(p->len_bytes);
    free((char *)(uintptr_t)p->bytes);
    *p = (struct pair){.value_index = sy->pair_free};
    sy->pair_free = pair;
    sy->free_count++;
}

static int value_order(const void *a, const void *b, void *ctx) {
    char *const *dir = ctx;
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    if (name_is_hole(left) || name_is_hole(right)) return name_is_hole(left) - name_is_hole(right);
    return sv_cmp(pair_value(symbols_pair(dir, left)), pair_value(symbols_pair(dir, right)));
}

static void run_sort(const struct symbols *sy, struct name *n, uint32_t first) {
    uint32_t *at = n->sorted.at + first;
    memcpy(at, n->pairs.at + first, NAME_RUN * sizeof *at);
    for (uint32_t i = 0; i < NAME_RUN; i++)
        if (name_is_hole(at[i])) at[i] = NAME_HOLE;
    qsort_r(at, NAME_RUN, sizeof *at, value_order, sy->pairs.dir);
}

enum status symbols_sorted_run(struct symbols *sy, uint32_t name, uint32_t run,
                               const uint32_t **out) {
    struct name *n = &sy->names[name];
    assert(run < n->pairs.count / NAME_RUN);
    while (n->sorted.count <= run * NAME_RUN) {
        size_t before = u32s_memory_bytes(&n->sorted);
        TRY(u32s_reserve(&n->sorted, NAME_RUN));
        sy->values_bytes += u32s_memory_bytes(&n->sorted) - before;
        n->sorted.at[n->sorted.count] = NAME_RUN_CHANGED;
        n->sorted.count += NAME_RUN;
    }
    *out = n->sorted.at + run * NAME_RUN;
    if (**out == NAME_RUN_CHANGED) run_sort(sy, n, run * NAME_RUN);
    return OK;
}
