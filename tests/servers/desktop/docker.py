#!/usr/bin/python3
"""In place of Docker on the machine of the tests: no registry is asked, and no container made.

``pull`` does nothing. ``run`` reads the command line of the unit. Where the machine was started with the
variable REAL, it runs guacd and Guacamole from that directory (see ``tests/servers/desktop_container.py``),
else a program that listens where Guacamole would.
"""

import http.server
import os
import shutil
import signal
import sys
from pathlib import Path

BASE = Path("/run/guacamole")  # of Tomcat
HOME = Path("/run/guacamole-home")


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


def real() -> "Path | None":
    """The directory of REAL, from the environment of the machine's first process."""
    for pair in Path("/proc/1/environ").read_text().split("\0"):
        name, _, value = pair.partition("=")
        if name == "REAL" and value:
            return Path(value)
    return None


def run_guacd(built: "Path | None") -> None:
    if built is None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        signal.sigwait([signal.SIGTERM])
        return
    image = next(place for place, word in enumerate(sys.argv) if "/guacd:" in word)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(built / "guacd/lib")}
    os.execve(built / "guacd/sbin/guacd", ["guacd", *sys.argv[image + 1 :]], environment)


def run_guacamole(built: "Path | None") -> None:
    if built is None:
        http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Guacamole).serve_forever()
        return
    for directory in (BASE, HOME):
        shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(built / "tomcat/conf", BASE / "conf")
    shutil.copyfile(value_of("--volume").split(":")[0], BASE / "conf/server.xml")
    for name in ("webapps", "temp", "work", "logs"):
        (BASE / name).mkdir()
    (BASE / "webapps/guacamole.war").symlink_to(built / "guacamole.war")
    (HOME / "extensions").mkdir(parents=True)
    (HOME / "extensions/guacamole-auth-json.jar").symlink_to(built / "guacamole-auth-json.jar")
    (HOME / "guacamole.properties").write_text("enable-environment-properties: true\n")
    pairs = (line.split("=", 1) for line in Path(value_of("--env-file")).read_text().splitlines())
    environment = {
        **os.environ,
        **dict(pairs),
        "CATALINA_BASE": str(BASE),
        "GUACAMOLE_HOME": str(HOME),
    }
    environment["JAVA_HOME"] = str(Path("/usr/bin/java").resolve().parents[1])
    os.execve("/bin/bash", ["bash", str(built / "tomcat/bin/catalina.sh"), "run"], environment)


if __name__ == "__main__" and sys.argv[1:2] == ["run"]:
    program = run_guacd if "guacd" in value_of("--name") else run_guacamole
    program(real())
