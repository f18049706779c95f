/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on label sets that aggregations, matching and name removal need. Strings are borrowed
 * throughout. */
#include "query/engine/internal.h"

#include <string.h>

struct sv labelset_get(const struct labelset *set, struct sv name) {
    for (size_t i = 0; i < set->count; i++)
        if (sv_eq(set->labels[i].name, name)) return set->labels[i].value;
    return SV("");
}

/* Lengths are hashed too, so that names and values cannot run into each other. */
uint64_t labelset_hash(const struct labelset *set) {
    uint64_t h = set->count;
    for (size_t i = 0; i < set->count; i++) {
        h = hash64(set->labels[i].name.ptr, set->labels[i].name.len, h + set->labels[i].name.len);
        h = hash64(set->labels[i].value.ptr, set->labels[i].value.len, h);
    }
    return h;
}

series_id labelset_id(const struct labelset *set) {
    series_id id = {.hi = labelset_hash(set), .lo = 0x51ed2701a2c5b3d7ULL};
    for (size_t i = 0; i < set->count; i++) {
        id.lo = hash64(set->labels[i].name.ptr, set->labels[i].name.len,
                       id.lo + set->labels[i].name.len);
        id.lo = hash64(set->labels[i].value.ptr, set->labels[i].value.len, id.lo ^ id.hi);
    }
    return id;
}

bool label_is_metadata(struct sv name) {
    return sv_starts(name, SV("__")) &&
           (sv_eq(name, SV("__name__")) || sv_eq(name, SV("__type__")) ||
            sv_eq(name, SV("__unit__")));
}

bool label_list_has(const struct label_list *list, struct sv name) {
    for (size_t i = 0; i < list->count; i++)
        if (sv_eq(list->names[i], name)) return true;
    return false;
}

void labelset_keep(const struct labelset *in, const struct label_list *names,
                   struct labelset *out) {
    size_t n = 0;
    for (size_t i = 0; i < in->count; i++)
        if (label_list_has(names, in->labels[i].name)) out->labels[n++] = in->labels[i];
    out->count = n;
}

void labelset_remove(const struct labelset *in, const struct label_list *names, bool name_too,
                     struct labelset *out) {
    size_t n = 0;
    for (size_t i = 0; i < in->count; i++) {
        if (name_too && sv_eq(in->labels[i].name, SV("__name__"))) continue;
        if (!label_list_has(names, in->labels[i].name)) out->labels[n++] = in->labels[i];
    }
    out->count = n;
}

void labelset_drop_metadata(struct labelset *set) {
    size_t n = 0;
    for (size_t i = 0; i < set->count; i++)
        if (!label_is_metadata(set->labels[i].name)) set->labels[n++] = set->labels[i];
    set->count = n;
}

void labelset_set(struct labelset *set, struct sv name, struct sv value) {
    size_t at = 0;
    while (at < set->count && sv_cmp(set->labels[at].name, name) < 0)
        at++;
    bool found = at < set->count && sv_eq(set->labels[at].name, name);
    if (value.len == 0) {
        if (!found) return;
        memmove(&set->labels[at], &set->labels[at + 1],
                (set->count - at - 1) * sizeof *set->labels);
        set->count--;
        return;
    }
    if (!found) {
        memmove(&set->labels[at + 1], &set->labels[at], (set->count - at) * sizeof *set->labels);
        set->count++;
    }
    set->labels[at] = (struct label){name, value};
}

bool labelset_copy(struct arena *arena, const struct labelset *in, size_t spare,
                   struct labelset *out) {
    size_t bytes = 0;
    for (size_t i = 0; i < in->count; i++)
        bytes += in->labels[i].name.len + in->labels[i].value.len;
    struct label *labels = arena_array(arena, in->count + spare + 1, sizeof *labels);
    char *text = arena_alloc(arena, bytes);
    if (labels == NULL || text == NULL) return false;
    for (size_t i = 0; i < in->count; i++) {
        const struct label *l = &in->labels[i];
        if (l->name.len > 0) memcpy(text, l->name.ptr, l->name.len);
        labels[i].name = sv_make(text, l->name.len);
        text += l->name.len;
        if (l->value.len > 0) memcpy(text, l->value.ptr, l->value.len);
        labels[i].value = sv_make(text, l->value.len);
        text += l->value.len;
    }
    *out = (struct labelset){labels, in->count};
    return true;
}
