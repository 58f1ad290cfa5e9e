"""Names inside Vault: policies, roles, paths, and which names a secret may have.

Policies and roles begin with ``disinto.<installation>.``. Neither an installation nor a secret has a
dot in its name, so no installation's prefix is the beginning of another's, and the glob of one token
role allows no policy of another. The server lower-cases names of policies, so two secrets whose
names differ only in case would share one policy. A secret's name has no hyphen, so ``lookup-self``
can never be one, nor can ``bot-…``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dispatcher.errors import InvalidValue, Misconfigured
from dispatcher.model.names import name_problem, secret_problem
from dispatcher.settings import VaultSettings

VALUE_FIELD = "value"

_LOOKUP_SELF = "lookup-self"
_BOT = "bot-"
_SAFE_PATH = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")
_BOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def is_secret_name(name: str) -> bool:
    """Whether a secret can have this name."""
    return secret_problem(name) is None


def secret_name(name: str) -> str:
    """The name itself.

    Raises:
        InvalidValue: a secret cannot have this name.
    """
    problem = secret_problem(name)
    if problem is not None:
        what, remedy = problem
        raise InvalidValue(what, remedy=remedy if remedy.endswith("?") else f"{remedy}.")
    return name


def usable_names(settings: VaultSettings, stored: Iterable[str]) -> Sequence[str]:
    """The secrets that actions may name: those stored under a possible name, the dynamic and
    the derived ones.

    Args:
        stored: keys below ``[vault] kv_prefix``.
    """
    return sorted({*filter(is_secret_name, stored), *settings.fetched})


def dispatcher_policy(settings: VaultSettings) -> str:
    """The policy of the dispatcher's own token."""
    return f"disinto.{settings.installation}.dispatcher"


def page_policy(settings: VaultSettings) -> str:
    """The policy of the web page's own token, and the name of the roles that hand it out."""
    return settings.page_role


def runner_prefix(settings: VaultSettings) -> str:
    """The prefix of the names of all policies that a grant may have."""
    return f"disinto.{settings.installation}.runner."


def lookup_self_policy(settings: VaultSettings) -> str:
    """Held by every grant, also one without secrets: the runner looks itself up with it, which is
    how it learns that its grant is alive before the formula starts."""
    return runner_prefix(settings) + _LOOKUP_SELF


def token_role(settings: VaultSettings) -> str:
    """The token role that mints grants. Raises ``Misconfigured`` as ``safe_path``."""
    return safe_path(
        settings.token_role or f"disinto.{settings.installation}.runner", key="token_role"
    )


def approle_role(settings: VaultSettings) -> str:
    """The AppRole role of the dispatcher."""
    return dispatcher_policy(settings)


def jwt_role(settings: VaultSettings) -> str:
    """The JWT role of the dispatcher. Raises ``Misconfigured`` as ``safe_path``."""
    return safe_path(settings.jwt_role or dispatcher_policy(settings), key="jwt_role")


def policy_of(settings: VaultSettings, name: str) -> str:
    """The policy that lets a run read one secret. Raises ``InvalidValue`` as ``secret_name``."""
    return runner_prefix(settings) + secret_name(name).lower()


def bot_policy(settings: VaultSettings, bot: str) -> str:
    """The policy that lets a run read the token of one bot. The hyphen keeps it apart from those of
    secrets.

    Raises:
        InvalidValue: no bot that runs get can have this name.
    """
    if problem := name_problem(bot, "the name of a bot"):
        raise InvalidValue(problem[0], remedy=f"{problem[1]}.")
    return runner_prefix(settings) + _BOT + bot


def policies_of(settings: VaultSettings, names: Iterable[str], *, bot: str = "") -> tuple[str, ...]:
    """The policies of a grant: one per secret, one for the bot, and the one that every grant holds."""
    secrets = sorted({policy_of(settings, name) for name in names})
    return (lookup_self_policy(settings), *secrets, *([bot_policy(settings, bot)] if bot else []))


def derive_prefix(settings: VaultSettings) -> str:
    """The prefix of the names of the policies of people who may derive secrets of runs again."""
    return f"disinto.{settings.installation}.derive."


def derive_policy(settings: VaultSettings, name: str) -> str:
    """The policy of people who may derive one secret of runs again. No grant can have it.

    Raises:
        InvalidValue: as ``secret_name``.
    """
    return derive_prefix(settings) + secret_name(name).lower()


def refuse_case_twins(names: Iterable[str]) -> None:
    """Raises ``InvalidValue`` if two names are equal but for case."""
    by_policy: dict[str, str] = {}
    for name in sorted(names):
        twin = by_policy.setdefault(name.lower(), name)
        if twin != name:
            raise InvalidValue(
                f"the secrets {twin} and {name} differ only in case, and Vault would give them "
                "one policy",
                remedy="Remove one of the two.",
            )


def safe_path(path: str, *, key: str) -> str:
    """A mount or directory of the settings, without slashes at its ends.

    Wildcards of policies (``*``, ``+``), quotes and templates cannot be in it, so that a rendered
    policy names exactly one path.

    Raises:
        Misconfigured: it contains a character that is not allowed.
    """
    plain = path.strip("/")
    if _SAFE_PATH.fullmatch(plain) is None or ".." in plain.split("/"):
        raise Misconfigured(
            f"[vault] {key} = {path!r} is not a plain path",
            remedy="Use letters, digits, dots, hyphens and underscores, with single slashes.",
        )
    return plain


def kv_path(settings: VaultSettings, part: str, *below: str, bots: bool = False) -> str:
    """A path of the KV v2 engine: ``<mount>/<part>/<prefix>[/<below>]``, part data or metadata."""
    mount = safe_path(settings.kv_mount, key="kv_mount")
    prefix = (
        safe_path(settings.bots_prefix, key="bots_prefix")
        if bots
        else safe_path(settings.kv_prefix, key="kv_prefix")
    )
    return "/".join((mount, part, prefix, *below))


def is_bot_name(name: str) -> bool:
    """Whether a secret below ``[vault] bots_prefix`` can have this name."""
    return _BOT_NAME.fullmatch(name) is not None


def bot_name(name: str) -> str:
    """The name of a bot, the dispatcher's own or one that runs get. Raises ``Misconfigured``."""
    if not is_bot_name(name):
        raise Misconfigured(f"{name!r} is not the name of a secret below [vault] bots_prefix")
    return name


def secrets_of(settings: VaultSettings, policies: Sequence[str]) -> tuple[str, ...]:
    """The secret names behind policies of a grant, leaving out the one that all grants hold. A bot's
    is its path below the KV engine."""
    suffixes = (
        policy.removeprefix(runner_prefix(settings))
        for policy in policies
        if policy != lookup_self_policy(settings)
    )
    return tuple(
        f"{settings.bots_prefix}/{suffix.removeprefix(_BOT)}"
        if suffix.startswith(_BOT)
        else suffix.upper()
        for suffix in suffixes
    )
