"""Parent jobs: the registered jobs that runs are dispatched from, and their drift from what was
rendered.

A run must not start from a changed job unnoticed. The rendered job is compared with the registered
one by the server's own plan, once per parent job. From then on every child is compared with its
parent as it was planned: Nomad copies the parent into each child, and the child is read anyway to
confirm that it exists, so a change is noticed at the next dispatch, without an extra call.

This module registers nothing; ``dispatcher.engines.nomad.apply`` does.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.engines.log import LazyLogger
from dispatcher.engines.nomad.api import Job, NomadApi
from dispatcher.engines.nomad.differences import differences
from dispatcher.engines.nomad.render import SPEC_KEY, parent_job, parent_name
from dispatcher.errors import Misconfigured
from dispatcher.model.job_class import JobVariant
from dispatcher.settings import Settings

_COPIED = (
    "Type",
    "Region",
    "Namespace",
    "Datacenters",
    "NodePool",
    "Priority",
    "AllAtOnce",
    "Constraints",
    "Affinities",
    "Spreads",
    "TaskGroups",
)
"""Fields that a child copies from its parent, and that determine what runs, where and with what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """A registered parent job.

    Attributes:
        name: its ID.
        fingerprint: digest of what its children copy.
        drift: how it differs from what was rendered, in words; "" if it does not.
    """

    name: str
    fingerprint: str
    drift: str


class Parents:
    """Caches the parent jobs in use. Thread-safe."""

    def __init__(self, api: NomadApi, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._parents: dict[str, Parent] = {}
        self._lock = threading.Lock()
        self._log = LazyLogger("disinto.nomad")

    def drifted(self) -> Mapping[str, str]:
        """Parents that differ from what was rendered: how, in words, by name."""
        with self._lock:
            return {parent.name: parent.drift for parent in self._parents.values() if parent.drift}

    def get(self, variant: JobVariant) -> Parent:
        """The parent for this class and these mounts; queries Nomad the first time (three calls), and every time
        while it differs from what was rendered.

        Raises:
            Misconfigured: it is not registered, or cannot be.
        """
        name = parent_name(self._settings, variant)
        with self._lock:
            parent = self._parents.get(name)
        if parent is None or parent.drift:
            parent = self._compared(name, variant)
            with self._lock:
                self._parents[name] = parent
        if parent.drift:
            self._warn(parent)
        return parent

    def compare(self, parent: Parent, variant: JobVariant, child: Job) -> None:
        """Warn if a child was dispatched from something other than ``parent``."""
        if fingerprint(child) == parent.fingerprint:
            return
        self.drop(parent.name)
        now = self._compared(parent.name, variant)
        if not now.drift and now.fingerprint != fingerprint(child):
            # Changed, and changed back, while this run was dispatched.
            spec = (child.get("Meta") or {}).get(SPEC_KEY, "none")
            now = Parent(
                name=parent.name,
                fingerprint=now.fingerprint,
                drift=f"run {child.get('ID', '')} was dispatched from another job (spec {spec})",
            )
            self._warn(now)
            return
        with self._lock:
            self._parents[parent.name] = now
        if now.drift:
            self._warn(now)

    def drop(self, name: str) -> None:
        """Invalidate this parent: it is read again before the next dispatch."""
        with self._lock:
            self._parents.pop(name, None)

    def _compared(self, name: str, variant: JobVariant) -> Parent:
        rendered = parent_job(self._settings, variant)
        wanted = self._api.parse(rendered.hcl, canonicalize=False)  # as when it is applied
        while True:
            registered = self._api.job(name)
            if registered is None or registered.get("Stop"):
                state = "is stopped in" if registered else "is not registered with"
                raise Misconfigured(f"the job {name} {state} Nomad", remedy="Run `disinto apply`.")
            plan = self._api.plan(wanted)
            if plan.get("JobModifyIndex") == registered.get("JobModifyIndex"):
                return Parent(
                    name=name,
                    fingerprint=fingerprint(registered),
                    drift="; ".join(differences(plan.get("Diff"))),
                )

    def _warn(self, parent: Parent) -> None:
        self._log.warning(
            "job_drifted",
            job=parent.name,
            differences=parent.drift,
            remedy="Run `disinto plan`, then `disinto apply`.",
        )


def fingerprint(job: Mapping[str, Any]) -> str:
    """Digest of what a child has from its parent; equal for a parent and its children."""
    copied = {key: job.get(key) for key in _COPIED}
    copied[SPEC_KEY] = (job.get("Meta") or {}).get(SPEC_KEY)
    return hashlib.sha256(json.dumps(copied, sort_keys=True).encode()).hexdigest()
