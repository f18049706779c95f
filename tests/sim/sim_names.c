/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/inode.h"

/* The place of name, or where it would stand. */
static size_t names_index(const struct sim_names *names, struct sv name, bool *out_found) {
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = sv_cmp(sv_from(names->items[mid].name), name);
        if (c == 0) {
            *out_found = true;
            return mid;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *out_found = false;
    return low;
}

struct sim_inode *sim_names_find(const struct sim_names *names, struct sv name) {
    bool found;
    size_t i = names_index(names, name, &found);
    return found ? names->items[i].inode : NULL;
}

static void names_set(struct sim_names *names, const char *name, struct sim_inode *inode) {
    bool found;
    size_t i = names_index(names, sv_from(name), &found);
    if (found && inode != NULL) {
        names->items[i].inode = inode;
    } else if (found) {
        free(names->items[i].name);
        names->count--;
        memmove(names->items + i, names->items + i + 1, (names->count - i) * sizeof *names->items);
    } else if (inode != NULL) {
        names->items = sim_grow(names->items, &names->cap, names->count, sizeof *names->items);
        memmove(names->items + i + 1, names->items + i, (names->count - i) * sizeof *names->items);
        char *copy = strdup(name);
        if (copy == NULL) abort();
        names->items[i] = (struct sim_name){copy, inode};
        names->count++;
    }
}

void sim_names_free(struct sim_names *names) {
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i].name);
    free(names->items);
    *names = (struct sim_names){0};
}

static void names_copy(struct sim_names *to, const struct sim_names *from) {
    sim_names_free(to);
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->items[i].name, from->items[i].inode);
}

/* The next part of a path that says something; false at the end. */
static bool path_next(struct sv *path, struct sv *out_part) {
    while (path->len > 0) {
        *path = sv_cut(*path, '/', out_part);
        if (out_part->len > 0 && !sv_eq(*out_part, SV("."))) return true;
    }
    return false;
}

struct sim_inode *sim_path_find(struct sim_disk *d, const char *path) {
    struct sim_inode *at = d->root;
    struct sv rest = sv_from(path), part;
    while (at != NULL && path_next(&rest, &part)) {
        assert(!sv_eq(part, SV(".."))); /* nothing here climbs */
        at = at->is_dir ? sim_names_find(&at->names, part) : NULL;
    }
    return at;
}

struct sim_inode *sim_path_parent(struct sim_disk *d, const char *path, struct sv *out_name) {
    struct sim_inode *at = d->root;
    struct sv rest = sv_from(path), part, next;
    if (!path_next(&rest, &part)) return NULL;
    while (path_next(&rest, &next)) {
        at = sim_names_find(&at->names, part);
        if (at == NULL || !at->is_dir) return NULL;
        part = next;
    }
    *out_name = part;
    return at;
}

static void change_keep(struct sim_change *c, bool stable) {
    if (c->from.dir != NULL)
        names_set(stable ? &c->from.dir->stable_names : &c->from.dir->names, c->from.name, NULL);
    names_set(stable ? &c->to.dir->stable_names : &c->to.dir->names, c->to.name, c->inode);
}

void sim_change_add(struct sim_disk *d, struct sim_place to, struct sim_place from,
                    struct sim_inode *inode) {
    struct sim_change *c = sim_zalloc(sizeof *c);
    *c = (struct sim_change){.to = to, .from = from, .inode = inode};
    if (d->changes_last == NULL)
        d->changes = c;
    else
        d->changes_last->next = c;
    d->changes_last = c;
    change_keep(c, false);
}

static void change_free(struct sim_change *c) {
    free(c->to.name);
    free(c->from.name);
    free(c);
}

static bool place_is_same(const struct sim_place *a, const struct sim_place *b) {
    return a->dir != NULL && a->dir == b->dir && strcmp(a->name, b->name) == 0;
}

static bool changes_touch(const struct sim_change *a, const struct sim_change *b) {
    return place_is_same(&a->to, &b->to) || place_is_same(&a->to, &b->from) ||
           place_is_same(&a->from, &b->to) || place_is_same(&a->from, &b->from);
}

/* Marks those before c that it builds on. Called from the last to the first, it closes over chains.
 */
static void change_mark_earlier(struct sim_disk *d, const struct sim_change *c) {
    for (struct sim_change *e = d->changes; e != c; e = e->next)
        if (changes_touch(e, c)) e->marked = true;
}

static void changes_commit_marked(struct sim_disk *d) {
    struct sim_change **at = &d->changes;
    d->changes_last = NULL;
    while (*at != NULL) {
        struct sim_change *c = *at;
        if (!c->marked) {
            d->changes_last = c;
            at = &c->next;
            continue;
        }
        change_keep(c, true);
        *at = c->next;
        if (c->inode == NULL || c->from.dir != NULL) d->sweep_due = true;
        change_free(c);
    }
}

/* The list is singly linked and short: from the last to the first by counting. */
static void changes_sync_marked(struct sim_disk *d, size_t count) {
    for (size_t i = count; i-- > 0;) {
        struct sim_change *c = d->changes;
        for (size_t k = 0; k < i; k++)
            c = c->next;
        if (c->marked) change_mark_earlier(d, c);
    }
    changes_commit_marked(d);
    if (d->sweep_due) sim_inodes_sweep(d);
}

void sim_changes_sync(struct sim_disk *d, const struct sim_inode *dir) {
    size_t count = 0;
    for (struct sim_change *c = d->changes; c != NULL; c = c->next, count++)
        if (c->to.dir == dir) c->marked = true;
    changes_sync_marked(d, count);
}

void sim_changes_sync_last(struct sim_disk *d) {
    size_t count = 0;
    for (struct sim_change *c = d->changes; c != NULL; c = c->next)
        count++;
    d->changes_last->marked = true;
    changes_sync_marked(d, count);
}

void sim_names_settle(struct sim_disk *d) {
    for (struct sim_change *c = d->changes; c != NULL; c = c->next) {
        c->marked = false; /* marked: lost */
        for (struct sim_change *e = d->changes; e != c && !c->marked; e = e->next)
            c->marked = e->marked && changes_touch(e, c);
        if (!c->marked) c->marked = rng_chance(&d->rng, d->rates.name);
        if (c->marked)
            d->totals[SIM_NAME_DROPPED]++;
        else
            change_keep(c, true);
    }
    sim_changes_free(d);
    for (struct sim_inode *inode = d->inodes; inode != NULL; inode = inode->next)
        if (inode->is_dir) names_copy(&inode->names, &inode->stable_names);
}

void sim_changes_free(struct sim_disk *d) {
    for (struct sim_change *c = d->changes, *next; c != NULL; c = next) {
        next = c->next;
        change_free(c);
    }
    d->changes = d->changes_last = NULL;
}
