/* SPDX-License-Identifier: Apache-2.0 */
/* Golden bytes after the layout in ring/replica/wire.h, laid out by hand: v is LEB128, u64 is
 * little-endian. */
#include "ring/replica/wire.h"

#include <criterion/criterion.h>
#include <string.h>

enum kind {
    APPEND_ASK,
    APPEND_REPLY,
    PLACES_ASK,
    PLACES_REPLY,
    FETCH_ASK,
    FETCH_REPLY,
    RANGES_REPLY,
    REPAIR_ITEM
};
union item {
    struct append_item append;
    struct append_answer append_answer;
    struct places_item places;
    struct places_answer places_answer;
    struct fetch_item fetch;
    struct fetch_answer fetch_answer;
    struct ranges_answer ranges_answer;
    struct repair_item repair;
};
struct golden {
    const char *name;
    enum kind kind;
    union item item;
    const char *bytes;
    size_t len;
};
#define BYTES(text) .bytes = (text), .len = sizeof(text) - 1

static struct shard_range some_ranges[] = {
    {10, 20, RANGE_GOOD, 130, {UINT64_C(0x0102030405060708), 2}},
    {-1, 3, RANGE_BAD, 0, {0}},
    {INT64_MIN, 0, RANGE_DELETED, 0, {1, 2}},
    {1, 2, RANGE_UNKNOWN, 0, {0}}};

static const struct golden goldens[] = {
    {"an append",
     APPEND_ASK,
     {.append = {.shard = 300,
                 .epoch = 7,
                 .copy = 200,
                 .flags = APPEND_WHOLE | APPEND_OPEN,
                 .settled = {6, 1000},
                 .entries = {"abc", 3}}},
     BYTES("\xac\x02\x07\xc8\x01\x05\x06\xe8\x07\x03"
           "abc")},
    {"an append of nothing to a tail",
     APPEND_ASK,
     {.append = {.shard = 0, .epoch = 1, .copy = 1, .flags = APPEND_TAIL}},
     BYTES("\x00\x01\x01\x02\x00\x00\x00")},
    {"an append to the last shard in the last epoch",
     APPEND_ASK,
     {.append = {.shard = 65535,
                 .epoch = UINT32_MAX,
                 .copy = UINT32_MAX,
                 .flags = APPEND_TAIL | APPEND_OPEN,
                 .settled = {UINT32_MAX, UINT64_MAX}}},
     BYTES("\xff\xff\x03\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f\x06\xff\xff\xff\xff\x0f"
           "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00")},
    {"an answer to an append",
     APPEND_REPLY,
     {.append_answer = {.shard = 128, .targets = APPEND_TAIL, .result = RESULT_GAP}},
     BYTES("\x80\x01\x02\x04")},
    {"a question for places",
     PLACES_ASK,
     {.places = {.shard = 5, .epoch = 129}},
     BYTES("\x05\x81\x01")},
    {"places of nothing",
     PLACES_REPLY,
     {.places_answer = {.shard = 5, .result = RESULT_LATER, .whole = {.copy = 1}}},
     BYTES("\x05\x02\x00\x01\x00\x00")},
    {"places of a whole replica with its history, and of a tail",
     PLACES_REPLY,
     {.places_answer =
          {.shard = 9,
           .whole = {.copy = 3,
                     .has_log = true,
                     .is_whole = true,
                     .first = {1, 0},
                     .end = {4, 200},
                     .history = UINT64_C(0x1122334455667788)},
           .tail = {.copy = 2, .has_log = true, .damaged = true, .first = {4, 9}, .end = {4, 9}}}},
     BYTES("\x09\x00"
           "\x03\x03\x01\x00\x04\xc8\x01\x88\x77\x66\x55\x44\x33\x22\x11"
           "\x05\x02\x04\x09\x04\x09")},
    {"a fetch of all of a tail",
     FETCH_ASK,
     {.fetch = {.shard = 2, .epoch = 3, .tail = true, .from_start = true}},
     BYTES("\x02\x03\x03\x00\x00")},
    {"a fetch behind a place",
     FETCH_ASK,
     {.fetch = {.shard = 2, .epoch = 3, .after = {2, 16384}}},
     BYTES("\x02\x03\x00\x02\x80\x80\x01")},
    {"fetched entries",
     FETCH_REPLY,
     {.fetch_answer = {.shard = 2, .result = RESULT_OK, .entries = {"xy", 2}}},
     BYTES("\x02\x00\x02xy")},
    {"ranges",
     RANGES_REPLY,
     {.ranges_answer =
          {.shard = 300,
           .core = 1,
           .ranges = {.closed_ms = 1000, .floor_ms = -5, .at = some_ranges, .count = 4}}},
     BYTES("\xac\x02\x00\x01\xd0\x0f\x09\x04"
           "\x01\x14\x28\x82\x01\x08\x07\x06\x05\x04\x03\x02\x01\x02\x00\x00\x00\x00\x00\x00\x00"
           "\x02\x01\x06"
           "\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"
           "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"
           "\x05\x02\x04")},
    {"ranges of a replica that is not in sync",
     RANGES_REPLY,
     {.ranges_answer = {.shard = 1,
                        .result = RESULT_ASIDE,
                        .core = 2,
                        .ranges = {.closed_ms = -1,
                                   .floor_ms = 0,
                                   .closed_at = {3, 300},
                                   .closed_history = UINT64_C(0x0102030405060708),
                                   .at = some_ranges + 1,
                                   .count = 1}}},
     BYTES("\x01\x06\x02\x03\xac\x02\x08\x07\x06\x05\x04\x03\x02\x01\x01\x00\x01\x02\x01\x06")},
    {"ranges of a shard that is not whole there",
     RANGES_REPLY,
     {.ranges_answer = {.shard = 1, .result = RESULT_GAP}},
     BYTES("\x01\x04")},
    {"a range to be repaired",
     REPAIR_ITEM,
     {.repair = {.shard = 2, .epoch = 3, .span = {-2, 64}}},
     BYTES("\x02\x03\x03\x80\x01")},
};
enum { GOLDENS = sizeof goldens / sizeof goldens[0] };

