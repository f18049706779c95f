/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/pingpong.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"

enum { FRAME_BYTES = 16, BEAT_MS = 5, REDIAL_MS = 20 };

/* What dials and beats: a data core, or on odd nodes the control core. */
static struct core *app_core(const struct app *app) {
    return app->node % 2 == 0 ? app->rt->cores[1] : app->rt->control_core;
}

/* ---- frames ---- */

static void link_send(struct link *l, uint64_t id) {
    struct buf b = {0};
    buf_put_u64(&b, id);
    buf_put_u64(&b, hash64(&id, sizeof id, 0));
    conn_send(l->conn, &b);
    assert(b.len == 0);
    l->app->world->sent++;
}

static void note_send(struct app *app);

static void link_on_frame(struct conn *c, void *ctx, struct sv frame) {
    struct link *l = ctx;
    struct world *w = l->app->world;
    assert(c == l->conn && core_is_current(c->core) && l->opened);
    assert(frame.len == FRAME_BYTES);
    uint64_t id = get_u64le(frame.ptr);
    assert(get_u64le(frame.ptr + 8) == hash64(&id, sizeof id, 0));
    assert(id < LINK_IDS_MAX);
    if (l->seen[id / 8] >> id % 8 & 1) { /* more than the simulator says it made: see the tests */
        w->copies++;
        return;
    }
    l->seen[id / 8] |= (uint8_t)(1 << id % 8);
    w->overtaken += id < l->newest_id;
    l->newest_id = MAX(l->newest_id, id);
    w->delivered++;
    if (!l->dialled) {
        link_send(l, id);
        return;
    }
    assert(id < l->next_id);
    w->echoed++;
    w->echoed_by[l->app->node]++;
    note_send(l->app);
}

static void link_on_opened(struct conn *c, void *ctx) {
    struct link *l = ctx;
    assert(c == l->conn && core_is_current(c->core) && l->dialled && !l->opened);
    l->opened = true;
    l->app->world->opened++;
    for (int i = 0; i < 3; i++)
        link_send(l, l->next_id++);
}

static void link_on_closed(struct conn *c, void *ctx, const char *why) {
    struct link *l = ctx;
    struct app *app = l->app;
    assert(c == l->conn && core_is_current(c->core) && why != NULL);
    app->world->closed++;
    app->world->refused += !l->opened;
    if (l == app->out) {
        app->out = NULL;
        timer_start(&app->redial, REDIAL_MS);
    }
    list_remove(&l->node);
    free(l);
}

static const struct conn_events link_events = {link_on_opened, link_on_frame, link_on_closed};

static struct link *link_new(struct app *app) {
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL) abort();
    l->app = app;
    list_push_back(&app->links, &l->node);
    return l;
}

static void app_on_accept(struct core *core, struct conn *c, void *ctx) {
    struct app *app = ctx;
    assert(core_is_current(core) && core == app->rt->cores[0] && c->core == core);
    struct link *l = link_new(app);
    l->conn = c;
    l->opened = true;
    conn_set_events(c, &link_events, l);
}

static void app_redial(struct timer *t) {
    struct app *app = container_of(t, struct app, redial);
    unsigned peer = (app->node + 1) % WORLD_NODES;
    assert(app->out == NULL && core_is_current(app_core(app)));
    app->out = link_new(app);
    app->out->dialled = true;
    app->out->conn =
        net_dial(app_core(app), sv_from(sim_addr(app->world->sim, peer)), &link_events, app->out);
}

static void app_beat(struct timer *t) {
    struct app *app = container_of(t, struct app, beat);
    struct core *core = app_core(app);
    assert(core_is_current(core) && core_mono_ns(core) >= app->beat_due_ns); /* never early */
    struct rng *rng = sim_rng(app->world->sim);
    if (app->out != NULL && app->out->opened) {
        if (rng_below(rng, 200) == 0)
            conn_close(app->out->conn);
        else
            link_send(app->out, app->out->next_id++);
    }
    app->beat_due_ns = core_mono_ns(core) + BEAT_MS * 1000000;
    timer_start(t, BEAT_MS);
}

/* ---- the log core ---- */

static void app_run_work(struct work *work) {
    struct app *app = container_of(work, struct app, work);
    assert(core_current() == NULL);
    app->work_result = app->work_input * 3;
}

static void app_on_worked(struct core *here, struct work *work) {
    struct app *app = container_of(work, struct app, work);
    assert(here == app_core(app) && core_is_current(here));
    assert(app->working && app->work_result == app->work_input * 3);
    app->working = false;
    app->world->works++;
}

/* On the log core: to the file, with names that come and go. */
static void note_run(struct core *here, struct msg *m) {
    struct note *note = container_of(m, struct note, msg);
    struct app *app = note->app;
    struct disk *d = here->rt->disk;
    assert(here == here->rt->log_core && core_is_current(here));
    assert(note->number == app->notes_seen); /* one sender's messages keep their order */
    app->notes_seen++;
    char bytes[600];
    memset(bytes, 'n', sizeof bytes);
    if (file_pwrite(app->file, bytes, sizeof bytes, app->file_bytes, NULL) != OK) {
        app->world->notes_failed++;
        return;
    }
    app->file_bytes += sizeof bytes;
    if (note->number % 4 == 3) status_ignore(file_sync(app->file, NULL));
    if (note->number % 7 != 0) return;
    char path[32], moved[40];
    snprintf(path, sizeof path, "d/%u", (unsigned)(note->number % 20));
    snprintf(moved, sizeof moved, "%s.new", path);
    struct file *f = NULL;
    if (disk_open(d, path, DISK_WRITE | DISK_CREATE, &f, NULL) == OK) file_close(f);
    status_ignore(disk_rename(d, path, moved, NULL));
    if (note->number % 3 == 0) status_ignore(disk_sync_dir(d, "d", NULL));
}

