"""Types of Nomad's responses, as far as they are read here.

Keys are Nomad's own. Any of them may be missing, and a list or map may be null: read with
``.get(…) or …``. Records of ours are dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

Json = dict[str, Any]


class Job(TypedDict, total=False):
    """A whole job, as parsed, registered or read."""

    ID: str
    ParentID: str
    Name: str
    Namespace: str
    Type: str
    Priority: int
    Status: str  # pending, running, dead
    StatusDescription: str
    Stop: bool
    Stable: bool
    Version: int
    Meta: dict[str, str] | None
    Payload: str | None
    TaskGroups: list[Json]
    ParameterizedJob: Json | None
    DispatchIdempotencyToken: str
    SubmitTime: int  # nanoseconds
    CreateIndex: int
    ModifyIndex: int
    JobModifyIndex: int


class JobStub(TypedDict, total=False):
    """An entry of a job list."""

    ID: str
    ParentID: str
    Namespace: str
    Status: str
    StatusDescription: str
    Stop: bool
    Meta: dict[str, str] | None
    JobSummary: Json | None
    SubmitTime: int
    CreateIndex: int
    ModifyIndex: int
    JobModifyIndex: int


class AllocationStatus(TypedDict, total=False):
    """An allocation within ``JobStatus``."""

    ID: str
    Group: str
    ClientStatus: str
    NodeID: str


class JobStatus(TypedDict, total=False):
    """An entry of ``POST /v1/jobs/statuses``."""

    ID: str
    Namespace: str
    ParentID: str
    Status: str
    Stop: bool
    Allocs: list[AllocationStatus] | None
    SubmitTime: int
    ModifyIndex: int


class TaskEvent(TypedDict, total=False):
    """One event of a task."""

    Type: str
    Time: int  # nanoseconds since the epoch
    DisplayMessage: str
    Details: dict[str, str] | None


class TaskState(TypedDict, total=False):
    """The state of a task of an allocation."""

    State: str  # pending, running, dead
    Failed: bool
    Restarts: int
    StartedAt: str | None
    FinishedAt: str | None
    Events: list[TaskEvent] | None


class Allocation(TypedDict, total=False):
    """An allocation, as listed."""

    ID: str
    EvalID: str
    Name: str
    Namespace: str
    NodeID: str
    NodeName: str
    JobID: str
    TaskGroup: str
    ClientStatus: str  # pending, running, complete, failed, lost, unknown
    ClientDescription: str
    DesiredStatus: str  # run, stop, evict
    DesiredDescription: str
    TaskStates: dict[str, TaskState] | None
    CreateTime: int  # nanoseconds
    ModifyTime: int
    CreateIndex: int
    ModifyIndex: int


class FileInfo(TypedDict, total=False):
    """An entry of a directory of an allocation.

    ``FileMode`` is Go's text for it: a regular file begins with ``-``, a link with ``L``, a FIFO
    with ``p``.
    """

    Name: str
    FileMode: str
    Size: int


class Evaluation(TypedDict, total=False):
    """One attempt of the scheduler to place a job."""

    ID: str
    JobID: str
    Namespace: str
    Status: str  # blocked, pending, complete, failed, canceled
    StatusDescription: str
    TriggeredBy: str
    BlockedEval: str
    FailedTGAllocs: dict[str, Json] | None
    QueuedAllocations: dict[str, int] | None
    CreateIndex: int
    ModifyIndex: int
    CreateTime: int
    ModifyTime: int


class Node(TypedDict, total=False):
    """A client node; the list omits ``HostVolumes`` and ``Attributes``."""

    ID: str
    Name: str
    Datacenter: str
    NodePool: str
    Status: str
    SchedulingEligibility: str
    Drain: bool
    Version: str
    Drivers: dict[str, Json] | None
    HostVolumes: dict[str, Json] | None
    Attributes: dict[str, str] | None


class Plan(TypedDict, total=False):
    """What registering a job would change."""

    JobModifyIndex: int
    Diff: Json | None
    FailedTGAllocs: dict[str, Json] | None
    Warnings: str
    Annotations: Json | None


class VariableStub(TypedDict, total=False):
    """A variable without its items."""

    Namespace: str
    Path: str
    CreateIndex: int
    ModifyIndex: int
    Lock: Json | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A variable with its items.

    Attributes:
        path: below ``/v1/var/``.
        items: texts by name.
        modify_index: what a compare-and-set compares.
        locked: True while its lock is held.
    """

    path: str
    items: dict[str, str]
    modify_index: int
    locked: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatched:
    """The response to a dispatch.

    Attributes:
        job_id: of the child. Of several concurrent calls with one idempotency token all but one
            may get the ID of a job that does not exist: read the job before relying on it.
        eval_id: "" if an earlier dispatch with the same token created the child.
    """

    job_id: str
    eval_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """The response to registering a job: its new modify index, and Nomad's warnings or ""."""

    modify_index: int
    eval_id: str
    warnings: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """A held variable lock; ``id`` is the proof of holding it."""

    path: str
    id: str
