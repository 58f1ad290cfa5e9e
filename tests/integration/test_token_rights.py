"""What a token may write, asked from a real Forgejo: the answers, and that nothing was written."""

from __future__ import annotations

import pytest

from dispatcher.forge.exchange import Exchange
from dispatcher.forge.token_rights import Part, Right, may_label, may_write
from tests.servers.forgejo import Account, Forgejo

pytestmark = pytest.mark.needs("forgejo")
REPORTS = ("read:user", "read:organization", "read:repository", "write:issue")


def opened(account: Account, *scopes: str) -> Exchange:
    token = (account.with_scopes(*scopes) if scopes else account).token
    return Exchange(
        url=account.url,
        token=token,
        cacert=None,
        timeout_s=30,
        token_source="TOKEN",
        transport=None,
    )


def test_what_tokens_may_write(forge: Forgejo) -> None:
    owner, reader, writer = (forge.account(name) for name in ("owner", "reader", "writer"))
    fields = {"name": "app", "auto_init": True, "private": True}
    name = owner.call("POST", "/user/repos", fields)["full_name"]
    for account, permission in ((reader, "read"), (writer, "write")):
        path = f"/repos/{name}/collaborators/{account.login}"
        owner.call("PUT", path, {"permission": permission})

    reading = opened(reader, "read:issue", "read:repository")
    assert set(may_write(reading, name).values()) == {Right.NO_SCOPE}
    assert may_label(reading, name) is Right.NO_SCOPE

    reports = opened(writer, *REPORTS)
    rights = may_write(reports, name)
    assert {part for part, right in rights.items() if right is not Right.NO_SCOPE} == {Part.ISSUE}
    assert may_label(reports, name) is Right.WRITE
    assert may_label(opened(reader, *REPORTS), name) is Right.NO_RIGHT

    everything = dict.fromkeys(Part, Right.WRITE)
    assert may_write(opened(writer), name) == {**everything, Part.ADMIN: Right.NO_RIGHT}
    assert may_write(opened(reader), name)[Part.REPOSITORY] is Right.NO_RIGHT
    assert may_write(opened(forge.admin), name) == everything

    for account in (owner, reader, writer):
        assert len(account.call("GET", "/user/repos")) == 1
        assert account.call("GET", "/user/orgs") == []
    assert owner.call("GET", f"/repos/{name}/issues") == []
    assert owner.call("GET", f"/repos/{name}/labels") == []
    assert len(owner.call("GET", f"/repos/{name}/branches")) == 1
