/* SPDX-License-Identifier: Apache-2.0 */
/* The payload of an error reply always ends in an error with a text, whatever it is. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "ring/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err err = {0}, again = {0};
    enum status st = frame_error_get(sv_make(data, size), &err);
    assert(st != OK && st < STATUS_COUNT && err.code == st);
    assert(memchr(err.msg, 0, sizeof err.msg) != NULL);
    struct buf b = {0};
    frame_error_put(st, err.msg, &b);
    assert(frame_error_get(buf_sv(&b), &again) == st && strcmp(err.msg, again.msg) == 0);
    buf_fini(&b);
    return 0;
}
