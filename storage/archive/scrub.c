/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/scrub.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "storage/archive/internal.h"

enum { SLICE_BYTES = 1 << 18, TICK_MS = 1000, TICK_MS_MIN = 10, TICKS = 64 };

struct bad_block {
    uint64_t number;
    struct err why;
};

struct scrub_request {
    struct archive *archive;
    struct core *home;
    uint32_t shard; /* UINT32_MAX: any */
    void (*done)(void *ctx, uint32_t blocks);
    void *ctx;
    struct msg msg;
    struct list_node node;
    uint64_t *numbers; /* of blocks that are to be read yet */
    uint32_t count, read;
};

struct scrub {
    struct archive *archive;
    struct timer timer;
    struct work work;
    bool running, stopping; /* stopping: read by the worker */
    uint64_t unread;        /* the block that the disk could not read just now; 0 */
    bool urgent;            /* the block is suspect: it is read without a pause */
    uint64_t number;        /* of the block that is being read; 0 with path NULL: none yet */
    char *path;             /* of it; NULL: the next one is to be taken */
    struct block *block;    /* opened anew; the worker's, as what follows */
    struct block *before;   /* to be closed */
    uint64_t at, bytes;     /* read of it, and in this slice */
    uint64_t file_bytes;
    enum status status;
    struct err err;
    double allowed; /* bytes that may be read now */
    uint64_t allowed_ns;
    struct bad_block *bads;
    uint32_t bads_count, bads_cap;
    struct list_node requests;
    bool asked; /* the block is of one: it is read without a pause, too */
    struct {
        struct metric *bytes, *blocks, *bad;
    } metrics;
};

static const struct metric_def defs[] = {
    {"cairn_scrub_bytes_total", "Bytes of blocks that were read to compare checksums.",
     METRIC_COUNTER, NULL, 0},
    {"cairn_scrub_blocks_total", "Blocks that were read through and are good.", METRIC_COUNTER,
     NULL, 0},
    {"cairn_scrub_bad_blocks_total", "Blocks that were found to be bad.", METRIC_COUNTER, NULL, 0},
};

/* -- on the worker */

static void scrub_run(struct work *w) {
    struct scrub *s = container_of(w, struct scrub, work);
    const struct archive_options *o = &s->archive->options;
    block_unref(s->before);
    s->before = NULL;
    uint64_t at = s->at;
    s->status = OK;
    if (s->block == NULL) {
        struct block_info info;
        s->status =
            block_open(s->archive->rt->disk, s->path, o->secret, o->tenant, &s->block, &s->err);
        if (s->status == OK) block_get_info(s->block, &info);
        if (s->status == OK) s->file_bytes = info.file_bytes;
    }
    if (s->status == OK) s->status = block_verify_frames(s->block, &s->at, SLICE_BYTES, &s->err);
    /* Somebody could not read it, though its frames are good. */
    if (s->status == OK && s->urgent && s->at == s->file_bytes)
        s->status = block_verify(s->block, &s->stopping, &s->err);
    s->bytes = s->status == OK ? s->at - at : 0;
    if (s->status == OK && s->at < s->file_bytes) return;
    block_unref(s->block);
    s->block = NULL;
}

/* -- which one */

static const struct list_block *list_find(const struct archive *a, uint64_t number) {
    for (uint32_t i = 0; i < a->list->count; i++)
        if (a->list->blocks[i].of.number == number) return &a->list->blocks[i];
    return NULL;
}

static const struct list_block *suspect_find(const struct archive *a) {
    for (uint32_t i = 0; i < a->list->count; i++)
        if (a->list->blocks[i].block != NULL && block_is_suspect(a->list->blocks[i].block))
            return &a->list->blocks[i];
    return NULL;
}

