"""Dynamic secrets: credentials that an engine of Vault makes for one run.

The operator maps a name to a path of the engine and to variables. What comes back is a lease of the
run's own token, so revoking the token ends it. The module imports only the standard library, because
the runner loads it in every job.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicSecret:
    """How a runner gets one dynamic secret. Holds no value.

    Attributes:
        name: what an action lists in ``secrets``.
        path: in Vault, below ``/v1/``.
        fields: field of the answer's ``data`` by the environment variable that it becomes.
        write: the body of the request, for paths that are written (POST); None to read (GET).
        require_lease: refuse an answer without a lease, which would outlive the run.
    """

    name: str
    path: str
    fields: Mapping[str, str]
    write: Mapping[str, str] | None = None
    require_lease: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Clash:
    """Two secrets of one action that become the same variable.

    Attributes:
        variable: its name.
        first, second: positions in the action's list.
    """

    variable: str
    first: int
    second: int


def clashes(secrets: Sequence[str], variables: Mapping[str, Collection[str]]) -> Iterator[Clash]:
    """What an action's secrets give twice. A name that is repeated is not reported here.

    Args:
        secrets: names, as the action lists them.
        variables: those of each dynamic secret; any other becomes one variable of its name.
    """
    taken: dict[str, int] = {}
    for index, name in enumerate(secrets):
        for variable in variables.get(name, (name,)):
            first = taken.setdefault(variable, index)
            if first != index and secrets[first] != name:
                yield Clash(variable=variable, first=first, second=index)


def encode_dynamic(secret: DynamicSecret) -> dict[str, object]:
    """As plain JSON values."""
    plain: dict[str, object] = {
        "name": secret.name,
        "path": secret.path,
        "fields": dict(secret.fields),
        "require_lease": secret.require_lease,
    }
    if secret.write is not None:
        plain["write"] = dict(secret.write)
    return plain


def decode_dynamic(plain: Mapping[str, object]) -> DynamicSecret:
    """The inverse of ``encode_dynamic``. An unknown key may be a restriction, so it is an error.

    Raises:
        KeyError, TypeError, ValueError: it is not the JSON of a dynamic secret.
    """
    if plain.keys() - {"name", "path", "fields", "require_lease", "write"}:
        raise ValueError("unknown key of a dynamic secret")
    require_lease, write = plain["require_lease"], plain.get("write")
    if not isinstance(require_lease, bool):
        raise TypeError("not true or false")
    return DynamicSecret(
        name=_text(plain["name"]),
        path=_text(plain["path"]),
        fields=_texts(plain["fields"]),
        write=None if write is None else _texts(write),
        require_lease=require_lease,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("not a table of texts")
    return {_text(key): _text(inner) for key, inner in value.items()}
