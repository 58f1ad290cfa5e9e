"""``status``, ``status ID`` and ``plan`` print an action in one shape, with times of one kind."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from dispatcher.model.times import epoch
from dispatcher.status.action_record import ActionRecord
from tests.servers.git_remote import GitRemote
from tests.support.cli_process import Said, disinto
from tests.support.stage import Stage, action, path

KEYS = set(ActionRecord.__dataclass_fields__)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LONG_AGO = 1_700_000_000


def called(stage: Stage, *words: str) -> Said:
    scene = stage.scene
    done = disinto("--config", str(scene.config), *words, env=scene.environ, cwd=scene.root)
    assert done.code == 0, done.err
    return done


def times_of(data: Any, name: str = "") -> Iterator[str]:
    """Values of keys that name a time, however deep."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key in ("at", "since", "timestamp") or key.endswith("_at"):
                yield value
            yield from times_of(value)
    elif isinstance(data, list):
        for each in data:
            yield from times_of(each)


def test_an_action_has_one_shape(stage: Stage) -> None:
    remote = GitRemote(stage.scene.remote)
    remote.commit({path("done"): action("done").encode()})
    stage.once()
    remote.commit(
        {path("waits"): action("waits", formula="risky").encode(), "formulas/risky.sh": b"true\n"},
        date=LONG_AGO,
    )
    status = called(stage, "status", "--json").json
    (finished,) = status["results"]
    (waits,) = status["open"]
    plan = called(stage, "plan", "--json").json
    (planned,) = [*plan["steps"], *plan["waits"]]
    assert set(finished) == set(waits) == KEYS
    assert set(planned) > KEYS
    for entry in (finished, waits):
        one = called(stage, "status", entry["id"], "--json").json
        assert {key: one[key] for key in KEYS} == entry
    shared = KEYS - {"reason", "waiting_for"}  # a plan says what is done, where status says turn
    assert {key: planned[key] for key in shared} == {key: waits[key] for key in shared}
    assert (waits["job_class"], waits["bot"]) == ("runner", None)
    assert (finished["state"], finished["verdict"]) == ("finished", "succeeded")
    found = [*times_of(status), *times_of(plan)]
    assert [at for at in found if at]
    assert all(at is None or TIME.fullmatch(at) for at in found), found


def test_what_waits_does_so_since_its_commit(stage: Stage) -> None:
    """Also in a process that sees it for the first time, and with one action alone."""
    remote = GitRemote(stage.scene.remote)
    remote.commit(
        {path("waits"): action("waits", formula="risky").encode(), "formulas/risky.sh": b"true\n"},
        date=LONG_AGO,
    )
    (waits,) = called(stage, "status", "--json").json["open"]
    assert epoch(waits["since"]) == LONG_AGO
    days = int((time.time() - LONG_AGO) // 86_400)
    assert re.search(rf"waits +waiting +{days} d ", called(stage, "status").out)


def test_the_filters_of_status(stage: Stage) -> None:
    remote = GitRemote(stage.scene.remote)
    remote.commit({path(name): action(name).encode() for name in ("one", "two")})
    stage.once()
    remote.commit({path("three"): action("three", formula="nosuch").encode()})

    def ids(*words: str) -> list[str]:
        status = called(stage, "status", "--json", *words).json
        return sorted(entry["id"] for entry in (*status["open"], *status["results"]))

    assert ids() == ["one", "three", "two"]
    assert ids("--state", "waiting") == ["three"]
    assert ids("--state", "finished") == ids("--verdict", "succeeded") == ["one", "two"]
    assert ids("--match", "TW") == ["two"]
    assert ids("--formula", "nosuch") == ["three"]
    assert ids("-n", "0") == ["three"]
