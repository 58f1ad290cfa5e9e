"""Log-in to Vault or OpenBao by token, AppRole or JWT. Credentials are read anew each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dispatcher.errors import Denied, Dependency, Misconfigured
from dispatcher.settings import VaultAuth, VaultSettings
from dispatcher.vault import names
from dispatcher.vault.http import Reply, VaultHttp

DEFAULT_MOUNTS: Mapping[VaultAuth, str] = {
    VaultAuth.APPROLE: "approle",
    VaultAuth.JWT: "jwt-nomad",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """A token and how long it lives.

    Attributes:
        token: kept out of ``repr``.
        ttl_s: seconds from the answer on; 0 for a token that never ends.
        renewable: whether the server would renew it.
    """

    token: str = field(repr=False)
    ttl_s: float
    renewable: bool


def auth_mount(settings: VaultSettings, method: VaultAuth | None = None) -> str:
    """The mount of the log-in method, without slashes at its ends."""
    return settings.auth_mount.strip("/") or DEFAULT_MOUNTS[method or settings.auth]


_OPERATOR = (
    "Set VAULT_TOKEN to an operator's token, or log in with `vault login`; [vault] token_file and auth "
    "are the dispatcher's, and not used by this command."
)


def log_in(
    http: VaultHttp,
    settings: VaultSettings,
    environ: Mapping[str, str],
    *,
    operator: bool = False,
) -> Login:
    """Log in as the settings say.

    Raises:
        Misconfigured: a credential is missing.
        Denied: the server does not accept it.
        Unavailable: the server cannot be asked.
    """
    if settings.auth is VaultAuth.TOKEN:
        return _by_token(http, settings, environ, operator=operator)
    mount = auth_mount(settings)
    if settings.auth is VaultAuth.APPROLE:
        if not settings.role_id:
            raise Misconfigured(
                "the log-in by AppRole has no role ID", remedy="Set [vault] role_id."
            )
        secret_id = _file(settings.secret_id_file, key="secret_id_file", what="AppRole secret ID")
        body = {"role_id": settings.role_id, "secret_id": secret_id}
        remedy = f"Write a new secret ID into {settings.secret_id_file}, or check [vault] role_id."
    else:
        body = {
            "role": names.jwt_role(settings),
            "jwt": _file(settings.jwt_file, key="jwt_file", what="JWT"),
        }
        remedy = (
            f"Check that the role {names.jwt_role(settings)} at auth/{mount} exists "
            "(`disinto apply` writes it) and that the JWT is of this job and fresh."
        )
    reply = http.request("POST", f"auth/{mount}/login", body)
    auth = reply.body.get("auth")
    if not reply.ok or not auth:
        raise _refused(http, reply, f"log-in by {settings.auth.value} at auth/{mount}", remedy)
    return Login(
        token=str(auth["client_token"]),
        ttl_s=float(auth.get("lease_duration") or 0),
        renewable=bool(auth.get("renewable")),
    )


def token_source(
    settings: VaultSettings, environ: Mapping[str, str], *, operator: bool = False
) -> tuple[str, str]:
    """The token and where it comes from, in words.

    Raises:
        Misconfigured: there is none.
    """
    token = environ.get("VAULT_TOKEN", "").strip()
    if token:
        return token, "VAULT_TOKEN"
    if settings.token_file is not None:
        return _file(settings.token_file, key="token_file", what="token"), str(settings.token_file)
    home = environ.get("HOME", "")
    kept = Path(home) / ".vault-token"
    if home and kept.is_file():
        return _file(kept, key="token_file", what="token"), "~/.vault-token"
    raise Misconfigured(
        "there is no Vault token",
        remedy=_OPERATOR
        if operator
        else "Set VAULT_TOKEN, [vault] token_file, or another [vault] auth.",
    )


def _by_token(
    http: VaultHttp, settings: VaultSettings, environ: Mapping[str, str], *, operator: bool
) -> Login:
    token, source = token_source(settings, environ, operator=operator)
    reply = http.request("GET", "auth/token/lookup-self", token=token)
    if not reply.ok:
        remedy = "Get a new one: it has ended, was revoked, or may not look itself up."
        raise _refused(http, reply, f"token of {source}", remedy)
    return Login(
        token=token,
        ttl_s=float(reply.data.get("ttl") or 0),
        renewable=bool(reply.data.get("renewable")),
    )


def _file(path: Path | None, *, key: str, what: str) -> str:
    if path is None:
        raise Misconfigured(f"the log-in has no {what}", remedy=f"Set [vault] {key}.")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise Misconfigured(
            f"the {what} of [vault] {key} cannot be read from {path}: {reason}"
        ) from None
    if not text or not text.isprintable():
        raise Misconfigured(f"the file {path} of [vault] {key} holds no {what}")
    return text


def _refused(http: VaultHttp, reply: Reply, what: str, remedy: str) -> Denied:
    said = f" ({reply.errors})" if reply.errors else ""
    return Denied(
        Dependency.VAULT, f"Vault at {http.addr} does not accept the {what}{said}", remedy=remedy
    )