/* The one with the next number, or the first; NULL: all are bad. */
static const struct list_block *next_find(const struct archive *a, uint64_t number) {
    const struct list_block *next = NULL, *first = NULL;
    for (uint32_t i = 0; i < a->list->count; i++) {
        const struct list_block *b = &a->list->blocks[i];
        if (b->block == NULL) continue;
        if (first == NULL || b->of.number < first->of.number) first = b;
        if (b->of.number > number && (next == NULL || b->of.number < next->of.number)) next = b;
    }
    return next != NULL ? next : first;
}

static void scrub_leave(struct scrub *s) {
    assert(!s->running && s->before == NULL);
    s->before = s->block;
    s->block = NULL;
    free(s->path);
    s->path = NULL;
    s->asked = false;
}

/* A block that somebody asks for; NULL: none is. */
static const struct list_block *asked_find(struct scrub *s) {
    LIST_FOREACH(n, &s->requests) {
        struct scrub_request *r = container_of(n, struct scrub_request, node);
        while (r->count > 0) {
            const struct list_block *b = list_find(s->archive, r->numbers[r->count - 1]);
            if (b != NULL && b->block != NULL) return b;
            r->count--; /* merged meanwhile, or known to be bad */
        }
    }
    return NULL;
}

/* The block has been read through. */
static void asked_end(struct scrub *s) {
    LIST_FOREACH(n, &s->requests) {
        struct scrub_request *r = container_of(n, struct scrub_request, node);
        for (uint32_t i = 0; i < r->count; i++) {
            if (r->numbers[i] != s->number) continue;
            r->numbers[i] = r->numbers[--r->count];
            r->read++;
            break;
        }
    }
}

static void request_home(struct core *here, struct msg *m) {
    struct scrub_request *r = container_of(m, struct scrub_request, msg);
    (void)here;
    r->done(r->ctx, r->read);
    free(r);
}

static void requests_end(struct scrub *s) {
    if (scrub_has_found(s)) return; /* until the lists have it */
    LIST_FOREACH_SAFE(n, &s->requests) {
        struct scrub_request *r = container_of(n, struct scrub_request, node);
        if (r->count > 0) continue;
        list_remove(&r->node);
        free(r->numbers);
        r->msg.run = request_home;
        core_post(r->home, &r->msg);
    }
}

static bool scrub_take(struct scrub *s, const struct list_block *b, bool urgent) {
    char *path = archive_block_path(s->archive, b->of.number);
    if (path == NULL) return false;
    s->path = path;
    s->number = b->of.number;
    s->file_bytes = b->of.file_bytes;
    s->at = 0;
    s->urgent = urgent;
    s->asked = false;
    return true;
}

/* false: nothing is to be read now. */
static bool scrub_choose(struct scrub *s) {
    struct archive *a = s->archive;
    const struct list_block *suspect = suspect_find(a);
    if (s->path != NULL && list_find(a, s->number) == NULL) scrub_leave(s); /* merged meanwhile */
    if (suspect != NULL && (s->path == NULL || suspect->of.number != s->number)) {
        if (s->path != NULL) scrub_leave(s);
        return scrub_take(s, suspect, true);
    }
    if (suspect != NULL && !s->urgent) {
        s->urgent = true;
        s->at = 0;
    }
    const struct list_block *asked = suspect == NULL ? asked_find(s) : NULL;
    if (asked != NULL && !s->asked) {
        if (s->path != NULL) scrub_leave(s);
        if (!scrub_take(s, asked, false)) return false;
        s->asked = true;
    }
    if (s->path != NULL) return true;
    if (a->options.scrub_ms == 0) return false;
    const struct list_block *next = next_find(a, s->number);
    return next != NULL && scrub_take(s, next, false);
}

/* -- how fast */

static void scrub_allow(struct scrub *s) {
    const struct archive *a = s->archive;
    uint64_t now_ns = core_mono_ns(a->rt->log_core), bytes = 0;
    for (uint32_t i = 0; i < a->list->count; i++)
        bytes += a->list->blocks[i].of.file_bytes;
    double rate =
        a->options.scrub_ms == 0 ? 0 : (double)bytes / ((double)a->options.scrub_ms / 1000);
    rate = MIN(rate, (double)SCRUB_RATE_MAX);
    s->allowed += rate * (double)(now_ns - s->allowed_ns) / 1e9;
    s->allowed = MIN(s->allowed, MAX(rate * 2, (double)SLICE_BYTES));
    s->allowed_ns = now_ns;
}

