/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "ingest/write_frame.h"
#include "request.h"

enum { SHARDS = 8 };

/* One node; the epoch of shard i is 10 + i. */
static struct ring_map *make_map(void) {
    struct ring_map *map;
    cr_assert_eq(ring_map_new(1, SHARDS, &map, NULL), OK);
    map->settings.shards_count = SHARDS;
    map->settings.secret = REQUEST_SECRET;
    for (uint32_t i = 0; i < SHARDS; i++)
        map->shards[i].epoch = 10 + i;
    return map;
}

struct batch {
    size_t count;
    series_id ids[64];
    uint32_t shards[64];
    int64_t times_ms[64];
    double values[64];
    struct sv labels[64];
    struct buf texts[64];
};

/* Series by shard, each with one to three samples; the second half of the series without labels. */
static void make_batch(struct batch *b, unsigned series_max) {
    *b = (struct batch){0};
    for (uint32_t shard = 0; shard < SHARDS && b->count + 3 < ARRAY_LEN(b->ids); shard++) {
        unsigned found = 0;
        for (unsigned n = 0; found < series_max && n < 200; n++) {
            struct buf text = {0};
            char name[16];
            snprintf(name, sizeof name, "s%u", n);
            request_label(&text, SV("__name__"), sv_from(name));
            series_id id = series_id_of(REQUEST_SECRET, 0, buf_sv(&text));
            if (id.hi % SHARDS != shard) {
                buf_fini(&text);
                continue;
            }
            b->texts[b->count] = text;
            for (unsigned k = 0; k <= found % 3; k++) {
                size_t i = b->count++;
                b->ids[i] = id;
                b->shards[i] = shard;
                b->times_ms[i] =
                    i % 5 == 4 ? INT64_MIN + (int64_t)i : 1700000000000 + 15000 * (int64_t)k;
                b->values[i] = i % 7 == 6 ? f64_from_bits(STALE_NAN_BITS) : (double)i;
                b->labels[i] = found % 2 == 0 ? buf_sv(&text) : (struct sv){0};
            }
            found++;
        }
    }
}

static void batch_fini(struct batch *b) {
    for (size_t i = 0; i < ARRAY_LEN(b->texts); i++)
        buf_fini(&b->texts[i]);
}

static struct write_frame_rows rows_of(const struct batch *b, bool with_labels) {
    return (struct write_frame_rows){
        b->count, b->ids, b->shards, b->times_ms, b->values, b->labels, .with_labels = with_labels};
}

static void put_batch(const struct ring_map *map, const struct batch *b, bool with_labels,
                      struct buf *out) {
    struct write_frame_rows rows = rows_of(b, with_labels);
    write_frame_put(map, &rows, out);
    cr_assert(!out->failed);
}

/* Layout of write_frame.h by hand: a frame of one row whose every byte is known but the id, which
 * XXH3 gives. */
Test(write_frame, bytes_are_as_written_down) {
    struct ring_map *map = make_map();
    struct buf label = {0}, got = {0}, want = {0};
    request_label(&label, SV("__name__"), SV("up"));
    series_id id = series_id_of(REQUEST_SECRET, 0, buf_sv(&label));
    uint32_t shard = (uint32_t)(id.hi % SHARDS);
    series_id ids[2] = {id, id};
    uint32_t shards[2] = {shard, shard};
    int64_t times[2] = {1000, 999};
    double values[2] = {1.0, -2.0};
    struct sv labels[2] = {buf_sv(&label), buf_sv(&label)};
    struct write_frame_rows rows = {2, ids, shards, times, values, labels, .with_labels = true};
    write_frame_put(map, &rows, &got);
    buf_put(&want, "\x01\x01\x00\x01", 4); /* version, flags, tenant, one group */
    buf_put_u8(&want, (uint8_t)shard);
    buf_put_u8(&want, (uint8_t)(10 + shard));
    buf_put_u8(&want, 2);
    for (int i = 0; i < 2; i++) {
        buf_put_u64(&want, id.hi);
        buf_put_u64(&want, id.lo);
    }
    buf_put(&want, "\xd0\x0f\x01", 3); /* zigzag 1000 = 2000 = 0x7d0, zigzag -1 = 1 */
    buf_put(&want, "\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x00\xc0", 16);
    buf_put(&want, "\x11\x0a\x0e\x0a\x08__name__\x12\x02up\x01", 18); /* 17, 16 bytes, as before */
    cr_assert(sv_eq(buf_sv(&got), buf_sv(&want)));
    buf_fini(&got);
    buf_fini(&want);
    buf_fini(&label);
    ring_map_unref(map);
}

