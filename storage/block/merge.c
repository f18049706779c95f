/* SPDX-License-Identifier: Apache-2.0 */
/* Merging: shard by shard, within it the inputs' series side by side. A series whose pages follow
 * one another is written from these pages: full ones as they are, runs of shorter ones anew. Where
 * pages overlap, or the filter takes something out, its samples are decoded, joined and encoded.
 *
 * A digest is that of the inputs less what was left out, so that pages which are copied need not be
 * decoded. */
#include <assert.h>
#include <stdlib.h>

#include "storage/block/labels_in.h"
#include "storage/block/writer_internal.h"

struct merge_page {
    struct page_at at;
    size_t input;
    int64_t first_ms, last_ms;
};

struct input {
    struct find *find;
    struct labels_in labels;
    const uint64_t *shards;
    uint64_t series, end;         /* of the shard at hand */
    struct found found;           /* the series at hand */
    struct buf canonical, before; /* its labels, and those of the series before it */
    struct samples samples;
    size_t samples_taken; /* by joining */
};

struct merge {
    const struct block_merge_options *options;
    struct block_writer *w;
    struct err *err;
    struct input *inputs;
    size_t inputs_count;
    struct merge_page *pages; /* of the series at hand */
    size_t pages_count, pages_cap;
    bool in_order; /* they follow one another */
    struct samples joined;
    struct label *labels; /* for the filter */
    size_t labels_cap;
    struct block_digest digest; /* of the shard at hand */
    struct page_times times;
    struct buf items;
};

static enum status merge_nomem(struct merge *m) {
    return err_set(m->err, ERR_NOMEM, 0, "block: out of memory");
}

static const struct select_query query_all = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};

static enum status input_open(struct merge *m, struct input *in,
                              const struct block_merge_input *from) {
    const struct block_writer_options *o = &m->options->writer;
    const struct block *b = from->block;
    if (b->shards_count != o->shards_count || b->tenant != o->tenant)
        return err_set(m->err, ERR_CONFLICT, 0, "block %s: of %u shards of tenant %u, not %u of %u",
                       b->path, b->shards_count, b->tenant, o->shards_count, o->tenant);
    in->shards = from->shards;
    TRY(find_new(from->block, &query_all, o->canceled, &in->find, m->err));
    return labels_in_load(&in->labels, in->find, true);
}

static void merge_fini(struct merge *m) {
    for (size_t i = 0; i < m->inputs_count; i++) {
        labels_in_fini(&m->inputs[i].labels);
        find_free(m->inputs[i].find);
        buf_fini(&m->inputs[i].canonical);
        buf_fini(&m->inputs[i].before);
        samples_fini(&m->inputs[i].samples);
    }
    free(m->inputs);
    free(m->pages);
    free(m->labels);
    samples_fini(&m->joined);
    buf_fini(&m->items);
    block_writer_free(m->w);
}

/* Loads the labels of the input's next series of the shard. */
static enum status input_peek(struct merge *m, struct input *in, bool is_first) {
    struct buf before = in->before;
    if (in->series == in->end) return OK;
    in->before = in->canonical;
    in->canonical = before;
    TRY(find_sets(in->find, in->series, &in->found));
    labels_in_canonical(&in->labels, &in->found, &in->canonical);
    if (in->canonical.failed) return merge_nomem(m);
    if (is_first || sv_cmp(buf_sv(&in->before), buf_sv(&in->canonical)) < 0) return OK;
    return io_corrupt(in->find->io, PART_LABELS, in->series, m->err);
}

/* -- pages of a series */

static enum status pages_put(struct merge *m, size_t input, const struct page_at *at) {
    int64_t ends[2];
    if (m->pages_count == m->pages_cap) {
        size_t cap = MAX(m->pages_cap * 2, 16);
        struct merge_page *pages = realloc(m->pages, cap * sizeof *pages);
        if (pages == NULL) return merge_nomem(m);
        m->pages = pages;
        m->pages_cap = cap;
    }
    TRY(page_ends(m->inputs[input].find->io, at, ends, m->err));
    m->pages[m->pages_count++] = (struct merge_page){*at, input, ends[0], ends[1]};
    return OK;
}

