/* SPDX-License-Identifier: Apache-2.0 */
/* cairnctl tsdb list: the blocks of a data directory, in promtool's columns. Its chunks are pages
 * here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/duration.h"
#include "node/base/num.h"
#include "node/ctl/ctl.h"
#include "node/ctl/tsdb_dir.h"

enum { COLUMNS = 8, CELL_WIDTH = 13, CELL_GAP = 2 };

struct list_options {
    union flag_value help, human;
};
#define AT(field) offsetof(struct list_options, field)
static const struct flag_def defs[] = {
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},
    {"human-readable", 'r', FLAG_BOOL, NULL, "Print human readable values.", AT(human), false},
};
static struct list_options options;

static const char *const heads[COLUMNS] = {"BLOCK ULID",  "MIN TIME",   "MAX TIME",   "DURATION",
                                           "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES", "SIZE"};

/* As Go's tabwriter: cells of a column as wide as the widest, and a gap. */
static void put_table(const struct buf *cells, size_t rows) {
    size_t width[COLUMNS];
    for (size_t c = 0; c < COLUMNS; c++) {
        width[c] = CELL_WIDTH;
        for (size_t r = 0; r < rows; r++)
            width[c] = MAX(width[c], cells[r * COLUMNS + c].len + CELL_GAP);
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < COLUMNS; c++) {
            const struct buf *cell = &cells[r * COLUMNS + c];
            int pad = c + 1 < COLUMNS ? (int)(width[c] - cell->len) : 0;
            printf("%.*s%*s%s", SV_ARG(buf_sv(cell)), pad, "", c + 1 < COLUMNS ? "" : "\n");
        }
}

static void put_time(struct buf *out, int64_t ms) {
    if (!options.human.boolean) {
        num_put_i64(out, ms);
        return;
    }
    struct civil c = civil_from_ms(ms / 1000 * 1000);
    buf_printf(out, "%04" PRId64 "-%02d-%02d %02d:%02d:%02d +0000 UTC", c.year, c.month, c.day,
               c.hour, c.minute, c.second);
}

static enum status row_fill(const struct list_block *b, struct buf *cells, struct err *err) {
    struct block_info info;
    uint64_t pages;
    block_get_info(b->block, &info);
    TRY(block_count_pages(b->block, &pages, err));
    if (info.resolution_ms != 0) { /* columns of rows lie beyond (storage/archive/rows.h) */
        info.min_ms = b->of.min_ms;
        info.max_ms = b->of.max_ms;
    }
    int64_t end_ms = info.max_ms == INT64_MAX ? INT64_MAX : info.max_ms + 1;
    manifest_put_ulid(&b->of, &cells[0]);
    put_time(&cells[1], info.min_ms);
    put_time(&cells[2], end_ms);
    tsdb_put_span(&cells[3], info.min_ms, info.max_ms);
    num_put_u64(&cells[4], info.samples_count);
    num_put_u64(&cells[5], pages);
    num_put_u64(&cells[6], info.series_count);
    if (options.human.boolean)
        num_put_bytes(&cells[7], info.file_bytes);
    else
        num_put_u64(&cells[7], info.file_bytes);
    for (size_t c = 0; c < COLUMNS; c++)
        if (cells[c].failed) return err_set(err, ERR_NOMEM, 0, "out of memory");
    return OK;
}

static int list_blocks(const struct tsdb_dir *dir) {
    size_t blocks = dir->blocks == NULL ? 0 : dir->blocks->count, rows = 0;
    struct buf *cells = calloc((blocks + 1) * COLUMNS, sizeof *cells);
    struct err err;
    int code = 0;
    if (cells == NULL) return ctl_fail("out of memory");
    for (size_t c = 0; c < COLUMNS; c++)
        buf_put_sv(&cells[c], sv_from(heads[c]));
    rows++;
    for (size_t i = 0; i < blocks; i++) {
        const struct list_block *b = &dir->blocks->blocks[i];
        if (b->block == NULL)
            code = ctl_fail("%s", b->why.msg);
        else if (row_fill(b, &cells[rows * COLUMNS], &err) != OK)
            code = ctl_fail("%s", err.msg);
        else
            rows++;
    }
    put_table(cells, rows);
    for (size_t i = 0; i < (blocks + 1) * COLUMNS; i++)
        buf_fini(&cells[i]);
    free(cells);
    return code;
}

int tsdb_list_main(int argc, char **argv) {
    static struct flag_list arguments; /* lives as long as the process, see base/flags.h */
    struct err err = {0};
    if (flags_parse(defs, ARRAY_LEN(defs), argc, argv, &options, &arguments, &err) != OK)
        return ctl_fail("%s, try --help", err.msg);
    if (options.help.boolean)
        return ctl_help("tsdb list", "[DIR]",
                        "List the blocks of a data directory, also beside a node that runs. Blocks "
                        "that were imported and not taken up yet are listed too. MAX TIME is the "
                        "last sample's and one millisecond; chunks are pages of samples.",
                        defs, ARRAY_LEN(defs));
    if (arguments.count > 1) return ctl_fail("unexpected %s", arguments.items[1]);
    struct tsdb_dir_options to = {.path = arguments.count == 0 ? "data/" : arguments.items[0]};
    struct tsdb_dir dir;
    int code = tsdb_dir_open(&to, &dir, &err) == OK ? list_blocks(&dir) : ctl_fail("%s", err.msg);
    tsdb_dir_close(&dir);
    return code;
}
