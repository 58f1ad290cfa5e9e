"""Signatures of real commits by real keys."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dispatcher.errors import Conflict, Misconfigured
from dispatcher.ops_repo import OpsRepo, Signature, SignatureStatus, Signers
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

GOOD, BAD, UNSIGNED = SignatureStatus.GOOD, SignatureStatus.BAD, SignatureStatus.UNSIGNED
UNKNOWN, EXPIRED = SignatureStatus.UNKNOWN_KEY, SignatureStatus.EXPIRED
REVOKED = SignatureStatus.REVOKED


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n"})
    return made


@pytest.fixture
def judged(tmp_path: Path, remote: GitRemote) -> Iterator[Callable[..., Signature]]:
    settings = OpsRepoSettings(remote=str(remote.path))
    repo = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)

    def judge(commit: str, signers: Signers) -> Signature:
        remote.point(commit)
        repo.fetch()
        return repo.signature(commit, signers)

    yield judge
    repo.close()


def signed(remote: GitRemote, *config: str, date: str = "", **env: str) -> str:
    """A signed commit on the branch's tree and head."""
    options = [x for pair in config for x in ("-c", pair)]
    when = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date} if date else {}
    return remote.git(
        *options, "commit-tree", "-S", "-p", "main", "-m", "signed", "main^{tree}",
        env={**when, **env},
    )  # fmt: skip


def test_an_unsigned_commit(remote: GitRemote, judged: Callable[..., Signature]) -> None:
    assert judged(remote.head, Signers()).status is UNSIGNED


def test_a_commit_that_is_not_there(remote: GitRemote, judged: Callable[..., Signature]) -> None:
    judged(remote.head, Signers())
    with pytest.raises(Conflict):
        OpsRepo(
            git_dir=remote.path.with_name("clone.git"),
            settings=OpsRepoSettings(remote=str(remote.path)),
        ).signature("1" * 40, Signers())


# --- SSH ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SshKey:
    path: Path

    @property
    def public(self) -> str:
        return " ".join(self.path.with_suffix(".pub").read_text().split()[:2])

    @property
    def config(self) -> tuple[str, str]:
        return ("gpg.format=ssh", f"user.signingKey={self.path}")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[SshKey, SshKey]:
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("one", "two"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name],
            check=True,
        )
    return SshKey(folder / "one"), SshKey(folder / "two")


@pytest.fixture
def allowed(tmp_path: Path) -> Callable[..., Signers]:
    def write(*lines: str, revoked: str = "") -> Signers:
        path = tmp_path / "allowed_signers"
        path.write_text("".join(f"{line}\n" for line in lines))
        revocations = None
        if revoked:
            revocations = tmp_path / "revoked"
            revocations.write_text(revoked + "\n")
        return Signers(allowed_signers=path, revoked_keys=revocations)

    return write


pytestmark = pytest.mark.needs("ssh-keygen")
Judge = Callable[..., Signature]
Allow = Callable[..., Signers]
Keys = tuple[SshKey, SshKey]


def test_ssh_good(remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys) -> None:
    commit = signed(remote, *keys[0].config)
    found = judged(commit, allowed(f"bo@x {keys[1].public}", f"ann@x,ann@y {keys[0].public}"))
    assert found.status is GOOD
    assert found.principal == "ann@x"
    assert found.key_fingerprint.startswith("SHA256:")


