"""Verifies who signed a commit against the keys that the operator trusts.

git's own check (``git verify-commit --raw``) must pass, but is not sufficient:

- For SSH keys git checks validity at the commit's own date, which the committer chose: an expired
  key could still sign commits dated into its lifetime. So ``ssh-keygen -Y verify`` checks again
  for the present.
- For GPG keys git passes signatures by expired keys ("good, with a warning"). So the status lines
  are read (gnupg, doc/DETAILS), and the key must be one of those listed.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from dispatcher.errors import Conflict, Misconfigured
from dispatcher.ops_repo.clone import Clone

SSH_TIMEOUT_S = 30.0

TRAILER = "Disinto-Approve"
"""The trailer by which a signed message approves something; see ``dispatcher.gate.trailer``."""

_SEPARATOR = "%x01"


class SignatureStatus(StrEnum):
    """The status of a commit's signature. Only ``good`` vouches for anything."""

    GOOD = "good"
    BAD = "bad"  # it does not fit the commit, or cannot be read
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"  # not a key that the operator trusts
    EXPIRED = "expired"  # the key is not valid now, or was not at the commit's date
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Signers:
    """Keys that are trusted.

    Attributes:
        allowed_signers: OpenSSH allowed_signers file (ssh-keygen(1)), or None: no SSH key is.
        revoked_keys: OpenSSH revocation list or file of public keys, or None.
        gpg_home: GNUPGHOME that holds the keys, or None: no GPG key is.
        gpg_fingerprints: full fingerprints, of primary keys or subkeys, that are trusted.
    """

    allowed_signers: Path | None = None
    revoked_keys: Path | None = None
    gpg_home: Path | None = None
    gpg_fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """A commit's signature.

    Attributes:
        status: only ``good`` vouches for the commit.
        principal: the principal of allowed_signers, or ``gpg:`` and the fingerprint of the primary
            key; "" unless ``good``. Never chosen by the signer.
        label: the user ID of a GPG key, as its owner wrote it; only for people to read.
        approves: values of the trailers ``TRAILER`` of the signed message; () unless ``good``.
        key_fingerprint: ``SHA256:…`` for SSH, hexadecimal for GPG; "" if it is not known.
        detail: one clause for messages.
    """

    status: SignatureStatus
    principal: str = ""
    label: str = ""
    approves: tuple[str, ...] = ()
    key_fingerprint: str = ""
    detail: str = ""


def verify(clone: Clone, commit: str, signers: Signers) -> Signature:
    """Verify the signature of a commit.

    Raises:
        Conflict: no such commit in the clone.
        Misconfigured: a file of ``signers`` is missing, or ssh-keygen or gpg is.
    """
    info = clone.objects.info([commit])[0]
    if info is None or info.kind != "commit":
        raise Conflict(f"commit {commit} is not in the clone", remedy="Fetch again.")
    raw = clone.objects.contents([info.oid])[info.oid]
    payload, signatures = _split(raw)
    if not signatures:
        return Signature(status=SignatureStatus.UNSIGNED, detail="the commit is not signed")
    if len(signatures) > 1:
        return Signature(
            status=SignatureStatus.BAD, detail="the commit carries more than one signature"
        )
    signature = _judged(clone, info.oid, payload, signatures[0], signers)
    if signature.status is not SignatureStatus.GOOD:
        return signature
    return replace(signature, approves=_approves(clone, info.oid))


def carries_signature(commit: bytes) -> bool:
    """Whether a commit object has a signature, valid or not."""
    return bool(_split(commit)[1])


def _approves(clone: Clone, commit: str) -> tuple[str, ...]:
    """The approvals in the commit's message, which is part of the signed content."""
    trailer_format = f"%(trailers:key={TRAILER},valueonly,unfold,separator={_SEPARATOR})"
    done = clone.git.run(
        clone.path, "log", "-1", "--no-walk", f"--format={trailer_format}", commit, "--"
    )
    values = done.out.decode("utf-8", "replace").rstrip("\n").split("\x01")
    return tuple(" ".join(value.split()) for value in values if value.strip())


