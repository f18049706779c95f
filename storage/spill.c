/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/spill.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t EXTENT_BYTES = (size_t)SPILL_EXTENT_SEGMENTS * SPILL_SEGMENT_BYTES;
#define NO_PLACE UINT32_MAX

/* The file has a name for a moment where the file system knows no files without one. */
static int scratch_open(const char *dir) {
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return fd;
    char path[4096];
    int len = snprintf(path, sizeof path, "%s/spill-XXXXXX", dir);
    if (len < 0 || (size_t)len >= sizeof path) return -1;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) (void)unlink(path);
    return fd;
}

void spill_init(struct spill *s, const char *dir,
                void (*retire)(void *ctx, struct spill_buffer *buffer), void *ctx) {
    *s = (struct spill){.fd = -1, .retire = retire, .ctx = ctx};
    if (dir == NULL) return;
    s->fd = scratch_open(dir);
    s->errors += s->fd < 0;
}

static void segment_free(struct spill *s, struct spill_segment *g) {
    if (g->buffer != NULL) {
        s->memory_bytes -= sizeof *g->buffer;
        free(g->buffer);
    }
    s->memory_bytes -= sizeof *g;
    free(g);
}

void spill_fini(struct spill *s) {
    if (s->growing != NULL) {
        assert(s->growing->live == 0);
        segment_free(s, s->growing);
    }
    for (uint32_t i = 0; i < s->extents_count; i++)
        (void)munmap(s->extents[i], EXTENT_BYTES);
    free(s->extents);
    free(s->free);
    if (s->fd >= 0) (void)close(s->fd);
}

static bool extent_add(struct spill *s) {
    uint32_t count = s->extents_count + 1;
    uint8_t **extents = realloc(s->extents, count * sizeof(*extents));
    if (extents == NULL) return false;
    s->extents = extents;
    uint32_t *places = realloc(s->free, (size_t)count * SPILL_EXTENT_SEGMENTS * sizeof *places);
    if (places == NULL) return false;
    s->free = places;
    off_t begin = (off_t)(EXTENT_BYTES * s->extents_count);
    if (ftruncate(s->fd, begin + (off_t)EXTENT_BYTES) != 0) return false;
    void *p = mmap(NULL, EXTENT_BYTES, PROT_READ, MAP_SHARED, s->fd, begin);
    if (p == MAP_FAILED) return false;
    (void)madvise(p, EXTENT_BYTES, MADV_RANDOM);
    s->extents[s->extents_count++] = p;
    return true;
}

static uint32_t place_take(struct spill *s) {
    if (s->free_count > 0) return s->free[--s->free_count];
    if (s->places_count == s->extents_count * SPILL_EXTENT_SEGMENTS && !extent_add(s))
        return NO_PLACE;
    return s->places_count++;
}

static off_t place_offset(uint32_t place) {
    return (off_t)place * SPILL_SEGMENT_BYTES;
}

static void place_give(struct spill *s, uint32_t place) {
    s->free[s->free_count++] = place;
    /* the disk has it back; where that is not known, the place is written again later */
    (void)fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, place_offset(place),
                    SPILL_SEGMENT_BYTES);
}

static bool place_write(const struct spill *s, uint32_t place, const uint8_t *bytes, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(s->fd, bytes + done, len - done, place_offset(place) + (off_t)done);
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* A reader has the address of the buffer or that of the mapping; both hold the bytes. */
static void segment_write(struct spill *s, struct spill_segment *g) {
    uint32_t place = place_take(s);
    if (place == NO_PLACE || !place_write(s, place, g->buffer->bytes, g->used)) {
        if (place != NO_PLACE) place_give(s, place);
        s->errors++;
        return;
    }
    g->place = place;
    const uint8_t *base = s->extents[place / SPILL_EXTENT_SEGMENTS] +
                          (size_t)(place % SPILL_EXTENT_SEGMENTS) * SPILL_SEGMENT_BYTES;
    __atomic_store_n(&g->base, base, __ATOMIC_RELEASE);
    s->memory_bytes -= sizeof *g->buffer;
    s->file_bytes += g->used;
    s->retire(s->ctx, g->buffer);
    g->buffer = NULL;
}

static void segment_drop(struct spill *s, struct spill_segment *g) {
    if (g->place != NO_PLACE) {
        place_give(s, g->place);
        s->file_bytes -= g->used;
    }
    segment_free(s, g);
}

static struct spill_segment *segment_new(struct spill *s) {
    struct spill_segment *g = malloc(sizeof *g);
    struct spill_buffer *buffer = g == NULL ? NULL : malloc(sizeof *buffer);
    if (buffer == NULL) {
        free(g);
        return NULL;
    }
    *g = (struct spill_segment){.base = buffer->bytes, .buffer = buffer, .place = NO_PLACE};
    s->memory_bytes += sizeof *g + sizeof *buffer;
    return g;
}

bool spill_put(struct spill *s, const uint8_t *bytes, uint32_t len, struct spilled *out) {
    if (s->fd < 0 || len > SPILL_SEGMENT_BYTES) return false;
    struct spill_segment *g = s->growing;
    if (g == NULL || SPILL_SEGMENT_BYTES - g->used < len) {
        struct spill_segment *next = segment_new(s);
        if (next == NULL) return false;
        if (g != NULL && g->live == 0)
            segment_drop(s, g);
        else if (g != NULL)
            segment_write(s, g);
        s->growing = g = next;
    }
    memcpy(g->buffer->bytes + g->used, bytes, len);
    *out = (struct spilled){g, g->used, len};
    g->used += len;
    g->live += len;
    return true;
}

void spill_drop(struct spill *s, const struct spilled *at) {
    struct spill_segment *g = at->segment;
    assert(g->live >= at->len);
    g->live -= at->len;
    if (g->live == 0 && g != s->growing) segment_drop(s, g);
}

struct spilled spilled_from(const uint8_t *bytes) {
    struct spilled at;
    memcpy(&at, bytes, sizeof at);
    return at;
}

const uint8_t *spill_bytes(const struct spilled *at) {
    return __atomic_load_n(&at->segment->base, __ATOMIC_ACQUIRE) + at->offset;
}
