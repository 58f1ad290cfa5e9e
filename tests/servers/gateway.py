"""A gateway to desktops: a real nginx with the configuration that is shipped.

Only names, paths and ports of the example are replaced. The domain's names are resolved by whoever is
given ``resolver_rules`` (a browser), or while ``resolving`` is entered (this process).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import tenacity

from dispatcher.desktop.certificate import Certificate, make_certificate
from dispatcher.devservers.ports import free_ports
from dispatcher.host import resources
from dispatcher.operate.desktop_gateway import write_gateway

DOMAIN = "desks.example"
EXAMPLE = "actions/desktop/gateway/disinto-desktops.conf"


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One that runs, or is about to.

    Attributes:
        home: directory of all of it.
        port: of HTTPS; ``http_port`` that of HTTP.
        certificate: for every name in the domain; whoever visits it has to trust that.
    """

    home: Path
    port: int
    http_port: int
    certificate: Certificate

    @property
    def host(self) -> str:
        """As the setting ``gateway_host`` has it."""
        return f"{DOMAIN}:{self.port}"

    @property
    def directory(self) -> Path:
        """What ``disinto desktop gateway`` writes."""
        return self.home / "disinto-desktops"

    @property
    def trusted(self) -> Path:
        """The certificate, as a file."""
        return self.home / "gateway.pem"

    @property
    def command(self) -> list[str]:
        """nginx with this configuration; options follow."""
        return ["nginx", "-p", str(self.home), "-c", str(self.home / "nginx.conf")]

    @property
    def resolver_rules(self) -> str:
        """For a browser."""
        return f"MAP *.{DOMAIN} 127.0.0.1"

    @property
    def log(self) -> str:
        """What nginx has logged."""
        return "".join(file.read_text() for file in self.home.glob("*.log"))

    def reload(self) -> None:
        """Have nginx read its files again, until the worker with the old ones has gone.

        Until then the old one may still accept a connection.
        """
        before = self._workers()
        subprocess.run([*self.command, "-s", "reload"], check=True, capture_output=True)
        self._gone(before)

    def _workers(self) -> set[str]:
        main = (self.home / "pid").read_text().strip()
        return set(Path(f"/proc/{main}/task/{main}/children").read_text().split())

    @tenacity.retry(
        stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.02), reraise=True
    )
    def _gone(self, workers: set[str]) -> None:
        assert not workers & self._workers(), self.log

    @contextmanager
    def resolving(self) -> Iterator[None]:
        """This process finds the gateway by its names, and trusts its certificate."""
        real = socket.getaddrinfo

        def resolve(host: Any, *more: Any, **named: Any) -> Any:
            found = isinstance(host, str) and host.endswith(f".{DOMAIN}")
            return real("127.0.0.1" if found else host, *more, **named)

        trust = {"SSL_CERT_FILE": str(self.trusted)}
        with mock.patch.object(socket, "getaddrinfo", resolve), mock.patch.dict(os.environ, trust):
            yield


@contextmanager
def gateway(home: Path) -> Iterator[Gateway]:
    """A gateway without desktops, until the block ends."""
    port, http_port = free_ports(2)
    made = Gateway(
        home=home,
        port=port,
        http_port=http_port,
        certificate=make_certificate(f"*.{DOMAIN}", now=time.time()),
    )
    _configure(made)
    with (home / "stderr.log").open("wb") as log:
        process = subprocess.Popen([*made.command, "-g", "daemon off;"], stdout=log, stderr=log)
    try:
        _await(made, process)
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _configure(made: Gateway) -> None:
    home = made.home
    made.trusted.write_text(made.certificate.pem)
    (home / "gateway.key").write_text(made.certificate.key_pem)
    write_gateway(made.directory, [])
    text = resources.text(EXAMPLE)
    for example, here in {
        "/etc/nginx/disinto-desktops": str(made.directory),
        "/etc/nginx/tls/desktops.example.com.pem": str(made.trusted),
        "/etc/nginx/tls/desktops.example.com.key": str(home / "gateway.key"),
        "/var/log/nginx": str(home),
        "listen 443": f"listen 127.0.0.1:{made.port}",
        "listen 80": f"listen 127.0.0.1:{made.http_port}",
        "desktops.example.com": DOMAIN,
        r"desktops\.example\.com": DOMAIN.replace(".", r"\."),
    }.items():
        assert example in text
        text = text.replace(example, here)
    (home / "site.conf").write_text(text)
    temporary = "".join(
        f"{kind}_temp_path {home}/temp-{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"pid {home}/pid; error_log {home}/error.log info; worker_processes 1;\n"
        f"events {{}}\nhttp {{\n{temporary}include {home}/site.conf;\n}}\n"
    )


@tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.05), reraise=True)
def _await(made: Gateway, process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, made.log
    with socket.create_connection(("127.0.0.1", made.port), timeout=5):
        pass
