/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "node/base/pressure.h"

/* What a query that was ended had is some time with the allocator before it is seen. */
enum { LOOK_MS = 50, VICTIM_LOOKS = 10 };

static const struct metric_def limit_def = {
    .name = "cairn_memory_limit_bytes",
    .help = "Resident memory at which queries are ended: --node.memory-limit, and what the process "
            "had when it began.",
    .kind = METRIC_GAUGE};
static const struct metric_def pressure_def = {.name = "cairn_memory_pressure",
                                               .help =
                                                   "0: none, 1: no query begins, 2: queries that "
                                                   "run are ended one by one, 3: all of them are.",
                                               .kind = METRIC_GAUGE};

/* Field 2 of proc(5)'s statm; 0: it cannot be read. */
static uint64_t resident_bytes(int fd) {
    char text[128];
    uint64_t pages;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0) return 0;
    text[n] = '\0';
    return sscanf(text, "%*u %" SCNu64, &pages) == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void memory_watch_init(struct memory_watch *w, uint64_t limit_bytes) {
    *w = (struct memory_watch){.limit_bytes = limit_bytes,
                               .fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)};
    if (w->fd >= 0) w->base_bytes = resident_bytes(w->fd);
    metric_set(metric_get(&limit_def, NULL), (double)(w->base_bytes + limit_bytes));
    metric_set(metric_get(&pressure_def, NULL), 0);
}

static enum pressure pressure_of(const struct memory_watch *w, uint64_t resident) {
    uint64_t used = resident - MIN(resident, w->base_bytes);
    if (used >= w->limit_bytes / 8 * 9) return PRESSURE_OVER;
    if (used >= w->limit_bytes) return PRESSURE_FULL;
    return used >= w->limit_bytes / 16 * 15 ? PRESSURE_HIGH : PRESSURE_NONE;
}

/* Up at once, down by the timer. While it is full each look ends one query more: what that had is
 * with the allocator, for the others. */
static void on_given(void *ctx) {
    const struct memory_watch *w = ctx;
    enum pressure now = pressure_of(w, resident_bytes(w->fd));
    if (now > pressure_now() || now == PRESSURE_FULL) pressure_set(now);
}

static void on_look(struct timer *t) {
    struct memory_watch *w = container_of(t, struct memory_watch, timer);
    if (w->stopped) return;
    uint64_t resident = resident_bytes(w->fd);
    enum pressure before = w->told, now = pressure_of(w, resident);
    w->told = now;
    w->full_looks = now == PRESSURE_FULL ? w->full_looks + 1 : 0;
    if (now != pressure_now() || w->full_looks % VICTIM_LOOKS == 1) pressure_set(now);
    if (now != before) metric_set(metric_get(&pressure_def, NULL), (double)now);
    if (before == PRESSURE_NONE && now != PRESSURE_NONE)
        log_warnf("memory is full (--node.memory-limit): queries are refused", "resident",
                  "%" PRIu64, resident);
    timer_start(&w->timer, LOOK_MS);
}

void memory_watch_start(struct memory_watch *w, struct core *core) {
    if (w->fd < 0) return;
    timer_init(&w->timer, core, on_look);
    timer_start(&w->timer, LOOK_MS);
    pressure_watch(on_given, w);
}

void memory_watch_stop(struct memory_watch *w) {
    if (w->fd < 0 || w->stopped) return;
    w->stopped = true;
    timer_stop(&w->timer);
    pressure_watch(NULL, NULL); /* who looks at this moment still needs the file */
}
