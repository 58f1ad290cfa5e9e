"""A real Guacamole for tests: TigerVNC, guacd, and the web application with JSON authentication in Tomcat.

GUACAMOLE_DIST names a directory with ``guacd/sbin/guacd``, ``tomcat`` (9), ``guacamole.war`` and
``guacamole-auth-json.jar``, built from Guacamole's sources, with the pages that browsers load; ``java``,
``Xtigervnc`` and ``tigervncpasswd`` are on PATH, and ``xterm`` and ``xsetroot`` for something to see. Everything listens on the loopback. Tomcat serves TLS itself, with a certificate as a desktop has
it; there is no nginx.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from dispatcher.desktop.certificate import Certificate, make_certificate
from dispatcher.desktop.credentials import Credentials
from dispatcher.devservers.ports import free_ports

SILENT_S = 300.0
"""Seconds without a line in its log after which it starts no more."""

PROGRAMS = ("java", "Xtigervnc", "tigervncpasswd", "xterm", "xsetroot")

_SERVER = """\
<Server port="-1"><Service name="Catalina">
  <Connector address="127.0.0.1" port="{port}" protocol="org.apache.coyote.http11.Http11NioProtocol"
             SSLEnabled="true" scheme="https" secure="true">
    <SSLHostConfig><Certificate certificateFile="{cert}" certificateKeyFile="{key}"/></SSLHostConfig>
  </Connector>
  <Engine name="Catalina" defaultHost="localhost">
    <Host name="localhost" appBase="webapps" unpackWARs="true" autoDeploy="false"/>
  </Engine>
