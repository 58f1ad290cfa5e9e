"""A real forge keeps the contract that the small one keeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from dispatcher.forge.exchange import Exchange
from dispatcher.forge.issue_board import IssueBoard
from dispatcher.forge.issues import IssuesApi
from dispatcher.settings import ForgeSettings
from tests.contract.issues import IssuePlace, IssuesContract
from tests.servers.forgejo import Account, Forgejo

pytestmark = pytest.mark.needs("forgejo")

REPORTS = ("read:user", "read:organization", "read:repository", "write:issue")


def reads(account: Account, repository: str) -> IssuesApi:
    exchange = Exchange(
        url=account.url,
        token=account.with_scopes("read:repository", "read:issue").token,
        cacert=None,
        timeout_s=30,
        token_source="TOKEN",
        transport=None,
    )
    return IssuesApi(exchange, repository)


def caller(account: Account) -> Callable[..., Any]:
    def call(method: str, path: str, body: object) -> Any:
        split = urlsplit(path)
        return account.call(method, split.path, body, **dict(parse_qsl(split.query)))

    return call


class TestForgejo(IssuesContract):
    @pytest.fixture
    def place(self, forge: Forgejo) -> IssuePlace:
        owner, writer, stranger = (forge.account(n) for n in ("owner", "writer", "stranger"))
        name, other = (
            owner.call("POST", "/user/repos", {"name": n, "auto_init": True})["full_name"]
            for n in ("app", "other")
        )
        path = f"/repos/{name}/collaborators/{writer.login}"
        owner.call("PUT", path, {"permission": "write"})

        reports = writer.with_scopes(*REPORTS)

        def later() -> None:
            """Its times have whole seconds."""
            time.sleep(1.1)

        return IssuePlace(
            name=name,
            other=other,
            reads=reads(owner, name),
            stranger_reads=reads(stranger, name),
            board=IssueBoard(ForgeSettings(url=forge.url, repository=name), token=reports.token),
            owner=caller(owner),
            writer=caller(writer),
            stranger=caller(stranger),
            logins=(owner.login, writer.login, stranger.login),
            later=later,
        )
