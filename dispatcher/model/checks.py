"""Records of the checks of ``disinto doctor`` and of the changes of ``disinto apply``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from dispatcher.errors import DisintoError


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """The check of one dependency, right or setting.

    Attributes:
        name: what was checked, such as ``vault: token role``.
        ok: whether it is as it should be.
        detail: what was found, as a clause without a full stop.
        remedy: what the reader can do; "" if there is nothing to do. With ``ok`` it makes the
            check a warning.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    @property
    def warning(self) -> bool:
        """Whether it works, but deserves attention."""
        return self.ok and bool(self.remedy)


def looked(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks that ``look`` returns; if it fails in any way, those before that and a failed check of this
    name: what is checked may be broken in ways that were not foreseen, and the other checks must follow.
    """
    checks: list[Check] = []
    try:
        checks.extend(look())
    except Exception as error:  # noqa: BLE001 - it becomes a failed check
        checks.append(failed(name, error))
    return checks


def failed(name: str, error: Exception) -> Check:
    """The failed check of an error. What an unexpected one says may hold anything, so it is not shown."""
    if isinstance(error, DisintoError):
        return Check(name=name, ok=False, detail=error.what, remedy=error.remedy or "")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        detail = f"{where}{error.strerror or type(error).__name__}"
        return Check(name=name, ok=False, detail=detail)
    return Check(
        name=name,
        ok=False,
        detail=f"it cannot be checked ({type(error).__name__})",
        remedy="Look whether the settings name the right server or file. If they do, report this.",
    )


class Step(StrEnum):
    """What applying does with one thing."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    NOTHING = "unchanged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One object on a server, compared with what the settings require.

    Attributes:
        kind: such as ``nomad job``, ``nomad acl policy`` or ``vault policy``.
        name: the server's name of it.
        step: what is to be done.
        difference: lines for people, from the present to the desired state; empty if nothing is to be
            done. Never a secret.
    """

    kind: str
    name: str
    step: Step
    difference: tuple[str, ...] = ()
