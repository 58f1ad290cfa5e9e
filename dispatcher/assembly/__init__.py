"""The assembly: builds the components from the settings. The one place where all are joined.

Everything here is a function that a command, the page or a test calls; what they open is imported when it is needed.
"""

from __future__ import annotations

from dispatcher.assembly.clients import (
    build_author_view,
    doctor_openers,
    open_client,
    open_personal_client,
    proposals,
)
from dispatcher.assembly.parts import (
    open_forge,
    open_gate,
    open_inventory,
    open_leadership,
    open_ledger,
    open_policy,
    open_repo,
    open_scheduler,
    open_sources,
    open_steady_clock,
    open_vault,
    web_client_secret,
)
from dispatcher.assembly.service import (
    build_components,
    build_service,
    build_view,
    open_notifier,
    open_traces,
)
from dispatcher.assembly.settings import given, open_origin, open_settings, refuse_author
from dispatcher.assembly.sidecars import (
    open_issue_reporter,
    open_issue_tokens,
    open_issues,
    open_sidecars,
)

__all__ = [
    "build_author_view",
    "build_components",
    "build_service",
    "build_view",
    "doctor_openers",
    "given",
    "open_client",
    "open_forge",
    "open_gate",
    "open_inventory",
    "open_issue_reporter",
    "open_issue_tokens",
    "open_issues",
    "open_leadership",
    "open_ledger",
    "open_notifier",
    "open_origin",
    "open_personal_client",
    "open_policy",
    "open_repo",
    "open_scheduler",
    "open_settings",
    "open_sidecars",
    "open_sources",
    "open_steady_clock",
    "open_traces",
    "open_vault",
    "proposals",
    "refuse_author",
    "web_client_secret",
]
