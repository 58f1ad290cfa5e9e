"""``[vault.derived]``: secrets that Vault derives for a run, so that nothing is stored.

Each is the HMAC of the run's id and blob by a transit key. Whoever may use that key can derive it again,
from what is in git, as ``disinto desktop open`` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from dispatcher.model.derived import DERIVED_FIELD
from dispatcher.settings.dynamic import DynamicSettings, name_contradictions
from dispatcher.settings.section import Contradiction, wrong
from dispatcher.toml.source import quoted

MAX_DERIVED = 32

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


class _Vault(Protocol):
    @property
    def transit_mount(self) -> str: ...
    @property
    def dynamic(self) -> Mapping[str, DynamicSettings]: ...
    @property
    def derived(self) -> Mapping[str, str]: ...


def derived_request(vault: _Vault, name: str) -> DynamicSettings:
    """How one derived secret is fetched; the body of the request is the run's own."""
    return DynamicSettings(
        path=f"{vault.transit_mount.strip('/')}/hmac/{vault.derived[name]}",
        fields={name: DERIVED_FIELD},
        write={},
        require_lease=False,
    )


def derived_contradictions(vault: _Vault, *, signing_key: str) -> Iterator[Contradiction]:
    """What is wrong with ``[vault.derived]``.

    Args:
        signing_key: the transit key that signs results; "" if there is none.
    """
    yield from name_contradictions(vault.derived, "derived", limit=MAX_DERIVED)
    for name, key in vault.derived.items():
        here = ("vault", "derived", name)
        if name in vault.dynamic:
            what = f"{name} is in [vault.dynamic] as well"
            yield wrong(what, *here, remedy="Rename one of the two")
        if not _KEY.fullmatch(key):
            what = f"{quoted(key)} cannot be the name of a transit key"
            yield wrong(what, *here, remedy="Write it like disinto-desktops")
        elif key == signing_key:
            what = f"{quoted(key)} is the key that signs results"
            yield wrong(what, *here, remedy="Use a transit key of its own for each purpose")
