"""A real Dokploy, where the environment says that there is one. Nothing here starts or installs it.

``DOKPLOY_URL`` and ``DOKPLOY_API_TOKEN`` (a key without a rate limit) are the server; ``DOKPLOY_REGISTRY`` is a
registry on the loopback that this machine pushes to and the server pulls from; ``DOKPLOY_ROUTES`` the directory
of its proxy's routes. Its swarm is that of ``docker`` on this machine. ``DOKPLOY_RESTART``, a command that
restarts the server, is for the tests of that alone. ``DOKPLOY_SQL``, a command that takes a statement for the
server's database as its last word and prints bare rows (``psql -qAt … -c``), is for what no request lists, and
for a project that is older than the test.

In place of the server's proxy there is one of our own (``Pages``): it reads the same routes, and passes each
request to the container of the service, past the swarm's load balancer, for which some kernels have no IPVS.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import tenacity
import yaml

from dispatcher.model.times import rfc3339
from dispatcher.stack.dokploy import Connection, Dokploy
from tests.servers.dokploy_http import Silent, on_a_port

VARIABLES = ("DOKPLOY_URL", "DOKPLOY_API_TOKEN", "DOKPLOY_REGISTRY", "DOKPLOY_ROUTES")
_CONTEXT = Path(__file__).parent / "stack_image"
LIMIT_S = 1200
"""``limit_s`` in the settings of tests: a machine that is busy with others is no failure."""

_ROWS = {
    "project": "name = '{name}'",
    "application": "\"appName\" like '{name}-%'",
    "domain": "host like '{name}.%'",
    "mount": "\"volumeName\" = 'workspace-{name}'",
    "deployment": "description like '%stack-{name}.%'",
}
_ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"


def why_missing() -> str | None:
    """None if there is a server, else the reason in a clause."""
    unset = [name for name in VARIABLES if not os.environ.get(name)]
    if unset:
        return f"{', '.join(unset)} do not name a Dokploy (tests/servers/dokploy_live.py)"
    try:
        urllib.request.urlopen(f"{os.environ['DOKPLOY_URL']}/api/health", timeout=20).close()
    except OSError as error:
        return f"no Dokploy answers at DOKPLOY_URL: {error}"
    state = _docker("info", "--format", "{{.Swarm.LocalNodeState}}")
    return None if state == "active" else "the Docker engine here is not in a swarm"


def url() -> str:
    return os.environ["DOKPLOY_URL"]


def _docker(*words: str, check: bool = True, given: str = "") -> str:
    done = subprocess.run(
        ["docker", *words], input=given, capture_output=True, text=True, timeout=600, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def image(version: str) -> str:
    """An image of the application in the registry: ``one``, ``two``, ``bad`` and ``silent`` are pushed."""
    name = f"{os.environ['DOKPLOY_REGISTRY']}/disinto-test/{version}:1"
    if version != "gone" and not _is_pushed(version):
        base = os.environ.get("DISINTO_TEST_BASE", "python:3.12-slim")
        arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"VERSION={version}"]
        _docker("build", "--quiet", *arguments, "--tag", name, str(_CONTEXT))
        _docker("push", "--quiet", name)
    return name


def built(name: str, dockerfile: str, **arguments: str) -> str:
    """An image that is built from the text of a Dockerfile and pushed; returns its name in the registry."""
    tag = f"{os.environ['DOKPLOY_REGISTRY']}/disinto-test/{name}"
    words = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
    _docker("build", "--quiet", *words, "--tag", tag, "-", given=dockerfile)
    _docker("push", "--quiet", tag)
    return tag


def checked() -> str:
    """An image that answers, and has a health check."""
    test = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080', timeout=20)"
    check = f'HEALTHCHECK --interval=1s --timeout=30s --retries=10 CMD ["python3", "-c", "{test}"]'
    return built("checked:1", f"FROM {image('one')}\n{check}\n")


def remove_stacks(prefix: str) -> None:
    """All projects whose names begin so, with their volumes."""
    key, url = os.environ["DOKPLOY_API_TOKEN"], os.environ["DOKPLOY_URL"]
    platform = Dokploy(Connection(key, url=url, timeout_s=120))
    for project in platform.projects():
        if project.name.startswith(prefix):
            for each in project.application_ids:
                platform.delete_application(each)
            platform.remove_project(project.id)
    for name in volumes():
        if name.startswith(f"workspace-{prefix}"):
            remove_volume(name)


def _is_pushed(version: str) -> bool:
    registry = os.environ["DOKPLOY_REGISTRY"]
    url = f"http://{registry}/v2/disinto-test/{version}/manifests/1"
    with suppress(OSError):
        urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": _ACCEPT}), timeout=20)
        return True
    return False


def services() -> set[str]:
    """Names of the swarm's services."""
    return set(_docker("service", "ls", "--format", "{{.Name}}").split())


