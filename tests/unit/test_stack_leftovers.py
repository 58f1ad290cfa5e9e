"""What a server says of a project is shown only if it is like what runs ask for."""

from __future__ import annotations

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
