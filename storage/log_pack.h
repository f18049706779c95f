/* SPDX-License-Identifier: Apache-2.0 */
/* storage/log_pack.h: the frames of a log file that is not written to any more, in a fraction of
 * their bytes, and back, byte by byte. Nothing here touches a disk (log_pack_file.c does).
 *
 * Entries of a log repeat themselves: the next scrape of a target has the same series in the same
 * entries, the next seqs, one time, and mostly the same values. Both sides keep what they have seen
 * (a record for each series number of each shard: its last value, the last step of it, and which
 * series came next), and a pack says only what differs. So packs are read in the order in which
 * they were made, by the side that has seen all before them.
 *
 *   pack := u8 0, u8 format (2), varint bytes of the payloads, varint frames, then the streams
 *   stream := varint its length, varint stored length, bytes: zstd, or as they are where both are
 *             the same
 *     FRAMES   per frame: varint entries
 *     OPS      per entry: u8, bits of what is said (enum pack_op); 0: all is as expected
 *     PLACES   OP_CHAIN: varint shard, varint count, { zigzag series number - (the one before + 1,
 *              at first 0) }
 *              OP_PLACE: varint incarnation, varint epoch, varint seq
 *     TIMES    OP_TIME: zigzag time - last time; OP_STEPS: { zigzag time step } from the second on
 *     SERIES   OP_SERIES: varint length, the section of series as it is
 *     VALUES   all floats, by a range coder (storage/log_values.c); never zstd
 *     LITERALS OP_LITERAL: varint length, the entry as it is: any but a WRITE of floats, or of
 *              series and floats, with all numbers at their shortest. From a CUT or EPOCH it is
 *              learnt that the shard's numbers are of other series from here on, from others
 *              nothing.
 *   Expected are: the series that came behind the last one, and those behind it up to one of
 *   another shard; the shard's incarnation, epoch and next seq; the time of the last float.
 *
 * Format 1, which is still read, begins with the bytes of the payloads (never 0), has no OP_SERIES,
 * in OP_CHAIN { varint series number }, and for SERIES and VALUES
 *     CONTROLS per float: u8, 0: as before; 1 to 10: decimal with so many digits less one behind
 *              the point, its difference in DELTAS; 11: the same difference and digits as before;
 *              16+n: the n low bytes of the value's bits xor those before, in BYTES
 *     DELTAS   zigzag
 *     BYTES */
#pragma once

#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"

enum {
    LOG_PACK_FRAME_BYTES_MAX = 32 << 20, /* a file with a larger frame stays as it is */
    LOG_PACK_BYTES_MAX = 64 << 20,       /* of the payloads of one pack */
    LOG_PACK_SHARDS_MAX = 1 << 16,       /* entries of others are literal */
};

struct log_pack;
struct log_pack *log_pack_new(void) MUST_USE; /* one side; NULL: no memory */
void log_pack_free(struct log_pack *p);

/* A frame's payload (whole entries) goes to the pack at hand. ERR_CORRUPT, ERR_UNSUPPORTED: an
 * entry cannot be read; ERR_LIMIT: too large; ERR_NOMEM. After an error this side is of no use. */
enum status log_pack_add(struct log_pack *p, struct sv payload, struct err *err) MUST_USE;
/* Bytes of payloads in the pack at hand. */
size_t log_pack_pending(const struct log_pack *p);
/* The pack's bytes, borrowed until the next call; the next add begins the next. */
enum status log_pack_finish(struct log_pack *p, struct sv *out, struct err *err) MUST_USE;

/* Gives the payloads of a pack, each behind its u32le length; borrowed until the next call.
 * ERR_CORRUPT, ERR_NOMEM; after an error this side is of no use. */
enum status log_unpack(struct log_pack *p, struct sv pack, struct sv *out, uint32_t *out_frames,
                       struct err *err) MUST_USE;