/* A float with a start, then a histogram: the stale marker of tests/storage/test_histogram.c. */
Test(write_frame, starts_and_histograms_are_as_written_down) {
    struct ring_map *map = make_map();
    struct buf got = {0};
    series_id id = {.hi = 3, .lo = 1}, ids[2] = {id, id};
    uint32_t shards[2] = {3, 3};
    int64_t times[2] = {1000, 1001}, starts[2] = {400, 0};
    double values[2] = {1.0, 0};
    struct sv histograms[2] = {{0}, SV("\x01\0\0\0\x02\0\0\0\0\0\xf0\x7f")};
    struct write_frame_rows rows = {.count = 2,
                                    .ids = ids,
                                    .shards = shards,
                                    .times_ms = times,
                                    .values = values,
                                    .starts_ms = starts,
                                    .histograms = histograms};
    write_frame_put(map, &rows, &got);
    static const char tail[] = "\xb0\x09\xd2\x0f" /* zigzag 600 = 1200, zigzag 1001 = 2002 */
                               "\x01\x01\x0c\x01\0\0\0\x02\0\0\0\0\0\xf0\x7f";
    cr_assert(got.ptr[1] == 24 && got.len == 4 + 3 + 32 + 3 + 16 + sizeof tail - 1);
    cr_assert(memcmp(got.ptr + got.len - (sizeof tail - 1), tail, sizeof tail - 1) == 0);
    struct write_rows back = {0};
    struct err err;
    bool with_labels;
    cr_assert_eq(write_frame_get(map, buf_sv(&got), &back, &with_labels, &err), OK, "%s", err.msg);
    cr_assert(back.count == 2 && back.starts_ms[0] == 400 && back.starts_ms[1] == 0);
    cr_assert(back.histograms[0].ptr == NULL && sv_eq(back.histograms[1], histograms[1]));
    for (size_t len = 0; len < got.len; len++) {
        char *exact = malloc(len + 1);
        memcpy(exact, got.ptr, len);
        enum status st = write_frame_get(map, sv_make(exact, len), &back, &with_labels, &err);
        cr_assert_eq(st, ERR_CORRUPT);
        cr_assert(back.count == 0 && back.histograms == NULL && back.starts_ms == NULL);
        free(exact);
    }
    got.ptr[got.len - 10] = 9; /* no such schema */
    cr_assert_eq(write_frame_get(map, buf_sv(&got), &back, &with_labels, &err), ERR_CORRUPT);
    write_rows_fini(&back);
    buf_fini(&got);
    ring_map_unref(map);
}

