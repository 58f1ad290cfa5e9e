"""What is left over at a server: how it is shown, and that one which cannot be removed keeps no other."""

from __future__ import annotations

import pytest

from dispatcher.stack.removal import StillThere
from tests.servers.dokploy import KEY
from tests.support.stacks import Stacks

MARK = f"disinto:disinto:lost:{'0' * 40}"


def test_what_fits_nothing_of_ours_is_not_shown() -> None:
    stacks = Stacks()
    odd = {"name": "pw Ab3dEf9h", "description": f"key Ab3dEf9h {MARK}"}
    stacks.server.answer("project.create", {}, odd, KEY)
    (project,) = stacks.server.projects.values()
    stacks.wait(3600)
    found = stacks.reap()
    assert not any("Ab3dEf9h" in line for line in [*found.said, str(found.left)])
    assert found.said[1].startswith("  a project with an odd name, created 20")
    assert found.said[1].endswith(f", {MARK}")
    assert found.left is not None
    assert found.left["removed"] == [project["projectId"]]


@pytest.mark.parametrize("kept", ["first", "second"])
def test_one_that_cannot_be_removed_keeps_no_other_from_being_removed(kept: str) -> None:
    stacks = Stacks()
    for name in ("first", "second"):
        lost = {"name": name, "description": f"disinto:disinto:{name}:{'0' * 40}"}
        stacks.server.answer("project.create", {}, lost, KEY)
    shown = stacks.server._shown

    def with_services(project: dict[str, object]) -> dict[str, object]:
        plain = shown(project)
        if project["name"] == kept:
            plain["environments"][0] |= {"postgres": [{"postgresId": "1"}]}
        return plain

    stacks.server._shown = with_services  # type: ignore[method-assign, assignment]
    stacks.wait(3600)
    with pytest.raises(StillThere, match=f"{kept} has other services"):
        stacks.reap()
    assert stacks.projects == [kept]