</Service></Server>
"""
_PROPERTIES = """\
guacd-hostname: 127.0.0.1
guacd-port: {guacd}
json-secret-key: {key}
"""


def why_missing() -> str | None:
    """Why there is none on this machine; None if there is."""
    dist = os.environ.get("GUACAMOLE_DIST")
    if not dist or not Path(dist, "guacamole.war").is_file():
        return "GUACAMOLE_DIST names no build of Guacamole"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"`{missing[0]}` is not on PATH" if missing else None


@dataclass(frozen=True, kw_only=True)
class Guacamole:
    """One that runs.

    Attributes:
        base: address of the web application.
        certificate: with its key.
        vnc_port: where its VNC server listens.
        display: of the X server, whose clients draw what is seen.
        log: directory of the logs of all of it.
    """

    base: str
    certificate: Certificate
    vnc_port: int
    display: str
    log: Path

    @property
    def fingerprint(self) -> str:
        """Of its certificate."""
        return self.certificate.fingerprint

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.base, verify=False, timeout=30)

    def connections(self, token: str) -> list[str]:
        """Names of the connections that a session may open."""
        with self.client() as client:
            reply = client.get(
                "api/session/data/json/connections", headers={"Guacamole-Token": token}
            )
            reply.raise_for_status()
            return sorted(each["name"] for each in reply.json().values())

    @contextmanager
    def tunnel(self, token: str, name: str = "desktop") -> Iterator[Tunnel]:
        """A connection, through an HTTP tunnel as browsers without WebSocket use it.

        Raises:
            httpx.HTTPStatusError: it was refused.
        """
        form = {
            "token": token,
            "GUAC_DATA_SOURCE": "json",
            "GUAC_ID": name,
            "GUAC_TYPE": "c",
            "GUAC_WIDTH": "800",
            "GUAC_HEIGHT": "600",
            "GUAC_DPI": "96",
            "GUAC_IMAGE": "image/png",
        }
        with self.client() as client:
            reply = client.post("tunnel?connect", data=form)
            reply.raise_for_status()
            headers = {"Guacamole-Tunnel-Token": reply.headers["Guacamole-Tunnel-Token"]}
            yield Tunnel(client, reply.text, headers)


class Tunnel:
    """An open connection, as a client sees it."""

    def __init__(self, client: httpx.Client, uuid: str, headers: dict[str, str]) -> None:
        self._client, self._uuid, self._headers = client, uuid, headers

    def opcodes(self, until: str, *, limit_s: float = 20.0) -> list[str]:
        """Names of the instructions that are received, up to the first of this name."""
        found: list[str] = []
        end = time.monotonic() + limit_s
        path = f"tunnel?read:{self._uuid}:0"
        with self._client.stream("GET", path, headers=self._headers) as stream:
            stream.raise_for_status()
            text = ""
            for piece in stream.iter_text():
                text += piece
                *whole, text = text.split(";")
                for instruction in whole:
                    opcode = instruction.split(",", 1)[0].partition(".")[2]
                    found.append(opcode)
                    if opcode == "sync":
                        self._acknowledge(instruction)
                    if opcode == until:
                        return found
                if time.monotonic() > end:
                    break
        raise AssertionError(f"no {until} among {found[-20:]}")

    def _acknowledge(self, sync: str) -> None:
        self._client.post(
            f"tunnel?write:{self._uuid}",
            content=f"{sync};",
            headers={**self._headers, "Content-Type": "application/octet-stream"},
        )


@contextmanager
def serve(credentials: Credentials, home: Path) -> Iterator[Guacamole]:
    """Serve a desktop with these credentials. What it writes is in ``home``."""
    dist = Path(os.environ["GUACAMOLE_DIST"])
    web, guacd, vnc = free_ports(3)
    certificate = make_certificate("desk", now=time.time())
    display = f":{1000 + secrets.randbelow(60_000)}"
    with ExitStack() as stack:
        _start(stack, home, "vnc", _vnc(home, credentials.vnc_password, vnc, display))
        _start(
            stack,
            home,
            "guacd",
            [str(dist / "guacd/sbin/guacd"), "-f", "-b", "127.0.0.1", "-l", str(guacd)],
            LD_LIBRARY_PATH=str(dist / "guacd/lib"),
        )
        base = home / "tomcat"
        for name in ("conf", "logs", "temp", "webapps", "work"):
            (base / name).mkdir(parents=True)
        (base / "cert.pem").write_text(certificate.pem)
        (base / "key.pem").write_text(certificate.key_pem)
        (base / "conf/server.xml").write_text(
            _SERVER.format(port=web, cert=base / "cert.pem", key=base / "key.pem")
        )
        shutil.copy(dist / "tomcat/conf/web.xml", base / "conf/web.xml")
        shutil.copy(dist / "guacamole.war", base / "webapps/guacamole.war")
        own = home / "guacamole"
        (own / "extensions").mkdir(parents=True)
        shutil.copy(dist / "guacamole-auth-json.jar", own / "extensions")
        (own / "guacamole.properties").write_text(
            _PROPERTIES.format(guacd=guacd, key=credentials.guacamole_key.hex().upper())
        )
        tomcat = _start(stack, home, "tomcat", _tomcat(dist, base), GUACAMOLE_HOME=str(own))
        made = Guacamole(
            base=f"https://127.0.0.1:{web}/guacamole/",
            certificate=certificate,
            vnc_port=vnc,
            display=display,
            log=home,
        )
        _await(made, tomcat)
        yield made


def _vnc(home: Path, password: str, port: int, display: str) -> list[str]:
    file = home / "passwd"
    made = subprocess.run(
        ["tigervncpasswd", "-f"], input=f"{password}\n".encode(), capture_output=True, check=True
    )
    file.write_bytes(made.stdout)
    return [
        "Xtigervnc", display, "-rfbport", str(port), "-localhost", "-SecurityTypes", "VncAuth",
        "-PasswordFile", str(file), "-geometry", "800x600", "-depth", "24", "-ac",
    ]  # fmt: skip


def _tomcat(dist: Path, base: Path) -> list[str]:
    tomcat = dist / "tomcat"
    jars = f"{tomcat}/bin/bootstrap.jar:{tomcat}/bin/tomcat-juli.jar"
    return [
        "java", "-Xmx300m", "-XX:TieredStopAtLevel=1", "-cp", jars, f"-Dcatalina.home={tomcat}", f"-Dcatalina.base={base}",
        f"-Djava.io.tmpdir={base}/temp", "org.apache.catalina.startup.Bootstrap", "start",
    ]  # fmt: skip


def _start(
    stack: ExitStack, home: Path, name: str, command: list[str], **environ: str
) -> subprocess.Popen[bytes]:
    log = stack.enter_context((home / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environ},
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def _await(guacamole: Guacamole, tomcat: subprocess.Popen[bytes]) -> None:
    """Wait until it answers, for as long as it starts: it runs, and its log grows."""
    log = guacamole.log / "tomcat.log"
    news, since = -1, time.monotonic()
    while not _answers(guacamole):
        if (size := log.stat().st_size) != news:
            news, since = size, time.monotonic()
        ended = tomcat.poll() is not None
        if ended or time.monotonic() - since > SILENT_S:
            raise AssertionError(log.read_text(errors="replace")[-4000:])
        time.sleep(0.3)


def _answers(guacamole: Guacamole) -> bool:
    with guacamole.client() as client, suppress(httpx.HTTPError):
        return client.get("api/languages").is_success
    return False
