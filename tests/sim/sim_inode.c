/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/inode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SIM_SECTOR_BYTES = 512 };

struct sim_inode *sim_inode_new(struct sim_disk *d, bool is_dir) {
    struct sim_inode *inode = sim_zalloc(sizeof *inode);
    inode->is_dir = is_dir;
    if (d->inodes_last == NULL)
        d->inodes = inode;
    else
        d->inodes_last->next = inode;
    d->inodes_last = inode;
    return inode;
}

static void bytes_resize(struct sim_bytes *b, uint64_t len) {
    if (len > b->cap) {
        size_t cap = b->cap < 64 ? 64 : b->cap;
        while (cap < len)
            cap *= 2;
        b->ptr = realloc(b->ptr, cap);
        if (b->ptr == NULL) abort();
        b->cap = cap;
    }
    if (len > b->len) memset(b->ptr + b->len, 0, (size_t)len - b->len);
    b->len = (size_t)len;
}

static void bytes_put(struct sim_bytes *b, uint64_t offset, const uint8_t *p, size_t len) {
    if (len == 0) return;
    if (offset + len > b->len) bytes_resize(b, offset + len);
    memcpy(b->ptr + offset, p, len);
}

static void bytes_copy(struct sim_bytes *to, const struct sim_bytes *from) {
    bytes_resize(to, from->len);
    if (from->len > 0) memcpy(to->ptr, from->ptr, from->len);
}

static void write_push(struct sim_inode *inode, struct sim_write *w) {
    if (inode->writes_last == NULL)
        inode->writes = w;
    else
        inode->writes_last->next = w;
    inode->writes_last = w;
}

void sim_write_add(struct sim_inode *inode, const void *p, size_t len, uint64_t offset) {
    if (len == 0) return;
    struct sim_write *w = malloc(sizeof *w + len);
    if (w == NULL) abort();
    *w = (struct sim_write){.offset = offset, .len = len};
    memcpy(w->data, p, len);
    write_push(inode, w);
    bytes_put(&inode->now, offset, p, len);
}

void sim_truncate_add(struct sim_inode *inode, uint64_t size) {
    struct sim_write *w = sim_zalloc(sizeof *w);
    *w = (struct sim_write){.offset = size, .is_truncate = true};
    write_push(inode, w);
    bytes_resize(&inode->now, size);
}

static void write_keep(struct sim_inode *inode, const struct sim_write *w) {
    if (w->is_truncate)
        bytes_resize(&inode->stable, w->offset);
    else
        bytes_put(&inode->stable, w->offset, w->data, w->len);
}

void sim_writes_sync(struct sim_disk *d, struct sim_inode *inode, uint64_t from_ns,
                     uint64_t to_ns) {
    for (struct sim_write *w = inode->writes; w != NULL; w = w->next) {
        if (w->durable_ns != 0) continue;
        w->durable_ns = MAX(to_ns, 1);
        w->sync_call = d->calls;
    }
    for (struct sim_write *w; (w = inode->writes) != NULL && w->durable_ns <= MAX(from_ns, 1);) {
        inode->writes = w->next;
        write_keep(inode, w);
        free(w);
    }
    if (inode->writes == NULL) inode->writes_last = NULL;
}

/* Sector by sector of the file: old bytes, new bytes or noise, at least one of them not new. Noise
 * stays within the bytes of this write, so what was synced before is never harmed. */
static void write_tear_sectors(struct sim_disk *d, struct sim_inode *inode,
                               const struct sim_write *w) {
    uint64_t first = w->offset / SIM_SECTOR_BYTES, end = w->offset + w->len;
    uint64_t count = (end - 1) / SIM_SECTOR_BYTES - first + 1;
    uint64_t harmed = first + rng_below(&d->rng, count);
    if (end > inode->stable.len) bytes_resize(&inode->stable, end);
    for (uint64_t s = first; s < first + count; s++) {
        uint64_t from = MAX(s * SIM_SECTOR_BYTES, w->offset),
                 to = MIN((s + 1) * SIM_SECTOR_BYTES, end);
        unsigned fate = (unsigned)rng_below(&d->rng, 4);
        if (s == harmed && fate < 2) fate = 2;
        if (fate < 2) {
            bytes_put(&inode->stable, from, w->data + (from - w->offset), (size_t)(to - from));
        } else if (fate == 3) {
            for (uint64_t i = from; i < to; i++)
                inode->stable.ptr[i] = (uint8_t)rng_u64(&d->rng);
        }
    }
}

