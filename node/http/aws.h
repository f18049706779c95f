/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/aws.h: calls of AWS services that speak JSON 1.1, signed, on one core's loop. Region,
 * endpoints and the way to credentials come from the environment (aws_config.h). Credentials: the
 * environment's; else those of the container (ECS, EKS); else, unless AWS_EC2_METADATA_DISABLED is
 * true, those of the EC2 instance (IMDSv2, AWS_EC2_METADATA_SERVICE_ENDPOINT). They are asked for
 * when they are needed, and again AWS_REFRESH_MS before they expire, or after an answer 4xx; while
 * that fails, the old ones serve until they expire.
 * AWS_CA_BUNDLE names other CAs than the system's.
 * Thread: as node/http/client.h; a token file is read on the core. Nothing secret is in an error.
 */
#pragma once

#include "node/http/aws_config.h"
#include "node/http/client.h"

enum {
    AWS_REFRESH_MS = 300000,
    AWS_CREDENTIALS_MS = 2000, /* time limit of each question for them */
    AWS_CALLS_MAX = 64         /* under way */
};

struct aws;
/* The environment is read again at each call, where that matters. */
MUST_USE enum status aws_new(struct core *core, aws_env env, struct aws **out, struct err *err);
/* Calls under way are done with ERR_CANCELED; `stopped` as http_client_stop. */
void aws_stop(struct aws *aws, void (*stopped)(void *ctx), void *ctx);
void aws_free(struct aws *aws); /* accepts NULL */

struct aws_call_options {
    const struct aws_service *service; /* static */
    const char *target;                /* X-Amz-Target; static */
    struct sv body;                    /* JSON, copied */
    uint64_t timeout_ms;               /* of the call itself */
    size_t answer_bytes_max;
    http_fetch_done done; /* exactly once, never before aws_call has returned. Also what there is to
                             say of region and credentials: ERR_UNAVAILABLE or ERR_PARSE. */
    void *ctx;
};
/* ERR_LIMIT, ERR_NOMEM, ERR_CANCELED; ERR_UNAVAILABLE, ERR_PARSE: the environment, see err. */
MUST_USE enum status aws_call(struct aws *aws, const struct aws_call_options *options,
                              struct err *err);
