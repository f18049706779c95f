/* SPDX-License-Identifier: Apache-2.0 */
/* Content-Type and Content-Encoding of a write, divided at the first NUL: 0 without, or 415 with a
 * terminated text. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ingest/remote_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv all = sv_make(data, size), type, encoding = sv_cut(all, '\0', &type);
    char text[REMOTE_WRITE_TEXT_MAX];
    memset(text, 'x', sizeof text);
    bool is_v2;
    int code = remote_write_check_headers(type, encoding, &is_v2, text);
    assert(code == 0 || code == 415);
    assert(code == 0 || (memchr(text, '\0', sizeof text) != NULL && strlen(text) > 20));
    /* another message or media type never passes */
    if (code == 0 && sv_trim(type).len > 0)
        assert(sv_starts(sv_trim(type), SV("application/x-protobuf")));
    size_t at;
    if (code == 0 && is_v2) assert(sv_find(type, SV("io.prometheus.write.v2.Request"), &at));
    if (code == 0 && !is_v2)
        assert(!sv_find(type, SV("proto=io."), &at) ||
               sv_find(type, SV("proto=prometheus.WriteRequest"), &at));
    return 0;
}
