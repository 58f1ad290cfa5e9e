"""Calls about runs: dispatch children, and read their state."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Collection, Mapping
from typing import cast

from dispatcher.engines.nomad.api.calls import Calls
from dispatcher.engines.nomad.api.connection import quoted
from dispatcher.engines.nomad.api.errors import NotFound
from dispatcher.engines.nomad.api.shapes import (
    Allocation,
    Dispatched,
    Evaluation,
    Job,
    JobStatus,
    JobStub,
    Json,
)


class RunCalls(Calls):
    """Dispatch, statuses, allocations, evaluations, stop."""

    def dispatch(
        self,
        job_id: str,
        *,
        payload: bytes = b"",
        meta: Mapping[str, str] | None = None,
        idempotency_token: str = "",
        id_prefix: str = "",
        priority: int | None = None,
    ) -> Dispatched:
        """Start a child of a parameterized job.

        Args:
            payload: at most 16,384 bytes.
            idempotency_token: the same token yields the same child for as long as that child is
                kept. See ``Dispatched`` for the result of concurrent calls.
            id_prefix: goes into the child's ID.
            priority: 1 to 100 (Nomad 1.10.5+).

        Raises:
            NotFound: no such parent. Rejected: payload or meta do not fit the parent.
        """
        request: Json = {"Payload": base64.b64encode(payload).decode(), "Meta": dict(meta or {})}
        if id_prefix:
            request["IdPrefixTemplate"] = id_prefix
        if priority is not None:
            request["Priority"] = priority
        answer = self._json(
            "POST",
            f"job/{quoted(job_id)}/dispatch",
            endpoint="job.dispatch",
            doing=f"dispatch {job_id}",
            params={"idempotency_token": idempotency_token or None},
            json=request,
        )
        return Dispatched(job_id=answer["DispatchedJobID"], eval_id=answer.get("EvalID") or "")

    def job(self, job_id: str) -> Job | None:
        """A job, its payload included."""
        job = self._json_or_none(
            f"job/{quoted(job_id)}", endpoint="job.read", doing=f"read job {job_id}"
        )
        return cast(Job | None, job)

    def job_statuses(self, job_ids: Collection[str]) -> list[JobStatus]:
        """Status and allocations of exactly these jobs, in one call; unknown ones are left out.

        The cheapest way to observe many children: ``POST /v1/jobs/statuses`` (Nomad 1.8+, the call
        behind the job page of Nomad's UI). It needs ``read-job``. It contains neither why a job
        has no allocation (see ``evaluations``) nor task events (see ``allocations``).
        """
        if not job_ids:
            return []
        jobs = [{"ID": job_id, "Namespace": self.namespace} for job_id in job_ids]
        statuses = self._json(
            "POST",
            "jobs/statuses",
            endpoint="jobs.statuses",
            doing="read the status of jobs",
            params={"include_children": "true"},
            json={"Jobs": jobs, "IncludeChildren": True},
        )
        return cast(list[JobStatus], statuses or [])

    def jobs(self, *, prefix: str = "", meta: bool = False) -> list[JobStub]:
        """All jobs whose ID starts with ``prefix``, children included."""
        return cast(
            list[JobStub],
            list(
                self._pages(
                    "jobs",
                    endpoint="jobs.list",
                    doing="list jobs",
                    params={"prefix": prefix or None, "meta": "true" if meta else None},
                )
            ),
        )

    def allocations(self, job_id: str) -> list[Allocation]:
        """The allocations of one job, with task states; empty for an unknown job."""
        listed = self._json(
            "GET",
            f"job/{quoted(job_id)}/allocations",
            endpoint="job.allocations",
            doing=f"list the allocations of {job_id}",
        )
        return cast(list[Allocation], listed or [])

    def allocations_where(self, expression: str) -> list[Allocation]:
        """Allocations of the namespace that match a filter expression, with task states."""
        return cast(
            list[Allocation],
            list(
                self._pages(
                    "allocations",
                    endpoint="allocations.list",
                    doing="list allocations",
                    params={"filter": expression, "task_states": "true", "resources": "false"},
                )
            ),
        )

    def evaluations(self, job_id: str) -> list[Evaluation]:
        """The evaluations of one job, the newest first."""
        answer = self._json(
            "GET",
            f"job/{quoted(job_id)}/evaluations",
            endpoint="job.evaluations",
            doing=f"list the evaluations of {job_id}",
        )
        listed = cast(list[Evaluation], answer or [])
        return sorted(listed, key=lambda each: each.get("CreateIndex", 0), reverse=True)

    def evaluations_where(self, expression: str) -> list[Evaluation]:
        """Evaluations of the namespace that match a filter expression, such as
        ``Status == "blocked" and JobID matches "^runner/"``."""
        return cast(
            list[Evaluation],
            list(
                self._pages(
                    "evaluations",
                    endpoint="evaluations.list",
                    doing="list evaluations",
                    params={"filter": expression},
                )
            ),
        )

    def stop(self, job_id: str, *, purge: bool = False) -> None:
        """Stop a job, and with ``purge`` forget it. Fine if Nomad does not know it."""
        with contextlib.suppress(NotFound):
            self._connection.request(
                "DELETE",
                f"job/{quoted(job_id)}",
                endpoint="job.purge" if purge else "job.stop",
                doing=f"stop {job_id}",
                params={"purge": "true" if purge else None},
            )