static void note_send(struct app *app) {
    if (app->notes_sent - app->notes_seen == APP_NOTES) return;
    struct note *note = &app->notes[app->notes_sent % APP_NOTES];
    *note = (struct note){.msg.run = note_run, .app = app, .number = app->notes_sent++};
    core_post(app->rt->log_core, &note->msg);
    if (app->working || note->number % 16 != 0) return;
    app->working = true;
    app->work_input = note->number;
    app->work = (struct work){.run = app_run_work, .done = app_on_worked};
    work_submit(app_core(app), &app->work);
}

/* ---- lives ---- */

static enum status app_open(struct app *app) {
    struct disk *d = app->rt->disk;
    TRY(disk_mkdir(d, "d", NULL));
    TRY(disk_open(d, "d/log", DISK_READ | DISK_WRITE | DISK_CREATE, &app->file, NULL));
    TRY(file_size(app->file, &app->file_bytes, NULL));
    core_set_current(app->rt->cores[0]);
    TRY(net_listen(app->rt->cores[0], sv_from(sim_addr(app->world->sim, app->node)), app_on_accept,
                   app, NULL));
    core_set_current(app_core(app));
    timer_init(&app->beat, app_core(app), app_beat);
    timer_init(&app->redial, app_core(app), app_redial);
    timer_start(&app->beat, BEAT_MS);
    timer_start(&app->redial, 0);
    return OK;
}

static void app_free(struct app *app) {
    core_set_current(app_core(app));
    if (app->beat.core != NULL) timer_stop(&app->beat);
    for (struct list_node *n; (n = list_pop_front(&app->links)) != NULL;) {
        struct link *l = container_of(n, struct link, node);
        if (l->conn != NULL) {
            core_set_current(l->conn->core);
            conn_close(l->conn);
        }
        free(l);
    }
    file_close(app->file);
    free(app);
    core_set_current(NULL);
}

static void world_boot_down(void *ctx);

static void world_boot(struct world *w, unsigned node) {
    struct app *app = calloc(1, sizeof *app);
    if (app == NULL) abort();
    app->world = w;
    app->node = node;
    list_init(&app->links);
    w->apps[node] = app;
    w->boots++;
    app->rt = sim_start(w->sim, node);
    enum status rc = app_open(app);
    core_set_current(NULL);
    w->boots_failed += rc != OK;
    if (rc == OK || !sim_is_up(w->sim, node)) return;
    w->boots--; /* the disk is full: the process ends, and tries again */
    w->boots_full++;
    sim_kill(w->sim, node);
    app_free(app);
    w->apps[node] = NULL;
    sim_after(w->sim, 500, world_boot_down, w);
}

static void world_boot_down(void *ctx) {
    struct world *w = ctx;
    for (unsigned i = 0; i < WORLD_NODES; i++)
        if (w->apps[i] == NULL) world_boot(w, i);
}

static void world_on_crashed(void *ctx, unsigned node) {
    struct world *w = ctx;
    assert(w->apps[node] != NULL && !sim_is_up(w->sim, node) && core_current() == NULL);
    app_free(w->apps[node]);
    w->apps[node] = NULL;
    sim_after(w->sim, 1 + rng_below(sim_rng(w->sim), w->down_ms), world_boot_down, w);
}

static bool world_never(void *ctx) {
    (void)ctx;
    return false;
}

static bool world_all_echoed(void *ctx) {
    struct world *w = ctx;
    for (unsigned i = 0; i < WORLD_NODES; i++)
        if (w->echoed_by[i] == 0) return false;
    return true;
}

bool world_run(const struct sim_options *options, uint64_t run_ms, struct world *out,
               uint64_t *out_hash, uint64_t totals[SIM_FAULT_COUNT]) {
    struct world *w = out;
    *w = (struct world){.down_ms = 500};
    struct sim_options o = *options;
    o.nodes_count = WORLD_NODES;
    o.cores_per_node = 2;
    o.crashed = world_on_crashed;
    o.ctx = w;
    w->sim = sim_new(&o);
    world_boot_down(w);
    sim_run(w->sim, world_never, w, sim_now_ms(w->sim) + run_ms);
    sim_set_faults(w->sim, false);
    memset(w->echoed_by, 0, sizeof w->echoed_by);
    bool recovered = sim_run(w->sim, world_all_echoed, w, sim_now_ms(w->sim) + 20000);
    *out_hash = sim_trace_hash(w->sim);
    w->events = sim_events(w->sim);
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        totals[i] = sim_fault_total(w->sim, (enum sim_fault)i);
    for (unsigned i = 0; i < WORLD_NODES; i++) {
        struct app *app = w->apps[i];
        if (app == NULL) continue;
        sim_kill(w->sim, i);
        app_free(app);
    }
    sim_free(w->sim);
    w->sim = NULL;
    return recovered;
}
