"""Names in a Nomad workload identity, which Nomad signs and Vault checks: both are told here."""

from __future__ import annotations

import re

from dispatcher.settings.models import NomadSettings

VAULT_AUDIENCE = "vault.io"


def dispatcher_name(nomad: NomadSettings) -> str:
    """Name of the job that runs the dispatcher itself."""
    return f"{job_word(nomad.ledger_prefix)}-dispatcher"


def job_word(prefix: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", prefix).strip("-") or "disinto"