Test(write_frame, rows_come_back_as_they_were) {
    struct ring_map *map = make_map();
    for (unsigned with = 0; with < 2; with++) {
        struct batch b;
        make_batch(&b, 4);
        cr_assert(b.count > 30);
        struct buf frame = {0};
        put_batch(map, &b, with == 1, &frame);
        struct write_rows rows = {0};
        bool with_labels = with == 0;
        struct err err;
        cr_assert_eq(write_frame_get(map, buf_sv(&frame), &rows, &with_labels, &err), OK, "%s",
                     err.msg);
        cr_assert_eq(with_labels, with == 1);
        cr_assert_eq(rows.count, b.count);
        for (size_t i = 0; i < b.count; i++) {
            cr_assert(series_id_eq(rows.ids[i], b.ids[i]) && rows.shards[i] == b.shards[i]);
            cr_assert(rows.times_ms[i] == b.times_ms[i] &&
                      f64_bits(rows.values[i]) == f64_bits(b.values[i]));
            if (with == 1) cr_assert(sv_eq(rows.labels[i], b.labels[i]));
            cr_assert_eq(rows.labels[i].ptr == NULL, with == 0 || b.labels[i].ptr == NULL);
        }
        write_rows_fini(&rows);
        buf_fini(&frame);
        batch_fini(&b);
    }
    ring_map_unref(map);
}

Test(write_frame, no_rows_are_a_frame_too) {
    struct ring_map *map = make_map();
    struct batch b = {0};
    struct buf frame = {0};
    put_batch(map, &b, true, &frame);
    struct write_rows rows = {0};
    bool with_labels;
    cr_assert_eq(write_frame_get(map, buf_sv(&frame), &rows, &with_labels, NULL), OK);
    cr_assert_eq(rows.count, 0);
    buf_fini(&frame);
    ring_map_unref(map);
}

Test(write_frame, cut_anywhere_is_corrupt) {
    struct ring_map *map = make_map();
    struct batch b;
    make_batch(&b, 2);
    for (unsigned with = 0; with < 2; with++) {
        struct buf frame = {0};
        put_batch(map, &b, with == 1, &frame);
        struct write_rows rows = {0};
        bool with_labels;
        for (size_t len = 0; len <= frame.len; len++) {
            char *exact = malloc(len + 2);
            memcpy(exact, frame.ptr, len);
            exact[len] = 0;
            enum status st = write_frame_get(map, sv_make(exact, len), &rows, &with_labels, NULL);
            cr_assert_eq(st, len == frame.len ? OK : ERR_CORRUPT, "%zu of %zu", len, frame.len);
            if (len == frame.len)
                cr_assert_eq(
                    write_frame_get(map, sv_make(exact, len + 1), &rows, &with_labels, NULL),
                    ERR_CORRUPT);
            free(exact);
        }
        write_rows_fini(&rows);
        buf_fini(&frame);
    }
    batch_fini(&b);
    ring_map_unref(map);
}

static enum status get_edited(struct ring_map *map, struct buf *frame, size_t at, uint8_t byte,
                              struct err *err) {
    uint8_t was = (uint8_t)frame->ptr[at];
    frame->ptr[at] = (char)byte;
    struct write_rows rows = {0};
    bool with_labels;
    enum status st = write_frame_get(map, buf_sv(frame), &rows, &with_labels, err);
    cr_assert(st == OK || rows.count == 0);
    write_rows_fini(&rows);
    frame->ptr[at] = (char)was;
    return st;
}

Test(write_frame, other_versions_epochs_and_shards_are_refused_by_name) {
    struct ring_map *map = make_map();
    struct batch b;
    make_batch(&b, 1);
    struct buf frame = {0};
    put_batch(map, &b, true, &frame);
    struct err err;
    cr_assert_eq(get_edited(map, &frame, 0, 2, &err), ERR_UNSUPPORTED);
    cr_assert(strstr(err.msg, "version 2") != NULL);
    cr_assert_eq(get_edited(map, &frame, 1, 33, &err), ERR_UNSUPPORTED);
    cr_assert_eq(get_edited(map, &frame, 2, 1, &err), ERR_UNSUPPORTED);
    /* byte 4, 5, 6: shard, epoch, rows of the first group */
    cr_assert_eq(frame.ptr[4], 0);
    cr_assert_eq(get_edited(map, &frame, 4, SHARDS, &err), ERR_CONFLICT);
    cr_assert_eq(get_edited(map, &frame, 5, 9, &err), ERR_CONFLICT);
    cr_assert_str_eq(err.msg, "write frame: shard 0 at epoch 9, here it is at epoch 10");
    cr_assert_eq(get_edited(map, &frame, 6, 0, &err), ERR_CORRUPT);
    cr_assert_eq(get_edited(map, &frame, 6, 0x7f, &err), ERR_CORRUPT);
    buf_fini(&frame);
    batch_fini(&b);
    ring_map_unref(map);
}

