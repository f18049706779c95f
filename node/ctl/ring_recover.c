/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl ring recover: a cluster that has lost a quorum of its voters for good goes on with the
 * nodes that are left, whose data directories are given. Nothing may run on them.
 *
 * Per directory D: lock, seat, D/ring/map and D/ring/raft are read. The newest Raft log is chosen
 * as an election would (last term, last index); what is appended there counts as committed, as it
 * would when that node led. A saved map is newer only at a node that has just joined. D/log and
 * D/blocks/MANIFEST are read for where each shard's log ends there.
 * The new state is written to D/ring.new, which then takes the place of D/ring in one step; the old
 * one stays as D/ring.before-<map version>. When this was interrupted between two directories, the
 * same command again finds those that are done by their cluster id (recover_cluster_id) and does
 * the rest. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "node/ctl/ctl.h"
#include "ring/seat.h"
#include "node/runtime/disk.h"
#include "ring/control/recover.h"
#include "ring/control/state.h"
#include "ring/raft/store.h"
#include "storage/archive/manifest.h"
#include "storage/log.h"

enum { PATH_BYTES = 4300, RAFT_FILE_BYTES_MAX = 1 << 30, RECOVER_TERMS = 1000 };
#define RECOVER_INDEXES ((uint64_t)1 << 20)

struct survivor {
    const char *dir;
    struct file *lock;
    struct seat seat;
    struct ring_map *saved; /* D/ring/map */
    struct buf meta, snapshot, log;
    struct raft_state raft;
    struct ring_state state; /* of the whole Raft log */
    uint64_t last_term, last_index;
};

struct recovery {
    struct disk *disk;
    struct survivor *survivors; /* ascending by node id */
    size_t count;
    node_id *ids;
    struct survivor *newest; /* whose Raft log it is */
    struct ring_map *before, *map;
    struct survivor *done; /* by an earlier, interrupted run; NULL: none */
    uint8_t *outcomes;
    uint32_t shards[RECOVER_NONE + 1];
    /* to write */
    uint64_t term, index;
    struct raft_members members;
    struct buf state;
};

struct recover_options {
    union flag_value help, accept_loss, dry_run;
};
#define AT(field) offsetof(struct recover_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"accept-loss", 0, FLAG_BOOL, NULL,
     "Go on also when shards are without a complete copy: what these lack is lost for good.",
     AT(accept_loss), false},
    {"dry-run", 0, FLAG_BOOL, NULL, "Only show what would be done.", AT(dry_run), false},
};
static struct recover_options options;

static const char summary[] =
    "Make a new cluster of the nodes that are left when a quorum of the voters is lost for "
    "good.\n\n"
    "Give the data directories of ALL nodes that are left, and of no other; no node may run. As "
    "long as the lost nodes may come back, wait for them instead: without quorum nothing was lost, "
    "the cluster only stands still.\n\n"
    "It takes the newest cluster map that these directories know, strikes the other nodes off it "
    "and lets the shards go on from the copies that are left. Without --accept-loss it does so "
    "only if every shard has a copy with everything that was acknowledged under that map; "
    "otherwise it names the shards and changes nothing. What the lost nodes have agreed on and "
    "acknowledged later, without any of these, is lost and cannot be seen from here.\n\n"
    "The new cluster has another cluster id: lost nodes that come back are refused, and join as "
    "new ones once their data directories are emptied. The same holds for nodes that were left "
    "out here. The old state stays as DIR/ring.before-<map version>. A run that was interrupted "
    "is finished by giving the same command again; start no node before it has.";

/* -- reading */

static void survivor_path(const struct survivor *s, const char *name, char out[PATH_BYTES]) {
    snprintf(out, PATH_BYTES, "%s/%s", s->dir, name);
}

static enum status read_file(struct disk *disk, const struct survivor *s, const char *name,
                             struct buf *out, struct err *err) {
    char path[PATH_BYTES];
    survivor_path(s, name, path);
    if (!disk_exists(disk, path)) return OK;
    return disk_read_file(disk, path, RAFT_FILE_BYTES_MAX, out, err);
}

static enum status replay(struct survivor *s, struct err *err) {
    const struct raft_state *raft = &s->raft;
    s->last_term = raft->snapshot.term;
    s->last_index = raft->snapshot.index;
    if (raft->snapshot.index > 0) {
        ring_state_fini(&s->state);
        TRY(ring_state_get(raft->snapshot.bytes, &s->state, err));
    }
    for (size_t i = 0; i < raft->entries_count; i++) {
        const struct raft_entry *e = &raft->entries[i];
        bool changed;
        if (e->type == RAFT_ENTRY_DATA) TRY(ring_state_apply(&s->state, e->bytes, &changed, err));
        s->last_term = e->term;
        s->last_index = e->index;
    }
    return OK;
}

