"""The web page as an application of the forge: OAuth2, by Authlib. Only this module knows it.

What the forge answers is bounded in size and time, and no redirect is followed. No error of this
module contains a secret, a code or a token.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.client import OAuth2Client
from pydantic import Field, TypeAdapter, ValidationError

from dispatcher.errors import Dependency, DisintoError, Unavailable, reason_of
from dispatcher.forge.exchange import no_cookies, trusted
from dispatcher.forge.records import Answer
from dispatcher.settings import ForgeSettings

SCOPE = "read:user write:repository"
"""What the page asks for: who somebody is, and to push and open pull requests in their name. Forges that
know no scopes (Forgejo before version 9) ignore it."""

AUTHORIZE = "/login/oauth/authorize"
TOKEN = "/login/oauth/access_token"  # noqa: S105 - a path
INTROSPECT = "/login/oauth/introspect"

MAX_BYTES = 64 * 1024
MAX_TIMEOUTS = 3


class Refused(Exception):
    """The forge understood, and refused: a code or token that is invalid, or an unknown application.

    Attributes:
        code: OAuth2's word for it, such as ``invalid_grant``; the only part that is logged.
        why: the forge's words, which may repeat what was sent.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(code)
        self.code, self.why = code, why


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What a login gave.

    Attributes:
        expires_in: seconds for which ``access`` is valid.
        refresh: with which a new one is fetched; "" if there is none.
    """

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: float


class _Granted(Answer):
    access_token: str = Field(pattern=r"^[\x21-\x7e]{8,8192}$")
    token_type: str = Field(pattern=r"^(?i:bearer)$")
    expires_in: float = Field(gt=0, le=10 * 365 * 86_400)
    refresh_token: str = Field(default="", pattern=r"^[\x21-\x7e]{0,8192}$")


_GRANTED = TypeAdapter(_Granted)


class OAuth:
    """The page as an application of the forge. Thread-safe.

    Args:
        redirect_uri: where the forge sends people back to, as it is registered there.
        transport: for tests: replaces the network.

    Raises:
        Misconfigured: the CA certificate cannot be read.
    """

    def __init__(
        self,
        settings: ForgeSettings,
        *,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = settings.url.rstrip("/")
        self.client_id, self._secret = client_id, client_secret
        self._redirect_uri = redirect_uri
        self._session = _Session(settings.timeout_s, trusted(settings.cacert), transport)

    def address(self, *, state: str, verifier: str) -> str:
        """Where a person lets the page in. PKCE: only who knows ``verifier`` can use the code."""
        url, _ = self._client().create_authorization_url(
            f"{self._url}{AUTHORIZE}", state=state, code_verifier=verifier
        )
        return str(url)

    def exchange(self, code: str, *, verifier: str) -> Tokens:
        """The tokens of a person who let the page in.

        Raises:
            Refused: the code is not valid (any more), or not for this application.
            Unavailable: the forge gives no usable answer.
        """
        return self._granted(
            lambda client: client.fetch_token(
                f"{self._url}{TOKEN}",
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
            )
        )

    def refresh(self, refresh_token: str) -> Tokens:
        """New tokens.

        Raises:
            Refused: the person took the permission back, or the token was used before.
            Unavailable: the forge gives no usable answer.
        """
        return self._granted(
            lambda client: client.refresh_token(f"{self._url}{TOKEN}", refresh_token=refresh_token),
            before=refresh_token,
        )

    def is_for_us(self, token: str) -> bool:
        """Whether an access token of OAuth2 was issued to this application, and is valid: one that
        another application got from a person must not open this page.

        Raises:
            Unavailable: the forge gives no usable answer.
        """
        # Newer forges want the application's credentials here, older ones the token's own.
        ways: tuple[Any, ...] = (None, _Bearer(token))
        for auth in ways:
            answer = self._calls(
                lambda client, auth=auth: client.introspect_token(
                    f"{self._url}{INTROSPECT}", token=token, auth=auth
                )
            )
            if answer.status_code != 401:
                return answer.status_code == 200 and self._names_us(answer)
        return False

    def _names_us(self, answer: _Reply) -> bool:
        told = answer.json()
        if not isinstance(told, dict) or told.get("active") is not True:
            return False
        audience = told.get("aud", told.get("client_id"))
        return self.client_id in (audience if isinstance(audience, list) else [audience])

    def _client(self) -> OAuth2Client:
        """Authlib's client remembers tokens, so each use has its own."""
        return OAuth2Client(
            self._session,
            client_id=self.client_id,
            client_secret=self._secret,
            redirect_uri=self._redirect_uri,
            scope=SCOPE,
            code_challenge_method="S256",
        )

    def _granted(self, call: Any, *, before: str = "") -> Tokens:
        try:
            granted = _GRANTED.validate_python(dict(self._calls(call)))
        except (ValidationError, TypeError):
            raise _unusable("fields missing or wrong") from None
        return Tokens(
            access=granted.access_token,
            refresh=granted.refresh_token or before,
            expires_in=granted.expires_in,
        )

    def _calls(self, call: Any) -> Any:
        try:
            return call(self._client())
        except AuthlibBaseError as error:
            raise _refused(error) from None
        except DisintoError:
            raise
        except httpx.HTTPError as error:
            what = f"the forge did not answer ({reason_of(error)})"
            raise Unavailable(Dependency.FORGE, what) from None
        except (ValueError, RecursionError, KeyError, TypeError):
            raise _unusable("not what OAuth2 says") from None


