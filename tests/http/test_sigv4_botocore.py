#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Signatures of seeded requests against those of AWS's own SDK for Python. CAIRN_TEST_SEED repeats a run.

test_sigv4_botocore.py SIGN [requests]"""
import calendar, json, os, random, subprocess, sys, time
from urllib.parse import quote

try:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError:
    print("skipped: python3-botocore is not installed (./dev setup installs it)")
    sys.exit(77)

TEXTS = ["", "a", "A b", "ü", "日本語", "a/b", "a+b", "%", "~-_.", "=&", "\t", "*!'()", "a  b", "€uro", ";,", "a" * 300]
REGIONS = ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"]
SERVICES = ["servicediscovery", "ecs", "aps", "sns", "service"]


def escape(text):
    return quote(text, safe="-_.~")


def make_query(r):
    """Pairs as a URL has them: names twice, names that are the beginning of others, without values."""
    pairs = []
    for _ in range(r.randrange(7)):
        name = escape(r.choice(TEXTS + ["name", "name-2", "Name", "name2", "b", "a-"]))
        pairs.append(name + ("" if r.random() < 0.2 else "=" + escape(r.choice(TEXTS))))
    return "&".join(pairs)


def make_path(r):
    parts = [r.choice(["a", "b.c", "..", ".", "", "%20", "ü", "x~y", "a:b@c", "$&+,;="]) for _ in range(r.randrange(6))]
    return "/" + "/".join(quote(p, safe="%-_.~:@$&+,;=") for p in parts)


def make(r):
    headers = []
    for name in r.sample(["Content-Type", "X-Amz-Target", "Accept", "x-one", "X-Two", "X-tWo", "User-Agent", "Expect", "X-Amzn-Trace-Id",
                          "x-a", "x-a-b"], r.randrange(8)):
        headers.append([name, r.choice(["a", "  a  b   c ", "application/x-amz-json-1.1", "Zebra", "ü", "a,b", "", "1\t 2"])])
    return {"method": r.choice(["GET", "POST", "PUT", "DELETE"]), "host": r.choice(["example.amazonaws.com", "127.0.0.1:4566", "a.b:8443"]),
            "path": r.choice(["", "/", make_path(r)]), "query": make_query(r), "headers": headers,
            "body": r.choice(["", "{}", "ü" * r.randrange(50), "x" * r.randrange(5000), '{"ServiceName":"a"}\n']),
            "key_id": "AKID" + "".join(r.choices("ABCXYZ0189", k=16)), "secret": "".join(r.choices("abcXYZ/+019", k=40)),
            "token": r.choice(["", "".join(r.choices("abc/+=XYZ", k=400))]), "region": r.choice(REGIONS), "service": r.choice(SERVICES),
            "unix_ms": r.randrange(0, 4102444800) * 1000 + r.randrange(1000)}


def expected(q):
    """What botocore adds, with the time of the request instead of the clock's."""
    url = "http://" + q["host"] + q["path"] + ("?" + q["query"] if q["query"] else "")
    request = AWSRequest(method=q["method"], url=url, data=q["body"].encode())
    for name, value in q["headers"]:
        request.headers.add_header(name, value)
    request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(q["unix_ms"] // 1000))
    auth = SigV4Auth(Credentials(q["key_id"], q["secret"], q["token"] or None), q["service"], q["region"])
    auth._modify_request_before_signing(request)
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    auth._inject_signature_to_request(request, signature)
    return {name: request.headers[name] for name in ("X-Amz-Date", "X-Amz-Security-Token", "Authorization") if name in request.headers}


def main():
    seed = int(os.environ.get("CAIRN_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed} (CAIRN_TEST_SEED repeats it)", flush=True)
    r = random.Random(seed)
    requests = [make(r) for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1000)]
    ran = subprocess.run([sys.argv[1]], input="\n".join(json.dumps(q) for q in requests) + "\n", capture_output=True, text=True)
    print(ran.stderr, end="")
    answers = ran.stdout.splitlines()
    bad = 0 if ran.returncode == 0 and len(answers) == len(requests) else 1
    for q, line in zip(requests, answers):
        got, want = dict(json.loads(line)), expected(q)
        if got != want and (bad := bad + 1) <= 3:
            print("request", json.dumps(q), "got", got, "want", want, sep="\n  ")
    print(f"{len(answers)} of {len(requests)} requests signed, {bad} differ")
    return 1 if bad else 0


sys.exit(main())
