/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/ring/replica_wire.h: items of ring/replica/wire.h from anywhere: refused by name, or
 * each says the same when it is written again. One target a kind. */
#pragma once

#include <assert.h>
#include <stdint.h>

#include "ring/replica/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ITEMS(kind)                                                                           \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {                                 \
        struct sv rest = sv_make(data, size);                                                      \
        struct err err = {0};                                                                      \
        if (wire_open(&rest, &err) != OK) return 0;                                                \
        while (rest.len > 0) {                                                                     \
            struct kind item, again;                                                               \
            size_t before = rest.len;                                                              \
            if (kind##_get(&rest, &item, &err) != OK) {                                            \
                assert(err.code == ERR_CORRUPT && err.msg[0] != '\0');                             \
                return 0;                                                                          \
            }                                                                                      \
            assert(rest.len < before);                                                             \
            struct buf first = {0}, second = {0};                                                  \
            kind##_put(&item, &first);                                                             \
            struct sv same = buf_sv(&first);                                                       \
            assert(kind##_get(&same, &again, &err) == OK && same.len == 0);                        \
            kind##_put(&again, &second);                                                           \
            assert(sv_eq(buf_sv(&first), buf_sv(&second)));                                        \
            buf_fini(&first);                                                                      \
            buf_fini(&second);                                                                     \
        }                                                                                          \
        return 0;                                                                                  \
    }
