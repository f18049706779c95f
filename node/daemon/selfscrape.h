/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/selfscrape.h: the node scraping itself: its own registry, through the normal write
 * path, with the labels and the report series (up, scrape_duration_seconds, ...) of a scrape. On
 * core 0, from when the node is open. */
#pragma once

#include <stdint.h>

#include "node/daemon/node.h"
#include "node/runtime/core.h"

struct selfscrape;
MUST_USE enum status selfscrape_start(const struct node *node, struct core *core,
                                      int64_t interval_ms, const char *instance,
                                      struct selfscrape **out, struct err *err);
void selfscrape_stop(struct selfscrape *s); /* no further scrape begins; on the core */
void selfscrape_free(
    struct selfscrape *s); /* after the write under way has ended (the loops are stopped) */
