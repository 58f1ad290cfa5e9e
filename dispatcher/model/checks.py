"""The records of what ``disinto doctor`` looked at, and of what ``disinto apply`` would change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from dispatcher.errors import DisintoError


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One dependency, right or setting, and how it stands.

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
        """Whether all works, and something deserves attention nevertheless."""
        return self.ok and bool(self.remedy)


def looked(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks of a look; if it fails, that it did, by this name."""
    try:
        return list(look())
    except DisintoError as error:
        return [failed(name, error)]
    except OSError as error:
        return [Check(name=name, ok=False, detail=f"{error.filename or ''}: {error.strerror}")]


def failed(name: str, error: DisintoError) -> Check:
    """A check that an error answers."""
    return Check(name=name, ok=False, detail=error.what, remedy=error.remedy or "")


class Step(StrEnum):
    """What applying does with one thing."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    NOTHING = "unchanged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing on a server, beside what the settings say it should be.

    Attributes:
        kind: such as ``nomad job``, ``nomad acl policy`` or ``vault policy``.
        name: the server's name of it.
        step: what is to be done.
        difference: lines for people, in the direction from what is there to what should be;
            empty where nothing is to be done. Never a secret.
    """

    kind: str
    name: str
    step: Step
    difference: tuple[str, ...] = ()