def _judged(
    clone: Clone, commit: str, payload: bytes, signature: bytes, signers: Signers
) -> Signature:
    if signature.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        return _ssh(clone, commit, payload, signature, signers)
    if signature.startswith((b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP MESSAGE-----")):
        return _gpg(clone, commit, signers)
    return Signature(
        status=SignatureStatus.UNKNOWN_KEY, detail="signed by a method other than SSH or GPG"
    )


def _split(raw: bytes) -> tuple[bytes, list[bytes]]:
    """The signed part of a commit object, and its signatures, as git takes them apart."""
    head, separator, body = raw.partition(b"\n\n")
    payload: list[bytes] = []
    signatures: list[list[bytes]] = []
    inside: list[bytes] | None = None
    for line in head.split(b"\n"):
        if line.startswith(b"gpgsig "):
            inside = [line[7:]]
            signatures.append(inside)
        elif line.startswith(b"gpgsig-sha256 "):
            inside = []  # over the other hash; never evaluated
        elif inside is not None and line.startswith(b" "):
            inside.append(line[1:])
        else:
            inside = None
            payload.append(line)
    return b"\n".join(payload) + separator + body, [b"\n".join(s) + b"\n" for s in signatures]


# --- SSH ------------------------------------------------------------------------------------

_SSH_KEY = re.compile(r'Good "git" signature .*with \S+ key (SHA256:\S+)')


def _ssh(
    clone: Clone, commit: str, payload: bytes, signature: bytes, signers: Signers
) -> Signature:
    with tempfile.NamedTemporaryFile(prefix="disinto-signature-") as file:
        file.write(signature)
        file.flush()
        keygen = _Keygen(clone, Path(file.name), payload)
        checked = keygen.run("check-novalidate", "-n", "git")
        key = _SSH_KEY.search(checked.text)
        if checked.code != 0 or key is None:
            return Signature(
                status=SignatureStatus.BAD, detail="the signature does not match the commit"
            )
        status, principal, detail = _judge_ssh(clone, commit, keygen, signers)
    return Signature(
        status=status, principal=principal, key_fingerprint=key.group(1), detail=detail
    )


def _judge_ssh(
    clone: Clone, commit: str, keygen: _Keygen, signers: Signers
) -> tuple[SignatureStatus, str, str]:
    if signers.allowed_signers is None:
        return SignatureStatus.UNKNOWN_KEY, "", "no allowed_signers file is set"
    allowed = ("-f", str(_existing(signers.allowed_signers, "allowed_signers")))
    revoked: tuple[str, ...] = ()
    if signers.revoked_keys is not None:
        revoked = ("-r", str(_existing(signers.revoked_keys, "revoked_keys")))
    principals = keygen.run("find-principals", *allowed)
    if principals.code != 0:
        return _not_found(principals.text)
    for principal in filter(_one_name, principals.out.split("\n")):
        named = (*allowed, "-n", "git", "-I", principal)
        if keygen.run("verify", *named, *revoked).code == 0:
            return _as_git_sees_it(clone, commit, principal, allowed[1:] + revoked[1:])
        if revoked and keygen.run("verify", *named).code == 0:
            return SignatureStatus.REVOKED, "", "the key is revoked"
    return SignatureStatus.UNKNOWN_KEY, "", "the key is not allowed to sign commits"


def _one_name(principal: str) -> bool:
    """Whether a principal can be recorded as one approver: a certificate may name anything."""
    return bool(principal) and principal.isprintable() and "," not in principal


def _as_git_sees_it(
    clone: Clone, commit: str, principal: str, files: Sequence[str]
) -> tuple[SignatureStatus, str, str]:
    keys = ("gpg.ssh.allowedSignersFile", "gpg.ssh.revocationFile")
    done = clone.git.run(
        clone.path,
        "verify-commit",
        "--raw",
        commit,
        config=dict(zip(keys, files, strict=False)),
        ok=(0, 1),
    )
    if done.code == 0 and f'Good "git" signature for {principal} with ' in done.err:
        return SignatureStatus.GOOD, principal, f"signed by {principal}"
    if "verify time" in done.err:
        return SignatureStatus.EXPIRED, "", "the key was not valid at the date of the commit"
    return SignatureStatus.BAD, "", "git does not accept the signature"


def _not_found(text: str) -> tuple[SignatureStatus, str, str]:
    if "has expired" in text:
        return SignatureStatus.EXPIRED, "", "the key has expired"
    if "not yet valid" in text:
        return SignatureStatus.EXPIRED, "", "the key is not valid yet"
    return SignatureStatus.UNKNOWN_KEY, "", "the key is not in allowed_signers"


@dataclass(frozen=True, slots=True)
class _Said:
    code: int
    out: str
    text: str


@dataclass(frozen=True, slots=True)
class _Keygen:
    """``ssh-keygen -Y`` on one signature; it uses the present time by default."""

    clone: Clone
    signature: Path
    payload: bytes

    def run(self, verb: str, *args: str) -> _Said:
        try:
            done = subprocess.run(
                ["ssh-keygen", "-Y", verb, *args, "-s", str(self.signature)],
                input=self.payload,
                capture_output=True,
                env=self.clone.git.environment(),
                timeout=SSH_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            raise Misconfigured(
                "`ssh-keygen` is not on PATH", remedy="Install the OpenSSH client, 8.9 or newer."
            ) from None
        except subprocess.TimeoutExpired:
            raise Misconfigured("`ssh-keygen` does not finish") from None
        out = done.stdout.decode("utf-8", "replace")
        return _Said(done.returncode, out, out + done.stderr.decode("utf-8", "replace"))


def _existing(path: Path, key: str) -> Path:
    path = path.expanduser().absolute()
    try:
        path.read_bytes()
    except OSError as failed:
        raise Misconfigured(
            f"{path} cannot be read: {failed.strerror}", remedy=f"Check `{key}` in [signed]."
        ) from None
    return path


# --- GPG ------------------------------------------------------------------------------------

_VERDICTS = {
    "REVKEYSIG": (SignatureStatus.REVOKED, "the key is revoked"),
    "EXPKEYSIG": (SignatureStatus.EXPIRED, "the key has expired"),
    "EXPSIG": (SignatureStatus.EXPIRED, "the signature has expired"),
    "BADSIG": (SignatureStatus.BAD, "the signature does not match the commit"),
    "ERRSIG": (SignatureStatus.BAD, "the signature cannot be checked"),
    "GOODSIG": (SignatureStatus.GOOD, ""),
}


def _gpg(clone: Clone, commit: str, signers: Signers) -> Signature:
    if signers.gpg_home is None or not signers.gpg_fingerprints:
        return Signature(status=SignatureStatus.UNKNOWN_KEY, detail="no GPG keys are set")
    home = signers.gpg_home.expanduser().absolute()
    if not home.is_dir():
        raise Misconfigured(f"{home} is not a directory", remedy="Check `gpg_home` in [signed].")
    done = clone.git.run(
        clone.path, "verify-commit", "--raw", commit, ok=(0, 1), variables={"GNUPGHOME": str(home)}
    )
    lines = [
        line.removeprefix("[GNUPG:] ").split(" ")
        for line in done.err.split("\n")  # a user ID may hold any other separator
        if line.startswith("[GNUPG:] ")
    ]
    if not lines and "cannot run gpg" in done.err:
        raise Misconfigured("`gpg` is not on PATH", remedy="Install GnuPG.")
    return _judge_gpg(done.code, lines, signers)


def _judge_gpg(code: int, lines: Sequence[Sequence[str]], signers: Signers) -> Signature:
    verdicts = [line for line in lines if line[0] in _VERDICTS]
    if any(line[0] == "NO_PUBKEY" for line in lines):
        return Signature(
            status=SignatureStatus.UNKNOWN_KEY, detail="the key is not among the trusted ones"
        )
    if len(verdicts) != 1:
        return Signature(status=SignatureStatus.BAD, detail="gpg does not report it as good")
    status, detail = _VERDICTS[verdicts[0][0]]
    valid = [line for line in lines if line[0] == "VALIDSIG"]
    # VALIDSIG: fingerprint of the signing key first, of its primary key last.
    keys = _fingerprints(valid[0]) if len(valid) == 1 else ()
    trusted = {f.replace(" ", "").upper() for f in signers.gpg_fingerprints}
    fingerprint = keys[-1] if keys else ""
    if keys and trusted.isdisjoint(keys):
        status, detail = SignatureStatus.UNKNOWN_KEY, "the key is not in gpg_fingerprints"
    elif status is SignatureStatus.GOOD and (code != 0 or not keys):
        status, detail = SignatureStatus.BAD, "gpg does not report it as good"
    if status is not SignatureStatus.GOOD:
        return Signature(status=status, key_fingerprint=fingerprint, detail=detail)
    principal = f"gpg:{fingerprint}"
    return Signature(
        status=status,
        principal=principal,
        label=" ".join(verdicts[0][2:]),
        key_fingerprint=fingerprint,
        detail=f"signed by {principal}",
    )


def _fingerprints(validsig: Sequence[str]) -> tuple[str, ...]:
    """The signing key's, then its primary key's, which may be the same."""
    ends = (validsig[1], validsig[-1]) if len(validsig) > 1 else ()
    return tuple(f.upper() for f in ends if re.fullmatch(r"[0-9A-Fa-f]{40,64}", f))
