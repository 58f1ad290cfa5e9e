"""Signatures of commits by GPG keys, as git and gpg judge them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dispatcher.errors import Misconfigured
from dispatcher.ops_repo import Signers
from tests.servers.git_remote import GitRemote
from tests.support.clone import remote
from tests.support.signed_commits import (
    BAD,
    EXPIRED,
    GOOD,
    REVOKED,
    UNKNOWN,
    Judge,
    judged,
    signed,
    tampered,
)

__all__ = ["judged", "remote"]

pytestmark = pytest.mark.needs("ssh-keygen")


_PARAMETERS = """%no-protection
Key-Type: eddsa
Key-Curve: ed25519
Key-Usage: sign
Name-Real: {name}
Name-Email: {name}@example.org
Expire-Date: {expire}
{created}%commit
"""


@dataclass(frozen=True)
class Gpg:
    home: Path

    def run(self, *args: str, stdin: str = "") -> str:
        done = subprocess.run(
            ["gpg", "--batch", "--yes", *args],
            input=stdin,
            text=True,
            capture_output=True,
            env={**os.environ, "GNUPGHOME": str(self.home)},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def key(self, name: str, *, expire: str = "0", created: str = "") -> str:
        date = f"Creation-Date: {created}\n" if created else ""
        parameters = _PARAMETERS.format(name=name, expire=expire, created=date)
        self.run("--gen-key", stdin=parameters)
        listing = self.run("--list-keys", "--with-colons", f"{name}@example.org")
        return next(x.split(":")[9] for x in listing.splitlines() if x.startswith("fpr:"))


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    yield Gpg(home)
    subprocess.run(
        ["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(home)}, check=False
    )


def gpg_signed(remote: GitRemote, gpg: Gpg, key: str) -> str:
    return signed(remote, f"user.signingKey={key}", GNUPGHOME=str(gpg.home))


@pytest.mark.needs("gpg")
def test_gpg(tmp_path: Path, remote: GitRemote, judged: Judge, gpg: Gpg) -> None:
    ann, bo = gpg.key("ann"), gpg.key("bo")
    commit = gpg_signed(remote, gpg, ann)
    found = judged(commit, Signers(gpg_home=gpg.home, gpg_fingerprints=(bo, ann.lower())))
    assert (found.status, found.key_fingerprint) == (GOOD, ann)
    assert (found.principal, found.label) == (f"gpg:{ann}", "ann <ann@example.org>")

    assert judged(commit, Signers(gpg_home=gpg.home, gpg_fingerprints=(bo,))).status is UNKNOWN
    assert judged(commit, Signers(gpg_home=gpg.home)).status is UNKNOWN
    assert judged(commit, Signers()).status is UNKNOWN
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    signers = Signers(gpg_home=empty, gpg_fingerprints=(ann,))
    assert judged(commit, signers).status is UNKNOWN
    bad = tampered(remote, commit, "\nsigned", "\nother")
    assert judged(bad, Signers(gpg_home=gpg.home, gpg_fingerprints=(ann,))).status is BAD
    with pytest.raises(Misconfigured, match="gpg_home"):
        judged(commit, Signers(gpg_home=tmp_path / "no", gpg_fingerprints=(ann,)))


@pytest.mark.needs("gpg")
@pytest.mark.parametrize(
    "uid",
    [
        "ann@example.org, bo@example.org",
        "gpg:0000000000000000000000000000000000000000",
        f"x\u2028[GNUPG:] VALIDSIG {'0' * 40} 2020-01-01 1 0 4 0 22 8 00 {'0' * 40}",
        "x\x85[GNUPG:] GOODSIG 0 boss",
    ],
)
def test_gpg_the_owner_of_a_key_cannot_choose_who_approved(
    uid: str, remote: GitRemote, judged: Judge, gpg: Gpg
) -> None:
    gpg.run("--quick-gen-key", "--passphrase", "", uid, "ed25519", "sign", "0")
    listing = gpg.run("--list-secret-keys", "--with-colons").splitlines()
    key = [x.split(":")[9] for x in listing if x.startswith("fpr:")][-1]
    commit = gpg_signed(remote, gpg, key)
    found = judged(commit, Signers(gpg_home=gpg.home, gpg_fingerprints=(key,)))
    assert (found.status, found.principal) == (GOOD, f"gpg:{key}")
    assert (
        judged(commit, Signers(gpg_home=gpg.home, gpg_fingerprints=("0" * 40,))).status is UNKNOWN
    )


@pytest.mark.needs("gpg")
def test_gpg_expired(remote: GitRemote, judged: Judge, gpg: Gpg) -> None:
    key = gpg.key("cy")
    commit = gpg_signed(remote, gpg, key)
    signers = Signers(gpg_home=gpg.home, gpg_fingerprints=(key,))
    assert judged(commit, signers).status is GOOD
    # A key that was made long ago and lived for a day, seen from now on.
    gpg.run("--faked-system-time", "20200101T000000", "--quick-gen-key",
            "--passphrase", "", "di <di@example.org>", "ed25519", "sign", "1d")  # fmt: skip
    listing = gpg.run("--list-keys", "--with-colons", "di@example.org")
    old = next(x.split(":")[9] for x in listing.splitlines() if x.startswith("fpr:"))
    program = gpg.home / "gpg-then"
    program.write_text('#!/bin/sh\nexec gpg --faked-system-time 20200101T010000 "$@"\n')
    program.chmod(0o755)
    late = signed(
        remote, f"user.signingKey={old}", f"gpg.program={program}", GNUPGHOME=str(gpg.home)
    )
    signers = Signers(gpg_home=gpg.home, gpg_fingerprints=(old,))
    assert judged(late, signers).status is EXPIRED


@pytest.mark.needs("gpg")
def test_gpg_revoked(remote: GitRemote, judged: Judge, gpg: Gpg) -> None:
    key = gpg.key("ed")
    commit = gpg_signed(remote, gpg, key)
    signers = Signers(gpg_home=gpg.home, gpg_fingerprints=(key,))
    assert judged(commit, signers).status is GOOD
    text = (gpg.home / "openpgp-revocs.d" / f"{key}.rev").read_text()
    gpg.run("--import", stdin=text.replace(":-----BEGIN", "-----BEGIN"))
    assert judged(commit, signers).status is REVOKED
