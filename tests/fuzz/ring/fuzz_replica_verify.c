/* SPDX-License-Identifier: Apache-2.0 */
/* What another node says of a verification, and asks of one: refused by name, or all that it counts
 * is there. */
#include <assert.h>
#include <stdint.h>

#include "ring/replica/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parts(struct sv rest) {
    struct verify_part p;
    struct err err = {0};
    while (rest.len > 0) {
        size_t before = rest.len;
        if (verify_part_get(&rest, &p, &err) != OK) {
            assert(err.code == ERR_CORRUPT && err.msg[0] != '\0');
            return;
        }
        assert(rest.len < before);
        struct verify_shard s;
        struct verify_finding f;
        uint32_t shard;
        for (uint64_t i = 0; i < p.shards_count; i++)
            assert(verify_shard_next(&p.shards, &shard, &s) && s.state <= VERIFY_FAILED);
        for (uint64_t i = 0; i < p.findings_count; i++)
            assert(verify_finding_next(&p.findings, &f) && f.verdict <= SPAN_LOST);
    }
}

static void ask(struct sv bytes) {
    struct verify_ask a, again;
    struct err err = {0};
    if (verify_ask_get(bytes, &a, &err) != OK) {
        assert(err.code == ERR_CORRUPT);
        return;
    }
    struct buf b = {0};
    verify_ask_put(&a, &b);
    assert(verify_ask_get(sv_skip(buf_sv(&b), 1), &again, &err) == OK);
    assert(again.id == a.id && again.begin == a.begin && again.only == a.only);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv bytes = sv_make((const char *)data, size);
    parts(bytes);
    ask(bytes);
    return 0;
}
