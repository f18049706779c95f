/* SPDX-License-Identifier: Apache-2.0 */
/* The promise and the address table; the checksum is made right, so that what is behind it is
 * reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "ring/member/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf b = {0};
    buf_put(&b, data, size);
    buf_put_u64(&b, hash64(data, size, 0));
    node_id id;
    if (promise_file_get(buf_sv(&b), &id, NULL) == OK && id == 0) abort();
    struct member_address *items = NULL;
    size_t count = 0;
    if (addresses_file_get(buf_sv(&b), &items, &count, NULL) == OK) {
        for (size_t i = 1; i < count; i++)
            if (items[i].id <= items[i - 1].id) abort();
        free(items);
    }
    buf_fini(&b);
    return 0;
}
