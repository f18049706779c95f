/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/config_yaml.h: shared by the files of the configuration only. */
#pragma once

#include <yaml.h>

#include "node/daemon/config.h"

/* Empty unless n is a scalar. */
struct sv config_node_text(const yaml_node_t *n);
/* Which of the count elements of `size` bytes at defs, each of which begins with its name (const
 * char
 * *), the key names; one that is none of them is refused, as Prometheus does, for that type. */
MUST_USE enum status config_find_key(const yaml_node_t *key, const void *defs, size_t size,
                                     size_t count, const char *type, size_t *out, struct err *err);
/* The section `global`; a key that Prometheus does not know is refused with its text. */
MUST_USE enum status config_bind_global(yaml_document_t *doc, const yaml_node_t *map,
                                        struct config *c, struct err *err);
/* The section `storage`. */
MUST_USE enum status config_bind_storage(yaml_document_t *doc, const yaml_node_t *map,
                                         struct config *c, struct err *err);
/* The section `limits`, which Prometheus does not have. */
MUST_USE enum status config_bind_limits(yaml_document_t *doc, const yaml_node_t *map,
                                        struct config *c, struct err *err);