def remove_service(name: str) -> None:
    _docker("service", "rm", name, check=False)


def networks() -> set[str]:
    return set(_docker("network", "ls", "--format", "{{.Name}}").split())


def gateway() -> str:
    """The address of this machine for containers of the swarm's services; nobody else reaches it."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    return _docker("network", "inspect", "docker_gwbridge", "--format", template)


def volumes() -> set[str]:
    return set(_docker("volume", "ls", "--format", "{{.Name}}").split())


@tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.5), reraise=True)
def remove_volume(name: str) -> None:
    """Once the container that had it is gone."""
    _docker("volume", "rm", "--force", name)


def environment(app_name: str) -> dict[str, str]:
    """Of the running container of a service, without what its image sets."""
    (container,) = _containers(app_name)
    inspected = _engine(f"/containers/{container}/json")["Config"]["Env"]
    own = {"PATH", "VERSION", "LANG", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"}
    values = dict(line.split("=", 1) for line in inspected)
    return {name: value for name, value in values.items() if name not in own}


def _containers(app_name: str, *health: str) -> list[str]:
    filters = {"label": [f"com.docker.swarm.service.name={app_name}"]}
    if health:
        filters["health"] = [*health]
    found = _engine("/containers/json", filters=json.dumps(filters))
    return [each["Id"] for each in found]


def _engine(path: str, **asked: str) -> Any:
    """What the Docker engine answers; a process of ``docker`` for each look at a page would slow all others."""
    return _engine_client().get(path, params=asked).raise_for_status().json()


@functools.cache
def _engine_client() -> httpx.Client:
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=socket), base_url="http://docker", timeout=60
    )


def remains(name: str) -> set[str]:
    """What the server and its swarm have of a stack, in words; of the database only if somebody said how to look."""
    prefix = f"{name}-"
    found = {f"service {each}" for each in services() if each.startswith(prefix)}
    routes = Path(os.environ["DOKPLOY_ROUTES"]).glob(f"{prefix}*")
    found |= {f"route {file.name}" for file in routes}
    if os.environ.get("DOKPLOY_SQL"):
        for table, condition in _ROWS.items():
            count = _sql(f'select count(*) from "{table}" where {condition.format(name=name)}')
            found |= {f"{count} rows of {table}"} if count != "0" else set()
    return found


def rows() -> dict[str, int]:
    """How many rows each table of the server's database has; {} if nobody said how to look."""
    if not os.environ.get("DOKPLOY_SQL"):
        return {}
    counted = (
        "select table_name || ' ' || (xpath('/row/n/text()', query_to_xml(format("
        "'select count(*) as n from %I.%I', table_schema, table_name), false, true, '')))[1] "
        "from information_schema.tables where table_schema = 'public'"
    )
    return {name: int(count) for name, count in map(str.split, _sql(counted).splitlines())}


def routes() -> set[str]:
    """Names of the files of its proxy's routes."""
    return {file.name for file in Path(os.environ["DOKPLOY_ROUTES"]).iterdir()}