/* A group that claims 2^60 rows must not be believed before the bytes are there. */
Test(write_frame, counts_are_checked_against_the_bytes) {
    struct ring_map *map = make_map();
    struct write_rows rows = {0};
    bool with_labels;
    static const char huge[] = "\x01\x00\x00\x01\x00\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x10";
    cr_assert_eq(write_frame_get(map, sv_make(huge, sizeof huge - 1), &rows, &with_labels, NULL),
                 ERR_CORRUPT);
    static const char groups[] = "\x01\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    cr_assert_eq(
        write_frame_get(map, sv_make(groups, sizeof groups - 1), &rows, &with_labels, NULL),
        ERR_CORRUPT);
    cr_assert_eq(rows.cap, 0);
    ring_map_unref(map);
}

static enum status get_planted(struct ring_map *map, series_id id, struct sv labels,
                               struct err *err) {
    struct buf frame = {0};
    uint32_t shard = (uint32_t)(id.hi % SHARDS);
    int64_t time_ms = 1;
    double value = 1;
    struct write_frame_rows rows = {1, &id, &shard, &time_ms, &value, &labels, .with_labels = true};
    write_frame_put(map, &rows, &frame);
    struct write_rows got = {0};
    bool with_labels;
    enum status st = write_frame_get(map, buf_sv(&frame), &got, &with_labels, err);
    write_rows_fini(&got);
    buf_fini(&frame);
    return st;
}

Test(write_frame, labels_that_are_not_the_ids_are_refused) {
    struct ring_map *map = make_map();
    struct buf up = {0}, down = {0};
    struct err err;
    request_label(&up, SV("__name__"), SV("up"));
    request_label(&down, SV("__name__"), SV("down"));
    series_id id = series_id_of(REQUEST_SECRET, 0, buf_sv(&up));
    cr_assert_eq(get_planted(map, id, buf_sv(&up), &err), OK);
    cr_assert_eq(get_planted(map, id, buf_sv(&down), &err), ERR_CORRUPT);
    cr_assert(strstr(err.msg, "hash") != NULL);
    /* bytes that hash to their id and yet are no canonical labels */
    static const struct sv wrong[] = {
        SV_INIT("x"),
        SV_INIT("\x0a\x06\x0a\x01"
                "a\x12\x01"
                "b"), /* no name */
        SV_INIT("\x0a\x06\x0a\x01"
                "z\x12\x01"
                "b\x0a\x0e\x0a\x08__name__\x12\x02up"), /* not sorted */
        SV_INIT("\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x06\x0a\x01"
                "a\x12\x01"
                "b\x0a\x06\x0a\x01"
                "a\x12\x01"
                "c"),
        SV_INIT("\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x05\x0a\x01"
                "a\x12\x00"),                                /* empty value */
        SV_INIT("\x0a\x8e\x00\x0a\x08__name__\x12\x02up"),   /* padded length */
        SV_INIT("\x0a\x0e\x0a\x08__name__\x12\x02\xff\xfe"), /* not UTF-8 */
        SV_INIT("\x0a\x0e\x12\x02up\x0a\x08__name__"),       /* value first */
        SV_INIT("\x0a\x0e\x0a\x08__name__\x12\x02up\x12"),   /* cut off */
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        cr_assert_eq(get_planted(map, series_id_of(REQUEST_SECRET, 0, wrong[i]), wrong[i], &err),
                     ERR_CORRUPT, "%zu", i);
        cr_assert(strstr(err.msg, "canonical") != NULL, "%zu: %s", i, err.msg);
    }
    buf_fini(&up);
    buf_fini(&down);
    ring_map_unref(map);
}