static enum status read_raft(struct disk *disk, struct survivor *s, struct err *err) {
    char path[PATH_BYTES];
    uint64_t torn = 0;
    TRY(read_file(disk, s, "ring/raft/meta", &s->meta, err));
    TRY(read_file(disk, s, "ring/raft/snapshot", &s->snapshot, err));
    TRY(read_file(disk, s, "ring/raft/log", &s->log, err));
    survivor_path(s, "ring/raft/meta", path);
    if (s->meta.len > 0) TRY(raft_store_meta_get(buf_sv(&s->meta), path, &s->raft, err));
    survivor_path(s, "ring/raft/snapshot", path);
    if (s->snapshot.len > 0)
        TRY(raft_store_snapshot_get(buf_sv(&s->snapshot), path, &s->raft, err));
    survivor_path(s, "ring/raft/log", path);
    if (s->log.len > 0) TRY(raft_store_log_get(buf_sv(&s->log), path, &s->raft, &torn, err));
    enum status status = replay(s, err);
    return status == OK ? OK : err_prefix(err, "%s/ring/raft", s->dir);
}

static enum status survivor_read(struct disk *disk, struct survivor *s, struct err *err) {
    char path[PATH_BYTES];
    if (strlen(s->dir) > PATH_BYTES - 200)
        return err_set(err, ERR_LIMIT, 0, "%.60s...: the path is too long", s->dir);
    survivor_path(s, "seat", path);
    if (!disk_exists(disk, path))
        return err_set(err, ERR_UNAVAILABLE, 0, "%s is no data directory of a node: %s is missing",
                       s->dir, path);
    survivor_path(s, "lock", path);
    TRY(disk_lock(disk, path, &s->lock, err));
    survivor_path(s, "seat", path);
    TRY(seat_load(disk, path, &s->seat, err));
    survivor_path(s, "ring", path);
    enum status status = ring_map_load(disk, path, &s->saved, err);
    if (status == ERR_UNAVAILABLE)
        return err_set(err, ERR_UNAVAILABLE, 0, "%s/map is missing: the node was in no cluster yet",
                       path);
    return status != OK ? status : read_raft(disk, s, err);
}

static void survivor_fini(struct survivor *s) {
    file_close(s->lock);
    ring_map_unref(s->saved);
    ring_state_fini(&s->state);
    raft_store_state_fini(&s->raft);
    buf_fini(&s->meta);
    buf_fini(&s->snapshot);
    buf_fini(&s->log);
}

static int survivor_cmp(const void *a, const void *b) {
    const struct survivor *x = a, *y = b;
    return x->seat.id < y->seat.id ? -1 : x->seat.id > y->seat.id;
}

static enum status read_all(struct recovery *r, const struct flag_list *dirs, struct err *err) {
    r->survivors = calloc(dirs->count, sizeof *r->survivors);
    r->ids = calloc(dirs->count, sizeof *r->ids);
    if (r->survivors == NULL || r->ids == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < dirs->count; i++) {
        struct survivor *s = &r->survivors[r->count++];
        s->dir = dirs->items[i];
        ring_state_init(&s->state);
        TRY(survivor_read(r->disk, s, err));
    }
    qsort(r->survivors, r->count, sizeof *r->survivors, survivor_cmp);
    for (size_t i = 0; i < r->count; i++) {
        r->ids[i] = r->survivors[i].seat.id;
        if (i > 0 && r->ids[i] == r->ids[i - 1])
            return err_set(err, ERR_CONFLICT, 0, "%s and %s are of the same node",
                           r->survivors[i - 1].dir, r->survivors[i].dir);
    }
    return OK;
}

/* -- deciding */

static bool same_cluster(const struct survivor *a, const struct survivor *b) {
    return memcmp(a->saved->settings.cluster_id, b->saved->settings.cluster_id, 16) == 0;
}

/* *out_other: one of another cluster than the first, or NULL. */
static enum status check_clusters(const struct recovery *r, struct survivor **out_other,
                                  struct err *err) {
    *out_other = NULL;
    for (size_t i = 1; i < r->count; i++) {
        struct survivor *s = &r->survivors[i];
        if (same_cluster(s, &r->survivors[0])) continue;
        if (*out_other != NULL && !same_cluster(s, *out_other))
            return err_set(err, ERR_CONFLICT, 0,
                           "the directories are of three clusters: %s, %s, %s", r->survivors[0].dir,
                           (*out_other)->dir, s->dir);
        *out_other = s;
    }
    return OK;
}

