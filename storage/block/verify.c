/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a block as a whole: every frame, then every series with its labels and samples, and what
 * the posting lists say of them. */
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/cancel.h"
#include "storage/block/labels_in.h"

struct verify {
    struct block *b;
    struct find *find;
    struct labels_in labels;
    struct err *err;
    const bool *canceled;
    uint64_t *sums[SIDES]; /* of series, by set */
    struct samples samples;
    struct buf canonical, before;
    struct page_times times;
    void (*bad)(void *ctx, const struct err *what); /* NULL: ends with the first */
    void *ctx;
    uint64_t bads;
};

/* What is bad is told, and the rest looked at. */
static enum status verify_told(struct verify *v, enum status status) {
    if (status != ERR_CORRUPT || v->bad == NULL) return status;
    v->bad(v->ctx, v->err);
    v->bads++;
    return OK;
}

static enum status verify_canceled(const struct verify *v) {
    if (!cancel_is_set(v->canceled)) return OK;
    return err_set(v->err, ERR_CANCELED, 0, "block %s: verifying was canceled", v->b->path);
}

static enum status verify_nomem(const struct verify *v) {
    return err_set(v->err, ERR_NOMEM, 0, "block: out of memory");
}

/* *at goes behind it, also when it is bad: to the end where that is not known. */
static enum status frame_verify(struct frames_in *in, const struct block *b, uint64_t *at,
                                struct buf *raw, struct err *err) {
    uint8_t p[FRAME_HEADER_BYTES];
    struct frame_header h;
    size_t got;
    uint64_t end = b->file_bytes - BLOCK_FOOTER_BYTES;
    TRY(file_pread(b->file, p, sizeof p, *at, &got, err));
    uint64_t from = *at;
    *at = end;
    if (got < sizeof p || !frame_header_get(p, &h) || h.stored > end - from - FRAME_HEADER_BYTES)
        return err_set(err, ERR_CORRUPT, 0, "block %s: no frame at %" PRIu64, b->path, from);
    *at = from + h.stored + FRAME_HEADER_BYTES;
    return frames_get(in, ref_make(from, h.stored + FRAME_HEADER_BYTES), raw, err);
}

enum status block_verify_frames(struct block *b, uint64_t *at, uint64_t bytes_max,
                                struct err *err) {
    struct frames_in in = {.file = b->file, .path = b->path};
    struct buf raw = {0};
    enum status status = OK;
    uint64_t end = b->file_bytes - BLOCK_FOOTER_BYTES;
    uint64_t next = MIN(MAX(*at, BLOCK_HEADER_BYTES), end);
    uint64_t until = bytes_max > end - next ? end : next + bytes_max;
    while (next < until && status == OK)
        status = frame_verify(&in, b, &next, &raw, err);
    frames_in_fini(&in);
    buf_fini(&raw);
    if (status == OK) *at = next == end ? b->file_bytes : next;
    return status;
}

static enum status frames_verify(struct verify *v) {
    struct frames_in in = {.file = v->b->file, .path = v->b->path};
    struct buf raw = {0};
    enum status status = OK;
    uint64_t at = BLOCK_HEADER_BYTES, end = v->b->file_bytes - BLOCK_FOOTER_BYTES;
    while (at < end && status == OK) {
        status = verify_told(v, frame_verify(&in, v->b, &at, &raw, v->err));
        if (status == OK) status = verify_canceled(v);
    }
    frames_in_fini(&in);
    buf_fini(&raw);
    return status;
}

static enum status series_corrupt(const struct verify *v, uint64_t series, const char *what) {
    return err_set(v->err, ERR_CORRUPT, 0, "block %s: series %" PRIu64 ": %s", v->b->path, series,
                   what);
}

static enum status samples_verify(struct verify *v, uint64_t series, uint32_t target) {
    struct find *f = v->find;
    struct page_at page;
    bool more;
    samples_clear(&v->samples);
    TRY(pages_seek(f->pages, series, target, v->err));
    for (;;) {
        TRY(pages_next(f->pages, &page, &more, v->err));
        if (!more) break;
        TRY(page_get_times(f->io, &page, &v->times, v->err));
        size_t range[2] = {0, v->times.count};
        TRY(page_append(f->io, &page, &v->times, range, &v->samples, v->err));
    }
    for (size_t i = 1; i < v->samples.count; i++)
        if (v->samples.times_ms[i - 1] >= v->samples.times_ms[i])
            return series_corrupt(v, series, "times do not ascend");
    return OK;
}

/* What a set's series are told by: it does not matter in which order they come. */
static uint64_t series_mix(uint64_t series) {
    series = (series + 1) * 0x9e3779b97f4a7c15ULL;
    return series ^ series >> 29;
}

