"""Parent jobs: the registered jobs that runs are dispatched from, and their drift from what was
rendered.

A run must not start from a changed job unnoticed. The rendered job is compared with the registered
one by the server's own plan, once per parent job. After dispatches the parent is read once for all of
them, at most every ``CHECK_EVERY_S``: if it has not been registered again since, they all came from it. If it has,
each of these children is compared with the parent as it was planned, because Nomad copies the parent
into each child.

This module registers nothing; ``dispatcher.engines.nomad.apply`` does.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.engines.log import LazyLogger
from dispatcher.engines.nomad.api import Job, NomadApi
from dispatcher.engines.nomad.differences import differences
from dispatcher.engines.nomad.render import SPEC_KEY, parent_job, parent_name
from dispatcher.errors import DisintoError, Misconfigured
from dispatcher.model.job_class import JobVariant
from dispatcher.settings import Settings

CHECK_EVERY_S = 5.0
"""Seconds between two reads of a parent while runs are dispatched from it."""

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
        index: raft index at which it was last registered.
        fingerprint: digest of what its children copy.
        drift: how it differs from what was rendered, in words; "" if it does not.
    """

    name: str
    index: int
    fingerprint: str
    drift: str


@dataclass(kw_only=True, slots=True)
class _Dispatched:
    """Children of a parent as it was then, not checked yet."""

    parent: Parent
    variant: JobVariant
    children: list[str]


class Parents:
    """Caches the parent jobs in use. Thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self, api: NomadApi, settings: Settings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._settings = settings
        self._clock = clock
        self._unchecked: list[_Dispatched] = []
        self._checked_at = clock() - CHECK_EVERY_S
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

    def dispatched(self, parent: Parent, variant: JobVariant, child: str) -> None:
        """Have ``check`` compare a child with its parent."""
        with self._lock:
            for group in self._unchecked:
                if group.parent is parent:
                    group.children.append(child)
                    return
            self._unchecked.append(_Dispatched(parent=parent, variant=variant, children=[child]))

    def check(self) -> None:
        """Warn if children were dispatched from something other than their parent as it was planned.
        What cannot be read now is checked by a later call.
        """
        with self._lock:
            if not self._unchecked or self._clock() - self._checked_at < CHECK_EVERY_S:
                return
            self._checked_at = self._clock()
            groups, self._unchecked = self._unchecked, []
        while groups:
            try:
                self._check(groups[0])
            except Misconfigured:
                self.drop(groups[0].parent.name)  # the next dispatch says what is wrong
            except DisintoError:
                with self._lock:
                    self._unchecked += groups
                return
            groups.pop(0)

    def _check(self, group: _Dispatched) -> None:
        registered = self._api.job(group.parent.name)
        if registered is not None and registered.get("JobModifyIndex") == group.parent.index:
            return
        for child in group.children:
            job = self._api.job(child)
            if job is not None and fingerprint(job) != group.parent.fingerprint:
                self._differs(group.parent, group.variant, job)
                return
        self.drop(group.parent.name)

    def _differs(self, parent: Parent, variant: JobVariant, child: Job) -> None:
        """Warn that a child was dispatched from something other than ``parent``."""
        self.drop(parent.name)
        now = self._compared(parent.name, variant)
        if not now.drift and now.fingerprint != fingerprint(child):
            # Changed, and changed back, while this run was dispatched.
            spec = (child.get("Meta") or {}).get(SPEC_KEY, "none")
            now = Parent(
                name=parent.name,
                index=now.index,
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
                    index=registered.get("JobModifyIndex") or 0,
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
