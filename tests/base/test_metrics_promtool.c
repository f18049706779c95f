/* SPDX-License-Identifier: Apache-2.0 */
/* Debian's `promtool check metrics` (path in argv[1], "" where it is missing) must read what the
 * registry writes. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/base/metrics_sample.h"

enum { SKIPPED = 77 };

int main(int argc, char **argv) {
    if (argc < 2 || argv[1][0] == '\0') {
        puts("skipped: no promtool");
        return SKIPPED;
    }
    struct buf text = {0}, command = {0};
    sample_fill();
    metrics_register_process();
    metrics_put_text(&text);
    buf_printf(&command, "'%s' check metrics", argv[1]);
    FILE *f = popen(buf_cstr(&command), "w");
    if (f == NULL || text.failed) return EXIT_FAILURE;
    fwrite(text.ptr, 1, text.len, f);
    int rc = pclose(f);
    if (rc != 0) fprintf(stderr, "promtool refused:\n%.*s", SV_ARG(buf_sv(&text)));
    buf_fini(&text);
    buf_fini(&command);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