/* Behind the rows, of which there need be none: every byte by hand but the ids. */
Test(write_frame, exemplars_and_metadata_as_written_down) {
    struct ring_map *map = make_map();
    struct buf label = {0}, got = {0}, want = {0};
    request_label(&label, SV("__name__"), SV("up"));
    series_id id = series_id_of(REQUEST_SECRET, 0, buf_sv(&label)); /* also of the name's shard */
    uint32_t shard = (uint32_t)(id.hi % SHARDS);
    struct write_exemplar exemplar = {id, shard, 1000, 1.0, SV("\x0a\x06\x0a\x01t\x12\x01v")};
    struct write_metadata metadata = {shard, {SV("up"), 2, SV("Help."), SV("")}};
    struct write_frame_rows rows = {
        .exemplars = &exemplar, .exemplars_count = 1, .metadata = &metadata, .metadata_count = 1};
    write_frame_put(map, &rows, &got);
    buf_put(&want, "\x01\x06\x00\x00\x01", 5); /* version, flags, tenant, no group; one */
    buf_put_u8(&want, (uint8_t)(10 + shard));
    buf_put_u64(&want, id.hi);
    buf_put_u64(&want, id.lo);
    buf_put(&want, "\xd0\x0f\x00\x00\x00\x00\x00\x00\xf0\x3f\x08\x0a\x06\x0a\x01t\x12\x01v", 19);
    buf_put_u8(&want, 1);
    size_t epoch_at = want.len;
    buf_put_u8(&want, (uint8_t)(10 + shard));
    buf_put(&want, "\x02\x02up\x05Help.\x00", 11);
    cr_assert(sv_eq(buf_sv(&got), buf_sv(&want)));

    struct write_rows back = {0};
    struct err err;
    bool with_labels;
    for (size_t len = 0; len < want.len; len++)
        cr_assert_eq(write_frame_get(map, sv_make(want.ptr, len), &back, &with_labels, &err),
                     ERR_CORRUPT, "%zu", len);
    cr_assert_eq(write_frame_get(map, buf_sv(&want), &back, &with_labels, &err), OK, "%s", err.msg);
    cr_assert(back.count == 0 && back.exemplars_count == 1 && back.metadata_count == 1);
    cr_assert(series_id_eq(back.exemplars[0].id, id) && back.exemplars[0].shard == shard);
    cr_assert(back.exemplars[0].time_ms == 1000 && back.exemplars[0].value == 1.0);
    cr_assert(sv_eq(back.exemplars[0].labels, exemplar.labels));
    cr_assert(back.metadata[0].shard == shard && back.metadata[0].item.type == 2);
    cr_assert(sv_eq(back.metadata[0].item.help, SV("Help.")) &&
              back.metadata[0].item.unit.len == 0);
    want.ptr[epoch_at]++;
    cr_assert_eq(write_frame_get(map, buf_sv(&want), &back, &with_labels, &err), ERR_CONFLICT);
    want.ptr[epoch_at]--;
    want.ptr[epoch_at + 1] = 8; /* a type that does not exist */
    cr_assert_eq(write_frame_get(map, buf_sv(&want), &back, &with_labels, &err), ERR_CORRUPT);
    write_rows_fini(&back);
    buf_fini(&label);
    buf_fini(&got);
    buf_fini(&want);
    ring_map_unref(map);
}

Test(write_frame, an_id_of_another_shard_is_refused) {
    struct ring_map *map = make_map();
    series_id id = {.hi = 3, .lo = 1};
    uint32_t shard = 4;
    int64_t time_ms = 1;
    double value = 1;
    struct write_frame_rows rows = {1, &id, &shard, &time_ms, &value, NULL, .with_labels = false};
    struct buf frame = {0};
    struct write_rows got = {0};
    bool with_labels;
    struct err err;
    write_frame_put(map, &rows, &frame);
    cr_assert_eq(write_frame_get(map, buf_sv(&frame), &got, &with_labels, &err), ERR_CORRUPT);
    cr_assert_str_eq(err.msg, "write frame: row 0 is not of shard 4");
    write_rows_fini(&got);
    buf_fini(&frame);
    ring_map_unref(map);
}

