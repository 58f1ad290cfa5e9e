"""The identity that an engine signs for the dispatcher's own job, and that Vault checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import Misconfigured
from dispatcher.settings.models import Settings
from dispatcher.settings.whole import engine_sections

VAULT_AUDIENCE = "vault.io"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkloadIdentity:
    """The claims by which Vault accepts the dispatcher's job and the web page's, and no other.

    Attributes:
        job: name of the dispatcher's job.
        page_job: name of the web page's.
        namespace: where they run.
        jwks_url: where Vault fetches the engine's public keys.
        cacert: CA certificate of that address, or None.
    """

    job: str
    page_job: str
    namespace: str
    jwks_url: str
    cacert: Path | None = None


def workload_identity(settings: Settings) -> WorkloadIdentity:
    """That of the engine in use, or else of the first engine that has one.

    Raises:
        Misconfigured: no engine signs identities.
    """
    sections = dict(engine_sections(settings))
    in_use = sections.pop(settings.scheduler, None)
    for section in (in_use, *sections.values()):
        identity = section.workload_identity() if section is not None else None
        if identity is not None:
            return identity
    raise Misconfigured(
        '[vault] auth = "jwt" needs an engine that signs identities of jobs',
        remedy='Set auth to "approle" or "token".',
    )
