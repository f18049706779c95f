/* SPDX-License-Identifier: Apache-2.0 */
/* node/http/aws_config.h: what a process's environment says about AWS, by the names and rules of
 * AWS's own SDKs, and credentials as their sources write them. Errors name the variable. The
 * environment is asked by a function (getenv); an empty variable is none. */
#pragma once

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/runtime/disk.h"

typedef char *(*aws_env)(const char *name);

struct aws_service {
    const char *name;              /* in host names, and by which requests are signed */
    const char *host_prefix;       /* "data-": before the name in AWS's own host name */
    const char *endpoint_variable; /* of its own, before AWS_ENDPOINT_URL */
};

/* AWS_REGION, else AWS_DEFAULT_REGION. The bytes are the environment's. ERR_UNAVAILABLE: none;
 * ERR_PARSE: not a region's name. */
MUST_USE enum status aws_region(aws_env env, struct sv *out, struct err *err);
/* The URL of a service, without a slash at its end. Behind a variable it is as given: without the
 * prefix. ERR_PARSE: not http:// or https://, or a URL with a path or query. */
MUST_USE enum status aws_endpoint(aws_env env, const struct aws_service *service, struct sv region,
                                  struct buf *out, struct err *err);

struct aws_credentials {
    struct buf key_id, secret, token;
    int64_t expires_ms; /* INT64_MAX: never */
};
void aws_credentials_fini(struct aws_credentials *c); /* wiped */

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. *out_found false: there is no key
 * id, *out is untouched. ERR_UNAVAILABLE: a key id without a secret. */
MUST_USE enum status aws_credentials_of_env(aws_env env, bool *out_found,
                                            struct aws_credentials *out, struct err *err);
/* As a container's or an instance's credentials service answers: AccessKeyId, SecretAccessKey,
 * Token and Expiration (optional) of a JSON object; Code, where there is one, is Success. ERR_PARSE
 * says what is wrong, without the secret. */
MUST_USE enum status aws_credentials_parse(struct sv json, struct aws_credentials *out,
                                           struct err *err);

/* Where a container asks for its credentials: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI on
 * 169.254.170.2, else AWS_CONTAINER_CREDENTIALS_FULL_URI, whose host without TLS must be this
 * machine or a link-local service of ECS or EKS; and the Authorization header to send, of the file
 * AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (read now: it changes), else
 * AWS_CONTAINER_AUTHORIZATION_TOKEN. *out_found false: neither URI is set. */
MUST_USE enum status aws_container_find(aws_env env, struct disk *disk, bool *out_found,
                                        struct buf *out_url, struct buf *out_token,
                                        struct err *err);
