"""``[vault.dynamic.NAME]``: secrets that an engine of Vault makes for one run, and what they may be.

A path is the operator's word, and a policy is rendered from it. So it must name one path exactly, and
none with which a run could become more than a run: not the server's own (``sys``, ``auth`` and the
like), not the KV engine, where a path could leave ``[vault] kv_prefix``, and not the transit engine,
which signs results.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

from pydantic import Field

from dispatcher.model.derived import derivation_input
from dispatcher.model.dynamic import DynamicSecret
from dispatcher.model.names import secret_problem
from dispatcher.model.run import RunKey
from dispatcher.settings.section import Contradiction, Section, wrong
from dispatcher.toml.source import quoted

MAX_DYNAMIC = 256
MAX_FIELDS = 32
MAX_PATH = 200
MAX_WRITTEN_BYTES = 4096

OWN_PATHS = frozenset({"sys", "auth", "cubbyhole", "identity"})
"""Paths of the server itself, also below a namespace."""

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,63}")


class DynamicSettings(Section):
    """A secret that an engine of Vault makes for one run, and that ends with it."""

    path: str = Field(
        description="What the runner reads, or writes to, e.g. database/creds/app.",
        examples=["database/creds/app"],
    )
    fields: dict[str, str] = Field(
        description="Environment variables, and the field of Vault's answer that each becomes.",
        examples=[{"DB_USER": "username", "DB_PASSWORD": "password"}],
    )
    write: dict[str, str] | None = Field(
        default=None,
        description="Body of the request, for a path that is written, such as pki/issue/web; "
        "without it the path is read.",
        examples=[{"common_name": "app.example"}],
    )
    require_lease: bool = Field(
        default=True,
        description="Refuse an answer without a lease: such a credential outlives the run. False "
        "for ssh/sign, whose certificates end with their own TTL.",
    )


class _VaultPaths(Protocol):
    @property
    def kv_mount(self) -> str: ...
    @property
    def transit_mount(self) -> str: ...
    @property
    def dynamic(self) -> Mapping[str, DynamicSettings]: ...


class _Fetched(Protocol):
    @property
    def fetched(self) -> Mapping[str, DynamicSettings]: ...
    @property
    def derived(self) -> Mapping[str, str]: ...


def dynamic_secrets(
    vault: _Fetched, secrets: Iterable[str], *, key: RunKey
) -> tuple[DynamicSecret, ...]:
    """How a runner gets those of an action's secrets that are dynamic or derived.

    Args:
        secrets: names.
        key: of the run; a derived secret is the HMAC of it.
    """
    own = {"input": derivation_input(key)}
    return tuple(
        DynamicSecret(
            name=name,
            path=found.path,
            fields=found.fields,
            write=own if name in vault.derived else found.write,
            require_lease=found.require_lease,
        )
        for name in secrets
        if (found := vault.fetched.get(name)) is not None
    )


def variables_of(vault: _Fetched) -> Mapping[str, tuple[str, ...]]:
    """The environment variables that each dynamic or derived secret becomes, by its name."""
    return {name: tuple(secret.fields) for name, secret in vault.fetched.items()}


def dynamic_contradictions(vault: _VaultPaths) -> Iterator[Contradiction]:
    """What is wrong with ``[vault.dynamic]``, by itself and beside the other keys of ``[vault]``."""
    yield from name_contradictions(vault.dynamic, "dynamic", limit=MAX_DYNAMIC)
    for name, secret in vault.dynamic.items():
        here = ("vault", "dynamic", name)
        if problem := _path_problem(secret.path, vault):
            yield wrong(problem[0], *here, "path", remedy=problem[1])
        yield from _fields(secret.fields, here)
        yield from _written(secret.write or {}, here)


def name_contradictions(
    names: Collection[str], section: str, *, limit: int
) -> Iterator[Contradiction]:
    """What is wrong with the names of secrets in ``[vault.<section>]``, or with their number."""
    if len(names) > limit:
        what = f"[vault.{section}] holds {len(names)} secrets, more than {limit}"
        yield wrong(what, "vault", section, remedy="Remove those that no action names")
    for name in names:
        if problem := secret_problem(name):
            yield wrong(problem[0], "vault", section, name, remedy=problem[1])


def _path_problem(path: str, vault: _VaultPaths) -> tuple[str, str] | None:
    example = "Write it like database/creds/app: mount, operation and role"
    parts = path.split("/")
    plain = all(_SEGMENT.fullmatch(part) and part.strip(".") for part in parts)
    if not plain or len(path) > MAX_PATH:
        rule = "letters, digits, dots, hyphens and underscores, with single slashes"
        return f"the path {quoted(path)} is not plain ({rule}, at most {MAX_PATH})", example
    if len(parts) < 2:
        return f"the path {quoted(path)} is a mount alone", example
    # A namespace may come before them. What a role is called does not matter.
    for part in parts[:-1]:
        if part.casefold() in OWN_PATHS:
            return f"the path {quoted(path)} leads to {part}/, which is the server's own", example
    for key, mount in (("kv_mount", vault.kv_mount), ("transit_mount", vault.transit_mount)):
        if f"{path}/".startswith(f"{mount.strip('/')}/"):
            held = "stored secrets" if key == "kv_mount" else "the key that signs results"
            return (
                f"the path {quoted(path)} lies in [vault] {key}, which holds {held}",
                "Store a secret with `disinto secrets put NAME`, without a section here"
                if key == "kv_mount"
                else "Mount another transit engine for actions",
            )
    return None


def _fields(fields: Mapping[str, str], here: tuple[str, ...]) -> Iterator[Contradiction]:
    if not 1 <= len(fields) <= MAX_FIELDS:
        yield wrong(
            f"{here[-1]} becomes {len(fields)} variables; 1 to {MAX_FIELDS} are possible",
            *here,
            "fields",
            remedy='Write for example fields = { DB_PASSWORD = "password" }',
        )
    for variable, field in fields.items():
        if problem := secret_problem(variable):
            yield wrong(problem[0], *here, "fields", variable, remedy=problem[1])
        if not _FIELD.fullmatch(field):
            what = f"{quoted(field)} cannot be a field of Vault's answer"
            remedy = "Name one of those that `bao read` shows, such as username"
            yield wrong(what, *here, "fields", variable, remedy=remedy)


def _written(body: Mapping[str, str], here: tuple[str, ...]) -> Iterator[Contradiction]:
    for parameter in body:
        if not _PARAMETER.fullmatch(parameter):
            what = f"{quoted(parameter)} cannot be a parameter of a request to Vault"
            remedy = "Write it in lower case, such as common_name"
            yield wrong(what, *here, "write", parameter, remedy=remedy)
    size = sum(
        len(key) + len(value.encode("utf-8", "surrogatepass")) for key, value in body.items()
    )
    if size > MAX_WRITTEN_BYTES:
        what = f"the body of {here[-1]} has {size:,} bytes, more than {MAX_WRITTEN_BYTES:,}"
        yield wrong(
            what, *here, "write", remedy="Put what is always the same into the role in Vault"
        )
