"""Placements of runs, for people: job, allocation and node name."""

from __future__ import annotations

import threading

from dispatcher.engines.nomad.api import JobStatus, NomadApi
from dispatcher.engines.nomad.job_status import KIND
from dispatcher.errors import Denied
from dispatcher.model.run import Placement


class Locations:
    """Looks up where runs execute, and caches the names of nodes. Thread-safe."""

    def __init__(self, api: NomadApi) -> None:
        self._api = api
        self._nodes: dict[str, str] = {}
        self._lock = threading.Lock()

    def of(self, status: JobStatus) -> Placement:
        """Where the run of this job executes; queries Nomad for a new node."""
        allocations = status.get("Allocs") or []
        if not allocations:
            return Placement(kind=KIND, job=status["ID"])
        first = allocations[0]
        return Placement(
            kind=KIND,
            job=status["ID"],
            alloc=first.get("ID", ""),
            node=self._node_name(first.get("NodeID", "")),
        )

    def _node_name(self, node_id: str) -> str:
        """The name of a node; its ID if the token may not list nodes."""
        if node_id and node_id not in self._nodes:
            try:
                names = {node["ID"]: node.get("Name") or node["ID"] for node in self._api.nodes()}
            except Denied:
                names = {}
            with self._lock:
                self._nodes |= {**names, node_id: names.get(node_id, node_id)}
        return self._nodes.get(node_id, "")