static void write_tear(struct sim_disk *d, struct sim_inode *inode, const struct sim_write *w) {
    d->totals[SIM_WRITE_TORN]++;
    if (rng_chance(&d->rng, 0.5)) {
        bytes_put(&inode->stable, w->offset, w->data, (size_t)rng_below(&d->rng, w->len));
    } else {
        write_tear_sectors(d, inode, w);
    }
}

/* The file may have grown though the bytes never came: it then ends in zeros. */
static void write_drop(struct sim_disk *d, struct sim_inode *inode, const struct sim_write *w) {
    d->totals[SIM_WRITE_DROPPED]++;
    if (!w->is_truncate && w->offset + w->len > inode->stable.len && rng_chance(&d->rng, 0.25))
        bytes_resize(&inode->stable, w->offset + w->len);
}

void sim_writes_settle(struct sim_disk *d, struct sim_inode *inode, uint64_t at_ns) {
    for (struct sim_write *w = inode->writes, *next; w != NULL; w = next) {
        next = w->next;
        double x = rng_unit(&d->rng);
        if (w->durable_ns != 0 && (w->durable_ns <= at_ns || w->sync_call < d->calls))
            write_keep(inode, w);
        else if (x < d->rates.dropped)
            write_drop(d, inode, w);
        else if (!w->is_truncate && x < d->rates.dropped + d->rates.torn)
            write_tear(d, inode, w);
        else
            write_keep(inode, w);
        free(w);
    }
    inode->writes = inode->writes_last = NULL;
}

void sim_inodes_settle(struct sim_disk *d) {
    for (struct sim_inode *inode = d->inodes; inode != NULL; inode = inode->next) {
        inode->locked = false;
        if (inode->is_dir) continue;
        sim_writes_settle(d, inode, d->off_ns);
        bytes_copy(&inode->now, &inode->stable);
    }
    sim_names_settle(d);
    sim_inodes_sweep(d);
}

static void inode_free(struct sim_inode *inode) {
    for (struct sim_write *w = inode->writes, *next; w != NULL; w = next) {
        next = w->next;
        free(w);
    }
    sim_names_free(&inode->names);
    sim_names_free(&inode->stable_names);
    free(inode->now.ptr);
    free(inode->stable.ptr);
    free(inode);
}

/* Recursion: as deep as the paths the tests use. */
static void inode_reach(struct sim_inode *inode) {
    if (inode == NULL || inode->reached) return;
    inode->reached = true;
    for (size_t i = 0; i < inode->names.count; i++)
        inode_reach(inode->names.items[i].inode);
    for (size_t i = 0; i < inode->stable_names.count; i++)
        inode_reach(inode->stable_names.items[i].inode);
}

void sim_inodes_sweep(struct sim_disk *d) {
    inode_reach(d->root);
    LIST_FOREACH(n, &d->handles) inode_reach(container_of(n, struct sim_file, link)->inode);
    for (struct sim_change *c = d->changes; c != NULL; c = c->next) {
        inode_reach(c->to.dir);
        inode_reach(c->from.dir);
        inode_reach(c->inode);
    }
    struct sim_inode **at = &d->inodes;
    d->inodes_last = NULL;
    while (*at != NULL) {
        struct sim_inode *inode = *at;
        if (!inode->reached) {
            *at = inode->next;
            inode_free(inode);
            continue;
        }
        inode->reached = false;
        d->inodes_last = inode;
        at = &inode->next;
    }
    d->sweep_due = false;
}

void sim_inodes_free(struct sim_disk *d) {
    for (struct sim_inode *inode = d->inodes, *next; inode != NULL; inode = next) {
        next = inode->next;
        inode_free(inode);
    }
    d->inodes = d->inodes_last = NULL;
}