static int pages_order(const void *a, const void *b) {
    const struct merge_page *x = a, *y = b;
    return (x->first_ms > y->first_ms) - (x->first_ms < y->first_ms);
}

static enum status pages_collect(struct merge *m, const bool *has) {
    m->pages_count = 0;
    for (size_t i = 0; i < m->inputs_count; i++) {
        struct find *f = m->inputs[i].find;
        struct page_at page;
        bool more;
        if (!has[i]) continue;
        TRY(pages_seek(f->pages, m->inputs[i].series, m->inputs[i].found.sets[SIDE_TARGET],
                       m->err));
        for (;;) {
            TRY(pages_next(f->pages, &page, &more, m->err));
            if (!more) break;
            TRY(pages_put(m, i, &page));
        }
    }
    qsort(m->pages, m->pages_count, sizeof *m->pages, pages_order);
    m->in_order = true;
    for (size_t i = 1; i < m->pages_count; i++)
        m->in_order = m->in_order && m->pages[i - 1].last_ms < m->pages[i].first_ms;
    return OK;
}

static enum status page_read_all(struct merge *m, const struct merge_page *p, struct samples *out) {
    struct block_io *io = m->inputs[p->input].find->io;
    TRY(page_get_times(io, &p->at, &m->times, m->err));
    size_t range[2] = {0, m->times.count};
    return page_append(io, &p->at, &m->times, range, out, m->err);
}

static enum status page_rows_of(struct merge *m, const struct merge_page *p, size_t *out) {
    struct column_entry entry = {.rows = (uint32_t)p->at.span};
    if (p->at.span == 0)
        TRY(io_column_entry(m->inputs[p->input].find->io, p->at.column, &entry, m->err));
    *out = entry.rows - MIN(p->at.missing_count, entry.rows);
    return OK;
}

static enum status page_copy(struct merge *m, const struct merge_page *p) {
    struct block_io *io = m->inputs[p->input].find->io;
    struct page page;
    const int64_t *starts;
    TRY(page_get_times(io, &p->at, &m->times, m->err));
    TRY(page_get(io, &p->at, m->times.count, &page, m->err));
    TRY(page_get_starts(io, &p->at, m->times.count, &starts, m->err));
    return writer_put_page(m->w, p->at.kind, &page, m->times.ms, starts, m->err);
}

/* A run of pages that are not full. */
static enum status pages_write_run(struct merge *m, size_t first, size_t end) {
    if (end - first == 1) return page_copy(m, &m->pages[first]);
    samples_clear(&m->joined);
    for (size_t i = first; i < end; i++)
        TRY(page_read_all(m, &m->pages[i], &m->joined));
    return writer_put_samples(m->w, &m->joined, m->err);
}

static enum status page_is_full(struct merge *m, const struct merge_page *p, bool *out) {
    size_t rows;
    *out = p->at.len >= HISTOGRAMS_PAGE_BYTES;
    if (p->at.kind == KIND_HISTOGRAM) return OK;
    TRY(page_rows_of(m, p, &rows));
    *out = rows >= writer_page_rows(m->w);
    return OK;
}

static enum status pages_write(struct merge *m) {
    size_t first = 0;
    for (size_t i = 0; i < m->pages_count; i++) {
        bool full;
        TRY(page_is_full(m, &m->pages[i], &full));
        if (!full) continue;
        if (first < i) TRY(pages_write_run(m, first, i));
        TRY(page_copy(m, &m->pages[i]));
        first = i + 1;
    }
    return first < m->pages_count ? pages_write_run(m, first, m->pages_count) : OK;
}

/* -- samples of a series */

static void sample_put(struct samples *out, const struct samples *in, size_t i) {
    size_t at = out->count++;
    out->times_ms[at] = in->times_ms[i];
    out->values[at] = in->values[i];
    if (out->starts_ms != NULL) out->starts_ms[at] = in->starts_ms == NULL ? 0 : in->starts_ms[i];
    if (out->histograms != NULL)
        out->histograms[at] = in->histograms == NULL ? NULL : in->histograms[i];
}

