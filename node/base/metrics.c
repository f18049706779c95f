/* SPDX-License-Identifier: Apache-2.0 */
/* Values live slot-major: each thread slot has its own pages of cells, so that two threads never
 * write one cache line.
 *
 *   slots[slot].pages[cell / PAGE_CELLS][cell % PAGE_CELLS]     a cell is 64 bits: a double, or a
 * bucket's count
 *
 * A counter or gauge has one cell per slot; a histogram has bounds_count + 1 buckets and a sum.
 * Slot 0 is shared.
 *
 * Orderings. Cells are relaxed everywhere: each is a value of its own and no other memory is
 * published through it; a reader may see a histogram's bucket before its sum, which the exposition
 * allows. Page pointers are stored with release and loaded with acquire, so that a reader that sees
 * a page sees it zeroed. A metric's own fields are written before its pointer leaves the lock. */
#include "node/base/metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/map.h"
#include "node/base/num.h"

enum { PAGE_CELLS = 1024, PAGES_MAX = 256 };

struct metric {
    const struct metric_def *def;
    char *labels; /* canonical text, "" for none */
    uint32_t cell;
    double (*collect)(void *ctx); /* NULL: the value is in the cells */
    void *collect_ctx;
};

typedef _Atomic uint64_t cell_value;
typedef _Atomic(cell_value *) cell_page;

static cell_page slots[METRIC_SLOTS_MAX][PAGES_MAX];
static _Thread_local unsigned thread_slot;

static struct {
    pthread_mutex_t lock; /* guards all below */
    struct map index;
    struct metric **metrics;
    uint32_t count, cap;
    uint32_t cells_count; /* also the number of cells every slot in use has pages for */
    bool slot_used[METRIC_SLOTS_MAX];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER, .slot_used = {true}};

/* Slots above this were never taken. Relaxed: a reader that misses a slot misses increments of the
 * same instant. */
static _Atomic unsigned slots_count = 1;

NORETURN static void out_of_memory(void) {
    fputs("metrics: out of memory\n", stderr);
    abort();
}

static void slot_fill_pages(unsigned slot) {
    for (uint32_t page = 0; page * PAGE_CELLS < registry.cells_count; page++) {
        if (atomic_load_explicit(&slots[slot][page], memory_order_relaxed) != NULL) continue;
        cell_value *cells = aligned_alloc(64, PAGE_CELLS * sizeof *cells);
        if (cells == NULL) out_of_memory();
        for (size_t i = 0; i < PAGE_CELLS; i++)
            atomic_init(&cells[i], 0);
        atomic_store_explicit(&slots[slot][page], cells, memory_order_release);
    }
}

void metrics_thread_init(unsigned slot) {
    assert(slot < METRIC_SLOTS_MAX);
    pthread_mutex_lock(&registry.lock);
    registry.slot_used[slot] = true;
    slot_fill_pages(slot);
    if (slot >= atomic_load_explicit(&slots_count, memory_order_relaxed))
        atomic_store_explicit(&slots_count, slot + 1, memory_order_relaxed);
    pthread_mutex_unlock(&registry.lock);
    thread_slot = slot;
}

static uint32_t cells_needed(const struct metric_def *def) {
    return def->kind == METRIC_HISTOGRAM ? (uint32_t)def->bounds_count + 2 : 1;
}

static uint32_t cells_take(uint32_t n) {
    assert(n <= PAGE_CELLS);
    uint32_t first = registry.cells_count;
    if (first % PAGE_CELLS + n > PAGE_CELLS) first += PAGE_CELLS - first % PAGE_CELLS;
    assert(first + n <= PAGE_CELLS * PAGES_MAX);
    registry.cells_count = first + n;
    for (unsigned slot = 0; slot < METRIC_SLOTS_MAX; slot++)
        if (registry.slot_used[slot]) slot_fill_pages(slot);
    return first;
}

struct metric_key {
    const char *name, *labels;
};

static uint64_t key_hash(const char *name, const char *labels) {
    return hash64(labels, strlen(labels), hash64(name, strlen(name), 0));
}

static bool metric_is(const void *owner, uint32_t ref, const void *key) {
    (void)owner;
    const struct metric *m = registry.metrics[ref];
    const struct metric_key *k = key;
    return strcmp(m->def->name, k->name) == 0 && strcmp(m->labels, k->labels) == 0;
}

static uint64_t metric_hash(const void *owner, uint32_t ref) {
    (void)owner;
    return key_hash(registry.metrics[ref]->def->name, registry.metrics[ref]->labels);
}

