/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/archive/rig_harm.h: a file of a node that is down goes bad. What it may cost is in
 * `allowed`; harm_undo makes it, or all files, as they were. */
#pragma once

#include "tests/storage/archive/archive_rig.h"

enum harm_file { HARM_LOG_NEWEST, HARM_LOG, HARM_BLOCK, HARM_MANIFEST, HARM_LOG_END, HARM_FILES };
enum harm_kind { HARM_FLIP, HARM_TRUNCATED, HARM_REMOVED, HARM_UNREADABLE, HARM_KINDS };
extern const char *const harm_file_names[HARM_FILES], *const harm_kind_names[HARM_KINDS];

enum { HARM_FILES_MAX = 512 };
struct harm {
    enum harm_file file;
    enum harm_kind kind;
    struct harm_allowed allowed;
    char path[128]; /* of the file */
    /* all files as they were */
    struct {
        char path[128];
        struct buf bytes;
    } files[HARM_FILES_MAX];
    size_t count;
};
/* False: there is no such file. The rig is down. */
bool harm_do(struct harm *h, struct archive_rig *rig, enum harm_file file, enum harm_kind kind);
void harm_undo(struct harm *h, struct archive_rig *rig, bool all);
void harm_keep(struct harm *h); /* it stays bad */
