/* SPDX-License-Identifier: Apache-2.0 */
/* Host names and rules as botocore 1.43 has them. */
#include "node/http/aws_config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The environment of a test: name, value, ..., NULL. */
static char *vars[16];
static char *env(const char *name) {
    for (size_t i = 0; vars[i] != NULL; i += 2)
        if (strcmp(vars[i], name) == 0) return vars[i + 1];
    return NULL;
}
#define ENV(...)                                                                                   \
    do {                                                                                           \
        static const char *const set[16] = {__VA_ARGS__};                                          \
        memcpy(vars, set, sizeof vars);                                                            \
    } while (0)

static struct err err;
#define SAYS(text) cr_expect_not_null(strstr(err.msg, (text)), "%s", err.msg)

Test(aws_config, region) {
    struct sv region = {0};
    ENV("AWS_REGION", "eu-central-1", "AWS_DEFAULT_REGION", "us-east-1");
    cr_assert_eq(aws_region(env, &region, &err), OK);
    cr_expect(sv_eq(region, SV("eu-central-1")));
    ENV("AWS_REGION", "", "AWS_DEFAULT_REGION", "us-east-1");
    cr_assert_eq(aws_region(env, &region, &err), OK);
    cr_expect(sv_eq(region, SV("us-east-1")));
    ENV(NULL);
    cr_expect_eq(aws_region(env, &region, &err), ERR_UNAVAILABLE);
    SAYS("AWS_REGION is not set");
    static const char *const bad[] = {"eu/x", "EU",  "-a",
                                      "a.b",  "a@b", "a23456789012345678901234567890123456789012"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *const set[] = {"AWS_DEFAULT_REGION", bad[i], NULL};
        memcpy(vars, set, sizeof set);
        cr_expect_eq(aws_region(env, &region, &err), ERR_PARSE, "%s", bad[i]);
        SAYS("AWS_DEFAULT_REGION is");
    }
}

static const struct aws_service service = {"servicediscovery", "data-",
                                           "AWS_ENDPOINT_URL_SERVICEDISCOVERY"};

static void expect_endpoint(const char *region, const char *want) {
    struct buf url = {0};
    cr_assert_eq(aws_endpoint(env, &service, sv_from(region), &url, &err), OK, "%s", err.msg);
    cr_expect_str_eq(url.ptr, want);
    buf_fini(&url);
}

Test(aws_config, endpoint) {
    ENV(NULL);
    expect_endpoint("us-east-1", "https://data-servicediscovery.us-east-1.amazonaws.com");
    expect_endpoint("us-gov-west-1", "https://data-servicediscovery.us-gov-west-1.amazonaws.com");
    expect_endpoint("cn-north-1", "https://data-servicediscovery.cn-north-1.amazonaws.com.cn");
    ENV("AWS_ENDPOINT_URL", "http://127.0.0.1:4566/");
    expect_endpoint("us-east-1", "http://127.0.0.1:4566");
    ENV("AWS_ENDPOINT_URL", "http://a", "AWS_ENDPOINT_URL_SERVICEDISCOVERY", "https://b.example");
    expect_endpoint("us-east-1", "https://b.example");
    static const char *const bad[] = {"127.0.0.1:80", "ftp://a", "http://a/path", "http://a/?b",
                                      "http://"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf url = {0};
        const char *const set[] = {"AWS_ENDPOINT_URL", bad[i], NULL};
        memcpy(vars, set, sizeof set);
        cr_expect_eq(aws_endpoint(env, &service, SV("a"), &url, &err), ERR_PARSE, "%s", bad[i]);
        SAYS("AWS_ENDPOINT_URL is");
        buf_fini(&url);
    }
}

Test(aws_config, credentials_of_the_environment) {
    struct aws_credentials c = {0};
    bool found = true;
    ENV("AWS_SECRET_ACCESS_KEY", "secret");
    cr_assert_eq(aws_credentials_of_env(env, &found, &c, &err), OK);
    cr_expect(!found);
    ENV("AWS_ACCESS_KEY_ID", "AKID", "AWS_SECRET_ACCESS_KEY", "sec/ret+");
    cr_assert_eq(aws_credentials_of_env(env, &found, &c, &err), OK);
    cr_expect(found && sv_eq(buf_sv(&c.key_id), SV("AKID")));
    cr_expect(sv_eq(buf_sv(&c.secret), SV("sec/ret+")) && c.token.len == 0);
    cr_expect_eq(c.expires_ms, INT64_MAX);
    aws_credentials_fini(&c);
    ENV("AWS_ACCESS_KEY_ID", "AKID");
    cr_expect_eq(aws_credentials_of_env(env, &found, &c, &err), ERR_UNAVAILABLE);
    SAYS("AWS_SECRET_ACCESS_KEY is not");
    ENV("AWS_ACCESS_KEY_ID", "AKID", "AWS_SECRET_ACCESS_KEY", "a", "AWS_SESSION_TOKEN", "a\nX: b");
    cr_expect_eq(aws_credentials_of_env(env, &found, &c, &err), ERR_PARSE);
    SAYS("AWS_SESSION_TOKEN has characters");
}

