"""Whether bubblewrap can be used, where something is in its way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dispatcher.assembly import doctor_openers
from dispatcher.engines.local import sandbox
from dispatcher.errors import Misconfigured
from dispatcher.operate.doctor import diagnose
from dispatcher.settings import Settings, credential_files, settings_model


def bwrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Settings:
    """Settings, with a ``bwrap`` of our own on PATH."""
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return settings_model().model_validate(
        {
            "state_dir": tmp_path / "state",
            "ops_repo": {"remote": str(tmp_path / "ops.git")},
            "vault": {"addr": "http://127.0.0.1:1"},
        }
    )


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'bwrap: no namespaces' >&2; exit 1", "bwrap: no namespaces"),
        ("exit 159", "it ended with 159 and printed nothing"),
        ("kill -SYS $$", "it ended with -31 and printed nothing"),
    ],
)
def test_what_does_not_start_is_an_error(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = bwrap(tmp_path, monkeypatch, script)
    with pytest.raises(Misconfigured) as told:
        sandbox.find(settings)
    assert told.value.what == f"bubblewrap is installed but cannot be used: {why}"
    assert "bubblewrap = false" in told.value.remedy


@pytest.mark.parametrize(
    ("script", "wanted", "ok"),
    [("exit 0", True, True), ("exit 159", True, False), ("exit 159", False, True)],
)
def test_doctor_says_where_no_formula_is_started(
    script: str, wanted: bool, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = bwrap(tmp_path, monkeypatch, script)
    local = settings.local.model_copy(update={"bubblewrap": wanted})
    settings = settings.model_copy(update={"local": local})
    found = diagnose(settings, doctor_openers(settings, os.environ), {})
    check = next(c for c in found if c.name == "local: sandbox")
    assert check.ok is ok
    assert bool(check.remedy) is not ok


@pytest.mark.parametrize("root", [True, False])
def test_doctor_advises_against_root(
    root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = bwrap(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    check = next(
        c
        for c in diagnose(settings, doctor_openers(settings, os.environ), {})
        if c.name == "local: user"
    )
    assert check.ok
    assert ("dedicated user" in check.remedy) is root


def test_every_path_of_the_settings_is_a_credential_or_known_to_be_none() -> None:
    """A new one must be decided on: credentials are hidden from formulas."""
    public = {
        "vault.cacert",
        "nomad.cacert",
        "nomad.client_cert",
        "formulas.path",
        "policy.file",
        "sidecars.file",
        "signed.allowed_signers",
        "signed.revoked_keys",
        "signed.gpg_home",
        "forge.cacert",
    }
    given: dict[str, dict[str, str]] = {}
    for section, described in settings_model().model_fields.items():
        for key, field in getattr(described.annotation, "model_fields", {}).items():
            if "Path" in str(field.annotation) and "dict" not in str(field.annotation):
                given.setdefault(section, {})[key] = f"/{section}.{key}"
    found = {path.name for path in credential_files(settings_model().model_validate(given))}
    everything = {f"{section}.{key}" for section, keys in given.items() for key in keys}
    assert found == everything - public
    assert "nomad.client_key" in found


def test_a_home_folder_out_of_reach_needs_no_hiding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``ProtectHome=`` of systemd, where not even its existence can be asked."""
    settings = bwrap(tmp_path, monkeypatch, "exit 0")
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    stat = os.stat

    def guarded(path: Any, **how: Any) -> os.stat_result:
        if str(path).startswith(str(home)):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", guarded)
    found, _ = sandbox.find(settings)
    assert found is not None
