/* SPDX-License-Identifier: Apache-2.0 */
/* Annotations: warnings and infos with the place in the query. Equal texts are one; the place of
 * the last wins, and "last" is the greater tree node, so that the order in which parts arrive does
 * not show. */
#include "query/engine/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void notes_fini(struct notes *n) {
    for (size_t i = 0; i < n->count; i++)
        free(n->items[i].text);
    free(n->items);
    *n = (struct notes){0};
}

static int note_order(const void *a, const void *b) {
    const struct note *x = a, *y = b;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return sv_cmp(sv_make(x->text, x->text_len), sv_make(y->text, y->text_len));
}

void notes_sort(struct notes *n) {
    if (n->count > 1) qsort(n->items, n->count, sizeof *n->items, note_order);
}

static void note_merge(struct note *into, const struct note *from) {
    into->number = MAX(into->number, from->number);
    if (!into->counted) return;
    into->min_bucket = MIN(into->min_bucket, from->min_bucket);
    into->max_bucket = MAX(into->max_bucket, from->max_bucket);
    into->max_diff = MAX(into->max_diff, from->max_diff);
    into->min_ms = MIN(into->min_ms, from->min_ms);
    into->max_ms = MAX(into->max_ms, from->max_ms);
    into->count += from->count;
}

enum status notes_add(struct notes *n, const struct note *note) {
    uint64_t hash = hash64(note->text, note->text_len, note->warning);
    for (size_t i = n->count; i-- > 0;) {
        struct note *old = &n->items[i];
        if (old->hash != hash || old->warning != note->warning || old->text_len != note->text_len)
            continue;
        if (memcmp(old->text, note->text, note->text_len) != 0) continue;
        note_merge(old, note);
        return OK;
    }
    if (n->count == NOTES_MAX) return OK; /* at most ten are shown; the rest is a number */
    if (n->count == n->cap) {
        size_t cap = n->cap == 0 ? 8 : n->cap * 2;
        struct note *grown = reallocarray(n->items, cap, sizeof *grown);
        if (grown == NULL) return ERR_NOMEM;
        n->items = grown;
        n->cap = cap;
    }
    char *text = malloc(note->text_len + 1);
    if (text == NULL) return ERR_NOMEM;
    if (note->text_len > 0) memcpy(text, note->text, note->text_len);
    text[note->text_len] = '\0';
    n->items[n->count] = *note;
    n->items[n->count].text = text;
    n->items[n->count++].hash = hash;
    return OK;
}

enum status notes_merge(struct notes *into, const struct notes *from) {
    for (size_t i = 0; i < from->count; i++)
        TRY(notes_add(into, &from->items[i]));
    return OK;
}

void eval_note(struct eval *ev, bool warning, const struct expr *at, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    size_t len = MIN((size_t)n, sizeof text - 1);
    struct note note = {.warning = warning, .number = at == NULL ? NOTE_NOWHERE : at->number};
    note.text = text;
    note.text_len = len;
    enum status st = notes_add(ev->notes, &note);
    if (st != OK) ev->note_status = st;
}

void eval_note_counted(struct eval *ev, const struct expr *at, const struct note *counters,
                       const char *text) {
    struct note note = *counters;
    char copy[1024];
    int n = snprintf(copy, sizeof copy, "%s", text);
    if (n < 0) return;
    note.number = at == NULL ? NOTE_NOWHERE : at->number;
    note.text = copy;
    note.text_len = MIN((size_t)n, sizeof copy - 1);
    note.counted = true;
    enum status st = notes_add(ev->notes, &note);
    if (st != OK) ev->note_status = st;
}

void note_float_trim(struct eval *ev, const struct expr *binary) {
    const char *op = binary_op_text(binary->u.binary.op);
    eval_note(ev, false, binary,
              "incompatible sample types encountered for binary operator \"%s\": float %s float",
              op, op);
}
