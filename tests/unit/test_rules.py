"""The rules' files: what is taken up, what is not, and what holds meanwhile."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from dispatcher.audit import AuditLog
from dispatcher.errors import TemporaryError
from dispatcher.loop.fence import Fence, RulesChanged
from dispatcher.loop.own_settings import OwnSettings
from dispatcher.loop.rules import QUIET_S, Rules
from dispatcher.model.run import Tier
from dispatcher.settings import Settings, load_settings
from tests.unit.test_trusted_keys import key

ADA = f"ada@example.org {key()}\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "policy.toml").write_text('[tiers]\nhello = "low"\n')
    (tmp_path / "allowed_signers").write_text(ADA)
    (tmp_path / "secret").write_text("s" * 16)
    return Settings.model_validate(
        {
            "state_dir": tmp_path,
            "policy": {"file": tmp_path / "policy.toml", "gate": "signed"},
            "signed": {"allowed_signers": tmp_path / "allowed_signers"},
            "http": {"webhook_secret_file": tmp_path / "secret"},
        }
    )


@pytest.fixture
def rules(settings: Settings, tmp_path: Path) -> Rules:
    rules = Rules(settings, AuditLog(tmp_path / "audit.jsonl"), webhook=True)
    assert rules.reload() == []  # the first reading is no change
    return rules


def trusted(rules: Rules) -> str:
    place = rules.signers.allowed_signers
    assert place is not None
    return place.read_text()


def test_what_is_in_force_cannot_be_changed_behind_our_back(rules: Rules, tmp_path: Path) -> None:
    """ssh-keygen reads a sealed copy: neither a later edit nor another process changes it."""
    (tmp_path / "allowed_signers").write_text("broken\n")
    assert trusted(rules) == ADA
    place = rules.signers.allowed_signers
    assert place is not None
    fd = os.open(place, os.O_RDWR)
    with pytest.raises(PermissionError):
        os.write(fd, b"eve")
    os.close(fd)
    assert trusted(rules) == ADA


def test_a_broken_list_replaces_nothing_and_an_empty_one_does(rules: Rules, tmp_path: Path) -> None:
    file = tmp_path / "allowed_signers"
    file.write_text(f"{ADA}eve@example.org ssh-ed25519 oops\n")
    assert rules.reload() == []
    assert trusted(rules) == ADA
    assert "allowed_signers:2" in rules.warnings()[0]
    file.write_text("")
    (change,) = rules.reload()
    assert change.setting == "[signed] allowed_signers"
    assert trusted(rules) == ""
    assert rules.warnings() == ()


def test_a_list_that_is_partly_wrong_at_the_start_counts_as_ssh_keygen_reads_it(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "allowed_signers").write_text(f"oops\n{ADA}")
    rules = Rules(settings, AuditLog(tmp_path / "audit.jsonl"))
    rules.reload()
    assert trusted(rules) == f"oops\n{ADA}"
    assert rules.warnings()[0].endswith("Its other lines count")


def test_a_file_is_read_once_it_is_at_rest(
    rules: Rules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a policy can be a policy: one that is being written is left alone."""
    now = 100.0
    monkeypatch.setattr(rules, "_now", lambda: now)
    file = tmp_path / "policy.toml"
    assert not rules.changed()
    for size in (1, 2, 3):
        file.write_text("\n" * size)
        now += 0.6 * QUIET_S
        assert not rules.changed()
        assert rules.pending()
    now += QUIET_S
    assert rules.changed()
    rules.reload()
    assert not rules.changed()
    assert not rules.pending()


def test_a_secret_is_handed_on_and_not_recorded(rules: Rules, tmp_path: Path) -> None:
    taken: list[bytes] = []
    rules.on_webhook_secret(taken.append)
    (tmp_path / "secret").write_text("t" * 20 + "\n")
    (change,) = rules.reload()
    assert taken == [b"t" * 20]
    assert (change.before, change.now) == ("", "")
    assert "[http] webhook_secret_file" not in rules.digests()
    (tmp_path / "secret").write_text("short")
    assert rules.reload() == []
    assert "5 bytes" in rules.warnings()[0]
    records = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["setting"] for line in records] == ["[http] webhook_secret_file"]


def test_a_file_touched_without_a_change_is_no_change(rules: Rules, tmp_path: Path) -> None:
    revision = rules.fence.revision
    os.utime(tmp_path / "policy.toml", (1.0, 1.0))
    assert rules.reload() == []
    assert rules.fence.revision == revision