static void item_put(enum kind kind, const union item *i, struct buf *out) {
    switch (kind) {
    case APPEND_ASK: append_item_put(&i->append, out); break;
    case APPEND_REPLY: append_answer_put(&i->append_answer, out); break;
    case PLACES_ASK: places_item_put(&i->places, out); break;
    case PLACES_REPLY: places_answer_put(&i->places_answer, out); break;
    case FETCH_ASK: fetch_item_put(&i->fetch, out); break;
    case FETCH_REPLY: fetch_answer_put(&i->fetch_answer, out); break;
    case RANGES_REPLY: ranges_answer_put(&i->ranges_answer, out); break;
    case REPAIR_ITEM: repair_item_put(&i->repair, out); break;
    }
}

static enum status item_get(enum kind kind, struct sv *rest, union item *i, struct err *err) {
    switch (kind) {
    case APPEND_ASK: return append_item_get(rest, &i->append, err);
    case APPEND_REPLY: return append_answer_get(rest, &i->append_answer, err);
    case PLACES_ASK: return places_item_get(rest, &i->places, err);
    case PLACES_REPLY: return places_answer_get(rest, &i->places_answer, err);
    case FETCH_ASK: return fetch_item_get(rest, &i->fetch, err);
    case FETCH_REPLY: return fetch_answer_get(rest, &i->fetch_answer, err);
    case RANGES_REPLY: return ranges_answer_get(rest, &i->ranges_answer, err);
    case REPAIR_ITEM: return repair_item_get(rest, &i->repair, err);
    }
    return ERR_CORRUPT;
}

/* Of one that was read. */
static void item_fini(enum kind kind, union item *i) {
    if (kind == RANGES_REPLY) free(i->ranges_answer.ranges.at);
}

Test(replica_wire, bytes_are_as_the_header_says) {
    for (size_t g = 0; g < GOLDENS; g++) {
        struct buf b = {0};
        item_put(goldens[g].kind, &goldens[g].item, &b);
        cr_assert_eq(b.len, goldens[g].len, "%s: %zu bytes", goldens[g].name, b.len);
        cr_assert_eq(memcmp(b.ptr, goldens[g].bytes, b.len), 0, "%s", goldens[g].name);
        buf_fini(&b);
    }
}

