/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ring/member/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct admin_call in = {0}, out = {0};
    if (admin_ask_get(sv_make(data, size), &in, NULL) != OK) return 0;
    if (memchr(in.cluster, '\0', sizeof in.cluster) == NULL) abort();
    struct buf b = {0};
    admin_ask_put(&in, &b);
    if (admin_ask_get(buf_sv(&b), &out, NULL) != OK || out.verb != in.verb ||
        strcmp(in.replica, out.replica) != 0)
        abort();
    buf_fini(&b);
    return 0;
}
