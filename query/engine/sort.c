/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting that looks at the stop conditions: a hundred thousand label sets take a tenth of a
 * second. */
#include "query/engine/internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    RUN = 128, /* sorted at once */
    COMPARE_WORK = 60,
};

struct sorting {
    struct eval *ev;
    char *from, *to;
    size_t size;
    sort_cmp cmp;
    void *arg;
};

static enum status merge_runs(struct sorting *s, size_t left, size_t right, size_t end) {
    size_t i = left, j = right;
    for (size_t at = left; at < end; at++) {
        const char *a = s->from + i * s->size, *b = s->from + j * s->size;
        bool take_left = i < right && (j >= end || s->cmp(a, b, s->arg) <= 0);
        memcpy(s->to + at * s->size, take_left ? a : b, s->size);
        i += take_left;
        j += !take_left;
        TRY(eval_work(s->ev, COMPARE_WORK));
    }
    return OK;
}

static enum status sort_runs(struct sorting *s, size_t count) {
    for (size_t i = 0; i < count; i += RUN) {
        qsort_r(s->from + i * s->size, MIN((size_t)RUN, count - i), s->size, s->cmp, s->arg);
        TRY(eval_work(s->ev, (size_t)RUN * 7 * COMPARE_WORK));
    }
    for (size_t width = RUN; width < count; width *= 2) {
        for (size_t i = 0; i < count; i += 2 * width)
            TRY(merge_runs(s, i, MIN(i + width, count), MIN(i + 2 * width, count)));
        char *swap = s->from;
        s->from = s->to;
        s->to = swap;
    }
    return OK;
}

enum status eval_sort(struct eval *ev, void *base, size_t count, size_t size,
                      const struct sort_by *by) {
    size_t i = 1;
    while (i < count &&
           by->cmp((char *)base + (i - 1) * size, (char *)base + i * size, by->arg) <= 0) {
        TRY(eval_work(ev, COMPARE_WORK));
        i++;
    }
    if (i >= count) return OK;
    if (count <= RUN) {
        qsort_r(base, count, size, by->cmp, by->arg);
        return eval_work(ev, count * 7 * COMPARE_WORK);
    }
    char *other = eval_alloc(ev, count, size);
    if (other == NULL) return eval_nomem(ev);
    struct sorting s = {ev, base, other, size, by->cmp, by->arg};
    enum status st = sort_runs(&s, count);
    if (st == OK && s.from != base) memcpy(base, s.from, count * size);
    eval_free(ev, other, count, size);
    return st;
}
