"""What ``disinto doctor`` and ``disinto secrets`` say about the tokens of sidecars."""

from __future__ import annotations

from collections.abc import Collection

import httpx
import pytest

from dispatcher.decide.sidecar_rules import Sidecars, parse_sidecars
from dispatcher.errors import Misconfigured
from dispatcher.forge.exchange import Exchange
from dispatcher.model.checks import Check
from dispatcher.operate.token_checks import Tokens, check_bot, check_tokens
from dispatcher.settings import Settings
from tests.fakes.token_scopes import forge_for

RULES = """
[projects.app]
repository = "own/app"
bot = "reader"
[rules.triage]
formula = "triage"
labels = ["bug"]
"""
READ = ("read:issue", "read:repository")
REPORTS = ("read:user", "read:organization", "read:repository", "write:issue")


def sidecars(text: str = RULES) -> Sidecars:
    return parse_sidecars(text.encode(), path="sidecars.toml")


def checks(reading: Exchange | None = None, reports: Exchange | None = None) -> dict[str, Check]:
    tokens = Tokens(reading=lambda: reading or forge_for(READ), reports=lambda: reports)
    return {check.name: check for check in check_tokens(Settings(), sidecars(), tokens)}


def test_all_is_well() -> None:
    made = checks(reports=forge_for(REPORTS, writer=True))
    assert {name: (c.ok, c.warning) for name, c in made.items()} == {
        "sidecars: reading token": (True, False),
        "sidecars: report token: app": (True, False),
        "sidecars: bots": (True, False),
    }


def test_without_a_token_for_reports() -> None:
    check = checks()["sidecars: report token"]
    assert check.warning
    assert "DISINTO_SIDECAR_REPORT_TOKEN" in check.remedy


@pytest.mark.parametrize(
    ("scopes", "writer", "name", "words"),
    [
        ((*READ, "read:user", "read:organization"), True, ": app", "lacks the scope write:issue"),
        (REPORTS, False, ": app", "account may not write in own/app"),
        (REPORTS[1:], True, "", "scope(s): [read:user]"),
    ],
)
def test_a_token_that_cannot_report(
    scopes: Collection[str], writer: bool, name: str, words: str
) -> None:
    check = checks(reports=forge_for(scopes, writer=writer))[f"sidecars: report token{name}"]
    assert not check.ok
    assert words in check.detail
    assert check.remedy


@pytest.mark.parametrize("more", ["write:repository", "write:user", "write:organization"])
def test_a_token_that_may_do_too_much(more: str) -> None:
    part = more.partition(":")[2]
    check = checks(reports=forge_for((*REPORTS, more), writer=True))["sidecars: report token"]
    assert (check.warning, f"more than issues: {part}" in check.detail) == (True, True)
    check = checks(reading=forge_for((*READ, more)))["sidecars: reading token"]
    assert (check.warning, f"it may write ({part})" in check.detail) == (True, True)


def test_the_scope_of_administrators_means_nothing_to_others() -> None:
    assert not checks(reading=forge_for((*READ, "write:admin")))["sidecars: reading token"].remedy


def bot(scopes: Collection[str], text: str = RULES, name: str = "reader") -> tuple[bool, bool, str]:
    found = check_bot(sidecars(text), name, "t", lambda _token: forge_for(scopes))
    assert found is not None
    return found.ok, found.writes, found.detail


def test_a_bots_token() -> None:
    assert bot(READ) == (True, False, "it only reads")
    ok, writes, detail = bot(("write:issue", "read:repository"))
    assert (ok, writes, "it may write (issue)" in detail) == (False, True, True)
    # scopes that its account cannot use in this project may still write in another
    ok, writes, detail = bot(("read:issue", "write:repository"))
    assert (ok, writes, "it may write (repository)" in detail) == (False, True, True)
    asked = f"{RULES}writing_token = true\n"
    assert bot(("write:issue",), asked) == (
        True, False, "it may write (issue), as rule triage asks for",
    )  # fmt: skip
    ok, writes, detail = bot(("read:repository",))
    assert (ok, writes, detail.startswith("it cannot be checked")) == (False, False, True)
    assert check_bot(sidecars(), "another", "t", lambda _token: forge_for(())) is None


def test_a_token_that_is_none_and_a_forge_that_is_down() -> None:
    def down(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    for answer in (down, lambda _request: httpx.Response(401, json={"message": "invalid token"})):
        exchange = Exchange(
            url="http://forge.test",
            token="t",
            cacert=None,
            timeout_s=5,
            token_source="TOKEN",
            transport=httpx.MockTransport(answer),
        )
        found = check_bot(sidecars(), "reader", "t", lambda _token, made=exchange: made)  # type: ignore[misc]
        assert found is not None
        assert (found.ok, found.writes) == (False, False)
        assert not checks(reports=exchange)["sidecars: report token"].ok


def test_a_reading_token_that_is_missing() -> None:
    def missing() -> Exchange:
        raise Misconfigured("it is missing", remedy="Set it.")

    tokens = Tokens(reading=missing, reports=lambda: None)
    made = {check.name: check for check in check_tokens(Settings(), sidecars(), tokens)}
    assert not made["sidecars: reading token"].ok
    assert made["sidecars: report token"].warning
