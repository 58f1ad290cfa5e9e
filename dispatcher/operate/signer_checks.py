"""The checks of ``disinto doctor`` for the keys that gate ``signed`` trusts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dispatcher.model.checks import Check
from dispatcher.ops_repo.trusted_keys import read_allowed_signers, revocation_problems
from dispatcher.settings import Settings

GPG_TIMEOUT_S = 30


def check_signers(settings: Settings) -> Iterator[Check]:
    """Whether a key can approve anything, and whether every line is valid."""
    signed = settings.signed
    if signed.allowed_signers is not None:
        yield _allowed(signed.allowed_signers)
    if signed.revoked_keys is not None:
        yield _revoked(signed.revoked_keys)
    if signed.gpg_fingerprints and signed.gpg_home is not None:
        yield _gpg(signed.gpg_home, signed.gpg_fingerprints)


def _allowed(file: Path) -> Check:
    name = "gate: allowed_signers"
    try:
        data = file.read_bytes()
    except OSError as error:
        return _unreadable(name, file, error)
    allowed = read_allowed_signers(data, path=str(file), now=datetime.now(UTC))
    if allowed.problems:
        return _wrong(name, str(allowed.problems[0]), "Every line is an entry or a # comment.")
    if not allowed.usable:
        others = (
            f"none of its {allowed.entries} keys is allowed to sign commits now (namespaces, "
            "valid-before)"
            if allowed.entries
            else "it contains no key"
        )
        return _wrong(
            name,
            f"{file}: {others}, so nobody can approve",
            "Add a line for each approver: principal key-type base64-key.",
        )
    keys = "1 key" if allowed.usable == 1 else f"{allowed.usable} keys"
    return Check(name=name, ok=True, detail=f"{file}: {keys} may approve")


def _revoked(file: Path) -> Check:
    name = "gate: revoked_keys"
    try:
        data = file.read_bytes()
    except OSError as error:
        return _unreadable(name, file, error)
    problems = revocation_problems(data, path=str(file))
    if problems:
        return _wrong(name, str(problems[0]), "Correct it, or create the list with ssh-keygen -k.")
    return Check(name=name, ok=True, detail=str(file))


def _gpg(home: Path, fingerprints: tuple[str, ...]) -> Check:
    name = "gate: gpg keys"
    gpg = shutil.which("gpg")
    if gpg is None:
        return _wrong(name, "gpg is not installed", "Install GnuPG.")
    if not home.is_dir():
        return _wrong(name, f"{home} is not a directory", "Correct [signed] gpg_home.")
    missing = [each for each in fingerprints if not _has_key(gpg, home, each)]
    if missing:
        return _wrong(
            name,
            f"the keyring in {home} has no key {', '.join(missing)}",
            "Import it there with gpg --import, or correct [signed] gpg_fingerprints.",
        )
    return Check(name=name, ok=True, detail=f"{home} has all {len(fingerprints)}")


def _has_key(gpg: str, home: Path, fingerprint: str) -> bool:
    try:
        done = subprocess.run(
            [gpg, "--batch", "--homedir", str(home), "--list-keys", fingerprint],
            capture_output=True,
            check=False,
            timeout=GPG_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _unreadable(name: str, file: Path, error: OSError) -> Check:
    key = name.removeprefix("gate: ")
    return _wrong(
        name,
        f"{file} cannot be read: {error.strerror}",
        f"Create it, let this user read it, or correct [signed] {key}.",
    )


def _wrong(name: str, detail: str, remedy: str) -> Check:
    return Check(name=name, ok=False, detail=detail, remedy=remedy)
