"""An author client sees git and the forge, and neither ledger nor engine nor Vault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from dispatcher.status.action_record import ActionRecord
from tests.servers.bao import Bao
from tests.support.cli_process import disinto
from tests.support.desk_stage import AuthorsDesk
from tests.support.stage import Stage, action, path, set_stage


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path / "scene", bao_server, ops_repo={"poll_interval_s": 0.2})
    yield stage
    stage.stop()


@pytest.fixture
def desk(stage: Stage, tmp_path: Path) -> AuthorsDesk:
    return AuthorsDesk.of(stage.scene, tmp_path / "author")


@pytest.mark.parametrize(
    "words",
    [
        ("serve", "--once"),
        ("apply", "--check"),
        ("archive",),
        ("audit", "verify"),
        ("takeover", "--yes"),
        ("plan",),
        ("secrets", "list"),
        ("secrets", "put", "TOKEN_A"),
        ("secrets", "rm", "TOKEN_A", "--yes"),
    ],
    ids=" ".join,
)
def test_what_belongs_on_the_dispatchers_host_refuses(
    desk: AuthorsDesk, words: tuple[str, ...]
) -> None:
    refused = desk(*words)
    assert refused.code == Exit.CONFIG
    assert f"'disinto {words[0]}' is not available on an author client" in refused.err
    assert "on the dispatcher's host" in refused.err
    assert not desk.opened()


def test_status_shows_what_git_says_and_what_is_not_known(stage: Stage, desk: AuthorsDesk) -> None:
    files = {path("low"): action("low"), path("high"): action("high", formula="danger")}
    stage.scene.merge(files, "Two")
    shown = desk("status", "--json")
    assert shown.code == Exit.OK, shown.err
    rows = {row["id"]: row for row in shown.json["open"]}
    assert rows["low"]["state"] == "approved"
    assert "only the dispatcher's host shows" in rows["low"]["reason"]
    assert rows["high"]["state"] == "waiting"
    assert (rows["high"]["tier"], rows["high"]["waiting_for"]) == ("high", "approval")
    text = desk("status").out
    assert "author client" in text
    assert "no dispatcher runs here" not in text
    assert desk("status", "low", "--json").json["state"] == "approved"
    assert not desk.opened()


SCHEDULE = """cron = "30 2 * * *"
timezone = "UTC"
[action]
formula = "danger"
context = ""
secrets = []
"""
PAST = "nightly-20250101t0230z-abcdefgh2"
"""The id of the action of an earlier slot."""


def test_schedules_are_listed_as_far_as_git_shows_them(stage: Stage, desk: AuthorsDesk) -> None:
    """Who has no dispatcher here sees approval and slots, and not the ids that their actions will have."""
    stage.scene.merge({"vault/schedules/draft.toml": SCHEDULE}, "A schedule")
    stage.scene.merge({"vault/schedules/nightly.toml": SCHEDULE}, "An approved one", sign=True)
    listed = desk("schedule", "list", "--json")
    assert listed.code == Exit.OK, listed.err
    waits, row = listed.json
    assert (waits["state"], waits["tier"], waits["last"]) == ("waiting", "high", None)
    assert "is not signed" in waits["reason"]
    assert (row["state"], row["reason"]) == ("active", None)
    (slot,) = row["next"]
    stage.scene.merge({path(PAST): action(PAST)}, "As an earlier dispatcher wrote it")
    text = desk("schedule", "next", "--count", "2")
    assert f"{slot['action_begins']}-…" in text.out
    assert "only the dispatcher's host shows skipped and missed slots" in text.err
    (row,) = desk("schedule", "next", "nightly", "--count", "2", "--json").json
    assert row["last"] == "2025-01-01T02:30:00Z written"
    assert not desk.opened()


def test_results_and_the_end_of_their_output_are_shown(stage: Stage, desk: AuthorsDesk) -> None:
    stage.scene.merge({path("one"): action("one")}, "One")
    waits = desk("logs", "one")
    assert waits.code == Exit.TEMPFAIL
    assert "has no result yet" in waits.err
    stage.once()
    assert desk("status", "--json").json["results"][0]["id"] == "one"
    ended = desk("logs", "one")
    assert ended.code == Exit.OK
    assert "from the result" in ended.err
    assert not desk.opened()


def test_an_action_is_sent_and_followed_without_a_ledger(stage: Stage, desk: AuthorsDesk) -> None:
    stage.scheduler.ends_at_once = True
    stage.start()
    file = desk.folder / "sent.toml"
    file.write_text(action("sent"))
    sent = desk("dispatch", "--json", str(file))
    assert sent.code == Exit.OK, sent.err
    known = sent.json
    assert (known["state"], known["verdict"], known["followed"]) == ("finished", "succeeded", True)
    assert known["commit"] == stage.scene.git("rev-parse", "main~1", cwd=stage.scene.remote)
    assert set(known) == {*ActionRecord.__dataclass_fields__, "followed"}
    assert not desk.opened()


def test_what_is_sent_says_commit_tier_and_state(stage: Stage, desk: AuthorsDesk) -> None:
    file = desk.folder / "sent.toml"
    file.write_text(action("sent"))
    sent = desk("dispatch", "--no-follow", "--json", str(file))
    assert sent.code == Exit.OK
    known = {key: value for key, value in sent.json.items() if value not in (None, [])}
    assert set(sent.json) == {*ActionRecord.__dataclass_fields__, "followed"}
    assert known.pop("reason").startswith("sent is pushed as ")
    assert known == {
        "id": "sent",
        "state": "waiting",
        "tier": "low",
        "commit": stage.scene.git("rev-parse", "main", cwd=stage.scene.remote),
        "followed": False,
    }


def test_doctor_checks_what_a_desk_has(desk: AuthorsDesk) -> None:
    checked = desk("doctor", "--json")
    names = {check["name"] for check in checked.json["checks"]}
    assert "role" in names
    assert not {name.split(":")[0] for name in names} & {"ledger", "vault", "lead", "local"}
    assert not [check for check in checked.json["checks"] if not check["ok"]]


def test_init_makes_a_desk(stage: Stage, desk: AuthorsDesk, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    made = disinto(
        "init", "--author", "--remote", str(stage.scene.remote), str(folder), env=desk.environ
    )
    assert made.code == Exit.OK, made.err
    config = ("--config", str(folder / "disinto.toml"))
    served = disinto(*config, "serve", "--once", env=desk.environ)
    assert served.code == Exit.CONFIG
    status = disinto(*config, "status", env=desk.environ)
    assert "author client" in status.out
    missing = disinto("init", "--author", str(tmp_path / "other"), env=desk.environ)
    assert missing.code == Exit.USAGE
