"""The page of one action: which address is one, and links that only the settings choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dispatcher.engines import registry
from dispatcher.page.site import Site
from dispatcher.settings import settings_model
from tests.support.page_client import JSON, a_site, logged_in


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return a_site(tmp_path)


@pytest.mark.parametrize("path", ["/actions/..%2f..%2fetc", "/actions/A", "/actions/%3Cscript%3E"])
def test_what_is_no_id_is_not_found(site: Site, path: str) -> None:
    answer = logged_in(site).get(path, headers=JSON)
    assert answer.status_code == 404


def test_without_a_form_token_nothing_is_cancelled(site: Site) -> None:
    client = logged_in(site)
    assert client.post("/actions/x/cancel", data={"reason": "x"}).status_code == 403
    assert client.get("/actions/x/cancel").status_code == 405


def test_a_link_to_the_engine_is_of_the_settings(tmp_path: Path) -> None:
    def url(addr: str, **names: str) -> str:
        own: dict[str, Any] = {"state_dir": tmp_path, "nomad": {"addr": addr}}
        return registry.get("nomad").web_url(
            settings_model()(**own), **{"job": "", "alloc": "", **names}
        )

    assert url("https://nomad.example:4646/", alloc="a/../b") == (
        "https://nomad.example:4646/ui/allocations/a%2F..%2Fb"
    )
    assert url("https://nomad.example", job='j/d-1"') == (
        "https://nomad.example/ui/jobs/j%2Fd-1%22@default"
    )
    assert url("https://nomad.example") == ""
    assert url("unix:///run/nomad.sock", job="x") == ""