Test(write_frame, replies_come_back_and_are_checked) {
    uint32_t unknown[] = {0, 7, 4000000000u}, failed[] = {3, 300};
    struct write_frame_reply reply = {.outcome = WRITE_REFUSED,
                                      .first_refused = 5,
                                      .unknown = unknown,
                                      .unknown_count = ARRAY_LEN(unknown),
                                      .failed = failed,
                                      .failed_count = ARRAY_LEN(failed),
                                      .failed_status = ERR_CONFLICT};
    snprintf(reply.failed_text, sizeof reply.failed_text, "not primary");
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        reply.counts[v] = v * 1000;
    snprintf(reply.text, sizeof reply.text, "out of order sample for {}");
    reply.plain_len = 19;
    reply.histograms_written = 300;
    reply.exemplars_kept = 5;
    struct buf out = {0};
    write_frame_reply_put(&reply, &out);
    static const char head[] = "\x02\x01\x07\x00\xe8\x07\xd0\x0f";
    static const char tail[] = "\xac\x02\x05"                           /* written, kept */
                               "\x06\x1aout of order sample for {}\x13" /* row, text, plain */
                               "\x02\x08\x0bnot primary\x03\xac\x02"
                               "\x03\x00\x00\x00\x00\x07\x00\x00\x00\x00\x28\x6b\xee";
    cr_assert(out.len > 8 && memcmp(out.ptr, head, 8) == 0);
    cr_assert(out.len > sizeof tail &&
              memcmp(out.ptr + out.len - (sizeof tail - 1), tail, sizeof tail - 1) == 0);
    struct write_frame_reply got;
    for (size_t len = 0; len <= out.len; len++) {
        char *exact = malloc(len + 1);
        memcpy(exact, out.ptr, len);
        enum status st = write_frame_reply_get(sv_make(exact, len), &got, NULL);
        cr_assert_eq(st, len == out.len ? OK : ERR_CORRUPT);
        free(exact);
    }
    cr_assert(got.outcome == reply.outcome && got.first_refused == 5 && got.unknown_count == 3);
    cr_assert_arr_eq(got.unknown, unknown, sizeof unknown);
    cr_assert_arr_eq(got.counts, reply.counts, sizeof reply.counts);
    cr_assert_str_eq(got.text, reply.text);
    cr_assert(got.plain_len == 19 && got.histograms_written == 300 && got.exemplars_kept == 5);
    cr_assert(got.failed_count == 2 && got.failed[0] == 3 && got.failed[1] == 300);
    cr_assert(got.failed_status == ERR_CONFLICT && strcmp(got.failed_text, "not primary") == 0);
    free(got.unknown);
    free(got.failed);
    out.ptr[0] = 3;
    cr_assert_eq(write_frame_reply_get(buf_sv(&out), &got, NULL), ERR_UNSUPPORTED);
    out.ptr[0] = 2;
    out.ptr[1] = 3;
    cr_assert_eq(write_frame_reply_get(buf_sv(&out), &got, NULL), ERR_CORRUPT);
    buf_clear(&out);
    struct write_frame_reply ok = {.first_refused = WRITE_FRAME_NO_ROW};
    memset(ok.text, 'x', sizeof ok.text - 1);
    write_frame_reply_put(&ok, &out);
    cr_assert_eq(write_frame_reply_get(buf_sv(&out), &got, NULL), OK);
    cr_assert(got.first_refused == WRITE_FRAME_NO_ROW && got.unknown == NULL &&
              strlen(got.text) == 479);
    buf_fini(&out);
}
