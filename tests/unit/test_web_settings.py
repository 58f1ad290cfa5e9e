"""``[web]``: what contradicts itself is refused before anything listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.assembly import web_client_secret
from dispatcher.errors import Misconfigured
from dispatcher.notify.secrets import known_secrets
from dispatcher.settings import ForgeSettings, Settings, WebSettings, credential_files
from dispatcher.settings.checks import contradictions

FORGE = ForgeSettings(url="https://forge.example", repository="acme/ops")
LOGIN = {"client_id": "page", "client_secret_file": Path("/x/secret")}


def wrongs(forge: ForgeSettings = FORGE, **web: object) -> list[str]:
    settings = Settings(web=WebSettings(**web), forge=forge)  # type: ignore[arg-type]
    return [f"{c.path[0]}.{c.path[1]}: {c.message}" for c in contradictions(settings)]


@pytest.mark.parametrize(
    "web",
    [
        {},
        {"listen": "[::1]:0"},
        {**LOGIN},
        {**LOGIN, "origin": "https://runs.example", "listen": "0.0.0.0:8490"},
        {**LOGIN, "origin": "http://127.0.0.1:8490"},
        {"client_id": "page", "client_secret_name": "page"},
        {"client_id": "page", "client_secret_env": "PAGE_CLIENT_SECRET"},
    ],
)
def test_what_fits_is_taken(web: dict[str, object]) -> None:
    assert wrongs(**web) == []


@pytest.mark.parametrize(
    ("web", "where"),
    [
        ({"listen": "8490"}, "web.listen"),
        ({"listen": "127.0.0.1:99999"}, "web.listen"),
        ({"listen": "0.0.0.0:8490"}, "web.listen"),
        ({**LOGIN, "listen": "0.0.0.0:8490"}, "web.listen"),
        ({"origin": "runs.example"}, "web.origin"),
        ({"origin": "https://runs.example/page"}, "web.origin"),
        ({"origin": "https://ada@runs.example"}, "web.origin"),
        ({"origin": "http://runs.example"}, "web.origin"),
        ({"client_id": "page"}, "web.client_id"),
    ],
)
def test_what_does_not_fit_is_refused(web: dict[str, object], where: str) -> None:
    assert [each.partition(":")[0] for each in wrongs(**web)] == [where]


def test_a_login_needs_a_forge_by_https() -> None:
    assert len(wrongs(forge=ForgeSettings(), **LOGIN)) == 2
    plain = FORGE.model_copy(update={"url": "http://forge.example"})
    assert any("plain http" in each for each in wrongs(forge=plain, **LOGIN))


def test_formulas_cannot_see_the_client_secret() -> None:
    assert Path("/x/secret") in credential_files(Settings(web=WebSettings(**LOGIN)))  # type: ignore[arg-type]


def test_the_client_secret_of_a_variable_precedes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of-the-file\n")
    both = Settings(
        web=WebSettings(client_id="page", client_secret_env="PAGE", client_secret_file=file)
    )
    assert web_client_secret(both, {"PAGE": " of-the-variable\n"}) == "of-the-variable"
    assert web_client_secret(both, {}) == "of-the-file"
    assert "of-the-variable" in known_secrets(both, {"PAGE": "of-the-variable"}).values()
    alone = Settings(web=WebSettings(client_id="page", client_secret_env="PAGE"))
    with pytest.raises(Misconfigured, match="the variable PAGE is not set"):
        web_client_secret(alone, {"PAGE": " "})