Test(replica_wire, items_are_read_one_after_the_other) {
    for (size_t g = 0; g < GOLDENS; g++) {
        struct buf two = {0}, again = {0};
        buf_put(&two, goldens[g].bytes, goldens[g].len);
        buf_put(&two, goldens[g].bytes, goldens[g].len);
        struct sv rest = buf_sv(&two);
        for (size_t left = goldens[g].len;; left = 0) {
            union item item;
            struct err err;
            cr_assert_eq(item_get(goldens[g].kind, &rest, &item, &err), OK, "%s: %s",
                         goldens[g].name, err.msg);
            cr_assert_eq(rest.len, left, "%s", goldens[g].name);
            item_put(goldens[g].kind, &item, &again);
            item_fini(goldens[g].kind, &item);
            if (left == 0) break;
        }
        cr_assert(sv_eq(buf_sv(&two), buf_sv(&again)), "%s", goldens[g].name);
        buf_fini(&two);
        buf_fini(&again);
    }
}

Test(replica_wire, fields_are_where_they_were_put) {
    struct sv rest = sv_make(goldens[6].bytes, goldens[6].len);
    struct places_answer p;
    cr_assert_eq(places_answer_get(&rest, &p, NULL), OK);
    cr_assert(p.whole.has_log && p.whole.is_whole && !p.whole.damaged);
    cr_assert_eq(p.whole.history, UINT64_C(0x1122334455667788));
    cr_assert_eq(p.whole.end.seq, 200);
    cr_assert(p.tail.has_log && !p.tail.is_whole && p.tail.damaged);
    cr_assert_eq(p.tail.history, 0);
    cr_assert_eq(p.tail.first.seq, 9);
    rest = sv_make(goldens[0].bytes, goldens[0].len);
    struct append_item a;
    cr_assert_eq(append_item_get(&rest, &a, NULL), OK);
    cr_assert_eq(a.shard, 300);
    cr_assert_eq(a.settled.seq, 1000);
    cr_assert(sv_eq(a.entries, SV("abc")));
}

Test(replica_wire, every_truncation_is_refused) {
    for (size_t g = 0; g < GOLDENS; g++)
        for (size_t len = 0; len < goldens[g].len; len++) {
            char *copy = malloc(len + 1); /* of exact size, for AddressSanitizer */
            cr_assert_not_null(copy);
            memcpy(copy, goldens[g].bytes, len);
            struct sv rest = {copy, len};
            union item item;
            struct err err = {0};
            cr_assert_eq(item_get(goldens[g].kind, &rest, &item, &err), ERR_CORRUPT, "%s, %zu",
                         goldens[g].name, len);
            cr_assert_eq(rest.len, len, "what was refused is not passed over");
            cr_assert_neq(err.msg[0], '\0');
            free(copy);
        }
}

/* What passes says something else than before, and what it says is what was there: only a varint
 * that is longer than it needs to be reads like the short one. */
Test(replica_wire, a_flipped_bit_is_refused_or_told) {
    unsigned refused = 0, taken = 0;
    for (size_t g = 0; g < GOLDENS; g++)
        for (size_t bit = 0; bit < goldens[g].len * 8; bit++) {
            char copy[64];
            memcpy(copy, goldens[g].bytes, goldens[g].len);
            copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
            struct sv rest = {copy, goldens[g].len};
            union item item, again;
            if (item_get(goldens[g].kind, &rest, &item, NULL) != OK) {
                refused++;
                continue;
            }
            taken++;
            struct buf one = {0}, two = {0};
            item_put(goldens[g].kind, &item, &one);
            struct sv same = buf_sv(&one);
            cr_assert_leq(one.len, goldens[g].len - rest.len);
            if (one.len == goldens[g].len - rest.len)
                cr_assert_eq(memcmp(one.ptr, copy, one.len), 0);
            cr_assert_eq(item_get(goldens[g].kind, &same, &again, NULL), OK);
            item_put(goldens[g].kind, &again, &two);
            item_fini(goldens[g].kind, &item);
            item_fini(goldens[g].kind, &again);
            cr_assert(sv_eq(buf_sv(&one), buf_sv(&two)), "%s, bit %zu", goldens[g].name, bit);
            buf_fini(&one);
            buf_fini(&two);
        }
    cr_assert_gt(refused, 0);
    cr_assert_gt(taken, 0);
}

