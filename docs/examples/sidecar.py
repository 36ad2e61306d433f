"""A service that asks Weir before it answers; Python's standard library is all that it needs.

    WEIR_OPERATOR=http://127.0.0.1:8403 WEIR_CHARGE_TOKEN=… python3 sidecar.py

It prints where it answers. Its routes and prices are those of the daemon's weir.toml, and docs/embedding.md says what
asking first means: what is allowed is charged.
"""

import base64
import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHARGE = os.environ["WEIR_OPERATOR"] + "/v1/charge"
TOKEN = os.environ["WEIR_CHARGE_TOKEN"]
# An open may wait for its block.
PATIENCE_SECONDS = 120
BODY_BYTES_MAX = 1024 * 1024
CONCERN_PAYMENT = ("authorization", "accept-payment", "payment-session", "idempotency-key")


def ask(method, url, headers, body):
    """What to do with a request. Raises where Weir gives no verdict: then nothing is served."""
    named = {name: headers.get_all(name) for name in CONCERN_PAYMENT if name in headers}
    question = {"method": method, "url": url, "headers": named}
    if body:
        question["body"] = base64.b64encode(body).decode()
    request = urllib.request.Request(
        CHARGE,
        json.dumps(question).encode(),
        {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        return json.load(answer)


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            return self.reply(411, [], b"a body needs a length of at most 1 MiB\n")
        body = self.rfile.read(int(length))
        try:
            verdict = ask(self.command, self.path, self.headers, body)
        except OSError as error:
            self.log_error("no verdict: %s", error)
            return self.reply(503, [["retry-after", "5"]], b"payments cannot be taken now\n")
        if not verdict["deliver"]:
            return self.reply(verdict["status"], verdict["headers"], verdict["body"].encode())
        payment = verdict["payment"]
        said = f"Python was asked by {payment['payer']} for {payment['amount']}.\n" if payment else "free\n"
        self.reply(200, verdict["headers"] + [["content-type", "text/plain"]], said.encode())

    # HEAD and a POST without a body manage channels at every paid URL, so both are asked about as well.
    do_GET = do_HEAD = do_POST = answer

    def log_request(self, *_):
        """Only what fails is told."""

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Service)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
