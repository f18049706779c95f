/* SPDX-License-Identifier: Apache-2.0 */
/* Items of ring/replica/wire.h from anywhere: refused by name, or each says the same when it is
 * written again. */
#include <assert.h>
#include <stdint.h>

#include "ring/replica/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv rest = sv_make(data, size);
    struct err err = {0};
    if (wire_open(&rest, &err) != OK) return 0;
    while (rest.len > 0) {
        struct append_item item, again;
        size_t before = rest.len;
        if (append_item_get(&rest, &item, &err) != OK) {
            assert(err.code == ERR_CORRUPT && err.msg[0] != '\0');
            return 0;
        }
        assert(rest.len < before);
        struct buf first = {0}, second = {0};
        append_item_put(&item, &first);
        struct sv same = buf_sv(&first);
        assert(append_item_get(&same, &again, &err) == OK && same.len == 0);
        append_item_put(&again, &second);
        assert(sv_eq(buf_sv(&first), buf_sv(&second)));
        buf_fini(&first);
        buf_fini(&second);
    }
    return 0;
}