static enum status samples_join(struct merge *m, const bool *has) {
    size_t count = 0;
    bool starts = false, histograms = false;
    for (size_t i = 0; i < m->inputs_count; i++) {
        m->inputs[i].samples_taken = 0;
        if (!has[i]) continue;
        count += m->inputs[i].samples.count;
        starts = starts || m->inputs[i].samples.starts_ms != NULL;
        histograms = histograms || m->inputs[i].samples.histograms != NULL;
    }
    samples_clear(&m->joined);
    if (samples_reserve(&m->joined, count) != OK) return merge_nomem(m);
    if ((starts && samples_want_starts(&m->joined) != OK) ||
        (histograms && samples_want_histograms(&m->joined) != OK))
        return merge_nomem(m);
    for (;;) {
        struct input *best = NULL;
        int64_t t = 0;
        for (size_t i = 0; i < m->inputs_count; i++) {
            struct input *in = &m->inputs[i];
            if (!has[i] || in->samples_taken == in->samples.count) continue;
            int64_t next = in->samples.times_ms[in->samples_taken];
            if (best == NULL || next < t) {
                best = in;
                t = next;
            }
        }
        if (best == NULL) return OK;
        sample_put(&m->joined, &best->samples, best->samples_taken);
        for (size_t i = 0; i < m->inputs_count; i++) {
            struct input *in = &m->inputs[i];
            if (has[i] && in->samples_taken < in->samples.count &&
                in->samples.times_ms[in->samples_taken] == t)
                in->samples_taken++;
        }
    }
}

static enum status samples_read(struct merge *m, const bool *has, size_t *out_count) {
    *out_count = 0;
    for (size_t i = 0; i < m->inputs_count; i++)
        samples_clear(&m->inputs[i].samples);
    for (size_t i = 0; i < m->pages_count; i++)
        TRY(page_read_all(m, &m->pages[i], &m->inputs[m->pages[i].input].samples));
    for (size_t i = 0; i < m->inputs_count; i++)
        if (has[i]) *out_count += m->inputs[i].samples.count;
    return OK;
}

static enum status samples_filter(struct merge *m, uint32_t shard, const struct input *in) {
    const struct block_merge_options *o = m->options;
    if (o->filter == NULL) return OK;
    size_t count = labels_in_get(&in->labels, &in->found, m->labels, m->labels_cap);
    if (count > m->labels_cap) {
        struct label *labels = realloc(m->labels, count * sizeof *labels);
        if (labels == NULL) return merge_nomem(m);
        m->labels = labels;
        m->labels_cap = count;
        labels_in_get(&in->labels, &in->found, m->labels, m->labels_cap);
    }
    o->filter(o->ctx, shard, buf_sv(&in->canonical), m->labels, count, &m->joined);
    return OK;
}

static void digest_less(struct block_digest *d, struct block_digest other) {
    d->hi -= other.hi + (d->lo < other.lo);
    d->lo -= other.lo;
}

/* Takes what was left out from the shard's digest. */
static enum status merge_account(struct merge *m, const bool *has, const struct input *in) {
    const struct block_writer_options *o = &m->options->writer;
    series_id id = series_id_of(o->secret, o->tenant, buf_sv(&in->canonical));
    for (size_t i = 0; i < m->inputs_count; i++) {
        struct block_digest d = {0};
        if (!has[i]) continue;
        if (block_digest_add(&d, id, &m->inputs[i].samples) != OK) return merge_nomem(m);
        digest_less(&m->digest, d);
    }
    return block_digest_add(&m->digest, id, &m->joined) == OK ? OK : merge_nomem(m);
}

static enum status series_merge(struct merge *m, uint32_t shard, const bool *has,
                                const struct input *in) {
    TRY(pages_collect(m, has));
    bool copies = m->in_order;
    if (!m->in_order || m->options->filter != NULL) {
        size_t before;
        TRY(samples_read(m, has, &before));
        TRY(samples_join(m, has));
        TRY(samples_filter(m, shard, in));
        if (m->joined.count != before || m->options->replaces) {
            TRY(merge_account(m, has, in));
            copies = false;
        }
        if (m->joined.count == 0) return OK;
    }
    TRY(writer_begin_series(m->w, shard, buf_sv(&in->canonical), m->err));
    TRY(copies ? pages_write(m) : writer_put_samples(m->w, &m->joined, m->err));
    return writer_end_series(m->w, m->err);
}