Test(aws_config, credentials_of_a_service) {
    /* as in "Task IAM role" of the ECS developer guide */
    struct aws_credentials c = {0};
    cr_assert_eq(aws_credentials_parse(SV("{\"RoleArn\":\"arn:aws:iam::1:role/a\",\"AccessKeyId\":"
                                          "\"ASIA1\",\"SecretAccessKey\":\"s3cret\",\"Token\":\"t0k"
                                          "en\",\"Expiration\":\"2024-02-29T12:00:00Z\"}"),
                                       &c, &err),
                 OK, "%s", err.msg);
    cr_expect(sv_eq(buf_sv(&c.key_id), SV("ASIA1")));
    cr_expect(sv_eq(buf_sv(&c.secret), SV("s3cret")) && sv_eq(buf_sv(&c.token), SV("t0ken")));
    cr_expect_eq(c.expires_ms, INT64_C(1709208000000)); /* date -u -d 2024-02-29T12:00:00Z +%s */
    aws_credentials_fini(&c);
    cr_assert_eq(
        aws_credentials_parse(SV("{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\"}"), &c, &err),
        OK);
    cr_expect_eq(c.expires_ms, INT64_MAX);
    aws_credentials_fini(&c);
    static const struct {
        struct sv json;
        enum status status;
        const char *says;
    } bad[] = {
        {SV_INIT(""), ERR_PARSE, "no JSON"},
        {SV_INIT("{\"SecretAccessKey\":\"hidden\""), ERR_PARSE, "no JSON"},
        {SV_INIT("[]"), ERR_PARSE, "no JSON object"},
        {SV_INIT("{\"SecretAccessKey\":\"hidden\"}"), ERR_PARSE, "there is no AccessKeyId"},
        {SV_INIT("{\"AccessKeyId\":\"a\"}"), ERR_PARSE, "there is no SecretAccessKey"},
        {SV_INIT("{\"AccessKeyId\":1,\"SecretAccessKey\":\"hidden\"}"), ERR_PARSE,
         "there is no AccessKeyId"},
        {SV_INIT("{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"hidden\",\"Token\":\"a\\r\\nb\"}"),
         ERR_PARSE, "Token has characters"},
        {SV_INIT("{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"hidden\",\"Expiration\":\"soon\"}"),
         ERR_PARSE, "Expiration is \"soon\""},
        {SV_INIT("{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"not trusted\"}"),
         ERR_UNAVAILABLE, "AssumeRoleUnauthorizedAccess: not trusted"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_expect_eq(aws_credentials_parse(bad[i].json, &c, &err), bad[i].status, "%zu", i);
        SAYS(bad[i].says);
        cr_expect_null(strstr(err.msg, "hidden"), "%s", err.msg);
    }
}

static enum status find(struct buf *url, struct buf *token) {
    bool found = false;
    buf_clear(url);
    buf_clear(token);
    enum status status = aws_container_find(env, disk_real(), &found, url, token, &err);
    cr_expect_eq(found, status == OK);
    return status;
}

Test(aws_config, where_a_container_asks) {
    struct buf url = {0}, token = {0};
    bool found = true;
    ENV(NULL);
    cr_assert_eq(aws_container_find(env, disk_real(), &found, &url, &token, &err), OK);
    cr_expect(!found);
    ENV("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1?a=b",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost/");
    cr_assert_eq(find(&url, &token), OK, "%s", err.msg);
    cr_expect_str_eq(url.ptr, "http://169.254.170.2/v2/credentials/1?a=b");
    cr_expect_eq(token.len, 0);
    ENV("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@evil.example/");
    cr_expect_eq(find(&url, &token), ERR_PARSE);
    SAYS("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is \"@evil.example/\"");
    static const struct {
        const char *uri;
        bool good;
    } uris[] = {
        {"http://127.0.0.1:80/a", true},
        {"http://127.255.0.1/a", true},
        {"http://localhost:8080/a", true},
        {"http://[::1]/a", true},
        {"http://169.254.170.2/a", true},
        {"http://169.254.170.23/v1/a", true},
        {"http://[fd00:ec2::23]/v1/a", true},
        {"https://a.example/a", true},
        {"http://a.example/a", false},
        {"http://169.254.169.254/a", false},
        {"http://10.0.0.1/a", false},
        {"http://[fd00:ec2::24]/a", false},
        {"ftp://127.0.0.1/a", false},
        {"127.0.0.1/a", false},
        {"http://127.0.0.1@evil.example/a", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(uris); i++) {
        const char *const set[] = {"AWS_CONTAINER_CREDENTIALS_FULL_URI", uris[i].uri, NULL};
        memcpy(vars, set, sizeof set);
        cr_expect_eq(find(&url, &token), uris[i].good ? OK : ERR_PARSE, "%s: %s", uris[i].uri,
                     err.msg);
        if (uris[i].good) cr_expect_str_eq(url.ptr, uris[i].uri);
        if (!uris[i].good) SAYS("AWS_CONTAINER_CREDENTIALS_FULL_URI is");
    }
    buf_fini(&url);
    buf_fini(&token);
}

Test(aws_config, a_token_is_a_header) {
    struct buf url = {0}, token = {0};
    char path[] = "/tmp/cairn-test-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, "Bearer x", 8) == 8);
    ENV("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/a", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "abc");
    cr_assert_eq(find(&url, &token), OK);
    cr_expect(sv_eq(buf_sv(&token), SV("abc")));
    ENV("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/a", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\r");
    cr_expect_eq(find(&url, &token), ERR_PARSE);
    SAYS("AWS_CONTAINER_AUTHORIZATION_TOKEN: a line end");
    const char *const set[] = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                               "/a",
                               "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                               "abc",
                               "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                               path,
                               NULL};
    memcpy(vars, set, sizeof set);
    cr_assert_eq(find(&url, &token), OK, "%s", err.msg);
    cr_expect(sv_eq(buf_sv(&token), SV("Bearer x")), "the file goes first");
    cr_assert_eq(write(fd, "\n", 1), 1);
    cr_expect_eq(find(&url, &token), ERR_PARSE);
    SAYS("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: a line end or control character at byte 9");
    close(fd);
    unlink(path);
    cr_expect_eq(find(&url, &token), ERR_UNAVAILABLE);
    SAYS("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    buf_fini(&url);
    buf_fini(&token);
}
