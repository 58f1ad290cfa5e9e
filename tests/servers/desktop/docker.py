#!/usr/bin/python3
"""In place of Docker on the machine of the tests: no registry is asked, and no container made.

``pull`` does nothing. ``run`` reads the command line of the unit: guacd and Guacamole themselves, if the
image has them below /opt, else a program that listens where they would.
"""

import http.server
import os
import signal
import sys
from pathlib import Path

GUACD = "/opt/guacamole/sbin/guacd"
TOMCAT = Path("/opt/tomcat")


class Guacamole(http.server.BaseHTTPRequestHandler):
    """Answers every GET, and echoes what comes through an upgraded connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.close_connection = True
            while data := self.connection.recv(4096):
                self.connection.sendall(data)
            return
        body = b"in place of Guacamole\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def value_of(option: str) -> str:
    return sys.argv[sys.argv.index(option) + 1]


def run_guacd() -> None:
    if Path(GUACD).exists():
        image = next(i for i, word in enumerate(sys.argv) if "/guacd:" in word)
        os.execv(GUACD, [GUACD, *sys.argv[image + 1 :]])
    signal.sigwait([signal.SIGTERM])


def run_guacamole() -> None:
    pairs = (line.split("=", 1) for line in Path(value_of("--env-file")).read_text().splitlines())
    environment = {**os.environ, **dict(pairs)}
    if TOMCAT.exists():
        configuration = value_of("--volume").split(":")[0]
        (TOMCAT / "conf/server.xml").write_bytes(Path(configuration).read_bytes())
        os.execve("/bin/bash", ["/bin/bash", str(TOMCAT / "bin/catalina.sh"), "run"], environment)
    http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Guacamole).serve_forever()


if __name__ == "__main__" and sys.argv[1:2] == ["run"]:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]) if "guacd" in value_of(
        "--name"
    ) else None
    run_guacd() if "guacd" in value_of("--name") else run_guacamole()
