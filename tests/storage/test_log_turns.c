/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the log that begin because an append asks for it (log_append.turn). */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "tests/storage/log_rig.h"

static struct rig rig;

static void on_done(struct core *here, struct log_append *req, enum status status,
                    const struct err *err) {
    (void)here, (void)req;
    cr_assert(status == OK && err == NULL);
    rig.in_flight--;
}

/* Appends of these turns, all at once: in which file each began and ended. */
static void turns_append(const uint64_t *turns, size_t count, size_t bytes, uint64_t files[][2]) {
    static char body[4096];
    struct log_append *reqs = calloc(count, sizeof *reqs);
    cr_assert(reqs != NULL && bytes <= sizeof body);
    core_set_current(rig.rt->cores[0]);
    for (size_t i = 0; i < count; i++) {
        reqs[i] = (struct log_append){.done = on_done, .turn = turns[i]};
        entry_put(&(struct entry){ENTRY_FLOOR, 3, 1, 1, 1, sv_make(body, bytes)}, &reqs[i].entries);
        rig.in_flight++;
        log_append(rig.log, rig.rt->cores[0], &reqs[i]);
    }
    core_set_current(NULL);
    rig_run(&rig);
    for (size_t i = 0; i < count; i++) {
        files[i][0] = reqs[i].begun;
        files[i][1] = reqs[i].file;
        buf_fini(&reqs[i].entries);
    }
    free(reqs);
}

Test(log_turns, a_turn_begins_a_file_unless_the_one_at_hand_is_small) {
    uint64_t files[4][2];
    rig_init(&rig, 1);
    rig.options.file_bytes_max = 128000; /* a hundred-and-twenty-eighth: 1,000 */
    rig_must_start(&rig);
    turns_append((const uint64_t[]){10}, 1, 900, files); /* in the first one, which is empty */
    cr_assert(files[0][0] == 1 && files[0][1] == 1);
    turns_append((const uint64_t[]){20}, 1, 900, files); /* still small */
    cr_assert(files[0][0] == 1 && files[0][1] == 1);
    turns_append((const uint64_t[]){20, 0}, 2, 100, files); /* no later turn */
    cr_assert(files[1][0] == 1 && files[1][1] == 1);
    /* what came ahead of it, in the same breath, is not in its file; what comes behind it is */
    turns_append((const uint64_t[]){20, 30, 30, 20}, 4, 100, files);
    cr_assert(files[0][0] == 1 && files[0][1] == 1);
    for (size_t i = 1; i < 4; i++)
        cr_assert(files[i][0] == 5 && files[i][1] == 5, "%zu: %" PRIu64, i, files[i][0]);
    uint64_t firsts[4];
    cr_assert(rig_files(&rig, firsts, 4) == 2 && firsts[1] == 5);
    rig_fini(&rig);
}