static bool is_made_of(const struct recovery *r, const struct survivor *old,
                       const struct survivor *done) {
    uint8_t id[16];
    recover_cluster_id(old->saved->settings.cluster_id, done->saved->version, r->ids, r->count, id);
    return memcmp(id, done->saved->settings.cluster_id, sizeof id) == 0;
}

/* The directories that an interrupted run has not reached. */
static enum status find_done(struct recovery *r, struct survivor *other, struct err *err) {
    struct survivor *first = &r->survivors[0];
    if (is_made_of(r, first, other))
        r->done = other;
    else if (is_made_of(r, other, first))
        r->done = first;
    else
        return err_set(err, ERR_CONFLICT, 0,
                       "%s and %s are of different clusters (%016" PRIx64 "%s)", first->dir,
                       other->dir, first->seat.id,
                       ", or a node has run since the recovery that was interrupted");
    r->map = ring_map_ref(r->done->saved);
    return OK;
}

static bool is_newer(const struct survivor *a, const struct survivor *b) {
    if (a->last_term != b->last_term) return a->last_term > b->last_term;
    return a->last_index > b->last_index;
}

struct ends { /* of the shards of one directory */
    const struct ring_map *map;
    uint16_t node;
    struct place *at; /* by shard */
};

static void end_put(struct ends *e, uint32_t shard, uint32_t copy, struct place place) {
    if (shard >= e->map->settings.shards_count) return;
    const struct ring_shard *of = &e->map->shards[shard];
    int i = ring_shard_replica(of, e->node);
    if (i >= 0 && of->replicas[i].copy == copy) e->at[shard] = place;
}

static enum status on_entry(void *ctx, const struct entry *entry, struct err *err) {
    (void)err;
    end_put(ctx, entry->shard, entry->incarnation, (struct place){entry->epoch, entry->seq});
    return OK;
}

static enum status ends_read(const struct recovery *r, const struct survivor *s, struct ends *e,
                             struct err *err) {
    char path[PATH_BYTES];
    struct manifest manifest = {0};
    survivor_path(s, "blocks", path);
    if (disk_exists(r->disk, path)) TRY(manifest_load(r->disk, path, &manifest, err));
    for (uint32_t i = 0; i < manifest.shards_count; i++)
        end_put(e, manifest.shards[i].shard, manifest.shards[i].copy, manifest.shards[i].base);
    manifest_fini(&manifest);
    struct log_look look = {.apply = on_entry, .ctx = e};
    survivor_path(s, "log", path);
    return log_look(r->disk, path, &look, err);
}

