/* SPDX-License-Identifier: Apache-2.0 */
/* query/ui/page.h: the query page, one HTML file without outside resources, put together at build
 * time from page.html, page.css and page.js (embed.py). It lists nothing that the HTTP API does not
 * give. */
#pragma once

#include <stddef.h>

extern const char ui_page[];
extern const size_t ui_page_len;
