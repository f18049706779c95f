/* SPDX-License-Identifier: Apache-2.0 */
/* Test files of PromQL: read and run, over one source and over three. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/ctl/promqltest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_BYTES_MAX = 4096 };

static struct tally run(struct sv text, unsigned sources_count, FILE *out) {
    struct test_run t = {
        .path = "fuzz", .out = out, .sources_count = sources_count, .seed = 1, .verbose = true};
    test_text_run(text, &t);
    return t.tally;
}

/* Where series lie is no part of the answer, except for the order of a vector that nobody sorts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static FILE *out;
    if (out == NULL) out = fopen("/dev/null", "w");
    if (out == NULL || size > INPUT_BYTES_MAX) return 0;
    struct sv text = sv_make(data, size);
    struct tally one = run(text, 1, out), three = run(text, 3, out);
    if (size > 0 && memmem(data, size, "ordered", 7) != NULL) return 0;
    if (one.passed != three.passed || one.failed != three.failed || one.skipped != three.skipped)
        abort();
    return 0;
}
