/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of FRAME_VERIFY, written out by hand. */
#include "ring/replica/verify.h"

#include <criterion/criterion.h>
#include <string.h>

#include "ring/replica/wire.h"

static const struct {
    struct verify_ask ask;
    const char *bytes;
    size_t len;
} asks[] = {
    {{.id = 300, .begin = true, .only = VERIFY_ALL}, "\x01\xac\x02\x01\x00", 5},
    {{.id = 1, .begin = true, .only = 0}, "\x01\x01\x01\x01", 4},
    {{.id = 1, .begin = false, .only = 200}, "\x01\x01\x00\xc9\x01", 5},
};

Test(replica_verify, asks) {
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        struct buf b = {0};
        struct verify_ask got;
        verify_ask_put(&asks[i].ask, &b);
        cr_assert(b.len == asks[i].len && memcmp(b.ptr, asks[i].bytes, b.len) == 0, "%zu", i);
        cr_assert(verify_ask_get(sv_skip(buf_sv(&b), 1), &got, NULL) == OK);
        cr_expect(got.id == asks[i].ask.id && got.begin == asks[i].ask.begin &&
                  got.only == asks[i].ask.only);
        for (size_t len = 0; len + 1 < b.len; len++)
            cr_expect(verify_ask_get(sv_make(b.ptr + 1, len), &got, NULL) == ERR_CORRUPT);
        buf_fini(&b);
    }
    struct verify_ask got;
    cr_expect(verify_ask_get(SV("\x01\x02\x00"), &got, NULL) == ERR_CORRUPT, "other bits");
    cr_expect(verify_ask_get(SV("\x01\x01\x01\x00"), &got, NULL) == ERR_CORRUPT, "more bytes");
}

/* Two cores: of the first a primary and a follower, and a difference that was repaired. */
static const char reply[] = "\xac\x02\x02\x05"
                            "\x02"
                            "\x01\x02\x01\x07\x00"
                            "\xc8\x01\x01\x00\x02\x03"
                            "\x01"
                            "\xc8\x01\x03\x01\x01\x0a\x64\x80\x01"
                            "\x01\x03\x00\x00\x00";

Test(replica_verify, parts) {
    struct sv rest = sv_make(reply, sizeof reply - 1);
    struct verify_part p;
    struct verify_shard s;
    struct verify_finding f;
    uint32_t shard;
    cr_assert(verify_part_get(&rest, &p, NULL) == OK);
    cr_expect(p.id == 300 && p.phase == VERIFY_COMPARING && p.blocks == 5);
    cr_assert(p.shards_count == 2 && p.findings_count == 1);
    cr_assert(verify_shard_next(&p.shards, &shard, &s));
    cr_expect(shard == 1 && s.state == VERIFY_DONE && s.leads && s.equal == 7 && s.apart == 0);
    cr_assert(verify_shard_next(&p.shards, &shard, &s));
    cr_expect(shard == 200 && s.state == VERIFY_OPEN && !s.leads && s.equal == 2 && s.apart == 3);
    cr_assert(verify_finding_next(&p.findings, &f));
    cr_expect(f.shard == 200 && f.verdict == SPAN_DIFFERS && f.repaired);
    cr_expect(f.span.min_ms == -1 && f.span.max_ms == 5);
    cr_expect(f.own_samples == 100 && f.other_samples == 128);
    cr_assert(verify_part_get(&rest, &p, NULL) == OK && rest.len == 0);
    cr_expect(p.id == 1 && p.phase == VERIFY_OVER && p.shards_count == 0);
}

Test(replica_verify, what_is_cut_is_refused) {
    struct verify_part p;
    for (size_t len = 0; len < sizeof reply - 1; len++) {
        struct sv rest = sv_make(reply, len);
        enum status status = OK;
        while (status == OK && rest.len > 0)
            status = verify_part_get(&rest, &p, NULL);
        bool whole = len == 0 || len == sizeof reply - 1 - 5; /* the first part */
        cr_expect((status == OK) == whole, "%zu bytes", len);
    }
    struct sv rest = SV("\x01\x04\x00\x00\x00");
    cr_expect(verify_part_get(&rest, &p, NULL) == ERR_CORRUPT, "another phase");
}
