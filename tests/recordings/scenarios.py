"""What is asked of Nomad, once: run on a live server, recorded from it, and replayed without it.

Each scenario takes two clients on the same server, one with all rights and one with none, and says
itself what must come out. It leaves nothing behind. Names are fixed, so that a recording holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import tenacity

from dispatcher.engines.nomad.api import (
    Event,
    JobStatus,
    Lock,
    NomadApi,
    NotFound,
    Rejected,
    Resync,
    VariableConflict,
)
from dispatcher.errors import Conflict, Denied

SPECS = Path(__file__).parent / "jobspecs"
NOBODY = "00000000-0000-0000-0000-000000000000"

Scenario = Callable[[NomadApi, NomadApi], None]

_until = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True
)


def jobs(api: NomadApi, stranger: NomadApi) -> None:
    """Parse, plan, register, dispatch, and what is wrong with them."""
    spec = (SPECS / "recorded.nomad.hcl").read_text()
    with pytest.raises(Rejected, match=r"Failed to parse job: input\.hcl:1"):
        api.parse("job {")
    job = api.parse(spec, variables='answer = "42"')
    assert job["ID"] == "recorded"
    assert (job.get("Meta") or {})["answer"] == "42"
    plan = api.plan(job)
    assert plan["JobModifyIndex"] == 0
    assert (plan.get("Diff") or {})["Type"] == "Added"

    with pytest.raises(Conflict, match="Enforcing job modify index"):
        api.register(job, modify_index=7)
    registered = api.register(job, modify_index=0)
    try:
        assert registered.modify_index > 0
        assert registered.eval_id == ""
        with pytest.raises(Conflict, match="Enforcing job modify index"):
            api.register(job, modify_index=0)
        again = api.plan(job)
        assert again["JobModifyIndex"] == registered.modify_index
        assert (again.get("Diff") or {})["Type"] == "None"
        broken = api.parse(spec, variables='answer = "43"')
        broken["TaskGroups"] = []
        with pytest.raises(Rejected, match="task group"):
            api.register(broken)

        found = api.job("recorded")
        assert found is not None
        assert found["JobModifyIndex"] == registered.modify_index
        assert api.job("nobody") is None
        api.stop("nobody", purge=True)
        assert api.allocations("nobody") == []
        assert api.evaluations("nobody") == []

        with pytest.raises(NotFound, match="parameterized job not found"):
            api.dispatch("nobody")
        with pytest.raises(Rejected, match="Payload exceeds maximum size"):
            api.dispatch("recorded", payload=b"x" * 16_385, meta={"action_id": "a"})
        with pytest.raises(Rejected, match="unpermitted metadata keys"):
            api.dispatch("recorded", meta={"action_id": "a", "mood": "good"})
        with pytest.raises(Rejected, match="did not provide required meta keys"):
            api.dispatch("recorded")
    finally:
        api.stop("recorded", purge=True)


def run(api: NomadApi, stranger: NomadApi) -> None:
    """A child from dispatch to its purge."""
    api.register(api.parse((SPECS / "recorded.nomad.hcl").read_text()))
    meta = {"action_id": "a-1"}
    try:
        child = api.dispatch(
            "recorded", payload=b"{}", meta=meta, idempotency_token="a-1.b", id_prefix="a-1"
        )
        assert child.job_id.startswith("recorded/dispatch-a-1-")
        assert child.eval_id
        again = api.dispatch("recorded", payload=b"other", meta=meta, idempotency_token="a-1.b")
        assert again.job_id == child.job_id
        assert again.eval_id == ""

        status = _ended(api, child.job_id)
        assert status.get("ParentID") == "recorded"
        assert [each["ClientStatus"] for each in status["Allocs"] or []] == ["failed"]
        found = api.job(child.job_id)
        assert found is not None
        assert found["Meta"] == {"action_id": "a-1", "answer": "0"}
        assert [stub["ID"] for stub in api.jobs(prefix="recorded/dispatch-", meta=True)] == [
            child.job_id
        ]

        (allocation,) = api.allocations(child.job_id)
        task = (allocation.get("TaskStates") or {})["run"]
        assert task["Failed"] is True
        terminated = [e for e in task["Events"] or [] if e["Type"] == "Terminated"][-1]
        assert (terminated["Details"] or {})["exit_code"] == "3"
        listed = api.allocations_where(f'JobID == "{child.job_id}"')
        assert [each["ID"] for each in listed] == [allocation["ID"]]
        assert (listed[0].get("TaskStates") or {})["run"]["Failed"] is True

        assert _log(api, allocation["ID"], "stdout") == b"to stdout\nof both\n"
        assert _log(api, allocation["ID"], "stderr") == b"to stderr\n"
        assert _log(api, allocation["ID"], "stdout", offset=10) == b"of both\n"
        assert _log(api, allocation["ID"], "stdout", offset=3, origin="end") == b"th\n"
        assert (
            api.cat(allocation["ID"], "alloc/data/outcome.json", limit=1000)
            == b'{"exit_code": 3}\n'
        )
        assert api.cat(allocation["ID"], "alloc/data/nothing", limit=1000) is None
        assert api.cat(NOBODY, "alloc/data/outcome.json", limit=1000) is None
        with pytest.raises(NotFound, match="Unknown allocation"):
            _log(api, NOBODY, "stdout")
        with pytest.raises(Rejected, match="unknown task name"):
            list(api.logs(allocation["ID"], "nobody", "stdout"))
        with pytest.raises(Rejected, match="escapes"):
            api.cat(allocation["ID"], "../../../../etc/hostname", limit=1000)

        assert api.evaluations(child.job_id)[0]["Status"] == "complete"
        api.stop(child.job_id, purge=True)
        assert api.job(child.job_id) is None
        assert api.job_statuses([child.job_id]) == []
    finally:
        _purge(api, "recorded")


def unplaced(api: NomadApi, stranger: NomadApi) -> None:
    """A child that no node can take."""
    api.register(api.parse((SPECS / "unplaceable.nomad.hcl").read_text()))
    try:
        child = api.dispatch("unplaceable")

        @_until
        def blocked() -> None:
            states = {each["Status"] for each in api.evaluations(child.job_id)}
            assert states == {"blocked", "complete"}

        blocked()
        (status,) = api.job_statuses([child.job_id, "nobody"])
        assert status["Status"] == "pending"
        assert not status["Allocs"]
        (evaluation,) = api.evaluations_where(
            'Status == "blocked" and JobID matches "^unplaceable/"'
        )
        assert evaluation["JobID"] == child.job_id
        assert (evaluation["FailedTGAllocs"] or {})["run"]["ConstraintFiltered"] == {
            "missing compatible host volumes": 1
        }
        api.stop(child.job_id)
        assert _ended(api, child.job_id)["Stop"] is True
    finally:
        _purge(api, "unplaceable")


def variables(api: NomadApi, stranger: NomadApi) -> None:
    """Check-and-set of variables, and variable locks."""
    path = "recorded/claims/one"
    assert api.variable(path) is None
    first = api.put_variable(path, {"claim": "1"}, cas=0)
    try:
        with pytest.raises(VariableConflict) as caught:
            api.put_variable(path, {"claim": "2"}, cas=0)
        assert caught.value.current == api.variable(path)
        assert caught.value.current is not None
        assert caught.value.current.items == {"claim": "1"}
        second = api.put_variable(path, {"claim": "2"}, cas=first)
        assert second > first
        with pytest.raises(VariableConflict):
            api.delete_variable(path, cas=first)
        (stub,) = api.variables("recorded/claims/")
        assert (stub["Path"], stub["ModifyIndex"]) == (path, second)
        with pytest.raises(Rejected, match="64KiB"):
            api.put_variable(path, {"claim": "x" * 66_000})
        with pytest.raises(Rejected, match="invalid path"):
            api.put_variable("recorded/claims/a.b", {"claim": "1"})
        with pytest.raises(Rejected, match="Items"):
            api.put_variable(path, {})
        api.delete_variable(path, cas=second)
        assert api.variable(path) is None
        with pytest.raises(VariableConflict) as caught:
            api.put_variable(path, {"claim": "3"}, cas=second)
        assert caught.value.current is None
    finally:
        api.delete_variable(path)
    _locks(api)


def _locks(api: NomadApi) -> None:
    path = "recorded/leader"
    lock = api.acquire_lock(path, {"holder": "one"}, ttl_s=10, delay_s=1)
    assert lock is not None
    try:
        assert api.acquire_lock(path, {"holder": "two"}, ttl_s=10, delay_s=1) is None
        found = api.variable(path)
        assert found is not None
        assert (found.items, found.locked) == ({"holder": "one"}, True)
        with pytest.raises(VariableConflict):
            api.put_variable(path, {"holder": "two"})
        with pytest.raises(Conflict):
            api.renew_lock(Lock(path=path, id=NOBODY))
        api.renew_lock(lock)
    finally:
        api.release_lock(lock)
    api.release_lock(lock)
    with pytest.raises(Conflict):
        api.renew_lock(lock)
    found = api.variable(path)
    assert found is not None
    assert (found.items, found.locked) == ({"holder": "one"}, False)
    api.delete_variable(path)


def cluster(api: NomadApi, stranger: NomadApi) -> None:
    """Nodes, agent, ACL."""
    assert api.leader()
    assert api.agent_self()["config"]["Version"]["Version"][0].isdigit()
    (stub, *_) = api.nodes()
    assert (stub.get("Drivers") or {})["raw_exec"]["Healthy"] is True
    node = api.node(stub["ID"])
    assert node is not None
    assert "HostVolumes" in node
    assert api.node(NOBODY) is None
    assert api.token_self()["Type"] == "management"
    assert api.acl_policy("recorded") is None
    rules = 'namespace "default" {\n  policy = "read"\n}\n'
    api.put_acl_policy("recorded", rules, description="A test's.", job="recorded")
    policy = api.acl_policy("recorded")
    assert policy is not None
    assert policy["Rules"] == rules
    assert policy["JobACL"]["JobID"] == "recorded"
    api.delete_acl_policy("recorded")


def denied(api: NomadApi, stranger: NomadApi) -> None:
    """A client without rights."""
    for ask in (
        lambda: stranger.job("recorded"),
        lambda: stranger.job_statuses(["recorded"]),
        lambda: stranger.allocations_where('JobID == "recorded"'),
        lambda: stranger.dispatch("recorded"),
        lambda: stranger.variable("recorded/leader"),
        lambda: stranger.put_variable("recorded/leader", {"a": "b"}, cas=0),
        lambda: stranger.acquire_lock("recorded/leader", {"a": "b"}, ttl_s=10, delay_s=1),
        stranger.nodes,
        stranger.agent_self,
    ):
        with pytest.raises(Denied, match="Permission denied"):
            ask()
    # Nomad hides what may not be listed instead of refusing.
    assert stranger.variables("recorded/") == []


def events(api: NomadApi, stranger: NomadApi) -> None:
    """The stream tells of a child's registration and of its allocation's end."""
    api.register(api.parse((SPECS / "recorded.nomad.hcl").read_text()))
    stream = api.events(["Job", "Allocation"])
    told = iter(stream)
    try:
        assert next(told) == Resync()
        child = api.dispatch("recorded", meta={"action_id": "a-2"})
        _until_told(told, lambda event: event.topic == "Job" and event.key == child.job_id)
        ended = _until_told(
            told,
            lambda event: (
                child.job_id in event.filter_keys
                and event.payload["Allocation"]["ClientStatus"] == "failed"
            ),
        )
        assert ended.payload["Allocation"]["JobID"] == child.job_id
        assert ended.payload["Allocation"].get("Job") is None
        assert stream.connected
    finally:
        stream.close()
        _purge(api, "recorded")


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (jobs, run, unplaced, variables, cluster, denied, events)
}


def _until_told(told: Iterable[Event | Resync], wanted: Callable[[Event], bool]) -> Event:
    for event in told:
        if isinstance(event, Event) and wanted(event):
            return event
    raise AssertionError("the stream ended")


def _ended(api: NomadApi, job_id: str) -> JobStatus:
    @_until
    def ended() -> JobStatus:
        (status,) = api.job_statuses([job_id])
        assert status["Status"] == "dead"
        return status

    return ended()


def _log(
    api: NomadApi, alloc_id: str, stream: str, *, offset: int = 0, origin: str = "start"
) -> bytes:
    frames = api.logs(alloc_id, "run", stream, offset=offset, origin=origin)
    return b"".join(frame.data for frame in frames)


def _purge(api: NomadApi, job_id: str) -> None:
    for child in api.jobs(prefix=f"{job_id}/"):
        api.stop(child["ID"], purge=True)
    api.stop(job_id, purge=True)