static struct metric *metric_new(const struct metric_def *def, const char *labels) {
    if (registry.count == registry.cap) {
        registry.cap = registry.cap == 0 ? 64 : registry.cap * 2;
        registry.metrics = reallocarray(registry.metrics, registry.cap, sizeof *registry.metrics);
        if (registry.metrics == NULL) out_of_memory();
    }
    struct metric *m = calloc(1, sizeof *m);
    char *copy = strdup(labels);
    if (m == NULL || copy == NULL) out_of_memory();
    *m = (struct metric){.def = def, .labels = copy, .cell = cells_take(cells_needed(def))};
    registry.metrics[registry.count] = m;
    if (map_insert(&registry.index, key_hash(def->name, labels), registry.count, metric_hash,
                   NULL) != OK)
        out_of_memory();
    registry.count++;
    return m;
}

static struct metric *metric_find_or_new(const struct metric_def *def, const char *labels) {
    if (labels == NULL) labels = "";
    struct metric_key key = {def->name, labels};
    uint32_t ref = map_find(&registry.index, key_hash(def->name, labels), metric_is, NULL, &key);
    struct metric *m = ref == MAP_NONE ? metric_new(def, labels) : registry.metrics[ref];
    assert(m->def->kind == def->kind && m->def->bounds_count == def->bounds_count);
    return m;
}

struct metric *metric_get(const struct metric_def *def, const char *labels) {
    pthread_mutex_lock(&registry.lock);
    struct metric *m = metric_find_or_new(def, labels);
    pthread_mutex_unlock(&registry.lock);
    return m;
}

void metric_collect(const struct metric_def *def, const char *labels, double (*fn)(void *ctx),
                    void *ctx) {
    assert(def->kind != METRIC_HISTOGRAM);
    pthread_mutex_lock(&registry.lock);
    struct metric *m = metric_find_or_new(def, labels);
    m->collect = fn;
    m->collect_ctx = ctx;
    pthread_mutex_unlock(&registry.lock);
}

static cell_value *cell_at(unsigned slot, uint32_t cell) {
    cell_value *page = atomic_load_explicit(&slots[slot][cell / PAGE_CELLS], memory_order_acquire);
    return page == NULL ? NULL : &page[cell % PAGE_CELLS];
}

