"""Signatures of real commits by real keys."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dispatcher.errors import Conflict, Misconfigured
from dispatcher.ops_repo import OpsRepo, Signature, Signers
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote
from tests.support.clone import remote
from tests.support.signed_commits import (
    BAD,
    EXPIRED,
    GOOD,
    REVOKED,
    UNKNOWN,
    UNSIGNED,
    Judge,
    judged,
    signed,
    tampered,
)


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


__all__ = ["judged", "remote"]

pytestmark = pytest.mark.needs("ssh-keygen")


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
