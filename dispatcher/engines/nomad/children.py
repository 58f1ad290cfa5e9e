"""The mapping of runs to their dispatched jobs."""

from __future__ import annotations

import threading
from collections.abc import Collection

from dispatcher.engines.nomad.api import NomadApi
from dispatcher.model.run import Claim, RunKey


class Children:
    """Finds the dispatched job of each run. Thread-safe.

    Args:
        prefix: of the names of runner jobs.
    """

    def __init__(self, api: NomadApi, *, prefix: str) -> None:
        self._api = api
        self._prefix = prefix
        self._by_key: dict[RunKey, str] = {}
        self._lock = threading.Lock()

    def of(self, claim: Claim) -> str | None:
        """The job of a run, if there is one."""
        return claim.engine_id or self._by_key.get(claim.key) or self._find([claim]).get(claim.key)

    def of_all(self, claims: Collection[Claim]) -> dict[RunKey, str]:
        """The jobs of those runs that have one; at most one call, for claims without one."""
        named = {claim.key: claim.engine_id or self._by_key.get(claim.key) for claim in claims}
        children = {key: child for key, child in named.items() if child}
        nameless = [claim for claim in claims if claim.key not in children]
        return children | self._find(nameless) if nameless else children

    def forget(self, child: str) -> None:
        """Drop the run."""
        with self._lock:
            for key in [key for key, name in self._by_key.items() if name == child]:
                del self._by_key[key]

    def _find(self, claims: Collection[Claim]) -> dict[RunKey, str]:
        """Find runs by the meta of their jobs, after a crash between a dispatch and its record."""
        keys = {(claim.key.action_id, claim.key.blob): claim.key for claim in claims}
        children: dict[RunKey, str] = {}
        for stub in self._api.jobs(prefix=self._prefix, meta=True):
            meta = stub.get("Meta") or {}
            key = keys.get((meta.get("action_id", ""), meta.get("blob", "")))
            if key is not None and stub.get("ParentID"):
                children[key] = stub["ID"]
        with self._lock:
            self._by_key |= children
        return children
