/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/wire.h: payloads of FRAME_APPEND, FRAME_PLACES, FRAME_FETCH, FRAME_RANGES,
 * FRAME_REPAIR and of their replies. Each is a version byte (1) and items up to the end; v is a
 * varint. APPEND  ask     { v shard, v epoch, v copy, u8 flags, v settled epoch, v settled seq, v
 * length, bytes } answer  { v shard, u8 targets, u8 result }           what is not named was taken
 *   PLACES  ask     { v shard, v epoch }
 *           answer  { v shard, u8 result, held (whole), held (tail) }
 *           held := u8 bits (1 has_log, 2 is_whole, 4 damaged), v copy, and with has_log:
 *                   v first epoch, v first seq, v end epoch, v end seq,
 *                   and of a whole replica its history, u64
 *   FETCH   ask     { v shard, v epoch, u8 bits (1 tail, 2 from start), v after epoch, v after seq
 * } answer  { v shard, u8 result, v length, bytes } RANGES  ask     { v shard, v epoch } answer  {
 * v shard, u8 result, and where that is OK or ASIDE: v core, and where it is ASIDE: v closed epoch,
 * v closed seq, u64 closed history, then z closed, z floor, v count, { u8 kind, z min, z max, and
 * where it is good or a deletion: v samples, u64 digest hi, u64 digest lo } } REPAIR  ask
 * v core, v stream, v number of the piece, and with the first: { v shard, v epoch, z min, z max }
 * answer  u8 result, and where it is OK, the piece z is a zigzag varint. */
#pragma once

#include "ring/replica/store_ops.h"

enum { WIRE_VERSION = 1 };
/* Of an append: for which one of the receiver's runs it is; OPEN: the shard is open in this epoch.
 */
enum append_flag { APPEND_WHOLE = 1, APPEND_TAIL = 2, APPEND_OPEN = 4 };
enum wire_result {
    RESULT_OK = 0,
    RESULT_STALE,   /* the receiver's map has a newer epoch of the shard */
    RESULT_LATER,   /* it has an older one: ask again */
    RESULT_FOREIGN, /* not from the epoch's primary, or not a replica of the receiver */
    RESULT_GAP,     /* does not follow what is held */
    RESULT_FAILED,  /* the log or memory failed */
    RESULT_COUNT,
    RESULT_ASIDE = RESULT_COUNT /* of RANGES: as OK, of a complete replica that may not be read; to
                                   the primary only */
};
struct append_item {
    uint32_t shard, epoch;
    uint32_t copy; /* of the receiver's run: in one epoch it may go and begin anew */
    uint8_t flags;
    struct place settled; /* up to there every in-sync member has the shard's log; epoch 0: none */
    struct sv entries;
};
struct append_answer {
    uint32_t shard;
    uint8_t targets, result;
};
struct places_item {
    uint32_t shard, epoch;
};
struct places_answer {
    uint32_t shard;
    uint8_t result;
    struct shard_held whole, tail;
};
struct fetch_item {
    uint32_t shard, epoch;
    bool tail, from_start;
    struct place after;
};
struct ranges_answer {
    uint32_t shard;
    uint8_t result;
    uint16_t core; /* of the answerer */
    struct shard_ranges ranges;
};
struct repair_ask {
    uint16_t core;
    uint64_t stream, number;
    struct sv items; /* of the first piece */
};
struct repair_item {
    uint32_t shard, epoch;
    struct shard_span span;
};
struct fetch_answer {
    uint32_t shard;
    uint8_t result;
    struct sv entries;
};

void wire_begin(struct buf *out);
/* Checks the version and moves behind it. */
MUST_USE enum status wire_open(struct sv *payload, struct err *err);
/* All but the entries, of which so many bytes are to follow. */
void append_head_put(const struct append_item *item, size_t entries_len, struct buf *out);
void append_item_put(const struct append_item *item, struct buf *out);
void append_answer_put(const struct append_answer *a, struct buf *out);
void places_item_put(const struct places_item *item, struct buf *out);
void places_answer_put(const struct places_answer *a, struct buf *out);
void fetch_item_put(const struct fetch_item *item, struct buf *out);
void fetch_answer_put(const struct fetch_answer *a, struct buf *out);
void ranges_answer_put(const struct ranges_answer *a, struct buf *out);
void repair_ask_put(const struct repair_ask *a, struct buf *out);
void repair_item_put(const struct repair_item *item, struct buf *out);
/* One item from the front of *rest, which moves behind it; bytes are borrowed. ERR_CORRUPT. */
MUST_USE enum status append_item_get(struct sv *rest, struct append_item *out, struct err *err);
MUST_USE enum status append_answer_get(struct sv *rest, struct append_answer *out, struct err *err);
MUST_USE enum status places_item_get(struct sv *rest, struct places_item *out, struct err *err);
MUST_USE enum status places_answer_get(struct sv *rest, struct places_answer *out, struct err *err);
MUST_USE enum status fetch_item_get(struct sv *rest, struct fetch_item *out, struct err *err);
MUST_USE enum status fetch_answer_get(struct sv *rest, struct fetch_answer *out, struct err *err);
/* ERR_NOMEM too; out->ranges.at is the caller's. An ask for ranges is a places_item. */
MUST_USE enum status ranges_answer_get(struct sv *rest, struct ranges_answer *out, struct err *err);
MUST_USE enum status repair_ask_get(struct sv payload, struct repair_ask *out, struct err *err);
MUST_USE enum status repair_item_get(struct sv *rest, struct repair_item *out, struct err *err);