struct bad {
    const char *why;
    enum kind kind;
    const char *bytes;
    size_t len;
};
static const struct bad bads[] = {
    {"a shard beyond the last", APPEND_ASK, BYTES("\x80\x80\x04\x01\x01\x01\x00\x00\x00")},
    {"an epoch beyond 32 bits", PLACES_ASK, BYTES("\x01\x80\x80\x80\x80\x10")},
    {"an append for no run", APPEND_ASK, BYTES("\x01\x01\x01\x04\x00\x00\x00")},
    {"an append for two runs", APPEND_ASK, BYTES("\x01\x01\x01\x03\x00\x00\x00")},
    {"an unknown flag", APPEND_ASK, BYTES("\x01\x01\x01\x09\x00\x00\x00")},
    {"more entries than there are bytes", FETCH_REPLY, BYTES("\x02\x00\x03xy")},
    {"a length beyond memory", FETCH_REPLY,
     BYTES("\x02\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01xy")},
    {"an unknown result", APPEND_REPLY, BYTES("\x01\x01\x06")},
    {"a log that ends before it begins", PLACES_REPLY,
     BYTES("\x05\x00\x01\x01\x02\x05\x02\x04\x00\x00")},
    {"an unknown bit of what is held", PLACES_REPLY, BYTES("\x05\x00\x08\x01\x00\x00")},
    {"an unknown bit of a fetch", FETCH_ASK, BYTES("\x02\x03\x04\x00\x00")},
    {"an unknown result of ranges", RANGES_REPLY, BYTES("\x01\x07\x01\x02\x02\x00")},
    {"a range of an unknown kind", RANGES_REPLY, BYTES("\x01\x00\x01\x02\x02\x01\x04\x02\x04")},
    {"a range that ends before it begins", RANGES_REPLY,
     BYTES("\x01\x00\x01\x02\x02\x01\x02\x04\x02")},
    {"more ranges than there are bytes", RANGES_REPLY,
     BYTES("\x01\x00\x01\x02\x02\xff\xff\xff\xff\x0f\x02\x02\x04")},
    {"a repair that ends before it begins", REPAIR_ITEM, BYTES("\x02\x03\x04\x02")},
};

Test(replica_wire, what_cannot_be_is_refused) {
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        struct sv rest = {bads[i].bytes, bads[i].len};
        union item item;
        cr_assert_eq(item_get(bads[i].kind, &rest, &item, NULL), ERR_CORRUPT, "%s", bads[i].why);
    }
}

Test(replica_wire, a_payload_begins_with_its_version) {
    struct buf b = {0};
    wire_begin(&b);
    cr_assert(sv_eq(buf_sv(&b), SV("\x01")));
    struct sv payload = SV("\x01rest"), other = SV("\x02rest"), nothing = SV("");
    struct err err = {0};
    cr_assert_eq(wire_open(&payload, &err), OK);
    cr_assert(sv_eq(payload, SV("rest")));
    cr_assert_eq(wire_open(&other, &err), ERR_UNSUPPORTED);
    cr_assert_eq(wire_open(&nothing, &err), ERR_CORRUPT);
    buf_fini(&b);
}

Test(replica_wire, an_ask_for_a_repair_is_as_the_header_says) {
    struct buf b = {0};
    struct repair_ask ask = {.core = 2, .stream = 300, .number = 1, .items = SV("items")}, got;
    repair_ask_put(&ask, &b);
    cr_assert(sv_eq(buf_sv(&b), SV("\x02\xac\x02\x01items")));
    cr_assert_eq(repair_ask_get(buf_sv(&b), &got, NULL), OK);
    cr_assert_eq(got.core, 2);
    cr_assert_eq(got.stream, 300);
    cr_assert_eq(got.number, 1);
    cr_assert(sv_eq(got.items, SV("items")));
    cr_assert_eq(repair_ask_get(SV("\x02\xac"), &got, NULL), ERR_CORRUPT);
    buf_fini(&b);
}