def _unusable(why: str) -> Unavailable:
    return Unavailable(Dependency.FORGE, f"the forge's answer about a login is unusable: {why}")


def _refused(error: AuthlibBaseError) -> Refused:
    code, words = str(error.error), str(error.description or "")
    known = re.fullmatch(r"[a-z_]{1,40}", code)
    why = "".join(c for c in words if c.isprintable())[:200]
    return Refused(code if known else "an unknown error", why)


class _Bearer:
    """Sends a token as its own credential."""

    def __init__(self, token: str) -> None:
        self._token = token

    def prepare(
        self, _method: str, uri: str, headers: Mapping[str, str], body: str
    ) -> tuple[str, Mapping[str, str], str]:
        return uri, {**headers, "Authorization": f"Bearer {self._token}"}, body


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reply:
    """An answer, as Authlib reads one."""

    status_code: int
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            what = f"the forge answered {self.status_code} to a login"
            raise Unavailable(Dependency.FORGE, what)


class _Session:
    """What Authlib sends its requests by."""

    def __init__(
        self, timeout_s: float, trust: ssl.SSLContext, transport: httpx.BaseTransport | None
    ) -> None:
        self._whole_s = MAX_TIMEOUTS * timeout_s
        self._client = httpx.Client(
            timeout=timeout_s,
            verify=trust,
            follow_redirects=False,
            cookies=no_cookies(),
            transport=transport,
            headers={"User-Agent": "disinto"},
        )

    def post(
        self,
        url: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        **_: object,
    ) -> _Reply:
        """Send a form.

        Raises:
            httpx.HTTPError: the forge does not answer.
            Unavailable: it answers too much, too slowly, or with a redirect.
        """
        text = str(httpx.QueryParams(data)) if isinstance(data, dict) else str(data or "")
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        url, sent, text = auth.prepare("POST", url, {**(headers or {}), **form}, text)
        until, body = time.monotonic() + self._whole_s, bytearray()
        with self._client.stream("POST", url, content=text.encode(), headers=sent) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_BYTES or time.monotonic() > until:
                    raise _unusable("it is too large, or too slow")
            status = answer.status_code
        if 300 <= status < 400 or status == 429 or status >= 500:
            what = f"the forge answered {status} to a login"
            raise Unavailable(Dependency.FORGE, what)
        return _Reply(status_code=status, content=bytes(body))
