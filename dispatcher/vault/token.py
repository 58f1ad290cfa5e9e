"""The token of a connection: logged in with, renewed in time, replaced when it is dead.

Renewal happens before a call, when a third or less of the token's time is left; a daemon thread
does the same while there are no calls, because a token without a login method is lost permanently
once it has ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from dataclasses import dataclass, field, replace

from dispatcher.errors import DisintoError, PermanentError, Unavailable
from dispatcher.host.held_secrets import hold
from dispatcher.vault.login import LogIn, Login


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldToken:
    """The token in use. Times are of ``time.monotonic``.

    Attributes:
        granted_s: seconds that it was given; 0 if it never ends.
        ends_at: when it ends; None if it never does.
        renewable: whether the server would renew it.
        due_at: when to renew or replace it.
    """

    token: str = field(repr=False)
    granted_s: float
    ends_at: float | None
    renewable: bool
    due_at: float

    @classmethod
    def of(cls, login: Login, now: float) -> HeldToken:
        if not login.ttl_s:
            return cls(
                token=login.token, granted_s=0, ends_at=None, renewable=False, due_at=float("inf")
            )
        return cls(
            token=login.token,
            granted_s=login.ttl_s,
            ends_at=now + login.ttl_s,
            renewable=login.renewable,
            due_at=now + login.ttl_s * 2 / 3,
        )

    def left_s(self, now: float) -> float:
        """Seconds that it still lives; negative once it has ended."""
        return float("inf") if self.ends_at is None else self.ends_at - now

    def later(self, now: float) -> HeldToken:
        """The same, due again after a quarter of what is left, or ten seconds."""
        return replace(self, due_at=now + max(0.2, min(10.0, self.left_s(now) / 4)))


class TokenKeeper:
    """The token of one connection, kept alive. Thread-safe; logs in at the first use."""

    def __init__(self, log_in: LogIn) -> None:
        self._log_in = log_in
        self._held: HeldToken | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"TokenKeeper({self._held!r})"

    def close(self) -> None:
        """End the renewal. The token expires by itself."""
        self._stop.set()

    def current(self) -> HeldToken:
        """The token in use, renewed or replaced if that is due.

        Raises:
            Misconfigured, Denied, Unavailable: as the login, if there is no living token.
        """
        held = self._held
        now = time.monotonic()
        if held is not None and now < held.due_at:
            return held
        # While another thread renews, a token that still lives is good enough.
        if held is not None and held.left_s(now) > 0 and self._lock.locked():
            return held
        with self._lock:
            held = self._held
            if held is None:
                held = self._logged_in()
            elif time.monotonic() >= held.due_at:
                held = self._renewed(held)
            self._held = held
        self._keep_alive(held)
        return held

    def replaced(self, dead: HeldToken) -> HeldToken:
        """A new login instead of a token that the server no longer knows."""
        with self._lock:
            if self._held is None or self._held.token == dead.token:
                self._held = None
                self._held = self._logged_in()
            return self._held

    def due_in_s(self) -> float:
        """Seconds until the token is due; 5 if there is none."""
        held = self._held
        return 5.0 if held is None else held.due_at - time.monotonic()

    def _logged_in(self) -> HeldToken:
        login = self._log_in.log_in()
        hold("token of Vault", login.token)
        return HeldToken.of(login, time.monotonic())

    def _renewed(self, held: HeldToken) -> HeldToken:
        now = time.monotonic()
        left = held.left_s(now)
        try:
            if left > 0 and held.renewable:
                login = self._log_in.renew(held.token)
                # A token at its maximum lifetime cannot be extended by renewal; only a login helps.
                if login is not None:
                    renewed = HeldToken.of(login, now)
                    if renewed.left_s(now) > left + 0.1 * held.granted_s:
                        return renewed
            return self._logged_in_again(held, now)
        except Unavailable:
            if left <= 0:
                raise
            return held.later(now)

    def _logged_in_again(self, held: HeldToken, now: float) -> HeldToken:
        try:
            fresh = self._logged_in()
        except PermanentError:
            if held.left_s(now) <= 0:
                raise
            return held.later(now)
        # The same token from the same file gives no new time.
        return replace(fresh, due_at=held.later(now).due_at) if fresh.token == held.token else fresh

    def _keep_alive(self, held: HeldToken) -> None:
        """Start the thread that renews while there are no calls, if the token ever ends."""
        if held.ends_at is None or self._thread is not None or self._stop.is_set():
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_renew_in_time,
                    args=(weakref.ref(self), self._stop),
                    name="vault-token",
                    daemon=True,
                )
                self._thread.start()


def _renew_in_time(reference: weakref.ref[TokenKeeper], stop: threading.Event) -> None:
    """Renew until the connection is closed or nothing refers to it any more."""
    pause = 0.0
    while not stop.wait(pause):
        keeper = reference()
        if keeper is None:
            return
        # The next call, and health(), report what went wrong.
        with contextlib.suppress(DisintoError):
            keeper.current()
        pause = min(max(keeper.due_in_s(), 0.2), 60.0)
        del keeper
