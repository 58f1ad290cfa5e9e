"""Runs on Nomad that left something that cannot be read: each is judged alone, and keeps nobody
waiting."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
import tenacity

from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.ended_runs import OUTCOME_WAIT_S
from dispatcher.engines.nomad.event_follower import EventFollower
from dispatcher.engines.nomad.scheduler import NomadScheduler
from dispatcher.errors import Unavailable
from dispatcher.model.payload import encode_outcome
from dispatcher.model.run import Claim, Observation, Outcome, Phase, RunKey, RunState
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import settings_model

KEY = "the run's own"
GOOD = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True, logs="redacted")
KILLED = {"Type": "Terminated", "Time": 1, "Details": {"exit_code": "137", "signal": "9"}}


def claim_of(name: str) -> Claim:
    child = f"disinto-runner/dispatch-{name}-1-aaaaaaaa"
    return Claim(
        key=RunKey(action_id=name, blob="b" * 40),
        phase=Phase.SUBMITTED,
        commit="c",
        engine_id=child,
        outcome_key=KEY,
    )


ODD, HEALTHY = claim_of("odd"), claim_of("healthy")


class TwoEnded:
    """A Nomad with two runs that have ended; what the odd one left is up to the test.

    Attributes:
        mode: of the odd run's ``outcome.json`` in the listing of its directory.
        opened: allocations of which a file was opened, in order.
    """

    def __init__(self) -> None:
        self.mode = "-rw-r--r--"
        self.records: Any = [
            {
                "ID": "odd",
                "ClientStatus": "failed",
                "TaskStates": {"runner": {"Events": [KILLED]}},
            }
        ]
        self.opened: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        name = path.rpartition("/")[2]
        if path.startswith("client/fs/ls/"):
            mode = self.mode if name == "odd" else "-rw-r--r--"
            return httpx.Response(200, json=[{"Name": "outcome.json", "FileMode": mode}])
        if path.startswith("client/fs/"):
            self.opened.append(name)
            return self.odd() if name == "odd" else self.good()
        if path == "jobs/statuses":
            both = [self.status("odd"), self.status("healthy")]
            asked = request.content.decode()
            return httpx.Response(200, json=[each for each in both if each["ID"] in asked])
        answers: Mapping[str, Any] = {
            "evaluations": [],
            f"job/{ODD.engine_id}/allocations": self.records,
            "nodes": [{"ID": "n1", "Name": "node-1"}],
        }
        return httpx.Response(200, json=answers[path])

    def status(self, name: str) -> dict[str, Any]:
        allocation = {"ID": name, "ClientStatus": "failed", "NodeID": "n1"}
        child = claim_of(name).engine_id
        return {"ID": child, "Status": "dead", "Stop": False, "Allocs": [allocation]}

    def good(self) -> httpx.Response:
        data = base64.b64encode(encode_outcome(GOOD, key=KEY)).decode()
        return httpx.Response(200, json={"Data": data})

    def odd(self) -> httpx.Response:
        return self.good()


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def nomad() -> TwoEnded:
    return TwoEnded()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def scheduler(
    nomad: TwoEnded, clock: Clock, woken: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NomadScheduler]:
    settings = settings_model().model_validate({})
    api = NomadApi(settings.nomad, {}, transport=httpx.MockTransport(nomad))
    # No event stream: the only thing that wakes is the end of a read.
    monkeypatch.setattr(EventFollower, "start", lambda _self: None)
    made = NomadScheduler(api, settings, clock=clock, wake=woken.set)
    yield made
    made.close()


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(AssertionError),
    stop=tenacity.stop_after_delay(30),
    wait=tenacity.wait_fixed(0.01),
    reraise=True,
)
def until_ended(scheduler: NomadScheduler, claim: Claim) -> Mapping[RunKey, Observation]:
    """A look at both runs in which this one has ended."""
    found = scheduler.observe([ODD, HEALTHY])
    assert found[claim.key].state is RunState.ENDED
    return found


@pytest.mark.parametrize("mode", ["prw-r--r--", "Lrwxrwxrwx", "Dcrw-r--r--", "drwxr-xr-x", ""])
def test_nothing_is_opened_that_is_no_regular_file(
    scheduler: NomadScheduler, nomad: TwoEnded, mode: str
) -> None:
    nomad.mode = mode
    outcome = until_ended(scheduler, ODD)[ODD.key].outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 137)
    assert "not written by this run's runner" in outcome.error
    assert "odd" not in nomad.opened


def test_a_read_that_hangs_keeps_no_other_result_back(
    scheduler: NomadScheduler,
    nomad: TwoEnded,
    woken: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Swapped for a FIFO after it was listed."""
    written = threading.Event()

    def hang() -> httpx.Response:
        written.wait(30)
        return nomad.good()

    monkeypatch.setattr(nomad, "odd", hang)
    found = until_ended(scheduler, HEALTHY)
    assert found[HEALTHY.key].outcome == GOOD
    assert found[ODD.key].state is RunState.RUNNING
    assert "outcome is still being read" in found[ODD.key].reason
    assert not woken.is_set()
    assert nomad.opened.count("odd") == 1
    written.set()
    assert woken.wait(30)
    assert until_ended(scheduler, ODD)[ODD.key].outcome == GOOD
    assert nomad.opened.count("odd") == 1


