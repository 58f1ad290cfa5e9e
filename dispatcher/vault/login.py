"""Log-in to Vault or OpenBao by token, AppRole or JWT. Credentials are read again each time.

AppRole, JWT and renewal are calls of hvac. A token that is given needs no login: it is looked up,
without hvac, so that commands of a person with ``VAULT_TOKEN`` and completion do not import hvac.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.errors import Denied, Misconfigured
from dispatcher.host.held_secrets import hold
from dispatcher.settings import VaultAuth, VaultSettings
from dispatcher.vault import errors, names
from dispatcher.vault.http import Reply, VaultHttp
from dispatcher.vault.hvac_client import hvac_over

if TYPE_CHECKING:
    import hvac

DEFAULT_MOUNTS: Mapping[VaultAuth, str] = {
    VaultAuth.APPROLE: "approle",
    VaultAuth.JWT: "jwt-nomad",
}

_OPERATOR = (
    "Set VAULT_TOKEN to an operator's token, or log in with `vault login`; [vault] token_file and auth "
    "are the dispatcher's, and not used by this command."
)


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
    """The mount of the auth method, without slashes at its ends."""
    return settings.auth_mount.strip("/") or DEFAULT_MOUNTS[method or settings.auth]


class LogIn:
    """The login of the settings. Thread-safe: it keeps no token."""

    def __init__(
        self,
        http: VaultHttp,
        settings: VaultSettings,
        environ: Mapping[str, str],
        *,
        operator: bool = False,
    ) -> None:
        self._http = http
        self._settings = settings
        self._environ = {name: environ[name] for name in ("VAULT_TOKEN", "HOME") if name in environ}
        self._operator = operator

    def log_in(self) -> Login:
        """Log in as the settings say.

        Raises:
            Misconfigured: a credential is missing.
            Denied: the server does not accept it.
            Unavailable: the server gives no usable answer.
        """
        methods = {
            VaultAuth.TOKEN: self._by_token,
            VaultAuth.APPROLE: self._by_approle,
            VaultAuth.JWT: self._by_jwt,
        }
        return methods[self._settings.auth]()

    def renew(self, token: str) -> Login | None:
        """The same token with its new end; None if the server refuses. Raises ``Unavailable``."""
        client = self._hvac("renewal of our token", remedy="Log in again.", token=token)
        try:
            return _login_of(client.auth.token.renew_self()["auth"], token=token)
        except Denied:
            return None

    def _by_token(self) -> Login:
        token, source = token_source(self._settings, self._environ, operator=self._operator)
        reply = self._http.request("GET", "auth/token/lookup-self", token=token)
        if not reply.ok:
            raise errors.log_in_refused(
                self._http.addr,
                f"token of {source}",
                reply.errors,
                remedy="Get a new one: it has expired, was revoked, or may not look itself up.",
            )
        return Login(
            token=token,
            ttl_s=float(reply.data.get("ttl") or 0),
            renewable=bool(reply.data.get("renewable")),
        )

    def _by_approle(self) -> Login:
        settings = self._settings
        if not settings.role_id:
            raise Misconfigured(
                "the login by AppRole has no role ID", remedy="Set [vault] role_id."
            )
        secret_id = _file(settings.secret_id_file, key="secret_id_file", what="AppRole secret ID")
        client = self._hvac(
            f"login by approle at auth/{self._mount}",
            remedy=f"Write a new secret ID into {settings.secret_id_file}, or check [vault] "
            "role_id.",
        )
        body = client.auth.approle.login(
            role_id=settings.role_id,
            secret_id=secret_id,
            use_token=False,
            mount_point=self._mount,
        )
        return _login_of(body["auth"])

    def _by_jwt(self) -> Login:
        role = names.jwt_role(self._settings)
        jwt = _file(self._settings.jwt_file, key="jwt_file", what="JWT")
        client = self._hvac(
            f"login by jwt at auth/{self._mount}",
            remedy=f"Check that the role {role} at auth/{self._mount} exists (`disinto apply` "
            "writes it) and that the JWT is of this job and fresh.",
        )
        body = client.auth.jwt.jwt_login(role=role, jwt=jwt, use_token=False, path=self._mount)
        return _login_of(body["auth"])

    @property
    def _mount(self) -> str:
        return auth_mount(self._settings)

    def _hvac(self, what: str, *, remedy: str, token: str = "") -> hvac.Client:
        """hvac for one login; an answer without a token raises ``Denied``.

        Args:
            what: is not accepted then.
            remedy: for that case.
            token: sent along, for a renewal.
        """

        def send(method: str, path: str, body: Mapping[str, Any] | None) -> Reply:
            reply = self._http.request(method, path, body, token=token)
            if not reply.ok or not reply.body.get("auth"):
                raise errors.log_in_refused(self._http.addr, what, reply.errors, remedy=remedy)
            return reply

        return hvac_over(send)


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


def _login_of(auth: Mapping[str, Any], *, token: str = "") -> Login:
    return Login(
        token=token or str(auth["client_token"]),
        ttl_s=float(auth.get("lease_duration") or 0),
        renewable=bool(auth.get("renewable")),
    )


def _file(path: Path | None, *, key: str, what: str) -> str:
    if path is None:
        raise Misconfigured(f"the login has no {what}", remedy=f"Set [vault] {key}.")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise Misconfigured(
            f"the {what} of [vault] {key} cannot be read from {path}: {reason}"
        ) from None
    if not text or not text.isprintable():
        raise Misconfigured(f"the file {path} of [vault] {key} contains no {what}")
    return hold(what, text)
