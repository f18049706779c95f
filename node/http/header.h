/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/header.h: one header line, of a request or an answer, of the server or the client. */
#pragma once

#include "node/base/sv.h"

struct http_header {
    struct sv name, value;
};