static enum status compare(struct recovery *r, struct err *err) {
    size_t shards = r->map->settings.shards_count;
    struct place *ends = calloc(r->count * shards, sizeof *ends);
    if (ends == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    enum status status = OK;
    for (size_t i = 0; i < r->count && status == OK; i++) {
        struct ends e = {r->map, (uint16_t)i, ends + i * shards};
        status = ends_read(r, &r->survivors[i], &e, err);
    }
    if (status == OK) recover_compare(r->map, ends, r->outcomes);
    free(ends);
    return status;
}

static enum status decide(struct recovery *r, struct err *err) {
    struct survivor *other;
    TRY(check_clusters(r, &other, err));
    r->newest = &r->survivors[0];
    for (size_t i = 1; i < r->count; i++)
        if (is_newer(&r->survivors[i], r->newest)) r->newest = &r->survivors[i];
    if (other != NULL) return find_done(r, other, err);
    const struct ring_map *newest = r->newest->state.map;
    for (size_t i = 0; i < r->count; i++) {
        const struct ring_map *saved = r->survivors[i].saved;
        if (newest == NULL || saved->version > newest->version) newest = saved;
    }
    r->before = ring_map_ref((struct ring_map *)(uintptr_t)newest);
    r->outcomes = calloc(newest->settings.shards_count, 1);
    if (r->outcomes == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    TRY(recover_map(newest, r->ids, r->count, r->outcomes, &r->map, err));
    /* A copy may be older than the map, as a snapshot is: its next process must not pass for one
     * that was replaced. */
    for (size_t i = 0; i < r->count; i++)
        r->map->nodes[i].incarnation =
            MIN(r->map->nodes[i].incarnation, r->survivors[i].seat.incarnation);
    TRY(compare(r, err));
    for (uint32_t s = 0; s < newest->settings.shards_count; s++)
        r->shards[r->outcomes[s]]++;
    return OK;
}

/* -- telling */

static void print_nodes(const struct recovery *r) {
    for (size_t i = 0; i < r->count; i++) {
        const struct survivor *s = &r->survivors[i];
        printf("node %016" PRIx64 "  %s  map version %" PRIu64 ", Raft log up to term %" PRIu64
               ", entry %" PRIu64 "\n",
               s->seat.id, s->dir, s->saved->version, s->last_term, s->last_index);
    }
    for (uint32_t i = 0; i < r->before->nodes_count; i++) {
        const struct ring_node *n = &r->before->nodes[i];
        if (ring_map_node_index(r->map, n->id) < 0)
            printf("node %016" PRIx64 "  %s  is lost\n", n->id, n->addr);
    }
}

static void print_shards(FILE *to, const struct recovery *r, enum recover_outcome outcome) {
    uint32_t count = r->map->settings.shards_count;
    const char *between = "";
    for (uint32_t s = 0; s < count; s++) {
        if (r->outcomes[s] != outcome) continue;
        uint32_t end = s;
        while (end + 1 < count && r->outcomes[end + 1] == outcome)
            end++;
        fprintf(to, "%s%" PRIu32, between, s);
        if (end > s) fprintf(to, "-%" PRIu32, end);
        between = ", ";
        s = end;
    }
}

static void print_plan(const struct recovery *r) {
    static const char *const texts[] = {
        [RECOVER_WHOLE] = "with a complete copy",
        [RECOVER_TAIL] = "with a copy and the tail that it lacks",
        [RECOVER_PART] = "with a copy that may lack acknowledged samples",
        [RECOVER_NONE] = "without any copy",
    };
    const struct ring_settings *set = &r->before->settings;
    print_nodes(r);
    printf("cluster %s, newest map: version %" PRIu64 ", %" PRIu32 " shards, replication factor "
           "%" PRIu32 "\n",
           set->cluster_name, r->before->version, set->shards_count, set->replication_factor);
    for (int o = RECOVER_WHOLE; o <= RECOVER_NONE; o++) {
        if (r->shards[o] == 0) continue;
        printf("%" PRIu32 " of %" PRIu32 " shards %s", r->shards[o], set->shards_count, texts[o]);
        if (o >= RECOVER_PART) {
            printf(": ");
            print_shards(stdout, r, (enum recover_outcome)o);
        }
        putchar('\n');
    }
    if (set->min_insync > r->count)
        printf("writes will be refused until there are %" PRIu32
               " nodes again (--ring.min-insync)\n",
               set->min_insync);
}

/* -- writing */

static enum status prepare(struct recovery *r, struct err *err) {
    r->members.items = calloc(r->count, sizeof *r->members.items);
    if (r->members.items == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    r->members.count = (uint32_t)r->count;
    for (size_t i = 0; i < r->count; i++) /* one votes; it makes the others voters by itself */
        r->members.items[i] = (struct raft_member){.id = r->ids[i], .voter = i == 0};
    for (size_t i = 0; i < r->count; i++) {
        r->term = MAX(r->term, r->survivors[i].raft.term);
        r->index = MAX(r->index, r->survivors[i].last_index);
    }
    r->term += RECOVER_TERMS;
    r->index += RECOVER_INDEXES;
    struct ring_state state = r->newest->state; /* elected HA replicas stay */
    state.map = r->map;
    ring_state_put(&state, &r->state);
    return r->state.failed ? err_set(err, ERR_NOMEM, 0, "out of memory") : OK;
}

/* What an earlier run wrote to those it reached: they may have been started since, but have
 * agreed on no other map. */
static enum status prepare_again(struct recovery *r, struct err *err) {
    const struct raft_snapshot *snapshot = &r->done->raft.snapshot;
    r->term = snapshot->term;
    r->index = snapshot->index;
    buf_put_sv(&r->state, snapshot->bytes);
    if (r->state.failed || raft_members_copy(&snapshot->members, &r->members) != OK)
        return err_set(err, ERR_NOMEM, 0, "out of memory");
    return OK;
}

static enum status write_new(struct recovery *r, const struct survivor *s, struct err *err) {
    static const char *const files[] = {"map", "raft/meta", "raft/snapshot", "raft/log"};
    char path[PATH_BYTES], raft[PATH_BYTES + 8];
    for (size_t i = 0; i < ARRAY_LEN(files); i++) { /* of a run that was interrupted */
        snprintf(path, sizeof path, "%s/ring.new/%s", s->dir, files[i]);
        TRY(disk_unlink(r->disk, path, err));
    }
    survivor_path(s, "ring.new", path);
    snprintf(raft, sizeof raft, "%s/raft", path);
    TRY(disk_mkdir(r->disk, raft, err));
    TRY(ring_map_save(r->disk, path, r->map, err));
    struct raft_store *store;
    struct raft_state none;
    TRY(raft_store_open(r->disk, raft, &store, &none, err));
    struct raft_snapshot snapshot = {
        .index = r->index, .term = r->term, .members = r->members, .bytes = buf_sv(&r->state)};
    struct raft_batch batch = {
        .token = 1, .hard_changed = true, .term = r->term, .snapshot = &snapshot};
    enum status status = raft_store_save(store, &batch, err);
    raft_store_close(store);
    if (status == OK) status = disk_sync_dir(r->disk, path, err);
    return status == OK ? disk_sync_dir(r->disk, s->dir, err) : status;
}

static enum status put_in_place(struct recovery *r, const struct survivor *s, struct err *err) {
    char ring[PATH_BYTES], new[PATH_BYTES], before[PATH_BYTES + 32];
    survivor_path(s, "ring", ring);
    survivor_path(s, "ring.new", new);
    snprintf(before, sizeof before, "%s/ring.before-%" PRIu64, s->dir, s->saved->version);
    if (renameat2(AT_FDCWD, new, AT_FDCWD, ring, RENAME_EXCHANGE) == 0) {
        TRY(disk_sync_dir(r->disk, s->dir, err));
        TRY(disk_rename(r->disk, new, before, err));
        return disk_sync_dir(r->disk, s->dir, err);
    }
    if (errno != EINVAL && errno != ENOSYS)
        return err_set(err, ERR_IO, errno, "rename %s to %s", new, ring);
    TRY(disk_rename(r->disk, ring, before, err)); /* a file system that cannot exchange two */
    TRY(disk_rename(r->disk, new, ring, err));
    return disk_sync_dir(r->disk, s->dir, err);
}

static enum status write_all(struct recovery *r, struct err *err) {
    TRY(r->done == NULL ? prepare(r, err) : prepare_again(r, err));
    for (size_t i = 0; i < r->count; i++) { /* all or none, as far as a full disk goes */
        const struct survivor *s = &r->survivors[i];
        if (r->done == NULL || !same_cluster(s, r->done)) TRY(write_new(r, s, err));
    }
    for (size_t i = 0; i < r->count; i++) {
        const struct survivor *s = &r->survivors[i];
        if (r->done != NULL && same_cluster(s, r->done)) continue;
        TRY(put_in_place(r, s, err));
        printf("%s: done, the old state is in ring.before-%" PRIu64 "\n", s->dir,
               s->saved->version);
    }
    return OK;
}

/* -- the verb */

static int recover(struct recovery *r, const struct flag_list *dirs) {
    struct err err = {0};
    if (read_all(r, dirs, &err) != OK || decide(r, &err) != OK) return ctl_fail("%s", err.msg);
    if (r->done != NULL)
        printf("an interrupted recovery to map version %" PRIu64 " is finished\n", r->map->version);
    else
        print_plan(r);
    fflush(stdout);
    if (r->shards[RECOVER_PART] + r->shards[RECOVER_NONE] > 0 && !options.accept_loss.boolean) {
        fputs("cairnctl: error: shards without a complete copy: ", stderr);
        for (uint32_t s = 0; s < r->map->settings.shards_count; s++)
            if (r->outcomes[s] == RECOVER_PART) r->outcomes[s] = RECOVER_NONE;
        print_shards(stderr, r, RECOVER_NONE);
        fputs(". Nothing was changed. If no other node is left, --accept-loss goes on without what "
              "they lack\n",
              stderr);
        return 1;
    }
    if (options.dry_run.boolean) return 0;
    if (write_all(r, &err) != OK)
        return ctl_fail("%s; give the same command again before any node is started", err.msg);
    printf("new map: version %" PRIu64 ", nodes: %zu. Start them all, then others, with empty data "
           "directories\n",
           r->map->version, r->count);
    return 0;
}

int ring_recover_main(int argc, char **argv) {
    static struct flag_list dirs; /* lives as long as the process, see base/flags.h */
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &options, &dirs, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (options.help.boolean)
        return ctl_help("ring recover", "DIR...", summary, defs, ARRAY_LEN(defs));
    if (dirs.count == 0) return ctl_fail("ring recover needs the data directories, try --help");
    struct recovery r = {.disk = disk_real()};
    int code = recover(&r, &dirs);
    for (size_t i = 0; i < r.count; i++)
        survivor_fini(&r.survivors[i]);
    ring_map_unref(r.before);
    ring_map_unref(r.map);
    raft_members_fini(&r.members);
    buf_fini(&r.state);
    free(r.outcomes);
    free(r.ids);
    free(r.survivors);
    return code;
}
