/* SPDX-License-Identifier: Apache-2.0 */
/* storage/spill.h: bytes that are rarely read, in a mapped scratch file. What is put is packed into
 * segments; a full segment is written to the file and from then on read through its mapping, so
 * that it costs memory only while the kernel has some to spare. What a disk refuses to take stays
 * in memory. The file has no name: it goes with the process, whatever way that ends.
 *
 * Thread: the core; spill_bytes on any thread while what was put is kept and, as a segment's memory
 * is given up when it was written, while a selection of that time lives: `retire`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/status.h"

enum { SPILL_SEGMENT_BYTES = 64 << 10, SPILL_EXTENT_SEGMENTS = 1024 };

struct spill_buffer {          /* memory of a segment */
    struct spill_buffer *next; /* when retired */
    uint8_t bytes[SPILL_SEGMENT_BYTES];
};
struct spill_segment {
    const uint8_t *base; /* of the buffer, then of the mapping */
    struct spill_buffer *buffer;
    uint32_t used, live; /* bytes; live: of what is kept */
    uint32_t place;      /* in the file; UINT32_MAX: none */
};
struct spill {
    /* private */
    int fd; /* -1: off */
    uint8_t **extents;
    uint32_t extents_count;
    uint32_t places_count; /* ever used */
    uint32_t *free;        /* places; room for all */
    uint32_t free_count;
    struct spill_segment *growing;
    void (*retire)(void *ctx, struct spill_buffer *buffer);
    void *ctx;
    uint64_t memory_bytes, file_bytes, errors;
};
/* dir: NULL: off. A directory that cannot be written to counts as an error, and is off. retire:
 * takes a buffer that readers may still look at, and frees it. */
void spill_init(struct spill *s, const char *dir,
                void (*retire)(void *ctx, struct spill_buffer *buffer), void *ctx);
void spill_fini(struct spill *s);
static inline bool spill_is_on(const struct spill *s) {
    return s->fd >= 0;
}

struct spilled {
    struct spill_segment *segment;
    uint32_t offset, len;
};
struct spilled spilled_from(const uint8_t *bytes); /* a copy of one; any alignment */
/* false: it is off, out of memory, or len is over a segment. */
bool spill_put(struct spill *s, const uint8_t *bytes, uint32_t len, struct spilled *out);
void spill_drop(struct spill *s, const struct spilled *at);
const uint8_t *spill_bytes(const struct spilled *at);