def test_a_policy_too_large_is_refused(rules: Rules, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    assert rules.reload() == []
    assert "more than 1,048,576 bytes" in rules.warnings()[0]
    assert rules.policy.formula_tier("hello") is Tier.LOW


def test_who_claims_by_older_rules_is_refused() -> None:
    fence = Fence()
    with fence.claiming(0):
        pass
    fence.advance()
    with pytest.raises(RulesChanged), fence.claiming(0):
        raise AssertionError("not reached")
    with fence.claiming(1):
        pass


def test_new_rules_wait_for_the_claims_under_way() -> None:
    fence, done = Fence(), threading.Event()

    def advance() -> None:
        fence.advance()
        done.set()

    with fence.claiming(0):
        thread = threading.Thread(target=advance)
        thread.start()
        while fence.revision == 0:
            assert thread.is_alive()
        assert not done.is_set()
        with pytest.raises(RulesChanged):
            fence.check(0)
    thread.join(20)
    assert done.is_set()


def test_a_change_that_could_not_be_recorded_is_recorded_later(
    settings: Settings, tmp_path: Path
) -> None:
    class Full(AuditLog):
        full = True

        def append(self, event: str, **facts: object) -> None:
            if self.full:
                raise TemporaryError("the disk is full")
            super().append(event, **facts)

    audit = Full(tmp_path / "audit.jsonl")
    rules = Rules(settings, audit)
    rules.reload()
    (tmp_path / "policy.toml").write_text('[tiers]\nhello = "high"\n')
    with pytest.raises(TemporaryError):
        rules.reload()
    assert rules.policy.formula_tier("hello") is Tier.HIGH
    assert rules.changed()
    audit.full = False
    rules.reload()
    assert not rules.changed()
    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["setting"] == "[policy] file"


class Own:
    """A settings' file beside the rules, as ``serve`` watches it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.file = folder / "disinto.toml"
        self.file.write_text("")
        self.started = load_settings(self.file, {})
        own = OwnSettings(
            path=self.file, in_force=self.started, read=lambda: load_settings(self.file, {})
        )
        self.audit = folder / "own.jsonl"
        self.rules = Rules(settings, AuditLog(self.audit), own=own)
        assert self.rules.reload() == []
        assert self.rules.warnings() == ()

    def write(self, text: str) -> tuple[str, ...]:
        """What is said once it is read; nothing of it may come into force."""
        revision = self.rules.fence.revision
        self.file.write_text(text)
        assert self.rules.reload() == []
        assert self.rules.fence.revision == revision
        return self.rules.warnings()


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Own:
    return Own(tmp_path, settings)


def test_a_change_of_the_settings_is_said_to_wait_for_a_restart(own: Own) -> None:
    started = own.rules.digests()["settings"]
    (warning,) = own.write('log_level = "debug"\n[limits]\nmax_in_flight = 3\n')
    assert "takes effect at the next restart: log_level, [limits] max_in_flight" in warning
    assert "keeps the settings that it read at its start" in warning
    assert str(own.file) in warning
    assert own.rules.waits_for_restart() == (warning,)
    assert own.rules.digests()["settings"] == started
    assert own.write("# as before\n") == ()
    assert own.rules.waits_for_restart() == ()
    assert own.rules.digests()["settings"] != started, "it says the same"
    assert not own.audit.exists()


def test_settings_that_would_keep_serve_from_starting_are_named_with_their_place(own: Own) -> None:
    (warning,) = own.write('[limits]\nmax_in_flight = "many"\n')
    assert "would keep 'disinto serve' from starting" in warning
    assert f"{own.file}:2" in warning
    assert own.rules.waits_for_restart() == ()
    (warning,) = own.write("[limits\n")
    assert f"{own.file}:1" in warning
    own.file.unlink()
    assert own.rules.reload() == []
    (warning,) = own.rules.warnings()
    assert "cannot be read" in warning


def test_settings_that_changed_while_serve_started_are_noticed(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "disinto.toml"
    file.write_text("")
    started = load_settings(file, {})
    file.write_text("[limits]\nmax_in_flight = 3\n")
    own = OwnSettings(path=file, in_force=started, read=lambda: load_settings(file, {}))
    rules = Rules(settings, AuditLog(tmp_path / "audit.jsonl"), own=own)
    rules.reload()
    assert "[limits] max_in_flight" in rules.warnings()[0]
