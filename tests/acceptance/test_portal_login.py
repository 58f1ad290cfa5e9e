"""A person of a real forge logs in at the web page that is itself a stack on a real Dokploy."""

from __future__ import annotations

import re
import secrets
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import tomli_w

from dispatcher.settings.web import LOGIN_BACK
from tests.acceptance.test_portal_story import example, portal
from tests.servers import dokploy_live, image
from tests.servers.bao import Bao
from tests.servers.forgejo import PASSWORD, Account, Forgejo
from tests.servers.tls_front import tls_front
from tests.support.forge_stage import Stage as Forge
from tests.support.page_on_forge import HTML, hidden_fields
from tests.support.serving import serving
from tests.support.stack_stage import SUFFIX, commands, live_ground, no_secret_is_left, scene_with

AUTHORITY = "/home/agent/forge.pem"


class Proxied(httpx.BaseTransport):
    """Finds a stack's host name where its pages are served, as DNS would; all else as usual."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._http = httpx.HTTPTransport(verify=False)  # both certificates sign themselves

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.host == self._host:
            url = url.copy_with(host="127.0.0.1", port=self._port)
        return self._http.handle_request(
            httpx.Request(request.method, url, headers=request.headers, stream=request.stream)
        )

    def close(self) -> None:
        self._http.close()


@pytest.mark.needs("bao", "bwrap", "dokploy", "forgejo")
@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_a_person_logs_in_at_the_forge_and_reads_the_page(
    forge: Forgejo, bao_server: Bao, tmp_path: Path
) -> None:
    name = f"w{secrets.token_hex(4)}"
    origin = f"https://{name}.{SUFFIX}"
    for each in ("scene", "people", "front"):
        (tmp_path / each).mkdir()
    people = Forge.build(forge, tmp_path / "people")
    application = people.owner.call("POST", "/user/applications/oauth2", {
        "name": "runs", "redirect_uris": [f"{origin}{LOGIN_BACK}"], "confidential_client": True,
    })  # fmt: skip
    values = {
        "PAGE_CLIENT_SECRET": application["client_secret"],
        "OPS_READ_TOKEN": people.owner.token,
    }
    with ExitStack() as stack:
        ground = stack.enter_context(live_ground(tmp_path))
        gateway, port = dokploy_live.gateway(), urlsplit(forge.url).port or 80
        url, authority = stack.enter_context(tls_front(tmp_path / "front", gateway, port))
        scene = scene_with(stack, tmp_path / "scene", bao_server, ground, values)
        action = example(
            "stack-runs", name=name, image=portal(image.build(), "trusting", trusts(authority))
        )
        action["id"] = stack_id = f"stack-{name}"
        action["params"]["environment"] |= {
            "DISINTO_WEB__ORIGIN": origin,
            "DISINTO_WEB__CLIENT_ID": application["client_id"],
            "DISINTO_FORGE__URL": url,
            "DISINTO_FORGE__REPOSITORY": people.repository,
            "DISINTO_FORGE__CACERT": AUTHORITY,
            "DISINTO_OPS_REPO__REMOTE": f"{url}/{people.repository}.git",
            "DISINTO_OPS_REPO__USERNAME": people.owner.login,
            "GIT_SSL_CAINFO": AUTHORITY,
        }
        call = commands(scene)
        with serving(scene):
            file = scene.desk / f"{stack_id}.toml"
            file.write_text(tomli_w.dumps(action))
            said = call("dispatch", str(file))
            try:
                assert said.code == 0, said
                browser = stack.enter_context(
                    httpx.Client(
                        transport=Proxied(f"{name}.{SUFFIX}", ground.port), headers=HTML,
                        follow_redirects=True, timeout=60,
                    )
                )  # fmt: skip
                log_in(browser, url, origin, people.alice)
            finally:
                said = call("stack", "destroy", stack_id, "--yes")
            assert said.code == 0, said
        no_secret_is_left(scene, ground.key, *values.values())
    assert dokploy_live.remains(name) == set()


def trusts(authority: str) -> str:
    """Instructions of an image that trusts the forge's certificate."""
    lines = " ".join(f"'{line}'" for line in authority.splitlines())
    return f"RUN printf '%s\\n' {lines} > {AUTHORITY}"


def log_in(browser: httpx.Client, forge_url: str, origin: str, person: Account) -> None:
    """At the forge, which asks whether the page may act for them; and back."""
    nobody = browser.get(f"{origin}/")
    assert person.login not in nobody.text
    form = hidden_fields(browser.get(f"{forge_url}/user/login").text)
    form |= {"user_name": person.login, "password": PASSWORD}
    browser.post(f"{forge_url}/user/login", data=form).raise_for_status()
    shown = browser.get(f"{origin}/login/forge", params={"next": "/"})
    assert urlsplit(str(shown.url)).path == "/login/oauth/authorize", shown.text
    shown = browser.post(f"{forge_url}/login/oauth/grant", data=hidden_fields(shown.text))
    assert (shown.status_code, str(shown.url)) == (200, f"{origin}/"), shown.text
    assert person.login in re.sub(r"<[^>]*>", " ", shown.text)
