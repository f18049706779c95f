/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and answers of joining and of promises: what is taken encodes to something that is taken
 * again with the same meaning. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ring/member/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(type, get, put)                                                                      \
    do {                                                                                           \
        type in, out;                                                                              \
        struct buf once = {0}, twice = {0};                                                        \
        if (get(bytes, &in, NULL) != OK) break;                                                    \
        put(&in, &once);                                                                           \
        if (get(buf_sv(&once), &out, NULL) != OK) abort();                                         \
        put(&out, &twice);                                                                         \
        if (!sv_eq(buf_sv(&once), buf_sv(&twice))) abort();                                        \
        buf_fini(&once);                                                                           \
        buf_fini(&twice);                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sv bytes = sv_make(data, size);
    CHECK(struct join_ask, join_ask_get, join_ask_put);
    CHECK(struct join_answer, join_answer_get, join_answer_put);
    CHECK(struct promise_ask, promise_ask_get, promise_ask_put);
    CHECK(struct promise_answer, promise_answer_get, promise_answer_put);
    return 0;
}