static enum status series_verify(struct verify *v, uint64_t series, uint32_t shard, bool first,
                                 struct block_shard *sum) {
    struct found found = {.shard = shard};
    TRY(verify_canceled(v));
    TRY(find_sets(v->find, series, &found));
    for (int side = 0; side < SIDES; side++)
        v->sums[side][found.sets[side]] += series_mix(series);
    labels_in_canonical(&v->labels, &found, &v->canonical);
    if (v->canonical.failed) return verify_nomem(v);
    if (!first && sv_cmp(buf_sv(&v->before), buf_sv(&v->canonical)) >= 0)
        return series_corrupt(v, series, "it is out of order");
    struct buf before = v->before;
    v->before = v->canonical;
    v->canonical = before;
    series_id id = series_id_of(v->b->secret, v->b->tenant, buf_sv(&v->before));
    if (series_shard(id, v->b->shards_count) != shard)
        return series_corrupt(v, series, "it is of another shard, or of another cluster");
    TRY(samples_verify(v, series, found.sets[SIDE_TARGET]));
    if (block_digest_add(&sum->digest, id, &v->samples) != OK) return verify_nomem(v);
    sum->samples_count += v->samples.count;
    sum->series_count++;
    sum->min_ms = MIN(sum->min_ms, v->samples.times_ms[0]);
    sum->max_ms = MAX(sum->max_ms, v->samples.times_ms[v->samples.count - 1]);
    return OK;
}

static enum status shard_verify(struct verify *v, const struct shard_entry *e) {
    const struct block_shard *is = &e->info;
    struct block_shard sum = {.min_ms = INT64_MAX, .max_ms = INT64_MIN};
    if (is->series_count == 0) return OK;
    for (uint64_t i = 0; i < is->series_count; i++)
        TRY(series_verify(v, e->series_first + i, e->shard, i == 0, &sum));
    bool same = sum.samples_count == is->samples_count && sum.min_ms == is->min_ms &&
                sum.max_ms == is->max_ms && sum.digest.hi == is->digest.hi &&
                sum.digest.lo == is->digest.lo;
    if (same) return OK;
    return err_set(v->err, ERR_CORRUPT, 0,
                   "block %s: shard %u has not the samples of which it has the digest", v->b->path,
                   e->shard);
}

static enum status postings_verify(struct verify *v, enum block_side side) {
    struct block_io *io = v->find->io;
    for (uint64_t i = 0; i < v->b->totals.sets_count[side]; i++) {
        struct set_in set;
        uint64_t series = 0, sum = 0;
        TRY(verify_canceled(v));
        TRY(set_get(io, side, i, &set, v->err));
        struct stream s = stream_at(io, PART_POSTINGS, set.postings_at, v->err);
        for (uint64_t k = 0; k < set.series_count && s.status == OK; k++) {
            series += stream_varint(&s);
            sum += series_mix(series);
        }
        if (s.status != OK) return s.status;
        if (sum != v->sums[side][i]) return io_corrupt(io, PART_POSTINGS, set.postings_at, v->err);
    }
    return OK;
}

static enum status verify_run(struct verify *v) {
    TRY(frames_verify(v));
    enum status loaded = labels_in_load(&v->labels, v->find, true);
    if (loaded != OK) return verify_told(v, loaded);
    for (int side = 0; side < SIDES; side++) {
        v->sums[side] = calloc(v->b->totals.sets_count[side] + 1, sizeof *v->sums[side]);
        if (v->sums[side] == NULL) return verify_nomem(v);
    }
    uint64_t samples = 0;
    for (size_t i = 0; i < v->b->shards_present; i++) {
        enum status status = shard_verify(v, &v->b->shards[i]);
        if (status == ERR_CORRUPT && v->bad != NULL)
            err_prefix(v->err, "shard %u", v->b->shards[i].shard);
        TRY(verify_told(v, status));
        samples += v->b->shards[i].info.samples_count;
    }
    if (samples != v->b->totals.samples_count)
        TRY(verify_told(v, block_corrupt(v->b, "it has not as many samples as it says", v->err)));
    if (v->bads > 0) return OK; /* the sums are of what was read */
    for (int side = 0; side < SIDES; side++)
        TRY(verify_told(v, postings_verify(v, (enum block_side)side)));
    return OK;
}

enum status block_inspect(struct block *b, const struct block_inspect *check, struct err *err) {
    static const struct select_query all = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct verify *v = calloc(1, sizeof *v);
    struct err what;
    if (v == NULL) return err_set(err, ERR_NOMEM, 0, "block: out of memory");
    if (err == NULL) err = &what;
    *v = (struct verify){
        .b = b, .err = err, .canceled = check->canceled, .bad = check->bad, .ctx = check->ctx};
    enum status status = find_new(b, &all, check->canceled, &v->find, err);
    if (status == OK) status = verify_run(v);
    labels_in_fini(&v->labels);
    find_free(v->find);
    samples_fini(&v->samples);
    buf_fini(&v->canonical);
    buf_fini(&v->before);
    for (int side = 0; side < SIDES; side++)
        free(v->sums[side]);
    free(v);
    return status;
}

enum status block_verify(struct block *b, const bool *canceled, struct err *err) {
    return block_inspect(b, &(struct block_inspect){.canceled = canceled}, err);
}