static uint64_t tick_ms(const struct scrub *s) {
    uint64_t ms = s->archive->options.scrub_ms / TICKS;
    return ms == 0 || ms > TICK_MS ? TICK_MS : MAX(ms, TICK_MS_MIN);
}

static void scrub_ran(struct core *here, struct work *w);

static void scrub_next(struct scrub *s) {
    if (s->running || s->stopping) return;
    scrub_allow(s);
    requests_end(s);
    if (scrub_choose(s)) {
        uint64_t want = MIN((uint64_t)SLICE_BYTES, s->file_bytes - MIN(s->at, s->file_bytes));
        if (s->urgent || s->asked || s->allowed >= (double)want) {
            s->running = true;
            s->work = (struct work){.run = scrub_run, .done = scrub_ran};
            work_submit(s->archive->rt->log_core, &s->work);
            return;
        }
    }
    timer_start(&s->timer, list_is_empty(&s->requests) ? tick_ms(s) : TICK_MS_MIN);
}

static void scrub_on_timer(struct timer *t) {
    scrub_next(container_of(t, struct scrub, timer));
}

/* -- what was found */

/* What a disk could not read it may be able to read the next time: that counts when it comes twice
 * in a row. */
static bool is_bad(struct scrub *s) {
    bool eio = s->status == ERR_IO && s->err.os == EIO, again = s->unread == s->number;
    s->unread = eio ? s->number : 0;
    if (eio) return again;
    if (s->status == ERR_IO) return s->err.os == ENOENT;
    return s->status != OK && s->status != ERR_NOMEM && s->status != ERR_CANCELED;
}

static void bad_add(struct scrub *s) {
    if (s->bads_count == s->bads_cap) {
        uint32_t cap = s->bads_cap == 0 ? 8 : s->bads_cap * 2;
        struct bad_block *bads = realloc(s->bads, cap * sizeof *bads);
        if (bads == NULL) return; /* it is found again */
        s->bads = bads;
        s->bads_cap = cap;
    }
    s->bads[s->bads_count++] = (struct bad_block){s->number, s->err};
    log_error("a block is bad; queries that need it fail", "err", s->err.msg);
    metric_add(s->metrics.bad, 1);
    archive_round(s->archive);
}

static void scrub_ran(struct core *here, struct work *w) {
    struct scrub *s = container_of(w, struct scrub, work);
    struct archive *a = s->archive;
    (void)here;
    s->running = false;
    metric_add(s->metrics.bytes, (double)s->bytes);
    s->allowed -= (double)s->bytes;
    if (s->stopping) {
        archive_stopped_check(a);
        return;
    }
    const struct list_block *b = list_find(a, s->number);
    bool bad = is_bad(s);
    if (s->status != OK || s->at == s->file_bytes) {
        scrub_leave(s);
        if (b != NULL && b->block != NULL && bad) {
            bad_add(s);
        } else if (s->status == OK) {
            metric_add(s->metrics.blocks, 1);
        } else if (!bad) {
            log_warn("a block could not be read, it is tried again", "err", s->err.msg);
            if (b != NULL && b->block != NULL) block_set_suspect(b->block); /* as the next one */
            timer_start(&s->timer, TICK_MS);
            return;
        }
        asked_end(s);
        if (b != NULL && b->block != NULL) block_clear_suspect(b->block);
    }
    scrub_next(s);
}

bool scrub_has_found(const struct scrub *s) {
    for (uint32_t i = 0; i < s->bads_count; i++) {
        const struct list_block *b = list_find(s->archive, s->bads[i].number);
        if (b != NULL && b->block != NULL) return true;
    }
    return false;
}

