/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and replies of lists between nodes; what is read is written and read again. */
#include <assert.h>

#include "query/gather/list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    struct err err;
    struct list_request r, again;
    arena_init(&arena, 16 << 20);
    if (list_request_get(sv_make(data, size), &arena, &r, &err) == OK) {
        struct buf b = {0};
        list_request_put(&r, &b);
        assert(list_request_get(buf_sv(&b), &arena, &again, &err) == OK);
        assert(again.ask.selectors_count == r.ask.selectors_count && sv_eq(again.shards, r.shards));
        struct list_query *q;
        if (list_query_new(&r.ask, &q, &err) == OK) list_query_free(q);
        buf_fini(&b);
    }
    struct list_items items;
    list_items_init(&items);
    if (list_reply_get(sv_make(data, size), &items, &err) == OK)
        for (int kind = GATHER_SERIES; kind <= GATHER_LABEL_VALUES; kind++)
            list_items_finish(&items, (enum gather_list_kind)kind, 0);
    list_items_fini(&items);
    arena_fini(&arena);
    return 0;
}
