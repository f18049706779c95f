#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes that find each other by AWS Cloud Map: a server of the test's own is Cloud Map, the credentials service of a container and that
of an EC2 instance. Every question must be signed as AWS's SDK for Python signs it, with credentials that have not expired. Cloud Map
answers badly in all ways, then lists the nodes, which found a cluster; it answers badly again, which moves nobody; then nodes come
back at other addresses, one alone and at last all of them, which only Cloud Map can tell."""
import datetime, http.server, ssl

from harness import *

try:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError:
    print("skipped: python3-botocore is not installed (./dev setup installs it)")
    sys.exit(77)

REGION, SPACE, SERVICE, PORT = "eu-central-1", "prod.local", "cairn", 9095
REFRESH_S = 300  # nodes ask anew so long before credentials expire
LIVES_S = 5
FAULTS = {  # what Cloud Map answers -> what the log says
    "throttled": "Cloud Map answered 400: ThrottlingException: Rate exceeded",
    "broken": "Cloud Map answered 500: \\\"oh no\\\"",
    "empty": "Cloud Map lists no instance",
    "nobody": "Cloud Map lists 1 instances, none with AWS_INSTANCE_IPV4 or AWS_INSTANCE_IPV6",
    "garbage": "Cloud Map: the answer is no JSON: line 1: ",
    "wrong": "Cloud Map: Instances[1].Attributes.AWS_INSTANCE_IPV4 is \\\"10.0.0\\\"",
    "hangs": "no answer within 5000 ms",
}


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)


class Aws(http.server.ThreadingHTTPServer):
    """mode: "starting", "list", or one of FAULTS."""
    daemon_threads = True

    def __init__(self):
        super().__init__((HOST, 0), Handler)
        self.aws = self
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self.mode, self.instances, self.lock = "starting", [], threading.Lock()
        self.keys, self.problems = {}, []  # key id: (secret, token, used until, uses)
        self.renewals_failed = 0
        self.tasks = {}  # of ECS's metadata: name to node
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def new_keys(self, node):
        """Refreshed REFRESH_S before they expire; whoever uses them still LIVES_S after that is too late."""
        with self.lock:
            key_id = f"AKID{node}X{len(self.keys)}"
            self.keys[key_id] = ["secret/" + key_id, "token+/=" + key_id, time.time() + 2 * LIVES_S, 0]
            until = utc_now() + datetime.timedelta(seconds=REFRESH_S + LIVES_S)
            return {"Code": "Success", "AccessKeyId": key_id, "SecretAccessKey": self.keys[key_id][0], "Token": self.keys[key_id][1],
                    "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def fails_to_renew(self, node):
        """Each second time; who was given keys has them for LIVES_S more."""
        with self.lock:
            count = sum(key_id.startswith(f"AKID{node}X") for key_id in self.keys)
            fails = count > 0 and self.renewals_failed < count
            self.renewals_failed += fails
            return fails

    def key_id_of(self, request, body):
        """The key id; what is wrong with the request is a Failure."""
        headers = request.headers
        m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=\w{64}",
                         headers["Authorization"] or "")
        check(m, "Authorization", headers["Authorization"])
        key_id, day, region, service, names = m.groups()
        check_eq((region, service), (REGION, "servicediscovery"), "scope")
        check(headers["X-Amz-Date"].startswith(day), "day", day, headers["X-Amz-Date"])
        at = datetime.datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        check(abs((utc_now() - at).total_seconds()) < 60, "old date", at)
        secret, token, until, _ = self.keys[key_id]
        check(until is None or time.time() < until, "expired", key_id)
        check_eq(headers["X-Amz-Security-Token"], token, "token")
        signed = set(names.split(";"))
        check({"host", "x-amz-date", "x-amz-target", "content-type"} <= signed, "signed", names)
        again = AWSRequest(method=request.command, url=self.url + request.path, data=body,
                           headers={n: v for n, v in headers.items() if n.lower() in signed})
        again.context["timestamp"] = headers["X-Amz-Date"]
        auth = SigV4Auth(Credentials(key_id, secret, token), service, region)
        signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
        check(headers["Authorization"].endswith("Signature=" + signature), "signature", headers["Authorization"], signature)
        check_eq(headers["X-Amz-Target"], "Route53AutoNaming_v20170314.DiscoverInstances", "target")
        check_eq(headers["Content-Type"], "application/x-amz-json-1.1", "type")
        check_eq(json.loads(body), {"NamespaceName": SPACE, "ServiceName": SERVICE, "MaxResults": 1000, "HealthStatus": "ALL"}, "question")
        return key_id


class TlsDoor(http.server.ThreadingHTTPServer):
    """The same by TLS; the certificate is of localhost."""
    daemon_threads = True

    def __init__(self, aws, folder):
        super().__init__((HOST, 0), Handler)
        self.aws, self.url, self.ca = aws, f"https://localhost:{self.server_address[1]}", folder / "ca.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                        folder / "key.pem", "-out", self.ca, "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.ca, folder / "key.pem")
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, address):  # on the connection's own thread
        super().finish_request(self.context.wrap_socket(request, server_side=True), address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, body, kind="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        if parts[0] == "container":
            if self.headers["Authorization"] != "Bearer of " + parts[1]:
                return self.answer(403, {})
            if self.server.aws.fails_to_renew(parts[1]):
                return self.answer(500, {"code": "InternalServerError", "message": "try again"})
            return self.answer(200, self.server.aws.new_keys(parts[1]))
        if parts[0] == "metadata" and parts[2] == "task":
            network = {"NetworkMode": "awsvpc", "IPv4Addresses": [self.server.aws.tasks[parts[1]].ip]}
            return self.answer(200, {"AvailabilityZone": "eu-central-1b", "Containers": [{"Name": "cairn", "Networks": [network]}]})
        if parts[1:4] == ["latest", "meta-data", "iam"] and self.headers["X-aws-ec2-metadata-token"] == "imds of " + parts[0]:
            return self.answer(200, b"cairn-role" if self.path.endswith("/") else self.server.aws.new_keys(parts[0]))
        self.answer(401, {})

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        ok = self.path.endswith("/latest/api/token") and self.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600"
        self.answer(200 if ok else 400, b"imds of " + self.path.split("/")[1].encode())

    def do_POST(self):
        aws, body = self.server.aws, self.rfile.read(int(self.headers["Content-Length"]))
        try:
            key_id = aws.key_id_of(self, body)
        except (Failure, KeyError) as e:
            with aws.lock:
                aws.problems.append(f"{self.path} {e!r}")
            return self.answer(400, {"__type": "InvalidSignatureException", "message": str(e)[:200]})
        with aws.lock:
            aws.keys[key_id][3] += 1
            mode, instances = aws.mode, list(aws.instances)
        if mode == "hangs":
            threading.Event().wait(8)
        found = [{"InstanceId": f"task{i}", "NamespaceName": SPACE, "ServiceName": SERVICE, "HealthStatus": "UNHEALTHY", "Attributes": a}
                 for i, a in enumerate(instances)]
        try:
            self.answer(*{
                "throttled": (400, {"__type": "com.amazonaws.servicediscovery#ThrottlingException", "message": "Rate exceeded"}),
                "starting": (503, b""), "broken": (500, b"oh no", "text/html"), "empty": (200, {"Instances": [], "InstancesRevision": 7}),
                "nobody": (200, {"Instances": [{"Attributes": {"AWS_INSTANCE_CNAME": "a.example"}}]}), "garbage": (200, b"{\"Instances"),
                "wrong": (200, {"Instances": [{"Attributes": {"AWS_INSTANCE_IPV4": ip}} for ip in ("127.0.0.1", "10.0.0")]}),
            }.get(mode, (200, {"Instances": found, "InstancesRevision": 7})))
        except OSError:
            pass  # it has hung up


# -- nodes: each on an address of its own, all on one port, which Cloud Map tells of some

def plain_env(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "ECS_"))}
    return {**env, **more}


class Node(Cairn):
    def __init__(self, folder, index, port, *flags, **env):
        super().__init__(folder / f"n{index}", name=f"node{index}")
        self.index, self.ring_port, self.more, self.env = index, port, flags, plain_env(**env)
        self.move(index + 2)

    def move(self, last):
        self.ip = f"127.0.0.{last}"
        address = f"{self.ip}:{self.ring_port}"
        self.flags = [f"--ring.listen-address={address}", "--ring.shards=16", f"--ring.discovery=cloudmap://{SPACE}/{SERVICE}", *self.more]
        if "ECS_CONTAINER_METADATA_URI_V4" not in self.env:
            self.flags += [f"--ring.advertise-address={address}", f"--ring.zone=zone{self.index}"]

    def instance(self, with_port=False):
        return {"AWS_INSTANCE_IPV4": self.ip, "AVAILABILITY_ZONE": "eu-central-1a", "ECS_CLUSTER_NAME": "prod",
                **({"AWS_INSTANCE_PORT": str(self.ring_port)} if with_port else {})}


def ring_of(node):
    a = node.get("/api/v1/status/ring")
    return a.json()["data"] if a.code == 200 else {"nodes": []}


def addresses(node):
    return sorted(n["address"] for n in ring_of(node)["nodes"])


def all_together(nodes):
    want = sorted(f"{n.ip}:{n.ring_port}" for n in nodes)
    return all(n.get("/-/ready").code == 200 and addresses(n) == want for n in nodes)


def faults(aws, nodes, names):
    """One after the other, each until every node has met it and said so; once, although some have met it more often."""
    counts = {(n, mode): n.log_text().count(FAULTS[mode]) + 1 for n in nodes for mode in names}
    for mode in names:
        aws.mode = mode
        for n in nodes:
            wait_for(f"{mode} is told by {n.name}", lambda: n.log_text().count(FAULTS[mode]) >= counts[n, mode], 60)
    for (n, mode), count in counts.items():
        check_eq(n.log_text().count(FAULTS[mode]), count, f"{mode} in the log of {n.name}")


def start_lacking(folder, port):
    """What the environment lacks is named. The nodes, and what they say."""
    cases = [({}, "AWS: no region: AWS_REGION is not set"),
             ({"AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"},
              "neither AWS_ACCESS_KEY_ID nor AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set"),
             ({"AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "a"}, "AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not"),
             ({"AWS_REGION": "EU west"}, "AWS: AWS_REGION is \\\"EU west\\\", which is no region"),
             ({"AWS_REGION": REGION, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/x"},
              "AWS_CONTAINER_CREDENTIALS_FULL_URI is \\\"http://10.0.0.1/x\\\"")]
    nodes = [Node(folder / "missing", 10 + i, port, "--ring.bootstrap-expect=3", **env) for i, (env, _) in enumerate(cases)]
    for n in nodes:
        n.spawn()
    for n, (_, text) in zip(nodes, cases):
        wait_for(f"{text} is told", lambda: text in n.log_text())
    return [(n, text) for n, (_, text) in zip(nodes, cases)]


def test_no_task(folder, port):
    """ECS does not say where this node is."""
    with socket.socket() as dead:  # bound, but nobody listens
        dead.bind((HOST, 0))
        n = Node(folder / "no_task", 9, port, ECS_CONTAINER_METADATA_URI_V4=f"http://{HOST}:{dead.getsockname()[1]}/v4/a").spawn()
        check_eq(n.proc.wait(timeout=20), 1, "exit code")
    check("--ring.advertise-address is not given, and: http://" in n.log_text(), n.log_text())


def stop_lacking(lacking):
    """Many tries later they have said it once, and are there."""
    for n, text in lacking:
        check("waiting for nodes to found" in n.log_text(), "tries again")
        check_eq(n.log_text().count(text), 1, f"{text} in the log")
        check(n.get("/-/ready").code == 503 and n.get("/-/healthy").code == 200, "state without discovery")
        n.stop(sig=signal.SIGINT)
    say("what is missing is named")


def test(folder):
    need("/usr/bin/openssl")
    port, aws = free_port(), Aws()
    lacking = start_lacking(folder, port)
    test_no_task(folder, port)
    token_file = folder / "token"
    founders = ["--ring.bootstrap-expect=3", "--ring.replication-factor=2"]
    tls = TlsDoor(aws, folder)
    nodes = [Node(folder, 0, port, *founders, AWS_REGION=REGION, AWS_ENDPOINT_URL="http://no", AWS_CA_BUNDLE=str(tls.ca),
                  AWS_ENDPOINT_URL_SERVICEDISCOVERY=tls.url, AWS_CONTAINER_CREDENTIALS_FULL_URI=aws.url + "/container/node0",
                  AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(token_file)),
             Node(folder, 1, port, *founders, AWS_DEFAULT_REGION=REGION, AWS_ENDPOINT_URL=aws.url, AWS_ACCESS_KEY_ID="AKIDnode1",
                  AWS_SECRET_ACCESS_KEY="always", AWS_SESSION_TOKEN="the/same+",
                  ECS_CONTAINER_METADATA_URI_V4=aws.url + "/metadata/node1"),
             Node(folder, 2, port, *founders, AWS_REGION=REGION, AWS_ENDPOINT_URL_SERVICEDISCOVERY=aws.url + "/",
                  AWS_EC2_METADATA_SERVICE_ENDPOINT=aws.url + "/node2")]
    aws.keys["AKIDnode1"] = ["always", "the/same+", None, 0]
    aws.tasks["node1"] = nodes[1]
    for n in nodes:
        n.spawn()
    wait_for("a missing file is told", lambda: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" in nodes[0].log_text())
    token_file.write_text("Bearer of node0")
    faults(aws, nodes, FAULTS)
    stop_lacking(lacking)
    check(all(n.get("/-/ready").code == 503 for n in nodes), "ready without a cluster")
    aws.instances = [n.instance(with_port=n.index == 1) for n in nodes] + [{"AWS_INSTANCE_CNAME": "a.example"}]
    aws.mode = "list"
    for n in nodes:
        n.wait_ready()
        wait_for("that it answers again is told", lambda: "Cloud Map answers again" in n.log_text())
    wait_for("three nodes in one cluster", lambda: all_together(nodes))
    wait_voters(nodes)
    many = [k for k, (_, _, until, uses) in aws.keys.items() if until is not None and uses > 1]
    for who in ("node0", "node2"):
        check(sum(who in k for k in aws.keys) > 1 and any(who in k for k in many), "credentials are used and refreshed:", aws.keys)
    check(aws.renewals_failed > 0 and "no credentials" not in nodes[0].log_text(), "old credentials serve while they live")
    check_eq(sorted(n["zone"] for n in ring_of(nodes[0])["nodes"]), ["eu-central-1b", "zone0", "zone2"], "zones")
    say(f"a cluster; {len(aws.keys)} credentials, {sum(k[3] for k in aws.keys.values())} questions")

    now = int(time.time() * 1000)
    check_eq(nodes[0].write([({"__name__": "kept", "i": str(i)}, [(now, i)]) for i in range(50)]).code, 204, "write")
    faults(aws, nodes, FAULTS)
    check(all_together(nodes), "bad answers have moved somebody:", *[addresses(n) for n in nodes])
    say("bad answers have moved nobody")

    moved = nodes[2]
    moved.kill()
    moved.move(20)
    aws.instances = [n.instance() for n in nodes] + [{"AWS_INSTANCE_IPV4": "127.0.0.4"}]  # its old one, not yet gone
    aws.mode = "list"
    moved.start()
    wait_for("one node at another address", lambda: all_together(nodes), 60)
    say("one node has moved")
    for n in nodes:
        n.kill()
    for n in nodes:
        n.move(30 + n.index)
    aws.instances = [n.instance() for n in nodes]
    start_all(nodes)
    wait_for("all nodes at other addresses", lambda: all_together(nodes), 60)
    for n in nodes:
        wait_for("all is there", lambda: n.query("count(kept)", now / 1000)["result"][0]["value"][1] == "50")
    check_eq(aws.problems, [], "requests that Cloud Map refused")
    say("all nodes have moved")
    stop_all(nodes)


main(test)