void scrub_mark(struct scrub *s, struct block_list *list) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->bads_count; i++) {
        for (uint32_t k = 0; k < list->count; k++) {
            struct list_block *b = &list->blocks[k];
            if (b->of.number != s->bads[i].number) continue;
            if (b->block != NULL) b->was = b->block;
            b->block = NULL;
            b->why = s->bads[i].why;
            s->bads[kept++] = s->bads[i];
            break;
        }
    }
    s->bads_count = kept;
}

/* -- on demand */

static void request_begin(struct core *here, struct msg *m) {
    struct scrub_request *r = container_of(m, struct scrub_request, msg);
    struct archive *a = r->archive;
    struct scrub *s = a->scrub;
    (void)here;
    list_push_back(&s->requests, &r->node);
    if (a->stopping || s->stopping) return;
    r->numbers = calloc(a->list->count + 1, sizeof *r->numbers);
    if (r->numbers == NULL) {
        log_warn("not enough memory to read blocks on demand");
        list_remove(&r->node);
        free(r); /* who waits for it gives up */
        return;
    }
    for (uint32_t i = 0; i < a->list->count; i++) {
        const struct list_block *b = &a->list->blocks[i];
        struct block_shard in;
        if (b->block != NULL &&
            (r->shard == UINT32_MAX || block_get_shard(b->block, r->shard, &in)))
            r->numbers[r->count++] = b->of.number;
    }
    if (s->running) return; /* goes on with it */
    if (timer_is_armed(&s->timer)) timer_stop(&s->timer);
    scrub_next(s);
}

enum status scrub_ask(struct archive *a, struct core *home, uint32_t shard,
                      void (*done)(void *ctx, uint32_t blocks), void *ctx) {
    struct scrub_request *r = calloc(1, sizeof *r);
    if (r == NULL) return ERR_NOMEM;
    *r = (struct scrub_request){.archive = a,
                                .home = home,
                                .shard = shard,
                                .done = done,
                                .ctx = ctx,
                                .msg.run = request_begin};
    core_post(a->rt->log_core, &r->msg);
    return OK;
}

/* -- life */

enum status scrub_new(struct archive *a, struct scrub **out, struct err *err) {
    struct scrub *s = calloc(1, sizeof *s);
    if (s == NULL) return err_set(err, ERR_NOMEM, 0, "scrub: not enough memory");
    s->archive = a;
    list_init(&s->requests);
    s->metrics.bytes = metric_get(&defs[0], NULL);
    s->metrics.blocks = metric_get(&defs[1], NULL);
    s->metrics.bad = metric_get(&defs[2], NULL);
    *out = s;
    return OK;
}

/* Not always the first: who is started anew every day would never come to the others. */
void scrub_start(struct scrub *s) {
    struct runtime *rt = s->archive->rt;
    uint64_t some;
    rt->ops->random(rt, &some, sizeof some);
    s->number = some % atomic_load_explicit(&s->archive->next_number, memory_order_relaxed);
    s->allowed_ns = core_mono_ns(s->archive->rt->log_core);
    timer_init(&s->timer, s->archive->rt->log_core, scrub_on_timer);
    timer_start(&s->timer, tick_ms(s));
}

void scrub_stop(struct scrub *s) {
    __atomic_store_n(&s->stopping, true, __ATOMIC_RELAXED);
    if (timer_is_armed(&s->timer)) timer_stop(&s->timer);
}

bool scrub_is_running(const struct scrub *s) {
    return s->running;
}

void scrub_free(struct scrub *s) {
    if (s == NULL) return;
    block_unref(s->block);
    block_unref(s->before);
    struct list_node *n;
    while ((n = list_pop_front(&s->requests)) != NULL) {
        struct scrub_request *r = container_of(n, struct scrub_request, node);
        free(r->numbers);
        free(r);
    }
    free(s->path);
    free(s->bads);
    free(s);
}