/* -- shards */

static bool input_has(const struct input *in, uint32_t shard) {
    return in->shards == NULL || (in->shards[shard / 64] >> (shard % 64) & 1) != 0;
}

static enum status shard_begin(struct merge *m, uint32_t shard) {
    m->digest = (struct block_digest){0};
    buf_clear(&m->items);
    for (size_t i = 0; i < m->inputs_count; i++) {
        struct input *in = &m->inputs[i];
        const struct block *b = in->find->block;
        const struct shard_entry *e = input_has(in, shard) ? block_find_shard(b, shard) : NULL;
        in->series = in->end = 0;
        if (e == NULL) continue;
        in->series = e->series_first;
        in->end = e->series_first + e->info.series_count;
        block_digest_sum(&m->digest, e->info.digest);
        TRY(input_peek(m, in, true));
        if (e->items_count > 0) TRY(block_read_items(b, shard, &m->items, m->err));
    }
    return OK;
}

/* Which inputs have the smallest series, and the first of these. */
static struct input *inputs_least(struct merge *m, bool *has) {
    struct input *least = NULL;
    for (size_t i = 0; i < m->inputs_count; i++) {
        struct input *in = &m->inputs[i];
        has[i] = false;
        if (in->series == in->end) continue;
        int c = least == NULL ? -1 : sv_cmp(buf_sv(&in->canonical), buf_sv(&least->canonical));
        has[i] = c <= 0;
        if (c >= 0) continue;
        memset(has, 0, i * sizeof *has);
        least = in;
    }
    return least;
}

static enum status shard_merge(struct merge *m, uint32_t shard, bool *has) {
    const struct input *in;
    TRY(shard_begin(m, shard));
    while ((in = inputs_least(m, has)) != NULL) {
        TRY(writer_canceled(m->w, m->err));
        TRY(series_merge(m, shard, has, in));
        for (size_t i = 0; i < m->inputs_count; i++) {
            if (!has[i]) continue;
            m->inputs[i].series++;
            TRY(input_peek(m, &m->inputs[i], false));
        }
    }
    if (m->w->shard != NULL && m->w->shard->shard == shard) *writer_digest(m->w) = m->digest;
    if (m->options->filter_items != NULL && m->items.len > 0)
        m->options->filter_items(m->options->ctx, shard, &m->items);
    return block_writer_items(m->w, shard, buf_sv(&m->items), m->err);
}

static enum status merge_run(struct merge *m, bool *out_written) {
    const struct block_merge_options *o = m->options;
    m->inputs = calloc(o->inputs_count + 1, sizeof *m->inputs);
    bool *has = calloc(o->inputs_count + 1, sizeof *has);
    enum status status = m->inputs == NULL || has == NULL ? merge_nomem(m) : OK;
    m->inputs_count = m->inputs == NULL ? 0 : o->inputs_count;
    for (size_t i = 0; i < m->inputs_count && status == OK; i++)
        status = input_open(m, &m->inputs[i], &o->inputs[i]);
    if (status == OK) status = block_writer_new(&o->writer, &m->w, m->err);
    for (uint32_t shard = 0; shard < o->writer.shards_count && status == OK; shard++)
        status = shard_merge(m, shard, has);
    if (status == OK) status = block_writer_finish(m->w, out_written, m->err);
    free(has);
    return status;
}

enum status block_merge(const struct block_merge_options *options, bool *out_written,
                        struct err *err) {
    struct merge *m = calloc(1, sizeof *m);
    if (m == NULL) return err_set(err, ERR_NOMEM, 0, "block: out of memory");
    m->options = options;
    m->err = err;
    enum status status = merge_run(m, out_written);
    merge_fini(m);
    free(m);
    return status;
}