def remove_routes(prefix: str) -> None:
    """Those of a project that went before its application, whose routes stay."""
    for file in Path(os.environ["DOKPLOY_ROUTES"]).glob(f"{prefix}*"):
        file.unlink(missing_ok=True)


def create_old_project(*, name: str, description: str) -> None:
    """A project that was made an hour ago. Skips the test if nobody said how."""
    if not os.environ.get("DOKPLOY_SQL"):
        pytest.skip("DOKPLOY_SQL is not set: NOT RUN to its end")
    key, url = os.environ["DOKPLOY_API_TOKEN"], os.environ["DOKPLOY_URL"]
    Dokploy(Connection(key, url=url, timeout_s=120)).create_project(name, description)
    made_at = rfc3339(time.time() - 3600)
    _sql(f"update project set \"createdAt\" = '{made_at}' where name = '{name}'")


def _sql(statement: str) -> str:
    words = [*shlex.split(os.environ["DOKPLOY_SQL"]), statement]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def restart() -> None:
    """Kill the server, and wait until it answers again."""
    subprocess.run(shlex.split(os.environ["DOKPLOY_RESTART"]), check=True, timeout=600)


def routed(host: str) -> str:
    """The service behind a host, by the server's own routes; "" for none."""
    for file in Path(os.environ["DOKPLOY_ROUTES"]).glob("*.yml"):
        with suppress(OSError, yaml.YAMLError):
            rule, text = f"Host(`{host}`)", file.read_text()
            http_part = (yaml.safe_load(text) or {}).get("http") or {} if rule in text else {}
            for router in (http_part.get("routers") or {}).values():
                if rule in router["rule"]:
                    balancer = http_part["services"][router["service"]]["loadBalancer"]
                    return str(balancer["servers"][0]["url"])
    return ""


def _address(app_name: str) -> str:
    """Where a container of a service is reached from this machine; "" for none.

    As for the swarm, one with a health check counts once it is healthy.
    """
    attached = _engine("/networks/docker_gwbridge")["Containers"]
    able = _containers(app_name, "healthy", "none")
    addresses = [attached[each]["IPv4Address"] for each in able if each in attached]
    return addresses[0].partition("/")[0] if addresses else ""


@contextmanager
def pages(certificate: Path | None = None) -> Iterator[int]:
    """Serve what is behind the routes; yields the port."""

    class Pages(Silent):
        def do_GET(self) -> None:  # noqa: N802 - the library's name
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = urlsplit(routed(self.headers.get("Host", "")))
            address = _address(target.hostname or "") if target.hostname else ""
            try:
                assert address
                connection = http.client.HTTPConnection(address, target.port or 80, timeout=4)
                # The server's own proxy passes the name on, too.
                given = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
                connection.request(self.command, self.path, body or None, given)
                answer = connection.getresponse()
                self.pass_on(answer, answer.read())
                connection.close()
            except (AssertionError, OSError, httpx.HTTPError):
                self.reply(502 if target.hostname else 404, b"")

        do_POST = do_GET  # noqa: N815 - the library's name

        def pass_on(self, answer: http.client.HTTPResponse, text: bytes) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "keep-alive", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

    with on_a_port(Pages, certificate=certificate) as port:
        yield port


@contextmanager
def slow_registry(seconds: float) -> Iterator[str]:
    """A registry that lets manifests wait, and sends everybody on to the real one; yields its address."""

    class Slow(Silent):
        def do_GET(self) -> None:  # noqa: N802 - the library's name
            if self.path == "/v2/":
                self.reply(200, b"{}")
                return
            time.sleep(seconds)
            self.send_response(307)
            self.send_header("Location", f"http://{os.environ['DOKPLOY_REGISTRY']}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the library's name

    with on_a_port(Slow) as port:
        yield f"127.0.0.1:{port}"
