"""The rates service: a stand-in on the loopback, which answers `/CURRENCY` with JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RATES = {"EUR": "1", "USD": "0.8650", "GBP": "1.1400"}


class _Rates(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        rate = RATES.get(self.path.removeprefix("/"))
        body = json.dumps({"rate": rate}).encode()
        self.send_response(200 if rate else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[str]:
    """Run the service; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Rates) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
