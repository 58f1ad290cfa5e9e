#!/usr/bin/python3
"""Writes what this machine reports about itself; nginx serves it at /disinto/status.json.

The end of the log is part of it only until the desktop is active, because anybody may read it. Exits
with 0 if the VNC server and Guacamole answer.
"""

import json
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

STATE = Path("/var/lib/disinto-desktop")
LOG = Path("/var/log/disinto-desktop.log")
VIGILANCE = Path("/etc/vigilance/config.json")
TAIL_BYTES = 8192
TAIL_LINES = 20


def vnc_answers() -> bool:
    try:
        with socket.create_connection(("127.0.0.1", 5901), timeout=3) as connection:
            return connection.recv(4) == b"RFB "
    except OSError:
        return False


def guacamole_answers() -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open("http://127.0.0.1:8080/guacamole/", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def lines_of(file: Path) -> "list[str]":
    try:
        return file.read_text("utf-8", "replace").split()
    except OSError:
        return []


def log_tail() -> "list[str]":
    try:
        with LOG.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - TAIL_BYTES))
            return log.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return []


def main() -> int:
    stage = " ".join(lines_of(STATE / "stage"))
    vnc, guacamole = vnc_answers(), guacamole_answers()
    report = {
        "stage": stage,
        "vnc": vnc,
        "guacamole": guacamole,
        "apps_failed": lines_of(STATE / "apps-failed"),
        "vigilance": "agent not installed" if VIGILANCE.exists() else "off",
        "log_path": str(LOG),
        "log_tail": [] if stage == "active" else log_tail(),
    }
    directory = STATE / "www"
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = directory / "status.json.new"
    new.write_text(json.dumps(report) + "\n", "utf-8")
    new.chmod(0o644)
    new.replace(directory / "status.json")
    return 0 if vnc and guacamole else 1


if __name__ == "__main__":
    sys.exit(main())
