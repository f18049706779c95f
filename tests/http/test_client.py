#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Servers that answer well and badly, with and without TLS, and client_test asks them.

test_client.py CLIENT_TEST"""
import http.server, shutil, socket, ssl, subprocess, sys, tempfile, threading
from pathlib import Path

HOST = "127.0.0.1"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.server.connections += 1

    def reply(self, code, body, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        first, _, rest = self.path[1:].partition("/")
        if first == "show":
            lines = [f"{self.command} {self.path}"] + [f"{k.lower()}: {v}" for k, v in self.headers.items()]
            self.reply(200, "\n".join(lines + [f"body {len(body)} {body.count(0)} zeros", ""]).encode())
        elif first == "code":
            self.reply(int(rest), b"code " + rest.encode(), Location="/code/200")
        elif first == "bytes":
            self.reply(200, b"x" * int(rest))
        elif first == "connections":
            self.reply(200, str(self.server.connections).encode())
        elif first == "chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in (b"one ", b"two ", b"three", b""):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        elif first == "closes":
            self.reply(200, b"x")
            self.close_connection = True
        elif first == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
            self.close_connection = True
        elif first == "garbage":
            self.wfile.write(b"\x16\x03\x01 this is no HTTP\n\n")
            self.close_connection = True
        elif first == "hang":
            self.connection.settimeout(30)
            self.rfile.read(1)  # until it hangs up
            self.close_connection = True

    do_POST = do_PUT = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 500

    def __init__(self, context=None):
        super().__init__((HOST, 0), Handler)
        self.context, self.connections = context, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, address):
        if self.context:  # on the connection's own thread
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, address)

    def handle_error(self, request, address):
        pass  # who distrusts us hangs up

    def url(self):
        return f"http{'s' if self.context else ''}://{HOST}:{self.server_address[1]}"


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


def main():
    if not shutil.which("openssl"):
        print("skipped: openssl is not installed (./dev setup installs it)")
        return 77
    with tempfile.TemporaryDirectory(prefix="cairn-test-") as folder:
        openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem", "-out",
                "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(folder) / "cert.pem", Path(folder) / "key.pem")
        plain, tls = Server(), Server(context)
        with socket.socket() as dead:  # bound, but nobody listens
            dead.bind((HOST, 0))
            ran = subprocess.run([sys.argv[1], plain.url(), tls.url(), str(Path(folder) / "cert.pem"), f"http://{HOST}:{dead.getsockname()[1]}"])
        return ran.returncode


sys.exit(main())