def test_ssh_of_a_merge_and_of_a_message_with_odd_bytes(
    remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    side = remote.commit({"s": b""}, branch="side", parents=[remote.head])
    commit = remote.git(
        "-c", "gpg.format=ssh", "-c", f"user.signingKey={keys[0].path}", "-c",
        "i18n.commitEncoding=ISO-8859-1", "commit-tree", "-S", "-p", "main", "-p", side,
        "-F", "-", "main^{tree}", stdin=b"\xe4\xf6\n\ngpgsig nothing\n -----BEGIN\n\n\n",
    )  # fmt: skip
    assert judged(commit, allowed(f"ann@x {keys[0].public}")).status is GOOD


def test_ssh_unknown_key(remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys) -> None:
    commit = signed(remote, *keys[0].config)
    assert judged(commit, allowed(f"bo@x {keys[1].public}")).status is UNKNOWN
    assert judged(commit, allowed()).status is UNKNOWN
    assert judged(commit, Signers()).status is UNKNOWN


def test_ssh_key_for_another_purpose(
    remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    commit = signed(remote, *keys[0].config)
    signers = allowed(f'ann@x namespaces="file" {keys[0].public}')
    assert judged(commit, signers).status is UNKNOWN


def test_ssh_expired_now_though_the_commit_claims_an_earlier_date(
    remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    commit = signed(remote, *keys[0].config, date="2020-06-01T00:00:00Z")
    signers = allowed(f'ann@x valid-before="20210101" {keys[0].public}')
    assert judged(commit, signers).status is EXPIRED


def test_ssh_not_yet_valid(remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys) -> None:
    commit = signed(remote, *keys[0].config)
    signers = allowed(f'ann@x valid-after="20990101" {keys[0].public}')
    assert judged(commit, signers).status is EXPIRED


def test_ssh_valid_now_and_not_at_the_date_of_the_commit(
    remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    commit = signed(remote, *keys[0].config, date="2020-06-01T00:00:00Z")
    signers = allowed(f'ann@x valid-after="20210101" {keys[0].public}')
    assert judged(commit, signers).status is EXPIRED


def test_ssh_revoked(remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys) -> None:
    commit = signed(remote, *keys[0].config)
    line = f"ann@x {keys[0].public}"
    assert judged(commit, allowed(line, revoked=keys[0].public)).status is REVOKED
    assert judged(commit, allowed(line, revoked=keys[1].public)).status is GOOD


def tampered(remote: GitRemote, commit: str, old: str, new: str) -> str:
    raw = remote.git("cat-file", "commit", commit) + "\n"
    assert old in raw
    return remote.git(
        "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.replace(old, new, 1).encode()
    )


def test_ssh_bad(remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys) -> None:
    commit = signed(remote, *keys[0].config)
    signers = allowed(f"ann@x {keys[0].public}")
    for old, new in (
        ("\nsigned", "\nother"),
        ("author Ann", "author Bob"),
        (f"parent {remote.head}\n", ""),
    ):
        assert judged(tampered(remote, commit, old, new), signers).status is BAD
    raw = remote.git("cat-file", "commit", commit)
    inner = re.search(r"gpgsig .*?-----END SSH SIGNATURE-----\n", raw, re.DOTALL)
    assert inner is not None
    garbage = tampered(remote, commit, inner.group(0).splitlines()[3], " AAAA")
    assert judged(garbage, signers).status is BAD
    twice = tampered(remote, commit, inner.group(0), inner.group(0) * 2)
    assert judged(twice, signers).status is BAD


def test_ssh_signature_of_another_commit(
    remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    commit = signed(remote, *keys[0].config)
    raw = remote.git("cat-file", "commit", commit)
    start, end = raw.index("gpgsig "), raw.index("-----END SSH SIGNATURE-----\n") + 28
    mine = remote.commit({"evil": b""})
    forged = tampered(remote, mine, "\n\n", "\n" + raw[start:end] + "\n")
    assert judged(forged, allowed(f"ann@x {keys[0].public}")).status is BAD


def test_signature_of_another_method(
    remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    mine = remote.commit({"x": b""})
    odd = "\ngpgsig -----BEGIN SIGNED MESSAGE-----\n abc\n -----END SIGNED MESSAGE-----\n\n"
    forged = tampered(remote, mine, "\n\n", odd)
    assert judged(forged, allowed(f"ann@x {keys[0].public}")).status is UNKNOWN


def test_ssh_files_that_are_not_there(
    tmp_path: Path, remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    commit = signed(remote, *keys[0].config)
    with pytest.raises(Misconfigured, match="allowed_signers"):
        judged(commit, Signers(allowed_signers=tmp_path / "none"))
    good = allowed(f"ann@x {keys[0].public}").allowed_signers
    with pytest.raises(Misconfigured, match="revoked_keys"):
        judged(commit, Signers(allowed_signers=good, revoked_keys=tmp_path / "none"))


@pytest.mark.parametrize(
    ("principals", "principal"),
    [('"ada lovelace"', "ada lovelace"), ('"ann@x, bo@y"', "ann@x")],
)
def test_ssh_one_signer_is_one_approver(
    principals: str, principal: str, remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    commit = signed(remote, *keys[0].config)
    found = judged(commit, allowed(f"{principals} {keys[0].public}"))
    assert (found.status, found.principal) == (GOOD, principal)


# --- approvals in the message ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "approves"),
    [
        ("signed", ()),
        ("s\n\nDisinto-Approve: acme/ops@main x", ("acme/ops@main x",)),
        (
            "s\n\nDisinto-Approve: acme/ops@main x\ndisinto-approve:  acme/ops@main  y \n"
            "Signed-off-by: a <a@x>\n",
            ("acme/ops@main x", "acme/ops@main y"),
        ),
        ("s\n\nDisinto-Approve: acme/ops@main\n x", ("acme/ops@main x",)),
        # not in the last paragraph, quoted, or part of a sentence
        ("s\n\nDisinto-Approve: acme/ops@main x\n\nMore text.", ()),
        ("Disinto-Approve: acme/ops@main x", ()),
        ("s\n\n    Disinto-Approve: acme/ops@main x", ()),
        ("s\n\n> Disinto-Approve: acme/ops@main x", ()),
        ("s\n\nNo Disinto-Approve: acme/ops@main x", ()),
    ],
)
def test_a_signed_message_approves_by_its_trailers(
    message: str,
    approves: tuple[str, ...],
    remote: GitRemote,
    judged: Judge,
    allowed: Allow,
    keys: Keys,
) -> None:
    options = [x for pair in keys[0].config for x in ("-c", pair)]
    commit = remote.git(
        *options, "commit-tree", "-S", "-p", "main", "-F", "-", "main^{tree}",
        stdin=message.encode(),
    )  # fmt: skip
    found = judged(commit, allowed(f"ann@x {keys[0].public}"))
    assert (found.status, found.approves) == (GOOD, approves)
    assert judged(commit, allowed(f"bo@x {keys[1].public}")).approves == ()


def test_a_message_that_was_changed_approves_nothing(
    remote: GitRemote, judged: Judge, allowed: Allow, keys: Keys
) -> None:
    commit = signed(remote, *keys[0].config)
    forged = tampered(remote, commit, "\nsigned\n", "\ns\n\nDisinto-Approve: acme/ops@main x\n")
    found = judged(forged, allowed(f"ann@x {keys[0].public}"))
    assert (found.status, found.approves) == (BAD, ())


# --- GPG ------------------------------------------------------------------------------------

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
