"""Client of Nomad's HTTP API, as far as this project uses it; the only place that knows its wire
format.

Two libraries share the work over one connection pool. ``python-nomad`` shapes the administrative
calls (register, plan, nodes, ACL policies, agent), where it is correct; they are sent by our httpx
client (``admin.py``), because its own ``requests`` session would be a second pool with a second
set of TLS rules, has ``verify=False`` by default, cannot set a TLS server name and drops
``namespace`` for some endpoints. All else goes to httpx directly, because python-nomad 2.1.0

- puts the idempotency token of a dispatch into the body, where Nomad ignores it, and knows no
  ``Priority``;
- knows no variable locks, and calls any 409 a conflict of variables;
- leaves ``namespace`` out of ``var``, ``event`` and ``evaluation``;
- cannot pass ``Variables`` to the parser;
- returns a log stream as one text, and an event stream that hides heartbeats, times out after
  five seconds and reconnects at the index it began with.

Errors: ``Unavailable`` (scheduler) when Nomad cannot be reached or has no leader, ``Denied`` for
missing rights, ``NotFound``, ``Rejected`` if the request itself is wrong, ``Conflict`` for a lost
compare-and-set. Nomad answers most errors of its servers with 500 and a plain text; ``errors.py``
knows which text means what.
"""

from dispatcher.engines.nomad.api.client import NomadApi
from dispatcher.engines.nomad.api.errors import NotFound, Rejected, VariableConflict
from dispatcher.engines.nomad.api.events import Event, EventStream, Resync
from dispatcher.engines.nomad.api.logs import FrameStream, LogFrame
from dispatcher.engines.nomad.api.shapes import (
    Allocation,
    AllocationStatus,
    Dispatched,
    Evaluation,
    Job,
    JobStatus,
    JobStub,
    Lock,
    Node,
    Plan,
    Registered,
    TaskEvent,
    TaskState,
    Variable,
    VariableStub,
)

__all__ = [
    "Allocation",
    "AllocationStatus",
    "Dispatched",
    "Evaluation",
    "Event",
    "EventStream",
    "FrameStream",
    "Job",
    "JobStatus",
    "JobStub",
    "Lock",
    "LogFrame",
    "Node",
    "NomadApi",
    "NotFound",
    "Plan",
    "Registered",
    "Rejected",
    "Resync",
    "TaskEvent",
    "TaskState",
    "Variable",
    "VariableConflict",
    "VariableStub",
]
