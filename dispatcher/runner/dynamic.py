"""Fetch the dynamic secrets of a run, with the run's own token, so that the leases are its leases.

Each request may make a credential. So none is sent again once the server may have worked on it, the
stored secrets are read before, and the first failure ends it. A credential whose answer was lost is a
lease of the run's token all the same, and ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dispatcher.errors import Dependency, Unavailable
from dispatcher.model.dynamic import DynamicSecret, clashes
from dispatcher.model.run import RunSpec
from dispatcher.runner.vault_client import AnswerLost, Reply

_MAX_REASON = 300

Send = Callable[[DynamicSecret], Reply]
"""Sends the request of a dynamic secret, once."""


@dataclass(kw_only=True, slots=True)
class Fetched:
    """What the formula is given.

    Attributes:
        values: by environment variable. Kept out of ``repr``.
        leases: seconds that the lease of each dynamic secret lasts, by the secret's name; Vault may
            end it sooner, with the run's token.
    """

    values: dict[str, str] = field(default_factory=dict, repr=False)
    leases: dict[str, int] = field(default_factory=dict)


def variables(spec: RunSpec) -> list[str]:
    """The environment variables that the secrets of a run become.

    Raises:
        ValueError: two secrets become the same one; the text says which.
    """
    by_name = {secret.name: tuple(secret.fields) for secret in spec.dynamic}
    for clash in clashes(spec.secrets, by_name):
        first, second = spec.secrets[clash.first], spec.secrets[clash.second]
        raise ValueError(f"the secrets {first} and {second} both become {clash.variable}")
    return [variable for name in spec.secrets for variable in by_name.get(name, (name,))]


def fetch_dynamic(spec: RunSpec, send: Send, into: Fetched) -> str:
    """Fetch each dynamic secret that the run names, in order, until one fails.

    Returns:
        What failed, with the path and Vault's reason, or "".

    Raises:
        Unavailable: Vault cannot be reached, or an answer was lost.
    """
    by_name = {secret.name: secret for secret in spec.dynamic}
    for name in spec.secrets:
        secret = by_name.get(name)
        if secret is None:
            continue
        try:
            reply = send(secret)
        except AnswerLost as lost:
            raise Unavailable(
                Dependency.VAULT,
                f"the answer to the request for {name} ({secret.path}) was lost, and it is not sent "
                f"again, because it may have made a credential: {lost.what}",
                remedy="The formula did not start, and the credential ends with the run's grant; "
                "file the action again under a new id.",
            ) from None
        fault = _take(secret, reply, into)
        if fault:
            return f"{name} ({secret.path}) {fault}"
    return ""


def _take(secret: DynamicSecret, reply: Reply, into: Fetched) -> str:
    if reply.status != 200:
        return f"could not be fetched (Vault returned {reply.status}{_reason(reply)})"
    if secret.require_lease and not reply.get("lease_id"):
        return (
            "came without a lease, so that it would outlive the run (for PKI, set generate_lease "
            "of the role; else see require_lease of its settings)"
        )
    data = reply.get("data")
    for variable, name in secret.fields.items():
        value = _text(data.get(name) if isinstance(data, dict) else None)
        fault = value_fault(value)
        if fault:
            return (
                f"came with a field `{name}` that {fault}"
                if value is not None
                else (f"came without a text in the field `{name}`")
            )
        into.values[variable] = str(value)
    lasts = reply.get("lease_duration")
    if reply.get("lease_id") and isinstance(lasts, int) and lasts > 0:
        into.leases[secret.name] = lasts
    return ""


def _text(value: object) -> str | None:
    """A text, or a list of texts (PKI's ``ca_chain``) line by line; None for anything else."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def value_fault(value: object) -> str:
    """What keeps a value from becoming an environment variable, or ""."""
    if not isinstance(value, str):
        return "is not text"
    if not value.strip():
        return "is empty"
    if not value.isascii() and value.encode("utf-8", "ignore").decode() != value:
        return "is not UTF-8 text"
    return "contains a NUL byte, which no environment variable can hold" if "\0" in value else ""


def _reason(reply: Reply) -> str:
    """Vault's own words, on one line and cut; no answer that failed holds a credential."""
    errors = reply.get("errors")
    words = " ".join(str(error) for error in errors) if isinstance(errors, list) else ""
    plain = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return f": {plain[:_MAX_REASON]}" if plain else ""


def ended_before(leases: Mapping[str, int], *, started_at: float, finished_at: float) -> str:
    """For a run that failed: the leases that ended while it ran, in words, or "".

    Args:
        leases: see ``Fetched``.
        started_at, finished_at: seconds since the epoch.
    """
    over = [name for name, lasts in leases.items() if finished_at - started_at >= lasts]
    if not over:
        return ""
    told = ", ".join(f"{name} after {leases[name]} s" for name in over)
    return f"the lease ended before the run did: {told}; raise the default TTL of its role in Vault"
