/* SPDX-License-Identifier: Apache-2.0 */
/* What live selections may still see of memory that the head let go. */
#include <stdlib.h>

#include "storage/select.h"

static void retired_free(struct head *head, struct retired *r) {
    if (r->blocks_first != NULL) chunk_slab_give(&head->blocks, r->blocks_first, r->blocks_last);
    for (struct late *late = r->late_first, *next; late != NULL; late = next) {
        next = late->next;
        head->late_bytes -= sizeof *late + late->cap * sizeof *late->at;
        free(late);
    }
    for (struct retired_chunks *batch = r->chunks_first, *next; batch != NULL; batch = next) {
        next = batch->next;
        for (uint32_t i = 0; i < batch->count; i++)
            head_chunk_free(head, batch->at[i]);
        free(batch);
    }
    for (struct extra_rows *rows = r->extra_first, *next; rows != NULL; rows = next) {
        next = rows->next;
        head_extra_rows_free(head, rows);
    }
    for (struct spill_buffer *buffer = r->buffers_first, *next; buffer != NULL; buffer = next) {
        next = buffer->next;
        free(buffer);
    }
    head_give_series(head, r->dead_first);
}

static void retired_move(struct head *head, struct retired *to, const struct retired *from) {
    if (from->blocks_first != NULL) {
        from->blocks_last->next = to->blocks_first;
        if (to->blocks_first == NULL) to->blocks_last = from->blocks_last;
        to->blocks_first = from->blocks_first;
    }
    if (from->late_first != NULL) {
        from->late_last->next = to->late_first;
        if (to->late_first == NULL) to->late_last = from->late_last;
        to->late_first = from->late_first;
    }
    if (from->chunks_first != NULL) {
        from->chunks_last->next = to->chunks_first;
        if (to->chunks_first == NULL) to->chunks_last = from->chunks_last;
        to->chunks_first = from->chunks_first;
    }
    if (from->extra_first != NULL) {
        from->extra_last->next = to->extra_first;
        if (to->extra_first == NULL) to->extra_last = from->extra_last;
        to->extra_first = from->extra_first;
    }
    if (from->buffers_first != NULL) {
        from->buffers_last->next = to->buffers_first;
        if (to->buffers_first == NULL) to->buffers_last = from->buffers_last;
        to->buffers_first = from->buffers_first;
    }
    if (from->dead_first != HEAD_NONE) {
        head_series(head, from->dead_last)->open.owner = to->dead_first;
        if (to->dead_first == HEAD_NONE) to->dead_last = from->dead_last;
        to->dead_first = from->dead_first;
    }
}

/* A reader never follows the link of a chain's last block. */
void head_retire_blocks(struct head *head, struct chunk_block *first, struct chunk_block *last) {
    struct retired r = {.blocks_first = first,
                        .blocks_last = last,
                        .dead_first = HEAD_NONE,
                        .dead_last = HEAD_NONE};
    if (head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

void head_retire_late(struct head *head, struct late *late) {
    struct retired r = {
        .late_first = late, .late_last = late, .dead_first = HEAD_NONE, .dead_last = HEAD_NONE};
    if (!late->seen || head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

void head_retire_extra(struct head *head, struct extra_rows *rows) {
    struct retired r = {
        .extra_first = rows, .extra_last = rows, .dead_first = HEAD_NONE, .dead_last = HEAD_NONE};
    if (head->newest == NULL) /* not seen itself, its histograms may be in an array that was */
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

/* Chunks keep their links, which readers follow, so they stand in lists of their own. The memory
 * for all of them is there before the first one goes. */
enum status head_retire_chunks(struct head *head, struct chunk *newest, uint32_t count) {
    struct retired r = {.dead_first = HEAD_NONE, .dead_last = HEAD_NONE};
    uint32_t have = 0;
    while (head->newest != NULL && have < count) {
        struct retired_chunks *batch = malloc(sizeof *batch), *next;
        if (batch == NULL) {
            for (batch = r.chunks_first; batch != NULL; batch = next) {
                next = batch->next;
                free(batch);
            }
            return ERR_NOMEM;
        }
        batch->next = r.chunks_first;
        batch->count = 0;
        if (r.chunks_first == NULL) r.chunks_last = batch;
        r.chunks_first = batch;
        have += ARRAY_LEN(batch->at);
    }
    struct retired_chunks *batch = r.chunks_first;
    for (struct chunk *c = newest, *older; count > 0; count--, c = older) {
        older = c->older;
        if (batch == NULL) {
            head_chunk_free(head, c);
            continue;
        }
        batch->at[batch->count++] = c;
        if (batch->count == ARRAY_LEN(batch->at)) batch = batch->next;
    }
    if (r.chunks_first != NULL) retired_move(head, &head->newest->retired, &r);
    return OK;
}

void head_retire_buffer(void *ctx, struct spill_buffer *buffer) {
    struct head *head = ctx;
    struct retired r = {.buffers_first = buffer,
                        .buffers_last = buffer,
                        .dead_first = HEAD_NONE,
                        .dead_last = HEAD_NONE};
    buffer->next = NULL;
    if (head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

void head_retire_series(struct head *head, uint32_t dead_first, uint32_t dead_last) {
    struct retired r = {.dead_first = dead_first, .dead_last = dead_last};
    if (head->newest == NULL)
        retired_free(head, &r);
    else
        retired_move(head, &head->newest->retired, &r);
}

void selection_release(struct selection *sel) {
    if (sel == NULL) return;
    struct head *head = sel->head;
    if (sel->older != NULL) {
        retired_move(head, &sel->older->retired, &sel->retired);
        sel->older->newer = sel->newer;
    } else {
        retired_free(head, &sel->retired);
    }
    if (sel->newer != NULL)
        sel->newer->older = sel->older;
    else
        head->newest = sel->older;
    for (uint32_t i = 0; i < sel->sets_count; i++)
        select_set_fini(&sel->sets[i]);
    map_fini(&sel->folded);
    map_fini(&sel->ones);
    free(sel->sets);
    free(sel->checks);
    free(sel->cursors);
    u32s_fini(&sel->refs);
    free(sel->views);
    free(sel);
}
