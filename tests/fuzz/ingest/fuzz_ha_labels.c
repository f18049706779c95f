/* SPDX-License-Identifier: Apache-2.0 */
/* The two labels of an HA pair in a request of any bytes: found texts lie in it and are UTF-8. */
#include <assert.h>
#include <stdint.h>

#include "ingest/ha.h"
#include "node/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const uint8_t *data, size_t size, struct sv text) {
    assert(text.len > 0 && text.len <= size && utf8_valid(text));
    assert((const uint8_t *)text.ptr >= data &&
           (const uint8_t *)text.ptr + text.len <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct ha_options options = {.cluster_label = "cluster",
                                              .replica_label = "__replica__"};
    struct sv cluster, replica, body = sv_make(data, size);
    if (ha_find_labels(&options, body, &cluster, &replica)) {
        check_text(data, size, cluster);
        check_text(data, size, replica);
    }
    assert(ha_count_samples(body) <= size / 2);
    return 0;
}
