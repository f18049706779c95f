/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of shards between nodes, byte by byte, and what is made of those by other maps. */
#include <criterion/criterion.h>
#include <string.h>

#include "query/gather/internal.h"

enum { SHARDS = 130, WORDS = 3 };

/* Shards 0, 1 and 3 of epoch 1, 64 of 300, 65 of 1, 129 of 1: three words, then 3 of 1, 1 of 300
 * (ac 02), 2 of 1 */
static const char golden[] = "\x03"
                             "\x0b\0\0\0\0\0\0\0"
                             "\x03\0\0\0\0\0\0\0"
                             "\x02\0\0\0\0\0\0\0"
                             "\x03\x01\x01\xac\x02\x02\x01";
static const struct sv golden_sv = {golden, sizeof golden - 1};
static const uint32_t listed[] = {0, 1, 3, 64, 65, 129};

static struct ring_map *map_new(void) {
    struct ring_map *map;
    cr_assert_eq(ring_map_new(1, SHARDS, &map, NULL), OK);
    map->settings.shards_count = SHARDS;
    for (uint32_t i = 0; i < SHARDS; i++)
        map->shards[i].epoch = 1;
    map->shards[64].epoch = 300;
    return map;
}

/* As they stand in the map, and beside each other as a gather keeps them. */
static struct epochs epochs_of(const struct ring_map *map, bool dense) {
    static uint32_t at[SHARDS];
    for (uint32_t i = 0; i < SHARDS; i++)
        at[i] = map->shards[i].epoch;
    return (struct epochs){map, dense ? at : NULL};
}

static void bits_of(const uint32_t *shards, size_t count, uint64_t *bits) {
    memset(bits, 0, WORDS * sizeof *bits);
    for (size_t i = 0; i < count; i++)
        bit_set(bits, shards[i]);
}

Test(shard_list, is_written_as_agreed) {
    struct ring_map *map = map_new();
    struct buf b = {0};
    uint64_t bits[WORDS];
    struct epochs epochs = epochs_of(map, true);
    bits_of(listed, ARRAY_LEN(listed), bits);
    shard_list_put(&epochs, bits, &b);
    cr_expect(sv_eq(buf_sv(&b), golden_sv));
    buf_clear(&b);
    epochs = epochs_of(map, false);
    shard_list_put(&epochs, bits, &b);
    cr_expect(sv_eq(buf_sv(&b), golden_sv), "of the map");
    buf_clear(&b);
    bits_of(listed, 0, bits);
    shard_list_put(&epochs, bits, &b);
    cr_expect(sv_eq(buf_sv(&b), SV("\0")), "none");
    buf_clear(&b);
    bits_of(listed, 3, bits);
    shard_list_put(&epochs, bits, &b);
    cr_expect(sv_eq(buf_sv(&b), SV("\x01\x0b\0\0\0\0\0\0\0\x03\x01")), "one word, one run");
    buf_fini(&b);
    ring_map_unref(map);
}

Test(shard_list, is_read_as_written) {
    struct ring_map *map = map_new();
    struct epochs epochs = epochs_of(map, true);
    uint64_t bits[WORDS] = {0}, want[WORDS];
    struct err err;
    bits_of(listed, ARRAY_LEN(listed), want);
    cr_assert_eq(shard_list_get(&epochs, golden_sv, bits, &err), OK, "%s", err.msg);
    cr_expect_arr_eq(bits, want, sizeof want);
    ring_map_unref(map);
}

Test(shard_list, leaves_out_shards_of_another_epoch_here) {
    struct ring_map *map = map_new();
    uint64_t bits[WORDS], want[WORDS];
    struct err err;
    map->shards[1].epoch = 2;
    map->shards[64].epoch = 299;
    bits_of((uint32_t[]){0, 3, 65, 129}, 4, want);
    for (int dense = 0; dense < 2; dense++) {
        struct epochs epochs = epochs_of(map, dense != 0);
        memset(bits, 0, sizeof bits);
        cr_assert_eq(shard_list_get(&epochs, golden_sv, bits, &err), OK, "%s", err.msg);
        cr_expect_arr_eq(bits, want, sizeof want);
    }
    ring_map_unref(map);
}

Test(shard_list, refuses_what_is_cut_short_or_goes_on) {
    struct ring_map *map = map_new();
    struct epochs epochs = epochs_of(map, true);
    uint64_t bits[WORDS];
    char longer[sizeof golden];
    for (size_t n = 0; n < golden_sv.len; n++)
        cr_expect_eq(shard_list_get(&epochs, sv_take(golden_sv, n), bits, NULL), ERR_CORRUPT, "%zu",
                     n);
    memcpy(longer, golden, sizeof golden);
    longer[golden_sv.len] = 1;
    cr_expect_eq(shard_list_get(&epochs, sv_make(longer, sizeof longer), bits, NULL), ERR_CORRUPT);
    ring_map_unref(map);
}

static const struct bad {
    const char *what;
    struct sv bytes;
} bads[] = {
    {"more words than the map has", SV_INIT("\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                            "\0\0\0\0\0\0\0\0")},
    {"a count beyond all bytes", SV_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0b")},
    {"a shard that the map does not have", SV_INIT("\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                                   "\x04\0\0\0\0\0\0\0\x01\x01")},
    {"an empty run", SV_INIT("\x01\x01\0\0\0\0\0\0\0\0\x01\x01\x01")},
    {"a run beyond the bits", SV_INIT("\x01\x01\0\0\0\0\0\0\0\x02\x01")},
    {"a bit without an epoch", SV_INIT("\x01\x03\0\0\0\0\0\0\0\x01\x01")},
};

Test(shard_list, refuses_what_no_node_writes) {
    struct ring_map *map = map_new();
    struct epochs epochs = epochs_of(map, true);
    for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
        uint64_t bits[WORDS] = {0};
        cr_expect_eq(shard_list_get(&epochs, bads[i].bytes, bits, NULL), ERR_CORRUPT, "%s",
                     bads[i].what);
    }
    ring_map_unref(map);
}

Test(shard_list, a_reply_claims_at_most_what_was_asked) {
    struct ring_map *map = map_new();
    struct epochs epochs = epochs_of(map, true);
    uint64_t claimed[WORDS], want[WORDS];
    struct err err;
    bits_of((uint32_t[]){0, 1, 2, 3, 64, 65, 66, 129}, 8, claimed);
    bits_of(listed, ARRAY_LEN(listed), want);
    cr_assert_eq(shard_list_narrow(&epochs, golden_sv, claimed, &err), OK, "%s", err.msg);
    cr_expect_arr_eq(claimed, want, sizeof want);
    bits_of(listed, 5, claimed);
    cr_expect_eq(shard_list_narrow(&epochs, golden_sv, claimed, &err), ERR_CORRUPT, "129 was not");
    ring_map_unref(map);
}
