/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sim/inode.h: what the simulated disk holds. Every file has its bytes as a reader sees them
 * (`now`), as they would be after a power cut that kept nothing (`stable`), and between the two the
 * unsynced writes in order. Every directory has its names twice likewise; unsynced changes of names
 * are one ordered list of the whole disk.
 *
 * At a power cut each write and each change of a name is kept or lost by seed, independently of
 * those before, except that a change that touches a name of a lost change is lost with it: file
 * systems reorder what is independent only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/list.h"
#include "node/base/rng.h"
#include "node/base/sv.h"
#include "tests/sim/internal.h"

struct sim_write {
    struct sim_write *next;
    uint64_t offset; /* of a truncate: the new size */
    size_t len;
    uint64_t durable_ns; /* when the sync that covers it ends; 0: none does */
    uint64_t sync_call;  /* that sync, by the disk's count: it has ended before the next one */
    bool is_truncate;
    uint8_t data[];
};

struct sim_bytes {
    uint8_t *ptr;
    size_t len, cap;
};

struct sim_name {
    char *name;
    struct sim_inode *inode;
};
struct sim_names {
    struct sim_name *items; /* sorted by name */
    size_t count, cap;
};

struct sim_inode {
    struct sim_inode *next; /* of the disk, in order of birth */
    bool is_dir;
    bool reached; /* by the sweep */
    bool locked;
    struct sim_bytes now, stable;
    struct sim_write *writes, *writes_last;
    struct sim_names names, stable_names;
};

struct sim_place {
    struct sim_inode *dir;
    char *name; /* owned */
};
/* inode appears at `to` (NULL: what was there goes) and, of a rename, disappears from `from` (dir
 * NULL otherwise). */
struct sim_change {
    struct sim_change *next;
    struct sim_place to, from;
    struct sim_inode *inode;
    bool marked;
};

struct sim_disk {
    struct disk disk; /* first */
    struct rng rng;
    struct sim_disk_rates rates;
    struct sim_disk_watch watch;
    uint64_t totals[SIM_FAULT_COUNT];
    uint64_t calls, cut_at, fail_at;
    int fail_errno;
    const char *fail_part; /* the next call on a path with this text fails */
    bool off;
    uint64_t off_ns; /* since */
    bool sweep_due;
    struct sim_inode *root, *inodes, *inodes_last;
    struct sim_change *changes, *changes_last;
    struct list_node handles;
};

struct sim_inode *sim_inode_new(struct sim_disk *d, bool is_dir);
struct sim_inode *sim_names_find(const struct sim_names *names, struct sv name);
/* Walks to path; NULL when a part of it is missing. "" and "." and "/" are the root. */
struct sim_inode *sim_path_find(struct sim_disk *d, const char *path);
/* The directory that holds path's last part, which goes to *out_name; NULL when missing or when
 * path is the root. */
struct sim_inode *sim_path_parent(struct sim_disk *d, const char *path, struct sv *out_name);

/* Changes what readers see and notes it as unsynced; from.dir NULL: no rename. Takes the names. */
void sim_change_add(struct sim_disk *d, struct sim_place to, struct sim_place from,
                    struct sim_inode *inode);
void sim_changes_sync(struct sim_disk *d,
                      const struct sim_inode *dir); /* durable, with all they build on */
void sim_changes_sync_last(struct sim_disk *d);     /* the newest alone, with all it builds on */
void sim_names_settle(struct sim_disk *d);          /* the power cut, names only */
void sim_names_free(struct sim_names *names);
void sim_changes_free(struct sim_disk *d);
void sim_write_add(struct sim_inode *inode, const void *p, size_t len, uint64_t offset);
void sim_truncate_add(struct sim_inode *inode, uint64_t size);
/* By a sync that takes that long: at a power cut in the middle of it what it covers settles by
 * seed. */
void sim_writes_sync(struct sim_disk *d, struct sim_inode *inode, uint64_t from_ns, uint64_t to_ns);
/* By seed onto stable, but for those that were durable at that time; none is left unsynced. */
void sim_writes_settle(struct sim_disk *d, struct sim_inode *inode, uint64_t at_ns);
void sim_inodes_settle(struct sim_disk *d); /* the power cut */
void sim_inodes_sweep(struct sim_disk *d);  /* frees what no name and no handle reaches */
void sim_inodes_free(struct sim_disk *d);

struct sim_file {
    struct file file; /* first */
    struct sim_disk *disk;
    struct sim_inode *inode; /* NULL: from before a restart */
    struct list_node link;
    int flags;
    bool holds_lock;
};
