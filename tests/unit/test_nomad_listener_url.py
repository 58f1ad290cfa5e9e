"""Where runners say that their formula has ended: as set, or as follows from the other settings."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.engines.nomad.settings import NomadSettings


def at(listen: str = "127.0.0.1:8480", **settings: Any) -> str:
    return NomadSettings.model_validate(settings).told_at(listen)


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:8480", "http://127.0.0.1:8480"),
        ("0.0.0.0:8480", "http://127.0.0.1:8480"),
        ("[::]:8480", "http://[::1]:8480"),
        ("192.0.2.5:80", "http://192.0.2.5:80"),
        ("", ""),
    ],
)
def test_by_default_where_serve_listens(listen: str, url: str) -> None:
    assert at(listen) == url


@pytest.mark.parametrize(
    "settings",
    [
        {"addr": "http://192.0.2.7:4646"},
        {"addr": "https://nomad.example:4646"},
        {"addr": "unix:///run/nomad.sock"},
        {"network_mode": "bridge"},
    ],
    ids=str,
)
def test_nowhere_if_runners_may_have_another_network(settings: dict[str, str]) -> None:
    assert at(**settings) == ""


def test_a_process_has_the_network_of_its_machine() -> None:
    assert at(network_mode="bridge", driver="raw_exec") == "http://127.0.0.1:8480"


@pytest.mark.parametrize("set_", ["", "https://serve.example/x"])
def test_what_is_set_counts(set_: str) -> None:
    assert at(listener_url=set_) == set_
