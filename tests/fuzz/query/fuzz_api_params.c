/* SPDX-License-Identifier: Apache-2.0 */
/* Times and durations of the HTTP API, and strings of its answers. */
#include <assert.h>

#include "query/api/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv s = sv_make(data, size);
    struct err err;
    int64_t ms, ns;
    if (api_time_parse(s, &ms)) assert(ms >= API_MIN_MS && ms <= API_MAX_MS);
    if (!api_duration_parse(s, &ns, &err)) assert(err.msg[0] != '\0');
    struct buf out = {0};
    api_put_text(&out, s);
    assert(out.len >= 2 && out.ptr[0] == '"' && out.ptr[out.len - 1] == '"');
    for (size_t i = 1; i + 1 < out.len; i++)
        assert((unsigned char)out.ptr[i] >= 0x20);
    buf_clear(&out);
    api_put_label(&out, s);
    assert(out.len >= size + 2);
    buf_fini(&out);
    return 0;
}