static void cell_add_f64(uint32_t cell, double delta) {
    cell_value *p = cell_at(thread_slot, cell);
    uint64_t old = atomic_load_explicit(p, memory_order_relaxed);
    if (thread_slot != 0) { /* the only writer */
        atomic_store_explicit(p, f64_bits(f64_from_bits(old) + delta), memory_order_relaxed);
        return;
    }
    while (!atomic_compare_exchange_weak_explicit(p, &old, f64_bits(f64_from_bits(old) + delta),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

static void cell_increment(uint32_t cell) {
    cell_value *p = cell_at(thread_slot, cell);
    if (thread_slot == 0)
        atomic_fetch_add_explicit(p, 1, memory_order_relaxed);
    else
        atomic_store_explicit(p, atomic_load_explicit(p, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

static double cell_sum_f64(uint32_t cell) {
    double sum = 0;
    unsigned count = atomic_load_explicit(&slots_count, memory_order_relaxed);
    for (unsigned slot = 0; slot < count; slot++) {
        cell_value *p = cell_at(slot, cell);
        if (p != NULL) sum += f64_from_bits(atomic_load_explicit(p, memory_order_relaxed));
    }
    return sum;
}

static uint64_t cell_sum_u64(uint32_t cell) {
    uint64_t sum = 0;
    unsigned count = atomic_load_explicit(&slots_count, memory_order_relaxed);
    for (unsigned slot = 0; slot < count; slot++) {
        cell_value *p = cell_at(slot, cell);
        if (p != NULL) sum += atomic_load_explicit(p, memory_order_relaxed);
    }
    return sum;
}

void metric_add(struct metric *m, double delta) {
    assert(m->def->kind != METRIC_HISTOGRAM && m->collect == NULL);
    assert(m->def->kind != METRIC_COUNTER || delta >= 0);
    cell_add_f64(m->cell, delta);
}

/* The value goes to slot 0 whoever writes it, so that a gauge may change hands. What metric_add
 * left in other slots is cleared first: a reader may see the value without it for a moment. */
void metric_set(struct metric *m, double value) {
    assert(m->def->kind == METRIC_GAUGE && m->collect == NULL);
    unsigned count = atomic_load_explicit(&slots_count, memory_order_relaxed);
    for (unsigned slot = 1; slot < count; slot++) {
        cell_value *p = cell_at(slot, m->cell);
        if (p != NULL && atomic_load_explicit(p, memory_order_relaxed) != 0)
            atomic_store_explicit(p, 0, memory_order_relaxed);
    }
    atomic_store_explicit(cell_at(0, m->cell), f64_bits(value), memory_order_relaxed);
}

void metric_observe(struct metric *m, double value) {
    assert(m->def->kind == METRIC_HISTOGRAM);
    size_t low = 0, high = m->def->bounds_count;
    while (low < high) { /* the first bound >= value; NaN goes to +Inf */
        size_t mid = (low + high) / 2;
        if (value <= m->def->bounds[mid])
            high = mid;
        else
            low = mid + 1;
    }
    cell_increment(m->cell + (uint32_t)low);
    cell_add_f64(m->cell + (uint32_t)m->def->bounds_count + 1, value);
}

double metric_value(const struct metric *m) {
    assert(m->def->kind != METRIC_HISTOGRAM);
    return m->collect != NULL ? m->collect(m->collect_ctx) : cell_sum_f64(m->cell);
}

uint64_t metric_count(const struct metric *m) {
    assert(m->def->kind == METRIC_HISTOGRAM);
    uint64_t count = 0;
    for (uint32_t i = 0; i <= m->def->bounds_count; i++)
        count += cell_sum_u64(m->cell + i);
    return count;
}

static int metric_order(const void *a, const void *b) {
    const struct metric *x = *(struct metric *const *)a, *y = *(struct metric *const *)b;
    int c = strcmp(x->def->name, y->def->name);
    return c != 0 ? c : strcmp(x->labels, y->labels);
}

/* The metrics of this moment in order of name and labels; metrics are never freed, so the lock need
 * not be kept while collect functions run. The array is the caller's; NULL without memory. */
static struct metric **metrics_sorted(uint32_t *out_count) {
    pthread_mutex_lock(&registry.lock);
    uint32_t count = registry.count;
    struct metric **list = malloc((count + 1) * sizeof *list);
    if (list != NULL && count > 0) memcpy(list, registry.metrics, count * sizeof *list);
    pthread_mutex_unlock(&registry.lock);
    if (list == NULL) return NULL;
    qsort(list, count, sizeof *list, metric_order);
    *out_count = count;
    return list;
}

struct sample_sink {
    metrics_sample_cb cb;
    void *ctx;
    struct buf name, labels; /* reused */
};

static void sink_put(struct sample_sink *sink, const struct metric *m, const char *suffix,
                     const char *le, double v) {
    buf_clear(&sink->name);
    buf_clear(&sink->labels);
    buf_put_sv(&sink->name, sv_from(m->def->name));
    buf_put_sv(&sink->name, sv_from(suffix));
    buf_put_sv(&sink->labels, sv_from(m->labels));
    if (le != NULL) buf_printf(&sink->labels, "%sle=\"%s\"", m->labels[0] == '\0' ? "" : ",", le);
    if (!sink->name.failed && !sink->labels.failed)
        sink->cb(sink->ctx, buf_sv(&sink->name), buf_sv(&sink->labels), v);
}

static void sink_put_metric(struct sample_sink *sink, const struct metric *m) {
    if (m->def->kind != METRIC_HISTOGRAM) {
        sink_put(sink, m, "", NULL, metric_value(m));
        return;
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i <= m->def->bounds_count; i++) {
        char le[NUM_TEXT_MAX + 1] = "+Inf";
        if (i < m->def->bounds_count) le[num_format_f64(le, m->def->bounds[i], 'g')] = '\0';
        total += cell_sum_u64(m->cell + i);
        sink_put(sink, m, "_bucket", le, (double)total);
    }
    sink_put(sink, m, "_sum", NULL, cell_sum_f64(m->cell + (uint32_t)m->def->bounds_count + 1));
    sink_put(sink, m, "_count", NULL, (double)total);
}

void metrics_each_sample(metrics_sample_cb cb, void *ctx) {
    uint32_t count = 0;
    struct metric **list = metrics_sorted(&count);
    struct sample_sink sink = {.cb = cb, .ctx = ctx};
    for (uint32_t i = 0; i < count; i++)
        sink_put_metric(&sink, list[i]);
    buf_fini(&sink.name);
    buf_fini(&sink.labels);
    free(list);
}

static void put_sample_line(void *ctx, struct sv name, struct sv labels, double value) {
    struct buf *out = ctx;
    buf_put_sv(out, name);
    if (labels.len > 0) buf_printf(out, "{%.*s}", SV_ARG(labels));
    buf_put_char(out, ' ');
    num_put_f64(out, value, 'g');
    buf_put_char(out, '\n');
}

static void put_family_head(struct buf *out, const struct metric_def *def) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    buf_printf(out, "# HELP %s ", def->name);
    for (const char *c = def->help; *c != '\0'; c++) {
        if (*c == '\\')
            buf_put_sv(out, SV("\\\\"));
        else if (*c == '\n')
            buf_put_sv(out, SV("\\n"));
        else
            buf_put_char(out, *c);
    }
    buf_printf(out, "\n# TYPE %s %s\n", def->name, kinds[def->kind]);
}

void metrics_put_text(struct buf *out) {
    uint32_t count = 0;
    struct metric **list = metrics_sorted(&count);
    if (list == NULL) out->failed = true;
    struct sample_sink sink = {.cb = put_sample_line, .ctx = out};
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(list[i - 1]->def->name, list[i]->def->name) != 0)
            put_family_head(out, list[i]->def);
        sink_put_metric(&sink, list[i]);
    }
    out->failed |= sink.name.failed || sink.labels.failed;
    buf_fini(&sink.name);
    buf_fini(&sink.labels);
    free(list);
}