def test_a_read_that_fails_is_made_again_after_a_pause_and_given_up_in_the_end(
    scheduler: NomadScheduler, nomad: TwoEnded, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> httpx.Response:
        raise httpx.ReadTimeout("timed out")

    monkeypatch.setattr(nomad, "odd", silent)
    assert until_ended(scheduler, HEALTHY)
    for reads in (1, 2, 3):
        for _ in range(3):  # no more often for being asked more often
            found = until_read(scheduler)
            assert found.state is RunState.RUNNING
        assert nomad.opened.count("odd") == reads
        clock.now += 2.0**reads
    clock.now += OUTCOME_WAIT_S
    outcome = until_ended(scheduler, ODD)[ODD.key].outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 137)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(AssertionError),
    stop=tenacity.stop_after_delay(30),
    reraise=True,
)
def until_read(scheduler: NomadScheduler) -> Observation:
    """What is said of the odd run once its read has failed."""
    found = scheduler.observe([ODD])[ODD.key]
    assert "its outcome cannot be read yet" in found.reason
    return found


@pytest.mark.parametrize("records", [["no allocation"], {"no": "list"}, 7], ids=str)
def test_an_error_over_one_run_hides_no_other(
    scheduler: NomadScheduler, nomad: TwoEnded, records: Any
) -> None:
    nomad.mode, nomad.records = "prw-r--r--", records
    found = until_ended(scheduler, HEALTHY)
    assert found[ODD.key].state is RunState.RUNNING
    assert "unexpected" in until_unexpected(scheduler).reason


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(AssertionError),
    stop=tenacity.stop_after_delay(30),
    reraise=True,
)
def until_unexpected(scheduler: NomadScheduler) -> Observation:
    found = scheduler.observe([ODD])[ODD.key]
    assert "cannot be observed" in found.reason
    return found


def test_an_error_over_one_open_run_hides_no_other(
    scheduler: NomadScheduler, nomad: TwoEnded, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = nomad.status("healthy")
    odd = nomad.status("odd") | {"Status": "running", "Allocs": [], "SubmitTime": "at noon"}
    monkeypatch.setattr(nomad, "status", {"odd": odd, "healthy": healthy}.__getitem__)
    found = until_ended(scheduler, HEALTHY)
    assert found[ODD.key].state is RunState.RUNNING
    assert "unexpected TypeError" in found[ODD.key].reason


def test_an_outcome_that_trips_the_decoder_is_given_up(
    scheduler: NomadScheduler, nomad: TwoEnded, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is hostile input: no defect in reading it may keep its run open forever."""
    monkeypatch.setattr(nomad, "odd", lambda: httpx.Response(200, json={"Data": 7}))
    assert "unexpected TypeError" in until_read(scheduler).reason
    clock.now += OUTCOME_WAIT_S + 1
    outcome = until_ended(scheduler, ODD)[ODD.key].outcome
    assert outcome is not None
    assert outcome.verdict is Verdict.FAILED


# -- the calls below it ----------------------------------------------------------------------------


class Dripping(httpx.SyncByteStream):
    """Pieces of an answer."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces


def test_an_answer_that_drips_is_given_up_when_its_time_is_over() -> None:
    """Heartbeats never let a read time out."""
    asked: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.extensions["timeout"]["read"])
        return httpx.Response(200, stream=Dripping([b"{}"] * 3))

    api = NomadApi(settings_model()().nomad, {}, transport=httpx.MockTransport(answer))
    assert api.cat("a", "alloc/outcome.json", limit=10, within_s=60.0) == b""
    with pytest.raises(Unavailable, match="not complete after 0 s"):
        api.cat("a", "alloc/outcome.json", limit=10, within_s=0.0)
    assert asked == [60.0, 0.0]


def test_a_file_is_found_in_a_listing_that_comes_in_pieces() -> None:
    listing = b'[{"Name":"a,]\\"[","FileMode":"-"}, {"Name":"outcome.json","FileMode":"p"},\n'
    pieces = [listing[at : at + 7] for at in range(0, len(listing), 7)]

    def more() -> Iterator[bytes]:
        yield from pieces
        pytest.fail("the rest of a long listing is read although the file was found")

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params["path"] == "alloc"
        return httpx.Response(200, stream=Dripping(more()))

    api = NomadApi(settings_model()().nomad, {}, transport=httpx.MockTransport(answer))
    found = api.file("a", "alloc/outcome.json", within_s=60)
    assert found == {"Name": "outcome.json", "FileMode": "p"}


def test_a_run_of_an_older_release_is_read_with_the_same_care(
    scheduler: NomadScheduler, nomad: TwoEnded
) -> None:
    nomad.mode = "prw-r--r--"
    old = replace(ODD, outcome_key="")

    @tenacity.retry(stop=tenacity.stop_after_delay(30), reraise=True)
    def ended() -> Outcome | None:
        found = scheduler.observe([old])[old.key]
        assert found.state is RunState.ENDED
        return found.outcome

    outcome = ended()
    assert outcome is not None
    assert outcome.verdict is Verdict.FAILED
    assert "odd" not in nomad.opened
