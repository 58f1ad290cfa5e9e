"""The application of the test images: what it does depends on ``VERSION``, and on a ``B`` in its environment."""

from __future__ import annotations

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ["VERSION"]
if VERSION == "bad" or "B" in os.environ:
    sys.exit("no configuration")
if VERSION == "silent":
    time.sleep(1e9)


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"version {VERSION}\n".encode())


ThreadingHTTPServer(("", 8080), Page).serve_forever()
