"""A provider that repeats the token with which it is asked, as it is or in disguise: its words are not shown."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from dispatcher.desktop.__main__ import main as desktop
from dispatcher.provision.confidential import WITHHELD
from dispatcher.provision.http import HttpClient, Raw
from dispatcher.stack.__main__ import main as stack

TOKEN = "canary-5c1e77aa-b0f4"
PROGRAMS = [
    (desktop, "DIGITALOCEAN_API_TOKEN", "desktop-settings.json", {}),
    (stack, "DOKPLOY_API_TOKEN", "stack-settings.json", {"DOKPLOY_URL": "https://dokploy.example"}),
]


@pytest.mark.parametrize(("main", "name", "file", "settings"), PROGRAMS, ids=["desktop", "stack"])
@pytest.mark.parametrize(
    "echo",
    [TOKEN, TOKEN[::-1], base64.b64encode(TOKEN.encode()).decode()],
)
@pytest.mark.parametrize("status", [403, 302])
def test_no_text_has_the_token(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[list[str], Any], int],
    name: str,
    file: str,
    settings: dict[str, Any],
    echo: str,
    status: int,
) -> None:
    def answer(*_: object, **__: object) -> Raw:
        body = json.dumps({"message": f"who is {echo}?"}).encode()
        return Raw(status, httpx.Headers({"location": f"https://{echo}.example/"}), body)

    monkeypatch.setattr(HttpClient, "send", answer)
    (tmp_path / file).write_text(json.dumps(settings))
    environ = {"DISINTO_FILES": str(tmp_path), name: f" {TOKEN}\n", "DISINTO_PARAMS": '{"id": "a"}'}
    assert main(["destroy"], environ)
    said = capsys.readouterr()
    assert echo not in said.out + said.err
    assert WITHHELD in said.err
