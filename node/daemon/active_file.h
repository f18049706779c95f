/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/active_file.h: <data>/queries.active, mapped into memory, so that the queries that
 * ran when the process was killed are known to the next start, which logs them. */
#pragma once

#include "query/gather/active.h"

struct active_file {
    struct active active;
    size_t len_bytes;
    char path[4200];
};
/* At start-up, with the directory locked. Logs what the last run left. A file that cannot be made
 * is a warning: queries run without. */
void active_file_open(struct active_file *a, const char *data_dir, unsigned cores,
                      unsigned per_core);
/* After a clean stop: the file goes. */
void active_file_close(struct active_file *a);
